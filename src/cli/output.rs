//! Lines to stdout and stderr that outlive whoever read them.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::config::Problems;
use crate::message::text::shorten;

/// How many columns a line has at most.
pub(super) const WIDTH: usize = 80;

/// A line of data. That nobody reads it any more is no error.
///
/// # Errors
/// If it cannot be written for another reason.
pub(super) fn data(line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A line for whoever runs the command.
pub(super) fn note(line: impl Display) {
    // Where there is no stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
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
    lines.into_iter().map(|line| shorten(&line, WIDTH).into_owned()).collect()
}

/// `1 rule`, `5 rules`.
pub(super) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
