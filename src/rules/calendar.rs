//! Mute times: the hours of the week at which nobody is to be told (DESIGN.md §5, `mute_times`).
//!
//! A window is what the clock on the wall shows, in a time zone. Where that clock is set forward or
//! back, a window reaches from the first instant at which the clock shows it to the last: times that
//! do not exist are left out, and between two that are the same it goes on.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, ToSpan};

use crate::clock::Timestamp;

/// Hours of the week at which nobody is to be told, under the name that rules refer to.
#[derive(Clone, Debug)]
pub struct MuteTime {
    /// Its unique name.
    pub name: Arc<str>,
    /// At any of these it is muted.
    pub windows: Vec<Window>,
}

/// The same hours on some days of the week.
#[derive(Clone, Debug)]
pub struct Window {
    /// The days on which it begins.
    pub days: Vec<Weekday>,
    /// From when until when. Where the end is not later than the beginning, it is on the day after:
    /// midnight until midnight is the whole day.
    pub hours: (Time, Time),
    /// Whose clock is meant.
    pub timezone: TimeZone,
}

/// What is muted for longer without a break need not be followed further: it is looked at again.
const FAR_ENOUGH: Duration = Duration::from_secs(8 * 24 * 3600);

impl MuteTime {
    /// When the mute that covers this instant ends, those that follow at once included; `None` if
    /// it is not muted. What ends later than in eight days may answer any instant after those.
    #[must_use]
    pub fn muted_until(&self, at: Timestamp) -> Option<Timestamp> {
        let mut until = self.end_of_windows(at)?;
        while until < at.plus(FAR_ENOUGH)
            && let Some(later) = self.end_of_windows(until)
        {
            until = later;
        }
        Some(until)
    }

    /// Whether it is muted all the time from the one instant to the other.
    #[must_use]
    pub fn covers(&self, from: Timestamp, to: Timestamp) -> bool {
        let mut muted_to = self.end_of_windows(from);
        while let Some(until) = muted_to {
            if to <= until {
                return true;
            }
            muted_to = self.end_of_windows(until);
        }
        false
    }

    /// When the last of the windows ends that are open at this instant.
    fn end_of_windows(&self, at: Timestamp) -> Option<Timestamp> {
        self.windows.iter().filter_map(|window| window.end(at)).max()
    }
}

impl Window {
    /// When it ends, if it is open at this instant.
    fn end(&self, at: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
        let today = self.timezone.to_datetime(instant).date();
        // A window is at most a day long, and a day on which the clock is set back somewhat longer.
        (-2..=1)
            .filter_map(|days| today.checked_add(days.days()).ok())
            .filter(|day| self.days.contains(&day.weekday()))
            .filter_map(|day| self.on(day))
            .filter(|(from, to)| (*from..*to).contains(&at))
            .map(|(_, to)| to)
            .max()
    }

    /// From when until when it is open that begins on this day.
    fn on(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let (from, to) = self.hours;
        let last_day = if to <= from { day.tomorrow().ok()? } else { day };
        let tick = SignedDuration::from_micros(1);
        let begin = self.instant(day.to_datetime(from), First)?;
        // The end is no part of it: what counts is when the clock shows the time just before.
        let end = match self.instant(last_day.to_datetime(to).checked_sub(tick).ok()?, Last)? {
            Shown::At(last) => last.checked_add(tick).ok()?,
            Shown::Skipped(change) => change,
        };
        let (Shown::At(begin) | Shown::Skipped(begin)) = begin;
        let [begin, end] =
            [begin, end].map(|instant| Timestamp::from_micros(instant.as_microsecond()));
        Some((begin, end))
    }

    /// When the clock shows this.
    fn instant(&self, shown: DateTime, which: Which) -> Option<Shown> {
        let ambiguous = self.timezone.to_ambiguous_timestamp(shown);
        let found = match (ambiguous.offset(), which) {
            (AmbiguousOffset::Gap { .. }, _) => {
                let before = ambiguous.earlier().ok()?;
                let change = self.timezone.following(before).next()?;
                return Some(Shown::Skipped(change.timestamp()));
            }
            (_, First) => ambiguous.earlier(),
            (_, Last) => ambiguous.later(),
        };
        found.ok().map(Shown::At)
    }
}

/// Which of two instants at which the clock shows the same.
#[derive(Clone, Copy)]
enum Which {
    First,
    Last,
}
use Which::{First, Last};

/// When the clock shows some time.
enum Shown {
    At(jiff::Timestamp),
    /// Never: it is set forward past that time at this instant.
    Skipped(jiff::Timestamp),
}

#[cfg(test)]
mod tests;
