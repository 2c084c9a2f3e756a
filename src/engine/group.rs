//! When a group speaks.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::draft::{Draft, Missing};
use super::types::*;
use super::{claim, suppress};
use crate::clock::Timestamp;
use crate::rules::{On, Rules};

/// How long a group waits for what.
struct Pace {
    group_wait: Duration,
    group_interval: Duration,
    /// None where nothing is said again.
    repeat_interval: Option<Duration>,
}

/// How long what is to be said again, and is held back, is left alone at least.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The pace of the group of a rule that is gone: it says what is over, at once, and ends.
const LAST_WORDS: Pace =
    Pace { group_wait: Duration::ZERO, group_interval: Duration::ZERO, repeat_interval: None };

fn pace(rules: &Rules, key: &GroupKey) -> Pace {
    rules.get(&key.rule).map_or(LAST_WORDS, |rule| Pace {
        group_wait: rule.group_wait,
        group_interval: rule.group_interval,
        // Whom the rule no longer tells is told the end of what it heard, and no more.
        repeat_interval: rule.tells(&key.receiver).then_some(rule.repeat_interval),
    })
}

/// Looks at a group: whether it is time for it to speak, and if not, when it will be.
pub(super) fn look(draft: &mut Draft<'_>, rules: &Rules, key: &GroupKey) -> Result<(), Missing> {
    let Some(mut group) = draft.group(key)? else { return Ok(()) };
    if let Some(waiting) = group.waiting.clone() {
        // What it says is put together when it is claimed; what comes after, when it is settled.
        group.timer = None;
        draft.put_group(group.clone());
        return claim::make_way(draft, rules, &group, &waiting);
    }
    let now = draft.now;
    let due_at = group.timer.map_or(now, |timer| timer.due_at.min(now));
    // A clock that jumped back starts its delays anew.
    group.opened_at = group.opened_at.min(now);
    group.last_told = group.last_told.map(|told| told.min(now));
    let pace = pace(rules, key);
    let may_be_early = rules.get(&key.rule).is_some_and(|rule| rule.on != On::Event);
    if group.news > 0 && due(&group, &pace) <= Some(now) {
        draft.put_group(group);
        suppress::review_if_any(draft, rules, key)?;
        let Some(reviewed) = draft.group(key)? else { return Ok(()) };
        group = reviewed;
    }
    match due(&group, &pace) {
        Some(due) if due > now => group.timer = Some(earlier(group.timer, due, now)),
        Some(_) if group.news > 0 => {
            let to = claim::addressee(draft, rules, key)?;
            let delivery = speak(&mut group, due_at, now);
            draft.put_delivery(Delivery { to, ..delivery });
        }
        // What is to be said again is held back until then.
        Some(_) if group.firing > 0 && group.timer.is_some_and(|timer| !timer.is_due(now)) => {}
        Some(_) if group.firing > 0 => match suppress::repeats(draft, rules, key)? {
            (repeats, until) if repeats.is_empty() => {
                // Nobody says when an alert ends that holds them back.
                let again = pace.group_interval.max(LOOK_AGAIN);
                let again = now.plus(again.min(pace.repeat_interval.unwrap_or(again)));
                let due_at = until.map_or(again, |until| until.min(again));
                group.timer = Some(Timer { set_at: now, due_at });
            }
            _ => {
                let delivery = speak(&mut group, due_at, now);
                draft.put_delivery(delivery);
            }
        },
        None if group.firing > 0 => group.timer = None,
        // What is held back for now need not fire.
        _ if may_be_early && group.timer.is_some_and(|timer| !timer.is_due(now)) => {}
        _ => match may_be_early.then(|| suppress::held_until(draft, key)).transpose()?.flatten() {
            Some(until) => group.timer = Some(earlier(group.timer, until, now)),
            None => {
                draft.remove_group(key);
                return Ok(());
            }
        },
    }
    draft.put_group(group);
    Ok(())
}

