//! SIGTERM and SIGINT: softly at the first, at once at the second.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Answer, Place, Sink, crash, post_to, send_signal, wait_until};

fn rules(slack: &Sink) -> String {
    format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: \"{}\" }}, timeout: 30s }} }}
defaults: {{ notify: [ops], group_wait: 0s }}
rules: [ {{ name: crashed, when: {{ state: CRASHED }} }} ]",
        slack.url()
    )
}

#[test]
fn a_stop_waits_for_what_is_being_sent_and_leaves_nothing_to_repeat() {
    for signal in ["TERM", "INT"] {
        let slack = Sink::new().then(&[Answer::OkAfter(500)]);
        let place = Place::new(&rules(&slack));
        let mut tocsin = place.serve();
        tocsin.hear(&crash("a"));
        slack.wait_for_requests(1);
        tocsin.signal(signal);
        assert_eq!(tocsin.wait().code(), Some(0), "SIG{signal}");

        let tocsin = place.serve();
        let deliveries = tocsin.get("/api/deliveries");
        assert_eq!(deliveries[0]["status"], "sent");
        assert_eq!(slack.requests().len(), 1, "nothing is told twice");
        assert_eq!(tocsin.get("/api/list").as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_stop_that_takes_too_long_ends_and_what_was_being_sent_is_sent_after_the_start() {
    let slack = Sink::new().then(&[Answer::Hang]);
    let place = Place::new(&rules(&slack));
    let mut tocsin = place.serve_with(&["--stop-timeout", "300ms"]);
    tocsin.hear(&crash("a"));
    slack.wait_for_requests(1);
    tocsin.signal("TERM");
    assert_eq!(tocsin.wait().code(), Some(1));

    let _tocsin = place.serve();
    slack.wait_for_taken(1);
}

#[test]
fn a_second_signal_ends_at_once() {
    let slack = Sink::new().then(&[Answer::Hang]);
    let place = Place::new(&rules(&slack));
    let mut tocsin = place.serve();
    tocsin.hear(&crash("a"));
    slack.wait_for_requests(1);
    let begun = Instant::now();
    tocsin.signal("INT");
    tocsin.wait_for_line("stopping");
    tocsin.signal("INT");
    assert_eq!(tocsin.wait().code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(15), "20 s is what a soft stop may take");
}

#[test]
fn a_stop_waits_for_nobody_who_is_slow_to_ask() {
    let place = Place::new("rules: []");
    let mut tocsin = place.serve();
    let address = tocsin.base().trim_start_matches("http://").to_owned();
    let slow: Vec<TcpStream> = [
        "POST /api/post HTTP/1.1\r\nHost: t\r\nContent-Le",
        "POST /api/post HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{\"id\"",
        "POST /api/silences HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ]
    .into_iter()
    .map(|part| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(part.as_bytes()).unwrap();
        stream
    })
    .collect();
    // Whatever came before it was read by then.
    tocsin.hear(&crash("a"));
    let begun = Instant::now();
    tocsin.signal("TERM");
    assert_eq!(tocsin.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "10 s is what a head may take");
    let mut answer = String::new();
    { &slow[1] }.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn a_stop_leaves_one_file() {
    let place = Place::new("rules: []");
    let mut tocsin = place.serve();
    tocsin.hear(&crash("a"));
    tocsin.signal("TERM");
    assert_eq!(tocsin.wait().code(), Some(0));
    assert!(place.database().exists());
    assert!(!place.path().join("tocsin.db-wal").exists(), "the log is folded into the database");
}

#[test]
fn a_log_that_is_not_read_keeps_nothing_from_being_told_or_from_stopping() {
    let slack = Sink::new();
    let place = Place::new(&rules(&slack));
    let tocsin = place.command(&["serve", "rules.yaml", "--listen", "127.0.0.1:0"]);
    let mut child = { tocsin }.stderr(Stdio::piped()).env("RUST_LOG", "trace").spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let listening = log.by_ref().lines().find_map(|line| {
        Some(line.unwrap().split_once("listening on ")?.1.split_whitespace().next()?.to_owned())
    });
    let listening = listening.unwrap();
    // More than its pipe holds.
    for number in 0..1000 {
        assert_eq!(post_to(&listening, crash(&number.to_string()).to_string()).unwrap().0, 200);
    }
    slack.wait_for_taken(1);
    send_signal("TERM", child.id());
    let status = wait_until(|| child.try_wait().unwrap(), || "it does not end".into());
    assert_eq!(status.code(), Some(0));
    drop(log);
}

#[test]
fn a_log_that_nobody_reads_any_more_keeps_nothing_from_being_told_or_from_stopping() {
    let slack = Sink::new();
    let place = Place::new(&rules(&slack));
    let arguments = ["serve", "rules.yaml", "--listen", "127.0.0.1:0"];
    let mut child = place.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = lines.find_map(|line| {
        Some(line.unwrap().split_once("listening on ")?.1.split_whitespace().next()?.to_owned())
    });
    drop(lines);

    let (status, _) = post_to(&listening.unwrap(), crash("a").to_string()).unwrap();
    assert_eq!(status, 200);
    slack.wait_for_taken(1);
    send_signal("TERM", child.id());
    let status = wait_until(|| child.try_wait().unwrap(), || "it does not end".into());
    assert_eq!(status.code(), Some(0));
}
