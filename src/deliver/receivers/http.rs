//! One POST and its answer: how all places are told that are told over HTTP.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, Url, redirect};
use serde_json::Value;

use super::address::{is_here, percent_decoded};
use super::outbound::{Lookup, LookupError};
use super::verdict::{self, Reading};
use super::{Accepted, Envelope, SendError, Sender, certificate, no_answer_within, with_causes};
use crate::clock::{self, Timestamp};

/// How much of an answer is read, in bytes. Slack, Discord and Telegram answer with the message
/// itself, and what is cut would not be theirs.
const ANSWER: usize = 256 * 1024;

/// How long a connection may take to be made, TLS included. Short of an attempt's own time-out, for
/// what was never connected is known not to have been said.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection is kept that nothing is sent by. One that the other side has just closed
/// looks as if an answer was lost, and servers keep theirs for longer: Gunicorn for 2 s, Node and
/// Apache for 5 s. While there is much to tell, nothing waits for a connection.
const KEPT: Duration = Duration::from_secs(1);

/// What the paths of places end in that is no secret, and may be a word of any answer: those of the
/// APIs that are used here, and usual ones for webhooks.
const ENDS: [&str; 14] = [
    "alerts",
    "chat.postMessage",
    "chat.update",
    "enqueue",
    "events",
    "incoming",
    "invoke",
    "message",
    "messages",
    "notifications",
    "notify",
    "sendMessage",
    "webhook",
    "webhooks",
];

/// A place that is told with one POST.
pub(super) trait Place: Send + Sync {
    /// What to post: a function of what there is to say and of the time.
    fn request(&self, envelope: &Envelope, now: Timestamp) -> Request;

    /// The same in as many requests as the place is to be sent it in, each after the one before was
    /// taken. All of them are made again if one is not.
    fn requests(&self, envelope: &Envelope, now: Timestamp) -> Vec<Request> {
        vec![self.request(envelope, now)]
    }

    /// What the place says in its answer.
    fn read(&self, answer: &Answer) -> Reading;
}

/// Tells a place over HTTP.
pub(super) struct OverHttp<P> {
    pub(super) place: P,
    /// For one attempt.
    pub(super) timeout: Duration,
}

impl<P: Place> Sender for OverHttp<P> {
    fn send<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<Accepted, SendError>> {
        async move {
            let mut accepted = None;
            for request in self.place.requests(envelope, clock::now()) {
                let answer = post(request, self.timeout).await;
                let judged =
                    answer.and_then(|answer| verdict::judge(&answer, self.place.read(&answer)));
                accepted = match (judged, accepted) {
                    // Some of it was heard, whatever is wrong with the rest.
                    (Err(error), Some(_)) => return Err(SendError::unknown(error.to_string())),
                    (judged, _) => Some(judged?),
                };
            }
            Ok(accepted.unwrap_or_default())
        }
        .boxed()
    }
}

/// A POST to be made. Its URL and its headers may be secrets, so there is no `Debug`.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// What is secret of the body.
    secret: Option<String>,
}

impl Request {
    /// JSON for this address.
    pub(super) fn json(url: &Url, body: &Value) -> Request {
        let json = HeaderValue::from_static("application/json");
        Request {
            url: url.clone(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: body.to_string().into_bytes(),
            secret: None,
        }
    }

    /// With this header as well.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.insert(name, value);
        self
    }

    /// With the token that [`bearer`] made a header of.
    pub(super) fn authorized(self, bearer: HeaderValue) -> Request {
        self.with(AUTHORIZATION, bearer)
    }

    /// With this in its body, which is secret.
    pub(super) fn hiding(self, secret: &str) -> Request {
        Request { secret: Some(secret.to_owned()), ..self }
    }

