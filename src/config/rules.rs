//! `defaults` and `rules`: whom to tell of what.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::conditions;
use super::fields::{self, Fields};
use super::receivers;
use super::report::{Report, quoted};
use super::yaml::{Node, Place, Text, Value};
use super::{CONSOLE, Receiver};
use crate::clock::Timestamp;
use crate::message::Templates;
use crate::rules::{Condition, PER, Rule, Rules, Severity};

/// Keys that a later version has.
const LATER: [&str; 9] =
    ["on", "for", "count", "within", "per", "expire_after", "mute_during", "late", "tests"];

/// Labels that every alert has, beside its key.
const OWN: [&str; 2] = ["rule", "severity"];

/// How long after its last occurrence a container leaves an alert by itself (DESIGN.md §5).
const EXPIRE_AFTER: Duration = Duration::from_secs(24 * 3600);

const AT_LEAST_0: (Duration, &str) = (Duration::ZERO, "0s");
const AT_LEAST_1S: (Duration, &str) = (Duration::from_secs(1), "1s");

/// What reading the rules needs to know.
pub(super) struct Reader<'a> {
    pub(super) receivers: &'a BTreeMap<String, Receiver>,
    pub(super) report: &'a Report,
}

/// What holds for a rule that does not say otherwise.
struct Defaults<'a> {
    notify: Vec<String>,
    names_nobody: bool,
    group_by: Vec<String>,
    group_by_written: Vec<(Place, &'a Text)>,
    timing: Timing,
}

/// When groups speak, and of what.
#[derive(Clone, Copy)]
struct Timing {
    group_wait: Duration,
    group_interval: Duration,
    repeat_interval: Duration,
    send_resolved: bool,
}

