//! Too few file descriptors, and a clock that jumps: neither stops what goes on.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Answer, BadDisk, Place, Sink, client, crash, event, noise, now, post_to, wait_until,
};

/// Shorter than what is said again, or ends by itself, after some hours.
const HOUR: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

fn rules(slack: &Sink) -> String {
    format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: \"{}\" }}, rate: 1000/s }} }}
defaults: {{ notify: [ops], group_by: [id], group_wait: 1s, group_interval: 1s }}
rules: [ {{ name: crashed, when: {{ state: CRASHED }} }} ]",
        slack.url()
    )
}

#[test]
fn clients_that_would_take_every_file_descriptor_stop_neither_the_store_nor_what_follows() {
    const LIMIT: u32 = 40;
    let slack = Sink::new();
    let mut place = Place::new(&rules(&slack));
    place.limit_descriptors(LIMIT);
    let tocsin = place.serve();
    tocsin.hear(&crash("before"));
    slack.wait_for_taken(1);
    let address = tocsin.base().trim_start_matches("http://").to_owned();
    let greedy: Vec<TcpStream> =
        (0..2 * LIMIT).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut large = event("large", "STARTING", "RUNNING");
    large["padding"] = noise(200_000).into();
    tocsin.hear(&large);
    tocsin.hear(&crash("meanwhile"));
    assert_eq!(tocsin.get("/readyz")["status"], "ready");
    assert_eq!(tocsin.get("/api/list").as_array().unwrap().len(), 3);
    drop(greedy);
    slack.wait_for_taken(2);
    tocsin.is_well();
    tocsin.kill();
    assert_eq!(place.serve().get("/api/list").as_array().unwrap().len(), 3);
}

#[test]
fn a_console_that_is_not_read_for_a_while_is_told_each_thing_once() {
    // More than a pipe holds.
    const MESSAGES: usize = 500;
    let place = Place::new(
        "receivers: { terminal: { console: {}, timeout: 2s } }
defaults: { notify: [terminal], group_by: [id], group_wait: 0s }
rules: [ { name: crashed, when: { state: CRASHED } } ]",
    );
    let mut command = place.command(&["serve", "rules.yaml", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let base = log.find_map(|line| {
        Some(line.unwrap().split_once("listening on ")?.1.split_whitespace().next()?.to_owned())
    });
    let base = base.unwrap();
    std::thread::spawn(move || log.for_each(drop));
    for number in 0..MESSAGES {
        post_to(&base, crash(&format!("c{number:03}")).to_string()).unwrap();
    }
    let metrics = || {
        let answer = client().get(format!("{base}/metrics")).send();
        answer.unwrap().text().unwrap()
    };
    let failed = |outcome: &str| {
        let metric = format!("receiver=\"terminal\",outcome=\"{outcome}\"");
        metrics().lines().any(|line| line.contains(&metric)).then_some(())
    };
    wait_until(|| failed("unknown"), metrics);
    wait_until(|| failed("transient"), metrics);

    let mut told = BTreeSet::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(id) = line.trim_start().strip_prefix("container ") {
            assert!(told.insert(id.to_owned()), "{id} is told twice");
        }
        if told.len() == MESSAGES {
            break;
        }
    }
    wait_until(|| metrics().contains("pending{receiver=\"terminal\"} 0\n").then_some(()), metrics);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How many messages Slack took of this container.
fn told(slack: &Sink, id: &str) -> usize {
    slack.taken().iter().filter(|message| message.to_string().contains(id)).count()
}

#[test]
fn a_clock_that_jumps_either_way_neither_loses_nor_repeats_a_message() {
    let slack = Sink::new();
    let (place, clock) = BadDisk::under(Place::new(&rules(&slack)), false);
    let tocsin = place.serve();
    let jumps: [(&str, &dyn Fn()); 5] = [
        ("in time", &|| {}),
        ("an hour ahead", &|| clock.set_clock_ahead(HOUR)),
        ("an hour behind", &|| clock.set_clock_behind(HOUR)),
        ("ahead again", &|| clock.set_clock_ahead(HOUR)),
        ("in time again", &|| clock.set_clock_ahead(Duration::ZERO)),
    ];
    for (number, (name, jump)) in jumps.iter().enumerate() {
        // While the group of this one waits to speak, the clock jumps.
        let id = format!("web-{number}");
        tocsin.hear(&crash(&id));
        jump();
        slack.wait_for_taken(number + 1);
        assert_eq!(told(&slack, &id), 1, "{name}: {:#?}", slack.taken());
        assert_eq!(tocsin.get("/readyz")["status"], "ready", "{name}");
    }
    let deliveries = tocsin.all("/api/deliveries");
    let sent = |it: &&Value| it["status"] == "sent";
    assert_eq!(deliveries.iter().filter(sent).count(), jumps.len(), "{deliveries:#?}");
    tocsin.kill();
    let tocsin = place.serve();
    assert_eq!(tocsin.all("/api/list").len(), jumps.len());
    tocsin.hear(&crash("after"));
    slack.wait_for_taken(jumps.len() + 1);
}

#[test]
fn a_receiver_that_fails_while_the_clock_jumps_back_is_tried_again() {
    let slack = Sink::new().then(&[Answer::Status(500, "", "no"), Answer::Status(500, "", "no")]);
    let (place, clock) = BadDisk::under(Place::new(&rules(&slack)), false);
    clock.set_clock_ahead(DAY);
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    slack.wait_for_requests(1);
    // What it waits for is a day off now.
    clock.set_clock_ahead(Duration::ZERO);
    slack.wait_for_taken(1);
    tocsin.wait_for_delivery("ops", "sent");
    tocsin.hear(&crash("web-2"));
    slack.wait_for_taken(2);
    let deliveries = tocsin.all("/api/deliveries");
    let days: BTreeSet<&str> =
        deliveries.iter().map(|it| &it["created_at"].as_str().unwrap()[..10]).collect();
    assert_eq!(days.len(), 2, "the clock did not jump: {deliveries:#?}");
}

/// The clock is wrong when it starts, as on a machine that has not asked for the time yet, and put
/// right later: a rule that was changed meanwhile derives from what is received from then on.
#[test]
fn a_rule_that_changed_by_a_clock_that_was_ahead_derives_once_the_clock_is_right() {
    let slack = Sink::new();
    let (place, clock) = BadDisk::under(Place::new(&rules(&slack)), false);
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    slack.wait_for_taken(1);
    tocsin.kill();
    place.write_rules(&rules(&slack).replace("CRASHED", "STARVED"));
    clock.set_clock_ahead(DAY);
    let tocsin = place.serve();
    clock.set_clock_ahead(Duration::ZERO);
    tocsin.hear(&event("web-2", "STARTING", "STARVED"));
    slack.wait_for_taken(2);
    // A late event has its whole timeline looked at again.
    let mut late = event("web-2", "CREATING", "STARTING");
    late["timestamp"] = (now() - 50.0).into();
    tocsin.hear(&late);
    tocsin.hear(&event("web-2", "STARVED", "RUNNING"));
    let over = slack.wait_for_taken(3)[2].to_string();
    assert!(over.contains("OVER crashed") && over.contains("web-2"), "{over}");
}
