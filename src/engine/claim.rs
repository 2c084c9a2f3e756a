//! A delivery is claimed: what it says is put together from what is true now, then frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::draft::{Draft, Missing, each};
use super::health::{self, Route};
use super::types::*;
use super::{decide, group, ledger, settle, shared, suppress, timeline};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::rules::{Labels, On, Rules};

/// How many intervals the messages speak of that are claimed, or settled, by one decision, but for the
/// first of them: all of it is in memory at once.
pub const INTERVALS: u32 = 256;

/// The right to send a delivery, until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the holder.
    pub token: String,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// Whoever is free to send a message.
#[derive(Clone, Debug)]
pub struct Hand {
    /// To whom.
    pub receiver: Arc<str>,
    /// The lease that it takes.
    pub lease: Lease,
    /// What the receiver shows that others do not.
    pub shows: Shows,
}

/// What some receivers show; it is left out for all others, who need not pay for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shows {
    /// The states of a container.
    pub states: bool,
    /// Every alert by itself, and not [`ALERTS`] at most.
    pub all_alerts: bool,
    /// Several messages in one.
    pub digests: bool,
}

/// What is to be claimed.
#[derive(Clone, Debug)]
pub struct Claim {
    /// By whom.
    pub hand: Hand,
    /// What is to be told in one message, as far as it is for this receiver, due and free.
    pub deliveries: Vec<DeliveryId>,
}

impl Claim {
    /// What claiming it will have to see for sure.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys {
            deliveries: self.deliveries.iter().cloned().collect(),
            receivers: [self.hand.receiver.clone()].into(),
            silences: true,
            ..Keys::default()
        }
    }
}

/// A message to be sent now.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The delivery, leased; of a digest, the longest waiting.
    pub delivery: Delivery,
    /// What else the same message tells, if it is a digest.
    pub others: Vec<Delivery>,
    /// What it says.
    pub notification: Arc<Notification>,
    /// Names the thread: the same for all that the group says while it lives. A digest has one of its
    /// own.
    pub thread: String,
    /// The receiver's own name for that thread, if it gave one.
    pub handle: Option<String>,
}

impl Claimed {
    /// Names the message: the same for every attempt.
    #[must_use]
    pub fn id(&self) -> &DeliveryId {
        self.delivery.digest.as_ref().unwrap_or(&self.delivery.id)
    }

    /// What settling it will have to see for sure, and most of the time no more.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let mut keys = Keys { silences: true, ..Keys::default() };
        for delivery in self.deliveries() {
            keys.deliveries.insert(delivery.id.clone());
            keys.receivers.insert(delivery.to.clone());
            if !delivery.stands_alone() {
                keys.groups.insert(delivery.group.clone());
                keys.news.insert(delivery.group.clone());
            }
        }
        keys
    }

    /// All that it tells.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        std::iter::once(&self.delivery).chain(&self.others)
    }
}

/// A delivery that is due and free, with the group that speaks, if one does.
struct Ready {
    delivery: Delivery,
    group: Option<Group>,
}

/// Claims for each message in turn those of one receiver's deliveries that are due and free, to be told in
/// it; as many messages as speak of [`INTERVALS`] at most, and the first. A delivery that was attempted
/// and would say something else now is superseded by a new one, which is claimed in its stead; one with
/// nothing left to say is dropped. What was told in a digest before is claimed with all of that, and
/// nothing else.
#[must_use]
pub fn claim(
    rules: &Rules,
    snapshot: &Snapshot,
    claims: &[Claim],
    now: Timestamp,
) -> Decision<Vec<Claimed>> {
    let mut draft = Draft::new(snapshot, now);
    let claimed = claim_in_turn(&mut draft, rules, claims);
    draft.finish(claimed)
}

/// Does so within a decision.
pub(super) fn claim_in_turn(
    draft: &mut Draft<'_>,
    rules: &Rules,
    claims: &[Claim],
) -> Vec<Claimed> {
    let mut room = None;
    let mut claimed = Vec::new();
    for claim in claims {
        // Where a row is missing, all of it is done again.
        claimed.extend(claim_one(draft, rules, claim, &mut room).unwrap_or_default());
        decide::look_at_touched(draft, rules);
    }
    claimed
}

