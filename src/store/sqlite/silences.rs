//! Silences: made and ended by people, and read by every decision.

use rusqlite::{Connection, Row, params};

use super::failure::Failure;
use super::values::{Columns, Json};
use crate::clock::Timestamp;
use crate::engine::{Silence, SilenceId};
use crate::rules::Labels;
use crate::store::{NewSilence, SILENCES_KEPT};

/// The beginning of every query that [`silence_of`] reads the rows of.
macro_rules! silences {
    () => {
        "select id, matchers, starts_at, ends_at, created_at, created_by, comment from silences"
    };
}
pub(super) use silences;

/// Every silence that is kept.
pub(super) fn all(connection: &Connection) -> Result<Vec<Silence>, Failure> {
    let mut statement = connection.prepare_cached(concat!(silences!(), " order by id"))?;
    let silences = statement.query_map([], silence_of)?;
    Ok(silences.collect::<Result<_, _>>()?)
}

/// Adds one, and removes those that were over long ago.
pub(super) fn add(
    connection: &Connection,
    silence: &NewSilence,
    now: Timestamp,
) -> Result<SilenceId, Failure> {
    connection
        .prepare_cached("delete from silences where ends_at < ?1")?
        .execute([now.minus(SILENCES_KEPT)])?;
    connection
        .prepare_cached(
            "insert into silences (matchers, starts_at, ends_at, created_at, created_by, comment)
             values (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            Json(&silence.matchers),
            silence.starts_at,
            silence.ends_at,
            now,
            silence.created_by,
            silence.comment,
        ])?;
    Ok(SilenceId(connection.last_insert_rowid()))
}

/// Ends one, and answers whether it exists.
pub(super) fn end(connection: &Connection, id: SilenceId, now: Timestamp) -> Result<bool, Failure> {
    // One that has not begun never held anything back.
    let removed = connection
        .prepare_cached("delete from silences where id = ?1 and starts_at >= ?2")?
        .execute(params![id, now])?;
    let ended = connection
        .prepare_cached("update silences set ends_at = min(ends_at, ?2) where id = ?1")?
        .execute(params![id, now])?;
    Ok(removed + ended > 0)
}

/// The labels of every alert that fires, as the list of alerts has them.
pub(super) fn firing(connection: &Connection, now: Timestamp) -> Result<Vec<Labels>, Failure> {
    let mut statement = connection.prepare_cached(
        "select labels from intervals
         where end_at is null and start <= ?1 and role <> 'part'",
    )?;
    let labels = statement.query_map([now], |row| Ok(row.get::<_, Json<_>>(0)?.0))?;
    Ok(labels.collect::<Result<_, _>>()?)
}

/// The silence of a row.
pub(super) fn silence_of(row: &Row<'_>) -> rusqlite::Result<Silence> {
    let mut columns = Columns::of(row);
    Ok(Silence {
        id: columns.take()?,
        matchers: columns.take::<Json<_>>()?.0,
        starts_at: columns.take()?,
        ends_at: columns.take()?,
        created_at: columns.take()?,
        created_by: columns.take()?,
        comment: columns.take()?,
    })
}
