//! `tocsin send`: a test notification, with the place's own answer.

use std::path::Path;

use anyhow::Context;

use super::{Exit, load, output};
use crate::clock;
use crate::config::{Config, Receiver};
use crate::deliver::receivers::{self, Accepted, Envelope, SendError};
use crate::engine::DeliveryId;
use crate::message::{Body, Message, Status};
use crate::rules::Severity;

pub(super) fn run(rules: &Path, name: &str) -> anyhow::Result<Exit> {
    let config = load(rules)?;
    let Some(receiver) = config.receivers.get(name) else {
        let known: Vec<&str> = config.receivers.keys().map(String::as_str).collect();
        output::note(format_args!(
            "error: {} has no receiver {name:?}; it has {}",
            rules.display(),
            known.join(", "),
        ));
        return Ok(Exit::Usage);
    };
    if receiver.is_off() {
        output::note(format_args!("error: {name} is off, since its address is empty; set it"));
        return Ok(Exit::No);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(send(&config, receiver));
    runtime.shutdown_background();
    let (verdict, exit) = match outcome? {
        Ok(Accepted { answer, complaint }) => {
            output::data(answer)?;
            match complaint {
                None => (format!("{name} took the test notification"), Exit::Done),
                Some(complaint) => {
                    (format!("{name} took the test notification in part: {complaint}"), Exit::No)
                }
            }
        }
        Err(error) => {
            output::data(&error)?;
            (format!("{name} did not take the test notification: {}", advice(&error)), Exit::No)
        }
    };
    output::note(verdict);
    Ok(exit)
}

/// Sends once, within the receiver's time-out.
async fn send(config: &Config, receiver: &Receiver) -> anyhow::Result<Result<Accepted, SendError>> {
    let sender = receivers::build(receiver).map_err(anyhow::Error::msg)?;
    let envelope = envelope(config, receiver);
    let sent = tokio::time::timeout(receiver.timeout, sender.send(&envelope)).await;
    Ok(sent.unwrap_or_else(|_| {
        Err(SendError::Unknown {
            detail: format!("no answer within {:?}", receiver.timeout),
            reached: Vec::new(),
        })
    }))
}

fn envelope(config: &Config, receiver: &Receiver) -> Envelope {
    let now = clock::now();
    let id = format!("test-{}", now.as_micros());
    let title = "Test notification from tocsin";
    Envelope {
        id: DeliveryId(id.clone()),
        thread: format!("{id}-thread"),
        created_at: now,
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
            notes: Vec::new(),
            runbook_url: None,
            link: config.server.external_url.clone(),
            plain: false,
        },
        reached: Vec::new(),
    }
}

fn advice(error: &SendError) -> &'static str {
    match error {
        SendError::Transient { .. } => "that may pass; in service it would be tried again",
        SendError::Unknown { .. } => {
            "whether it arrived is not known; in service it would be tried again"
        }
        SendError::Message { .. } => "it refuses the message, which a plainer one may mend",
        SendError::Destination { .. } => {
            "it will take nothing until its address or its credentials are put right"
        }
    }
}
