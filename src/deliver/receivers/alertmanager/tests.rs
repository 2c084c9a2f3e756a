use std::sync::Arc;

use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{
    alert as news, at, envelope, judged, message, monsters, notification, section, told,
};
use crate::engine::Notice;

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
fn what_there_is_to_know_of_the_message_stands_in_the_description() {
    let mut envelope = of(&[news("c1", News::Firing)]);
    envelope.message.notes.push("and 490 more".into());
    envelope.message.remarks.push("told here, since oncall takes nothing".into());
    let description = payload(&envelope)[0]["annotations"]["description"].clone();
    assert_eq!(
        description,
        "told here, since oncall takes nothing\n\ncontainer c1\nstarted 3 times\nsince 14:02 UTC"
    );
}

#[test]
fn that_a_receiver_is_down_is_told_in_its_own_words_and_with_a_severity() {
    let mut envelope = of(&[AlertNews {
        labels: [("receiver", "oncall")].into(),
        event: None,
        ..news("oncall", News::Firing)
    }]);
    let notification = Arc::make_mut(&mut envelope.notification);
    notification.rule = "receiver-down".into();
    notification.notice = Some(Notice {
        receiver: "oncall".into(),
        reason: "404 no_service".into(),
        back_at: None,
        missed: Vec::new(),
        missed_in_all: 0,
    });
    envelope.message.title = "CRITICAL receiver-down: oncall takes nothing".into();
    envelope.message.body = Body::Sections(vec![section("404 no_service", &["since 14:02 UTC"])]);
    let told = payload(&envelope)[0].clone();
    assert_eq!(
        told["labels"],
        json!({"alertname": "receiver-down", "receiver": "oncall", "severity": "critical"})
    );
    let annotations = &told["annotations"];
    assert_eq!(annotations["summary"], "CRITICAL receiver-down: oncall takes nothing");
    assert_eq!(annotations["description"], "404 no_service\n  since 14:02 UTC");
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
