//! An attempt ends: what it said is told, or the delivery waits, or it is given up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Missing, each};
use super::health::{self, Route};
use super::types::*;
use super::{claim, decide, ledger, suppress};
use crate::clock::Timestamp;
use crate::rules::Rules;

/// What came of one attempt, with what is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The deliveries: one or, of a digest, all.
    pub deliveries: Vec<DeliveryId>,
    /// The lease under which it was sent; another's settles nothing.
    pub token: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Which of the receiver's addresses have it by now.
    pub reached: Vec<String>,
    /// How long to wait before the next attempt, if there is to be one.
    pub backoff: Duration,
    /// How long the place asked to be left alone, if it did.
    pub pause: Option<Duration>,
    /// How long it may wait in all.
    pub give_up_after: Duration,
}

impl Settlement {
    /// Whether more of the receiver's addresses have it than had it before.
    pub(super) fn reaches_more(&self, delivery: &Delivery) -> bool {
        self.reached.len() > delivery.reached.len()
    }
}

/// What came of one attempt. The texts are in the place's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The place took it; what it complained of all the same.
    Sent {
        /// Such as one mailbox of two.
        complaint: Option<String>,
        /// Its own name for the thread, if it gave one now: kept while the group lives.
        handle: Option<String>,
    },
    /// It did not, and may later.
    Transient {
        /// Why.
        detail: String,
    },
    /// Nobody knows whether it did.
    Unknown {
        /// What is known.
        detail: String,
    },
    /// It never takes this message; it might take it in plain words.
    Message {
        /// Why.
        detail: String,
    },
    /// It takes nothing until someone mends it.
    Destination {
        /// Why.
        detail: String,
    },
    /// It was claimed ahead of its turn, and nothing was sent.
    Unsent,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Sent { .. } => "sent",
            Outcome::Transient { .. } => "transient",
            Outcome::Unknown { .. } => "unknown",
            Outcome::Message { .. } => "message",
            Outcome::Destination { .. } => "destination",
            Outcome::Unsent => "unsent",
        }
    }

    /// What the place had to say, if it had.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Outcome::Sent { complaint, .. } => complaint.as_deref(),
            Outcome::Transient { detail }
            | Outcome::Unknown { detail }
            | Outcome::Message { detail }
            | Outcome::Destination { detail } => Some(detail),
            Outcome::Unsent => None,
        }
    }
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was told.
    Sent,
    /// It waits for its next attempt.
    Waits {
        /// When that is due.
        until: Timestamp,
    },
    /// It goes to another, since who it was for is down, or took too long.
    Moved {
        /// To whom.
        to: Arc<str>,
    },
    /// It was given up.
    Dead,
    /// The lease had been lost: nothing changed.
    Lost,
}

/// Settles attempts, one after the other. What became of each of an attempt's deliveries.
#[must_use]
pub fn settle(
    rules: &Rules,
    snapshot: &Snapshot,
    settlements: &[Settlement],
    now: Timestamp,
) -> Decision<Vec<Vec<Settled>>> {
    let mut draft = Draft::new(snapshot, now);
    // Where a row is missing, all of it is done again.
    let mut settle = |settlement: &Settlement| {
        let settled = settle_all(&mut draft, rules, settlement).unwrap_or_default();
        decide::look_at_touched(&mut draft, rules);
        settled
    };
    let settled = settlements.iter().map(&mut settle).collect();
    draft.finish(settled)
}

/// Takes back the leases that a stopped program held: nobody knows how far it came.
#[must_use]
pub fn take_back(snapshot: &Snapshot, ids: &[DeliveryId], now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(snapshot, now);
    for id in ids {
        let Ok(Some(delivery)) = draft.delivery(id) else { continue };
        if delivery.status == Status::Pending && delivery.lease.is_some() {
            draft.put_delivery(Delivery { lease: None, doubtful: true, ..delivery });
        }
    }
    draft.finish(())
}

