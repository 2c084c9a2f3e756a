//! What was told, beside what is true: the difference is the news.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::{Draft, Missing, each};
use super::types::*;
use super::{group, suppress, timeline};
use crate::clock::Timestamp;
use crate::rules::{Labels, Late, Rule, Rules};

/// What there is to tell of an interval to one who was told this of it.
fn news(interval: &Interval, entry: &Entry, send_resolved: bool, now: Timestamp) -> Option<News> {
    let given_up = match &interval.end {
        None => entry.given_up.fires(),
        Some(end) => {
            let fires: Vec<Told> = entry.told.stretches().filter(Told::fires).collect();
            // Several may have been told that it fires: each is told, or given up, by itself.
            match fires.is_empty() {
                true => entry.given_up.covering(interval.start, end.at).is_some(),
                false => fires.iter().all(|told| has_given_up(entry, told, end)),
            }
        }
    };
    if given_up {
        return None;
    }
    let (told_firing, told_over) = (entry.told.fires(), entry.told.is_over());
    let maybe_firing = entry.maybe.fires();
    let maybe_over = entry.maybe.stretches().any(|told| told.over);
    let Some(end) = &interval.end else {
        if interval.start > now {
            return (told_firing || maybe_firing).then_some(News::Withdrawn);
        }
        return match entry.told.is_empty() {
            true => Some(News::Firing),
            false => (told_over || maybe_over).then_some(News::HadNotEnded),
        };
    };
    match end.cause {
        Cause::Withdrawn => (told_firing || maybe_firing).then_some(News::Withdrawn),
        // It was a gap when that was told, and has no end to tell.
        Cause::Filled => None,
        Cause::TooShort => None,
        Cause::Momentary => (!told_over).then_some(News::Happened),
        _ if told_over && !maybe_firing => None,
        _ if told_firing || told_over => send_resolved.then_some(News::Over),
        // Nobody is there to be told of a rule that is gone, but those who were told that it fires.
        Cause::RuleRemoved if entry.maybe.is_empty() => None,
        _ => Some(News::BeganAndEnded),
    }
}

/// The group that tells an alert with these labels to `receiver`.
pub(super) fn group_key(rule: &Rule, alert: &Labels, receiver: &str) -> GroupKey {
    let labels = rule.group_by.iter();
    let labels = labels.filter_map(|label| Some((label.as_str(), alert.get(label)?))).collect();
    GroupKey { rule: rule.name.clone(), receiver: receiver.into(), labels }
}

/// Who was, or may have been, told that an interval fires and has to hear of its end: who is there, and for
/// whom that was not given up. The group's receiver is none, and who stood in for it has a name.
pub(super) fn owed(
    rules: &Rules,
    interval: &Interval,
    entry: &Entry,
) -> BTreeSet<Option<Arc<str>>> {
    let said = entry.told.stretches().chain(entry.maybe.stretches());
    let owed = said.filter(Told::fires).filter(|told| {
        let hearer = told.by_way_of.as_ref().unwrap_or(&entry.group.receiver);
        let end = interval.end.as_ref();
        rules.has_receiver(hearer) && !end.is_some_and(|end| has_given_up(entry, told, end))
    });
    owed.map(|told| told.by_way_of).collect()
}

/// Whether this end was given up for whom this was told.
fn has_given_up(entry: &Entry, told: &Told, end: &End) -> bool {
    entry.given_up.stretches().any(|given_up| {
        let is_theirs = given_up.by_way_of == told.by_way_of && given_up.meets(told);
        given_up.over && is_theirs && end.at <= given_up.until
    })
}

/// Brings an interval's ledger up to date with the interval, and its groups with the ledger; puts
/// the interval into the draft.
pub(super) fn refresh(
    draft: &mut Draft<'_>,
    rules: &Rules,
    mut interval: Interval,
) -> Result<(), Missing> {
    let rule = rules.get(&interval.alert.rule);
    if let Some(rule) = rule
        && interval.role != Role::Part
    {
        for receiver in &rule.notify {
            if interval.ledger.iter().all(|entry| *entry.group.receiver != **receiver) {
                let group = group_key(rule, &interval.labels, receiver);
                interval.ledger.push(Entry::new(group));
            }
        }
    }
    let now = draft.now;
    let begun = interval.start <= now;
    interval.due = match (&interval.end, rule) {
        (Some(_), _) => None,
        (None, Some(_)) if !begun => Some(interval.start),
        (None, Some(_)) if interval.role == Role::Whole => interval.due,
        (None, Some(rule)) => timeline::expires(rule, &interval),
        (None, None) => interval.due,
    };
    let mut ledger = std::mem::take(&mut interval.ledger);
    let outcome = each(&mut ledger, |entry| {
        // The end of something goes to whoever took its beginning, be it no longer asked for, so
        // long as it is there to be told.
        let tells = rule.is_some_and(|rule| rule.tells(&entry.group.receiver));
        let is_owed = !owed(rules, &interval, entry).is_empty();
        // What was held back and given up has been joined with what was told: that has an end.
        if (entry.told.fires() || entry.maybe.fires()) && entry.held.is_some() {
            entry.given_up.forget(|given_up| given_up.over);
        }
        let news = if tells || (is_owed && interval.end.is_some()) {
            let send_resolved = rule.is_none_or(|rule| rule.send_resolved);
            let is_gone =
                |told: &Told| told.by_way_of.as_ref().is_some_and(|name| !rules.has_receiver(name));
            // What another heard who is gone is news to those who are there.
            let news = match entry.told.stretches().any(|told| is_gone(&told)) {
                false => news(&interval, entry, send_resolved, now),
                true => {
                    let mut heard = entry.clone();
                    heard.told.forget(is_gone);
                    news(&interval, &heard, send_resolved, now)
                }
            };
            // Others are told the end of what they heard, be whom they stood in for gone.
            let is_there = rules.has_receiver(&entry.group.receiver);
            news.filter(|news| is_there || news.is_end())
        } else {
            None
        };
        // Until then its group lives, so that the end is told where the beginning was.
        let fires_for_them = tells || entry.told.fires() || entry.maybe.fires();
        let firing = fires_for_them && begun && interval.end.is_none();
        judge(draft, rules, &interval, entry, news, firing)
    });
    interval.ledger = ledger;
    draft.put_interval(interval);
    outcome
}

