//! What the thread that writes keeps in memory: the containers and groups in use, and the numbers of
//! names.
//!
//! What is kept of a container changes with every event, and rows all over a table are dear to
//! write. So what a commit changed goes into one row of `container_log`, and from time to time
//! everything that changed is written to its place in `container_states`, and the log is emptied.
//! Memory, then the log, then the table: the first that has a container has the truth. In the same
//! way, the events since then take their places in `events_by_time`.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::HashMap;
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::values::{Columns, Json};
use super::{load, save, silences};
use crate::clock::Timestamp;
use crate::engine::{Container, Group, GroupKey, Interval, IntervalId, Role, Silence};
use crate::event::State;

/// A query for what is known of the container with this id, from `$states`.
macro_rules! stored {
    ($states:literal) => {
        concat!(
            "select s.container, s.last_event, s.newest, s.ahead, s.facet, f.application, f.service,
                    f.state, s.since, s.starts, s.gaps, s.last_at, s.derived_to, s.open
             from ",
            $states,
            " left join facets f on f.id = s.facet"
        )
    };
}

/// As the tables have it.
const STORED: &str =
    stored!("containers c join container_states s on s.container = c.key and c.id = ?1");

/// As it is with what is in the log.
pub(super) const NOW: &str = stored!("(select * from containers_now where id = ?1) s");

/// How many containers, and how many names, are kept in memory, give or take those of one commit:
/// some 3 MB. An open interval counts for [`OPEN`] containers.
const KEPT: usize = 8192;

/// About how many times the memory of a container an open interval takes.
const OPEN: usize = 3;

/// After how many changes, of which an event makes one, the tables are brought up to date. The log
/// has some 300 kB by then.
const UNSETTLED: usize = 4096;

/// The name in `meta` of the last number that was given to an interval.
const LAST_INTERVAL: &str = "last_interval";

/// Where a container and its events are kept, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
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
    /// Its open intervals, if they are known here.
    pub(super) open: Option<Vec<Arc<Interval>>>,
    /// Whether the table has it otherwise.
    unwritten: bool,
    /// The last [stretch](Memory::stretch) in which what it was before was noted, if it ever was.
    noted_in: Option<u64>,
}

impl Kept {
    /// The row of a container of which nothing was heard before.
    pub(super) fn new(key: i64, at: Timestamp) -> Kept {
        Kept {
            key,
            last_event: 0,
            newest: at,
            ahead: 0,
            facet: None,
            container: None,
            open: Some(Vec::new()),
            unwritten: true,
            noted_in: None,
        }
    }
}

type Facet = (Option<Arc<str>>, Option<Arc<str>>, State);

/// What is known of a group.
#[derive(Clone, Debug)]
struct KeptGroup {
    /// The number of its name, if it has one.
    number: Option<i64>,
    /// It itself or that there is none, if that is known here.
    group: Option<Option<Group>>,
}

/// The keys of groups by the numbers of their names.
#[derive(Default)]
pub(super) struct Names(HashMap<i64, GroupKey>);

impl Names {
    /// The key of this number.
    pub(super) fn get(
        &mut self,
        connection: &Connection,
        number: i64,
    ) -> rusqlite::Result<GroupKey> {
        if let Some(known) = self.0.get(&number) {
            return Ok(known.clone());
        }
        let mut statement = connection
            .prepare_cached("select rule, receiver, labels from group_keys where id = ?1")?;
        let key = statement.query_row([number], |row| load::group_key_of(&mut Columns::of(row)))?;
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(number, key.clone());
        Ok(key)
    }
}

