//! What is due when: read without a lock; the unit of work that follows looks again.

use std::cmp::max;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::failure::Failure;
use super::load::group_key_of;
use super::values::{Columns, Json, count};
use crate::clock::Timestamp;
use crate::engine::{DeliveryId, GroupKey, IntervalId, Keys, Role, Timer};
use crate::store::{Claimable, Due, Unfinished};

/// The containers, shared alerts and groups that have to be looked at, at most `limit`, and when there are more.
///
/// Timers that were set in what is now the future are due as well (see `Timer::is_due`). There can
/// be some only where the `clock_went_back`, and they are looked for only then.
pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    clock_went_back: bool,
    limit: usize,
) -> Result<Due, Failure> {
    let mut keys = Keys::default();
    // Neither may keep the other waiting.
    let half = limit.div_ceil(2);
    let intervals = due_intervals(connection, now, half)?;
    let groups =
        due_groups(connection, now, clock_went_back, limit.saturating_sub(intervals.len()))?;
    let all = intervals.len() < half && intervals.len() + groups.len() < limit;
    for (interval, role, container) in intervals {
        match role {
            Role::Own | Role::Part => keys.containers.insert(container),
            Role::Whole => keys.intervals.insert(interval),
        };
    }
    keys.groups.extend(groups);
    let next = if all { next_due(connection, now)? } else { Some(now) };
    Ok(Due { keys, next })
}

/// The intervals that are due, with their containers.
fn due_intervals(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(IntervalId, Role, Arc<str>)>, Failure> {
    let mut statement = connection.prepare_cached(
        "select i.id, i.role, c.id from intervals i join containers c on c.key = i.container
         where i.end_at is null and i.due <= ?1 order by i.due limit ?2",
    )?;
    let due = statement.query_map(params![now, count(limit)], |row| {
        let mut columns = Columns::of(row);
        Ok((columns.take()?, columns.take()?, columns.take()?))
    })?;
    Ok(due.collect::<Result<_, _>>()?)
}

fn due_groups(
    connection: &Connection,
    now: Timestamp,
    clock_went_back: bool,
    limit: usize,
) -> Result<Vec<GroupKey>, Failure> {
    let mut statement = connection.prepare_cached(if clock_went_back {
        "select k.rule, k.receiver, k.labels
         from groups g join group_keys k on k.id = g.key
         where g.timer_due_at <= ?1 or g.timer_set_at > ?1
         order by g.timer_due_at limit ?2"
    } else {
        "select k.rule, k.receiver, k.labels
         from groups g join group_keys k on k.id = g.key
         where g.timer_due_at <= ?1
         order by g.timer_due_at limit ?2"
    })?;
    let keys = statement.query_map(params![now, count(limit)], |row| {
        let mut columns = Columns::of(row);
        Ok(GroupKey {
            rule: columns.take()?,
            receiver: columns.take()?,
            labels: columns.take::<Json<_>>()?.0,
        })
    })?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn next_due(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let first = |sql: &str| -> Result<Option<Timestamp>, Failure> {
        Ok(connection.prepare_cached(sql)?.query_row([now], |row| row.get(0))?)
    };
    let interval = first("select min(due) from intervals where end_at is null and due > ?1")?;
    let group = first("select min(timer_due_at) from groups where timer_due_at > ?1")?;
    Ok([interval, group].into_iter().flatten().min())
}

/// The deliveries for `receiver` that can be claimed, the longest waiting first.
pub(super) fn claimable(
    connection: &Connection,
    receiver: &str,
    now: Timestamp,
    limit: usize,
) -> Result<Claimable, Failure> {
    let mut claimable = Claimable::default();
    let mut statement = connection.prepare_cached(
        "select id, next_set_at, next_due_at, lease_until from deliveries
         where status = 'pending' and receiver = ?1
         order by waiting_since, key",
    )?;
    let mut rows = statement.query([receiver])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let id = columns.take()?;
        let next_attempt = Timer { set_at: columns.take()?, due_at: columns.take()? };
        let leased_until = columns.take::<Option<Timestamp>>()?.filter(|until| *until > now);
        let due_at = if next_attempt.is_due(now) { now } else { next_attempt.due_at };
        let from = leased_until.map_or(due_at, |until| max(until, due_at));
        if from > now {
            claimable.next = Some(claimable.next.map_or(from, |next| next.min(from)));
        } else if claimable.deliveries.len() < limit {
            claimable.deliveries.push(id);
        } else {
            claimable.next = Some(now);
            break;
        }
    }
    Ok(claimable)
}

/// The deliveries that someone holds a lease for, or held when the program last stopped.
pub(super) fn leased(connection: &Connection) -> Result<Vec<DeliveryId>, Failure> {
    let mut statement = connection.prepare_cached(
        "select id from deliveries
         where status = 'pending' and lease_token is not null order by +key",
    )?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The intervals that are open or of which there is news. For a union, SQLite would sooner go through
/// all there are, which are in order.
pub(super) const UNFINISHED: &str =
    "select id from intervals indexed by intervals_open where end_at is null
     union select interval from ledger indexed by ledger_alive
         where alive and news is not null";

/// The intervals that are open or of which there is news, and every group.
pub(super) fn unfinished(connection: &Connection) -> Result<Unfinished, Failure> {
    let mut intervals = connection.prepare_cached(UNFINISHED)?;
    let intervals = intervals.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut groups = connection.prepare_cached(
        "select k.rule, k.receiver, k.labels from groups g join group_keys k on k.id = g.key",
    )?;
    let groups = groups
        .query_map([], |row| group_key_of(&mut Columns::of(row)))?
        .collect::<Result<_, _>>()?;
    Ok(Unfinished { intervals, groups })
}

/// The deliveries that wait for other receivers than these.
pub(super) fn waiting_for_others(
    connection: &Connection,
    receivers: Vec<String>,
) -> Result<Vec<DeliveryId>, Failure> {
    let mut statement = connection.prepare_cached(
        "select id from deliveries
         where status = 'pending' and receiver not in (select value from json_each(?1))
         order by +key",
    )?;
    let ids = statement.query_map([Json(receivers)], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}
