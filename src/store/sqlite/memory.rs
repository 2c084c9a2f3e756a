//! What the thread that writes keeps in memory: the containers in use, and the numbers of names.
//!
//! What is kept of a container changes with every event, and rows all over a table are dear to
//! write. So what a commit changed goes into one row of `container_log`, and from time to time
//! everything that changed is written to its place in `container_states`, and the log is emptied.
//! Memory, then the log, then the table: the first that has a container has the truth.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::values::{Columns, Json};
use crate::clock::Timestamp;
use crate::engine::{Container, GroupKey};
use crate::event::State;

/// How many containers, and how many names, are kept in memory, give or take those of one commit:
/// some 3 MB.
const KEPT: usize = 8192;

/// How many rows the log takes before it is emptied: some 400 kB.
const LOGGED: usize = 4096;

/// Where a container and its events are kept, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: i64,
    /// The event that was received last.
    pub(super) last_event: i64,
    /// The latest place of its events in the timeline.
    pub(super) newest: Timestamp,
    /// How many of its events have a later timestamp than their place: they came from the future.
    pub(super) ahead: i64,
    /// The number of what it can be listed by.
    pub(super) facet: Option<i64>,
    /// `None` if nothing but failed events was heard of it.
    pub(super) container: Option<Container>,
}

type Facet = (Option<Arc<str>>, Option<Arc<str>>, State);

/// What is in memory of a database.
#[derive(Default)]
pub(super) struct Memory {
    rows: HashMap<Arc<str>, Row>,
    facets: HashMap<Facet, i64>,
    groups: HashMap<GroupKey, i64>,
    /// What was there before each change since the last commit, the first change first.
    before: Vec<(Arc<str>, Option<Row>)>,
    /// Those that the table does not have as they are.
    unwritten: HashSet<Arc<str>>,
    /// How many rows are in the log, or a few more where a commit failed.
    logged: usize,
    /// Whether the next commit is to bring the table up to date.
    settle: bool,
}

impl Memory {
    /// What is kept of a container, if anything was heard of it.
    pub(super) fn get(
        &mut self,
        connection: &Connection,
        id: &Arc<str>,
    ) -> Result<Option<&Row>, Failure> {
        Ok(match self.rows.entry(id.clone()) {
            Entry::Occupied(row) => Some(row.into_mut()),
            Entry::Vacant(place) => match stored(connection, id)? {
                Some(row) => Some(place.insert(row)),
                None => None,
            },
        })
    }

    pub(super) fn put(&mut self, id: &Arc<str>, row: Row) {
        let before = self.rows.insert(id.clone(), row);
        self.before.push((id.clone(), before));
    }

    /// The number of what an event or a container can be listed by.
    pub(super) fn facet(
        &mut self,
        connection: &Connection,
        application: Option<&Arc<str>>,
        service: Option<&Arc<str>>,
        state: &State,
    ) -> Result<i64, Failure> {
        let facet = (application.cloned(), service.cloned(), state.clone());
        if let Some(known) = self.facets.get(&facet) {
            return Ok(*known);
        }
        let known: Option<i64> = connection
            .prepare_cached(
                "select id from facets where state = ?3 and application is ?1 and service is ?2",
            )?
            .query_row(params![application, service, state], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => {
                connection
                    .prepare_cached(
                        "insert into facets (application, service, state) values (?1, ?2, ?3)",
                    )?
                    .execute(params![application, service, state])?;
                connection.last_insert_rowid()
            }
        };
        if self.facets.len() >= KEPT {
            self.facets.clear();
        }
        self.facets.insert(facet, number);
        Ok(number)
    }

    /// The number under which a group's key is kept, if it is.
    pub(super) fn group(
        &mut self,
        connection: &Connection,
        key: &GroupKey,
    ) -> Result<Option<i64>, Failure> {
        if let Some(known) = self.groups.get(key) {
            return Ok(Some(*known));
        }
        let number: Option<i64> = connection
            .prepare_cached(
                "select id from group_keys where rule = ?1 and receiver = ?2 and labels = ?3",
            )?
            .query_row(params![key.rule, key.receiver, Json(&key.labels)], |row| row.get(0))
            .optional()?;
        if let Some(number) = number {
            self.keep_group(key, number);
        }
        Ok(number)
    }

    /// The same; it is kept from now on, if it was not.
    pub(super) fn group_or_new(
        &mut self,
        connection: &Connection,
        key: &GroupKey,
    ) -> Result<i64, Failure> {
        if let Some(number) = self.group(connection, key)? {
            return Ok(number);
        }
        connection
            .prepare_cached("insert into group_keys (rule, receiver, labels) values (?1, ?2, ?3)")?
            .execute(params![key.rule, key.receiver, Json(&key.labels)])?;
        let number = connection.last_insert_rowid();
        self.keep_group(key, number);
        Ok(number)
    }

    fn keep_group(&mut self, key: &GroupKey, number: i64) {
        if self.groups.len() >= KEPT {
            self.groups.clear();
        }
        self.groups.insert(key.clone(), number);
    }

