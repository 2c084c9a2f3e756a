//! Payload → event. Liberal in what it takes (DESIGN.md §3), exact in what it keeps.

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::json::{Json, Object, with_whole_characters};
use super::payload::{Packed, Payload};
use super::{Event, Exit, Identity, State};
use crate::clock::Timestamp;

/// Why a payload is no event. The text is for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8: byte {0} starts no character; send JSON in UTF-8")]
    Utf8(usize),
    /// The text is not JSON.
    #[error("the body is not JSON: {0}; send one JSON object")]
    Json(String),
    /// It is nested deeper than 64 levels.
    #[error("the body is nested deeper than {DEPTH} levels; send a flatter object")]
    Depth,
    /// It is JSON, but no object.
    #[error("the body is {0}; send one JSON object with `id`, `state` and `timestamp`")]
    NotAnObject(&'static str),
    /// A required field is not there.
    #[error("`{0}` is missing; an event needs `id`, `state` and `timestamp`")]
    Missing(&'static str),
    /// A required field is there, and is no use.
    #[error("`{field}` must be {must}, and is {is}")]
    Wrong {
        /// The field's name.
        field: &'static str,
        /// What it must be.
        must: &'static str,
        /// What it is.
        is: String,
    },
}

/// How deep a payload may be nested: half of what `serde_json` reads, so that what is made of a
/// payload can be read again.
pub(super) const DEPTH: usize = 64;

/// Decodes a request body.
///
/// # Errors
/// [`DecodeError`] if it is no JSON object with a non-empty `id`, a non-empty `state`, and a
/// `timestamp` that is a number, not negative and before the year 10000.
pub fn decode(body: &[u8]) -> Result<Event, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|error| DecodeError::Utf8(error.valid_up_to()))?;
    read(text, || Payload::of(text))
}

/// Decodes a body again, of which this was [kept](Payload::packed).
///
/// # Errors
/// What is wrong with it, be it that it was kept of no body, or as [`decode`].
pub fn decode_packed(packed: Packed) -> Result<Event, String> {
    let text = packed.text().map_err(|damaged| damaged.to_string())?.into_owned();
    read(&text, || Payload::of_packed(packed)).map_err(|error| error.to_string())
}

/// The event that a text says, with its payload.
fn read(text: &str, payload: impl FnOnce() -> Payload) -> Result<Event, DecodeError> {
    match serde_json::from_str(text) {
        Ok(json) => event(&json, payload),
        Err(error) => match with_whole_characters(text) {
            Cow::Owned(whole) => event(&serde_json::from_str(&whole).map_err(not_json)?, payload),
            Cow::Borrowed(_) => Err(not_json(error)),
        },
    }
}

fn not_json(error: serde_json::Error) -> DecodeError {
    // serde_json has no kind for it; beyond 128 levels it says so, and in no other case.
    let words = error.to_string();
    match words.starts_with("recursion limit") {
        true => DecodeError::Depth,
        false => DecodeError::Json(words),
    }
}

fn event(json: &Json<'_>, payload: impl FnOnce() -> Payload) -> Result<Event, DecodeError> {
    if json.depth() > DEPTH {
        return Err(DecodeError::Depth);
    }
    let Json::Object(fields) = json else {
        return Err(DecodeError::NotAnObject(json.kind()));
    };
    let container = required_text(fields, "id")?;
    let state = required_text(fields, "state")?;
    let timestamp = timestamp(fields)?;
    Ok(Event {
        container: container.into(),
        application: text_field(fields, "application").map(Into::into),
        service: text_field(fields, "service").map(Into::into),
        state: State::named(state),
        prev_state: text_field(fields, "prev_state").map(State::named),
        timestamp,
        starts: fields.get("counters").and_then(|counters| counters.get("start")).and_then(whole),
        exit: fields.get("data").and_then(|data| data.get("last_exit_status")).and_then(exit),
        identity: identity(container, timestamp, fields),
        payload: payload(),
    })
}

