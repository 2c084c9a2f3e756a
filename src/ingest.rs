//! Batches what comes in into the store: one commit for all that waits, up to a bound.
//!
//! The answer to each event leaves only after the commit that holds it.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::clock;
use crate::engine::{self, Decided, Decision, Hand, Heard, Keys, Snapshot};
use crate::event::Event;
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::store::{Store, StoreError, transact};
use crate::wake::Wake;

/// How many events may wait for the store before more are refused.
const QUEUE: usize = 4096;

/// How many events one commit takes at most.
const BATCH: usize = 512;

/// How long a batch waits at most to be as large as those before it.
const COMPANY: Duration = Duration::from_millis(1);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is stored.
    New,
    /// It was stored before.
    Duplicate,
    /// It is stored, and nothing follows from it: it happened before what is kept.
    TooOld,
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
    inbox: Arc<Inbox>,
    storing: Arc<Storing>,
}

/// What waits to be stored.
struct Inbox(Mutex<(Vec<Arrival>, mpsc::Receiver<Arrival>)>);

/// What storing a batch takes.
struct Storing {
    store: Arc<dyn Store>,
    rules: Arc<Rules>,
    wake: Arc<Wake>,
    metrics: Metrics,
    /// Whether the last batch could not be stored: it is said once, and once that it is over.
    failing: AtomicBool,
}

#[derive(Debug)]
struct Arrival {
    heard: Heard,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Recorded, IngestError>>;

/// A queue into `store`, and what empties it.
#[must_use]
pub fn channel(
    store: Arc<dyn Store>,
    rules: Arc<Rules>,
    wake: Arc<Wake>,
    metrics: Metrics,
) -> (Ingest, Batches) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let inbox = Arc::new(Inbox(Mutex::new((Vec::new(), receiver))));
    let storing = Storing { store, rules, wake, metrics, failing: AtomicBool::new(false) };
    (Ingest { queue: sender }, Batches { inbox, storing: Arc::new(storing) })
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
    pub async fn run(self) {
        let batches = TaskTracker::new();
        let mut last_two = [0, 0];
        while self.inbox.has(1).await {
            // A commit costs much the same for one event and for many. While there is one batch in
            // the store and another on its way to it, each should be half of all that is in flight.
            let half = last_two.iter().sum::<usize>() / 2;
            let _: Result<bool, _> = timeout(COMPANY, self.inbox.has(half * 3 / 4)).await;
            // While one batch is committed the next waits its turn, and takes all that came by then.
            let (start, started) = oneshot::channel();
            let (inbox, storing) = (Arc::clone(&self.inbox), Arc::clone(&self.storing));
            batches.spawn(async move { storing.store_next(&inbox, start).await });
            // If it never starts, it has answered.
            last_two = [last_two[1], started.await.unwrap_or(0)];
        }
        batches.close();
        batches.wait().await;
    }
}

