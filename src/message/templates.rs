//! The rules' own titles and messages (minijinja), checked at load and bounded when they run.

use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use super::Context;
use super::samples::{Sample, samples};
use super::text::{lines, one_line};
use crate::clock::Timestamp;
use crate::engine::{ALERTS, AlertNews, Cause, News, Notification};
use crate::rules::{Labels, Rule};

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

/// How many characters a title may have: what PagerDuty takes, and no place takes more.
const TITLE: usize = 1024;

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
    /// can make: none may fail, none may come out too long, and none may come out empty, but for
    /// what the payload has to say. Answers what is wrong with them: `title` or `message`, and the
    /// error in one line, with the line of the template. One that does not even compile is not
    /// added.
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
        samples: &[Sample],
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
        samples: &[Sample],
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
        // What a producer puts into a payload is not known here.
        let by_payload = source.contains("event");
        for (index, sample) in samples.iter().enumerate() {
            let now = sample.notification.made_at;
            let external_url = sample.complete.then_some("https://tocsin.example.com");
            let context = Context { external_url, now, plain: false, instead_of: None };
            match self.render_one(key, &sample.notification, &context) {
                Some(Err(Failure::Empty)) if by_payload || !sample.complete => {}
                // What fails at the first is wrong whatever happens.
                Some(Err(error)) if index == 0 => return Err(error.to_string()),
                Some(Err(error)) => return Err(format!("when {}: {error}", sample.when)),
                Some(Ok(_)) | None => {}
            }
        }
        Ok(())
    }

    /// Renders what templates the notification's rule has.
    pub(super) fn render(&self, notification: &Notification, context: &Context<'_>) -> Custom {
        let render = |key| {
            let rendered = self.render_one(key, notification, context)?;
            Some(rendered.map_err(|failure| failure.to_string()))
        };
        Custom { title: render("title"), message: render("message") }
    }

    /// Renders the `title` or the `message`; `None` if the rule has none of its own.
    fn render_one(
        &self,
        key: &str,
        notification: &Notification,
        context: &Context<'_>,
    ) -> Option<Result<String, Failure>> {
        let name = template_name(&notification.rule, key);
        self.environment.get_template(&name).ok()?;
        let text = match self.run(&name, notification, context) {
            Ok(text) if key == "title" => one_line(&text),
            Ok(text) => lines(&text),
            Err(failure) => return Some(Err(failure)),
        };
        let length = text.chars().count();
        Some(match text {
            text if is_blank(&text) => Err(Failure::Empty),
            _ if key == "title" && length > TITLE => Err(Failure::LongTitle(length)),
            text => Ok(text),
        })
    }

    fn run(
        &self,
        name: &str,
        notification: &Notification,
        context: &Context<'_>,
    ) -> Result<String, Failure> {
        let variables = Value::from(Serde(Variables::of(notification, context)));
        let mut output = Bounded::default();
        let template = self.environment.get_template(name).map_err(Failure::of)?;
        let rendered = template.render_captured_to(variables, &mut output);
        if output.full {
            return Err(Failure::LongText);
        }
        rendered.map_err(Failure::of)?;
        Ok(String::from_utf8_lossy(&output.bytes).into_owned())
    }
}

/// Why nothing came of a template, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Error(String),
    #[error(
        "it runs for too long (more than {FUEL} steps); have it loop over less, as over `alerts[:10]`"
    )]
    TooSlow,
    #[error(
        "it writes more than {} KiB; have it write less, as of `alerts[:10]`",
        OUTPUT / 1024
    )]
    LongText,
    #[error(
        "it comes out {0} characters long, and a title may have {TITLE}; have it name fewer, as \
         `alerts[:3]`"
    )]
    LongTitle(usize),
    #[error("it comes out empty; have it say something in every case, with `{{% else %}}`")]
    Empty,
}

impl Failure {
    fn of(error: Error) -> Failure {
        match error.kind() {
            ErrorKind::OutOfFuel => Failure::TooSlow,
            _ => Failure::Error(in_words(&error)),
        }
    }
}

/// Whether a reader sees nothing: spaces, and what is as wide as nothing.
fn is_blank(text: &str) -> bool {
    let unseen = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    text.chars().all(unseen)
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
    labels: &'a Labels,
    firing: u32,
    resolved: u32,
    alerts: Vec<AlertVariables<'a>>,
    receiver: &'a str,
    runbook_url: Option<&'a str>,
    link: Option<String>,
}

#[derive(Serialize)]
struct AlertVariables<'a> {
    labels: &'a Labels,
    status: &'static str,
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    heard_at: Timestamp,
    news: News,
    cause: Option<Cause>,
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
            alerts: notification.alerts.iter().take(ALERTS).map(AlertVariables::of).collect(),
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
            heard_at: alert.heard_at,
            news: alert.news,
            cause: alert.cause,
            occurrences: alert.occurrences,
            event: alert.event.as_ref(),
        }
    }
}

fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}
