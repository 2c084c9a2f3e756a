//! Who may call, with what, how often, and what every answer has.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::time::{Duration, timeout};

use super::*;
use crate::password::Password;
use crate::rate::Rate;

const EVENT: &str = r#"{"id": "a", "state": "CRASHED", "timestamp": 5}"#;
const TOKEN: &str = "correct+horse battery";

/// "hush", by Debian's `argon2 saltsalt -id -k 64 -t 1 -p 1 -e`.
const HASH: &str =
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$9ap1ZkFihPfJaYr6Srd3gywmSNo4AEb2Q2yupQMDgAo";

fn guard() -> Guard {
    Guard {
        receive_tokens: vec!["old-token".into(), TOKEN.into()],
        admin: Some(("ops".into(), Password::plain(&"hush".into()))),
        ..Guard::default()
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

impl Edge {
    /// Asks with these headers, each with its line end.
    async fn ask_with(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let request = request(method, target, body);
        self.send(request.replacen("Host: x\r\n", &format!("Host: x\r\n{headers}"), 1).as_bytes())
            .await
    }

    async fn authorized(&self, target: &str, authorization: &str) -> Answer {
        self.ask_with("GET", target, &format!("Authorization: {authorization}\r\n"), "").await
    }

    async fn post_with(&self, query: &str, authorization: &str) -> Answer {
        let headers = match authorization {
            "" => String::new(),
            _ => format!("Authorization: {authorization}\r\n"),
        };
        self.ask_with("POST", &format!("/api/post{query}"), &headers, EVENT).await
    }
}

#[tokio::test]
async fn any_of_the_tokens_lets_an_event_in_however_it_is_given() {
    let edge = Edge::guarded(guard()).await;
    for (query, authorization) in [
        ("?token=correct%2Bhorse+battery", String::new()),
        ("?a=b&token=correct%2Bhorse%20battery", String::new()),
        ("?token=old-token", String::new()),
        ("?token=old-token", basic("for", "the proxy")),
        ("", "Bearer old-token".into()),
        ("", "bearer  old-token".into()),
        ("", basic("anyone", TOKEN)),
        ("", basic("", "old-token")),
        ("?tokens=x", basic("", "old-token")),
    ] {
        let answer = edge.post_with(query, &authorization).await;
        assert_eq!(answer.status, 200, "{query} {authorization}: {}", answer.body);
    }
}

#[tokio::test]
async fn who_gives_no_token_or_a_wrong_one_is_told_how() {
    let edge = Edge::guarded(guard()).await;
    for (query, authorization, words) in [
        ("", String::new(), "this takes a token; "),
        ("", "Digest x".into(), "this takes a token; "),
        ("", "Bearer".into(), "this takes a token; "),
        ("?token=", String::new(), "the token is wrong; "),
        ("?token=old-toke", String::new(), "the token is wrong; "),
        ("?token=old-token2&token=old-token", "Bearer old-token".into(), "the token is wrong; "),
        ("", basic("old-token", "x"), "the token is wrong; "),
        ("", basic("ops", "hush"), "the token is wrong; "),
        ("", "Basic %%%".into(), "the token is wrong; "),
    ] {
        let answer = edge.post_with(query, &authorization).await;
        assert_eq!(answer.status, 401, "{query} {authorization}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some(r#"Basic realm="tocsin", Bearer realm="tocsin""#));
        assert!(answer.error().starts_with(words), "{query} {authorization}: {}", answer.body);
        assert!(!answer.body.contains("toke=") && !answer.body.contains("old-"), "{}", answer.body);
    }
    assert_eq!(edge.handed_in.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_admin_may_do_all_else_and_nobody_else_may() {
    let edge = Edge::guarded(guard()).await;
    for path in ["/api/list", "/metrics", "/api/silences", "/api/receivers"] {
        assert_eq!(edge.authorized(path, &basic("ops", "hush")).await.status, 200, "{path}");
    }
    // Before 404 and 405, so that nobody learns what there is.
    for (method, path) in [("GET", "/nope"), ("DELETE", "/api/list"), ("GET", "/")] {
        let answer = ask(&edge, method, path, "").await;
        assert_eq!(answer.status, 401, "{method} {path}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some(r#"Basic realm="tocsin", charset="UTF-8""#));
    }
    assert_eq!(ask(&edge, "GET", "/api/post", "").await.status, 401);
    assert_eq!(edge.authorized("/nope", &basic("ops", "hush")).await.status, 404);
    for wrong in [basic("ops", "hush!"), basic("op", "hush"), basic("", ""), "Basic !".into()] {
        assert_eq!(edge.authorized("/api/list", &wrong).await.status, 401, "{wrong}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(edge.get(path).await.status, 200, "{path}");
    }
    assert_eq!(edge.get("/api/list?token=old-token").await.status, 401);
}

#[tokio::test]
async fn where_one_is_not_set_anyone_may() {
    let edge = Edge::guarded(Guard { admin: None, ..guard() }).await;
    assert_eq!(edge.get("/api/list").await.status, 200);
    assert_eq!(edge.post(EVENT).await.status, 401);
    let edge = Edge::guarded(Guard { receive_tokens: Vec::new(), ..guard() }).await;
    assert_eq!(edge.get("/api/list").await.status, 401);
    assert_eq!(edge.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn the_eleventh_wrong_token_is_429_and_so_is_the_right_one_after_it() {
    let edge = Edge::guarded(guard()).await;
    for _ in 0..20 {
        assert_eq!(edge.post(EVENT).await.status, 401, "none at all is no attempt");
    }
    for _ in 0..10 {
        assert_eq!(edge.post_with("?token=x", "").await.status, 401);
    }
    for token in ["x", "old-token"] {
        let answer = edge.post_with(&format!("?token={token}"), "").await;
        assert_eq!(answer.status, 429);
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((50..=60).contains(&wait), "{wait}");
        assert!(answer.error().starts_with("too many wrong credentials"), "{}", answer.body);
    }
    let admin = edge.authorized("/api/list", &basic("ops", "hush")).await;
    assert_eq!(admin.status, 200, "the other door counts for itself");
}

#[tokio::test]
async fn who_was_let_in_before_is_let_in_still() {
    let edge = Edge::guarded(guard()).await;
    assert_eq!(edge.post_with("?token=old-token", "").await.status, 200);
    for _ in 0..10 {
        assert_eq!(edge.post_with("?token=x", "").await.status, 401);
    }
    assert_eq!(edge.post_with("?token=x", "").await.status, 429);
    assert_eq!(edge.post_with("?token=old-token", "").await.status, 200);
}

#[tokio::test]
async fn attempts_are_counted_by_what_a_trusted_proxy_says() {
    let from = async |edge: &Edge, client: &str| {
        let headers = format!("X-Forwarded-For: {client}\r\nAuthorization: Bearer x\r\n");
        edge.ask_with("POST", "/api/post", &headers, EVENT).await.status
    };
    let proxied = Guard { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..guard() };
    let edge = Edge::guarded(proxied).await;
    for number in 0..10 {
        // What a client writes there itself comes before what the proxy adds.
        assert_eq!(from(&edge, &format!("10.0.0.{number}, 203.0.113.1")).await, 401);
    }
    assert_eq!(from(&edge, "203.0.113.1").await, 429);
    assert_eq!(from(&edge, "203.0.113.2").await, 401);

    let edge = Edge::guarded(guard()).await;
    for number in 0..10 {
        assert_eq!(from(&edge, &format!("203.0.113.{number}")).await, 401);
    }
    assert_eq!(from(&edge, "203.0.113.99").await, 429, "who is not trusted is not believed");
}

#[tokio::test]
async fn a_hashed_password_is_asked_once_and_remembered() {
    let hashed = || Password::hashed(&HASH.into()).unwrap();
    let edge = Edge::guarded(Guard { admin: Some(("ops".into(), hashed())), ..guard() }).await;
    assert_eq!(edge.authorized("/api/list", &basic("ops", "wrong")).await.status, 401);
    // All at once, while it is not known yet: none is held to be one too many.
    let right = basic("ops", "hush");
    let all = (0..20).map(|_| edge.authorized("/api/list", &right));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    assert_eq!(edge.authorized("/api/list", &basic("ops", "hush!")).await.status, 401);
    assert_eq!(edge.authorized("/api/list", &basic("oops", "hush")).await.status, 401);
}

#[tokio::test]
async fn hashes_are_asked_so_often_and_no_more_whoever_wants_it() {
    let everyone = vec!["127.0.0.1/32".parse().unwrap()];
    let admin = Some(("ops".into(), Password::hashed(&HASH.into()).unwrap()));
    let edge = Edge::guarded(Guard { admin, trusted_proxies: everyone, ..guard() }).await;
    let wrong = basic("ops", "wrong");
    let asked = (0..100).map(|number| {
        let headers = format!("X-Forwarded-For: 10.0.0.{number}\r\nAuthorization: {wrong}\r\n");
        let edge = &edge;
        async move { edge.ask_with("GET", "/api/list", &headers, "").await.status }
    });
    let all = timeout(Duration::from_secs(10), futures_util::future::join_all(asked));
    let answers = all.await.unwrap();
    let looked_at = answers.iter().filter(|status| **status == 401).count();
    assert!(answers.iter().all(|status| [401, 429].contains(status)));
    assert!((1..50).contains(&looked_at), "{looked_at} of 100");
}

#[tokio::test]
async fn a_token_has_its_rate() {
    let rate = Some(Rate::per_minute(2));
    let edge = Edge::guarded(Guard { receive_rate: rate, ..guard() }).await;
    assert_eq!(edge.post_with("?token=old-token", "").await.status, 200);
    let refused = edge.post_with("?token=old-token", "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("30")));
    assert!(refused.error().starts_with("these are more requests than 2/min"), "{}", refused.body);
    assert_eq!(edge.post_with("", &basic("", TOKEN)).await.status, 200, "the other has its own");
    let open = Guard { receive_rate: rate, ..Guard::default() };
    let edge = Edge::guarded(open).await;
    assert_eq!([edge.post(EVENT).await.status, edge.post(EVENT).await.status], [200, 429]);
}

#[tokio::test]
async fn every_answer_says_what_a_browser_is_to_make_of_it() {
    let edge = Edge::guarded(guard()).await;
    let admin = basic("ops", "hush");
    for answer in [
        edge.post_with("?token=old-token", "").await,
        edge.post_with("?token=x", "").await,
        edge.authorized("/api/list", &admin).await,
        edge.authorized("/api/list?x=1", &admin).await,
        edge.authorized("/nope", &admin).await,
        edge.get("/healthz").await,
    ] {
        for (name, value) in [
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{}", answer.head);
        }
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_change_anything() {
    let edge = Edge::start().await;
    for headers in ["Sec-Fetch-Site: cross-site\r\n", "Origin: http://evil.example\r\n"] {
        let answer = edge.ask_with("POST", "/api/silences", headers, "{}").await;
        assert_eq!(answer.status, 403);
        assert!(answer.error().starts_with("a page of another site"), "{}", answer.body);
        assert_eq!(edge.ask_with("GET", "/api/silences", headers, "").await.status, 200);
    }
    let ours = edge.ask_with("POST", "/api/silences", "Origin: http://x\r\n", "{}").await;
    assert_eq!(ours.status, 400);
}
