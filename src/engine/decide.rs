//! The decision: events take their place, what is due ends or speaks.

use std::sync::Arc;

use super::claim::{self, Claim, Claimed, Hand};
use super::draft::{Draft, Missing};
use super::types::*;
use super::{group, intervals, ledger, shared, suppress, timeline};
use crate::clock::Timestamp;
use crate::rules::Rules;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It took its place.
    Recorded,
    /// It was there already; nothing changes.
    Duplicate,
    /// It is recorded, and nothing is derived from it: what it would change was pruned.
    TooOld,
}

/// What [`decide`] will have to see of these events for sure, and most of the time no more.
#[must_use]
pub fn keys(rules: &Rules, events: &[Heard]) -> Keys {
    let mut keys = Keys { silences: true, ..Keys::default() };
    for heard in events {
        let event = &heard.event;
        keys.known.insert((event.container.clone(), heard.reference()));
        keys.containers.insert(event.container.clone());
        for rule in timeline::concerned(rules, event, false) {
            let key = rule.key(event);
            let labels = rule.labels(&key);
            if rule.is_shared() {
                let alert = AlertKey { rule: rule.name.clone(), values: key };
                keys.wholes.insert(alert);
            }
            let groups =
                rule.notify.iter().map(|receiver| ledger::group_key(rule, &labels, receiver));
            keys.groups.extend(groups);
        }
    }
    keys
}

/// Decides what follows from these events, and from the time being `now`: with no events, from the
/// time alone, for the containers and groups in the snapshot.
///
/// `decide` of two events is `decide` of the one, then of the other.
#[must_use]
pub fn decide(
    rules: &Rules,
    snapshot: &Snapshot,
    events: &[Heard],
    now: Timestamp,
) -> Decision<Vec<Decided>> {
    let mut draft = Draft::new(snapshot, now);
    let decided = decide_all(&mut draft, rules, events);
    draft.finish(decided)
}

/// As [`decide`], and claims what that makes for those who have a hand free to send it: the one commit
/// does for both. More than one delivery for the same receiver is left to be looked at as a whole.
#[must_use]
pub fn decide_and_claim(
    rules: &Rules,
    snapshot: &Snapshot,
    events: &[Heard],
    free: &[Hand],
    now: Timestamp,
) -> Decision<(Vec<Decided>, Vec<Claimed>)> {
    let mut draft = Draft::new(snapshot, now);
    let decided = decide_all(&mut draft, rules, events);
    let claims: Vec<Claim> = free
        .iter()
        .map(|hand| Claim { hand: hand.clone(), deliveries: draft.made_for(&hand.receiver) })
        .filter(|claim| claim.deliveries.len() == 1)
        .collect();
    let claimed = claim::claim_in_turn(&mut draft, rules, &claims);
    draft.finish((decided, claimed))
}

fn decide_all(draft: &mut Draft<'_>, rules: &Rules, events: &[Heard]) -> Vec<Decided> {
    // Where a row is missing, the decision is run again: the others are looked at all the same, to
    // learn in one go of all that is missing.
    let decided =
        events.iter().map(|heard| take(draft, rules, heard).unwrap_or(Decided::Recorded)).collect();
    for container in &draft.asked().containers {
        let _: Result<(), Missing> = intervals::end_what_is_due(draft, rules, container);
    }
    for id in &draft.asked().intervals {
        shared::note_due(draft, *id);
    }
    let _: Result<(), Missing> = shared::refresh(draft, rules);
    // Beside events, groups are only read in case these concern them.
    if events.is_empty() {
        for key in draft.due_groups() {
            let _: Result<(), Missing> = group::start_over(draft, rules, key);
        }
    }
    look_at_touched(draft, rules);
    decided
}

fn take(draft: &mut Draft<'_>, rules: &Rules, heard: &Heard) -> Result<Decided, Missing> {
    if draft.is_known(heard)? {
        return Ok(Decided::Duplicate);
    }
    if !intervals::place(draft, rules, heard)? {
        return Ok(Decided::TooOld);
    }
    // What is heard late may have ended by itself since.
    intervals::end_what_is_due(draft, rules, &heard.event.container)?;
    shared::refresh(draft, rules)?;
    look_at_touched(draft, rules);
    Ok(Decided::Recorded)
}

/// Brings the ledgers of these intervals, and with them their groups, into line with rules that were
/// edited. Groups of which only the pace was edited are for [`decide`] to look at.
#[must_use]
pub fn align(
    rules: &Rules,
    snapshot: &Snapshot,
    intervals: &[IntervalId],
    now: Timestamp,
) -> Decision<()> {
    let mut draft = Draft::new(snapshot, now);
    for id in intervals {
        if let Ok(Some(interval)) = draft.interval(*id)
            && let Some(rule) = rules.get(&interval.alert.rule)
            && intervals::is_of_the_rule_before(rule, &interval)
        {
            let container = &interval.container;
            let _: Result<(), Missing> = intervals::end_what_is_due(&mut draft, rules, container);
        }
        if let Ok(Some(interval)) = draft.interval(*id) {
            shared::note(&mut draft, rules, &interval, None);
            let _: Result<(), Missing> = match interval.role {
                Role::Part => Ok(()),
                Role::Own | Role::Whole => {
                    let interval = labelled(rules, Arc::unwrap_or_clone(interval));
                    ledger::refresh(&mut draft, rules, interval)
                }
            };
        }
    }
    let _: Result<(), Missing> = shared::refresh(&mut draft, rules);
    look_at_touched(&mut draft, rules);
    draft.finish(())
}

/// The interval with the labels that its rule gives it now, if it is open: its severity may be another.
fn labelled(rules: &Rules, interval: Interval) -> Interval {
    match rules.get(&interval.alert.rule).filter(|_| interval.end.is_none()) {
        Some(rule) => Interval { labels: rule.labels(&interval.alert.values), ..interval },
        None => interval,
    }
}

/// Keeps an event on which no decision could be made: it is listed, and no part of any timeline.
#[must_use]
pub fn keep(snapshot: &Snapshot, heard: &Heard, reason: &str) -> Decision<Decided> {
    let mut draft = Draft::new(snapshot, heard.received_at);
    let decided = keep_one(&mut draft, heard, reason).unwrap_or(Decided::Recorded);
    draft.finish(decided)
}

fn keep_one(draft: &mut Draft<'_>, heard: &Heard, reason: &str) -> Result<Decided, Missing> {
    if draft.is_known(heard)? {
        return Ok(Decided::Duplicate);
    }
    draft.add_failed(heard.clone(), reason);
    Ok(Decided::Recorded)
}

/// Looks at every group that has changed.
pub(super) fn look_at_touched(draft: &mut Draft<'_>, rules: &Rules) {
    for fired in draft.take_fired() {
        let _: Result<(), Missing> = suppress::inhibit(draft, rules, &fired);
    }
    for key in draft.take_touched() {
        let _: Result<(), Missing> = group::look(draft, rules, &key);
    }
}
