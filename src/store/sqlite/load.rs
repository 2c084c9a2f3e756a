//! Reads the rows that a decision has to see.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::failure::Failure;
use super::memory::{Kept, Memory, Names};
use super::prune;
use super::values::{Columns, Json};
use crate::clock::Timestamp;
use crate::engine::{
    AlertKey, Belief, Changes, Checkpoint, Delivery, DeliveryId, End, Entry, EventRef, Group,
    GroupKey, Health, Heard, Interval, IntervalId, Keys, Lease, RECENT, Role, Snapshot, Timer,
};
use crate::event::payload::Packed;
use crate::event::{self, Event, Identity};
use crate::store::{DecideFn, Step};

/// How often a decision may ask for more. A sound one needs three or four rounds.
const ROUNDS: usize = 32;

/// Reads `keys`, and whatever else `decide` asks for, until it answers what to write. What was read
/// is what that changes.
pub(super) fn decided(
    connection: &Connection,
    memory: &mut Memory,
    keys: Keys,
    decide: &mut DecideFn,
) -> Result<(Snapshot, Changes), Failure> {
    let mut snapshot = Snapshot { due_groups: keys.groups.clone(), ..Snapshot::default() };
    extend(connection, memory, &mut snapshot, keys)?;
    for _ in 0..ROUNDS {
        match decide(&snapshot) {
            Step::Write(changes) => return Ok((snapshot, changes)),
            Step::Read(keys) => {
                let keys = unasked(keys, &snapshot.asked);
                if keys.is_empty() {
                    return Err(Failure::Refused(
                        "it asked again for rows that it had seen".into(),
                    ));
                }
                extend(connection, memory, &mut snapshot, keys)?;
            }
        }
    }
    Err(Failure::Refused(format!("it was not decided after {ROUNDS} rounds of reading")))
}

/// What of `keys` was not asked for before.
fn unasked(keys: Keys, asked: &Keys) -> Keys {
    // As with the first keys that a batch of events asks for.
    if asked.is_empty() {
        return keys;
    }
    fn new<T: Ord>(keys: BTreeSet<T>, asked: &BTreeSet<T>) -> BTreeSet<T> {
        keys.into_iter().filter(|key| !asked.contains(key)).collect()
    }
    Keys {
        known: keys.known.into_iter().filter(|key| !asked.known.contains(key)).collect(),
        containers: new(keys.containers, &asked.containers),
        timelines: new(keys.timelines, &asked.timelines),
        checkpoints: new(keys.checkpoints, &asked.checkpoints),
        oldest: keys.oldest.filter(|oldest| asked.oldest != Some(*oldest)),
        ended: keys.ended.filter(|ended| asked.ended != Some(*ended)),
        ended_of: keys
            .ended_of
            .into_iter()
            .filter(|(alert, before)| asked.ended_of.get(alert) != Some(before))
            .collect(),
        done: keys.done.filter(|done| asked.done != Some(*done)),
        letters: new(keys.letters, &asked.letters),
        recent: new(keys.recent, &asked.recent),
        intervals: new(keys.intervals, &asked.intervals),
        shared: keys
            .shared
            .into_iter()
            .filter(|(alert, from)| asked.shared.get(alert).is_none_or(|asked| from < asked))
            .collect(),
        wholes: new(keys.wholes, &asked.wholes),
        events: new(keys.events, &asked.events),
        groups: new(keys.groups, &asked.groups),
        news: new(keys.news, &asked.news),
        held: new(keys.held, &asked.held),
        firing: new(keys.firing, &asked.firing),
        deliveries: new(keys.deliveries, &asked.deliveries),
        digests: new(keys.digests, &asked.digests),
        receivers: new(keys.receivers, &asked.receivers),
        silences: keys.silences && !asked.silences,
        sources: new(keys.sources, &asked.sources),
        untold: new(keys.untold, &asked.untold),
    }
}

