//! The engine as a whole, over a store in memory.

mod digest;
mod edits;
mod fallbacks;
mod health;
mod letters;
mod missing;
pub(crate) mod properties;
mod pruned;
mod recorded;
mod reference;
mod shared;
mod states;
mod suppress;
pub(crate) mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::event::State;
use crate::rules::{Condition, Field, Late, Resolve, Rule, Rules, Severity};
use world::{START, World, at};

pub(super) const SENT: Outcome = Outcome::Sent { complaint: None, handle: None };

fn failed() -> Outcome {
    Outcome::Transient { detail: "503".into() }
}

fn lost() -> Outcome {
    Outcome::Unknown { detail: "timed out".into() }
}

fn rule(name: &str, states: &[State]) -> Rule {
    Rule {
        severity: Severity::Critical,
        notify: vec!["ops".into()],
        fingerprint: name.into(),
        ..Rule::new(name, Condition::states(states))
    }
}

/// Hears of the crash of these containers at once, and claims in the same decision what it makes.
fn hear_of_crashes_and_send(world: &mut World, containers: &[&str]) {
    let crash =
        |id: &&str| json!({ "id": id, "state": "CRASHED", "timestamp": at(0).as_seconds() });
    let payloads: Vec<Value> = containers.iter().map(crash).collect();
    world.take_and_send(&payloads);
}

fn crashed() -> World {
    World::new(Rules::new(vec![rule("crashed", &[State::Crashed])]))
}

/// What is told of `a` fails until it is given up. It goes on crashing, so that it does not expire.
fn fail_for_a_day(world: &mut World) {
    for hour in 1..=24 {
        world.deliver(&failed());
        world.wait(3600);
        world.hear("a", "CRASHED", hour * 3600);
    }
    world.deliver(&failed());
}

/// What a notification says, in a line for each alert.
fn said(notifications: &[Notification]) -> Vec<Vec<(String, News)>> {
    notifications
        .iter()
        .map(|notification| {
            notification.alerts.iter().map(|alert| (alert.container.clone(), alert.news)).collect()
        })
        .collect()
}

#[test]
fn a_crash_is_told_once_after_group_wait_and_its_end_after_group_interval() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(4);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);

    world.wait(5);
    world.hear("a", "RUNNING", 10);
    world.wait(200);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(95);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);

    world.wait(300);
    assert!(world.groups.is_empty(), "a quiet group ends");
}

#[test]
fn what_began_and_ended_within_the_wait_is_told_once_as_both() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 1);
    world.hear("a", "CRASHED", 2);
    world.hear("a", "RUNNING", 3);
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::BeganAndEnded)]]);
    assert_eq!(told[0].alerts[0].intervals, 2);
    assert_eq!(told[0].alerts[0].started_at, at(0));
    world.wait(100_000);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn a_repeated_event_changes_nothing() {
    let mut world = crashed();
    assert_eq!(world.hear("a", "CRASHED", 0), Decided::Recorded);
    let before = world.intervals.clone();
    assert_eq!(world.hear("a", "CRASHED", 0), Decided::Duplicate);
    assert_eq!(world.intervals, before);
    assert_eq!(world.events.len(), 1);
}

#[test]
fn what_fires_unchanged_is_said_again_every_repeat_interval() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.wait(4 * 3600 - 1);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::StillFiring)]]);
}

#[test]
fn an_alert_of_which_nothing_more_is_heard_expires() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.wait(24 * 3600);
    let told = world.deliver(&SENT);
    let last = told.last().unwrap().alerts.last().unwrap();
    assert_eq!((last.news, last.cause), (News::Over, Some(Cause::Expired)));
    assert_eq!(last.ended_at, Some(at(24 * 3600)));
}

#[test]
fn a_late_event_that_shows_that_it_had_not_ended_is_told_so() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.wait(25 * 3600);
    world.deliver(&SENT);
    // Heard an hour after the alert expired, an hour before it did.
    world.hear("a", "CRASHED", 23 * 3600);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::HadNotEnded)]]);
}

