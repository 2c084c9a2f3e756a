//! `POST /api/post`, and what is wrong with a request.

use super::*;
use crate::rules::{Condition, Rule};

const EVENT: &str = r#"{"id": "a", "state": "CRASHED", "timestamp": 5}"#;

/// `length` bytes in chunks of 8 KiB.
fn chunked(length: usize) -> Vec<u8> {
    let mut request =
        b"POST /api/post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..length / 8192 {
        request.extend_from_slice(b"2000\r\n");
        request.extend_from_slice(&[b' '; 8192]);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

async fn refusing(error: IngestError) -> Answer {
    let intake = FakeIntake { refusing: Some(error), ..FakeIntake::default() };
    let edge = Edge::with(FakeStore::default(), intake, Limits::default()).await;
    edge.post(EVENT).await
}

#[tokio::test]
async fn an_event_is_an_occurrence_of_the_rules_of_events_that_it_matches() {
    let rule = |name, on| Rule { on, ..Rule::new(name, Condition::any()) };
    let rules = vec![
        rule("any", On::Event),
        rule("missing", On::Gap),
        rule("silent", On::Silence),
        Rule::new("stopped", Condition::states(&[State::Stopped])),
    ];
    let (store, intake) = (FakeStore::default(), FakeIntake::default());
    let edge = Edge::with_rules(store, intake, Limits::default(), Rules::new(rules)).await;
    assert_eq!(edge.post(EVENT).await.json()["occurrences"], Value::from(vec!["any"]));
}

#[tokio::test]
async fn an_event_is_answered_with_its_identity() {
    let edge = Edge::start().await;
    let answer = edge.post(EVENT).await;
    assert_eq!(answer.status, 200);
    let identity = crate::event::decode(EVENT.as_bytes()).unwrap().identity.to_string();
    assert_eq!(
        answer.body,
        format!(r#"{{"status":"recorded","event":"{identity}","occurrences":[]}}"#)
    );
    let again = edge.post(EVENT).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &Value::from("duplicate")));
}

#[tokio::test]
async fn an_event_from_before_what_is_kept_is_recorded_and_no_occurrence() {
    let rules = Rules::new(vec![Rule::new("any", Condition::any())]);
    let intake = FakeIntake { too_old: true, ..FakeIntake::default() };
    let edge = Edge::with_rules(FakeStore::default(), intake, Limits::default(), rules).await;
    let answer = edge.post(EVENT).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &Value::from("recorded")));
    assert_eq!(answer.json()["occurrences"], Value::Array(Vec::new()));
    assert_eq!(answer.json()["held_back"], "too old");
}

#[tokio::test]
async fn many_events_share_a_connection_and_any_content_type_will_do() {
    let edge = Edge::start().await;
    let mut stream = edge.connect().await;
    for kind in ["text/plain", "application/json; charset=utf-8", "nonsense"] {
        let request =
            posting(EVENT).replace("Host: x", &format!("Host: x\r\nContent-Type: {kind}"));
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(read(&mut stream).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_event_is_refused_in_a_sentence() {
    let edge = Edge::start().await;
    for (body, words) in [
        ("", "the body is not JSON"),
        ("{\"id\": \"a\"", "the body is not JSON"),
        ("{\"state\": \"X\", \"timestamp\": 1}", "`id` is missing"),
    ] {
        let answer = edge.post(body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains(words), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let edge = Edge::start().await;
    let answer =
        edge.send(b"POST /api/post HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\n").await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.error(), "the body is larger than 262144 bytes; send one event a request");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_chunked_body_is_counted_while_it_is_read() {
    let edge = Edge::start().await;
    assert_eq!(edge.send(&chunked(256 * 1024)).await.status, 400, "white space is no JSON");
    // Four times the limit: the client is still sending when it is refused, and must be able to
    // read why.
    let answer = edge.send(&chunked(1024 * 1024)).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
}

#[tokio::test]
async fn an_event_that_is_not_recorded_is_left_to_its_producer() {
    for (error, retry_after, words) in [
        (IngestError::Full, "1", "too many events are waiting"),
        (IngestError::Stopping, "5", "tocsin is stopping"),
        (StoreError::Unavailable("the disk is full".into()).into(), "10", "the disk is full"),
        (StoreError::Closed.into(), "10", "the store is closed"),
    ] {
        let answer = refusing(error).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), Some(retry_after));
        assert!(answer.error().starts_with("the event was not recorded: "), "{}", answer.body);
        assert!(answer.error().contains(words), "{}", answer.body);
    }
}

#[tokio::test]
async fn there_is_nothing_at_other_paths() {
    let edge = Edge::start().await;
    for (path, words) in [
        ("/nope", "there is /api/post, /api/list"),
        ("/api/lists", "did you mean `/api/list`?"),
        ("/api/list/", "did you mean `/api/list`?"),
        ("/api/containers/a/b", "there is nothing at this path"),
        ("/", "this version of tocsin does not have this path yet"),
        ("/api/accounting", "does not have this path yet"),
        ("/api/reload", "does not have this path yet"),
    ] {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.error().contains(words), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let edge = Edge::start().await;
    let posted = edge.get("/api/post").await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("POST")));
    assert_eq!(posted.error(), "this path cannot be asked so; use POST");
    for path in ["/api/list", "/api/containers/a", "/healthz"] {
        let answer =
            edge.send(format!("DELETE {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
}
