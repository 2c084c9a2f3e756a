//! Alerts that several containers, or several occurrences, hold up: what follows from their parts.
//!
//! Each part is a stretch of one container's timeline. The alert fires while enough of them overlap.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Missing, PartsChanged, Shared, each};
use super::types::*;
use super::{intervals, ledger, timeline};
use crate::clock::Timestamp;
use crate::rules::{On, Rule, Rules};

/// Notes what a part that is to be put, or to be removed, changes; `was` is what it was before.
pub(super) fn note(
    draft: &mut Draft<'_>,
    rules: &Rules,
    interval: &Interval,
    was: Option<&Interval>,
) {
    if interval.role == Role::Own {
        return;
    }
    let of_silence = rules.get(&interval.alert.rule).is_some_and(|rule| rule.on == On::Silence);
    match was.filter(|was| of_silence && was.start == interval.start) {
        // The same life, with one sign more, or one that ended. A late sign may have joined it with the
        // next one, so that all that comes after what was its last may have changed.
        Some(was) if interval.end.is_none() && was.last_at <= interval.last_at => {
            draft.note_new_part(interval, was.last_at);
        }
        Some(was) => draft.note_parts(&interval.alert, was.last_at.min(interval.last_at)),
        None => {
            let from = was.map_or(interval.start, |was| was.start.min(interval.start));
            draft.note_parts(&interval.alert, from);
        }
    }
}

/// Notes a part that there was not before. What did not last holds nothing up.
pub(super) fn note_new(draft: &mut Draft<'_>, interval: &Interval) {
    if interval.role == Role::Part && !interval.is_too_short() {
        draft.note_new_part(interval, interval.start);
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
        let rule = rules.get(&alert.rule);
        let quiet = rule.filter(|rule| rule.on == On::Silence);
        if let PartsChanged::Added(parts, _) = &changed
            && let Some(whole) = draft.open_whole(&alert)?
            && let Some(whole) = match quiet {
                Some(rule) => put_off(rule, whole, parts, draft.now),
                None => extended(whole, parts, draft.now),
            }
        {
            return ledger::refresh(draft, rules, whole);
        }
        // Who was heard of before a silence is part of it.
        let lead = quiet.and_then(|rule| rule.hold).unwrap_or_default();
        let Shared { from, wholes, mut parts } = draft.shared(&alert, changed.from(), lead)?;
        let now = draft.now;
        let Some(rule) = rule else {
            let open = wholes.into_iter().filter(|whole| whole.end.is_none());
            return each(open, |whole| {
                let end = End { at: now, heard_at: now, cause: Cause::RuleRemoved, event: None };
                ledger::refresh(draft, rules, Interval { end: Some(end), due: None, ..whole })
            });
        };
        // What ended with the rule of its name before, or of another kind, stays as it ended.
        let ended_with = |whole: &Interval| {
            let end = whole.end.as_ref().filter(|end| end.cause == Cause::RuleRemoved);
            end.map(|end| end.heard_at)
        };
        let since = wholes.iter().filter_map(ended_with).max();
        parts.retain(|part| since.is_none_or(|since| part.heard_at > since));
        let before = wholes.into_iter().filter(|whole| ended_with(whole).is_none());
        let before: Vec<Interval> = before.collect();
        let derived = match quiet {
            Some(rule) => silences(rule, &parts, from, now),
            None => derive(rule, &before, &parts, now),
        };
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
    let fires_until = whole.due.unwrap_or(Timestamp::FOR_EVER);
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

/// The silence that had not begun, with these new signs of life, where they only put it off: they are
/// later than all others, so that the other parts need not be read. They are read when it begins.
fn put_off(rule: &Rule, whole: Interval, signs: &[Interval], now: Timestamp) -> Option<Interval> {
    if whole.start <= now || whole.ledger.iter().any(Entry::was_told) {
        return None;
    }
    let mut signs: Vec<&Interval> = signs.iter().collect();
    signs.sort_by_key(|sign| (sign.last_at, sign.last));
    signs.into_iter().try_fold(whole, |whole, sign| {
        let later = (whole.last_at, whole.last) < (sign.last_at, sign.last);
        (later && sign.last_at <= whole.start).then(|| put_off_by(rule, &whole, sign))
    })
}

/// The same silence after this sign of life instead.
fn put_off_by(rule: &Rule, whole: &Interval, sign: &Interval) -> Interval {
    Interval {
        start: timeline::silent_from(rule, sign),
        container: Arc::clone(&sign.container),
        heard_at: sign.heard_at,
        last_at: sign.last_at,
        last: sign.last,
        ..whole.clone()
    }
}

/// The containers that hold these stretches of an alert up or, if they ended, did: in the order in which
/// they began to. None, if they are one container's own.
pub(super) fn members(
    draft: &mut Draft<'_>,
    stretches: &[&Interval],
) -> Result<Vec<Arc<str>>, Missing> {
    let (wholes, own): (Vec<&Interval>, Vec<&Interval>) =
        stretches.iter().partition(|interval| interval.role == Role::Whole);
    let Some(first) = wholes.iter().min_by_key(|whole| whole.start) else {
        let members = each_once(own.into_iter());
        return Ok(if members.len() > 1 { members } else { Vec::new() });
    };
    let now = draft.now;
    let Shared { parts, .. } = draft.shared(&first.alert, first.start, Duration::ZERO)?;
    let holds = |part: &Interval| {
        wholes.iter().any(|whole| match &whole.end {
            None => part.start <= now && now < stretch(part).1,
            Some(_) => have_in_common(part, stretch(whole)),
        })
    };
    Ok(each_once(parts.iter().filter(|part| holds(part))))
}

/// The containers of these intervals, each where it comes first.
fn each_once<'a>(intervals: impl Iterator<Item = &'a Interval>) -> Vec<Arc<str>> {
    let mut known = HashSet::new();
    let containers = intervals.map(|interval| &interval.container);
    containers.filter(|container| known.insert(Arc::clone(container))).cloned().collect()
}

/// From when until when; without an end, it fires still.
type Stretch = (Timestamp, Timestamp);

fn stretch(interval: &Interval) -> Stretch {
    (interval.start, interval.end.as_ref().map_or(Timestamp::FOR_EVER, |end| end.at))
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
        let window = rule
            .threshold
            .map_or(Timestamp::FOR_EVER, |threshold| rule.since.plus(threshold.within));
        (start, end.min(whole.due.unwrap_or(Timestamp::FOR_EVER)).min(window))
    }));
    let carried: Vec<&Interval> = carried.collect();
    let stretches = union(stretches).into_iter();
    stretches.filter_map(|stretch| whole(stretch, &parts, count, &carried, now)).collect()
}

