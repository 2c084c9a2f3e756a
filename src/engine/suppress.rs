//! What is held back: by a silence, by a mute time of its rule, or by an alert that inhibits it
//! (DESIGN.md §6, "Held back").

use std::sync::Arc;

use super::draft::{Draft, Fired, Missing, each};
use super::ledger;
use super::silence::Silence;
use super::types::*;
use crate::clock::Timestamp;
use crate::rules::{On, Rule, Rules};

/// Why an interval is not to be told now, if so: while it fires, because something holds it back
/// now; once it ended, because it lies wholly inside what holds it back. `sources` are the intervals
/// that fire of the rules whose alerts may inhibit it.
pub(super) fn hold(
    rules: &Rules,
    silences: &[Silence],
    sources: &[Arc<Interval>],
    interval: &Interval,
    now: Timestamp,
) -> Option<Held> {
    let rule = rules.get(&interval.alert.rule)?;
    if let Some(held) = too_early(rules, rule, interval, now) {
        return Some(held);
    }
    let mut silences = silences.iter().filter(|silence| silence.matchers.matches(&interval.labels));
    let mut mutes = rule.mute_during.iter();
    let inhibited = |since: Timestamp| {
        let mut sources = sources.iter().filter(|source| {
            source.start <= since && rules.inhibits(&source.labels, &interval.labels)
        });
        Some(Held::Inhibited { by: sources.next()?.alert.clone() })
    };
    if let Some(end) = &interval.end {
        let silence = silences.find(|silence| silence.covers(interval.start, end.at));
        let silenced = silence.map(|silence| Held::Silenced { by: silence.id, until: None });
        let muted = || {
            let mute = mutes.find(|mute| mute.covers(interval.start, end.at))?;
            Some(Held::Muted { by: mute.name.clone(), until: None })
        };
        return silenced.or_else(muted).or_else(|| inhibited(interval.start));
    }
    let last = silences
        .filter(|silence| silence.is_active(now))
        .max_by_key(|silence| (silence.ends_at, silence.id));
    let silenced =
        last.map(|silence| Held::Silenced { by: silence.id, until: Some(silence.ends_at) });
    let muted = || {
        let muted = mutes.filter_map(|mute| Some((mute.muted_until(now)?, mute)));
        let (until, mute) = muted.max_by_key(|(until, _)| *until)?;
        Some(Held::Muted { by: mute.name.clone(), until: Some(until) })
    };
    silenced.or_else(muted).or_else(|| inhibited(now))
}

/// Whether it is too early to tell an interval: a gap that may be filled yet, or a silence of which the
/// program may be the cause, since it was down.
fn too_early(rules: &Rules, rule: &Rule, interval: &Interval, now: Timestamp) -> Option<Held> {
    let hold = rule.hold.unwrap_or_default();
    let since = match rule.on {
        On::Event => return None,
        On::Gap => interval.heard_at,
        On::Silence => rules.up_since(),
    };
    // That was by a clock that was ahead: nobody knows how long ago.
    if since > now {
        return None;
    }
    let sure_from = since.plus(hold);
    let until = match &interval.end {
        Some(end) if rule.on == On::Silence => (end.at <= sure_from).then_some(None),
        _ => (now < sure_from).then_some(Some(sure_from)),
    };
    Some(Held::TooEarly { until: until? })
}

/// Why this news is not to be told now, if so. What puts right what was, or may have been, told
/// always is.
pub(super) fn held(
    draft: &mut Draft<'_>,
    rules: &Rules,
    interval: &Interval,
    entry: &Entry,
    news: News,
) -> Result<Option<Held>, Missing> {
    let passes = match news {
        News::Firing | News::StillFiring => false,
        News::BeganAndEnded | News::Happened => !entry.maybe.is_empty(),
        News::Over | News::HadNotEnded | News::Withdrawn => true,
    };
    if passes {
        return Ok(None);
    }
    let inhibits = |source: &Interval| rules.inhibits(&source.labels, &interval.labels);
    let sources = draft.sources(rules.sources_of(&interval.alert.rule), inhibits);
    Ok(hold(rules, draft.silences()?, &sources?, interval, draft.now))
}

/// Looks again at what holds back the news of a group, or did and does not any more.
pub(super) fn review(draft: &mut Draft<'_>, rules: &Rules, key: &GroupKey) -> Result<(), Missing> {
    if rules.get(&key.rule).is_none() {
        return Ok(());
    }
    let news = match may_hold_back(draft, rules, key)? {
        true => draft.news_of(key)?,
        false => draft.held_of(key)?,
    };
    each(news, |interval| ledger::review(draft, rules, &interval))
}

/// Until when, at the earliest, news of this group is held back for now.
pub(super) fn held_until(
    draft: &mut Draft<'_>,
    key: &GroupKey,
) -> Result<Option<Timestamp>, Missing> {
    let news = draft.news_of(key)?;
    let entries = news.iter().flat_map(|interval| &interval.ledger);
    let held = entries.filter(|entry| entry.group == *key && entry.news.is_some());
    Ok(held.filter_map(|entry| entry.held.as_ref()?.until()).min())
}

/// As [`review`], where nothing is held back any more unless something can hold it back still.
pub(super) fn review_if_any(
    draft: &mut Draft<'_>,
    rules: &Rules,
    key: &GroupKey,
) -> Result<(), Missing> {
    let news = match may_hold_back(draft, rules, key)? {
        true => draft.news_of(key)?,
        false => Vec::new(),
    };
    each(news, |interval| ledger::review(draft, rules, &interval))
}

/// Whether there is anything that could hold back the news of a group.
fn may_hold_back(draft: &mut Draft<'_>, rules: &Rules, key: &GroupKey) -> Result<bool, Missing> {
    let Some(rule) = rules.get(&key.rule) else { return Ok(false) };
    let inhibited = rules.sources_of(&key.rule).next().is_some();
    let may_be_early = rule.on != On::Event;
    let muted = !rule.mute_during.is_empty();
    Ok(may_be_early || muted || inhibited || !draft.silences()?.is_empty())
}

/// Looks again at what an alert holds back that has begun to fire, or held back that does not any
/// more.
pub(super) fn inhibit(draft: &mut Draft<'_>, rules: &Rules, fired: &Fired) -> Result<(), Missing> {
    let concerned = |interval: &Interval, entry: &Entry| match (&entry.held, fired.fires) {
        (None, true) => rules.inhibits(&fired.labels, &interval.labels),
        (Some(Held::Inhibited { by }), false) => *by == fired.alert,
        _ => false,
    };
    each(rules.targets_of(&fired.alert.rule), |target| {
        let intervals = draft.untold_of(target, concerned)?;
        each(intervals, |interval| ledger::review(draft, rules, &interval))
    })
}

/// What of a group that fires unchanged may be told again now; if nothing, when it may, as far as is
/// known.
pub(super) fn repeats(
    draft: &mut Draft<'_>,
    rules: &Rules,
    key: &GroupKey,
) -> Result<(Vec<Arc<Interval>>, Option<Timestamp>), Missing> {
    let firing = draft.firing_of(key);
    let sources = draft.sources(rules.sources_of(&key.rule), |_| true);
    let (mut firing, sources, silences) = (firing?, sources?, draft.silences()?);
    let mut until: Option<Timestamp> = None;
    firing.retain(|interval| {
        let held = hold(rules, silences, &sources, interval, draft.now);
        until = until.into_iter().chain(held.as_ref().and_then(Held::until)).min();
        held.is_none()
    });
    Ok((firing, until))
}