    /// A point to which [`Memory::roll_back`] goes.
    pub(super) fn savepoint(&self) -> usize {
        self.before.len()
    }

    /// Forgets all changes since `savepoint`, as the database did.
    pub(super) fn roll_back(&mut self, savepoint: usize) {
        for (id, before) in self.before.drain(savepoint..).rev() {
            match before {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
        self.facets.clear();
        self.groups.clear();
    }

    /// Has the next commit bring the table up to date, for those who read it.
    pub(super) fn settle(&mut self) {
        self.settle = true;
    }

    /// Writes what was changed; to be called last before a commit.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.settle |= self.logged >= LOGGED || self.rows.len() >= KEPT;
        if self.settle {
            let changed = self.before.iter().map(|(id, _)| id);
            return write_to_table(connection, self.rows(changed.chain(&self.unwritten)));
        }
        let changed = self.rows(self.before.iter().map(|(id, _)| id));
        if !changed.is_empty() {
            let columns: Vec<_> = changed.into_iter().map(columns).collect();
            self.logged += columns.len();
            connection
                .prepare_cached("insert into container_log (rows) values (?1)")?
                .execute([Json(columns)])?;
        }
        Ok(())
    }

    /// To be called after a commit.
    pub(super) fn committed(&mut self) {
        if self.settle {
            self.settle = false;
            self.before.clear();
            self.unwritten.clear();
            self.logged = 0;
            if self.rows.len() >= KEPT {
                self.rows.clear();
            }
        } else {
            self.unwritten.extend(self.before.drain(..).map(|(id, _)| id));
        }
    }

    /// The rows of these containers, each once, in the order of the table.
    fn rows<'a>(&'a self, ids: impl Iterator<Item = &'a Arc<str>>) -> Vec<&'a Row> {
        let mut rows: Vec<&Row> = ids.filter_map(|id| self.rows.get(id)).collect();
        rows.sort_unstable_by_key(|row| row.key);
        rows.dedup_by_key(|row| row.key);
        rows
    }
}

/// A row as `container_states` has it, in the order of [`INSERT`].
fn columns(row: &Row) -> [Option<i64>; 10] {
    let container = row.container.as_ref();
    let or_zero = |value: Option<i64>| Some(value.unwrap_or(0));
    [
        Some(row.key),
        Some(row.last_event),
        Some(row.newest.as_micros()),
        Some(row.ahead),
        row.facet,
        or_zero(container.map(|container| container.since.as_micros())),
        container.and_then(|container| container.starts),
        or_zero(container.map(|container| container.last_at.as_micros())),
        or_zero(container.map(|container| container.derived_to.as_micros())),
        or_zero(container.map(|container| container.open.into())),
    ]
}

/// The beginning of every statement that writes to the table.
macro_rules! insert {
    ($values:literal) => {
        concat!(
            "insert or replace into container_states
                 (container, last_event, newest, ahead, facet, since, starts, last_at, derived_to,
                  open)
             ",
            $values
        )
    };
}

fn write_to_table(connection: &Connection, rows: Vec<&Row>) -> Result<(), Failure> {
    let mut statement =
        connection.prepare_cached(insert!("values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"))?;
    for row in rows {
        statement.execute(columns(row))?;
    }
    connection.prepare_cached("delete from container_log")?.execute([])?;
    Ok(())
}

/// Brings the table up to date after the program was killed.
pub(super) fn settle_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(concat!(
        "begin immediate;",
        insert!(
            "select r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4,
                    r.value ->> 5, r.value ->> 6, r.value ->> 7, r.value ->> 8, r.value ->> 9
             from container_log l, json_each(l.rows) r order by l.number;"
        ),
        "delete from container_log; commit;"
    ))
}

/// What the table has of a container.
pub(super) fn stored(connection: &Connection, id: &Arc<str>) -> Result<Option<Row>, Failure> {
    let mut statement = connection.prepare_cached(
        "select c.key, s.last_event, s.newest, s.ahead, s.facet, f.application, f.service, f.state,
                s.since, s.starts, s.last_at, s.derived_to, s.open
         from containers c
         join container_states s on s.container = c.key
         left join facets f on f.id = s.facet
         where c.id = ?1",
    )?;
    let found = statement.query_row([id], |row| {
        let mut columns = Columns::of(row);
        let row = Row {
            key: columns.take()?,
            last_event: columns.take()?,
            newest: columns.take()?,
            ahead: columns.take()?,
            facet: columns.take()?,
            container: None,
        };
        let (application, service) = (columns.take()?, columns.take()?);
        let state: Option<State> = columns.take()?;
        let Some(state) = state else { return Ok(row) };
        let container = Container {
            id: id.clone(),
            application,
            service,
            state,
            since: columns.take()?,
            starts: columns.take()?,
            last_at: columns.take()?,
            derived_to: columns.take()?,
            open: columns.take()?,
        };
        Ok(Row { container: Some(container), ..row })
    });
    Ok(found.optional()?)
}
