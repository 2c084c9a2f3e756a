//! What is held back: by a silence, or by a mute time of its rule (DESIGN.md §6, "Held back").

use super::draft::{Draft, Missing, each};
use super::ledger;
use super::silence::Silence;
use super::types::*;
use crate::clock::Timestamp;
use crate::rules::{Rule, Rules};

/// Why an interval is not to be told now, if so: while it fires, because something holds it back
/// now; once it ended, because it lies wholly inside what held it back.
pub(super) fn hold(
    rule: &Rule,
    silences: &[Silence],
    interval: &Interval,
    now: Timestamp,
) -> Option<Held> {
    let mut silences = silences.iter().filter(|silence| silence.matchers.matches(&interval.labels));
    let mut mutes = rule.mute_during.iter();
    if let Some(end) = &interval.end {
        let silence = silences.find(|silence| silence.covers(interval.start, end.at));
        let silenced = silence.map(|silence| Held::Silenced { by: silence.id, until: None });
        return silenced.or_else(|| {
            let mute = mutes.find(|mute| mute.covers(interval.start, end.at))?;
            Some(Held::Muted { by: mute.name.clone(), until: None })
        });
    }
    let last = silences
        .filter(|silence| silence.is_active(now))
        .max_by_key(|silence| (silence.ends_at, silence.id));
    let silenced =
        last.map(|silence| Held::Silenced { by: silence.id, until: Some(silence.ends_at) });
    silenced.or_else(|| {
        let muted = mutes.filter_map(|mute| Some((mute.muted_until(now)?, mute)));
        let (until, mute) = muted.max_by_key(|(until, _)| *until)?;
        Some(Held::Muted { by: mute.name.clone(), until: Some(until) })
    })
}

/// Why this news is not to be told now, if so. What puts right what was, or may have been, told
/// always is.
pub(super) fn held(
    draft: &mut Draft<'_>,
    rule: &Rule,
    interval: &Interval,
    entry: &Entry,
    news: News,
) -> Result<Option<Held>, Missing> {
    let passes = match news {
        News::Firing | News::StillFiring => false,
        News::BeganAndEnded | News::Happened => entry.maybe.is_some(),
        News::Over | News::HadNotEnded | News::Withdrawn => true,
    };
    if passes {
        return Ok(None);
    }
    Ok(hold(rule, draft.silences()?, interval, draft.now))
}

/// Looks again at what holds back the news of a group, or does not any more.
pub(super) fn review(draft: &mut Draft<'_>, rules: &Rules, key: &GroupKey) -> Result<(), Missing> {
    if rules.get(&key.rule).is_none() {
        return Ok(());
    }
    let now = draft.now;
    let news = draft.news_of(key)?.into_iter();
    // What has not begun any more since the clock jumped back stays as it is.
    let begun = news.filter(|interval| interval.start <= now);
    each(begun, |interval| ledger::refresh(draft, rules, interval))
}

/// What of a group that fires unchanged may be told again now; if nothing, when it may, as far as is
/// known.
pub(super) fn repeats(
    draft: &mut Draft<'_>,
    rules: &Rules,
    key: &GroupKey,
) -> Result<(Vec<Interval>, Option<Timestamp>), Missing> {
    let mut firing = draft.firing_of(key)?;
    let Some(rule) = rules.get(&key.rule) else { return Ok((firing, None)) };
    let (silences, now) = (draft.silences()?, draft.now);
    let mut until: Option<Timestamp> = None;
    firing.retain(|interval| match hold(rule, silences, interval, now) {
        None => true,
        Some(held) => {
            until = until.into_iter().chain(held.until()).min();
            false
        }
    });
    Ok((firing, until))
}