fn extend(
    connection: &Connection,
    memory: &mut Memory,
    snapshot: &mut Snapshot,
    mut keys: Keys,
) -> Result<(), Failure> {
    for id in &keys.containers {
        let Some(row) = memory.get(connection, id)? else { continue };
        let Some(container) = row.container.clone() else { continue };
        if container.open > 0 {
            let (key, known) = (row.key, row.open.clone());
            let read = |memory: &mut Memory| open_intervals(connection, &mut memory.names, key);
            let open = match known {
                Some(open) => {
                    debug_assert_eq!(open, read(memory)?);
                    open
                }
                None => {
                    let open = read(memory)?;
                    memory.know_open(id, &open);
                    open
                }
            };
            let entries = open.iter().flat_map(|interval| &interval.ledger);
            keys.groups.extend(entries.map(|entry| entry.group.clone()));
            add(snapshot, open);
        }
        snapshot.containers.insert(id.clone(), container);
    }
    for (id, reference) in &keys.known {
        let Some(row) = memory.get(connection, id)? else { continue };
        if is_known(connection, row, *reference)? {
            snapshot.known.insert((id.clone(), *reference));
        }
    }
    for id in &keys.timelines {
        let Some(row) = memory.get(connection, id)? else {
            snapshot.timelines.insert(id.clone(), Vec::new());
            continue;
        };
        let key = row.key;
        snapshot.timelines.insert(id.clone(), timeline(connection, row.last_event)?);
        add(snapshot, container_intervals(connection, &mut memory.names, key)?);
    }
    for id in keys.checkpoints.iter().chain(&keys.timelines) {
        let Some(row) = memory.get(connection, id)? else { continue };
        if let Some(checkpoint) = checkpoint(connection, id, row.key)? {
            snapshot.checkpoints.insert(id.clone(), checkpoint);
        }
    }
    if let Some(oldest) = keys.oldest {
        snapshot.oldest = Some(prune::oldest(connection, oldest)?);
    }
    if let Some(ended) = keys.ended {
        let ended = prune::ended(connection, &mut memory.names, ended)?;
        snapshot.ended = ended.iter().map(|interval| interval.id).collect();
        add(snapshot, ended);
    }
    for (alert, before) in &keys.ended_of {
        add(snapshot, prune::ended_of(connection, &mut memory.names, alert, *before)?);
    }
    for id in &keys.deliveries {
        if let Some(delivery) = delivery(connection, id)? {
            keys.groups.insert(delivery.group.clone());
            snapshot.deliveries.insert(id.clone(), delivery);
        }
    }
    if let Some(done) = keys.done {
        snapshot.done = prune::done(connection, done)?;
        for id in &snapshot.done {
            let delivery = delivery(connection, id)?;
            snapshot.deliveries.extend(delivery.map(|delivery| (id.clone(), delivery)));
        }
        keys.deliveries.extend(snapshot.done.iter().cloned());
    }
    for key in &keys.letters {
        if let Some(number) = memory.group_number(connection, key)?
            && prune::has_letters(connection, number)?
        {
            snapshot.letters.insert(key.clone());
        }
    }
    for id in &keys.recent {
        if let Some(row) = memory.get(connection, id)? {
            snapshot.recent.insert(id.clone(), recent(connection, row.last_event)?);
        }
    }
    for id in &keys.intervals {
        add(snapshot, interval(connection, &mut memory.names, *id)?);
    }
    for (alert, from) in &mut keys.shared {
        *from = first_of_shared(connection, alert, *from)?;
        add(snapshot, shared_intervals(connection, &mut memory.names, alert, *from)?);
    }
    for alert in &keys.wholes {
        add(snapshot, open_wholes(connection, &mut memory.names, alert)?);
    }
    for (id, reference) in &keys.events {
        let Some(row) = memory.get(connection, id)? else { continue };
        if let Some(event) = event(connection, row.last_event, *reference)? {
            snapshot.events.insert((id.clone(), *reference), Arc::new(event));
        }
    }
    for key in &keys.groups {
        if let Some(group) = memory.group(connection, key)? {
            snapshot.groups.insert(key.clone(), group);
        }
    }
    for key in &keys.news {
        add(snapshot, intervals_of(connection, memory, WITH_NEWS, key)?);
    }
    for key in &keys.held {
        add(snapshot, intervals_of(connection, memory, HELD_BACK, key)?);
    }
    for key in &keys.firing {
        add(snapshot, intervals_of(connection, memory, FIRING, key)?);
    }
    for digest in &keys.digests {
        let waiting = of_digest(connection, digest)?.into_iter();
        snapshot.deliveries.extend(waiting.map(|delivery| (delivery.id.clone(), delivery)));
    }
    for receiver in &keys.receivers {
        if let Some(health) = health(connection, receiver)? {
            snapshot.receivers.insert(receiver.clone(), health);
        }
    }
    for rule in &keys.sources {
        add(snapshot, intervals(connection, &mut memory.names, SOURCES, [rule])?);
    }
    for rule in &keys.untold {
        add(snapshot, intervals(connection, &mut memory.names, UNTOLD, [rule])?);
    }
    if keys.silences {
        snapshot.silences = memory.silences(connection)?;
    }
    snapshot.asked.extend(keys);
    Ok(())
}

