use secrecy::SecretString;

use super::http::{Answer, Place};
use super::*;
use crate::message::{Body, Section, Status};
use crate::rules::Severity;

pub(super) fn section(heading: &str, lines: &[&str]) -> Section {
    Section {
        heading: heading.to_owned(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    }
}

pub(super) fn message(sections: Vec<Section>) -> Message {
    Message {
        rule: "crashed".into(),
        severity: Severity::Critical,
        status: Status::Firing,
        title: "CRITICAL crashed: 1 container of toto/hello-python".into(),
        topic: "[critical] crashed: toto/hello-python".into(),
        body: Body::Sections(sections),
        notes: Vec::new(),
        runbook_url: Some("https://wiki.example.com/crashed?a=1&b=2".into()),
        link: Some("https://alerts.example.com/api/alerts".into()),
        plain: false,
    }
}

pub(super) fn envelope(message: Message) -> Envelope {
    Envelope {
        id: DeliveryId("d-17".into()),
        thread: "t-9".into(),
        created_at: Timestamp::from_micros(1_448_028_121_000_000),
        message,
        reached: Vec::new(),
    }
}

pub(super) fn answer(status: u16, body: &str) -> Answer {
    Answer { status, retry_after: None, body: body.into() }
}

/// What is to be done, in a word.
pub(super) fn class(judged: &Result<Accepted, SendError>) -> &'static str {
    match judged {
        Ok(_) => "accepted",
        Err(SendError::Transient { .. }) => "transient",
        Err(SendError::Unknown { .. }) => "unknown",
        Err(SendError::Message { .. }) => "message",
        Err(SendError::Destination { .. }) => "destination",
    }
}

/// What is to be done about this answer of this place, in a word.
pub(super) fn judged(place: &impl Place, status: u16, body: &str) -> &'static str {
    let answer = answer(status, body);
    class(&verdict::judge(&answer, place.read(&answer)))
}

fn receiver(kind: ReceiverKind) -> Receiver {
    Receiver {
        name: "ops".into(),
        kind,
        timeout: Duration::from_secs(5),
        give_up_after: Duration::from_secs(60),
        allow_http: false,
    }
}

fn email(url: &str, from: &str, to: &[&str]) -> Receiver {
    receiver(ReceiverKind::Email {
        smtp_url: SecretString::from(url),
        from: from.into(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
    })
}

fn slack(url: &str) -> Receiver {
    receiver(ReceiverKind::Slack { webhook_url: SecretString::from(url) })
}

fn keys(receiver: &Receiver) -> Vec<&'static str> {
    validate(receiver).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn what_is_wrong_is_said_at_its_key() {
    assert!(keys(&receiver(ReceiverKind::Console)).is_empty());
    assert!(keys(&slack("https://hooks.slack.com/services/T/B/x")).is_empty());
    assert_eq!(keys(&slack("http://hooks.slack.com/services/T/B/x")), ["webhook_url"]);
    assert_eq!(keys(&slack("nonsense")), ["webhook_url"]);
    let good = email("smtps://u:p@mail.example.com", "tocsin <a@example.com>", &["b@example.com"]);
    assert!(keys(&good).is_empty());
    let bad = email("https://mail.example.com", "tocsin", &["b@example.com", "nobody"]);
    assert_eq!(keys(&bad), ["smtp_url", "from", "to"]);
    assert_eq!(keys(&email("smtp://127.0.0.1", "a@example.com", &[])), ["to"]);
}

#[test]
fn a_receiver_that_is_off_is_no_error() {
    let off = slack("");
    assert!(keys(&off).is_empty());
    assert!(build(&off).is_ok());
    let off = email("", "a@example.com", &["b@example.com"]);
    assert!(keys(&off).is_empty());
    assert!(build(&off).is_ok());
}

#[test]
fn no_error_repeats_a_secret() {
    for url in [
        "https://u:s3cret@mail.example.com",
        "smtp://u:s3cret%@mail.example.com",
        "smtp://u:s3#cret/x@mail.example.com:99999",
        "smtps://u:s3cret@mail.example.com/s3cret",
        "s3cret",
    ] {
        let errors = validate(&email(url, "a@example.com", &["b@example.com"]));
        assert!(!errors.is_empty(), "{url}");
        assert!(!format!("{errors:?}").contains("cret"), "{errors:?}");
    }
}

#[test]
fn every_kind_can_be_built() {
    for receiver in [
        receiver(ReceiverKind::Console),
        slack("https://hooks.slack.com/services/T/B/x"),
        email("smtp://127.0.0.1:2525", "a@example.com", &["b@example.com"]),
    ] {
        assert!(build(&receiver).is_ok());
    }
}
