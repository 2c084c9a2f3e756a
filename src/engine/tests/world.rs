//! A store in memory, with a receiver that answers as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::SENT;
use crate::clock::Timestamp;
use crate::engine::suppress;
use crate::engine::*;
use crate::event;
use crate::rules::Rules;
use crate::simulation::Memory;

/// What a receiver heard, or may have heard.
#[derive(Clone, Debug)]
pub(super) struct Hearing {
    pub(super) receiver: String,
    pub(super) alert: AlertKey,
    pub(super) saying: Saying,
    pub(super) until: Timestamp,
    pub(super) sure: bool,
}

/// How long a message may wait in all.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct World {
    pub(super) rules: Rules,
    pub(super) now: Timestamp,
    pub(super) memory: Memory,
    /// What each receiver took, in order, with whether it may have heard it without our knowing.
    pub(super) told: Vec<Hearing>,
    /// What is being sent.
    pub(super) in_flight: Vec<Claimed>,
    last_token: u32,
    last_silence: i64,
    /// The payloads that took their place.
    pub(super) accepted: Vec<serde_json::Value>,
    /// Another store, that is to read and keep the same.
    pub(super) other: Option<Box<dyn Other>>,
}

/// Another store that is told of all that is done.
pub(crate) trait Other {
    /// A unit of work on which `snapshot` was read, and `changes` are written.
    fn transact(&mut self, memory: &Memory, snapshot: &Snapshot, changes: &Changes);
    /// A silence is made.
    fn silence(&mut self, silence: &Silence);
    /// A silence is ended.
    fn end_silence(&mut self, id: SilenceId, now: Timestamp);
}

/// When every test begins: 2026-01-01T00:00:00Z.
pub(super) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

pub(super) fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// What it holds, as the store has it.
impl Deref for World {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

impl World {
    pub(super) fn new(rules: Rules) -> World {
        World {
            rules,
            now: START,
            memory: Memory::default(),
            told: Vec::new(),
            in_flight: Vec::new(),
            last_token: 0,
            last_silence: 0,
            accepted: Vec::new(),
            other: None,
        }
    }

    /// Hears of a state that `container` took `seconds` after the start.
    pub(super) fn hear(&mut self, container: &str, state: &str, seconds: u64) -> Decided {
        let payload = json!({
            "id": container, "application": "shop", "service": "web", "state": state,
            "timestamp": at(seconds).as_seconds(),
        });
        self.take(&[payload])[0]
    }

    pub(super) fn take(&mut self, payloads: &[serde_json::Value]) -> Vec<Decided> {
        let heard = self.heard(payloads);
        let (rules, now) = (self.rules.clone(), self.now);
        let decided =
            self.transact(keys(&rules, &heard), |snapshot| decide(&rules, snapshot, &heard, now));
        self.note(payloads, &decided);
        decided
    }

    /// The same, and claims in the same decision what it makes for those to whom nothing is being sent.
    pub(super) fn take_and_send(&mut self, payloads: &[serde_json::Value]) {
        let heard = self.heard(payloads);
        let keys = keys(&self.rules, &heard);
        let decided = self.decide_and_send(keys, &heard);
        self.note(payloads, &decided);
    }

    /// Decides, and claims what that makes for those to whom nothing is being sent.
    fn decide_and_send(&mut self, keys: Keys, heard: &[Heard]) -> Vec<Decided> {
        let (rules, now) = (self.rules.clone(), self.now);
        let is_busy =
            |name: &str| self.in_flight.iter().any(|claimed| *claimed.delivery.to == *name);
        let receivers: BTreeSet<Arc<str>> =
            rules.iter().flat_map(|rule| &rule.notify).map(|name| name.as_str().into()).collect();
        let free: Vec<Arc<str>> = receivers.into_iter().filter(|name| !is_busy(name)).collect();
        let free: Vec<Hand> = free.into_iter().map(|receiver| self.hand(receiver)).collect();
        let (mut apart, before) = (self.memory.clone(), self.deliveries.clone());
        let (decided, claimed) = self.transact(keys.clone(), |snapshot| {
            decide_and_claim(&rules, snapshot, heard, &free, now)
        });
        // It comes to the same as deciding first and claiming then.
        let first = apart.transact(keys, |snapshot| decide(&rules, snapshot, heard, now));
        assert_eq!(first, decided);
        for hand in free {
            // What was dropped within this very instant is made anew under its name.
            let is_made = |id: &DeliveryId| {
                before.get(id).is_none_or(|before| before.status == Status::Dropped)
            };
            let made = apart.to_send(now).into_iter();
            let made = made.filter(|id| *apart.deliveries[id].to == *hand.receiver && is_made(id));
            let deliveries: Vec<DeliveryId> = made.collect();
            if deliveries.len() == 1 {
                let next = [Claim { hand, deliveries }];
                apart.transact(Keys::default(), |snapshot| claim(&rules, snapshot, &next, now));
            }
        }
        assert_eq!(apart.deliveries, self.deliveries);
        assert_eq!(apart.intervals, self.intervals);
        // When a timer was set may be said anew: what is read for a claim is looked at as well.
        let groups = |memory: &Memory| {
            let of = |timer: Timer| Timer { set_at: timer.due_at, ..timer };
            let groups = memory.groups.values().cloned();
            groups.map(|group| Group { timer: group.timer.map(of), ..group }).collect::<Vec<_>>()
        };
        assert_eq!(groups(&apart), groups(&self.memory));
        self.in_flight.extend(claimed);
        decided
    }