fn add(snapshot: &mut Snapshot, intervals: impl IntoIterator<Item = impl Into<Arc<Interval>>>) {
    let intervals = intervals.into_iter().map(Into::into);
    snapshot.intervals.extend(intervals.map(|interval| (interval.id, interval)));
}

/// A query over the events of one container, from the last received, which `$last` selects.
macro_rules! chain {
    ($last:literal, $rest:literal) => {
        concat!(
            "with recursive chain (seq) as (
                 ",
            $last,
            "
                 union all
                 select e.before from chain c join events e on e.seq = c.seq
                     where e.before is not null)
             ",
            $rest
        )
    };
}
pub(super) use chain;

/// Whether an event of this container is stored. What is later than all events of its container is not, and that is
/// what nearly every new event is.
pub(super) fn is_known(
    connection: &Connection,
    row: &Kept,
    reference: EventRef,
) -> Result<bool, Failure> {
    if reference.timestamp > row.newest {
        if row.ahead == 0 {
            return Ok(false);
        }
        let mut statement = connection.prepare_cached(
            "select 1 from events indexed by events_ahead
             where container = ?1 and timestamp = ?2 and identity = ?3 and at is not null",
        )?;
        let ahead = params![row.key, reference.timestamp, reference.identity];
        return Ok(statement.exists(ahead)?);
    }
    Ok(find(connection, row.last_event, reference)?.is_some())
}

/// The number of an event, looked for from the last of its container back. As one query, the whole
/// chain would be walked before the first of it is looked at.
fn find(connection: &Connection, last: i64, reference: EventRef) -> Result<Option<i64>, Failure> {
    let mut statement = connection.prepare_cached(
        "select timestamp = ?2 and identity = ?3, before from events where seq = ?1",
    )?;
    let mut next = Some(last);
    while let Some(number) = next {
        let read: Option<(bool, Option<i64>)> = statement
            .query_row(params![number, reference.timestamp, reference.identity], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        // What came before is pruned.
        let Some((found, before)) = read else { break };
        if found {
            return Ok(Some(number));
        }
        next = before;
    }
    Ok(None)
}

/// Every event of a container that did not fail, in no order; `last` is the one received last.
pub(super) fn timeline(connection: &Connection, last: i64) -> Result<Vec<Heard>, Failure> {
    const ALL: &str = chain!(
        "select ?1",
        "select e.timestamp, e.identity, e.at, e.received_at, e.payload
         from chain c join events e on e.seq = c.seq where e.failed is null"
    );
    heard(connection, ALL, [last])
}

/// The last of them, the last first. The limit is that of the walk: one on its result would have all of
/// it walked first.
fn recent(connection: &Connection, last: i64) -> Result<Vec<Heard>, Failure> {
    const LAST: &str = "with recursive chain (seq) as (
             select ?1
             union all
             select e.before from chain c join events e on e.seq = c.seq
                 where e.before is not null
             limit ?2)
         select e.timestamp, e.identity, e.at, e.received_at, e.payload
         from chain c join events e on e.seq = c.seq where e.failed is null order by c.seq desc";
    heard(connection, LAST, params![last, i64::try_from(RECENT).unwrap_or(i64::MAX)])
}

fn heard(
    connection: &Connection,
    query: &str,
    parameters: impl Params,
) -> Result<Vec<Heard>, Failure> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(parameters)?;
    let mut timeline = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let timestamp: Timestamp = columns.take()?;
        let identity = columns.take()?;
        let at: Option<Timestamp> = columns.take()?;
        let received_at = columns.take()?;
        let event = decode(identity, columns.take()?)?;
        timeline.push(Heard { event: Arc::new(event), received_at, at: at.unwrap_or(timestamp) });
    }
    Ok(timeline)
}

fn event(
    connection: &Connection,
    last: i64,
    reference: EventRef,
) -> Result<Option<Event>, Failure> {
    let Some(number) = find(connection, last, reference)? else { return Ok(None) };
    let payload = connection
        .prepare_cached("select payload from events where seq = ?1")?
        .query_row([number], |row| row.get(0))?;
    decode(reference.identity, payload).map(Some)
}

