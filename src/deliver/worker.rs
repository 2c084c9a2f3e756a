//! One worker a receiver, so that the trouble of one delays no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::receivers::{Accepted, Envelope, SendError, Sender};
use super::retry;
use crate::clock::{self, Timestamp};
use crate::config::{Receiver, ReceiverKind};
use crate::engine::{
    self, Claimed, DeliveryId, Keys, Lease, Outcome, Settled, Settlement, Snapshot,
};
use crate::lifecycle::Lifecycle;
use crate::message::{self, Context, Templates};
use crate::rules::Rules;
use crate::store::{Store, StoreError, transact};
use crate::wake::{Stirred, Wake};

/// How long to wait at most before looking again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long to leave a store alone that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How much longer than an attempt its lease holds, so that settling is not raced.
const MARGIN: Duration = Duration::from_secs(30);

/// What every worker shares.
pub struct Bell {
    /// Where deliveries are kept.
    pub store: Arc<dyn Store>,
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// The rules' own titles and messages.
    pub templates: Templates,
    /// Where people reach tocsin, for links.
    pub external_url: Option<String>,
    /// Whom to wake after a commit.
    pub wake: Arc<Wake>,
    /// From its soft stop on nothing more is claimed; what is being sent goes on.
    pub life: Lifecycle,
}

/// Sends what waits for one receiver.
pub struct Worker {
    bell: Arc<Bell>,
    receiver: Receiver,
    sender: Box<dyn Sender>,
    permits: Arc<Semaphore>,
    /// The place asked to be left alone until then.
    paused_until: Mutex<Option<Instant>>,
}

impl Worker {
    /// A worker for this receiver.
    #[must_use]
    pub fn new(bell: Arc<Bell>, receiver: Receiver, sender: Box<dyn Sender>) -> Arc<Worker> {
        // Slack takes a message a second (FACTS.md), and lines on a console are to stay in order.
        let at_once = match receiver.kind {
            ReceiverKind::Slack { .. } | ReceiverKind::Console => 1,
            ReceiverKind::Email { .. } => 2,
        };
        Arc::new(Worker {
            bell,
            receiver,
            sender,
            permits: Arc::new(Semaphore::new(at_once)),
            paused_until: Mutex::new(None),
        })
    }

    /// Sends what comes, until it is stopped.
    pub async fn run(self: Arc<Self>) {
        let mut deliveries = self.bell.wake.deliveries();
        while let Some(permits) = self.bell.life.soft.run_until_cancelled(self.permits()).await {
            // Registered before looking, so that nothing made meanwhile is slept through.
            deliveries.mark_unchanged();
            // Not to be broken off: what is claimed has to be sent.
            let pause = self.step(permits).await.unwrap_or_else(|reason| {
                error!(receiver = self.receiver.name, %reason, "deliveries could not be claimed");
                AFTER_FAILURE
            });
            tokio::select! {
                () = self.bell.life.soft.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                _ = deliveries.changed(), if !pause.is_zero() => {}
            }
        }
    }

    /// Waits until something may be sent. Free permits bound what is claimed: nothing is leased
    /// that nobody can send.
    async fn permits(&self) -> Vec<OwnedSemaphorePermit> {
        let first = Arc::clone(&self.permits).acquire_owned().await;
        let paused_until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = paused_until {
            tokio::time::sleep_until(until).await;
        }
        let others = std::iter::from_fn(|| Arc::clone(&self.permits).try_acquire_owned().ok());
        first.into_iter().chain(others).collect()
    }

