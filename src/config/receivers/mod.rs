//! `receivers`: the named places to tell. A list of places is one name, too.

mod kinds;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::fields::{self, Fields};
use super::report::{Report, quoted};
use super::secrets::Secrets;
use super::yaml::{Key, Node, Place, Value};
use super::{CONSOLE, Receiver, Validate};
use kinds::KINDS;

pub use kinds::ReceiverKind;

const TIMEOUT: Duration = Duration::from_secs(10);
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What reading a receiver needs to know.
pub(super) struct Reader<'a> {
    secrets: Secrets<'a>,
    validate: &'a Validate<'a>,
    report: &'a Report,
    /// The fallbacks that receivers name, with their places.
    fallbacks: RefCell<BTreeMap<String, (&'a Node, String)>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        secrets: Secrets<'a>,
        validate: &'a Validate<'a>,
        report: &'a Report,
    ) -> Reader<'a> {
        Reader { secrets, validate, report, fallbacks: RefCell::default() }
    }
}

impl Receiver {
    /// The console, as it is where no receiver is given.
    #[must_use]
    pub fn console() -> Receiver {
        Receiver::new(CONSOLE, ReceiverKind::Console)
    }

    /// Whether it has no address, so that nothing can be sent to it.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.missing_address().is_some()
    }

    /// The key of the address that came out empty.
    pub(super) fn missing_address(&self) -> Option<&'static str> {
        self.kind.missing_address()
    }

    fn new(name: &str, kind: ReceiverKind) -> Receiver {
        Receiver {
            name: name.to_owned(),
            timeout: TIMEOUT,
            give_up_after: GIVE_UP_AFTER,
            fallback: None,
            rate: kind.usual_rate(),
            kind,
            allow_http: false,
        }
    }
}

/// Whom to tell: every receiver by its name, and the names that stand for a list of them.
///
/// The parts of a list are receivers like any other, named after it and their kinds
/// (`team/slack`): each has a queue of its own, so that the trouble of one repeats nothing to the
/// others.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    each: BTreeMap<String, Receiver>,
    lists: BTreeMap<String, Vec<String>>,
}

impl Deref for Receivers {
    type Target = BTreeMap<String, Receiver>;

    fn deref(&self) -> &Self::Target {
        &self.each
    }
}

impl Receivers {
    /// The names of the receivers that a name stands for: the parts of a list, or itself; none if
    /// there is no such name.
    #[must_use]
    pub fn parts(&self, name: &str) -> Vec<&str> {
        match self.lists.get(name) {
            Some(parts) => parts.iter().map(String::as_str).collect(),
            None => {
                self.each.get_key_value(name).map(|(name, _)| name.as_str()).into_iter().collect()
            }
        }
    }

    /// Every name that can be told.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.each.keys().chain(self.lists.keys()).map(String::as_str)
    }

    /// Whether this one stands in for another.
    pub(super) fn fall_back_to(&self, name: &str) -> bool {
        self.each.values().any(|receiver| receiver.fallback.as_deref() == Some(name))
    }

    /// Who stands in for whom: name → fallback. One that is off stands in for nobody.
    pub(super) fn fallbacks(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let is_on = |name: &str| self.each.get(name).is_some_and(|receiver| !receiver.is_off());
        let named = self.each.values().filter_map(|receiver| {
            let fallback = receiver.fallback.as_deref().filter(|name| is_on(name))?;
            Some((receiver.name.as_str().into(), fallback.into()))
        });
        named.collect()
    }

    /// Adds the console, if there is none.
    pub(super) fn add_console(&mut self) {
        self.each.entry(CONSOLE.to_owned()).or_insert_with(Receiver::console);
    }
}

impl<'a> Reader<'a> {
    /// Every receiver by name. One that is wrong is among them as well, as a console: so that
    /// those who name it are not told that there is no such receiver.
    pub(super) fn read(&self, node: Option<&'a Node>) -> Receivers {
        let receivers = self.read_each(node);
        self.check_fallbacks(&receivers);
        receivers
    }