/// What is left of what was pruned of a container, if anything was.
fn checkpoint(
    connection: &Connection,
    id: &Arc<str>,
    container: i64,
) -> Result<Option<Checkpoint>, Failure> {
    let mut statement =
        connection.prepare_cached("select at, rest from checkpoints where container = ?1")?;
    let found = statement.query_row([container], |row| {
        let mut columns = Columns::of(row);
        let at = columns.take()?;
        let rest: Checkpoint = columns.take::<Json<_>>()?.0;
        Ok(Checkpoint { container: id.clone(), at, ..rest })
    });
    Ok(found.optional()?)
}

/// The event of a kept payload. It keeps the identity that it was stored under.
pub(super) fn decode(identity: Identity, payload: Packed) -> Result<Event, Failure> {
    match event::decode_packed(payload) {
        Ok(event) => Ok(Event { identity, ..event }),
        Err(error) => {
            Err(Failure::Refused(format!("event {identity} cannot be read again: {error}")))
        }
    }
}

/// The statement that reads intervals for which a condition holds.
macro_rules! intervals_where {
    ($condition:literal) => {
        concat!(
            "select i.id, i.role, i.rule, i.key, i.labels, c.id, i.start, i.heard_at, i.occurrences,
                    i.last_at, i.last_timestamp, i.last_identity,
                    i.end_at, i.end_heard_at, i.end_cause, i.end_timestamp, i.end_identity, i.due
             from intervals i
             join containers c on c.key = i.container
             where ",
            $condition
        )
    };
}
pub(super) use intervals_where;

fn interval(
    connection: &Connection,
    names: &mut Names,
    id: IntervalId,
) -> Result<Vec<Interval>, Failure> {
    intervals(connection, names, intervals_where!("i.id = ?1"), [id])
}

fn open_intervals(
    connection: &Connection,
    names: &mut Names,
    container: i64,
) -> Result<Vec<Arc<Interval>>, Failure> {
    const OPEN: &str =
        intervals_where!("i.container = ?1 and i.end_at is null and i.role <> 'whole'");
    let open = intervals(connection, names, OPEN, [container])?;
    Ok(open.into_iter().map(Into::into).collect())
}

fn container_intervals(
    connection: &Connection,
    names: &mut Names,
    container: i64,
) -> Result<Vec<Interval>, Failure> {
    intervals(
        connection,
        names,
        intervals_where!("i.container = ?1 and i.role <> 'whole'"),
        [container],
    )
}

fn open_wholes(
    connection: &Connection,
    names: &mut Names,
    alert: &AlertKey,
) -> Result<Vec<Interval>, Failure> {
    const OPEN: &str = intervals_where!(
        "i.role <> 'own' and i.role = 'whole' and i.rule = ?1 and i.key = ?2 and i.end_at is null"
    );
    intervals(connection, names, OPEN, params![alert.rule, Json(&alert.values)])
}

/// When the wholes of an alert began that had not ended before `from`; if there are none, `from`.
fn first_of_shared(
    connection: &Connection,
    alert: &AlertKey,
    from: Timestamp,
) -> Result<Timestamp, Failure> {
    let mut statement = connection.prepare_cached(
        "select min(start) from intervals
         where role <> 'own' and role = 'whole' and rule = ?1 and key = ?2
             and (end_at is null or end_at >= ?3)",
    )?;
    let first: Option<Timestamp> =
        statement.query_row(params![alert.rule, Json(&alert.values), from], |row| row.get(0))?;
    Ok(first.map_or(from, |first| first.min(from)))
}

/// The parts and the wholes of an alert that had not ended before `from`.
fn shared_intervals(
    connection: &Connection,
    names: &mut Names,
    alert: &AlertKey,
    from: Timestamp,
) -> Result<Vec<Interval>, Failure> {
    const SHARED: &str = intervals_where!(
        "i.role <> 'own' and i.rule = ?1 and i.key = ?2 and (i.end_at is null or i.end_at >= ?3)"
    );
    intervals(connection, names, SHARED, params![alert.rule, Json(&alert.values), from])
}

/// The intervals of which a group has news.
const WITH_NEWS: &str = intervals_where!(
    "i.id in (select interval from ledger where group_key = ?1 and alive and news is not null)"
);