#[test]
fn that_it_had_not_ended_is_told_to_who_may_have_heard_that_it_had_whatever_fails_meanwhile() {
    for outcome in [failed(), lost(), Outcome::Unsent] {
        let mut world = crashed();
        world.hear("a", "CRASHED", 0);
        world.wait(5);
        world.deliver(&SENT);
        world.wait(24 * 3600);
        assert_eq!(said(&world.deliver(&lost())), [[("a".into(), News::Over)]]);
        world.hear("a", "CRASHED", 23 * 3600);
        world.wait(3600);
        let claimed = world.claim();
        assert_eq!(claimed[0].notification.alerts[0].news, News::HadNotEnded);
        world.settle(&claimed[0], &outcome);
        world.wait(3600);
        assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::HadNotEnded)]], "{outcome:?}");
    }
}

#[test]
fn a_notification_that_waits_says_what_is_true_when_it_gets_out() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let first = world.claim();
    assert_eq!(first.len(), 1);
    let until = world.now.plus(Duration::from_secs(30));
    assert_eq!(world.settle(&first[0], &failed()), Settled::Waits { until });
    world.hear("b", "CRASHED", 6);
    world.hear("a", "RUNNING", 7);
    world.wait(30);
    let second = world.claim();
    assert_eq!(
        said(&[(*second[0].notification).clone()]),
        [[("b".into(), News::Firing), ("a".into(), News::BeganAndEnded)]]
    );
    assert_ne!(first[0].delivery.id, second[0].delivery.id, "what says something else is another");
    assert_eq!(world.deliveries[&first[0].delivery.id].status, Status::Superseded);
    assert_eq!(second[0].delivery.waiting_since, first[0].delivery.waiting_since);
}

#[test]
fn a_retry_of_the_same_words_keeps_its_id() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let first = world.claim();
    world.settle(&first[0], &lost());
    world.wait(30);
    let second = world.claim();
    assert_eq!(first[0].delivery.id, second[0].delivery.id);
    assert_eq!(second[0].delivery.attempts, 2);
}

/// What it says of a new interval has to be found again by the name that the store gives that.
#[test]
fn what_is_claimed_by_the_decision_that_makes_it_is_settled_as_any_other() {
    let mut rule = rule("crashed", &[State::Crashed]);
    rule.group_wait = Duration::ZERO;
    for outcome in [SENT, failed(), lost()] {
        let mut world = World::new(Rules::new(vec![rule.clone()]));
        world.hear("b", "RUNNING", 0);
        hear_of_crashes_and_send(&mut world, &["a"]);
        let [claimed] = &world.in_flight.clone()[..] else { panic!("it is claimed at once") };
        assert_eq!(claimed.delivery.attempts, 1);
        world.land(&outcome);
        world.wait(30);
        world.deliver(&SENT);
        let delivery = &world.deliveries[&claimed.delivery.id];
        assert_eq!((delivery.status, world.deliveries.len()), (Status::Sent, 1), "{outcome:?}");
        world.hear("a", "RUNNING", 40);
        world.wait(300);
        assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]], "{outcome:?}");
    }
}

#[test]
fn more_than_one_delivery_for_the_same_receiver_is_left_to_be_looked_at_as_a_whole() {
    let mut rule = rule("crashed", &[State::Crashed]);
    (rule.group_wait, rule.group_by) = (Duration::ZERO, vec!["id".into()]);
    let mut world = World::new(Rules::new(vec![rule]));
    hear_of_crashes_and_send(&mut world, &["a", "b"]);
    assert!(world.in_flight.is_empty());
    assert_eq!(world.claim_digests()[0].others.len(), 1);
}

#[test]
fn what_is_sent_as_it_is_heard_is_in_the_order_in_which_it_was_heard() {
    let mut rule = rule("crashed", &[State::Crashed]);
    rule.group_wait = Duration::ZERO;
    let mut world = World::new(Rules::new(vec![rule]));
    hear_of_crashes_and_send(&mut world, &["b", "a"]);
    let alerts = world.in_flight[0].notification.alerts.iter();
    assert_eq!(alerts.map(|alert| &*alert.container).collect::<Vec<_>>(), ["b", "a"]);
}