/// What is in memory of a database.
#[derive(Default)]
pub(super) struct Memory {
    rows: HashMap<Arc<str>, Kept>,
    /// How many open intervals these have.
    open: usize,
    facets: HashMap<Facet, i64>,
    groups: HashMap<GroupKey, KeptGroup>,
    /// The names of groups that entries of ledgers were read with.
    pub(super) names: Names,
    /// The last number that was given to an interval.
    last_interval: Option<i64>,
    /// Every silence, if they are known here.
    silences: Option<Arc<[Silence]>>,
    /// What each container that was changed since the last commit was before, the first change first:
    /// once for each stretch in which it was changed.
    before: Vec<(Arc<str>, Option<Kept>)>,
    /// The number of the stretch from one savepoint or commit to the next.
    stretch: u64,
    /// How many changes were committed since the tables were brought up to date.
    unsettled: usize,
    /// Whether the next commit is to bring them up to date.
    settle: bool,
}

impl Memory {
    /// What is kept of a container, if anything was heard of it.
    pub(super) fn get(
        &mut self,
        connection: &Connection,
        id: &Arc<str>,
    ) -> Result<Option<&Kept>, Failure> {
        Ok(row(&mut self.rows, connection, id)?.map(|row| &*row))
    }

    /// Notes the open intervals of a container as they are stored.
    pub(super) fn know_open(&mut self, id: &Arc<str>, open: &[Arc<Interval>]) {
        if let Some(row) = self.rows.get_mut(id) {
            self.open += open.len();
            row.open = Some(open.to_vec());
        }
    }

    /// What is kept of a container, to be changed.
    pub(super) fn change(
        &mut self,
        connection: &Connection,
        id: &Arc<str>,
    ) -> Result<Option<&mut Kept>, Failure> {
        let row = row(&mut self.rows, connection, id)?;
        Ok(row.map(|row| noted(&mut self.before, self.stretch, id, row)))
    }

    /// The same of a container that is in memory.
    fn change_known(&mut self, id: &Arc<str>) -> Option<&mut Kept> {
        let row = self.rows.get_mut(id)?;
        Some(noted(&mut self.before, self.stretch, id, row))
    }

    /// Adds a container of which nothing was heard before.
    pub(super) fn add(&mut self, id: &Arc<str>, row: Kept) -> &mut Kept {
        self.before.push((id.clone(), None));
        let row = Kept { noted_in: Some(self.stretch), ..row };
        self.rows.entry(id.clone()).insert_entry(row).into_mut()
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
    pub(super) fn group_number(
        &mut self,
        connection: &Connection,
        key: &GroupKey,
    ) -> Result<Option<i64>, Failure> {
        Ok(self.kept_group(connection, key)?.number)
    }

    /// The same; it is kept from now on, if it was not.
    pub(super) fn group_number_or_new(
        &mut self,
        connection: &Connection,
        key: &GroupKey,
    ) -> Result<i64, Failure> {
        let kept = self.kept_group(connection, key)?;
        if let Some(number) = kept.number {
            return Ok(number);
        }
        connection
            .prepare_cached("insert into group_keys (rule, receiver, labels) values (?1, ?2, ?3)")?
            .execute(params![key.rule, key.receiver, Json(&key.labels)])?;
        let number = connection.last_insert_rowid();
        *kept = KeptGroup { number: Some(number), group: Some(None) };
        Ok(number)
    }

    /// A group, if it lives.
    pub(super) fn group(
        &mut self,
        connection: &Connection,
        key: &GroupKey,
    ) -> Result<Option<Group>, Failure> {
        let kept = self.kept_group(connection, key)?;
        if let Some(known) = &kept.group {
            return Ok(known.clone());
        }
        let group = match kept.number {
            Some(number) => load::counted_group(connection, key, number)?,
            None => None,
        };
        kept.group = Some(group.clone());
        Ok(group)
    }

    /// Puts a group. Its counts are those of its ledger and are stored nowhere else, so that nothing
    /// is written of a group where nothing but these change, as with most events.
    pub(super) fn put_group(
        &mut self,
        connection: &Connection,
        group: &Group,
    ) -> Result<(), Failure> {
        let number = self.group_number_or_new(connection, &group.key)?;
        let kept = self.kept_group(connection, &group.key)?;
        let is_stored = kept.group.iter().flatten().any(|stored| {
            *stored == Group { news: stored.news, firing: stored.firing, ..group.clone() }
        });
        if !is_stored {
            save::group(connection, number, group)?;
        }
        kept.group = Some(Some(group.clone()));
        Ok(())
    }

    /// Removes a group. The number of its name stays.
    pub(super) fn remove_group(
        &mut self,
        connection: &Connection,
        key: &GroupKey,
    ) -> Result<(), Failure> {
        let kept = self.kept_group(connection, key)?;
        if let Some(number) = kept.number {
            connection.prepare_cached("delete from groups where key = ?1")?.execute([number])?;
        }
        kept.group = Some(None);
        Ok(())
    }

    /// Removes the name of a group to which nothing refers any more.
    pub(super) fn forget_name(
        &mut self,
        connection: &Connection,
        number: i64,
    ) -> Result<(), Failure> {
        let removed = connection
            .prepare_cached(
                "delete from group_keys where id = ?1
                     and not exists (select 1 from ledger where group_key = ?1 and alive)
                     and not exists (select 1 from ledger where group_key = ?1 and not alive)
                     and not exists (select 1 from groups where key = ?1)
                     and not exists (select 1 from deliveries where group_key = ?1)",
            )?
            .execute([number])?;
        if removed > 0 {
            self.groups.retain(|_, kept| kept.number != Some(number));
            self.names.0.remove(&number);
        }
        Ok(())
    }

    fn kept_group(
        &mut self,
        connection: &Connection,
        key: &GroupKey,
    ) -> Result<&mut KeptGroup, Failure> {
        if self.groups.len() >= KEPT && !self.groups.contains_key(key) {
            self.groups.clear();
        }
        Ok(match self.groups.entry(key.clone()) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(place) => {
                let number = group_number(connection, key)?;
                place.insert(KeptGroup { number, group: None })
            }
        })
    }

