//! What is older than it is to be kept: what may go, and what is left of it (DESIGN.md §6, "Keeping").

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::{Draft, Missing, each};
use super::types::*;
use super::{intervals, timeline};
use crate::clock::Timestamp;
use crate::rules::{On, Rules};

/// Prunes some of the events that were received first: of each container a first part of its
/// timeline, all of which was received before the given instant. What was received since is after it,
/// so that it can still be put in order.
///
/// Answers where to go on, if there may be more.
#[must_use]
pub fn prune(rules: &Rules, snapshot: &Snapshot, oldest: Oldest) -> Decision<Option<i64>> {
    let mut draft = Draft::new(snapshot, oldest.received_before);
    let Ok(swath) = draft.oldest(oldest) else { return draft.finish(None) };
    let mut stay = BTreeSet::new();
    for (id, old) in &swath.containers {
        let _: Result<(), Missing> = prune_one(&mut draft, rules, id, old, &mut stay);
    }
    draft.put_pruned(Pruned { oldest, until: swath.until, stay });
    draft.finish(swath.more.then_some(swath.until))
}

fn prune_one(
    draft: &mut Draft<'_>,
    rules: &Rules,
    id: &Arc<str>,
    old: &Old,
    stay: &mut BTreeSet<(Arc<str>, EventRef)>,
) -> Result<(), Missing> {
    // Of what is no container yet, only failed events were heard.
    let Some(container) = draft.container(id)? else { return Ok(()) };
    let base = draft.checkpoint(id)?;
    // What people are shown of what fires.
    let fires = draft.intervals_of(id).into_iter().filter(|interval| interval.end.is_none());
    let shown: BTreeSet<EventRef> = fires.map(|interval| interval.last).collect();
    stay.extend(shown.into_iter().map(|event| (id.clone(), event)));

    let may_go = |heard: &&Heard| {
        base.as_ref().is_none_or(|base| base.at < heard.at)
            && old.others_from.is_none_or(|from| heard.at < from)
    };
    let mut part: Vec<Heard> = old.events.iter().filter(may_go).cloned().collect();
    timeline::sort_after(base.as_ref(), &mut part);
    // Where a rule changed in this part, what fired then is found as by a late event.
    let received_from = base.as_ref().map(|base| base.last_received_at);
    let received_to = part.iter().map(|heard| heard.received_at).max();
    let changed_within = rules.iter().map(|rule| rule.since).any(|since| {
        since != Timestamp::default() && received_from < Some(since) && Some(since) <= received_to
    });
    let carried = if changed_within {
        let mut whole = draft.timeline(id)?;
        timeline::sort_after(base.as_ref(), &mut whole);
        intervals::carried(draft, rules, base.as_ref(), &whole, id)
    } else {
        base.as_ref().map(|base| base.open(rules)).unwrap_or_default()
    };
    let last_at = part.last().map(|heard| heard.at).or(base.as_ref().map(|base| base.last_at));
    let is_last = old.others_from.is_none() && last_at == Some(container.last_at);
    let quiet_until = is_last.then_some(draft.now.min(container.derived_to));
    let checkpoint = timeline::checkpoint(rules, base.as_ref(), &part, carried, quiet_until);
    if let Some(checkpoint) = checkpoint.filter(|new| base.as_ref() != Some(new)) {
        draft.put_checkpoint(checkpoint);
    }
    Ok(())
}

/// Removes some of the intervals that ended first, as far as they would not come back: of which
/// nothing is left to tell, and which follow from nothing that is there still.
///
/// Answers where to go on, if there may be more.
#[must_use]
pub fn forget(
    rules: &Rules,
    snapshot: &Snapshot,
    ended: Ended,
) -> Decision<Option<(Timestamp, IntervalId)>> {
    let mut draft = Draft::new(snapshot, ended.before);
    let Ok(first) = draft.ended(ended) else { return draft.finish(None) };
    let alerts: BTreeSet<&AlertKey> = first
        .iter()
        .filter(|interval| interval.role != Role::Own)
        .map(|interval| &interval.alert)
        .collect();
    let _: Result<(), Missing> = each(&first, |interval| {
        if interval.role == Role::Own && may_go(&mut draft, rules, interval)? {
            draft.remove_interval(interval.id);
        }
        Ok(())
    });
    let _: Result<(), Missing> = each(alerts, |alert| forget_shared(&mut draft, rules, alert));
    let place = first.last().and_then(|last| Some((last.end.as_ref()?.heard_at, last.id)));
    draft.finish(place.filter(|_| first.len() == ended.limit))
}

