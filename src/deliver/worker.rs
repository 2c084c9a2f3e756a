//! One worker a receiver, so that the trouble of one delays no other.
//!
//! A worker is one task, and all that it knows is its own. What takes time goes on beside it (`desk.rs`):
//! one look into the store, one commit, and as many messages as the place takes at once. While a commit
//! settles what has ended and claims what is next, what was claimed before is being sent.

use std::collections::{HashSet, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::desk::{AFTER_FAILURE, Desk, Ended, Sent, Turned};
use super::receivers::Sender;
use crate::clock::{self, Timestamp};
use crate::config::{Receiver, ReceiverKind};
use crate::engine::{Claim, Claimed, DeliveryId, INTERVALS, Outcome};
use crate::lifecycle::Lifecycle;
use crate::message::Templates;
use crate::metrics::Metrics;
use crate::rate::Bucket;
use crate::rules::Rules;
use crate::store::{Claimable, Store, StoreError};
use crate::wake::Wake;

/// How long to wait at most before looking again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Where some would have to wait for longer behind the receiver's rate, all that waits is told in one
/// digest.
const DIGEST_AFTER: Duration = Duration::from_secs(5);

/// How much one digest tells at most: it is one decision, and others wait for that.
const DIGEST_AT_MOST: usize = 500;

/// How many deliveries are claimed ahead at most for a receiver that takes them as fast as they can be
/// sent, and how many are found at once, about. What is due meanwhile, such as a retry, waits for those.
const AHEAD: usize = 32;

/// Within what time all that is claimed ahead should be sent: what it says is frozen by then.
const SOON: Duration = Duration::from_millis(100);

/// How long a message may take before what is claimed ahead is put back. Much longer than what has
/// anything claimed ahead, so that a place that is now faster, now slower does not cost a commit each time.
const SLOW: Duration = Duration::from_secs(1);

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
    desk: Arc<Desk>,
    /// How many messages the place is sent at once.
    at_once: usize,
    /// How many messages the place takes now, if it says how many it takes.
    bucket: Option<Bucket>,
    /// The place asked to be left alone until then.
    resting_until: Instant,
    /// When to look into the store again.
    next_look: Instant,
    /// How long a message takes, by the last ones; as long as it may while the place is in trouble.
    took: Duration,
    /// Whether the place got into trouble while the commit under way was on its way.
    trouble: bool,
    /// What waits in the store, by the messages that are to tell it.
    found: VecDeque<Vec<DeliveryId>>,
    /// What is claimed, to be sent when there is a hand free.
    ready: VecDeque<Claimed>,
    /// What the next commit is to settle.
    ended: Vec<Ended>,
    /// What is claimed or being claimed, and what the store refused to have claimed or settled: an
    /// expired lease does not free what this very process still sends.
    not_again: HashSet<DeliveryId>,
    look: Option<BoxFuture<'static, Result<Claimable, StoreError>>>,
    turn: Option<BoxFuture<'static, Turned>>,
    /// How many messages that commit claims.
    claiming: usize,
    sending: FuturesUnordered<BoxFuture<'static, Sent>>,
    /// What may be claimed for this worker by the commit that makes it.
    offer: Option<oneshot::Receiver<Claimed>>,
}

impl Worker {
    /// A worker for this receiver.
    #[must_use]
    pub fn new(bell: Arc<Bell>, receiver: Receiver, sender: Box<dyn Sender>) -> Worker {
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
        let now = Instant::now();
        Worker {
            at_once,
            bucket: receiver.rate.map(|rate| Bucket::new(rate, now)),
            resting_until: now,
            next_look: now,
            took: receiver.timeout,
            trouble: false,
            found: VecDeque::new(),
            ready: VecDeque::new(),
            ended: Vec::new(),
            not_again: HashSet::new(),
            look: None,
            turn: None,
            claiming: 0,
            sending: FuturesUnordered::new(),
            offer: None,
            desk: Arc::new(Desk { bell, receiver, sender }),
        }
    }

    /// Sends what comes, until it is stopped: then what is being sent is settled, and what is claimed
    /// beside that is put back.
    pub async fn run(mut self) {
        let soft = self.desk.bell.life.soft.clone();
        let mut made = self.desk.bell.wake.deliveries();
        loop {
            let (stopping, now) = (soft.is_cancelled(), Instant::now());
            if stopping {
                self.wind_up();
            } else {
                self.go_on(now);
            }
            if stopping && self.is_idle() && self.offer.is_none() {
                return;
            }
            // One that is due by now has begun, or waits for what is being handed over.
            let next = self.next_look(now).filter(|next| !stopping && *next > now);
            tokio::select! {
                Some(sent) = self.sending.next() => self.sent(sent),
                turned = come_true(&mut self.turn) => self.turned(turned),
                looked = come_true(&mut self.look) => self.looked(looked),
                handed = come_true(&mut self.offer) => self.handed(handed.ok()),
                _ = made.changed(), if !stopping => self.next_look = Instant::now(),
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
                () = soft.cancelled(), if !stopping => {}
            }
        }
    }

