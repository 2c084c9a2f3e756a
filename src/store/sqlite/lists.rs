//! Pages of what is stored, for people and programs to look at.

use std::sync::Arc;

use rusqlite::types::{FromSqlError, Value};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::failure::Failure;
use super::load;
use super::memory;
use super::silences;
use super::values::{Columns, Json, count};
use crate::clock::Timestamp;
use crate::engine::{self, DeliveryId, Interval, Role, SilenceStatus, Status, is_late};
use crate::event::State;
use crate::event::payload::Packed;
use crate::store::{
    AlertQuery, AlertRow, AttemptRow, ContainerRow, ContainerTimeline, DeliveryHistory,
    DeliveryQuery, DeliveryRow, EventQuery, HeldBack, Page, PageQuery, ReceiverRow, SilenceQuery,
    SilenceRow, StoreError, cursor,
};

/// Reads one page.
pub(super) trait List<T>:
    FnOnce(&Connection) -> Result<Page<T>, Failure> + Send + 'static
{
}

impl<T, F: FnOnce(&Connection) -> Result<Page<T>, Failure> + Send + 'static> List<T> for F {}

/// The newest payloads that meet the query, in ascending order.
pub(super) fn events(query: EventQuery) -> Result<impl List<String>, StoreError> {
    let mut conditions = Conditions::default();
    if let Some(id) = query.container {
        let theirs = concat!(
            "t.seq in (",
            load::chain!(
                "select last_event from containers_now where id = ?",
                "select seq from chain"
            ),
            ")"
        );
        conditions.hold(theirs, [id.into()]);
    }
    if let Some(facets) = facets(query.application, query.service, query.state.as_ref()) {
        let facets_hold = format!("t.facet in (select id from facets {})", facets.clause());
        conditions.hold(facets_hold, facets.values);
    }
    if let Some(since) = query.since {
        conditions.hold("t.timestamp >= ?", [since.as_micros().into()]);
    }
    if let Some(until) = query.until {
        conditions.hold("t.timestamp <= ?", [until.as_micros().into()]);
    }
    if let Some(cursor) = &query.page.cursor {
        let (timestamp, seq) = cursor::parse_pair(cursor)?;
        conditions.hold("(t.timestamp, t.seq) < (?, ?)", [timestamp.into(), seq.into()]);
    }
    // Those that were put in order, and those that came since.
    let in_order = conditions.clause();
    conditions.values.extend_from_within(..);
    conditions
        .hold("t.seq > coalesce((select value from meta where name = 'last_in_order'), 0)", []);
    let since = conditions.clause();
    let sql = format!(
        "select e.payload, n.timestamp, n.seq
         from (select t.timestamp, t.seq from events_by_time t {in_order}
               union all select t.timestamp, t.seq from events t {since}
               order by 1 desc, 2 desc limit ?) n
         cross join events e on e.seq = n.seq
         order by n.timestamp desc, n.seq desc"
    );
    Ok(move |connection: &Connection| {
        let mut page = conditions.page(connection, &sql, query.page.limit, |row| {
            let mut columns = Columns::of(row);
            let payload = columns.take::<Packed>()?;
            let text = payload.text().map_err(FromSqlError::other)?.into_owned();
            Ok((text, cursor::pair(columns.take()?, columns.take()?)))
        })?;
        page.items.reverse();
        Ok(page)
    })
}

fn facets(
    application: Option<String>,
    service: Option<String>,
    state: Option<&State>,
) -> Option<Conditions> {
    let mut conditions = Conditions::default();
    if let Some(application) = application {
        conditions.hold("application = ?", [application.into()]);
    }
    if let Some(service) = service {
        conditions.hold("service = ?", [service.into()]);
    }
    if let Some(state) = state {
        conditions.hold("state = ?", [state.as_str().to_owned().into()]);
    }
    (!conditions.clauses.is_empty()).then_some(conditions)
}

/// The containers, by id.
pub(super) fn containers(page: PageQuery) -> Result<impl List<ContainerRow>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.hold("s.facet is not null", []);
    if let Some(cursor) = &page.cursor {
        conditions.hold("s.id > ?", [cursor::parse_text(cursor)?.into()]);
    }
    let sql = format!(
        "select s.id, f.application, f.service, f.state, s.since, s.starts, s.gaps > 0
         from containers_now s
         join facets f on f.id = s.facet {}
         order by s.id limit ?",
        conditions.clause()
    );
    Ok(move |connection: &Connection| {
        conditions.page(connection, &sql, page.limit, |row| {
            let mut columns = Columns::of(row);
            let row = ContainerRow {
                id: columns.take()?,
                application: columns.take()?,
                service: columns.take()?,
                state: columns.take()?,
                since: columns.take()?,
                starts: columns.take()?,
                missing: columns.take()?,
            };
            let cursor = cursor::text(&row.id);
            Ok((row, cursor))
        })
    })
}

