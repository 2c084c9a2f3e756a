//! Rates as people write them: `1/s`, `20/min`, `500/h`.

use std::time::Duration;

pub use crate::rate::Rate;
use crate::rate::UNITS;

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
}
