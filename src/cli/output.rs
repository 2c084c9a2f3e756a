//! Lines to stdout and stderr that outlive whoever read them, and that do nothing to a terminal.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::config::Problems;
use crate::message::text::{columns, is_unseemly, shorten_by};

/// How many columns a line has at most.
pub(super) const WIDTH: usize = 80;

/// A line of data. That nobody reads it any more is no error.
///
/// # Errors
/// If it cannot be written for another reason.
pub(super) fn data(line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{}", seemly(&line.to_string())) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A line for whoever runs the command.
pub(super) fn note(line: impl Display) {
    // Where there is no stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "{}", seemly(&line.to_string()));
}

/// What events, people and other programs have put into a line must not move the cursor: it is
/// written as JSON writes it, so that JSON still says the same.
fn seemly(text: &str) -> Cow<'_, str> {
    let stands = |char: char| "\n\t".contains(char) || !is_unseemly(char);
    if text.chars().all(stands) {
        return Cow::Borrowed(text);
    }
    let written = |char: char| match stands(char) {
        true => char.to_string(),
        false => format!("\\u{:04x}", u32::from(char)),
    };
    Cow::Owned(text.chars().map(written).collect())
}

/// Why a command failed: a rules file's problems in full, anything else in one line.
pub(super) fn error(error: &anyhow::Error) {
    match error.downcast_ref::<Problems>() {
        Some(problems) => {
            note(problems);
            note(count(problems.listed.len() + problems.more, "problem"));
        }
        None => note(format_args!("error: {error:#}")),
    }
}

/// The lines, none wider than a terminal.
pub(super) fn cut(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| shorten_by(&line, WIDTH, columns).into_owned()).collect()
}

/// `1 rule`, `5 rules`.
pub(super) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_written_out_and_json_says_the_same() {
        let hostile = "a\u{1b}[2J\u{9b}1m\u{7f}\r\u{202e}b\tc\nd é";
        let shown = seemly(hostile);
        assert_eq!(shown, "a\\u001b[2J\\u009b1m\\u007f\\u000d\\u202eb\tc\nd é");
        let json = serde_json::Value::from(hostile);
        let shown = json.to_string();
        let again: serde_json::Value = serde_json::from_str(&seemly(&shown)).unwrap();
        assert_eq!(again, json);
    }
}
