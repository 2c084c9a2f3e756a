//! What an event costs that matches one rule of many, beside what its JSON costs to decode: see
//! `benches/README.md`.

mod teams;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tocsin::config;
use tocsin::event::{self, Event};
use tocsin::rules::{Rule, Rules};

use teams::{SHAPES, write_rules_of_team};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// How many different events are asked about in turn, so that not one is always in the cache.
const EVENTS: usize = 1_000;

fn rules(count: usize) -> Rules {
    let mut file = "rules:\n".to_owned();
    (0..count / SHAPES).for_each(|team| write_rules_of_team(team, &mut file));
    match config::parse("rules.yaml", &file, &|_| None, &|_| Vec::new()) {
        Ok(config) => config.rules,
        Err(problems) => panic!("{problems}"),
    }
}

/// Payloads that each match one rule of these, of each shape as many.
fn payloads(rules: usize) -> Vec<String> {
    let teams = rules / SHAPES;
    (0..EVENTS)
        .map(|number| {
            let team = (number / SHAPES) * 7919 % teams;
            let id = format!("{number:08x}-7d1a-4000-8000-{team:012x}");
            let shop = format!("shop-{team}");
            let (application, service, id, state, starts, exit) = match number % SHAPES {
                0 => (shop, "web".into(), id, "CRASHED", 2, BROKEN),
                1 => (shop, "worker".into(), id, "TERMINATED", 2, BROKEN),
                2 => (shop, "db".into(), id, "CRASHED", 5, BROKEN),
                3 => (shop, "web".into(), id, "TERMINATED", 2, FAILED),
                4 => (shop, "mail".into(), id, "TERMINATED", 2, KILLED),
                5 => (shop, "web".into(), id, "STARVED", 2, "{}"),
                6 => (format!("team{team}-blue"), "web".into(), id, "CRASHED", 2, BROKEN),
                7 => (format!("x-{team}"), format!("mail-{team}"), id, "CRASHED", 2, BROKEN),
                8 => ("x".into(), "web".into(), format!("node-{team}-7"), "CRASHED", 2, BROKEN),
                _ => (format!("bank-{team}"), "worker".into(), id, "CRASHED", 2, BROKEN),
            };
            payload(&application, &service, &id, state, starts, exit)
        })
        .collect()
}

/// Payloads of the same applications and services, where all is well: they match no rule.
fn quiet(payloads: &[String]) -> Vec<String> {
    payloads
        .iter()
        .map(|payload| {
            let payload = payload.replace("CRASHED", "RUNNING").replace("TERMINATED", "RUNNING");
            let payload = payload.replace("STARVED", "RUNNING").replace(BROKEN, "{}");
            payload.replace(FAILED, "{}").replace(KILLED, "{}")
        })
        .collect()
}

const BROKEN: &str = r#"{"raw_exit_status":256,"reason":"exited","exit_status":1}"#;
const FAILED: &str = r#"{"raw_exit_status":768,"reason":"exited","exit_status":3}"#;
const KILLED: &str = r#"{"raw_exit_status":9,"reason":"signaled","signal":9}"#;

fn payload(
    application: &str,
    service: &str,
    id: &str,
    state: &str,
    starts: u32,
    exit: &str,
) -> String {
    format!(
        concat!(
            r#"{{"service":"{service}","timestamp":1700000000.123456,"#,
            r#""application":"{application}","id":"{id}","#,
            r#""state":"{state}","prev_state":"RUNNING","type":"Container","#,
            r#""data":{{"last_exit_status":{exit}}},"event":"state","#,
            r#""counters":{{"start":{starts},"post_attempts":0}}}}"#,
        ),
        service = service,
        application = application,
        id = id,
        state = state,
        exit = exit,
        starts = starts,
    )
}

fn events(payloads: &[String]) -> Vec<Event> {
    payloads
        .iter()
        .map(|payload| event::decode(payload.as_bytes()).expect("a payload is an event"))
        .collect()
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for size in SIZES {
        let rules = rules(size);
        let payloads = payloads(size);
        let events = events(&payloads);
        let quiet = self::events(&quiet(&payloads));
        for (events, matches) in [(&events, 1), (&quiet, 0)] {
            for event in events {
                assert!(
                    rules
                        .matching(event)
                        .map(|rule| &rule.name)
                        .eq(by_scan(&rules, event).map(|rule| &rule.name)),
                    "the index is wrong"
                );
                assert_eq!(rules.matching(event).count(), matches, "{}", event.payload.text);
            }
        }
        group.bench_function(BenchmarkId::new("decode", size), |bencher| {
            let mut payloads = payloads.iter().cycle();
            bencher.iter(|| payloads.next().map(|payload| event::decode(payload.as_bytes())));
        });
        group.bench_function(BenchmarkId::new("match", size), |bencher| {
            let mut events = events.iter().cycle();
            bencher.iter(|| events.next().map(|event| rules.matching(black_box(event)).count()));
        });
        group.bench_function(BenchmarkId::new("match none", size), |bencher| {
            let mut events = quiet.iter().cycle();
            bencher.iter(|| events.next().map(|event| rules.matching(black_box(event)).count()));
        });
        group.bench_function(BenchmarkId::new("scan", size), |bencher| {
            let mut events = events.iter().cycle();
            bencher.iter(|| events.next().map(|event| by_scan(&rules, black_box(event)).count()));
        });
    }
    group.finish();
}

/// What `matching` is to answer, without the index.
fn by_scan<'a>(rules: &'a Rules, event: &Event) -> impl Iterator<Item = &'a Arc<Rule>> {
    rules.iter().filter(|rule| rule.when.matches(event))
}

criterion_group!(benches, matching);
criterion_main!(benches);
