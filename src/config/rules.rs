//! `defaults` and `rules`: whom to tell of what.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::conditions;
use super::fields::{self, Fields};
use super::mutes::{self, MuteTimes};
use super::receivers;
use super::report::{Report, quoted};
use super::server::Keep;
use super::yaml::{Node, Place, Text, Value};
use super::{CONSOLE, Receiver, Receivers, duration};
use crate::clock::Timestamp;
use crate::message::Templates;
use crate::rules::{
    Condition, EXPIRE_AFTER, Field, GAP, Late, On, PER, RECEIVER_DOWN, Resolve, Rule, Rules,
    Severity, Threshold,
};

/// Labels that every alert has, beside its key.
const OWN: [&str; 2] = ["rule", "severity"];

const AT_LEAST_0: (Duration, &str) = (Duration::ZERO, "0s");
const AT_LEAST_1S: (Duration, &str) = (Duration::from_secs(1), "1s");

/// What reading the rules needs to know.
pub(super) struct Reader<'a> {
    pub(super) keep: Keep,
    pub(super) receivers: &'a Receivers,
    pub(super) mute_times: &'a MuteTimes,
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

/// How alerts of a rule begin and end.
struct Course {
    hold: Option<Duration>,
    threshold: Option<Threshold>,
    /// `None` if it cannot be read.
    resolve: Option<Resolve>,
    expire_after: Duration,
    late: Late,
}

/// That of a silence: it begins after a while, and ends when something is heard.
impl Default for Course {
    fn default() -> Course {
        Course {
            hold: None,
            threshold: None,
            resolve: Some(Resolve::EndOfRun),
            expire_after: EXPIRE_AFTER,
            late: Late::default(),
        }
    }
}