/// The event of a payload that was parsed before, such as one kept in a notification.
///
/// # Errors
/// As [`decode`].
pub fn from_value(value: &Value) -> Result<Event, DecodeError> {
    decode(value.to_string().as_bytes())
}

fn required_text<'a>(fields: &'a Object<'_>, field: &'static str) -> Result<&'a str, DecodeError> {
    const MUST: &str = "a non-empty string";
    match fields.get(field) {
        None | Some(Json::Null) => Err(DecodeError::Missing(field)),
        Some(Json::Text(text)) if text.is_empty() => {
            Err(DecodeError::Wrong { field, must: MUST, is: "empty".into() })
        }
        Some(Json::Text(text)) => Ok(text),
        Some(other) => Err(DecodeError::Wrong { field, must: MUST, is: other.kind().into() }),
    }
}

fn timestamp(fields: &Object<'_>) -> Result<Timestamp, DecodeError> {
    const MUST: &str = "a number of Unix seconds, not negative and before the year 10000";
    let field = "timestamp";
    match fields.get(field) {
        None | Some(Json::Null) => Err(DecodeError::Missing(field)),
        Some(Json::Number(number)) => number
            .as_f64()
            .and_then(Timestamp::from_seconds)
            .ok_or_else(|| DecodeError::Wrong { field, must: MUST, is: number.to_string() }),
        Some(other) => Err(DecodeError::Wrong { field, must: MUST, is: other.kind().into() }),
    }
}

fn text_field<'a>(fields: &'a Object<'_>, field: &str) -> Option<&'a str> {
    fields.get(field).and_then(Json::as_str)
}

fn exit(status: &Json<'_>) -> Option<Exit> {
    let status = status.as_object()?;
    let number = |field: &str| status.get(field).and_then(whole);
    Some(Exit::new(
        text_field(status, "reason").map(str::to_owned),
        number("exit_status"),
        number("signal"),
        number("raw_exit_status"),
    ))
}

