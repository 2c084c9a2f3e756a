//! An event takes its place: the intervals that follow from it, carried into the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::{Draft, Missing, each};
use super::types::*;
use super::{ledger, shared, timeline};
use crate::clock::Timestamp;
use crate::rules::{On, Rule, Rules};

/// Adds an event to the end of its container's timeline, or, where it is not the last, derives the
/// timeline again with it. One from before the part that is kept is kept apart: whether it is not.
pub(super) fn place(draft: &mut Draft<'_>, rules: &Rules, heard: &Heard) -> Result<bool, Missing> {
    let id = &heard.event.container;
    let container = draft.container(id)?;
    let is_last = container.as_ref().is_none_or(|container| is_last(container, heard));
    // A checkpoint is at the last event at the latest, and most events come after that.
    if container.as_ref().is_some_and(|container| heard.at <= container.derived_to) {
        if !is_last {
            draft.want_timeline(id);
        }
        if draft.checkpoint(id)?.is_some_and(|checkpoint| heard.at <= checkpoint.at) {
            draft.add_failed(heard.clone(), TOO_OLD);
            return Ok(false);
        }
    }
    draft.add_event(heard.clone());
    if is_last {
        append(draft, rules, container, heard)?;
    } else {
        rederive(draft, rules, id)?;
    }
    Ok(true)
}

/// Whether this event comes after all that its container's intervals are derived from. One that is
/// tied with the last event is not sure to.
fn is_last(container: &Container, heard: &Heard) -> bool {
    let tied_and_started_since = heard.at == container.derived_to
        && heard.at == container.last_at
        && heard.event.starts > container.starts;
    heard.at > container.derived_to || tied_and_started_since
}

fn append(
    draft: &mut Draft<'_>,
    rules: &Rules,
    container: Option<Container>,
    heard: &Heard,
) -> Result<(), Missing> {
    let event = &heard.event;
    let after_gap = container
        .as_ref()
        .is_some_and(|container| timeline::is_gap(&container.state, container.starts, event));
    let before: Vec<Interval> = match &container {
        Some(container) if container.open > 0 => draft
            .intervals_of(&container.id)
            .into_iter()
            .filter(|interval| interval.end.is_none())
            .collect(),
        _ => Vec::new(),
    };
    let mut after: Vec<Interval> = Vec::new();
    let mut open_now = 0;
    let mut rest = before.clone();
    for rule in timeline::concerned(rules, event, after_gap) {
        let mut open: Vec<Interval> =
            rest.extract_if(.., |interval| interval.alert.rule == rule.name).collect();
        timeline::step(rule, heard, true, &mut open, &mut after);
        open_now += open.len();
        after.append(&mut open);
    }
    for interval in rest {
        let mut open = vec![interval];
        if let Some(rule) = rules.get(&open[0].alert.rule) {
            timeline::step(rule, heard, false, &mut open, &mut after);
        }
        open_now += open.len();
        after.append(&mut open);
    }
    // A run that ended before it counted, and a silence that had not begun, are put right where people
    // were told of them.
    let (gone, stay): (Vec<Interval>, Vec<Interval>) =
        before.into_iter().partition(|interval| after.iter().all(|other| other.id != interval.id));
    let mut moved = stay.iter().filter(|interval| {
        after.iter().any(|other| other.id == interval.id && other.start != interval.start)
    });
    let mut too_short = after.iter().filter(|interval| interval.is_too_short());
    let was_told = |interval: &Interval| interval.ledger.iter().any(Entry::was_told);
    if gone.iter().any(was_told) || moved.any(was_told) || too_short.any(was_told) {
        return rederive(draft, rules, &event.container);
    }
    draft.put_container(Container {
        id: event.container.clone(),
        application: event.application.clone(),
        service: event.service.clone(),
        since: match &container {
            Some(container) if container.state == event.state => container.since,
            _ => heard.at,
        },
        state: event.state.clone(),
        starts: event.starts,
        gaps: container.map_or(0, |container| container.gaps).saturating_add(u32::from(after_gap)),
        last_at: heard.at,
        derived_to: heard.at,
        open: u32::try_from(open_now).unwrap_or(u32::MAX),
    });
    let removed = remove(draft, rules, gone);
    put_changed(draft, rules, &stay, after).and(removed)
}

