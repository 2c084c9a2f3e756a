//! What holds for every fleet, every order of arrival, every answer (DESIGN.md §6).

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::world::{World, at};
use super::{SENT, failed, lost, rule};
use crate::clock::Timestamp;
use crate::engine::*;
use crate::event::State;
use crate::rules::Rules;

fn rules() -> Rules {
    Rules::new(vec![
        rule("crashed", &[State::Crashed]),
        rule("down", &[State::Crashed, State::Stopped, State::Deleted]),
    ])
}

/// Payloads of a small fleet over two days, close together and hours apart, with ties.
fn payload() -> impl Strategy<Value = Value> {
    (
        select(vec!["a", "b", "c"]),
        select(vec!["CRASHED", "RUNNING", "STOPPED", "STARTING", "DELETED"]),
        select(vec![None, Some("CRASHED"), Some("RUNNING"), Some("STOPPED")]),
        prop_oneof![0u64..5, 0u64..200, (0u64..48).prop_map(|hour| hour * 3600)],
        prop::option::of(0u64..3),
    )
        .prop_map(|(id, state, prev_state, seconds, start)| {
            json!({
                "id": id, "application": "shop", "service": "web", "state": state,
                "prev_state": prev_state, "timestamp": at(seconds).as_seconds(),
                "counters": {"start": start},
            })
        })
}

fn payloads() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(payload(), 1..25)
}

#[derive(Clone, Debug)]
enum Step {
    Hear(Vec<Index>),
    Wait(u64),
    Deliver(Outcome),
    Restart,
    StopWhileSending,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<Index>(), 1..4).prop_map(Step::Hear),
        2 => prop_oneof![0u64..10, 100u64..400, 3600u64..50_000].prop_map(Step::Wait),
        2 => select(vec![
            SENT,
            failed(),
            lost(),
            Outcome::Message { detail: "no".into() },
        ])
        .prop_map(Step::Deliver),
        1 => Just(Step::Restart),
        1 => Just(Step::StopWhileSending),
    ]
}

/// After all that can have happened in the payloads' two days has been heard.
const AFTERWARDS: u64 = 48 * 3600;

/// The intervals as anyone can derive them: sort, and go through the events with one rule and one
/// container at a time.
fn reference(world: &World, payloads: &[Value]) -> Vec<Derived> {
    let mut derived = Vec::new();
    for rule in world.rules.iter() {
        for container in ["a", "b", "c"] {
            let mut timeline: Vec<Heard> = Vec::new();
            for payload in payloads.iter().filter(|payload| payload["id"] == container) {
                let event = crate::event::from_value(payload.clone()).unwrap();
                if timeline.iter().all(|heard| heard.event.identity != event.identity) {
                    timeline.push(Heard::new(event, world.now));
                }
            }
            timeline::sort(&mut timeline);
            let mut open: Option<(Timestamp, Timestamp, u64)> = None;
            let mut close = |open: &mut Option<(Timestamp, Timestamp, u64)>, end, cause| {
                if let Some((start, _, occurrences)) = open.take() {
                    derived.push((
                        rule.name.clone(),
                        container.to_owned(),
                        start,
                        Some((end, cause)),
                        occurrences,
                    ));
                }
            };
            for heard in &timeline {
                if let Some((_, last, _)) = open
                    && last.plus(rule.expire_after) <= heard.at
                {
                    close(&mut open, last.plus(rule.expire_after), "expired");
                }
                let matches = rule.when.matches(&heard.event);
                if matches {
                    let (start, occurrences) =
                        open.map_or((heard.at, 0), |(start, _, occurrences)| (start, occurrences));
                    open = Some((start, heard.at, occurrences + 1));
                }
                if heard.event.state == State::Deleted {
                    close(&mut open, heard.at, "deleted");
                } else if !matches && rule.resolve.matches(&heard.event) {
                    close(&mut open, heard.at, "resolved");
                }
            }
            if let Some((_, last, _)) = open
                && last.plus(rule.expire_after) <= world.now
            {
                close(&mut open, last.plus(rule.expire_after), "expired");
            }
            if let Some((start, _, occurrences)) = open {
                derived.push((rule.name.clone(), container.to_owned(), start, None, occurrences));
            }
        }
    }
    derived.sort();
    derived
}

