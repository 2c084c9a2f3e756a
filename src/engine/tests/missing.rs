//! What is missing: gaps and silences, by example.

use std::time::Duration;

use serde_json::json;

use super::properties::on;
use super::suppress::held;
use super::world::{World, at};
use super::{SENT, lost, said};
use crate::clock::Timestamp;
use crate::engine::*;
use crate::event::State;
use crate::rules::{Condition, Field, On, Resolve, Rule, Rules};

const HOUR: u64 = 3600;

fn gaps() -> World {
    let gap = on(On::Gap, "gap", Condition::any(), 2 * HOUR);
    World::new(Rules::new(vec![Rule { resolve: Resolve::Never, ..gap }]))
}

/// Hears of a state that `a` took after another.
fn hear_after(world: &mut World, before: &str, state: &str, starts: i64, seconds: u64) {
    world.take(&[json!({
        "id": "a", "application": "shop", "service": "web", "state": state, "prev_state": before,
        "timestamp": at(seconds).as_seconds(), "counters": {"start": starts},
    })]);
}

fn silent() -> Rule {
    on(On::Silence, "silent", Condition::any(), 2 * HOUR)
}

fn silences() -> World {
    World::new(Rules::new(vec![silent()]))
}

fn silences_of_applications() -> World {
    World::new(Rules::new(vec![Rule { per: vec![Field::Application], ..silent() }]))
}

/// What was or is silent, as start, end and cause.
fn stretches(world: &World) -> Vec<(Timestamp, Option<(Timestamp, Cause)>)> {
    let of_alerts = world.intervals.values().filter(|interval| interval.role != Role::Part);
    let begun = of_alerts.filter(|interval| interval.start <= world.now);
    let mut stretches: Vec<_> =
        begun.map(|one| (one.start, one.end.as_ref().map(|end| (end.at, end.cause)))).collect();
    stretches.sort_by_key(|(start, _)| *start);
    stretches
}

#[test]
fn a_gap_that_stays_is_told_once_when_it_has_stayed() {
    let mut world = gaps();
    hear_after(&mut world, "CREATING", "STARTING", 1, 0);
    world.wait(60);
    hear_after(&mut world, "RUNNING", "CRASHED", 1, 60);
    assert_eq!(held(&world), [Some(Held::TooEarly { until: Some(at(60 + 2 * HOUR)) })]);
    world.wait(2 * HOUR - 1);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    assert!(world.deliver(&SENT).is_empty(), "others may become news in the same instant");
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Happened)]]);
    let before = told[0].alerts[0].before.as_ref().unwrap();
    assert_eq!(before["state"], "STARTING");
    world.wait(100 * HOUR);
    assert!(world.deliver(&SENT).is_empty());
    assert!(world.groups.is_empty());
}

#[test]
fn a_gap_that_is_filled_late_is_never_told() {
    let mut world = gaps();
    hear_after(&mut world, "CREATING", "STARTING", 1, 0);
    hear_after(&mut world, "RUNNING", "CRASHED", 1, 60);
    assert_eq!(world.containers["a"].gaps, 1);
    world.wait(HOUR);
    hear_after(&mut world, "STARTING", "RUNNING", 1, 30);
    assert_eq!(world.containers["a"].gaps, 0);
    assert!(world.intervals.is_empty());
    world.wait(100 * HOUR);
    assert!(world.deliver(&SENT).is_empty());
    assert!(world.groups.is_empty());
}

#[test]
fn a_gap_that_a_late_event_leaves_waits_from_then_on() {
    let mut world = gaps();
    world.wait(HOUR);
    hear_after(&mut world, "RUNNING", "CRASHED", 1, 60);
    world.wait(HOUR);
    hear_after(&mut world, "CREATING", "STARTING", 1, 30);
    assert_eq!(held(&world), [Some(Held::TooEarly { until: Some(at(4 * HOUR)) })]);
}

