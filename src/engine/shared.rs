//! Alerts that several containers, or several occurrences, hold up: what follows from their parts.
//!
//! Each part is a stretch of one container's timeline. The alert fires while enough of them overlap.

use std::sync::Arc;

use super::draft::{Draft, Missing, PartsChanged, each};
use super::types::*;
use super::{intervals, ledger, timeline};
use crate::clock::Timestamp;
use crate::rules::{Rule, Rules};

/// Notes what a part that is to be put, or to be removed, changes; `was` is what it was before.
pub(super) fn note(draft: &mut Draft<'_>, interval: &Interval, was: Option<&Interval>) {
    if interval.role != Role::Own {
        let from = was.map_or(interval.start, |was| was.start.min(interval.start));
        draft.note_parts(&interval.alert, from);
    }
}

/// Notes a part that there was not before. What did not last holds nothing up.
pub(super) fn note_new(draft: &mut Draft<'_>, interval: &Interval) {
    if interval.role == Role::Part && !interval.is_too_short() {
        draft.note_new_part(interval);
    }
}

/// Notes an alert that begins or ends by itself by now.
pub(super) fn note_due(draft: &mut Draft<'_>, id: IntervalId) {
    if let Ok(Some(interval)) = draft.interval(id)
        && interval.role == Role::Whole
        && interval.due.is_some_and(|due| due <= draft.now)
    {
        draft.note_parts(&interval.alert, interval.start);
    }
}

/// Derives the alerts again whose parts were noted, and carries over what was told.
pub(super) fn refresh(draft: &mut Draft<'_>, rules: &Rules) -> Result<(), Missing> {
    each(draft.take_parts_changed(), |(alert, changed)| {
        if let PartsChanged::Added(parts) = &changed
            && let Some(whole) = draft.open_whole(&alert)?
            && let Some(whole) = extended(whole, parts, draft.now)
        {
            return ledger::refresh(draft, rules, whole);
        }
        let (before, parts) = draft.shared(&alert, changed.from())?;
        let now = draft.now;
        let Some(rule) = rules.get(&alert.rule) else {
            let open = before.into_iter().filter(|whole| whole.end.is_none());
            return each(open, |whole| {
                let end = End { at: now, heard_at: now, cause: Cause::RuleRemoved, event: None };
                ledger::refresh(draft, rules, Interval { end: Some(end), due: None, ..whole })
            });
        };
        let derived = derive(rule, &before, &parts, now);
        let (after, gone) = intervals::reconcile(before.clone(), derived, now);
        let removed = each(gone, |whole| ledger::remove(draft, whole));
        let changed = after.into_iter().filter(|whole| !before.contains(whole));
        let put = each(changed, |mut whole| {
            if whole.id == timeline::UNNAMED {
                whole.id = draft.new_interval_id(&whole);
            }
            ledger::refresh(draft, rules, whole)
        });
        put.and(removed)
    })
}

/// The whole with these new parts, where they only add to what fires already, so that the other parts
/// need not be read: in a storm there are many. When it ends by itself is looked at when it is due.
fn extended(whole: Interval, new: &[Interval], now: Timestamp) -> Option<Interval> {
    let fires_until = whole.due.unwrap_or(FOR_EVER);
    let adds =
        |part: &Interval| whole.start < part.start && part.start < fires_until && part.start <= now;
    if now < whole.start || fires_until <= now || !new.iter().all(adds) {
        return None;
    }
    Some(new.iter().fold(whole, |whole, part| {
        let occurrences = whole.occurrences + part.occurrences;
        if (part.last_at, part.last) < (whole.last_at, whole.last) {
            return Interval { occurrences, ..whole };
        }
        let container = Arc::clone(&part.container);
        Interval { occurrences, container, last_at: part.last_at, last: part.last, ..whole }
    }))
}

/// The containers that hold an alert up or, if it ended, did: in the order in which they began to.
/// None, if it is one container's own.
pub(super) fn members(draft: &mut Draft<'_>, whole: &Interval) -> Result<Vec<Arc<str>>, Missing> {
    if whole.role != Role::Whole {
        return Ok(Vec::new());
    }
    let now = draft.now;
    let (_, parts) = draft.shared(&whole.alert, whole.start)?;
    let mut members: Vec<Arc<str>> = Vec::new();
    for part in &parts {
        let holds = match &whole.end {
            None => part.start <= now && now < stretch(part).1,
            Some(_) => have_in_common(part, stretch(whole)),
        };
        if holds && !members.contains(&part.container) {
            members.push(Arc::clone(&part.container));
        }
    }
    Ok(members)
}

