//! An event takes its place: the intervals that follow from it, carried into the ledger.

use super::draft::{Draft, Missing};
use super::types::*;
use super::{ledger, timeline};
use crate::clock::Timestamp;
use crate::rules::Rules;

/// Adds an event to the end of its container's timeline, or, where it is not the last, derives the
/// timeline again with it.
pub(super) fn place(draft: &mut Draft<'_>, rules: &Rules, heard: &Heard) -> Result<(), Missing> {
    let container = draft.container(&heard.event.container)?;
    draft.add_event(heard.clone());
    match container {
        Some(container) if !is_last(&container, heard) => rederive(draft, rules, &container.id),
        container => append(draft, rules, container, heard),
    }
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
    for rule in rules.matching(event) {
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
        last_at: heard.at,
        derived_to: heard.at,
        open: u32::try_from(open_now).unwrap_or(u32::MAX),
    });
    let mut missing = false;
    for mut interval in after {
        if before.contains(&interval) {
            continue;
        }
        if interval.id == timeline::UNNAMED {
            interval.id = draft.new_interval_id(&event.container);
        }
        missing |= ledger::refresh(draft, rules, interval).is_err();
    }
    if missing { Err(Missing) } else { Ok(()) }
}

/// Derives a container's intervals from its whole timeline, and carries over what was told.
fn rederive(draft: &mut Draft<'_>, rules: &Rules, id: &str) -> Result<(), Missing> {
    let mut timeline = draft.timeline(id)?;
    timeline::sort(&mut timeline);
    let now = draft.now;
    let mut carried = Vec::new();
    let mut before = Vec::new();
    for interval in draft.intervals_of(id) {
        let Some(rule) = rules.get(&interval.alert.rule) else { continue };
        let began_before_the_rule = interval.heard_at < rule.since;
        let ended_before_the_rule =
            interval.end.as_ref().is_some_and(|end| end.heard_at < rule.since);
        if began_before_the_rule && ended_before_the_rule {
            continue;
        }
        if began_before_the_rule {
            carried.push(carry(&interval, &timeline, rule.since, rule.expire_after));
        }
        before.push(interval);
    }
    let derived = timeline::derive(rules, &timeline, carried, now);
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
    if let Some(container) = timeline::container_of(&timeline, derived_to, open) {
        draft.put_container(container);
    }
    let mut missing = false;
    for interval in gone {
        missing |= ledger::remove(draft, interval).is_err();
    }
    for mut interval in after {
        if before.contains(&interval) {
            continue;
        }
        if interval.id == timeline::UNNAMED {
            interval.id = draft.new_interval_id(id);
        }
        missing |= ledger::refresh(draft, rules, interval).is_err();
    }
    if missing { Err(Missing) } else { Ok(()) }
}

/// An interval as it was when its rule changed: open, and without what was heard since.
fn carry(
    interval: &Interval,
    timeline: &[Heard],
    since: Timestamp,
    expire_after: std::time::Duration,
) -> Interval {
    let heard_since = timeline
        .iter()
        .filter(|heard| heard.received_at >= since && heard.at >= interval.start)
        .any(|heard| heard.reference() == interval.last);
    let (last_at, occurrences) =
        if heard_since { (interval.start, 1) } else { (interval.last_at, interval.occurrences) };
    Interval {
        last_at,
        occurrences,
        end: None,
        due: Some(last_at.plus(expire_after)),
        ..interval.clone()
    }
}

