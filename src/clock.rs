//! The only reader of wall time, and the type in which the crate keeps it.
//!
//! Everything else is given the time, so that decisions can be replayed and tested.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant as whole microseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The current wall time.
///
/// # Panics
/// Never: the Unix epoch is before every clock this can run on, and a clock set before it reads as
/// the epoch itself.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(micros(since_epoch))
}

impl Timestamp {
    /// The first instant that is too late to be kept: the year 10000, as DESIGN.md §3 sets it.
    pub const END: Timestamp = Timestamp(253_402_300_800_000_000);

    /// The last whole second that jiff can write and read.
    const LAST: Timestamp = Timestamp(253_402_207_200_000_000);

    /// Later than all there is: when what has no end ends.
    pub const FOR_EVER: Timestamp = Timestamp(i64::MAX);

    /// An instant from whole microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// Whole microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant `seconds` after the Unix epoch, to the nearest microsecond; `None` for what is
    /// not finite, negative, or in the year 10000 or later.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let micros = (seconds * 1e6).round();
        // A NaN fails the comparison as well.
        if seconds >= 0.0 && micros < Self::END.0 as f64 {
            Some(Timestamp(micros as i64))
        } else {
            None
        }
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Reads RFC 3339 or Unix seconds (whole or with a fraction); `None` if it is neither. The last
    /// day of the year 9999, by which people mean for ever, is as late as can be told.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse::<f64>() {
            return Self::from_seconds(seconds);
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(parsed) => Some(Timestamp(parsed.as_microsecond())),
            Err(_) => is_beyond_jiff(text).then_some(Timestamp::LAST),
        }
    }

    /// The same instant as the standard library has it; the epoch for what is before it.
    #[must_use]
    pub fn as_system_time(self) -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH + self.since(Timestamp(0))
    }

    /// How much later this is than `earlier`; zero if it is not later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The instant `by` later, at most the end of representable time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_add(micros(by)))
    }

    /// The instant `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_sub(micros(by)))
    }

    /// This instant as a civil time in UTC, for wording.
    #[must_use]
    pub fn utc(self) -> jiff::civil::DateTime {
        let instant = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        jiff::tz::Offset::UTC.to_datetime(instant)
    }
}

/// Whether this is RFC 3339 of the last hours of the year 9999, which jiff keeps for time zones.
fn is_beyond_jiff(text: &str) -> bool {
    jiff::fmt::temporal::Pieces::parse(text).is_ok_and(|pieces| {
        let is_last = (pieces.date().year(), pieces.date().month()) == (9999, 12);
        is_last && pieces.time().is_some() && pieces.offset().is_some()
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, with a fraction only where there is one.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{instant}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| de::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_microseconds_are_kept_to_the_microsecond() {
        let time = Timestamp::from_seconds(1_448_015_759.061_321).unwrap();
        assert_eq!(time.as_micros(), 1_448_015_759_061_321);
        assert_eq!(time.to_string(), "2015-11-20T10:35:59.061321Z");
    }

    #[test]
    fn absurd_seconds_are_no_time() {
        for absurd in [-1.0, f64::NAN, f64::INFINITY, 253_402_300_800.0, 1e300] {
            assert_eq!(Timestamp::from_seconds(absurd), None, "{absurd}");
        }
        assert!(Timestamp::from_seconds(253_402_300_799.0).is_some());
    }

    #[test]
    fn unix_seconds_and_rfc_3339_read_the_same() {
        let seconds = Timestamp::parse("1448015759.25").unwrap();
        assert_eq!(Timestamp::parse("2015-11-20T11:35:59.25+01:00"), Some(seconds));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn the_end_of_the_last_year_is_as_late_as_can_be_told() {
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T00:00:00-02:00"] {
            let late = Timestamp::parse(text).unwrap();
            assert!(late < Timestamp::END);
            assert_eq!(late.to_string(), "9999-12-30T22:00:00Z");
            assert_eq!(Timestamp::parse(&late.to_string()), Some(late));
        }
        for wrong in
            ["9999-12-32T00:00:00Z", "9999-12-31T23:59:59", "9999-12-31", "9999-12-31T25:00Z"]
        {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }
}
