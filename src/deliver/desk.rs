//! What a worker has done beside it: looks into the store, messages on their way, and the commits that
//! settle them and claim what is next. Keeps nothing from one to the next; that is the worker's.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tracing::{debug, error, info, warn};

use super::receivers::{Accepted, Envelope, SendError, Sender, no_answer_within};
use super::retry;
use super::worker::Bell;
use crate::clock::{self, Timestamp};
use crate::config::{Receiver, ReceiverKind};
use crate::engine::{
    self, Claim, Claimed, Decision, Delivery, DeliveryId, Hand, Keys, Lease, Notification, Outcome,
    Settled, Settlement, Shows, Snapshot,
};
use crate::message::{self, Context};
use crate::rules::Rules;
use crate::store::{Claimable, StoreError, transact};
use crate::wake::Stirred;

/// How long to leave a store alone that failed.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How much longer than an attempt its lease holds, so that settling is not raced. What is claimed
/// ahead waits for its turn in that time.
const MARGIN: Duration = Duration::from_secs(30);

/// One receiver, and what it takes to tell it something.
pub(super) struct Desk {
    pub(super) bell: Arc<Bell>,
    pub(super) receiver: Receiver,
    pub(super) sender: Box<dyn Sender>,
}

/// A message that is done with, be it that it was not sent, and is to be settled.
pub(super) struct Ended {
    pub(super) claimed: Claimed,
    pub(super) settlement: Settlement,
}

/// A message that was sent.
pub(super) struct Sent {
    pub(super) ended: Ended,
    /// How long that took.
    pub(super) took: Duration,
}

/// What came of a settlement and a claim.
#[derive(Default)]
pub(super) struct Turned {
    /// What is to be sent now.
    pub(super) claimed: Vec<Claimed>,
    /// How many claims came to nothing: it goes elsewhere or later, or not at all.
    pub(super) unused: usize,
    /// What may be claimed again.
    pub(super) let_go: Vec<DeliveryId>,
    /// Whether something may be due by it that was not to be found before: what is to be tried again at
    /// once, or was done one by one.
    pub(super) look_again: bool,
    /// Whether the store is to be left alone for [`AFTER_FAILURE`].
    pub(super) failed: bool,
}

impl Desk {
    /// What waits for the receiver, at most so much.
    pub(super) async fn look(&self, limit: usize) -> Result<Claimable, StoreError> {
        self.bell.store.claimable(&self.receiver.name, clock::now(), limit).await
    }

    /// A hand of this worker, for an attempt that begins about now.
    pub(super) fn hand(&self) -> Hand {
        Hand {
            receiver: self.receiver.name.as_str().into(),
            lease: Lease {
                token: format!("{:016x}", fastrand::u64(..)),
                until: clock::now().plus(self.receiver.timeout + MARGIN),
            },
            shows: Shows {
                digests: self.receiver.kind.takes_digests(),
                states: self.receiver.kind.shows_states(),
                // It holds each of them to fire until it is told of its end.
                all_alerts: matches!(self.receiver.kind, ReceiverKind::Alertmanager { .. }),
            },
        }
    }

    /// Whether what is claimed can be sent and settled before its lease ends.
    pub(super) fn has_time(&self, claimed: &Claimed) -> bool {
        let lease = claimed.delivery.lease.as_ref();
        lease.is_some_and(|lease| clock::now().plus(self.receiver.timeout) < lease.until)
    }

    /// Sends a message, and judges the answer.
    pub(super) async fn send(&self, claimed: Claimed) -> Sent {
        let began = Instant::now();
        let attempt = AssertUnwindSafe(self.attempt(&claimed)).catch_unwind();
        let answer = tokio::time::timeout(self.receiver.timeout, attempt).await;
        let answer = answer.unwrap_or_else(|_| {
            let detail = no_answer_within(self.receiver.timeout);
            Ok(Err(SendError::Unknown { detail, reached: claimed.delivery.reached.clone() }))
        });
        let answer = answer.unwrap_or_else(|_| {
            let detail = "tocsin broke down over this message".into();
            Err(SendError::Message { detail, reached: Vec::new() })
        });
        let settlement = self.judge(&claimed, answer);
        self.bell.metrics.attempt(&self.receiver.name, settlement.outcome.word());
        Sent { ended: Ended { claimed, settlement }, took: began.elapsed() }
    }