/// Puts those of a container's intervals that are not as they were before.
fn put_changed(
    draft: &mut Draft<'_>,
    rules: &Rules,
    before: &[Interval],
    after: Vec<Interval>,
) -> Result<(), Missing> {
    let changed = after.into_iter().filter(|interval| !before.contains(interval));
    each(changed, |mut interval| {
        if interval.id == timeline::UNNAMED {
            interval.id = draft.new_interval_id(&interval);
            shared::note_new(draft, &interval);
        } else {
            let was = before.iter().find(|other| other.id == interval.id);
            shared::note(draft, rules, &interval, was);
        }
        ledger::refresh(draft, rules, interval)
    })
}

/// Removes intervals of which nothing is left.
fn remove(draft: &mut Draft<'_>, rules: &Rules, gone: Vec<Interval>) -> Result<(), Missing> {
    each(gone, |interval| {
        shared::note(draft, rules, &interval, None);
        ledger::remove(draft, interval)
    })
}

/// Derives a container's intervals from its whole timeline, and carries over what was told.
fn rederive(draft: &mut Draft<'_>, rules: &Rules, id: &Arc<str>) -> Result<(), Missing> {
    let base = draft.checkpoint(id)?;
    let mut timeline = draft.timeline(id)?;
    timeline::sort_after(base.as_ref(), &mut timeline);
    let now = draft.now;
    let carried = carried(draft, rules, base.as_ref(), &timeline, id);
    let mut before = Vec::new();
    for interval in draft.intervals_of(id) {
        let Some(rule) = rules.get(&interval.alert.rule) else { continue };
        // What it follows from is not there any more, and it stays as it is.
        if base.as_ref().is_some_and(|base| base.settles(&interval)) {
            continue;
        }
        let began_before_the_rule = interval.heard_at < rule.since;
        let ended_before_the_rule =
            interval.end.as_ref().is_some_and(|end| end.heard_at < rule.since);
        // A gap may have been filled since.
        let is_over = rule.on != On::Gap
            || timeline::is_missing_before(base.as_ref(), &timeline, interval.last);
        if began_before_the_rule && ended_before_the_rule && is_over {
            continue;
        }
        before.push(interval);
    }
    let derived = timeline::derive(rules, base.as_ref(), &timeline, carried, now);
    let (after, gone) = reconcile(before.clone(), derived, now);

    let open = after.iter().filter(|interval| interval.end.is_none()).count();
    let of_rules_gone = draft
        .intervals_of(id)
        .iter()
        .filter(|interval| interval.end.is_none() && rules.get(&interval.alert.rule).is_none())
        .count();
    // What ended by itself is derived up to there: an event before that place comes in between.
    let derived_to = after
        .iter()
        .filter_map(|interval| interval.end.as_ref())
        .filter(|end| end.cause == Cause::Expired)
        .map(|end| end.at)
        .max()
        .unwrap_or_default();
    let open = u32::try_from(open + of_rules_gone).unwrap_or(u32::MAX);
    if let Some(container) = timeline::container_of(base.as_ref(), &timeline, derived_to, open) {
        draft.put_container(container);
    }
    let removed = remove(draft, rules, gone);
    put_changed(draft, rules, &before, after).and(removed)
}

/// What the intervals of a container go on from: what was open at its checkpoint, and what fired
/// when its rule changed.
pub(super) fn carried(
    draft: &Draft<'_>,
    rules: &Rules,
    base: Option<&Checkpoint>,
    timeline: &[Heard],
    id: &Arc<str>,
) -> Vec<Interval> {
    let mut carried = base.map(|base| base.open(rules)).unwrap_or_default();
    let at_checkpoint = carried.len();
    for interval in draft.intervals_of(id) {
        let Some(rule) = rules.get(&interval.alert.rule) else { continue };
        let is_there = base.is_some_and(|base| base.settles(&interval))
            || carried[..at_checkpoint].iter().any(|open| open.alert == interval.alert);
        let began_before_the_rule = interval.heard_at < rule.since;
        let ended_before_the_rule =
            interval.end.as_ref().is_some_and(|end| end.heard_at < rule.since);
        if began_before_the_rule
            && !ended_before_the_rule
            && !is_there
            && interval.start <= rule.since
            && !interval.is_too_short()
        {
            carried.push(carry(&interval, rule, base, timeline));
        }
    }
    carried
}