/// From when until when; without an end, it fires still.
type Stretch = (Timestamp, Timestamp);

const FOR_EVER: Timestamp = Timestamp::from_micros(i64::MAX);

fn stretch(interval: &Interval) -> Stretch {
    (interval.start, interval.end.as_ref().map_or(FOR_EVER, |end| end.at))
}

/// Whether the interval has some time in common with this stretch; what is only a moment has that if
/// it lies in it.
fn have_in_common(interval: &Interval, (start, end): Stretch) -> bool {
    let (from, until) = stretch(interval);
    (from < end && start < until) || (from == until && start <= from && from <= end)
}

/// The stretches of an alert as they follow from its parts, by start. `before` is as it was: what
/// fired when its rule changed goes on until it would have ended by itself.
fn derive(rule: &Rule, before: &[Interval], parts: &[Interval], now: Timestamp) -> Vec<Interval> {
    let subsides = |part: &Interval| part.is_of_one_event();
    let parts: Vec<&Interval> = parts
        .iter()
        .filter(|part| match rule.threshold {
            Some(_) => subsides(part) && part.heard_at >= rule.since,
            None => !subsides(part),
        })
        .collect();
    let count = rule.threshold.map_or(1, |threshold| threshold.count);
    let mut stretches = overlaps(&parts, count);
    let carried = before.iter().filter(|whole| {
        whole.heard_at < rule.since && (rule.threshold.is_some() || whole.due.is_some())
    });
    stretches.extend(carried.clone().map(|whole| {
        let (start, end) = stretch(whole);
        let window = rule.threshold.map_or(FOR_EVER, |threshold| rule.since.plus(threshold.within));
        (start, end.min(whole.due.unwrap_or(FOR_EVER)).min(window))
    }));
    let carried: Vec<&Interval> = carried.collect();
    let stretches = union(stretches).into_iter();
    stretches.filter_map(|stretch| whole(stretch, &parts, count, &carried, now)).collect()
}

/// Where at least `count` of these overlap. Parts that overlap so are of one length if `count` is
/// more than one, so that they end in the order in which they begin.
fn overlaps(parts: &[&Interval], count: usize) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = parts.iter().map(|part| stretch(part)).collect();
    stretches.sort_unstable();
    let overlapping = stretches.windows(count.max(1)).map(|window| {
        let (first, last) = (window[0], window[window.len() - 1]);
        (last.0, first.1)
    });
    overlapping.filter(|(start, end)| start < end || count <= 1).collect()
}

/// These stretches, those that overlap or touch as one.
fn union(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_unstable();
    let mut united: Vec<Stretch> = Vec::new();
    for (start, end) in stretches {
        match united.last_mut() {
            Some((_, until)) if start <= *until => *until = end.max(*until),
            _ => united.push((start, end)),
        }
    }
    united
}

/// The interval of an alert that fires from `start` until `end`, as its parts have it.
fn whole(
    (start, end): Stretch,
    parts: &[&Interval],
    count: usize,
    carried: &[&Interval],
    now: Timestamp,
) -> Option<Interval> {
    let within = |interval: &&Interval| have_in_common(interval, (start, end));
    let of_it: Vec<&Interval> = parts.iter().copied().filter(within).collect();
    let carried = carried.iter().copied().find(within);
    let last = of_it.iter().copied().chain(carried).max_by_key(|part| (part.last_at, part.last))?;
    // It was known to fire once as many had been heard of as it takes.
    let at_start = of_it.iter().filter(|part| part.start <= start);
    let mut heard: Vec<Timestamp> = at_start.map(|part| part.heard_at).collect();
    heard.sort_unstable();
    let heard_at =
        carried.map(|whole| whole.heard_at).or(heard.get(count.saturating_sub(1)).copied());
    let until_the_end = of_it.iter().filter(|part| stretch(part).1 == end);
    let last_to_end = until_the_end.max_by_key(|part| (part.last_at, part.last));
    let ended = (end <= now).then(|| {
        let by_itself = End { at: end, heard_at: end, cause: Cause::Subsided, event: None };
        last_to_end.and_then(|part| part.end.clone()).unwrap_or(by_itself)
    });
    Some(Interval {
        role: Role::Whole,
        start,
        heard_at: heard_at.unwrap_or(last.heard_at),
        occurrences: of_it
            .iter()
            .map(|part| part.occurrences)
            .sum::<u64>()
            .max(carried.map_or(1, |whole| whole.occurrences)),
        due: (ended.is_none() && end != FOR_EVER).then_some(end),
        end: ended,
        ledger: Vec::new(),
        ..last.clone()
    })
}
