//! What became of what there is to say of an alert: told, waiting, dead, or held back, and why
//! (DESIGN.md §6, "Held back").

use super::types::*;
use crate::clock::Timestamp;

/// What became of one occurrence of an alert for one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was told.
    Told,
    /// A notification of it is on its way.
    Waiting,
    /// Its notification was given up.
    Dead,
    /// It is not told, for this reason.
    HeldBack(Reason),
}

/// Why an occurrence is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// One of DESIGN.md §6's words.
    pub word: &'static str,
    /// What does so, if it has a name: a silence's id, a mute time's name, an alert.
    pub by: Option<String>,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
}

impl Reason {
    fn new(word: &'static str) -> Reason {
        Reason { word, by: None, until: None }
    }

    fn until(word: &'static str, until: Option<Timestamp>) -> Reason {
        Reason { word, by: None, until }
    }
}

/// Why nothing is told of a part that is in no alert: it did not last, or there are too few others
/// near it.
#[must_use]
pub fn alone(part: &Interval) -> Reason {
    match part.end.as_ref().filter(|_| !part.is_too_short()) {
        Some(end) => Reason::until("below count", Some(end.at)),
        None => Reason::new("run too short"),
    }
}

/// What became of the occurrence at `at` of an interval, for the receiver of this entry, whose group
/// is as given, if it lives.
#[must_use]
pub fn fate(
    interval: &Interval,
    entry: &Entry,
    group: Option<&Group>,
    at: Timestamp,
    now: Timestamp,
) -> Fate {
    let timer = group.and_then(|group| group.timer).map(|timer| timer.due_at);
    if interval.is_too_short() {
        return Fate::HeldBack(Reason::new("run too short"));
    }
    if interval.start > now && entry.news.is_none() {
        // By a clock that is ahead it has happened; else it has to last.
        let word = if interval.start <= interval.last_at { "grouped" } else { "run too short" };
        return Fate::HeldBack(Reason::until(word, Some(interval.start)));
    }
    if let Some(held) = &entry.held {
        let reason = Reason { word: held.as_str(), by: held.by(), until: held.until() };
        return Fate::HeldBack(reason);
    }
    let is_new = match entry.news {
        // What was told to fire holds all the same, whatever more there is to say of it.
        Some(News::Over | News::HadNotEnded | News::Withdrawn) => false,
        Some(_) => true,
        None => false,
    };
    if is_new {
        return match group.and_then(|group| group.waiting.as_ref()) {
            Some(_) => Fate::Waiting,
            None => Fate::HeldBack(Reason::until("grouped", timer)),
        };
    }
    let said = entry.told.stretches().map(|told| told.until).max();
    let is_waiting = group.is_some_and(|group| group.waiting.is_some());
    match said {
        Some(until) if at > until && interval.end.is_none() && is_waiting => Fate::Waiting,
        Some(until) if at > until && interval.end.is_none() => {
            Fate::HeldBack(Reason::until("already firing", timer))
        }
        Some(_) => Fate::Told,
        None if !entry.given_up.is_empty() => Fate::Dead,
        // It was told of and had not happened, or it may have been, and what was said is withdrawn.
        None if interval.end.as_ref().is_some_and(|end| end.cause == Cause::Withdrawn) => {
            Fate::HeldBack(Reason::new("withdrawn"))
        }
        // The rule does not tell this receiver any more.
        None => Fate::HeldBack(Reason::new("rule removed")),
    }
}

/// Why the receiver of this entry is not told of an interval now, if it is not.
#[must_use]
pub fn held_back(
    interval: &Interval,
    entry: &Entry,
    group: Option<&Group>,
    now: Timestamp,
) -> Option<Reason> {
    match fate(interval, entry, group, interval.last_at, now) {
        Fate::HeldBack(reason) => Some(reason),
        Fate::Told if interval.end.is_none() && entry.news.is_none() => {
            let group = group.filter(|_| entry.firing);
            match group.and_then(|group| group.timer) {
                // It is due, and waits to be sent.
                _ if group.is_some_and(|group| group.waiting.is_some()) => None,
                // Where there is news, it is for that.
                Some(timer) => {
                    let until = group.filter(|group| group.news == 0).map(|_| timer.due_at);
                    Some(Reason::until("not due to repeat", until))
                }
                // The rule does not tell this receiver any more, but for its end.
                None => Some(Reason::new("rule removed")),
            }
        }
        Fate::Told | Fate::Waiting | Fate::Dead => None,
    }
}