/// The silences of several containers as they follow from their lives, by start: where one lives, and
/// none was heard of for long enough. Those before `from` are as they were.
fn silences(rule: &Rule, parts: &[Interval], from: Timestamp, now: Timestamp) -> Vec<Interval> {
    let heard_until = |part: &Interval| timeline::silent_from(rule, part);
    let alive = union(parts.iter().map(stretch).collect());
    let heard = union(parts.iter().map(|part| (part.start, heard_until(part))).collect());
    let mut silent: Vec<Stretch> = Vec::new();
    for (start, end) in alive {
        let mut quiet_from = start;
        let meanwhile = heard.iter().filter(|heard| heard.0 < end && start <= heard.1);
        for (heard_from, heard_until) in meanwhile.chain([&(end, end)]) {
            if quiet_from < *heard_from {
                silent.push((quiet_from, *heard_from));
            }
            quiet_from = quiet_from.max(*heard_until);
        }
    }
    let of_it = silent.into_iter().filter(|(start, _)| from <= *start);
    of_it.filter_map(|stretch| silence(rule, stretch, parts, now)).collect()
}

/// The silence of several containers from `start` until `end`.
fn silence(
    rule: &Rule,
    (start, end): Stretch,
    parts: &[Interval],
    now: Timestamp,
) -> Option<Interval> {
    let before = parts.iter().filter(|part| timeline::silent_from(rule, part) <= start);
    let last = before.max_by_key(|part| (part.last_at, part.last))?;
    let heard_again = parts.iter().find(|part| part.start == end && end < stretch(part).1);
    let (cause, heard_at) = match heard_again {
        Some(part) => (Cause::Resolved, part.heard_at),
        None => {
            let ends = parts.iter().filter_map(|part| part.end.as_ref());
            let last_end = ends.filter(|it| it.at == end).map(|it| it.heard_at).max();
            (Cause::Deleted, last_end.unwrap_or(end))
        }
    };
    Some(Interval {
        role: Role::Whole,
        start,
        end: (end <= now).then_some(End { at: end, heard_at, cause, event: None }),
        due: (now < end && end != Timestamp::FOR_EVER).then_some(end),
        ledger: Vec::new(),
        ..last.clone()
    })
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
        due: (ended.is_none() && end != Timestamp::FOR_EVER).then_some(end),
        end: ended,
        ledger: Vec::new(),
        ..last.clone()
    })
}
