//! `tocsin check`: what is wrong with a rules file.

use std::path::Path;

use super::output::{self, count};
use super::{Exit, load};
use crate::config::Config;

pub(super) fn run(rules: &Path) -> anyhow::Result<Exit> {
    let config = load(rules)?;
    for note in &config.notes {
        output::note(format_args!("note: {note}"));
    }
    output::data(format_args!("{}: {}", rules.display(), summary(&config)))?;
    Ok(Exit::Done)
}

/// `5 rules, 3 receivers (ops, oncall off), 4 tests`.
fn summary(config: &Config) -> String {
    let off: Vec<&str> = config
        .receivers
        .values()
        .filter(|receiver| receiver.is_off())
        .map(|receiver| receiver.name.as_str())
        .collect();
    let off = if off.is_empty() { String::new() } else { format!(" ({} off)", off.join(", ")) };
    let rules = count(config.rules.iter().count(), "rule");
    let receivers = count(config.receivers.len(), "receiver");
    let tests = match config.tests.cases.len() {
        0 => String::new(),
        tests => format!(", {}", count(tests, "test")),
    };
    format!("{rules}, {receivers}{off}{tests}")
}