/// Has a group looked at as if it were for the first time: something that it does not know of may
/// have changed.
pub(super) fn start_over(
    draft: &mut Draft<'_>,
    rules: &Rules,
    key: &GroupKey,
) -> Result<(), Missing> {
    if let Some(group) = draft.group(key)? {
        // One that is due says since when.
        let timer = group.timer.filter(|timer| timer.due_at <= draft.now);
        draft.put_group(Group { timer, ..group });
        draft.touch(key);
        suppress::review(draft, rules, key)?;
    }
    Ok(())
}

/// The timer, or one that is due at this instant, if that is earlier. One that is due, or was set in
/// what is now the future, has had its time.
pub(super) fn earlier(timer: Option<Timer>, due_at: Timestamp, now: Timestamp) -> Timer {
    timer
        .filter(|timer| !timer.is_due(now) && timer.due_at <= due_at)
        .unwrap_or(Timer { set_at: now, due_at })
}

/// When a group with nothing waiting has to speak next or, where it has nothing to say, to end.
fn due(group: &Group, pace: &Pace) -> Option<Timestamp> {
    match group.last_told {
        None if group.news > 0 => Some(group.opened_at.plus(pace.group_wait)),
        None if group.firing > 0 => Some(group.opened_at.plus(pace.repeat_interval?)),
        None => None,
        Some(told) if group.news > 0 => Some(told.plus(pace.group_interval)),
        Some(told) if group.firing > 0 => Some(told.plus(pace.repeat_interval?)),
        Some(told) => Some(told.plus(pace.group_interval)),
    }
}

/// Whether a group that has no news is to say that it fires still.
pub(super) fn is_due_to_repeat(group: &Group, rules: &Rules, now: Timestamp) -> bool {
    let due = || due(group, &pace(rules, &group.key));
    group.news == 0 && group.firing > 0 && due().is_some_and(|due| due <= now)
}

/// Makes a group's next delivery, which was to be told at `due_at` and waits from now on.
pub(super) fn speak(group: &mut Group, due_at: Timestamp, now: Timestamp) -> Delivery {
    let id = delivery_id(group, now);
    group.spoken += 1;
    group.waiting = Some(id.clone());
    group.timer = None;
    Delivery {
        id,
        group: group.key.clone(),
        to: group.key.receiver.clone(),
        status: Status::Pending,
        created_at: now,
        due_at,
        waiting_since: now,
        next_attempt: Timer { set_at: now, due_at: now },
        attempts: 0,
        failures: 0,
        lease: None,
        digest: None,
        notification: None,
        doubtful: false,
        plain: false,
        reached: Vec::new(),
        last_error: None,
        ended_at: None,
    }
}

/// The same for the same notification of the same group, and for no other: 128 bits of SHA-256. One that
/// comes back begins to count anew.
fn delivery_id(group: &Group, now: Timestamp) -> DeliveryId {
    let mut digest = Sha256::new();
    digest.update(thread(&group.key, group.opened_at));
    digest.update(group.spoken.to_le_bytes());
    digest.update(now.as_micros().to_le_bytes());
    DeliveryId(hex(&digest.finalize()[..16]))
}

/// The same for the same deliveries, in whichever order: 128 bits of SHA-256.
pub(super) fn digest_id<'a>(deliveries: impl Iterator<Item = &'a DeliveryId>) -> DeliveryId {
    let ids: BTreeSet<&DeliveryId> = deliveries.collect();
    let mut digest = Sha256::new();
    ids.iter().for_each(|id| digest.update(&id.0));
    DeliveryId(hex(&digest.finalize()[..16]))
}

/// Names all that a group says while it lives: 128 bits of SHA-256, in hexadecimal.
pub(super) fn thread(key: &GroupKey, opened_at: Timestamp) -> String {
    let mut digest = Sha256::new();
    let mut part = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    part(&key.rule);
    part(&key.receiver);
    for (label, value) in key.labels.iter() {
        part(label);
        part(value);
    }
    digest.update(opened_at.as_micros().to_le_bytes());
    hex(&digest.finalize()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