/// Gives the derived intervals the names and ledgers of those they continue. Answers them, and
/// those of which nothing is left.
///
/// What was told of an interval is told of whichever overlaps it now. Said to be firing, it is the
/// last of these that was meant; said to be over, all of them.
pub(super) fn reconcile(
    before: Vec<Interval>,
    mut derived: Vec<Interval>,
    now: Timestamp,
) -> (Vec<Interval>, Vec<Interval>) {
    let mut unnamed: Vec<Interval> = Vec::new();
    for interval in &mut derived {
        interval.id = timeline::UNNAMED;
        interval.ledger.clear();
    }
    for old in &before {
        // Of those it could go on as, the one that was told of keeps the name.
        let told = old.ledger.iter().find_map(|entry| entry.told.or(entry.maybe));
        let (from, until) = told.map_or((old.start, end_of(old)), |told| (told.from, told.until));
        let free = derived
            .iter_mut()
            .filter(|interval| {
                interval.id == timeline::UNNAMED
                    && interval.alert == old.alert
                    && overlaps(interval, old.start, end_of(old))
            })
            .min_by_key(|interval| !overlaps(interval, from, until));
        match free {
            Some(interval) => {
                interval.id = old.id;
                interval.labels = old.labels.clone();
                interval.ledger = old
                    .ledger
                    .iter()
                    .map(|entry| Entry { told: None, maybe: None, ..entry.clone() })
                    .collect();
            }
            None => unnamed.push(old.clone()),
        }
    }
    let mut withdrawn = Vec::new();
    let mut gone = Vec::new();
    for old in &before {
        let mut orphaned = false;
        for entry in &old.ledger {
            for (told, maybe) in [(entry.told, false), (entry.maybe, true)] {
                if let Some(told) = told {
                    orphaned |= !hand_over(&mut derived, old, entry, told, maybe);
                }
            }
        }
        if unnamed.iter().any(|other| other.id == old.id) {
            if orphaned {
                let end =
                    End { at: old.start, heard_at: now, cause: Cause::Withdrawn, event: None };
                withdrawn.push(Interval { end: Some(end), due: None, ..old.clone() });
            } else {
                gone.push(old.clone());
            }
        }
    }
    derived.append(&mut withdrawn);
    (derived, gone)
}

/// Hands what was told over to the intervals that overlap it; whether there were any.
fn hand_over(
    derived: &mut [Interval],
    old: &Interval,
    entry: &Entry,
    told: Told,
    maybe: bool,
) -> bool {
    let mut overlapping: Vec<&mut Interval> = derived
        .iter_mut()
        .filter(|interval| interval.alert == old.alert && overlaps(interval, told.from, told.until))
        .collect();
    let last = overlapping.len().saturating_sub(1);
    for (index, interval) in overlapping.iter_mut().enumerate() {
        let told = Told { over: told.over || index < last, ..told };
        let position =
            interval.ledger.iter().position(|other| other.group.receiver == entry.group.receiver);
        let entry = match position {
            Some(position) => &mut interval.ledger[position],
            None => {
                interval.ledger.push(Entry {
                    group: entry.group.clone(),
                    told: None,
                    maybe: None,
                    news: None,
                    firing: false,
                });
                interval.ledger.last_mut().expect("an entry was pushed just now")
            }
        };
        let slot = if maybe { &mut entry.maybe } else { &mut entry.told };
        if slot.is_none_or(|other| (other.from, other.over) <= (told.from, told.over)) {
            *slot = Some(told);
        }
    }
    !overlapping.is_empty()
}

/// Whether the interval has part of this stretch in common. An end is no part; two that begin
/// together have that instant in common, however short they are.
pub(super) fn overlaps(interval: &Interval, from: Timestamp, until: Timestamp) -> bool {
    interval.start == from
        || (interval.start < from && from < end_of(interval))
        || (from < interval.start && interval.start < until)
}

fn end_of(interval: &Interval) -> Timestamp {
    interval.end.as_ref().map_or(Timestamp::from_micros(i64::MAX), |end| end.at)
}

/// Ends those of a container's intervals that end by themselves by now, or whose rule is gone.
pub(super) fn end_what_is_due(
    draft: &mut Draft<'_>,
    rules: &Rules,
    id: &str,
) -> Result<(), Missing> {
    let Some(mut container) = draft.container(id)? else { return Ok(()) };
    let now = draft.now;
    let mut ended = Vec::new();
    let mut open: Vec<Interval> =
        draft.intervals_of(id).into_iter().filter(|interval| interval.end.is_none()).collect();
    timeline::expire(&mut open, &mut ended, now);
    let expired = ended.iter().filter_map(|interval| interval.end.as_ref()).map(|end| end.at).max();
    let end = End { at: now, heard_at: now, cause: Cause::RuleRemoved, event: None };
    ended.extend(
        open.extract_if(.., |interval| rules.get(&interval.alert.rule).is_none())
            .map(|interval| Interval { end: Some(end.clone()), due: None, ..interval }),
    );
    if ended.is_empty() {
        return Ok(());
    }
    container.open = u32::try_from(open.len()).unwrap_or(u32::MAX);
    container.derived_to = expired.map_or(container.derived_to, |at| container.derived_to.max(at));
    draft.put_container(container);
    let mut missing = false;
    for interval in ended {
        missing |= ledger::refresh(draft, rules, interval).is_err();
    }
    if missing { Err(Missing) } else { Ok(()) }
}