/// An interval as it was when its rule changed: open, and without what was heard since.
fn carry(
    interval: &Interval,
    rule: &Rule,
    base: Option<&Checkpoint>,
    timeline: &[Heard],
) -> Interval {
    let within = |heard: &&Heard| (interval.start..=interval.last_at).contains(&heard.at);
    let (since, before): (Vec<&Heard>, Vec<&Heard>) =
        timeline.iter().filter(within).partition(|heard| heard.received_at >= rule.since);
    let occurred_since =
        since.iter().filter(|heard| rule.when.matches(&heard.event)).count() as u64;
    // What the rule matched before it changed is not known any more. The last that was heard then
    // is as good: it only says from when the interval expires.
    let members = base.map_or(&[][..], |base| &base.members);
    let pruned = members
        .iter()
        .find(|member| member.alert == interval.alert && interval.start <= member.last_at);
    let last = match (before.last(), pruned) {
        (Some(heard), _) => (heard.at, heard.reference()),
        (None, Some(member)) => (member.last_at, member.last),
        (None, None) => (interval.start, interval.last),
    };
    let (last_at, last) = if occurred_since > 0 { last } else { (interval.last_at, interval.last) };
    Interval {
        last_at,
        last,
        occurrences: interval
            .occurrences
            .saturating_sub(occurred_since)
            .max(interval.occurrences.min(1)),
        end: None,
        ..interval.clone()
    }
}

/// Gives the derived intervals the names and ledgers of those they continue. Answers them, and
/// those of which nothing is left.
///
/// What was told of an alert is told of the stretches that it speaks of now: those that it overlaps.
/// Said to be firing, it speaks of the last of these, and the others are parts of what was said. What
/// was believed to fire and overlaps nothing is withdrawn.
pub(super) fn reconcile(
    before: Vec<Interval>,
    mut derived: Vec<Interval>,
    now: Timestamp,
) -> (Vec<Interval>, Vec<Interval>) {
    for interval in &mut derived {
        interval.id = timeline::UNNAMED;
        interval.ledger.clear();
    }
    let mut unnamed: Vec<IntervalId> = Vec::new();
    for old in &before {
        if !name(old, &mut derived) {
            unnamed.push(old.id);
        }
    }
    let mut orphans: BTreeMap<IntervalId, Vec<Entry>> = BTreeMap::new();
    for ((alert, _), said) in said(&before) {
        for Said { slot, told, of, entry } in said {
            if hand_over(&mut derived, alert, entry, slot, &told) || slot == Slot::GivenUp {
                continue;
            }
            let orphaned = orphans.entry(of).or_default();
            let group = &entry.group;
            let known = orphaned.iter().position(|other| other.group == *group);
            let known = known.unwrap_or_else(|| {
                orphaned.push(Entry::new(group.clone()));
                orphaned.len() - 1
            });
            slot.of(&mut orphaned[known]).add(Told { goes_on: false, ..told });
        }
    }
    let mut gone = Vec::new();
    for old in before {
        let is_unnamed = unnamed.contains(&old.id);
        let Some(orphaned) = orphans.remove(&old.id) else {
            match &old.end {
                _ if !is_unnamed => {}
                // A gap that was told is not told again should it open again.
                Some(end)
                    if (old.is_moment() || end.cause == Cause::Filled)
                        && old.ledger.iter().any(Entry::was_told) =>
                {
                    let end = Some(End { cause: Cause::Filled, ..end.clone() });
                    derived.push(Interval { end, ..old });
                }
                _ => gone.push(old),
            }
            continue;
        };
        // It is withdrawn as it was told, wherever it began by now.
        let beliefs = orphaned.iter().flat_map(|entry| [&entry.told, &entry.maybe]);
        let from = beliefs.flat_map(Belief::stretches).map(|told| told.from).min();
        let start = from.unwrap_or(old.start);
        // What it was told of is gone, though it may go on as something else.
        let (id, ledger) = match is_unnamed {
            true => (old.id, bereft(&old, orphaned)),
            false => (timeline::UNNAMED, orphaned),
        };
        let end = End { at: start, heard_at: now, cause: Cause::Withdrawn, event: None };
        derived.push(Interval { id, start, end: Some(end), due: None, ledger, ..old });
    }
    (derived, gone)
}

