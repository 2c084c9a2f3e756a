//! The bytes of a mail: a pure function of the envelope, so that every attempt sends the same.

use lettre::Message as Mail;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};

use super::super::{Envelope, digest, markup};
use super::picture;
use crate::message::text::{one_line, shorten};
use crate::message::{Body, Message, Section, States};
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
    let message = &harmless(&envelope.message);
    let domain = from.email.domain();
    let list = format!("<{}.tocsin.{domain}>", slug(&message.rule));
    // What looks like an encoded word (RFC 2047) would be read as what it encodes.
    let subject = one_line(&message.topic).replace("=?", "= ?");
    let mut mail = Mail::builder()
        .from(from.clone())
        .subject(shorten(&subject, SUBJECT))
        // When its words were frozen, and not when there came to be something to say: where it waited
        // long for its first attempt, it would stand among the mails of that day.
        .date(envelope.notification.made_at.as_system_time())
        .message_id(Some(format!("<{}@{domain}>", id(&envelope.id.0))));
    // A digest is a thread by itself, and answers nothing.
    if envelope.thread != envelope.id.0 {
        // The root is no mail that was ever sent: all mails of the thread refer to it, the first too,
        // so that they are siblings even where one of them is lost.
        let root = format!("<{}@{domain}>", id(&envelope.thread));
        mail = mail.in_reply_to(root.clone()).references(root);
    }
    mail = mail
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Auto-Response-Suppress", "All"))
        .raw_header(header("List-Id", &list));
    for to in to {
        // With an address beyond ASCII in it, it would be a mail that few servers take (RFC 6532), for
        // all who get it. Of a blind copy the mail says nothing.
        mail = match to.email.user().is_ascii() {
            true => mail.to(to.clone()),
            false => mail.bcc(to.clone()),
        };
    }
    let text = message.text();
    let mail = if message.plain {
        mail.singlepart(SinglePart::plain(text))
    } else {
        let alternative = MultiPart::alternative().boundary(boundary(envelope, "alternative"));
        let alternative = alternative.singlepart(SinglePart::plain(text));
        let html = |picture: Option<&str>| {
            SinglePart::builder().header(ContentType::TEXT_HTML).body(html(message, picture))
        };
        let states = message.states.as_ref();
        let png = states.and_then(|states| picture::png(states, severity_colour(message)));
        mail.multipart(match png {
            None => alternative.singlepart(html(None)),
            Some(png) => {
                let content_id = format!("states-{}@{domain}", id(&envelope.id.0));
                let name = "states.png".to_owned();
                let picture = Attachment::new_inline_with_name(content_id.clone(), name);
                let related = related(&boundary(envelope, "related"))
                    .singlepart(html(Some(&content_id)))
                    .singlepart(picture.body(png, content_type("image/png")));
                alternative.multipart(related)
            }
        })
    };
    let mail = mail.map_err(|error| format!("the mail cannot be put together: {error}"))?;
    Ok(mail.formatted())
}

/// The message with nothing in it that mail programs would make a link of, but for where to read more,
/// and with no more of a template's words than there is room for. What else it says is below them, and
/// is never long.
fn harmless(message: &Message) -> Message {
    let all = |lines: &[String]| lines.iter().map(|line| markup::unlinked(line)).collect();
    let body = match &message.body {
        Body::Custom(text) => {
            let text = markup::disarmed(message, &shorten(text, BODY), markup::unlinked);
            Body::Custom(text)
        }
        Body::Sections(sections) => {
            let section = |section: &Section| Section {
                heading: markup::unlinked(&section.heading),
                lines: all(&section.lines),
            };
            Body::Sections(sections.iter().map(section).collect())
        }
    };
    let mut states = message.states.clone();
    if let Some(states) = &mut states {
        states.heading = markup::unlinked(&states.heading);
        states.stretches.iter_mut().for_each(|it| it.line = markup::unlinked(&it.line));
    }
    Message {
        title: markup::unlinked(&message.title),
        body,
        states,
        notes: all(&message.notes),
        remarks: all(&message.remarks),
        ..message.clone()
    }
}

/// A boundary that is always the same for this mail: lettre's own are random, and these bytes are
/// not to change.
fn boundary(envelope: &Envelope, kind: &str) -> String {
    format!("=_{}_{kind}", digest(&envelope.id.0, 16))
}

