//! One worker a receiver, so that the trouble of one delays no other.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::receivers::{Accepted, Envelope, SendError, Sender};
use super::retry;
use crate::clock::{self, Timestamp};
use crate::config::{Receiver, ReceiverKind};
use crate::engine::{
    self, Claim, Claimed, Delivery, DeliveryId, Keys, Lease, Notification, Outcome, Settled,
    Settlement, Snapshot,
};
use crate::lifecycle::Lifecycle;
use crate::message::{self, Context, Templates};
use crate::metrics::Metrics;
use crate::rate::Bucket;
use crate::rules::Rules;
use crate::store::{Store, StoreError, transact};
use crate::wake::{Stirred, Wake};

/// How long to wait at most before looking again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long to leave a store alone that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How much longer than an attempt its lease holds, so that settling is not raced.
const MARGIN: Duration = Duration::from_secs(30);

/// Where some would have to wait for longer behind the receiver's rate, all that waits is told in one
/// digest.
const DIGEST_AFTER: Duration = Duration::from_secs(5);

/// How much one digest tells at most: it is one decision, and others wait for that.
const DIGEST_AT_MOST: usize = 500;

/// How many deliveries are found at once for a receiver that takes them as fast as they can be sent.
/// What is due meanwhile, such as a retry, waits for no more than these.
const AHEAD: usize = 16;

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
    /// What is counted.
    pub metrics: Metrics,
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
    /// How many messages the place takes now, if it says how many it takes.
    bucket: Option<Mutex<Bucket>>,
    found: Mutex<Found>,
}

/// What was found to wait for the receiver.
#[derive(Default)]
struct Found {
    /// What is being sent, and what the store refused to have claimed.
    not_again: HashSet<DeliveryId>,
    /// What is beside that, for whoever is done with one message to go on with.
    ahead: VecDeque<DeliveryId>,
}

impl Worker {
    /// A worker for this receiver.
    #[must_use]
    pub fn new(bell: Arc<Bell>, receiver: Receiver, sender: Box<dyn Sender>) -> Arc<Worker> {
        let at_once = match receiver.kind {
            // Where people read along, in order: of what one group says, only one waits at a time.
            ReceiverKind::Console
            | ReceiverKind::Slack { .. }
            | ReceiverKind::SlackApi { .. }
            | ReceiverKind::Teams { .. }
            | ReceiverKind::Discord { .. }
            | ReceiverKind::Telegram { .. }
            | ReceiverKind::Ntfy { .. } => 1,
            ReceiverKind::Email { .. } => 2,
            ReceiverKind::Webhook { .. }
            | ReceiverKind::PagerDuty { .. }
            | ReceiverKind::Alertmanager { .. } => 4,
        };
        let bucket = receiver.rate.map(|rate| Mutex::new(Bucket::new(rate, Instant::now())));
        Arc::new(Worker {
            bell,
            receiver,
            sender,
            permits: Arc::new(Semaphore::new(at_once)),
            paused_until: Mutex::new(None),
            bucket,
            found: Mutex::default(),
        })
    }

    /// Sends what comes, until it is stopped.
    pub async fn run(self: Arc<Self>) {
        let mut deliveries = self.bell.wake.deliveries();
        while let Some(permits) = self.bell.life.soft.run_until_cancelled(self.permits()).await {
            // Registered before looking, so that nothing made meanwhile is slept through.
            deliveries.mark_unchanged();
            match self.step(permits).await {
                Ok(Duration::ZERO) => {}
                Ok(pause) => tokio::select! {
                    () = self.bell.life.soft.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                    _ = deliveries.changed() => {}
                },
                Err(reason) => {
                    self.cannot_claim(&reason);
                    let pause = tokio::time::sleep(AFTER_FAILURE);
                    self.bell.life.soft.run_until_cancelled(pause).await;
                }
            }
        }
    }

    /// Waits until something may be sent. Free permits bound what is claimed: nothing is leased
    /// that nobody can send.
    async fn permits(&self) -> Vec<OwnedSemaphorePermit> {
        let first = Arc::clone(&self.permits).acquire_owned().await;
        while let Some(until) = self.not_before().filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
        let others = std::iter::from_fn(|| Arc::clone(&self.permits).try_acquire_owned().ok());
        first.into_iter().chain(others).collect()
    }

    /// Before when nothing may be sent, if the place or its rate says so.
    fn not_before(&self) -> Option<Instant> {
        let next = self.bucket.as_ref().map(|bucket| lock(bucket).next(Instant::now()));
        next.max(*lock(&self.paused_until))
    }

