//! Alerts of several containers and of several occurrences, by example.

use std::time::Duration;

use super::world::{World, at};
use super::{SENT, rule, said};
use crate::clock::Timestamp;
use crate::engine::*;
use crate::event::State;
use crate::rules::{Field, Resolve, Rule, Rules, Threshold};

fn storm() -> World {
    let mut storm = rule("storm", &[State::Crashed]);
    storm.per = vec![Field::Application];
    storm.threshold = Some(Threshold { count: 3, within: Duration::from_secs(600) });
    World::new(Rules::new(vec![storm]))
}

fn outage() -> World {
    let mut outage = rule("outage", &[State::Crashed]);
    outage.per = vec![Field::Application];
    World::new(Rules::new(vec![outage]))
}

/// The wholes, as start, end and cause.
fn wholes(world: &World) -> Vec<(Timestamp, Option<(Timestamp, Cause)>)> {
    let wholes = world.intervals.values().filter(|interval| interval.role == Role::Whole);
    let mut wholes: Vec<_> = wholes
        .map(|whole| (whole.start, whole.end.as_ref().map(|end| (end.at, end.cause))))
        .collect();
    wholes.sort_by_key(|(start, _)| *start);
    wholes
}

#[test]
fn too_few_occurrences_are_told_to_nobody() {
    let mut world = storm();
    world.wait(700);
    for (container, seconds) in [("a", 0), ("b", 1), ("a", 601)] {
        world.hear(container, "CRASHED", seconds);
    }
    world.wait(3600);
    assert!(world.deliver(&SENT).is_empty());
    assert_eq!(wholes(&world), []);
}

#[test]
fn a_storm_fires_with_the_last_that_it_takes_and_subsides_by_itself() {
    let mut world = storm();
    world.wait(200);
    for (container, seconds) in [("a", 0), ("b", 100), ("c", 200)] {
        world.hear(container, "CRASHED", seconds);
        world.hear(container, "RUNNING", seconds + 10);
    }
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("c".into(), News::Firing)]]);
    let alert = &told[0].alerts[0];
    assert_eq!(alert.members, ["a", "b", "c"]);
    assert_eq!((alert.started_at, alert.occurrences), (at(200), 3));

    // The first is ten minutes old at 600 s, but there is a fourth by then.
    world.hear("a", "CRASHED", 205);
    world.wait(494);
    assert_eq!(wholes(&world), [(at(200), None)]);
    world.wait(1);
    assert_eq!(wholes(&world), [(at(200), Some((at(700), Cause::Subsided)))]);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Over)]]);
    assert_eq!(told[0].alerts[0].ended_at, Some(at(700)));
    assert_eq!(told[0].alerts[0].members, ["a", "b", "c"]);
}

#[test]
fn an_occurrence_heard_late_makes_the_storm_that_was() {
    let mut world = storm();
    world.wait(3000);
    world.hear("a", "CRASHED", 0);
    world.hear("c", "CRASHED", 100);
    world.wait(5);
    assert!(world.deliver(&SENT).is_empty());
    world.hear("b", "CRASHED", 50);
    assert_eq!(wholes(&world), [(at(100), Some((at(600), Cause::Subsided)))]);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("c".into(), News::BeganAndEnded)]]);
}

#[test]
fn an_outage_lasts_until_the_last_container_is_back() {
    let mut world = outage();
    world.hear("a", "CRASHED", 0);
    world.hear("b", "CRASHED", 1);
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(told[0].alerts.len(), 1);
    assert_eq!((told[0].firing, told[0].alerts[0].members_in_all), (1, 2));

    world.hear("a", "RUNNING", 10);
    world.wait(400);
    assert!(world.deliver(&SENT).is_empty(), "one is still down");
    world.hear("b", "DELETED", 400);
    world.wait(1);
    assert_eq!(wholes(&world), [(at(0), Some((at(400), Cause::Deleted)))]);
    assert_eq!(said(&world.deliver(&SENT)), [[("b".into(), News::Over)]]);
}

#[test]
fn who_was_back_before_the_next_went_down_makes_two_outages() {
    let mut world = outage();
    world.wait(100);
    world.hear("b", "CRASHED", 20);
    world.hear("b", "RUNNING", 30);
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 10);
    let resolved = |from, until| (at(from), Some((at(until), Cause::Resolved)));
    assert_eq!(wholes(&world), [resolved(0, 10), resolved(20, 30)]);
    // And one, if a third was down all the while.
    world.hear("c", "CRASHED", 5);
    world.hear("c", "RUNNING", 25);
    assert_eq!(wholes(&world), [resolved(0, 30)]);
}

