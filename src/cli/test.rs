//! `tocsin test`: runs the tests of a rules file, and shows expected beside told.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value, json};

use super::output::{self, count};
use super::{Exit, load};
use crate::config::write_duration;
use crate::message::text::{self, columns};
use crate::simulation::{Line, Outcome, Telling};

/// How wide the table of a failure may be.
const WIDTH: usize = 80;

pub(super) fn run(rules: &Path, as_json: bool) -> anyhow::Result<Exit> {
    let tests = load(rules)?.tests;
    let (mut passed, mut failed) = (0, 0);
    let mut results = Vec::new();
    for outcome in tests.run() {
        if outcome.passed() {
            passed += 1;
        } else {
            failed += 1;
        }
        if as_json {
            results.push(to_json(&outcome));
        } else {
            output::data(to_text(&outcome))?;
        }
    }
    if as_json {
        output::data(json!({ "passed": passed, "failed": failed, "tests": results }))?;
    } else if passed + failed == 0 {
        let rules = rules.display();
        output::data(format_args!("{rules}: there are no tests; write some under \"tests\""))?;
    } else {
        let tests = count(passed + failed, "test");
        output::data(format_args!("{}: {tests}, {failed} failed", rules.display()))?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::No })
}

fn to_text(outcome: &Outcome) -> String {
    let name = &outcome.name;
    match outcome.passed() {
        true => format!("ok      {name}"),
        false => format!("FAILED  {name}\n{}", table(&outcome.lines)),
    }
}

/// What was expected beside what was told, over time, with a mark where they differ: `-` was
/// expected and not told, `+` was told and not expected, `!` was told otherwise.
fn table(lines: &[Line]) -> String {
    let header = ["", "at", "rule", "receiver", "expected", "told"].map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(lines.iter().map(row));
    let width = |rows: &[[String; 6]], column: usize| {
        rows.iter().map(|row| width_of(&row[column])).max().unwrap_or_default()
    };
    let mut widths: [usize; 6] = std::array::from_fn(|column| width(&rows, column));
    // Two spaces before each column. What is too wide is cut from the longer of the two names.
    while widths.iter().sum::<usize>() + 2 * widths.len() > WIDTH && widths[2].max(widths[3]) > 8 {
        let longer = if widths[2] >= widths[3] { 2 } else { 3 };
        widths[longer] -= 1;
    }
    let mut text = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            let cell = cut(cell, width);
            format!("  {cell}{}", " ".repeat(width.saturating_sub(width_of(&cell))))
        });
        text.push(cells.collect::<String>().trim_end().to_owned());
        let line = index.checked_sub(1).map(|index| &lines[index]);
        text.extend(line.filter(|line| !line.agrees()).and_then(labels));
    }
    text.join("\n")
}

fn row(line: &Line) -> [String; 6] {
    let mark = match (&line.expected, &line.told) {
        _ if line.agrees() => "",
        (Some(_), None) => "-",
        (None, Some(_)) => "+",
        _ => "!",
    };
    let (at, rule, receiver) = line.place();
    let counts = |telling: &Option<Telling>| telling.as_ref().map(counts).unwrap_or_default();
    [
        mark.to_owned(),
        write_duration(at),
        rule.to_owned(),
        receiver.to_owned(),
        counts(&line.expected),
        counts(&line.told),
    ]
}

fn counts(telling: &Telling) -> String {
    let counts = [(telling.firing, "firing"), (telling.resolved, "resolved")];
    let there = counts.iter().filter(|(number, _)| *number > 0);
    there.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

/// Of which group, below a line that differs.
fn labels(line: &Line) -> Option<String> {
    let of = |telling: &Telling| {
        let labels = telling.labels.as_ref().filter(|labels| labels.iter().len() > 0)?;
        let labels = labels.iter().map(|(label, value)| format!("{label}={value}"));
        Some(labels.collect::<Vec<_>>().join(", "))
    };
    let expected = line.expected.as_ref().and_then(of);
    let told = line.told.as_ref().and_then(of);
    let words = match (expected, told) {
        (Some(expected), Some(told)) if expected != told => {
            format!("expected of {expected}; told of {told}")
        }
        (expected, told) => format!("of {}", told.or(expected)?),
    };
    Some(format!("       {}", cut(&words, WIDTH - 7)))
}

/// How many columns it takes.
fn width_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// At most so many columns.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    text::cut(text, width, columns, "…")
}

fn to_json(outcome: &Outcome) -> Value {
    let telling = |telling: &Option<Telling>| {
        telling.as_ref().map(|telling| {
            json!({
                "firing": telling.firing,
                "resolved": telling.resolved,
                "labels": telling.labels,
            })
        })
    };
    let lines = outcome.lines.iter().map(|line| {
        let (at, rule, receiver) = line.place();
        json!({
            "at": write_duration(at),
            "rule": rule,
            "receiver": receiver,
            "agrees": line.agrees(),
            "expected": telling(&line.expected),
            "told": telling(&line.told),
        })
    });
    json!({
        "name": outcome.name,
        "passed": outcome.passed(),
        "lines": lines.collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_as_wide_as_its_columns() {
        assert_eq!(cut("容器容器", 8), "容器容器");
        assert_eq!(cut("容器容器", 6), "容器…");
        assert_eq!(cut("container", 6), "conta…");
    }
}
