//! Killed at any moment, tocsin keeps what it answered for.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Place, Sink, client, crash, now, wait_until};

/// How often it is killed.
const KILLS: u32 = 20;

/// How many post at once.
const CLIENTS: u32 = 4;

/// Of so many events one is a crash.
const ONE_IN: u32 = 10;

#[test]
fn every_event_answered_2xx_survives_kill_9_and_is_told() {
    let slack = Sink::new();
    let place = Place::new(&format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: \"{}\" }}, rate: 1000/s }} }}
defaults: {{ notify: [ops], group_by: [id], group_wait: 0s }}
rules: [ {{ name: crashed, when: {{ state: CRASHED }} }} ]",
        slack.url()
    ));
    let answered = Mutex::new(BTreeSet::new());
    for round in 0..KILLS {
        let tocsin = place.serve();
        let url = format!("{}/api/post", tocsin.base());
        let killed = AtomicBool::new(false);
        thread::scope(|scope| {
            for name in 0..CLIENTS {
                let (url, answered, killed) = (&url, &answered, &killed);
                scope.spawn(move || {
                    let http = client();
                    for number in 0.. {
                        let id = format!("r{round}-c{name}-n{number}");
                        let state = if number % ONE_IN == 0 { "CRASHED" } else { "RUNNING" };
                        let event = json!({"id": id, "state": state, "timestamp": now()});
                        match http.post(url).body(event.to_string()).send() {
                            Ok(answer) if answer.status() == 200 => {
                                answered.lock().unwrap().insert((id, state));
                            }
                            Ok(answer) => panic!("{}", answer.status()),
                            Err(_) => {
                                assert!(killed.load(Ordering::SeqCst), "it ended by itself");
                                break;
                            }
                        }
                    }
                });
            }
            // Any moment will do, so long as it is another each time.
            thread::sleep(Duration::from_millis(u64::from(20 + (round * 37) % 200)));
            killed.store(true, Ordering::SeqCst);
            tocsin.kill();
        });
    }

    let answered = answered.into_inner().unwrap();
    assert!(answered.len() > 100, "only {} events were taken", answered.len());
    let tocsin = place.serve();
    let listed = tocsin.all("/api/list?limit=1000");
    let listed: BTreeSet<&str> = listed.iter().map(|event| event["id"].as_str().unwrap()).collect();
    let lost: Vec<&(String, &str)> =
        answered.iter().filter(|(id, _)| !listed.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "answered 2xx and lost: {lost:?}");

    let owed: BTreeSet<&str> = answered
        .iter()
        .filter(|(_, state)| *state == "CRASHED")
        .map(|(id, _)| id.as_str())
        .collect();
    let untold = || {
        let taken: Vec<String> = slack.taken().iter().map(Value::to_string).collect();
        let told = |id: &str| {
            // The id alone: r1-c1-n1 is not told by a message about r1-c1-n10.
            let whole = |text: &str| {
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == id)
            };
            taken.iter().any(|text| whole(text))
        };
        owed.iter().filter(|id| !told(id)).copied().collect::<Vec<_>>()
    };
    wait_until(|| untold().is_empty().then_some(()), || format!("never told: {:?}", untold()));
}

#[test]
fn what_waits_for_a_receiver_that_is_turned_off_is_told_on_the_console_after_the_start() {
    let rules = |url: &str| {
        format!(
            "receivers: {{ ops: {{ slack: {{ webhook_url: \"{url}\" }} }} }}
defaults: {{ notify: [ops], group_wait: 0s }}
rules: [ {{ name: crashed, when: {{ state: CRASHED }} }} ]"
        )
    };
    // Nothing listens on this port: it answers, and refuses.
    let place = Place::new(&rules("http://127.0.0.1:9/"));
    let mut tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    tocsin.wait_for_line("not delivered");
    tocsin.kill();
    place.write_rules(&rules(""));
    let mut tocsin = place.serve();
    tocsin.wait_for_line("WARNING crashed: 1 container of shop/web");
}
