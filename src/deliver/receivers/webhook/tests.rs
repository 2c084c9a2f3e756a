use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{
    alert as news, at, envelope, judged, message, monsters, notification, section, told,
};
use crate::engine::News;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn webhook(secrets: &[&str]) -> Webhook {
    let keys = secrets.iter().filter_map(|secret| Key::parse(secret).ok());
    Webhook { url: "https://example.com/hook".parse().unwrap(), keys: keys.collect() }
}

fn crashed() -> Envelope {
    let mut envelope = envelope(message(vec![section("RUNNING → CRASHED", &["c1"])]));
    envelope.notification =
        notification(&[news("c1", News::Firing), news("c2", News::Over)]).into();
    envelope
}

#[test]
fn a_notification_is_json_of_a_known_version() {
    assert_json_snapshot!(told(&webhook(&[]), &crashed()), @r#"
    {
      "data": {
        "alerts": [
          {
            "before": null,
            "cause": null,
            "containers": [
              "c1"
            ],
            "containers_in_all": 1,
            "ended_by": null,
            "event": {
              "counters": {
                "start": 3
              },
              "data": {
                "last_exit_status": {
                  "exit_status": 1,
                  "reason": "exited"
                }
              },
              "id": "c1",
              "prev_state": "RUNNING",
              "state": "CRASHED",
              "timestamp": 1448028121.0
            },
            "heard_at": "2015-11-20T14:02:02Z",
            "labels": {
              "application": "toto",
              "id": "c1",
              "rule": "crashed"
            },
            "news": "firing",
            "occurrences": 1,
            "resolved_at": null,
            "started_at": "2015-11-20T14:02:01Z",
            "status": "firing"
          },
          {
            "before": null,
            "cause": "resolved",
            "containers": [
              "c2"
            ],
            "containers_in_all": 1,
            "ended_by": {
              "counters": {
                "start": 3
              },
              "data": {
                "last_exit_status": {
                  "exit_status": 1,
                  "reason": "exited"
                }
              },
              "id": "c2",
              "prev_state": "STARTING",
              "state": "RUNNING",
              "timestamp": 1448028121.0
            },
            "event": {
              "counters": {
                "start": 3
              },
              "data": {
                "last_exit_status": {
                  "exit_status": 1,
                  "reason": "exited"
                }
              },
              "id": "c2",
              "prev_state": "RUNNING",
              "state": "CRASHED",
              "timestamp": 1448028121.0
            },
            "heard_at": "2015-11-20T14:02:02Z",
            "labels": {
              "application": "toto",
              "id": "c2",
              "rule": "crashed"
            },
            "news": "over",
            "occurrences": 1,
            "resolved_at": "2015-11-20T14:03:01Z",
            "started_at": "2015-11-20T14:02:01Z",
            "status": "resolved"
          }
        ],
        "alerts_left_out": 0,
        "firing": 1,
        "firing_in_group": 1,
        "group": "t-9",
        "id": "d-17",
        "labels": {
          "application": "toto",
          "service": "hello-python"
        },
        "link": "https://alerts.example.com/api/alerts",
        "on": "event",
        "receiver": "ops",
        "resolved": 1,
        "rule": "crashed",
        "runbook_url": "https://wiki.example.com/crashed?a=1&b=2",
        "severity": "critical",
        "status": "firing",
        "text": "RUNNING → CRASHED\n  c1\n\nRunbook: https://wiki.example.com/crashed?a=1&b=2\nAlerts: https://alerts.example.com/api/alerts",
        "title": "CRITICAL crashed: 1 container of toto/hello-python"
      },
      "timestamp": "2015-11-20T14:02:07Z",
      "type": "notification",
      "version": 1
    }
    "#);
}

#[test]
fn a_request_is_signed_with_every_secret_under_an_id_that_stays() {
    let now = at("2015-11-20T14:02:08Z");
    let request = webhook(&[SECRET, SECRET]).request(&crashed(), now);
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("webhook-id"), Some("d-17"));
    assert_eq!(header("webhook-timestamp"), Some("1448028128"));
    let signatures: Vec<&str> = header("webhook-signature").unwrap().split(' ').collect();
    assert_eq!(signatures.len(), 2);
    assert_eq!(signatures[0], signatures[1]);

    let later = webhook(&[SECRET]).request(&crashed(), now.plus(std::time::Duration::from_secs(9)));
    assert_eq!(later.headers["webhook-id"], "d-17");
    assert_ne!(later.headers["webhook-signature"], signatures[0], "it signs the time, too");
}