/// Rule, container, start, end with its cause, occurrences.
type Derived = (String, String, Timestamp, Option<(Timestamp, &'static str)>, u64);

fn derived(world: &World) -> Vec<Derived> {
    let mut derived: Vec<Derived> = world
        .intervals
        .values()
        .filter(|interval| interval.end.as_ref().is_none_or(|end| end.cause != Cause::Withdrawn))
        .map(|interval| {
            let end = interval.end.as_ref().map(|end| {
                let cause = match end.cause {
                    Cause::Resolved => "resolved",
                    Cause::Deleted => "deleted",
                    Cause::Expired => "expired",
                    other => panic!("{other:?} in a fleet without reloads"),
                };
                (end.at, cause)
            });
            (
                interval.alert.rule.clone(),
                interval.container.clone(),
                interval.start,
                end,
                interval.occurrences,
            )
        })
        .collect();
    derived.sort();
    derived
}

/// Runs the steps, then hears all there is, lets all that is due happen and all be delivered.
fn run(payloads: &[Value], steps: &[Step]) -> World {
    let mut world = World::new(rules());
    world.wait(AFTERWARDS);
    for step in steps {
        match step {
            Step::Hear(which) => {
                let batch: Vec<Value> =
                    which.iter().map(|index| index.get(payloads).clone()).collect();
                world.take(&batch);
            }
            Step::Wait(seconds) => world.wait(*seconds),
            Step::Deliver(outcome) => {
                world.deliver(outcome);
            }
            Step::Restart => world.restart(),
            Step::StopWhileSending => {
                world.claim();
                world.restart();
            }
        }
    }
    world.take(payloads);
    world
}

/// Lets all that is due within `hours` happen, and everything be delivered.
fn come_to_rest(world: &mut World) {
    for _ in 0..40 {
        world.wait(301);
        world.deliver(&SENT);
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// (A) for plain rules: what is true depends on what happened, not on how it was heard.
    #[test]
    fn intervals_do_not_depend_on_arrival(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let world = run(&payloads, &steps);
        prop_assert_eq!(derived(&world), reference(&world, &payloads));
    }

    /// (B) for plain rules: at rest, the ledger says firing exactly where the alert fires.
    #[test]
    fn at_rest_the_ledger_says_what_is_true(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let mut world = run(&payloads, &steps);
        come_to_rest(&mut world);
        for interval in world.intervals.values() {
            for entry in &interval.ledger {
                let dead = entry.told.is_some_and(|told| told.dead);
                let told_firing = entry.told.is_some_and(|told| !told.over);
                prop_assert!(dead || told_firing == interval.end.is_none(), "{:?}", interval);
                prop_assert_eq!(entry.news, None, "{:?}", interval);
            }
        }
    }

    /// (C) for plain rules: an end is told only to whoever was told the beginning.
    #[test]
    fn nothing_is_told_over_that_was_not_told(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let mut world = run(&payloads, &steps);
        come_to_rest(&mut world);
        let lost = steps.iter().any(|step| {
            matches!(step, Step::StopWhileSending | Step::Deliver(Outcome::Unknown { .. }))
        });
        let end = |saying: &Saying| saying.until.unwrap_or(world.now);
        for (index, (alert, saying)) in world.told.iter().enumerate() {
            let before = world.told[..index].iter().rev().find(|(other, earlier)| {
                let (one, two) = if earlier.from < saying.from {
                    (earlier, saying)
                } else {
                    (saying, earlier)
                };
                // Deleted twice within one instant: two stretches of no length that begin together.
                let instant = |saying: &Saying| saying.from == end(saying);
                let together = one.from == two.from && !instant(one) && !instant(two);
                other == alert && (together || (one.from < two.from && two.from < end(one)))
            });
            let told_firing = before.map(|(_, earlier)| earlier.news.is_firing());
            match saying.news {
                News::Over | News::Withdrawn => prop_assert!(lost || told_firing == Some(true)),
                News::StillFiring => prop_assert_eq!(told_firing, Some(true)),
                News::HadNotEnded => prop_assert!(lost || told_firing == Some(false)),
                News::Firing | News::BeganAndEnded => {
                    prop_assert!(lost || told_firing.is_none(), "told twice: {:?}", saying);
                }
            }
        }
    }

    /// A batch is only a batch.
    #[test]
    fn two_events_at_once_are_the_one_then_the_other(payloads in payloads(), order in any::<bool>()) {
        let mut together = World::new(rules());
        together.wait(AFTERWARDS);
        together.take(&payloads);
        let mut apart = World::new(rules());
        apart.wait(AFTERWARDS);
        for payload in &payloads {
            apart.take(std::slice::from_ref(payload));
        }
        prop_assert_eq!(derived(&together), derived(&apart), "{}", order);
        prop_assert_eq!(&together.containers, &apart.containers);
        prop_assert_eq!(&together.groups, &apart.groups);
    }
}
