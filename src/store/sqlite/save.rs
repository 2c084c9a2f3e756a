//! Writes what was decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashSet;
use rusqlite::{Connection, Statement, ToSql, params};

use super::failure::Failure;
use super::load;
use super::memory::{Kept, Memory};
use super::prune;
use super::values::{Json, count};
use crate::clock::Timestamp;
use crate::engine::{
    Attempt, Belief, Changes, Checkpoint, Container, Delivery, Entry, Group, Health, Heard,
    Interval, IntervalId, Snapshot,
};

/// Writes all of `changes`: each row after those that it refers to. Of an interval that was `read`
/// only that is written which differs, and of a delivery what it says only if that does.
pub(super) fn changes(
    connection: &Connection,
    memory: &mut Memory,
    read: &Snapshot,
    changes: &Changes,
) -> Result<(), Failure> {
    let put: HashSet<&str> = changes.containers.iter().map(|container| &*container.id).collect();
    if let Some(heard) = changes.events.iter().find(|heard| !put.contains(&*heard.event.container))
    {
        // Its events are found from the container back.
        let id = &heard.event.container;
        return Err(Failure::Refused(format!("an event of {id:?} is added without it")));
    }
    add_events(connection, memory, changes)?;
    changes
        .containers
        .iter()
        .try_for_each(|container| put_container(connection, memory, container))?;
    let mut names = BTreeSet::new();
    for id in &changes.intervals_removed {
        names.extend(named(connection, "select group_key from ledger where interval = ?1", id)?);
        remove_interval(connection, memory, *id)?;
    }
    let mut new = BTreeMap::new();
    for interval in &changes.intervals {
        let read = read.intervals.get(&interval.id).map(AsRef::as_ref);
        let id = put_interval(connection, memory, read, interval)?;
        if id != interval.id {
            new.insert(interval.id, id);
        }
    }
    changes.groups_removed.iter().try_for_each(|key| memory.remove_group(connection, key))?;
    changes.groups.iter().try_for_each(|group| memory.put_group(connection, group))?;
    for (receiver, due_at) in &changes.hurried {
        hurry(connection, receiver, *due_at)?;
    }
    for delivery in &changes.deliveries {
        let read = read.deliveries.get(&delivery.id);
        put_delivery(connection, memory, read, &delivery.naming(&new))?;
    }
    for id in &changes.deliveries_removed {
        names.extend(named(connection, "select group_key from deliveries where id = ?1", id)?);
        connection.prepare_cached("delete from deliveries where id = ?1")?.execute([id])?;
    }
    names.iter().try_for_each(|name| memory.forget_name(connection, *name))?;
    changes.receivers.iter().try_for_each(|health| put_health(connection, health))?;
    changes.attempts.iter().try_for_each(|attempt| put_attempt(connection, attempt))?;
    changes
        .checkpoints
        .iter()
        .try_for_each(|checkpoint| put_checkpoint(connection, memory, checkpoint))?;
    changes.pruned.iter().try_for_each(|pruned| prune::remove(connection, memory, pruned))
}

/// The numbers of the groups' names that a row refers to.
fn named(connection: &Connection, sql: &'static str, id: &dyn ToSql) -> Result<Vec<i64>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map([id], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn put_checkpoint(
    connection: &Connection,
    memory: &mut Memory,
    checkpoint: &Checkpoint,
) -> Result<(), Failure> {
    let Some(row) = memory.get(connection, &checkpoint.container)? else {
        let id = &checkpoint.container;
        return Err(Failure::Refused(format!("a checkpoint of {id:?} is put without it")));
    };
    connection
        .prepare_cached(
            "insert or replace into checkpoints (container, at, open, rest)
             values (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            row.key,
            checkpoint.at,
            count(checkpoint.members.len()),
            Json(checkpoint),
        ])?;
    Ok(())
}

fn put_container(
    connection: &Connection,
    memory: &mut Memory,
    container: &Container,
) -> Result<(), Failure> {
    let id = &container.id;
    let (application, service) = (container.application.as_ref(), container.service.as_ref());
    let facet = memory.facet(connection, application, service, &container.state)?;
    let Some(row) = memory.change(connection, id)? else {
        return Err(Failure::Refused(format!("container {id:?} is put without an event")));
    };
    (row.facet, row.container) = (Some(facet), Some(container.clone()));
    Ok(())
}