#[test]
fn what_was_claimed_ahead_and_not_sent_is_as_it_was_before() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let before = world.deliveries.clone();
    let claimed = world.claim();
    world.settle(&claimed[0], &Outcome::Unsent);
    assert_eq!(world.deliveries, before);
    // Nobody heard that it fired.
    world.hear("a", "RUNNING", 6);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
}

#[test]
fn what_may_have_been_heard_before_is_so_still_if_it_was_claimed_ahead_and_not_sent() {
    let [plain, put_back] = [false, true].map(|is_claimed_ahead| {
        let mut world = crashed();
        world.hear("a", "CRASHED", 0);
        world.wait(5);
        world.deliver(&lost());
        world.wait(30);
        if is_claimed_ahead {
            let of_all = |world: &World| -> Vec<Delivery> {
                let all = world.deliveries.values().cloned();
                all.map(|delivery| Delivery { notification: None, ..delivery }).collect()
            };
            let before = of_all(&world);
            let claimed = world.claim();
            world.settle(&claimed[0], &Outcome::Unsent);
            assert_eq!(of_all(&world), before);
        }
        world.hear("a", "RUNNING", 40);
        world.wait(300);
        world.deliver(&SENT)
    });
    assert_eq!(plain, put_back);
}

#[test]
fn news_whose_answer_was_lost_is_said_again() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&lost());
    world.hear("b", "CRASHED", 6);
    world.wait(30);
    assert_eq!(
        said(&world.deliver(&SENT)),
        [[("a".into(), News::Firing), ("b".into(), News::Firing)]]
    );
}

#[test]
fn what_was_only_in_a_refused_message_is_not_taken_for_heard() {
    for is_put_back_first in [false, true] {
        let mut world = crashed();
        world.hear("a", "CRASHED", 0);
        world.wait(5);
        world.deliver(&lost());
        world.hear("b", "CRASHED", 5);
        world.wait(30);
        if is_put_back_first {
            let claimed = world.claim();
            world.settle(&claimed[0], &Outcome::Unsent);
        }
        let refused = Outcome::Message { detail: "no".into() };
        let both = || [("a".into(), News::Firing), ("b".into(), News::Firing)];
        assert_eq!(said(&world.deliver(&refused)), [both()]);
        assert_eq!(said(&world.deliver(&refused)), [both()]);
        let maybe: Vec<bool> =
            world.intervals.values().map(|interval| interval.ledger[0].maybe.fires()).collect();
        assert_eq!(maybe, [true, false], "the first may have been heard of, the second was not");
    }
}

#[test]
fn what_happened_within_one_instant_is_told_once() {
    let mut deployed = rule("deployed", &[State::Creating]);
    (deployed.resolve, deployed.per) = (Resolve::Never, vec![Field::Application]);
    let mut world = World::new(Rules::new(vec![deployed]));
    for container in ["a", "b", "c"] {
        world.hear(container, "CREATING", 0);
    }
    world.wait(5);
    assert_eq!(world.deliver(&SENT).len(), 1);
    world.wait(300);
    assert!(world.deliver(&SENT).is_empty());

    let mut world = crashed();
    for (starts, state) in [(1, "CRASHED"), (2, "RUNNING"), (3, "CRASHED"), (4, "RUNNING")] {
        world.take(&[json!({
            "id": "a", "state": state, "counters": { "start": starts },
            "timestamp": at(0).as_seconds(),
        })]);
    }
    world.wait(5);
    assert_eq!(world.deliver(&SENT).len(), 1);
    world.wait(300);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_was_earlier_and_is_heard_late_is_not_told_as_the_end_of_what_fires() {
    let mut world = crashed();
    world.wait(1200);
    world.hear("a", "CRASHED", 1200);
    world.wait(5);
    world.deliver(&SENT);
    world.hear("a", "RUNNING", 600);
    world.hear("a", "CRASHED", 0);
    world.wait(300);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::StillFiring)]]);
    let alert = &told[0].alerts[0];
    assert_eq!((told[0].firing, told[0].resolved, told[0].firing_in_group), (1, 0, 1));
    assert_eq!((alert.started_at, alert.ended_at, alert.intervals), (at(1200), None, 2));
    world.wait(300);
    assert!(world.deliver(&SENT).is_empty());
    world.hear("a", "RUNNING", 2000);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn every_container_of_an_alert_is_named_be_it_that_each_was_a_moment_of_its_own() {
    let mut deployed = rule("deployed", &[State::Creating]);
    (deployed.resolve, deployed.per) = (Resolve::Never, vec![Field::Application]);
    let mut flapped = rule("flapped", &[State::Crashed]);
    flapped.per = vec![Field::Application];
    let mut world = World::new(Rules::new(vec![deployed, flapped]));
    for (second, container) in (0..).zip(["a", "b", "c"]) {
        world.hear(container, "CREATING", second);
    }
    for (second, container) in (0..).zip(["d", "e"]) {
        world.hear(container, "CRASHED", 10 * second);
        world.hear(container, "RUNNING", 10 * second + 1);
    }
    world.wait(30);
    let told = world.deliver(&SENT);
    let members = told.iter().map(|told| told.alerts[0].members.clone());
    let mut members: Vec<Vec<String>> = members.collect();
    members.sort();
    assert_eq!(members, [vec!["a", "b", "c"], vec!["d", "e"]]);
}

