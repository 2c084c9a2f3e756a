//! The words for a receiver that is down, and for one that is back.

use super::text::{count, duration, one_line, shorten, time};
use super::{Body, Context, Message, Section, Status};
use crate::engine::{Missed, Notice, Notification};

/// How many of the messages that went elsewhere are listed on the second, plain try.
const LISTED_PLAINLY: usize = 3;

/// A reason is in the place's own words, and may be long.
const REASON: usize = 300;

pub(super) fn words(
    notification: &Notification,
    notice: &Notice,
    context: &Context<'_>,
) -> Message {
    let receiver = super::words::name(&notice.receiver);
    let reason = shorten(&one_line(&notice.reason), REASON).into_owned();
    let since = notification.group_opened_at;
    let severity = notification.severity.as_str();
    let rule = notification.rule.clone();
    let (status, title, mut sections) = match notice.back_at {
        None => {
            let lines = vec![
                format!("since {}", time(since, context.now)),
                format!("what is for {receiver} is told here until it takes messages again"),
            ];
            let title = format!("{} {rule}: {receiver} takes nothing", severity.to_uppercase());
            (Status::Firing, title, vec![Section { heading: reason, lines }])
        }
        Some(back_at) => {
            let down_for = duration(back_at.since(since));
            let heading = format!("was down for {down_for}, since {}", time(since, context.now));
            let title = format!("OVER {rule}: {receiver} takes messages again");
            (Status::Over, title, vec![Section { heading, lines: vec![reason] }])
        }
    };
    if notice.missed_in_all > 0 {
        let listed = if context.plain { LISTED_PLAINLY } else { notice.missed.len() };
        let mut lines: Vec<String> =
            notice.missed.iter().take(listed).map(|missed| line(missed, context)).collect();
        let more = u64::from(notice.missed_in_all) - lines.len() as u64;
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        let messages = count(notice.missed_in_all.into(), "message");
        let heading = format!("{messages} for {receiver} went elsewhere meanwhile");
        sections.push(Section { heading, lines });
    }
    Message {
        severity: notification.severity,
        status,
        title,
        topic: format!("[{severity}] {rule}: {receiver}"),
        body: Body::Sections(sections),
        notes: Vec::new(),
        remarks: super::words::late(notification, context).into_iter().collect(),
        states: None,
        runbook_url: None,
        link: context.link(),
        plain: context.plain,
        rule,
    }
}

fn line(missed: &Missed, context: &Context<'_>) -> String {
    let mut parts = vec![super::words::name(&missed.rule)];
    let labels = missed.labels.iter();
    parts.extend(labels.map(|(label, value)| format!("{label}={}", super::words::name(value))));
    parts.push(time(missed.at, context.now));
    parts.join(" · ")
}
