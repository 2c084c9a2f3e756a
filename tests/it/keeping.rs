//! What is older than `storage.keep` goes, and nothing else. As nobody waits for a month, the database
//! is made older while nothing runs.

use std::collections::BTreeSet;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Place, Sink, Tocsin, now, post_to, wait_until};

const DAY: f64 = 24.0 * 3600.0;

/// Rules that tell nobody who is there of crashes, and of what is silent.
fn rules(sink: &Sink) -> String {
    format!(
        "storage: {{ keep: 30d }}
receivers:
  ops: {{ slack: {{ webhook_url: {:?} }}, give_up_after: 1s }}
defaults: {{ notify: [ops], group_wait: 0s, group_by: [id] }}
rules:
  - {{ name: crashed, when: {{ state: CRASHED }} }}
  - {{ name: silent, on: silence, when: {{ state: RUNNING, service: quiet }}, for: 1h }}
",
        sink.url(),
    )
}

fn event(id: &str, state: &str, timestamp: f64) -> Value {
    let service = if id.starts_with('q') { "quiet" } else { "web" };
    json!({"id": id, "application": "shop", "service": service, "state": state,
        "timestamp": timestamp})
}

/// Has all that the database knows be heard, told and ended so many days earlier.
fn make_older(place: &Place, days: u32) {
    let connection = Connection::open(place.database()).unwrap();
    let by = i64::from(days) * 24 * 3600 * 1_000_000;
    for (table, column) in [
        ("events", "received_at"),
        ("intervals", "heard_at"),
        ("intervals", "end_heard_at"),
        ("deliveries", "ended_at"),
    ] {
        let sql = format!("update {table} set {column} = {column} - ?1");
        connection.execute(&sql, [by]).unwrap();
    }
}

fn rows(place: &Place, table: &str) -> i64 {
    let connection = Connection::open(place.database()).unwrap();
    connection.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap()
}

fn listed(tocsin: &Tocsin) -> BTreeSet<String> {
    let events = tocsin.all("/api/list?limit=1000").into_iter();
    events.map(|event| format!("{} {}", event["id"], event["state"]).replace('"', "")).collect()
}

fn wait_for_list(tocsin: &Tocsin, expected: &BTreeSet<String>) {
    wait_until(
        || (listed(tocsin) == *expected).then_some(()),
        || format!("{:?}\nand not {expected:?}", listed(tocsin)),
    );
}

#[test]
fn what_is_old_goes_but_for_what_still_says_something() {
    let sink = Sink::answering(404, "no_service");
    let place = Place::new(&rules(&sink));
    let tocsin = place.serve();
    let begin = (now() - 40.0 * DAY).floor();
    for event in [
        event("a", "STARTING", begin),
        event("a", "CRASHED", begin + 1.0),
        event("a", "RUNNING", begin + 2.0),
        event("b", "CRASHED", begin),
        event("q", "STARTING", begin),
        event("q", "RUNNING", begin + 1.0),
        event("q", "STOPPED", begin + 2.0),
    ] {
        tocsin.hear(&event);
    }
    let letters = tocsin.wait_for("/api/deliveries?status=dead", |letters| {
        letters.as_array().filter(|letters| letters.len() >= 2).map(Vec::len)
    });
    assert_eq!(tocsin.get("/api/alerts?status=resolved").as_array().unwrap().len(), 2);
    // What is told of the silence may be on its way.
    tocsin.wait_for("/api/deliveries?status=pending", |waiting| {
        waiting.as_array().filter(|waiting| waiting.is_empty()).map(drop)
    });
    tocsin.stop();
    make_older(&place, 31);

    let tocsin = place.serve();
    let mut left: BTreeSet<String> =
        ["a RUNNING", "b CRASHED", "q RUNNING", "q STOPPED"].map(str::to_owned).into();
    wait_for_list(&tocsin, &left);
    tocsin.wait_for("/api/deliveries", |left| {
        left.as_array().filter(|left| left.is_empty()).map(drop)
    });
    tocsin.wait_for("/api/alerts?status=all", |alerts| {
        let rules: Vec<&str> =
            alerts.as_array()?.iter().map(|alert| alert["rule"].as_str().unwrap()).collect();
        (rules == ["silent"]).then_some(())
    });
    let metrics = tocsin.get_text("/metrics");
    let pruned = "tocsin_dead_letters_pruned_total{receiver=\"ops\"} ";
    let pruned = metrics.lines().find_map(|line| line.strip_prefix(pruned)).unwrap();
    assert!(pruned.parse::<usize>().unwrap() >= letters, "{metrics}");

    // What happened before that is listed, and nothing follows from it.
    let late = event("a", "CRASHED", begin + 1.5);
    let (status, answer) = tocsin.post(late.to_string());
    assert_eq!(
        (status, &answer["status"], &answer["held_back"], &answer["occurrences"]),
        (200, &json!("recorded"), &json!("too old"), &json!([]))
    );
    assert_eq!(tocsin.post(late.to_string()).1["status"], "duplicate");
    left.insert("a CRASHED".into());
    assert_eq!(listed(&tocsin), left);
    let state = tocsin.get("/api/containers/a");
    assert_eq!(
        (&state["state"], &state["timeline"].as_array().unwrap().len()),
        (&json!("RUNNING"), &1)
    );
    assert_eq!(tocsin.get("/api/alerts?status=all").as_array().unwrap().len(), 1);
    // And what happens now goes on from there.
    tocsin.hear(&event("a", "CRASHED", now()));
    tocsin.wait_for("/api/alerts?status=firing", |alerts| {
        (alerts.as_array()?.len() == 2).then_some(())
    });
    tocsin.stop();
    assert_eq!(rows(&place, "events_by_time"), rows(&place, "events"));
    assert_eq!(rows(&place, "attempts"), rows(&place, "deliveries"));
    let (code, _, error) = place.run(&[
        "backup",
        "copy.db",
        "--storage",
        &format!("sqlite:{}", place.database().display()),
    ]);
    assert_eq!(code, 0, "{error}");
}