impl Reader<'_> {
    /// The rules and their templates.
    pub(super) fn read(
        &self,
        defaults: Option<&Node>,
        rules: Option<&Node>,
    ) -> (Vec<Rule>, Templates) {
        let defaults = self.defaults(defaults);
        let mut templates = Templates::new();
        let mut read = Vec::new();
        let mut names = HashSet::new();
        let mut labels: BTreeSet<String> = known_labels().map(str::to_owned).collect();
        let items = match rules.map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => &[],
            Some((_, Value::List(items))) => items.as_slice(),
            Some((node, other)) => {
                let message = format!("\"rules\" must be a list, and is {}", other.kind());
                self.report.wrong(node.place, message);
                return (read, templates);
            }
        };
        if items.is_empty() {
            self.report.note("there are no rules: nothing will be told".into());
        }
        for item in items {
            if let Some(rule) = self.rule(item, &defaults, &mut names, &mut templates) {
                labels.extend(rule.labels.keys().cloned());
                read.push(rule);
            }
        }
        self.check_default_labels(&defaults, &labels);
        (read, templates)
    }

    fn defaults<'a>(&'a self, node: Option<&'a Node>) -> Defaults<'a> {
        let mut defaults = Defaults {
            notify: Vec::new(),
            names_nobody: true,
            group_by: vec!["application".into(), "service".into()],
            group_by_written: Vec::new(),
            timing: Timing {
                group_wait: Duration::from_secs(5),
                group_interval: Duration::from_secs(5 * 60),
                repeat_interval: Duration::from_secs(4 * 3600),
                send_resolved: true,
            },
        };
        let fields = node.and_then(|node| Fields::of(node, "\"defaults\"", self.report));
        let Some(mut fields) = fields else { return defaults };
        defaults.names_nobody = names_nobody(&mut fields);
        let notify = receivers::names(&mut fields, self.receivers, self.report);
        defaults.notify = notify.unwrap_or_default();
        if let Some(labels) = fields.texts("group_by") {
            defaults.group_by = labels.iter().map(|(_, text)| text.value.clone()).collect();
            defaults.group_by_written = labels;
        }
        defaults.timing = defaults.timing.read(&mut fields);
        fields.finish(&[]);
        defaults
    }

    /// A label that no rule has is a slip of the pen, and would group nothing.
    fn check_default_labels(&self, defaults: &Defaults<'_>, labels: &BTreeSet<String>) {
        for (place, label) in &defaults.group_by_written {
            if !labels.contains(&label.value) {
                self.unknown_label(*place, label, labels.iter().map(String::as_str));
            }
        }
    }

    fn unknown_label<'b>(
        &self,
        place: Place,
        label: &Text,
        known: impl Iterator<Item = &'b str> + Clone,
    ) {
        let hint = match label.hint(known.clone()) {
            hint if hint.is_empty() => {
                format!("; there are {}", known.collect::<Vec<&str>>().join(", "))
            }
            hint => hint,
        };
        self.report.wrong(place, format!("unknown label {}{hint}", quoted(&label.written)));
    }

    fn rule(
        &self,
        node: &Node,
        defaults: &Defaults<'_>,
        names: &mut HashSet<String>,
        templates: &mut Templates,
    ) -> Option<Rule> {
        if let Value::Null = node.value {
            self.report.wrong(node.place, "a rule must be a mapping, and is empty");
            return None;
        }
        let mut fields = Fields::of(node, "a rule", self.report)?;
        let name = self.name(&mut fields, names);
        let rule_words = match fields.get("name") {
            Some(node) if name.is_some() => format!("rule {}", node.value.written()),
            _ => "this rule".to_owned(),
        };
        let when = match fields.get("when") {
            Some(node) => Some((node, conditions::condition(node, "\"when\"", self.report))),
            None => {
                self.report.wrong(fields.place, format!("{rule_words} has no \"when\""));
                None
            }
        };
        let resolve = fields.get("resolve");
        let resolve = resolve.map(|node| (node, self.resolve(node)));
        let labels = self.labels(&mut fields);
        let notify = self.notify(&mut fields, &rule_words, defaults);
        let group_by = self.group_by(&mut fields, &labels, defaults);
        let timing = defaults.timing.read(&mut fields);
        let severity = self.severity(&mut fields);
        let description = fields.text("description");
        let runbook_url = fields.web_url("runbook_url");
        let (title, message) = (fields.text("title"), fields.text("message"));
        let template_places = ["title", "message"].map(|key| (key, fields.get(key)));
        let whole = fields.place;
        fields.finish(&LATER);

        let when_node = when.as_ref().map(|(node, _)| *node);
        let resolve_node = resolve.as_ref().map(|(node, _)| *node);
        let fingerprint = fingerprint(when_node, resolve_node, &labels);
        let when = when.and_then(|(_, condition)| condition);
        let resolve = match resolve {
            Some((_, resolve)) => resolve,
            None => Some(Condition::default_resolve()),
        };
        let complete = name.is_some() && when.is_some() && resolve.is_some();
        // What cannot be read is stood in for, so that the templates are checked all the same.
        let rule = Rule {
            name: name.unwrap_or_default().into(),
            severity,
            when: when.unwrap_or_else(Condition::default_resolve),
            resolve: resolve.unwrap_or_else(Condition::default_resolve),
            expire_after: EXPIRE_AFTER,
            notify,
            group_by,
            group_wait: timing.group_wait,
            group_interval: timing.group_interval,
            repeat_interval: timing.repeat_interval,
            send_resolved: timing.send_resolved,
            labels,
            runbook_url,
            description,
            fingerprint,
            since: Timestamp::default(),
        };
        if title.is_some() || message.is_some() {
            for (key, wrong) in templates.add(&rule, title.as_deref(), message.as_deref()) {
                let node = template_places.iter().find(|(known, _)| *known == key);
                let place = node.and_then(|(_, node)| *node).map_or(whole, |node| node.place);
                self.report.wrong(place, wrong);
            }
        }
        complete.then_some(rule)
    }

    fn name(&self, fields: &mut Fields<'_>, names: &mut HashSet<String>) -> Option<String> {
        let Some(node) = fields.get("name") else {
            self.report.wrong(fields.place, "a rule needs a \"name\"");
            return None;
        };
        let name = fields.filled("name")?;
        if !names.insert(name.clone()) {
            let message = format!("another rule is named {} already", node.value.written());
            self.report.wrong(node.place, message);
        }
        Some(name)
    }

    fn resolve(&self, node: &Node) -> Option<Condition> {
        if matches!(&node.value, Value::Text(text) if text.value == "never") {
            self.report.wrong(node.place, "\"resolve: never\" is not supported yet");
            return None;
        }
        conditions::condition(node, "\"resolve\"", self.report)
    }

    fn labels(&self, fields: &mut Fields<'_>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let Some(node) = fields.get("labels") else { return labels };
        for (key, value) in fields::entries(node, "\"labels\"", self.report).unwrap_or_default() {
            if known_labels().any(|known| known == key.text) {
                let message =
                    format!("every alert has its own label \"{}\"; take another name", key.text);
                self.report.wrong(key.place, message);
            } else if key.text.trim().is_empty() {
                self.report.wrong(key.place, "a label needs a name");
            } else if let Some(value) = fields::text(value, &key.text, self.report) {
                labels.insert(key.text.clone(), value);
            }
        }
        labels
    }

    /// Who is told: those named, but for the ones that are off; the console if none is left.
    fn notify(&self, fields: &mut Fields<'_>, rule: &str, defaults: &Defaults<'_>) -> Vec<String> {
        let (named, nobody) = match receivers::names(fields, self.receivers, self.report) {
            Some(named) => (named, names_nobody(fields)),
            None if fields.get("notify").is_some() => (Vec::new(), false),
            None => (defaults.notify.clone(), defaults.names_nobody),
        };
        if nobody && !self.receivers.is_empty() {
            let message = format!("{rule} tells nobody; give it \"notify\", or \"defaults\" one");
            self.report.wrong(fields.place, message);
        }
        let on = |name: &String| !self.receivers.get(name).is_some_and(Receiver::is_off);
        let on: Vec<String> = named.into_iter().filter(on).collect();
        if on.is_empty() { vec![CONSOLE.to_owned()] } else { on }
    }

    fn group_by(
        &self,
        fields: &mut Fields<'_>,
        labels: &BTreeMap<String, String>,
        defaults: &Defaults<'_>,
    ) -> Vec<String> {
        let there = |label: &String| {
            known_labels().any(|known| known == label) || labels.contains_key(label)
        };
        let Some(written) = fields.texts("group_by") else {
            return defaults.group_by.iter().filter(|label| there(label)).cloned().collect();
        };
        let mut group_by: Vec<String> = Vec::new();
        for (place, text) in written {
            if !there(&text.value) {
                let known = known_labels().chain(labels.keys().map(String::as_str));
                self.unknown_label(place, text, known);
            } else if !group_by.contains(&text.value) {
                group_by.push(text.value.clone());
            }
        }
        group_by
    }

    fn severity(&self, fields: &mut Fields<'_>) -> Severity {
        const ALL: [Severity; 3] = [Severity::Critical, Severity::Warning, Severity::Info];
        let Some(node) = fields.get("severity") else { return Severity::default() };
        let Some(name) = fields.text("severity") else { return Severity::default() };
        ALL.into_iter().find(|severity| severity.as_str() == name).unwrap_or_else(|| {
            let hint = match &node.value {
                Value::Text(text) => text.hint(ALL.iter().map(|severity| severity.as_str())),
                _ => String::new(),
            };
            let message = format!("\"severity\" must be critical, warning or info{hint}");
            self.report.wrong(node.place, message);
            Severity::default()
        })
    }
}

