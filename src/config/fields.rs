//! Reads a mapping's known keys as typed values, and reports the unknown ones.

use std::borrow::Cow;
use std::time::Duration;

use super::duration;
use super::rate::{self, Rate};
use super::report::{Report, did_you_mean, quoted};
use super::yaml::{Key, Node, Numeral, Place, Text, Value};
use crate::rules::pattern::Number;

/// A mapping that is being read.
pub(super) struct Fields<'a> {
    report: &'a Report,
    /// Where to say what is missing.
    pub(super) place: Place,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of `node`, which the error calls `what`; nothing at all is an empty mapping.
    pub(super) fn of(node: &'a Node, what: &str, report: &'a Report) -> Option<Fields<'a>> {
        let entries = entries(node, what, report)?;
        Some(Fields { report, place: node.place, entries, asked: Vec::new() })
    }

    /// The value under this key.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
    }

    /// A string; a whole number is one too.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.get(key)?;
        text(node, key, self.report)
    }

    /// A string that is not empty.
    pub(super) fn filled(&mut self, key: &'static str) -> Option<String> {
        let node = self.get(key)?;
        let text = text(node, key, self.report)?;
        if text.trim().is_empty() {
            self.report.wrong(node.place, format!("\"{key}\" is empty"));
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn bool(&mut self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        let found = match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => text.value.parse().ok(),
            _ => None,
        };
        if found.is_none() {
            self.report.wrong(node.place, format!("\"{key}\" must be true or false"));
        }
        found
    }

    /// A duration of at least `least`, which the error calls `words`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        least: (Duration, &str),
    ) -> Option<Duration> {
        let node = self.get(key)?;
        let read = match &node.value {
            Value::Text(text) => duration::parse(&text.value),
            Value::Number(Numeral { number: Number::Whole(whole), .. }) => {
                Err(format!("needs a unit; write {whole}s for seconds"))
            }
            other => Err(format!("is {}; write a duration like 90s or 5m", other.kind())),
        };
        let read = read.and_then(|duration| {
            if duration < least.0 {
                return Err(format!("must be at least {}", least.1));
            }
            Ok(duration)
        });
        read.map_err(|error| self.report.wrong(node.place, format!("\"{key}\" {error}"))).ok()
    }

    /// A rate.
    pub(super) fn rate(&mut self, key: &'static str) -> Option<Rate> {
        let node = self.get(key)?;
        let read = match &node.value {
            Value::Text(text) => rate::parse(&text.value),
            other => Err(format!("is {}; write a rate like 1/s or 20/min", other.kind())),
        };
        read.map_err(|error| self.report.wrong(node.place, format!("\"{key}\" {error}"))).ok()
    }

    /// A whole number of at least `least`; what was put in from the environment is text.
    pub(super) fn whole(&mut self, key: &'static str, least: usize) -> Option<usize> {
        let node = self.get(key)?;
        let whole = match &node.value {
            Value::Number(Numeral { number: Number::Whole(whole), .. }) => {
                usize::try_from(*whole).ok()
            }
            Value::Text(text) => text.value.parse().ok(),
            _ => None,
        };
        // There is nothing of which there are more.
        if whole.is_some_and(|whole| u32::try_from(whole).is_err()) {
            self.report.wrong(node.place, format!("\"{key}\" is too large a number"));
            return None;
        }
        let whole = whole.filter(|whole| *whole >= least);
        if whole.is_none() {
            let message = format!("\"{key}\" must be a whole number of at least {least}");
            self.report.wrong(node.place, message);
        }
        whole
    }

    /// `http://…` or `https://…`.
    pub(super) fn web_url(&mut self, key: &'static str) -> Option<String> {
        let place = self.get(key)?.place;
        let url = self.filled(key)?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let clean = !url.contains(|char: char| char.is_whitespace() || char.is_control());
        if clean && host.is_some_and(|host| !host.is_empty()) {
            return Some(url);
        }
        self.report.wrong(place, format!("\"{key}\" must be a URL like https://host/path"));
        None
    }

    /// A list of strings, or one string, with their places.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<(Place, &'a Text)>> {
        let node = self.get(key)?;
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Text(_) => std::slice::from_ref(node),
            other => {
                let (kind, hint) = (other.kind(), other.quotes());
                let message = format!("\"{key}\" must be text or a list, and is {kind}{hint}");
                self.report.wrong(node.place, message);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Text(text) => texts.push((item.place, text)),
                other => {
                    let (kind, hint) = (other.kind(), other.quotes());
                    let message = format!("\"{key}\" must list texts, and this is {kind}{hint}");
                    self.report.wrong(item.place, message);
                }
            }
        }
        Some(texts)
    }

    /// Reports every key that was not asked for: those of `later` as not supported yet, any other
    /// as unknown.
    pub(super) fn finish(self, later: &[&str]) {
        for (key, value) in self.entries {
            let text = key.text.as_str();
            if self.asked.contains(&text) {
                continue;
            }
            if later.contains(&text) {
                self.report.wrong(key.place, format!("{} is not supported yet", quoted(text)));
                continue;
            }
            let mut known = self.asked.clone();
            known.sort_unstable();
            known.dedup();
            let hint = did_you_mean(text, known.iter().chain(later).copied());
            let known = format!("; known here: {}", known.join(", "));
            let message = match value.value {
                _ if !hint.is_empty() => format!("unknown key {}{hint}", quoted(text)),
                // It may be a secret that was to stand under one of them.
                Value::Null => format!("this is no key that is known, and has no value{known}"),
                _ if text.contains("://") => format!("an address is no key{known}"),
                _ => format!("unknown key {}{known}", quoted(text)),
            };
            self.report.wrong(key.place, message);
        }
    }
}

/// The entries of a mapping; nothing at all is an empty one.
pub(super) fn entries<'a>(
    node: &'a Node,
    what: &str,
    report: &Report,
) -> Option<&'a [(Key, Node)]> {
    match &node.value {
        Value::Mapping(entries) => Some(entries),
        Value::Null => Some(&[]),
        other => {
            report.wrong(node.place, format!("{what} must be a mapping, and is {}", other.kind()));
            None
        }
    }
}

/// A string; a whole number is one too, if it reads the same with quotes.
pub(super) fn text(node: &Node, key: &str, report: &Report) -> Option<String> {
    let text = node.value.as_text();
    if text.is_none() {
        let (kind, hint) = (node.value.kind(), node.value.quotes());
        report.wrong(node.place, format!("\"{key}\" must be text, and is {kind}{hint}"));
    }
    text.map(Cow::into_owned)
}
