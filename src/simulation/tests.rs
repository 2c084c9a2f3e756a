use std::time::Instant;

use serde_json::json;

use super::*;
use crate::event::{self, State};
use crate::rules::{Condition, Rule};

fn crashed() -> Rules {
    let rule = Rule::new("crashed", Condition::states(&[State::Crashed]));
    Rules::new(vec![Rule { notify: vec!["ops".into()], ..rule }])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn event(container: &str, state: &str, at: u64) -> Event {
    event::from_value(&json!({
        "id": container, "application": "shop", "service": container, "state": state,
        "timestamp": START.plus(seconds(at)).as_seconds(),
    }))
    .unwrap()
}

fn telling(at: u64, firing: u32, resolved: u32) -> Telling {
    Telling {
        at: seconds(at),
        rule: "crashed".into(),
        receiver: "ops".into(),
        firing,
        resolved,
        labels: None,
    }
}

fn run(events: Vec<(u64, Event)>, expect: Vec<Telling>, until: u64) -> Outcome {
    let case = Case {
        name: "case".into(),
        start: START,
        events: events.into_iter().map(|(at, event)| (seconds(at), event)).collect(),
        expect,
        only: None,
        until: seconds(until),
    };
    case.run(&crashed())
}

/// For each line what was expected and what was told, with a mark where they differ.
fn lines(outcome: &Outcome) -> Vec<String> {
    let counts = |telling: &Option<Telling>| match telling {
        Some(telling) => format!("{}+{}", telling.firing, telling.resolved),
        None => "-".into(),
    };
    let line = |line: &Line| {
        let mark = if line.agrees() { "" } else { "!" };
        let at = line.place().0.as_secs();
        format!("{mark}{at}: {} {}", counts(&line.expected), counts(&line.told))
    };
    outcome.lines.iter().map(line).collect()
}

#[test]
fn a_crash_is_told_at_its_time_and_so_is_its_end() {
    let events = vec![(0, event("a", "CRASHED", 0)), (10, event("a", "RUNNING", 10))];
    let outcome = run(events, vec![telling(305, 0, 1), telling(5, 1, 0)], 3600);
    assert_eq!(lines(&outcome), ["5: 1+0 1+0", "305: 0+1 0+1"]);
    assert!(outcome.passed());
}

#[test]
fn what_is_heard_at_the_instant_at_which_a_group_speaks_is_part_of_what_it_says() {
    let events = vec![(0, event("a", "CRASHED", 0)), (5, event("a", "RUNNING", 5))];
    assert_eq!(lines(&run(events, vec![telling(5, 0, 1)], 60)), ["5: 0+1 0+1"]);
}

#[test]
fn what_differs_stands_beside_what_was_expected() {
    let events = || vec![(0, event("a", "CRASHED", 0)), (10, event("a", "RUNNING", 10))];
    let outcome = run(events(), vec![telling(5, 2, 0), telling(300, 0, 1)], 3600);
    assert_eq!(lines(&outcome), ["!5: 2+0 1+0", "!300: 0+1 -", "!305: - 0+1"]);
    assert!(!outcome.passed());
    // What is told after the end does not count, and what is told twice is one too many.
    assert!(run(events(), vec![telling(5, 1, 0)], 304).passed());
    assert!(!run(events(), vec![telling(5, 1, 0), telling(5, 1, 0)], 304).passed());
}

#[test]
fn whoever_asks_for_labels_is_matched_before_whoever_does_not() {
    let events = vec![(0, event("a", "CRASHED", 0)), (0, event("b", "CRASHED", 0))];
    let of = |service: &str| {
        let labels = [("application", "shop"), ("service", service)];
        Telling { labels: Some(labels.into()), ..telling(5, 1, 0) }
    };
    for service in ["a", "b"] {
        assert!(run(events.clone(), vec![telling(5, 1, 0), of(service)], 60).passed());
    }
    assert!(!run(events, vec![telling(5, 1, 0), of("c")], 60).passed());
}

#[test]
fn the_same_is_told_again_every_repeat_interval_until_it_expires() {
    let events = vec![(0, event("a", "CRASHED", 0))];
    let mut expect: Vec<Telling> = (0..6).map(|times| telling(5 + times * 14_400, 1, 0)).collect();
    expect.push(telling(86_400, 0, 1));
    let outcome = run(events, expect, 48 * 3600);
    assert!(outcome.passed(), "{:?}", lines(&outcome));
}

#[test]
fn a_million_hours_of_nothing_take_no_time() {
    let began = Instant::now();
    assert!(run(Vec::new(), Vec::new(), 1_000_000 * 3600).passed());
    assert!(began.elapsed() < seconds(1));
}

#[test]
fn a_simulation_tells_the_same_every_time() {
    let rules = crashed();
    let once = || {
        let mut simulation = Simulation::new(&rules, START);
        simulation.hear([event("a", "CRASHED", 0), event("b", "CRASHED", 1)], START);
        simulation.run_until(START.plus(seconds(86_400 * 3)))
    };
    assert_eq!(once(), once());
    assert!(!once().is_empty());
}
