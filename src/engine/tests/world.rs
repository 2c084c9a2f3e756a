//! A store in memory, with a receiver that answers as it is told: plain maps, obviously right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::SENT;
use crate::clock::Timestamp;
use crate::engine::suppress;
use crate::engine::*;
use crate::event;
use crate::rules::Rules;

/// What a receiver heard, or may have heard.
#[derive(Clone, Debug)]
pub(super) struct Hearing {
    pub(super) receiver: String,
    pub(super) alert: AlertKey,
    pub(super) saying: Saying,
    pub(super) until: Timestamp,
    pub(super) sure: bool,
}

pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Heard>,
    pub(super) containers: BTreeMap<Arc<str>, Container>,
    pub(super) intervals: BTreeMap<IntervalId, Interval>,
    pub(super) groups: BTreeMap<GroupKey, Group>,
    pub(super) deliveries: BTreeMap<DeliveryId, Delivery>,
    pub(super) silences: Vec<Silence>,
    /// What each receiver took, in order, with whether it may have heard it without our knowing.
    pub(super) told: Vec<Hearing>,
    /// What is being sent.
    pub(super) in_flight: Vec<Claimed>,
    /// The alert of every interval that ever was.
    alerts: BTreeMap<IntervalId, AlertKey>,
    last_interval: i64,
    last_token: u32,
}

/// When every test begins: 2026-01-01T00:00:00Z.
pub(super) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

pub(super) fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

