use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{
    answer, envelope, judged, message, monsters, section, told,
};
use crate::deliver::receivers::{SendError, verdict};
use crate::message::text::SHORTENED;

fn telegram() -> Telegram {
    let api = API.parse().unwrap();
    Telegram::new(&api, "123456:ABC-DEF_1", "-100123").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_message_is_text_with_a_bold_title() {
    let mut message = message(vec![section("RUNNING → CRASHED", &["c1 · since 14:02 UTC", "c2"])]);
    message.title = "🔥 CRITICAL".into();
    assert_json_snapshot!(told(&telegram(), &envelope(message)), @r#"
    {
      "chat_id": -100123,
      "entities": [
        {
          "length": 11,
          "offset": 0,
          "type": "bold"
        }
      ],
      "link_preview_options": {
        "is_disabled": true
      },
      "text": "🔥 CRITICAL\n\nRUNNING → CRASHED\n  c1 · since 14:02 UTC\n  c2\n\nRunbook: https://wiki.example.com/crashed?a=1&b=2\nAlerts: https://alerts.example.com/api/alerts"
    }
    "#);
}

#[test]
fn the_token_is_in_the_path_and_cannot_lead_elsewhere() {
    assert_eq!(telegram().send_message.path(), "/bot123456:ABC-DEF_1/sendMessage");
    for wrong in ["s3cret", "1:s3cret/../x", "1:", ":s3cret", "1:s3cret?x", "x:s3cret"] {
        let error = Telegram::new(&API.parse().unwrap(), wrong, "1").map(drop).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_chat_is_a_number_or_a_name() {
    assert_eq!(telegram().chat_id, json!(-100_123));
    let channel = Telegram::new(&API.parse().unwrap(), "1:a", "@ops").map(|chat| chat.chat_id);
    assert_eq!(channel, Ok(json!("@ops")));
}

#[test]
fn a_monster_stays_within_the_limits_and_calls_nobody() {
    for message in monsters() {
        let told = told(&telegram(), &envelope(message));
        let text = told["text"].as_str().unwrap();
        assert!(text.encode_utf16().count() <= 4_096);
        assert!(text.contains(SHORTENED));
        assert!(text.split('@').skip(1).all(|rest| rest.starts_with(['\u{200b}', '…'])));
        assert!(told.get("parse_mode").is_none());
    }
}

#[test]
fn only_what_is_of_events_is_disarmed() {
    let mut message = message(vec![section("at evil.com", &["/start #x a@b http://10.0.0.1"])]);
    message.runbook_url = Some("https://wiki.example.com/@ops/crashed".into());
    let told = told(&telegram(), &envelope(message));
    let text = told["text"].as_str().unwrap().replace('\u{200b}', "|");
    let disarmed = "at evil.|com\n  /|start #|x a@|b http:|//|10.0.0.1\n";
    assert!(text.contains(disarmed), "{text}");
    assert!(text.contains("Runbook: https://wiki.example.com/@ops/crashed\n"), "{text}");
}

#[test]
fn an_address_that_is_too_long_for_a_link_is_told_in_part_and_is_none() {
    let mut message = message(vec![section("x", &[])]);
    message.runbook_url = Some(format!("https://wiki.example.com/{}", "a".repeat(400)));
    let told = told(&telegram(), &envelope(message));
    let text = told["text"].as_str().unwrap().replace('\u{200b}', "|");
    assert!(text.contains("Runbook: https:|//|wiki.|example.|com/aaa"), "{text}");
    assert!(text.contains(&format!("{SHORTENED}\nAlerts: https://alerts.")), "{text}");
}

#[test]
fn what_is_cut_is_not_where_to_read_more() {
    let mut message = message(vec![section(&"x".repeat(5_000), &[])]);
    for plain in [false, true] {
        message.plain = plain;
        let told = told(&telegram(), &envelope(message.clone()));
        let text = told["text"].as_str().unwrap();
        assert!(text.contains(SHORTENED) && text.contains("\n\nRunbook: https://wiki"), "{text}");
    }
}

#[test]
fn answers_are_judged_by_what_is_to_be_done() {
    let refused = |code: u16, description: &str| {
        json!({"ok": false, "error_code": code, "description": description}).to_string()
    };
    for (status, body, expected) in [
        (200, r#"{"ok":true,"result":{"message_id":5}}"#.to_owned(), "accepted"),
        (200, "<html>".to_owned(), "transient"),
        (400, refused(400, "Bad Request: chat not found"), "destination"),
        (400, refused(400, "Bad Request: not enough rights to send text messages"), "destination"),
        (
            400,
            refused(400, "Bad Request: need administrator rights in the channel chat"),
            "destination",
        ),
        (400, refused(400, "Bad Request: CHAT_WRITE_FORBIDDEN"), "destination"),
        (400, refused(400, "Bad Request: TOPIC_CLOSED"), "destination"),
        (
            400,
            r#"{"ok":false,"description":"new words","parameters":{"migrate_to_chat_id":-5}}"#
                .to_owned(),
            "destination",
        ),
        (400, refused(400, "Bad Request: message is too long"), "message"),
        (401, refused(401, "Unauthorized"), "destination"),
        (403, refused(403, "Forbidden: bot was kicked from the group chat"), "destination"),
        (404, refused(404, "Not Found"), "destination"),
        (429, refused(429, "Too Many Requests: retry after 5"), "transient"),
        (502, refused(502, "Bad Gateway"), "transient"),
    ] {
        assert_eq!(judged(&telegram(), status, &body), expected, "{status} {body}");
    }
}

#[test]
fn how_long_to_wait_and_where_the_chat_went_is_in_the_body() {
    let judge = |status, body: Value| {
        let answer = answer(status, &body.to_string());
        verdict::judge(&answer, telegram().read(&answer)).unwrap_err()
    };
    let limited = judge(
        429,
        json!({"ok": false, "description": "Too Many Requests: retry after 5",
                                    "parameters": {"retry_after": 5}}),
    );
    let SendError::Transient { retry_after, .. } = limited else { panic!("{limited:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(5)));
    let moved = "Bad Request: group chat was upgraded to a supergroup chat";
    let moved = judge(
        400,
        json!({"ok": false, "description": moved,
                                  "parameters": {"migrate_to_chat_id": -1009}}),
    );
    assert!(matches!(moved, SendError::Destination { .. }));
    assert!(moved.to_string().ends_with("chat_id is -1009 now"), "{moved}");
}