fn claim_one(
    draft: &mut Draft<'_>,
    rules: &Rules,
    claim: &Claim,
    room: &mut Option<u32>,
) -> Result<Option<Claimed>, Missing> {
    let Claim { hand, deliveries } = claim;
    let together = together(draft, hand, deliveries)?;
    let weight = weight(draft, rules, &together)?;
    if room.is_some_and(|room| room < weight) {
        return Ok(None);
    }
    if weight > 0 {
        *room = Some(room.unwrap_or(INTERVALS).saturating_sub(weight));
    }
    let shows = Shows { states: hand.shows.states && together.len() == 1, ..hand.shows };
    let mut ready = Vec::new();
    each(together, |delivery| {
        ready.extend(make_ready(draft, rules, delivery, shows)?);
        Ok(())
    })?;
    lease_all(draft, rules, ready, &hand.lease)
}

/// How many intervals these are going to speak of, about.
fn weight(draft: &mut Draft<'_>, rules: &Rules, together: &[Delivery]) -> Result<u32, Missing> {
    let mut weight = 0u32;
    each(together.iter().filter(|delivery| !delivery.stands_alone()), |delivery| {
        let Some(group) = draft.group(&delivery.group)? else { return Ok(()) };
        let repeats = group::is_due_to_repeat(&group, rules, draft.now);
        weight = weight.saturating_add(if repeats { group.firing } else { group.news });
        Ok(())
    })?;
    Ok(weight)
}

/// Those of these deliveries for a receiver that go in one message with the first that is due and free.
fn together(
    draft: &mut Draft<'_>,
    hand: &Hand,
    ids: &[DeliveryId],
) -> Result<Vec<Delivery>, Missing> {
    let now = draft.now;
    let is_free =
        |delivery: &Delivery| delivery.lease.as_ref().is_none_or(|lease| lease.until <= now);
    let mut free = Vec::new();
    each(ids, |id| {
        free.extend(draft.delivery(id)?.filter(|delivery| {
            let is_due = delivery.next_attempt.is_due(now);
            // It may have gone to another since it was found.
            let is_here = delivery.to == hand.receiver && delivery.status == Status::Pending;
            is_here && is_free(delivery) && is_due
        }));
        Ok(())
    })?;
    let Some(first) = free.first() else { return Ok(free) };
    // It may have been one that takes them when it was told in one.
    if let Some(digest) = first.digest.clone().filter(|_| hand.shows.digests) {
        let mut told_before = draft.of_digest(&digest)?;
        told_before.retain(is_free);
        return Ok(told_before);
    }
    // What was refused in full words is tried by itself, and what may have been heard keeps its id.
    let is_digestible = |delivery: &Delivery| {
        let is_fresh = delivery.digest.is_none() && !delivery.plain && !delivery.doubtful;
        is_fresh && !delivery.stands_alone()
    };
    match is_digestible(first) {
        true => free.retain(is_digestible),
        false => free.truncate(1),
    }
    Ok(free)
}

