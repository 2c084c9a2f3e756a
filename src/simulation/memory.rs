//! A store in memory, without I/O: plain maps, obviously right.
//!
//! For simulations, and for the engine's own tests. It reads by looking through all that it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::{
    AlertKey, Changes, Checkpoint, Container, Decision, Delivery, DeliveryId, Done, ENDED_AT_ONCE,
    Ended, Entry, EventRef, Group, GroupKey, Health, Heard, Interval, IntervalId, Keys, Old,
    Oldest, Pruned, RECENT, Role, Silence, Snapshot, Status, Swath, Timer,
};

/// What a store holds, as far as decisions ask for it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The events, in the order in which they were heard.
    pub events: Vec<Heard>,
    /// Those of them from which nothing could be derived.
    pub failed: BTreeSet<(Arc<str>, EventRef)>,
    /// What is left of what was pruned, by container.
    pub checkpoints: BTreeMap<Arc<str>, Checkpoint>,
    /// The containers by id.
    pub containers: BTreeMap<Arc<str>, Container>,
    /// The intervals that are, or were.
    pub intervals: BTreeMap<IntervalId, Interval>,
    /// The groups that live.
    pub groups: BTreeMap<GroupKey, Group>,
    /// The silences, those that ended among them.
    pub silences: Vec<Silence>,
    /// The deliveries, whatever became of them.
    pub deliveries: BTreeMap<DeliveryId, Delivery>,
    /// How receivers are, by name.
    pub receivers: BTreeMap<Arc<str>, Health>,
    last_interval: i64,
}

impl Memory {
    /// Does a unit of work: reads, decides, reads more as long as that is asked for, and writes.
    ///
    /// # Panics
    /// Never, so long as a decision only asks for what it was not given.
    pub fn transact<T>(&mut self, keys: Keys, decide: impl Fn(&Snapshot) -> Decision<T>) -> T {
        let (_, changes, result) = self.decided(keys, decide);
        self.write(changes);
        result
    }

    /// Reads and decides, and leaves the writing to whoever asks: what was read last, what is to be
    /// written, and what came of it.
    ///
    /// # Panics
    /// As [`Memory::transact`].
    pub fn decided<T>(
        &self,
        mut keys: Keys,
        decide: impl Fn(&Snapshot) -> Decision<T>,
    ) -> (Snapshot, Changes, T) {
        let due_groups = keys.groups.clone();
        loop {
            let snapshot = Snapshot { due_groups: due_groups.clone(), ..self.read(&keys) };
            match decide(&snapshot) {
                Decision::Need(more) => {
                    let before = keys.clone();
                    keys.extend(more);
                    assert_ne!(before, keys, "a decision needs what it was given");
                }
                Decision::Done(changes, result) => return (snapshot, changes, result),
            }
        }
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
        let deliveries = keys.deliveries.iter().filter_map(|id| self.deliveries.get(id));
        snapshot.asked.groups.extend(deliveries.map(|delivery| delivery.group.clone()));
        for heard in &self.events {
            let key = (heard.event.container.clone(), heard.reference());
            if keys.known.contains(&key) {
                snapshot.known.insert(key.clone());
            }
            if keys.timelines.contains(&key.0) && !self.failed.contains(&key) {
                snapshot.timelines.entry(key.0.clone()).or_default().push(heard.clone());
            }
            if keys.events.contains(&key) {
                snapshot.events.insert(key, heard.event.clone());
            }
        }
        for id in &keys.recent {
            let events = self.events.iter().rev().filter(|heard| heard.event.container == *id);
            let recent = events.take(RECENT).filter(|heard| !self.has_failed(heard));
            snapshot.recent.insert(id.clone(), recent.cloned().collect());
        }
        for id in keys.checkpoints.iter().chain(&keys.timelines) {
            if let Some(checkpoint) = self.checkpoints.get(id) {
                snapshot.checkpoints.insert(id.clone(), checkpoint.clone());
            }
        }
        snapshot.oldest = keys.oldest.map(|oldest| self.oldest(oldest));
        snapshot.ended = keys.ended.map(|ended| self.ended(ended)).unwrap_or_default();
        snapshot.done = keys.done.map(|done| self.done(done)).unwrap_or_default();
        for delivery in self.deliveries.values().filter(|one| one.status == Status::Dead) {
            if keys.letters.contains(&delivery.group) {
                snapshot.letters.insert(delivery.group.clone());
            }
        }
        for id in &snapshot.done {
            snapshot.deliveries.insert(id.clone(), self.deliveries[id].clone());
        }
        for id in &keys.containers {
            if let Some(container) = self.containers.get(id) {
                snapshot.containers.insert(id.clone(), container.clone());
            }
        }
        let ended_of: BTreeSet<IntervalId> = keys
            .ended_of
            .iter()
            .flat_map(|(alert, before)| self.ended_of(alert, *before))
            .collect();
        for interval in self.intervals.values() {
            let entry = |wanted: fn(&Entry) -> bool, groups: &BTreeSet<GroupKey>| {
                interval.ledger.iter().any(|entry| wanted(entry) && groups.contains(&entry.group))
            };
            let of_container = interval.role != Role::Whole;
            let open = keys.containers.contains(&interval.container) && interval.end.is_none();
            let open_whole = interval.role == Role::Whole
                && interval.end.is_none()
                && keys.wholes.contains(&interval.alert);
            let shared = keys.shared.get(&interval.alert).is_some_and(|from| {
                interval.role != Role::Own
                    && interval.end.as_ref().is_none_or(|end| *from <= end.at)
            });
            if (of_container && open)
                || shared
                || open_whole
                || (of_container && keys.timelines.contains(&interval.container))
                || keys.intervals.contains(&interval.id)
                || snapshot.ended.contains(&interval.id)
                || ended_of.contains(&interval.id)
                || entry(|entry| entry.news.is_some(), &keys.news)
                || entry(|entry| entry.news.is_some() && entry.held.is_some(), &keys.held)
                || entry(|entry| entry.firing, &keys.firing)
                || (keys.sources.contains(&interval.alert.rule)
                    && interval.ledger.iter().any(|entry| entry.firing))
                || (keys.untold.contains(&interval.alert.rule)
                    && interval.ledger.iter().any(|entry| entry.news.is_some()))
            {
                snapshot.intervals.insert(interval.id, interval.clone().into());
            }
        }
        for key in &snapshot.asked.groups.clone() {
            if let Some(group) = self.groups.get(key) {
                snapshot.groups.insert(key.clone(), group.clone());
            }
        }
        for digest in &keys.digests {
            let of_digest = self.pending().filter(|one| one.digest.as_ref() == Some(digest));
            let of_digest = of_digest.map(|delivery| (delivery.id.clone(), delivery.clone()));
            snapshot.deliveries.extend(of_digest);
        }
        for id in &keys.deliveries {
            if let Some(delivery) = self.deliveries.get(id) {
                snapshot.deliveries.insert(id.clone(), delivery.clone());
            }
        }
        for name in &keys.receivers {
            if let Some(health) = self.receivers.get(name) {
                snapshot.receivers.insert(name.clone(), health.clone());
            }
        }
        snapshot
    }