    /// What may be secret of it: the token, what is secret of the body, and of the URL the
    /// password or a user without one, the end of its path, and whatever looks random.
    fn secrets(&self) -> Vec<String> {
        let header = self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        let parts = || self.url.path().split(['/', ':']).filter(|part| !part.is_empty());
        let end = parts().next_back().filter(|end| !ENDS.contains(end));
        let random = |part: &&str| part.contains(char::is_numeric) || part.len() >= 16;
        let parts = parts().filter(random).chain(end);
        let pairs = self.url.query().into_iter().flat_map(|query| query.split('&'));
        let values = pairs.flat_map(|pair| pair.split('=').skip(usize::from(pair.contains('='))));
        let login = self.url.password().unwrap_or(self.url.username());
        let parts = parts.chain(values).chain([login]).map(str::to_owned);
        // As they were before they were encoded for the URL, and as they are sent.
        let decoded = |part: String| [percent_decoded(&part).unwrap_or_default(), part];
        let sent = self.basic();
        let told = token.map(str::to_owned).into_iter().chain(self.secret.clone()).chain(sent);
        let mut secrets: Vec<String> = parts.flat_map(decoded).chain(told).collect();
        // What is shorter is found in innocent words.
        secrets.retain(|secret| secret.len() >= 6);
        // The longest first, of which others may be a part.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }

    /// The user and the password of the URL, as reqwest sends them (RFC 7617).
    fn basic(&self) -> Option<String> {
        let (user, password) = (self.url.username(), self.url.password());
        let is_sent = !user.is_empty() || password.is_some();
        let decoded = |part| percent_decoded(part).unwrap_or_default();
        let login = format!("{}:{}", decoded(user), decoded(password.unwrap_or_default()));
        is_sent.then(|| STANDARD.encode(login))
    }
}

/// The value of an `Authorization` header for this token. The error does not repeat it.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, String> {
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| visible);
    let mut value = value.ok_or("has characters in it that no token has")?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a place answered. There is no `Debug`, since it knows what has to be hidden.
#[derive(Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// As far as it came.
    pub(super) body: String,
    /// Why that is not all of it, where it is not.
    pub(super) cut: Option<SendError>,
    /// What is secret of the request that it answers.
    pub(super) secrets: Vec<String>,
}

impl Answer {
    /// Words of the place in a line, without the secrets of the request: whoever answers may repeat
    /// them. They go before the line is cut, which could leave half of one.
    pub(super) fn in_a_line(&self, words: &str) -> String {
        let hide = |words: String, secret: &String| words.replace(secret, "***");
        super::in_a_line(&self.secrets.iter().fold(words.to_owned(), hide))
    }

    /// The body as JSON; `null` if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Posts, and reads the answer.
///
/// The errors never hold the URL, which is a secret.
pub(super) async fn post(request: Request, timeout: Duration) -> Result<Answer, SendError> {
    let began = Instant::now();
    let secrets = request.secrets();
    let Request { url, headers, body, .. } = request;
    let request = client(&url)?.post(url).headers(headers).body(body).timeout(timeout);
    let mut response = request.send().await.map_err(|error| lost(error, timeout))?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), clock::now());
    let mut body = Vec::new();
    let read = async {
        while body.len() < ANSWER
            && let Some(chunk) = response.chunk().await?
        {
            body.extend_from_slice(&chunk);
        }
        Ok(())
    };
    // Whoever waits for the whole attempt would not hear of the status of an answer without an end.
    let left = timeout.saturating_sub(began.elapsed()) / 2;
    let cut = match tokio::time::timeout(left, read).await {
        Ok(read) => read.err().map(|error| lost(error, timeout)),
        Err(_) => Some(SendError::unknown(format!("{status}, but the answer did not end"))),
    };
    body.truncate(ANSWER);
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, retry_after, body, cut, secrets })
}

/// The client for this address, built when it is first needed: it loads the machine's certificates.
fn client(url: &Url) -> Result<&'static Client, SendError> {
    static PROXIED: OnceLock<Client> = OnceLock::new();
    static DIRECT: OnceLock<Client> = OnceLock::new();
    // What is for this machine is sent in the clear, and would leave it through a proxy.
    let direct = is_here(url);
    let client = if direct { &DIRECT } else { &PROXIED };
    if let Some(client) = client.get() {
        return Ok(client);
    }
    super::install_tls();
    let builder = Client::builder()
        .user_agent(concat!("tocsin/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(Lookup))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(KEPT);
    // Else it takes the proxies of the environment.
    let builder = if direct { builder.no_proxy() } else { builder };
    let built =
        builder.build().map_err(|error| SendError::transient(with_causes(&error.without_url())))?;
    Ok(client.get_or_init(|| built))
}

/// What is known where no answer came.
fn lost(error: reqwest::Error, timeout: Duration) -> SendError {
    // The URL is taken out; the causes beneath name at most the host.
    let error = error.without_url();
    if error.is_builder() {
        return SendError::Destination { detail: with_causes(&error) };
    }
    if let Some(refused) = refused(&error) {
        return SendError::Destination { detail: refused.to_string() };
    }
    if certificate::is_no_tls(&error) {
        return SendError::transient(
            "cannot connect: it does not speak TLS; is it http://, or another port?",
        );
    }
    if error.is_connect() {
        return SendError::transient(format!("cannot connect: {}", with_causes(&error)));
    }
    if error.is_timeout() {
        return SendError::unknown(no_answer_within(timeout));
    }
    SendError::unknown(format!("the answer was lost: {}", with_causes(&error)))
}

/// That what its name stands for is no address to send to.
fn refused(error: &reqwest::Error) -> Option<&LookupError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let lookup = error.downcast_ref();
        if lookup.is_some_and(|lookup| !matches!(lookup, LookupError::Failed(_))) {
            return lookup;
        }
        cause = error.source();
    }
    None
}

