//! A Slack incoming webhook: blocks within Slack's limits, and what its answers mean.

use reqwest::Url;
use serde_json::{Value, json};

use super::Envelope;
use super::http::{Answer, Place, Request};
use super::verdict::{Reading, Says};
use crate::clock::Timestamp;
use crate::message::text::{SHORTENED, shorten};
use crate::message::{Body, Message, Section};

/// Characters in a header, in a section, and what we take of the advised 4,000 for the text
/// (docs.slack.dev, "Block Kit"; FACTS.md).
const HEADER: usize = 150;
const SECTION: usize = 2_900;
const TEXT: usize = 3_500;

/// The body's share of the 50 blocks and of the 13,000 characters that all of them may hold; the
/// rest is for the header, the notes and the links.
const BODY_BLOCKS: usize = 40;
const BODY: usize = 8_500;
const NOTES: usize = 2_000;
const LINK: usize = 800;

/// The body of an answer that says that this message will never be taken.
const MESSAGE_ERRORS: [&str; 5] =
    ["invalid_payload", "invalid_blocks", "no_text", "user_not_found", "too_many_attachments"];

/// The body of an answer that says that nothing will be taken here.
const DESTINATION_ERRORS: [&str; 10] = [
    "action_prohibited",
    "invalid_token",
    "channel_not_found",
    "no_service",
    "no_active_hooks",
    "channel_is_archived",
    "no_service_id",
    "no_team",
    "team_disabled",
    "posting_to_general_channel_denied",
];

/// A Slack incoming webhook. The URL is its secret, so there is no `Debug`.
pub(super) struct Slack {
    pub(super) url: Url,
}

impl Place for Slack {
    fn request(&self, envelope: &Envelope, _: Timestamp) -> Request {
        Request::json(&self.url, &payload(&envelope.message))
    }

    /// FACTS.md, "Slack incoming webhooks".
    fn read(&self, answer: &Answer) -> Reading {
        let said = |errors: &[&str]| {
            (400..500).contains(&answer.status) && errors.contains(&answer.body.trim())
        };
        let says = match answer.status {
            200 if answer.body == "ok" => Says::Taken,
            200..300 => Says::Stranger("Slack, which answers 200 ok"),
            _ if said(&MESSAGE_ERRORS) => Says::Message,
            _ if said(&DESTINATION_ERRORS) => Says::Destination,
            _ => Says::Nothing,
        };
        Reading::of_text(answer, says)
    }
}

/// The JSON to post.
fn payload(message: &Message) -> Value {
    // Neither `link_names` nor `parse` is ever set: with them, names in data would call people.
    if message.plain {
        return json!({
            "text": escape(&message.text(), TEXT),
            "unfurl_links": false,
            "unfurl_media": false,
        });
    }
    json!({
        "text": escape(&summary(message), TEXT),
        "blocks": blocks(message),
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// What notifications and screen readers get: the title and what happened, without the lists.
fn summary(message: &Message) -> String {
    let mut lines = vec![message.title.as_str()];
    match &message.body {
        Body::Custom(text) => lines.push(text),
        Body::Sections(sections) => {
            lines.extend(sections.iter().map(|section| section.heading.as_str()));
        }
    }
    lines.join("\n")
}

fn blocks(message: &Message) -> Vec<Value> {
    let header = shorten(&message.title, HEADER);
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": header, "emoji": false},
    })];
    blocks.extend(body(&message.body).iter().map(|text| section(text)));
    if !message.notes.is_empty() {
        blocks.push(section(&escape(&message.notes.join("\n"), NOTES)));
    }
    let links: Vec<Value> = [("Runbook", &message.runbook_url), ("Alerts", &message.link)]
        .into_iter()
        .filter_map(|(name, url)| Some(mrkdwn(&format!("{name}: {}", link(url.as_ref()?)))))
        .collect();
    if !links.is_empty() {
        blocks.push(json!({"type": "context", "elements": links}));
    }
    blocks
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

/// Verbatim, so that Slack turns nothing in data into a link or a mention.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn link(url: &str) -> String {
    let web = url.starts_with("https://") || url.starts_with("http://");
    let escaped = url.replace('|', "%7C").replace('<', "%3C").replace('>', "%3E");
    let escaped = escaped.replace('&', "&amp;");
    if web && escaped.chars().count() <= LINK { format!("<{escaped}>") } else { escape(url, LINK) }
}

/// The body as the texts of sections, within the body's share; says so where it is cut.
fn body(body: &Body) -> Vec<String> {
    let mut packed = Packed::default();
    match body {
        Body::Custom(text) => packed.add(text.lines().map(|line| escape(line, SECTION))),
        Body::Sections(sections) => {
            for section in sections {
                packed.add(section_lines(section));
            }
        }
    }
    packed.finish()
}

fn section_lines(section: &Section) -> impl Iterator<Item = String> {
    let heading = format!("*{}*", escape(&section.heading, SECTION - 2));
    let lines = section.lines.iter().map(|line| format!("• {}", escape(line, SECTION - 2)));
    std::iter::once(heading).chain(lines)
}

/// Lines packed into sections. Once one does not fit any more, nothing is added.
#[derive(Default)]
struct Packed {
    sections: Vec<String>,
    characters: usize,
    full: bool,
}

impl Packed {
    /// Adds lines, the first of which begins a section.
    fn add(&mut self, lines: impl Iterator<Item = String>) {
        let mut begin = true;
        for line in lines {
            let length = line.chars().count() + 1;
            begin |=
                self.sections.last().is_none_or(|last| last.chars().count() + length > SECTION);
            let blocks = self.sections.len() + usize::from(begin);
            self.full |= self.characters + length > BODY || blocks > BODY_BLOCKS;
            if self.full {
                return;
            }
            self.characters += length;
            match self.sections.last_mut().filter(|_| !begin) {
                Some(last) => {
                    last.push('\n');
                    last.push_str(&line);
                }
                None => self.sections.push(line),
            }
            begin = false;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.full {
            self.sections.push(SHORTENED.to_owned());
        }
        // Slack refuses a section without text.
        self.sections.retain(|text| !text.trim().is_empty());
        self.sections
    }
}

/// Escapes exactly what Slack asks for, in at most `limit` characters, without cutting an entity.
fn escape(text: &str, limit: usize) -> String {
    let entity = |character| match character {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => "",
    };
    let length = |character| entity(character).len().max(1);
    let whole: usize = text.chars().map(length).sum();
    let room = if whole <= limit { limit } else { limit - SHORTENED.chars().count() };
    let mut escaped = String::with_capacity(text.len());
    let mut used = 0;
    for character in text.chars() {
        used += length(character);
        if used > room {
            escaped.push_str(SHORTENED);
            break;
        }
        match entity(character) {
            "" => escaped.push(character),
            entity => escaped.push_str(entity),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