fn add_events(
    connection: &Connection,
    memory: &mut Memory,
    changes: &Changes,
) -> Result<(), Failure> {
    if changes.events.is_empty() && changes.failed.is_empty() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "insert into events
             (container, before, timestamp, identity, at, received_at, facet, late, failed,
              payload)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for heard in &changes.events {
        add_event(connection, memory, &mut insert, heard, None)?;
    }
    for (heard, why) in &changes.failed {
        add_event(connection, memory, &mut insert, heard, Some(why))?;
    }
    Ok(())
}

/// Adds an event. One that `failed` is kept and no more: its container may have nothing to show
/// but its name.
fn add_event(
    connection: &Connection,
    memory: &mut Memory,
    insert: &mut Statement<'_>,
    heard: &Heard,
    failed: Option<&str>,
) -> Result<(), Failure> {
    let event = &heard.event;
    let id = &event.container;
    let (application, service) = (event.application.as_ref(), event.service.as_ref());
    let facet = memory.facet(connection, application, service, &event.state)?;
    let (row, before) = match memory.change(connection, id)? {
        None => {
            connection.prepare_cached("insert into containers (id) values (?1)")?.execute([id])?;
            (memory.add(id, Kept::new(connection.last_insert_rowid(), heard.at)), None)
        }
        Some(row) if load::is_known(connection, row, heard.reference())? => {
            return Err(Failure::Refused(format!("event {} is stored already", event.identity)));
        }
        Some(row) => {
            let before = row.last_event;
            (row, Some(before))
        }
    };
    let late = before.is_some() && heard.at <= row.newest;
    let ahead = heard.at != event.timestamp;
    insert.execute(params![
        row.key,
        before,
        event.timestamp,
        event.identity,
        ahead.then_some(heard.at),
        heard.received_at,
        facet,
        late.then_some(1),
        failed,
        event.payload.packed(),
    ])?;
    row.last_event = connection.last_insert_rowid();
    row.newest = row.newest.max(heard.at);
    row.ahead += i64::from(ahead);
    Ok(())
}

/// Puts a row: by `update` if it may be there, or else by `insert`, which takes the place of one that is.
///
/// An index is written wherever its columns are set, be it to what they were. So `update` leaves alone
/// what hardly ever changes, and asks for it to be as it was.
fn put(
    connection: &Connection,
    update: Option<&str>,
    insert: &str,
    columns: &[&dyn ToSql],
) -> Result<(), Failure> {
    let is_put = match update {
        Some(update) => connection.prepare_cached(update)?.execute(columns)? == 1,
        None => false,
    };
    if !is_put {
        connection.prepare_cached(insert)?.execute(columns)?;
    }
    Ok(())
}

/// Puts an interval that was `read` as this, if it was stored before.
/// Answers its number, which it is given here if it is new.
fn put_interval(
    connection: &Connection,
    memory: &mut Memory,
    read: Option<&Interval>,
    interval: &Interval,
) -> Result<IntervalId, Failure> {
    let is_new = interval.id.0 <= 0;
    let id = if is_new { memory.new_interval(connection)? } else { interval.id };
    if read.is_none_or(|read| !read.is_as(interval)) {
        put_but_for_its_ledger(connection, memory, id, is_new, interval)?;
    }
    let ledger = read.map(|read| read.ledger.as_slice());
    for (place, entry) in interval.ledger.iter().enumerate() {
        if ledger.and_then(|ledger| ledger.get(place)) != Some(entry) {
            put_entry(connection, memory, (id, count(place)), entry, is_new)?;
        }
    }
    // What was not read may have had any number of them.
    if ledger.map_or(!is_new, |ledger| ledger.len() > interval.ledger.len()) {
        connection
            .prepare_cached("delete from ledger where interval = ?1 and place >= ?2")?
            .execute(params![id, count(interval.ledger.len())])?;
    }
    memory.put_interval(id, interval);
    Ok(id)
}

