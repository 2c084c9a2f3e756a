use std::time::Duration;

use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{
    answer, envelope, judged, message, monsters, section, told,
};
use crate::deliver::receivers::{SendError, verdict};
use crate::message::text::SHORTENED;

fn discord() -> Discord {
    Discord::new("https://discord.com/api/webhooks/1/token".parse().unwrap())
}

#[test]
fn a_message_is_an_embed_that_mentions_nobody() {
    let mut message =
        message(vec![section("RUNNING → CRASHED", &["c1_a · since 14:02 UTC", "c2"])]);
    message.notes.push("and 490 more".into());
    assert_json_snapshot!(told(&discord(), &envelope(message)), @r#"
    {
      "allowed_mentions": {
        "parse": []
      },
      "embeds": [
        {
          "color": 13840175,
          "description": "**RUNNING → CRASHED**\n• c1\\_a · since 14:02 UTC\n• c2\nand 490 more\nRunbook: <https://wiki.example.com/crashed?a=1&b=2>\nAlerts: <https://alerts.example.com/api/alerts>",
          "title": "CRITICAL crashed: 1 container of toto/hello\\-python",
          "url": "https://alerts.example.com/api/alerts"
        }
      ]
    }
    "#);
}

#[test]
fn it_is_asked_to_answer_with_the_message() {
    let asked = |url: &str| Discord::new(url.parse().unwrap()).url.to_string();
    assert_eq!(asked("https://d/w?thread_id=5"), "https://d/w?thread_id=5&wait=true");
    assert_eq!(asked("https://d/w?wait=false"), "https://d/w?wait=false");
}

#[test]
fn a_monster_stays_within_the_limits_and_mentions_nobody() {
    for message in monsters() {
        let told = told(&discord(), &envelope(message));
        let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
        let embed = &told["embeds"][0];
        assert!(length(&told["content"]) <= 2_000);
        assert!(length(&embed["title"]) <= 256);
        assert!(length(&embed["description"]) <= 4_096);
        assert!(told.to_string().contains(SHORTENED));
        assert_eq!(told["allowed_mentions"], json!({"parse": []}));
    }
}

#[test]
fn only_our_links_are_links() {
    let mut message = message(vec![section("http://evil.example.com", &[])]);
    for plain in [false, true] {
        message.plain = plain;
        let told = told(&discord(), &envelope(message.clone())).to_string();
        assert!(!told.contains("http://"), "{told}");
        assert!(told.contains("Runbook: <https://wiki.example.com/crashed?a=1&b=2>"), "{told}");
    }
}

#[test]
fn an_address_that_is_too_long_for_a_link_is_told_in_part_and_is_none() {
    let mut message = message(vec![section("x", &[])]);
    message.runbook_url = Some(format!("https://wiki.example.com/{}", "a".repeat(600)));
    for plain in [false, true] {
        message.plain = plain;
        let told = told(&discord(), &envelope(message.clone())).to_string();
        let told = told.replace('\u{200b}', "|");
        assert!(told.contains("Runbook: https:|//|wiki.|example.|com/aaa"), "{told}");
        assert!(told.contains(&format!("{SHORTENED}\\nAlerts: <https://alerts.")), "{told}");
    }
}

#[test]
fn a_line_that_is_too_long_is_cut_and_not_left_out() {
    let message = Message { body: Body::Custom("x".repeat(9_000)), ..message(Vec::new()) };
    let told = told(&discord(), &envelope(message));
    let description = told["embeds"][0]["description"].as_str().unwrap();
    assert!(description.starts_with(&"x".repeat(900)), "{description}");
    assert!(description.contains(SHORTENED) && description.contains("Runbook: <https://wiki"));
}

#[test]
fn answers_are_judged_by_what_is_to_be_done() {
    for (status, body, expected) in [
        (200, r#"{"id":"123","content":""}"#, "accepted"),
        (204, "", "accepted"),
        (200, "<html>", "transient"),
        (400, r#"{"message":"Cannot send an empty message","code":50006}"#, "message"),
        (401, r#"{"message":"Invalid Webhook Token","code":50027}"#, "destination"),
        (404, r#"{"message":"Unknown Webhook","code":10015}"#, "destination"),
        (400, r#"{"message":"Unknown Channel","code":10003}"#, "destination"),
        (400, r#"{"message":"Thread is archived","code":50083}"#, "destination"),
        (400, r#"{"message":"Thread is locked","code":160005}"#, "destination"),
        (400, r#"{"message":"Webhooks posted to forum channels","code":220001}"#, "destination"),
        (400, r#"{"message":"Webhooks can only create threads","code":220003}"#, "destination"),
        (403, "", "destination"),
        (429, r#"{"message":"You are being rate limited.","retry_after":0.5}"#, "transient"),
        (500, "", "transient"),
    ] {
        assert_eq!(judged(&discord(), status, body), expected, "{status} {body}");
    }
}

#[test]
fn how_long_to_wait_is_in_the_body() {
    let answer = answer(429, r#"{"message":"You are being rate limited.","retry_after":0.5}"#);
    let expected = SendError::Transient {
        detail: "429 You are being rate limited.".into(),
        retry_after: Some(Duration::from_millis(500)),
        reached: Vec::new(),
    };
    assert_eq!(verdict::judge(&answer, discord().read(&answer)), Err(expected));
}
