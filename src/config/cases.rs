//! `tests`: what the rules are to tell of which events.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::conditions;
use super::fields::{self, Fields};
use super::report::{Report, quoted};
use super::yaml::{Node, Place, Text, Value};
use super::{CONSOLE, Receivers, duration};
use crate::clock::Timestamp;
use crate::event::{self, DecodeError, Event, Signal};
use crate::rules::Rules;
use crate::simulation::{Case, START, Telling};

const AT_LEAST_0: (Duration, &str) = (Duration::ZERO, "0s");

/// How long the clock runs on after the last event or expectation, unless the test says otherwise.
const RUNS_ON: Duration = Duration::from_secs(3600);

/// How often one alert may be repeated in a test: more would take minutes, and gigabytes.
const REPEATS: u32 = 100_000;

/// What reading the tests needs to know.
pub(super) struct Reader<'a> {
    /// The rules that could be read, each telling those whom the file names.
    pub(super) rules: &'a Rules,
    /// The names of all rules, be they right or wrong.
    pub(super) names: BTreeSet<String>,
    pub(super) receivers: &'a Receivers,
    pub(super) report: &'a Report,
}

/// The application and the service of each container that a test has named so far.
type Fleet = HashMap<String, [Option<Json>; 2]>;

/// The names of the rules in the file.
pub(super) fn rule_names(rules: Option<&Node>) -> BTreeSet<String> {
    let Some(Value::List(rules)) = rules.map(|node| &node.value) else { return BTreeSet::new() };
    let name = |rule: &Node| {
        let Value::Mapping(entries) = &rule.value else { return None };
        let (_, name) = entries.iter().find(|(key, _)| key.text == "name")?;
        name.value.as_text().map(Cow::into_owned)
    };
    rules.iter().filter_map(name).collect()
}

