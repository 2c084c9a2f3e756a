//! `POST /api/post`: from a body to a recorded event. It is answered 2xx only after the commit.

use std::fmt::Display;
use std::ops::Deref;
use std::pin::pin;
use std::time::Duration;

use bytes::BufMut;
use futures_util::StreamExt;
use serde::{Serialize, Serializer};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use warp::{Buf, Stream};

use super::answer::{self, Refusal, Response, STORE_RETRY};
use super::connection::LAST_CALL;
use super::{Api, Limits};
use crate::engine::TOO_OLD;
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
    /// Why nothing follows from it, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back: Option<&'static str>,
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
    reading: &Reading,
    length: Option<u64>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Refusal> {
    let body = reading.whole(body, length).await?;
    let event = event::decode(&body).map_err(|error| Refusal::malformed(error.to_string()))?;
    // That events are missing, or that none comes, is seen in no single event.
    let of_events = api.rules.matching(&event).filter(|rule| rule.on == On::Event);
    let mut occurrences: Vec<&str> = of_events.map(|rule| &*rule.name).collect();
    let identity = event.identity;
    let recorded = api.ingest.submit(event).await?;
    let held_back = (recorded == Recorded::TooOld).then_some(TOO_OLD);
    if held_back.is_some() {
        occurrences.clear();
    }
    Ok(answer::json(answer::text_of(&Receipt {
        status: match recorded {
            Recorded::New | Recorded::TooOld => "recorded",
            Recorded::Duplicate => "duplicate",
        },
        event: Displayed(identity),
        occurrences,
        held_back,
    })))
}

/// How bodies are read.
pub(super) struct Reading {
    /// How long a body may be, in bytes.
    most: usize,
    /// How long a whole one may take.
    within: Duration,
    /// For how many bytes there is room, in all bodies together.
    room: Semaphore,
    /// Cancelled when no more is waited for.
    stop: CancellationToken,
}

/// A whole body. There is room for another when it is dropped.
pub(super) struct Body<'a> {
    bytes: Vec<u8>,
    room: Option<SemaphorePermit<'a>>,
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Reading {
    pub(super) fn new(limits: &Limits, stop: CancellationToken) -> Reading {
        let room = Semaphore::new(limits.bodies);
        Reading { most: limits.body, within: limits.body_within, room, stop }
    }

    /// The whole body, within the limits.
    pub(super) async fn whole(
        &self,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
        length: Option<u64>,
    ) -> Result<Body<'_>, Refusal> {
        let read = tokio::time::timeout(self.within, self.read(body, length));
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        tokio::select! {
            // Most bodies are there already.
            biased;
            read = read => read.map_err(|_| Refusal::too_slow(self.within.as_secs_f64()))?,
            () = stopped => Err(IngestError::Stopping.into()),
        }
    }

    /// `length` is what the headers say of the body, if they do; that saves reading what is too
    /// long anyway, and nothing else rests on it.
    async fn read(
        &self,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
        length: Option<u64>,
    ) -> Result<Body<'_>, Refusal> {
        let length = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
        if length > self.most {
            return Err(Refusal::too_large(self.most));
        }
        let mut body = pin!(body);
        let mut whole = Body { bytes: Vec::new(), room: None };
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| {
                Refusal::malformed(format!(
                    "the body cannot be read to its end: {error}; send it again"
                ))
            })?;
            if whole.bytes.len() + chunk.remaining() > self.most {
                return Err(Refusal::too_large(self.most));
            }
            whole.makeroom(&self.room, chunk.remaining())?;
            // Room is made for what came, not for what somebody says that he is going to send.
            whole.bytes.put(chunk);
        }
        Ok(whole)
    }
}

impl<'a> Body<'a> {
    fn makeroom(&mut self, room: &'a Semaphore, length: usize) -> Result<(), Refusal> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let more = room.try_acquire_many(length).map_err(|_| Refusal::crowded())?;
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
        Ok(())
    }
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