    /// A number for an interval: one that none ever had.
    pub(super) fn new_interval(&mut self, connection: &Connection) -> Result<IntervalId, Failure> {
        let id = self.last_interval(connection)? + 1;
        self.last_interval = Some(id);
        Ok(IntervalId(id))
    }

    /// To be called before an interval is removed: the last number given outlives it.
    pub(super) fn forget_interval(
        &mut self,
        connection: &Connection,
        removed: IntervalId,
    ) -> Result<(), Failure> {
        self.remove_interval(removed);
        let last = self.last_interval(connection)?;
        if removed.0 == last {
            connection
                .prepare_cached("insert or replace into meta (name, value) values (?1, ?2)")?
                .execute(params![LAST_INTERVAL, last])?;
        }
        Ok(())
    }

    fn last_interval(&self, connection: &Connection) -> Result<i64, Failure> {
        if let Some(last) = self.last_interval {
            return Ok(last);
        }
        let mut statement = connection.prepare_cached(
            "select max(coalesce((select max(id) from intervals), 0),
                        coalesce((select value from meta where name = ?1), 0))",
        )?;
        Ok(statement.query_row([LAST_INTERVAL], |row| row.get(0))?)
    }

    /// Every silence.
    pub(super) fn silences(&mut self, connection: &Connection) -> Result<Arc<[Silence]>, Failure> {
        if let Some(known) = &self.silences {
            return Ok(Arc::clone(known));
        }
        let silences: Arc<[Silence]> = silences::all(connection)?.into();
        self.silences = Some(Arc::clone(&silences));
        Ok(silences)
    }

    /// To be called when a silence is changed.
    pub(super) fn forget_silences(&mut self) {
        self.silences = None;
    }

    /// A point to which [`Memory::roll_back`] goes.
    pub(super) fn savepoint(&mut self) -> usize {
        self.stretch += 1;
        self.before.len()
    }

    /// Forgets all changes since `savepoint`, as the database did.
    pub(super) fn roll_back(&mut self, savepoint: usize) {
        self.stretch += 1;
        for (id, before) in self.before.drain(savepoint..).rev() {
            match before {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
        // What was read of these may be of what is forgotten now, and numbers were given in vain.
        self.rows.values_mut().for_each(|row| row.open = None);
        self.open = 0;
        self.facets.clear();
        self.groups.clear();
        self.names.0.clear();
        self.silences = None;
        self.last_interval = None;
    }

    /// Notes an interval as it is stored now, under this number.
    pub(super) fn put_interval(&mut self, id: IntervalId, interval: &Interval) {
        let is_known = self.rows.get(&interval.container).is_some_and(|row| row.open.is_some());
        if interval.role == Role::Whole || !is_known {
            return;
        }
        let open = self.change_known(&interval.container).and_then(|row| row.open.as_mut());
        let Some(open) = open else { return };
        let before = open.len();
        open.retain(|other| other.id != id);
        if interval.end.is_none() {
            open.push(Interval { id, ..interval.clone() }.into());
            open.sort_unstable_by_key(|interval| interval.id);
        }
        let after = open.len();
        self.open = self.open + after - before;
    }

    /// Forgets an interval, whosever it was.
    fn remove_interval(&mut self, removed: IntervalId) {
        let has = |row: &Kept| row.open.iter().flatten().any(|one| one.id == removed);
        let of = self.rows.iter().find(|(_, row)| has(row)).map(|(id, _)| Arc::clone(id));
        if let Some(row) = of.and_then(|id| self.change_known(&id)) {
            let open = row.open.take();
            self.open -= open.map_or(0, |open| open.len());
        }
    }

    /// Has the next commit bring the tables up to date.
    pub(super) fn settle(&mut self) {
        self.settle = true;
    }

    /// Writes what was changed; to be called last before a commit.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.settle |= self.unsettled >= UNSETTLED || self.is_full();
        if self.settle {
            let mut rows: Vec<&Kept> = self.rows.values().filter(|row| row.unwritten).collect();
            rows.sort_unstable_by_key(|row| row.key);
            write_to_table(connection, rows)?;
            return Ok(connection.execute_batch(IN_ORDER)?);
        }
        let changed = self.changed();
        if !changed.is_empty() {
            let columns: Vec<_> = changed.into_iter().map(logged).collect();
            connection
                .prepare_cached("insert into container_log (rows) values (?1)")?
                .execute([Json(columns)])?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows.len() + OPEN * self.open >= KEPT
    }

    /// To be called after a commit.
    pub(super) fn committed(&mut self) {
        self.unsettled += self.before.len();
        self.before.clear();
        self.stretch += 1;
        if !std::mem::take(&mut self.settle) {
            return;
        }
        self.unsettled = 0;
        if self.is_full() {
            self.rows.clear();
            self.open = 0;
        }
        for row in self.rows.values_mut() {
            row.unwritten = false;
        }
    }

    /// The containers that were changed since the last commit, each once, in the order of the table.
    fn changed(&self) -> Vec<&Kept> {
        let mut rows: Vec<&Kept> =
            self.before.iter().filter_map(|(id, _)| self.rows.get(id)).collect();
        rows.sort_unstable_by_key(|row| row.key);
        rows.dedup_by_key(|row| row.key);
        rows
    }
}

/// What is kept of a container, read if it is not in memory.
fn row<'a>(
    rows: &'a mut HashMap<Arc<str>, Kept>,
    connection: &Connection,
    id: &Arc<str>,
) -> Result<Option<&'a mut Kept>, Failure> {
    Ok(match rows.entry(id.clone()) {
        Entry::Occupied(row) => Some(row.into_mut()),
        Entry::Vacant(place) => read(connection, STORED, id)?.map(|row| place.insert(row)),
    })
}

