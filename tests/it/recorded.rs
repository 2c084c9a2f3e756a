//! Eight real containers, as they were recorded, told by the example's rules.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Mail, MailServer, Place, Sink, crash, now};

const EXAMPLE: &str = include_str!("../../rules.example.yaml");
const RECORDED: &str = include_str!("../events/real-containers.jsonl");

/// When the recorded containers are removed: what comes after is DELETING and DELETED.
const REMOVED_AT: f64 = 1_795_470_000.12;

/// The recorded events, as if the last had happened just now.
fn recorded_until_now() -> Vec<Value> {
    let events: Vec<Value> =
        RECORDED.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap()["timestamp"].as_f64().unwrap();
    let shift = (now() - last).floor();
    let shifted = |mut event: Value| {
        let timestamp = event["timestamp"].as_f64().unwrap();
        event["recorded_at"] = json!(timestamp);
        event["timestamp"] = json!(timestamp + shift);
        event
    };
    events.into_iter().map(shifted).collect()
}

/// What a reader sees of a mail, without what changes from run to run.
fn readable(mail: &Mail) -> String {
    let mut text = String::new();
    for name in [
        "From",
        "To",
        "Subject",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "List-Id",
        "X-Rcpt-To",
        "X-Tls",
    ] {
        text.push_str(&format!("{name}: {}\n", mail.header(name).unwrap_or_default()));
    }
    text.push('\n');
    text.push_str(&mail.text_part());
    text
}

/// Snapshots without the times of this run.
fn without_times() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d(:\d\d)?( UTC)?", "[time]$3");
    settings.add_filter(r"for [^,()\n]+ so far", "for [time] so far");
    settings
}

#[test]
fn the_recorded_run_is_told_as_a_person_would_expect() {
    let slack = Sink::new();
    let mail = MailServer::new(&json!({}));
    let fast = EXAMPLE.replace("# rate: 1/s", "rate: 100/s");
    assert_ne!(fast, EXAMPLE);
    let rules = fast.replace("group_interval: 5m", "group_interval: 5s");
    assert_ne!(rules, fast);
    let place = Place::new(&rules)
        .with_environment("SLACK_WEBHOOK_URL", &slack.url())
        .with_environment("SMTP_URL", &mail.url("bell:p%40ss%20word"))
        .with_environment("ONCALL_MAIL", "oncall@example.com")
        .with_environment("SSL_CERT_FILE", mail.certificate().to_str().unwrap());
    let tocsin = place.serve();
    let events = recorded_until_now();
    let (lived, removed): (Vec<&Value>, Vec<&Value>) =
        events.iter().partition(|event| event["recorded_at"].as_f64().unwrap() < REMOVED_AT);
    lived.iter().for_each(|event| tocsin.hear(event));

    // killed: hello-python, worker, db; crashed: hello-python, segv, cart; restart-loop: cart.
    let firing = slack.wait_for_taken(7);
    let mails = mail.wait_for_mails(7);
    removed.iter().for_each(|event| tocsin.hear(event));
    let over = slack.wait_for_taken(13)[7..].to_vec();
    let mails_of_the_end = mail.wait_for_mails(13)[7..].to_vec();

    let sorted = |mut messages: Vec<Value>| {
        messages.sort_by_key(|message| message["text"].to_string());
        messages
    };
    let sorted_mails = |mails: &[Mail]| {
        let mut mails: Vec<String> = mails.iter().map(readable).collect();
        mails.sort();
        mails.join("\n=======================================================\n")
    };
    without_times().bind(|| {
        insta::assert_json_snapshot!("slack_firing", sorted(firing));
        insta::assert_json_snapshot!("slack_over", sorted(over));
        insta::assert_snapshot!("mail_firing", sorted_mails(&mails));
        insta::assert_snapshot!("mail_over", sorted_mails(&mails_of_the_end));
    });

    let threads: BTreeSet<Option<String>> = [&mails[..], &mails_of_the_end[..]]
        .concat()
        .iter()
        .map(|mail| mail.header("References"))
        .collect();
    assert_eq!(threads.len(), 7, "one thread for each group");

    let listed = tocsin.get("/api/list");
    assert_eq!(listed.as_array().unwrap().len(), events.len());
    let mut by_time = events.clone();
    by_time.sort_by(|one, other| {
        one["timestamp"].as_f64().unwrap().total_cmp(&other["timestamp"].as_f64().unwrap())
    });
    assert_eq!(listed, Value::Array(by_time), "every payload is given back");
    assert!(
        tocsin.get("/api/alerts?status=firing").as_array().unwrap().is_empty(),
        "nothing fires once all containers are gone"
    );
}

#[test]
fn the_example_runs_as_it_is_and_tells_on_the_console() {
    let place = Place::new(EXAMPLE);
    let mut tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    tocsin.wait_for_line("CRITICAL crashed: 1 container of shop/web");
}

#[test]
fn payloads_come_back_byte_for_byte_and_retries_are_recorded_once() {
    let place = Place::new("rules: []");
    let tocsin = place.serve();
    for line in RECORDED.lines() {
        let (status, answer) = tocsin.post(line);
        assert_eq!((status, &answer["status"]), (200, &json!("recorded")));
    }
    for line in RECORDED.lines() {
        let retry = line.replace("\"post_attempts\": 0", "\"post_attempts\": 4");
        let (status, answer) = tocsin.post(retry);
        assert_eq!((status, &answer["status"]), (200, &json!("duplicate")));
    }
    let mut lines: Vec<&str> = RECORDED.lines().collect();
    lines.sort_by(|one, other| {
        let timestamp = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["timestamp"].as_f64().unwrap()
        };
        timestamp(one).total_cmp(&timestamp(other))
    });
    assert_eq!(tocsin.get_text("/api/list"), format!("[{}]", lines.join(",")));
}

#[test]
fn every_payload_of_the_announcement_is_accepted_and_its_exit_worded() {
    let slack = Sink::new();
    let place = Place::new(&format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: \"{}\" }} }} }}
defaults: {{ notify: [ops], group_wait: 500ms }}
rules: [ {{ name: stopped, when: {{ state: [STOPPED, STOPPING] }}, group_by: [rule] }} ]",
        slack.url()
    ));
    let tocsin = place.serve();
    for file in [
        "seed-stopped-exited",
        "seed-signaled",
        "seed-raw",
        "seed-stopping-empty-data",
        "null-data-no-attempts",
    ] {
        let path = format!("{}/tests/events/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let mut event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        event["id"] = json!(file);
        event["timestamp"] = json!(now());
        tocsin.hear(&event);
    }
    let told = slack.wait_for_taken(1);
    without_times().bind(|| insta::assert_snapshot!(told[0]["text"].as_str().unwrap()));
}
