//! Batches what comes in into the store: one commit for all that waits, up to a bound.
//!
//! The answer to each event leaves only after the commit that holds it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::clock;
use crate::engine::{self, Decided, Heard, Keys};
use crate::event::Event;
use crate::rules::Rules;
use crate::store::{Store, StoreError, transact};
use crate::wake::{Stirred, Wake};

/// How many events may wait for the store before more are refused.
const QUEUE: usize = 4096;

/// How many events one commit takes at most.
const BATCH: usize = 512;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is stored.
    New,
    /// It was stored before.
    Duplicate,
}

/// Why an event was not taken. Its producer will try again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IngestError {
    /// Too many wait already.
    #[error("too many events are waiting to be stored")]
    Full,
    /// The program stops.
    #[error("tocsin is stopping")]
    Stopping,
    /// The store cannot commit.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes events in. Cheap to clone; when the last clone is gone, what waits is stored and
/// [`Batches::run`] returns.
#[derive(Clone, Debug)]
pub struct Ingest {
    queue: mpsc::Sender<Arrival>,
}

/// The other end of [`Ingest`]: stores what waits.
pub struct Batches {
    queue: mpsc::Receiver<Arrival>,
    store: Arc<dyn Store>,
    rules: Arc<Rules>,
    wake: Arc<Wake>,
    /// Whether the last batch could not be stored: it is said once, and once that it is over.
    failing: bool,
}

#[derive(Debug)]
struct Arrival {
    heard: Heard,
    answer: oneshot::Sender<Result<Recorded, IngestError>>,
}

/// A queue into `store`, and what empties it.
#[must_use]
pub fn channel(store: Arc<dyn Store>, rules: Arc<Rules>, wake: Arc<Wake>) -> (Ingest, Batches) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Ingest { queue: sender }, Batches { queue: receiver, store, rules, wake, failing: false })
}

impl Ingest {
    /// Has an event stored. Returns after the commit.
    ///
    /// # Errors
    /// [`IngestError`] if it was not stored; its producer is to try again.
    pub async fn submit(&self, event: Event) -> Result<Recorded, IngestError> {
        let (answer, result) = oneshot::channel();
        let arrival = Arrival { heard: Heard::new(event, clock::now()), answer };
        self.queue.try_send(arrival).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IngestError::Full,
            mpsc::error::TrySendError::Closed(_) => IngestError::Stopping,
        })?;
        result.await.unwrap_or(Err(IngestError::Stopping))
    }
}

impl Batches {
    /// Stores what comes, until every [`Ingest`] is gone and the queue is empty.
    pub async fn run(mut self) {
        let mut arrivals = Vec::with_capacity(BATCH);
        while self.queue.recv_many(&mut arrivals, BATCH).await > 0 {
            let (heard, answers): (Vec<Heard>, Vec<_>) =
                arrivals.drain(..).map(|arrival| (arrival.heard, arrival.answer)).unzip();
            for (answer, result) in answers.into_iter().zip(self.store_all(heard).await) {
                // Whoever went away before the answer will ask again, and be told: a duplicate.
                let _: Result<(), _> = answer.send(result);
            }
        }
    }

    async fn store_all(&mut self, heard: Vec<Heard>) -> Vec<Result<Recorded, IngestError>> {
        let heard: Arc<[Heard]> = heard.into();
        let committed = self.commit(Arc::clone(&heard)).await;
        match &committed {
            Err(StoreError::Refused(_)) => {}
            Err(reason) if !self.failing => {
                error!(%reason, "events cannot be stored; their producers are told to try again");
            }
            Ok(_) if self.failing => info!("events can be stored again"),
            _ => {}
        }
        self.failing = matches!(committed, Err(StoreError::Unavailable(_) | StoreError::Closed));
        match committed {
            Ok(decided) => decided.into_iter().map(|decided| Ok(recorded(decided))).collect(),
            Err(StoreError::Refused(reason)) if heard.len() > 1 => {
                warn!(%reason, events = heard.len(), "a batch failed; doing its events one by one");
                let mut results = Vec::with_capacity(heard.len());
                for heard in heard.iter() {
                    results.push(self.store_one(heard.clone()).await);
                }
                results
            }
            Err(StoreError::Refused(reason)) => vec![self.keep(heard[0].clone(), reason).await],
            Err(reason) => heard.iter().map(|_| Err(reason.clone().into())).collect(),
        }
    }

    async fn store_one(&self, heard: Heard) -> Result<Recorded, IngestError> {
        match self.commit([heard.clone()].into()).await {
            Ok(decided) => Ok(decided.first().copied().map_or(Recorded::New, recorded)),
            Err(StoreError::Refused(reason)) => self.keep(heard, reason).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps an event from which nothing could be derived, so that it is not lost.
    async fn keep(&self, heard: Heard, reason: String) -> Result<Recorded, IngestError> {
        error!(
            container.id = &*heard.event.container,
            event.id = %heard.event.identity,
            reason,
            "an event could not be decided on; it is kept as failed"
        );
        let keep = move |snapshot: &engine::Snapshot| engine::keep(snapshot, &heard, &reason);
        Ok(recorded(transact(&*self.store, Keys::default(), keep).await?))
    }

    async fn commit(&self, heard: Arc<[Heard]>) -> Result<Vec<Decided>, StoreError> {
        let keys = engine::keys(&self.rules, &heard);
        let rules = Arc::clone(&self.rules);
        let decide = move |snapshot: &engine::Snapshot| {
            Stirred::by(engine::decide(&rules, snapshot, &heard, clock::now()))
        };
        let (decided, stirred) = transact(&*self.store, keys, decide).await?;
        self.wake.wake(stirred);
        Ok(decided)
    }
}

fn recorded(decided: Decided) -> Recorded {
    match decided {
        Decided::Recorded => Recorded::New,
        Decided::Duplicate => Recorded::Duplicate,
    }
}