/// The same row, once it is noted what it was before this stretch.
fn noted<'a>(
    before: &mut Vec<(Arc<str>, Option<Kept>)>,
    stretch: u64,
    id: &Arc<str>,
    row: &'a mut Kept,
) -> &'a mut Kept {
    if row.noted_in != Some(stretch) {
        before.push((id.clone(), Some(row.clone())));
    }
    (row.noted_in, row.unwritten) = (Some(stretch), true);
    row
}

/// A row as `container_states` has it, in the order of its columns.
fn columns(row: &Kept) -> [Option<i64>; 11] {
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
        or_zero(container.map(|container| container.gaps.into())),
        or_zero(container.map(|container| container.last_at.as_micros())),
        or_zero(container.map(|container| container.derived_to.as_micros())),
        or_zero(container.map(|container| container.open.into())),
    ]
}

/// The same as `container_log` has it: what is equal to the latest place, as it mostly is, is left
/// out.
fn logged(row: &Kept) -> [Option<i64>; 11] {
    let mut columns = columns(row);
    for place in [SINCE, LAST_AT, DERIVED_TO] {
        if columns[place] == columns[NEWEST] {
            columns[place] = None;
        }
    }
    columns
}

/// Where [`columns`] has what is often equal.
const NEWEST: usize = 2;
const SINCE: usize = 5;
const LAST_AT: usize = 8;
const DERIVED_TO: usize = 9;

