//! Answers: JSON, or one sentence on what is wrong and what to do.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use warp::http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use warp::http::{Response as HttpResponse, StatusCode};
pub(super) use warp::reply::Response;

use crate::store::StoreError;

/// Why a request is not answered as it was asked.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    sentence: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// `200` with a body that is JSON already.
pub(super) fn json(body: impl Into<String>) -> Response {
    let mut response: Response = HttpResponse::new(body.into().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `201` with a body that is JSON already.
pub(super) fn created(body: impl Into<String>) -> Response {
    let mut response = json(body);
    *response.status_mut() = StatusCode::CREATED;
    response
}

/// `204`, with nothing to say.
pub(super) fn nothing() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// What `value` reads as JSON.
///
/// # Panics
/// If it has a map whose keys are no strings, or a `Serialize` that fails; none of ours does.
pub(super) fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our own types serialize: their keys are strings")
}

impl Refusal {
    fn new(status: StatusCode, sentence: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, sentence: sentence.into(), header: None }
    }

    /// The request cannot be understood.
    pub(super) fn malformed(sentence: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// There is no such thing.
    pub(super) fn not_found(sentence: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, sentence)
    }

    /// It is not as it would have to be for this.
    pub(super) fn conflict(sentence: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::CONFLICT, sentence)
    }

    /// The path is right, and the method is not.
    pub(super) fn method(allowed: &'static str) -> Refusal {
        Refusal {
            header: Some((ALLOW, HeaderValue::from_static(allowed))),
            ..Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("this path cannot be asked so; use {}", allowed.replace(", ", " or ")),
            )
        }
    }

    /// The body is longer than `limit` bytes.
    pub(super) fn too_large(limit: usize) -> Refusal {
        Refusal::closing(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {limit} bytes; send one event a request"),
        )
    }

    /// The body did not come in time.
    pub(super) fn too_slow(seconds: f64) -> Refusal {
        Refusal::closing(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {seconds} s to arrive; send it again, faster"),
        )
    }

    /// There is no room for the body among those that are being read.
    pub(super) fn crowded() -> Refusal {
        Refusal::unavailable("too much is being sent at once; send it again in a while", 1)
    }

    /// The rest of the body is not read, so that nothing more can be asked on this connection.
    fn closing(status: StatusCode, sentence: String) -> Refusal {
        Refusal {
            header: Some((CONNECTION, HeaderValue::from_static("close"))),
            ..Refusal::new(status, sentence)
        }
    }

    /// It cannot be done now; the client may ask again in so many seconds.
    pub(super) fn unavailable(sentence: impl Into<Cow<'static, str>>, retry_after: u32) -> Refusal {
        Refusal {
            header: Some((RETRY_AFTER, HeaderValue::from(retry_after))),
            ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
        }
    }

    /// Nobody is let in so; `challenge` says how (RFC 9110 §11.6.1).
    pub(super) fn unauthorized(
        sentence: impl Into<Cow<'static, str>>,
        challenge: HeaderValue,
    ) -> Refusal {
        Refusal {
            header: Some((WWW_AUTHENTICATE, challenge)),
            ..Refusal::new(StatusCode::UNAUTHORIZED, sentence)
        }
    }

    /// This is for nobody to ask.
    pub(super) fn forbidden(sentence: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, sentence)
    }

    /// It was asked too often; the client may ask again after `wait`.
    pub(super) fn too_many(sentence: impl Into<Cow<'static, str>>, wait: Duration) -> Refusal {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Refusal {
            header: Some((RETRY_AFTER, HeaderValue::from(seconds.max(1)))),
            ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, sentence)
        }
    }

    /// The answer that says so.
    pub(super) fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
        }
        let mut response = json(text_of(&Body { error: &self.sentence }));
        *response.status_mut() = self.status;
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// How many seconds a client is asked to wait when the store cannot be used.
pub(super) const STORE_RETRY: u32 = 10;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Open(_) | StoreError::Unavailable(_) | StoreError::Closed => {
                Refusal::unavailable(format!("{error}; try again in a while"), STORE_RETRY)
            }
            StoreError::Refused(_) => Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{error}; this is a fault of tocsin: please report it"),
            ),
        }
    }
}
