//! Durations as people write them: `90s`, `5m`, `1h30m`, `7d`, `500ms`.

use std::fmt::Write as _;
use std::time::Duration;

/// The units, the longest first, in milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The duration that this text writes; each unit at most once, the longest first.
///
/// # Errors
/// What is wrong with it, to be said after what it is: "is no duration; …".
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut units = &UNITS[..];
    if rest.is_empty() {
        return Err(unreadable());
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|char: char| char.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let found = units.iter().position(|(name, _)| *name == unit);
        let Some(index) = found.filter(|_| !number.is_empty()) else {
            return Err(unreadable());
        };
        let millis =
            number.parse::<u64>().ok().and_then(|number| number.checked_mul(units[index].1));
        let sum = millis.and_then(|millis| total.checked_add(millis));
        // Microseconds in 63 bits are what time is kept in.
        total = sum.filter(|sum| *sum <= (i64::MAX / 1000) as u64).ok_or("is too long a time")?;
        units = &units[index + 1..];
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// The duration as people write it, to the millisecond: what [`parse`] reads.
#[must_use]
pub fn write(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    // Weeks are read, and days are what people count in.
    for (unit, millis) in &UNITS[1..] {
        if rest >= *millis {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn unreadable() -> String {
    "is no duration; write it like 500ms, 90s, 5m, 1h30m or 7d".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("500ms", 500),
            ("1s500ms", 1500),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for text in ["0s", "500ms", "5m5s", "1h30m", "9d1s1ms"] {
            assert_eq!(write(parse(text).unwrap()), text);
        }
        assert_eq!(write(parse("1w90s").unwrap()), "7d1m30s");
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in
            ["", "5", "m", "5 m", "5x", "-5s", "1.5h", "5m5m", "30m1h", "5min", "٣s", "1h30"]
        {
            assert!(parse(text).unwrap_err().contains("is no duration"), "{text}");
        }
        for text in ["99999999999999999999s", "18446744073709551615w", "99999999w"] {
            assert!(parse(text).unwrap_err().contains("too long"), "{text}");
        }
    }
}
