//! The lists, their parameters and their pages; health.

use serde_json::json;

use super::*;

async fn edge_of(store: FakeStore) -> Edge {
    Edge::with(store, FakeIntake::default(), Limits::default()).await
}

#[tokio::test]
async fn an_empty_store_lists_nothing() {
    let edge = Edge::start().await;
    for path in ["/api/list", "/api/containers"] {
        let answer = edge.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "[]"), "{path}");
        assert_eq!(answer.header("link"), None);
    }
    assert_eq!(edge.store.asked(), r#"PageQuery { limit: 1000, cursor: None }"#);
}

#[tokio::test]
async fn payloads_are_listed_byte_for_byte() {
    let events = vec![r#"{ "b":1,  "a":1.50 }"#.into(), "{}".into()];
    let edge = edge_of(FakeStore { events, ..FakeStore::default() }).await;
    assert_eq!(edge.get("/api/list").await.body, r#"[{ "b":1,  "a":1.50 },{}]"#);
}

#[tokio::test]
async fn every_parameter_reaches_the_store() {
    let edge = Edge::start().await;
    let target = "/api/list?application=a%20b&service=s&id=c%C3%A9&state=crashed&limit=7\
                  &since=5.5&until=2015-11-20T11:35:59+01:00&cursor=x";
    assert_eq!(edge.get(target).await.status, 200);
    assert_eq!(
        edge.store.asked(),
        r#"EventQuery { application: Some("a b"), service: Some("s"), container: Some("cé"), state: Some(Crashed), since: Some(1970-01-01T00:00:05.5Z), until: Some(2015-11-20T10:35:59Z), page: PageQuery { limit: 7, cursor: Some("x") } }"#
    );
    edge.get("/api/alerts?status=resolved").await;
    assert!(edge.store.asked().contains("firing: Some(false)"));
    edge.get("/api/alerts?status=all").await;
    assert!(edge.store.asked().contains("firing: None"));
    edge.get("/api/deliveries?status=dead").await;
    assert!(edge.store.asked().contains("status: Some(Dead), receiver: None"));
    edge.get("/api/deliveries?status=discarded&receiver=a%2Fb").await;
    assert!(edge.store.asked().contains(r#"status: Some(Discarded), receiver: Some("a/b")"#));
}

#[tokio::test]
async fn a_link_leads_to_the_next_page_and_keeps_the_question() {
    let store = FakeStore { next: Some("5&é".into()), ..FakeStore::default() };
    let edge = edge_of(store).await;
    let answer = edge.get("/api/list?application=a%26b&limit=2&cursor=old").await;
    assert_eq!(
        answer.header("link"),
        Some("</api/list?application=a%26b&limit=2&cursor=5%26%C3%A9>; rel=\"next\"")
    );
    assert_eq!(edge.get("/api/list?application=a%26b&limit=2&cursor=5%26%C3%A9").await.status, 200);
    let asked = edge.store.asked();
    assert!(asked.contains(r#"application: Some("a&b")"#), "{asked}");
    assert!(asked.contains(r#"cursor: Some("5&é")"#), "{asked}");
    for path in ["/api/containers", "/api/alerts", "/api/deliveries"] {
        let link = format!("<{path}?cursor=5%26%C3%A9>; rel=\"next\"");
        assert_eq!(edge.get(path).await.header("link"), Some(link.as_str()));
    }
}

#[tokio::test]
async fn bad_parameters_are_refused_in_a_sentence() {
    let edge = Edge::start().await;
    for (target, sentence) in [
        (
            "/api/list?aplication=x",
            "there is no parameter \"aplication\"; did you mean `application`?",
        ),
        (
            "/api/alerts?zzz=1",
            "there is no parameter \"zzz\"; this path takes status, limit, cursor",
        ),
        ("/api/containers/a?limit=1", "there is no parameter \"limit\"; this path takes none"),
        (
            "/api/list?id=%zz",
            "\"id\" must be percent-encoded UTF-8, with `%25` for a `%`, and is \"%zz\"",
        ),
        (
            "/api/list?limit=1&state=100%",
            "\"state\" must be percent-encoded UTF-8, with `%25` for a `%`, and is \"100%\"",
        ),
        (
            "/api/list?%fFid=1",
            "a parameter's name must be percent-encoded UTF-8, with `%25` for a `%`, and is \
             \"%fFid\"",
        ),
        (
            "/api/containers/%zz",
            "the container's id must be percent-encoded UTF-8, with `%25` for a `%`, and is \
             \"%zz\"",
        ),
        ("/api/list?limit=1&limit=2", "`limit` is given twice; give it once"),
        ("/api/list?limit=0", "`limit` must be a whole number from 1 to 10000, and is \"0\""),
        (
            "/api/list?limit=10001",
            "`limit` must be a whole number from 1 to 10000, and is \"10001\"",
        ),
        ("/api/containers?limit=x", "`limit` must be a whole number from 1 to 10000, and is \"x\""),
        (
            "/api/list?since=yesterday",
            "`since` must be RFC 3339, such as 2015-11-20T10:35:59Z, or Unix seconds, and is \
             \"yesterday\"",
        ),
        (
            "/api/list?until=-1",
            "`until` must be RFC 3339, such as 2015-11-20T10:35:59Z, or Unix seconds, and is \"-1\"",
        ),
        ("/api/alerts?status=on", "`status` must be one of firing, resolved, all, and is \"on\""),
        (
            "/api/deliveries?status=",
            "`status` must be one of pending, sent, dead, superseded, dropped, discarded, and is \"\"",
        ),
    ] {
        let answer = edge.get(target).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, sentence), "{target}");
    }
}

#[tokio::test]
async fn what_a_client_wrote_is_cut_before_it_is_quoted() {
    let edge = Edge::start().await;
    let answer = edge.get(&format!("/api/list?limit={}", "é".repeat(500))).await;
    assert_eq!(answer.status, 400);
    assert!(answer.error().chars().count() < 130, "{}", answer.body);
}

#[tokio::test]
async fn a_cursor_that_is_none_is_the_clients_fault_and_a_silent_store_is_not() {
    let edge = edge_of(FakeStore::failing(StoreError::Refused("no cursor".into()))).await;
    let answer = edge.get("/api/list?cursor=zzz").await;
    assert_eq!(answer.status, 400);
    assert!(answer.error().starts_with("`cursor` is none that this list gave"));
    assert_eq!(edge.get("/api/list").await.status, 500);

    let edge =
        edge_of(FakeStore::failing(StoreError::Unavailable("the disk is gone".into()))).await;
    let answer = edge.get("/api/alerts").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")));
    assert!(answer.error().contains("the disk is gone"));
}

#[tokio::test]
async fn a_container_is_shown_with_its_timeline() {
    let store = FakeStore {
        events: vec![
            r#"{"id": "a", "state": "X", "timestamp": 1}"#.into(),
            r#"{"id": "a", "state": "Y", "timestamp": 2}"#.into(),
        ],
        containers: vec![row("a/b é")],
        ..FakeStore::default()
    };
    let edge = edge_of(store).await;
    assert_eq!(
        edge.get("/api/containers/a%2Fb%20%C3%A9").await.body,
        r#"{"id":"a/b é","application":"shop","service":null,"state":"RUNNING","since":"1970-01-01T00:00:05Z","starts":2,"missing":false,"timeline":[{"id": "a", "state": "X", "timestamp": 1},{"id": "a", "state": "Y", "timestamp": 2}]}"#
    );
    let unknown = edge.get("/api/containers/nobody").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.error().starts_with("there is no container of this id"));
    assert_eq!(edge.get("/api/containers/%ff").await.status, 400);
}

#[tokio::test]
async fn every_key_of_a_row_is_there() {
    let edge = edge_of(FakeStore { containers: vec![row("a")], ..FakeStore::default() }).await;
    for (path, body) in [
        (
            "/api/containers",
            r#"[{"id":"a","application":"shop","service":null,"state":"RUNNING","since":"1970-01-01T00:00:05Z","starts":2,"missing":false}]"#,
        ),
        (
            "/api/alerts",
            r#"[{"rule":"crashed","severity":"critical","status":"firing","labels":{"rule":"crashed"},"started_at":"1970-01-01T00:00:05Z","resolved_at":null,"occurrences":3,"late":false,"held_back":[{"receiver":"ops","reason":"grouped","by":null,"until":null}]}]"#,
        ),
        (
            "/api/deliveries",
            r#"[{"id":"d1","receiver":"ops","instead_of":null,"status":"dead","rule":"crashed","labels":{},"digest":null,"attempts":4,"last_error":"no_service","next_attempt_at":null,"created_at":"1970-01-01T00:00:05Z","ended_at":"1970-01-01T00:00:06Z"}]"#,
        ),
    ] {
        assert_eq!(edge.get(path).await.body, body, "{path}");
    }
}

#[tokio::test]
async fn head_is_answered_as_get_but_for_the_body() {
    let edge = Edge::start().await;
    let mut stream = edge.connect().await;
    stream.write_all(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-length: 15\r\n"), "{head}");
    // The next answer follows at once, so that there was no body.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut stream).await.body, r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn readiness_is_the_stores_and_is_asked_once_a_second() {
    let edge = Edge::start().await;
    for _ in 0..5 {
        assert_eq!(edge.get("/readyz").await.body, r#"{"status":"ready"}"#);
    }
    assert_eq!(edge.store.probes.load(Ordering::Relaxed), 1);

    let edge = edge_of(FakeStore::failing(StoreError::Unavailable("read-only".into()))).await;
    let answer = edge.get("/readyz").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")));
    assert_eq!(
        answer.error(),
        "events cannot be recorded: the store cannot be used now: read-only"
    );
    assert_eq!(edge.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn how_receivers_stand_is_told_to_people_and_to_prometheus() {
    let edge = Edge::start().await;
    let receivers = edge.get("/api/receivers?limit=1").await;
    assert_eq!(
        receivers.json(),
        json!([{
            "receiver": "ops", "kind": "slack", "status": "down", "since": "1970-01-01T00:00:01Z",
            "reason": "404 no_service", "next_probe_at": "1970-01-01T00:02:31Z", "fallback": null,
            "failures": 3, "pending": 4, "oldest_pending_since": "1970-01-01T00:00:02Z", "dead": 1,
            "told_elsewhere": 2,
        }])
    );
    let link = receivers.header("link");
    assert_eq!(link, Some("</api/receivers?limit=1&cursor=1>; rel=\"next\""));
    let others = edge.get("/api/receivers?limit=1&cursor=1").await;
    assert_eq!(others.json()[0]["receiver"], "oncall");
    assert_eq!(others.json()[0]["status"], "off");
    assert_eq!(others.header("link"), None);
    assert_eq!(edge.get("/api/receivers?cursor=9").await.body, "[]");
    assert_eq!(edge.get("/api/receivers?cursor=ops").await.status, 400);
    let metrics = edge.get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(metrics.body.contains("tocsin_receiver_up{receiver=\"ops\"} 0\n"), "{}", metrics.body);
    assert!(metrics.body.contains("tocsin_events_missing 7\n"), "{}", metrics.body);
    assert!(edge.get("/metrics?x=1").await.status == 200, "what scrapes may add what it likes");
}