/// Gives up deliveries for receivers that are no longer in the file.
#[must_use]
pub fn give_up(
    rules: &Rules,
    snapshot: &Snapshot,
    ids: &[DeliveryId],
    now: Timestamp,
) -> Decision<usize> {
    let mut draft = Draft::new(snapshot, now);
    let given_up = ids.iter().map(|id| give_up_one(&mut draft, rules, id).unwrap_or(false));
    let given_up = given_up.filter(|it| *it).count();
    decide::look_at_touched(&mut draft, rules);
    draft.finish(given_up)
}

fn give_up_one(draft: &mut Draft<'_>, rules: &Rules, id: &DeliveryId) -> Result<bool, Missing> {
    let Some(mut delivery) = draft.delivery(id)? else { return Ok(false) };
    let first = delivery.instead_of().filter(|name| rules.has_receiver(name));
    if let Some(receiver) = first.filter(|_| !delivery.is_remainder()).cloned() {
        // Who stood in is gone: it is for whom it always was.
        let now = draft.now;
        draft.put_delivery(delivery.moved_to(receiver, now));
        return Ok(false);
    }
    delivery.last_error =
        Some(format!("there is no receiver {:?} in the rules file any more", delivery.to));
    // What fires still is told should the receiver be back, as is what ends it.
    bury(draft, rules, delivery, |saying| !saying.news.is_firing())?;
    Ok(true)
}

fn settle_all(
    draft: &mut Draft<'_>,
    rules: &Rules,
    settlement: &Settlement,
) -> Result<Vec<Settled>, Missing> {
    let mut held = Vec::new();
    each(&settlement.deliveries, |id| {
        held.push(draft.delivery(id)?.filter(|delivery| {
            let lease = delivery.lease.as_ref();
            let is_held = lease.is_some_and(|lease| lease.token == settlement.token);
            is_held && delivery.status == Status::Pending
        }));
        Ok(())
    })?;
    // However much it told, it was one message.
    if let Some(first) = held.iter().flatten().next() {
        health::enter(draft, rules, first, settlement)?;
    }
    let mut settled = Vec::new();
    each(held, |delivery| {
        settled.push(match delivery {
            Some(delivery) => settle_one(draft, rules, settlement, delivery)?,
            None => Settled::Lost,
        });
        Ok(())
    })?;
    Ok(settled)
}

fn settle_one(
    draft: &mut Draft<'_>,
    rules: &Rules,
    settlement: &Settlement,
    mut delivery: Delivery,
) -> Result<Settled, Missing> {
    let now = draft.now;
    let is_remainder = delivery.is_remainder();
    let reaches_more = settlement.reaches_more(&delivery);
    delivery.lease = None;
    delivery.reached = settlement.reached.clone();
    let detail = settlement.outcome.detail().map(str::to_owned);
    draft.put_attempt(Attempt {
        delivery: delivery.id.clone(),
        number: delivery.attempts,
        started_at: now,
        ended_at: Some(now),
        outcome: Some(settlement.outcome.word()),
        detail: detail.clone(),
    });
    if detail.is_some() {
        delivery.last_error = detail;
    }
    match &settlement.outcome {
        // It was told by then.
        _ if is_remainder => {}
        outcome if reaches_more => told(draft, rules, &delivery, outcome)?,
        outcome @ Outcome::Sent { .. } => told(draft, rules, &delivery, outcome)?,
        Outcome::Unknown { .. } => delivery.doubtful = true,
        _ => resolve_doubt(draft, rules, &delivery, false)?,
    }
    match &settlement.outcome {
        Outcome::Sent { .. } => {
            draft.put_delivery(Delivery { status: Status::Sent, ended_at: Some(now), ..delivery });
            Ok(Settled::Sent)
        }
        // What a digest was to tell is told apart, in plain words each.
        Outcome::Message { .. } if !delivery.plain => {
            let next_attempt = Timer { set_at: now, due_at: now };
            draft.put_delivery(Delivery { plain: true, digest: None, next_attempt, ..delivery });
            Ok(Settled::Waits { until: now })
        }
        Outcome::Message { .. } => bury(draft, rules, delivery, |_| true),
        Outcome::Transient { .. } | Outcome::Destination { .. } | Outcome::Unknown { .. } => {
            wait(draft, rules, delivery, settlement)
        }
        Outcome::Unsent => Ok(put_back(draft, delivery)),
    }
}