#[test]
fn an_end_whose_answer_was_lost_is_said_again() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.hear("a", "RUNNING", 6);
    world.wait(300);
    world.deliver(&lost());
    world.wait(30);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn a_lost_lease_cannot_mark_a_delivery_sent() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let claimed = world.claim();
    world.restart();
    assert_eq!(world.settle(&claimed[0], &SENT), Settled::Lost);
    assert_eq!(world.deliveries[&claimed[0].delivery.id].status, Status::Pending);
}

#[test]
fn a_delivery_that_waited_too_long_is_a_dead_letter_and_the_end_is_told_all_the_same() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    fail_for_a_day(&mut world);
    let dead: Vec<&Delivery> =
        world.deliveries.values().filter(|delivery| delivery.status == Status::Dead).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].last_error.as_deref(), Some("503"));
    assert!(world.claim().is_empty(), "what was given up is not tried again at once");
    world.hear("a", "RUNNING", 24 * 3600 + 60);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
}

#[test]
fn a_message_that_is_refused_is_tried_once_in_plain_words() {
    let refused = Outcome::Message { detail: "invalid_blocks".into() };
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&refused);
    let plain = world.claim();
    assert!(plain[0].delivery.plain);
    assert_eq!(world.settle(&plain[0], &refused), Settled::Dead);
    assert!(world.claim().is_empty());
    assert_eq!(world.deliveries[&plain[0].delivery.id].status, Status::Dead);
}

#[test]
fn without_send_resolved_the_end_is_not_told() {
    let mut quiet = rule("crashed", &[State::Crashed]);
    quiet.send_resolved = false;
    let mut world = World::new(Rules::new(vec![quiet]));
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.hear("a", "RUNNING", 6);
    world.wait(100_000);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn an_alert_whose_rule_is_gone_ends_for_those_who_were_told_of_it() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.hear("b", "CRASHED", 6);
    let none = Rules::default().with_receivers(["ops".into()]);
    world.rules = none.clone();
    let keys = Keys { containers: ["a".into(), "b".into()].into(), ..Keys::default() };
    let now = world.now;
    world.transact(keys, |snapshot| decide(&none, snapshot, &[], now));
    world.wait(0);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Over)]]);
    assert_eq!(told[0].alerts[0].cause, Some(Cause::RuleRemoved));
}

#[test]
fn what_had_not_begun_when_its_rule_went_leaves_nothing() {
    let mut held = rule("crashed", &[State::Crashed]);
    held.hold = Some(Duration::from_secs(3600));
    let mut world = World::new(Rules::new(vec![held]));
    world.hear("a", "CRASHED", 0);
    assert_eq!(world.intervals.len(), 1);
    let none = Rules::default();
    world.rules = none.clone();
    let keys = Keys { containers: ["a".into()].into(), ..Keys::default() };
    let now = world.now;
    world.transact(keys, |snapshot| decide(&none, snapshot, &[], now));
    assert!(world.intervals.is_empty());
}

