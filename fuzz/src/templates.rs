//! The rules' own titles and messages (DESIGN.md §7).

use tocsin::clock::Timestamp;
use tocsin::engine::{AlertNews, News, Notification};
use tocsin::event::{self, Event};
use tocsin::message::{Body, Context, Templates, word};
use tocsin::rules::{Condition, On, Rule};

use super::{SEPARATOR, assert_is_a_sentence, without_effort};

/// How many characters a title, and how many bytes a message may have.
const TITLE: usize = 1024;
const MESSAGE: usize = 64 * 1024;

/// Adds a rule's templates, and words a notification of an event with them. The input is a title, a
/// message, and a payload, with a line of `---` between them. Whatever they are, a message comes of
/// it that says something, keeps to its limits, and moves no cursor; and it does not take long.
pub fn templates(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parts: Vec<&str> = text.split(SEPARATOR).collect();
    let [title, message, payload] = parts[..] else { return };
    let Ok(event) = event::decode(payload.as_bytes()) else { return };
    let rule = Rule::new("fuzzed", Condition::any());

    let mut templates = Templates::new();
    for (key, error) in without_effort(|| templates.add(&rule, Some(title), Some(message))) {
        assert!(["title", "message"].contains(&key));
        assert_is_a_sentence(&error);
    }
    let notification = notification(&rule, &event);
    let (external_url, now) = (Some("https://tocsin.example.com"), notification.made_at);
    let context = Context { external_url, now, plain: false, instead_of: None };
    let message = without_effort(|| word(&notification, &templates, &context));

    for line in [&message.title, &message.topic].into_iter().chain(&message.notes) {
        assert_is_a_sentence(line);
    }
    assert!(message.topic.chars().count() <= TITLE, "{:?}", message.topic);
    if let Body::Custom(text) = &message.body {
        assert!(!text.trim().is_empty() && text.len() <= MESSAGE, "{text:?}");
        let moves_the_cursor = |char: char| char.is_control() && char != '\n';
        assert!(!text.contains(moves_the_cursor), "{text:?}");
    }
}

/// What tells that this event happened.
fn notification(rule: &Rule, event: &Event) -> Notification {
    let at = event.timestamp;
    let labels = rule.labels(&rule.key(event));
    let alert = AlertNews {
        labels: labels.clone(),
        container: event.container.to_string(),
        members: Vec::new(),
        members_in_all: 1,
        news: News::Firing,
        started_at: at,
        ended_at: None,
        cause: None,
        occurrences: 1,
        intervals: 1,
        heard_at: at,
        event: Some(event.payload.value().clone()),
        ended_by: None,
        before: None,
    };
    Notification {
        rule: rule.name.to_string(),
        receiver: "ops".into(),
        severity: rule.severity,
        on: On::Event,
        labels,
        runbook_url: None,
        group_opened_at: at,
        notice: None,
        digest: None,
        due_at: at,
        made_at: Timestamp::from_micros(1_448_015_940_000_000),
        firing: 1,
        resolved: 0,
        firing_in_group: 1,
        alerts: vec![alert],
        states: Vec::new(),
        says: Vec::new(),
    }
}