/// Looks at what a delivery that is due and free is to say, and where.
fn make_ready(
    draft: &mut Draft<'_>,
    rules: &Rules,
    mut delivery: Delivery,
    shows: Shows,
) -> Result<Option<Ready>, Missing> {
    let now = draft.now;
    // Whoever held an expired lease is gone, and nobody knows how far it came.
    delivery.doubtful |= delivery.lease.is_some();
    if !delivery.stands_alone() {
        draft.want_news_of(&delivery.group);
    }
    if delivery.is_remainder() && !delivery.is_notice() && is_overtaken(draft, &delivery)? {
        end(draft, delivery, Status::Superseded);
        return Ok(None);
    }
    let route = match delivery.is_remainder() {
        true => health::route_to(draft, &delivery, &delivery.to)?,
        false => health::route(draft, rules, &delivery)?,
    };
    if delivery.stands_alone() {
        let delivery = on_its_way(draft, delivery, route);
        return Ok(delivery.map(|delivery| Ready { delivery, group: None }));
    }
    suppress::review_if_any(draft, rules, &delivery.group)?;
    let Some(mut group) = draft.group(&delivery.group)? else {
        end(draft, delivery, Status::Dropped);
        return Ok(None);
    };
    let news = draft.news_of(&group.key)?;
    let to = match &route {
        Route::To(other) => other,
        Route::Here | Route::Wait(_) => &delivery.to,
    };
    let is_there = *to == group.key.receiver;
    let took_it = who_took_it(draft, rules, &group.key, &news, (&delivery.to, is_there))?;
    let route = match &took_it {
        Some(other) => health::route_to(draft, &delivery, other)?,
        None => route,
    };
    let Some(mut delivery) = on_its_way(draft, delivery, route) else { return Ok(None) };
    let says = (&news[..], took_it.is_some());
    let notification = compose(draft, rules, &group, &delivery, says, shows)?;
    if notification.says.is_empty() {
        end(draft, delivery, Status::Dropped);
        group.waiting = None;
        draft.touch(&group.key);
        draft.put_group(group);
        return Ok(None);
    }
    match &delivery.notification {
        Some(frozen) if says_as(&frozen.says, &notification.says) => {
            // Where it is for another by now, it is told as it is for that one.
            if delivery.failures == 0 && (!delivery.doubtful || delivery.instead_of().is_some()) {
                delivery.notification = Some(notification.into());
            } else if frozen.says != notification.says {
                // Some of it may have been said meanwhile.
                let says = notification.says;
                delivery.notification = Some(Notification { says, ..(**frozen).clone() }.into());
            }
        }
        Some(_) => {
            let successor = Delivery {
                to: delivery.to.clone(),
                waiting_since: delivery.waiting_since,
                failures: delivery.failures,
                last_error: delivery.last_error.clone(),
                notification: Some(notification.into()),
                ..group::speak(&mut group, delivery.due_at, now)
            };
            end(draft, delivery, Status::Superseded);
            delivery = successor;
        }
        None => delivery.notification = Some(notification.into()),
    }
    Ok(Some(Ready { delivery, group: Some(group) }))
}

/// Whether all that this says to fire was told to be over since: those whom it did not reach are told that,
/// by another message, and would not know which of them is the last.
fn is_overtaken(draft: &mut Draft<'_>, delivery: &Delivery) -> Result<bool, Missing> {
    let says = delivery.notification.iter().flat_map(|notification| &notification.says);
    let mut are_over = true;
    each(says, |saying| {
        let interval = draft.interval(saying.interval)?;
        let mut ledger = interval.iter().flat_map(|interval| &interval.ledger);
        let entry = ledger.find(|entry| entry.group.receiver == delivery.group.receiver);
        let is_over = entry.is_some_and(|entry| entry.told.is_over());
        are_over &= saying.news.is_firing() && is_over;
        Ok(())
    })?;
    Ok(are_over)
}

/// The delivery, if it is to go now and to whom it waits for.
fn on_its_way(draft: &mut Draft<'_>, delivery: Delivery, route: Route) -> Option<Delivery> {
    let now = draft.now;
    match route {
        Route::Here => return Some(delivery),
        Route::To(receiver) => draft.put_delivery(delivery.moved_to(receiver, now)),
        Route::Wait(until) => {
            let next_attempt = Timer { set_at: now, due_at: until };
            draft.put_delivery(Delivery { next_attempt, lease: None, ..delivery });
        }
    }
    None
}

/// Who has to hear this news of an interval, for it ends what they heard (see [`ledger::owed`]). Nobody, where
/// it is for whoever is there.
fn takers(
    rules: &Rules,
    interval: &Interval,
    entry: &Entry,
    news: News,
) -> BTreeSet<Option<Arc<str>>> {
    match news.is_end() {
        true => ledger::owed(rules, interval, entry),
        false => BTreeSet::new(),
    }
}

