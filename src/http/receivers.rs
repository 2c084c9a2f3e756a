//! How receivers stand: as JSON for people and programs, and with what is counted for Prometheus.

use serde::Serialize;
use warp::http::HeaderValue;
use warp::http::header::CONTENT_TYPE;

use super::answer::{self, Refusal, Response};
use super::params::Params;
use super::{Api, Place, lists};
use crate::clock::{self, Timestamp};
use crate::metrics::Standing;
use crate::store::{Page, ReceiverRow};

/// The text format that Prometheus reads, OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A receiver as `/api/receivers` shows it.
#[derive(Serialize)]
struct Row<'a> {
    receiver: &'a str,
    kind: &'static str,
    status: &'static str,
    /// Since when it is down.
    since: Option<Timestamp>,
    /// Why, in the place's own words.
    reason: Option<&'a str>,
    /// When the next message may try it.
    next_probe_at: Option<Timestamp>,
    fallback: Option<&'a str>,
    /// How many attempts failed in a row.
    failures: u32,
    /// How many messages wait for it.
    pending: u64,
    /// Since when the first of them does.
    oldest_pending_since: Option<Timestamp>,
    /// How many were given up.
    dead: u64,
    /// How many its fallback was told instead, since it is down.
    told_elsewhere: u32,
}

/// `GET /api/receivers`, in the order of the file: a cursor is a place in that.
pub(super) async fn list<I>(api: &Api<I>, path: &str, query: &str) -> Result<Response, Refusal> {
    let params = Params::new(query, &["limit", "cursor"])?;
    let page = params.page()?;
    let from = match page.cursor.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return Err(lists::bad_cursor()),
    };
    let known = api.store.receivers().await?;
    let places = api.places.iter().skip(from).take(page.limit);
    let items: Vec<Row<'_>> = places.map(|place| row(api, place, &known)).collect();
    let to = from.saturating_add(items.len());
    let next = (to < api.places.len()).then(|| to.to_string());
    Ok(lists::rows(&Page { items, next }, path, &params))
}

fn row<'a, I>(api: &'a Api<I>, place: &'a Place, known: &'a [ReceiverRow]) -> Row<'a> {
    let known = known.iter().find(|row| row.receiver == place.name);
    let down = known.and_then(|row| row.down.as_ref());
    Row {
        receiver: &place.name,
        kind: place.kind,
        status: match (place.off, down) {
            (true, _) => "off",
            (false, Some(_)) => "down",
            (false, None) => "up",
        },
        since: down.map(|down| down.since),
        reason: down.map(|down| down.reason.as_str()),
        next_probe_at: down.map(|down| down.probe.due_at),
        fallback: api.rules.fallback(&place.name).map(|name| &**name),
        failures: known.map_or(0, |row| row.failures),
        pending: known.map_or(0, |row| row.pending),
        oldest_pending_since: known.and_then(|row| row.oldest),
        dead: known.map_or(0, |row| row.dead),
        told_elsewhere: down.map_or(0, |down| down.missed_in_all),
    }
}

/// `GET /metrics`
pub(super) async fn metrics<I>(api: &Api<I>) -> Result<Response, Refusal> {
    let known = api.store.receivers().await?;
    let missing = api.store.missing().await?;
    let now = clock::now();
    let standing = |place: &Place| {
        let row = row(api, place, &known);
        Standing {
            receiver: place.name.clone(),
            up: row.status == "up",
            pending: count(row.pending),
            oldest: row.oldest_pending_since.map_or(0.0, |since| now.since(since).as_secs_f64()),
            dead: count(row.dead),
        }
    };
    let standings: Vec<Standing> =
        api.places.iter().filter(|place| !place.off).map(standing).collect();
    let mut response = answer::json(api.metrics.text(&standings, count(missing)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    Ok(response)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
