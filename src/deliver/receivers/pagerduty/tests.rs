use std::sync::Arc;

use insta::assert_json_snapshot;

use super::*;
use crate::clock::Timestamp;
use crate::deliver::receivers::tests::{
    alert, envelope, judged, message, monsters, notification, section, told,
};
use crate::engine::{News, Notice};

fn pagerduty() -> PagerDuty {
    PagerDuty {
        enqueue: "https://events.pagerduty.com/v2/enqueue".parse().unwrap(),
        routing_key: SecretString::from("R0123456789"),
    }
}

fn of(alerts: &[News]) -> Envelope {
    let mut envelope = envelope(message(vec![section("RUNNING → CRASHED", &["c1", "c2"])]));
    let alerts: Vec<_> = alerts.iter().map(|news| alert("c1", *news)).collect();
    envelope.notification = notification(&alerts).into();
    envelope
}

#[test]
fn what_it_missed_itself_is_an_incident_and_that_another_is_back_ends_one() {
    for (receiver, action) in [("ops", "trigger"), ("other", "resolve")] {
        let mut envelope = of(&[News::Over]);
        assert_eq!(envelope.notification.receiver, "ops");
        Arc::make_mut(&mut envelope.notification).notice = Some(Notice {
            receiver: receiver.into(),
            reason: "401".into(),
            back_at: Some(Timestamp::default()),
            missed: Vec::new(),
            missed_in_all: 5,
        });
        let told = told(&pagerduty(), &envelope);
        assert_eq!(told["event_action"], action);
        if action == "trigger" {
            assert_eq!(told["payload"]["severity"], "info", "good news wakes nobody");
        }
    }
}

#[test]
fn what_fires_triggers_an_incident() {
    assert_json_snapshot!(told(&pagerduty(), &of(&[News::Firing])), @r#"
    {
      "client": "tocsin",
      "client_url": "https://alerts.example.com/api/alerts",
      "dedup_key": "t-9",
      "event_action": "trigger",
      "links": [
        {
          "href": "https://wiki.example.com/crashed?a=1&b=2",
          "text": "Runbook"
        },
        {
          "href": "https://alerts.example.com/api/alerts",
          "text": "Alerts"
        }
      ],
      "payload": {
        "class": "crashed",
        "component": "hello-python",
        "custom_details": {
          "details": "RUNNING → CRASHED\n  c1\n  c2\n\nRunbook: https://wiki.example.com/crashed?a=1&b=2\nAlerts: https://alerts.example.com/api/alerts",
          "firing": 1,
          "resolved": 0
        },
        "group": "toto",
        "severity": "critical",
        "source": "toto/hello-python",
        "summary": "CRITICAL crashed: 1 container of toto/hello-python",
        "timestamp": "2015-11-20T14:02:01Z"
      },
      "routing_key": "R0123456789"
    }
    "#);
}

#[test]
fn what_is_empty_is_no_part_of_the_source() {
    let mut envelope = of(&[News::Firing]);
    let labels = [("application", ""), ("service", "")].into();
    Arc::make_mut(&mut envelope.notification).labels = labels;
    assert_eq!(event(&envelope)["payload"]["source"], "crashed");
}

#[test]
fn what_is_over_resolves_the_same_incident() {
    assert_json_snapshot!(told(&pagerduty(), &of(&[News::Over])), @r#"
    {
      "dedup_key": "t-9",
      "event_action": "resolve",
      "routing_key": "R0123456789"
    }
    "#);
}

#[test]
fn an_incident_lasts_while_anything_of_the_group_fires() {
    let action = |envelope: &Envelope| event(envelope)["event_action"].clone();
    for news in [News::Firing, News::StillFiring, News::HadNotEnded, News::Happened] {
        assert_eq!(action(&of(&[news, News::Over])), "trigger", "{news:?}");
    }
    for news in [News::Over, News::BeganAndEnded, News::Withdrawn] {
        assert_eq!(action(&of(&[news])), "resolve", "{news:?}");
    }
    let mut others_fire = of(&[News::Over]);
    Arc::make_mut(&mut others_fire.notification).firing_in_group = 2;
    assert_eq!(action(&others_fire), "trigger");
}

#[test]
fn a_monster_stays_within_the_limits() {
    for message in monsters() {
        let told = told(&pagerduty(), &envelope(message));
        assert!(told.to_string().len() < 512 * 1024);
        let length = |value: &Value| value.as_str().unwrap().chars().count();
        assert!(length(&told["payload"]["summary"]) <= 1_024);
        assert!(length(&told["payload"]["source"]) <= 255);
        assert!(length(&told["dedup_key"]) <= 255);
        assert_eq!(told["links"], json!([]), "neither is a web address of a usual length");
        assert!(told.get("client_url").is_none());
    }
}

#[test]
fn answers_are_judged_by_what_is_to_be_done() {
    const TAKEN: &str = r#"{"status":"success","message":"Event processed","dedup_key":"t-9"}"#;
    const BAD_KEY: &str = r#"{"status":"invalid event","message":"Event object is invalid",
        "errors":["Length of 'routing_key' is incorrect (should be 32 characters)"]}"#;
    const BAD_EVENT: &str = r#"{"status":"invalid event","message":"Event object is invalid",
        "errors":["'payload.severity' is invalid"]}"#;
    const UNKNOWN_KEY: &str = r#"{"status":"invalid event","message":"Event object is invalid",
        "errors":["Invalid routing key"]}"#;
    for (status, body, expected) in [
        (400, UNKNOWN_KEY, "destination"),
        (400, r#"{"message":"Invalid Routing Key"}"#, "destination"),
        (400, "Invalid routing key", "destination"),
        (400, "Bad request", "message"),
        (202, TAKEN, "accepted"),
        (200, "<html>log in", "transient"),
        (400, BAD_KEY, "destination"),
        (400, BAD_EVENT, "message"),
        (403, "", "destination"),
        (413, "", "message"),
        (429, "", "transient"),
        (500, "", "transient"),
    ] {
        assert_eq!(judged(&pagerduty(), status, body), expected, "{status} {body}");
    }
}
