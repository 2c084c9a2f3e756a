//! The rules' own titles and messages (minijinja), checked at load and bounded when they run.

use std::collections::BTreeMap;
use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;
use serde_json::json;

use super::Context;
use super::text::{lines, one_line};
use crate::clock::Timestamp;
use crate::engine::{AlertNews, Cause, News, Notification};
use crate::rules::Rule;

/// The variables of a template (DESIGN.md §7).
const VARIABLES: [&str; 10] = [
    "rule",
    "severity",
    "status",
    "labels",
    "firing",
    "resolved",
    "alerts",
    "receiver",
    "runbook_url",
    "link",
];

/// What a template may cost: some hundred instructions for each of the fifty alerts it is given.
const FUEL: u64 = 200_000;

/// What a template may write, in bytes: more than any place takes.
const OUTPUT: usize = 64 * 1024;

/// The compiled templates of all rules.
#[derive(Clone, Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

/// What a rule's own templates came to; `None` where it has none.
pub(super) struct Custom {
    pub(super) title: Option<Result<String, String>>,
    pub(super) message: Option<Result<String, String>>,
}

impl Default for Templates {
    fn default() -> Self {
        Templates::new()
    }
}

impl Templates {
    /// No templates: everything is said in the built-in words.
    #[must_use]
    pub fn new() -> Templates {
        let mut environment = Environment::new();
        // The text is escaped by each receiver for its own place, and not here for HTML.
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        // Payloads differ: a field that one of them lacks is empty, however deep it is looked for.
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        Templates { environment }
    }

    /// Adds the templates of a rule, and tries them on notifications of every kind that this rule
    /// can make. Answers what is wrong with them: `title` or `message`, and the error in one line,
    /// with the line of the template. One that does not even compile is not added.
    pub fn add(
        &mut self,
        rule: &Rule,
        title: Option<&str>,
        message: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        self.add_with(&rule.name, title, message, &samples(rule))
    }

    pub(super) fn add_with(
        &mut self,
        rule: &str,
        title: Option<&str>,
        message: Option<&str>,
        samples: &[Notification],
    ) -> Vec<(&'static str, String)> {
        let mut errors = Vec::new();
        for (key, source) in [("title", title), ("message", message)] {
            let added = source.map(|source| self.add_one(rule, key, source, samples));
            if let Some(Err(error)) = added {
                errors.push((key, error));
            }
        }
        errors
    }

    fn add_one(
        &mut self,
        rule: &str,
        key: &'static str,
        source: &str,
        samples: &[Notification],
    ) -> Result<(), String> {
        let name = template_name(rule, key);
        self.environment
            .add_template_owned(name.clone(), source.to_owned())
            .map_err(|error| in_words(&error))?;
        let template = self.environment.get_template(&name).map_err(|error| in_words(&error))?;
        let globals: Vec<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let mut unknown: Vec<String> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !VARIABLES.contains(&name.as_str()) && !globals.contains(&name.as_str()))
            .collect();
        unknown.sort();
        if let Some(name) = unknown.first() {
            return Err(unknown_variable(name, source));
        }
        for sample in samples {
            let context = Context {
                external_url: Some("https://tocsin.example.com"),
                now: sample.made_at,
                plain: false,
            };
            self.run(&name, sample, &context).map_err(|error| in_words(&error))?;
        }
        Ok(())
    }

    /// Renders what templates the notification's rule has.
    pub(super) fn render(&self, notification: &Notification, context: &Context<'_>) -> Custom {
        let render = |key: &'static str, clean: fn(&str) -> String| {
            let name = template_name(&notification.rule, key);
            self.environment.get_template(&name).ok()?;
            let text = self.run(&name, notification, context);
            Some(match text.map(|text| clean(&text)) {
                Ok(text) if text.is_empty() => Err("it came out empty".to_owned()),
                Ok(text) => Ok(text),
                Err(error) => Err(in_words(&error)),
            })
        };
        Custom { title: render("title", one_line), message: render("message", lines) }
    }

    fn run(
        &self,
        name: &str,
        notification: &Notification,
        context: &Context<'_>,
    ) -> Result<String, Error> {
        let variables = Value::from(Serde(Variables::of(notification, context)));
        let mut output = Bounded::default();
        let rendered =
            self.environment.get_template(name)?.render_captured_to(variables, &mut output);
        if output.full {
            let words = format!("it writes more than {} KiB", OUTPUT / 1024);
            return Err(Error::new(ErrorKind::WriteFailure, words));
        }
        rendered?;
        Ok(String::from_utf8_lossy(&output.bytes).into_owned())
    }
}

fn template_name(rule: &str, key: &str) -> String {
    format!("{key} of {rule}")
}

/// The error in one line, with the line of the template and without its name, which is said where
/// the error is shown.
fn in_words(error: &Error) -> String {
    let mut words = error.kind().to_string();
    if let Some(detail) = error.detail() {
        words.push_str(": ");
        words.push_str(detail);
    }
    if let Some(line) = error.line() {
        words.push_str(&format!(" (line {line} of the template)"));
    }
    one_line(&words)
}