impl Reader<'_> {
    pub(super) fn read(&self, node: &Node) -> Vec<Case> {
        let mut names = HashSet::new();
        self.items(node, "tests").iter().filter_map(|item| self.case(item, &mut names)).collect()
    }

    fn items<'b>(&self, node: &'b Node, key: &str) -> &'b [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            other => {
                let kind = other.kind();
                self.report.wrong(node.place, format!("\"{key}\" must be a list, and is {kind}"));
                &[]
            }
        }
    }

    fn case(&self, node: &Node, names: &mut HashSet<String>) -> Option<Case> {
        let mut fields = Fields::of(node, "a test", self.report)?;
        let name_node = fields.get("name");
        let name = fields.filled("name");
        match (&name, name_node) {
            (Some(name), Some(node)) if !names.insert(name.clone()) => {
                let message = format!("another test is named {} already", node.value.written());
                self.report.wrong(node.place, message);
            }
            (None, None) => self.report.wrong(fields.place, "a test needs a \"name\""),
            _ => {}
        }
        let start = self.start(&mut fields);
        let only = fields.texts("rules").map(|listed| {
            let known = listed.iter().filter(|(place, text)| self.is_rule(*place, text));
            known.map(|(_, text)| text.value.clone()).collect::<BTreeSet<String>>()
        });
        let events = match fields.get("events") {
            Some(node) => self.events(node, start),
            None => {
                self.report.wrong(fields.place, "a test needs \"events\": what is heard, and when");
                Vec::new()
            }
        };
        let mut expect: Vec<Telling> = Vec::new();
        match fields.get("expect") {
            Some(node) => {
                for item in self.items(node, "expect") {
                    expect.extend(self.expectation(item, only.as_ref()).unwrap_or_default());
                }
            }
            None => {
                let message = "a test needs \"expect\": all that is to be told; write [] if that \
                               is nothing";
                self.report.wrong(fields.place, message);
            }
        }
        let times = events.iter().map(|(at, _)| *at).chain(expect.iter().map(|one| one.at));
        let last = times.max().unwrap_or_default();
        let until_node = fields.get("until");
        let until = fields.duration("until", AT_LEAST_0);
        if let (Some(node), Some(until)) = (until_node, until)
            && until < last
        {
            let message = "\"until\" is before the last event or expectation; let the clock run on";
            self.report.wrong(node.place, message);
        }
        fields.finish(&[]);
        let until = until.unwrap_or_else(|| last.saturating_add(RUNS_ON));
        let most = self.rules.iter().map(|rule| rule.repeat_interval).min();
        if let Some(most) = most.and_then(|shortest| shortest.checked_mul(REPEATS))
            && until > most
        {
            let message = format!(
                "the clock runs for too long: in {} what fires would be repeated more than \
                 {REPEATS} times, by the shortest \"repeat_interval\"",
                duration::write(until)
            );
            self.report.wrong(until_node.map_or(node.place, |node| node.place), message);
        }
        Some(Case { name: name?, start, events, expect, only, until })
    }

    fn start(&self, fields: &mut Fields<'_>) -> Timestamp {
        let Some(node) = fields.get("start") else { return START };
        let text = fields.text("start");
        let start = text.as_deref().and_then(Timestamp::parse);
        if text.is_some() && start.is_none() {
            let message = "\"start\" must be a time like 2026-01-01T09:30:00+01:00";
            self.report.wrong(node.place, message);
        }
        start.unwrap_or(START)
    }

    fn events(&self, node: &Node, start: Timestamp) -> Vec<(Duration, Event)> {
        let mut fleet = Fleet::new();
        let mut events: Vec<(Duration, Event)> = Vec::new();
        for item in self.items(node, "events") {
            let Some((at, event)) = self.event(item, start, &mut fleet) else { continue };
            if events.last().is_some_and(|(before, _)| *before > at) {
                let message = "this is heard before the event above; put it there or, if it is to \
                               be heard late, give it the \"timestamp\" at which it happened";
                self.report.wrong(item.place, message);
            }
            events.push((at, event));
        }
        events
    }

    /// An event and when it is heard. It is of the application and service that were last named
    /// with its id, if it names neither.
    fn event(&self, node: &Node, start: Timestamp, fleet: &mut Fleet) -> Option<(Duration, Event)> {
        let before = self.report.count();
        let mut fields = Fields::of(node, "an event", self.report)?;
        let at = self.at(&mut fields, "an event");
        let happened = fields.duration("timestamp", AT_LEAST_0);
        let mut payload = self.payload(&mut fields);
        for key in ["type", "event"] {
            let usual = if key == "type" { "Container" } else { "state" };
            payload.entry(key).or_insert_with(|| usual.into());
        }
        for key in ["id", "application", "service"] {
            if let Some(text) = fields.text(key) {
                payload.insert(key.to_owned(), text.into());
            }
        }
        for key in ["state", "prev_state"] {
            let node = fields.get(key);
            if let Some(text) = fields.text(key) {
                payload.insert(key.to_owned(), text.into());
            }
            if let Some(Value::Text(text)) = node.map(|node| &node.value) {
                conditions::state(text, self.report);
            }
        }
        if let Some(starts) = fields.whole("starts", 0) {
            inner(&mut payload, "counters").insert("start".into(), starts.into());
        }
        if let Some(exit) = fields.get("exit").and_then(|node| self.exit(node)) {
            inner(&mut payload, "data").insert("last_exit_status".into(), exit);
        }
        fields.finish(&[]);

        let at = at?;
        let timestamp = start.plus(happened.unwrap_or(at));
        payload.insert("timestamp".into(), timestamp.as_seconds().into());
        if let Some(Json::String(id)) = payload.get("id") {
            let belongs = fleet.entry(id.clone()).or_default();
            let named = ["application", "service"].map(|key| payload.get(key).cloned());
            if named.iter().any(Option::is_some) {
                *belongs = named;
            } else {
                for (key, value) in ["application", "service"].into_iter().zip(belongs) {
                    payload.extend(value.clone().map(|value| (key.to_owned(), value)));
                }
            }
        }
        if self.report.count() > before {
            return None;
        }
        match event::from_value(&Json::Object(payload)) {
            Ok(event) => Some((at, event)),
            Err(DecodeError::Missing(key)) => {
                self.report.wrong(node.place, format!("an event needs \"{key}\""));
                None
            }
            Err(error) => {
                self.report.wrong(node.place, error.to_string());
                None
            }
        }
    }

    /// What the payload has beside what is named by itself.
    fn payload(&self, fields: &mut Fields<'_>) -> Map<String, Json> {
        let Some(node) = fields.get("payload") else { return Map::new() };
        // For its complaint, if it is no mapping.
        fields::entries(node, "\"payload\"", self.report);
        match node.value.to_json() {
            Json::Object(payload) => payload,
            _ => Map::new(),
        }
    }

    /// `data.last_exit_status` of an exit that is written as `{ status: 1 }` or `{ signal: SIGKILL }`.
    fn exit(&self, node: &Node) -> Option<Json> {
        let mut fields = Fields::of(node, "\"exit\"", self.report)?;
        let status = fields.whole("status", 0);
        let signal_node = fields.get("signal");
        let signal = fields.text("signal");
        let dumped = fields.bool("core_dumped");
        let given = (fields.get("status").is_some(), signal_node.is_some());
        fields.finish(&[]);
        match given {
            (true, false) => {
                let status = status?;
                Some(json!({
                    "reason": "exited", "exit_status": status,
                    "raw_exit_status": (status & 0xff) << 8,
                }))
            }
            (false, true) => {
                let (node, name) = (signal_node?, signal?);
                let Some(Signal(number)) = Signal::named(&name) else {
                    let names: Vec<String> = Signal::names().collect();
                    let hint = node.value.hint(names.iter().map(String::as_str));
                    let written = node.value.written();
                    self.report.wrong(node.place, format!("{written} is no signal{hint}"));
                    return None;
                };
                let core = if dumped.unwrap_or_default() { 0x80 } else { 0 };
                Some(json!({
                    "reason": "signaled", "signal": number, "raw_exit_status": number | core,
                }))
            }
            _ => {
                let message = "\"exit\" needs either \"status\" or \"signal\"; write any other as \
                               payload: { data: { last_exit_status: { … } } }";
                self.report.wrong(node.place, message);
                None
            }
        }
    }

    /// What is told at one instant: to the receivers named here, else to all whom the rule tells.
    fn expectation(&self, node: &Node, only: Option<&BTreeSet<String>>) -> Option<Vec<Telling>> {
        let mut fields = Fields::of(node, "an expectation", self.report)?;
        let at = self.at(&mut fields, "an expectation");
        let rule_node = fields.get("rule");
        let rule = fields.text("rule");
        let receivers = fields.texts("receiver");
        let counted = fields.get("firing").is_some() || fields.get("resolved").is_some();
        let before = self.report.count();
        let counts = ["firing", "resolved"].map(|key| fields.whole(key, 0));
        let [firing, resolved] =
            counts.map(|count| count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0));
        let readable = self.report.count() == before;
        let labels = fields.get("labels").and_then(|node| {
            let entries = fields::entries(node, "\"labels\"", self.report)?;
            let read = entries.iter().filter_map(|(key, value)| {
                Some((key.text.clone(), fields::text(value, &key.text, self.report)?))
            });
            Some(read.collect::<BTreeMap<String, String>>().into())
        });
        let place = fields.place;
        fields.finish(&[]);
        if !counted {
            let message = "an expectation needs \"firing\" or \"resolved\": how many alerts it is \
                           told of";
            self.report.wrong(place, message);
        } else if readable && (firing, resolved) == (0, 0) {
            let message = "nothing is ever told of no alert; leave this out, since whatever is not \
                           expected may not be told";
            self.report.wrong(place, message);
        }
        let Some(rule_node) = rule_node else {
            self.report.wrong(place, "an expectation needs the \"rule\" that tells it");
            return None;
        };
        let rule = rule?;
        if let Value::Text(text) = &rule_node.value
            && !self.is_rule(rule_node.place, text)
        {
            return None;
        }
        if only.is_some_and(|only| !only.contains(&rule)) {
            let rule = rule_node.value.written();
            let message = format!("this test is not about {rule}, by its \"rules\"");
            self.report.wrong(rule_node.place, message);
        }
        let tells = self.rules.get(&rule).map(|rule| rule.notify.as_slice());
        let receivers = match receivers {
            Some(named) => named
                .into_iter()
                .flat_map(|(place, text)| self.told(place, text, &rule_node.value, tells))
                .collect(),
            None => tells.unwrap_or_default().to_vec(),
        };
        let telling = Telling { at: at?, rule, receiver: String::new(), firing, resolved, labels };
        let to = |receiver| Telling { receiver, ..telling.clone() };
        Some(receivers.into_iter().map(to).collect())
    }

    /// Whether there is a rule of this name, which is reported if there is none.
    fn is_rule(&self, place: Place, name: &Text) -> bool {
        if self.names.contains(&name.value) {
            return true;
        }
        let hint = name.hint(self.names.iter().map(String::as_str));
        self.report.wrong(place, format!("unknown rule {}{hint}", quoted(&name.written)));
        false
    }

    /// The receivers of this name, which is reported if there is none, or the rule does not tell it.
    fn told(
        &self,
        place: Place,
        name: &Text,
        rule: &Value,
        tells: Option<&[String]>,
    ) -> Vec<String> {
        let parts = match self.receivers.parts(&name.value) {
            parts if parts.is_empty() && name.value == CONSOLE => vec![CONSOLE],
            parts => parts,
        };
        if parts.is_empty() {
            let hint = name.hint(self.receivers.names());
            self.report.wrong(place, format!("unknown receiver {}{hint}", quoted(&name.written)));
        }
        let told = |part: &&str| tells.is_none_or(|tells| tells.iter().any(|told| told == part));
        if !parts.iter().all(told) {
            let tells = tells.unwrap_or_default().join(", ");
            let (rule, name) = (rule.written(), quoted(&name.written));
            self.report.wrong(place, format!("rule {rule} does not tell {name}, but {tells}"));
        }
        parts.into_iter().map(str::to_owned).collect()
    }

    fn at(&self, fields: &mut Fields<'_>, what: &str) -> Option<Duration> {
        if fields.get("at").is_none() {
            let message = format!("{what} needs \"at\": how long after the start of the test");
            self.report.wrong(fields.place, message);
        }
        fields.duration("at", AT_LEAST_0)
    }
}

/// The object under this key, which is put there if there is none.
fn inner<'a>(payload: &'a mut Map<String, Json>, key: &str) -> &'a mut Map<String, Json> {
    let value = payload.entry(key).or_insert(Json::Null);
    if !value.is_object() {
        *value = Json::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made one")
}

#[cfg(test)]
mod tests;
