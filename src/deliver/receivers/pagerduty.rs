//! PagerDuty, by its Events API v2. A group is one incident there: five hundred containers that crash
//! together page a person once, and the incident ends when nothing of the group fires any more.

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::http::{Answer, Place, Request};
use super::verdict::{Reading, Says, is_page};
use super::{Envelope, markup};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::message::text::{one_line, shorten};
use crate::rules::Severity;

/// Where the API is (developer.pagerduty.com, "Events API v2").
pub(super) const API: &str = "https://events.pagerduty.com";

/// Characters in a summary (FACTS.md), in what says what it is about, in the details, and in a link;
/// with these an event is far below the 512 KB that it may have.
const SUMMARY: usize = 1_024;
const NAME: usize = 255;
const DETAILS: usize = 30_000;
const LINK: usize = 2_000;

/// The same of a link in the details, which has a place of its own as well.
const DETAILS_LINK: usize = 500;

/// An integration of PagerDuty. Its key is secret, so there is no `Debug`.
pub(super) struct PagerDuty {
    pub(super) enqueue: Url,
    pub(super) routing_key: SecretString,
}

impl Place for PagerDuty {
    fn request(&self, envelope: &Envelope, _: Timestamp) -> Request {
        let mut event = event(envelope);
        let key = self.routing_key.expose_secret();
        event["routing_key"] = json!(key);
        Request::json(&self.enqueue, &event).hiding(key)
    }

    /// 202 with `status` and `message`; errors come with a list of what is wrong.
    fn read(&self, answer: &Answer) -> Reading {
        let said = answer.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors: Vec<String> =
            said["errors"].as_array().into_iter().flatten().map(text).collect();
        let words = match said["message"].as_str() {
            Some(message) => {
                let all: Vec<&str> =
                    std::iter::once(message).chain(errors.iter().map(String::as_str)).collect();
                all.join("; ")
            }
            None => answer.body.clone(),
        };
        let says = match answer.status {
            202 if !is_page(&answer.body) => Says::Taken,
            200..300 => Says::Stranger("PagerDuty, which answers 202"),
            // The key is wrong for every event.
            400 if words.to_lowercase().replace('_', " ").contains("routing key") => {
                Says::Destination
            }
            _ => Says::Nothing,
        };
        Reading { says, words: answer.in_a_line(&words), retry_after: None }
    }
}

/// The event, without its key.
fn event(envelope: &Envelope) -> Value {
    let Envelope { notification, message, .. } = envelope;
    // That it is back, and what it missed, ends no incident that it was ever told of.
    let is_told_of_itself = envelope.is_of_itself();
    let fires = notification.firing > 0 || notification.firing_in_group > 0 || is_told_of_itself;
    let mut event = json!({
        "event_action": if fires { "trigger" } else { "resolve" },
        "dedup_key": envelope.thread,
    });
    if !fires {
        return event;
    }
    let label = |name: &str| {
        let value = notification.labels.get(name).filter(|value| !value.is_empty())?;
        Some(shorten(&one_line(value), NAME).into_owned())
    };
    let (application, service) = (label("application"), label("service"));
    let place: Vec<&str> =
        [&application, &service].into_iter().flatten().map(String::as_str).collect();
    let source = if place.is_empty() { message.rule.clone() } else { place.join("/") };
    let started_at = notification.alerts.iter().map(|alert| alert.started_at).min();
    let limit = if message.plain { DETAILS / 10 } else { DETAILS };
    event["payload"] = json!({
        "summary": shorten(&message.title, SUMMARY),
        "source": source,
        "severity": match notification.severity {
            // What it missed is told, and nothing is to be done about it now.
            _ if is_told_of_itself => "info",
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        },
        "timestamp": started_at.unwrap_or(notification.made_at),
        "component": service,
        "group": application,
        "class": message.rule,
        "custom_details": {
            "details": details(message, limit),
            "firing": notification.firing.max(notification.firing_in_group),
            "resolved": notification.resolved,
        },
    });
    event["client"] = json!("tocsin");
    if let Some(link) = message.link.as_deref().and_then(|link| markup::web_link(link, LINK)) {
        event["client_url"] = json!(link);
    }
    let links = message.links().filter_map(|(name, url)| {
        Some(json!({"href": markup::web_link(url, LINK)?, "text": name}))
    });
    event["links"] = links.collect();
    event
}

fn details(message: &Message, limit: usize) -> String {
    let shorten = |text: &str, limit| shorten(text, limit).into_owned();
    let closing = markup::closing(message, DETAILS_LINK, str::to_owned, shorten);
    let body = message.without_closing().body_text();
    markup::closed(limit, &closing, |room| shorten(&body, room))
}

#[cfg(test)]
mod tests;