/// The same of an alert that several containers or occurrences hold up. What fired stays until all
/// that held it up can go, since it follows from that.
fn forget_shared(draft: &mut Draft<'_>, rules: &Rules, alert: &AlertKey) -> Result<(), Missing> {
    let (ended, others) = draft.ended_of(alert, draft.now)?;
    let rule = rules.get(&alert.rule);
    let quiet = rule.filter(|rule| rule.on == On::Silence);
    let lead = quiet.and_then(|rule| rule.hold).unwrap_or_default();
    let mut can_go = BTreeSet::new();
    each(&ended, |interval| {
        if may_go(draft, rules, interval)? {
            can_go.insert(interval.id);
        }
        Ok(())
    })?;
    let end = |interval: &Interval| interval.end.as_ref().map_or(Timestamp::FOR_EVER, |end| end.at);
    let holds = |part: &Interval, whole: &Interval| {
        part.start <= end(whole) && whole.start.minus(lead) <= end(part)
    };
    let (wholes, parts): (Vec<&Interval>, Vec<&Interval>) =
        ended.iter().partition(|interval| interval.role == Role::Whole);
    // Silences are derived from what changes on: the life of a container that goes on holds up none
    // of those before.
    let (gone, left): (Vec<&Interval>, Vec<&Interval>) = wholes.into_iter().partition(|whole| {
        let stays = |part: &&Interval| !can_go.contains(&part.id) && holds(part, whole);
        can_go.contains(&whole.id) && (quiet.is_some() || !parts.iter().any(stays))
    });
    // What is so large that it is not looked at at once goes piece by piece.
    let mut later = Vec::new();
    each(&others, |whole| {
        let is_ended = whole.end.as_ref().is_some_and(|end| end.at < draft.now);
        if !(is_ended && may_go(draft, rules, whole)?) {
            later.push(whole);
        }
        Ok(())
    })?;
    let removed = parts.into_iter().filter(|part| {
        can_go.contains(&part.id) && !left.iter().chain(&later).any(|whole| holds(part, whole))
    });
    for interval in removed.chain(gone) {
        draft.remove_interval(interval.id);
    }
    Ok(())
}

/// Whether an interval ended long ago, nothing is left to tell of it, and it would not be derived
/// again. A whole would be, from its parts.
fn may_go(draft: &mut Draft<'_>, rules: &Rules, interval: &Interval) -> Result<bool, Missing> {
    let is_old = |end: &End| end.at < draft.now && end.heard_at < draft.now;
    if !interval.end.as_ref().is_some_and(is_old) {
        return Ok(false);
    }
    if interval.role != Role::Whole {
        let checkpoint = draft.checkpoint(&interval.container)?;
        let is_settled = match checkpoint {
            Some(checkpoint) => !checkpoint.may_derive(rules, interval),
            None => rules.get(&interval.alert.rule).is_none(),
        };
        if !is_settled {
            return Ok(false);
        }
    }
    for entry in &interval.ledger {
        let is_being_told = !entry.maybe.is_empty()
            && draft.group(&entry.group)?.is_some_and(|group| group.waiting.is_some());
        // Whoever puts a dead letter back is to be told what it said.
        let mut given_up = entry.given_up.stretches();
        let is_in_letter =
            given_up.any(|told| told.because.is_none()) && draft.has_letters(&entry.group)?;
        if entry.news.is_some() || entry.firing || is_being_told || is_in_letter {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes some of the deliveries that ended first. Answers whether there may be more, and to whom
/// the dead letters among them were.
#[must_use]
pub fn clear(snapshot: &Snapshot, done: Done) -> Decision<(bool, Vec<Arc<str>>)> {
    let mut draft = Draft::new(snapshot, done.before);
    let deliveries = draft.done(done).unwrap_or_default();
    let more = deliveries.len() == done.limit;
    let mut letters = Vec::new();
    for delivery in deliveries {
        let is_old = delivery.ended_at.is_some_and(|ended_at| ended_at < done.before);
        if !is_old || delivery.status == Status::Pending {
            continue;
        }
        if delivery.status == Status::Dead {
            letters.push(delivery.to.clone());
        }
        draft.remove_delivery(delivery.id);
    }
    draft.finish((more, letters))
}