    /// Claims what it may and sets it going. Answers how long to wait before the next look.
    async fn step(
        self: &Arc<Self>,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<Duration, StoreError> {
        let now = clock::now();
        let waiting = self.bell.store.claimable(&self.receiver.name, now, permits.len()).await?;
        if waiting.deliveries.is_empty() {
            let pause = waiting.next.map_or(LONGEST_WAIT, |next| next.since(now));
            return Ok(pause.clamp(Duration::from_millis(1), LONGEST_WAIT));
        }
        let claimed = self.claim(waiting.deliveries, now).await?;
        for (claimed, permit) in claimed.into_iter().zip(permits) {
            let worker = Arc::clone(self);
            self.bell.life.spawn(async move {
                worker.send_and_settle(claimed).await;
                drop(permit);
            });
        }
        Ok(Duration::ZERO)
    }

    async fn claim(
        &self,
        deliveries: Vec<DeliveryId>,
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        let lease = Lease {
            token: format!("{:016x}", fastrand::u64(..)),
            until: now.plus(self.receiver.timeout + MARGIN),
        };
        let rules = Arc::clone(&self.bell.rules);
        let keys = Keys { deliveries: deliveries.iter().cloned().collect(), ..Keys::default() };
        let claim = move |snapshot: &Snapshot| {
            Stirred::by(engine::claim(&rules, snapshot, &deliveries, &lease, clock::now()))
        };
        let (claimed, stirred) = transact(&*self.bell.store, keys, claim).await?;
        self.bell.wake.wake(stirred);
        Ok(claimed)
    }

    async fn send_and_settle(&self, claimed: Claimed) {
        let delivery = &claimed.delivery;
        let context = Context {
            external_url: self.bell.external_url.as_deref(),
            now: clock::now(),
            plain: delivery.plain,
        };
        let envelope = Envelope {
            id: delivery.id.clone(),
            thread: claimed.thread.clone(),
            opens_thread: claimed.opens_thread,
            created_at: delivery.created_at,
            message: message::word(&claimed.notification, &self.bell.templates, &context),
            reached: delivery.reached.clone(),
        };
        let answer = tokio::time::timeout(self.receiver.timeout, self.sender.send(&envelope))
            .await
            .unwrap_or_else(|_| {
                let detail = format!("no answer within {:?}", self.receiver.timeout);
                Err(SendError::Unknown { detail, reached: delivery.reached.clone() })
            });
        let settlement = self.judge(&claimed, answer);
        if let Some(settled) = self.settle(&settlement).await {
            self.report(&claimed, &settlement.outcome, settled);
        }
    }

    /// What is to be done about an answer.
    fn judge(&self, claimed: &Claimed, answer: Result<Accepted, SendError>) -> Settlement {
        let delivery = &claimed.delivery;
        let jitter = fastrand::f64();
        let mut reached = delivery.reached.clone();
        let mut backoff = retry::backoff(delivery.failures, jitter);
        let mut pause = None;
        let outcome = match answer {
            Ok(accepted) => Outcome::Sent { complaint: accepted.complaint },
            Err(SendError::Transient { detail, retry_after, reached: now_reached }) => {
                reached = now_reached;
                if let Some(retry_after) = retry_after {
                    // Longer than it may wait at all makes no difference.
                    backoff = retry_after.min(self.receiver.give_up_after);
                    pause = Some(backoff);
                }
                Outcome::Transient { detail }
            }
            Err(SendError::Unknown { detail, reached: now_reached }) => {
                reached = now_reached;
                Outcome::Unknown { detail }
            }
            Err(SendError::Message { detail }) => Outcome::Message { detail },
            Err(SendError::Destination { detail }) => {
                backoff = retry::probe_after(jitter);
                pause = Some(backoff.min(self.receiver.give_up_after));
                Outcome::Destination { detail }
            }
        };
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) =
            pause.map(|pause| Instant::now() + pause);
        Settlement {
            delivery: delivery.id.clone(),
            token: delivery.lease.as_ref().map(|lease| lease.token.clone()).unwrap_or_default(),
            outcome,
            reached,
            backoff,
            give_up_after: self.receiver.give_up_after,
        }
    }

    /// Settles until the store took it: an answer that is not kept would be a message told twice.
    /// `None` if the store is closed.
    async fn settle(&self, settlement: &Settlement) -> Option<Settled> {
        loop {
            let rules = Arc::clone(&self.bell.rules);
            let keys = Keys { deliveries: [settlement.delivery.clone()].into(), ..Keys::default() };
            let unit = settlement.clone();
            let settle = move |snapshot: &Snapshot| {
                Stirred::by(engine::settle(&rules, snapshot, &unit, clock::now()))
            };
            match transact(&*self.bell.store, keys, settle).await {
                Ok((settled, stirred)) => {
                    self.bell.wake.wake(stirred);
                    return Some(settled);
                }
                Err(StoreError::Closed) => return None,
                Err(reason) => {
                    error!(delivery.id = settlement.delivery.0, %reason, "a delivery could not be settled");
                }
            }
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }

    fn report(&self, claimed: &Claimed, outcome: &Outcome, settled: Settled) {
        let receiver = self.receiver.name.as_str();
        let id = claimed.delivery.id.0.as_str();
        let attempt = claimed.delivery.attempts;
        let detail = match outcome {
            Outcome::Sent { complaint } => complaint.as_deref().unwrap_or_default(),
            Outcome::Transient { detail }
            | Outcome::Unknown { detail }
            | Outcome::Message { detail }
            | Outcome::Destination { detail } => detail,
        };
        match settled {
            Settled::Sent if detail.is_empty() => {
                info!(delivery.id = id, receiver, attempt, "delivered");
            }
            Settled::Sent => {
                warn!(delivery.id = id, receiver, attempt, detail, "delivered, but not to all");
            }
            Settled::Waits { until } => {
                warn!(delivery.id = id, receiver, attempt, detail, next_attempt_at = %until, "not delivered");
            }
            Settled::Dead => {
                error!(delivery.id = id, receiver, attempt, detail, "given up: a dead letter");
            }
            Settled::Lost => {
                warn!(
                    delivery.id = id,
                    receiver, attempt, "the lease was lost before it was settled"
                );
            }
        }
    }
}
