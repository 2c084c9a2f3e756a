use secrecy::SecretString;
use serde_json::{Value, json};

use super::http::{Answer, Place};
use super::*;
use crate::clock::Timestamp;
use crate::engine::{AlertNews, Cause, News};
use crate::message::{Body, Section, Status};
use crate::rules::{On, Severity};

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
        states: None,
        notes: Vec::new(),
        remarks: Vec::new(),
        runbook_url: Some("https://wiki.example.com/crashed?a=1&b=2".into()),
        link: Some("https://alerts.example.com/api/alerts".into()),
        plain: false,
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// What is told of a container that crashed at 14:02 and, if it is over, was well at 14:03.
pub(super) fn alert(container: &str, news: News) -> AlertNews {
    let labels = [("application", "toto"), ("id", container), ("rule", "crashed")];
    let over = !news.is_firing();
    let payload = |state: &str, before: &str| {
        json!({"id": container, "state": state, "prev_state": before, "timestamp": 1448028121.0,
               "data": {"last_exit_status": {"reason": "exited", "exit_status": 1}},
               "counters": {"start": 3}})
    };
    AlertNews {
        labels: labels.into(),
        container: container.into(),
        members: Vec::new(),
        members_in_all: 1,
        news,
        started_at: at("2015-11-20T14:02:01Z"),
        ended_at: over.then(|| at("2015-11-20T14:03:01Z")),
        cause: over.then_some(Cause::Resolved),
        occurrences: 1,
        intervals: 1,
        heard_at: at("2015-11-20T14:02:02Z"),
        event: Some(payload("CRASHED", "RUNNING")),
        ended_by: over.then(|| payload("RUNNING", "STARTING")),
        before: None,
    }
}

pub(super) fn notification(alerts: &[AlertNews]) -> Notification {
    let labels = [("application", "toto"), ("service", "hello-python")];
    let firing = alerts.iter().filter(|alert| alert.news.is_alarm()).count();
    Notification {
        rule: "crashed".into(),
        receiver: "ops".into(),
        severity: Severity::Critical,
        on: On::Event,
        labels: labels.into(),
        runbook_url: Some("https://wiki.example.com/crashed?a=1&b=2".into()),
        group_opened_at: at("2015-11-20T14:02:02Z"),
        notice: None,
        digest: None,
        due_at: at("2015-11-20T14:02:07Z"),
        made_at: at("2015-11-20T14:02:07Z"),
        firing: firing as u32,
        resolved: (alerts.len() - firing) as u32,
        firing_in_group: firing as u32,
        alerts: alerts.to_vec(),
        states: Vec::new(),
        says: Vec::new(),
    }
}

/// Of anything too much, and nothing of it harmless.
pub(super) fn monster() -> Message {
    let hostile =
        "<!channel> @everyone @here <@U1> [x](https://e) **b** \u{1f525}\\ \"q\" & < > \u{1}";
    let long = hostile.repeat(60);
    let sections = (0..500).map(|number| section(&format!("{number}{long}"), &[&long, &long]));
    let mut message = message(sections.collect());
    message.title = hostile.repeat(100);
    message.rule = long.clone();
    message.notes = vec![long.clone(); 50];
    message.runbook_url = Some(format!("https://wiki.example.com/{}", "&\"".repeat(5_000)));
    message.link = Some("https://alerts.example.com/\r\nX: y".into());
    message
}

/// The monster, the same in plain words, and one whose text is all that a template may write.
pub(super) fn monsters() -> [Message; 4] {
    let custom =
        |text: &str, times| Message { body: Body::Custom(text.repeat(times)), ..monster() };
    [
        monster(),
        Message { plain: true, ..monster() },
        custom("\u{1f525}\"*_<@1>\n", 6_000),
        custom("\\", 60_000),
    ]
}

/// The body of the request with which a place tells this.
pub(super) fn told(place: &impl Place, envelope: &Envelope) -> Value {
    let request = place.request(envelope, at("2015-11-20T14:02:08Z"));
    serde_json::from_slice(&request.body).unwrap()
}

