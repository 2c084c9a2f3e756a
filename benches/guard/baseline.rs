//! The figures that are kept, and what there is to say of others beside them. Counts nothing itself.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How much more than what is kept something may take, in percent. `benches/README.md` says what that
/// covers.
pub(crate) const TOLERANCE: f64 = 2.0;

/// What writes the figures anew.
pub(crate) const WRITE: &str = "cargo guard -- --write";

/// What a piece of work takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    /// The work.
    pub(crate) name: String,
    /// How many instructions.
    pub(crate) instructions: u64,
    /// Of what one takes so many: "an event".
    pub(crate) each: String,
}

/// What figures come to, beside those that are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Every figure, a line each.
    pub(crate) table: String,
    /// What must not be, in sentences.
    pub(crate) wrong: Vec<String>,
    /// What is no fault and should be known, in sentences.
    pub(crate) notes: Vec<String>,
}

/// The figures as they are kept.
pub(crate) fn written(figures: &[Figure]) -> String {
    let mut text = format!(
        "# How many instructions each of these takes: benches/README.md, \"guard\".\n\
         # Written by `{WRITE}`.\n"
    );
    for Figure { name, instructions, each } in figures {
        writeln!(text, "{name}: {} {each}", grouped(*instructions))
            .expect("a string takes all that is written");
    }
    text
}

/// The figures that are kept, by name.
///
/// # Errors
/// The first line that is not as [`written`] writes it.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, u64>, String> {
    let figure = |line: &str| {
        let (name, rest) = line.split_once(": ")?;
        let number = rest.split_whitespace().next()?.replace(',', "");
        Some((name.to_owned(), number.parse().ok().filter(|number| *number > 0)?))
    };
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| figure(line).ok_or_else(|| line.to_owned()))
        .collect()
}

/// Compares figures with those that are kept.
pub(crate) fn compare(figures: &[Figure], kept: &BTreeMap<String, u64>) -> Comparison {
    let mut comparison = Comparison::default();
    let Comparison { table, wrong, notes } = &mut comparison;
    for Figure { name, instructions, each } in figures {
        let now = grouped(*instructions);
        let Some(before) = kept.get(name) else {
            wrong.push(format!("{name}: {now} instructions {each}, and no figure of it is kept"));
            continue;
        };
        let more = (*instructions as f64 / *before as f64 - 1.0) * 100.0;
        let before = grouped(*before);
        writeln!(table, "{name:32}{now:>12} {each:12}{more:>+6.2} %")
            .expect("a string takes all that is written");
        if more > TOLERANCE {
            wrong.push(format!(
                "{name}: {now} instructions {each}, {more:.1} % more than the {before} that are kept \
                 ({TOLERANCE} % are let pass)"
            ));
        } else if more < -TOLERANCE {
            notes.push(format!(
                "{name}: {now} instructions {each}, {:.1} % fewer than the {before} that are kept; \
                 keep that by `{WRITE}`, or it may be lost again unseen",
                -more
            ));
        }
    }
    let gone = kept.keys().filter(|name| figures.iter().all(|figure| figure.name != **name));
    wrong.extend(gone.map(|name| format!("{name}: a figure is kept of it, and it is not counted")));
    comparison
}

/// A number that can be read: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