    fn has_failed(&self, heard: &Heard) -> bool {
        self.failed.contains(&(heard.event.container.clone(), heard.reference()))
    }

    /// The events that were received first, all of them at once.
    fn oldest(&self, oldest: Oldest) -> Swath {
        let mut containers: BTreeMap<Arc<str>, Old> = BTreeMap::new();
        let is_old = |heard: &&Heard| heard.received_at < oldest.received_before;
        let in_timeline = |heard: &&Heard| {
            let checkpoint = self.checkpoints.get(&heard.event.container);
            !self.has_failed(heard) && checkpoint.is_none_or(|checkpoint| checkpoint.at < heard.at)
        };
        for heard in self.events.iter().filter(is_old).filter(|heard| !self.has_failed(heard)) {
            let old = containers.entry(heard.event.container.clone()).or_default();
            old.events.extend(Some(heard).filter(in_timeline).cloned());
        }
        for (id, old) in &mut containers {
            let others = self.events.iter().filter(|heard| heard.event.container == *id);
            let others = others.filter(|heard| !is_old(heard)).filter(in_timeline);
            old.others_from = others.map(|heard| heard.at).min();
        }
        Swath { until: i64::MAX, more: false, containers }
    }

    /// The intervals that ended first.
    fn ended(&self, ended: Ended) -> Vec<IntervalId> {
        let place = |interval: &Interval| Some((interval.end.as_ref()?.heard_at, interval.id));
        let places = self.intervals.values().filter_map(place);
        let mut places: Vec<_> =
            places.filter(|place| place.0 < ended.before && *place > ended.after).collect();
        places.sort_unstable();
        places.into_iter().take(ended.limit).map(|(_, id)| id).collect()
    }

    /// The first parts and wholes of an alert to end, and the first whole that is not among them.
    fn ended_of(&self, alert: &AlertKey, before: Timestamp) -> Vec<IntervalId> {
        let of_alert =
            || self.intervals.values().filter(|one| one.role != Role::Own && one.alert == *alert);
        let place = |interval: &Interval| {
            let end = interval.end.as_ref()?.at;
            Some((end, interval.role == Role::Whole, interval.id))
        };
        let mut places: Vec<_> = of_alert().filter_map(place).collect();
        places.retain(|(end, ..)| *end < before);
        places.sort_unstable();
        let mut ended: Vec<_> = places.into_iter().take(ENDED_AT_ONCE).map(|(.., id)| id).collect();
        let others = of_alert().filter(|one| one.role == Role::Whole && !ended.contains(&one.id));
        let first = others.min_by_key(|one| (one.start, one.id)).map(|one| one.id);
        ended.extend(first);
        ended
    }