    /// Sets going what may be sent. Answers how long to wait before the next look.
    async fn step(
        self: &Arc<Self>,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<Duration, StoreError> {
        let now = clock::now();
        let name = &self.receiver.name;
        let most = match &self.bucket {
            _ if self.may_digest() => DIGEST_AT_MOST,
            Some(_) => permits.len(),
            None => AHEAD,
        };
        let limit = most + lock(&self.found).not_again.len();
        let waiting = self.bell.store.claimable(name, now, limit).await?;
        let mut ids = waiting.deliveries;
        let any = !ids.is_empty();
        let messages = {
            // Nobody else takes any of it meanwhile.
            let mut found = lock(&self.found);
            ids.retain(|id| !found.not_again.contains(id));
            if ids.is_empty() {
                // What is not to be claimed again would be found again at once.
                let next = waiting.next.filter(|_| !any);
                let pause = next.map_or(LONGEST_WAIT, |next| next.since(now));
                return Ok(pause.clamp(Duration::from_millis(1), LONGEST_WAIT));
            }
            if self.bucket.is_none() {
                found.ahead = ids.split_off(permits.len().min(ids.len())).into();
            }
            let messages = self.messages(ids, permits.len());
            found.not_again.extend(messages.iter().flatten().cloned());
            messages
        };
        for (ids, permit) in messages.into_iter().zip(permits) {
            let worker = Arc::clone(self);
            self.bell.life.spawn(async move {
                // What is claimed has to be sent, so nothing more is once the program stops.
                if !worker.bell.life.soft.is_cancelled() {
                    worker.claim_and_send(ids).await;
                }
                drop(permit);
            });
        }
        Ok(Duration::ZERO)
    }

    /// Whether several messages may be told in one.
    fn may_digest(&self) -> bool {
        self.bucket.is_some() && self.receiver.kind.takes_digests()
    }

    /// Which of these deliveries go now, in at most so many messages, and which of them together.
    fn messages(&self, ids: Vec<DeliveryId>, at_once: usize) -> Vec<Vec<DeliveryId>> {
        let apart = |ids: Vec<DeliveryId>, most: usize| -> Vec<Vec<DeliveryId>> {
            ids.into_iter().take(most).map(|id| vec![id]).collect()
        };
        let Some(bucket) = &self.bucket else { return apart(ids, at_once) };
        let (mut bucket, now) = (lock(bucket), Instant::now());
        let is_digest = self.may_digest() && ids.len() > bucket.within(DIGEST_AFTER, now);
        let messages = match is_digest {
            true => vec![ids],
            false => apart(ids, at_once.min(bucket.available(now))),
        };
        bucket.take(messages.len(), now);
        messages
    }

    /// Claims deliveries to be told in one message, sends that and settles them; and goes on with what
    /// is ahead.
    async fn claim_and_send(&self, ids: Vec<DeliveryId>) {
        let mut next = self.claim_first(ids).await;
        while let Some(claimed) = next {
            // A digest may hold more, and an expired lease does not free what this very process
            // still sends.
            let sent = claimed.deliveries().map(|delivery| delivery.id.clone());
            lock(&self.found).not_again.extend(sent);
            next = self.send_and_settle(&claimed).await;
        }
    }

    /// Claims deliveries to be told in one message, if there is anything to be sent.
    async fn claim_first(&self, ids: Vec<DeliveryId>) -> Option<Claimed> {
        let receiver = self.receiver.name.as_str();
        match self.claim(ids.clone()).await {
            Ok(Some(claimed)) => {
                self.let_go_but_for(ids, Some(&claimed));
                return Some(claimed);
            }
            // It goes elsewhere or later, or not at all.
            Ok(None) => self.nothing_was_sent(),
            Err(StoreError::Refused(reason)) if ids.len() > 1 => {
                // Which of them it is shows when they are claimed apart.
                warn!(receiver, reason, "these deliveries cannot be told in one message");
                let (first, others) = ids.split_at(1);
                self.let_go(others.iter().cloned());
                return Box::pin(self.claim_first(first.to_vec())).await;
            }
            Err(StoreError::Refused(reason)) => {
                error!(
                    delivery.id = ids[0].0,
                    receiver,
                    reason,
                    "this delivery cannot be claimed; it waits for the next start"
                );
                self.nothing_was_sent();
                return None;
            }
            Err(reason) => {
                self.cannot_claim(&reason);
                self.nothing_was_sent();
                let pause = tokio::time::sleep(AFTER_FAILURE);
                self.bell.life.soft.run_until_cancelled(pause).await;
            }
        }
        self.let_go(ids);
        None
    }

    /// Gives back what was taken of the receiver's rate for a message that was not sent.
    fn nothing_was_sent(&self) {
        self.bucket.iter().for_each(|bucket| lock(bucket).give_back());
    }

    /// What may be sent next by whoever got out a message, if anything is ahead.
    fn next_ahead(&self, outcome: &Outcome) -> Option<DeliveryId> {
        // Where there is trouble, what waits longest is looked up anew.
        if !matches!(outcome, Outcome::Sent { .. }) || self.bell.life.soft.is_cancelled() {
            return None;
        }
        if lock(&self.paused_until).is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let Found { not_again, ahead } = &mut *lock(&self.found);
        std::iter::from_fn(|| ahead.pop_front()).find(|next| not_again.insert(next.clone()))
    }

    fn cannot_claim(&self, reason: &StoreError) {
        let receiver = self.receiver.name.as_str();
        if reason.is_said() {
            debug!(receiver, %reason, "deliveries could not be claimed");
        } else {
            error!(receiver, %reason, "deliveries could not be claimed");
        }
    }

    fn let_go(&self, ids: impl IntoIterator<Item = DeliveryId>) {
        let mut found = lock(&self.found);
        for id in ids {
            found.not_again.remove(&id);
        }
    }

    /// Lets go of what was to be claimed and was not, such as what was superseded.
    fn let_go_but_for(&self, ids: impl IntoIterator<Item = DeliveryId>, claimed: Option<&Claimed>) {
        let is_claimed = |id: &DeliveryId| {
            claimed.is_some_and(|claimed| claimed.deliveries().any(|delivery| delivery.id == *id))
        };
        self.let_go(ids.into_iter().filter(|id| !is_claimed(id)));
    }

    /// What claims these deliveries for an attempt that begins now.
    fn to_claim(&self, deliveries: Vec<DeliveryId>) -> Claim {
        let lease = Lease {
            token: format!("{:016x}", fastrand::u64(..)),
            until: clock::now().plus(self.receiver.timeout + MARGIN),
        };
        let receiver = self.receiver.name.as_str().into();
        Claim { receiver, deliveries, lease, with_states: self.receiver.kind.shows_states() }
    }

    async fn claim(&self, ids: Vec<DeliveryId>) -> Result<Option<Claimed>, StoreError> {
        let rules = Arc::clone(&self.bell.rules);
        let keys = Keys { deliveries: ids.iter().cloned().collect(), ..Keys::default() };
        let next = self.to_claim(ids);
        let claim = move |snapshot: &Snapshot| {
            Stirred::by(engine::claim(&rules, snapshot, &next, clock::now()))
        };
        let (claimed, stirred) = transact(&*self.bell.store, keys, claim).await?;
        self.bell.wake.wake(stirred);
        Ok(claimed)
    }

    /// Sends a message and settles it. Answers what was claimed along with that, to be sent next.
    async fn send_and_settle(&self, claimed: &Claimed) -> Option<Claimed> {
        let delivery = &claimed.delivery;
        let attempt = AssertUnwindSafe(self.send(claimed)).catch_unwind();
        let answer = tokio::time::timeout(self.receiver.timeout, attempt).await;
        let answer = answer.unwrap_or_else(|_| {
            let detail = format!("no answer within {:?}", self.receiver.timeout);
            Ok(Err(SendError::Unknown { detail, reached: delivery.reached.clone() }))
        });
        let answer = answer.unwrap_or_else(|_| {
            Err(SendError::Message { detail: "tocsin broke down over this message".into() })
        });
        let settlement = self.judge(claimed, answer);
        self.bell.metrics.attempt(&self.receiver.name, settlement.outcome.word());
        // What cannot be settled is not let go: it would be sent again each time that its lease ends.
        let (settled, next) = self.settle(&settlement).await?;
        for (delivery, settled) in claimed.deliveries().zip(settled) {
            self.report(delivery, &settlement.outcome, settled);
        }
        self.let_go(settlement.deliveries);
        next
    }

    async fn send(&self, claimed: &Claimed) -> Result<Accepted, SendError> {
        let delivery = &claimed.delivery;
        let context = Context {
            external_url: self.bell.external_url.as_deref(),
            now: self.worded_at(&claimed.notification),
            plain: delivery.plain,
            // A digest says so of each.
            instead_of: delivery
                .instead_of()
                .filter(|_| claimed.others.is_empty())
                .map(|receiver| &**receiver),
        };
        let envelope = Envelope {
            id: claimed.id().clone(),
            thread: claimed.thread.clone(),
            created_at: delivery.created_at,
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
        let mut also_reached = |addresses: Vec<String>| {
            for address in addresses {
                if !reached.contains(&address) {
                    reached.push(address);
                }
            }
        };
        let mut backoff = retry::backoff(delivery.failures, jitter);
        let outcome = match answer {
            Ok(accepted) => {
                Outcome::Sent { complaint: accepted.complaint, handle: accepted.handle }
            }
            Err(SendError::Transient { detail, retry_after, reached: now_reached }) => {
                also_reached(now_reached);
                if let Some(retry_after) = retry_after {
                    // Longer than it may wait at all makes no difference; and of what asks for nothing, or
                    // by another clock, there is no end.
                    let asked = retry_after.min(self.receiver.give_up_after);
                    backoff = backoff.max(asked);
                    // One that asks for more is down, and the engine sees to that.
                    if asked <= retry::LONGEST {
                        self.pause(asked);
                    }
                }
                Outcome::Transient { detail }
            }
            Err(SendError::Unknown { detail, reached: now_reached }) => {
                also_reached(now_reached);
                Outcome::Unknown { detail }
            }
            Err(SendError::Message { detail }) => Outcome::Message { detail },
            Err(SendError::Destination { detail }) => {
                backoff = retry::probe_after(jitter);
                Outcome::Destination { detail }
            }
        };
        Settlement {
            deliveries: claimed.deliveries().map(|delivery| delivery.id.clone()).collect(),
            token: delivery.lease.as_ref().map(|lease| lease.token.clone()).unwrap_or_default(),
            outcome,
            reached,
            backoff,
            give_up_after: self.receiver.give_up_after,
        }
    }

    /// Leaves the place alone for so long, and no shorter than it was to be left alone anyway. That it
    /// takes what was under way when it asked for that does not end it.
    fn pause(&self, pause: Duration) {
        let mut until = lock(&self.paused_until);
        *until = (*until).max(Some(Instant::now() + pause));
    }

    /// Settles until the store took it: an answer that is not kept would be a message told twice. What
    /// is ahead is claimed along with it, if that can be done at once. `None` if the store is closed, or
    /// refuses it.
    async fn settle(&self, settlement: &Settlement) -> Option<(Vec<Settled>, Option<Claimed>)> {
        let mut ahead = self.next_ahead(&settlement.outcome);
        let mut said = false;
        loop {
            let next = ahead.take();
            match self.settle_with(settlement, next.clone()).await {
                Ok((settled, claimed)) => {
                    self.let_go_but_for(next, claimed.as_ref());
                    return Some((settled, claimed));
                }
                // Whatever it was, each is done by itself.
                Err(_) if next.is_some() => {
                    self.let_go(next);
                    continue;
                }
                Err(StoreError::Closed) => return None,
                Err(StoreError::Refused(reason)) => {
                    let ids = &settlement.deliveries;
                    error!(
                        ?ids,
                        reason,
                        "a message could not be settled; it waits for the next start, and is told again then"
                    );
                    return None;
                }
                Err(reason) if !said => {
                    said = true;
                    let ids = &settlement.deliveries;
                    error!(?ids, %reason, "a message could not be settled yet");
                }
                Err(_) => {}
            }
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }

    /// Settles, and claims the next message, if there is one, in the same commit.
    async fn settle_with(
        &self,
        settlement: &Settlement,
        next: Option<DeliveryId>,
    ) -> Result<(Vec<Settled>, Option<Claimed>), StoreError> {
        let rules = Arc::clone(&self.bell.rules);
        let deliveries = settlement.deliveries.iter().chain(&next).cloned().collect();
        let keys = Keys { deliveries, ..Keys::default() };
        // One time for as often as it is decided: what is down is named by when it went down.
        let (unit, now) = (settlement.clone(), clock::now());
        let next = next.map(|next| self.to_claim(vec![next]));
        let decide = move |snapshot: &Snapshot| {
            Stirred::by(engine::settle(&rules, snapshot, &unit, next.as_ref(), now))
        };
        let (done, stirred) = transact(&*self.bell.store, keys, decide).await?;
        self.bell.wake.wake(stirred);
        Ok(done)
    }

    fn report(&self, delivery: &Delivery, outcome: &Outcome, settled: Settled) {
        let receiver = self.receiver.name.as_str();
        let id = delivery.id.0.as_str();
        let attempt = delivery.attempts;
        let detail = outcome.detail().unwrap_or_default();
        match settled {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
