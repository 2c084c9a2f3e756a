use std::sync::Arc;

use insta::assert_json_snapshot;

use super::*;
use crate::deliver::receivers::tests::{
    alert as news, at, envelope, judged, message, monsters, notification, section, told,
};
use crate::engine::Notice;

/// When it is told.
fn now() -> Timestamp {
    at("2015-11-20T14:12:00Z")
}

fn told_now(envelope: &Envelope) -> Value {
    payload(envelope, now()).into()
}

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
    assert_json_snapshot!(told_now(&of(&alerts)), @r#"
    [
      {
        "annotations": {
          "description": "container c1\nstarted 3 times\nsince 14:02 UTC",
          "runbook_url": "https://wiki.example.com/crashed?a=1&b=2",
          "summary": "RUNNING → CRASHED, exited with status 1"
        },
        "endsAt": "2015-11-27T14:12:00Z",
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
    let description = told_now(&envelope)[0]["annotations"]["description"].clone();
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
    let told = told_now(&envelope)[0].clone();
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
    let ends = |news: AlertNews| told_now(&of(&[news]))[0]["endsAt"].clone();
    assert_eq!(ends(news("c", News::StillFiring)), json!(at("2015-11-27T14:12:00Z")));
    assert_eq!(ends(news("c", News::Over)), json!(at("2015-11-20T14:03:01Z")));
    let mut withdrawn = news("c", News::Withdrawn);
    withdrawn.ended_at = None;
    assert_eq!(ends(withdrawn), json!(now()));
    let mut early = news("c", News::Over);
    early.started_at = at("2015-11-20T14:04:00Z");
    assert_eq!(ends(early), json!(at("2015-11-20T14:04:00Z")), "not before it began");
}

#[test]
fn what_happened_once_fires_for_a_while_however_late_it_arrives() {
    let happened = told_now(&of(&[news("c", News::Happened)]))[0].clone();
    assert_eq!(happened["endsAt"], json!(at("2015-11-20T14:17:00Z")));
}

#[test]
fn what_is_over_is_over_when_it_arrives_whatever_the_clock_of_its_producer_says() {
    let mut ahead = news("c", News::Over);
    ahead.started_at = at("2015-11-20T15:00:00Z");
    ahead.ended_at = Some(at("2015-11-20T16:00:00Z"));
    let over = told_now(&of(&[ahead]))[0].clone();
    assert_eq!((&over["startsAt"], &over["endsAt"]), (&json!(now()), &json!(now())));
}

#[test]
fn what_went_elsewhere_fires_for_a_while_and_asks_for_nothing() {
    let labels = [("receiver", "ops")].into();
    let mut envelope = of(&[AlertNews { labels, event: None, ..news("ops", News::Over) }]);
    Arc::make_mut(&mut envelope.notification).notice = Some(Notice {
        receiver: "ops".into(),
        reason: "no answer".into(),
        back_at: Some(at("2015-11-20T14:03:01Z")),
        missed: Vec::new(),
        missed_in_all: 3,
    });
    let told = told_now(&envelope)[0].clone();
    assert_eq!(told["endsAt"], json!(at("2015-11-20T14:17:00Z")));
    assert_eq!(told["labels"]["severity"], "info");
}

#[test]
fn every_alert_of_many_is_told_in_requests_of_a_size() {
    let alerts: Vec<AlertNews> = (0..600)
        .map(|number| AlertNews {
            event: (number < ALERTS).then(|| json!({"id": "x", "state": "CRASHED"})),
            ..news(&format!("c{number}"), News::Firing)
        })
        .collect();
    let requests = alertmanager().requests(&of(&alerts), now());
    let bodies = requests.iter().map(|it| serde_json::from_slice::<Vec<Value>>(&it.body).unwrap());
    let bodies: Vec<Vec<Value>> = bodies.collect();
    assert_eq!(bodies.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 88]);
    let last = &bodies[2][87];
    assert_eq!(last["labels"]["id"], "c599");
    let annotations = &last["annotations"];
    assert_eq!(annotations["summary"], "CRITICAL crashed: 1 container of toto/hello-python");
    assert_eq!(annotations["description"], "container c599\nsince 14:02 UTC");
}

#[test]
fn alerts_that_are_only_counted_are_alluded_to() {
    let mut envelope = of(&[news("c1", News::Firing)]);
    Arc::make_mut(&mut envelope.notification).firing = 491;
    let told = told_now(&envelope);
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
    assert_eq!(
        labels("crashed", &[("service", "")].into()),
        [("alertname".into(), "crashed".into())].into()
    );
}

#[test]
fn alerts_whose_labels_differ_are_not_one_alert_there() {
    let long = |end: &str| labels("crashed", &[("id", &*("x".repeat(2_000) + end))].into());
    assert_ne!(long("1"), long("2"));
    assert_eq!(long("1")["id"].chars().count(), VALUE);
    assert!(long("1")["id"].contains("… (shortened) "), "{:?}", long("1"));

    let alike = labels("r", &[("a.b", "1"), ("a-b", "2"), ("a_b", "3"), ("alertname", "4")].into());
    let values: Vec<&str> = alike.values().map(String::as_str).collect();
    assert_eq!((&*alike["a_b"], &*alike["alertname"]), ("3", "r"));
    assert_eq!(alike.len(), 5, "{alike:?}");
    assert!(["1", "2", "4"].iter().all(|value| values.contains(value)), "{alike:?}");
    assert!(alike.keys().all(|name| label_name(name) == *name), "{alike:?}");
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
