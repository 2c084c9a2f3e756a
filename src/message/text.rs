//! Small text: one line out of anything, shortening that says so, times and durations in words.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::Timestamp;

/// What shortened text ends in.
pub const SHORTENED: &str = "… (shortened)";

/// The text in one line, without control characters and without the marks that reorder text: what
/// comes from an event cannot forge a line, a header or a terminal sequence.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars().filter(|character| !reorders(*character)) {
        if character.is_whitespace() || character.is_control() {
            if !line.ends_with(' ') {
                line.push(' ');
            }
        } else {
            line.push(character);
        }
    }
    line.trim().to_owned()
}

/// The text with its lines kept, each without trailing space, and otherwise as [`one_line`].
#[must_use]
pub fn lines(text: &str) -> String {
    let clean = |line: &str| {
        line.chars()
            .filter(|character| !reorders(*character))
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect::<String>()
            .trim_end()
            .to_owned()
    };
    text.lines().map(clean).collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()
}

/// Whether a character does something to a line instead of standing in it: it moves the cursor, or
/// reorders what is around it.
#[must_use]
pub fn is_unseemly(character: char) -> bool {
    character.is_control() || reorders(character)
}

/// Line and paragraph separators, and the marks and controls of bidirectional text (UAX #9 §2).
fn reorders(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// The text in at most `limit` characters; what is cut off is replaced by [`SHORTENED`].
#[must_use]
pub fn shorten(text: &str, limit: usize) -> Cow<'_, str> {
    shorten_by(text, limit, |_| 1)
}

/// The text in at most `limit` of what a character measures, such as bytes.
#[must_use]
pub fn shorten_by(text: &str, limit: usize, measure: impl Fn(char) -> usize) -> Cow<'_, str> {
    cut(text, limit, measure, SHORTENED)
}

/// The same, where this `mark` says that it was shortened.
#[must_use]
pub fn cut<'a>(
    text: &'a str,
    limit: usize,
    measure: impl Fn(char) -> usize,
    mark: &str,
) -> Cow<'a, str> {
    // Up to where what precedes a character measures no more than this.
    let within = |limit: usize| {
        let mut used = 0;
        text.char_indices().find_map(|(index, character)| {
            used += measure(character);
            (used > limit).then_some(index)
        })
    };
    if within(limit).is_none() {
        return Cow::Borrowed(text);
    }
    let keep = limit.saturating_sub(mark.chars().map(&measure).sum());
    let end = within(keep).unwrap_or(text.len());
    Cow::Owned(format!("{}{mark}", &text[..end]))
}

/// How many columns of a terminal a character takes: two where East Asian ones and pictures stand,
/// by the blocks in which most of these are (UAX #11), and none where it is put onto another.
#[must_use]
pub fn columns(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// `42 s`, `34 min`, `24h`, `3h 20 min`, `5d`, `5d 4h`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0 | 1, ..) if minutes % 60 == 0 => format!("{hours}h"),
        (0 | 1, ..) => format!("{hours}h {} min", minutes % 60),
        _ if hours % 24 == 0 => format!("{days}d"),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `14:02 UTC`, with the date where it is not the day of `now`.
#[must_use]
pub fn time(at: Timestamp, now: Timestamp) -> String {
    format!("{} UTC", clock(at, now))
}

/// Two times of one story, `UTC` said once: `14:02` and `14:03 UTC`. The date is said where it is
/// not the day of what comes before it.
#[must_use]
pub fn times(from: Timestamp, until: Timestamp, now: Timestamp) -> (String, String) {
    (clock(from, now), time(until, from))
}

fn clock(at: Timestamp, today: Timestamp) -> String {
    let format = if at.utc().date() == today.utc().date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.utc().strftime(format).to_string()
}

/// `1 container`, `3 containers`.
#[must_use]
pub fn count(number: u64, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{number} {singular}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(one_line(" a\r\nBcc: x\u{1b}[31m\u{202e}b\u{2028}c "), "a Bcc: x [31mbc");
    }

    #[test]
    fn lines_keep_their_breaks_and_lose_what_moves_the_cursor() {
        assert_eq!(lines("\na\r\n  b\u{7}\u{1b}[2J\n\n"), "a\n  b  [2J");
    }

    #[test]
    fn shortening_says_so_and_keeps_to_the_limit() {
        let long = "é".repeat(100);
        let short = shorten(&long, 50);
        assert_eq!(short.chars().count(), 50);
        assert!(short.ends_with("é… (shortened)"));
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("shorter", 6), SHORTENED);
    }

    #[test]
    fn shortening_goes_by_bytes_where_a_place_does() {
        let short = shorten_by("éééééééééééé", 23, char::len_utf8);
        assert_eq!((short.as_ref(), short.len()), ("éééé… (shortened)", 23));
        assert_eq!(shorten_by("éé", 4, char::len_utf8), "éé");
    }

    #[test]
    fn shortening_goes_by_columns_where_a_terminal_does() {
        let short = shorten_by("容器容器容器容器容器容器", 21, columns);
        assert_eq!(short.as_ref(), "容器容器… (shortened)");
        assert_eq!(shorten_by("e\u{301}e\u{301}", 2, columns), "e\u{301}e\u{301}");
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (2_099, "34 min"),
            (86_400, "24h"),
            (12_000, "3h 20 min"),
            (432_000, "5d"),
            (446_400, "5d 4h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn the_date_is_said_where_it_is_not_today() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let (before, after) = (at("2015-11-20T23:59:30Z"), at("2015-11-21T00:01:00Z"));
        assert_eq!(time(after, after), "00:01 UTC");
        assert_eq!(time(before, after), "2015-11-20 23:59 UTC");
        let (from, until) = times(before, after, before);
        assert_eq!((from.as_str(), until.as_str()), ("23:59", "2015-11-21 00:01 UTC"));
    }
}