/// Looks again at what holds back the news of an interval, or does not any more.
pub(super) fn review(
    draft: &mut Draft<'_>,
    rules: &Rules,
    interval: &Interval,
) -> Result<(), Missing> {
    let mut ledger = interval.ledger.clone();
    let outcome = each(ledger.iter_mut().filter(|entry| entry.news.is_some()), |entry| {
        judge(draft, rules, interval, entry, entry.news, entry.firing)
    });
    if ledger != interval.ledger {
        draft.put_interval(Interval { ledger, ..interval.clone() });
    }
    outcome
}

/// Enters news into an entry, and whether it is held back. What is over and held back is given up.
fn judge(
    draft: &mut Draft<'_>,
    rules: &Rules,
    interval: &Interval,
    entry: &mut Entry,
    news: Option<News>,
    firing: bool,
) -> Result<(), Missing> {
    if entry.firing != firing {
        draft.note_fired(interval, firing);
    }
    let held = match (news, rules.get(&interval.alert.rule)) {
        (Some(news), Some(rule)) => match late(interval, rule, news) {
            None => suppress::held(draft, rules, interval, entry, news)?,
            late => late,
        },
        _ => interval
            .end
            .as_ref()
            .and_then(|end| entry.given_up.covering(interval.start, end.at)?.because.clone()),
    };
    match (&interval.end, &held) {
        (Some(end), Some(because)) if because.until().is_none() => {
            let (from, until, because) = (interval.start, end.at, Some(because.clone()));
            let told = Told { from, until, over: true, goes_on: false, because, by_way_of: None };
            entry.given_up = told.into();
            set(draft, entry, None, held, firing)
        }
        _ => set(draft, entry, news, held, firing),
    }
}

/// Why this news is never told, if it was heard late and its rule does not want that.
fn late(interval: &Interval, rule: &Rule, news: News) -> Option<Held> {
    let untold = matches!(news, News::BeganAndEnded | News::Happened);
    let end = interval.end.as_ref()?;
    let late = end.at <= interval.heard_at && is_late(interval.start, interval.heard_at);
    (rule.late == Late::Record && untold && late).then_some(Held::Late)
}

/// Takes an interval out of the draft, and what it has to tell out of its groups.
pub(super) fn remove(draft: &mut Draft<'_>, mut interval: Interval) -> Result<(), Missing> {
    draft.remove_interval(interval.id);
    if interval.ledger.iter().any(|entry| entry.firing) {
        draft.note_fired(&interval, false);
    }
    each(&mut interval.ledger, |entry| set(draft, entry, None, None, false))
}

/// Sets an entry's news and firing, keeps its group's counts, and has its group looked at again when
/// what is held back may be told.
fn set(
    draft: &mut Draft<'_>,
    entry: &mut Entry,
    news: Option<News>,
    held: Option<Held>,
    firing: bool,
) -> Result<(), Missing> {
    let until = held.as_ref().and_then(Held::until);
    if entry.news == news && entry.firing == firing && entry.held == held && until.is_none() {
        return Ok(());
    }
    let now = draft.now;
    let mut group =
        draft.group(&entry.group)?.unwrap_or_else(|| Group::new(entry.group.clone(), now));
    let (told_before, fired_before) = (entry.is_to_be_told(), entry.firing);
    let ripe =
        matches!(entry.held, Some(Held::TooEarly { .. })) && held.is_none() && news.is_some();
    if ripe && group.news == 0 && group.last_told.is_none() {
        // Others may be sure any moment: it waits for company from now on.
        group.opened_at = now;
    }
    (entry.news, entry.held, entry.firing) = (news, held, firing);
    if group.news == 0 && entry.is_to_be_told() {
        // What was due, if anything, was something else: to be said again, or to end.
        group.timer = group.timer.filter(|timer| !timer.is_due(now));
    }
    group.news =
        group.news.saturating_sub(u32::from(told_before)) + u32::from(entry.is_to_be_told());
    group.firing = group.firing.saturating_sub(u32::from(fired_before)) + u32::from(firing);
    if let Some(until) = until {
        group.timer = Some(group::earlier(group.timer, until, now));
    }
    draft.touch(&group.key);
    draft.put_group(group);
    Ok(())
}
