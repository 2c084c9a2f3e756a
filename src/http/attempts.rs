//! Wrong credentials, counted by where they come from, so that nobody can guess for long. Pure: it is
//! told what time it is.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::origin::Neighbours;

/// How many wrong credentials are looked at within [`WINDOW`] (DESIGN.md §4).
pub(super) const MOST_WRONG: u32 = 10;

/// From the first of them on.
const WINDOW: Duration = Duration::from_secs(60);

/// How many addresses are remembered, of those who were wrong and of those who were right each.
const MOST_REMEMBERED: usize = 4096;

/// Who gave wrong credentials lately, and who right ones.
#[derive(Default)]
pub(super) struct Attempts {
    wrong: HashMap<Neighbours, Wrong>,
    /// Who was let in, and when last. Only those who know a secret can fill it.
    right: HashMap<Neighbours, Instant>,
}

struct Wrong {
    since: Instant,
    count: u32,
}

/// What came of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// So many were wrong lately, this one counted.
    Wrong(u32),
    /// They do not matter: there were too many wrong ones, for so long yet.
    TooMany(Duration),
}

impl Attempts {
    /// How long someone is still not listened to, whatever they give.
    ///
    /// Whoever was let in before is listened to all the same: behind one address may be many, and
    /// those who are wrong are not to lock out those who are right.
    pub(super) fn shut_out(&self, from: Neighbours, now: Instant) -> Option<Duration> {
        if self.right.contains_key(&from) {
            return None;
        }
        self.too_many(from, now)
    }

    /// Takes note of credentials that were looked at.
    pub(super) fn judge(&mut self, from: Neighbours, is_right: bool, now: Instant) -> Verdict {
        if let Some(time) = self.shut_out(from, now) {
            return Verdict::TooMany(time);
        }
        if is_right {
            if self.right.len() >= MOST_REMEMBERED && !self.right.contains_key(&from) {
                forget_older_half(&mut self.right, |at| *at);
            }
            self.right.insert(from, now);
            return Verdict::Right;
        }
        if let Some(time) = self.too_many(from, now) {
            return Verdict::TooMany(time);
        }
        if self.wrong.len() >= MOST_REMEMBERED && !self.wrong.contains_key(&from) {
            self.wrong.retain(|_, wrong| now < wrong.since + WINDOW);
        }
        if self.wrong.len() >= MOST_REMEMBERED && !self.wrong.contains_key(&from) {
            forget_older_half(&mut self.wrong, |wrong| wrong.since);
        }
        let wrong = self.wrong.entry(from).or_insert(Wrong { since: now, count: 0 });
        if now >= wrong.since + WINDOW {
            *wrong = Wrong { since: now, count: 0 };
        }
        wrong.count += 1;
        Verdict::Wrong(wrong.count)
    }

    fn too_many(&self, from: Neighbours, now: Instant) -> Option<Duration> {
        let wrong = self.wrong.get(&from).filter(|wrong| wrong.count >= MOST_WRONG)?;
        (wrong.since + WINDOW).checked_duration_since(now).filter(|time| !time.is_zero())
    }
}

/// Makes room without a look at all of them each time.
fn forget_older_half<T>(remembered: &mut HashMap<Neighbours, T>, at: impl Fn(&T) -> Instant) {
    let mut times: Vec<Instant> = remembered.values().map(&at).collect();
    let middle = times.len() / 2;
    let (_, middle, _) = times.select_nth_unstable(middle);
    remembered.retain(|_, kept| at(kept) > *middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn from(number: u32) -> Neighbours {
        Neighbours::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn ten_wrong_ones_a_minute_are_looked_at_and_no_right_one_after_them() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for count in 1..=10 {
            let verdict = attempts.judge(from(1), false, start + count * SECOND);
            assert_eq!(verdict, Verdict::Wrong(count));
        }
        let now = start + 21 * SECOND;
        for is_right in [false, true] {
            assert_eq!(attempts.judge(from(1), is_right, now), Verdict::TooMany(40 * SECOND));
        }
        assert_eq!(attempts.judge(from(2), true, now), Verdict::Right, "others are not concerned");
        let later = start + 61 * SECOND;
        assert_eq!(attempts.judge(from(1), false, later), Verdict::Wrong(1));
        assert_eq!(attempts.judge(from(1), true, later), Verdict::Right);
    }

    #[test]
    fn whoever_was_let_in_before_is_not_locked_out_by_others_at_the_same_address() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        assert_eq!(attempts.judge(from(1), true, now), Verdict::Right);
        for count in 1..=10 {
            assert_eq!(attempts.judge(from(1), false, now), Verdict::Wrong(count));
        }
        assert_eq!(attempts.judge(from(1), false, now), Verdict::TooMany(WINDOW));
        assert_eq!(attempts.judge(from(1), true, now), Verdict::Right);
    }

    #[test]
    fn no_number_of_addresses_fills_the_memory() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for number in 0..20_000 {
            let now = start + number * Duration::from_micros(1);
            attempts.judge(from(number), number % 2 == 0, now);
        }
        assert!(attempts.wrong.len() <= MOST_REMEMBERED && attempts.right.len() <= MOST_REMEMBERED);
        assert!(attempts.wrong.contains_key(&from(19_999)), "the latest are kept");
        assert!(attempts.right.contains_key(&from(19_998)));
    }
}
