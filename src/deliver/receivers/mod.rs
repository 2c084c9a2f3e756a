//! The places that can be told, each a small file: its payload, its limits, how to read its answer.

mod address;
mod alertmanager;
mod certificate;
mod console;
mod discord;
mod email;
mod http;
mod markup;
mod ntfy;
mod off;
mod outbound;
mod pagerduty;
mod signature;
mod slack;
mod teams;
mod telegram;
mod verdict;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use self::address::is_here;
use self::http::{OverHttp, Place};
use crate::clock::Timestamp;
use crate::config::{Receiver, ReceiverKind};
use crate::engine::{DeliveryId, Notification};
use crate::message::Message;
use crate::message::text::{one_line, shorten};
use sha2::{Digest as _, Sha256};

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
    /// Since when it waits: anew once it was given up and put back.
    pub waiting_since: Timestamp,
    /// Names the thread: the same for all that one group says while it lives.
    pub thread: String,
    /// What there is to tell, for places that take data.
    pub notification: Arc<Notification>,
    /// The same in words.
    pub message: Message,
    /// The place's own name for the thread, if it gave one when it took an earlier message of it.
    pub handle: Option<String>,
    /// The addresses that have it already, of an earlier attempt.
    pub reached: Vec<String>,
}

impl Envelope {
    /// Whether it tells a receiver of itself: that it is back, and what it missed.
    fn is_of_itself(&self) -> bool {
        let notice = self.notification.notice.as_ref();
        notice.is_some_and(|notice| notice.receiver == self.notification.receiver)
    }
}

/// The place took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The place's own answer, in a line.
    pub answer: String,
    /// What did not go well all the same, such as one mailbox of two.
    pub complaint: Option<String>,
    /// Its own name for the thread, for the messages that follow.
    pub handle: Option<String>,
}

