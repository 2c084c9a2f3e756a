use super::*;
use crate::deliver::receivers::tests::{alert, answer, class, notification};
use crate::engine::News;

#[test]
fn ok_says_whether_it_was_taken_and_error_why_not() {
    let refused = |error: &str| json!({"ok": false, "error": error}).to_string();
    for (status, body, expected) in [
        (200, r#"{"ok":true,"channel":"C1","ts":"1.2"}"#.to_owned(), "accepted"),
        (200, "ok".to_owned(), "transient"),
        (200, "<html>log in".to_owned(), "transient"),
        (200, refused("invalid_blocks"), "message"),
        (200, refused("msg_too_long"), "message"),
        (200, refused("something_new"), "message"),
        (200, refused("channel_not_found"), "destination"),
        (200, refused("not_in_channel"), "destination"),
        (200, refused("is_archived"), "destination"),
        (200, refused("invalid_auth"), "destination"),
        (200, refused("token_revoked"), "destination"),
        (200, refused("missing_scope"), "destination"),
        (200, refused("accesslimited"), "destination"),
        (200, refused("restricted_action_thread_only_channel"), "destination"),
        (200, refused("internal_error"), "transient"),
        (200, refused("message_limit_exceeded"), "transient"),
        (200, refused("ratelimited"), "transient"),
        (429, refused("ratelimited"), "transient"),
        (429, String::new(), "transient"),
        (503, String::new(), "transient"),
        (302, String::new(), "transient"),
    ] {
        let answer = answer(status, &body);
        assert_eq!(class(&verdict::judge(&answer, read(&answer))), expected, "{status} {body}");
    }
}

#[test]
fn a_thread_is_over_when_nothing_of_the_group_fires() {
    let of = |news| notification(&[alert("c1", news)]);
    assert!(!is_over(&of(News::Firing)));
    assert!(is_over(&of(News::Over)));
    let mut others = of(News::Over);
    others.firing_in_group = 1;
    assert!(!is_over(&others));
}
