//! What Slack is told: blocks within Slack's limits, and a text beside them.

use serde_json::{Value, json};

use super::super::markup;
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

/// The JSON to post.
pub(super) fn payload(message: &Message) -> Value {
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

/// The JSON to post where blocks are not known: the text has to say all of it. Such places also take
/// names in a text for mentions, as Slack does not: they are disarmed.
pub(super) fn text_only(message: &Message) -> Value {
    let text = escape(&message.text(), TEXT);
    json!({"text": shorten(&text.replace('@', "@\u{200b}"), TEXT + TEXT / 2)})
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
    let links: Vec<Value> =
        message.links().map(|(name, url)| mrkdwn(&format!("{name}: {}", link(url)))).collect();
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

/// Escapes exactly what Slack asks for, in at most `limit` characters.
fn escape(text: &str, limit: usize) -> String {
    markup::escape(text, limit, |character| match character {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => "",
    })
}

#[cfg(test)]
mod tests;
