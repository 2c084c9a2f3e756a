use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{message, section};

/// All texts of a block, wherever in it they are.
fn texts(block: &Value) -> Vec<&str> {
    let nested = block["elements"].as_array().into_iter().flatten().flat_map(texts);
    let own = block["text"].as_str().or(block["text"]["text"].as_str());
    own.into_iter().chain(nested).collect()
}

/// Slack's limits, as FACTS.md has them.
fn assert_within_limits(payload: &Value) {
    assert!(payload["text"].as_str().unwrap().chars().count() <= 4_000);
    let blocks = payload["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50, "{} blocks", blocks.len());
    let mut all = 0;
    for block in blocks {
        let limit = if block["type"] == "header" { 150 } else { 3_000 };
        let texts = texts(block);
        let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
        assert!(texts.iter().all(|text| !text.is_empty()) && !texts.is_empty(), "{block}");
        assert!(characters <= limit, "{block}");
        all += characters;
    }
    assert!(all <= 13_000, "{all} characters");
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
          "elements": [
            {
              "elements": [
                {
                  "style": {
                    "bold": true
                  },
                  "text": "RUNNING → CRASHED, exited with status 1",
                  "type": "text"
                },
                {
                  "text": "\n• c1 · since 14:02 UTC\n• c2",
                  "type": "text"
                }
              ],
              "type": "rich_text_section"
            }
          ],
          "type": "rich_text"
        },
        {
          "elements": [
            {
              "elements": [
                {
                  "style": {
                    "bold": true
                  },
                  "text": "RUNNING → CRASHED, killed by SIGKILL",
                  "type": "text"
                },
                {
                  "text": "\n• c3",
                  "type": "text"
                }
              ],
              "type": "rich_text_section"
            }
          ],
          "type": "rich_text"
        },
        {
          "elements": [
            {
              "elements": [
                {
                  "text": "and 490 more",
                  "type": "text"
                }
              ],
              "type": "rich_text_section"
            }
          ],
          "type": "rich_text"
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
      "mrkdwn": false,
      "text": "CRITICAL crashed: 1 container of toto/hello-python\nRUNNING → CRASHED, exited with status 1\nRUNNING → CRASHED, killed by SIGKILL",
      "unfurl_links": false,
      "unfurl_media": false
    }
    "#);
}

#[test]
fn nothing_in_data_is_markup_calls_people_or_makes_links() {
    let hostile = "<!channel> <@U1> *b* _i_ ~s~ `c` <https://evil.example.com|x> & &lt; :bell:";
    let mut message = message(vec![section(hostile, &[hostile])]);
    message.notes.push(hostile.into());
    message.runbook_url = Some("https://wiki.example.com/a|b>c&d_*@e".into());
    let payload = payload(&message);
    let blocks = payload["blocks"].as_array().unwrap();
    let kinds: Vec<&Value> = blocks.iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["header", "rich_text", "rich_text", "context"]);
    // As it is, in what knows no markup; and no link or mention to who reads it as markup all the same.
    let literal = hostile.replace('<', "<\u{200b}");
    let lines = format!("\n• {literal}");
    assert_eq!(texts(&blocks[1]), [literal.as_str(), &lines]);
    assert_eq!(texts(&blocks[2]), [literal.as_str()]);
    assert_eq!(
        blocks[3]["elements"][0]["text"],
        "Runbook: <https://wiki.example.com/a%7Cb%3Ec&amp;d_*@e>"
    );
    assert_eq!(payload["mrkdwn"], false);
    let text = payload["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt; &lt;@U1&gt;") && !text.contains('<'), "{text}");
    let json = payload.to_string();
    assert!(!json.contains("link_names") && !json.contains("\"parse\""), "{json}");
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
    assert_eq!(payload["mrkdwn"], false);
    assert!(payload["text"].as_str().unwrap().contains("a &lt;b&gt; &amp; c"));
}

#[test]
fn a_place_that_knows_no_blocks_gets_all_of_it_as_text_in_which_only_our_links_are_links() {
    let mut message = message(vec![section("a <b> @all", &["c_1 [x](http://e.vil) ![](y) $x$"])]);
    message.runbook_url = Some("https://wiki.example.com/@ops/a_b_c-d?a=1&b=2".into());
    let payload = text_only(&message);
    assert_eq!(
        payload["text"].as_str().unwrap().replace('\u{200b}', "¦"),
        "CRITICAL crashed: 1 container of toto/hello\\-python\n\na &lt;b&gt; @¦all\n  \
         c\\_1 [x]¦(http:¦//¦e\\.¦vil) \\![]¦(y) \\$¦x\\$\n\n\
         Runbook: https://wiki.example.com/@ops/a_b_c-d?a=1&amp;b=2\n\
         Alerts: https://alerts.example.com/api/alerts"
    );
    assert_eq!(payload.as_object().unwrap().len(), 1, "{payload}");
}

#[test]
fn a_rules_own_words_have_their_links_where_blocks_are_not_known() {
    let text = "c_1: https://grafana.example.com/d/a-b_c?x=1 *now*";
    let told = text_only(&Message {
        body: Body::Custom(text.into()),
        ..message(Vec::new()).without_closing()
    });
    let told = told["text"].as_str().unwrap();
    let (_, body) = told.split_once("\n\n").unwrap();
    assert_eq!(body, "c\\_1: https://grafana.example.com/d/a-b_c?x=1 \\*now\\*");
}

#[test]
fn what_is_disarmed_stays_within_the_limit_and_where_to_read_more_is_not_cut() {
    for hostile in ["@", "*", "&", "`", "]("] {
        let long = text_only(&message(vec![section(&hostile.repeat(10_000), &[])]));
        let text = long["text"].as_str().unwrap();
        assert!(text.chars().count() <= TEXT, "{}", text.chars().count());
        assert!(text.contains(SHORTENED), "{text}");
        assert!(text.ends_with("\nAlerts: https://alerts.example.com/api/alerts"), "{text}");
    }
}
