//! A channel of Microsoft Teams, by a workflow ("When a Teams webhook request is received"): an
//! Adaptive Card.

use reqwest::Url;
use serde_json::{Value, json};

use super::http::{Answer, Place, Request};
use super::verdict::{Reading, Says, is_page};
use super::{Envelope, markup};
use crate::clock::Timestamp;
use crate::message::text::{SHORTENED, one_line, shorten};
use crate::message::{Body, Message};
use crate::rules::Severity;

/// How large the card may be, in bytes of JSON: Teams takes 28 KB (FACTS.md), and what wraps the
/// card has to fit in as well.
const CARD: usize = 24_000;

/// Characters in a title, in a line, in a link, and in all of a plain card.
const TITLE: usize = 300;
const LINE: usize = 600;
const LINK: usize = 1_500;
const PLAIN: usize = 1_500;

/// What a workflow says that is switched off, or that wants another kind of caller.
const DESTINATION_ERRORS: [&str; 3] =
    ["WorkflowTriggerIsNotEnabled", "DirectApiAuthorizationRequired", "WorkflowNotFound"];

/// A workflow. Its URL is its secret, so there is no `Debug`.
pub(super) struct Teams {
    pub(super) url: Url,
}

impl Place for Teams {
    fn request(&self, envelope: &Envelope, _: Timestamp) -> Request {
        Request::json(&self.url, &payload(&envelope.message))
    }

    /// A workflow answers 202 before it has posted anything; its errors are `error.code` and
    /// `error.message`.
    fn read(&self, answer: &Answer) -> Reading {
        let said = answer.json();
        let code = said["error"]["code"].as_str().unwrap_or_default();
        let says = match answer.status {
            200..300 if is_page(&answer.body) => Says::Stranger("Teams, which answers 202"),
            400..500 if DESTINATION_ERRORS.contains(&code) => Says::Destination,
            _ => Says::Nothing,
        };
        if code.is_empty() {
            return Reading::of_text(answer, says);
        }
        let message = said["error"]["message"].as_str().unwrap_or_default();
        Reading { says, words: answer.in_a_line(&format!("{code}: {message}")), retry_after: None }
    }
}

/// The JSON to post.
fn payload(message: &Message) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": card(message),
        }],
    })
}

fn card(message: &Message) -> Value {
    let body = if message.plain { plain(message) } else { rich(message) };
    let actions: Vec<Value> = message
        .links()
        .filter_map(|(name, url)| {
            let url = markup::web_link(url, LINK)?;
            Some(json!({"type": "Action.OpenUrl", "title": name, "url": url}))
        })
        .collect();
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": shorten(&message.title, TITLE),
        "body": body,
        "actions": actions,
    })
}

/// Runs of text, in which nothing is markup; a text block would read Markdown.
fn rich(message: &Message) -> Vec<Value> {
    let title = json!({
        "type": "TextRun",
        "text": shorten(&message.title, TITLE),
        "weight": "bolder",
        "size": "large",
        "color": colour(message),
    });
    let remarks = shorten(&message.remarks.join("\n"), markup::REMARKS).into_owned();
    let remarks: Vec<Value> =
        remarks.lines().map(|remark| block(run(remark, "default"), false)).collect();
    let mut lines = Lines { bytes: json!(remarks).to_string().len(), ..Lines::default() };
    lines.add(title, false);
    match &message.body {
        Body::Custom(text) => {
            for line in text.lines() {
                let mut parts = markup::parts(line, LINE).map(|part| run(part, "default"));
                lines.add(parts.next().unwrap_or_default(), true);
                parts.for_each(|part| lines.go_on(part));
            }
        }
        Body::Sections(sections) => {
            for section in sections {
                lines.add(run(&section.heading, "bolder"), false);
                for line in &section.lines {
                    lines.add(run(&format!("• {line}"), "default"), true);
                }
            }
        }
    }
    for note in &message.notes {
        lines.add(run(note, "default"), false);
    }
    let mut blocks = lines.finish();
    blocks.extend(remarks);
    // What is no button; there is room left for two of those.
    for (name, url) in message.links().filter(|(_, url)| markup::web_link(url, LINK).is_none()) {
        let address = markup::unlinked(&one_line(url));
        let text = format!("{name}: {}", shorten(&address, TITLE));
        blocks.push(json!({"type": "RichTextBlock", "inlines": [run(&text, "default")]}));
    }
    blocks
}

/// One text block, for the case that the runs were refused: there, Markdown has to be disarmed.
fn plain(message: &Message) -> Vec<Value> {
    let escape = |text: &str, limit| markup::escape(text, limit, markup::markdown);
    let closing = markup::closing(message, TITLE, |link| escape(link, TITLE), escape);
    let text = message.without_closing().text();
    let text = markup::closed(PLAIN, &closing, |room| escape(&text, room));
    let text = text.trim_end();
    // A single line break is none in Markdown.
    vec![json!({"type": "TextBlock", "text": text.replace('\n', "\n\n"), "wrap": true})]
}

fn colour(message: &Message) -> &'static str {
    match message.severity {
        _ if message.status.is_over() => "good",
        Severity::Critical => "attention",
        Severity::Warning => "warning",
        Severity::Info => "accent",
    }
}

fn block(run: Value, close: bool) -> Value {
    let spacing = if close { "none" } else { "medium" };
    json!({"type": "RichTextBlock", "inlines": [run], "spacing": spacing})
}

fn run(text: &str, weight: &str) -> Value {
    json!({"type": "TextRun", "text": shorten(text, LINE), "weight": weight})
}

/// Lines of a card, within its budget. Once one does not fit any more, nothing is added.
#[derive(Default)]
struct Lines {
    blocks: Vec<Value>,
    bytes: usize,
    full: bool,
}

impl Lines {
    /// Adds a line, which may be close to the one before.
    fn add(&mut self, run: Value, close: bool) {
        let empty = run["text"].as_str().is_none_or(|text| text.trim().is_empty());
        let block = block(run, close);
        if !empty && self.takes(&block) {
            self.blocks.push(block);
        }
    }

    /// Adds to the line that was added last.
    fn go_on(&mut self, run: Value) {
        if self.takes(&run)
            && let Some(runs) = self.blocks.last_mut().and_then(|it| it["inlines"].as_array_mut())
        {
            runs.push(run);
        }
    }

    fn takes(&mut self, json: &Value) -> bool {
        let bytes = json.to_string().len() + 1;
        self.full |= self.bytes + bytes > CARD - 2 * LINK;
        if !self.full {
            self.bytes += bytes;
        }
        !self.full
    }

    fn finish(mut self) -> Vec<Value> {
        if self.full {
            let run = run(SHORTENED, "default");
            self.blocks.push(json!({"type": "RichTextBlock", "inlines": [run]}));
        }
        self.blocks
    }
}

#[cfg(test)]
mod tests;
