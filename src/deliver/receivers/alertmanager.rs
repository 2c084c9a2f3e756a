//! Prometheus Alertmanager, by its API v2: alerts, which it groups, routes and silences by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use super::http::{Answer, Place, Request};
use super::verdict::{Reading, Says, is_page};
use super::{Envelope, digest, markup};
use crate::clock::Timestamp;
use crate::engine::{ALERTS, AlertNews, News};
use crate::message::text::shorten;
use crate::message::{self, Body};
use crate::rules::{Labels, Severity};

/// How long an alert fires there unless more is heard of it: the end is told, so that this only
/// matters if tocsin is never heard of again.
const FIRES: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long what has no end is held to fire: Alertmanager's own `resolve_timeout`.
const MOMENT: Duration = Duration::from_secs(5 * 60);

/// How many bytes of its digest tell a text that had to be changed from all others.
const TELLS_APART: usize = 8;

/// How many alerts are in one request: as many as in Prometheus' own (`notifier.DefaultMaxBatchSize`),
/// for there may be a proxy that takes no large bodies.
const AT_ONCE: usize = 256;

/// Characters in an annotation, in a label's value, and in a link.
const TEXT: usize = 4_000;
const VALUE: usize = 1_000;
const LINK: usize = 2_000;

/// An Alertmanager. Its URL may hold a password, so there is no `Debug`.
pub(super) struct Alertmanager {
    /// `/api/v2/alerts`.
    pub(super) alerts: Url,
}

impl Place for Alertmanager {
    fn request(&self, envelope: &Envelope, now: Timestamp) -> Request {
        Request::json(&self.alerts, &payload(envelope, now).into())
    }

    /// What is told twice is the same alert there.
    fn requests(&self, envelope: &Envelope, now: Timestamp) -> Vec<Request> {
        let alerts = payload(envelope, now);
        alerts.chunks(AT_ONCE).map(|some| Request::json(&self.alerts, &json!(some))).collect()
    }

    /// 200 and nothing, or a text, which may be JSON.
    fn read(&self, answer: &Answer) -> Reading {
        let says = match answer.status {
            200 if !is_page(&answer.body) => Says::Taken,
            200..300 => Says::Stranger("Alertmanager, which answers 200 and nothing"),
            _ => Says::Nothing,
        };
        let said = answer.json();
        match said.as_str().or(said["message"].as_str()) {
            Some(words) => Reading { says, words: answer.in_a_line(words), retry_after: None },
            None => Reading::of_text(answer, says),
        }
    }
}

fn payload(envelope: &Envelope, now: Timestamp) -> Vec<Value> {
    let alerts = envelope.notification.alerts.iter().enumerate();
    let alerts = alerts.map(|(index, news)| alert(envelope, news, index < ALERTS, now));
    alerts.chain(left_out(envelope, now)).collect()
}

/// An alert that stands for those that a notification only counts, as one does that was put together
/// for another receiver: nobody is to think that there are no more.
fn left_out(envelope: &Envelope, now: Timestamp) -> Option<Value> {
    let notification = &envelope.notification;
    let counted = u64::from(notification.firing) + u64::from(notification.resolved);
    let more = counted.checked_sub(notification.alerts.len() as u64).filter(|more| *more > 0)?;
    let mut labels = labels(&notification.rule, &notification.labels);
    labels.insert("left_out".to_owned(), "true".to_owned());
    labels.insert("severity".to_owned(), notification.severity.as_str().to_owned());
    Some(json!({
        "labels": labels,
        "annotations": {"summary": format!("and {more} more alerts, which are not listed")},
        "startsAt": notification.made_at.min(now),
        "endsAt": now.plus(MOMENT),
    }))
}

fn alert(envelope: &Envelope, alert: &AlertNews, in_full: bool, now: Timestamp) -> Value {
    let Envelope { notification, message, .. } = envelope;
    let mut labels = labels(&notification.rule, &alert.labels);
    if notification.notice.is_some() {
        // It is of no rule in the file, which would have given it one to route by. Of what is over
        // and was missed meanwhile, nothing is to be done about it now.
        let severity = if envelope.is_of_itself() { Severity::Info } else { notification.severity };
        labels.insert("severity".to_owned(), severity.as_str().to_owned());
    }
    let ends_at = match alert.news {
        _ if envelope.is_of_itself() => now.plus(MOMENT),
        News::Firing | News::StillFiring | News::HadNotEnded => now.plus(FIRES),
        News::Happened => now.plus(MOMENT),
        // By another clock it may be to come.
        News::Over | News::BeganAndEnded | News::Withdrawn => {
            alert.ended_at.unwrap_or(now).min(now)
        }
    };
    let starts_at = alert.started_at.min(now);
    let mut json = json!({
        "labels": labels,
        "annotations": annotations(envelope, alert, in_full),
        "startsAt": starts_at,
        // It may not end before it began.
        "endsAt": ends_at.max(starts_at),
    });
    if let Some(link) = message.link.as_deref().and_then(|link| markup::web_link(link, LINK)) {
        json["generatorURL"] = json!(link);
    }
    json
}

/// The alert's labels, as Prometheus takes them: names of letters, digits and `_`, each once, and no
/// empty value.
fn labels(rule: &str, labels: &Labels) -> BTreeMap<String, String> {
    let mut told = BTreeMap::from([("alertname".to_owned(), label_value(rule))]);
    let mut labels: Vec<(&str, &str)> =
        labels.iter().filter(|(_, value)| !value.is_empty()).collect();
    // A name that is taken as it is goes before those that come out like it.
    labels.sort_by_key(|(name, _)| label_name(name) != *name);
    for (name, value) in labels {
        let mut known = label_name(name);
        if told.contains_key(&known) {
            known = format!("{known}_{}", digest(name, TELLS_APART));
        }
        told.insert(known, label_value(value));
    }
    told
}

/// The value in at most [`VALUE`] characters: one that is shortened still differs from all others, for
/// by their labels alerts are told apart.
fn label_value(value: &str) -> String {
    if value.chars().count() <= VALUE {
        return value.to_owned();
    }
    let digits = digest(value, TELLS_APART);
    format!("{} {digits}", shorten(value, VALUE - digits.len() - 1))
}

fn label_name(name: &str) -> String {
    let known = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
    let name: String = name.chars().map(known).collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("_{name}"),
    }
}

/// What is said of the alert; of one that is not told in full, what is known without its payloads.
fn annotations(
    envelope: &Envelope,
    alert: &AlertNews,
    in_full: bool,
) -> BTreeMap<&'static str, String> {
    let Envelope { notification, message, .. } = envelope;
    let told = message::of_alert(alert, notification.on, notification.made_at);
    let (summary, mut description) = match &message.body {
        // No container is behind it: what is to be said of it is the message.
        _ if notification.notice.is_some() => {
            (message.title.clone(), message.without_closing().body_text())
        }
        _ if !in_full => (message.title.clone(), told.lines.join("\n")),
        Body::Custom(text) => (told.heading, text.clone()),
        Body::Sections(_) => (told.heading, told.lines.join("\n")),
    };
    if !message.remarks.is_empty() {
        // Before all else, for a template may write more than there is room for.
        description = format!("{}\n\n{description}", message.remarks.join("\n"));
    }
    let mut annotations = BTreeMap::from([
        ("summary", shorten(&summary, TEXT).into_owned()),
        ("description", shorten(&description, TEXT).into_owned()),
    ]);
    if let Some(url) = &notification.runbook_url {
        annotations.insert("runbook_url", shorten(url, LINK).into_owned());
    }
    annotations
}

#[cfg(test)]
mod tests;