#[test]
fn what_lasts_counts_from_when_the_first_has_lasted() {
    let mut world = outage();
    let mut outage = (**world.rules.get("outage").unwrap()).clone();
    outage.hold = Some(Duration::from_secs(60));
    outage.resolve = Resolve::EndOfRun;
    world.rules = Rules::new(vec![outage]);
    world.hear("a", "CRASHED", 0);
    world.hear("b", "CRASHED", 30);
    world.hear("a", "RUNNING", 50);
    world.wait(89);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(told[0].alerts[0].started_at, at(90));
    assert_eq!(told[0].alerts[0].members, ["b"]);
}

#[test]
fn a_storm_ends_with_its_rule() {
    let mut world = storm();
    for (container, seconds) in [("a", 0), ("b", 1), ("c", 2)] {
        world.hear(container, "CRASHED", seconds);
    }
    world.wait(2);
    world.wait(5);
    world.deliver(&SENT);
    world.reload(Rules::new(Vec::new()).with_receivers(["ops".to_owned()]));
    assert_eq!(wholes(&world), [(at(2), Some((at(7), Cause::RuleRemoved)))]);
    assert_eq!(said(&world.deliver(&SENT)), [[("c".into(), News::Over)]]);
}

#[test]
fn a_storm_whose_rule_changed_goes_on_for_as_long_as_it_would_have() {
    let mut world = storm();
    for container in ["a", "b", "c"] {
        world.hear(container, "CRASHED", 0);
    }
    world.wait(5);
    world.deliver(&SENT);
    let mut storm = (**world.rules.get("storm").unwrap()).clone();
    storm.threshold = Some(Threshold { count: 4, within: Duration::from_secs(900) });
    storm.since = at(5);
    world.reload(Rules::new(vec![storm]));
    world.hear("d", "CRASHED", 10);
    world.wait(500);
    assert_eq!(wholes(&world), [(at(0), None)]);
    world.wait(100);
    assert_eq!(wholes(&world), [(at(0), Some((at(600), Cause::Subsided)))]);
}

#[test]
fn a_late_part_that_overlaps_what_ended_is_the_same_alert() {
    let mut stalled = rule("stalled", &[State::Crashed]);
    stalled.per = vec![Field::Application];
    stalled.hold = Some(Duration::from_secs(60));
    stalled.resolve = Resolve::EndOfRun;
    let mut world = World::new(Rules::new(vec![stalled]));
    world.wait(1000);
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 64);
    world.hear("b", "RUNNING", 176);
    world.hear("b", "CRASHED", 116);
    world.hear("b", "CRASHED", 0);
    assert_eq!(wholes(&world), [(at(60), Some((at(176), Cause::Resolved)))]);
}

#[test]
fn what_was_told_is_not_told_again_when_others_turn_out_to_have_held_it_up() {
    let mut stalled = rule("stalled", &[State::Crashed]);
    stalled.per = vec![Field::Application];
    stalled.hold = Some(Duration::from_secs(60));
    stalled.resolve = Resolve::EndOfRun;
    stalled.expire_after = Duration::from_secs(3600);
    let mut world = World::new(Rules::new(vec![stalled]));
    world.wait(7200);
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
    world.hear("a", "RUNNING", 1);
    world.hear("b", "CRASHED", 0);
    world.wait(3600);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_a_rule_of_another_kind_told_ends_with_that_and_is_not_derived_anew() {
    for count_first in [true, false] {
        let outage = rule("outage", &[State::Crashed]);
        let outage = Rule { per: vec![Field::Application], ..outage };
        let threshold = Some(Threshold { count: 2, within: Duration::from_secs(600) });
        let counted = Rule { threshold, ..outage.clone() };
        let (before, after) = if count_first { (counted, outage) } else { (outage, counted) };
        let mut world = World::new(Rules::new(vec![before]));
        world.wait(10);
        for (container, seconds) in [("a", 0), ("b", 1)] {
            world.hear(container, "CRASHED", seconds);
        }
        world.wait(5);
        assert_eq!(world.deliver(&SENT).len(), 1);
        // As at a start: those of the other kind end first.
        world.reload(Rules::default());
        let since = world.now;
        world.reload(Rules::new(vec![Rule { since, ..after }]));
        let mut told = Vec::new();
        for _ in 0..4 {
            told.extend(world.deliver(&SENT));
            world.wait(400);
        }
        assert_eq!(said(&told).len(), 1, "{told:?}");
        let alert = &told[0].alerts[0];
        assert_eq!((alert.news, alert.cause), (News::Over, Some(Cause::RuleRemoved)));
    }
}