impl World {
    pub(super) fn new(rules: Rules) -> World {
        World {
            rules,
            now: START,
            events: Vec::new(),
            containers: BTreeMap::new(),
            intervals: BTreeMap::new(),
            groups: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            silences: Vec::new(),
            told: Vec::new(),
            in_flight: Vec::new(),
            alerts: BTreeMap::new(),
            last_interval: 0,
            last_token: 0,
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
        let heard: Vec<Heard> = payloads
            .iter()
            .map(|payload| Heard::new(event::from_value(payload).unwrap(), self.now))
            .collect();
        let (rules, now) = (self.rules.clone(), self.now);
        self.transact(keys(&rules, &heard), |snapshot| decide(&rules, snapshot, &heard, now))
    }

    pub(super) fn transact<T>(
        &mut self,
        mut keys: Keys,
        decide: impl Fn(&Snapshot) -> Decision<T>,
    ) -> T {
        for _ in 0..10 {
            match decide(&self.read(&keys)) {
                Decision::Need(more) => {
                    let before = keys.clone();
                    keys.extend(more);
                    assert_ne!(before, keys, "a decision needs what it was given");
                }
                Decision::Done(changes, result) => {
                    self.write(changes);
                    self.check();
                    return result;
                }
            }
        }
        panic!("a decision that never comes to an end");
    }

    fn read(&self, keys: &Keys) -> Snapshot {
        let mut snapshot = Snapshot { asked: keys.clone(), ..Snapshot::default() };
        if keys.silences {
            snapshot.silences = self.silences.clone().into();
        }
        let of_containers = self.intervals.values().filter(|interval| {
            keys.containers.contains(&interval.container) && interval.end.is_none()
        });
        let entries = of_containers.flat_map(|interval| &interval.ledger);
        snapshot.asked.groups.extend(entries.map(|entry| entry.group.clone()));
        for heard in &self.events {
            let key = (heard.event.container.clone(), heard.reference());
            if keys.known.contains(&key) {
                snapshot.known.insert(key.clone());
            }
            if keys.timelines.contains(&key.0) {
                snapshot.timelines.entry(key.0.clone()).or_default().push(heard.clone());
            }
            if keys.events.contains(&key) {
                snapshot.events.insert(key, heard.event.clone());
            }
        }
        for id in &keys.containers {
            if let Some(container) = self.containers.get(id) {
                snapshot.containers.insert(id.clone(), container.clone());
            }
        }
        for interval in self.intervals.values() {
            let entry = |wanted: fn(&Entry) -> bool, groups: &BTreeSet<GroupKey>| {
                interval.ledger.iter().any(|entry| wanted(entry) && groups.contains(&entry.group))
            };
            let of_container = interval.role != Role::Whole;
            let open = keys.containers.contains(&interval.container) && interval.end.is_none();
            let shared = keys.shared.get(&interval.alert).is_some_and(|from| {
                interval.role != Role::Own
                    && interval.end.as_ref().is_none_or(|end| *from <= end.at)
            });
            if (of_container && open)
                || shared
                || (of_container && keys.timelines.contains(&interval.container))
                || keys.intervals.contains(&interval.id)
                || entry(|entry| entry.news.is_some(), &keys.news)
                || entry(|entry| entry.firing, &keys.firing)
                || (keys.sources.contains(&interval.alert.rule)
                    && interval.ledger.iter().any(|entry| entry.firing))
                || (keys.untold.contains(&interval.alert.rule)
                    && interval.ledger.iter().any(|entry| entry.news.is_some()))
            {
                snapshot.intervals.insert(interval.id, interval.clone());
            }
        }
        for key in &snapshot.asked.groups.clone() {
            if let Some(group) = self.groups.get(key) {
                snapshot.groups.insert(key.clone(), group.clone());
            }
        }
        for id in &keys.deliveries {
            if let Some(delivery) = self.deliveries.get(id) {
                snapshot.deliveries.insert(id.clone(), delivery.clone());
            }
        }
        snapshot
    }

    fn write(&mut self, changes: Changes) {
        self.events.extend(changes.events);
        for container in changes.containers {
            self.containers.insert(container.id.clone(), container);
        }
        for id in changes.intervals_removed {
            self.intervals.remove(&id);
        }
        for mut interval in changes.intervals {
            if interval.id.0 < 0 {
                self.last_interval += 1;
                interval.id = IntervalId(self.last_interval);
            }
            assert_ne!(interval.id, IntervalId(0), "an interval without a name");
            self.alerts.insert(interval.id, interval.alert.clone());
            self.intervals.insert(interval.id, interval);
        }
        for key in changes.groups_removed {
            self.groups.remove(&key);
        }
        for group in changes.groups {
            self.groups.insert(group.key.clone(), group);
        }
        for delivery in changes.deliveries {
            self.deliveries.insert(delivery.id.clone(), delivery);
        }
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
        let entries = || self.intervals.values().flat_map(|interval| &interval.ledger);
        for group in self.groups.values() {
            let of_group = || entries().filter(|entry| entry.group == group.key);
            assert_eq!(group.news as usize, of_group().filter(|e| e.is_to_be_told()).count());
            assert_eq!(group.firing as usize, of_group().filter(|e| e.firing).count());
            assert!(
                group.timer.is_some() || group.waiting.is_some(),
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
            if delivery.status == Status::Pending {
                assert_eq!(self.groups[&delivery.group].waiting.as_ref(), Some(&delivery.id));
            }
        }
    }

    /// Does what is due now. Whether there was anything.
    pub(super) fn run_due(&mut self) -> bool {
        let mut keys = Keys::default();
        for interval in self.intervals.values() {
            if interval.due.is_some_and(|due| due <= self.now) {
                match interval.role {
                    Role::Whole => keys.intervals.insert(interval.id),
                    Role::Own | Role::Part => keys.containers.insert(interval.container.clone()),
                };
            }
        }
        for group in self.groups.values() {
            if group.timer.is_some_and(|timer| timer.is_due(self.now)) {
                keys.groups.insert(group.key.clone());
            }
        }
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

    /// Claims what can be.
    pub(super) fn claim(&mut self) -> Vec<Claimed> {
        let ids: Vec<DeliveryId> = self
            .deliveries
            .values()
            .filter(|delivery| delivery.status == Status::Pending)
            // An expired lease does not free what this very process still sends.
            .filter(|delivery| self.in_flight.iter().all(|sent| sent.delivery.id != delivery.id))
            .filter(|delivery| delivery.next_attempt.is_due(self.now))
            .map(|delivery| delivery.id.clone())
            .collect();
        self.last_token += 1;
        let lease = Lease {
            token: self.last_token.to_string(),
            until: self.now.plus(Duration::from_secs(60)),
        };
        let (rules, now) = (self.rules.clone(), self.now);
        let claimed: Vec<Claimed> = ids
            .iter()
            .filter_map(|id| {
                self.transact(Keys::default(), |snapshot| claim(&rules, snapshot, id, &lease, now))
            })
            .collect();
        for saying in claimed.iter().flat_map(|claimed| &claimed.notification.says) {
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
        let sources: Vec<Interval> = self.intervals.values().filter(fires).cloned().collect();
        suppress::hold(&self.rules, &self.silences, &sources, interval, self.now)
    }

    pub(super) fn settle(&mut self, claimed: &Claimed, outcome: &Outcome) -> Settled {
        self.hear_of(claimed, matches!(outcome, Outcome::Sent { .. }), outcome);
        let settlement = Settlement {
            delivery: claimed.delivery.id.clone(),
            token: claimed.delivery.lease.as_ref().unwrap().token.clone(),
            outcome: outcome.clone(),
            reached: Vec::new(),
            backoff: Duration::from_secs(30),
            give_up_after: Duration::from_secs(24 * 3600),
        };
        let (rules, now) = (self.rules.clone(), self.now);
        self.transact(Keys::default(), |snapshot| settle(&rules, snapshot, &settlement, now))
    }

    /// What reaches the receiver of an attempt that ends so.
    fn hear_of(&mut self, claimed: &Claimed, sure: bool, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Sent { .. } | Outcome::Unknown { .. }) {
            return;
        }
        for (alert, saying) in claimed.notification.says.iter().filter_map(|saying| {
            let alert = self.alerts.get(&saying.interval)?.clone();
            Some((alert, *saying))
        }) {
            let until = saying.until.unwrap_or(self.now);
            let receiver = claimed.notification.receiver.clone();
            self.told.push(Hearing { receiver, alert, saying, until, sure });
        }
    }

    /// Claims what can be, and leaves it in flight.
    pub(super) fn send(&mut self) {
        let claimed = self.claim();
        self.in_flight.extend(claimed);
    }

    /// Settles the oldest of what is in flight.
    pub(super) fn land(&mut self, outcome: &Outcome) {
        if !self.in_flight.is_empty() {
            let claimed = self.in_flight.remove(0);
            assert_ne!(self.settle(&claimed, outcome), Settled::Lost);
        }
    }

    /// Goes on with other rules, as after a restart with an edited file.
    pub(super) fn reload(&mut self, rules: Rules) {
        self.restart();
        self.rules = rules;
        let (rules, now) = (self.rules.clone(), self.now);
        let ids: Vec<IntervalId> = self.intervals.keys().copied().collect();
        self.transact(Keys::default(), |snapshot| align(&rules, snapshot, &ids, now));
        self.look_at_all_groups();
    }

    /// Makes a silence for these labels that holds so many seconds from now on; answers its place.
    pub(super) fn silence(&mut self, matchers: serde_json::Value, seconds: u64) -> usize {
        self.silences.push(Silence {
            id: SilenceId(self.silences.len() as i64 + 1),
            matchers: Arc::new(serde_json::from_value(matchers).unwrap()),
            starts_at: self.now,
            ends_at: self.now.plus(Duration::from_secs(seconds)),
            created_at: self.now,
            created_by: None,
            comment: None,
        });
        self.look_at_all_groups();
        self.silences.len() - 1
    }

    /// Ends a silence before its time.
    pub(super) fn end_silence(&mut self, index: usize) {
        let silence = &mut self.silences[index];
        silence.ends_at = silence.ends_at.min(self.now);
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
        claimed.into_iter().map(|claimed| claimed.notification).collect()
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