/// Enters that a receiver was told, be it at one of its addresses, and lets its group go on.
fn told(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
    outcome: &Outcome,
) -> Result<(), Missing> {
    resolve_doubt(draft, rules, delivery, true)?;
    health::note_missed(draft, delivery)?;
    health::note_told(draft, delivery)?;
    // A digest is no message of the group's own, and another place's is none here.
    let is_its_own = delivery.instead_of().is_none() && delivery.digest.is_none();
    if let Outcome::Sent { handle: Some(handle), .. } = outcome
        && is_its_own
        && let Some(group) = draft.group(&delivery.group)?
    {
        draft.put_group(Group { handle: Some(handle.clone()), ..group });
    }
    go_on(draft, rules, delivery)
}

/// Has a delivery wait as it did before it was claimed, since nothing of it was sent. If all that it says
/// is new it is put together anew; else it stays frozen, with the time that each part has waited.
fn put_back(draft: &mut Draft<'_>, delivery: Delivery) -> Settled {
    let is_new =
        |saying: &Saying| !saying.doubtful && saying.waiting_since == delivery.waiting_since;
    let mut says = delivery.notification.iter().flat_map(|notification| &notification.says);
    let is_first = delivery.attempts <= 1 && !delivery.doubtful && !delivery.stands_alone();
    let (notification, digest) = match is_first && says.all(is_new) {
        true => (None, None),
        false => (delivery.notification.clone(), delivery.digest.clone()),
    };
    // The next attempt takes its number.
    let attempts = delivery.attempts.saturating_sub(1);
    draft.put_delivery(Delivery { attempts, notification, digest, ..delivery });
    Settled::Waits { until: draft.now }
}

