//! Slack by a bot: the first message of a group opens a thread, what follows goes into it, and the
//! first message is edited where it would not be true any more.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::http::{self, Answer, Request};
use super::super::verdict::{self, Reading, Says};
use super::super::{Accepted, Envelope, SendError, Sender, address};
use super::blocks;
use crate::engine::Notification;

/// Where the API is (docs.slack.dev, "Using the Web API").
pub(in super::super) const API: &str = "https://slack.com/api";

/// What `error` says where another try may help (docs.slack.dev, "chat.postMessage", as all of these).
const TRANSIENT: [&str; 8] = [
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
];

/// What `error` says where nothing will be taken: credentials, rights, the channel.
const DESTINATION: [&str; 26] = [
    "access_denied",
    "accesslimited",
    "account_inactive",
    "as_user_not_supported",
    "channel_not_found",
    "channel_type_not_supported",
    "deprecated_endpoint",
    "ekm_access_denied",
    "enterprise_is_restricted",
    "invalid_auth",
    "is_archived",
    "messages_tab_disabled",
    "missing_scope",
    "no_permission",
    "not_allowed_token_type",
    "not_authed",
    "not_in_channel",
    "org_login_required",
    "restricted_action",
    "restricted_action_non_threadable_channel",
    "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel",
    "team_access_not_granted",
    "token_expired",
    "token_revoked",
    "two_factor_setup_required",
];

/// What `error` says where the message that a thread hangs on is gone, be it with its channel, or takes
/// no more replies.
const GONE: [&str; 7] = [
    "message_not_found",
    "thread_not_found",
    "channel_not_found",
    "cannot_reply_to_message",
    "restricted_action_non_threadable_channel",
    "restricted_action_thread_locked",
    "thread_locked",
];

/// A channel, by a bot. Its token is secret, so there is no `Debug`.
pub(in super::super) struct SlackApi {
    api: Url,
    authorization: HeaderValue,
    channel: String,
    timeout: Duration,
}

/// The first message of a group, as it is kept from one message to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Thread {
    /// The channel as the file has it, by its name or its id: a thread in another is of no use.
    configured: String,
    channel: String,
    ts: String,
    /// Whether it says that all is over; `None` where that is not known, since an edit failed.
    over: Option<bool>,
}

/// An answer that was not the one hoped for.
struct Refusal {
    error: SendError,
    /// The thread's first message is not there any more, or nothing can be said below it.
    gone: bool,
}

impl SlackApi {
    pub(in super::super) fn new(
        api: Url,
        authorization: HeaderValue,
        channel: &str,
        timeout: Duration,
    ) -> SlackApi {
        SlackApi { api, authorization, channel: channel.to_owned(), timeout }
    }

    async fn call(
        &self,
        method: &str,
        body: &Value,
        timeout: Duration,
    ) -> Result<(Accepted, Value), Refusal> {
        let url = address::below(&self.api, &[method]);
        let request = Request::json(&url, body).authorized(self.authorization.clone());
        let answer = match http::post(request, timeout).await {
            Ok(answer) => answer,
            Err(error) => return Err(Refusal { error, gone: false }),
        };
        let said = answer.json();
        match verdict::judge(&answer, read(&answer)) {
            Ok(accepted) => Ok((accepted, said)),
            Err(error) => {
                let gone = said["error"].as_str().is_some_and(|error| GONE.contains(&error));
                Err(Refusal { error, gone })
            }
        }
    }

    /// Has the first message say what is true now.
    async fn edit(
        &self,
        thread: &Thread,
        payload: &Value,
        timeout: Duration,
    ) -> Result<(), Refusal> {
        let mut body = payload.clone();
        body["channel"] = json!(thread.channel);
        body["ts"] = json!(thread.ts);
        if body["blocks"].is_null() {
            // Else those that it has would stay.
            body["blocks"] = json!([]);
        }
        self.call("chat.update", &body, timeout).await.map(drop)
    }