fn put_but_for_its_ledger(
    connection: &Connection,
    memory: &mut Memory,
    id: IntervalId,
    is_new: bool,
    interval: &Interval,
) -> Result<(), Failure> {
    let Some(container) = memory.get(connection, &interval.container)?.map(|row| row.key) else {
        let id = &interval.container;
        return Err(Failure::Refused(format!("an interval of {id:?} is put without it")));
    };
    let end = interval.end.as_ref();
    let ended_by = end.and_then(|end| end.event);
    let columns = params![
        id,
        interval.role,
        interval.alert.rule,
        Json(&interval.alert.values),
        Json(&interval.labels),
        container,
        interval.start,
        interval.heard_at,
        count(interval.occurrences),
        interval.last_at,
        interval.last.timestamp,
        interval.last.identity,
        end.map(|end| end.at),
        end.map(|end| end.heard_at),
        end.map(|end| end.cause),
        ended_by.map(|event| event.timestamp),
        ended_by.map(|event| event.identity),
        interval.due,
    ];
    let update = "update intervals set
                     labels = ?5, start = ?7, heard_at = ?8, occurrences = ?9, last_at = ?10,
                     last_timestamp = ?11, last_identity = ?12, end_at = ?13, end_heard_at = ?14,
                     end_cause = ?15, end_timestamp = ?16, end_identity = ?17, due = ?18
                 where id = ?1 and role = ?2 and rule = ?3 and key = ?4 and container = ?6";
    let insert = "insert into intervals
                 (id, role, rule, key, labels, container, start, heard_at, occurrences, last_at,
                  last_timestamp, last_identity, end_at, end_heard_at, end_cause, end_timestamp,
                  end_identity, due)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18)
             on conflict (id) do update set
                 role = excluded.role, rule = excluded.rule, key = excluded.key, labels = excluded.labels,
                 container = excluded.container, start = excluded.start,
                 heard_at = excluded.heard_at, occurrences = excluded.occurrences,
                 last_at = excluded.last_at, last_timestamp = excluded.last_timestamp,
                 last_identity = excluded.last_identity, end_at = excluded.end_at,
                 end_heard_at = excluded.end_heard_at, end_cause = excluded.end_cause,
                 end_timestamp = excluded.end_timestamp, end_identity = excluded.end_identity,
                 due = excluded.due";
    put(connection, (!is_new).then_some(update), insert, columns)
}

fn put_entry(
    connection: &Connection,
    memory: &mut Memory,
    (interval, place): (IntervalId, i64),
    entry: &Entry,
    is_new: bool,
) -> Result<(), Failure> {
    let group = memory.group_number_or_new(connection, &entry.group)?;
    let alive = entry.news.is_some() || entry.firing;
    let columns = params![
        interval,
        place,
        group,
        said(&entry.told),
        said(&entry.maybe),
        said(&entry.given_up),
        entry.news,
        entry.firing,
        alive,
        entry.held.as_ref().map(Json),
    ];
    let update = "update ledger set
                     told = ?4, maybe = ?5, given_up = ?6, news = ?7, firing = ?8, held = ?10
                 where interval = ?1 and place = ?2 and group_key = ?3 and alive = ?9";
    let insert = "insert into ledger
                     (interval, place, group_key, told, maybe, given_up, news, firing, alive, held)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 on conflict (interval, place) do update set
                     group_key = excluded.group_key, told = excluded.told, maybe = excluded.maybe,
                     given_up = excluded.given_up, news = excluded.news, firing = excluded.firing,
                     alive = excluded.alive, held = excluded.held";
    put(connection, (!is_new).then_some(update), insert, columns)
}

/// What was said, null where nothing was.
fn said(belief: &Belief) -> Option<Json<&Belief>> {
    (!belief.is_empty()).then_some(Json(belief))
}

fn remove_interval(
    connection: &Connection,
    memory: &mut Memory,
    id: IntervalId,
) -> Result<(), Failure> {
    memory.forget_interval(connection, id)?;
    connection.prepare_cached("delete from intervals where id = ?1")?.execute([id])?;
    Ok(())
}

