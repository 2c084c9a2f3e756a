//! A program of one's own: JSON of a known version, signed, and any 2xx is a success.

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::Envelope;
use super::http::{Answer, Place, Request};
use super::signature::{self, Key};
use super::verdict::{Reading, Says};
use crate::clock::Timestamp;
use crate::engine::{ALERTS, AlertNews};

/// The version of the JSON. What is added to it does not change it.
const VERSION: u32 = 1;

/// How large a body may be, in bytes: what tocsin itself takes at most (DESIGN.md §4).
const BODY: usize = 256 * 1024;

/// A URL that is told. It may hold a secret, so there is no `Debug`.
pub(super) struct Webhook {
    pub(super) url: Url,
    /// Nothing is signed if there are none.
    pub(super) keys: Vec<Key>,
}

impl Place for Webhook {
    fn request(&self, envelope: &Envelope, now: Timestamp) -> Request {
        let id = &envelope.id.0;
        let seconds = now.as_seconds() as u64;
        let request = Request::json(&self.url, &payload(envelope));
        let signatures = signature::signatures(&self.keys, id, seconds, &request.body);
        let headers = [
            ("webhook-id", id.clone()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signatures),
        ];
        headers.into_iter().filter(|(_, value)| !value.is_empty()).fold(
            request,
            |request, (name, value)| match HeaderValue::from_str(&value) {
                Ok(value) => request.with(HeaderName::from_static(name), value),
                // Ids are hexadecimal, and the rest is ours.
                Err(_) => request,
            },
        )
    }

    fn read(&self, answer: &Answer) -> Reading {
        Reading::of_text(answer, Says::Nothing)
    }
}

/// The JSON, within [`BODY`]: payloads are left out first, then alerts, the last first.
fn payload(envelope: &Envelope) -> Value {
    let alerts = &envelope.notification.alerts;
    // What was put together for an Alertmanager that is down has all of them.
    let mut kept = alerts.len().min(ALERTS);
    let mut payloads = if envelope.message.plain { 0 } else { kept };
    loop {
        let payload = payload_with(envelope, kept, payloads);
        if payload.to_string().len() <= BODY || kept == 0 {
            return payload;
        }
        match payloads {
            0 => kept /= 2,
            _ => payloads /= 2,
        }
    }
}

/// The JSON with the first `kept` alerts, of which the first `payloads` have their payloads.
fn payload_with(envelope: &Envelope, kept: usize, payloads: usize) -> Value {
    let Envelope { notification, message, .. } = envelope;
    let counted = u64::from(notification.firing) + u64::from(notification.resolved);
    let alerts = notification.alerts.iter().take(kept).enumerate();
    json!({
        "version": VERSION,
        "type": "notification",
        "timestamp": notification.made_at,
        "data": {
            "id": envelope.id.0,
            "group": envelope.thread,
            "receiver": notification.receiver,
            "rule": notification.rule,
            "severity": notification.severity.as_str(),
            "on": notification.on,
            "status": message.status.as_str(),
            "labels": notification.labels,
            "firing": notification.firing,
            "resolved": notification.resolved,
            "firing_in_group": notification.firing_in_group,
            "title": message.title,
            "text": message.body_text(),
            "runbook_url": notification.runbook_url,
            "link": message.link,
            "alerts": alerts.map(|(index, news)| alert(news, index < payloads)).collect::<Vec<_>>(),
            "alerts_left_out": counted.saturating_sub(kept as u64),
        },
    })
}

fn alert(alert: &AlertNews, with_payloads: bool) -> Value {
    let containers = match alert.members.is_empty() {
        true => std::slice::from_ref(&alert.container),
        false => alert.members.as_slice(),
    };
    let payload = |payload| if with_payloads { payload } else { &None };
    json!({
        "labels": alert.labels,
        "status": if alert.news.is_alarm() { "firing" } else { "resolved" },
        "news": alert.news,
        "cause": alert.cause,
        "containers": containers,
        "containers_in_all": alert.members_in_all.max(1),
        "started_at": alert.started_at,
        "resolved_at": alert.ended_at,
        "heard_at": alert.heard_at,
        "occurrences": alert.occurrences,
        "event": payload(&alert.event),
        "ended_by": payload(&alert.ended_by),
        "before": payload(&alert.before),
    })
}

#[cfg(test)]
mod tests;
