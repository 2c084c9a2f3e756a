//! What is wrong with a rules file, each with its place, in words for whoever wrote it.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use super::masking;
use super::report::quoted;
use crate::message::text::is_unseemly;

/// How many problems are listed; the others are counted.
const LISTED: usize = 100;

/// How many are looked at for that: those that aliases repeat are one, and it takes a while to find
/// where each of them is.
const LOOKED_AT: usize = 5 * LISTED;

/// How much of an offending line is shown.
const SHOWN: usize = 160;

/// All that is wrong with a rules file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// At most a hundred of them.
    pub listed: Vec<Problem>,
    /// How many there are beside those.
    pub more: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The offending line, its secrets masked; what would move the cursor is replaced.
    pub text: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A file's text, to tell places in it.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// Texts that may not be shown.
    pub(super) secrets: Vec<String>,
}

impl Problems {
    /// One problem with the file as a whole.
    pub(super) fn with_file(file: &Path, message: String) -> Problems {
        let file = file.display().to_string();
        let problem = Problem { file, line: 0, column: 0, text: String::new(), message };
        Problems { listed: vec![problem], more: 0 }
    }

    /// Problems at the bytes that `offset` finds for them. Where one comes about elsewhere, by an
    /// alias, `alias` has the name and the byte of the key there.
    pub(super) fn in_source<'a, P: Copy + Ord>(
        source: &Source<'_>,
        mut found: Vec<(P, String)>,
        offset: impl Fn(P) -> usize,
        alias: impl Fn(P) -> Option<(&'a str, usize)>,
    ) -> Problems {
        found.sort();
        found.dedup();
        let (mut listed, mut told) = (Vec::new(), HashSet::new());
        let mut rest = found.into_iter();
        for (place, message) in rest.by_ref().take(LOOKED_AT) {
            let at = offset(place);
            if !told.insert((at, message.clone())) {
                continue;
            }
            let message = match alias(place) {
                Some((key, at)) => {
                    let line = source.line_of(at);
                    format!("{message} ({} in line {line} takes this by an alias)", quoted(key))
                }
                None => message,
            };
            listed.push(source.problem(at, message));
            if listed.len() == LISTED {
                break;
            }
        }
        listed.sort_by_key(|problem| (problem.line, problem.column));
        Problems { listed, more: rest.len() }
    }

    /// One problem at this byte.
    pub(super) fn at(source: &Source<'_>, offset: usize, message: String) -> Problems {
        Problems { listed: vec![source.problem(offset, message)], more: 0 }
    }
}

impl Source<'_> {
    /// The line in which this byte is, from 1.
    fn line_of(&self, offset: usize) -> usize {
        self.text[..self.text.floor_char_boundary(offset)].matches('\n').count() + 1
    }

    fn problem(&self, offset: usize, message: String) -> Problem {
        let offset = self.text.floor_char_boundary(offset);
        let start = self.text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let line = masking::mask(line, &self.text[..start], &self.secrets);
        // One character for one, so that the caret stands where it should.
        let seemly = |char| if char != '\t' && is_unseemly(char) { '\u{fffd}' } else { char };
        Problem {
            file: self.name.to_owned(),
            line: self.line_of(offset),
            column: self.text[start..offset].chars().count() + 1,
            text: line.chars().map(seemly).collect(),
            message,
        }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.listed.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, line, column, message, .. } = self;
        if *line == 0 {
            return write!(f, "{file}: {message}");
        }
        write!(f, "{file}:{line}:{column}: {message}")?;
        if self.text.trim().is_empty() {
            return Ok(());
        }
        let before = column.saturating_sub(1);
        let skipped = if before < SHOWN { 0 } else { before - SHOWN / 2 };
        let shown: String = self.text.chars().skip(skipped).take(SHOWN).collect();
        // Tabs stay tabs, so that the caret stands below its character however wide they are.
        let under = shown.chars().take(before - skipped);
        let under: String = under.map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n    {shown}\n    {under}^")
    }
}
