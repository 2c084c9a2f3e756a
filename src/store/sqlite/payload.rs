//! Payloads as SQLite keeps them: short, since they are most of the database and much alike.
//!
//! Each is kept as what it has that [`LIKE`] has not, by LZ4 with that as its dictionary: some two fifths
//! of its length. What would be longer so is kept as the text that it is.

use std::borrow::Cow;

use lz4_flex::block;
use rusqlite::Result;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};

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

/// A payload.
pub(super) struct Payload<'a>(pub(super) Cow<'a, str>);

impl ToSql for Payload<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let text = &*self.0;
        let short = block::compress_prepend_size_with_dict(text.as_bytes(), LIKE.as_bytes());
        Ok(match short.len() < text.len() {
            true => ToSqlOutput::Owned(Value::Blob(short)),
            false => text.into(),
        })
    }
}

impl FromSql for Payload<'_> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let ValueRef::Blob(short) = value else {
            return value.as_str().map(|text| Payload(text.to_owned().into()));
        };
        let (length, short) = block::uncompressed_size(short).map_err(FromSqlError::other)?;
        if length > LONGEST {
            return Err(FromSqlError::OutOfRange(i64::try_from(length).unwrap_or(i64::MAX)));
        }
        let text = block::decompress_with_dict(short, length, LIKE.as_bytes());
        let text = String::from_utf8(text.map_err(FromSqlError::other)?);
        text.map(|text| Payload(text.into())).map_err(FromSqlError::other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(text: &str) -> Value {
        match Payload(text.into()).to_sql().unwrap() {
            ToSqlOutput::Borrowed(value) => value.try_into().unwrap(),
            ToSqlOutput::Owned(value) => value,
            other => panic!("{other:?}"),
        }
    }

    fn read(value: &Value) -> FromSqlResult<String> {
        Payload::column_result(value.into()).map(|payload| payload.0.into_owned())
    }

    #[test]
    fn real_payloads_are_kept_in_half_their_length() {
        let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/events/real-containers.jsonl");
        let (mut texts, mut all) = (0, 0);
        for line in std::fs::read_to_string(recorded).unwrap().lines() {
            let Value::Blob(short) = kept(line) else { panic!("{line} is kept as it is") };
            (texts, all) = (texts + line.len(), all + short.len());
            assert_eq!(read(&Value::Blob(short)).unwrap(), line);
        }
        assert!(all * 2 < texts, "{all} of {texts} bytes");
    }

    /// It is in databases.
    #[test]
    fn what_was_kept_is_read_for_ever() {
        let hex = "47000000127b53011761540106d3000892010fca00056061223a7b7d7d";
        let bytes = hex.as_bytes().chunks(2).map(|byte| std::str::from_utf8(byte).unwrap());
        let short = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(
            read(&Value::Blob(short)).unwrap(),
            r#"{"id":"a","state":"CRASHED","timestamp":1,"type":"Container","data":{}}"#
        );
    }

    #[test]
    fn damage_is_no_payload() {
        let Value::Blob(mut short) = kept(&"abc".repeat(100)) else {
            panic!("it is kept as it is")
        };
        for place in 0..short.len() {
            short[place] ^= 0x5a;
            // Some damage reads as another text: the file has no checksums.
            let _ = read(&Value::Blob(short.clone()));
            short[place] ^= 0x5a;
        }
        for bad in [&[][..], &[1, 2], &[255, 255, 255, 255, 1], &[4, 0, 0, 0, 0xf0]] {
            assert!(read(&Value::Blob(bad.to_vec())).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(text in ".{0,400}") {
            prop_assert_eq!(read(&kept(&text)).unwrap(), text);
        }
    }
}