    fn heard(&self, payloads: &[serde_json::Value]) -> Vec<Heard> {
        let heard = |payload| Heard::new(event::from_value(payload).unwrap(), self.now);
        payloads.iter().map(heard).collect()
    }

    /// Notes which payloads took their place.
    fn note(&mut self, payloads: &[serde_json::Value], decided: &[Decided]) {
        let recorded = payloads.iter().zip(decided);
        let recorded = recorded.filter(|(_, decided)| **decided == Decided::Recorded);
        self.accepted.extend(recorded.map(|(payload, _)| payload.clone()));
    }

    pub(super) fn transact<T>(
        &mut self,
        keys: Keys,
        decide: impl Fn(&Snapshot) -> Decision<T>,
    ) -> T {
        let result = self.commit(keys, decide);
        self.check();
        result
    }

    fn commit<T>(&mut self, keys: Keys, decide: impl Fn(&Snapshot) -> Decision<T>) -> T {
        let (snapshot, changes, result) = self.memory.decided(keys, decide);
        if let Some(other) = &mut self.other {
            other.transact(&self.memory, &snapshot, &changes);
        }
        self.memory.write(changes);
        result
    }

    /// What holds after every step.
    fn check(&self) {
        for container in self.containers.values() {
            let open = self
                .intervals
                .values()
                .filter(|interval| interval.container == container.id && interval.end.is_none())
                .filter(|interval| interval.role != Role::Whole);
            assert_eq!(container.open as usize, open.count(), "{}", container.id);
        }
        assert!(self.intervals.keys().all(|id| id.0 > 0), "an interval without a name");
        let entries = || self.intervals.values().flat_map(|interval| &interval.ledger);
        for group in self.groups.values() {
            let of_group = || entries().filter(|entry| entry.group == group.key);
            assert_eq!(group.news as usize, of_group().filter(|e| e.is_to_be_told()).count());
            assert_eq!(group.firing as usize, of_group().filter(|e| e.firing).count());
            let rule = self.rules.get(&group.key.rule);
            let waits_for_ends = rule.is_some_and(|rule| !rule.tells(&group.key.receiver));
            assert!(
                group.timer.is_some()
                    || group.waiting.is_some()
                    || (waits_for_ends && group.firing > 0),
                "a group that nothing will wake: {group:?}"
            );
            if let Some(id) = &group.waiting {
                assert_eq!(self.deliveries[id].status, Status::Pending);
            }
        }
        for entry in entries().filter(|entry| entry.news.is_some() || entry.firing) {
            assert!(self.groups.contains_key(&entry.group), "news without a group: {entry:?}");
        }
        for delivery in self.deliveries.values() {
            if delivery.status == Status::Pending && !delivery.stands_alone() {
                assert_eq!(self.groups[&delivery.group].waiting.as_ref(), Some(&delivery.id));
            }
        }
    }

    /// Prunes what was received longer ago than this.
    pub(super) fn prune(&mut self, keep: Duration) {
        let oldest = Oldest { received_before: self.now.minus(keep), after: 0, limit: 10_000 };
        let rules = self.rules.clone();
        self.transact(Keys::default(), |snapshot| prune(&rules, snapshot, oldest));
    }