/// Gives one of the derived intervals the name of the old one that it continues, with the news that
/// its groups count. Whether there is one.
fn name(old: &Interval, derived: &mut [Interval]) -> bool {
    let continues = |interval: &&mut Interval| interval.alert == old.alert;
    // Of each event there is one.
    if old.is_of_one_event() {
        let mut same = derived.iter_mut().filter(continues);
        let Some(interval) =
            same.find(|interval| interval.is_of_one_event() && interval.last == old.last)
        else {
            return false;
        };
        (interval.id, interval.ledger) = (old.id, old.ledger.clone());
        interval.labels = old.labels.clone();
        return true;
    }
    // Of those it could go on as, the one that was told of keeps the name.
    let said = old.ledger.iter().flat_map(|entry| [&entry.told, &entry.maybe]);
    let told = said.flat_map(Belief::stretches).max_by_key(|told| (!told.goes_on, told.from));
    let (from, until) = told.map_or((old.start, end_of(old)), |told| (told.from, told.until));
    let free = derived.iter_mut().filter(continues).filter(|interval| {
        interval.id == timeline::UNNAMED
            && !interval.is_of_one_event()
            && interval.start <= end_of(old)
            && old.start <= end_of(interval)
    });
    let Some(interval) = free.min_by_key(|interval| !overlaps(interval, from, until)) else {
        return false;
    };
    interval.id = old.id;
    interval.labels = old.labels.clone();
    interval.ledger = bereft(old, Vec::new());
    true
}

/// The ledger of an interval with what its groups count of it, and of what was said only this.
fn bereft(old: &Interval, said: Vec<Entry>) -> Vec<Entry> {
    let entries = old.ledger.iter().map(|entry| {
        let said = said.iter().find(|said| said.group == entry.group).cloned();
        Entry {
            news: entry.news,
            firing: entry.firing,
            held: entry.held.clone(),
            ..said.unwrap_or_else(|| Entry::new(entry.group.clone()))
        }
    });
    entries.collect()
}

/// One of the things that an entry keeps of what was said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Told,
    Maybe,
    GivenUp,
}

impl Slot {
    fn of(self, entry: &mut Entry) -> &mut Belief {
        match self {
            Slot::Told => &mut entry.told,
            Slot::Maybe => &mut entry.maybe,
            Slot::GivenUp => &mut entry.given_up,
        }
    }
}

/// A stretch that was spoken of, with the interval and the entry that have it.
struct Said<'a> {
    slot: Slot,
    told: Told,
    of: IntervalId,
    entry: &'a Entry,
}

/// All that was said of these intervals, by alert and receiver: each stretch once.
fn said(before: &[Interval]) -> BTreeMap<(&AlertKey, &str), Vec<Said<'_>>> {
    let mut said: BTreeMap<(&AlertKey, &str), Vec<Said<'_>>> = BTreeMap::new();
    for old in before.iter().filter(|old| !old.is_of_one_event()) {
        for entry in &old.ledger {
            let known = said.entry((&old.alert, &entry.group.receiver)).or_default();
            for (slot, belief) in [
                (Slot::Told, &entry.told),
                (Slot::Maybe, &entry.maybe),
                (Slot::GivenUp, &entry.given_up),
            ] {
                for told in belief.stretches() {
                    let same = |other: &&mut Said<'_>| {
                        other.slot == slot
                            && (other.told.from, other.told.over) == (told.from, told.over)
                            && other.told.by_way_of == told.by_way_of
                            && (!told.over || other.told.until == told.until)
                    };
                    match known.iter_mut().find(same) {
                        None => known.push(Said { slot, told, of: old.id, entry }),
                        Some(other) => {
                            let until = other.told.until.max(told.until);
                            if !told.goes_on {
                                *other = Said { slot, told, of: old.id, entry };
                            }
                            other.told.until = until;
                        }
                    }
                }
            }
        }
    }
    // What goes on nowhere was said to be over since, of the interval that it went on as.
    for said in said.values_mut().flatten().filter(|said| said.told.goes_on) {
        (said.told.over, said.told.goes_on) = (true, false);
    }
    said
}

