//! What is pruned changes nothing of what is, also where rules change meanwhile.

use proptest::prelude::*;
use proptest::sample::Index;

use super::properties::{config, payloads};
use super::*;
use crate::clock::Timestamp;
use crate::event::State;
use crate::rules::{Field, Rules};

#[derive(Clone, Debug)]
enum Step {
    Hear(Index),
    Wait(u64),
    Change(bool),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<Index>().prop_map(Step::Hear),
        2 => (1u64..5000).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Change),
        2 => Just(Step::Prune),
    ]
}

/// Rules that nothing expires by, and that derive from now on if they are others.
fn rules(wide: bool, since: Timestamp) -> Rules {
    let crashed = match wide {
        true => rule("crashed", &[State::Crashed, State::Stopped]),
        false => rule("crashed", &[State::Crashed]),
    };
    let mut down = rule("down", &[State::Crashed, State::Stopped]);
    down.per = vec![Field::Application];
    let mut stuck = rule("stuck", &[State::Crashed, State::Starting]);
    stuck.hold = Some(Duration::from_secs(60));
    stuck.resolve = Resolve::EndOfRun;
    let changed = [crashed, down, stuck].map(|rule| Rule {
        since,
        expire_after: Duration::from_secs(1000 * 24 * 3600),
        ..rule
    });
    Rules::new(changed.to_vec())
}

/// What fires, and since when, of each container.
fn firing(world: &World) -> Vec<(String, String, Timestamp)> {
    let open = world.intervals.values().filter(|interval| interval.end.is_none());
    let mut open: Vec<_> = open
        .map(|one| (one.alert.rule.to_string(), one.container.to_string(), one.start))
        .collect();
    open.sort();
    open
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn listed(world: &World) -> Vec<String> {
    let states = world.events.iter().map(|heard| heard.event.state.as_str().to_owned());
    states.collect()
}

#[test]
fn what_happened_before_the_checkpoint_is_recorded_and_changes_nothing() {
    let mut world = crashed();
    for (state, second) in [("CRASHED", 0), ("RUNNING", 10), ("STOPPED", 20)] {
        world.hear("a", state, second);
    }
    world.wait(100);
    world.prune(Duration::ZERO);
    assert_eq!(listed(&world), ["STOPPED"], "the last one stays");
    let before = (world.intervals.clone(), world.containers.clone());
    assert_eq!(world.hear("a", "CRASHED", 15), Decided::TooOld);
    assert_eq!(world.hear("a", "CRASHED", 15), Decided::Duplicate);
    // So is what was there, and is pruned.
    assert_eq!(world.hear("a", "RUNNING", 10), Decided::TooOld);
    assert_eq!(world.hear("a", "RUNNING", 20), Decided::TooOld);
    assert_eq!((world.intervals.clone(), world.containers.clone()), before);
    assert_eq!(listed(&world).len(), 4);
    assert_eq!(world.hear("a", "RUNNING", 21), Decided::Recorded);
    // What is too old goes as well, once it was received long enough ago.
    world.wait(100);
    world.prune(Duration::ZERO);
    assert_eq!(listed(&world), ["RUNNING"]);
}

#[test]
fn what_was_received_since_is_kept_and_all_that_comes_after_it() {
    let mut world = crashed();
    for second in [0, 20, 30] {
        world.hear("a", "RUNNING", second);
    }
    world.wait(100);
    world.hear("a", "CRASHED", 10);
    world.prune(Duration::from_secs(50));
    assert_eq!(listed(&world), ["RUNNING", "RUNNING", "CRASHED"], "the first one is gone");
    assert_eq!(world.hear("a", "STOPPED", 0), Decided::TooOld);
    assert_eq!(world.hear("a", "STOPPED", 5), Decided::Recorded);
}

#[test]
fn what_a_container_is_in_stays_whatever_was_heard_after_it() {
    let mut world = crashed();
    world.hear("a", "RUNNING", 20);
    world.hear("a", "STARTING", 5);
    for _ in 0..2 {
        world.wait(100);
        world.prune(Duration::ZERO);
        assert!(listed(&world).contains(&"RUNNING".into()), "{:?}", listed(&world));
    }
    assert_eq!(world.hear("a", "CRASHED", 1), Decided::TooOld);
    for _ in 0..2 {
        world.wait(100);
        world.prune(Duration::ZERO);
        assert!(listed(&world).contains(&"RUNNING".into()), "{:?}", listed(&world));
    }
}

#[test]
fn the_last_occurrence_of_what_fires_stays() {
    let mut world = crashed();
    for (state, second) in [("CRASHED", 0), ("CRASHED", 10), ("STOPPED", 20), ("STARTING", 30)] {
        world.hear("a", state, second);
    }
    world.wait(100);
    world.prune(Duration::ZERO);
    assert_eq!(listed(&world), ["CRASHED", "STARTING"]);
    // It goes on as if all were there.
    world.hear("a", "RUNNING", 40);
    let interval = world.intervals.values().next().unwrap();
    assert_eq!((interval.start, interval.occurrences), (at(0), 2));
    assert_eq!(interval.end.as_ref().map(|end| end.at), Some(at(40)));
    world.wait(100);
    world.prune(Duration::ZERO);
    assert_eq!(listed(&world), ["RUNNING"]);
}

#[test]
fn an_alert_waits_for_its_dead_letter_which_is_counted() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 1);
    world.wait(5);
    let refused = Outcome::Message { detail: "no".into() };
    world.deliver(&refused);
    world.deliver(&refused);
    assert_eq!(world.dead_letters().len(), 1);
    world.wait(600);
    world.prune(Duration::ZERO);
    assert_eq!(world.forget(DAY).len(), 0);
    // The letter is there still when the alerts are looked at.
    assert_eq!(world.forget(Duration::ZERO), ["ops".into()]);
    assert_eq!((world.intervals.len(), world.deliveries.len()), (1, 0));
    world.forget(Duration::ZERO);
    assert!(world.intervals.is_empty());
}

