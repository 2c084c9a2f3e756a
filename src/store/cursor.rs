//! Where a page of a list begins, as text that callers hand back as they got it.
//!
//! Made of digits, letters and `-` only, so that it needs no escaping in a URL.

use super::StoreError;

/// A cursor at a pair of numbers.
pub(super) fn pair(first: i64, second: i64) -> String {
    format!("{first}-{second}")
}

/// Reads what [`pair`] made.
pub(super) fn parse_pair(cursor: &str) -> Result<(i64, i64), StoreError> {
    // The first may be negative: its sign is no separator.
    cursor
        .rsplit_once('-')
        .and_then(|(first, second)| Some((first.parse().ok()?, parse_digits(second)?)))
        .ok_or_else(|| malformed(cursor))
}

/// A cursor at a number.
pub(super) fn number(number: i64) -> String {
    number.to_string()
}

/// Reads what [`number`] made.
pub(super) fn parse_number(cursor: &str) -> Result<i64, StoreError> {
    parse_digits(cursor).ok_or_else(|| malformed(cursor))
}

/// A cursor at any text.
pub(super) fn text(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`text`] made.
pub(super) fn parse_text(cursor: &str) -> Result<String, StoreError> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let bytes = cursor.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    bytes
        .collect::<Option<Vec<u8>>>()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| malformed(cursor))
}

fn parse_digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn malformed(cursor: &str) -> StoreError {
    StoreError::Refused(format!(
        "{cursor:?} is no cursor of this list; take the one that the page before gave"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_made() {
        assert_eq!(parse_pair(&pair(-5, 7)).unwrap(), (-5, 7));
        assert_eq!(parse_number(&number(i64::MAX)).unwrap(), i64::MAX);
        assert_eq!(parse_text(&text("wéb/1?&")).unwrap(), "wéb/1?&");
    }

    #[test]
    fn what_is_no_cursor_is_refused_in_words() {
        for wrong in ["", "5", "5-", "-5", "5--7", "a-b", "5-99999999999999999999"] {
            assert!(matches!(parse_pair(wrong), Err(StoreError::Refused(_))), "{wrong:?}");
        }
        for wrong in ["", "-1", "1.5", "x"] {
            assert!(matches!(parse_number(wrong), Err(StoreError::Refused(_))), "{wrong:?}");
        }
        for wrong in ["6", "zz", "ff", "é"] {
            let error = parse_text(wrong).unwrap_err().to_string();
            assert!(error.contains("is no cursor of this list"), "{error}");
        }
    }
}
