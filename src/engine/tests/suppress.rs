//! What is held back, and until when.

use std::sync::Arc;

use jiff::civil::{Weekday, time};
use jiff::tz::TimeZone;
use serde_json::json;

use super::*;
use crate::rules::calendar::Window;
use crate::rules::{Inhibit, MuteTime};

/// Muted from one to two o'clock on the day that the tests begin, a Thursday; they begin at midnight.
pub(super) fn muted() -> MuteTime {
    let hours = (time(1, 0, 0, 0), time(2, 0, 0, 0));
    let window = Window { days: vec![Weekday::Thursday], hours, timezone: TimeZone::UTC };
    MuteTime { name: "nights".into(), windows: vec![window] }
}

fn crashed_but_at_night() -> World {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.mute_during = vec![Arc::new(muted())];
    World::new(Rules::new(vec![crashed]))
}

pub(super) fn held(world: &World) -> Vec<Option<Held>> {
    let entries = world.intervals.values().flat_map(|interval| &interval.ledger);
    entries.map(|entry| entry.held.clone()).collect()
}

fn silenced(until: Option<u64>) -> Option<Held> {
    Some(Held::Silenced { by: SilenceId(1), until: until.map(at) })
}

#[test]
fn what_is_silenced_is_told_when_the_silence_ends() {
    let mut world = crashed();
    world.silence(json!({"rule": "crashed"}), 600);
    world.hear("a", "CRASHED", 0);
    world.wait(599);
    assert!(world.deliveries.is_empty());
    assert_eq!(held(&world), [silenced(Some(600))]);
    world.wait(1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    assert_eq!(held(&world), [None]);
}

#[test]
fn what_is_held_back_does_not_fire_for_those_from_whom_it_is() {
    let mut world = crashed();
    world.silence(json!({"id": "b"}), 3600);
    world.hear("a", "CRASHED", 0);
    world.hear("b", "CRASHED", 0);
    world.wait(5);
    assert_eq!(world.deliver(&SENT)[0].firing_in_group, 1);
    world.hear("a", "RUNNING", 5);
    world.wait(300);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Over)]]);
    assert_eq!(told[0].firing_in_group, 0, "a place that keeps it open closes it");
    assert_eq!(world.groups.values().map(|group| group.firing).sum::<u32>(), 1);
}

#[test]
fn who_ends_a_silence_early_hears_at_once() {
    let mut world = crashed();
    let silence = world.silence(json!({"rule": "crashed"}), 600);
    world.hear("a", "CRASHED", 0);
    world.wait(100);
    world.end_silence(silence);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn what_began_and_ended_within_a_silence_is_never_told_and_keeps_the_reason() {
    let mut world = crashed();
    world.silence(json!({"rule": "crashed"}), 600);
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 10);
    world.wait(100_000);
    assert!(world.deliveries.is_empty());
    assert_eq!(held(&world), [silenced(None)]);
    world.silences.clear();
    world.hear("a", "CRASHED", 5);
    world.wait(100_000);
    assert!(world.deliveries.is_empty(), "it was given up for good");
    assert!(world.groups.is_empty());
}

#[test]
fn what_outlasts_a_silence_or_began_before_it_is_told() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(2);
    world.silence(json!({"id": "a"}), 600);
    world.wait(8);
    assert!(world.deliver(&SENT).is_empty());
    world.hear("a", "RUNNING", 10);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
}

#[test]
fn the_end_of_what_was_told_passes_and_no_repetition_does() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    assert_eq!(world.deliver(&SENT).len(), 1);
    world.silence(json!({"rule": "crashed"}), 10 * 3600);
    world.wait(9 * 3600);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(3600);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::StillFiring)]]);
    world.silence(json!({"rule": "crashed"}), 10 * 3600);
    world.hear("a", "RUNNING", 10 * 3600);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn others_of_the_group_are_told_meanwhile_and_it_when_its_silence_ends() {
    let mut world = crashed();
    world.silence(json!({"id": "a"}), 1000);
    world.hear("a", "CRASHED", 0);
    world.hear("b", "CRASHED", 1);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("b".into(), News::Firing)]]);
    world.wait(994);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn what_is_silenced_between_the_look_and_the_claim_is_not_sent() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.silence(json!({"rule": "crashed"}), 600);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(600);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn a_mute_time_holds_and_releases() {
    let mut world = crashed_but_at_night();
    world.wait(3600);
    world.hear("a", "CRASHED", 3600);
    world.hear("b", "CRASHED", 3601);
    world.hear("b", "RUNNING", 3700);
    world.wait(3599);
    assert!(world.deliveries.is_empty());
    let by: Arc<str> = "nights".into();
    let muted = |until| Some(Held::Muted { by: by.clone(), until });
    assert_eq!(held(&world), [muted(Some(at(7200))), muted(None)]);
    world.wait(1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn what_may_have_been_heard_is_told_over_though_it_is_silenced() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&lost());
    world.silence(json!({"rule": "crashed"}), 600);
    world.wait(100);
    assert!(world.deliver(&SENT).is_empty(), "the second attempt is held back");
    world.hear("a", "RUNNING", 50);
    world.wait(400);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::BeganAndEnded)]], "it may have been heard");
}