    /// The deliveries that ended first.
    fn done(&self, done: Done) -> Vec<DeliveryId> {
        let place = |delivery: &Delivery| Some((delivery.ended_at?, delivery.id.clone()));
        let ended = self.deliveries.values().filter(|one| one.status != Status::Pending);
        let mut places: Vec<_> =
            ended.filter_map(place).filter(|(at, _)| *at < done.before).collect();
        places.sort_unstable();
        places.into_iter().take(done.limit).map(|(_, id)| id).collect()
    }

    /// Removes the events that are older than their checkpoint and need not stay.
    fn prune(&mut self, pruned: &Pruned) {
        let mut last: BTreeMap<Arc<str>, EventRef> = BTreeMap::new();
        for heard in &self.events {
            last.insert(heard.event.container.clone(), heard.reference());
        }
        let (failed, checkpoints) = (&mut self.failed, &self.checkpoints);
        let containers = &self.containers;
        self.events.retain(|heard| {
            let key = (heard.event.container.clone(), heard.reference());
            let is_in = containers.get(&key.0).map(|container| container.last_at);
            let is_last = !failed.contains(&key) && Some(heard.at) == is_in;
            let is_settled = failed.contains(&key)
                || checkpoints.get(&key.0).is_some_and(|checkpoint| heard.at <= checkpoint.at);
            let goes = heard.received_at < pruned.oldest.received_before
                && is_settled
                && !is_last
                && last.get(&key.0) != Some(&key.1)
                && !pruned.stay.contains(&key);
            if goes {
                failed.remove(&key);
            }
            !goes
        });
    }

    /// Writes all of it.
    pub fn write(&mut self, changes: Changes) {
        self.events.extend(changes.events);
        for (heard, _) in changes.failed {
            self.failed.insert((heard.event.container.clone(), heard.reference()));
            self.events.push(heard);
        }
        for checkpoint in changes.checkpoints {
            self.checkpoints.insert(checkpoint.container.clone(), checkpoint);
        }
        if let Some(pruned) = &changes.pruned {
            self.prune(pruned);
        }
        for container in changes.containers {
            self.containers.insert(container.id.clone(), container);
        }
        for id in changes.intervals_removed {
            self.intervals.remove(&id);
        }
        let mut names = BTreeMap::new();
        for mut interval in changes.intervals {
            if interval.id.0 < 0 {
                self.last_interval += 1;
                let new = std::mem::replace(&mut interval.id, IntervalId(self.last_interval));
                names.insert(new, interval.id);
            }
            self.intervals.insert(interval.id, interval);
        }
        for key in changes.groups_removed {
            self.groups.remove(&key);
        }
        for group in changes.groups {
            self.groups.insert(group.key.clone(), group);
        }
        for (receiver, due_at) in changes.hurried {
            let waiting = self.deliveries.values_mut().filter(|delivery| {
                let is_free = delivery.status == Status::Pending && delivery.lease.is_none();
                is_free && delivery.to == receiver
            });
            for delivery in waiting {
                delivery.next_attempt = Timer { set_at: due_at, due_at };
            }
        }
        for delivery in changes.deliveries {
            let delivery = delivery.naming(&names).into_owned();
            self.deliveries.insert(delivery.id.clone(), delivery);
        }
        for id in changes.deliveries_removed {
            self.deliveries.remove(&id);
        }
        for health in changes.receivers {
            self.receivers.insert(health.receiver.clone(), health);
        }
    }

    /// What `decide` has to look at because of the time alone.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Keys {
        let mut keys = Keys::default();
        for interval in self.intervals.values() {
            if interval.due.is_some_and(|due| due <= now) {
                match interval.role {
                    Role::Whole => keys.intervals.insert(interval.id),
                    Role::Own | Role::Part => keys.containers.insert(interval.container.clone()),
                };
            }
        }
        for group in self.groups.values() {
            if group.timer.is_some_and(|timer| timer.is_due(now)) {
                keys.groups.insert(group.key.clone());
            }
        }
        keys
    }

    /// The deliveries whose next attempt is due.
    #[must_use]
    pub fn to_send(&self, now: Timestamp) -> Vec<DeliveryId> {
        let due = self.pending().filter(|delivery| delivery.next_attempt.is_due(now));
        due.map(|delivery| delivery.id.clone()).collect()
    }

    /// When there is something to do next, if nothing more is heard.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let intervals = self.intervals.values().filter_map(|interval| interval.due);
        let groups = self.groups.values().filter_map(|group| Some(group.timer?.due_at));
        let deliveries = self.pending().map(|delivery| delivery.next_attempt.due_at);
        intervals.chain(groups).chain(deliveries).min()
    }

    fn pending(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.values().filter(|delivery| delivery.status == Status::Pending)
    }
}