/// One container with all its events.
pub(super) fn container(
    connection: &Connection,
    id: &Arc<str>,
) -> Result<Option<ContainerTimeline>, Failure> {
    let Some(stored) = memory::now(connection, id)? else { return Ok(None) };
    let Some(container) = stored.container else { return Ok(None) };
    let row = ContainerRow {
        id: container.id.to_string(),
        application: container.application.map(|application| application.to_string()),
        service: container.service.map(|service| service.to_string()),
        state: container.state,
        since: container.since,
        starts: container.starts,
        missing: container.gaps > 0,
    };
    Ok(Some(ContainerTimeline { row, events: load::timeline(connection, stored.last_event)? }))
}

/// The alerts, the last heard of first. What had not happened after all is no alert; what matched and
/// never fired, since it did not last or there was too little of it, is listed with all the others. A
/// silence that has not begun is not: there is one for whatever lives.
pub(super) fn alerts(query: AlertQuery) -> Result<impl List<AlertRow>, StoreError> {
    let mut conditions = Conditions::default();
    match query.firing {
        Some(true) => {
            conditions.hold("i.end_at is null and i.start <= ?", [query.now.as_micros().into()]);
        }
        Some(false) => {
            let fired = "i.end_at is not null and i.role <> 'part' and i.end_cause <> 'too_short'";
            conditions.hold(fired, []);
        }
        None => {}
    }
    let alone = "i.role <> 'part' or i.end_cause = 'too_short'
                 or i.end_cause = 'subsided' and not exists (
                     select 1 from intervals w where w.role <> 'own' and w.role = 'whole'
                     and w.rule = i.rule and w.key = i.key and w.start < i.end_at
                     and (w.end_at is null or w.end_at > i.start))";
    conditions.hold(
        format!("coalesce(i.end_cause, '') not in ('withdrawn', 'filled') and ({alone})"),
        [],
    );
    conditions.hold("(i.occurrences > 0 or i.start <= ?)", [query.now.as_micros().into()]);
    if let Some(cursor) = &query.page.cursor {
        conditions.hold("i.id < ?", [cursor::parse_number(cursor)?.into()]);
    }
    // Its conditions are those of the list.
    let sql = format!(
        "{} and {} order by i.id desc limit ?",
        load::intervals_where!("true"),
        conditions.clauses.join(" and ")
    );
    Ok(move |connection: &Connection| {
        let page = conditions.page(connection, &sql, query.page.limit, |row| {
            let interval = load::interval_of(row)?;
            let cursor = cursor::number(interval.id.0);
            Ok((interval, cursor))
        })?;
        let mut names = memory::Names::default();
        let rows = page.items.into_iter();
        let alerts = rows.map(|interval| alert(connection, &mut names, interval, query.now));
        Ok(Page { items: alerts.collect::<Result<_, _>>()?, next: page.next })
    })
}

fn alert(
    connection: &Connection,
    names: &mut memory::Names,
    mut interval: Interval,
    now: Timestamp,
) -> Result<AlertRow, Failure> {
    interval.ledger = load::ledger(connection, names, interval.id)?;
    let is_alone = interval.role == Role::Part;
    // What ended by a clock that is ahead is over all the same, and was told so.
    let ended = interval.end.as_ref().filter(|end| !is_alone || end.at <= now);
    let status = match ended {
        Some(_) if is_alone || interval.is_too_short() => "never_fired",
        Some(_) => "resolved",
        None if is_alone || interval.start > now => "pending",
        None => "firing",
    };
    let mut held_back = Vec::new();
    if is_alone {
        held_back.push(HeldBack::new(None, engine::alone(&interval)));
    }
    for entry in &interval.ledger {
        let group = match memory::group_number(connection, &entry.group)? {
            Some(number) => load::numbered_group(connection, &entry.group, number)?,
            None => None,
        };
        let reason = engine::held_back(&interval, entry, group.as_ref(), now);
        let receiver = || Some(entry.group.receiver.to_string());
        held_back.extend(reason.map(|reason| HeldBack::new(receiver(), reason)));
    }
    Ok(AlertRow {
        rule: interval.alert.rule.to_string(),
        severity: interval.labels.get("severity").map(str::to_owned),
        status,
        labels: interval.labels,
        started_at: interval.start,
        resolved_at: ended.map(|end| end.at),
        occurrences: interval.occurrences,
        late: is_late(interval.start, interval.heard_at),
        held_back,
    })
}

