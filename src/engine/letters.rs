//! Dead letters: one is put back, or discarded. Neither happens unless someone asks for it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Missing, each};
use super::types::*;
use super::{decide, group, health, ledger, settle};
use crate::clock::Timestamp;
use crate::rules::{Field, Rules};

/// What became of a dead letter that was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It waits to be sent.
    Waits,
    /// What it says is news again, and goes out with what else there is to tell.
    Joined,
    /// Nothing of it is left to tell: it was told since, or a later letter says it. Of one that was
    /// never tried nobody knows what it would have said; what fires still is news without it.
    NothingLeft,
}

impl Retried {
    /// What the delivery is now.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Retried::Waits => Status::Pending,
            Retried::Joined => Status::Superseded,
            Retried::NothingLeft => Status::Dropped,
        }
    }
}

/// Why a delivery stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// There is none of this id.
    Unknown,
    /// It is no dead letter, but this.
    NotDead(Status),
    /// Its receiver is not in the rules file, or is off.
    NoReceiver,
    /// Its rule is not in the rules file, or does not tell its receiver.
    NotTold,
}

/// Puts a dead letter back: what it says, and was not told since, is news again. It is told as what
/// is true now, at once unless another notification of its group waits already, and has the whole of
/// `give_up_after` before it.
#[must_use]
pub fn retry(
    rules: &Rules,
    snapshot: &Snapshot,
    id: &DeliveryId,
    now: Timestamp,
) -> Decision<Result<Retried, Stays>> {
    let mut draft = Draft::new(snapshot, now);
    let retried = retry_one(&mut draft, rules, id).unwrap_or(Err(Stays::Unknown));
    decide::look_at_touched(&mut draft, rules);
    match draft.finish(retried) {
        Decision::Done(_, Err(stays)) => Decision::Done(Changes::default(), Err(stays)),
        decision => decision,
    }
}

/// Discards a dead letter. What it says stays given up.
#[must_use]
pub fn discard(
    snapshot: &Snapshot,
    id: &DeliveryId,
    now: Timestamp,
) -> Decision<Result<(), Stays>> {
    let mut draft = Draft::new(snapshot, now);
    let dead = dead(&mut draft, id).unwrap_or(Err(Stays::Unknown));
    let discarded = dead.map(|delivery| {
        let (status, ended_at) = (Status::Discarded, Some(now));
        draft.put_delivery(Delivery { status, ended_at, ..delivery });
    });
    draft.finish(discarded)
}

fn dead(draft: &mut Draft<'_>, id: &DeliveryId) -> Result<Result<Delivery, Stays>, Missing> {
    Ok(match draft.delivery(id)? {
        None => Err(Stays::Unknown),
        Some(delivery) if delivery.status != Status::Dead => Err(Stays::NotDead(delivery.status)),
        Some(delivery) => Ok(delivery),
    })
}

/// Whom a letter is for: its group's receiver or, if it ends what another heard in place of that or some of
/// whose addresses have it, the other.
fn is_for(delivery: &Delivery) -> &Arc<str> {
    match delivery.goes_to_who_took_it() || delivery.is_remainder() {
        true => &delivery.to,
        false => &delivery.group.receiver,
    }
}

fn retry_one(
    draft: &mut Draft<'_>,
    rules: &Rules,
    id: &DeliveryId,
) -> Result<Result<Retried, Stays>, Missing> {
    let delivery = match dead(draft, id)? {
        Ok(delivery) => delivery,
        Err(stays) => return Ok(Err(stays)),
    };
    if !rules.has_receiver(is_for(&delivery)) {
        return Ok(Err(Stays::NoReceiver));
    }
    if delivery.stands_alone() {
        return wait_again(draft, None, delivery).map(Ok);
    }
    let returned = return_news(draft, rules, &delivery)?;
    let is_news = returned.iter().any(|entry| entry.news.is_some());
    let is_ours = |entry: &Entry| entry.group == delivery.group && entry.is_to_be_told();
    let fires = returned.iter().any(|entry| entry.firing);
    let speaker = match draft.group(&delivery.group)?.filter(|group| group.waiting.is_none()) {
        Some(group) if returned.iter().any(is_ours) => Some(group),
        // That it fires still is no news, but is told if nobody was told anything since.
        Some(group) if !is_news && fires && group.last_told == delivery.ended_at => {
            let untold = Group { last_told: None, ..group };
            group::is_due_to_repeat(&untold, rules, draft.now).then_some(untold)
        }
        _ => None,
    };
    Ok(match speaker {
        Some(group) => Ok(wait_again(draft, Some(group), delivery)?),
        None if is_news => Ok(end(draft, delivery, Retried::Joined)),
        None if is_told(rules, &delivery.group) => Ok(end(draft, delivery, Retried::NothingLeft)),
        None => Err(Stays::NotTold),
    })
}

/// Whether the rule of this group tells its receiver.
fn is_told(rules: &Rules, group: &GroupKey) -> bool {
    rules.get(&group.rule).is_some_and(|rule| rule.tells(&group.receiver))
}