#[test]
fn what_fires_has_the_severity_that_its_rule_has_now() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    let milder = Rule { severity: Severity::Info, ..rule("crashed", &[State::Crashed]) };
    world.reload(Rules::new(vec![milder]));
    let labels = world.intervals.values().map(|interval| interval.labels.get("severity"));
    assert_eq!(labels.collect::<Vec<_>>(), [Some("info")]);
}

/// Why nothing is told of the only alert there is, and until when.
fn reason(world: &World) -> Option<(&'static str, Option<Timestamp>)> {
    let interval = world.intervals.values().next().unwrap();
    let entry = &interval.ledger[0];
    let reason = held_back(interval, entry, world.groups.get(&entry.group), world.now);
    reason.map(|reason| (reason.word, reason.until))
}

#[test]
fn a_repetition_that_is_due_is_not_held_back() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    assert_eq!(reason(&world), Some(("not due to repeat", Some(at(5 + 4 * 3600)))));
    world.wait(4 * 3600);
    assert_eq!(reason(&world), None);
}

#[test]
fn what_happens_by_a_clock_that_is_ahead_waits_for_company_until_then() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 20);
    assert_eq!(reason(&world), Some(("grouped", Some(at(20)))));
    let mut world = stuck();
    world.hear("a", "STOPPING", 0);
    assert_eq!(reason(&world), Some(("run too short", Some(at(300)))));
}

#[test]
fn a_receiver_that_a_rule_does_not_tell_any_more_is_not_told_for_that_reason() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    let reason = |world: &World| {
        let interval = world.intervals.values().next().unwrap();
        let entry = interval.ledger.iter().find(|entry| &*entry.group.receiver == "ops").unwrap();
        held_back(interval, entry, world.groups.get(&entry.group), world.now).unwrap().word
    };
    assert_eq!(reason(&world), "not due to repeat");
    let mut moved = rule("crashed", &[State::Crashed]);
    moved.notify = vec!["others".into()];
    world.reload(Rules::new(vec![moved]));
    assert_eq!(reason(&world), "rule removed");
}

#[test]
fn a_receiver_that_is_gone_is_owed_nothing() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    let mut moved = rule("crashed", &[State::Crashed]);
    moved.notify = vec!["others".into()];
    world.rules = Rules::new(vec![moved]);
    world.hear("a", "RUNNING", 6);
    world.wait(600);
    let claimed = world.claim();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].notification.receiver, "others");
}

#[test]
fn a_rule_that_changed_derives_only_from_what_it_heard_since() {
    let mut world = crashed();
    world.hear("a", "STOPPED", 0);
    world.hear("b", "CRASHED", 0);
    world.wait(60);
    let mut changed = rule("crashed", &[State::Crashed, State::Stopped]);
    changed.since = world.now;
    world.rules = Rules::new(vec![changed]);
    // Late events, so that the timelines are derived again.
    world.hear("a", "STARTING", 0);
    world.hear("b", "STARTING", 0);
    let firing: Vec<&str> = world
        .intervals
        .values()
        .filter(|interval| interval.end.is_none())
        .map(|interval| &*interval.container)
        .collect();
    assert_eq!(firing, ["b"], "what fired goes on, what was not matched then is not now");
    world.wait(60);
    world.hear("b", "RUNNING", 120);
    assert!(world.intervals.values().all(|interval| interval.end.is_some()));
}

#[test]
fn a_clock_that_jumps_back_only_starts_the_delays_anew() {
    let mut world = crashed();
    world.wait(1_000_000);
    world.hear("a", "CRASHED", 1_000_000);
    world.now = START;
    world.wait(0);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(5);
    assert_eq!(world.deliver(&SENT).len(), 1);
}

#[test]
fn a_timestamp_from_the_future_counts_as_five_minutes_ahead() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 1_000_000);
    assert_eq!(world.containers["a"].last_at, START.plus(AHEAD));
    world.wait(600);
    world.hear("a", "RUNNING", 600);
    assert_eq!(world.containers["a"].state, State::Running);
}

