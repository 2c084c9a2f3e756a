//! A decision in the making: the snapshot as read, with what was changed laid over it.
//!
//! Whatever is asked for and was not read is noted, and the decision is run again with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;

use super::health::Health;
use super::silence::Silence;
use super::types::*;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::rules::Labels;

/// A row that was not read is needed; which one is noted in the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing;

/// Does all of the work, so that all that is missing is noted, and fails if anything was.
pub(super) fn each<T>(
    items: impl IntoIterator<Item = T>,
    mut work: impl FnMut(T) -> Result<(), Missing>,
) -> Result<(), Missing> {
    let mut outcome = Ok(());
    for item in items {
        outcome = work(item).and(outcome);
    }
    outcome
}

/// An interval that fires now, or does not any more.
pub(super) struct Fired {
    pub(super) alert: AlertKey,
    pub(super) labels: Labels,
    pub(super) fires: bool,
}

pub(super) struct Draft<'a> {
    /// The time of the decision.
    pub(super) now: Timestamp,
    snapshot: &'a Snapshot,
    need: Keys,
    of_container: HashMap<&'a str, Vec<IntervalId>>,
    new_intervals: HashMap<Arc<str>, Vec<IntervalId>>,
    /// The last id given to a new interval.
    last_interval: i64,
    events: Vec<Heard>,
    failed: Vec<(Heard, String)>,
    containers: BTreeMap<Arc<str>, Container>,
    intervals: BTreeMap<IntervalId, Option<Arc<Interval>>>,
    groups: BTreeMap<GroupKey, Option<Group>>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    receivers: BTreeMap<Arc<str>, Health>,
    attempts: Vec<Attempt>,
    checkpoints: BTreeMap<Arc<str>, Checkpoint>,
    pruned: Option<Pruned>,
    deliveries_removed: Vec<DeliveryId>,
    hurried: BTreeMap<Arc<str>, Timestamp>,
    touched: BTreeSet<GroupKey>,
    fired: BTreeMap<IntervalId, Fired>,
    parts_changed: BTreeMap<AlertKey, PartsChanged>,
}

/// What changed of an alert's parts.
#[derive(Clone, Debug)]
pub(super) enum PartsChanged {
    /// These are new, or were heard of again, from this instant on, and nothing else changed.
    Added(Vec<Interval>, Timestamp),
    /// Anything from this instant on.
    From(Timestamp),
}

impl PartsChanged {
    /// The first instant at which anything may have changed.
    pub(super) fn from(&self) -> Timestamp {
        match self {
            PartsChanged::Added(_, from) | PartsChanged::From(from) => *from,
        }
    }
}

