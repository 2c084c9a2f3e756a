//! `tocsin check`: what is wrong with a rules file.

use std::net::SocketAddr;
use std::path::Path;

use super::output::{self, count};
use super::{Exit, load};
use crate::app;
use crate::config::Config;

pub(super) fn run(rules: &Path) -> anyhow::Result<Exit> {
    let config = load(rules)?;
    // A name has to be looked up first, which may say something else where it is served.
    let listen: Option<SocketAddr> = config.server.listen.parse().ok();
    let others = listen.filter(|address| !address.ip().is_loopback());
    let warnings = others.map(|address| app::exposed(&config.server, &address)).transpose()?;
    for note in config.notes.iter().chain(warnings.iter().flatten()) {
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