    /// Removes the alerts and deliveries that ended longer ago than this. Whom the dead letters among
    /// them were to.
    pub(super) fn forget(&mut self, keep: Duration) -> Vec<Arc<str>> {
        let before = self.now.minus(keep);
        let mut after = (Timestamp::default(), IntervalId(0));
        loop {
            let (rules, ended) = (self.rules.clone(), Ended { before, after, limit: 3 });
            let next = self.transact(Keys::default(), |snapshot| forget(&rules, snapshot, ended));
            let Some(next) = next else { break };
            after = next;
        }
        let done = Done { before, limit: 10_000 };
        self.transact(Keys::default(), |snapshot| clear(snapshot, done)).1
    }

    /// Does what is due now. Whether there was anything.
    pub(super) fn run_due(&mut self) -> bool {
        let keys = self.due(self.now);
        if keys.is_empty() {
            return false;
        }
        let (rules, now) = (self.rules.clone(), self.now);
        self.transact(keys, |snapshot| decide(&rules, snapshot, &[], now));
        true
    }

    /// Lets time pass, and does what comes due in it.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        while self.run_due() {}
    }

    /// The same, and claims what that makes for those to whom nothing is being sent.
    pub(super) fn wait_and_send(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        loop {
            let keys = self.due(self.now);
            if keys.is_empty() {
                break;
            }
            self.decide_and_send(keys, &[]);
        }
    }

    /// Claims what can be.
    pub(super) fn claim(&mut self) -> Vec<Claimed> {
        let ids: Vec<Vec<DeliveryId>> = self.can_be_sent().into_iter().map(|id| vec![id]).collect();
        self.claim_each(&ids)
    }

    /// Claims what can be for each receiver, to be told in one digest.
    pub(super) fn claim_digests(&mut self) -> Vec<Claimed> {
        let mut by_receiver: BTreeMap<Arc<str>, Vec<DeliveryId>> = BTreeMap::new();
        for id in self.can_be_sent() {
            by_receiver.entry(self.deliveries[&id].to.clone()).or_default().push(id);
        }
        let ids: Vec<Vec<DeliveryId>> = by_receiver.into_values().collect();
        self.claim_each(&ids)
    }

    fn can_be_sent(&self) -> Vec<DeliveryId> {
        let mut ids = self.to_send(self.now);
        // An expired lease does not free what this very process still sends.
        let sent = || self.in_flight.iter().flat_map(Claimed::deliveries);
        ids.retain(|id| sent().all(|delivery| delivery.id != *id));
        // As the store has it.
        ids.sort_by_key(|id| (self.deliveries[id].waiting_since, id.clone()));
        ids
    }

    /// One that sends to this receiver, under a lease of its own.
    fn hand(&mut self, receiver: Arc<str>) -> Hand {
        self.last_token += 1;
        let until = self.now.plus(Duration::from_secs(60));
        let lease = Lease { token: self.last_token.to_string(), until };
        Hand { receiver, lease, shows: Shows { states: true, all_alerts: false, digests: true } }
    }

    fn claim_each(&mut self, messages: &[Vec<DeliveryId>]) -> Vec<Claimed> {
        let (rules, now) = (self.rules.clone(), self.now);
        let claimed: Vec<Claimed> = messages
            .iter()
            .filter_map(|ids| {
                let hand = self.hand(self.deliveries[&ids[0]].to.clone());
                let next = [Claim { hand, deliveries: ids.clone() }];
                self.transact(Keys::default(), |snapshot| claim(&rules, snapshot, &next, now)).pop()
            })
            .collect();
        let news = claimed.iter().filter(|claimed| !claimed.delivery.is_remainder());
        for saying in news.flat_map(said).flat_map(|said| said.says) {
            if matches!(saying.news, News::Firing | News::StillFiring) {
                let held = self.held(&self.intervals[&saying.interval]);
                assert_eq!(held, None, "{saying:?} is told all the same");
            }
        }
        claimed
    }

    /// Why an interval is not to be told now, if so.
    pub(super) fn held(&self, interval: &Interval) -> Option<Held> {
        let fires = |interval: &&Interval| interval.ledger.iter().any(|entry| entry.firing);
        let sources = self.intervals.values().filter(fires);
        let sources: Vec<Arc<Interval>> = sources.cloned().map(Into::into).collect();
        suppress::hold(&self.rules, &self.silences, &sources, interval, self.now)
    }

    pub(super) fn settle(&mut self, claimed: &Claimed, outcome: &Outcome) -> Settled {
        self.settle_after(claimed, outcome, Duration::from_secs(30))
    }

