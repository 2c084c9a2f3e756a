//! The words for a digest, by example.

use std::time::Duration;

use insta::assert_snapshot;

use super::{ID, alert, at, context, map, notification};
use crate::engine::{AlertNews, Cause, DeliveryId, Digest, News, Notification};
use crate::message::{Context, Message, Status, Templates, word};
use crate::rules::Severity;

/// A digest of these, for `ops`.
fn digest_of(of: Vec<Notification>) -> Notification {
    let firing = of.iter().map(|said| said.firing).sum();
    let resolved = of.iter().map(|said| said.resolved).sum();
    let due_at = of.iter().map(|said| said.due_at).min().unwrap();
    Notification {
        rule: "digest".into(),
        firing,
        resolved,
        due_at,
        alerts: Vec::new(),
        digest: Some(Digest {
            id: DeliveryId("0123abcd".into()),
            of: of.into_iter().map(Into::into).collect(),
        }),
        ..notification(Vec::new())
    }
}

fn of_service(service: &str, alerts: Vec<AlertNews>) -> Notification {
    let labels = map(&[("application", "shop"), ("service", service)]);
    Notification { labels, ..notification(alerts) }
}

fn worded(notification: &Notification, context: &Context<'_>) -> Message {
    word(notification, &Templates::new(), context)
}

#[test]
fn a_digest_has_a_line_for_each_group_with_counts_and_exits() {
    let firing = vec![alert(ID, News::Firing), alert("b", News::Firing), alert("c", News::Over)];
    let warning = Notification {
        severity: Severity::Warning,
        receiver: "oncall".into(),
        due_at: at("14:02:00"),
        ..of_service("cart", vec![alert(ID, News::Over)])
    };
    let digest = digest_of(vec![of_service("web", firing), warning]);
    assert_snapshot!(worded(&digest, &context()).text(), @r"
    CRITICAL digest: 2 messages in one, 2 firing, 2 over

    critical
      CRITICAL crashed: 2 containers of shop/web, 1 over · RUNNING → CRASHED, exited with status 1 · over: RUNNING → CRASHED, exited with status 1

    warning
      OVER crashed: 1 container of shop/cart · over: RUNNING → CRASHED, exited with status 1 · for oncall

    the first of these is told 4 min late

    Alerts: https://alerts.example.com/api/deliveries?digest=0123abcd
    ");
    let nowhere = Context { external_url: None, ..context() };
    let notes = worded(&digest, &nowhere).notes;
    assert_eq!(notes.last().unwrap(), "all of it: tocsin deliveries list --digest 0123abcd");
}

#[test]
fn a_digest_lists_twenty_and_counts_the_rest() {
    let of = (0..37).map(|number| of_service(&format!("s{number}"), vec![alert(ID, News::Over)]));
    let message = worded(&digest_of(of.collect()), &context());
    let text = message.text();
    assert_eq!(text.matches("shop/s").count(), 20);
    assert!(text.contains("and 17 more"), "{text}");
    assert_eq!(message.title, "OVER digest: 37 messages in one, 37 over");
    assert_eq!(message.status, Status::Over);
}

#[test]
fn a_digest_of_what_only_ended_is_no_recovery() {
    let expired = AlertNews { cause: Some(Cause::Expired), ..alert(ID, News::Over) };
    let of =
        vec![of_service("web", vec![expired]), of_service("cart", vec![alert(ID, News::Over)])];
    let message = worded(&digest_of(of), &context());
    assert_eq!(message.status, Status::Ended);
    assert_eq!(message.title, "ENDED digest: 2 messages in one, 2 over");
}

#[test]
fn no_line_of_a_digest_is_too_long() {
    let long = "x".repeat(1000);
    let of = vec![of_service(&long, vec![alert(&long, News::Firing)]); 20];
    let message = worded(&digest_of(of), &context());
    assert!(message.text().lines().all(|line| line.chars().count() < 150));
    let late = digest_of(vec![Notification {
        due_at: at("14:06:00").minus(Duration::from_secs(600)),
        ..of_service("web", vec![alert(ID, News::Firing)])
    }]);
    let notes = worded(&late, &context()).notes;
    assert_eq!(notes, ["the first of these is told 10 min late"]);
    let later = Context { now: at("14:16:00"), ..context() };
    let notes = worded(&late, &later).notes;
    assert_eq!(notes, ["the first of these is told 20 min late"], "tried in vain meanwhile");
}
