//! Which rules were in force when, and whether the database can be written.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::failure::Failure;
use super::values::{Columns, Json};
use crate::clock::Timestamp;
use crate::store::Adoption;

/// Takes note of the rules in force (name → fingerprint).
pub(super) fn adopt(
    connection: &Connection,
    rules: BTreeMap<String, String>,
    now: Timestamp,
) -> Result<Adoption, Failure> {
    let before = known(connection)?;
    let nothing_yet = before.is_empty() && has_no_events(connection)?;
    let mut adoption = Adoption { orphaned: orphaned(connection, &rules)?, ..Adoption::default() };

    for name in before.keys().filter(|name| !rules.contains_key(*name)) {
        connection.prepare_cached("delete from rules where name = ?1")?.execute([name])?;
        adoption.removed.push(name.clone());
    }
    for (name, fingerprint) in rules {
        let since = match before.get(&name) {
            Some((known, since)) if *known == fingerprint => *since,
            Some(_) => {
                adoption.changed.push(name.clone());
                now
            }
            None if nothing_yet => Timestamp::default(),
            None => now,
        };
        connection
            .prepare_cached(
                "insert or replace into rules (name, fingerprint, since) values (?1, ?2, ?3)",
            )?
            .execute(params![name, fingerprint, since])?;
        adoption.since.insert(name, since);
    }
    Ok(adoption)
}

/// Writes a row, so that the commit has something to sync.
pub(super) fn note_check(connection: &Connection) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "insert into meta (name, value) values ('checks', 1)
             on conflict (name) do update set value = value + 1",
        )?
        .execute([])?;
    Ok(())
}

fn known(connection: &Connection) -> Result<BTreeMap<String, (String, Timestamp)>, Failure> {
    let mut statement = connection.prepare_cached("select name, fingerprint, since from rules")?;
    let rows = statement.query_map([], |row| {
        let mut columns = Columns::of(row);
        Ok((columns.take()?, (columns.take()?, columns.take()?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn has_no_events(connection: &Connection) -> Result<bool, Failure> {
    Ok(!connection.prepare_cached("select 1 from events limit 1")?.exists([])?)
}

/// The containers that hold open alerts of other rules than these.
fn orphaned(
    connection: &Connection,
    rules: &BTreeMap<String, String>,
) -> Result<Vec<String>, Failure> {
    let names: Vec<&String> = rules.keys().collect();
    let mut statement = connection.prepare_cached(
        "select distinct c.id
         from intervals i join containers c on c.key = i.container
         where i.end_at is null and i.rule not in (select value from json_each(?1))
         order by c.id",
    )?;
    let ids = statement.query_map([Json(names)], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}
