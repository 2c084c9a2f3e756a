//! A topic of ntfy, published as JSON: headers would have to be ASCII.

use reqwest::Url;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use super::http::{Answer, Place, Request};
use super::verdict::{Reading, Says};
use super::{Envelope, markup};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::message::text::{one_line, shorten_by};
use crate::rules::Severity;

/// What we take of the 4,096 bytes of a message (FACTS.md): longer ones become a file. Counted as
/// JSON, of which the server takes twice as much.
const MESSAGE: usize = 3_900;
const PLAIN: usize = 1_000;
const TITLE: usize = 400;
const LINK: usize = 500;

/// A topic. Its name may be the only secret, so there is no `Debug`.
pub(super) struct Ntfy {
    server: Url,
    topic: String,
    authorization: Option<HeaderValue>,
}

impl Ntfy {
    /// A topic by its URL, as ntfy itself shows it. The error does not repeat it.
    pub(super) fn new(mut url: Url, authorization: Option<HeaderValue>) -> Result<Ntfy, String> {
        let segments = || url.path_segments().into_iter().flatten();
        let topic = segments().rfind(|part| !part.is_empty()).unwrap_or_default().to_owned();
        let known = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
        if topic.is_empty() || topic.len() > 64 || !topic.chars().all(known) {
            return Err("must end in the topic, like https://ntfy.sh/topic: 1 to 64 letters, \
                        digits, - and _"
                .into());
        }
        // What is published as JSON goes to the server, and the topic into the JSON.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().pop();
        }
        Ok(Ntfy { server: url, topic, authorization })
    }
}

impl Place for Ntfy {
    fn request(&self, envelope: &Envelope, _: Timestamp) -> Request {
        let mut payload = payload(&envelope.message);
        payload["topic"] = json!(self.topic);
        let request = Request::json(&self.server, &payload).hiding(&self.topic);
        match &self.authorization {
            Some(bearer) => request.authorized(bearer.clone()),
            None => request,
        }
    }

    /// The message as it was published, or `error`.
    fn read(&self, answer: &Answer) -> Reading {
        let said = answer.json();
        let says = match answer.status {
            200 if said["id"].is_string() => Says::Taken,
            200..300 => Says::Stranger("ntfy, which answers with the message"),
            _ => Says::Nothing,
        };
        let words = match (says, said["id"].as_str(), said["error"].as_str()) {
            (Says::Taken, Some(id), _) => format!("message {}", answer.in_a_line(id)),
            (_, _, Some(error)) => answer.in_a_line(error),
            _ => return Reading::of_text(answer, says),
        };
        Reading { says, words, retry_after: None }
    }
}

/// The JSON to post, without the topic.
fn payload(message: &Message) -> Value {
    let limit = if message.plain { PLAIN } else { MESSAGE };
    let (priority, tag) = match message.severity {
        _ if message.status.is_over() => (3, "white_check_mark"),
        Severity::Critical => (5, "rotating_light"),
        Severity::Warning => (4, "warning"),
        Severity::Info => (3, "information_source"),
    };
    let mut payload = json!({
        "title": shorten_by(&markup::unlinked(&one_line(&message.title)), TITLE, json_bytes),
        "message": text(message, limit),
        "priority": priority,
        "tags": [tag],
    });
    if message.plain {
        return payload;
    }
    let link = |url: &Option<String>| markup::web_link(url.as_deref()?, LINK).map(str::to_owned);
    if let Some(link) = link(&message.link) {
        payload["click"] = json!(link);
    }
    if let Some(runbook) = link(&message.runbook_url) {
        payload["actions"] = json!([{"action": "view", "label": "Runbook", "url": runbook}]);
    }
    payload
}

/// What happened and where to read more, of which ntfy makes links by itself; of nothing else.
fn text(message: &Message, limit: usize) -> String {
    let shorten = |text: &str, limit| shorten_by(text, limit, json_bytes).into_owned();
    let closing = markup::closing(message, LINK, str::to_owned, |text, limit| {
        shorten(&markup::unlinked(text), limit)
    });
    let body = message.without_closing().body_text();
    let body = markup::disarmed(message, &body, markup::unlinked);
    if closing.is_empty() {
        return shorten(&body, limit);
    }
    let used: usize = "\n\n".chars().chain(closing.chars()).map(json_bytes).sum();
    let body = shorten(&body, limit.saturating_sub(used));
    shorten(&format!("{body}\n\n{closing}"), limit)
}

/// How many bytes a character takes in JSON.
fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        character if character < ' ' => 6,
        character => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests;
