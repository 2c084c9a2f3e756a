use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{at, envelope, judged, message, monsters, section, told};
use crate::message::text::SHORTENED;

fn ntfy() -> Ntfy {
    let url = "https://ntfy.example.com/sub/alerts-s3cret".parse().unwrap();
    Ntfy::new(url, None).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_message_is_published_as_json_to_the_server() {
    let mut message = message(vec![section("RUNNING → CRASHED", &["c1 · since 14:02 UTC", "c2"])]);
    message.title = "CRITICAL été\r\nX-Evil: 1".into();
    assert_json_snapshot!(told(&ntfy(), &envelope(message)), @r#"
    {
      "actions": [
        {
          "action": "view",
          "label": "Runbook",
          "url": "https://wiki.example.com/crashed?a=1&b=2"
        }
      ],
      "click": "https://alerts.example.com/api/alerts",
      "message": "RUNNING → CRASHED\n  c1 · since 14:02 UTC\n  c2\n\nRunbook: https://wiki.example.com/crashed?a=1&b=2\nAlerts: https://alerts.example.com/api/alerts",
      "priority": 5,
      "tags": [
        "rotating_light"
      ],
      "title": "CRITICAL été X-Evil: 1",
      "topic": "alerts-s3cret"
    }
    "#);
    assert_eq!(ntfy().server.as_str(), "https://ntfy.example.com/sub");
}

#[test]
fn a_token_is_a_bearer() {
    let url = "https://ntfy.example.com/t".parse().unwrap();
    let bearer = crate::deliver::receivers::http::bearer("tk_1");
    let ntfy = Ntfy::new(url, bearer.ok()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ntfy.server.path(), "/");
    let request = ntfy.request(&envelope(message(Vec::new())), at("2015-11-20T14:02:08Z"));
    assert_eq!(request.headers["authorization"], "Bearer tk_1");
}

#[test]
fn a_url_without_a_topic_is_refused_and_not_repeated() {
    for wrong in ["https://s3cret.example.com", "https://n/", "https://n/s3cret.x"] {
        let error = Ntfy::new(wrong.parse().unwrap(), None).map(drop).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_monster_stays_within_the_limits() {
    for message in monsters() {
        let told = told(&ntfy(), &envelope(message));
        assert!(told["message"].as_str().unwrap().len() <= 4_096);
        assert!(told["message"].as_str().unwrap().contains(SHORTENED));
        assert!(told.to_string().len() <= 8_192, "{}", told.to_string().len());
    }
}

#[test]
fn only_our_links_are_links() {
    let mut message = message(vec![section("http://evil.example.com", &["see x.com"])]);
    message.title = "at evil.com".into();
    message.runbook_url = Some(format!("https://wiki.example.com/{}", "a".repeat(600)));
    for plain in [false, true] {
        message.plain = plain;
        let told = told(&ntfy(), &envelope(message.clone()));
        let shown = |key: &str| told[key].as_str().unwrap().replace('\u{200b}', "|");
        let text = shown("message");
        assert_eq!(shown("title"), "at evil.|com");
        assert!(text.starts_with("http:|//|evil.|example.|com\n  see x.|com\n\n"), "{text}");
        assert!(text.contains("Runbook: https:|//|wiki.|example.|com/aaa"), "too long: {text}");
        let end = format!("{SHORTENED}\nAlerts: https://alerts.example.com/api/alerts");
        assert!(text.ends_with(&end), "{text}");
    }
}

#[test]
fn answers_are_judged_by_what_is_to_be_done() {
    for (status, body, expected) in [
        (200, r#"{"id":"sPs71M8A2T","event":"message","topic":"t"}"#, "accepted"),
        (200, "<html>", "transient"),
        (
            400,
            r#"{"code":40024,"http":400,"error":"invalid request: body must be JSON"}"#,
            "message",
        ),
        (401, r#"{"code":40101,"http":401,"error":"unauthorized"}"#, "destination"),
        (403, r#"{"code":40301,"http":403,"error":"forbidden"}"#, "destination"),
        (404, "", "destination"),
        (413, r#"{"code":41301,"http":413,"error":"attachment too large"}"#, "message"),
        (429, r#"{"code":42901,"http":429,"error":"limit reached"}"#, "transient"),
        (507, "", "transient"),
    ] {
        assert_eq!(judged(&ntfy(), status, body), expected, "{status} {body}");
    }
}
