//! Silences: made, listed, ended.

use super::*;

#[tokio::test]
async fn a_silence_is_made_and_groups_are_looked_at_again() {
    let edge = Edge::start().await;
    let mut changed = edge.wake.silences();
    let body = r#"{"matchers": {"rule": "/^crash/"}, "starts_at": "2015-11-20T11:35:59+01:00",
        "ends_at": "9015-11-20T10:35:59Z", "created_by": "alice", "comment": null}"#;
    let answer = ask(&edge, "POST", "/api/silences", body).await;
    assert_eq!((answer.status, answer.body.as_str()), (201, r#"{"id":7}"#));
    let asked = edge.store.asked();
    for part in [
        "starts_at: 2015-11-20T10:35:59Z, ends_at: 9015-11-20T10:35:59Z",
        "created_by: Some(\"alice\"), comment: None",
    ] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    assert!(changed.has_changed().unwrap());

    changed.mark_unchanged();
    let answer = ask(&edge, "DELETE", "/api/silences/7", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert!(changed.has_changed().unwrap());
}

#[tokio::test]
async fn silences_are_listed() {
    let edge = Edge::start().await;
    let answer = edge.get("/api/silences").await;
    assert_eq!(
        answer.body,
        r#"[{"id":7,"matchers":{"rule":"/^crash/"},"starts_at":"1970-01-01T00:00:05Z","ends_at":"1970-01-01T00:00:06Z","created_by":null,"comment":"deploying","status":"expired","alerts":2}]"#
    );
    for (target, statuses) in [
        ("/api/silences", "[Active, Pending]"),
        ("/api/silences?status=expired", "[Expired]"),
        ("/api/silences?status=all", "[Active, Pending, Expired]"),
    ] {
        edge.get(target).await;
        let asked = edge.store.asked();
        assert!(asked.contains(&format!("statuses: {statuses}")), "{target}: {asked}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_silence_is_said_in_a_sentence() {
    let edge = Edge::start().await;
    let changed = edge.wake.silences();
    for (body, words) in [
        (
            "",
            "the body is no JSON (EOF while parsing a value at line 1 column 0); send an object with \
             some of matchers, ",
        ),
        ("[]", "the body must be a JSON object with some of matchers, "),
        (r#"{"matcher": {}}"#, "there is no key \"matcher\"; did you mean `matchers`?"),
        (r#"{"zz": 1}"#, "there is no key \"zz\"; a silence has matchers, starts_at, "),
        (r#"{"ends_at": "9015-11-20T10:35:59Z"}"#, "`matchers` is missing; give at least one"),
        (r#"{"matchers": {}}"#, "`matchers` cannot be used: "),
        (r#"{"matchers": {"id": "/(/"}}"#, "regex is wrong: unclosed group"),
        (
            r#"{"matchers": {"id": {"not": "web", "not": "api"}}}"#,
            "of two that are named alike one would be lost: \"not\" is here twice",
        ),
        (r#"{"matchers": {"id": "a", "id": "b"}}"#, "\"id\" is here twice"),
        (r#"{"matchers": {"id": "a"}}"#, "`ends_at` is missing; say when the silence ends"),
        (
            r#"{"matchers": {"id": "a"}, "starts_at": "1969-12-31T23:59:59Z"}"#,
            "`starts_at` must be in 1970 or later, and is 1969-12-31T23:59:59Z",
        ),
        (
            r#"{"matchers": {"id": "a"}, "ends_at": "tomorrow"}"#,
            "`ends_at` must be RFC 3339 in quotes, such as \"2015-11-20T10:35:59Z\", and is \
             \"tomorrow\"",
        ),
        (r#"{"matchers": {"id": "a"}, "ends_at": 1e10}"#, "`ends_at` must be RFC 3339"),
        (
            r#"{"matchers": {"id": "a"}, "ends_at": "2015-11-20T10:35:59Z"}"#,
            "`ends_at` must be in the future, and is 2015-11-20T10:35:59Z; it is ",
        ),
        (
            r#"{"matchers": {"id": "a"}, "ends_at": "9015-11-20T10:35:59Z",
                "starts_at": "9015-11-20T10:36:00Z"}"#,
            "`ends_at` must be after `starts_at`, and 9015-11-20T10:35:59Z is not after ",
        ),
        (
            r#"{"matchers": {"id": "a"}, "ends_at": "9015-11-20T10:35:59Z", "comment": 3}"#,
            "`comment` must be text",
        ),
    ] {
        let answer = ask(&edge, "POST", "/api/silences", body).await;
        let error = answer.error();
        assert!(answer.status == 400 && error.contains(words), "{body}: {error}");
    }
    assert!(!changed.has_changed().unwrap());
    assert!(edge.store.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_silence_for_ever_lasts_as_long_as_there_is_time() {
    let edge = Edge::start().await;
    let body = r#"{"matchers": {"id": "a"}, "ends_at": "9999-12-31T23:59:59Z"}"#;
    assert_eq!(ask(&edge, "POST", "/api/silences", body).await.status, 201);
    let asked = edge.store.asked();
    assert!(asked.contains("ends_at: 9999-12-30T22:00:00Z"), "{asked}");
}

#[tokio::test]
async fn a_silence_that_is_not_there_cannot_be_ended() {
    let edge = Edge::start().await;
    for id in ["8", "x", "-1", "99999999999999999999"] {
        let answer = ask(&edge, "DELETE", &format!("/api/silences/{id}"), "").await;
        assert_eq!(answer.status, 404, "{id}");
        assert!(answer.error().starts_with("there is no silence of this id"), "{id}");
    }
}

#[tokio::test]
async fn silences_say_which_methods_they_take() {
    let edge = Edge::start().await;
    for (method, target, allowed) in
        [("PUT", "/api/silences", "GET, HEAD, POST"), ("GET", "/api/silences/7", "DELETE")]
    {
        let answer = ask(&edge, method, target, "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{target}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_commit_makes_no_silence() {
    let store = FakeStore::failing(StoreError::Unavailable("the disk is full".into()));
    let edge = Edge::with(store, FakeIntake::default(), Limits::default()).await;
    let body = r#"{"matchers": {"id": "a"}, "ends_at": "9015-11-20T10:35:59Z"}"#;
    let answer = ask(&edge, "POST", "/api/silences", body).await;
    assert_eq!(answer.status, 503);
    assert!(answer.error().contains("the disk is full"));
}