#[test]
fn without_a_secret_nothing_is_signed() {
    let request = webhook(&[]).request(&crashed(), at("2015-11-20T14:02:08Z"));
    assert!(!request.headers.contains_key("webhook-signature"));
    assert!(request.headers.contains_key("webhook-id"));
}

#[test]
fn an_id_cannot_break_out_of_its_header() {
    let mut envelope = crashed();
    envelope.id.0 = "a\r\nX: y".into();
    let request = webhook(&[SECRET]).request(&envelope, at("2015-11-20T14:02:08Z"));
    assert!(!request.headers.contains_key("webhook-id"));
}

#[test]
fn what_is_too_much_leaves_payloads_out_first_and_says_how_many_alerts_are_missing() {
    let mut envelope = crashed();
    let mut large = news("c1", News::Firing);
    large.event = Some(json!({"junk": "x".repeat(100_000)}));
    envelope.notification = notification(&vec![large.clone(); 50]).into();
    let body = told(&webhook(&[]), &envelope)["data"].clone();
    assert!(body.to_string().len() <= BODY);
    assert_eq!(body["alerts"].as_array().unwrap().len(), 50);
    assert_eq!(body["alerts_left_out"], 0);
    assert!(body["alerts"][0]["event"].is_object());
    assert!(body["alerts"][49]["event"].is_null());

    large.container = "x".repeat(50_000);
    envelope.notification = notification(&vec![large; 50]).into();
    let body = told(&webhook(&[]), &envelope)["data"].clone();
    assert!(body.to_string().len() <= BODY);
    let kept = body["alerts"].as_array().unwrap().len();
    assert!(0 < kept && kept < 50, "{kept}");
    assert_eq!(body["alerts_left_out"], 50 - kept);
}

#[test]
fn of_more_than_fifty_alerts_fifty_are_listed_even_if_all_are_known() {
    let alerts: Vec<AlertNews> =
        (0..60).map(|number| news(&format!("c{number}"), News::Firing)).collect();
    let mut envelope = crashed();
    envelope.notification = notification(&alerts).into();
    let body = told(&webhook(&[]), &envelope)["data"].clone();
    assert_eq!(body["alerts"].as_array().unwrap().len(), 50);
    assert_eq!(body["alerts_left_out"], 10);
}

#[test]
fn a_plain_message_has_no_payloads() {
    let mut envelope = crashed();
    envelope.message.plain = true;
    assert!(told(&webhook(&[]), &envelope)["data"]["alerts"][0]["event"].is_null());
}

#[test]
fn whatever_is_said_arrives_as_it_is() {
    for message in monsters() {
        let title = message.title.clone();
        let told = told(&webhook(&[]), &envelope(message));
        assert_eq!(told["data"]["title"], title);
    }
}

#[test]
fn any_success_will_do_and_gone_is_for_good() {
    for (status, body, expected) in [
        (200, "", "accepted"),
        (202, "queued", "accepted"),
        (204, "", "accepted"),
        (302, "", "transient"),
        (307, "", "transient"),
        (400, "bad", "message"),
        (401, "", "destination"),
        (404, "", "destination"),
        (410, "", "destination"),
        (413, "", "message"),
        (429, "", "transient"),
        (500, "", "transient"),
        (502, "<html>", "transient"),
    ] {
        assert_eq!(judged(&webhook(&[]), status, body), expected, "{status} {body}");
    }
}