/// An HTML part and what it shows: RFC 2387 asks for the `type`, which lettre leaves out.
fn related(boundary: &str) -> MultiPart {
    let related = format!("multipart/related; boundary=\"{boundary}\"; type=\"text/html\"");
    MultiPart::builder().header(content_type(&related)).build()
}

fn content_type(text: &str) -> ContentType {
    ContentType::parse(text).expect("it is written out here, and its boundary is hexadecimal")
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// What stands before the `@` of a message id: the text itself where it can, else its digest.
fn id(text: &str) -> String {
    let atom = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    match text.is_empty() || text.len() > 60 || !text.chars().all(atom) {
        true => digest(text, 16),
        false => text.to_owned(),
    }
}

/// The rule's name as part of a List-Id (RFC 2919 §2).
fn slug(rule: &str) -> String {
    let kept = |character: char| match character.is_ascii_alphanumeric() {
        true => character.to_ascii_lowercase(),
        false => '-',
    };
    let slug: String = rule.chars().take(60).map(kept).collect();
    match slug.trim_matches('-') {
        "" => digest(rule, 16),
        slug => slug.to_owned(),
    }
}

/// Simple on purpose: text in the reader's own colours, so that it reads in dark mode, and in one
/// column without widths, so that it reads on a phone. What is in colour is said in words as well.
fn html(message: &Message, picture: Option<&str>) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"supported-color-schemes\" content=\"light dark\">\n\
         <title>{title}</title>\n\
         <style>:root {{ color-scheme: light dark }}\n\
         @media (prefers-color-scheme: dark) {{ a {{ color: #8ab4f8 }} }}</style></head>\n\
         <body style=\"font-family: sans-serif; font-size: 16px; line-height: 1.45; \
         overflow-wrap: anywhere\">\n\
         <h1 style=\"border-left: 6px solid {colour}; padding-left: 10px; font-size: 18px\">\
         {title}</h1>\n",
        title = escape(&message.title),
        colour = colour(message),
    );
    match &message.body {
        Body::Custom(text) => {
            let text = escape(text);
            html.push_str(&format!("<div style=\"white-space: pre-wrap\">{text}</div>\n"));
        }
        Body::Sections(sections) => {
            for section in sections {
                html.push_str(&format!(
                    "<p><strong>{}</strong></p>\n<ul style=\"padding-left: 20px\">\n",
                    escape(&section.heading)
                ));
                for line in &section.lines {
                    html.push_str(&format!("<li>{}</li>\n", escape(line)));
                }
                html.push_str("</ul>\n");
            }
        }
    }
    if let Some(states) = &message.states {
        html.push_str(&states_html(states, picture));
    }
    for note in message.below() {
        html.push_str(&format!("<p>{}</p>\n", escape(note)));
    }
    for (name, url) in message.links() {
        html.push_str(&format!("<p>{name}: {}</p>\n", link(url)));
    }
    html.push_str("</body></html>\n");
    html
}

/// The states in words, each with the colour that it has in the picture, if there is one.
fn states_html(states: &States, picture: Option<&str>) -> String {
    let mut html = format!("<p><strong>{}</strong></p>\n", escape(&states.heading));
    if let Some(content_id) = picture {
        let (width, height) = picture::SIZE;
        html.push_str(&format!(
            "<img src=\"cid:{content_id}\" alt=\"{}\" width=\"{width}\" height=\"{height}\" \
             style=\"display: block; width: 100%; max-width: {width}px; height: auto\">\n",
            escape(&states.picture())
        ));
    }
    html.push_str("<ul style=\"list-style: none; padding-left: 0\">\n");
    let (more, said) = states.said();
    html.extend(more.map(|more| format!("<li>{}</li>\n", escape(&more))));
    for stretch in said {
        let (colour, _) = picture::look(&stretch.state);
        html.push_str(&format!(
            "<li><span style=\"color: {colour}\" aria-hidden=\"true\">&#9632;</span> {}</li>\n",
            escape(&stretch.line)
        ));
    }
    html.push_str("</ul>\n");
    html
}

fn colour(message: &Message) -> &'static str {
    match message.status.is_over() {
        true => "#2e8b57",
        false => severity_colour(message),
    }
}

/// Each can be told from white and from black.
fn severity_colour(message: &Message) -> &'static str {
    match message.severity {
        Severity::Critical => "#d32f2f",
        Severity::Warning => "#c77700",
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