/// The columns of [`delivery_of`], and then the key and the notification.
macro_rules! deliveries {
    () => {
        "select d.id, d.receiver, nullif(g.receiver, d.receiver), d.status, g.rule, g.labels, d.digest, d.attempts, d.last_error,
                case when d.status = 'pending' and d.lease_token is null then d.next_due_at end,
                d.created_at, d.ended_at, d.key, d.notification
         from deliveries d join group_keys g on g.id = d.group_key"
    };
}

/// The deliveries, the latest first.
pub(super) fn deliveries(query: DeliveryQuery) -> Result<impl List<DeliveryRow>, StoreError> {
    let mut conditions = Conditions::default();
    // In the order of the index that has them, or of the table; those that wait are few, and sorted.
    let key = if query.status == Some(Status::Pending) { "+d.key" } else { "d.key" };
    match query.status {
        None => {}
        Some(Status::Pending) => conditions.hold("d.status = 'pending'", []),
        Some(Status::Sent) => conditions.hold("d.status = 'sent'", []),
        Some(status) => {
            let unsent = "d.status = ? and d.status not in ('pending', 'sent')";
            conditions.hold(unsent, [status.as_str().to_owned().into()]);
        }
    }
    if let Some(receiver) = query.receiver {
        conditions.hold("d.receiver = ?", [receiver.into()]);
    }
    if let Some(digest) = query.digest {
        conditions.hold("d.digest = ?", [digest.into()]);
    }
    if let Some(cursor) = &query.page.cursor {
        conditions.hold(format!("{key} < ?"), [cursor::parse_number(cursor)?.into()]);
    }
    let sql = format!("{} {} order by {key} desc limit ?", deliveries!(), conditions.clause());
    Ok(move |connection: &Connection| {
        conditions.page(connection, &sql, query.page.limit, |row| {
            let mut columns = Columns::of(row);
            let delivery = delivery_of(&mut columns)?;
            Ok((delivery, cursor::number(columns.take()?)))
        })
    })
}