impl Accepted {
    /// Taken with these words or, if there are none, with this status.
    fn with_answer(words: String, status: u16) -> Accepted {
        let answer = if words.is_empty() { status.to_string() } else { words };
        Accepted { answer, ..Accepted::default() }
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
        /// The addresses that have it now all the same.
        reached: Vec<String>,
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

    fn message(detail: impl Into<String>) -> SendError {
        SendError::Message { detail: detail.into(), reached: Vec::new() }
    }

    /// The addresses that have it now.
    #[must_use]
    pub fn reached(&self) -> &[String] {
        match self {
            SendError::Transient { reached, .. }
            | SendError::Unknown { reached, .. }
            | SendError::Message { reached, .. } => reached,
            SendError::Destination { .. } => &[],
        }
    }
}

/// What is wrong with a receiver: the key it is wrong at, and why, never with the secret itself.
/// Nothing is wrong with one that is off.
#[must_use]
pub fn validate(receiver: &Receiver) -> Wrong {
    match &receiver.kind {
        // Of what is off, the mailboxes are looked at all the same.
        ReceiverKind::Email { smtp_url, from, to } => {
            email::validate(smtp_url.expose_secret(), from, to)
        }
        _ if receiver.is_off() => Wrong::new(),
        _ => sender(receiver).err().unwrap_or_default(),
    }
}

/// What is wrong with a receiver: keys, and why.
pub type Wrong = Vec<(&'static str, String)>;

/// The sender for a receiver; for one that is off, a sender that says so to whatever is sent.
///
/// # Errors
/// In words, if [`validate`] has something to say of it.
pub fn build(receiver: &Receiver) -> Result<Box<dyn Sender>, String> {
    install_tls();
    if receiver.is_off() {
        return Ok(Box::new(off::Off));
    }
    sender(receiver).map_err(|wrong| {
        let wrong: Vec<String> =
            wrong.into_iter().map(|(key, error)| format!("{key}: {error}")).collect();
        format!("receiver {:?}: {}", receiver.name, wrong.join("; "))
    })
}

/// The sender for a receiver that is not off.
fn sender(receiver: &Receiver) -> Result<Box<dyn Sender>, Wrong> {
    let at = |key| move |error: String| vec![(key, error)];
    let http_url = |key, url: &str| address::http_url(url, receiver.allow_http).map_err(at(key));
    let secret_url = |key, url: &SecretString| http_url(key, url.expose_secret());
    let api = |url: &Option<String>, usual| http_url("url", url.as_deref().unwrap_or(usual));
    let bearer = |key, token: &SecretString| http::bearer(token.expose_secret()).map_err(at(key));
    let timeout = receiver.timeout;
    match &receiver.kind {
        ReceiverKind::Console => Ok(Box::new(console::Console)),
        ReceiverKind::Slack { webhook_url, blocks } => {
            let url = secret_url("webhook_url", webhook_url)?;
            over_http(slack::Slack { url, blocks: *blocks }, timeout)
        }
        ReceiverKind::SlackApi { bot_token, channel, url } => {
            let (token, api) = both(bearer("bot_token", bot_token), api(url, slack::API))?;
            Ok(Box::new(slack::SlackApi::new(api, token, channel, timeout)))
        }
        ReceiverKind::Email { smtp_url, from, to } => {
            let wrong = email::validate(smtp_url.expose_secret(), from, to);
            if !wrong.is_empty() {
                return Err(wrong);
            }
            let email = email::Email::new(smtp_url.expose_secret(), from, to, timeout);
            Ok(Box::new(email.map_err(at("smtp_url"))?))
        }
        ReceiverKind::Webhook { url, secrets } => {
            let keys = secrets.iter().map(|secret| signature::Key::parse(secret.expose_secret()));
            let keys: Result<Vec<_>, String> = keys.collect();
            let (url, keys) = both(secret_url("url", url), keys.map_err(at("secret")))?;
            over_http(webhook::Webhook { url, keys }, timeout)
        }
        ReceiverKind::PagerDuty { routing_key, url } => {
            let enqueue = address::below(&api(url, pagerduty::API)?, &["v2", "enqueue"]);
            over_http(pagerduty::PagerDuty { enqueue, routing_key: routing_key.clone() }, timeout)
        }
        ReceiverKind::Teams { webhook_url } => {
            over_http(teams::Teams { url: secret_url("webhook_url", webhook_url)? }, timeout)
        }
        ReceiverKind::Discord { webhook_url } => {
            over_http(discord::Discord::new(secret_url("webhook_url", webhook_url)?), timeout)
        }
        ReceiverKind::Telegram { bot_token, chat_id, url } => {
            let api = api(url, telegram::API)?;
            let chat = telegram::Telegram::new(&api, bot_token.expose_secret(), chat_id);
            over_http(chat.map_err(at("bot_token"))?, timeout)
        }
        ReceiverKind::Ntfy { url, token } => {
            let token = token.as_ref().map(|token| bearer("token", token)).transpose();
            let (url, token) = both(secret_url("url", url), token)?;
            over_http(ntfy::Ntfy::new(url, token).map_err(at("url"))?, timeout)
        }
        ReceiverKind::Alertmanager { url } => {
            let alerts = address::below(&secret_url("url", url)?, &["api", "v2", "alerts"]);
            over_http(alertmanager::Alertmanager { alerts }, timeout)
        }
    }
}

fn over_http(place: impl Place + 'static, timeout: Duration) -> Result<Box<dyn Sender>, Wrong> {
    Ok(Box::new(OverHttp { place, timeout }))
}

/// Both, or all that is wrong with either.
fn both<A, B>(one: Result<A, Wrong>, other: Result<B, Wrong>) -> Result<(A, B), Wrong> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => Err(one.err().into_iter().chain(other.err()).flatten().collect()),
    }
}

/// Makes ring the TLS provider of the whole program. May be called again at will.
pub fn install_tls() {
    // It fails where a provider is installed already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// That nothing was said in all this time: `no answer within 2.7 s`.
pub(crate) fn no_answer_within(time: Duration) -> String {
    let hundredths = (time.as_secs_f64() * 100.0).round();
    format!("no answer within {} s", hundredths / 100.0)
}

/// What stands for a text: so many bytes of its SHA-256, in hexadecimal.
fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The place's own words: their first line, and not too long.
fn in_a_line(words: &str) -> String {
    let first = words.lines().map(one_line).find(|line| !line.is_empty()).unwrap_or_default();
    shorten(&first, 300).into_owned()
}

/// An error with all that caused it, each said once; of a certificate that was not taken, what to do.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(words) = certificate::refused(error) {
        return words;
    }
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
