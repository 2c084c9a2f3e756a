//! Brings what is due before the store: the same decision as for an event, with no event.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::clock;
use crate::engine::{self, GroupKey, Hand, IntervalId, Keys, Snapshot};
use crate::rules::Rules;
use crate::store::{Store, StoreError, in_parts};
use crate::wake::Wake;

/// How many containers, shared alerts and groups one unit of work looks at.
const BATCH: usize = 256;

/// How long to wait at most before looking again: a clock that jumps is noticed after this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long to wait for company once timers were set: under load every commit sets some, and one
/// look does for many commits. No timer that a person sets can tell the difference.
const BREATHER: Duration = Duration::from_millis(10);

/// How long to leave a store alone that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Does what is due, until it is stopped.
pub async fn run(
    store: Arc<dyn Store>,
    rules: Arc<Rules>,
    wake: Arc<Wake>,
    stop: CancellationToken,
) {
    let mut timers = wake.timers();
    let mut silences = wake.silences();
    while !stop.is_cancelled() {
        // Registered before looking, so that nothing set meanwhile is slept through.
        timers.mark_unchanged();
        match step(&store, &rules, &wake, &mut silences).await {
            Ok(Duration::ZERO) => {}
            Ok(pause) => tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                _ = timers.changed() => rest(BREATHER, &stop).await,
                // It is for the next step to see.
                _ = silences.changed() => silences.mark_changed(),
            },
            Err(reason) => {
                if reason.is_said() {
                    debug!(%reason, "what is due could not be done");
                } else {
                    error!(%reason, "what is due could not be done");
                }
                rest(AFTER_FAILURE, &stop).await;
            }
        }
    }
}

/// Waits so long, or until the stop.
async fn rest(pause: Duration, stop: &CancellationToken) {
    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
}

/// Does some of what is due, and answers how long to wait before the next look.
async fn step(
    store: &Arc<dyn Store>,
    rules: &Arc<Rules>,
    wake: &Arc<Wake>,
    silences: &mut watch::Receiver<()>,
) -> Result<Duration, StoreError> {
    if silences.has_changed().unwrap_or(false) {
        // Which groups it concerns is for the engine to say; people seldom change silences.
        silences.mark_unchanged();
        let looked = match store.unfinished().await {
            Ok(unfinished) => {
                let groups = unfinished.groups.into_iter().collect();
                look_at(&**store, rules, Keys { groups, ..Keys::default() }, wake).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = looked {
            silences.mark_changed();
            return Err(error);
        }
    }
    let now = clock::now();
    let due = store.due(now, BATCH).await?;
    if due.keys.is_empty() {
        let pause = due.next.map_or(LONGEST_WAIT, |next| next.since(now).min(LONGEST_WAIT));
        // What is due within this very microsecond is due in the next.
        return Ok(pause.max(Duration::from_millis(1)));
    }
    let refused = look_at(&**store, rules, due.keys, wake).await?;
    // What was refused is due still, and would be again at once.
    Ok(if refused { LONGEST_WAIT } else { Duration::ZERO })
}

/// Has the engine look at these containers, shared alerts and groups. Whether any of it was refused.
///
/// # Errors
/// [`StoreError`] if nothing could be read or committed.
pub async fn look_at(
    store: &dyn Store,
    rules: &Arc<Rules>,
    keys: Keys,
    wake: &Arc<Wake>,
) -> Result<bool, StoreError> {
    let containers: Vec<Arc<str>> = keys.containers.into_iter().collect();
    let of_containers = in_parts(&containers, |part| {
        let keys = Keys { containers: part.into_iter().collect(), ..Keys::default() };
        decide(store, rules, keys, wake).boxed()
    });
    let of_containers = of_containers.await?;
    let intervals: Vec<IntervalId> = keys.intervals.into_iter().collect();
    let of_intervals = in_parts(&intervals, |part| {
        let keys = Keys { intervals: part.into_iter().collect(), ..Keys::default() };
        decide(store, rules, keys, wake).boxed()
    });
    let of_intervals = of_intervals.await?;
    let groups: Vec<GroupKey> = keys.groups.into_iter().collect();
    let of_groups = in_parts(&groups, |part| {
        let keys = Keys { groups: part.into_iter().collect(), ..Keys::default() };
        decide(store, rules, keys, wake).boxed()
    });
    Ok(of_groups.await? || of_intervals || of_containers)
}

async fn decide(
    store: &dyn Store,
    rules: &Arc<Rules>,
    keys: Keys,
    wake: &Arc<Wake>,
) -> Result<(), StoreError> {
    let decide = |and_claim: bool| {
        let rules = Arc::clone(rules);
        move |snapshot: &Snapshot, free: &[Hand]| {
            let free = if and_claim { free } else { &[] };
            engine::decide_and_claim(&rules, snapshot, &[], free, clock::now())
        }
    };
    match wake.transact(store, keys.clone(), decide(true)).await {
        // No message that it makes is to be the reason for which it fails.
        Err(StoreError::Refused(_)) => wake.transact(store, keys, decide(false)).await.map(drop),
        done => done.map(drop),
    }
}