/// How receivers stand, those of which there is something to say, by name.
pub(super) fn receivers(connection: &Connection) -> Result<Vec<ReceiverRow>, Failure> {
    let mut statement = connection.prepare_cached(
        "select n.name, r.down, coalesce(r.failures, 0), coalesce(p.count, 0), p.oldest,
                coalesce(d.count, 0)
         from (select name from receivers
               union select receiver from deliveries where status = 'pending'
               union select receiver from deliveries
                   where status = 'dead' and status not in ('pending', 'sent')) n
         left join receivers r on r.name = n.name
         left join (select receiver, count(*) as count, min(waiting_since) as oldest
                    from deliveries where status = 'pending' group by receiver) p
             on p.receiver = n.name
         left join (select receiver, count(*) as count
                    from deliveries where status = 'dead' and status not in ('pending', 'sent')
                    group by receiver) d
             on d.receiver = n.name
         order by n.name",
    )?;
    let rows = statement.query_map([], |row| {
        let mut columns = Columns::of(row);
        Ok(ReceiverRow {
            receiver: columns.take()?,
            down: columns.take::<Option<Json<_>>>()?.map(|json| json.0),
            failures: columns.take()?,
            pending: columns.take::<i64>()?.unsigned_abs(),
            oldest: columns.take()?,
            dead: columns.take::<i64>()?.unsigned_abs(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How often the timelines of all containers show that events are missing.
pub(super) fn missing(connection: &Connection) -> Result<u64, Failure> {
    let sum = "select coalesce(sum(gaps), 0) from containers_now";
    let sum: i64 = connection.prepare_cached(sum)?.query_row([], |row| row.get(0))?;
    Ok(sum.unsigned_abs())
}

/// One delivery, with what it says and its attempts.
pub(super) fn delivery(
    connection: &Connection,
    id: &DeliveryId,
) -> Result<Option<DeliveryHistory>, Failure> {
    let mut statement = connection.prepare_cached(concat!(deliveries!(), " where d.id = ?"))?;
    let found = statement.query_row([id], |row| {
        let mut columns = Columns::of(row);
        let row = delivery_of(&mut columns)?;
        let (key, notification): (i64, Option<Json<_>>) = (columns.take()?, columns.take()?);
        Ok((row, key, notification.map(|json| json.0)))
    });
    let Some((row, key, notification)) = found.optional()? else { return Ok(None) };
    let mut statement = connection.prepare_cached(
        "select number, started_at, ended_at, outcome, detail from attempts
         where delivery = ? order by number",
    )?;
    let attempts = statement.query_map([key], |row| {
        let mut columns = Columns::of(row);
        Ok(AttemptRow {
            number: columns.take()?,
            started_at: columns.take()?,
            ended_at: columns.take()?,
            outcome: columns.take()?,
            detail: columns.take()?,
        })
    })?;
    Ok(Some(DeliveryHistory { row, notification, attempts: attempts.collect::<Result<_, _>>()? }))
}

fn delivery_of(columns: &mut Columns<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: columns.take()?,
        receiver: columns.take()?,
        instead_of: columns.take()?,
        status: columns.take()?,
        rule: columns.take()?,
        labels: columns.take::<Json<_>>()?.0,
        digest: columns.take()?,
        attempts: columns.take()?,
        last_error: columns.take()?,
        next_attempt_at: columns.take()?,
        created_at: columns.take()?,
        ended_at: columns.take()?,
    })
}

/// The silences, the latest first.
pub(super) fn silences(query: SilenceQuery) -> Result<impl List<SilenceRow>, StoreError> {
    let mut conditions = Conditions::default();
    let now = query.now.as_micros();
    let status = |status| match status {
        SilenceStatus::Pending => ("(starts_at > ? and ends_at > ?)", vec![now; 2]),
        SilenceStatus::Active => ("(starts_at <= ? and ends_at > ?)", vec![now; 2]),
        SilenceStatus::Expired => ("ends_at <= ?", vec![now]),
    };
    let (clauses, values): (Vec<_>, Vec<_>) = query.statuses.iter().copied().map(status).unzip();
    let any = format!("({})", clauses.join(" or "));
    conditions.hold(any, values.into_iter().flatten().map(Into::into));
    if let Some(cursor) = &query.page.cursor {
        conditions.hold("id < ?", [cursor::parse_number(cursor)?.into()]);
    }
    let sql = format!("{} {} order by id desc limit ?", silences::silences!(), conditions.clause());
    Ok(move |connection: &Connection| {
        let firing = silences::firing(connection, query.now)?;
        conditions.page(connection, &sql, query.page.limit, |row| {
            let silence = silences::silence_of(row)?;
            let row = SilenceRow {
                id: silence.id,
                starts_at: silence.starts_at,
                ends_at: silence.ends_at,
                status: silence.status(query.now),
                alerts: firing.iter().filter(|labels| silence.matchers.matches(labels)).count(),
                matchers: silence.matchers,
                created_by: silence.created_by,
                comment: silence.comment,
            };
            Ok((row, cursor::number(silence.id.0)))
        })
    })
}

/// Conditions that all have to hold, with the values for their question marks.
#[derive(Default)]
struct Conditions {
    clauses: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn hold(&mut self, clause: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.clauses.push(clause.into());
        self.values.extend(values);
    }

    /// As a `where` clause; nothing if there are none.
    fn clause(&self) -> String {
        if self.clauses.is_empty() {
            return String::new();
        }
        format!("where {}", self.clauses.join(" and "))
    }

    /// Reads at most `limit` rows of `sql`, whose last value is the limit. `item` answers an item
    /// and the cursor behind it.
    fn page<T>(
        self,
        connection: &Connection,
        sql: &str,
        limit: usize,
        mut item: impl FnMut(&Row<'_>) -> rusqlite::Result<(T, String)>,
    ) -> Result<Page<T>, Failure> {
        // A page of nothing would lead nowhere.
        let limit = limit.max(1);
        let mut values = self.values;
        // One more shows whether there is a next page.
        values.push(count(limit.saturating_add(1)).into());
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let (mut items, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            if items.len() == limit {
                return Ok(Page { items, next: last });
            }
            let (value, cursor) = item(row)?;
            items.push(value);
            last = Some(cursor);
        }
        Ok(Page { items, next: None })
    }
}