    /// Settles an attempt after which the place is to be left alone for so long; what became of the
    /// first of its deliveries.
    pub(super) fn settle_after(
        &mut self,
        claimed: &Claimed,
        outcome: &Outcome,
        backoff: Duration,
    ) -> Settled {
        let settlement = self.ended_so(claimed, outcome, backoff);
        self.settle_so(&settlement)
    }

    /// Settles an attempt after which it has waited for long enough.
    pub(super) fn give_up(&mut self, claimed: &Claimed, outcome: &Outcome) -> Settled {
        let settlement = self.ended_so(claimed, outcome, Duration::from_secs(30));
        self.settle_so(&Settlement { give_up_after: Duration::ZERO, ..settlement })
    }

    /// Settles an attempt by which these have it, and others of the receiver may not.
    pub(super) fn settle_reached(
        &mut self,
        claimed: &Claimed,
        outcome: &Outcome,
        reached: Vec<String>,
    ) -> Settled {
        let settlement = self.ended_so(claimed, outcome, Duration::from_secs(30));
        self.settle_so(&Settlement { reached, ..settlement })
    }

    /// What became of the first of the deliveries that are settled so.
    pub(super) fn settle_so(&mut self, settlement: &Settlement) -> Settled {
        let (rules, now) = (self.rules.clone(), self.now);
        let settlements = std::slice::from_ref(settlement);
        let settled =
            self.transact(Keys::default(), |snapshot| settle(&rules, snapshot, settlements, now));
        assert_eq!(settled[0].len(), settlement.deliveries.len());
        settled[0][0].clone()
    }

    /// An attempt that ends so, with what reaches the receiver of it.
    fn ended_so(&mut self, claimed: &Claimed, outcome: &Outcome, backoff: Duration) -> Settlement {
        self.hear_of(claimed, matches!(outcome, Outcome::Sent { .. }), outcome);
        Settlement {
            deliveries: claimed.deliveries().map(|delivery| delivery.id.clone()).collect(),
            token: claimed.delivery.lease.as_ref().unwrap().token.clone(),
            outcome: outcome.clone(),
            reached: Vec::new(),
            backoff,
            pause: None,
            give_up_after: GIVE_UP_AFTER,
        }
    }