/// Who the next message of a group is to go to and nobody else, if all its news are ends, each for those
/// who heard the beginning: `to` before the others, and who can be told before who cannot. Where its
/// receiver is there, that is told of its own along with all else.
pub(super) fn who_took_it(
    draft: &mut Draft<'_>,
    rules: &Rules,
    group: &GroupKey,
    news: &[Arc<Interval>],
    (to, is_there): (&Arc<str>, bool),
) -> Result<Option<Arc<str>>, Missing> {
    let mut all = BTreeSet::new();
    for interval in news {
        let entry = interval.ledger.iter().find(|entry| entry.group == *group);
        let Some(entry) = entry.filter(|entry| entry.is_to_be_told()) else { continue };
        let Some(news) = entry.news else { continue };
        let takers = takers(rules, interval, entry, news);
        if takers.is_empty() || (is_there && takers.contains(&None)) {
            return Ok(None);
        }
        all.extend(takers);
    }
    let itself = all.remove(&None).then(|| group.receiver.clone());
    let names = all.into_iter().flatten().chain(itself);
    let mut ready = Vec::new();
    each(names, |name| {
        ready.push((!health::can_be_told(draft, &name)?, name != *to, name));
        Ok(())
    })?;
    Ok(ready.into_iter().min().map(|(_, _, name)| name))
}

/// To whom the next message of a group goes: its receiver or, if that is no longer in the rules file, one
/// who took the beginning of what it ends in place of that.
pub(super) fn addressee(
    draft: &mut Draft<'_>,
    rules: &Rules,
    group: &GroupKey,
) -> Result<Arc<str>, Missing> {
    let receiver = &group.receiver;
    if rules.has_receiver(receiver) {
        return Ok(receiver.clone());
    }
    let news = draft.news_of(group)?;
    let took_it = who_took_it(draft, rules, group, &news, (receiver, false))?;
    Ok(took_it.unwrap_or_else(|| receiver.clone()))
}

/// Has what waits for one alone make way for what others are to hear of the same group.
pub(super) fn make_way(
    draft: &mut Draft<'_>,
    rules: &Rules,
    group: &Group,
    waiting: &DeliveryId,
) -> Result<(), Missing> {
    let receiver = &group.key.receiver;
    // Nobody is owed anything by a group that told nothing, and all of a storm need not be asked.
    let has_others = rules.fallback(receiver).is_some() || group.last_told.is_some();
    if group.news == 0 || !has_others {
        return Ok(());
    }
    let Some(delivery) = draft.delivery(waiting)? else { return Ok(()) };
    let is_alone = delivery.to == *receiver && rules.fallback(receiver).is_none();
    if is_alone || delivery.lease.is_some() {
        return Ok(());
    }
    // Where it goes is asked anew when it is claimed.
    let goes_on = match health::can_be_told(draft, &delivery.to)? {
        false => rules.has_receiver(receiver),
        true if delivery.goes_to_who_took_it() => {
            let news = draft.news_of(&group.key)?;
            who_took_it(draft, rules, &group.key, &news, (&delivery.to, false))?.is_none()
        }
        true => false,
    };
    if goes_on {
        let now = draft.now;
        draft.put_delivery(delivery.moved_to(receiver.clone(), now));
    }
    Ok(())
}

/// Leases what is ready, to be told in one message.
fn lease_all(
    draft: &mut Draft<'_>,
    rules: &Rules,
    mut ready: Vec<Ready>,
    lease: &Lease,
) -> Result<Option<Claimed>, Missing> {
    let now = draft.now;
    ready.sort_by(|Ready { delivery: a, .. }, Ready { delivery: b, .. }| {
        (a.waiting_since, &a.id).cmp(&(b.waiting_since, &b.id))
    });
    let ids = ready.iter().map(|one| &one.delivery.id);
    let digest = (ready.len() > 1).then(|| group::digest_id(ids));
    for Ready { delivery, group } in &mut ready {
        health::try_with(draft, &delivery.to, lease.until)?;
        delivery.attempts += 1;
        delivery.lease = Some(lease.clone());
        delivery.digest.clone_from(&digest);
        draft.put_attempt(Attempt {
            delivery: delivery.id.clone(),
            number: delivery.attempts,
            started_at: now,
            ended_at: None,
            outcome: None,
            detail: None,
        });
        if let Some(group) = group {
            draft.put_group(group.clone());
        }
    }
    each(&ready, |Ready { delivery, .. }| {
        // From here on it may have been heard, whatever becomes of us.
        if !delivery.is_remainder() {
            settle::enter(draft, rules, delivery, |entry, _, told| {
                entry.maybe.add(told);
            })?;
        }
        draft.put_delivery(delivery.clone());
        Ok(())
    })?;
    Ok(match digest {
        Some(id) => digest_of(ready, id),
        None => ready.pop().and_then(alone),
    })
}