/// Those of them that are held back.
const HELD_BACK: &str = intervals_where!(
    "i.id in (select interval from ledger
              where group_key = ?1 and alive and news is not null and held is not null)"
);

/// The intervals that fire for a group.
const FIRING: &str = intervals_where!(
    "i.id in (select interval from ledger where group_key = ?1 and alive and firing)"
);

/// Those of a group's intervals that this query is for.
fn intervals_of(
    connection: &Connection,
    memory: &mut Memory,
    query: &'static str,
    key: &GroupKey,
) -> Result<Vec<Interval>, Failure> {
    match memory.group_number(connection, key)? {
        Some(number) => intervals(connection, &mut memory.names, query, [number]),
        None => Ok(Vec::new()),
    }
}

/// The firing intervals of a rule. Groups that are gone tell of nothing that fires.
const SOURCES: &str = intervals_where!(
    "i.id in (select l.interval from group_keys k join groups g on g.key = k.id
              join ledger l on l.group_key = k.id
              where k.rule = ?1 and l.alive and l.firing)"
);

/// The intervals of a rule of which there is news.
const UNTOLD: &str = intervals_where!(
    "i.id in (select l.interval from group_keys k join groups g on g.key = k.id
              join ledger l on l.group_key = k.id
              where k.rule = ?1 and l.alive and l.news is not null)"
);

pub(super) fn intervals(
    connection: &Connection,
    names: &mut Names,
    sql: &'static str,
    params: impl Params,
) -> Result<Vec<Interval>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let found: Result<Vec<_>, _> = statement.query_map(params, interval_of)?.collect();
    let mut found = found?;
    for interval in found.iter_mut().filter(|interval| interval.role != Role::Part) {
        interval.ledger = ledger(connection, names, interval.id)?;
    }
    Ok(found)
}

/// The interval of a row, its ledger left empty.
pub(super) fn interval_of(row: &Row<'_>) -> rusqlite::Result<Interval> {
    let mut columns = Columns::of(row);
    Ok(Interval {
        id: columns.take()?,
        role: columns.take()?,
        alert: AlertKey { rule: columns.take()?, values: columns.take::<Json<_>>()?.0 },
        labels: columns.take::<Json<_>>()?.0,
        container: columns.take()?,
        start: columns.take()?,
        heard_at: columns.take()?,
        occurrences: u64::try_from(columns.take::<i64>()?).unwrap_or(0),
        last_at: columns.take()?,
        last: EventRef { timestamp: columns.take()?, identity: columns.take()? },
        end: end_of(&mut columns)?,
        due: columns.take()?,
        ledger: Vec::new(),
    })
}

fn end_of(columns: &mut Columns<'_>) -> rusqlite::Result<Option<End>> {
    let (at, heard_at, cause) = (columns.take()?, columns.take()?, columns.take()?);
    let (timestamp, identity): (Option<_>, Option<_>) = (columns.take()?, columns.take()?);
    let event =
        timestamp.zip(identity).map(|(timestamp, identity)| EventRef { timestamp, identity });
    Ok(match (at, heard_at, cause) {
        (Some(at), Some(heard_at), Some(cause)) => Some(End { at, heard_at, cause, event }),
        _ => None,
    })
}

pub(super) fn ledger(
    connection: &Connection,
    names: &mut Names,
    interval: IntervalId,
) -> Result<Vec<Entry>, Failure> {
    let mut statement = connection.prepare_cached(
        "select group_key, told, maybe, given_up, news, firing, held from ledger
         where interval = ?1 order by place",
    )?;
    let entries = statement.query_map([interval], |row| {
        let mut columns = Columns::of(row);
        Ok(Entry {
            group: names.get(connection, columns.take()?)?,
            told: said(&mut columns)?,
            maybe: said(&mut columns)?,
            given_up: said(&mut columns)?,
            news: columns.take()?,
            firing: columns.take()?,
            held: columns.take::<Option<Json<_>>>()?.map(|json| json.0),
        })
    })?;
    Ok(entries.collect::<Result<_, _>>()?)
}

/// What was said: null where nothing was.
fn said(columns: &mut Columns<'_>) -> rusqlite::Result<Belief> {
    Ok(columns.take::<Option<Json<_>>>()?.map(|json| json.0).unwrap_or_default())
}

pub(super) fn group_key_of(columns: &mut Columns<'_>) -> rusqlite::Result<GroupKey> {
    Ok(GroupKey {
        rule: columns.take()?,
        receiver: columns.take()?,
        labels: columns.take::<Json<_>>()?.0,
    })
}

