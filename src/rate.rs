//! How often something may happen, and a token bucket that keeps to it: messages to one place
//! (DESIGN.md §7), requests with one token. Pure: it is told what time it is.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// The units, with their seconds.
pub const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3600)];

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many times, at least once.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

impl Rate {
    /// So many times a second.
    #[must_use]
    pub const fn per_second(count: u32) -> Rate {
        Rate { count, per: Duration::from_secs(1) }
    }

    /// So many times a minute.
    #[must_use]
    pub const fn per_minute(count: u32) -> Rate {
        Rate { count, per: Duration::from_secs(60) }
    }

    /// How many times in so many seconds.
    #[must_use]
    pub fn times_in(self, seconds: f64) -> f64 {
        f64::from(self.count) * seconds / self.per.as_secs_f64()
    }
}

/// As people write it: `20/min`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs()) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{} in {:?}", self.count, self.per),
        }
    }
}

/// Holds what its rate gives in a second, and one at least: a minute's worth at once is more than a
/// place takes that says how many it takes a minute.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    /// When it held so many.
    at: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Bucket {
        Bucket { rate, tokens: size(rate), at: now }
    }

    /// How many may go now.
    pub fn available(&mut self, now: Instant) -> usize {
        self.fill(now);
        // No larger than a rate; of more taken than there were, none.
        self.tokens as usize
    }

    /// Takes so many, be it that there are not: what went out went out.
    pub fn take(&mut self, count: usize, now: Instant) {
        self.fill(now);
        self.tokens -= count as f64;
    }

    /// Gives one back that was taken for nothing.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(size(self.rate));
    }

    /// When there is one.
    pub fn next(&mut self, now: Instant) -> Instant {
        self.fill(now);
        let wait = (1.0 - self.tokens).max(0.0) / self.rate.times_in(1.0);
        now + Duration::from_secs_f64(wait)
    }

    /// How many can go within this time from now on.
    #[must_use]
    pub fn within(&mut self, time: Duration, now: Instant) -> usize {
        self.fill(now);
        (self.tokens + self.rate.times_in(time.as_secs_f64())) as usize
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + self.rate.times_in(passed)).min(size(self.rate));
        self.at = self.at.max(now);
    }
}

fn size(rate: Rate) -> f64 {
    rate.times_in(1.0).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_gives_so_many_in_a_time_and_reads_as_it_is_written() {
        assert_eq!(Rate::per_minute(30).times_in(4.0), 2.0);
        assert_eq!(Rate::per_minute(30).to_string(), "30/min");
        assert_eq!(Rate::per_second(1).to_string(), "1/s");
    }

    #[test]
    fn a_bucket_gives_a_second_s_worth_at_once_and_its_rate_from_then_on() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(Rate::per_second(4), start);
        assert_eq!(bucket.available(start), 4);
        bucket.take(4, start);
        assert_eq!(bucket.next(start), at(250));
        assert_eq!(bucket.available(at(249)), 0);
        assert_eq!(bucket.available(at(500)), 2);
        // However long nothing goes, no more than a second's worth is saved up.
        assert_eq!(bucket.available(at(60_000)), 4);
        assert_eq!(bucket.next(at(60_000)), at(60_000));
    }

    #[test]
    fn a_bucket_of_a_rate_a_minute_gives_one_at_a_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::per_minute(20), start);
        assert_eq!(bucket.available(start), 1);
        assert_eq!(bucket.within(Duration::from_secs(5), start), 2);
        bucket.take(1, start);
        assert_eq!(bucket.next(start), start + Duration::from_secs(3));
    }
}