/// Hands what was told over to the intervals that it speaks of now; whether there were any.
fn hand_over(
    derived: &mut [Interval],
    alert: &AlertKey,
    entry: &Entry,
    slot: Slot,
    told: &Told,
) -> bool {
    let mut spoken_of: Vec<&mut Interval> = derived
        .iter_mut()
        .filter(|interval| {
            !interval.is_of_one_event()
                && interval.alert == *alert
                && overlaps(interval, told.from, told.until)
        })
        .collect();
    let last = spoken_of.len().saturating_sub(1);
    for (index, interval) in spoken_of.iter_mut().enumerate() {
        let receiver = &entry.group.receiver;
        let known = interval.ledger.iter().position(|other| other.group.receiver == *receiver);
        let known = known.unwrap_or_else(|| {
            interval.ledger.push(Entry::new(entry.group.clone()));
            interval.ledger.len() - 1
        });
        let goes_on = !told.over && index < last;
        slot.of(&mut interval.ledger[known]).add(Told { goes_on, ..told.clone() });
    }
    !spoken_of.is_empty()
}

/// Whether the interval has part of this stretch in common: the occurrence that it began with, or
/// some time. An end alone is no part.
fn overlaps(interval: &Interval, from: Timestamp, until: Timestamp) -> bool {
    (interval.start..=interval.last_at.max(interval.start)).contains(&from)
        || (interval.start < from && from < end_of(interval))
        || (from < interval.start && interval.start < until)
}

fn end_of(interval: &Interval) -> Timestamp {
    interval.end.as_ref().map_or(Timestamp::FOR_EVER, |end| end.at)
}

/// Whether this ran when its rule changed, and had not run for long enough by then: it never counts.
pub(super) fn is_of_the_rule_before(rule: &Rule, interval: &Interval) -> bool {
    let may_begin = interval.end.is_none() && interval.role != Role::Whole;
    may_begin && interval.heard_at < rule.since && rule.since < interval.start
}

/// Ends those of a container's intervals that end by themselves by now, or whose rule is gone.
pub(super) fn end_what_is_due(
    draft: &mut Draft<'_>,
    rules: &Rules,
    id: &Arc<str>,
) -> Result<(), Missing> {
    let now = draft.now;
    let mut open = 0;
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    let mut expired = None;
    for interval in draft.intervals_of(id) {
        if interval.end.is_some() {
            continue;
        }
        let Some(rule) = rules.get(&interval.alert.rule) else {
            // What had not begun never does.
            if interval.start > now && !interval.ledger.iter().any(Entry::was_told) {
                gone.push(interval);
                continue;
            }
            let end = End { at: now, heard_at: now, cause: Cause::RuleRemoved, event: None };
            changed.push(Interval { end: Some(end), due: None, ..interval });
            continue;
        };
        let mut still_open = vec![interval];
        timeline::expire(rule, &mut still_open, &mut changed, now);
        let Some(interval) = still_open.pop() else {
            expired = changed
                .last()
                .and_then(|interval| interval.end.as_ref())
                .map(|end| end.at)
                .max(expired);
            continue;
        };
        if is_of_the_rule_before(rule, &interval) {
            gone.push(interval);
            continue;
        }
        open += 1;
        if interval.due.is_some_and(|due| due <= now) {
            changed.push(interval);
        }
    }
    if changed.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let Some(mut container) = draft.container(id)? else { return Ok(()) };
    container.open = open;
    container.derived_to = expired.map_or(container.derived_to, |at| container.derived_to.max(at));
    draft.put_container(container);
    let removed = remove(draft, rules, gone);
    put_changed(draft, rules, &[], changed).and(removed)
}
