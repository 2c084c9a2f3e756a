//! Has the store let go of what is older than `storage.keep`, a little at a time.
//!
//! What may go is decided by the engine, in units of work like any other, so that a kill between two
//! of them loses nothing and the next start goes on. What it takes of the store's time is bounded:
//! what comes in is not to wait for what goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::{self, Timestamp};
use crate::engine::{self, Done, Ended, IntervalId, Keys, Oldest, Snapshot};
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::store::{Store, StoreError, transact};

/// How many events one unit of work looks at: some 10 ms of the store's time.
const EVENTS: usize = 256;

/// How many alerts, or deliveries, one unit of work looks at.
const OTHERS: usize = 64;

/// How much longer than a unit of work took to leave the store alone afterwards: pruning has a tenth
/// of its time at most.
const REST: u32 = 9;

/// How much later than they might things go at the latest, as a part of how long they are kept.
const LATENESS: u32 = 1000;

/// How long to wait at least, and at most, before looking again at all there is.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1800));

/// By how much a clock may get ahead of the time that passed before it is not believed, and for how
/// long it has to stay so until it is: a clock that is wrong for a moment is not to cost everything.
const DOUBTFUL: Duration = Duration::from_secs(3600);

/// What pruning takes.
pub struct Pruner {
    /// What is pruned.
    pub store: Arc<dyn Store>,
    /// What is derived from it.
    pub rules: Arc<Rules>,
    /// Where what is discarded is counted.
    pub metrics: Metrics,
    /// How long things are kept.
    pub keep: Duration,
    /// When to stop.
    pub stop: CancellationToken,
}

impl Pruner {
    /// Prunes until it is stopped.
    pub async fn run(self) {
        let (at, since) = (clock::now(), Instant::now());
        let mut believed = Believed { at, since, doubted_since: None };
        while !self.stop.is_cancelled() {
            if believed.believes(clock::now(), Instant::now()) {
                match self.all(believed.at.minus(self.keep)).await {
                    Ok(()) => {}
                    Err(reason) if reason.is_said() => {
                        debug!(%reason, "what is old could not be pruned");
                    }
                    Err(reason) => error!(%reason, "what is old could not be pruned"),
                }
            }
            self.rest((self.keep / LATENESS).clamp(PAUSES.0, PAUSES.1)).await;
        }
    }

    /// Lets go of all that may go of what is older than this.
    async fn all(&self, before: Timestamp) -> Result<(), StoreError> {
        // Each waits for those before it: an alert for its events, and for its dead letters.
        self.events(before).await?;
        self.deliveries(before).await?;
        self.alerts(before).await
    }

    async fn events(&self, before: Timestamp) -> Result<(), StoreError> {
        let mut next = Some(0);
        while let Some(after) = next.filter(|_| !self.stop.is_cancelled()) {
            let oldest = Oldest { received_before: before, after, limit: EVENTS };
            let keys = Keys { oldest: Some(oldest), ..Keys::default() };
            let rules = Arc::clone(&self.rules);
            let began = Instant::now();
            let prune = move |snapshot: &Snapshot| engine::prune(&rules, snapshot, oldest);
            next = transact(&*self.store, keys, prune).await?;
            self.rest(began.elapsed() * REST).await;
        }
        Ok(())
    }

    async fn alerts(&self, before: Timestamp) -> Result<(), StoreError> {
        let mut next = Some((Timestamp::default(), IntervalId(0)));
        while let Some(after) = next.filter(|_| !self.stop.is_cancelled()) {
            let ended = Ended { before, after, limit: OTHERS };
            let keys = Keys { ended: Some(ended), ..Keys::default() };
            let rules = Arc::clone(&self.rules);
            let began = Instant::now();
            let forget = move |snapshot: &Snapshot| engine::forget(&rules, snapshot, ended);
            next = transact(&*self.store, keys, forget).await?;
            self.rest(began.elapsed() * REST).await;
        }
        Ok(())
    }

    async fn deliveries(&self, before: Timestamp) -> Result<(), StoreError> {
        let mut more = true;
        while more && !self.stop.is_cancelled() {
            let done = Done { before, limit: OTHERS };
            let keys = Keys { done: Some(done), ..Keys::default() };
            let began = Instant::now();
            let clear = move |snapshot: &Snapshot| engine::clear(snapshot, done);
            let (left, letters) = transact(&*self.store, keys, clear).await?;
            for receiver in &letters {
                self.metrics.letter_pruned(receiver);
            }
            if !letters.is_empty() {
                warn!(
                    letters = letters.len(),
                    "dead letters that were older than `storage.keep` are discarded"
                );
            }
            more = left;
            self.rest(began.elapsed() * REST).await;
        }
        Ok(())
    }

    /// Waits so long, or until the stop.
    async fn rest(&self, pause: Duration) {
        self.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// What the clock said when it was last believed, and when that was.
struct Believed {
    at: Timestamp,
    since: Instant,
    /// Since when it says what cannot be right.
    doubted_since: Option<Instant>,
}

impl Believed {
    /// Whether the clock can be right that says `now`. If so it is believed from here on.
    fn believes(&mut self, now: Timestamp, instant: Instant) -> bool {
        let passed = instant.duration_since(self.since);
        if now.since(self.at) > passed + DOUBTFUL {
            let since = *self.doubted_since.get_or_insert_with(|| {
                warn!(
                    clock = %now,
                    "the clock is far ahead of the time that passed: nothing is pruned for an hour"
                );
                instant
            });
            if instant.duration_since(since) < DOUBTFUL {
                return false;
            }
        }
        *self = Believed { at: now, since: instant, doubted_since: None };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u32) -> Timestamp {
        Timestamp::default().plus(HOUR * hours)
    }

    #[test]
    fn a_clock_that_leaps_is_believed_once_it_has_stayed_so_for_an_hour() {
        let start = Instant::now();
        let mut believed = Believed { at: at(0), since: start, doubted_since: None };
        assert!(believed.believes(at(1), start + HOUR));
        assert!(!believed.believes(at(10_000), start + HOUR + HOUR / 2));
        assert_eq!(believed.at, at(1));
        assert!(!believed.believes(at(10_000), start + HOUR * 2), "half an hour later");
        // For how long it was not looked at says nothing of a leap.
        assert!(believed.believes(at(10_001), start + HOUR * 5 / 2));
        assert_eq!(believed.at, at(10_001));
        assert!(!believed.believes(at(20_000), start + HOUR * 9));
        assert!(believed.believes(at(10_008), start + HOUR * 9), "it was put right");
        assert!(!believed.believes(at(20_000), start + HOUR * 10));
        // One that goes back makes nothing older.
        assert!(believed.believes(at(3), start + HOUR * 10));
    }
}
