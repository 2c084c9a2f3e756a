//! Finds what may be older than it is to be kept, and removes the events among it that need not stay.
//!
//! A container's events are a chain, from the last one back. What is removed is at its far end, so
//! that a walk ends at a number that has no row. Where one of those stays, it takes the place of the
//! last that is removed above it: what comes after that names it still. So a chain of any length is
//! cut by writing one row at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::Failure;
use super::load;
use super::memory::{Memory, Names};
use super::values::{Columns, Json, count};
use crate::clock::Timestamp;
use crate::engine::{
    AlertKey, DeliveryId, Done, ENDED_AT_ONCE, Ended, EventRef, Heard, Interval, Old, Oldest,
    Pruned, Swath,
};

/// How many events of a container are looked at that stayed before: a few milliseconds' work. What is
/// held up by a late one goes from its beginning, once that is old.
const LONGEST: usize = 1024;

/// An event, but for what it says.
struct Link {
    seq: i64,
    before: Option<i64>,
    reference: EventRef,
    /// Its place in the timeline.
    at: Timestamp,
    received_at: Timestamp,
    failed: bool,
}

/// What is known of a container's oldest events.
struct Chain {
    key: i64,
    /// Up to where its timeline was pruned.
    checkpoint: Option<Timestamp>,
    /// The first received first, with no other between them, down to the very first.
    links: Vec<Link>,
    /// Whether all of it is one event that is to stay.
    is_idle: bool,
}

/// The chains that the oldest events are in.
struct Chains {
    of: BTreeMap<Arc<str>, Chain>,
    until: i64,
    more: bool,
}

/// The columns of [`link_of`].
macro_rules! link {
    () => {
        "e.seq, e.before, e.timestamp, e.identity, coalesce(e.at, e.timestamp), e.received_at,
         e.failed is not null"
    };
}

fn link_of(columns: &mut Columns<'_>) -> rusqlite::Result<Link> {
    Ok(Link {
        seq: columns.take()?,
        before: columns.take()?,
        reference: EventRef { timestamp: columns.take()?, identity: columns.take()? },
        at: columns.take()?,
        received_at: columns.take()?,
        failed: columns.take()?,
    })
}

impl Chains {
    fn read(connection: &Connection, oldest: Oldest, until: i64) -> Result<Chains, Failure> {
        let mut statement = connection.prepare_cached(concat!(
            "select ",
            link!(),
            ", c.key, c.id, k.at, coalesce(s.last_event = e.seq and k.open = 0, false)
             from events e
             cross join containers c on c.key = e.container
             left join checkpoints k on k.container = e.container
             left join container_states s on s.container = e.container
             where e.seq > ?1 and e.seq <= ?2 order by e.seq limit ?3"
        ))?;
        let mut rows = statement.query(params![oldest.after, until, count(oldest.limit)])?;
        let mut chains = Chains { of: BTreeMap::new(), until: oldest.after, more: false };
        let (mut seen, mut any_old) = (0, false);
        while let Some(row) = rows.next()? {
            seen += 1;
            let mut columns = Columns::of(row);
            let link = link_of(&mut columns)?;
            let (key, id) = (columns.take()?, columns.take()?);
            let checkpoint: Option<Timestamp> = columns.take()?;
            // What is not in the table yet is taken for what it was: it is looked at again later.
            let is_last: bool = columns.take()?;
            chains.until = link.seq;
            any_old |= link.received_at < oldest.received_before;
            let is_idle = is_last && checkpoint.is_some_and(|checkpoint| link.at <= checkpoint);
            let new = || Chain { key, checkpoint, links: Vec::new(), is_idle: true };
            let chain = chains.of.entry(id).or_insert_with(new);
            chain.is_idle &= is_idle && chain.links.is_empty();
            chain.links.push(link);
        }
        // Where a clock went back, some may be older than those before them.
        chains.more = any_old && seen == oldest.limit;
        chains.of.retain(|_, chain| !chain.is_idle);
        let mut too_long = Vec::new();
        for (id, chain) in &mut chains.of {
            if !chain.go_back(connection)? {
                too_long.push(id.clone());
            }
        }
        too_long.iter().for_each(|id| drop(chains.of.remove(id)));
        Ok(chains)
    }
}

