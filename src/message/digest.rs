//! The words for a digest: a line for each notification that waited with others (DESIGN.md §7).

use super::text::{count, shorten};
use super::words::{self, name};
use super::{Body, Context, Message, Section, Status};
use crate::engine::{Digest, Notification};

/// How many notifications have a line (DESIGN.md §7). The rest is counted.
const LISTED: usize = 20;

/// No line is longer, in characters, so that twenty fit into the 3,000 of a text object of Slack's.
const LINE: usize = 140;

pub(super) fn words(
    notification: &Notification,
    digest: &Digest,
    context: &Context<'_>,
) -> Message {
    let Notification { severity, firing, resolved, .. } = *notification;
    let recovered = |said: &Notification| words::status(said) == Status::Over;
    let (status, word) = match (firing, resolved) {
        (0, _) if digest.of.iter().all(|said| recovered(said)) => (Status::Over, "OVER".to_owned()),
        (0, _) => (Status::Ended, "ENDED".to_owned()),
        (_, 0) => (Status::Firing, severity.as_str().to_uppercase()),
        _ => (Status::Mixed, severity.as_str().to_uppercase()),
    };
    let numbers = [(firing, "firing"), (resolved, "over")];
    let numbers = numbers.iter().filter(|(number, _)| *number > 0);
    let numbers: Vec<String> = numbers.map(|(number, what)| format!("{number} {what}")).collect();
    let messages = count(digest.of.len() as u64, "message");
    let mut sections: Vec<Section> = Vec::new();
    for said in digest.of.iter().take(LISTED) {
        let (heading, line) = (said.severity.as_str(), line(said, &notification.receiver, context));
        match sections.last_mut().filter(|section| section.heading == heading) {
            Some(section) => section.lines.push(line),
            None => sections.push(Section { heading: heading.to_owned(), lines: vec![line] }),
        }
    }
    let mut notes = Vec::new();
    let more = digest.of.len().saturating_sub(LISTED);
    if more > 0 {
        notes.push(format!("and {more} more"));
    }
    notes.extend(
        words::late(notification, context).map(|late| format!("the first of these is {late}")),
    );
    let link =
        context.external_url.map(|url| format!("{url}/api/deliveries?digest={}", digest.id.0));
    if link.is_none() {
        notes.push(format!("all of it: tocsin deliveries list --digest {}", digest.id.0));
    }
    Message {
        rule: notification.rule.clone(),
        severity,
        status,
        title: format!("{word} digest: {messages} in one, {}", numbers.join(", ")),
        topic: format!("[{}] digest: {messages} in one", severity.as_str()),
        body: Body::Sections(sections),
        states: None,
        notes,
        remarks: Vec::new(),
        runbook_url: None,
        link,
        plain: context.plain,
    }
}

/// What one notification says, in a line: its title, what happened, and whom it was for if for another.
fn line(said: &Notification, receiver: &str, context: &Context<'_>) -> String {
    let whole = words::built_in(said, context);
    let mut parts = vec![whole.title];
    if let Body::Sections(sections) = &whole.body {
        parts.extend(sections.iter().map(|section| section.heading.clone()));
    }
    if said.receiver != receiver {
        parts.push(format!("for {}", name(&said.receiver)));
    }
    shorten(&parts.join(" · "), LINE).into_owned()
}