    /// What reaches the receiver of an attempt that ends so.
    fn hear_of(&mut self, claimed: &Claimed, sure: bool, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Sent { .. } | Outcome::Unknown { .. }) {
            return;
        }
        for notification in said(claimed) {
            for saying in notification.says {
                let alert = saying.alert.clone();
                let until = saying.until.unwrap_or(self.now);
                let receiver = notification.receiver.clone();
                self.told.push(Hearing { receiver, alert, saying, until, sure });
            }
        }
    }

    /// Claims what can be, and leaves it in flight.
    pub(super) fn send(&mut self) {
        let claimed = self.claim();
        self.in_flight.extend(claimed);
    }

    /// The same, in one digest for each receiver.
    pub(super) fn send_digests(&mut self) {
        let claimed = self.claim_digests();
        self.in_flight.extend(claimed);
    }

    /// Settles the oldest of what is in flight.
    pub(super) fn land(&mut self, outcome: &Outcome) {
        if !self.in_flight.is_empty() {
            let claimed = self.in_flight.remove(0);
            assert_ne!(self.settle(&claimed, outcome), Settled::Lost);
        }
    }

    /// Settles the two oldest in flight in one decision, and claims in another what can be sent next to
    /// those who have a hand free by that.
    pub(super) fn land_and_send(&mut self, outcome: &Outcome) {
        let ended = self.in_flight.len().min(2);
        let ended: Vec<Claimed> = self.in_flight.drain(..ended).collect();
        let settlements: Vec<Settlement> = ended
            .iter()
            .map(|claimed| self.ended_so(claimed, outcome, Duration::from_secs(30)))
            .collect();
        let mut free: Vec<Arc<str>> = ended.iter().map(|it| it.delivery.to.clone()).collect();
        let mut next = Vec::new();
        for id in self.can_be_sent() {
            let receiver = &self.deliveries[&id].to;
            if let Some(place) = free.iter().position(|free| free == receiver) {
                let hand = self.hand(free.swap_remove(place));
                next.push(Claim { hand, deliveries: vec![id] });
            }
        }
        let (rules, now) = (self.rules.clone(), self.now);
        let settled =
            self.transact(Keys::default(), |snapshot| settle(&rules, snapshot, &settlements, now));
        let next = self.transact(Keys::default(), |snapshot| claim(&rules, snapshot, &next, now));
        for (settled, settlement) in settled.iter().zip(&settlements) {
            assert_eq!(settled.len(), settlement.deliveries.len());
            assert_ne!(settled[0], Settled::Lost);
        }
        self.in_flight.extend(next);
    }

    /// Goes on with other rules, as after a restart with an edited file.
    pub(super) fn reload(&mut self, rules: Rules) {
        self.restart();
        self.rules = rules;
        let (rules, now) = (self.rules.clone(), self.now);
        let ids: Vec<IntervalId> = self.intervals.keys().copied().collect();
        self.commit(Keys::default(), |snapshot| align(&rules, snapshot, &ids, now));
        // As at a start, which is not over before that.
        self.look_at_all_groups();
    }

    /// Makes a silence for these labels that holds so many seconds from now on; answers its place.
    pub(super) fn silence(&mut self, matchers: serde_json::Value, seconds: u64) -> usize {
        self.last_silence += 1;
        let silence = Silence {
            id: SilenceId(self.last_silence),
            matchers: Arc::new(serde_json::from_value(matchers).unwrap()),
            starts_at: self.now,
            ends_at: self.now.plus(Duration::from_secs(seconds)),
            created_at: self.now,
            created_by: None,
            comment: None,
        };
        if let Some(other) = &mut self.other {
            other.silence(&silence);
        }
        self.silences.push(silence);
        self.look_at_all_groups();
        self.silences.len() - 1
    }

    /// Ends a silence before its time; one that has not begun goes.
    pub(super) fn end_silence(&mut self, index: usize) {
        let now = self.now;
        let silence = &mut self.memory.silences[index];
        if let Some(other) = &mut self.other {
            other.end_silence(silence.id, now);
        }
        silence.ends_at = silence.ends_at.min(now);
        if silence.starts_at >= now {
            self.memory.silences.remove(index);
        }
        self.look_at_all_groups();
    }

    fn look_at_all_groups(&mut self) {
        let (rules, now) = (self.rules.clone(), self.now);
        let keys = Keys { groups: self.groups.keys().cloned().collect(), ..Keys::default() };
        self.transact(keys, |snapshot| decide(&rules, snapshot, &[], now));
    }

    /// Sends what can be sent, with this outcome. What was said.
    pub(super) fn deliver(&mut self, outcome: &Outcome) -> Vec<Notification> {
        let claimed = self.claim();
        for claimed in &claimed {
            assert_ne!(self.settle(claimed, outcome), Settled::Lost);
        }
        claimed.into_iter().map(|claimed| Arc::unwrap_or_clone(claimed.notification)).collect()
    }

    /// Puts a dead letter back.
    pub(super) fn retry(&mut self, id: &DeliveryId) -> Result<Retried, Stays> {
        let (rules, now) = (self.rules.clone(), self.now);
        self.transact(Keys::default(), |snapshot| retry(&rules, snapshot, id, now))
    }

    /// Discards a dead letter.
    pub(super) fn discard(&mut self, id: &DeliveryId) -> Result<(), Stays> {
        let now = self.now;
        self.transact(Keys::default(), |snapshot| discard(snapshot, id, now))
    }

    /// The dead letters, the longest given up first.
    pub(super) fn dead_letters(&self) -> Vec<DeliveryId> {
        let dead = self.deliveries.values().filter(|delivery| delivery.status == Status::Dead);
        let mut dead: Vec<&Delivery> = dead.collect();
        dead.sort_by_key(|delivery| delivery.ended_at);
        dead.into_iter().map(|delivery| delivery.id.clone()).collect()
    }

    /// Stops the program without a word, and starts it again. What was in flight arrives.
    pub(super) fn restart(&mut self) {
        for claimed in std::mem::take(&mut self.in_flight) {
            self.hear_of(&claimed, false, &SENT);
        }
        let leased: Vec<DeliveryId> = self
            .deliveries
            .values()
            .filter(|delivery| delivery.status == Status::Pending && delivery.lease.is_some())
            .map(|delivery| delivery.id.clone())
            .collect();
        let now = self.now;
        self.transact(Keys::default(), |snapshot| take_back(snapshot, &leased, now));
    }
}

/// What each of the deliveries in a message says.
fn said(claimed: &Claimed) -> Vec<Notification> {
    let says = claimed.deliveries().filter_map(|delivery| delivery.notification.clone());
    says.map(Arc::unwrap_or_clone).collect()
}
