//! `tocsin send`: a test notification, with the place's own answer; to each part of a list.

use std::path::Path;

use anyhow::Context;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Exit, load, output};
use crate::clock::{self, Timestamp};
use crate::config::{Config, Receiver};
use crate::deliver::receivers::{self, Accepted, Envelope, SendError, no_answer_within};
use crate::engine::{AlertNews, Cause, DeliveryId, News, Notification};
use crate::message::{Body, Message, Status};
use crate::rules::{Labels, On, Severity};

pub(super) fn run(rules: &Path, name: &str) -> anyhow::Result<Exit> {
    let config = load(rules)?;
    let parts = config.receivers.parts(name);
    if parts.is_empty() {
        let known: Vec<&str> = config.receivers.names().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let rules = rules.display();
        output::note(format_args!("error: {rules} has no receiver {name:?}; it has {known}"));
        return Ok(Exit::Usage);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let mut exit = Exit::Done;
    for receiver in parts.iter().filter_map(|part| config.receivers.get(*part)) {
        if !told(&runtime, &config, receiver, parts.len() > 1)? {
            exit = Exit::No;
        }
    }
    runtime.shutdown_background();
    Ok(exit)
}

/// Tells one receiver, and people what came of it. Answers whether all went well.
fn told(
    runtime: &Runtime,
    config: &Config,
    receiver: &Receiver,
    one_of_several: bool,
) -> anyhow::Result<bool> {
    let name = receiver.name.as_str();
    if receiver.is_off() {
        output::note(format_args!("error: {name} is off, since its address is empty; set it"));
        return Ok(false);
    }
    let answered = |answer: &dyn std::fmt::Display| match one_of_several {
        true => output::data(format_args!("{name}: {answer}")),
        false => output::data(answer),
    };
    let (verdict, well) = match runtime.block_on(send(config, receiver))? {
        Ok(Accepted { answer, complaint, .. }) => {
            answered(&answer)?;
            match complaint {
                None => (format!("{name} took the test notification"), true),
                Some(complaint) => {
                    (format!("{name} took the test notification in part: {complaint}"), false)
                }
            }
        }
        Err(error) => {
            answered(&error)?;
            let verdict = match error.reached() {
                [] => "did not take the test notification",
                _ => "took the test notification in part",
            };
            (format!("{name} {verdict}: {}", advice(&error)), false)
        }
    };
    output::note(verdict);
    Ok(well)
}

/// Sends once, within the receiver's time-out.
async fn send(config: &Config, receiver: &Receiver) -> anyhow::Result<Result<Accepted, SendError>> {
    let sender = receivers::build(receiver).map_err(anyhow::Error::msg)?;
    let envelope = envelope(config, receiver);
    let sent = tokio::time::timeout(receiver.timeout, sender.send(&envelope)).await;
    Ok(sent.unwrap_or_else(|_| {
        Err(SendError::Unknown { detail: no_answer_within(receiver.timeout), reached: Vec::new() })
    }))
}

fn envelope(config: &Config, receiver: &Receiver) -> Envelope {
    let now = clock::now();
    let id = format!("test-{}", now.as_micros());
    let title = "Test notification from tocsin";
    Envelope {
        id: DeliveryId(id.clone()),
        waiting_since: now,
        thread: format!("{id}-thread"),
        message: Message {
            rule: "test".into(),
            severity: Severity::Info,
            status: Status::Firing,
            title: title.into(),
            topic: title.into(),
            body: Body::Custom(format!(
                "Nothing has happened. Someone ran `tocsin send --receiver {}` to see whether \
                 messages arrive here.",
                receiver.name,
            )),
            states: None,
            notes: Vec::new(),
            remarks: Vec::new(),
            runbook_url: None,
            link: config.server.external_url.clone(),
            plain: false,
        },
        notification: notification(&receiver.name, now).into(),
        handle: None,
        reached: Vec::new(),
    }
}

/// What places are told that take data and not words: something that happened, and has no end.
fn notification(receiver: &str, now: Timestamp) -> Notification {
    let labels = [("rule", "test"), ("severity", "info")];
    let labels = Labels::from(labels);
    Notification {
        rule: "test".into(),
        receiver: receiver.into(),
        severity: Severity::Info,
        on: On::Event,
        labels: Labels::default(),
        runbook_url: None,
        group_opened_at: now,
        notice: None,
        digest: None,
        due_at: now,
        made_at: now,
        firing: 1,
        resolved: 0,
        firing_in_group: 0,
        alerts: vec![AlertNews {
            labels,
            container: "test".into(),
            members: Vec::new(),
            members_in_all: 1,
            news: News::Happened,
            started_at: now,
            ended_at: Some(now),
            cause: Some(Cause::Momentary),
            occurrences: 1,
            intervals: 1,
            heard_at: now,
            event: Some(json!({"id": "test", "state": "TEST", "timestamp": now.as_seconds()})),
            ended_by: None,
            before: None,
        }],
        states: Vec::new(),
        says: Vec::new(),
    }
}

fn advice(error: &SendError) -> &'static str {
    match error {
        SendError::Transient { .. } => "that may pass; in service it would be tried again",
        SendError::Unknown { .. } => {
            "whether it arrived is not known; in service it would be tried again"
        }
        SendError::Message { reached, .. } if reached.is_empty() => {
            "it refuses the message, which a plainer one may mend"
        }
        SendError::Message { .. } => "the others refuse the message, which a plainer one may mend",
        SendError::Destination { .. } => {
            "it will take nothing until its address or its credentials are put right"
        }
    }
}