/// The message that tells one delivery.
fn alone(Ready { delivery, group }: Ready) -> Option<Claimed> {
    let notification = delivery.notification.clone()?;
    let opened_at = group.as_ref().map_or(notification.group_opened_at, |it| it.opened_at);
    // Another place knows nothing of it.
    let group = group.filter(|_| delivery.instead_of().is_none());
    Some(Claimed {
        thread: group::thread(&delivery.group, opened_at),
        handle: group.and_then(|group| group.handle),
        others: Vec::new(),
        delivery,
        notification,
    })
}

/// The message that tells several, the most severe first, and the firing before what is over.
fn digest_of(ready: Vec<Ready>, id: DeliveryId) -> Option<Claimed> {
    let mut deliveries = ready.into_iter().map(|one| one.delivery);
    let delivery = deliveries.next()?;
    let others: Vec<Delivery> = deliveries.collect();
    let all = || std::iter::once(&delivery).chain(&others);
    let mut of: Vec<Arc<Notification>> = all().filter_map(|it| it.notification.clone()).collect();
    of.sort_by(|a, b| {
        let key = |it: &Notification| (it.severity, it.firing == 0, it.due_at);
        (key(a), &a.rule, &a.labels).cmp(&(key(b), &b.rule, &b.labels))
    });
    let made_at = of.iter().map(|said| said.made_at).max()?;
    let notification = Notification {
        rule: "digest".to_owned(),
        receiver: delivery.to.to_string(),
        severity: of.iter().map(|said| said.severity).min()?,
        on: On::Event,
        labels: Labels::default(),
        runbook_url: None,
        group_opened_at: made_at,
        notice: None,
        due_at: of.iter().map(|said| said.due_at).min()?,
        made_at,
        firing: of.iter().map(|said| said.firing).sum(),
        resolved: of.iter().map(|said| said.resolved).sum(),
        firing_in_group: 0,
        alerts: Vec::new(),
        states: Vec::new(),
        says: Vec::new(),
        digest: Some(Digest { id: id.clone(), of }),
    };
    let notification = notification.into();
    Some(Claimed { delivery, others, notification, thread: id.0, handle: None })
}

/// How many alerts of its group fire, as far as whom a message is for knows: its receiver or, if it is for
/// another, `to`. It tells of so many itself, or `only_ends` what that heard of.
fn firing_known(
    draft: &mut Draft<'_>,
    group: &Group,
    to: Option<&Arc<str>>,
    (told, only_ends): (u32, bool),
) -> Result<u32, Missing> {
    let others = group.firing.saturating_sub(told);
    // Of so many, nobody counts those that were held back or told to another, or given up.
    if others == 0 || (!only_ends && others > INTERVALS) {
        return Ok(group.firing);
    }
    let fires = draft.firing_of(&group.key)?;
    let entries = fires.iter().flat_map(|interval| &interval.ledger);
    let of_group = entries.filter(|entry| entry.group == group.key && entry.firing);
    let known = of_group.filter(|entry| {
        let mut said = entry.told.stretches().chain(entry.maybe.stretches());
        let is_told_now = !only_ends && entry.is_to_be_told();
        is_told_now || said.any(|told| told.by_way_of.as_ref() == to && !told.over)
    });
    Ok(count(known.count()).max(told))
}

