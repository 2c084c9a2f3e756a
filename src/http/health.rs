//! `/healthz`: the program runs. `/readyz`: it can take events.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::{self, Refusal, Response, STORE_RETRY};
use crate::store::Store;

/// How long an answer of the store holds, so that no number of probes keeps it busy.
const HOLDS: Duration = Duration::from_secs(1);

/// Whether the store can be written, as last seen.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<Seen>>);

struct Seen {
    at: Instant,
    /// Why not, if not.
    trouble: Option<String>,
}

pub(super) fn alive() -> Response {
    answer::json(r#"{"status":"ok"}"#)
}

impl Readiness {
    pub(super) async fn answer(
        &self,
        store: &dyn Store,
        stop: &CancellationToken,
        within: Duration,
    ) -> Result<Response, Refusal> {
        if stop.is_cancelled() {
            return Err(Refusal::unavailable("tocsin is stopping; ask another one", 5));
        }
        match self.trouble(store, within).await {
            None => Ok(answer::json(r#"{"status":"ready"}"#)),
            Some(trouble) => Err(Refusal::unavailable(trouble, STORE_RETRY)),
        }
    }

    /// Held across the question to the store on purpose: those who ask meanwhile share its answer.
    async fn trouble(&self, store: &dyn Store, within: Duration) -> Option<String> {
        let mut seen = self.0.lock().await;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.at.elapsed() < HOLDS) {
            return seen.trouble.clone();
        }
        let trouble = match timeout(within, store.check_writable()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("events cannot be recorded: {error}")),
            Err(_) => {
                Some(format!("events cannot be recorded: the store is silent for {within:?}"))
            }
        };
        *seen = Some(Seen { at: Instant::now(), trouble: trouble.clone() });
        trouble
    }
}