/// A whole number, also where it is written with a fraction of zero.
fn whole(json: &Json<'_>) -> Option<i64> {
    let Json::Number(number) = json else { return None };
    number.as_i64().or_else(|| {
        let number = number.as_f64()?;
        // 2^53: up to here a float that is whole is exact.
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

/// The digest of (id, timestamp, canonical payload without `counters.post_attempts`).
fn identity(container: &str, timestamp: Timestamp, fields: &Object<'_>) -> Identity {
    let mut canonical = Canonical::default();
    canonical.text(container);
    canonical.0.extend(timestamp.as_micros().to_le_bytes());
    for (name, value) in fields.iter() {
        match value {
            Json::Object(counters) if name == "counters" => {
                for (counter, value) in counters.iter().filter(|(key, _)| *key != "post_attempts") {
                    canonical.text(name);
                    canonical.text(counter);
                    canonical.json(value);
                }
            }
            _ => {
                canonical.text(name);
                canonical.json(value);
            }
        }
    }
    let digest: [u8; 32] = Sha256::digest(&canonical.0).into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    Identity(short)
}

/// What an identity is the digest of: everything behind its length, so that no two payloads read
/// the same.
struct Canonical(Vec<u8>);

impl Default for Canonical {
    /// With room for a usual payload.
    fn default() -> Self {
        Canonical(Vec::with_capacity(1024))
    }
}

impl Canonical {
    fn text(&mut self, text: &str) {
        self.behind_its_length(|bytes| bytes.extend_from_slice(text.as_bytes()));
    }

    /// An object's keys are sorted, so that writing a value gives its canonical form.
    fn json(&mut self, json: &Json<'_>) {
        self.behind_its_length(|bytes| {
            serde_json::to_writer(bytes, json).expect("a vector takes all that is written");
        });
    }

    fn behind_its_length(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        const ROOM: usize = size_of::<u64>();
        let place = self.0.len();
        self.0.extend([0; ROOM]);
        write(&mut self.0);
        let length = (self.0.len() - place - ROOM) as u64;
        self.0[place..place + ROOM].copy_from_slice(&length.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event_of(value: &Value) -> Event {
        decode(value.to_string().as_bytes()).unwrap()
    }

    /// An event with so many arrays in one another.
    fn nested(levels: usize) -> String {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!("{{\"id\": \"a\", \"state\": \"X\", \"timestamp\": 1, \"x\": {open}{close}}}")
    }

    fn error_of(body: &[u8]) -> String {
        decode(body).unwrap_err().to_string()
    }

    #[test]
    fn three_fields_are_enough() {
        let event = event_of(&json!({"id": "a", "state": "crashed", "timestamp": 5}));
        assert_eq!(event.state, State::Crashed);
        assert_eq!(event.timestamp, Timestamp::from_micros(5_000_000));
        assert_eq!((event.application, event.starts, event.exit), (None, None, None));
    }

    #[test]
    fn fields_of_a_kind_not_seen_before_are_taken_for_missing() {
        let event = event_of(&json!({
            "id": "a", "state": "X", "timestamp": 1.5, "application": 7, "service": null,
            "data": [], "counters": "none", "prev_state": {},
        }));
        assert_eq!((event.application, event.service, event.starts), (None, None, None));
        assert_eq!(event.prev_state, None);
        assert_eq!(event.payload.value()["application"], 7);
    }

    /// Python writes so what was cut within a character.
    #[test]
    fn half_a_character_is_kept_and_read_as_a_replacement() {
        let body =
            r#"{"id":"a","state":"CRASHED","timestamp":1,"service":"web\ud83d","x":["\ude00"]}"#;
        let event = decode(body.as_bytes()).unwrap();
        assert_eq!(event.service.as_deref(), Some("web\u{fffd}"));
        assert_eq!(event.payload.value()["x"][0], "\u{fffd}");
        assert_eq!(event.payload.text(), body);
        let again = decode_packed(event.payload.packed().clone()).unwrap();
        assert_eq!((again.identity, again.service), (event.identity, event.service));
    }

    #[test]
    fn a_payload_may_be_nested_as_deep_as_can_be_read_again() {
        assert!(decode(nested(63).as_bytes()).is_ok());
    }

    #[test]
    fn a_retry_is_the_same_event() {
        let first = json!({"id": "a", "state": "X", "timestamp": 1, "counters": {"start": 1, "post_attempts": 0}});
        let mut retry = first.clone();
        retry["counters"]["post_attempts"] = json!(7);
        assert_eq!(event_of(&first).identity, event_of(&retry).identity);

        let mut without = first.clone();
        without["counters"].as_object_mut().unwrap().remove("post_attempts");
        assert_eq!(event_of(&first).identity, event_of(&without).identity);
    }

    /// They are in databases and in what producers were answered: were they others in a new
    /// version, every event of before would be taken in again.
    #[test]
    fn identities_are_what_they_always_were() {
        for (payload, identity) in [
            (r#"{"id": "a", "state": "X", "timestamp": 1}"#, "5f9cb311b2cdff0c6dd68286a07924ec"),
            (
                r#"{"id": "é\u00e9\n\"\\/\u0001😀\ud83d\ude00", "state": "x\u007f", "timestamp": 1.5}"#,
                "42bb7fec357874458d102730e5317d41",
            ),
            (
                r#"{"timestamp": 1448015759.061321, "state": "X", "id": "a", "b": {"z": [1, -2, 2.50,
                1e300, -0.0, 0, 18446744073709551615, -9223372036854775808, 18446744073709551616,
                true, null, "", [], {}], "a": {"é": 1, "z": 2, "Z": 3}}, "ab": 7, "a\"b": "a\"b",
                "counters": {"start": 3, "post_attempts": 9, "post": {"post_attempts": 1}}}"#,
                "444618d114b455bf736d419a04487ded",
            ),
            (
                r#"{"id": "a", "state": "X", "timestamp": 1, "counters": [{"post_attempts": 1}]}"#,
                "3114b6ec3438c20af12649bcba320678",
            ),
            (
                r#"{"x": {"a": 1, "b": 2, "a": 3}, "id": "b", "id": "a", "state": "X", "timestamp": 1,
                "counters": {"start": 1}, "x": {"b": 2, "c": 1, "b": 4}}"#,
                "21386337326d4a168ec5e9523e5d5780",
            ),
        ] {
            assert_eq!(decode(payload.as_bytes()).unwrap().identity.to_string(), identity);
        }
        let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/events/real-containers.jsonl");
        let mut all = Sha256::new();
        for line in std::fs::read_to_string(recorded).unwrap().lines() {
            all.update(decode(line.as_bytes()).unwrap().identity.0);
        }
        assert_eq!(all.finalize()[..4], [0x05, 0x51, 0x1a, 0xf9]);
    }

    #[test]
    fn an_event_is_the_same_when_its_numbers_are_written_anew() {
        for number in
            ["-88888888888888888888888888888888888888888888888888888888", "0.30000000000000004"]
        {
            let written = format!(r#"{{"id": "a", "state": "X", "timestamp": 2, "n": {number}}}"#);
            let event = decode(written.as_bytes()).unwrap();
            assert_eq!(from_value(event.payload.value()).unwrap().identity, event.identity);
        }
    }

    #[test]
    fn key_order_and_white_space_do_not_change_an_event() {
        let one = decode(br#"{"id":"a","state":"X","timestamp":1}"#).unwrap();
        let other = decode(br#" { "timestamp": 1, "state": "X", "id": "a" } "#).unwrap();
        assert_eq!(one.identity, other.identity);
        assert_ne!(one.payload.text(), other.payload.text());
    }

    #[test]
    fn two_events_of_one_second_are_two() {
        let one = event_of(&json!({"id": "a", "state": "X", "timestamp": 1}));
        let other = event_of(&json!({"id": "a", "state": "Y", "timestamp": 1}));
        assert_ne!(one.identity, other.identity);
    }

    #[test]
    fn bad_bodies_get_one_clear_sentence() {
        let deep = "[".repeat(500);
        for (body, words) in [
            (&b"{\"id\": \"a\""[..], "the body is not JSON: EOF"),
            (b"", "the body is not JSON: EOF"),
            (b"nope", "the body is not JSON"),
            (deep.as_bytes(), "nested deeper than 64 levels"),
            (nested(64).as_bytes(), "nested deeper than 64 levels"),
            (b"[1]", "the body is an array; send one JSON object"),
            (b"{\"id\": \"\xff\"}", "the body is not UTF-8: byte 8"),
            (b"{\"state\": \"X\", \"timestamp\": 1}", "`id` is missing"),
            (b"{\"id\": null, \"state\": \"X\", \"timestamp\": 1}", "`id` is missing"),
            (
                b"{\"id\": \"\", \"state\": \"X\", \"timestamp\": 1}",
                "a non-empty string, and is empty",
            ),
            (b"{\"id\": 5, \"state\": \"X\", \"timestamp\": 1}", "and is a number"),
            (b"{\"id\": \"a\", \"state\": \"X\", \"timestamp\": \"1\"}", "and is a string"),
            (b"{\"id\": \"a\", \"state\": \"X\", \"timestamp\": -1}", "and is -1"),
            (b"{\"id\": \"a\", \"state\": \"X\", \"timestamp\": 1e300}", "and is 1e+300"),
            (b"{\"id\": \"a\", \"state\": \"X\", \"timestamp\": NaN}", "the body is not JSON"),
        ] {
            let error = error_of(body);
            assert!(error.contains(words), "{error} should contain {words}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_announcements_payloads_are_events() {
        for (file, words) in [
            ("seed-stopped-exited", Some("exited with status 1")),
            ("seed-signaled", Some("killed by SIGKILL")),
            ("seed-raw", Some("ended, status unknown (raw 256)")),
            ("seed-stopping-empty-data", None),
            ("null-data-no-attempts", None),
        ] {
            let path = format!("{}/tests/events/{file}.json", env!("CARGO_MANIFEST_DIR"));
            let event = decode(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(event.exit.map(|exit| exit.to_string()).as_deref(), words, "{file}");
        }
    }
}
