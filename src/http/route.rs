//! From method and path to the one function that answers.

use std::sync::Arc;
use std::time::Duration;

use warp::http::Method;
use warp::path::FullPath;
use warp::{Buf, Filter, Rejection, Stream};

use super::answer::{Refusal, Response};
use super::health::Readiness;
use super::params::closest;
use super::receive::{self, Intake, Reading};
use super::{Api, Limits, deliveries, health, lists, receivers, silences};

/// The paths there are, for those who mistype one.
const PATHS: [&str; 10] = [
    "/api/post",
    "/api/list",
    "/api/containers",
    "/api/alerts",
    "/api/deliveries",
    "/api/receivers",
    "/api/silences",
    "/metrics",
    "/healthz",
    "/readyz",
];

/// Where a path leads.
enum Resource<'a> {
    Post,
    List,
    Containers,
    Container(&'a str),
    Alerts,
    Deliveries,
    Receivers,
    Delivery(&'a str),
    Retry(&'a str),
    RetryAll,
    Silences,
    Silence(&'a str),
    Metrics,
    Health,
    Ready,
}

/// What outlives a request.
struct Shared<I> {
    api: Api<I>,
    reading: Reading,
    ready_within: Duration,
    readiness: Readiness,
}

/// All of the API, as one filter: warp reads the request, and [`answer`] does the rest, so that
/// what is wrong with a request is said in the order of DESIGN.md §4 and in its words.
pub(super) fn filter<I: Intake>(
    api: Api<I>,
    limits: Limits,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let shared = Arc::new(Shared {
        reading: Reading::new(&limits, api.stop.clone()),
        api,
        ready_within: limits.ready_within,
        readiness: Readiness::default(),
    });
    warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::optional::<u64>("content-length"))
        .and(warp::body::stream())
        .then(move |method: Method, path: FullPath, query: String, length, body| {
            let shared = Arc::clone(&shared);
            async move {
                let answer = answer(&shared, &method, path.as_str(), &query, length, body).await;
                answer.unwrap_or_else(Refusal::into_response)
            }
        })
}

async fn answer<I: Intake>(
    shared: &Shared<I>,
    method: &Method,
    path: &str,
    query: &str,
    length: Option<u64>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Refusal> {
    let Shared { api, reading, ready_within, readiness } = shared;
    let resource = find(path)?;
    resource.check(method)?;
    match resource {
        Resource::Post => receive::post(api, reading, length, body).await,
        Resource::List => lists::events(&*api.store, path, query).await,
        Resource::Containers => lists::containers(&*api.store, path, query).await,
        Resource::Container(id) => lists::container(&*api.store, id, query).await,
        Resource::Alerts => lists::alerts(&*api.store, path, query).await,
        Resource::Deliveries => lists::deliveries(&*api.store, path, query).await,
        Resource::Receivers => receivers::list(api, path, query).await,
        Resource::Metrics => receivers::metrics(api).await,
        Resource::Delivery(id) if method == Method::DELETE => {
            deliveries::discard(api, id, query).await
        }
        Resource::Delivery(id) => deliveries::show(api, id, query).await,
        Resource::Retry(id) => deliveries::retry(api, id, query).await,
        Resource::RetryAll => deliveries::retry_all(api, query).await,
        Resource::Silences if method == Method::POST => {
            silences::add(api, reading, length, body).await
        }
        Resource::Silences => lists::silences(&*api.store, path, query).await,
        Resource::Silence(id) => silences::end(api, id).await,
        Resource::Health => Ok(health::alive()),
        Resource::Ready => readiness.answer(&*api.store, &api.stop, *ready_within).await,
    }
}

impl Resource<'_> {
    fn check(&self, method: &Method) -> Result<(), Refusal> {
        let allowed = match self {
            Resource::Post | Resource::Retry(_) | Resource::RetryAll => "POST",
            Resource::Delivery(_) => "GET, HEAD, DELETE",
            Resource::Silences => "GET, HEAD, POST",
            Resource::Silence(_) => "DELETE",
            _ => "GET, HEAD",
        };
        match allowed.split(", ").any(|one| one == method.as_str()) {
            true => Ok(()),
            false => Err(Refusal::method(allowed)),
        }
    }
}

fn find(path: &str) -> Result<Resource<'_>, Refusal> {
    Ok(match path {
        "/api/post" => Resource::Post,
        "/api/list" => Resource::List,
        "/api/containers" => Resource::Containers,
        "/api/alerts" => Resource::Alerts,
        "/api/deliveries" => Resource::Deliveries,
        "/api/receivers" => Resource::Receivers,
        "/api/deliveries/retry" => Resource::RetryAll,
        "/api/silences" => Resource::Silences,
        "/metrics" => Resource::Metrics,
        "/healthz" => Resource::Health,
        "/readyz" => Resource::Ready,
        _ => of_one(path).ok_or_else(|| nothing_at(path))?,
    })
}

/// What leads to one of several things, by its id.
fn of_one(path: &str) -> Option<Resource<'_>> {
    let to_retry = path.strip_suffix("/retry").unwrap_or_default();
    let found = [
        below("/api/containers/", path).map(Resource::Container),
        below("/api/deliveries/", path).map(Resource::Delivery),
        below("/api/deliveries/", to_retry).map(Resource::Retry),
        below("/api/silences/", path).map(Resource::Silence),
    ];
    found.into_iter().flatten().next()
}

/// The one part that `path` has below `folder`.
fn below<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(folder).filter(|rest| !rest.is_empty() && !rest.contains('/'))
}

fn nothing_at(path: &str) -> Refusal {
    let to_come = matches!(path, "/" | "/api/accounting" | "/api/reload");
    Refusal::not_found(if to_come {
        "this version of tocsin does not have this path yet; look for a later one".into()
    } else if let Some(meant) = closest(path, &PATHS) {
        format!("there is nothing at this path; did you mean `{meant}`?")
    } else {
        format!("there is nothing at this path; there is {}", PATHS.join(", "))
    })
}