    async fn post(
        &self,
        payload: &Value,
        thread: Option<&Thread>,
        alarm: bool,
        timeout: Duration,
    ) -> Result<(Accepted, Value), Refusal> {
        let mut body = payload.clone();
        body["channel"] = json!(thread.map_or(&self.channel, |thread| &thread.channel));
        if let Some(thread) = thread {
            body["thread_ts"] = json!(thread.ts);
            // Who reads the channel does not read its threads.
            body["reply_broadcast"] = json!(alarm);
        }
        self.call("chat.postMessage", &body, timeout).await
    }

    /// The edit comes last, so that the first message says nothing that was not told. Whatever becomes
    /// of it, the message is told, and is not to be told again.
    async fn tell(&self, envelope: &Envelope) -> Result<Accepted, SendError> {
        let began = Instant::now();
        // Short of the attempt's own time, past which nobody would know that it was told.
        let left = || self.timeout.saturating_sub(began.elapsed()) / 2;
        let payload = blocks::payload(&envelope.message);
        let over = is_over(&envelope.notification);
        let alarm = envelope.notification.firing > 0;
        let handle = envelope.handle.as_deref();
        let mut thread: Option<Thread> = handle
            .and_then(|handle| serde_json::from_str(handle).ok())
            .filter(|thread: &Thread| thread.configured == self.channel);
        let mut posted = self.post(&payload, thread.as_ref(), alarm, self.timeout).await;
        if thread.is_some() && posted.as_ref().is_err_and(|refusal| refusal.gone) {
            thread = None;
            posted = self.post(&payload, None, alarm, self.timeout).await;
        }
        let (mut accepted, mut said) = posted.map_err(|refusal| refusal.error)?;
        if let Some(first) = thread.as_mut().filter(|first| first.over != Some(over)) {
            let mut edited = self.edit(first, &payload, left()).await;
            first.over = edited.is_ok().then_some(over);
            if edited.as_ref().is_err_and(|refusal| refusal.gone) {
                // Below what is gone nobody may have seen it.
                edited = self.post(&payload, None, alarm, left()).await.map(|anew| {
                    (accepted, said) = anew;
                    thread = None;
                });
            }
            accepted.complaint =
                edited.err().map(|it| format!("the first message was not edited: {}", it.error));
        }
        let thread = thread.or_else(|| {
            let text = |key: &str| Some(said[key].as_str()?.to_owned());
            let configured = self.channel.clone();
            let over = Some(over);
            Some(Thread { configured, channel: text("channel")?, ts: text("ts")?, over })
        });
        let handle = thread.and_then(|thread| serde_json::to_string(&thread).ok());
        Ok(Accepted { handle, ..accepted })
    }
}

impl Sender for SlackApi {
    fn send<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<Accepted, SendError>> {
        self.tell(envelope).boxed()
    }
}

/// Whether nothing fires any more of all that the thread is about.
fn is_over(notification: &Notification) -> bool {
    notification.firing == 0 && notification.firing_in_group == 0
}

/// Slack answers 200 to what it refuses, too: `ok` and `error` say which.
fn read(answer: &Answer) -> Reading {
    let said = answer.json();
    let error = said["error"].as_str().unwrap_or_default();
    let says = match (answer.status, &said["ok"]) {
        (200, Value::Bool(true)) => Says::Taken,
        (_, Value::Bool(false)) if TRANSIENT.contains(&error) => Says::Transient,
        (_, Value::Bool(false)) if DESTINATION.contains(&error) => Says::Destination,
        (200, Value::Bool(false)) => Says::Message,
        (200..300, _) => Says::Stranger("Slack, which answers in JSON"),
        _ => Says::Nothing,
    };
    let words = match says {
        Says::Taken => "ok".to_owned(),
        _ if error.is_empty() => return Reading::of_text(answer, says),
        _ => answer.in_a_line(error),
    };
    Reading { says, words, retry_after: None }
}

#[cfg(test)]
mod tests;