    async fn attempt(&self, claimed: &Claimed) -> Result<Accepted, SendError> {
        let delivery = &claimed.delivery;
        let context = Context {
            external_url: self.bell.external_url.as_deref(),
            now: self.worded_at(&claimed.notification),
            plain: delivery.plain,
            // A digest says so of each.
            instead_of: delivery
                .instead_of()
                .filter(|_| claimed.others.is_empty() && !delivery.goes_to_who_took_it())
                .map(|receiver| &**receiver),
        };
        let envelope = Envelope {
            id: claimed.id().clone(),
            waiting_since: delivery.waiting_since,
            thread: claimed.thread.clone(),
            message: message::word(&claimed.notification, &self.bell.templates, &context),
            notification: claimed.notification.clone(),
            handle: claimed.handle.clone(),
            reached: delivery.reached.clone(),
        };
        self.sender.send(&envelope).await
    }

    /// The time that the words go by. Those of a mail are the same for every attempt, and it has a
    /// date of its own to read them by.
    fn worded_at(&self, notification: &Notification) -> Timestamp {
        match self.receiver.kind {
            ReceiverKind::Email { .. } => notification.made_at,
            _ => clock::now(),
        }
    }

    /// What is to be done about an answer.
    fn judge(&self, claimed: &Claimed, answer: Result<Accepted, SendError>) -> Settlement {
        let delivery = &claimed.delivery;
        let jitter = fastrand::f64();
        let mut reached = delivery.reached.clone();
        for address in answer.as_ref().err().into_iter().flat_map(SendError::reached) {
            if !reached.contains(address) {
                reached.push(address.clone());
            }
        }
        let (mut backoff, mut pause) = (retry::backoff(delivery.failures, jitter), None);
        let outcome = match answer {
            Ok(accepted) => {
                Outcome::Sent { complaint: accepted.complaint, handle: accepted.handle }
            }
            Err(SendError::Transient { detail, retry_after, .. }) => {
                if let Some(retry_after) = retry_after {
                    // Longer than it may wait at all makes no difference; and of what asks for nothing, or
                    // by another clock, there is no end.
                    let asked = retry_after.min(self.receiver.give_up_after);
                    backoff = backoff.max(asked);
                    // One that asks for more is down, and the engine sees to that.
                    pause = Some(asked).filter(|asked| *asked <= retry::LONGEST);
                }
                Outcome::Transient { detail }
            }
            Err(SendError::Unknown { detail, .. }) => Outcome::Unknown { detail },
            Err(SendError::Message { detail, .. }) => Outcome::Message { detail },
            Err(SendError::Destination { detail }) => {
                backoff = retry::probe_after(jitter);
                Outcome::Destination { detail }
            }
        };
        Settlement { reached, backoff, pause, ..self.settlement(claimed, outcome) }
    }

    /// A message that was claimed ahead and is not to be sent now.
    pub(super) fn unsent(&self, claimed: Claimed) -> Ended {
        let settlement = self.settlement(&claimed, Outcome::Unsent);
        Ended { claimed, settlement }
    }

    fn settlement(&self, claimed: &Claimed, outcome: Outcome) -> Settlement {
        let lease = claimed.delivery.lease.as_ref();
        Settlement {
            deliveries: claimed.deliveries().map(|delivery| delivery.id.clone()).collect(),
            token: lease.map(|lease| lease.token.clone()).unwrap_or_default(),
            outcome,
            reached: claimed.delivery.reached.clone(),
            backoff: Duration::ZERO,
            pause: None,
            give_up_after: self.receiver.give_up_after,
        }
    }

