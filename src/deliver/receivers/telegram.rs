//! A chat of Telegram, by a bot: text, in which nothing is markup.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use super::http::{Answer, Place, Request};
use super::verdict::{Reading, Says};
use super::{Envelope, address, markup};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::message::text::shorten_by;

/// Where the API is (core.telegram.org/bots/api, "Making requests").
pub(super) const API: &str = "https://api.telegram.org";

/// What we take of the 4,096 that a text may have (FACTS.md), in the UTF-16 units that Telegram
/// counts in.
const TEXT: usize = 4_000;
const TITLE: usize = 300;
const PLAIN: usize = 1_500;
const LINK: usize = 300;

/// What a description has in it when it is the chat that is wrong, and not the message; `CHAT_` begins
/// what Telegram itself has to say of one, such as `CHAT_WRITE_FORBIDDEN`.
const CHAT_ERRORS: [&str; 9] = [
    "chat not found",
    "chat_id is empty",
    "upgraded to a supergroup",
    "not enough rights",
    "have no rights",
    "administrator rights",
    "CHAT_",
    "PEER_ID_INVALID",
    "TOPIC_CLOSED",
];

/// A chat. The token is in the URL, so there is no `Debug`.
pub(super) struct Telegram {
    send_message: Url,
    chat_id: Value,
}

impl Telegram {
    /// The error does not repeat the token.
    pub(super) fn new(api: &Url, token: &str, chat_id: &str) -> Result<Telegram, String> {
        let known = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
        let whole = |(bot, secret): &(&str, &str)| {
            bot.parse::<u64>().is_ok() && !secret.is_empty() && secret.chars().all(known)
        };
        if !token.split_once(':').as_ref().is_some_and(whole) {
            return Err("must be a bot's token, like 123456:ABC-DEF, as @BotFather gives it".into());
        }
        let chat_id = chat_id.parse::<i64>().map_or_else(|_| json!(chat_id), |id| json!(id));
        let send_message = address::below(api, &[&format!("bot{token}"), "sendMessage"]);
        Ok(Telegram { send_message, chat_id })
    }
}

impl Place for Telegram {
    fn request(&self, envelope: &Envelope, _: Timestamp) -> Request {
        let mut payload = payload(&envelope.message);
        payload["chat_id"] = self.chat_id.clone();
        Request::json(&self.send_message, &payload)
    }

    /// `ok`, and `description` if it is not; how long to wait is in `parameters`.
    fn read(&self, answer: &Answer) -> Reading {
        let said = answer.json();
        let description = said["description"].as_str().unwrap_or_default();
        let moved_to = said["parameters"]["migrate_to_chat_id"].as_i64();
        let of_chat = || CHAT_ERRORS.iter().any(|error| description.contains(error));
        let says = match answer.status {
            200 if said["ok"] == true => Says::Taken,
            200..300 => Says::Stranger("Telegram, which answers with the message"),
            400 if moved_to.is_some() || of_chat() => Says::Destination,
            _ => Says::Nothing,
        };
        let words = match (says, said["result"]["message_id"].as_i64()) {
            (Says::Taken, Some(id)) => format!("message {id}"),
            (Says::Taken, None) => "ok".to_owned(),
            _ if description.is_empty() => return Reading::of_text(answer, says),
            _ => match moved_to {
                Some(id) => format!("{}; chat_id is {id} now", answer.in_a_line(description)),
                None => answer.in_a_line(description),
            },
        };
        let retry_after = said["parameters"]["retry_after"].as_u64().map(Duration::from_secs);
        Reading { says, words, retry_after }
    }
}

/// The JSON to post, without the chat. There is no `parse_mode`: what is bold is said beside the
/// text.
fn payload(message: &Message) -> Value {
    let limit = if message.plain { PLAIN } else { TEXT };
    // Telegram makes links, mentions and commands of text by itself.
    let title = shorten_by(&markup::unlinked(&message.title), TITLE, char::len_utf16).into_owned();
    let bold: usize = title.chars().map(char::len_utf16).sum();
    let closing = markup::closing(message, LINK, str::to_owned, |text, limit| {
        shorten_by(&markup::unlinked(text), limit, char::len_utf16).into_owned()
    });
    let body = message.without_closing().body_text();
    let body = markup::disarmed(message, &body, markup::unlinked);
    let used = bold + closing.chars().map(char::len_utf16).sum::<usize>() + 4;
    let body = shorten_by(&body, limit.saturating_sub(used), char::len_utf16).into_owned();
    let text = [title, body, closing]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<String>>()
        .join("\n\n");
    let mut payload = json!({
        "text": text,
        "link_preview_options": {"is_disabled": true},
    });
    if !message.plain {
        payload["entities"] = json!([{"type": "bold", "offset": 0, "length": bold}]);
    }
    payload
}

#[cfg(test)]
mod tests;