/// Of so many containers there are so many events.
const CONTAINERS: usize = 40;
const EVENTS: usize = 60;

#[test]
fn killed_in_the_middle_of_pruning_nothing_is_lost_that_is_to_stay() {
    let place = Place::new(&rules(&Sink::new()));
    let tocsin = place.serve();
    let begin = (now() - 40.0 * DAY).floor();
    let id = |container: usize| format!("c{container}");
    let post = |tocsin: &Tocsin, events: Range<usize>, state: &str| {
        thread::scope(|scope| {
            for part in 0..8 {
                let (events, base) = (events.clone(), tocsin.base());
                scope.spawn(move || {
                    let of_part = (0..CONTAINERS).filter(|container| container % 8 == part);
                    let of_part: Vec<usize> = of_part.collect();
                    for (number, container) in
                        events.flat_map(|number| of_part.iter().map(move |one| (number, one)))
                    {
                        let timestamp = begin + f64::from(u32::try_from(number).unwrap());
                        let body = event(&id(*container), state, timestamp).to_string();
                        assert_eq!(post_to(base, body).unwrap().0, 200);
                    }
                });
            }
        });
    };
    post(&tocsin, 0..EVENTS, "RUNNING");
    tocsin.stop();
    make_older(&place, 31);
    // These were received now, though they happened then.
    let tocsin = place.serve_with(&[]);
    post(&tocsin, EVENTS..EVENTS + 2, "STOPPED");
    tocsin.kill();

    let mut left = rows(&place, "events");
    let expected = 2 * CONTAINERS;
    let mut kills = 0;
    for round in 1.. {
        let tocsin = place.serve();
        thread::sleep(Duration::from_millis(20 * round));
        tocsin.kill();
        let now_left = rows(&place, "events");
        assert!(now_left <= left);
        kills += usize::from(now_left < left);
        left = now_left;
        if usize::try_from(left).unwrap() == expected {
            break;
        }
        assert!(round < 50, "{left} are left");
    }
    assert!(kills > 0, "it was never pruned");
    let tocsin = place.serve();
    for container in 0..CONTAINERS {
        let state = tocsin.get(&format!("/api/containers/{}", id(container)));
        assert_eq!(state["state"], "STOPPED");
        assert_eq!(state["timeline"].as_array().unwrap().len(), 2, "{state}");
    }
    assert_eq!(listed(&tocsin).len(), CONTAINERS);
}
