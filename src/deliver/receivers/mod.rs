//! The places that can be told, each a small file: its payload, its limits, how to read its answer.

mod address;
mod console;
mod email;
mod http;
mod off;
mod slack;
mod verdict;

use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;

use self::http::OverHttp;
use crate::clock::Timestamp;
use crate::config::{Receiver, ReceiverKind};
use crate::engine::DeliveryId;
use crate::message::Message;
use crate::message::text::{one_line, shorten};

/// A place that can be told.
pub trait Sender: Send + Sync {
    /// Sends once. The caller bounds the time and keeps count.
    fn send<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<Accepted, SendError>>;
}

/// One message on its way to one receiver.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The same for every attempt.
    pub id: DeliveryId,
    /// Names the thread: the same for all that one group says while it lives.
    pub thread: String,
    /// When the delivery was made.
    pub created_at: Timestamp,
    /// What to say.
    pub message: Message,
    /// The addresses that have it already, of an earlier attempt.
    pub reached: Vec<String>,
}

/// The place took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The place's own answer, in a line.
    pub answer: String,
    /// What did not go well all the same, such as one mailbox of two.
    pub complaint: Option<String>,
}

impl Accepted {
    /// Taken with these words or, if there are none, with this status.
    fn with_answer(words: String, status: u16) -> Accepted {
        let answer = if words.is_empty() { status.to_string() } else { words };
        Accepted { answer, complaint: None }
    }
}

/// Why a place did not take it, by what is to be done (DESIGN.md §7).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Try again later.
    #[error("{detail}")]
    Transient {
        /// The place's own words.
        detail: String,
        /// How long the place asks to be left alone.
        retry_after: Option<Duration>,
        /// The addresses that have it now.
        reached: Vec<String>,
    },
    /// It may or may not have been taken: the answer was lost. Try again.
    #[error("{detail}")]
    Unknown {
        /// What is known.
        detail: String,
        /// The addresses that are known to have it now.
        reached: Vec<String>,
    },
    /// This message will never be taken; a plainer one might.
    #[error("{detail}")]
    Message {
        /// The place's own words.
        detail: String,
    },
    /// Nothing will be taken here until someone mends it.
    #[error("{detail}")]
    Destination {
        /// The place's own words.
        detail: String,
    },
}

impl SendError {
    fn transient(detail: impl Into<String>) -> SendError {
        SendError::Transient { detail: detail.into(), retry_after: None, reached: Vec::new() }
    }

    fn unknown(detail: impl Into<String>) -> SendError {
        SendError::Unknown { detail: detail.into(), reached: Vec::new() }
    }
}

/// What is wrong with a receiver: the key it is wrong at, and why, never with the secret itself.
/// Nothing is wrong with one that is off.
#[must_use]
pub fn validate(receiver: &Receiver) -> Vec<(&'static str, String)> {
    match &receiver.kind {
        ReceiverKind::Console => Vec::new(),
        ReceiverKind::Slack { webhook_url } => {
            let url = webhook_url.expose_secret();
            let checked = match url {
                "" => Ok(()),
                url => address::http_url(url, receiver.allow_http).map(drop),
            };
            checked.err().map(|error| ("webhook_url", error)).into_iter().collect()
        }
        ReceiverKind::Email { smtp_url, from, to } => {
            email::validate(smtp_url.expose_secret(), from, to)
        }
    }
}

/// The sender for a receiver; for one that is off, a sender that says so to whatever is sent.
///
/// # Errors
/// In words, if [`validate`] has something to say of it.
pub fn build(receiver: &Receiver) -> Result<Box<dyn Sender>, String> {
    install_tls();
    if receiver.is_off() {
        return Ok(Box::new(off::Off));
    }
    if let Some((key, error)) = validate(receiver).into_iter().next() {
        return Err(format!("receiver {:?}: {key}: {error}", receiver.name));
    }
    Ok(match &receiver.kind {
        ReceiverKind::Console => Box::new(console::Console),
        ReceiverKind::Slack { webhook_url } => {
            let url = address::http_url(webhook_url.expose_secret(), receiver.allow_http)?;
            Box::new(OverHttp { place: slack::Slack { url }, timeout: receiver.timeout })
        }
        ReceiverKind::Email { smtp_url, from, to } => {
            Box::new(email::Email::new(smtp_url.expose_secret(), from, to, receiver.timeout)?)
        }
    })
}

/// Makes ring the TLS provider of the whole program. May be called again at will.
pub fn install_tls() {
    // It fails where a provider is installed already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The place's own words: their first line, and not too long.
fn in_a_line(words: &str) -> String {
    let first = words.lines().map(one_line).find(|line| !line.is_empty()).unwrap_or_default();
    shorten(&first, 300).into_owned()
}

/// An error with all that caused it, each said once.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !words.contains(&next) {
            words = format!("{words}: {next}");
        }
        cause = error.source();
    }
    in_a_line(&words)
}

#[cfg(test)]
mod tests;
