//! Brings what is due before the store: the same decision as for an event, with no event.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock;
use crate::engine::{self, Keys, Snapshot};
use crate::rules::Rules;
use crate::store::{Store, StoreError, transact};
use crate::wake::{Stirred, Wake};

/// How many containers and groups one unit of work looks at.
const BATCH: usize = 256;

/// How long to wait at most before looking again: a clock that jumps is noticed after this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

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
    while !stop.is_cancelled() {
        // Registered before looking, so that nothing set meanwhile is slept through.
        timers.mark_unchanged();
        let pause = match step(&store, &rules, &wake).await {
            Ok(pause) => pause,
            Err(reason) => {
                error!(%reason, "what is due could not be done");
                AFTER_FAILURE
            }
        };
        if pause.is_zero() {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
            _ = timers.changed() => {}
        }
    }
}

/// Does some of what is due, and answers how long to wait before the next look.
async fn step(
    store: &Arc<dyn Store>,
    rules: &Arc<Rules>,
    wake: &Wake,
) -> Result<Duration, StoreError> {
    let now = clock::now();
    let due = store.due(now, BATCH).await?;
    if due.keys.is_empty() {
        let pause = due.next.map_or(LONGEST_WAIT, |next| next.since(now).min(LONGEST_WAIT));
        // What is due within this very microsecond is due in the next.
        return Ok(pause.max(Duration::from_millis(1)));
    }
    decide(&**store, rules, due.keys, wake).await?;
    Ok(Duration::ZERO)
}

/// Has the engine look at these containers and groups.
///
/// # Errors
/// [`StoreError`] if nothing could be read or committed.
pub async fn decide(
    store: &dyn Store,
    rules: &Arc<Rules>,
    keys: Keys,
    wake: &Wake,
) -> Result<(), StoreError> {
    let rules = Arc::clone(rules);
    let decide =
        move |snapshot: &Snapshot| Stirred::by(engine::decide(&rules, snapshot, &[], clock::now()));
    let (_, stirred) = transact(store, keys, decide).await?;
    wake.wake(stirred);
    Ok(())
}
