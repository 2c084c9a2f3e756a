use std::sync::Arc;

use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{
    alert as news, at, envelope, judged, message, monsters, notification, section, told,
};

fn alertmanager() -> Alertmanager {
    Alertmanager { alerts: "https://am.example.com/api/v2/alerts".parse().unwrap() }
}

fn of(alerts: &[AlertNews]) -> Envelope {
    let mut envelope = envelope(message(vec![section("RUNNING → CRASHED", &["c1"])]));
    envelope.notification = notification(alerts).into();
    envelope
}

#[test]
fn each_alert_is_an_alert_there() {
    let alerts = [news("c1", News::Firing), news("c2", News::Over)];
    assert_json_snapshot!(told(&alertmanager(), &of(&alerts)), @r#"
    [
      {
        "annotations": {
          "description": "container c1\nstarted 3 times\nsince 14:02 UTC",
          "runbook_url": "https://wiki.example.com/crashed?a=1&b=2",
          "summary": "RUNNING → CRASHED, exited with status 1"
        },
        "endsAt": "2015-11-27T14:02:07Z",
        "generatorURL": "https://alerts.example.com/api/alerts",
        "labels": {
          "alertname": "crashed",
          "application": "toto",
          "id": "c1",
          "rule": "crashed"
        },
        "startsAt": "2015-11-20T14:02:01Z"
      },
      {
        "annotations": {
          "description": "container c2\nstarted 3 times\nrunning again 14:03 UTC, after 1 min",
          "runbook_url": "https://wiki.example.com/crashed?a=1&b=2",
          "summary": "over: RUNNING → CRASHED, exited with status 1"
        },
        "endsAt": "2015-11-20T14:03:01Z",
        "generatorURL": "https://alerts.example.com/api/alerts",
        "labels": {
          "alertname": "crashed",
          "application": "toto",
          "id": "c2",
          "rule": "crashed"
        },
        "startsAt": "2015-11-20T14:02:01Z"
      }
    ]
    "#);
}

#[test]
fn an_alert_fires_there_until_it_is_told_that_it_is_over() {
    let ends = |news: AlertNews| payload(&of(&[news]))[0]["endsAt"].clone();
    assert_eq!(ends(news("c", News::StillFiring)), json!(at("2015-11-27T14:02:07Z")));
    assert_eq!(ends(news("c", News::Happened)), json!(at("2015-11-20T14:07:07Z")));
    assert_eq!(ends(news("c", News::Over)), json!(at("2015-11-20T14:03:01Z")));
    let mut withdrawn = news("c", News::Withdrawn);
    withdrawn.ended_at = None;
    assert_eq!(ends(withdrawn), json!(at("2015-11-20T14:02:07Z")));
    let mut ahead = news("c", News::Withdrawn);
    (ahead.started_at, ahead.ended_at) = (at("2015-11-20T15:00:00Z"), None);
    assert_eq!(ends(ahead), json!(at("2015-11-20T15:00:00Z")), "not before it began");
}

#[test]
fn alerts_that_are_only_counted_are_alluded_to() {
    let mut envelope = of(&[news("c1", News::Firing)]);
    Arc::make_mut(&mut envelope.notification).firing = 491;
    let told = payload(&envelope);
    assert_eq!(told.as_array().unwrap().len(), 2);
    assert_eq!(told[1]["labels"]["left_out"], "true");
    assert_eq!(told[1]["labels"]["application"], "toto");
    assert_eq!(told[1]["annotations"]["summary"], "and 490 more alerts, which are not listed");
}

#[test]
fn labels_are_named_as_prometheus_has_it() {
    for (name, named) in
        [("exit.signal", "exit_signal"), ("9x", "_9x"), ("é", "_"), ("", "_"), ("a_B9", "a_B9")]
    {
        assert_eq!(label_name(name), named);
    }
    let mut alert = news("c1", News::Firing);
    alert.labels = [("service", "")].into();
    assert_eq!(labels("crashed", &alert.labels), [("alertname".into(), "crashed".into())].into());
}

#[test]
fn a_monster_is_cut_to_a_size_that_can_be_read() {
    for message in monsters() {
        let mut envelope = envelope(message);
        let mut alert = news(&"x".repeat(100_000), News::Firing);
        alert.labels = [("id", "\"\\\n".repeat(50_000).as_str())].into();
        envelope.notification = notification(&vec![alert; 50]).into();
        assert!(told(&alertmanager(), &envelope).to_string().len() < 1_000_000);
    }
}

#[test]
fn answers_are_judged_by_what_is_to_be_done() {
    for (status, body, expected) in [
        (200, "", "accepted"),
        (200, "<html>", "transient"),
        (202, "", "transient"),
        (400, r#""at least one label pair required""#, "message"),
        (401, "", "destination"),
        (404, "path \"/api/v2/alerts\" was not found", "destination"),
        (422, r#"{"code":602,"message":"body in body is required"}"#, "message"),
        (429, "", "transient"),
        (500, r#""no""#, "transient"),
    ] {
        assert_eq!(judged(&alertmanager(), status, body), expected, "{status} {body}");
    }
}
