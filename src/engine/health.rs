//! How receivers are: which are down, who stands in for them, and who is told of that (DESIGN.md §7).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::draft::{Draft, Missing, each};
use super::group;
use super::settle::{self, Outcome, Settlement};
use super::types::*;
use crate::clock::Timestamp;
use crate::rules::{Labels, On, RECEIVER_DOWN, Rules, Severity};

/// After how many passing failures in a row a receiver is down, if they went on for [`FAILING`].
const FAILURES: u32 = 10;

/// For how long a receiver has to fail to be down; and how long one may ask to be left alone without
/// being taken for down.
const FAILING: Duration = Duration::from_secs(5 * 60);

/// How long a receiver that is down is left alone at least.
const PROBE_AFTER: Duration = Duration::from_secs(150);

/// How long the others wait while one message tries a receiver, before they see what came of it.
const WHILE_TRIED: Duration = Duration::from_secs(5);

/// How many of the messages that went elsewhere are named. The rest is counted.
const MISSED: usize = 20;

/// How a receiver is. One of which nothing is known is well.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Its name.
    pub receiver: Arc<str>,
    /// How many attempts failed in a row, whatever they were to tell.
    pub failures: u32,
    /// Since when they did.
    pub failing_since: Timestamp,
    /// Until when it asked to be left alone, be that over.
    pub resting_until: Option<Timestamp>,
    /// Set while it is down: it gets one message now and then, to see whether it takes it.
    pub down: Option<Down>,
}

/// What there is to say of a receiver that is down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Down {
    /// Since when.
    pub since: Timestamp,
    /// Why, in the place's own words.
    pub reason: String,
    /// When the next message may try it: where one does, when the lease of that ends.
    pub probe: Timer,
    /// Whether one does.
    pub is_tried: bool,
    /// The delivery that tells its fallback.
    #[serde(default)]
    pub notice: Option<DeliveryId>,
    /// Who was told of it: its fallback, or who stood in for that. They are told when it is back.
    pub told: Option<Arc<str>>,
    /// What was told to its fallback instead, the first twenty of it.
    pub missed: Vec<Missed>,
    /// How much that is in all.
    pub missed_in_all: u32,
}

/// A message that was for one receiver and was told to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// The rule that spoke.
    pub rule: Arc<str>,
    /// Its group's labels.
    pub labels: Labels,
    /// When it was told.
    pub at: Timestamp,
}

/// What a notification says of a receiver: that it is down or, once `back_at` is known, back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Which receiver.
    pub receiver: String,
    /// Why it is down, in the place's own words.
    pub reason: String,
    /// When it was back.
    pub back_at: Option<Timestamp>,
    /// What was told to another instead, the first twenty of it.
    pub missed: Vec<Missed>,
    /// How much that is in all.
    pub missed_in_all: u32,
}

impl Health {
    /// A receiver of which nothing bad is known.
    #[must_use]
    pub fn well(receiver: Arc<str>) -> Health {
        let failing_since = Timestamp::default();
        Health { receiver, failures: 0, failing_since, resting_until: None, down: None }
    }

    /// Whether this attempt says how it is: that of the one message that tries it, while it is down.
    /// What was under way when it went down speaks of a time before.
    fn is_judged_by(&self, delivery: &Delivery) -> bool {
        let until = delivery.lease.as_ref().map(|lease| lease.until);
        self.down.as_ref().is_none_or(|down| until == Some(down.probe.due_at))
    }

    /// Until when it is left alone, as it asked. What is further off than it could ask for is of a clock
    /// that jumped back.
    fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.resting_until.filter(|until| now < *until && until.since(now) <= FAILING)
    }

    /// Whether it may be sent something: all there is, or the one message that tries it.
    fn may_be_tried(&self, now: Timestamp) -> bool {
        self.down.as_ref().is_none_or(|down| down.probe.is_due(now))
    }
}

impl Down {
    /// When to see whether the next message may try it.
    fn next_try(&self, now: Timestamp) -> Timestamp {
        match self.is_tried {
            true => self.probe.due_at.min(now.plus(WHILE_TRIED)),
            false => self.probe.due_at,
        }
    }
}

/// Where a delivery is to go.
pub(super) enum Route {
    /// To whom it waits for.
    Here,
    /// To this one instead.
    To(Arc<str>),
    /// Nowhere before this instant.
    Wait(Timestamp),
}