fn says_as(frozen: &[Saying], now: &[Saying]) -> bool {
    frozen.len() == now.len() && frozen.iter().zip(now).all(|(frozen, now)| frozen.says_as(now))
}

fn end(draft: &mut Draft<'_>, delivery: Delivery, status: Status) {
    let ended_at = Some(draft.now);
    draft.put_delivery(Delivery { status, ended_at, lease: None, ..delivery });
}

/// What the group has to say now, of its `news` or again, to whom the delivery goes: all of it, or
/// `only_ends` of what that heard the beginning of.
fn compose(
    draft: &mut Draft<'_>,
    rules: &Rules,
    group: &Group,
    delivery: &Delivery,
    (news, only_ends): (&[Arc<Interval>], bool),
    shows: Shows,
) -> Result<Notification, Missing> {
    let to = settle::by_way_of(delivery);
    let repeats = group::is_due_to_repeat(group, rules, draft.now);
    let intervals = match (group.news, repeats) {
        (0, false) => Vec::new(),
        (0, true) => suppress::repeats(draft, rules, &group.key)?.0,
        _ => news.to_vec(),
    };
    let told: Vec<(Arc<Interval>, News)> = intervals
        .into_iter()
        .filter_map(|interval| {
            let entry = interval.ledger.iter().find(|entry| entry.group == group.key)?;
            let news = match entry.told.is_empty() {
                false if repeats => News::StillFiring,
                // It was given up, and heard by nobody: it is no repetition.
                true if repeats => News::Firing,
                _ => entry.news.filter(|_| entry.is_to_be_told())?,
            };
            // What others took ends in a message of its own, to them.
            let takers = takers(rules, &interval, entry, news);
            let is_for_them = if takers.is_empty() { !only_ends } else { takers.contains(&to) };
            is_for_them.then_some((interval, news))
        })
        .collect();
    // What has to last begins when it is due, be it that nobody was there to see it.
    let rule = rules.get(&group.key.rule);
    let lasted = told
        .iter()
        .filter(|(_, news)| *news == News::Firing && rule.is_some_and(|rule| rule.hold.is_some()));
    let begun = lasted.map(|(interval, _)| interval.start.max(interval.heard_at));
    let unseen = begun.filter(|begun| is_late(*begun, group.opened_at));
    let due_at = unseen.chain([delivery.due_at]).min().unwrap_or(draft.now);
    let says = told
        .iter()
        .map(|(interval, news)| {
            let saying = Saying {
                interval: interval.id,
                alert: interval.alert.clone(),
                news: *news,
                from: interval.start,
                until: interval.end.as_ref().map(|end| end.at),
                waiting_since: waiting_since(delivery, interval.id, *news, draft.now),
                doubtful: false,
                to_who_took_it: only_ends,
            };
            let doubtful = may_have_been_said(interval, group, to.as_ref(), &saying, draft.now);
            Saying { doubtful, ..saying }
        })
        .collect();

    let goes_on = fires_all_the_same(draft, group, to.as_ref(), &told)?;
    let mut by_alert: BTreeMap<&AlertKey, Vec<&(Arc<Interval>, News)>> = BTreeMap::new();
    for item in told.iter().chain(&goes_on) {
        by_alert.entry(&item.0.alert).or_default().push(item);
    }
    let of_alerts = by_alert.values().filter_map(|of_alert| OfAlert::new(of_alert));
    let mut alerts: Vec<OfAlert<'_>> = of_alerts.collect();
    alerts.sort_by_key(|of| (!of.news.is_alarm(), of.last.start, of.last.id));
    let firing = alerts.iter().filter(|of| of.news.is_alarm()).count();
    let resolved = alerts.len() - firing;
    let mut missing = false;
    let (mut full, mut states) = (Vec::new(), Vec::new());
    let listed = if shows.all_alerts { alerts.len() } else { ALERTS };
    for of_alert in alerts.iter().take(listed) {
        let (interval, mut news) = (of_alert.last, of_alert.sum_up());
        if full.len() >= ALERTS {
            full.push(news);
            continue;
        }
        let ended_by = interval.end.as_ref().and_then(|end| end.event);
        for (slot, reference) in
            [(&mut news.event, Some(interval.last)), (&mut news.ended_by, ended_by)]
        {
            let Some(reference) = reference else { continue };
            match draft.event(&interval.container, reference) {
                Ok(event) => *slot = event.map(|event| event.payload.value().clone()),
                Err(Missing) => missing = true,
            }
        }
        let members = of_alert.members(draft).unwrap_or_else(|Missing| {
            missing = true;
            Vec::new()
        });
        news.members_in_all = count(members.len());
        news.members = members.iter().take(MEMBERS).map(|id| id.to_string()).collect();
        match before_gap(draft, rules, interval) {
            Ok(event) => news.before = event.map(|event| event.payload.value().clone()),
            Err(Missing) => missing = true,
        }
        if shows.states && full.is_empty() {
            match states_of(draft, members.first().unwrap_or(&interval.container)) {
                Ok(of_the_first) => states = of_the_first,
                Err(Missing) => missing = true,
            }
        }
        full.push(news);
    }
    if missing {
        return Err(Missing);
    }
    let firing_in_group = firing_known(draft, group, to.as_ref(), (count(firing), only_ends))?;
    let severity = told.first().and_then(|(interval, _)| {
        serde_json::from_value(interval.labels.get("severity")?.into()).ok()
    });
    Ok(Notification {
        rule: group.key.rule.to_string(),
        receiver: group.key.receiver.to_string(),
        severity: rule.map_or(severity.unwrap_or_default(), |rule| rule.severity),
        on: rule.map_or_else(On::default, |rule| rule.on),
        labels: group.key.labels.clone(),
        runbook_url: rule.and_then(|rule| rule.runbook_url.clone()),
        group_opened_at: group.opened_at,
        notice: None,
        digest: None,
        due_at,
        made_at: draft.now,
        firing: count(firing),
        resolved: count(resolved),
        firing_in_group,
        alerts: full,
        states,
        says,
    })
}

