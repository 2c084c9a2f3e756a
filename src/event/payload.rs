//! Payloads, kept short: they are most of what is stored, and much alike.
//!
//! Each is kept as what it has that `LIKE` has not, by LZ4 with that as its dictionary: some two fifths
//! of its length. What would be longer so is kept as the text that it is. That is done where it is
//! decoded, by as many threads as take requests, and not by the one that writes.

use std::borrow::Cow;
use std::sync::OnceLock;

use lz4_flex::block;
use serde_json::Value;

use super::json::with_whole_characters;

/// What is in most payloads. It may not change: what was kept by it could not be read any more.
const LIKE: &str = concat!(
    r#"CREATING", "prev_state": "INIT"SCHEDULING", "prev_state": "SCHEDULED"DELETING"DELETED"STARVED""#,
    r#""signal": 15"reason":"signaled","signal":9}}"raw_exit_status":143"reason":"exited","#,
    r#"CREATING","prev_state":"INIT"SCHEDULING","prev_state":"SCHEDULED","prev_state":"DELETING""#,
    r#"{"service": "web", "timestamp": 17, "application": "shop", "id": "", "state": "STARTING", "#,
    r#""prev_state": "STOPPED", "type": "Container", "data": {}, "event": "state", "#,
    r#""counters": {"start": 0, "post_attempts": 0}}"state": "TERMINATED", "prev_state": "RUNNING", "#,
    r#""type": "Container", "data": {"last_exit_status": {"raw_exit_status": 256, "reason": "#,
    r#""signaled", "signal": 9, "exit_status": 1}}, "event": "state", "counters": {"start": 1, "#,
    r#""post_attempts": 0}}{"service":"worker","timestamp":17,"application":"shop","id":"","#,
    r#""state":"STOPPING","prev_state":"STARTING","type":"Container","data":{},"event":"state","#,
    r#""counters":{"start":0,"post_attempts":0}}"state":"CRASHED","prev_state":"RUNNING","#,
    r#""type":"Container","data":{"last_exit_status":{"raw_exit_status":0,"reason":"exited","#,
    r#""exit_status":0}},"event":"state","counters":{"start":1,"post_attempts":0}}"#,
);

/// The most that a kept payload can be long, in bytes: far more than any that is accepted. More is damage.
const LONGEST: usize = 1 << 28;

/// A payload as received, and what it parses to, for those few rules and messages that ask for more
/// of it than the event has.
#[derive(Clone, Debug)]
pub struct Payload {
    packed: Packed,
    value: OnceLock<Value>,
}

/// What is kept of a payload: all of it, in one way or another.
#[derive(Clone, Debug)]
pub enum Packed {
    /// The body, byte for byte.
    Text(Box<str>),
    /// A shorter form of it.
    Short(Box<[u8]>),
}

/// What was kept is damaged: it is of no payload.
#[derive(Clone, Debug, thiserror::Error)]
#[error("what was kept of the payload is damaged: {0}")]
pub struct Damaged(String);

impl Packed {
    /// The body, byte for byte.
    ///
    /// # Errors
    /// [`Damaged`] if this was kept of none.
    pub fn text(&self) -> Result<Cow<'_, str>, Damaged> {
        match self {
            Packed::Text(text) => Ok(Cow::Borrowed(text)),
            Packed::Short(short) => unpack(short).map(Cow::Owned),
        }
    }
}

fn unpack(short: &[u8]) -> Result<String, Damaged> {
    let damaged = |error: &dyn std::error::Error| Damaged(error.to_string());
    let (length, blocks) = block::uncompressed_size(short).map_err(|error| damaged(&error))?;
    if length > LONGEST {
        return Err(Damaged(format!("it would be {length} bytes long")));
    }
    let text = block::decompress_with_dict(blocks, length, LIKE.as_bytes())
        .map_err(|error| damaged(&error))?;
    String::from_utf8(text).map_err(|error| damaged(&error))
}