/// The group of this number, if it lives. What is told of it is counted in its ledger.
pub(super) fn counted_group(
    connection: &Connection,
    key: &GroupKey,
    number: i64,
) -> Result<Option<Group>, Failure> {
    let Some(group) = numbered_group(connection, key, number)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(
        "select count(*) filter (where news is not null and held is null),
                count(*) filter (where firing)
         from ledger where group_key = ?1 and alive",
    )?;
    let counted = statement
        .query_row([number], |row| Ok(Group { news: row.get(0)?, firing: row.get(1)?, ..group }))?;
    Ok(Some(counted))
}

/// The group of this number, if it lives, its counts left at zero.
pub(super) fn numbered_group(
    connection: &Connection,
    key: &GroupKey,
    number: i64,
) -> Result<Option<Group>, Failure> {
    let mut statement = connection.prepare_cached(
        "select opened_at, last_told, waiting, spoken, handle, timer_set_at, timer_due_at
         from groups where key = ?1",
    )?;
    let found = statement.query_row([number], |row| {
        let mut columns = Columns::of(row);
        Ok(Group {
            opened_at: columns.take()?,
            last_told: columns.take()?,
            waiting: columns.take()?,
            spoken: columns.take()?,
            handle: columns.take()?,
            timer: {
                let (set_at, due_at): (Option<_>, Option<_>) = (columns.take()?, columns.take()?);
                set_at.zip(due_at).map(|(set_at, due_at)| Timer { set_at, due_at })
            },
            ..Group::new(key.clone(), Timestamp::default())
        })
    });
    Ok(found.optional()?)
}

/// The columns of [`delivery_of`].
macro_rules! deliveries {
    () => {
        "select d.id, g.rule, g.receiver, g.labels, d.receiver, d.status, d.created_at, d.due_at,
                d.waiting_since, d.next_set_at, d.next_due_at, d.attempts, d.failures,
                d.lease_token, d.lease_until, d.digest, d.notification, d.doubtful, d.plain,
                d.reached, d.last_error, d.ended_at
         from deliveries d join group_keys g on g.id = d.group_key"
    };
}

fn delivery(connection: &Connection, id: &DeliveryId) -> Result<Option<Delivery>, Failure> {
    let mut statement = connection.prepare_cached(concat!(deliveries!(), " where d.id = ?1"))?;
    Ok(statement.query_row([id], delivery_of).optional()?)
}

/// The deliveries that wait to be told by this digest.
fn of_digest(connection: &Connection, digest: &DeliveryId) -> Result<Vec<Delivery>, Failure> {
    let mut statement = connection
        .prepare_cached(concat!(deliveries!(), " where d.digest = ?1 and d.status = 'pending'"))?;
    let rows = statement.query_map([digest], delivery_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn delivery_of(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let mut columns = Columns::of(row);
    Ok(Delivery {
        id: columns.take()?,
        group: group_key_of(&mut columns)?,
        to: columns.take()?,
        status: columns.take()?,
        created_at: columns.take()?,
        due_at: columns.take()?,
        waiting_since: columns.take()?,
        next_attempt: Timer { set_at: columns.take()?, due_at: columns.take()? },
        attempts: columns.take()?,
        failures: columns.take()?,
        lease: {
            let (token, until): (Option<_>, Option<_>) = (columns.take()?, columns.take()?);
            token.zip(until).map(|(token, until)| Lease { token, until })
        },
        digest: columns.take()?,
        notification: columns.take::<Option<Json<_>>>()?.map(|json| json.0),
        doubtful: columns.take()?,
        plain: columns.take()?,
        reached: columns.take::<Json<_>>()?.0,
        last_error: columns.take()?,
        ended_at: columns.take()?,
    })
}

fn health(connection: &Connection, receiver: &Arc<str>) -> Result<Option<Health>, Failure> {
    let mut statement = connection.prepare_cached(
        "select failures, failing_since, resting_until, down from receivers where name = ?1",
    )?;
    let found = statement.query_row([receiver], |row| {
        let mut columns = Columns::of(row);
        Ok(Health {
            receiver: receiver.clone(),
            failures: columns.take()?,
            failing_since: columns.take()?,
            resting_until: columns.take()?,
            down: columns.take::<Option<Json<_>>>()?.map(|json| json.0),
        })
    });
    Ok(found.optional()?)
}
