//! What a field is held against: equality, regex, comparison, and what is made of them.
//!
//! A field that is missing matches nothing but `exists: false` and a negation; that follows from
//! each pattern asking for a value of its own kind.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::RegexBuilder;

use crate::event::{Signal, State};

/// How much of a text a regex is looked for in, and how large one may be, both in bytes. The time
/// that it takes is bounded by the product of the two, and whoever may post an event chooses the
/// text: with these it stays below some seconds for the worst regex that can be written.
const REACH: usize = 16 * 1024;
const SIZE: usize = 2 * 1024 * 1024;

/// What a field must be like.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// An explicit `null` in the payload.
    Null,
    /// This truth value.
    Bool(bool),
    /// This number.
    Number(Number),
    /// This text, exactly.
    Text(String),
    /// This state.
    State(State),
    /// This signal.
    Signal(Signal),
    /// A text in which this is found; a state or a signal by its name in upper case. Its flags are
    /// in its text, as in `(?i)x`, so that it can be put into a set.
    Regex(Regex),
    /// A number that compares so.
    Compare(Comparison, Number),
    /// Whether the field is there, and not null.
    Exists(bool),
    /// Whatever this does not match.
    Not(Box<Pattern>),
    /// Whatever one of these matches.
    Any(Vec<Pattern>),
    /// Whatever all of these match.
    All(Vec<Pattern>),
}

/// A regex that is compiled when it is first asked. Most never are: the index asks whole sets of them
/// first (`index.rs`), and compiled they are most of what thousands of rules take.
#[derive(Clone, Debug)]
pub struct Regex {
    source: String,
    compiled: Arc<OnceLock<regex::Regex>>,
}

impl Regex {
    fn new(source: String) -> Result<Regex, regex::Error> {
        compile(&source)?;
        Ok(Regex { source, compiled: Arc::default() })
    }

    /// What it was made of.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    fn is_match(&self, text: &str) -> bool {
        let compiled =
            self.compiled.get_or_init(|| compile(&self.source).expect("it compiled before"));
        compiled.is_match(text)
    }
}

fn compile(source: &str) -> Result<regex::Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(SIZE).build()
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// At least.
    Ge,
    /// Greater.
    Gt,
    /// At most.
    Le,
    /// Less.
    Lt,
    /// Another number.
    Ne,
}

/// A number: whole ones exactly, others as floats.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number; JSON and YAML have up to 64 bits of either sign.
    Whole(i128),
    /// Any other.
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Whole(whole) => whole.fmt(f),
            Number::Float(float) => float.fmt(f),
        }
    }
}

/// What an event has in a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Missing,
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a str),
    State(&'a State),
    Signal(Signal),
    /// An array or an object: there, and like nothing that can be written.
    Other,
}

impl Pattern {
    pub(super) fn matches(&self, found: Found<'_>) -> bool {
        match (self, found) {
            (Pattern::Not(pattern), _) => !pattern.matches(found),
            (Pattern::Any(patterns), _) => patterns.iter().any(|pattern| pattern.matches(found)),
            (Pattern::All(patterns), _) => patterns.iter().all(|pattern| pattern.matches(found)),
            (Pattern::Exists(wanted), _) => {
                *wanted != matches!(found, Found::Missing | Found::Null)
            }
            (Pattern::Null, Found::Null) => true,
            (Pattern::Bool(wanted), Found::Bool(value)) => *wanted == value,
            (Pattern::Number(wanted), Found::Number(value)) => *wanted == value,
            (Pattern::Text(wanted), Found::Text(value)) => wanted == value,
            (Pattern::State(wanted), Found::State(value)) => wanted == value,
            (Pattern::Signal(wanted), Found::Signal(value)) => *wanted == value,
            (Pattern::Regex(regex), Found::Text(value)) => regex.is_match(reach(value)),
            (Pattern::Regex(regex), Found::State(value)) => regex.is_match(reach(value.as_str())),
            (Pattern::Regex(regex), Found::Signal(value)) => regex.is_match(&value.to_string()),
            (Pattern::Compare(comparison, limit), Found::Number(value)) => {
                comparison.holds(value, *limit)
            }
            (Pattern::Compare(comparison, limit), Found::Signal(value)) => {
                comparison.holds(Number::from(value.0), *limit)
            }
            _ => false,
        }
    }

    /// Texts of which it asks for one, if it says so plainly.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Pattern::Text(text) => Some(vec![text]),
            Pattern::Any(patterns) => {
                let texts: Option<Vec<Vec<&str>>> = patterns.iter().map(Pattern::texts).collect();
                Some(texts?.concat())
            }
            Pattern::All(patterns) => patterns.iter().find_map(Pattern::texts),
            _ => None,
        }
    }
}

