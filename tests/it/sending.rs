//! `tocsin check` and `tocsin send`: the verdict, and the exit code that a script goes by.

use serde_json::json;

use crate::harness::{Answer, MailServer, Place, Sink};
use crate::smtp_faults;

fn slack(sink: &Sink, settings: &str) -> Place {
    Place::new(&format!(
        "receivers:\n  ops: {{ slack: {{ webhook_url: {:?} }}, {settings} }}\n\
         \x20 dark: {{ slack: {{ webhook_url: \"\" }} }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }}, notify: [ops, dark] }}]\n",
        sink.url(),
    ))
}

fn send(place: &Place, receiver: &str) -> (i32, String, String) {
    place.run(&["send", "rules.yaml", "--receiver", receiver])
}

#[test]
fn check_counts_what_there_is_and_names_what_is_off() {
    let place = slack(&Sink::new(), "");
    let (code, stdout, stderr) = place.run(&["check", "rules.yaml"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, "rules.yaml: 1 rule, 2 receivers (dark off)\n");
    assert!(stderr.contains("note: receiver \"dark\" is off"), "{stderr}");
}

#[test]
fn check_says_all_that_is_wrong_and_ends_with_1() {
    let place = Place::new(
        "receivers: { ops: { slack: { webhook_url: \"https://hooks.slack.com/services/T/B/x\" } } }\n\
         rules:\n  - { name: a, when: { stat: CRASHED }, notify: [opps] }\n  - { name: a, when: {} }\n",
    );
    let (code, stdout, stderr) = place.run(&["check", "rules.yaml"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    for words in
        ["rules.yaml:3:24: ", "did you mean \"state\"?", "did you mean \"ops\"?", "rules.yaml:4:"]
    {
        assert!(stderr.contains(words), "{words} is not in\n{stderr}");
    }
}

#[test]
fn send_shows_slacks_own_answer() {
    let sink = Sink::new();
    let (code, stdout, stderr) = send(&slack(&sink, ""), "ops");
    assert_eq!((code, stdout.as_str()), (0, "ok\n"));
    assert_eq!(stderr, "ops took the test notification\n");
    let taken = sink.taken();
    assert_eq!(taken.len(), 1);
    assert!(taken[0]["text"].as_str().unwrap().starts_with("Test notification"), "{taken:#?}");
}

#[test]
fn send_tells_what_a_refusal_means() {
    for (answer, words, meaning) in [
        (Answer::Status(404, "", "no_service"), "404 no_service", "take nothing until"),
        (Answer::Status(400, "", "invalid_blocks"), "400 invalid_blocks", "refuses the message"),
        (Answer::Status(429, "retry-after: 1\r\n", "slow"), "429 slow", "that may pass"),
        (Answer::Status(200, "", "welcome"), "200 welcome", "that may pass"),
        (Answer::Hang, "no answer within", "whether it arrived is not known"),
    ] {
        let sink = Sink::new().then(&[answer]);
        let (code, stdout, stderr) = send(&slack(&sink, "timeout: 500ms"), "ops");
        assert_eq!(code, 1, "{words}: {stdout}{stderr}");
        assert!(stdout.contains(words) && stdout.lines().count() == 1, "{stdout}");
        assert!(stderr.starts_with("ops did not take the test notification: "), "{stderr}");
        assert!(stderr.contains(meaning) && stderr.lines().count() == 1, "{stderr}");
        assert_eq!(sink.requests().len(), 1, "{words}: one attempt, and no more");
    }
}

#[test]
fn send_to_a_receiver_that_is_off_ends_with_1() {
    let (code, stdout, stderr) = send(&slack(&Sink::new(), ""), "dark");
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr, "error: dark is off, since its address is empty; set it\n");
}

#[test]
fn send_to_a_receiver_that_is_not_there_is_wrong_usage() {
    let sink = Sink::new();
    let (code, stdout, stderr) = send(&slack(&sink, ""), "opps");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("has no receiver \"opps\"; it has dark, ops"), "{stderr}");
    assert!(sink.requests().is_empty());
}

fn mail(server: &MailServer, credentials: &str) -> Place {
    Place::new(&smtp_faults::rules(&server.url(credentials), ""))
        .with_environment("SSL_CERT_FILE", server.certificate().to_str().unwrap())
}

#[test]
fn send_shows_the_mail_servers_own_answer() {
    let server = MailServer::new(&json!({}));
    let (code, stdout, stderr) = send(&mail(&server, smtp_faults::GOOD), "oncall");
    assert_eq!((code, stdout.as_str()), (0, "250 taken\n"), "{stderr}");
    assert_eq!(stderr, "oncall took the test notification\n");
    assert_eq!(server.mails().len(), 2);
}

#[test]
fn send_says_that_a_password_is_wrong_without_repeating_it() {
    let server = MailServer::new(&json!({}));
    let (code, stdout, stderr) = send(&mail(&server, smtp_faults::BAD), "oncall");
    assert_eq!(code, 1);
    assert!(stdout.starts_with("535 5.7.8 "), "{stdout}");
    assert!(stderr.contains("until its address or its credentials are put right"), "{stderr}");
    assert!(!format!("{stdout}{stderr}").contains("guess"), "{stdout}{stderr}");
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn send_to_one_mailbox_of_two_is_no_success() {
    let server = MailServer::new(&json!({"RCPT bob@example.com": ["550 5.1.1 no such user"]}));
    let (code, stdout, stderr) = send(&mail(&server, smtp_faults::GOOD), "oncall");
    assert_eq!((code, stdout.as_str()), (1, "250 taken\n"));
    assert!(stderr.contains("in part: refused for bob@example.com: 550 5.1.1"), "{stderr}");
    assert_eq!(server.mails().len(), 1);
}

#[test]
fn send_advises_plainer_words_only_where_they_may_mend_it() {
    for (script, answer, advice) in [
        (
            json!({"DATA": ["554 5.6.0 no html"]}),
            "alice@example.com: 554 5.6.0 no html\n",
            "oncall took the test notification in part: the others refuse the message, which a \
             plainer one may mend\n",
        ),
        (
            json!({"RCPT alice@example.com": ["550 no"], "RCPT bob@example.com": ["550 no"]}),
            "alice@example.com: 550 no; bob@example.com: 550 no\n",
            "oncall did not take the test notification: it will take nothing until its address or \
             its credentials are put right\n",
        ),
    ] {
        let server = MailServer::new(&script);
        let (code, stdout, stderr) = send(&mail(&server, smtp_faults::GOOD), "oncall");
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (1, answer, advice));
    }
}