/// What each place whose messages people read is told over HTTP, by its name.
pub(super) fn all_told(envelope: &Envelope) -> Vec<(&'static str, Value)> {
    let url = || "https://x.example.com/topic".parse().unwrap();
    let api = telegram::API.parse().unwrap();
    let telegram = telegram::Telegram::new(&api, "1:a", "5").unwrap_or_else(|it| panic!("{it}"));
    let ntfy = ntfy::Ntfy::new(url(), None).unwrap_or_else(|it| panic!("{it}"));
    let pagerduty = pagerduty::PagerDuty { enqueue: url(), routing_key: secret("key") };
    vec![
        ("slack", told(&slack::Slack { url: url(), blocks: true }, envelope)),
        ("text", told(&slack::Slack { url: url(), blocks: false }, envelope)),
        ("pagerduty", told(&pagerduty, envelope)),
        ("teams", told(&teams::Teams { url: url() }, envelope)),
        ("discord", told(&discord::Discord::new(url()), envelope)),
        ("telegram", told(&telegram, envelope)),
        ("ntfy", told(&ntfy, envelope)),
    ]
}

pub(super) fn envelope(message: Message) -> Envelope {
    Envelope {
        id: DeliveryId("d-17".into()),
        waiting_since: Timestamp::default(),
        thread: "t-9".into(),
        notification: notification(&[alert("c1", News::Firing)]).into(),
        message,
        handle: None,
        reached: Vec::new(),
    }
}

pub(super) fn answer(status: u16, body: &str) -> Answer {
    Answer { status, body: body.into(), ..Answer::default() }
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
        fallback: None,
        rate: None,
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
    receiver(ReceiverKind::Slack { webhook_url: SecretString::from(url), blocks: true })
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
    let twice = ["Bob <bob@example.com>", "c@example.com", "bob@EXAMPLE.com"];
    assert_eq!(keys(&email("smtp://127.0.0.1", "a@example.com", &twice)), ["to"]);
}

#[test]
fn how_long_was_waited_is_said_as_people_say_it() {
    let tenth_less = |seconds: u64| Duration::from_secs(seconds).mul_f32(0.9);
    assert_eq!(no_answer_within(tenth_less(3)), "no answer within 2.7 s");
    assert_eq!(no_answer_within(Duration::from_secs(10)), "no answer within 10 s");
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

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

/// A receiver of each kind that is told over HTTP, all of whose secrets are this.
fn over_http(url: &str, text: &str) -> Vec<Receiver> {
    let api = || Some(url.to_owned());
    let kinds = [
        ReceiverKind::Slack { webhook_url: secret(url), blocks: false },
        ReceiverKind::SlackApi { bot_token: secret(text), channel: "C1".into(), url: api() },
        ReceiverKind::Webhook { url: secret(url), secrets: vec![secret(text)] },
        ReceiverKind::PagerDuty { routing_key: secret(text), url: api() },
        ReceiverKind::Teams { webhook_url: secret(url) },
        ReceiverKind::Discord { webhook_url: secret(url) },
        ReceiverKind::Telegram { bot_token: secret(text), chat_id: "5".into(), url: api() },
        ReceiverKind::Ntfy { url: secret(url), token: Some(secret(text)) },
        ReceiverKind::Alertmanager { url: secret(url) },
    ];
    kinds.map(receiver).into()
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
    for mut receiver in over_http("https://x.example.com/topic", "5") {
        match &mut receiver.kind {
            ReceiverKind::Telegram { bot_token, .. } => *bot_token = secret("1:abc"),
            ReceiverKind::Webhook { secrets, .. } => *secrets = vec![secret(&"a".repeat(32))],
            _ => {}
        }
        assert_eq!(validate(&receiver), [], "{receiver:?}");
        assert!(build(&receiver).is_ok());
    }
}

#[test]
fn plain_http_leaves_the_machine_only_where_it_may() {
    for mut receiver in over_http("http://x.example.com/topic", &"a".repeat(32)) {
        let allow = "say `allow_http: true`";
        let wrong = validate(&receiver);
        assert!(wrong.iter().any(|(_, error)| error.contains(allow)), "{receiver:?}: {wrong:?}");
        receiver.allow_http = true;
        let wrong = validate(&receiver);
        assert!(!wrong.iter().any(|(_, error)| error.contains(allow)), "{receiver:?}: {wrong:?}");
    }
}

#[test]
fn no_place_that_is_told_over_http_repeats_a_secret() {
    for url in ["s3cret", "ftp://s3cret.example.com/s3cret", "http://s3cret/s3cret.x"] {
        for receiver in over_http(url, "s3cret\r\nX: y") {
            let wrong = validate(&receiver);
            assert!(!wrong.is_empty(), "{receiver:?}");
            assert!(
                !format!("{wrong:?}{:?}", build(&receiver).err()).contains("s3cret"),
                "{wrong:?}"
            );
        }
    }
    let receiver = over_http("s3cret", "s3cret x").remove(2);
    let keys: Vec<&str> = validate(&receiver).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["url", "secret"], "all that is wrong is said at once");
}