    /// Settles what has ended and claims what is next. Both are asked for at once, so that one commit may
    /// do for both.
    pub(super) async fn turn(&self, ended: &[Ended], claims: &[Claim]) -> Turned {
        let (mut turned, mut settled) = (Turned::default(), Turned::default());
        tokio::join!(self.settle_all(ended, &mut settled), self.claim_all(claims, &mut turned));
        turned.let_go.append(&mut settled.let_go);
        turned.look_again |= settled.look_again;
        turned
    }

    async fn settle_all(&self, all: &[Ended], turned: &mut Turned) {
        if all.is_empty() {
            return;
        }
        if let Ok(settled) = self.settle(all).await {
            return all.iter().zip(settled).for_each(|(one, it)| self.settled(one, it, turned));
        }
        // Whatever it was, each is done by itself. What is not settled is not let go: it would be sent again
        // each time that its lease ends.
        turned.look_again = true;
        for one in all {
            if let Some(settled) = self.settle_one(one).await {
                self.settled(one, settled, turned);
            }
        }
    }

    fn settled(&self, ended: &Ended, settled: Vec<Settled>, turned: &mut Turned) {
        turned.look_again |= settled.iter().any(|it| matches!(it, Settled::Waits { .. }));
        for (delivery, settled) in ended.claimed.deliveries().zip(settled) {
            self.report(delivery, &ended.settlement.outcome, settled);
        }
        turned.let_go.extend(ended.settlement.deliveries.iter().cloned());
    }

    /// Settles until the store took it: an answer that is not kept would be a message told twice.
    /// `None` if the store is closed, or refuses it.
    async fn settle_one(&self, ended: &Ended) -> Option<Vec<Settled>> {
        let ids = &ended.settlement.deliveries;
        let mut said = false;
        loop {
            match self.settle(std::slice::from_ref(ended)).await {
                Ok(settled) => return settled.into_iter().next(),
                Err(StoreError::Closed) => return None,
                Err(StoreError::Refused(reason)) => {
                    error!(
                        ?ids,
                        reason,
                        "a message could not be settled; it waits for the next start, and is told again then"
                    );
                    return None;
                }
                Err(reason) if !said => {
                    said = true;
                    error!(?ids, %reason, "a message could not be settled yet");
                }
                Err(_) => {}
            }
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }

    async fn claim_all(&self, claims: &[Claim], turned: &mut Turned) {
        if claims.is_empty() {
            return;
        }
        match self.claim(claims).await {
            Ok(claimed) => turned.note(claims, claimed),
            // Which of them it is shows when they are claimed apart.
            Err(StoreError::Refused(_)) => {
                turned.look_again = true;
                for claim in claims {
                    self.claim_one(claim.clone(), turned).await;
                }
            }
            Err(reason) => {
                self.cannot_claim(&reason);
                turned.failed = true;
                turned.note(claims, Vec::new());
            }
        }
    }

    /// Claims deliveries to be told in one message, which could not be claimed along with others.
    async fn claim_one(&self, mut claim: Claim, turned: &mut Turned) {
        let receiver = self.receiver.name.as_str();
        loop {
            match self.claim(std::slice::from_ref(&claim)).await {
                Ok(claimed) => return turned.note(&[claim], claimed),
                Err(StoreError::Refused(reason)) if claim.deliveries.len() > 1 => {
                    warn!(receiver, reason, "these deliveries cannot be told in one message");
                    turned.let_go.extend(claim.deliveries.drain(1..));
                }
                Err(StoreError::Refused(reason)) => {
                    error!(
                        delivery.id = claim.deliveries[0].0,
                        receiver,
                        reason,
                        "this delivery cannot be claimed; it waits for the next start"
                    );
                    turned.unused += 1;
                    return;
                }
                Err(reason) => {
                    self.cannot_claim(&reason);
                    turned.failed = true;
                    return turned.note(&[claim], Vec::new());
                }
            }
        }
    }

    async fn settle(&self, ended: &[Ended]) -> Result<Vec<Vec<Settled>>, StoreError> {
        let mut keys = Keys::default();
        ended.iter().for_each(|ended| keys.extend(ended.claimed.keys()));
        let settlements = ended.iter().map(|ended| ended.settlement.clone());
        let settlements: Vec<Settlement> = settlements.collect();
        // One time for as often as it is decided: what is down is named by when it went down.
        let now = clock::now();
        self.transact(keys, move |rules, snapshot| {
            engine::settle(rules, snapshot, &settlements, now)
        })
        .await
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let mut keys = Keys::default();
        claims.iter().for_each(|claim| keys.extend(claim.keys()));
        let claims = claims.to_vec();
        self.transact(keys, move |rules, snapshot| {
            engine::claim(rules, snapshot, &claims, clock::now())
        })
        .await
    }

    async fn transact<T: Send + 'static>(
        &self,
        keys: Keys,
        mut decide: impl FnMut(&Rules, &Snapshot) -> Decision<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let rules = Arc::clone(&self.bell.rules);
        let decide = move |snapshot: &Snapshot| Stirred::by(decide(&rules, snapshot));
        let (done, stirred) = transact(&*self.bell.store, keys, decide).await?;
        self.bell.wake.wake(stirred);
        Ok(done)
    }

