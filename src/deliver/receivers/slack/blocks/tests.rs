use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{message, section};

fn characters(payload: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let blocks = payload["blocks"].as_array().unwrap();
    blocks
        .iter()
        .map(|block| {
            let elements = block["elements"].as_array().into_iter().flatten();
            length(&block["text"]["text"])
                + elements.map(|element| length(&element["text"])).sum::<usize>()
        })
        .sum()
}

/// Slack's limits, as FACTS.md has them.
fn assert_within_limits(payload: &Value) {
    assert!(payload["text"].as_str().unwrap().chars().count() <= 4_000);
    let blocks = payload["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50, "{} blocks", blocks.len());
    assert!(characters(payload) <= 13_000, "{} characters", characters(payload));
    for block in blocks {
        let limit = if block["type"] == "header" { 150 } else { 3_000 };
        let texts = block["elements"].as_array().into_iter().flatten().chain([&block["text"]]);
        for text in texts.filter_map(|text| text["text"].as_str()) {
            assert!(text.chars().count() <= limit, "{text}");
            assert!(!text.is_empty());
        }
    }
}

#[test]
fn a_message_becomes_blocks_with_a_text_beside_them() {
    let mut message = message(vec![
        section("RUNNING → CRASHED, exited with status 1", &["c1 · since 14:02 UTC", "c2"]),
        section("RUNNING → CRASHED, killed by SIGKILL", &["c3"]),
    ]);
    message.notes.push("and 490 more".into());
    assert_json_snapshot!(payload(&message), @r#"
    {
      "blocks": [
        {
          "text": {
            "emoji": false,
            "text": "CRITICAL crashed: 1 container of toto/hello-python",
            "type": "plain_text"
          },
          "type": "header"
        },
        {
          "text": {
            "text": "*RUNNING → CRASHED, exited with status 1*\n• c1 · since 14:02 UTC\n• c2",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "text": {
            "text": "*RUNNING → CRASHED, killed by SIGKILL*\n• c3",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "text": {
            "text": "and 490 more",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "elements": [
            {
              "text": "Runbook: <https://wiki.example.com/crashed?a=1&amp;b=2>",
              "type": "mrkdwn",
              "verbatim": true
            },
            {
              "text": "Alerts: <https://alerts.example.com/api/alerts>",
              "type": "mrkdwn",
              "verbatim": true
            }
          ],
          "type": "context"
        }
      ],
      "text": "CRITICAL crashed: 1 container of toto/hello-python\nRUNNING → CRASHED, exited with status 1\nRUNNING → CRASHED, killed by SIGKILL",
      "unfurl_links": false,
      "unfurl_media": false
    }
    "#);
}

#[test]
fn nothing_in_data_calls_people_or_makes_links() {
    let hostile = "<!channel> <@U1> <https://evil.example.com|x> & &lt;";
    let mut message = message(vec![section(hostile, &[hostile])]);
    message.notes.push(hostile.into());
    message.runbook_url = Some("https://wiki.example.com/a|b>c&d".into());
    let payload = payload(&message);
    assert_eq!(
        payload["blocks"][1]["text"]["text"],
        "*&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example.com|x&gt; &amp; &amp;lt;*\n\
         • &lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example.com|x&gt; &amp; &amp;lt;"
    );
    assert_eq!(
        payload["blocks"][3]["elements"][0]["text"],
        "Runbook: <https://wiki.example.com/a%7Cb%3Ec&amp;d>"
    );
    let json = payload.to_string();
    for never in ["<!", "<@", "<https://evil", "link_names", "\"parse\""] {
        assert!(!json.contains(never), "{never} in {json}");
    }
}

#[test]
fn five_hundred_alerts_with_long_names_stay_within_the_limits() {
    let long = "<&>".repeat(60);
    let sections = (0..500)
        .map(|number| section(&format!("{number}{long}"), &[long.as_str(), long.as_str()]))
        .collect();
    let mut message = message(sections);
    message.title = "<&>".repeat(500);
    message.notes = vec!["&".repeat(5_000); 20];
    message.runbook_url = Some(format!("https://x.example.com/{}", "&".repeat(5_000)));
    let payload = payload(&message);
    assert_within_limits(&payload);
    assert!(payload.to_string().contains(SHORTENED));
}

#[test]
fn five_hundred_short_sections_stay_within_fifty_blocks() {
    let sections = (0..500).map(|number| section(&format!("s{number}"), &["c"])).collect();
    let payload = payload(&message(sections));
    assert_within_limits(&payload);
    assert!(payload.to_string().contains(SHORTENED));
}

#[test]
fn a_template_of_any_size_stays_within_the_limits() {
    for text in ["&\n".repeat(30_000), "<".repeat(60_000), "\n\n\n".into(), "a\n\nb".into()] {
        let message = Message { body: Body::Custom(text), ..message(Vec::new()) };
        assert_within_limits(&payload(&message));
    }
}

#[test]
fn a_plain_message_is_text_only() {
    let mut message = message(vec![section("a <b> & c", &["c1"])]);
    message.plain = true;
    let payload = payload(&message);
    assert!(payload.get("blocks").is_none());
    assert!(payload["text"].as_str().unwrap().contains("a &lt;b&gt; &amp; c"));
}

#[test]
fn a_place_that_knows_no_blocks_gets_all_of_it_as_text_and_no_name_calls_people() {
    let payload = text_only(&message(vec![section("a <b> @all", &["c1 @here"])]));
    assert_eq!(
        payload["text"],
        "CRITICAL crashed: 1 container of toto/hello-python\n\na &lt;b&gt; @\u{200b}all\n  c1 \
         @\u{200b}here\n\nRunbook: https://wiki.example.com/crashed?a=1&amp;b=2\n\
         Alerts: https://alerts.example.com/api/alerts"
    );
    assert_eq!(payload.as_object().unwrap().len(), 1, "{payload}");
    let long = text_only(&message(vec![section(&"@".repeat(10_000), &[])]));
    assert!(long["text"].as_str().unwrap().chars().count() <= 5_250);
    assert!(long["text"].as_str().unwrap().contains(SHORTENED));
}