    /// Begins whatever can be begun.
    fn go_on(&mut self, now: Instant) {
        if self.resting_until > now {
            self.put_back();
        }
        self.send();
        if self.turn.is_none() {
            let claims = self.next_claims();
            self.take_turn(claims);
        }
        let look_is_due = self.next_look(now).is_some_and(|next| next <= now);
        if look_is_due || !self.is_idle() || self.not_before(now) > now {
            self.withdraw();
        } else if self.offer.is_none() {
            self.offer = Some(self.desk.bell.wake.offer(self.desk.hand()));
        }
        // What is being handed over comes first.
        if look_is_due && self.offer.is_none() {
            // What is made from now on is looked for after it.
            self.next_look = now + LONGEST_WAIT;
            let most = match &self.bucket {
                _ if self.may_digest() => DIGEST_AT_MOST,
                Some(_) => self.room(),
                None => AHEAD,
            };
            let (desk, limit) = (Arc::clone(&self.desk), most + self.not_again.len());
            self.look = Some(Box::pin(async move { desk.look(limit).await }));
        }
    }

    /// Begins nothing more.
    fn wind_up(&mut self) {
        self.look = None;
        self.found.clear();
        self.withdraw();
        self.put_back();
        if self.turn.is_none() {
            self.take_turn(Vec::new());
        }
    }

    /// Whether nothing is there to be done, or under way.
    fn is_idle(&self) -> bool {
        let waits = self.found.len() + self.ready.len() + self.ended.len() + self.sending.len();
        waits == 0 && self.turn.is_none() && self.look.is_none()
    }

    /// When to look again, if what is found then can be claimed.
    fn next_look(&mut self, now: Instant) -> Option<Instant> {
        let may_look = self.look.is_none() && self.found.is_empty() && self.room() > 0;
        // Where nothing is claimed ahead, what has ended may be what waits longest: to be tried again.
        let is_settled = self.turn.is_none() && self.ended.is_empty();
        let may_look = may_look && (is_settled || self.ahead() > 0);
        may_look.then(|| self.next_look.max(self.not_before(now)))
    }

    /// Before when nothing may be sent, as the place asked or its rate has it.
    fn not_before(&mut self, now: Instant) -> Instant {
        let next = self.bucket.as_mut().map(|bucket| bucket.next(now));
        self.resting_until.max(next.unwrap_or(self.resting_until))
    }

    /// How many more messages may be claimed: as many as there are hands free, and some ahead.
    fn room(&self) -> usize {
        let claimed = self.claiming + self.ready.len() + self.sending.len();
        (self.at_once + self.ahead()).saturating_sub(claimed)
    }

    /// How many messages are claimed before there are hands free for them. Where they go out fast, some
    /// are, so that nobody waits for a commit; where they do not, or not as fast as the place could,
    /// nothing is leased that nobody can send.
    fn ahead(&self) -> usize {
        let in_time = SOON.as_micros() / self.took.as_micros().max(1);
        let says: usize = self.ready.iter().map(says_of).sum();
        if self.bucket.is_some() || says > INTERVALS as usize {
            return 0;
        }
        AHEAD.min(self.at_once.saturating_mul(in_time.try_into().unwrap_or(AHEAD)))
    }

    fn send(&mut self) {
        while self.sending.len() < self.at_once
            && let Some(claimed) = self.ready.pop_front()
        {
            if !self.desk.has_time(&claimed) {
                self.ready.push_front(claimed);
                return self.put_back();
            }
            let desk = Arc::clone(&self.desk);
            self.sending.push(Box::pin(async move { desk.send(claimed).await }));
        }
    }

    /// Has what has ended settled, and this claimed.
    fn take_turn(&mut self, claims: Vec<Claim>) {
        if self.ended.is_empty() && claims.is_empty() {
            return;
        }
        self.claiming = claims.len();
        // What speaks of [`INTERVALS`] at most, but always the first.
        let mut says = 0;
        let too_many = self.ended.iter().position(|ended| {
            says += says_of(&ended.claimed);
            says > INTERVALS as usize
        });
        let count = too_many.map_or(self.ended.len(), |first| first.max(1));
        let later = self.ended.split_off(count);
        let (desk, ended) = (Arc::clone(&self.desk), std::mem::replace(&mut self.ended, later));
        self.turn = Some(Box::pin(async move { desk.turn(&ended, &claims).await }));
    }

    fn next_claims(&mut self) -> Vec<Claim> {
        let count = self.room().min(self.found.len());
        let messages = self.found.drain(..count);
        messages
            .map(|deliveries| {
                self.not_again.extend(deliveries.iter().cloned());
                Claim { hand: self.desk.hand(), deliveries }
            })
            .collect()
    }

    /// Whether several messages may be told in one.
    fn may_digest(&self) -> bool {
        self.bucket.is_some() && self.desk.receiver.kind.takes_digests()
    }