/// What fires, and was told so to whom this goes, of alerts of which there is only an end to tell here,
/// such as that of something earlier that was heard of late: what is said of them is not to read as if
/// they were over.
fn fires_all_the_same(
    draft: &mut Draft<'_>,
    group: &Group,
    to: Option<&Arc<str>>,
    told: &[(Arc<Interval>, News)],
) -> Result<Vec<(Arc<Interval>, News)>, Missing> {
    if group.firing == 0 {
        return Ok(Vec::new());
    }
    let fires: BTreeSet<&AlertKey> = told
        .iter()
        .filter(|(_, news)| news.is_firing())
        .map(|(interval, _)| &interval.alert)
        .collect();
    let mut ended: BTreeMap<&AlertKey, &Interval> = BTreeMap::new();
    for (interval, news) in told {
        if *news != News::Happened && !fires.contains(&interval.alert) {
            ended.insert(&interval.alert, interval);
        }
    }
    let mut all = Vec::new();
    each(ended.into_values(), |interval| {
        let open = draft.open_of(interval)?.into_iter().filter(|open| {
            let entry = open.ledger.iter().find(|entry| entry.group == group.key);
            let fires = |told: Told| told.by_way_of.as_ref() == to && told.fires();
            entry.is_some_and(|entry| entry.firing && entry.told.stretches().any(fires))
        });
        all.extend(open.map(|open| (open, News::StillFiring)));
        Ok(())
    })?;
    Ok(all)
}

/// The event before the gap, if the interval is one.
fn before_gap(
    draft: &mut Draft<'_>,
    rules: &Rules,
    interval: &Interval,
) -> Result<Option<Arc<Event>>, Missing> {
    match rules.get(&interval.alert.rule) {
        Some(rule) if rule.on == On::Gap => {
            Ok(timeline::event_before(draft.timeline(&interval.container)?, interval.last))
        }
        _ => Ok(None),
    }
}

