//! When to try again. Pure.

use std::time::Duration;

/// The first wait after a failure (DESIGN.md §7).
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest (DESIGN.md §7).
pub const LONGEST: Duration = Duration::from_secs(5 * 60);

/// How long to wait after the `failures`th failure in a row, counted from 0: doubling from 1 s to
/// 5 min, of which `jitter` (0 to 1) takes up to a half away, so that many who failed together do not
/// come back together; never less than 1 s.
#[must_use]
pub fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = SHORTEST.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    doubled.min(LONGEST).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0).max(SHORTEST)
}

/// How long to leave a place alone that takes nothing until someone mends it: the longest wait.
#[must_use]
pub fn probe_after(jitter: f64) -> Duration {
    LONGEST.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_five_minutes() {
        let waits: Vec<u64> = (0..12).map(|failures| backoff(failures, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoff(u32::MAX, 0.0), LONGEST);
    }

    #[test]
    fn jitter_takes_up_to_a_half_away_and_leaves_a_second() {
        assert_eq!(backoff(0, 1.0), SHORTEST);
        assert_eq!(backoff(3, 1.0), Duration::from_secs(4));
        assert_eq!(backoff(3, 7.0), Duration::from_secs(4));
        assert_eq!(probe_after(1.0), LONGEST / 2);
    }
}
