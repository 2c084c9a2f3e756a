//! The bytes of a mail: a pure function of the envelope, so that every attempt sends the same.

use lettre::Message as Mail;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use super::super::Envelope;
use crate::message::text::{one_line, shorten};
use crate::message::{Body, Message};
use crate::rules::Severity;

/// Longer subjects are cut by the clients anyway.
const SUBJECT: usize = 200;

/// Longer bodies are of a template gone wild.
const BODY: usize = 60_000;

pub(super) fn bytes(
    envelope: &Envelope,
    from: &Mailbox,
    to: &[Mailbox],
) -> Result<Vec<u8>, String> {
    let message = &envelope.message;
    // Message ids are ASCII, which not every domain is.
    let domain = Some(from.email.domain()).filter(|domain| domain.is_ascii());
    let domain = domain.unwrap_or("tocsin.invalid");
    // The root is no mail that was ever sent: all mails of the thread refer to it, the first too,
    // so that they are siblings even where one of them is lost.
    let root = format!("<{}@{domain}>", id(&envelope.thread));
    let list = format!("<{}.tocsin.{domain}>", slug(&message.rule));
    let mut mail = Mail::builder()
        .from(from.clone())
        .subject(shorten(&one_line(&message.topic), SUBJECT))
        .date(envelope.created_at.as_system_time())
        .message_id(Some(format!("<{}@{domain}>", id(&envelope.id.0))))
        .in_reply_to(root.clone())
        .references(root)
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Auto-Response-Suppress", "All"))
        .raw_header(header("List-Id", &list));
    for to in to {
        mail = mail.to(to.clone());
    }
    let text = shorten(&message.text(), BODY).into_owned();
    let mail = if message.plain {
        mail.singlepart(SinglePart::plain(text))
    } else {
        mail.multipart(
            MultiPart::alternative()
                // lettre's own boundary is random, and these bytes are not to change.
                .boundary(format!("=_{}", digest(&envelope.id.0)))
                .singlepart(SinglePart::plain(text))
                .singlepart(
                    SinglePart::builder().header(ContentType::TEXT_HTML).body(html(message)),
                ),
        )
    };
    let mail = mail.map_err(|error| format!("the mail cannot be put together: {error}"))?;
    Ok(mail.formatted())
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// What stands before the `@` of a message id: the text itself where it can, else its digest.
fn id(text: &str) -> String {
    let atom = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    match text.is_empty() || text.len() > 60 || !text.chars().all(atom) {
        true => digest(text),
        false => text.to_owned(),
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The rule's name as part of a List-Id (RFC 2919 §2).
fn slug(rule: &str) -> String {
    let kept = |character: char| match character.is_ascii_alphanumeric() {
        true => character.to_ascii_lowercase(),
        false => '-',
    };
    let slug: String = rule.chars().take(60).map(kept).collect();
    match slug.trim_matches('-') {
        "" => digest(rule),
        slug => slug.to_owned(),
    }
}

/// Simple on purpose: no colours but that of the bar, so that it reads in dark mode, and no widths.
fn html(message: &Message) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title></head>\n\
         <body style=\"font-family: sans-serif; font-size: 16px; line-height: 1.45\">\n\
         <p style=\"border-left: 6px solid {colour}; padding-left: 10px; font-size: 18px\">\n\
         <strong>{title}</strong></p>\n",
        title = escape(&message.title),
        colour = colour(message),
    );
    match &message.body {
        Body::Custom(text) => {
            let text = escape(&shorten(text, BODY));
            html.push_str(&format!("<div style=\"white-space: pre-wrap\">{text}</div>\n"));
        }
        Body::Sections(sections) => {
            for section in sections {
                html.push_str(&format!(
                    "<p><strong>{}</strong></p>\n<ul>\n",
                    escape(&section.heading)
                ));
                for line in &section.lines {
                    html.push_str(&format!("<li>{}</li>\n", escape(line)));
                }
                html.push_str("</ul>\n");
            }
        }
    }
    for note in &message.notes {
        html.push_str(&format!("<p>{}</p>\n", escape(note)));
    }
    for (name, url) in message.links() {
        html.push_str(&format!("<p>{name}: {}</p>\n", link(url)));
    }
    html.push_str("</body></html>\n");
    html
}

fn colour(message: &Message) -> &'static str {
    match message.severity {
        _ if message.status.is_over() => "#2e8b57",
        Severity::Critical => "#d32f2f",
        Severity::Warning => "#e69500",
        Severity::Info => "#4682b4",
    }
}

fn link(url: &str) -> String {
    let shown = escape(url);
    match url.starts_with("https://") || url.starts_with("http://") {
        true => format!("<a href=\"{shown}\">{shown}</a>"),
        false => shown,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
