//! The intervals as anyone can derive them: sort the events, and go through them with one rule and
//! one container at a time. Plain, slow, and obviously right.

use serde_json::Value;

use std::collections::BTreeMap;

use super::world::World;
use crate::clock::Timestamp;
use crate::engine::{Cause, Heard, Role, timeline};
use crate::event::{self, State};
use crate::rules::{On, Resolve, Rule};

/// Rule, what the alert is of, start, end with its cause, occurrences.
pub(super) type Derived = (String, String, Timestamp, Option<(Timestamp, &'static str)>, u64);

/// What follows at `world.now` from all of these payloads.
pub(super) fn reference(world: &World, payloads: &[Value]) -> Vec<Derived> {
    let mut heard: Vec<Heard> = Vec::new();
    for payload in payloads {
        let event = event::from_value(payload).unwrap();
        if heard.iter().all(|other| other.event.identity != event.identity) {
            heard.push(Heard::new(event, world.now));
        }
    }
    let mut containers: Vec<_> = heard.iter().map(|heard| heard.event.container.clone()).collect();
    containers.sort();
    containers.dedup();
    let mut derived = Vec::new();
    for rule in world.rules.iter() {
        let mut parts: BTreeMap<String, Vec<Stretch>> = BTreeMap::new();
        let mut lives: BTreeMap<String, Vec<Vec<Heard>>> = BTreeMap::new();
        for container in &containers {
            let of_container = heard.iter().filter(|heard| heard.event.container == *container);
            let mut timeline: Vec<Heard> = of_container.cloned().collect();
            timeline::sort(&mut timeline);
            // Of what a container is does not change in these fleets.
            let key = format!("{:?}", rule.key(&timeline[0].event));
            parts.entry(key.clone()).or_default().extend(stretches(rule, &timeline, world.now));
            lives.entry(key).or_default().push(timeline);
        }
        for (key, parts) in parts {
            let stretches = match (rule.on, rule.is_shared()) {
                (On::Silence, shared) => silences(rule, &lives[&key], shared, world.now),
                (_, true) => united(rule, &parts, world.now),
                (_, false) => parts,
            };
            for (start, end, occurrences) in stretches {
                derived.push((rule.name.to_string(), key.clone(), start, end, occurrences));
            }
        }
    }
    derived.sort();
    derived
}

/// From one instant at which anything changes to the next: nobody was heard of for long enough, and
/// someone lives who was.
fn silences(rule: &Rule, lives: &[Vec<Heard>], shared: bool, now: Timestamp) -> Vec<Stretch> {
    let hold = rule.hold.unwrap();
    let is_sign = |heard: &&Heard| rule.when.matches(&heard.event);
    let is_end = |heard: &&Heard| heard.event.state == State::Deleted;
    let events = || lives.iter().flatten();
    let mut instants: Vec<Timestamp> =
        events().flat_map(|heard| [heard.at, heard.at.plus(hold)]).collect();
    instants.sort();
    instants.dedup();
    let mut silences: Vec<Stretch> = Vec::new();
    let mut since: Option<Timestamp> = None;
    for instant in instants {
        let heard = events()
            .filter(is_sign)
            .any(|heard| heard.at <= instant && instant < heard.at.plus(hold));
        let lives = lives.iter().any(|timeline| {
            let mut until_now = timeline.iter().filter(|heard| heard.at <= instant);
            let last = until_now.rfind(|heard| is_sign(heard) || is_end(heard));
            last.is_some_and(|last| !is_end(&last))
        });
        let silent = lives && !heard;
        if silent && since.is_none() {
            since = Some(instant);
        } else if let Some(start) = since.filter(|_| !silent) {
            let ends = |heard: &&Heard| heard.at == instant && (is_sign(heard) || is_end(heard));
            let cause = match events().find(ends) {
                _ if shared => "ended",
                Some(heard) if is_end(&heard) => "deleted",
                _ => "resolved",
            };
            silences.push((start, Some((instant, cause)), 0));
            since = None;
        }
    }
    silences.extend(since.map(|start| (start, None, 0)));
    // What has not come yet is not there yet.
    silences
        .into_iter()
        .filter(|(start, ..)| *start <= now)
        .map(|(start, end, none)| (start, end.filter(|(end, _)| *end <= now), none))
        .collect()
}

/// Start, end with its cause, occurrences.
type Stretch = (Timestamp, Option<(Timestamp, &'static str)>, u64);

/// Whether what the one says came before it is not what the other says.
fn is_gap(before: &Heard, after: &Heard) -> bool {
    let (before, after) = (&before.event, &after.event);
    let state = after.prev_state.as_ref().is_some_and(|state| *state != before.state);
    let starts = match (before.starts, after.starts) {
        (Some(before), Some(after)) => after > before + 1,
        _ => false,
    };
    state || starts
}

/// A stretch that has not ended: the place of its first and of its last occurrence, how many there
/// are, and whether all events since the first have matched.
struct Open {
    first: Timestamp,
    last: Timestamp,
    occurrences: u64,
    unbroken: bool,
}

fn stretches(rule: &Rule, timeline: &[Heard], now: Timestamp) -> Vec<Stretch> {
    let matches = |heard: &Heard| rule.when.matches(&heard.event);
    if rule.on == On::Gap {
        let gaps = timeline.windows(2).filter(|pair| is_gap(&pair[0], &pair[1]));
        let moments = gaps.filter(|pair| matches(&pair[1])).map(|pair| pair[1].at);
        return moments.map(|at| (at, Some((at, "momentary")), 1)).collect();
    }
    if let Some(threshold) = rule.threshold {
        let occurrences = timeline.iter().filter(|heard| matches(heard));
        return occurrences
            .map(|heard| (heard.at, Some((heard.at.plus(threshold.within), "subsided")), 1))
            .collect();
    }
    if let Resolve::Never = rule.resolve {
        let moments = timeline.iter().filter(|heard| matches(heard));
        return moments.map(|heard| (heard.at, Some((heard.at, "momentary")), 1)).collect();
    }
    let hold = rule.hold.unwrap_or_default();
    let mut stretches = Vec::new();
    let mut open: Option<Open> = None;
    for heard in timeline {
        if let Some(stretch) = &open
            && stretch.last.plus(rule.expire_after) <= heard.at
        {
            let end = stretch.last.plus(rule.expire_after);
            stretches.push((stretch.first.plus(hold), Some((end, "expired")), stretch.occurrences));
            open = None;
        }
        if matches(heard) {
            let stretch = open.get_or_insert(Open {
                first: heard.at,
                last: heard.at,
                occurrences: 0,
                unbroken: true,
            });
            stretch.last = heard.at;
            stretch.occurrences += 1;
        }
        let deleted = heard.event.state == State::Deleted;
        let Some(stretch) = &mut open else { continue };
        let run_ends = deleted || !matches(heard);
        if run_ends && stretch.unbroken && rule.hold.is_some() {
            stretch.unbroken = false;
            if heard.at <= stretch.first.plus(hold) {
                open = None;
                continue;
            }
        }
        let resolved = !matches(heard)
            && match &rule.resolve {
                Resolve::When(condition) => condition.matches(&heard.event),
                _ => true,
            };
        if deleted || resolved {
            let cause = if deleted { "deleted" } else { "resolved" };
            let end = Some((heard.at, cause));
            stretches.push((stretch.first.plus(hold), end, stretch.occurrences));
            open = None;
        }
    }
    if let Some(stretch) = open {
        let expires = stretch.last.plus(rule.expire_after);
        let end = (expires <= now).then_some((expires, "expired"));
        // What has not lasted yet is not there yet.
        if stretch.first.plus(hold) <= now {
            stretches.push((stretch.first.plus(hold), end, stretch.occurrences));
        }
    }
    stretches
}

/// From one instant at which anything changes to the next, it fires if enough parts are there.
fn united(rule: &Rule, parts: &[Stretch], now: Timestamp) -> Vec<Stretch> {
    let count = rule.threshold.map_or(1, |threshold| threshold.count);
    let never = Timestamp::FOR_EVER;
    let until = |part: &Stretch| part.1.map_or(never, |(end, _)| end);
    let mut instants: Vec<Timestamp> =
        parts.iter().flat_map(|part| [part.0, until(part)]).collect();
    instants.sort();
    instants.dedup();
    let mut united: Vec<(Timestamp, Timestamp)> = Vec::new();
    let mut add = |start: Timestamp, end: Timestamp| match united.last_mut() {
        Some(last) if last.1 >= start => last.1 = end,
        _ => united.push((start, end)),
    };
    for (index, instant) in instants.iter().enumerate() {
        if count == 1 && parts.iter().any(|part| (part.0, until(part)) == (*instant, *instant)) {
            add(*instant, *instant);
        }
        if let Some(next) = instants.get(index + 1) {
            let there =
                parts.iter().filter(|part| part.0 <= *instant && *next <= until(part)).count();
            if there >= count {
                add(*instant, *next);
            }
        }
    }
    let stretches = united.into_iter().filter(|(start, _)| *start <= now);
    stretches
        .map(|(start, end)| {
            let of_it: Vec<&Stretch> = parts
                .iter()
                .filter(|part| {
                    let moment = part.0 == until(part) && start <= part.0 && part.0 <= end;
                    moment || (part.0 < end && start < until(part))
                })
                .collect();
            let occurrences = of_it.iter().map(|part| part.2).sum();
            // Which of the parts that end there says why is not for here.
            let ended = (end <= now).then_some((end, "ended"));
            (start, ended, occurrences)
        })
        .collect()
}

/// What the world has derived.
pub(super) fn derived(world: &World) -> Vec<Derived> {
    let mut derived: Vec<Derived> = world
        .intervals
        .values()
        .filter(|interval| interval.start <= world.now && interval.role != Role::Part)
        .filter(|interval| {
            let cause = interval.end.as_ref().map(|end| end.cause);
            !matches!(cause, Some(Cause::Withdrawn | Cause::Filled | Cause::TooShort))
        })
        .map(|interval| {
            let whole = interval.role == Role::Whole;
            let end = interval.end.as_ref().map(|end| {
                let cause = match end.cause {
                    Cause::Resolved | Cause::Deleted | Cause::Expired | Cause::Subsided
                        if whole =>
                    {
                        "ended"
                    }
                    Cause::Resolved => "resolved",
                    Cause::Deleted => "deleted",
                    Cause::Expired => "expired",
                    Cause::Momentary => "momentary",
                    other => panic!("{other:?} in a fleet without reloads"),
                };
                (end.at, cause)
            });
            (
                interval.alert.rule.to_string(),
                format!("{:?}", interval.alert.values),
                interval.start,
                end,
                interval.occurrences,
            )
        })
        .collect();
    derived.sort();
    derived
}