/// What is read of an alert of several containers, or occurrences.
pub(super) struct Shared {
    /// The first instant at which anything may have changed, or an interval began that has.
    pub(super) from: Timestamp,
    /// The alert's intervals, by start.
    pub(super) wholes: Vec<Interval>,
    /// Its parts, by start.
    pub(super) parts: Vec<Interval>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, now: Timestamp) -> Draft<'a> {
        let mut of_container: HashMap<&str, Vec<IntervalId>> = HashMap::default();
        let of_containers =
            snapshot.intervals.values().filter(|interval| interval.role != Role::Whole);
        for interval in of_containers {
            of_container.entry(&interval.container).or_default().push(interval.id);
        }
        Draft {
            now,
            snapshot,
            need: Keys::default(),
            of_container,
            new_intervals: HashMap::default(),
            last_interval: 0,
            events: Vec::new(),
            failed: Vec::new(),
            containers: BTreeMap::new(),
            intervals: BTreeMap::new(),
            groups: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            receivers: BTreeMap::new(),
            attempts: Vec::new(),
            checkpoints: BTreeMap::new(),
            pruned: None,
            deliveries_removed: Vec::new(),
            hurried: BTreeMap::new(),
            touched: BTreeSet::new(),
            fired: BTreeMap::new(),
            parts_changed: BTreeMap::new(),
        }
    }

    /// Whether this event is stored already, or was added in this draft.
    pub(super) fn is_known(&mut self, heard: &Heard) -> Result<bool, Missing> {
        let key = (heard.event.container.clone(), heard.reference());
        if !self.snapshot.asked.known.contains(&key) {
            self.need.known.insert(key);
            return Err(Missing);
        }
        let added = || {
            let failed = self.failed.iter().map(|(heard, _)| heard);
            self.events.iter().chain(failed).any(|other| {
                other.event.identity == heard.event.identity
                    && other.event.container == heard.event.container
            })
        };
        Ok(self.snapshot.known.contains(&key) || added())
    }

    pub(super) fn add_event(&mut self, heard: Heard) {
        self.events.push(heard);
    }

    pub(super) fn add_failed(&mut self, heard: Heard, reason: &str) {
        self.failed.push((heard, reason.to_owned()));
    }

    pub(super) fn container(&mut self, id: &Arc<str>) -> Result<Option<Container>, Missing> {
        if let Some(container) = self.containers.get(id) {
            return Ok(Some(container.clone()));
        }
        if !self.snapshot.asked.containers.contains(id) {
            self.need.containers.insert(id.clone());
            return Err(Missing);
        }
        Ok(self.snapshot.containers.get(id).cloned())
    }

    pub(super) fn put_container(&mut self, container: Container) {
        self.containers.insert(container.id.clone(), container);
    }

    /// The whole timeline of a container as far as it was not pruned, unsorted, with what this draft
    /// added.
    pub(super) fn timeline(&mut self, container: &Arc<str>) -> Result<Vec<Heard>, Missing> {
        if !self.want_timeline(container) {
            return Err(Missing);
        }
        let mut timeline = self.snapshot.timelines.get(container).cloned().unwrap_or_default();
        if let Some(checkpoint) = self.checkpoint(container)? {
            timeline.retain(|heard| heard.at > checkpoint.at);
        }
        timeline.extend(self.events_of(container).cloned());
        Ok(timeline)
    }

    /// Has the timeline of a container read with whatever else is missing; whether it was read.
    pub(super) fn want_timeline(&mut self, container: &Arc<str>) -> bool {
        let is_read = self.snapshot.asked.timelines.contains(container);
        if !is_read {
            self.need.timelines.insert(container.clone());
        }
        is_read
    }

    /// What is left of what was pruned of a container, if anything was.
    pub(super) fn checkpoint(
        &mut self,
        container: &Arc<str>,
    ) -> Result<Option<Checkpoint>, Missing> {
        if let Some(checkpoint) = self.checkpoints.get(container) {
            return Ok(Some(checkpoint.clone()));
        }
        let asked = &self.snapshot.asked;
        if !asked.checkpoints.contains(container) && !asked.timelines.contains(container) {
            self.need.checkpoints.insert(container.clone());
            return Err(Missing);
        }
        Ok(self.snapshot.checkpoints.get(container).cloned())
    }

    pub(super) fn put_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.checkpoints.insert(checkpoint.container.clone(), checkpoint);
    }

    /// The events that were received first.
    pub(super) fn oldest(&mut self, oldest: Oldest) -> Result<&'a Swath, Missing> {
        match &self.snapshot.oldest {
            Some(swath) if self.snapshot.asked.oldest == Some(oldest) => Ok(swath),
            _ => {
                self.need.oldest = Some(oldest);
                Err(Missing)
            }
        }
    }

    pub(super) fn put_pruned(&mut self, pruned: Pruned) {
        self.pruned = Some(pruned);
    }

    /// The intervals that ended first, in order.
    pub(super) fn ended(&mut self, ended: Ended) -> Result<Vec<Interval>, Missing> {
        if self.snapshot.asked.ended != Some(ended) {
            self.need.ended = Some(ended);
            return Err(Missing);
        }
        let ids = self.snapshot.ended.iter();
        let ended = ids.filter_map(|id| self.snapshot.intervals.get(id));
        Ok(ended.map(|interval| (**interval).clone()).collect())
    }

    /// The parts and wholes of an alert that ended before this instant, the first to end first and
    /// wholes after their parts, as far as they are looked at at once; and wholes that are not among
    /// them, with the first of these to begin.
    pub(super) fn ended_of(
        &mut self,
        alert: &AlertKey,
        before: Timestamp,
    ) -> Result<(Vec<Interval>, Vec<Interval>), Missing> {
        if self.snapshot.asked.ended_of.get(alert) != Some(&before) {
            self.need.ended_of.insert(alert.clone(), before);
            return Err(Missing);
        }
        let all = self.copied(|interval| interval.role != Role::Own && interval.alert == *alert);
        let end = |interval: &Interval| interval.end.as_ref().map(|end| end.at);
        let (mut ended, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|interval| end(interval).is_some_and(|end| end < before));
        ended.sort_by_key(|one| (end(one), one.role == Role::Whole, one.id));
        others.extend(ended.split_off(ENDED_AT_ONCE.min(ended.len())));
        others.retain(|interval| interval.role == Role::Whole);
        Ok((ended, others))
    }

    /// The deliveries that ended first, in order.
    pub(super) fn done(&mut self, done: Done) -> Result<Vec<Delivery>, Missing> {
        if self.snapshot.asked.done != Some(done) {
            self.need.done = Some(done);
            return Err(Missing);
        }
        let ids = self.snapshot.done.iter();
        Ok(ids.filter_map(|id| self.snapshot.deliveries.get(id)).cloned().collect())
    }

    /// Has all that waits for a receiver tried now.
    pub(super) fn hurry(&mut self, receiver: &Arc<str>) {
        self.hurried.insert(receiver.clone(), self.now);
    }

    pub(super) fn remove_delivery(&mut self, id: DeliveryId) {
        self.deliveries_removed.push(id);
    }

    /// Whether a group has dead letters.
    pub(super) fn has_letters(&mut self, group: &GroupKey) -> Result<bool, Missing> {
        if !self.snapshot.asked.letters.contains(group) {
            self.need.letters.insert(group.clone());
            return Err(Missing);
        }
        Ok(self.snapshot.letters.contains(group))
    }

    /// The last events of a container that were received, the last first.
    pub(super) fn recent(&mut self, container: &Arc<str>) -> Result<Vec<Heard>, Missing> {
        if !self.snapshot.asked.recent.contains(container) {
            self.need.recent.insert(container.clone());
            return Err(Missing);
        }
        let mut recent: Vec<Heard> = self.events_of(container).cloned().collect();
        recent.reverse();
        recent.extend(self.snapshot.recent.get(container).into_iter().flatten().cloned());
        recent.truncate(RECENT);
        Ok(recent)
    }

    /// The events of this container that take their place by this decision, in the order of arrival.
    fn events_of<'b>(
        &'b self,
        container: &'b str,
    ) -> impl Iterator<Item = &'b Heard> + use<'a, 'b> {
        self.events.iter().filter(move |heard| *heard.event.container == *container)
    }

    /// Those of a container's intervals that were read or made, by start. Open ones are always
    /// among them once the container was read, and all once its timeline was.
    pub(super) fn intervals_of(&self, container: &str) -> Vec<Interval> {
        let read = self.of_container.get(container).into_iter().flatten();
        let made = self.new_intervals.get(container).into_iter().flatten();
        let all = read.chain(made).filter_map(|id| self.current(*id));
        let mut intervals: Vec<Interval> = all.map(|interval| (**interval).clone()).collect();
        intervals.sort_by_key(|interval| (interval.start, interval.id));
        intervals
    }

    fn current(&self, id: IntervalId) -> Option<&Arc<Interval>> {
        match self.intervals.get(&id) {
            Some(changed) => changed.as_ref(),
            None => self.snapshot.intervals.get(&id),
        }
    }

    /// The interval with this id, if it still exists.
    pub(super) fn interval(&mut self, id: IntervalId) -> Result<Option<Arc<Interval>>, Missing> {
        if let Some(interval) = self.current(id) {
            return Ok(Some(interval.clone()));
        }
        if !self.intervals.contains_key(&id) && !self.snapshot.asked.intervals.contains(&id) {
            self.need.intervals.insert(id);
            return Err(Missing);
        }
        Ok(None)
    }

    /// A number for an interval that the store does not have yet.
    pub(super) fn new_interval_id(&mut self, interval: &Interval) -> IntervalId {
        self.last_interval -= 1;
        let id = IntervalId(self.last_interval);
        if interval.role != Role::Whole {
            self.new_intervals.entry(interval.container.clone()).or_default().push(id);
        }
        id
    }

    pub(super) fn put_interval(&mut self, interval: Interval) {
        self.intervals.insert(interval.id, Some(interval.into()));
    }

    pub(super) fn remove_interval(&mut self, id: IntervalId) {
        self.intervals.insert(id, None);
    }

    pub(super) fn group(&mut self, key: &GroupKey) -> Result<Option<Group>, Missing> {
        if let Some(group) = self.groups.get(key) {
            return Ok(group.clone());
        }
        if !self.snapshot.asked.groups.contains(key) {
            self.need.groups.insert(key.clone());
            return Err(Missing);
        }
        Ok(self.snapshot.groups.get(key).cloned())
    }

    /// Has the news of a group read with whatever else is missing.
    pub(super) fn want_news_of(&mut self, key: &GroupKey) {
        if !self.snapshot.asked.news.contains(key) {
            self.need.news.insert(key.clone());
        }
    }

    pub(super) fn put_group(&mut self, group: Group) {
        self.groups.insert(group.key.clone(), Some(group));
    }

    pub(super) fn remove_group(&mut self, key: &GroupKey) {
        self.groups.insert(key.clone(), None);
    }

    /// Notes that a group has to be looked at before the decision is done.
    pub(super) fn touch(&mut self, key: &GroupKey) {
        if !self.touched.contains(key) {
            self.touched.insert(key.clone());
        }
    }

    /// The groups noted by [`Draft::touch`] since the last call.
    pub(super) fn take_touched(&mut self) -> BTreeSet<GroupKey> {
        std::mem::take(&mut self.touched)
    }

    /// Notes that an interval fires now, or does not any more.
    pub(super) fn note_fired(&mut self, interval: &Interval, fires: bool) {
        let (alert, labels) = (interval.alert.clone(), interval.labels.clone());
        self.fired.insert(interval.id, Fired { alert, labels, fires });
    }

    /// What was noted by [`Draft::note_fired`] since the last call.
    pub(super) fn take_fired(&mut self) -> impl Iterator<Item = Fired> + use<> {
        std::mem::take(&mut self.fired).into_values()
    }

    /// The firing intervals of these rules for which this holds.
    pub(super) fn sources<'r>(
        &mut self,
        rules: impl Iterator<Item = &'r Arc<str>>,
        wanted: impl Fn(&Interval) -> bool,
    ) -> Result<Vec<Arc<Interval>>, Missing> {
        let rules: Vec<&Arc<str>> = rules.collect();
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        if rules.iter().any(|rule| !self.snapshot.asked.sources.contains(*rule)) {
            self.need.sources.extend(rules.into_iter().cloned());
            return Err(Missing);
        }
        let fires = |interval: &Interval| interval.ledger.iter().any(|entry| entry.firing);
        Ok(self.with(|interval| {
            rules.contains(&&interval.alert.rule) && fires(interval) && wanted(interval)
        }))
    }

    /// The intervals of this rule with an entry that has news, and for which this holds.
    pub(super) fn untold_of(
        &mut self,
        rule: &Arc<str>,
        wanted: impl Fn(&Interval, &Entry) -> bool,
    ) -> Result<Vec<Arc<Interval>>, Missing> {
        if !self.snapshot.asked.untold.contains(rule) {
            self.need.untold.insert(rule.clone());
            return Err(Missing);
        }
        Ok(self.with(|interval| {
            let mut news = interval.ledger.iter().filter(|entry| entry.news.is_some());
            interval.alert.rule == *rule && news.any(|entry| wanted(interval, entry))
        }))
    }

    /// Every silence.
    pub(super) fn silences(&mut self) -> Result<&'a [Silence], Missing> {
        if !self.snapshot.asked.silences {
            self.need.silences = true;
            return Err(Missing);
        }
        Ok(&self.snapshot.silences)
    }

    /// The intervals of which this group has news, be it held back.
    pub(super) fn news_of(&mut self, key: &GroupKey) -> Result<Vec<Arc<Interval>>, Missing> {
        if !self.snapshot.asked.news.contains(key) {
            self.need.news.insert(key.clone());
            return Err(Missing);
        }
        Ok(self.with_entry(key, |entry| entry.news.is_some()))
    }

    /// Those of them that are held back.
    pub(super) fn held_of(&mut self, key: &GroupKey) -> Result<Vec<Arc<Interval>>, Missing> {
        let asked = &self.snapshot.asked;
        if !asked.held.contains(key) && !asked.news.contains(key) {
            self.need.held.insert(key.clone());
            return Err(Missing);
        }
        Ok(self.with_entry(key, |entry| entry.news.is_some() && entry.held.is_some()))
    }

    /// The open intervals of this group.
    pub(super) fn firing_of(&mut self, key: &GroupKey) -> Result<Vec<Arc<Interval>>, Missing> {
        if !self.snapshot.asked.firing.contains(key) {
            self.need.firing.insert(key.clone());
            return Err(Missing);
        }
        Ok(self.with_entry(key, |entry| entry.firing))
    }

    fn with_entry(&self, key: &GroupKey, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Interval>> {
        self.with(|interval| {
            interval.ledger.iter().any(|entry| entry.group == *key && wanted(entry))
        })
    }

    /// Those of the intervals that were read or made for which this holds, by start.
    fn with(&self, wanted: impl Fn(&Interval) -> bool) -> Vec<Arc<Interval>> {
        let ids = self.snapshot.intervals.keys().filter(|id| !self.intervals.contains_key(id));
        let mut found: Vec<Arc<Interval>> = ids
            .chain(self.intervals.keys())
            .filter_map(|id| self.current(*id))
            .filter(|interval| wanted(interval))
            .cloned()
            .collect();
        found.sort_by_key(|interval| (interval.start, interval.id));
        found
    }

    /// The same, to be changed.
    fn copied(&self, wanted: impl Fn(&Interval) -> bool) -> Vec<Interval> {
        self.with(wanted).into_iter().map(Arc::unwrap_or_clone).collect()
    }

    /// Notes that parts of an alert have changed from this instant on.
    pub(super) fn note_parts(&mut self, alert: &AlertKey, from: Timestamp) {
        let before = self.parts_changed.get(alert).map_or(from, PartsChanged::from);
        self.parts_changed.insert(alert.clone(), PartsChanged::From(from.min(before)));
    }

    /// Notes that an alert has one part more, or one that was heard of again, from this instant on.
    pub(super) fn note_new_part(&mut self, part: &Interval, from: Timestamp) {
        let none = || PartsChanged::Added(Vec::new(), from);
        match self.parts_changed.entry(part.alert.clone()).or_insert_with(none) {
            PartsChanged::Added(parts, before) => {
                parts.push(part.clone());
                *before = from.min(*before);
            }
            PartsChanged::From(before) => *before = from.min(*before),
        }
    }

    /// The alerts noted by [`Draft::note_parts`] since the last call.
    pub(super) fn take_parts_changed(&mut self) -> BTreeMap<AlertKey, PartsChanged> {
        std::mem::take(&mut self.parts_changed)
    }

    /// The whole of an alert that has not ended, if there is one and no more.
    pub(super) fn open_whole(&mut self, alert: &AlertKey) -> Result<Option<Interval>, Missing> {
        if !self.snapshot.asked.wholes.contains(alert) {
            self.need.wholes.insert(alert.clone());
            return Err(Missing);
        }
        let mut open = self.copied(|interval| {
            interval.role == Role::Whole && interval.end.is_none() && interval.alert == *alert
        });
        Ok(open.pop().filter(|_| open.is_empty()))
    }

    /// What of this interval's alert is open.
    pub(super) fn open_of(&mut self, interval: &Interval) -> Result<Vec<Arc<Interval>>, Missing> {
        match interval.role {
            Role::Own | Role::Part => {
                self.container(&interval.container)?;
                let all = self.intervals_of(&interval.container).into_iter();
                let open = all.filter(|one| one.end.is_none() && one.alert == interval.alert);
                Ok(open.map(Arc::new).collect())
            }
            Role::Whole => {
                Ok(self.open_whole(&interval.alert)?.map(Arc::new).into_iter().collect())
            }
        }
    }

    /// The wholes of an alert that had not ended before `from`, and the parts that had not ended
    /// `lead` before these began.
    pub(super) fn shared(
        &mut self,
        alert: &AlertKey,
        from: Timestamp,
        lead: Duration,
    ) -> Result<Shared, Missing> {
        let not_before = |from: Timestamp| {
            move |interval: &Interval| interval.end.as_ref().is_none_or(|end| from <= end.at)
        };
        let of_alert =
            self.copied(|interval| interval.role != Role::Own && interval.alert == *alert);
        let (wholes, parts): (Vec<_>, Vec<_>) =
            of_alert.into_iter().partition(|interval| interval.role == Role::Whole);
        let wholes: Vec<_> = wholes.into_iter().filter(not_before(from)).collect();
        let from = wholes.first().map_or(from, |first| first.start.min(from));
        let led = from.minus(lead);
        if self.snapshot.asked.shared.get(alert).is_none_or(|asked| led < *asked) {
            self.need.extend(Keys { shared: [(alert.clone(), led)].into(), ..Keys::default() });
            return Err(Missing);
        }
        let parts = parts.into_iter().filter(not_before(led)).collect();
        Ok(Shared { from, wholes, parts })
    }

    /// An event of a container, if it is (still) stored.
    pub(super) fn event(
        &mut self,
        container: &Arc<str>,
        reference: EventRef,
    ) -> Result<Option<Arc<Event>>, Missing> {
        let mut new = self.events_of(container);
        if let Some(heard) = new.find(|heard| heard.reference() == reference) {
            return Ok(Some(heard.event.clone()));
        }
        drop(new);
        let key = (container.clone(), reference);
        if !self.snapshot.asked.events.contains(&key) {
            self.need.events.insert(key);
            return Err(Missing);
        }
        Ok(self.snapshot.events.get(&key).cloned())
    }

    pub(super) fn delivery(&mut self, id: &DeliveryId) -> Result<Option<Delivery>, Missing> {
        if let Some(delivery) = self.deliveries.get(id) {
            return Ok(Some(delivery.clone()));
        }
        if !self.snapshot.asked.deliveries.contains(id) {
            self.need.deliveries.insert(id.clone());
            return Err(Missing);
        }
        Ok(self.snapshot.deliveries.get(id).cloned())
    }

    /// The deliveries that wait to be told by this digest.
    pub(super) fn of_digest(&mut self, digest: &DeliveryId) -> Result<Vec<Delivery>, Missing> {
        if !self.snapshot.asked.digests.contains(digest) {
            self.need.digests.insert(digest.clone());
            return Err(Missing);
        }
        let read = self.snapshot.deliveries.values();
        let unchanged = read.filter(|delivery| !self.deliveries.contains_key(&delivery.id));
        let of_digest = unchanged.chain(self.deliveries.values()).filter(|delivery| {
            delivery.status == Status::Pending && delivery.digest.as_ref() == Some(digest)
        });
        Ok(of_digest.cloned().collect())
    }

    /// What was made for this receiver and is to be sent now.
    pub(super) fn made_for(&self, receiver: &str) -> Vec<DeliveryId> {
        let made = self.deliveries.values().filter(|delivery| {
            let is_new = !self.snapshot.deliveries.contains_key(&delivery.id);
            is_new && *delivery.to == *receiver && delivery.status == Status::Pending
        });
        let due = made.filter(|delivery| delivery.next_attempt.is_due(self.now));
        due.map(|delivery| delivery.id.clone()).collect()
    }

    pub(super) fn put_delivery(&mut self, delivery: Delivery) {
        self.deliveries.insert(delivery.id.clone(), delivery);
    }

    /// How a receiver is.
    pub(super) fn health(&mut self, receiver: &Arc<str>) -> Result<Health, Missing> {
        if let Some(health) = self.receivers.get(receiver) {
            return Ok(health.clone());
        }
        if !self.snapshot.asked.receivers.contains(receiver) {
            self.need.receivers.insert(receiver.clone());
            return Err(Missing);
        }
        let known = self.snapshot.receivers.get(receiver).cloned();
        Ok(known.unwrap_or_else(|| Health::well(receiver.clone())))
    }

    pub(super) fn put_health(&mut self, health: Health) {
        self.receivers.insert(health.receiver.clone(), health);
    }

    pub(super) fn put_attempt(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// What the store read for this key and the decision is to look at: every container and group
    /// that was asked for and exists.
    pub(super) fn asked(&self) -> &'a Keys {
        &self.snapshot.asked
    }

    /// The groups that the decision is to look at.
    pub(super) fn due_groups(&self) -> &'a BTreeSet<GroupKey> {
        &self.snapshot.due_groups
    }

    /// The decision, or what it still has to see.
    pub(super) fn finish<T>(self, result: T) -> Decision<T> {
        if !self.need.is_empty() {
            return Decision::Need(self.need);
        }
        let mut changes = Changes {
            events: self.events,
            failed: self.failed,
            containers: self.containers.into_values().collect(),
            deliveries: self.deliveries.into_values().collect(),
            receivers: self.receivers.into_values().collect(),
            attempts: self.attempts,
            checkpoints: self.checkpoints.into_values().collect(),
            pruned: self.pruned,
            deliveries_removed: self.deliveries_removed,
            hurried: self.hurried,
            ..Changes::default()
        };
        // In the order in which they were made: the store numbers them anew.
        for (id, interval) in self.intervals {
            match interval {
                Some(interval) => changes.intervals.push(Arc::unwrap_or_clone(interval)),
                // One that never was stored leaves nothing to remove.
                None if id.0 < 0 => {}
                None => changes.intervals_removed.push(id),
            }
        }
        for (key, group) in self.groups {
            match group {
                Some(group) => changes.groups.push(group),
                None if self.snapshot.groups.contains_key(&key) => changes.groups_removed.push(key),
                None => {}
            }
        }
        Decision::Done(changes, result)
    }
}