impl Chain {
    /// Reads what stayed before the first of its links. `false` if that is so much that something must
    /// keep it there: what comes after that has to stay as well, and is not worth the time.
    fn go_back(&mut self, connection: &Connection) -> Result<bool, Failure> {
        let mut statement = connection.prepare_cached(concat!(
            "select ",
            link!(),
            " from events e where e.seq = ?1"
        ))?;
        let mut stayed = Vec::new();
        let mut before = self.links.first().and_then(|link| link.before);
        while let Some(seq) = before {
            let found = statement.query_row([seq], |row: &Row<'_>| link_of(&mut Columns::of(row)));
            let Some(link) = found.optional()? else { break };
            before = link.before;
            stayed.push(link);
            if stayed.len() > LONGEST {
                return Ok(false);
            }
        }
        stayed.reverse();
        self.links.splice(0..0, stayed);
        Ok(true)
    }

    fn in_timeline(&self, link: &Link) -> bool {
        !link.failed && self.checkpoint.is_none_or(|checkpoint| checkpoint < link.at)
    }

    /// Its events that may go, with what they say, and where the first of the others is.
    fn old(&self, connection: &Connection, oldest: Oldest) -> Result<Old, Failure> {
        let mut late = connection.prepare_cached(
            "select min(coalesce(at, timestamp)) from events indexed by events_late
             where container = ?1 and seq > ?2 and late is not null and failed is null
                 and coalesce(at, timestamp) > ?3",
        )?;
        // What was received later in order is later than all of these.
        let last = self.links.last().map_or(0, |link| link.seq);
        let after = self.checkpoint.map_or(i64::MIN, Timestamp::as_micros);
        let late: Option<Timestamp> =
            late.query_row(params![self.key, last, after], |row| row.get(0))?;
        let is_old = |link: &&Link| link.received_at < oldest.received_before;
        let links = || self.links.iter().filter(|link| self.in_timeline(link));
        let young = links().filter(|link| !is_old(link)).map(|link| link.at);
        let mut others_from = young.chain(late).min();

        let mut payload = connection.prepare_cached("select payload from events where seq = ?1")?;
        let mut events = Vec::new();
        for link in links().filter(is_old) {
            if others_from.is_some_and(|from| from <= link.at) {
                continue;
            }
            let kept = payload.query_row([link.seq], |row| row.get(0))?;
            // One that cannot be read again stays, and what came after it.
            let Ok(event) = load::decode(link.reference.identity, kept) else {
                others_from = Some(link.at);
                continue;
            };
            let (event, received_at) = (Arc::new(event), link.received_at);
            events.push(Heard { event, received_at, at: link.at });
        }
        Ok(Old { events, others_from })
    }
}

/// The events that were received first.
pub(super) fn oldest(connection: &Connection, oldest: Oldest) -> Result<Swath, Failure> {
    let chains = Chains::read(connection, oldest, i64::MAX)?;
    let mut swath = Swath { until: chains.until, more: chains.more, ..Swath::default() };
    for (id, chain) in chains.of {
        let is_old = |link: &Link| !link.failed && link.received_at < oldest.received_before;
        if chain.links.iter().any(is_old) {
            swath.containers.insert(id, chain.old(connection, oldest)?);
        }
    }
    Ok(swath)
}

/// Removes what need not stay of what was found so.
pub(super) fn remove(
    connection: &Connection,
    memory: &mut Memory,
    pruned: &Pruned,
) -> Result<(), Failure> {
    let chains = Chains::read(connection, pruned.oldest, pruned.until)?;
    let in_order = "select value from meta where name = 'last_in_order'";
    let in_order: Option<i64> =
        connection.prepare_cached(in_order)?.query_row([], |row| row.get(0)).optional()?;
    let mut remove = connection.prepare_cached("delete from events where seq = ?1")?;
    let mut remove_in_order = connection
        .prepare_cached("delete from events_by_time where timestamp = ?1 and seq = ?2")?;
    let mut join = connection.prepare_cached("update events set before = ?2 where seq = ?1")?;
    for (id, chain) in chains.of {
        let Some(row) = memory.get(connection, &id)? else { continue };
        let last_event = row.last_event;
        let is_in = row.container.as_ref().map(|container| container.last_at);
        // The last one that stays, and the last one removed after it.
        let mut stays: Option<&Link> = None;
        let mut removed: Option<i64> = None;
        for link in &chain.links {
            let goes = link.received_at < pruned.oldest.received_before
                && !chain.in_timeline(link)
                && link.seq != last_event
                && (link.failed || Some(link.at) != is_in)
                && !pruned.stay.contains(&(id.clone(), link.reference));
            if goes {
                remove.execute([link.seq])?;
                remove_in_order.execute(params![link.reference.timestamp, link.seq])?;
                removed = Some(link.seq);
                continue;
            }
            if removed.take().is_some() {
                join.execute(params![link.seq, stays.map(|stays| stays.seq)])?;
            }
            stays = Some(link);
        }
        if let (Some(stays), Some(removed)) = (stays, removed) {
            renumber(connection, stays, removed, in_order.unwrap_or(0))?;
        }
    }
    Ok(())
}

/// Gives an event the number of one that was removed, and that the next one names.
fn renumber(connection: &Connection, link: &Link, seq: i64, in_order: i64) -> Result<(), Failure> {
    connection
        .prepare_cached("update events set seq = ?2 where seq = ?1")?
        .execute([link.seq, seq])?;
    let timestamp = link.reference.timestamp;
    if seq <= in_order {
        connection
            .prepare_cached("update events_by_time set seq = ?3 where timestamp = ?1 and seq = ?2")?
            .execute(params![timestamp, link.seq, seq])?;
    } else {
        // It is put in order with those around it.
        connection
            .prepare_cached("delete from events_by_time where timestamp = ?1 and seq = ?2")?
            .execute(params![timestamp, link.seq])?;
    }
    Ok(())
}

/// The intervals that ended first, in order.
pub(super) fn ended(
    connection: &Connection,
    names: &mut Names,
    ended: Ended,
) -> Result<Vec<Interval>, Failure> {
    const ENDED: &str = load::intervals_where!(
        "i.end_at is not null and i.end_heard_at < ?1 and i.end_heard_at >= ?2
             and (i.end_heard_at, i.id) > (?2, ?3)
         order by i.end_heard_at, i.id limit ?4"
    );
    let (heard_at, id) = ended.after;
    load::intervals(
        connection,
        names,
        ENDED,
        params![ended.before, heard_at, id, count(ended.limit)],
    )
}

/// The first parts and wholes of an alert to end before this instant, and the first whole that is
/// not among them.
pub(super) fn ended_of(
    connection: &Connection,
    names: &mut Names,
    alert: &AlertKey,
    before: Timestamp,
) -> Result<Vec<Interval>, Failure> {
    const ENDED: &str = load::intervals_where!(
        "i.role <> 'own' and i.rule = ?1 and i.key = ?2 and i.end_at < ?3
         order by i.end_at, i.role = 'whole', i.id limit ?4"
    );
    const FIRST: &str = load::intervals_where!(
        "i.role = 'whole' and i.rule = ?1 and i.key = ?2
             and i.id not in (select value from json_each(?3))
         order by i.start, i.id limit 1"
    );
    let (rule, key) = (&alert.rule, Json(&alert.values));
    let limit = count(ENDED_AT_ONCE);
    let mut found = load::intervals(connection, names, ENDED, params![rule, key, before, limit])?;
    let ids: Vec<i64> = found.iter().map(|interval| interval.id.0).collect();
    found.extend(load::intervals(connection, names, FIRST, params![rule, key, Json(ids)])?);
    Ok(found)
}

/// The deliveries that ended first, in order.
pub(super) fn done(connection: &Connection, done: Done) -> Result<Vec<DeliveryId>, Failure> {
    let mut statement = connection.prepare_cached(
        "select id from deliveries indexed by deliveries_ended
         where status <> 'pending' and ended_at < ?1 order by ended_at limit ?2",
    )?;
    let ids = statement.query_map(params![done.before, count(done.limit)], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Whether the group of this number has dead letters.
pub(super) fn has_letters(connection: &Connection, group: i64) -> Result<bool, Failure> {
    let mut statement = connection
        .prepare_cached("select 1 from deliveries where group_key = ?1 and +status = 'dead'")?;
    Ok(statement.exists([group])?)
}