    fn read_each(&self, node: Option<&'a Node>) -> Receivers {
        let entries = node.and_then(|node| fields::entries(node, "\"receivers\"", self.report));
        let mut receivers = Receivers::default();
        for (key, node) in entries.unwrap_or_default() {
            if key.text.trim().is_empty() {
                self.report.wrong(key.place, "a receiver needs a name");
            }
            let Value::List(items) = &node.value else {
                self.add(&mut receivers, &key.text, key.place, node);
                continue;
            };
            if items.is_empty() || key.text == CONSOLE {
                let message = match items.is_empty() {
                    true => format!("receiver {} lists nothing", quoted(&key.text)),
                    false => "the name \"console\" is kept for the console".to_owned(),
                };
                self.report.wrong(key.place, message);
            }
            if items.is_empty() {
                receivers.each.insert(key.text.clone(), stand_in(&key.text));
                continue;
            }
            let mut parts = Vec::new();
            for item in items {
                let name = part_name(key, item, &parts);
                self.add(&mut receivers, &name, item.place, item);
                parts.push(name);
            }
            receivers.lists.insert(key.text.clone(), parts);
        }
        receivers
    }

    /// Fallbacks have to be there, be one receiver each, and lead to an end.
    fn check_fallbacks(&self, receivers: &Receivers) {
        for (name, (node, fallback)) in &*self.fallbacks.borrow() {
            let (place, written) = (node.place, node.value.written());
            let known = receivers.get(fallback).is_some() || fallback == CONSOLE;
            let parts = receivers.parts(fallback);
            if !known && !parts.is_empty() {
                let message = format!(
                    "\"fallback\" is one receiver, and {written} is a list; name a part of it, \
                     like {}",
                    quoted(parts[0])
                );
                self.report.wrong(place, message);
            } else if !known {
                let hint = node.value.hint(receivers.names());
                self.report.wrong(place, format!("unknown receiver {written}{hint}"));
            }
            let mut chain = vec![name.as_str()];
            let mut next = Some(fallback.as_str());
            while let Some(receiver) = next.filter(|next| !chain.contains(next)) {
                chain.push(receiver);
                next = receivers.get(receiver).and_then(|receiver| receiver.fallback.as_deref());
            }
            // Of those in a circle one is told, and of those that lead into it none.
            let first_of_circle =
                next == Some(name) && chain.iter().min().is_some_and(|first| first == name);
            if first_of_circle {
                chain.push(name);
                let message = format!(
                    "these stand in for each other for ever: {}; leave one of them without a \
                     \"fallback\"",
                    chain.join(" → ")
                );
                self.report.wrong(place, message);
            }
            let off = receivers.get(fallback).and_then(Receiver::missing_address);
            let stands_in = receivers.get(name).is_some_and(|receiver| !receiver.is_off());
            if off.is_some() && stands_in {
                self.report.note(format!(
                    "nobody stands in for receiver {}: its fallback {} is off",
                    quoted(name),
                    quoted(fallback)
                ));
            }
        }
    }

    fn add(&self, receivers: &mut Receivers, name: &str, place: Place, node: &'a Node) {
        let receiver = self.receiver(name, place, node);
        let receiver = receiver.unwrap_or_else(|| stand_in(name));
        // A key that is there twice has been reported already.
        let another = receivers.each.insert(name.to_owned(), receiver);
        if another.is_some() && name.contains('/') {
            let message = format!(
                "another receiver is named {} already, which is how the parts of a list are named; \
                 name this one otherwise",
                quoted(name)
            );
            self.report.wrong(place, message);
        }
    }