#[test]
fn five_hundred_crashes_of_one_service_are_one_notification() {
    let mut world = crashed();
    for container in 0..500 {
        world.hear(&format!("c{container}"), "CRASHED", 0);
    }
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].firing, told[0].alerts.len()), (500, ALERTS));
    assert_eq!(told[0].says.len(), 500);
}

#[test]
fn who_shows_every_alert_is_told_of_each_and_of_those_beyond_without_payloads() {
    let mut world = crashed();
    for container in 0..60 {
        world.hear(&format!("c{container}"), "CRASHED", 0);
    }
    world.wait(5);
    let id = world.to_send(world.now).remove(0);
    let lease = Lease { token: "t".into(), until: at(60) };
    let receiver = world.deliveries[&id].to.clone();
    let hand = Hand { receiver, lease, shows: Shows { all_alerts: true, ..Shows::default() } };
    let next = [Claim { hand, deliveries: vec![id] }];
    let (rules, now) = (world.rules.clone(), world.now);
    let claimed = world.transact(Keys::default(), |snapshot| claim(&rules, snapshot, &next, now));
    let alerts = &claimed[0].notification.alerts;
    let containers: BTreeSet<&str> = alerts.iter().map(|alert| &*alert.container).collect();
    assert_eq!(containers.len(), 60);
    assert!(alerts.iter().all(|alert| alert.labels.get("id") == Some(&alert.container)));
    let with_payloads = alerts.iter().take_while(|alert| alert.event.is_some()).count();
    assert_eq!(with_payloads, ALERTS);
}

#[test]
fn a_receiver_that_is_added_hears_of_what_fires() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    let mut wider = rule("crashed", &[State::Crashed]);
    wider.notify.push("team".into());
    world.reload(Rules::new(vec![wider]));
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(told.len(), 1, "ops was told before");
    assert_eq!(told[0].receiver, "team");
}

#[test]
fn a_receiver_that_takes_the_place_of_another_is_told_in_its_stead() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let mut moved = rule("crashed", &[State::Crashed]);
    moved.notify = vec!["team".into()];
    world.reload(Rules::new(vec![moved]));
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(told.len(), 1, "ops is gone, and was told nothing");
    assert_eq!(told[0].receiver, "team");
}