    pub(super) fn cannot_claim(&self, reason: &StoreError) {
        let receiver = self.receiver.name.as_str();
        if reason.is_said() {
            debug!(receiver, %reason, "deliveries could not be claimed");
        } else {
            error!(receiver, %reason, "deliveries could not be claimed");
        }
    }

    fn report(&self, delivery: &Delivery, outcome: &Outcome, settled: Settled) {
        let receiver = self.receiver.name.as_str();
        let id = delivery.id.0.as_str();
        let attempt = delivery.attempts;
        let detail = outcome.detail().unwrap_or_default();
        match settled {
            Settled::Waits { .. } if *outcome == Outcome::Unsent => {
                debug!(delivery.id = id, receiver, attempt, "put back unsent");
            }
            Settled::Sent if detail.is_empty() => {
                info!(delivery.id = id, receiver, attempt, "delivered");
            }
            Settled::Sent => {
                warn!(delivery.id = id, receiver, attempt, detail, "delivered, with a complaint");
            }
            Settled::Waits { .. } if matches!(outcome, Outcome::Message { .. }) => {
                warn!(
                    delivery.id = id,
                    receiver,
                    attempt,
                    detail,
                    "the message was refused; it is tried in plain words"
                );
            }
            Settled::Waits { until } if matches!(outcome, Outcome::Destination { .. }) => {
                error!(
                    delivery.id = id,
                    receiver,
                    attempt,
                    detail,
                    next_attempt_at = %until,
                    "the receiver takes nothing until someone mends it"
                );
            }
            Settled::Waits { until } => {
                warn!(delivery.id = id, receiver, attempt, detail, next_attempt_at = %until, "not delivered");
            }
            Settled::Moved { to } => {
                warn!(
                    delivery.id = id,
                    receiver,
                    attempt,
                    detail,
                    to = &*to,
                    "not delivered; goes to another receiver"
                );
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

impl Turned {
    /// Notes what came of claims. What was to be claimed and was not is let go, such as what was
    /// superseded.
    fn note(&mut self, claims: &[Claim], claimed: Vec<Claimed>) {
        let is_claimed: HashSet<&DeliveryId> =
            claimed.iter().flat_map(Claimed::deliveries).map(|delivery| &delivery.id).collect();
        let asked = claims.iter().flat_map(|claim| &claim.deliveries);
        self.let_go.extend(asked.filter(|id| !is_claimed.contains(id)).cloned());
        self.unused += claims.len() - claimed.len();
        self.claimed.extend(claimed);
    }
}
