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
use warp::http::uri::Authority;
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
    pub(super) names: Option<Vec<String>>,
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
        if is_of_another_site(request.method(), headers) {
            let sentence = "a page of another site asks for this in the name of whoever reads it; \
                            ask for it yourself";
            return Err(Refusal::forbidden(sentence));
        }
        let is_misnamed = |names: &Vec<String>| is_misnamed(uri.path(), headers, names);
        if self.names.as_ref().is_some_and(is_misnamed) {
            let sentence = "it is asked for by a name that is not its own, and has no password; ask \
                            127.0.0.1, or set `server.external_url` or `server.admin`";
            return Err(Refusal::forbidden(sentence));
        }
        Ok(())
    }
}

/// The names of a server that listens there and is reached by this URL, in lower case.
#[must_use]
pub fn names(listen: &str, external_url: Option<&str>) -> Vec<String> {
    let url = external_url.and_then(|url| url.parse::<Uri>().ok());
    let listen = listen.rsplit_once(':').map(|(host, _)| host);
    let names = listen.into_iter().chain(url.as_ref().and_then(Uri::host));
    names.map(str::to_ascii_lowercase).collect()
}

/// Whether this may be of a page of another site, whose name was made to lead to this machine once a
/// browser had it ("DNS rebinding"): to the browser it is that site's own. Who posts an event and is no
/// browser may call us what they like, as through a tunnel.
fn is_misnamed(path: &str, headers: &HeaderMap, names: &[String]) -> bool {
    let is_harmless = match path {
        "/healthz" | "/readyz" => true,
        "/api/post" => !headers.contains_key(ORIGIN),
        _ => false,
    };
    let Some(host) = headers.get(HOST).filter(|_| !is_harmless) else { return false };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    let Some(host) = host else { return true };
    let name = host.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
    let is_local = bare == "localhost" || bare.ends_with(".localhost");
    !is_local && bare.parse::<IpAddr>().is_err() && !names.contains(&name)
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
    fn a_server_is_called_as_it_listens_and_as_its_url_has_it() {
        let url = Some("https://Alerts.example.com:8443/x");
        assert_eq!(names("Box:8080", url), ["box", "alerts.example.com"]);
        assert_eq!(names("[::1]:8080", None), ["[::1]"]);
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_is_not_answered() {
        let is_misnamed = |path: &str, given: &[(&'static str, &'static str)]| {
            let headers = given.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            is_misnamed(path, &headers.collect(), &["alerts.example.com".to_owned()])
        };
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost:8080",
            "LOCALHOST",
            "tocsin.localhost",
            "alerts.example.com",
            "Alerts.Example.com.:443",
        ] {
            assert!(!is_misnamed("/api/list", &[("host", host)]), "{host}");
        }
        assert!(!is_misnamed("/api/list", &[]), "HTTP/1.0 has no names");
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "a b"] {
            assert!(is_misnamed("/api/list", &[("host", host)]), "{host}");
            assert!(!is_misnamed("/healthz", &[("host", host)]), "{host}");
            assert!(!is_misnamed("/api/post", &[("host", host)]), "{host}");
            let by_a_page = [("host", host), ("origin", "http://evil.example")];
            assert!(is_misnamed("/api/post", &by_a_page), "{host}");
        }
    }

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