/// Enters that what may have been told by this delivery was, or was not: wherever it is by now, since
/// late events may have joined or parted what it speaks of.
fn resolve_doubt(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
    was_told: bool,
) -> Result<(), Missing> {
    let Some(notification) = &delivery.notification else { return Ok(()) };
    // Nearly all that it says is still news of its group, which is read in one go.
    let news = draft.news_of(&delivery.group)?;
    let now = draft.now;
    let own: HashMap<IntervalId, &Saying> =
        notification.says.iter().map(|saying| (saying.interval, saying)).collect();
    let says: HashMap<_, &Saying> = notification
        .says
        .iter()
        .map(|saying| ((&saying.alert, saying.told(now).key()), saying))
        .collect();
    let to = by_way_of(delivery);
    // Several stretches of an alert may be alike: what began and ended within one instant. What another
    // may have heard is another's doubt.
    let said_of = |interval: &Interval, maybe: &Told| {
        if maybe.by_way_of != to {
            return None;
        }
        let own = own.get(&interval.id).filter(|own| own.told(now).key() == maybe.key());
        own.or_else(|| says.get(&(&interval.alert, maybe.key()))).copied()
    };
    let receiver = &delivery.group.receiver;
    let place_of = |interval: &Interval| {
        interval.ledger.iter().position(|entry| entry.group.receiver == *receiver)
    };
    let mut intervals: BTreeMap<IntervalId, Arc<Interval>> = BTreeMap::new();
    let (mut moved, mut handed_over) = (false, false);
    let mut whole = HashSet::new();
    each(&notification.says, |saying| {
        let interval = draft.interval(saying.interval)?;
        let entry = interval.as_ref().and_then(|it| Some((it, &it.ledger[place_of(it)?])));
        moved |= !entry.is_some_and(|(interval, entry)| {
            entry.maybe.stretches().any(|maybe| said_of(interval, &maybe).is_some())
        });
        let own = saying.told(now).key();
        let is_whole = |maybe: Told| !maybe.goes_on && maybe.key() == own;
        if entry.is_some_and(|(_, entry)| entry.maybe.stretches().any(is_whole)) {
            whole.insert(saying.interval);
        }
        handed_over |= saying.news.is_end() && !entry.is_some_and(|(_, entry)| entry.told.fires());
        intervals.extend(interval.map(|interval| (interval.id, interval)));
        Ok(())
    })?;
    let mut others = match moved {
        true => {
            draft.untold_of(&delivery.group.rule, |_, entry| entry.group.receiver == *receiver)?
        }
        false => news,
    };
    if was_told && handed_over {
        others.append(&mut draft.firing_of(&delivery.group)?);
    }
    intervals.extend(others.into_iter().map(|interval| (interval.id, interval)));
    // Told that the alert is over, nobody believes what was told before to fire, be that handed over
    // meanwhile to a stretch that does; and told that it fires, that it was told so of another.
    let mut by_alert: HashMap<&AlertKey, Vec<&Saying>> = HashMap::new();
    for saying in &notification.says {
        by_alert.entry(&saying.alert).or_default().push(saying);
    }
    // Each hears it for itself: who stands in does not hear it for whom the group tells, nor the other way.
    let counts_for = |before: &Told| before.by_way_of == to;
    let is_overtaken = |interval: &Interval, before: &Told| {
        let mut says = by_alert.get(&interval.alert).into_iter().flatten();
        let overtakes = |saying: &&Saying| {
            let is_same = saying.interval != interval.id && saying.from == before.from;
            saying.news.is_end() || (saying.news.is_firing() && is_same)
        };
        was_told && before.fires() && counts_for(before) && says.any(overtakes)
    };
    each(intervals.into_values(), |interval| {
        let Some(index) = place_of(&interval) else { return Ok(()) };
        // What has all of it where it was said of was not parted: what else began then is another.
        let is_anothers = |saying: &Saying, maybe: &Told| {
            saying.interval != interval.id && whole.contains(&saying.interval) && !maybe.goes_on
        };
        let stretches = interval.ledger[index].maybe.stretches();
        let mut said: Vec<(&Saying, Told)> = stretches
            .filter_map(|maybe| Some((said_of(&interval, &maybe)?, maybe)))
            .filter(|(saying, maybe)| !is_anothers(saying, maybe))
            .collect();
        // An end and a beginning in one instant: what fires is said last.
        said.sort_by_key(|(saying, _)| (saying.from, saying.until.unwrap_or(Timestamp::FOR_EVER)));
        let told = &interval.ledger[index].told;
        if said.is_empty() && !told.stretches().any(|told| is_overtaken(&interval, &told)) {
            return Ok(());
        }
        let before = interval;
        let mut interval = (*before).clone();
        let entry = &mut interval.ledger[index];
        if said.is_empty() {
            entry.told.forget(|told| is_overtaken(&before, told));
        }
        for (saying, maybe) in said {
            // That it was refused now says nothing of whether it was heard before, of another delivery.
            let of_another = !maybe.over && maybe.until < delivery.created_at;
            if !was_told && (saying.doubtful || of_another) {
                continue;
            }
            entry.maybe.forget(|other| *other == maybe);
            if !was_told {
                continue;
            }
            let told = Told { goes_on: maybe.goes_on, by_way_of: to.clone(), ..saying.told(now) };
            // What was, or may have been, said of the same time has been overtaken; what is withdrawn
            // is so wherever it was said to have begun.
            let withdrawn = saying.news == News::Withdrawn;
            let overtaken = |before: &Told| {
                counts_for(before) && ((withdrawn && !before.over) || before.meets(&told))
            };
            entry.told.forget(overtaken);
            entry.maybe.forget(overtaken);
            if !withdrawn {
                entry.told.add(told);
            }
            entry.given_up.forget(|given_up| given_up.by_way_of == to);
        }
        ledger::refresh(draft, rules, interval)
    })
}

/// To whom a delivery goes, if that is another in place of whom its group tells.
pub(super) fn by_way_of(delivery: &Delivery) -> Option<Arc<str>> {
    delivery.instead_of().map(|_| delivery.to.clone())
}

