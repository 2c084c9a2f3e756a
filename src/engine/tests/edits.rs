//! What an edit of the rules file does to what was there before, by example.

use std::time::Duration;

use serde_json::json;

use super::properties::on;
use super::world::{World, at};
use super::{SENT, rule, said};
use crate::engine::*;
use crate::event::State;
use crate::rules::{Condition, On, Resolve, Rule, Rules};

fn stuck() -> Rule {
    Rule {
        hold: Some(Duration::from_secs(60)),
        resolve: Resolve::EndOfRun,
        ..rule("stuck", &[State::Stopping])
    }
}

/// Goes on with this rule, which is another by now.
fn edit(world: &mut World, rule: Rule) {
    world.wait(1);
    let since = world.now;
    world.reload(Rules::new(vec![Rule { since, fingerprint: "edited".into(), ..rule }]));
}

fn hear_after(world: &mut World, before: &str, state: &str, seconds: u64) {
    world.take(&[json!({
        "id": "a", "application": "shop", "service": "web", "state": state, "prev_state": before,
        "timestamp": at(seconds).as_seconds(),
    })]);
}

#[test]
fn a_run_that_had_not_counted_counts_from_what_is_heard_after_the_edit() {
    for hears_late in [false, true] {
        let mut world = World::new(Rules::new(vec![stuck()]));
        world.hear("a", "STOPPING", 0);
        world.wait(30);
        edit(&mut world, stuck());
        assert!(world.intervals.is_empty());
        world.wait(9);
        world.hear("a", "STOPPING", 40);
        if hears_late {
            world.hear("a", "STARTING", 20);
        }
        world.wait(60);
        assert!(world.deliver(&SENT).is_empty());
        world.wait(5);
        assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    }
}

#[test]
fn what_is_heard_late_was_over_by_what_was_heard_before_the_edit() {
    for (state, cause) in [("RUNNING", Cause::Resolved), ("DELETED", Cause::Deleted)] {
        let mut world = World::new(Rules::new(vec![rule("other", &[State::Stopped])]));
        world.wait(100);
        world.hear("a", state, 90);
        edit(&mut world, rule("crashed", &[State::Crashed]));
        world.wait(10);
        world.hear("a", "CRASHED", 80);
        let intervals: Vec<_> = world.intervals.values().collect();
        let end = intervals[0].end.clone().map(|end| (end.at, end.cause));
        assert_eq!((intervals.len(), end), (1, Some((at(90), cause))));
        world.wait(5);
        assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
    }
}

#[test]
fn what_fires_is_not_ended_by_what_was_heard_before_the_edit() {
    let until_stopped = Resolve::When(Condition::states(&[State::Stopped]));
    let watched = Rule { resolve: until_stopped, ..rule("crashed", &[State::Crashed]) };
    let mut world = World::new(Rules::new(vec![watched]));
    world.wait(100);
    world.hear("a", "CRASHED", 80);
    world.hear("a", "RUNNING", 90);
    edit(&mut world, rule("crashed", &[State::Crashed]));
    world.wait(10);
    world.hear("a", "STARTING", 85);
    assert!(world.intervals.values().all(|interval| interval.end.is_none()));
    world.hear("a", "RUNNING", 110);
    assert!(world.intervals.values().all(|interval| interval.end.is_some()));
}

#[test]
fn a_silence_begins_after_the_last_sign_though_that_was_heard_before_the_edit() {
    let silent = on(On::Silence, "silent", Condition::any(), 60);
    let mut world = World::new(Rules::new(vec![rule("other", &[State::Stopped])]));
    world.wait(100);
    world.hear("a", "RUNNING", 95);
    edit(&mut world, silent);
    world.hear("a", "STARTING", 50);
    let begins: Vec<_> = world.intervals.values().map(|interval| interval.start).collect();
    assert_eq!(begins, [at(155)]);
}

#[test]
fn a_shorter_silence_is_none_that_was_over_before_it_began() {
    let silent = |seconds| on(On::Silence, "silent", Condition::any(), seconds);
    let mut world = World::new(Rules::new(vec![silent(60)]));
    world.hear("a", "RUNNING", 0);
    edit(&mut world, silent(5));
    world.wait(13);
    world.hear("a", "RUNNING", 13);
    world.wait(4);
    assert!(world.deliver(&SENT).is_empty());
    let ended = world.intervals.values().filter(|interval| interval.end.is_some());
    assert_eq!(ended.count(), 0);
}

#[test]
fn a_gap_that_is_filled_after_an_edit_is_not_told() {
    let gap = || Rule { resolve: Resolve::Never, ..on(On::Gap, "gap", Condition::any(), 3600) };
    for is_filled in [true, false] {
        let mut world = World::new(Rules::new(vec![gap()]));
        hear_after(&mut world, "STARTING", "RUNNING", 0);
        hear_after(&mut world, "STOPPING", "CRASHED", 60);
        world.wait(100);
        edit(&mut world, gap());
        hear_after(&mut world, "RUNNING", "STOPPING", if is_filled { 30 } else { 70 });
        world.wait(3600);
        world.wait(300);
        let of_crash = world.deliver(&SENT).into_iter().flat_map(|told| told.alerts);
        let of_crash = of_crash.filter(|alert| alert.started_at == at(60));
        assert_eq!(of_crash.count(), usize::from(!is_filled));
    }
}

#[test]
fn who_is_no_longer_asked_for_hears_the_end_where_it_heard_the_beginning() {
    let crashed =
        |notify: &str| Rule { notify: vec![notify.into()], ..rule("crashed", &[State::Crashed]) };
    let rules = |notify| Rules::new(vec![crashed(notify)]).with_receivers(["ops".into()]);
    let mut world = World::new(rules("ops"));
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let told = world.claim();
    world.settle(&told[0], &SENT);
    world.wait(1);
    world.reload(rules("others"));
    // Those who are asked for now hear of it as well.
    world.wait(5);
    let also = world.claim();
    assert_eq!(also[0].delivery.to.as_ref(), "others");
    world.settle(&also[0], &SENT);
    world.wait(12 * 3600);
    let repeated = world.claim();
    let repeated_to: Vec<&str> = repeated.iter().map(|it| &*it.delivery.to).collect();
    assert_eq!(repeated_to, ["others"]);
    repeated.iter().for_each(|it| drop(world.settle(it, &SENT)));
    world.hear("a", "RUNNING", 12 * 3600);
    world.wait(300);
    let ended = world.claim();
    let of_ops: Vec<_> = ended.iter().filter(|it| &*it.delivery.to == "ops").collect();
    assert_eq!(of_ops[0].notification.alerts[0].news, News::Over);
    assert_eq!(of_ops[0].thread, told[0].thread);
}
