//! Which rules were in force when, and whether the database can be written.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::failure::Failure;
use super::values::{Columns, Json};
use crate::clock::Timestamp;
use crate::store::{Adoption, Version};

/// Takes note of the rules in force.
pub(super) fn adopt(
    connection: &Connection,
    mut rules: BTreeMap<String, Version>,
    now: Timestamp,
) -> Result<Adoption, Failure> {
    let before = known(connection)?;
    let nothing_yet = before.is_empty() && has_no_events(connection)?;
    let goes_on = |(name, version): &(&String, &Version)| {
        before.get(*name).is_some_and(|(known, _)| known.kind == version.kind)
    };
    let go_on: Vec<&String> = rules.iter().filter(goes_on).map(|(name, _)| name).collect();
    let (orphaned, alive) = (orphaned(connection, &go_on)?, others_alive(connection, &go_on)?);
    let mut adoption = Adoption { orphaned, ..Adoption::default() };
    for name in alive {
        if rules.remove(&name).is_some() {
            adoption.replacing.push(name);
        }
    }

    for name in before.keys().filter(|name| !rules.contains_key(*name)) {
        connection.prepare_cached("delete from rules where name = ?1")?.execute([name])?;
        if !adoption.replacing.contains(name) {
            adoption.removed.push(name.clone());
        }
    }
    for (name, version) in rules {
        let since = match before.get(&name) {
            Some((known, since)) if *known == version => *since,
            Some(_) => {
                adoption.changed.push(name.clone());
                now
            }
            None if nothing_yet => Timestamp::default(),
            None => now,
        };
        connection
            .prepare_cached(
                "insert or replace into rules (name, fingerprint, kind, since)
                 values (?1, ?2, ?3, ?4)",
            )?
            .execute(params![name, version.fingerprint, version.kind, since])?;
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

fn known(connection: &Connection) -> Result<BTreeMap<String, (Version, Timestamp)>, Failure> {
    let mut statement =
        connection.prepare_cached("select name, fingerprint, kind, since from rules")?;
    let rows = statement.query_map([], |row| {
        let mut columns = Columns::of(row);
        let name = columns.take()?;
        let version = Version { fingerprint: columns.take()?, kind: columns.take()? };
        Ok((name, (version, columns.take()?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn has_no_events(connection: &Connection) -> Result<bool, Failure> {
    Ok(!connection.prepare_cached("select 1 from events limit 1")?.exists([])?)
}

/// The containers that hold open alerts of other rules than these.
fn orphaned(connection: &Connection, rules: &[&String]) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare_cached(
        "select distinct c.id
         from intervals i join containers c on c.key = i.container
         where i.end_at is null and i.rule not in (select value from json_each(?1))
         order by c.id",
    )?;
    let ids = statement.query_map([Json(rules)], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The other rules than these that have open alerts.
fn others_alive(connection: &Connection, rules: &[&String]) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare_cached(
        "select distinct rule from intervals
         where end_at is null and rule not in (select value from json_each(?1))
         order by rule",
    )?;
    let names = statement.query_map([Json(rules)], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}