impl Inbox {
    /// Waits until so many have arrived; `false` if there will never be so many.
    async fn has(&self, count: usize) -> bool {
        poll_fn(|context| {
            let (arrivals, queue) = &mut *lock(&self.0);
            while arrivals.len() < count {
                if ready!(queue.poll_recv_many(context, arrivals, BATCH)) == 0 {
                    return Poll::Ready(false);
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Takes what is there, up to the size of a batch.
    fn take(&self) -> (Arc<[Heard]>, Vec<Answer>) {
        let (arrivals, queue) = &mut *lock(&self.0);
        while arrivals.len() < BATCH
            && let Ok(arrival) = queue.try_recv()
        {
            arrivals.push(arrival);
        }
        let (heard, answers): (Vec<_>, _) =
            arrivals.drain(..).map(|arrival| (arrival.heard, arrival.answer)).unzip();
        (heard.into(), answers)
    }
}

impl Storing {
    /// Stores, when its turn comes, what is in the inbox then; says so by `start`.
    async fn store_next(&self, inbox: &Arc<Inbox>, start: oneshot::Sender<usize>) {
        let batch = Arc::new(Mutex::new(None));
        let committed = {
            let (batch, inbox) = (Arc::clone(&batch), Arc::clone(inbox));
            let mut start = Some(start);
            let taken = move || {
                let batch = &mut *lock(&batch);
                let (heard, _) = batch.get_or_insert_with(|| inbox.take());
                start.take().map(|start| start.send(heard.len()));
                Arc::clone(heard)
            };
            self.commit(taken, true).await
        };
        // Where the store could not even begin, what is there by now shares its fate.
        let batch = lock(&batch).take();
        let (heard, answers) = batch.unwrap_or_else(|| inbox.take());
        for (answer, result) in answers.into_iter().zip(self.results(heard, committed).await) {
            self.metrics.event(match &result {
                Ok(Recorded::New) => "recorded",
                Ok(Recorded::Duplicate) => "duplicate",
                Ok(Recorded::TooOld) => "too_old",
                Err(_) => "refused",
            });
            // Whoever went away before the answer will ask again, and be told: a duplicate.
            let _: Result<(), _> = answer.send(result);
        }
    }

    /// What came of each event of a batch. Where the batch failed and the store is not at fault,
    /// they are done one by one.
    async fn results(
        &self,
        heard: Arc<[Heard]>,
        committed: Result<Vec<Decided>, StoreError>,
    ) -> Vec<Result<Recorded, IngestError>> {
        let failing = matches!(committed, Err(StoreError::Unavailable(_) | StoreError::Closed));
        let failed_before = self.failing.swap(failing, Ordering::Relaxed);
        match &committed {
            Err(reason) if failing && !failed_before => {
                error!(%reason, "events cannot be stored; their producers are told to try again");
            }
            _ if failed_before && !failing => info!("events can be stored again"),
            _ => {}
        }
        match committed {
            Ok(decided) => decided.into_iter().map(|decided| Ok(recorded(decided))).collect(),
            Err(StoreError::Refused(reason)) => {
                warn!(%reason, events = heard.len(), "a batch failed; doing its events one by one");
                let mut results = Vec::with_capacity(heard.len());
                for heard in heard.iter() {
                    results.push(self.store_one(heard.clone()).await);
                }
                results
            }
            Err(reason) => heard.iter().map(|_| Err(reason.clone().into())).collect(),
        }
    }

    async fn store_one(&self, heard: Heard) -> Result<Recorded, IngestError> {
        let batch: Arc<[Heard]> = [heard.clone()].into();
        // Nothing else is to be the reason for which it fails.
        match self.commit(move || Arc::clone(&batch), false).await {
            Ok(decided) => Ok(decided.first().copied().map_or(Recorded::New, recorded)),
            Err(StoreError::Refused(reason)) => self.keep(heard, reason).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps an event from which nothing could be derived, so that it is not lost.
    async fn keep(&self, heard: Heard, reason: String) -> Result<Recorded, IngestError> {
        self.metrics.event("failed");
        error!(
            container.id = &*heard.event.container,
            event.id = %heard.event.identity,
            reason,
            "an event could not be decided on; it is kept as failed"
        );
        let keep = move |snapshot: &Snapshot| engine::keep(snapshot, &heard, &reason);
        Ok(recorded(transact(&*self.store, Keys::default(), keep).await?))
    }

    /// Decides on a batch, which is asked for when its turn comes, and commits it; and, if so, claims what
    /// that makes for whoever has a hand free.
    async fn commit(
        &self,
        mut batch: impl FnMut() -> Arc<[Heard]> + Send + 'static,
        and_claim: bool,
    ) -> Result<Vec<Decided>, StoreError> {
        let rules = Arc::clone(&self.rules);
        let mut asked = false;
        let decide = move |snapshot: &Snapshot, free: &[Hand]| {
            let heard = batch();
            if !std::mem::replace(&mut asked, true) {
                return Decision::Need(engine::keys(&rules, &heard));
            }
            let free = if and_claim { free } else { &[] };
            engine::decide_and_claim(&rules, snapshot, &heard, free, clock::now())
        };
        self.wake.transact(&*self.store, Keys::default(), decide).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn recorded(decided: Decided) -> Recorded {
    match decided {
        Decided::Recorded => Recorded::New,
        Decided::Duplicate => Recorded::Duplicate,
        Decided::TooOld => Recorded::TooOld,
    }
}