    /// Which of these deliveries go now, and which of them together.
    fn messages(&mut self, ids: Vec<DeliveryId>) -> Vec<Vec<DeliveryId>> {
        let apart = |ids: Vec<DeliveryId>, most: usize| -> Vec<Vec<DeliveryId>> {
            ids.into_iter().take(most).map(|id| vec![id]).collect()
        };
        let (may_digest, room) = (self.may_digest(), self.room());
        let Some(bucket) = &mut self.bucket else { return apart(ids, usize::MAX) };
        let now = Instant::now();
        let messages = match may_digest && ids.len() > bucket.within(DIGEST_AFTER, now) {
            true => vec![ids],
            false => apart(ids, room.min(bucket.available(now))),
        };
        bucket.take(messages.len(), now);
        messages
    }

    fn looked(&mut self, looked: Result<Claimable, StoreError>) {
        let now = Instant::now();
        let waiting = match looked {
            Ok(waiting) => waiting,
            Err(reason) => {
                self.desk.cannot_claim(&reason);
                self.next_look = now + AFTER_FAILURE;
                return;
            }
        };
        let mut ids = waiting.deliveries;
        ids.retain(|id| !self.not_again.contains(id));
        let until = |next: Timestamp| next.since(clock::now()).min(LONGEST_WAIT);
        let later = waiting.next.map_or(LONGEST_WAIT, until);
        // Unless it was to be before that for what was made meanwhile.
        self.next_look = self.next_look.min(match &self.bucket {
            _ if self.resting_until > now => now,
            // What is due within this very millisecond is due in the next.
            _ if ids.is_empty() => now + later.max(Duration::from_millis(1)),
            // What is left by its rate is to be looked at as a whole again.
            Some(_) => now,
            None => now + later,
        });
        if self.resting_until <= now {
            self.found = self.messages(ids).into();
        }
    }

    fn turned(&mut self, turned: Turned) {
        self.claiming = 0;
        for id in &turned.let_go {
            self.not_again.remove(id);
        }
        self.nothing_was_sent(turned.unused);
        turned.claimed.into_iter().for_each(|claimed| self.claimed(claimed));
        if std::mem::take(&mut self.trouble) {
            self.put_back();
        }
        if turned.unused > 0 || turned.look_again {
            self.look_anew();
        }
        if turned.failed {
            self.look_anew();
            self.next_look = Instant::now() + AFTER_FAILURE;
        }
    }

    fn handed(&mut self, handed: Option<Claimed>) {
        match handed {
            Some(claimed) => {
                if let Some(bucket) = &mut self.bucket {
                    bucket.take(1, Instant::now());
                }
                self.claimed(claimed);
            }
            // Nothing came of it, or not by that.
            None => self.next_look = Instant::now(),
        }
    }

    fn claimed(&mut self, claimed: Claimed) {
        // A digest may hold more than was asked for.
        self.not_again.extend(claimed.deliveries().map(|delivery| delivery.id.clone()));
        self.ready.push_back(claimed);
    }

    fn sent(&mut self, sent: Sent) {
        let Sent { ended, took } = sent;
        match &ended.settlement.outcome {
            Outcome::Sent { .. } | Outcome::Message { .. } => {
                // One that was fast says little of the next after one that was not.
                self.took = took.max(self.took / 2);
                if self.took > SLOW && !self.ready.is_empty() {
                    self.put_back();
                    self.look_anew();
                }
            }
            _ => {
                self.took = self.desk.receiver.timeout;
                self.trouble = self.turn.is_some();
                self.put_back();
                self.look_anew();
            }
        }
        // That the place takes what was under way when it asked does not end its rest.
        if let Some(pause) = ended.settlement.pause {
            self.resting_until = self.resting_until.max(Instant::now() + pause);
        }
        self.ended.push(ended);
    }

    /// Gives back what is claimed and not being sent.
    fn put_back(&mut self) {
        self.nothing_was_sent(self.ready.len());
        let unsent = self.ready.drain(..).map(|claimed| self.desk.unsent(claimed));
        self.ended.extend(unsent);
    }

    /// Has what waits longest looked up anew, whatever was found before.
    fn look_anew(&mut self) {
        self.nothing_was_sent(self.found.len());
        self.found.clear();
        (self.look, self.next_look) = (None, Instant::now());
    }

    /// Gives back what was taken of the receiver's rate for so many messages.
    fn nothing_was_sent(&mut self, messages: usize) {
        if let Some(bucket) = &mut self.bucket {
            (0..messages).for_each(|_| bucket.give_back());
        }
    }

    fn withdraw(&mut self) {
        if self.offer.is_some() && self.desk.bell.wake.withdraw(&self.desk.receiver.name) {
            self.offer = None;
        }
    }
}

/// Of how many intervals a message speaks.
fn says_of(claimed: &Claimed) -> usize {
    claimed.deliveries().filter_map(|it| Some(it.notification.as_ref()?.says.len())).sum()
}

/// What this comes to, once; for ever, if there is nothing.
async fn come_true<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(running) => {
            let output = running.await;
            *future = None;
            output
        }
        None => pending().await,
    }
}
