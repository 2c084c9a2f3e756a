//! A notification in words: what a person reads, before any place's own markup.
//!
//! Does no I/O. Receivers turn a [`Message`] into their payload, and escape it.

mod digest;
mod notices;
mod samples;
mod states;
mod templates;
pub mod text;
mod words;

pub use states::{States, Stretch};
pub use templates::Templates;

use crate::clock::Timestamp;
use crate::engine::{AlertNews, Notification};
use crate::rules::{On, Severity};

/// What a notification says, as plain text that nothing has escaped yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The rule that speaks.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// What there is to tell, in one word.
    pub status: Status,
    /// What and how many, in one line.
    pub title: String,
    /// What the thread is about, in one line: the same for all that one group says.
    pub topic: String,
    /// What happened.
    pub body: Body,
    /// The states of the first container, for a receiver that shows them.
    pub states: Option<States>,
    /// What else there is to know of it: how many are not listed, what still fires.
    pub notes: Vec<String>,
    /// What there is to know of the message itself: that it is late, or for another, or worded otherwise
    /// than it should be.
    pub remarks: Vec<String>,
    /// What to do about it.
    pub runbook_url: Option<String>,
    /// Where to see more.
    pub link: Option<String>,
    /// Whether it is to be sent without any markup, since a fuller one was refused.
    pub plain: bool,
}

/// What there is to tell, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Something began.
    Firing,
    /// Nothing is new: it fires still.
    StillFiring,
    /// What was said to be over is not.
    NotOver,
    /// Something began, and something ended.
    Mixed,
    /// It is over.
    Over,
    /// It ended, but not by a recovery that was seen.
    Ended,
    /// It had not happened.
    Withdrawn,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Firing => "firing",
            Status::StillFiring => "still_firing",
            Status::NotOver => "not_over",
            Status::Mixed => "mixed",
            Status::Over => "over",
            Status::Ended => "ended",
            Status::Withdrawn => "withdrawn",
        }
    }

    /// Whether there is nothing to act on.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Status::Over | Status::Ended | Status::Withdrawn)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In the built-in words.
    Sections(Vec<Section>),
    /// In the words of the rule's own template; may have many lines.
    Custom(String),
}

/// Containers to which the same happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What happened to them, in one line.
    pub heading: String,
    /// A line for each, or for each fact of the only one.
    pub lines: Vec<String>,
}

/// What wording depends on beside the notification.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where people reach this bridge, without a slash at the end.
    pub external_url: Option<&'a str>,
    /// When it is worded: the date is said of what happened on another day.
    pub now: Timestamp,
    /// Whether the words have to be few and simple, since a fuller message was refused.
    pub plain: bool,
    /// Whom it was for, where it is told to another since that one is down.
    pub instead_of: Option<&'a str>,
}

impl Context<'_> {
    fn link(&self) -> Option<String> {
        self.external_url.map(|url| format!("{url}/api/alerts"))
    }
}

/// Words a notification: with the rule's own templates where it has some, else with the built-in
/// words. A template that fails, or of which nothing or far too much comes, never costs a message:
/// the built-in words take its place, and a note names the error.
#[must_use]
pub fn word(notification: &Notification, templates: &Templates, context: &Context<'_>) -> Message {
    let mut message = match (&notification.notice, &notification.digest) {
        (Some(notice), _) => return notices::words(notification, notice, context),
        (_, Some(digest)) => return digest::words(notification, digest, context),
        (None, None) => words::built_in(notification, context),
    };
    let instead_of = context
        .instead_of
        .map(|receiver| format!("told here, since {} takes nothing", words::name(receiver)));
    // What no template is given: it is said below the words of one, too.
    let told = [words::late(notification, context), instead_of].into_iter().flatten();
    if context.plain {
        message.remarks.extend(told);
        return message;
    }
    let custom = templates.render(notification, context);
    let mut errors = Vec::new();
    match custom.title {
        Some(Ok(title)) => {
            message.topic.clone_from(&title);
            message.title = title;
        }
        Some(Err(error)) => errors.push(not_used("title", &error)),
        None => {}
    }
    match custom.message {
        Some(Ok(text)) => {
            message.body = Body::Custom(text);
            // The template is given all of these, and says of them what it wants.
            message.notes.clear();
            (message.runbook_url, message.link) = (None, None);
            message.remarks = words::provisos(notification);
        }
        Some(Err(error)) => errors.push(not_used("message", &error)),
        None => {}
    }
    message.remarks.extend(told);
    message.remarks.append(&mut errors);
    message
}

/// The word that a template was not used, for whoever reads the message and can mend the rule.
fn not_used(key: &str, error: &str) -> String {
    format!("The rule's own {key} could not be used: {error}. These are the built-in words.")
}

/// What is told of one alert alone, for places that take alerts and not messages.
#[must_use]
pub fn of_alert(alert: &AlertNews, on: On, now: Timestamp) -> Section {
    words::of_alert(alert, on, now)
}

impl Message {
    /// Where to read more, by name: the runbook and the alerts.
    pub fn links(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("Runbook", self.runbook_url.as_deref()), ("Alerts", self.link.as_deref())]
            .into_iter()
            .filter_map(|(name, url)| Some((name, url?)))
    }

    /// What stands below what happened, a line each: the notes, and the remarks.
    pub fn below(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().chain(&self.remarks).map(String::as_str)
    }

    /// The same without what there is to know of the message itself, and without where to read more:
    /// what is left may be of events, and has to be escaped, and cut where it is too long.
    #[must_use]
    pub fn without_closing(&self) -> Message {
        Message { remarks: Vec::new(), runbook_url: None, link: None, ..self.clone() }
    }

    /// All of it but the title, as text in lines.
    #[must_use]
    pub fn body_text(&self) -> String {
        let mut paragraphs = match &self.body {
            Body::Custom(text) => vec![text.clone()],
            Body::Sections(sections) => sections.iter().map(Section::text).collect(),
        };
        paragraphs.extend(self.states.as_ref().map(States::text));
        let below: Vec<&str> = self.below().collect();
        if !below.is_empty() {
            paragraphs.push(below.join("\n"));
        }
        let links: Vec<String> = self.links().map(|(name, url)| format!("{name}: {url}")).collect();
        if !links.is_empty() {
            paragraphs.push(links.join("\n"));
        }
        paragraphs.join("\n\n")
    }

    /// All of it as text in lines, the title first.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n\n{}", self.title, self.body_text())
    }
}

impl Section {
    fn text(&self) -> String {
        let mut text = self.heading.clone();
        for line in &self.lines {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}

#[cfg(test)]
mod tests;