impl Timing {
    /// This, but for what is said here.
    fn read(mut self, fields: &mut Fields<'_>) -> Timing {
        let mut read = |key, least, into: &mut Duration| {
            *into = fields.duration(key, least).unwrap_or(*into);
        };
        read("group_wait", AT_LEAST_0, &mut self.group_wait);
        read("group_interval", AT_LEAST_1S, &mut self.group_interval);
        read("repeat_interval", AT_LEAST_1S, &mut self.repeat_interval);
        self.send_resolved = fields.bool("send_resolved").unwrap_or(self.send_resolved);
        self
    }
}

/// Whether no receiver is named here, rather than one that has been reported.
fn names_nobody(fields: &mut Fields<'_>) -> bool {
    let listed = |node: &Node| !matches!(&node.value, Value::List(items) if items.is_empty());
    !fields.get("notify").is_some_and(listed)
}

/// The labels of every alert.
fn known_labels<'a>() -> impl Iterator<Item = &'a str> + Clone {
    OWN.into_iter().chain(PER)
}

/// A digest of what the rule derives from, and not of how that is told.
fn fingerprint(
    when: Option<&Node>,
    resolve: Option<&Node>,
    labels: &BTreeMap<String, String>,
) -> String {
    // Objects in JSON are sorted by key, so that the order in the file does not count.
    let json = |node: Option<&Node>| node.map(|node| node.value.to_json());
    let derived_from = serde_json::json!([json(when), json(resolve), labels, PER]);
    let digest = Sha256::digest(derived_from.to_string());
    digest.iter().take(16).fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What an operator should know of receivers that are off.
pub(super) fn note_those_off(
    receivers: &BTreeMap<String, Receiver>,
    rules: &Rules,
    report: &Report,
) {
    let mut off = Vec::new();
    for receiver in receivers.values() {
        if let Some(key) = receiver.missing_address() {
            off.push(&receiver.name);
            report.note(format!(
                "receiver {} is off: its \"{key}\" is empty",
                quoted(&receiver.name)
            ));
        }
    }
    if off.is_empty() {
        return;
    }
    let to_console = rules.iter().filter(|rule| rule.notify == [CONSOLE]);
    let names: Vec<String> = to_console.map(|rule| quoted(&rule.name)).collect();
    const NAMED: usize = 10;
    let more = match names.len().checked_sub(NAMED) {
        None | Some(0) => String::new(),
        Some(more) => format!(" and {more} more"),
    };
    if !names.is_empty() {
        let first: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
        report.note(format!("told on the console: {}{more}", first.join(", ")));
    }
}
