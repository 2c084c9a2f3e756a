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
/// What a block counts beside its text: Slack seems to count its JSON.
const BLOCK: usize = 100;
const NOTES: usize = 2_000;
const LINK: usize = 800;

/// The JSON to post.
pub(super) fn payload(message: &Message) -> Value {
    // Neither `link_names` nor `parse` is ever set: with them, names in data would call people.
    if message.plain {
        return json!({
            "text": text(message, escape),
            // Else names in data could be bold.
            "mrkdwn": false,
            "unfurl_links": false,
            "unfurl_media": false,
        });
    }
    json!({
        "text": escape(&summary(message), TEXT),
        "mrkdwn": false,
        "blocks": blocks(message),
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// The JSON to post where blocks are not known: the text has to say all of it. Such places read it as
/// Markdown, which is disarmed but for where to read more.
pub(super) fn text_only(message: &Message) -> Value {
    json!({"text": text(message, disarmed)})
}

/// All of it as text.
fn text(message: &Message, disarm: fn(&str, usize) -> String) -> String {
    let link = |url: &str| address(url).unwrap_or_else(|| disarm(url, LINK));
    let closing = markup::closing(message, LINK, link, disarm);
    let text = message.without_closing().text();
    markup::closed(TEXT, &closing, |room| markup::fitting(message, &text, room, disarm))
}

/// The text as Mattermost and Rocket.Chat show it as it is, in at most `limit` characters.
fn disarmed(text: &str, limit: usize) -> String {
    markup::escape(&markup::unlinked(text), limit, |character| match character {
        '&' | '<' | '>' => entity(character),
        '\\' | '*' | '_' | '~' | '`' | '|' | '#' | '-' => markup::markdown(character),
        '+' => "\\+",
        '.' => "\\.",
        '!' => "\\!",
        '$' => "\\$",
        // Behind a backslash, Rocket.Chat takes brackets for formulas. Without what follows them at
        // once, they make no link and no picture; and nothing underlines a heading.
        ']' => "]\u{200b}",
        '=' => "\u{200b}=",
        _ => "",
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
    let title = literal(&message.title);
    let header = shorten(&title, HEADER);
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": header, "emoji": false},
    })];
    blocks.extend(body(&message.body).iter().map(Texts::block));
    let below: Vec<&str> = message.below().collect();
    if !below.is_empty() {
        let lines = shorten(&literal(&below.join("\n")), NOTES).into_owned();
        blocks.push(Texts { heading: String::new(), lines }.block());
    }
    let links: Vec<Value> =
        message.links().map(|(name, url)| mrkdwn(&format!("{name}: {}", link(url)))).collect();
    if !links.is_empty() {
        blocks.push(json!({"type": "context", "elements": links}));
    }
    blocks
}

/// A text that Slack shows as it is, so that it links to nothing and calls nobody even where something
/// else, such as a bridge to another place, reads it as `mrkdwn`.
fn literal(text: &str) -> String {
    text.replace('<', "<\u{200b}")
}

/// Verbatim, so that Slack turns nothing in it into a link or a mention by itself. What is of events
/// is never in it.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn link(url: &str) -> String {
    match address(url) {
        Some(address) => format!("<{address}>"),
        None => escape(url, LINK),
    }
}

/// A web address as Slack takes it, if it is one and no longer than [`LINK`].
fn address(url: &str) -> Option<String> {
    let escaped = markup::web_link(url, LINK)?
        .replace('|', "%7C")
        .replace('<', "%3C")
        .replace('>', "%3E")
        .replace('&', "&amp;");
    Some(escaped).filter(|escaped| escaped.chars().count() <= LINK)
}

/// The texts of one block: a heading in bold, and lines below it. Either may be empty.
#[derive(Default)]
struct Texts {
    heading: String,
    lines: String,
}

impl Texts {
    /// In `rich_text`, what is a text is shown as it is: `mrkdwn` has no way to say that a `*` is one.
    fn block(&self) -> Value {
        let mut texts = Vec::new();
        if !self.heading.is_empty() {
            texts.push(json!({"type": "text", "text": self.heading, "style": {"bold": true}}));
        }
        if !self.lines.is_empty() {
            let text = match self.heading.is_empty() {
                true => self.lines.clone(),
                false => format!("\n{}", self.lines),
            };
            texts.push(json!({"type": "text", "text": text}));
        }
        let section = json!({"type": "rich_text_section", "elements": texts});
        json!({"type": "rich_text", "elements": [section]})
    }

    fn characters(&self) -> usize {
        self.heading.chars().count() + self.lines.chars().count()
    }

    fn add(&mut self, line: &str) {
        if !self.lines.is_empty() {
            self.lines.push('\n');
        }
        self.lines.push_str(line);
    }
}

/// The body as the texts of blocks, within the body's share; says so where it is cut.
fn body(body: &Body) -> Vec<Texts> {
    let mut packed = Packed::default();
    match body {
        Body::Custom(text) => packed.add("", text.lines().map(str::to_owned)),
        Body::Sections(sections) => {
            for Section { heading, lines } in sections {
                packed.add(heading, lines.iter().map(|line| format!("• {line}")));
            }
        }
    }
    packed.finish()
}

/// Lines packed into blocks. Once one does not fit any more, nothing is added.
#[derive(Default)]
struct Packed {
    blocks: Vec<Texts>,
    characters: usize,
    full: bool,
}

impl Packed {
    /// Adds a heading, if it is not empty, and lines, the first of which begins a block without one.
    fn add(&mut self, heading: &str, lines: impl Iterator<Item = String>) {
        let heading = shorten(&literal(heading), SECTION).into_owned();
        if !self.begin(heading.chars().count()) {
            return;
        }
        self.blocks.push(Texts { heading, lines: String::new() });
        for line in lines {
            for part in markup::parts(&literal(&line), SECTION - 1) {
                if !self.add_line(part) {
                    return;
                }
            }
        }
    }

    /// Adds a line, no longer than a section, if it fits.
    fn add_line(&mut self, line: &str) -> bool {
        let length = line.chars().count() + 1;
        let begins = self.blocks.last().is_none_or(|it| it.characters() + length > SECTION);
        let fits = if begins { self.begin(length) } else { self.takes(length) };
        if fits && begins {
            self.blocks.push(Texts::default());
        }
        if let Some(block) = self.blocks.last_mut().filter(|_| fits) {
            block.add(line);
        }
        fits
    }

    /// Whether there is room for another block with so many characters, which are taken.
    fn begin(&mut self, characters: usize) -> bool {
        self.full |= self.blocks.len() == BODY_BLOCKS;
        self.takes(characters + BLOCK)
    }

    fn takes(&mut self, characters: usize) -> bool {
        self.full |= self.characters + characters > BODY;
        if !self.full {
            self.characters += characters;
        }
        !self.full
    }

    fn finish(mut self) -> Vec<Texts> {
        if self.full {
            self.blocks.push(Texts { heading: String::new(), lines: SHORTENED.to_owned() });
        }
        // Slack refuses a block without text.
        self.blocks.retain(|it| !(it.heading.trim().is_empty() && it.lines.trim().is_empty()));
        self.blocks
    }
}

/// Escapes exactly what Slack asks for, in at most `limit` characters.
fn escape(text: &str, limit: usize) -> String {
    markup::escape(text, limit, entity)
}

fn entity(character: char) -> &'static str {
    match character {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