#[test]
fn what_was_said_to_be_firing_without_an_answer_is_said_to_be_over() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(25 * 3600);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
    world.hear("a", "CRASHED", 23 * 3600);
    world.wait(300);
    assert_eq!(said(&world.deliver(&lost())), [[("a".into(), News::HadNotEnded)]]);
    world.hear("a", "RUNNING", 25 * 3600);
    world.wait(30);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn what_is_joined_with_another_while_it_is_being_sent_is_not_forgotten() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(25 * 3600);
    world.deliver(&SENT);
    world.hear("a", "CRASHED", 25 * 3600);
    world.wait(300);
    world.send();
    // A late crash joins what expired with what is being said to fire; then it is over.
    world.hear("a", "CRASHED", 20 * 3600);
    world.hear("a", "RUNNING", 26 * 3600);
    world.land(&SENT);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn what_is_parted_while_it_is_being_sent_is_not_told_again() {
    let mut world = crashed();
    world.wait(100);
    world.hear("a", "CRASHED", 0);
    world.hear("a", "CRASHED", 100);
    world.wait(5);
    world.send();
    world.hear("a", "RUNNING", 50);
    world.land(&SENT);
    world.wait(1000);
    assert!(world.deliver(&SENT).is_empty());
    world.hear("a", "RUNNING", 1100);
    world.wait(0);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn what_was_told_apart_is_not_told_again_though_it_was_joined_and_parted_since() {
    let mut world = crashed();
    world.wait(48 * 3600);
    world.hear("a", "CRASHED", 0);
    world.hear("a", "CRASHED", 30 * 3600);
    world.hear("a", "RUNNING", 31 * 3600);
    world.wait(5);
    assert_eq!(world.deliver(&SENT)[0].says.len(), 2);
    // A late crash joins what had expired with the other, and a late recovery parts them again.
    world.hear("a", "CRASHED", 20 * 3600);
    world.hear("a", "RUNNING", 22 * 3600);
    world.wait(1000);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn fresh_news_does_not_die_with_what_waited_too_long() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    for _ in 0..23 {
        world.deliver(&failed());
        world.wait(3600);
    }
    world.hear("b", "CRASHED", 23 * 3600);
    world.deliver(&failed());
    world.wait(3600);
    world.deliver(&failed());
    world.wait(300);
    // That a crashed is a dead letter. That it expired meanwhile is news.
    assert_eq!(
        said(&world.deliver(&SENT)),
        [[("b".into(), News::Firing), ("a".into(), News::BeganAndEnded)]]
    );
}

#[test]
fn a_repetition_that_is_given_up_does_not_undo_what_was_heard() {
    let refused = Outcome::Message { detail: "invalid_blocks".into() };
    let mut quiet = rule("crashed", &[State::Crashed]);
    quiet.send_resolved = false;
    let mut world = World::new(Rules::new(vec![quiet]));
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.wait(4 * 3600);
    assert_eq!(said(&world.deliver(&refused)), [[("a".into(), News::StillFiring)]]);
    world.deliver(&refused);
    world.hear("a", "RUNNING", 5 * 3600);
    world.wait(600);
    assert!(world.deliver(&SENT).is_empty(), "the end is not told by this rule");
}

#[test]
fn a_long_alert_survives_an_edit_of_its_rule_and_a_late_event() {
    let mut world = crashed();
    for hour in 0..72 {
        world.now = at(hour * 3600);
        world.hear("a", "CRASHED", hour * 3600);
    }
    world.now = at(72 * 3600);
    let mut changed = rule("crashed", &[State::Crashed]);
    changed.since = world.now;
    world.reload(Rules::new(vec![changed]));
    world.wait(60);
    world.hear("a", "CRASHED", 72 * 3600 + 60);
    world.hear("a", "STARTING", 72 * 3600 + 30);
    let intervals: Vec<&Interval> = world.intervals.values().collect();
    assert_eq!(intervals.len(), 1);
    assert_eq!((intervals[0].end.clone(), intervals[0].occurrences), (None, 73));
}

#[test]
fn what_is_told_after_a_long_stop_is_late_since_it_happened() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    // When it was to be said again, nobody was there.
    world.now = at(20 * 3600);
    world.hear("a", "RUNNING", 20 * 3600);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Over)]]);
    assert_eq!(told[0].due_at, at(20 * 3600));
}

fn stuck() -> World {
    let mut stuck = rule("stuck", &[State::Stopping]);
    stuck.hold = Some(Duration::from_secs(300));
    stuck.resolve = Resolve::EndOfRun;
    World::new(Rules::new(vec![stuck]))
}

#[test]
fn what_came_due_while_nobody_was_there_is_told_once_with_the_time_it_was_due() {
    let mut world = stuck();
    world.hear("a", "STOPPING", 0);
    world.now = at(4000);
    while world.run_due() {}
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!((told.len(), told[0].due_at, told[0].made_at), (1, at(300), at(4005)));

    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.now = at(4000);
    while world.run_due() {}
    let told = world.deliver(&SENT);
    assert_eq!((told.len(), told[0].due_at, told[0].made_at), (1, at(5), at(4000)));
    world.wait(600);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_has_to_last_is_told_when_it_has_lasted() {
    let mut world = stuck();
    world.hear("a", "STOPPING", 0);
    world.wait(299);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Firing)]]);
    assert_eq!(told[0].alerts[0].started_at, at(300));
    world.hear("a", "STOPPED", 310);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn a_run_that_ends_before_it_counts_is_kept_and_not_told() {
    let mut world = stuck();
    world.hear("a", "STOPPING", 0);
    world.hear("a", "STOPPED", 300);
    let run = world.intervals.values().next().unwrap();
    assert!(run.is_too_short());
    assert_eq!((run.start, run.last_at), (at(0), at(0)));
    let fate = fate(run, &run.ledger[0], None, at(0), world.now);
    assert!(matches!(fate, Fate::HeldBack(Reason { word: "run too short", .. })), "{fate:?}");
    world.wait(100_000);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn a_run_of_which_the_end_is_heard_late_is_withdrawn() {
    let mut world = stuck();
    world.hear("a", "STOPPING", 0);
    world.wait(300);
    world.wait(5);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
    world.hear("a", "STOPPED", 200);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Withdrawn)]]);
}

