//! A channel of Discord, by a webhook: one embed.

use reqwest::Url;
use serde_json::{Value, json};

use super::http::{self, Answer, Place, Request};
use super::verdict::{Reading, Says};
use super::{Envelope, markup};
use crate::clock::Timestamp;
use crate::message::{Body, Message};
use crate::rules::Severity;

/// Characters in an embed's title (256) and description (4,096; 6,000 in all), and in a message
/// without an embed (2,000): what we take of them (FACTS.md; discord.com/developers, "Embed limits").
const TITLE: usize = 250;
const DESCRIPTION: usize = 3_500;
const CONTENT: usize = 1_900;

/// Characters in a line, and in a link.
const LINE: usize = 1_000;
const LINK: usize = 500;

/// What `code` is where nothing will be taken (discord.com/developers, "JSON Error Codes"): no such
/// channel, webhook or token; the thread is archived or locked; a forum, which wants a thread, or what
/// is none.
const DESTINATION: [u64; 9] =
    [10_003, 10_015, 50_027, 50_083, 160_005, 220_001, 220_002, 220_003, 220_004];

/// A webhook. Its URL is its secret, so there is no `Debug`.
pub(super) struct Discord {
    url: Url,
}

impl Discord {
    pub(super) fn new(mut url: Url) -> Discord {
        // Then it answers when it has the message, and with the message.
        if !url.query_pairs().any(|(name, _)| name == "wait") {
            url.query_pairs_mut().append_pair("wait", "true");
        }
        Discord { url }
    }
}

impl Place for Discord {
    fn request(&self, envelope: &Envelope, _: Timestamp) -> Request {
        Request::json(&self.url, &payload(&envelope.message))
    }

    /// The message itself, or `code` and `message`; how long to wait is in the body.
    fn read(&self, answer: &Answer) -> Reading {
        let said = answer.json();
        let says = match answer.status {
            204 => Says::Taken,
            200 if said["id"].is_string() => Says::Taken,
            200..300 => Says::Stranger("Discord, which answers with the message"),
            _ if said["code"].as_u64().is_some_and(|code| DESTINATION.contains(&code)) => {
                Says::Destination
            }
            _ => Says::Nothing,
        };
        let words = match (says, said["message"].as_str(), said["id"].as_str()) {
            (Says::Taken, _, Some(id)) => format!("message {}", answer.in_a_line(id)),
            (_, Some(message), _) => answer.in_a_line(message),
            _ => return Reading::of_text(answer, says),
        };
        let retry_after = said["retry_after"].as_f64().and_then(http::seconds);
        Reading { says, words, retry_after }
    }
}

/// The JSON to post. Nothing in it mentions anyone, whatever it says.
fn payload(message: &Message) -> Value {
    let mentions = json!({"parse": []});
    if message.plain {
        let closing = closing(message);
        let room = CONTENT - closing.chars().count() - 2;
        let text = escape(&message.without_closing().text(), room);
        let content = format!("{text}\n\n{closing}");
        return json!({"content": content, "allowed_mentions": mentions});
    }
    let mut embed = json!({
        "title": escape(&message.title, TITLE),
        "description": description(message),
        "color": colour(message),
    });
    if let Some(link) = message.link.as_deref().and_then(|link| markup::web_link(link, LINK)) {
        embed["url"] = json!(link);
    }
    json!({"embeds": [embed], "allowed_mentions": mentions})
}

fn description(message: &Message) -> String {
    let closing = closing(message);
    let room = DESCRIPTION - closing.chars().count() - 1;
    let what_happened = match &message.body {
        Body::Custom(_) => {
            markup::fitting(message, &message.without_closing().body_text(), room, escape)
        }
        Body::Sections(sections) => {
            let escape = |line: &str| escape(line, LINE);
            let mut lines = Vec::new();
            for section in sections {
                lines.push(format!("**{}**", escape(&section.heading)));
                lines.extend(section.lines.iter().map(|line| format!("• {}", escape(line))));
            }
            lines.extend(message.notes.iter().map(|note| escape(note)));
            markup::whole_lines(&lines, room)
        }
    };
    format!("{what_happened}\n{closing}")
}

fn closing(message: &Message) -> String {
    markup::closing(message, LINK, |address| format!("<{address}>"), escape)
}

fn escape(text: &str, limit: usize) -> String {
    markup::escape(&markup::unlinked(text), limit, markup::markdown)
}

fn colour(message: &Message) -> u32 {
    match message.severity {
        _ if message.status.is_over() => 0x2e_8b_57,
        Severity::Critical => 0xd3_2f_2f,
        Severity::Warning => 0xe6_95_00,
        Severity::Info => 0x46_82_b4,
    }
}

#[cfg(test)]
mod tests;