impl Payload {
    /// The payload of an event. `text` is JSON, as [`decode()`](super::decode()) has seen.
    pub(super) fn of(text: &str) -> Payload {
        let short = block::compress_prepend_size_with_dict(text.as_bytes(), LIKE.as_bytes());
        let packed = match short.len() < text.len() {
            true => Packed::Short(short.into()),
            false => Packed::Text(text.into()),
        };
        Payload { packed, value: OnceLock::new() }
    }

    /// The same, of which this was kept. It has a [text](Packed::text), as was seen.
    pub(super) fn of_packed(packed: Packed) -> Payload {
        Payload { packed, value: OnceLock::new() }
    }

    /// What is to be kept of it.
    #[must_use]
    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    /// The body, byte for byte.
    ///
    /// # Panics
    /// Never: what is kept was made of a text, or had one.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        self.packed.text().expect("what is kept has a text")
    }

    /// The payload, parsed when it is first asked for.
    ///
    /// # Panics
    /// Never: [`decode()`](super::decode()) has read the same text in the same way.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            let text = self.text();
            serde_json::from_str(&text)
                .or_else(|_| serde_json::from_str(&with_whole_characters(&text)))
                .expect("only what is JSON becomes an event")
        })
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        self.text() == other.text()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn short(text: &str) -> Box<[u8]> {
        match Payload::of(text).packed {
            Packed::Short(short) => short,
            Packed::Text(text) => panic!("{text} is kept as it is"),
        }
    }

    #[test]
    fn real_payloads_are_kept_in_half_their_length() {
        let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/events/real-containers.jsonl");
        let (mut texts, mut all) = (0, 0);
        for line in std::fs::read_to_string(recorded).unwrap().lines() {
            let short = short(line);
            (texts, all) = (texts + line.len(), all + short.len());
            assert_eq!(unpack(&short).unwrap(), line);
        }
        assert!(all * 2 < texts, "{all} of {texts} bytes");
    }

    /// It is in databases.
    #[test]
    fn what_was_kept_is_read_for_ever() {
        let hex = "47000000127b53011761540106d3000892010fca00056061223a7b7d7d";
        let bytes = hex.as_bytes().chunks(2).map(|byte| std::str::from_utf8(byte).unwrap());
        let short: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(
            unpack(&short).unwrap(),
            r#"{"id":"a","state":"CRASHED","timestamp":1,"type":"Container","data":{}}"#
        );
    }

    #[test]
    fn damage_is_no_payload() {
        let mut short = short(&"abc".repeat(100));
        for place in 0..short.len() {
            short[place] ^= 0x5a;
            // Some damage reads as another text: the file has no checksums.
            let _: Result<String, Damaged> = unpack(&short);
            short[place] ^= 0x5a;
        }
        for bad in [&[][..], &[1, 2], &[255, 255, 255, 255, 1], &[4, 0, 0, 0, 0xf0]] {
            assert!(unpack(bad).is_err(), "{bad:?}");
        }
    }

    /// Long texts are packed in another way.
    #[test]
    fn long_texts_are_read_as_they_were() {
        for length in [60_000, 64_000, 65_535, 70_000, 262_144] {
            let alike = "{\"id\":\"a\",".repeat(length / 10);
            assert!(matches!(Payload::of(&alike).packed(), Packed::Short(_)));
            assert_eq!(Payload::of(&alike).text(), alike);

            let mut seed = 1_u32;
            let unlike: String = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b' ' + (seed >> 24) as u8 % 90)
            })
            .take(length)
            .collect();
            assert!(matches!(Payload::of(&unlike).packed(), Packed::Text(_)));
            assert_eq!(Payload::of(&unlike).text(), unlike);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(text in ".{0,400}") {
            let payload = Payload::of(&text);
            prop_assert_eq!(payload.text(), text.as_str());
            if let Packed::Short(short) = payload.packed() {
                prop_assert_eq!(unpack(short).unwrap(), text);
            }
        }
    }
}