#[test]
fn a_gap_that_was_told_and_filled_is_not_told_again() {
    let mut world = gaps();
    hear_after(&mut world, "CREATING", "STARTING", 1, 0);
    hear_after(&mut world, "RUNNING", "CRASHED", 1, 60);
    world.wait(2 * HOUR);
    world.wait(5);
    assert_eq!(world.deliver(&SENT).len(), 1);
    hear_after(&mut world, "STARTING", "RUNNING", 1, 30);
    // And there was more between: it is open again.
    hear_after(&mut world, "RUNNING", "STOPPING", 1, 40);
    world.wait(100 * HOUR);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn starts_that_grow_by_more_than_one_are_a_gap_and_falling_ones_are_none() {
    for (starts, gap) in [(3, 0), (4, 0), (5, 1), (1, 0)] {
        let mut world = gaps();
        hear_after(&mut world, "RUNNING", "CRASHED", 3, 0);
        hear_after(&mut world, "CRASHED", "STARTING", starts, 60);
        assert_eq!(world.containers["a"].gaps, gap, "from 3 to {starts}");
        assert_eq!(world.intervals.len(), gap as usize);
    }
}

#[test]
fn what_says_nothing_of_what_came_before_is_no_gap() {
    let mut world = gaps();
    hear_after(&mut world, "RUNNING", "CRASHED", 3, 0);
    world.hear("a", "STARTING", 60);
    hear_after(&mut world, "STARTING", "RUNNING", 9, 120);
    assert_eq!(world.containers["a"].gaps, 0);
}

#[test]
fn a_silence_begins_when_nothing_was_heard_for_long_enough_and_ends_with_the_next_sign() {
    let mut world = silences();
    world.hear("a", "RUNNING", 0);
    world.wait(HOUR);
    world.hear("a", "CRASHED", HOUR);
    world.wait(2 * HOUR - 1);
    assert_eq!(stretches(&world), []);
    world.wait(1);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    assert_eq!(stretches(&world), [(at(3 * HOUR), None)]);
    world.wait(HOUR - 5);
    world.hear("a", "STARTING", 4 * HOUR);
    world.wait(0);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
    let resolved = Some((at(4 * HOUR), Cause::Resolved));
    assert_eq!(stretches(&world), [(at(3 * HOUR), resolved)]);
    assert_eq!(world.containers["a"].open, 1, "the next silence waits");
}

#[test]
fn only_what_matches_is_a_sign_of_life() {
    let alive = Condition::states(&[State::Running]);
    let mut world = World::new(Rules::new(vec![Rule { when: alive, ..silent() }]));
    world.hear("a", "RUNNING", 0);
    world.wait(HOUR);
    world.hear("a", "STOPPED", HOUR);
    world.wait(HOUR);
    assert_eq!(stretches(&world), [(at(2 * HOUR), None)]);
}

#[test]
fn a_deleted_container_is_not_silent() {
    let mut world = silences();
    world.hear("a", "RUNNING", 0);
    world.hear("b", "RUNNING", 0);
    world.wait(HOUR);
    world.hear("a", "DELETED", HOUR);
    world.wait(2 * HOUR);
    world.hear("b", "DELETED", 3 * HOUR);
    let deleted = Some((at(3 * HOUR), Cause::Deleted));
    assert_eq!(stretches(&world), [(at(2 * HOUR), deleted)]);
    world.wait(100 * HOUR);
    assert_eq!(stretches(&world), [(at(2 * HOUR), deleted)]);
}

#[test]
fn a_sign_heard_late_takes_the_silence_back() {
    let mut world = silences();
    world.hear("a", "RUNNING", 0);
    world.wait(2 * HOUR);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    world.hear("a", "STOPPED", HOUR);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Withdrawn)]]);
    world.wait(HOUR);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn several_containers_are_silent_when_all_of_them_are() {
    let mut world = silences_of_applications();
    world.hear("a", "RUNNING", 0);
    world.wait(HOUR);
    world.hear("b", "RUNNING", HOUR);
    world.wait(HOUR);
    assert_eq!(stretches(&world), []);
    world.wait(HOUR);
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("b".into(), News::Firing)]]);
    assert_eq!(told[0].alerts[0].members, ["a", "b"]);
    world.wait(HOUR - 5);
    world.hear("a", "CRASHED", 4 * HOUR);
    let resolved = Some((at(4 * HOUR), Cause::Resolved));
    assert_eq!(stretches(&world), [(at(3 * HOUR), resolved)]);
}