#[test]
fn an_alert_that_ended_goes_once_its_events_do_and_one_that_fires_does_not() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 1);
    world.hear("b", "CRASHED", 0);
    world.wait(600);
    world.deliver(&SENT);
    world.wait(600);
    world.forget(Duration::ZERO);
    assert_eq!(world.intervals.len(), 2, "late events may have to be put in order still");
    world.prune(Duration::ZERO);
    world.forget(DAY);
    assert_eq!(world.intervals.len(), 2, "it is not old enough");
    world.forget(Duration::ZERO);
    let left: Vec<&str> = world.intervals.values().map(|one| &*one.container).collect();
    assert_eq!(left, ["b"]);
    // It ends by itself, and goes though nothing was heard of its container since.
    world.wait(25 * 3600);
    world.deliver(&SENT);
    world.wait(600);
    world.prune(Duration::ZERO);
    world.forget(Duration::ZERO);
    assert!(world.intervals.is_empty());
    assert_eq!(world.hear("b", "CRASHED", 100), Decided::TooOld, "it would fire anew");
}

#[test]
fn an_alert_of_several_containers_goes_with_all_that_held_it_up() {
    let mut outage = rule("outage", &[State::Crashed]);
    outage.per = vec![Field::Application];
    let mut world = World::new(Rules::new(vec![outage]));
    for (container, state, second) in [
        ("a", "CRASHED", 0),
        ("b", "CRASHED", 10),
        ("a", "RUNNING", 20),
        ("a", "STOPPED", 25),
        ("b", "RUNNING", 30),
    ] {
        world.hear(container, state, second);
    }
    world.wait(600);
    world.deliver(&SENT);
    world.wait(600);
    // What was heard of one of them is kept: with it the part, and with that the whole.
    world.hear("b", "STARTING", 5);
    world.prune(Duration::from_secs(60));
    world.forget(Duration::from_secs(60));
    assert_eq!(world.intervals.len(), 3);
    world.wait(600);
    world.prune(Duration::from_secs(60));
    world.forget(Duration::from_secs(60));
    assert!(world.intervals.is_empty(), "{:?}", world.intervals);
    // The next one begins anew.
    world.hear("a", "CRASHED", 1800);
    assert_eq!(world.intervals.len(), 2);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_fires_is_the_same_whether_events_are_pruned_or_not(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut pruned = World::new(rules(false, Timestamp::default()));
        let mut whole = World::new(rules(false, Timestamp::default()));
        pruned.wait(48 * 3600);
        whole.wait(48 * 3600);
        for step in steps {
            match step {
                Step::Hear(index) => {
                    let payload = index.get(&payloads).clone();
                    if pruned.take(std::slice::from_ref(&payload)) == [Decided::Recorded] {
                        whole.take(&[payload]);
                    }
                }
                Step::Wait(seconds) => {
                    pruned.wait(seconds);
                    whole.wait(seconds);
                }
                Step::Change(wide) => {
                    pruned.reload(rules(wide, pruned.now));
                    whole.reload(rules(wide, whole.now));
                }
                Step::Prune => pruned.prune(Duration::ZERO),
            }
            prop_assert_eq!(firing(&pruned), firing(&whole));
        }
    }
}