/// Where a delivery is to go: to whom it waits for, if that is well or is to be tried again, or else to
/// the first such in the chain of its receiver's fallbacks.
pub(super) fn route(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
) -> Result<Route, Missing> {
    let now = draft.now;
    let chain = chain_of(draft, rules, delivery)?;
    if let Some(until) = draft.health(&delivery.to)?.rests_until(now) {
        return Ok(Route::Wait(until));
    }
    let may_be_tried = || chain.iter().filter(|health| health.may_be_tried(now));
    let here = may_be_tried().find(|health| health.receiver == delivery.to);
    let Some(health) = here.or_else(|| may_be_tried().next()) else {
        let next_tries =
            chain.iter().filter_map(|health| Some(health.down.as_ref()?.next_try(now)));
        return Ok(Route::Wait(next_tries.min().unwrap_or(now)));
    };
    Ok(match health.receiver == delivery.to {
        true => Route::Here,
        false => Route::To(health.receiver.clone()),
    })
}

/// The same of what is for this one and for no other.
pub(super) fn route_to(
    draft: &mut Draft<'_>,
    delivery: &Delivery,
    receiver: &Arc<str>,
) -> Result<Route, Missing> {
    let (now, health) = (draft.now, draft.health(receiver)?);
    Ok(match (&health.down, health.rests_until(now)) {
        _ if *receiver != delivery.to => Route::To(receiver.clone()),
        (_, Some(until)) => Route::Wait(until),
        (Some(down), None) if !health.may_be_tried(now) => Route::Wait(down.next_try(now)),
        _ => Route::Here,
    })
}

/// Whether this one may be sent something now.
pub(super) fn can_be_told(draft: &mut Draft<'_>, receiver: &Arc<str>) -> Result<bool, Missing> {
    let (now, health) = (draft.now, draft.health(receiver)?);
    Ok(health.may_be_tried(now) && health.rests_until(now).is_none())
}

/// How those are who may get a delivery: its group's receiver, its fallback, that one's, and so on. One
/// that the group tells anyway ends the chain: whoever is there hears of it.
fn chain_of(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
) -> Result<Vec<Health>, Missing> {
    let group = &delivery.group;
    // Where that is no longer in the file, it stays where it is.
    let first = match rules.has_receiver(&group.receiver) {
        true => &group.receiver,
        false => &delivery.to,
    };
    let mut chain = vec![first.clone()];
    while let Some(next) = after(rules, group, chain.last().unwrap_or(first)) {
        if chain.contains(&next) {
            break;
        }
        chain.push(next);
    }
    let mut healths = Vec::new();
    each(chain, |receiver| {
        healths.push(draft.health(&receiver)?);
        Ok(())
    })?;
    Ok(healths)
}

/// Who is to get a delivery of which who should have it took too long: the first further down the
/// chain that may be tried now.
pub(super) fn stand_in(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
) -> Result<Option<Arc<str>>, Missing> {
    let chain = chain_of(draft, rules, delivery)?.into_iter();
    let mut others = chain.skip_while(|health| health.receiver != delivery.to).skip(1);
    Ok(others.find(|health| health.may_be_tried(draft.now)).map(|health| health.receiver))
}

/// Who stands in for this receiver of a group, if someone does who is not told anyway.
fn after(rules: &Rules, group: &GroupKey, receiver: &str) -> Option<Arc<str>> {
    let rule = rules.get(&group.rule);
    let told_anyway = |name: &str| rule.is_some_and(|rule| rule.tells(name));
    rules.fallback(receiver).filter(|name| !told_anyway(name)).cloned()
}

/// Has this delivery be the one message that tries a receiver that is down, until `until`.
pub(super) fn try_with(
    draft: &mut Draft<'_>,
    receiver: &Arc<str>,
    until: Timestamp,
) -> Result<(), Missing> {
    set_probe(draft, receiver, until, true)
}

/// Has the next message for a receiver that is down try it.
fn try_next(draft: &mut Draft<'_>, receiver: &Arc<str>) -> Result<(), Missing> {
    let now = draft.now;
    set_probe(draft, receiver, now, false)
}

fn set_probe(
    draft: &mut Draft<'_>,
    receiver: &Arc<str>,
    due_at: Timestamp,
    is_tried: bool,
) -> Result<(), Missing> {
    let mut health = draft.health(receiver)?;
    if let Some(down) = &mut health.down {
        (down.probe, down.is_tried) = (Timer { set_at: draft.now, due_at }, is_tried);
        draft.put_health(health);
    }
    Ok(())
}