    fn receiver(&self, name: &str, place: Place, node: &'a Node) -> Option<Receiver> {
        let before = self.report.count();
        let what = format!("receiver {}", quoted(name));
        let mut fields = Fields::of(node, &what, self.report)?;
        let given: Vec<(&'static str, &Node)> =
            KINDS.iter().filter_map(|kind| Some((*kind, fields.get(kind)?))).collect();
        let least = (Duration::from_millis(1), "1ms");
        let timeout = fields.duration("timeout", least).unwrap_or(TIMEOUT);
        let give_up_after = fields.duration("give_up_after", least).unwrap_or(GIVE_UP_AFTER);
        let allow_http = fields.bool("allow_http").unwrap_or_default();
        let rate = fields.rate("rate");
        let fallback = fields.get("fallback").zip(fields.filled("fallback"));
        if let Some(fallback) = fallback.clone() {
            self.fallbacks.borrow_mut().insert(name.to_owned(), fallback);
        }
        let fallback = fallback.map(|(_, name)| name);
        fields.finish(&[]);

        let (kind, node) = match given.as_slice() {
            [one] => *one,
            [] => {
                // An unknown kind has been reported already.
                if self.report.count() == before {
                    let message = format!("{what} needs a kind: {}", KINDS.join(", "));
                    self.report.wrong(place, message);
                }
                return None;
            }
            [_, (kind, second), ..] => {
                let message = format!("{what} has a kind already; \"{kind}\" is one too many");
                self.report.wrong(second.place, message);
                return None;
            }
        };
        if name == CONSOLE && kind != "console" {
            let message = "the name \"console\" is kept for the console; name this one otherwise";
            self.report.wrong(place, message);
        }
        let kind = self.kind(kind, node)?;
        let usual = Receiver::new(name, kind);
        let rate = rate.or(usual.rate);
        let receiver = Receiver { timeout, give_up_after, fallback, rate, allow_http, ..usual };
        if self.report.count() == before && !receiver.is_off() {
            for (wrong, message) in (self.validate)(&receiver) {
                match entry_of(wrong, node) {
                    Some((key, value)) if key.text != wrong => {
                        let message = format!("what the file of \"{}\" holds {message}", key.text);
                        self.report.wrong(value.place, message);
                    }
                    Some((_, value)) => self.report.wrong(value.place, as_written(message, value)),
                    None => self.report.wrong(place, message),
                }
            }
        }
        Some(receiver)
    }
}

/// `team/slack`, and `team/slack-2` for the next one of that kind.
fn part_name(list: &Key, part: &Node, before: &[String]) -> String {
    let kind = match &part.value {
        Value::Mapping(entries) => {
            let known = |kind: &&str| entries.iter().any(|(key, _)| key.text == *kind);
            KINDS.into_iter().find(known)
        }
        _ => None,
    };
    let name = format!("{}/{}", list.text, kind.unwrap_or("unknown"));
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !before.contains(name))
        .unwrap_or(name)
}

/// The entry of this key, or of the file in which it is.
fn entry_of<'a>(key: &str, kind: &'a Node) -> Option<&'a (Key, Node)> {
    let Value::Mapping(entries) = &kind.value else { return None };
    let named = |(found, _): &&(Key, Node)| {
        found.text == key || found.text.strip_suffix("_file") == Some(key)
    };
    entries.iter().find(named)
}

/// The message with what the file has, in place of what variables made of it.
fn as_written(message: String, node: &Node) -> String {
    match &node.value {
        Value::Text(text) if text.written != text.value => {
            message.replace(&format!("{:?}", text.value.trim()), &quoted(&text.written))
        }
        Value::List(items) => items.iter().fold(message, as_written),
        _ => message,
    }
}

/// What stands here for a receiver that is wrong.
fn stand_in(name: &str) -> Receiver {
    Receiver::new(name, ReceiverKind::Console)
}

/// The names of the receivers listed here, each once, with the parts of lists in their places; those
/// that are none are reported.
pub(super) fn names(
    fields: &mut Fields<'_>,
    receivers: &Receivers,
    report: &Report,
) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (place, text) in fields.texts("notify")? {
        let parts = match receivers.parts(&text.value) {
            parts if parts.is_empty() && text.value == CONSOLE => vec![CONSOLE],
            parts => parts,
        };
        if parts.is_empty() {
            let hint = text.hint(receivers.names());
            report.wrong(place, format!("unknown receiver {}{hint}", quoted(&text.written)));
        }
        for part in parts {
            if !names.iter().any(|name| name == part) {
                names.push(part.to_owned());
            }
        }
    }
    Some(names)
}
