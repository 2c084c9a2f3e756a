//! The engine's types as SQLite keeps them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Result, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::engine::{Cause, DeliveryId, IntervalId, News, Role, SilenceId, Status};
use crate::event::payload::Packed;
use crate::event::{Identity, State};

/// Takes a row's columns one after the other, so that a list of columns is written once, in order.
pub(super) struct Columns<'row> {
    row: &'row Row<'row>,
    next: usize,
}

impl<'row> Columns<'row> {
    pub(super) fn of(row: &'row Row<'row>) -> Columns<'row> {
        Columns { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }
}

/// A value kept as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0)
            .map(Into::into)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(FromSqlError::other)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.as_micros().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Timestamp::from_micros)
    }
}

impl ToSql for Identity {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for Identity {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        FromSql::column_result(value).map(Identity)
    }
}

impl ToSql for Packed {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self {
            Packed::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Packed::Short(short) => ToSqlOutput::Borrowed(ValueRef::Blob(short)),
        })
    }
}

impl FromSql for Packed {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(short) => Ok(Packed::Short(short.into())),
            text => text.as_str().map(|text| Packed::Text(text.into())),
        }
    }
}

impl ToSql for State {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(State::named)
    }
}

impl ToSql for IntervalId {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for IntervalId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(IntervalId)
    }
}

impl ToSql for SilenceId {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for SilenceId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(SilenceId)
    }
}

impl ToSql for DeliveryId {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for DeliveryId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(|id| DeliveryId(id.to_owned()))
    }
}

/// Keeps the variants of an enum as words.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl ToSql for $type {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                Ok(match self { $($type::$variant => $word),+ }.into())
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok($type::$variant),)+
                    other => Err(FromSqlError::other(UnknownWord {
                        kind: stringify!($type),
                        word: other.to_owned(),
                    })),
                }
            }
        }
    };
}

words!(Cause {
    Resolved = "resolved",
    Deleted = "deleted",
    Expired = "expired",
    RuleRemoved = "rule_removed",
    Withdrawn = "withdrawn",
    Momentary = "momentary",
    Subsided = "subsided",
    Filled = "filled",
    TooShort = "too_short",
});

words!(Role {
    Own = "own",
    Part = "part",
    Whole = "whole",
});

words!(News {
    Firing = "firing",
    Over = "over",
    BeganAndEnded = "began_and_ended",
    Happened = "happened",
    HadNotEnded = "had_not_ended",
    Withdrawn = "withdrawn",
    StillFiring = "still_firing",
});

words!(Status {
    Pending = "pending",
    Sent = "sent",
    Dead = "dead",
    Superseded = "superseded",
    Dropped = "dropped",
    Discarded = "discarded",
});

#[derive(Debug, thiserror::Error)]
#[error("{word:?} is no {kind}")]
struct UnknownWord {
    kind: &'static str,
    word: String,
}

/// A count that SQLite keeps with a sign. What is beyond its range is kept as its end.
pub(super) fn count(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