fn unknown_variable(name: &str, source: &str) -> String {
    let mut words = format!("unknown variable `{name}`");
    if let Some(line) = source.lines().position(|line| line.contains(name)) {
        words.push_str(&format!(" (line {} of the template)", line + 1));
    }
    let close = VARIABLES
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match close {
        Some((likeness, known)) if likeness > 0.8 => {
            words.push_str(&format!("; did you mean `{known}`?"));
        }
        _ => words.push_str(&format!("; there are {}", VARIABLES.join(", "))),
    }
    words
}

/// Takes what a template writes, up to [`OUTPUT`].
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.full |= self.bytes.len() + bytes.len() > OUTPUT;
        if self.full {
            return Err(io::Error::other("full"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize)]
struct Variables<'a> {
    rule: &'a str,
    severity: &'static str,
    status: &'static str,
    labels: &'a BTreeMap<String, String>,
    firing: u32,
    resolved: u32,
    alerts: Vec<AlertVariables<'a>>,
    receiver: &'a str,
    runbook_url: Option<&'a str>,
    link: Option<String>,
}

#[derive(Serialize)]
struct AlertVariables<'a> {
    labels: &'a BTreeMap<String, String>,
    status: &'static str,
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    occurrences: u64,
    event: Option<&'a serde_json::Value>,
}

impl<'a> Variables<'a> {
    fn of(notification: &'a Notification, context: &Context<'_>) -> Variables<'a> {
        Variables {
            rule: &notification.rule,
            severity: notification.severity.as_str(),
            status: status(notification.firing > 0),
            labels: &notification.labels,
            firing: notification.firing,
            resolved: notification.resolved,
            alerts: notification.alerts.iter().map(AlertVariables::of).collect(),
            receiver: &notification.receiver,
            runbook_url: notification.runbook_url.as_deref(),
            link: context.link(),
        }
    }
}

impl<'a> AlertVariables<'a> {
    fn of(alert: &'a AlertNews) -> AlertVariables<'a> {
        AlertVariables {
            labels: &alert.labels,
            status: status(matches!(
                alert.news,
                News::Firing | News::StillFiring | News::HadNotEnded
            )),
            started_at: alert.started_at,
            resolved_at: alert.ended_at,
            occurrences: alert.occurrences,
            event: alert.event.as_ref(),
        }
    }
}

fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}

/// A notification of each kind that the rule can make, some with an exit in the payload.
fn samples(rule: &Rule) -> Vec<Notification> {
    let kinds = [
        (News::Firing, true),
        (News::Firing, false),
        (News::StillFiring, true),
        (News::HadNotEnded, false),
        (News::Over, true),
        (News::BeganAndEnded, true),
        (News::Withdrawn, false),
    ];
    kinds.into_iter().map(|(news, exit)| sample(rule, news, exit)).collect()
}

fn sample(rule: &Rule, news: News, exit: bool) -> Notification {
    const ID: &str = "b9e7bef7-d571-4ee4-b80e-835a2377040e";
    let started_at = Timestamp::from_micros(1_448_015_759_061_321);
    let made_at = Timestamp::from_micros(1_448_015_940_000_000);
    let firing = matches!(news, News::Firing | News::StillFiring | News::HadNotEnded);
    let key = ["toto", "hello-python", ID].map(|value| Some(value.into()));
    let labels = rule.labels(&key);
    let group_labels: BTreeMap<_, _> = labels
        .iter()
        .filter(|(label, _)| rule.group_by.contains(label))
        .map(|(label, value)| (label.clone(), value.clone()))
        .collect();
    let payload = |state: &str, before: &str| {
        let data = match exit {
            true => json!({"last_exit_status":
                {"raw_exit_status": 256, "reason": "exited", "exit_status": 1}}),
            false => json!({}),
        };
        json!({
            "service": "hello-python", "application": "toto", "id": ID, "type": "Container",
            "event": "state", "state": state, "prev_state": before, "data": data,
            "timestamp": started_at.as_seconds(), "counters": {"start": 12, "post_attempts": 0},
        })
    };
    let alert = AlertNews {
        labels: labels.clone(),
        container: ID.to_owned(),
        members: Vec::new(),
        members_in_all: 0,
        news,
        started_at,
        ended_at: (!firing).then_some(made_at),
        cause: (!firing).then_some(Cause::Resolved),
        occurrences: 1,
        intervals: 1,
        heard_at: made_at,
        event: Some(payload("CRASHED", "RUNNING")),
        ended_by: (!firing).then(|| payload("RUNNING", "STARTING")),
        before: None,
    };
    Notification {
        rule: rule.name.to_string(),
        receiver: rule.notify.first().cloned().unwrap_or_default(),
        severity: rule.severity,
        on: rule.on,
        labels: group_labels.into(),
        runbook_url: rule.runbook_url.clone(),
        group_opened_at: started_at,
        due_at: made_at,
        made_at,
        firing: u32::from(firing),
        resolved: u32::from(!firing),
        firing_in_group: u32::from(firing),
        alerts: vec![alert],
        states: Vec::new(),
        says: Vec::new(),
    }
}