#[test]
fn several_containers_are_not_silent_any_more_when_the_last_is_deleted() {
    let mut world = silences_of_applications();
    let signs = Condition::states(&[State::Running]);
    let rule = Rule { when: signs, per: vec![Field::Application], ..silent() };
    world.rules = Rules::new(vec![rule]);
    world.hear("a", "RUNNING", 0);
    world.hear("b", "RUNNING", 0);
    world.wait(3 * HOUR);
    world.hear("a", "DELETED", 3 * HOUR);
    assert_eq!(stretches(&world), [(at(2 * HOUR), None)]);
    world.wait(HOUR);
    world.hear("b", "DELETED", 4 * HOUR);
    let deleted = Some((at(4 * HOUR), Cause::Deleted));
    assert_eq!(stretches(&world), [(at(2 * HOUR), deleted)]);
}

#[test]
fn a_busy_application_leaves_no_row_for_each_event() {
    let mut world = silences_of_applications();
    for second in 0..500 {
        world.now = at(second);
        world.hear(["a", "b"][second as usize % 2], "RUNNING", second);
    }
    assert_eq!(world.intervals.len(), 3);
}

#[test]
fn a_start_after_hours_rings_only_for_what_stays_silent() {
    for mut world in [silences(), silences_of_applications()] {
        world.take(&[
            json!({"id": "a", "application": "shop", "state": "RUNNING",
                "timestamp": at(0).as_seconds()}),
            json!({"id": "b", "application": "blog", "state": "RUNNING",
                "timestamp": at(0).as_seconds()}),
        ]);
        // It was down until the third hour.
        world.now = at(3 * HOUR);
        world.rules = world.rules.clone().came_up(world.now);
        world.wait(60);
        let until = Some(at(5 * HOUR));
        assert_eq!(held(&world)[..1], [Some(Held::TooEarly { until })]);
        world.take(&[json!({"id": "a", "application": "shop", "state": "STOPPED",
            "timestamp": at(3 * HOUR + 60).as_seconds()})]);
        world.wait(2 * HOUR - 61);
        assert!(world.deliver(&SENT).is_empty());
        world.wait(1);
        world.wait(5);
        assert_eq!(said(&world.deliver(&SENT)), [[("b".into(), News::Firing)]]);
        assert_eq!(held(&world)[0], Some(Held::TooEarly { until: None }));
    }
}

#[test]
fn a_silence_that_was_perhaps_told_is_withdrawn_though_the_first_try_is_refused() {
    let mut world = silences();
    world.hear("a", "RUNNING", 0);
    world.wait(2 * HOUR);
    world.wait(5);
    world.deliver(&lost());
    world.hear("a", "DELETED", 1);
    world.wait(30);
    let refused = Outcome::Message { detail: "no".into() };
    assert_eq!(said(&world.deliver(&refused)), [[("a".into(), News::Withdrawn)]]);
    // And more is heard late, so that all is derived again.
    world.hear("a", "STOPPING", 1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Withdrawn)]]);
    world.wait(100 * HOUR);
    assert!(world.deliver(&SENT).is_empty());
}

/// Silences of applications in which a DELETED is a sign of life, of which one was told.
fn told_silent() -> World {
    let signs = Condition::states(&[State::Running, State::Deleted]);
    let rule = Rule { when: signs, per: vec![Field::Application], ..silent() };
    let mut world = World::new(Rules::new(vec![rule]));
    world.hear("a", "RUNNING", 2);
    world.wait(2 * HOUR + 10);
    world.wait(100);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    world
}