/// `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(given) = value.parse::<f64>() {
        return seconds(given);
    }
    // Two forms are obsolete, and to be understood (RFC 9110 §5.6.7).
    let obsolete =
        |format| TimeZone::UTC.to_timestamp(DateTime::strptime(format, value).ok()?).ok();
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value).ok();
    let date = date
        .or_else(|| obsolete("%A, %d-%b-%y %H:%M:%S GMT"))
        .or_else(|| obsolete("%a %b %e %H:%M:%S %Y"))?;
    Some(Timestamp::from_micros(date.as_microsecond()).since(now))
}

/// So many seconds, or as long as there is; `None` if they are none.
pub(super) fn seconds(given: f64) -> Option<Duration> {
    (given >= 0.0).then(|| Duration::try_from_secs_f64(given).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use reqwest::dns::{Name, Resolve, Resolving};

    use super::super::tests::{class, envelope, message};
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse("2015-10-21T07:27:30Z").unwrap();
        for (value, seconds) in [
            ("2", Some(2)),
            ("0", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("Wednesday, 21-Oct-15 07:28:00 GMT", Some(30)),
            ("Wed Oct 21 07:28:00 2015", Some(30)),
            ("Sun Nov  1 07:27:30 2015", Some(11 * 24 * 3600)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("NaN", None),
            ("-3", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            let waits = retry_after(&headers, now).map(|waits| waits.as_secs());
            assert_eq!(waits, seconds, "{value}");
        }
    }

    #[test]
    fn what_is_secret_of_a_request_is_hidden_in_the_words_of_its_answer() {
        let hidden = |url: &str, words: &str| {
            let request = Request::json(&url.parse().unwrap(), &Value::Null);
            let request = request.authorized(bearer("tk-s3cret").unwrap());
            Answer { secrets: request.secrets(), ..Answer::default() }.in_a_line(words)
        };
        for (url, words, shown) in [
            ("https://x/services/T/B/s3cret", "no /services/T/B/s3cret", "no /services/T/B/***"),
            ("https://x/hooks/secret", "no /hooks/secret", "no /hooks/***"),
            ("https://x/hooks/secret/", "no /hooks/secret/", "no /hooks/***/"),
            ("https://x/s/notify", "cannot notify", "cannot notify"),
            ("https://x/bot123:s3cret/sendMessage", "no s3cret", "no ***"),
            ("https://x/w?v=1&sig=s-ecret", "of sig=s-ecret", "of sig=***"),
            ("https://x/w?s-ecret", "of w?s-ecret", "of w?***"),
            ("https://x/w?v=1&s-ecret", "of v=1&s-ecret", "of v=1&***"),
            ("https://x/w?format=1&channel=2", "no channel", "no channel"),
            ("https://to-ken@x/", "not to-ken", "not ***"),
            ("https://to-ken@x/", "not Basic dG8ta2VuOg==", "not Basic ***"),
            ("https://little:pa-ssword@x/", "not for little", "not for little"),
            ("https://u:pa-ssword@x/", "not pa-ssword", "not ***"),
            ("https://u:pa%2Fssword@x/", "not pa%2Fssword or pa/ssword", "not *** or ***"),
            ("https://u:pa-ssword@x/", "not Basic dTpwYS1zc3dvcmQ=", "not Basic ***"),
            (
                "https://x/api/v2/alerts",
                "no tk-s3cret at /api/v2/alerts",
                "no *** at /api/v2/alerts",
            ),
        ] {
            assert_eq!(hidden(url, words), shown);
        }
    }

    #[test]
    fn no_half_of_a_secret_is_left_where_words_are_cut() {
        let request = Request::json(&"https://x/y".parse().unwrap(), &Value::Null);
        let secrets = request.hiding("s3cret-s3cret-s3cret").secrets();
        let answer = Answer { secrets, ..Answer::default() };
        for before in 250..300 {
            let words = answer.in_a_line(&format!("{} s3cret-s3cret-s3cret", "x".repeat(before)));
            assert!(!words.contains("s3c"), "{words}");
        }
    }

    #[test]
    fn a_token_is_no_way_into_the_headers_and_is_not_repeated() {
        for wrong in ["", "s3cret\r\nX: y", "s3cret x", "s3crét"] {
            let error = bearer(wrong).unwrap_err();
            assert!(!error.contains("s3cr"), "{error}");
        }
        assert!(bearer("xoxb-1-a_b.c~/+=").is_ok_and(|value| value.is_sensitive()));
    }

    /// The address of a place that answers each request so, and then says and closes nothing.
    fn answering(answers: &[&'static str]) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let answers = answers.to_vec();
        thread::spawn(move || {
            // Each is kept open until the test ends.
            let mut kept = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                stream.write_all(answer.as_bytes()).unwrap();
                kept.push(stream);
            }
            thread::park();
        });
        url.parse().unwrap()
    }

    /// A place that takes what it answers any 2xx to, and is told in this many requests.
    struct Any(Url, usize);

    impl Place for Any {
        fn request(&self, _: &Envelope, _: Timestamp) -> Request {
            Request::json(&self.0, &Value::Null)
        }

        fn requests(&self, envelope: &Envelope, now: Timestamp) -> Vec<Request> {
            vec![self.request(envelope, now); self.1]
        }

        fn read(&self, answer: &Answer) -> Reading {
            Reading::of_text(answer, verdict::Says::Nothing)
        }
    }

    async fn told(answers: &[&'static str]) -> Result<Accepted, SendError> {
        let place = Any(answering(answers), answers.len());
        let envelope = envelope(message(Vec::new()));
        let timeout = Duration::from_secs(1);
        let place = OverHttp { place, timeout };
        // As the desk waits for it.
        tokio::time::timeout(timeout, place.send(&envelope)).await.expect("it is judged in time")
    }

    #[tokio::test]
    async fn an_answer_without_an_end_counts_by_its_status() {
        for (answer, class_of_it, words) in [
            ("HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\nfine", "accepted", ""),
            ("HTTP/1.1 403 X\r\ncontent-length: 99\r\n\r\nno", "destination", "403 no"),
            ("HTTP/1.1 429 X\r\ncontent-length: 99\r\n\r\n", "transient", "429, without a word"),
        ] {
            let told = told(&[answer]).await;
            assert_eq!(class(&told), class_of_it, "{told:?}");
            let said = told.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(said, words);
        }
    }

    #[tokio::test]
    async fn what_was_taken_in_part_may_have_been_heard_whatever_is_wrong_with_the_rest() {
        let taken = "HTTP/1.1 200 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        for (refused, words) in [
            ("HTTP/1.1 503 X\r\ncontent-length: 2\r\n\r\nno", "503 no"),
            ("HTTP/1.1 413 X\r\ncontent-length: 2\r\n\r\nno", "413 no"),
            ("HTTP/1.1 403 X\r\ncontent-length: 2\r\n\r\nno", "403 no"),
        ] {
            assert_eq!(told(&[taken, refused]).await, Err(SendError::unknown(words)));
            assert_ne!(class(&told(&[refused]).await), "unknown");
        }
    }

    #[tokio::test]
    async fn a_port_that_does_not_speak_tls_is_told_as_such() {
        let url = answering(&["HTTP/1.1 400 Bad Request\r\n\r\n"]);
        let url = Url::parse(&url.as_str().replace("http:", "https:")).unwrap();
        let answer = post(Request::json(&url, &Value::Null), Duration::from_secs(5)).await;
        let error = answer.err().unwrap();
        assert_eq!(class(&Err(error.clone())), "transient");
        assert!(error.to_string().starts_with("cannot connect: it does not speak TLS"), "{error}");
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_reached_is_transient_and_its_url_is_not_repeated() {
        // Port 1 of this machine refuses.
        let url = Url::parse("http://127.0.0.1:1/s3cret").unwrap();
        let answer = post(Request::json(&url, &Value::Null), Duration::from_secs(5)).await;
        let error = answer.err().unwrap();
        assert!(matches!(&error, SendError::Transient { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_stands_for_a_metadata_service_is_the_destinations_trouble() {
        struct Rebound;

        impl Resolve for Rebound {
            fn resolve(&self, _: Name) -> Resolving {
                // What `getaddrinfo` takes for 169.254.169.254.
                Lookup.resolve("2852039166".parse().unwrap())
            }
        }

        super::super::install_tls();
        let client = Client::builder().no_proxy().dns_resolver(Arc::new(Rebound)).build().unwrap();
        let error = client.post("https://places.example.com/s3cret").send().await.unwrap_err();
        let error = lost(error, Duration::from_secs(5));
        assert!(matches!(&error, SendError::Destination { .. }), "{error:?}");
        assert!(error.to_string().starts_with("its name stands for 169.254.169.254"), "{error}");
    }
}