/// Has a delivery wait for its next attempt, or gives it up if it waited too long.
fn wait(
    draft: &mut Draft<'_>,
    rules: &Rules,
    mut delivery: Delivery,
    settlement: &Settlement,
) -> Result<Settled, Missing> {
    let now = draft.now;
    delivery.failures += 1;
    let overdue = |since: Timestamp| now.since(since) >= settlement.give_up_after;
    // What only ends what some heard is for these, be they down, and for nobody who stands in.
    let took_it = if delivery.is_remainder() {
        Some(delivery.to.clone())
    } else if delivery.is_notice() {
        None
    } else {
        let news = draft.news_of(&delivery.group)?;
        claim::who_took_it(draft, rules, &delivery.group, &news, (&delivery.to, false))?
    };
    if overdue(delivery.waiting_since) {
        let others = match &took_it {
            Some(_) => None,
            None => health::stand_in(draft, rules, &delivery)?,
        };
        if let Some(next) = others {
            // It has as long there as it had here.
            let delivery = Delivery { waiting_since: now, ..delivery };
            draft.put_delivery(delivery.moved_to(next.clone(), now));
            return Ok(Settled::Moved { to: next });
        }
        return bury(draft, rules, delivery, |saying| overdue(saying.waiting_since));
    }
    let route = match &took_it {
        Some(other) => health::route_to(draft, &delivery, other)?,
        None => health::route(draft, rules, &delivery)?,
    };
    let until = match route {
        Route::To(to) => {
            draft.put_delivery(delivery.moved_to(to.clone(), now));
            return Ok(Settled::Moved { to });
        }
        Route::Wait(until) => until,
        Route::Here => now.plus(settlement.backoff),
    };
    let until = until.min(last_attempt(&delivery, settlement));
    delivery.next_attempt = Timer { set_at: now, due_at: until };
    draft.put_delivery(delivery);
    Ok(Settled::Waits { until })
}

/// When the last attempt of a delivery is due: when its time is up, not after.
pub(super) fn last_attempt(delivery: &Delivery, settlement: &Settlement) -> Timestamp {
    delivery.waiting_since.plus(settlement.give_up_after)
}

/// Makes a delivery a dead letter. What it says and is not to be given up remains news.
fn bury(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: Delivery,
    give_up: impl Fn(&Saying) -> bool,
) -> Result<Settled, Missing> {
    // The receiver of what is left of one was told.
    if !delivery.is_remainder() {
        enter(draft, rules, &delivery, |entry, saying, told| {
            if give_up(saying) {
                entry.given_up.forget(|before| before.by_way_of == told.by_way_of);
                entry.given_up.add(told);
            }
        })?;
        go_on(draft, rules, &delivery)?;
    }
    let ended_at = Some(draft.now);
    draft.put_delivery(Delivery { status: Status::Dead, ended_at, lease: None, ..delivery });
    Ok(Settled::Dead)
}

/// Lets a group go on after a delivery of it has ended.
fn go_on(draft: &mut Draft<'_>, rules: &Rules, delivery: &Delivery) -> Result<(), Missing> {
    if let Some(mut group) = draft.group(&delivery.group)? {
        // What another was told is not what those whom the group tells have to be spared.
        if !delivery.goes_to_who_took_it() || delivery.instead_of().is_none() {
            group.last_told = Some(draft.now);
        }
        if group.waiting.as_ref() == Some(&delivery.id) {
            group.waiting = None;
        }
        draft.touch(&group.key);
        draft.put_group(group);
        suppress::review_if_any(draft, rules, &delivery.group)?;
    }
    Ok(())
}

/// Enters something into the ledger for all that a delivery says.
pub(super) fn enter(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
    set: impl Fn(&mut Entry, &Saying, Told),
) -> Result<(), Missing> {
    let now = draft.now;
    let says = delivery.notification.iter().flat_map(|notification| &notification.says);
    each(says, |saying| {
        // One that is gone was joined with another, which keeps what may have been heard of it.
        let Some(interval) = draft.interval(saying.interval)? else { return Ok(()) };
        let mut interval = Arc::unwrap_or_clone(interval);
        let told = Told { by_way_of: by_way_of(delivery), ..saying.told(now) };
        let receiver = &delivery.group.receiver;
        if let Some(entry) =
            interval.ledger.iter_mut().find(|entry| entry.group.receiver == *receiver)
        {
            set(entry, saying, told);
        }
        ledger::refresh(draft, rules, interval)
    })
}