#[test]
fn what_waits_when_a_mute_begins_is_held_back_and_told_if_it_ends() {
    let mut world = crashed_but_at_night();
    world.wait(3597);
    world.hear("a", "CRASHED", 3597);
    world.wait(5);
    assert!(world.deliver(&SENT).is_empty());
    // It began before the mute, so that it does not lie wholly inside.
    world.hear("a", "RUNNING", 3602);
    world.wait(0);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
}

#[test]
fn what_grows_beyond_the_hours_that_held_it_back_is_told() {
    let mut world = crashed_but_at_night();
    world.wait(10_000);
    world.hear("a", "CRASHED", 4000);
    world.hear("a", "RUNNING", 5000);
    world.wait(300);
    assert!(world.deliver(&SENT).is_empty());
    world.hear("a", "CRASHED", 3000);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
}

#[test]
fn a_rule_that_is_not_muted_any_more_tells_at_once() {
    let mut world = crashed_but_at_night();
    world.wait(3600);
    world.hear("a", "CRASHED", 3600);
    world.wait(30);
    assert!(world.deliver(&SENT).is_empty());
    world.reload(Rules::new(vec![rule("crashed", &[State::Crashed])]));
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn what_still_fires_is_repeated_once_its_silence_is_over() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    assert_eq!(world.deliver(&SENT).len(), 1);
    world.silence(json!({"rule": "crashed"}), 30_000);
    world.wait(29_999);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::StillFiring)]]);
}

/// While one rule's alerts fire, those of the other that have the same labels `equal` are held back.
pub(super) fn inhibit(source: &str, target: &str, equal: &[&str]) -> Inhibit {
    let of = |rule: &str| serde_json::from_value(json!({"rule": rule})).unwrap();
    let equal = equal.iter().map(|label| label.to_string()).collect();
    Inhibit { source: of(source), target: of(target), equal }
}

fn crashed_but_in_an_outage() -> World {
    let rules = vec![rule("outage", &[State::Stopped]), rule("crashed", &[State::Crashed])];
    let inhibits = vec![inhibit("outage", "crashed", &["application"])];
    let mut world = World::new(Rules::new(rules).with_inhibits(inhibits));
    world.wait(1);
    world
}

fn inhibited() -> Option<Held> {
    let values = ["shop", "web", "x"].map(|value| Some(value.into())).to_vec();
    Some(Held::Inhibited { by: AlertKey { rule: "outage".into(), values } })
}

#[test]
fn what_another_alert_inhibits_is_told_once_that_is_over() {
    let mut world = crashed_but_in_an_outage();
    world.hear("x", "STOPPED", 0);
    world.hear("a", "CRASHED", 1);
    world.wait(600);
    assert_eq!(said(&world.deliver(&SENT)), [[("x".into(), News::Firing)]]);
    assert_eq!(held(&world), [None, inhibited()]);
    world.hear("x", "RUNNING", 600);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    assert_eq!(held(&world), [None, None]);
}

#[test]
fn what_is_due_to_be_said_again_is_said_soon_after_what_inhibited_it_is_over() {
    let mut world = crashed_but_in_an_outage();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    world.wait(3600);
    world.hear("x", "STOPPED", 3600);
    world.wait(4 * 3600);
    world.deliver(&SENT);
    world.hear("x", "RUNNING", 5 * 3600);
    world.wait(300);
    let told = said(&world.deliver(&SENT));
    assert!(told.contains(&vec![("a".into(), News::StillFiring)]), "{told:?}");
}

#[test]
fn what_ends_while_it_is_inhibited_is_never_told() {
    let mut world = crashed_but_in_an_outage();
    world.hear("x", "STOPPED", 0);
    world.hear("a", "CRASHED", 1);
    world.wait(60);
    assert_eq!(world.deliver(&SENT).len(), 1);
    world.hear("a", "RUNNING", 60);
    world.hear("x", "RUNNING", 61);
    world.wait(1000);
    assert_eq!(said(&world.deliver(&SENT)), [[("x".into(), News::Over)]]);
    assert_eq!(held(&world), [None, inhibited()]);
}

#[test]
fn alerts_that_differ_in_an_equal_label_are_told() {
    let mut world = crashed_but_in_an_outage();
    world.take(&[json!({
        "id": "x", "application": "blog", "state": "STOPPED", "timestamp": at(0).as_seconds(),
    })]);
    world.hear("a", "CRASHED", 1);
    world.wait(6);
    assert_eq!(world.deliver(&SENT).len(), 2);
}

#[test]
fn what_was_inhibited_is_told_when_the_end_of_its_source_is_heard_late() {
    let mut world = crashed_but_in_an_outage();
    world.wait(100);
    world.hear("x", "STOPPED", 50);
    world.hear("a", "CRASHED", 60);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("x".into(), News::Firing)]]);
    world.hear("x", "RUNNING", 51);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}
