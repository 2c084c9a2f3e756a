//! What every request passes on its way in, and every answer on its way out: who asks, whether they
//! may, and what a browser is to make of the answer.

use std::convert::Infallible;
use std::net::IpAddr;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{Method, Uri};

use super::access::Access;
use super::answer::{Refusal, Response};
use super::origin::Proxies;

/// What holds for an answer that does not say otherwise: it is no page, belongs in no other, is what
/// it says it is, is for nobody to keep, and leads nowhere with its address.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The way in.
pub(super) struct Door<S> {
    pub(super) access: Access,
    pub(super) proxies: Proxies,
    /// What answers those who are let in.
    pub(super) inside: S,
}

impl<S> Door<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    /// The answer to a request from the other end of a connection, `peer`.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response {
        let mut answer = match self.check(&request, peer).await {
            Ok(()) => match self.inside.call(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
            Err(refusal) => refusal.into_response(),
        };
        for (name, value) in HEADERS {
            answer.headers_mut().entry(name).or_insert(value);
        }
        answer
    }

    async fn check(&self, request: &Request<Incoming>, peer: IpAddr) -> Result<(), Refusal> {
        let (uri, headers) = (request.uri(), request.headers());
        let client = self.proxies.client(peer, headers);
        self.access.check(uri.path(), uri.query(), headers, client).await?;
        // As `CONNECT` has it. warp takes it for granted that there is a path, and panics.
        if uri.path_and_query().is_none() {
            let sentence = "the request names no path; ask for one, like `GET /healthz`";
            return Err(Refusal::malformed(sentence));
        }
        match is_of_another_site(request.method(), headers) {
            false => Ok(()),
            true => Err(Refusal::forbidden(
                "a page of another site asks for this in the name of whoever reads it; ask for it \
                 yourself",
            )),
        }
    }
}

/// Whether a browser asks for a change on behalf of a page that is not ours: it would do so with the
/// credentials, and from the machine, of whoever looks at that page. Browsers say so themselves;
/// other programs say nothing.
fn is_of_another_site(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    // Browsers from before 2023, and all where there is no TLS.
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.as_ref().and_then(Uri::authority).map(|authority| authority.as_str());
    origin.map(str::as_bytes) != headers.get(HOST).map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let post = |given: &[(&'static str, &'static str)]| {
            let headers = given.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            is_of_another_site(&Method::POST, &headers.collect())
        };
        for ours in [
            &[("host", "t:1")][..],
            &[("host", "t:1"), ("sec-fetch-site", "same-origin")],
            &[("host", "t:1"), ("sec-fetch-site", "none")],
            &[("host", "t:1"), ("origin", "http://t:1")],
            // A proxy calls us otherwise, and the browser knows better.
            &[("host", "inside"), ("origin", "https://t"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(!post(ours), "{ours:?}");
        }
        for other in [
            &[("host", "t:1"), ("sec-fetch-site", "cross-site"), ("origin", "http://t:1")][..],
            &[("host", "t:1"), ("sec-fetch-site", "same-site")],
            &[("host", "t:1"), ("origin", "http://evil.example")],
            &[("host", "t:1"), ("origin", "http://t:2")],
            &[("host", "t:1"), ("origin", "null")],
            &[("origin", "http://t:1")],
        ] {
            assert!(post(other), "{other:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static("http://evil.example"));
        assert!(!is_of_another_site(&Method::GET, &headers));
    }
}