/// The part of a text that regexes are looked for in. No name is as long.
pub(super) fn reach(text: &str) -> &str {
    &text[..text.floor_char_boundary(REACH)]
}

/// What stands between the slashes of `/…/flags`, and the flags; `None` for a text that is no regex.
#[must_use]
pub fn slashed(text: &str) -> Option<(&str, &str)> {
    let (source, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
    // Letters that are a flag of a regex in one language or another: /var/log is no regex.
    flags.chars().all(|flag| "dgimsuxy".contains(flag)).then_some((source, flags))
}

/// The pattern for what stood between slashes.
///
/// # Errors
/// What is wrong with it, in a sentence for whoever wrote it.
pub fn regex(source: &str, flags: &str) -> Result<Pattern, String> {
    let flags = match flags {
        "" => "",
        "i" => "(?i)",
        _ => {
            return Err(format!(
                "\"{flags}\" is no flag of a regex, only \"i\" is; \
                 for a text between slashes, write {{ eq: … }}"
            ));
        }
    };
    match Regex::new(format!("{flags}{source}")) {
        Ok(regex) => Ok(Pattern::Regex(regex)),
        Err(error) => Err(format!("this regex is wrong: {}", in_a_line(&error))),
    }
}

/// The sentence of a regex error, without the drawing that quotes the pattern.
fn in_a_line(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return "it is too large; repeat less, or have (?-u) or [a-z] in the place of \\w".into();
    }
    let words = error.to_string();
    let last = words.lines().next_back().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

impl Comparison {
    fn holds(self, value: Number, limit: Number) -> bool {
        let Some(ordering) = value.partial_cmp(&limit) else { return false };
        match self {
            Comparison::Ge => ordering.is_ge(),
            Comparison::Gt => ordering.is_gt(),
            Comparison::Le => ordering.is_le(),
            Comparison::Lt => ordering.is_lt(),
            Comparison::Ne => ordering.is_ne(),
        }
    }
}

impl Number {
    /// The number that this text writes; `None` if it is none, or not finite.
    #[must_use]
    pub fn parse(text: &str) -> Option<Number> {
        let text = text.trim();
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Number::from(whole));
        }
        text.parse::<f64>().ok().filter(|float| float.is_finite()).map(Number::Float)
    }

    /// Whether it is one that can be counted to: what is none compares with nothing.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.as_float().is_finite()
    }

    pub(super) fn as_float(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Float(float) => float,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Whole(one), Number::Whole(other)) => Some(one.cmp(other)),
            _ => self.as_float().partial_cmp(&other.as_float()),
        }
    }
}

impl From<i64> for Number {
    fn from(whole: i64) -> Number {
        Number::Whole(whole.into())
    }
}

impl From<u64> for Number {
    fn from(whole: u64) -> Number {
        Number::Whole(whole.into())
    }
}

impl<'a> From<&'a serde_json::Value> for Found<'a> {
    fn from(value: &'a serde_json::Value) -> Found<'a> {
        use serde_json::Value;
        match value {
            Value::Null => Found::Null,
            Value::Bool(value) => Found::Bool(*value),
            Value::String(text) => Found::Text(text),
            Value::Number(number) => {
                let whole = number.as_i64().map(Number::from);
                let whole = whole.or_else(|| number.as_u64().map(Number::from));
                let number = whole.or_else(|| number.as_f64().map(Number::Float));
                number.map_or(Found::Other, Found::Number)
            }
            Value::Array(_) | Value::Object(_) => Found::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_is_looked_for_in_the_beginning_of_a_text_of_any_length() {
        let Ok(end) = regex("x$", "") else { panic!("it is a regex") };
        let found = |text: &str| end.matches(Found::Text(text));
        assert!(found(&format!("{}x", "é".repeat(REACH / 2 - 1))));
        assert!(!found(&format!("{}x", "é".repeat(REACH))));
        assert!(found(&format!("{}xé", "a".repeat(REACH - 2))), "it ends where it is cut");
    }

    #[test]
    fn a_regex_that_would_take_too_long_is_too_large() {
        for ordinary in [r"^\w{1,20}$", r"^\w+-\w+-\w+$", r"^.{1,255}$", r"\p{L}+"] {
            assert!(regex(ordinary, "i").is_ok(), "{ordinary}");
        }
        for huge in ["[01]*1[01]{40000}", r"\w{1000}", "((a{100}){100}){100}"] {
            assert!(regex(huge, "").unwrap_err().contains("it is too large"), "{huge}");
        }
    }
}