impl Reader<'_> {
    /// The rules and their templates. What is wrong in one that has a name is stood in for, so that
    /// those who name the rule are not told that there is none.
    pub(super) fn read(
        &self,
        defaults: Option<&Node>,
        rules: Option<&Node>,
    ) -> (Vec<Rule>, Templates) {
        let defaults = self.defaults(defaults);
        let mut templates = Templates::new();
        let mut read = Vec::new();
        let mut names = HashSet::new();
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
                read.push(rule);
            }
        }
        self.check_default_labels(&defaults, &labels(&read));
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
        let kind = self.on(&mut fields);
        let on = kind.unwrap_or_default();
        let when_node = fields.get("when");
        let when = match when_node {
            Some(node) => conditions::condition(node, "\"when\"", self.report),
            None if kind != Some(On::Event) => Some(Condition::any()),
            None => {
                self.report.wrong(fields.place, format!("{rule_words} has no \"when\""));
                None
            }
        };
        let hold = fields.duration("for", AT_LEAST_1S);
        let per = self.per(&mut fields);
        let resolve_node = fields.get("resolve");
        let Course { hold, threshold, resolve, expire_after, late } = match on {
            On::Event => self.course(&mut fields, hold),
            On::Gap => Course {
                hold: hold.or(Some(GAP)),
                resolve: Some(Resolve::Never),
                late: self.late(&mut fields),
                ..Course::default()
            },
            On::Silence => Course { hold, ..Course::default() },
        };
        self.check_kind(&mut fields, on, &rule_words);
        let looks_back = [
            ("for", hold),
            ("within", threshold.map(|threshold| threshold.within)),
            ("expire_after", Some(expire_after)),
        ];
        self.check_kept(&mut fields, looks_back, &rule_words);
        let known = known_labels(&per);
        let labels = self.labels(&mut fields, &known);
        let notify = self.notify(&mut fields, &rule_words, defaults);
        let group_by = self.group_by(&mut fields, &known, &labels, defaults);
        let timing = defaults.timing.read(&mut fields);
        let mute_during = mutes::named(&mut fields, self.mute_times, self.report);
        let severity = self.severity(&mut fields);
        let description = fields.text("description");
        let runbook_url = fields.web_url("runbook_url");
        let (title, message) = (fields.text("title"), fields.text("message"));
        let template_places = ["title", "message"].map(|key| (key, fields.get(key)));
        let whole = fields.place;
        fields.finish(&[]);

        let json = |node: Option<&Node>| node.map(|node| node.value.to_json());
        let names: Vec<String> = per.iter().map(Field::to_string).collect();
        let fingerprint = fingerprint(&serde_json::json!([
            on,
            json(when_node),
            json(resolve_node),
            labels,
            names,
            hold,
            expire_after,
            threshold.map(|threshold| (threshold.count, threshold.within))
        ]));
        let has_name = name.is_some();
        // What cannot be read is stood in for, so that the templates are checked all the same.
        let rule = Rule {
            name: name.unwrap_or_default().into(),
            severity,
            on,
            when: when.unwrap_or_else(Condition::default_resolve),
            hold,
            threshold,
            per,
            resolve: resolve.unwrap_or(Resolve::Never),
            expire_after,
            late,
            notify,
            group_by,
            group_wait: timing.group_wait,
            group_interval: timing.group_interval,
            repeat_interval: timing.repeat_interval,
            send_resolved: timing.send_resolved,
            mute_during,
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
        has_name.then_some(rule)
    }

    /// What the rule's alerts are of, if that can be read.
    fn on(&self, fields: &mut Fields<'_>) -> Option<On> {
        const ALL: [(&str, On); 3] =
            [("event", On::Event), ("gap", On::Gap), ("silence", On::Silence)];
        match fields.get("on") {
            Some(_) => self.choice(fields, "on", &ALL, "event, gap or silence"),
            None => Some(On::Event),
        }
    }

    /// How alerts of events go.
    fn course(&self, fields: &mut Fields<'_>, hold: Option<Duration>) -> Course {
        let threshold = self.threshold(fields);
        let resolve = match fields.get("resolve") {
            Some(node) => self.resolve(node),
            None if fields.get("for").is_some() => Some(Resolve::EndOfRun),
            None => Some(Resolve::When(Condition::default_resolve())),
        };
        let expire_after = self.expire_after(fields, hold, resolve.as_ref());
        Course { hold, threshold, resolve, expire_after, late: self.late(fields) }
    }

    /// What a rule looks back on has to be there still.
    fn check_kept(
        &self,
        fields: &mut Fields<'_>,
        looks_back: [(&'static str, Option<Duration>); 3],
        rule: &str,
    ) {
        for (key, length) in looks_back {
            let (Some(length), Some(node)) = (length, fields.get(key)) else { continue };
            if length < self.keep.length {
                continue;
            }
            let (length, kept) = (duration::write(length), duration::write(self.keep.length));
            match self.keep.place {
                Some(place) => {
                    let message =
                        format!("\"keep\" must be longer than \"{key}\" of {rule}, {length}");
                    self.report.wrong(place, message);
                }
                None => {
                    let message = format!(
                        "\"{key}\" must be shorter than \"storage.keep\", which is {kept} unless \
                         given"
                    );
                    self.report.wrong(node.place, message);
                }
            }
        }
    }

    /// What a rule on a gap or a silence needs, and what means nothing to it.
    fn check_kind(&self, fields: &mut Fields<'_>, on: On, rule: &str) {
        let (on, why, keys): (_, _, &[&'static str]) = match on {
            On::Event => return,
            On::Gap => {
                let why = "each gap is news by itself, told once";
                ("gap", why, &["resolve", "expire_after", "count", "within"])
            }
            On::Silence => {
                if fields.get("for").is_none() {
                    let message = format!(
                        "{rule} is on a silence and needs \"for\": how long nothing is to be heard"
                    );
                    self.report.wrong(fields.place, message);
                }
                let why = "a silence lasts until something is heard again";
                ("silence", why, &["resolve", "expire_after", "count", "within", "late"])
            }
        };
        for key in keys {
            if let Some(node) = fields.get(key) {
                let message =
                    format!("\"{key}\" means nothing beside \"on: {on}\": {why}; leave it out");
                self.report.wrong(node.place, message);
            }
        }
    }

    fn name(&self, fields: &mut Fields<'_>, names: &mut HashSet<String>) -> Option<String> {
        let Some(node) = fields.get("name") else {
            self.report.wrong(fields.place, "a rule needs a \"name\"");
            return None;
        };
        let name = fields.filled("name")?;
        if name == RECEIVER_DOWN {
            let message = format!(
                "the name \"{name}\" is kept for receivers that are down; name this rule otherwise"
            );
            self.report.wrong(node.place, message);
        }
        if !names.insert(name.clone()) {
            let message = format!("another rule is named {} already", node.value.written());
            self.report.wrong(node.place, message);
        }
        Some(name)
    }

    /// `count` and `within`, which mean nothing one without the other, nor beside what makes an
    /// alert last.
    fn threshold(&self, fields: &mut Fields<'_>) -> Option<Threshold> {
        let (count, within) = (fields.whole("count", 1), fields.duration("within", AT_LEAST_1S));
        match (fields.get("count"), fields.get("within")) {
            (None, None) => return None,
            (Some(node), None) => {
                let message = "\"count\" needs \"within\": so many in how long, like 10m";
                self.report.wrong(node.place, message);
            }
            (None, Some(node)) => {
                let message = "\"within\" needs \"count\": how many occurrences make an alert";
                self.report.wrong(node.place, message);
            }
            (Some(_), Some(_)) => {}
        }
        for key in ["for", "resolve", "expire_after"] {
            if let Some(node) = fields.get(key) {
                let message = format!(
                    "\"{key}\" means nothing beside \"count\" and \"within\": the alert lasts while \
                     the last \"within\" holds so many; keep one of them"
                );
                self.report.wrong(node.place, message);
            }
        }
        Some(Threshold { count: count?, within: within? })
    }

    /// The fields that an alert's key is made of.
    fn per(&self, fields: &mut Fields<'_>) -> Vec<Field> {
        let Some(node) = fields.get("per") else { return PER.to_vec() };
        let Some(written) = fields.texts("per") else { return PER.to_vec() };
        let mut per: Vec<Field> = Vec::new();
        for (place, text) in &written {
            match Field::named(&text.value) {
                Some(field) if per.contains(&field) => {
                    self.report.wrong(*place, format!("{} is here twice", quoted(&text.written)));
                }
                Some(field) => per.push(field),
                None => {
                    let message = match text.hint(Field::names()) {
                        hint if hint.is_empty() => {
                            "; other places in the payload are written payload.a.b".to_owned()
                        }
                        hint => hint,
                    };
                    let message = format!("unknown field {}{message}", quoted(&text.written));
                    self.report.wrong(*place, message);
                }
            }
        }
        if written.is_empty() {
            self.report.wrong(node.place, "\"per\" lists no field");
        }
        per
    }

    fn resolve(&self, node: &Node) -> Option<Resolve> {
        match &node.value {
            Value::Text(text) if text.value == "never" => Some(Resolve::Never),
            Value::Text(text) => {
                let hint = match text.hint(["never"]) {
                    hint if hint.is_empty() => "; write never, or { state: RUNNING }".to_owned(),
                    hint => hint,
                };
                let message = format!("\"resolve\" must be a condition or never{hint}");
                self.report.wrong(node.place, message);
                None
            }
            _ => conditions::condition(node, "\"resolve\"", self.report).map(Resolve::When),
        }
    }

    /// How long after its last occurrence a container leaves the alert by itself, where that means
    /// something.
    fn expire_after(
        &self,
        fields: &mut Fields<'_>,
        hold: Option<Duration>,
        resolve: Option<&Resolve>,
    ) -> Duration {
        let never = matches!(resolve, Some(Resolve::Never));
        if let Some(node) = fields.get("for").filter(|_| never) {
            let message = "\"for\" makes an alert that lasts, and \"resolve: never\" one that does \
                           not; keep one of them";
            self.report.wrong(node.place, message);
        }
        let Some(node) = fields.get("expire_after") else {
            if let (Some(node), Some(hold)) = (fields.get("for"), hold)
                && hold >= EXPIRE_AFTER
            {
                let message = "what is to last for a day or longer would expire before; give the \
                               rule a longer \"expire_after\"";
                self.report.wrong(node.place, message);
            }
            return EXPIRE_AFTER;
        };
        let expire_after = fields.duration("expire_after", AT_LEAST_1S);
        if never {
            let message =
                "\"expire_after\" means nothing beside \"resolve: never\"; keep one of them";
            self.report.wrong(node.place, message);
        } else if let (Some(expire_after), Some(hold)) = (expire_after, hold)
            && expire_after <= hold
        {
            let message =
                "\"expire_after\" must be longer than \"for\", or nothing would ever fire";
            self.report.wrong(node.place, message);
        }
        expire_after.unwrap_or(EXPIRE_AFTER)
    }

    fn late(&self, fields: &mut Fields<'_>) -> Late {
        const ALL: [(&str, Late); 2] = [("notify", Late::Notify), ("record", Late::Record)];
        self.choice(fields, "late", &ALL, "notify or record").unwrap_or_default()
    }

    /// One of some words.
    fn choice<T: Copy>(
        &self,
        fields: &mut Fields<'_>,
        key: &'static str,
        all: &[(&str, T)],
        words: &str,
    ) -> Option<T> {
        let node = fields.get(key)?;
        let name = fields.text(key)?;
        let found = all.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let hint = node.value.hint(all.iter().map(|(known, _)| *known));
            self.report.wrong(node.place, format!("\"{key}\" must be {words}{hint}"));
        }
        found.map(|(_, value)| *value)
    }

    fn labels(
        &self,
        fields: &mut Fields<'_>,
        known: &BTreeSet<String>,
    ) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let Some(node) = fields.get("labels") else { return labels };
        for (key, value) in fields::entries(node, "\"labels\"", self.report).unwrap_or_default() {
            if known.contains(&key.text) {
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

    /// Who is told: those named, be they off; the console if there are none.
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
        if named.is_empty() { vec![CONSOLE.to_owned()] } else { named }
    }

    fn group_by(
        &self,
        fields: &mut Fields<'_>,
        known: &BTreeSet<String>,
        labels: &BTreeMap<String, String>,
        defaults: &Defaults<'_>,
    ) -> Vec<String> {
        let there = |label: &String| known.contains(label) || labels.contains_key(label);
        let Some(written) = fields.texts("group_by") else {
            return defaults.group_by.iter().filter(|label| there(label)).cloned().collect();
        };
        let mut group_by: Vec<String> = Vec::new();
        for (place, text) in written {
            if !there(&text.value) {
                let known = known.iter().chain(labels.keys()).map(String::as_str);
                self.unknown_label(place, text, known);
            } else if !group_by.contains(&text.value) {
                group_by.push(text.value.clone());
            }
        }
        group_by
    }

    fn severity(&self, fields: &mut Fields<'_>) -> Severity {
        let all = [Severity::Critical, Severity::Warning, Severity::Info]
            .map(|severity| (severity.as_str(), severity));
        self.choice(fields, "severity", &all, "critical, warning or info").unwrap_or_default()
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

/// The labels that every alert of a rule with this key has.
fn known_labels(per: &[Field]) -> BTreeSet<String> {
    OWN.into_iter().map(str::to_owned).chain(per.iter().map(Field::to_string)).collect()
}

/// The labels that alerts of these rules may have.
pub(super) fn labels(rules: &[Rule]) -> BTreeSet<String> {
    let mut labels = known_labels(&PER);
    for rule in rules {
        labels.extend(known_labels(&rule.per));
        labels.extend(rule.labels.keys().cloned());
    }
    labels
}

/// A digest of what the rule derives from, and not of how that is told.
fn fingerprint(derived_from: &serde_json::Value) -> String {
    // Objects in JSON are sorted by key, so that the order in the file does not count.
    let digest = Sha256::digest(derived_from.to_string());
    digest.iter().take(16).fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The same rules, telling only those that are not off; the console where none is left.
pub(super) fn without_those_off(mut rules: Vec<Rule>, receivers: &Receivers) -> Vec<Rule> {
    for rule in &mut rules {
        rule.notify.retain(|name| !receivers.get(name).is_some_and(Receiver::is_off));
        if rule.notify.is_empty() {
            rule.notify.push(CONSOLE.to_owned());
        }
    }
    rules
}

/// What an operator should know of receivers that are off.
pub(super) fn note_those_off(receivers: &Receivers, rules: &Rules, report: &Report) {
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
