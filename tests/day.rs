//! A day's example: what one receiver hears when a whole service goes down and most of it comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use serde_json::json;
use tocsin::clock::Timestamp;
use tocsin::config;
use tocsin::event::{self, Event};
use tocsin::message::{Context, word};
use tocsin::simulation::{START, Simulation};

const RULES: &str = "
receivers: { ops: { slack: { webhook_url: https://hooks.slack.com/services/T/B/x } } }
defaults: { notify: [ops] }
rules: [{ name: crashed, when: { state: CRASHED } }]
";

fn at(millis: u64) -> Timestamp {
    START.plus(Duration::from_millis(millis))
}

fn event(number: usize, state: &str, before: &str, millis: u64) -> (u64, Event) {
    let data = match state {
        "CRASHED" => json!({"last_exit_status": {"raw_exit_status": 256}}),
        _ => json!({}),
    };
    let payload = json!({
        "id": format!("web-{number:03}"), "application": "shop", "service": "web",
        "state": state, "prev_state": before, "data": data,
        "timestamp": at(millis).as_seconds(), "counters": {"start": 3},
    });
    (millis, event::from_value(&payload).unwrap())
}

#[test]
fn of_500_that_crash_in_a_second_480_recover_in_a_minute_and_it_takes_four_messages_to_know() {
    let config = config::parse("rules.yaml", RULES, &|_| None, &|_| Vec::new()).unwrap();
    let mut events: Vec<(u64, Event)> = Vec::new();
    for number in 0..500 {
        let crash = number as u64 * 2;
        events.push(event(number, "CRASHED", "RUNNING", crash));
        // Every twenty-fifth does not come back.
        if number % 25 != 24 {
            events.push(event(number, "RUNNING", "STARTING", 10_000 + number as u64 * 100));
        }
    }
    events.sort_by_key(|(millis, _)| *millis);

    let mut simulation = Simulation::new(&config.rules, START);
    for (millis, event) in events {
        simulation.hear([event], at(millis));
    }
    let told = simulation.run_until(at(600_000));
    assert!(told.len() <= 4, "{} messages in ten minutes", told.len());
    let words: Vec<String> = told
        .iter()
        .map(|notification| {
            let context = Context {
                external_url: None,
                now: notification.made_at,
                plain: false,
                instead_of: None,
            };
            word(notification, &config.templates, &context).text()
        })
        .collect();
    insta::assert_snapshot!(words.join("\n----\n"), @"
    WARNING crashed: 500 containers of shop/web

    RUNNING → CRASHED, exited with status 1
      web-000 · started 3 times · since 00:00 UTC
      web-001 · started 3 times · since 00:00 UTC
      web-002 · started 3 times · since 00:00 UTC
      web-003 · started 3 times · since 00:00 UTC
      web-004 · started 3 times · since 00:00 UTC
      web-005 · started 3 times · since 00:00 UTC
      web-006 · started 3 times · since 00:00 UTC
      web-007 · started 3 times · since 00:00 UTC
      web-008 · started 3 times · since 00:00 UTC
      web-009 · started 3 times · since 00:00 UTC

    and 490 more
    ----
    OVER crashed: 480 containers of shop/web

    over: RUNNING → CRASHED, exited with status 1
      web-000 · started 3 times · running again 00:00 UTC, after 10 s
      web-001 · started 3 times · running again 00:00 UTC, after 10 s
      web-002 · started 3 times · running again 00:00 UTC, after 10 s
      web-003 · started 3 times · running again 00:00 UTC, after 10 s
      web-004 · started 3 times · running again 00:00 UTC, after 10 s
      web-005 · started 3 times · running again 00:00 UTC, after 10 s
      web-006 · started 3 times · running again 00:00 UTC, after 10 s
      web-007 · started 3 times · running again 00:00 UTC, after 10 s
      web-008 · started 3 times · running again 00:00 UTC, after 10 s
      web-009 · started 3 times · running again 00:00 UTC, after 10 s

    and 470 more
    20 others still fire
    ");
}