/// Has what a letter gave up be news again. The entries of which it had given something up.
fn return_news(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
) -> Result<Vec<Entry>, Missing> {
    let says = delivery.notification.iter().flat_map(|notification| &notification.says);
    let receiver = &delivery.group.receiver;
    let given_up = GivenUp::by(delivery);
    let mut intervals: BTreeMap<IntervalId, Interval> = BTreeMap::new();
    each(says, |saying| {
        let interval = draft.interval(saying.interval)?;
        let is_there = interval.as_ref().is_some_and(|interval| given_up.stands(interval, saying));
        intervals.extend(interval.map(|interval| (interval.id, Arc::unwrap_or_clone(interval))));
        if !is_there {
            let others = of_alert(draft, rules, saying)?;
            intervals.extend(others.into_iter().map(|interval| (interval.id, interval)));
        }
        Ok(())
    })?;
    let mut returned = Vec::new();
    each(intervals.into_values(), |mut interval| {
        let Some(index) =
            interval.ledger.iter().position(|entry| entry.group.receiver == *receiver)
        else {
            return Ok(());
        };
        let alert = interval.alert.clone();
        let belief = &mut interval.ledger[index].given_up;
        if !belief.stretches().any(|told| given_up.has(&alert, &told)) {
            return Ok(());
        }
        belief.forget(|told| given_up.has(&alert, told));
        let id = interval.id;
        ledger::refresh(draft, rules, interval)?;
        returned.extend(draft.interval(id)?.and_then(|interval| {
            interval.ledger.iter().find(|entry| entry.group.receiver == *receiver).cloned()
        }));
        Ok(())
    })?;
    Ok(returned)
}

/// The intervals of an alert among which a stretch is to be looked for that is not where it was:
/// late events joined or parted what it was said of.
fn of_alert(
    draft: &mut Draft<'_>,
    rules: &Rules,
    saying: &Saying,
) -> Result<Vec<Interval>, Missing> {
    let alert = &saying.alert;
    let Some(rule) = rules.get(&alert.rule) else { return Ok(Vec::new()) };
    if rule.is_shared() {
        return Ok(draft.shared(alert, saying.from, Duration::ZERO)?.wholes);
    }
    let mut values = rule.per.iter().zip(&alert.values);
    let id = values.find_map(|(field, value)| value.as_ref().filter(|_| *field == Field::Id));
    // What is no stretch of one container is a moment, and stays where it was.
    let Some(container) = id else { return Ok(Vec::new()) };
    draft.timeline(container)?;
    let mut intervals = draft.intervals_of(container);
    intervals.retain(|interval| interval.alert == *alert);
    Ok(intervals)
}

/// What a letter gave up, to be known again in ledgers.
struct GivenUp<'a> {
    receiver: &'a str,
    /// Whom it was for, if that was another.
    by_way_of: Option<Arc<str>>,
    stretches: HashSet<(&'a AlertKey, Timestamp, Option<Timestamp>)>,
}

impl<'a> GivenUp<'a> {
    fn by(delivery: &'a Delivery) -> GivenUp<'a> {
        let says = delivery.notification.iter().flat_map(|notification| &notification.says);
        let ended_at = delivery.ended_at.unwrap_or_default();
        let stretches = says.flat_map(|saying| {
            let told = saying.told(ended_at);
            // What was said to fire, and went on as nothing, is said to be over since.
            let over = (&saying.alert, told.from, Some(told.until));
            [Some(over), (!told.over).then_some((&saying.alert, told.from, None))]
        });
        GivenUp {
            receiver: &delivery.group.receiver,
            by_way_of: settle::by_way_of(delivery),
            stretches: stretches.flatten().collect(),
        }
    }

    /// Whether this letter gave up this stretch. What was held back was given up by none.
    fn has(&self, alert: &AlertKey, told: &Told) -> bool {
        let until = told.over.then_some(told.until);
        told.because.is_none()
            && told.by_way_of == self.by_way_of
            && self.stretches.contains(&(alert, told.from, until))
    }

    /// Whether an interval is what was said, so that nothing of it is anywhere else: what began and
    /// ended in one instant may be.
    fn stands(&self, interval: &Interval, saying: &Saying) -> bool {
        let end = interval.end.as_ref().map(|end| end.at);
        let lasted = saying.until.is_none_or(|until| saying.from < until);
        let same = interval.start == saying.from && (saying.until.is_none() || end == saying.until);
        let mut entries = interval.ledger.iter();
        let entry = entries.find(|entry| *entry.group.receiver == *self.receiver);
        let mut stretches = entry.into_iter().flat_map(|entry| entry.given_up.stretches());
        lasted && same && stretches.any(|told| !told.goes_on && self.has(&interval.alert, &told))
    }
}

/// Makes a letter the one notification of its group that waits, if it speaks for one. It tries its
/// receiver be that down: whoever puts it back may have mended that.
fn wait_again(
    draft: &mut Draft<'_>,
    group: Option<Group>,
    delivery: Delivery,
) -> Result<Retried, Missing> {
    let now = draft.now;
    let receiver = is_for(&delivery).clone();
    health::try_with(draft, &receiver, now)?;
    let keeps_its_words = delivery.doubtful || delivery.stands_alone();
    // What nobody can have heard is put together anew. What may have been is said again under the
    // same id, or superseded, as after any attempt.
    let notification = delivery.notification.clone().filter(|_| keeps_its_words).map(|mut said| {
        let says = &mut Arc::make_mut(&mut said).says;
        says.iter_mut().for_each(|saying| saying.waiting_since = now);
        said
    });
    if let Some(group) = group {
        // One that was made for this goes on in the thread, or under the key, of what it ends.
        let said = delivery.notification.as_ref().filter(|_| group.spoken == 0);
        let opened_at = said.map_or(group.opened_at, |said| said.group_opened_at);
        let waiting = Some(delivery.id.clone());
        draft.put_group(Group { opened_at, waiting, timer: None, ..group });
    }
    draft.put_delivery(Delivery {
        status: Status::Pending,
        waiting_since: now,
        ended_at: None,
        notification,
        ..delivery.moved_to(receiver, now)
    });
    Ok(Retried::Waits)
}

fn end(draft: &mut Draft<'_>, delivery: Delivery, retried: Retried) -> Retried {
    let ended_at = Some(draft.now);
    draft.put_delivery(Delivery { status: retried.status(), ended_at, ..delivery });
    retried
}
