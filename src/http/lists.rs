//! The lists: what the store knows, a page at a time.

use serde::Serialize;
use tracing::warn;
use warp::http::header::LINK;

use super::answer::{self, Refusal, Response};
use super::params::{Params, decoded};
use crate::clock;
use crate::engine::{SilenceStatus, Status, timeline};
use crate::event::State;
use crate::store::{
    AlertQuery, ContainerTimeline, DeliveryQuery, EventQuery, Page, SilenceQuery, Store, StoreError,
};

/// `GET /api/list`
pub(super) async fn events(
    store: &dyn Store,
    path: &str,
    query: &str,
) -> Result<Response, Refusal> {
    let params = Params::new(
        query,
        &["application", "service", "id", "state", "since", "until", "limit", "cursor"],
    )?;
    let query = EventQuery {
        application: params.owned("application"),
        service: params.owned("service"),
        container: params.owned("id"),
        state: params.text("state").map(State::named),
        since: params.time("since")?,
        until: params.time("until")?,
        page: params.page()?,
    };
    let page = read(store.events(query).await, &params)?;
    Ok(paged(array(&page.items), page.next, path, &params))
}

/// `GET /api/containers`
pub(super) async fn containers(
    store: &dyn Store,
    path: &str,
    query: &str,
) -> Result<Response, Refusal> {
    let params = Params::new(query, &["limit", "cursor"])?;
    let page = read(store.containers(params.page()?).await, &params)?;
    Ok(rows(&page, path, &params))
}

/// `GET /api/containers/{id}`
pub(super) async fn container(
    store: &dyn Store,
    id: &str,
    query: &str,
) -> Result<Response, Refusal> {
    let params = Params::new(query, &[])?;
    let id = decoded("the container's id", id)?;
    let found = read(store.container(id).await, &params)?;
    match found {
        Some(container) => Ok(answer::json(with_timeline(container))),
        None => Err(Refusal::not_found(
            "there is no container of this id; `/api/containers` lists those there are",
        )),
    }
}

/// `GET /api/alerts`
pub(super) async fn alerts(
    store: &dyn Store,
    path: &str,
    query: &str,
) -> Result<Response, Refusal> {
    const STATUS: [(&str, Option<bool>); 3] =
        [("firing", Some(true)), ("resolved", Some(false)), ("all", None)];
    let params = Params::new(query, &["status", "limit", "cursor"])?;
    let firing = params.choice("status", &STATUS)?.flatten();
    let query = AlertQuery { now: clock::now(), firing, page: params.page()? };
    let page = read(store.alerts(query).await, &params)?;
    Ok(rows(&page, path, &params))
}

/// `GET /api/deliveries`
pub(super) async fn deliveries(
    store: &dyn Store,
    path: &str,
    query: &str,
) -> Result<Response, Refusal> {
    use Status::{Dead, Discarded, Dropped, Pending, Sent, Superseded};
    let known = ["status", "receiver", "digest", "limit", "cursor"];
    let params = Params::new(query, &known)?;
    let statuses = [Pending, Sent, Dead, Superseded, Dropped, Discarded];
    let query = DeliveryQuery {
        status: params.choice("status", &statuses.map(|status| (status.as_str(), status)))?,
        receiver: params.owned("receiver"),
        digest: params.owned("digest"),
        page: params.page()?,
    };
    let page = read(store.deliveries(query).await, &params)?;
    Ok(rows(&page, path, &params))
}

/// `GET /api/silences`
pub(super) async fn silences(
    store: &dyn Store,
    path: &str,
    query: &str,
) -> Result<Response, Refusal> {
    use SilenceStatus::{Active, Expired, Pending};
    const STATUS: [(&str, &[SilenceStatus]); 4] = [
        ("active", &[Active]),
        ("pending", &[Pending]),
        ("expired", &[Expired]),
        ("all", &[Active, Pending, Expired]),
    ];
    let params = Params::new(query, &["status", "limit", "cursor"])?;
    let statuses = params.choice("status", &STATUS)?.unwrap_or(&[Active, Pending]);
    let query = SilenceQuery { now: clock::now(), statuses, page: params.page()? };
    let page = read(store.silences(query).await, &params)?;
    Ok(rows(&page, path, &params))
}

/// What the store answered. The one thing of a query that it can refuse is the cursor, which only
/// the store can read.
fn read<T>(answer: Result<T, StoreError>, params: &Params) -> Result<T, Refusal> {
    answer.map_err(|error| match error {
        StoreError::Refused(_) if params.text("cursor").is_some() => bad_cursor(),
        error => {
            warn!(error = &error as &dyn std::error::Error, "a list cannot be read");
            error.into()
        }
    })
}

pub(super) fn bad_cursor() -> Refusal {
    Refusal::malformed(
        "`cursor` is none that this list gave; take it from the `Link` header of a page, or leave it \
         out",
    )
}

/// A page of rows, and where the next one is.
pub(super) fn rows<T: Serialize>(page: &Page<T>, path: &str, params: &Params) -> Response {
    paged(answer::text_of(&page.items), page.next.clone(), path, params)
}

fn paged(body: String, next: Option<String>, path: &str, params: &Params) -> Response {
    let mut response = answer::json(body);
    if let Some(cursor) = next {
        response.headers_mut().insert(LINK, params.next(path, &cursor));
    }
    response
}

/// A JSON array of payloads, each byte for byte as it was received.
fn array(payloads: &[impl AsRef<str>]) -> String {
    let length: usize = payloads.iter().map(|payload| payload.as_ref().len() + 1).sum();
    let mut array = String::with_capacity(length + 2);
    array.push('[');
    for (index, payload) in payloads.iter().enumerate() {
        if index > 0 {
            array.push(',');
        }
        array.push_str(payload.as_ref());
    }
    array.push(']');
    array
}

/// The container's row with one key more: its payloads in the order of the timeline.
fn with_timeline(mut container: ContainerTimeline) -> String {
    timeline::sort(&mut container.events);
    let payloads: Vec<_> =
        container.events.iter().map(|heard| heard.event.payload.text()).collect();
    let mut object = answer::text_of(&container.row);
    let closing = object.pop();
    debug_assert_eq!(closing, Some('}'), "a row is an object");
    object.push_str(",\"timeline\":");
    object.push_str(&array(&payloads));
    object.push('}');
    object
}
