//! `POST /api/post`: from a body to a recorded event. It is answered 2xx only after the commit.

use std::fmt::Display;
use std::pin::pin;

use bytes::BufMut;
use futures_util::StreamExt;
use serde::{Serialize, Serializer};
use warp::{Buf, Stream};

use super::answer::{self, Refusal, Response, STORE_RETRY};
use super::{Api, Limits};
use crate::event::{self, Event, Identity};
use crate::ingest::{Ingest, IngestError, Recorded};
use crate::rules::On;

/// Takes events in: [`Ingest`], or what stands for it in a test.
pub trait Intake: Send + Sync + 'static {
    /// Records an event; returns after the commit.
    fn submit(&self, event: Event) -> impl Future<Output = Result<Recorded, IngestError>> + Send;
}

impl Intake for Ingest {
    fn submit(&self, event: Event) -> impl Future<Output = Result<Recorded, IngestError>> + Send {
        Ingest::submit(self, event)
    }
}

#[derive(Serialize)]
struct Receipt<'a> {
    status: &'static str,
    event: Displayed<Identity>,
    occurrences: Vec<&'a str>,
}

/// What is written as it reads.
struct Displayed<T>(T);

impl<T: Display> Serialize for Displayed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

pub(super) async fn post<I: Intake>(
    api: &Api<I>,
    limits: &Limits,
    length: Option<u64>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Refusal> {
    let body = whole(body, length, limits).await?;
    let event = event::decode(&body).map_err(|error| Refusal::malformed(error.to_string()))?;
    // That events are missing, or that none comes, is seen in no single event.
    let of_events = api.rules.matching(&event).filter(|rule| rule.on == On::Event);
    let occurrences = of_events.map(|rule| &*rule.name).collect();
    let identity = event.identity;
    let recorded = api.ingest.submit(event).await?;
    Ok(answer::json(answer::text_of(&Receipt {
        status: match recorded {
            Recorded::New => "recorded",
            Recorded::Duplicate => "duplicate",
        },
        event: Displayed(identity),
        occurrences,
    })))
}

/// The whole body, within the limits.
pub(super) async fn whole(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    length: Option<u64>,
    limits: &Limits,
) -> Result<Vec<u8>, Refusal> {
    tokio::time::timeout(limits.body_within, read(body, length, limits.body))
        .await
        .map_err(|_| Refusal::too_slow(limits.body_within.as_secs_f64()))?
}

/// The whole body, of at most `limit` bytes. `length` is what the headers say of it, if they do;
/// that saves reading what is too long anyway, and nothing else rests on it.
async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    length: Option<u64>,
    limit: usize,
) -> Result<Vec<u8>, Refusal> {
    let length = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(Refusal::too_large(limit));
    }
    let mut body = pin!(body);
    let mut bytes = Vec::with_capacity(length);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            Refusal::malformed(format!(
                "the body cannot be read to its end: {error}; send it again"
            ))
        })?;
        if bytes.len() + chunk.remaining() > limit {
            return Err(Refusal::too_large(limit));
        }
        bytes.put(chunk);
    }
    Ok(bytes)
}

/// Each is a 503: the producer keeps the event, and tries again.
impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Self {
        let retry_after = match &error {
            IngestError::Full => 1,
            IngestError::Stopping => 5,
            IngestError::Store(_) => STORE_RETRY,
        };
        let sentence = format!("the event was not recorded: {error}; send it again in a while");
        Refusal::unavailable(sentence, retry_after)
    }
}