#[test]
fn what_never_resolves_is_told_once_for_each_time_it_happens() {
    let mut started = rule("started", &[State::Starting]);
    started.resolve = Resolve::Never;
    let mut world = World::new(Rules::new(vec![started]));
    world.hear("a", "STARTING", 0);
    world.wait(5);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Happened)]]);
    assert_eq!((told[0].firing, told[0].resolved), (1, 0));
    world.hear("a", "RUNNING", 6);
    world.hear("a", "STARTING", 7);
    world.hear("a", "STARTING", 3);
    world.wait(300);
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::Happened)]]);
    assert_eq!(told[0].alerts[0].intervals, 2);
    world.wait(100_000);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_was_over_before_it_was_heard_of_is_told_or_recorded_as_the_rule_says() {
    for (late, told) in [(Late::Notify, 1), (Late::Record, 0)] {
        let mut crashed = rule("crashed", &[State::Crashed]);
        crashed.late = late;
        let mut world = World::new(Rules::new(vec![crashed]));
        world.wait(1000);
        world.hear("a", "CRASHED", 0);
        world.hear("a", "RUNNING", 10);
        // Still firing when it was heard of, and so told whatever the rule says.
        world.hear("b", "CRASHED", 0);
        world.wait(5);
        assert_eq!(world.deliver(&SENT)[0].alerts.len(), 1 + told);
        world.wait(100);
        let held: Vec<Option<Held>> =
            world.intervals.values().map(|interval| interval.ledger[0].held.clone()).collect();
        assert_eq!(held, [(told == 0).then_some(Held::Late), None]);
    }
}

#[test]
fn a_handle_of_the_thread_is_given_to_what_follows_while_the_group_lives() {
    let handle = |name: &str| Outcome::Sent { complaint: None, handle: Some(name.into()) };
    let mut world = crashed();
    let told = |world: &mut World, state: &str, seconds, outcome: &Outcome| {
        world.hear("a", state, seconds);
        world.wait(300);
        let claimed = world.claim();
        world.settle(&claimed[0], outcome);
        claimed[0].handle.clone()
    };
    assert_eq!(told(&mut world, "CRASHED", 0, &handle("m1")), None);
    assert_eq!(told(&mut world, "RUNNING", 290, &SENT).as_deref(), Some("m1"));
    assert_eq!(told(&mut world, "CRASHED", 590, &handle("m2")).as_deref(), Some("m1"));
    assert_eq!(told(&mut world, "RUNNING", 890, &SENT).as_deref(), Some("m2"));
    world.wait(300);
    assert_eq!(told(&mut world, "CRASHED", 1490, &SENT), None, "of a group that is new");
}

#[test]
fn two_notifications_of_what_turns_out_to_be_one_are_both_told() {
    let mut down = rule("down", &[State::Stopped, State::Deleted]);
    let mut edited = down.clone();
    down.group_by = vec!["id".into()];
    edited.group_by = vec!["service".into()];
    let mut world = World::new(Rules::new(vec![down]));
    world.wait(48 * 3600);
    world.hear("z", "STOPPED", 32 * 3600);
    world.reload(Rules::new(vec![edited]));
    world.hear("z", "STOPPED", 0);
    world.wait(100);
    world.send();
    assert_eq!(world.in_flight.len(), 2, "one of each group");
    world.hear("z", "STOPPED", 16 * 3600);
    world.land(&SENT);
    world.land(&SENT);
    world.hear("z", "RUNNING", 33 * 3600);
    world.wait(301);
    assert_eq!(said(&world.deliver(&SENT)), [[("z".into(), News::Over)]]);
}