#[test]
fn a_silence_that_began_later_than_was_told_is_withdrawn_once() {
    let mut world = told_silent();
    world.hear("b", "DELETED", 100);
    world.wait(4 * HOUR);
    world.send();
    assert_eq!(world.in_flight[0].notification.says[0].news, News::StillFiring);
    world.hear("a", "DELETED", 3);
    world.land(&SENT);
    world.wait(301);
    assert_eq!(said(&world.deliver(&SENT)), [[("b".into(), News::Withdrawn)]]);
    world.wait(301);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn a_silence_that_began_later_is_not_withdrawn_once_it_is_told_to_fire_still() {
    let mut world = told_silent();
    world.wait(4 * HOUR);
    world.send();
    assert_eq!(world.in_flight[0].notification.says[0].news, News::StillFiring);
    world.hear("b", "RUNNING", HOUR);
    world.land(&SENT);
    world.wait(301);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_fires_is_told_though_it_was_withdrawn_while_it_began() {
    let mut world = told_silent();
    world.hear("a", "DELETED", 5);
    world.wait(301);
    world.send();
    assert_eq!(world.in_flight[0].notification.says[0].news, News::Withdrawn);
    world.hear("b", "RUNNING", 60);
    world.land(&SENT);
    world.wait(301);
    assert_eq!(said(&world.deliver(&SENT)), [[("b".into(), News::Firing)]]);
}

#[test]
fn what_fires_after_it_was_perhaps_withdrawn_is_said_not_to_have_ended() {
    let mut world = told_silent();
    world.hear("a", "DELETED", 5);
    world.wait(301);
    assert_eq!(said(&world.deliver(&lost())), [[("a".into(), News::Withdrawn)]]);
    world.hear("b", "RUNNING", 60);
    world.wait(301);
    assert_eq!(said(&world.deliver(&SENT)), [[("b".into(), News::HadNotEnded)]]);
    world.wait(301);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_was_perhaps_told_is_withdrawn_though_something_else_was_refused_since() {
    let signs = Condition::states(&[State::Running, State::Deleted]);
    let rule = Rule { when: signs, per: vec![Field::Application], ..silent() };
    let mut world = World::new(Rules::new(vec![rule]));
    world.wait(48 * HOUR);
    world.hear("a", "RUNNING", 0);
    world.wait(100);
    assert_eq!(said(&world.deliver(&lost())), [[("a".into(), News::Firing)]]);
    // It ended, and began again later.
    world.hear("b", "DELETED", 4 * HOUR);
    world.wait(30);
    let refused = Outcome::Message { detail: "no".into() };
    assert_eq!(said(&world.deliver(&refused)), [[("b".into(), News::Firing)]]);
    // It never happened at all.
    world.hear("a", "DELETED", 1);
    world.wait(301);
    let told: Vec<News> =
        said(&world.deliver(&SENT)).concat().into_iter().map(|(_, news)| news).collect();
    assert_eq!(told, [News::Withdrawn]);
}

#[test]
fn a_late_sign_that_joins_two_lives_undoes_the_silence_between_them() {
    let mut world = silences_of_applications();
    world.wait(10 * HOUR);
    for (container, hours) in [("a", 0), ("a", 4), ("b", 3)] {
        world.hear(container, "RUNNING", hours * HOUR);
    }
    let resolved = Some((at(3 * HOUR), Cause::Resolved));
    assert_eq!(stretches(&world), [(at(2 * HOUR), resolved), (at(6 * HOUR), None)]);
    world.hear("a", "RUNNING", 2 * HOUR);
    assert_eq!(stretches(&world), [(at(6 * HOUR), None)]);
}

#[test]
fn what_is_withdrawn_is_not_told_anew_by_what_begins_at_the_same_instant() {
    let mut world = silences();
    world.wait(48 * HOUR);
    world.hear("c", "STOPPED", 3);
    world.wait(100);
    world.send();
    world.restart();
    world.hear("c", "DELETED", 3);
    world.take(&[json!({"id": "c", "application": "shop", "service": "web", "state": "CRASHED",
        "timestamp": at(3).as_seconds(), "counters": {"start": 0}})]);
    world.wait(301);
    assert_eq!(said(&world.deliver(&SENT)), [[("c".into(), News::Firing)]]);
    world.wait(301);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn a_clock_that_was_ahead_holds_back_nothing_that_is_missing() {
    let mut world = gaps();
    let rules = Rules::new(vec![world.rules.get("gap").unwrap().as_ref().clone(), silent()]);
    world.now = at(48 * HOUR);
    world.rules = rules.came_up(world.now);
    hear_after(&mut world, "CREATING", "STARTING", 1, 0);
    hear_after(&mut world, "RUNNING", "CRASHED", 1, 60);
    world.now = at(60);
    world.wait(3 * HOUR);
    world.wait(5);
    let told = world.deliver(&SENT);
    let mut rules: Vec<&str> = told.iter().map(|told| told.rule.as_str()).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["gap", "silent"]);
}

#[test]
fn a_silence_that_was_told_ends_though_its_rule_asks_for_a_longer_one_by_now() {
    let mut world = silences();
    world.hear("a", "RUNNING", 0);
    world.wait(2 * HOUR);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    let longer = Rule { hold: Some(Duration::from_secs(10 * HOUR)), ..silent() };
    world.reload(Rules::new(vec![Rule { fingerprint: "longer".into(), ..longer }]));
    world.wait(HOUR);
    world.hear("a", "RUNNING", 3 * HOUR);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}
