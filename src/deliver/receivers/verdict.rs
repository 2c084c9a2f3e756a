//! What an answer is worth: the one classifier of all places that are told over HTTP.
//!
//! A place says what its own answer says ([`Says`]); where it says nothing, the status decides.

use std::time::Duration;

use super::http::Answer;
use super::{Accepted, SendError};

/// What a place reads in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) says: Says,
    /// The place's own words, in a line ([`Answer::in_a_line`]); empty if it has none.
    pub(super) words: String,
    /// How long it asks to be left alone, if the body says so and not the header.
    pub(super) retry_after: Option<Duration>,
}

/// What an answer says of itself, beyond its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing that is known: the status decides.
    Nothing,
    /// The message was taken.
    Taken,
    /// Try again later.
    Transient,
    /// This message will never be taken.
    Message,
    /// Nothing will be taken here until someone mends it.
    Destination,
    /// It is a success, but not one of this place's making: what it would have answered.
    Stranger(&'static str),
}

impl Reading {
    /// The first line of the body as the place's words, and what it says.
    pub(super) fn of_text(answer: &Answer, says: Says) -> Reading {
        Reading { says, words: answer.in_a_line(&answer.body), retry_after: None }
    }
}

/// What is to be done about an answer, by its status (RFC 9110 §15) and by what the place reads in
/// it.
pub(super) fn judge(answer: &Answer, reading: Reading) -> Result<Accepted, SendError> {
    let Reading { says, words, retry_after } = reading;
    let detail = match words.is_empty() {
        true => format!("{}, without a word", answer.status),
        false => format!("{} {words}", answer.status),
    };
    let retry_after = answer.retry_after.or(retry_after);
    let transient = |detail| Err(SendError::Transient { detail, retry_after, reached: Vec::new() });
    match (says, answer.status) {
        (Says::Taken, _) => Ok(Accepted::with_answer(words, answer.status)),
        (Says::Transient, _) => transient(detail),
        (Says::Message, _) => Err(SendError::message(detail)),
        (Says::Destination, _) => Err(SendError::Destination { detail }),
        // Of half an answer it cannot be said whose it is.
        (Says::Stranger(expected), _) => match &answer.cut {
            Some(lost) => Err(lost.clone()),
            None => transient(format!("not from {expected}; a proxy may be in the way: {detail}")),
        },
        (Says::Nothing, 200..300) => Ok(Accepted::with_answer(words, answer.status)),
        (Says::Nothing, 300..400) => transient(format!("redirects are not followed: {detail}")),
        // 408 and 425 ask for another try as well (RFC 9110 §15.5.9, RFC 8470 §5.2).
        (Says::Nothing, 408 | 425 | 429 | 500..) => transient(detail),
        // Who may, where it is, and what it takes there: no message is at fault.
        (Says::Nothing, 401 | 402 | 403 | 404 | 405 | 407 | 410) => {
            Err(SendError::Destination { detail })
        }
        (Says::Nothing, 400..500) => Err(SendError::message(detail)),
        (Says::Nothing, _) => transient(detail),
    }
}

/// Whether a body is a page for people: what proxies and captive portals answer in a place's stead.
pub(super) fn is_page(body: &str) -> bool {
    body.trim_start().starts_with('<')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::receivers::tests::{answer, class};

    #[test]
    fn the_status_decides_where_the_place_says_nothing() {
        for (status, expected) in [
            (200, "accepted"),
            (202, "accepted"),
            (204, "accepted"),
            (302, "transient"),
            (400, "message"),
            (401, "destination"),
            (403, "destination"),
            (404, "destination"),
            (408, "transient"),
            (410, "destination"),
            (413, "message"),
            (422, "message"),
            (425, "transient"),
            (429, "transient"),
            (500, "transient"),
            (503, "transient"),
            (100, "transient"),
        ] {
            let answer = answer(status, "");
            let judged = judge(&answer, Reading::of_text(&answer, Says::Nothing));
            assert_eq!(class(&judged), expected, "{status}");
        }
    }

    #[test]
    fn the_places_own_words_are_kept_in_one_line() {
        let says = |status, body: &str| {
            let answer =
                Answer { retry_after: Some(Duration::from_secs(2)), ..answer(status, body) };
            judge(&answer, Reading::of_text(&answer, Says::Nothing))
        };
        let expected = SendError::Transient {
            detail: "429 slow down".into(),
            retry_after: Some(Duration::from_secs(2)),
            reached: Vec::new(),
        };
        assert_eq!(says(429, "\n slow\u{1b} down \nand more"), Err(expected));
        assert_eq!(says(429, "").unwrap_err().to_string(), "429, without a word");
        assert!(says(429, &"x".repeat(4_000)).unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn of_half_an_answer_that_had_to_be_whole_nobody_knows_whether_it_was_a_success() {
        let lost = SendError::unknown("the answer was lost");
        let answer = Answer { cut: Some(lost.clone()), ..answer(200, "{\"ok\":") };
        let judged = |says| judge(&answer, Reading::of_text(&answer, says));
        assert_eq!(judged(Says::Stranger("Slack")), Err(lost));
        assert_eq!(class(&judged(Says::Nothing)), "accepted");
    }

    #[test]
    fn an_answer_without_words_is_its_status() {
        let answer = answer(204, "");
        let taken = judge(&answer, Reading::of_text(&answer, Says::Nothing));
        assert_eq!(taken.map(|accepted| accepted.answer), Ok("204".into()));
    }
}