/// Enters what an attempt says of the receiver that it was sent to.
pub(super) fn enter(
    draft: &mut Draft<'_>,
    rules: &Rules,
    delivery: &Delivery,
    settlement: &Settlement,
) -> Result<(), Missing> {
    let mut health = draft.health(&delivery.to)?;
    if let Some(pause) = settlement.pause {
        let until = draft.now.plus(pause);
        health.resting_until = health.rests_until(draft.now).max(Some(until));
        draft.put_health(health.clone());
    }
    if !health.is_judged_by(delivery) {
        return Ok(());
    }
    // One mailbox of several that takes nothing says nothing of the others.
    if settlement.reaches_more(delivery) {
        return came_up(draft, rules, health);
    }
    let (detail, for_good) = match &settlement.outcome {
        Outcome::Sent { .. } => return came_up(draft, rules, health),
        // It is there, and says no to this one; or it was not asked.
        Outcome::Message { .. } | Outcome::Unsent => return try_next(draft, &delivery.to),
        _ if !settlement.reached.is_empty() => return try_next(draft, &delivery.to),
        Outcome::Destination { detail } => (detail, true),
        Outcome::Transient { detail } | Outcome::Unknown { detail } => (detail, false),
    };
    let backoff = settlement.backoff;
    let long = for_good || backoff > FAILING;
    // The last attempt of what waits for it tries it as well.
    let probe_at = draft.now.plus(backoff.max(PROBE_AFTER));
    let last = settle::last_attempt(delivery, settlement).max(draft.now);
    failed(draft, rules, health, detail, probe_at.min(last), long)
}

fn failed(
    draft: &mut Draft<'_>,
    rules: &Rules,
    mut health: Health,
    detail: &str,
    probe_at: Timestamp,
    is_down: bool,
) -> Result<(), Missing> {
    let now = draft.now;
    if health.failures == 0 {
        health.failing_since = now;
    }
    // A clock that jumped back begins anew.
    health.failing_since = health.failing_since.min(now);
    health.failures = health.failures.saturating_add(1);
    let for_long = health.failures >= FAILURES && now.since(health.failing_since) >= FAILING;
    let probe = Timer { set_at: now, due_at: probe_at };
    let reason = detail.to_owned();
    match &mut health.down {
        Some(down) => (down.probe, down.is_tried, down.reason) = (probe, false, reason),
        None if is_down || for_long => {
            health.down = Some(Down {
                since: now,
                reason,
                probe,
                is_tried: false,
                notice: None,
                told: None,
                missed: Vec::new(),
                missed_in_all: 0,
            });
        }
        None => {}
    }
    // It may have been down before it had this fallback, which is told unless another was who is there.
    if let Some(down) = &mut health.down
        && let Some(fallback) = rules.fallback(&health.receiver)
        && is_to_be_told(draft, rules, down)?
    {
        let delivery = tell(draft, fallback, &health.receiver, down, None)?;
        (down.notice, down.told) = (Some(delivery.id.clone()), None);
        draft.put_delivery(delivery);
    }
    draft.put_health(health);
    Ok(())
}

/// Whether nobody who is there was told, or is being told, that a receiver is down.
fn is_to_be_told(draft: &mut Draft<'_>, rules: &Rules, down: &Down) -> Result<bool, Missing> {
    Ok(match (&down.told, &down.notice) {
        (Some(told), _) => !rules.has_receiver(told),
        (None, Some(notice)) => {
            let notice = draft.delivery(notice)?;
            notice.is_none_or(|notice| notice.status != Status::Pending)
        }
        (None, None) => true,
    })
}

fn came_up(draft: &mut Draft<'_>, rules: &Rules, health: Health) -> Result<(), Missing> {
    if health.failures == 0 && health.down.is_none() {
        return Ok(());
    }
    if let Some(down) = &health.down {
        let back_at = Some(draft.now);
        // Whoever heard that it is down, be it in place of the fallback, hears that it is back.
        if let Some(Hearer { to, teller }) = who_heard(draft, rules, down)? {
            let delivery = tell(draft, &teller, &health.receiver, down, back_at)?;
            draft.put_delivery(Delivery { to, ..delivery });
        }
        // Whoever reads there learns what went elsewhere.
        if down.missed_in_all > 0 {
            let delivery = tell(draft, &health.receiver, &health.receiver, down, back_at)?;
            draft.put_delivery(delivery);
        }
    }
    let Health { receiver, resting_until, .. } = health;
    // What waited for it to be tried again waits no more.
    draft.hurry(&receiver);
    draft.put_health(Health { resting_until, ..Health::well(receiver) });
    Ok(())
}

/// Who heard that a receiver is down, or may have, and in whose name it was told: that of its fallback then.
struct Hearer {
    to: Arc<str>,
    teller: Arc<str>,
}

/// If nobody has heard of it yet, nobody is told of it any more.
fn who_heard(draft: &mut Draft<'_>, rules: &Rules, down: &Down) -> Result<Option<Hearer>, Missing> {
    let notice = match &down.notice {
        Some(notice) => draft.delivery(notice)?,
        None => None,
    };
    let hearer = |to: &Arc<str>| {
        let teller = notice.as_ref().map_or(to, |notice| &notice.group.receiver).clone();
        Some(Hearer { to: to.clone(), teller })
    };
    if let Some(told) = &down.told {
        return Ok(hearer(told).filter(|_| rules.has_receiver(told)));
    }
    let Some(notice) = notice.as_ref().filter(|it| it.status == Status::Pending) else {
        return Ok(None);
    };
    if notice.lease.is_some() || notice.doubtful {
        return Ok(hearer(&notice.to));
    }
    let (status, ended_at) = (Status::Superseded, Some(draft.now));
    draft.put_delivery(Delivery { status, ended_at, ..notice.clone() });
    Ok(None)
}