/// The states that a container was in until now, as far as its last events tell them.
fn states_of(draft: &mut Draft<'_>, container: &Arc<str>) -> Result<Vec<StateSince>, Missing> {
    let mut events = draft.recent(container)?;
    events.retain(|heard| heard.at <= draft.now);
    timeline::sort(&mut events);
    // What it was in before the first of them is known from that one alone.
    let first = events.first().and_then(|heard| heard.event.prev_state.clone());
    let first = first.map(|state| StateSince { since: None, state });
    let since =
        |heard: &Heard| StateSince { since: Some(heard.at), state: heard.event.state.clone() };
    let mut states: Vec<StateSince> = first.into_iter().chain(events.iter().map(since)).collect();
    states.dedup_by(|next, before| next.state == before.state && before.since.is_some());
    Ok(states)
}

/// Whether `to`, or the group's receiver, may have heard this of an interval already.
fn may_have_been_said(
    interval: &Interval,
    group: &Group,
    to: Option<&Arc<str>>,
    saying: &Saying,
    now: Timestamp,
) -> bool {
    let said = saying.told(now).key();
    let entry = interval.ledger.iter().find(|entry| entry.group == group.key);
    let mut maybe = entry.into_iter().flat_map(|entry| entry.maybe.stretches());
    maybe.any(|maybe| maybe.by_way_of.as_ref() == to && maybe.key() == said)
}

/// Since when this waits to be said: what was not said by the attempt before is new.
fn waiting_since(
    delivery: &Delivery,
    interval: IntervalId,
    news: News,
    now: Timestamp,
) -> Timestamp {
    let Some(before) = &delivery.notification else { return delivery.waiting_since };
    let said = before.says.iter().find(|said| said.interval == interval && said.news == news);
    said.map_or(now, |said| said.waiting_since)
}

/// What there is to tell of one alert, be it that it came and went again and again.
struct OfAlert<'a> {
    all: &'a [&'a (Arc<Interval>, News)],
    first: &'a Interval,
    last: &'a Interval,
    news: News,
}

impl<'a> OfAlert<'a> {
    fn new(all: &'a [&'a (Arc<Interval>, News)]) -> Option<OfAlert<'a>> {
        let (first, _) = all.first()?;
        let (last, news) = all.last()?;
        // Of an alert that was told as firing, ended, and came and went again, the end is the news.
        let told_before =
            all.iter().any(|(_, news)| matches!(news, News::Over | News::HadNotEnded));
        let news = match news {
            News::BeganAndEnded if told_before => News::Over,
            news => *news,
        };
        Some(OfAlert { all, first, last, news })
    }

    /// The containers that hold it up or, if it is over, did: none, if it is one container's alone.
    fn members(&self, draft: &mut Draft<'_>) -> Result<Vec<Arc<str>>, Missing> {
        match self.last.end {
            None => shared::members(draft, &[self.last]),
            Some(_) => {
                let all: Vec<&Interval> =
                    self.all.iter().map(|(interval, _)| &**interval).collect();
                shared::members(draft, &all)
            }
        }
    }

    /// One line: what it is now, and how often it came and went.
    fn sum_up(&self) -> AlertNews {
        let OfAlert { all, first, last, news } = *self;
        AlertNews {
            labels: last.labels.clone(),
            container: last.container.to_string(),
            members: Vec::new(),
            members_in_all: 0,
            news,
            started_at: if news.is_firing() { last.start } else { first.start },
            ended_at: last.end.as_ref().map(|end| end.at),
            cause: last.end.as_ref().map(|end| end.cause),
            occurrences: all.iter().map(|(interval, _)| interval.occurrences).sum(),
            intervals: count(all.len()),
            heard_at: if news.is_firing() { last.heard_at } else { first.heard_at },
            event: None,
            ended_by: None,
            before: None,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl News {
    /// Whether it says that the alert fires.
    #[must_use]
    pub fn is_firing(self) -> bool {
        matches!(self, News::Firing | News::HadNotEnded | News::StillFiring)
    }

    /// Whether it says that what was told to fire does not.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, News::Over | News::Withdrawn)
    }

    /// Whether it is for people to act on, and not the end of something.
    #[must_use]
    pub fn is_alarm(self) -> bool {
        self.is_firing() || self == News::Happened
    }
}
