//! The states that a notification has with it, for those who show them.

use serde_json::json;

use super::world::{START, World, at};
use super::*;

/// The states as told of the first container: when each began, in seconds after the start.
fn states(world: &mut World) -> Vec<(Option<u64>, String)> {
    let notification = world.deliver(&SENT).remove(0);
    let told = notification
        .states
        .into_iter()
        .map(|told| (told.since.map(|since| since.since(START).as_secs()), told.state.to_string()));
    told.collect()
}

fn state(name: &str) -> String {
    name.to_owned()
}

#[test]
fn they_are_told_by_time_whatever_order_they_were_heard_in() {
    let mut world = crashed();
    world.now = at(60);
    for (name, second) in [("CRASHED", 40), ("STARTING", 10), ("RUNNING", 11), ("RUNNING", 20)] {
        world.hear("a", name, second);
    }
    world.hear("b", "CRASHED", 45);
    world.wait(5);
    assert_eq!(
        states(&mut world),
        [(Some(10), state("STARTING")), (Some(11), state("RUNNING")), (Some(40), state("CRASHED"))]
    );
}

#[test]
fn of_several_containers_they_are_those_of_the_first_that_is_named() {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.per = vec![Field::Application];
    let mut world = World::new(Rules::new(vec![crashed]));
    world.now = at(60);
    for (container, second) in [("a", 10), ("b", 20), ("c", 30)] {
        world.hear(container, "CRASHED", second);
    }
    world.wait(5);
    assert_eq!(states(&mut world), [(Some(10), state("CRASHED"))]);
}

#[test]
fn what_it_was_in_before_is_known_from_the_first_event() {
    let mut world = crashed();
    world.take(&[json!({"id": "a", "state": "CRASHED", "prev_state": "RUNNING",
                        "timestamp": at(0).as_seconds()})]);
    world.wait(5);
    assert_eq!(states(&mut world), [(None, state("RUNNING")), (Some(0), state("CRASHED"))]);
}

#[test]
fn no_more_are_read_than_can_be_shown_and_none_that_are_to_come() {
    let mut world = crashed();
    for second in 0..100 {
        world.now = at(second);
        world.hear("a", if second % 2 == 0 { "RUNNING" } else { "CRASHED" }, second);
    }
    world.hear("a", "STOPPED", 200);
    world.wait(5);
    let states = states(&mut world);
    assert_eq!(states.len(), RECENT - 1);
    assert_eq!(states.last(), Some(&(Some(99), state("CRASHED"))));
}

#[test]
fn an_attempt_again_shows_the_same() {
    let mut world = crashed();
    world.now = at(1);
    world.hear("a", "RUNNING", 0);
    world.hear("a", "CRASHED", 1);
    world.wait(5);
    let first = world.claim().remove(0);
    world.settle(&first, &failed());
    world.hear("a", "CRASHED", 5);
    world.hear("a", "STARVED", 6);
    world.wait(600);
    let second = world.claim().remove(0);
    assert_eq!(second.delivery.id, first.delivery.id);
    assert_eq!(second.notification.states, first.notification.states);
}

#[test]
fn they_are_not_read_for_those_who_do_not_show_them() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let id = world.to_send(world.now).remove(0);
    let lease = Lease { token: "t".into(), until: at(60) };
    let receiver = world.deliveries[&id].to.clone();
    let hand = Hand { receiver, lease, shows: Shows::default() };
    let next = [Claim { hand, deliveries: vec![id] }];
    let (rules, now) = (world.rules.clone(), world.now);
    let (snapshot, _, claimed) =
        world.decided(Keys::default(), |snapshot| claim(&rules, snapshot, &next, now));
    assert!(claimed[0].notification.states.is_empty());
    assert!(snapshot.asked.recent.is_empty() && snapshot.asked.timelines.is_empty());
}
