//! Rates as people write them: `1/s`, `20/min`, `500/h`.

use std::time::Duration;

/// The units, with their seconds.
const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3600)];

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

/// The rate that this text writes.
///
/// # Errors
/// What is wrong with it, to be said after what it is: "is no rate; …".
pub(super) fn parse(text: &str) -> Result<Rate, String> {
    let unreadable = || "is no rate; write one like 1/s, 20/min or 500/h".to_owned();
    let (count, unit) = text.split_once('/').ok_or_else(unreadable)?;
    let unit = unit.trim();
    let found = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, seconds) = found.ok_or_else(unreadable)?;
    let count: u32 = count.trim().parse().map_err(|_| unreadable())?;
    if count == 0 {
        return Err("lets nothing through; write at least 1/h".to_owned());
    }
    Ok(Rate { count, per: Duration::from_secs(*seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        assert_eq!(parse("1/s"), Ok(Rate::per_second(1)));
        assert_eq!(parse(" 20 / min "), Ok(Rate::per_minute(20)));
        assert_eq!(parse("500/h"), Ok(Rate { count: 500, per: Duration::from_secs(3600) }));
        for text in ["", "1", "/s", "1/", "-1/s", "1.5/s", "1/m", "1/sec", "1/s/s", "4294967296/s"]
        {
            assert!(parse(text).unwrap_err().starts_with("is no rate"), "{text}");
        }
        assert!(parse("0/s").unwrap_err().starts_with("lets nothing through"));
    }

    #[test]
    fn a_rate_gives_so_many_in_a_time() {
        assert_eq!(Rate::per_minute(30).times_in(4.0), 2.0);
    }
}