/// The beginning of every statement that writes to the table.
macro_rules! insert {
    ($values:literal) => {
        concat!(
            "insert or replace into container_states
                 (container, last_event, newest, ahead, facet, since, starts, gaps, last_at,
                  derived_to, open)
             ",
            $values
        )
    };
}

fn write_to_table(connection: &Connection, rows: Vec<&Kept>) -> Result<(), Failure> {
    let mut statement = connection
        .prepare_cached(insert!("values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"))?;
    for row in rows {
        statement.execute(columns(row))?;
    }
    connection.prepare_cached("delete from container_log")?.execute([])?;
    Ok(())
}

/// Puts the events that came since the last time in order.
const IN_ORDER: &str = "
    insert into events_by_time (timestamp, seq, facet)
        select timestamp, seq, facet from events
        where seq > coalesce((select value from meta where name = 'last_in_order'), 0)
        order by timestamp, seq;
    insert or replace into meta (name, value)
        select 'last_in_order', seq from events order by seq desc limit 1;";

/// Brings the tables up to date after the program was killed.
pub(super) fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("begin immediate;")?;
    connection.execute_batch(concat!(
        insert!(
            "select container, last_event, newest, ahead, facet, since, starts, gaps, last_at,
                    derived_to, open
             from containers_now where container in (
                     select r.value ->> 0 from container_log l, json_each(l.rows) r);"
        ),
        "delete from container_log;"
    ))?;
    connection.execute_batch(IN_ORDER)?;
    connection.execute_batch("commit;")
}

/// What is kept of a container, for those who do not know what is in memory.
pub(super) fn now(connection: &Connection, id: &Arc<str>) -> Result<Option<Kept>, Failure> {
    read(connection, NOW, id)
}

fn read(connection: &Connection, sql: &str, id: &Arc<str>) -> Result<Option<Kept>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([id], |row| {
        let mut columns = Columns::of(row);
        let row = Kept {
            key: columns.take()?,
            last_event: columns.take()?,
            newest: columns.take()?,
            ahead: columns.take()?,
            facet: columns.take()?,
            container: None,
            open: None,
            unwritten: false,
            noted_in: None,
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
            gaps: columns.take()?,
            last_at: columns.take()?,
            derived_to: columns.take()?,
            open: columns.take()?,
        };
        let open = (container.open == 0).then(Vec::new);
        Ok(Kept { container: Some(container), open, ..row })
    });
    Ok(found.optional()?)
}

/// The number of a group's name, if it ever had one.
pub(super) fn group_number(
    connection: &Connection,
    key: &GroupKey,
) -> Result<Option<i64>, Failure> {
    let mut statement = connection.prepare_cached(
        "select id from group_keys where rule = ?1 and receiver = ?2 and labels = ?3",
    )?;
    let named = params![key.rule, key.receiver, Json(&key.labels)];
    Ok(statement.query_row(named, |row| row.get(0)).optional()?)
}