/// Who tells `to` that a receiver is down, and that it is back. There is no such group, but its thread and
/// its messages are named as those of others are.
fn speaker(to: &Arc<str>, receiver: &Arc<str>, down: &Down) -> Group {
    let labels = Labels::from([("receiver", &**receiver)]);
    let key = GroupKey { rule: RECEIVER_DOWN.into(), receiver: to.clone(), labels };
    Group::new(key, down.since)
}

/// Notes that a message was told to another than the receiver that it was for.
pub(super) fn note_missed(draft: &mut Draft<'_>, delivery: &Delivery) -> Result<(), Missing> {
    let Some(receiver) = delivery.instead_of() else { return Ok(()) };
    let mut health = draft.health(receiver)?;
    if let Some(down) = &mut health.down {
        down.missed_in_all = down.missed_in_all.saturating_add(1);
        if down.missed.len() < MISSED {
            let group = &delivery.group;
            let (rule, labels) = (group.rule.clone(), group.labels.clone());
            down.missed.push(Missed { rule, labels, at: draft.now });
        }
        draft.put_health(health);
    }
    Ok(())
}

/// Notes who was told that a receiver is down.
pub(super) fn note_told(draft: &mut Draft<'_>, delivery: &Delivery) -> Result<(), Missing> {
    let notice = delivery.notification.as_ref().and_then(|says| says.notice.as_ref());
    let Some(notice) = notice.filter(|notice| notice.back_at.is_none()) else { return Ok(()) };
    let mut health = draft.health(&notice.receiver.as_str().into())?;
    if let Some(down) = &mut health.down {
        down.told = Some(delivery.to.clone());
        draft.put_health(health);
    }
    Ok(())
}

/// The message that tells `to` that a receiver is down, or is back.
fn tell(
    draft: &mut Draft<'_>,
    to: &Arc<str>,
    receiver: &Arc<str>,
    down: &Down,
    back_at: Option<Timestamp>,
) -> Result<Delivery, Missing> {
    let now = draft.now;
    let mut group = speaker(to, receiver, down);
    let labels = group.key.labels.clone();
    let mut delivery = group::speak(&mut group, now, now);
    while draft.delivery(&delivery.id)?.is_some() {
        delivery = group::speak(&mut group, now, now);
    }
    let alert = AlertNews {
        labels: labels.clone(),
        container: receiver.to_string(),
        members: Vec::new(),
        members_in_all: 0,
        news: if back_at.is_some() { News::Over } else { News::Firing },
        started_at: down.since,
        ended_at: back_at,
        cause: back_at.map(|_| Cause::Resolved),
        occurrences: 1,
        intervals: 1,
        heard_at: down.since,
        event: None,
        ended_by: None,
        before: None,
    };
    let fires = u32::from(back_at.is_none());
    let notification = Notification {
        rule: RECEIVER_DOWN.into(),
        receiver: to.to_string(),
        severity: Severity::Critical,
        on: On::Event,
        labels,
        runbook_url: None,
        group_opened_at: down.since,
        notice: Some(Notice {
            receiver: receiver.to_string(),
            reason: down.reason.clone(),
            back_at,
            missed: down.missed.clone(),
            missed_in_all: down.missed_in_all,
        }),
        digest: None,
        due_at: now,
        made_at: now,
        firing: fires,
        resolved: 1 - fires,
        firing_in_group: fires,
        alerts: vec![alert],
        states: Vec::new(),
        says: Vec::new(),
    };
    Ok(Delivery { notification: Some(notification.into()), ..delivery })
}

/// Has the receivers that are down tried again with the next message there is: whoever starts the
/// program anew may have mended them.
#[must_use]
pub fn try_again(snapshot: &Snapshot, receivers: &[Arc<str>], now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(snapshot, now);
    for receiver in receivers {
        let _: Result<(), Missing> = try_next(&mut draft, receiver);
        if draft.health(receiver).is_ok_and(|health| health.down.is_some()) {
            draft.hurry(receiver);
        }
    }
    draft.finish(())
}

impl Delivery {
    /// Whether it tells of a receiver, and not of a group's alerts: it says what it said when it was
    /// made.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        self.notification.as_ref().is_some_and(|notification| notification.notice.is_some())
    }
}