/// Writes the group of this number, but for its counts.
pub(super) fn group(connection: &Connection, number: i64, group: &Group) -> Result<(), Failure> {
    let columns = params![
        number,
        group.opened_at,
        group.last_told,
        group.waiting,
        group.spoken,
        group.handle,
        group.timer.map(|timer| timer.set_at),
        group.timer.map(|timer| timer.due_at),
    ];
    let update = "update groups set
                 opened_at = ?2, last_told = ?3, waiting = ?4, spoken = ?5, handle = ?6,
                 timer_set_at = ?7
             where key = ?1 and timer_due_at is ?8";
    let insert = "insert into groups
                     (key, opened_at, last_told, waiting, spoken, handle, timer_set_at,
                      timer_due_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 on conflict (key) do update set
                     opened_at = excluded.opened_at, last_told = excluded.last_told,
                     waiting = excluded.waiting, spoken = excluded.spoken,
                     handle = excluded.handle, timer_set_at = excluded.timer_set_at,
                     timer_due_at = excluded.timer_due_at";
    put(connection, Some(update), insert, columns)
}

/// Puts a delivery that was `read` as this, if it was stored before. What it says may be long, and is
/// written only if it is not what it said before.
fn put_delivery(
    connection: &Connection,
    memory: &mut Memory,
    read: Option<&Delivery>,
    delivery: &Delivery,
) -> Result<(), Failure> {
    let group = memory.group_number_or_new(connection, &delivery.group)?;
    let lease = delivery.lease.as_ref();
    let says_the_same =
        read.is_some_and(|read| match (&read.notification, &delivery.notification) {
            (Some(read), Some(says)) => Arc::ptr_eq(read, says) || read == says,
            (read, says) => read.is_none() && says.is_none(),
        });
    let says = delivery.notification.as_ref().filter(|_| !says_the_same);
    connection
        .prepare_cached(
            "insert into deliveries
                 (id, group_key, receiver, status, created_at, due_at, waiting_since, next_set_at,
                  next_due_at, attempts, failures, lease_token, lease_until, digest, notification,
                  doubtful, plain, reached, last_error, ended_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20)
             on conflict (id) do update set
                 group_key = excluded.group_key, receiver = excluded.receiver,
                 status = excluded.status, created_at = excluded.created_at,
                 due_at = excluded.due_at, waiting_since = excluded.waiting_since,
                 next_set_at = excluded.next_set_at,
                 next_due_at = excluded.next_due_at, attempts = excluded.attempts,
                 failures = excluded.failures, lease_token = excluded.lease_token,
                 lease_until = excluded.lease_until, digest = excluded.digest,
                 notification = iif(?21, notification, excluded.notification),
                 doubtful = excluded.doubtful, plain = excluded.plain, reached = excluded.reached,
                 last_error = excluded.last_error, ended_at = excluded.ended_at",
        )?
        .execute(params![
            delivery.id,
            group,
            delivery.to,
            delivery.status,
            delivery.created_at,
            delivery.due_at,
            delivery.waiting_since,
            delivery.next_attempt.set_at,
            delivery.next_attempt.due_at,
            delivery.attempts,
            delivery.failures,
            lease.map(|lease| &lease.token),
            lease.map(|lease| lease.until),
            delivery.digest,
            says.map(Json),
            delivery.doubtful,
            delivery.plain,
            Json(&delivery.reached),
            delivery.last_error,
            delivery.ended_at,
            says_the_same,
        ])?;
    Ok(())
}

/// Has all that waits for this receiver due from then on.
fn hurry(connection: &Connection, receiver: &str, due_at: Timestamp) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "update deliveries set next_set_at = ?2, next_due_at = ?2
             where status = 'pending' and receiver = ?1 and lease_token is null",
        )?
        .execute(params![receiver, due_at])?;
    Ok(())
}

fn put_health(connection: &Connection, health: &Health) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "insert into receivers (name, failures, failing_since, resting_until, down)
             values (?1, ?2, ?3, ?4, ?5)
             on conflict (name) do update set
                 failures = excluded.failures, failing_since = excluded.failing_since,
                 resting_until = excluded.resting_until, down = excluded.down",
        )?
        .execute(params![
            health.receiver,
            health.failures,
            health.failing_since,
            health.resting_until,
            health.down.as_ref().map(Json),
        ])?;
    Ok(())
}

fn put_attempt(connection: &Connection, attempt: &Attempt) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "insert into attempts (delivery, number, started_at, ended_at, outcome, detail)
             values ((select key from deliveries where id = ?1), ?2, ?3, ?4, ?5, ?6)
             on conflict (delivery, number) do update set
                 started_at = iif(excluded.ended_at is null, excluded.started_at, started_at),
                 ended_at = excluded.ended_at, outcome = excluded.outcome,
                 detail = excluded.detail",
        )?
        .execute(params![
            attempt.delivery,
            attempt.number,
            attempt.started_at,
            attempt.ended_at,
            attempt.outcome,
            attempt.detail,
        ])?;
    Ok(())
}
