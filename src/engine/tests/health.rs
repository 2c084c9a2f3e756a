//! Receivers that are down, by example.

use std::sync::Arc;
use std::time::Duration;

use super::world::{World, at};
use super::{SENT, failed, lost, rule, said};
use crate::engine::*;
use crate::event::State;
use crate::rules::{RECEIVER_DOWN, Rule, Rules};

/// One rule that tells `ops` of each container by itself, for which `spare` stands in, and for that
/// `last`.
fn with_fallbacks() -> World {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.group_by = vec!["id".into()];
    let fallbacks = [("ops".into(), "spare".into()), ("spare".into(), "last".into())].into();
    let rules = Rules::new(vec![crashed]).with_fallbacks(fallbacks);
    World::new(rules.with_receivers(["spare".into(), "last".into()]))
}

fn gone() -> Outcome {
    Outcome::Destination { detail: "404 no_service".into() }
}

/// Whom what is claimed now goes to, with what rule speaks, the same attempt ending so.
fn sent(world: &mut World, outcome: &Outcome) -> Vec<(String, String)> {
    let claimed = world.claim();
    for claimed in &claimed {
        assert_ne!(world.settle(claimed, outcome), Settled::Lost);
    }
    let to = |one: &Claimed| (one.delivery.to.to_string(), one.notification.rule.clone());
    claimed.iter().map(to).collect()
}

fn crash(world: &mut World, container: &str) {
    world.hear(container, "CRASHED", world.now.since(at(0)).as_secs());
    world.wait(5);
}

/// `ops` is down, and `spare` was told why, and of `a`.
fn down() -> World {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    sent(&mut world, &SENT);
    world
}

fn pair(to: &str, rule: &str) -> (String, String) {
    (to.into(), rule.into())
}

#[test]
fn what_is_for_a_receiver_that_is_down_goes_to_its_fallback_which_is_told_why_once() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    assert_eq!(sent(&mut world, &gone()), [pair("ops", "crashed")]);
    let mut told = sent(&mut world, &SENT);
    told.sort();
    assert_eq!(told, [pair("spare", "crashed"), pair("spare", RECEIVER_DOWN)]);
    // The next goes there at once: nothing tries the receiver meanwhile.
    crash(&mut world, "b");
    assert!(sent(&mut world, &SENT).is_empty(), "it is only moved");
    assert_eq!(sent(&mut world, &SENT), [pair("spare", "crashed")]);
    assert!(sent(&mut world, &SENT).is_empty());
}

#[test]
fn one_message_tries_a_receiver_that_is_down_now_and_then() {
    let mut world = down();
    world.wait(150);
    crash(&mut world, "b");
    crash(&mut world, "c");
    assert_eq!(sent(&mut world, &gone()), [pair("ops", "crashed")], "one of the two");
    let told = sent(&mut world, &SENT);
    assert_eq!(told, [pair("spare", "crashed"), pair("spare", "crashed")]);
}

#[test]
fn who_is_back_and_who_stood_in_are_told_what_went_elsewhere() {
    let mut world = down();
    world.wait(150);
    crash(&mut world, "b");
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed")]);
    let claimed = world.claim();
    let mut told: Vec<(&str, u32, Vec<&str>)> = Vec::new();
    for claimed in &claimed {
        let notice = claimed.notification.notice.as_ref().unwrap();
        assert_eq!((notice.receiver.as_str(), notice.reason.as_str()), ("ops", "404 no_service"));
        assert_eq!(notice.back_at, Some(world.now));
        let ids = notice.missed.iter().map(|missed| missed.labels.get("id").unwrap()).collect();
        told.push((&claimed.delivery.to, notice.missed_in_all, ids));
    }
    told.sort();
    assert_eq!(told, [("ops", 1, vec!["a"]), ("spare", 1, vec!["a"])]);
    for claimed in &claimed {
        world.settle(claimed, &SENT);
    }
    // It is well: nothing more is said of it, and what is for it goes there.
    crash(&mut world, "c");
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed")]);
    assert!(sent(&mut world, &SENT).is_empty());
}

#[test]
fn who_stands_in_may_be_down_as_well() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    // Neither the message nor the word that the first is down is taken.
    sent(&mut world, &gone());
    let mut told = sent(&mut world, &SENT);
    told.sort();
    let (crashed, down) = (pair("last", "crashed"), pair("last", RECEIVER_DOWN));
    assert_eq!(told, [crashed, down.clone(), down]);
}

#[test]
fn who_is_told_anyway_only_hears_that_the_receiver_is_down() {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.notify = vec!["oncall".into(), "ops".into()];
    let fallbacks = [("oncall".into(), "ops".into())].into();
    let mut world = World::new(Rules::new(vec![crashed]).with_fallbacks(fallbacks));
    crash(&mut world, "a");
    for claimed in world.claim() {
        let is_down = *claimed.delivery.to == *"oncall";
        let outcome = if is_down { gone() } else { SENT };
        world.settle(&claimed, &outcome);
    }
    assert_eq!(sent(&mut world, &SENT), [pair("ops", RECEIVER_DOWN)]);
    // What is for the one that is down waits until it is tried again, and is told then.
    world.wait(150);
    assert_eq!(sent(&mut world, &SENT), [pair("oncall", "crashed")]);
    assert_eq!(sent(&mut world, &SENT), [pair("ops", RECEIVER_DOWN)]);
}

#[test]
fn without_a_fallback_one_message_is_tried_and_the_others_wait() {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.group_by = vec!["id".into()];
    let mut world = World::new(Rules::new(vec![crashed]));
    for container in ["a", "b", "c"] {
        crash(&mut world, container);
    }
    let first = world.claim();
    assert_eq!(first.len(), 3);
    for claimed in &first {
        world.settle(claimed, &gone());
    }
    world.wait(151);
    assert_eq!(sent(&mut world, &gone()).len(), 1, "one to see whether it is mended");
    world.wait(151);
    assert_eq!(sent(&mut world, &SENT).len(), 1);
    world.wait(60);
    assert_eq!(sent(&mut world, &SENT).len(), 2, "all that waited");
}

#[test]
fn a_long_run_of_passing_failures_is_a_receiver_that_is_down() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    for _ in 0..9 {
        assert_eq!(sent(&mut world, &failed()), [pair("ops", "crashed")]);
        world.wait(31);
    }
    assert_eq!(world.receivers["ops"].down, None, "not for long enough");
    for _ in 0..2 {
        assert_eq!(sent(&mut world, &failed()), [pair("ops", "crashed")]);
        world.wait(31);
    }
    let told = sent(&mut world, &SENT);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|(to, _)| to == "spare"));
}

#[test]
fn one_that_asks_to_be_left_alone_for_long_is_down() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    let claimed = world.claim().remove(0);
    let backoff = Duration::from_secs(3600);
    assert_eq!(
        world.settle_after(&claimed, &failed(), backoff),
        Settled::Moved { to: "spare".into() }
    );
    crash(&mut world, "b");
    assert!(sent(&mut world, &SENT).iter().all(|(to, _)| to == "spare"));
}

#[test]
fn what_took_too_long_goes_to_the_fallback_and_has_its_time_there() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    world.wait(24 * 3600);
    assert_eq!(sent(&mut world, &failed()), [pair("ops", "crashed")]);
    assert_eq!(sent(&mut world, &failed()), [pair("spare", "crashed")]);
    world.wait(31);
    assert_eq!(sent(&mut world, &SENT), [pair("spare", "crashed")]);
}

#[test]
fn the_end_of_what_a_fallback_took_does_not_try_the_receiver() {
    let mut world = down();
    world.hear("a", "RUNNING", 60);
    world.wait(301);
    assert!(sent(&mut world, &SENT).is_empty(), "it is only moved");
    let told = world.claim();
    assert_eq!(said(&[(*told[0].notification).clone()]), [[("a".into(), News::Over)]]);
    assert_eq!(&*told[0].delivery.to, "spare");
}

/// Whom each message claimed now goes to, with what it says, all of them taken.
fn told(world: &mut World) -> Vec<(String, Vec<(String, News)>)> {
    let claimed = world.claim();
    let told = claimed.iter().filter(|one| one.notification.notice.is_none()).map(|one| {
        let said = said(std::slice::from_ref(&*one.notification)).remove(0);
        (one.delivery.to.to_string(), said)
    });
    let told = told.collect();
    for claimed in &claimed {
        assert_ne!(world.settle(claimed, &SENT), Settled::Lost);
    }
    told
}

fn told_of(to: &str, container: &str, news: News) -> (String, Vec<(String, News)>) {
    (to.to_owned(), vec![(container.to_owned(), news)])
}

/// `ops` is well again.
fn mend(world: &mut World) {
    let now = world.now;
    let keys = Keys { receivers: ["ops".into()].into(), ..Keys::default() };
    world.transact(keys, |snapshot| try_again(snapshot, &["ops".into()], now));
}

#[test]
fn the_end_of_what_a_receiver_heard_waits_for_it() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    assert_eq!(told(&mut world), [told_of("ops", "a", News::Firing)]);
    crash(&mut world, "b");
    sent(&mut world, &gone());
    assert_eq!(told(&mut world), [told_of("spare", "b", News::Firing)]);
    world.hear("a", "RUNNING", 60);
    world.wait(301);
    assert_eq!(sent(&mut world, &gone()), [pair("ops", "crashed")], "it is what tries it");
    world.wait(60);
    assert_eq!(told(&mut world), [], "`spare` never heard that it began");
    mend(&mut world);
    world.wait(300);
    assert_eq!(told(&mut world), [told_of("ops", "a", News::Over)]);
}

#[test]
fn who_heard_that_it_fires_and_who_heard_that_it_still_does_hear_both_of_the_end() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    assert_eq!(told(&mut world), [told_of("ops", "a", News::Firing)]);
    crash(&mut world, "b");
    sent(&mut world, &gone());
    told(&mut world);
    world.wait(4 * 3600);
    sent(&mut world, &gone());
    let told_again = [told(&mut world), told(&mut world)].concat();
    assert!(told_again.contains(&told_of("spare", "a", News::StillFiring)), "{told_again:?}");
    mend(&mut world);
    crash(&mut world, "c");
    told(&mut world);
    let now = world.now.since(at(0)).as_secs();
    world.hear("a", "RUNNING", now);
    let mut ends = Vec::new();
    for _ in 0..3 {
        world.wait(301);
        ends.extend(told(&mut world));
        ends.extend(told(&mut world));
    }
    ends.retain(|(_, said)| said[0].0 == "a");
    assert_eq!(ends, [told_of("ops", "a", News::Over), told_of("spare", "a", News::Over)]);
}

#[test]
fn who_heard_that_it_still_fires_hears_the_end_while_who_heard_it_begin_is_down() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    told(&mut world);
    crash(&mut world, "b");
    sent(&mut world, &gone());
    told(&mut world);
    world.wait(4 * 3600);
    sent(&mut world, &gone());
    let told_again = [told(&mut world), told(&mut world)].concat();
    assert!(told_again.contains(&told_of("spare", "a", News::StillFiring)), "{told_again:?}");
    world.hear("a", "RUNNING", world.now.since(at(0)).as_secs());
    // The one message that tries it says so as well.
    world.wait(301);
    sent(&mut world, &gone());
    world.wait(1);
    assert_eq!(told(&mut world), [told_of("spare", "a", News::Over)]);
    // The other hears it when it can.
    mend(&mut world);
    world.wait(301);
    assert_eq!(told(&mut world)[0], told_of("ops", "a", News::Over));
}

#[test]
fn who_stood_in_hears_the_end_though_whom_it_stood_in_for_is_gone_by_then() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    assert_eq!(told(&mut world), [told_of("spare", "a", News::Firing)]);
    let mut renamed = rule("crashed", &[State::Crashed]);
    (renamed.group_by, renamed.notify) = (vec!["id".into()], vec!["team".into()]);
    let fallbacks = [("team".into(), "spare".into())].into();
    let rules = Rules::new(vec![renamed]).with_fallbacks(fallbacks);
    world.reload(rules.with_receivers(["spare".into()]));
    world.wait(5);
    assert_eq!(told(&mut world), [told_of("team", "a", News::Firing)]);
    world.hear("a", "RUNNING", world.now.since(at(0)).as_secs());
    let mut ends = Vec::new();
    for _ in 0..3 {
        world.wait(301);
        ends.extend(told(&mut world));
    }
    ends.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(ends, [told_of("spare", "a", News::Over), told_of("team", "a", News::Over)]);
}

/// One rule that tells `ops` of all containers together, with this fallback, if it has one.
fn falling_back_to(fallback: Option<&str>) -> Rules {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.group_by = vec!["service".into()];
    let fallbacks = fallback.map(|name| (Arc::from("ops"), Arc::from(name)));
    let rules = Rules::new(vec![crashed]).with_fallbacks(fallbacks.into_iter().collect());
    rules.with_receivers(["spare".into(), "other".into()])
}

fn with_a_group() -> World {
    World::new(falling_back_to(Some("spare")))
}

fn hear_now(world: &mut World, container: &str, state: &str) {
    world.hear(container, state, world.now.since(at(0)).as_secs());
}

#[test]
fn what_is_new_does_not_wait_for_who_is_down_and_is_to_hear_an_end() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    assert_eq!(told(&mut world), [told_of("ops", "a", News::Firing)]);
    hear_now(&mut world, "a", "RUNNING");
    world.wait(301);
    assert_eq!(sent(&mut world, &gone()), [pair("ops", "crashed")]);
    for _ in 0..3 {
        assert_eq!(told(&mut world), [], "that it is down is told, and nothing else");
    }
    hear_now(&mut world, "b", "CRASHED");
    world.wait(1);
    assert!(sent(&mut world, &gone()).is_empty(), "it is only moved");
    assert_eq!(told(&mut world), [told_of("spare", "b", News::Firing)]);
    // And so with the end of that.
    hear_now(&mut world, "b", "RUNNING");
    world.wait(301);
    sent(&mut world, &gone());
    world.wait(1);
    assert_eq!(told(&mut world), [told_of("spare", "b", News::Over)]);
}

#[test]
fn what_is_new_does_not_wait_for_who_once_stood_in_and_is_down() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    assert_eq!(told(&mut world), [told_of("spare", "a", News::Firing)]);
    mend(&mut world);
    hear_now(&mut world, "a", "RUNNING");
    world.wait(301);
    assert!(sent(&mut world, &SENT).is_empty(), "it is only moved");
    assert_eq!(sent(&mut world, &gone()), [pair("spare", "crashed")]);
    // Nobody stands in for `ops` any more.
    let rules = Rules::new(world.rules.iter().map(|rule| (**rule).clone()).collect());
    world.reload(rules.with_receivers(["spare".into()]));
    hear_now(&mut world, "b", "CRASHED");
    world.wait(1);
    assert_eq!(told(&mut world), [told_of("ops", "b", News::Firing)]);
}

#[test]
fn the_end_of_what_a_receiver_heard_is_given_up_in_time_though_another_could_stand_in() {
    for outcome in [gone(), failed()] {
        let mut world = with_a_group();
        crash(&mut world, "a");
        told(&mut world);
        hear_now(&mut world, "a", "RUNNING");
        world.wait(301);
        for _ in 0..300 {
            for claimed in world.claim() {
                let takes = &*claimed.delivery.to != "ops";
                world.settle(&claimed, if takes { &SENT } else { &outcome });
            }
            world.wait(300);
        }
        let letters: Vec<_> = world.dead_letters();
        let letters: Vec<&Delivery> = letters.iter().map(|id| &world.deliveries[id]).collect();
        assert_eq!(letters.iter().map(|it| &*it.to).collect::<Vec<_>>(), ["ops"], "{outcome:?}");
        assert_eq!(world.deliveries.values().filter(|it| it.status == Status::Pending).count(), 0);
    }
}

/// `ops` heard that `a` fires and is down since, and `spare` heard that it fires still.
fn told_on() -> World {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    told(&mut world);
    world.wait(4 * 3600);
    sent(&mut world, &gone());
    let told_again = [told(&mut world), told(&mut world)].concat();
    assert_eq!(told_again, [told_of("spare", "a", News::StillFiring)]);
    world
}

#[test]
fn who_stood_in_hears_the_end_though_whom_it_stood_in_for_heard_it_begin_and_is_gone() {
    let mut world = told_on();
    let mut renamed = rule("crashed", &[State::Crashed]);
    (renamed.group_by, renamed.notify) = (vec!["id".into()], vec!["team".into()]);
    world.reload(Rules::new(vec![renamed]).with_receivers(["spare".into()]));
    world.wait(5);
    told(&mut world);
    hear_now(&mut world, "a", "RUNNING");
    let mut ends = Vec::new();
    for _ in 0..3 {
        world.wait(301);
        ends.extend(told(&mut world));
    }
    ends.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(ends, [told_of("spare", "a", News::Over), told_of("team", "a", News::Over)]);
    assert!(world.deliveries.values().all(|it| it.status != Status::Pending));
}

#[test]
fn letters_of_one_end_are_each_for_whom_it_was() {
    let mut world = told_on();
    hear_now(&mut world, "a", "RUNNING");
    for _ in 0..600 {
        world.wait(300);
        sent(&mut world, &gone());
    }
    let of = |world: &World, to: &str| {
        let letters = world.dead_letters().into_iter();
        let mut letters = letters.filter(|id| !world.deliveries[id].is_notice());
        letters.find(|id| &*world.deliveries[id].to == to)
    };
    let (ops, spare) = (of(&world, "ops").unwrap(), of(&world, "spare").unwrap());
    assert_eq!(world.retry(&spare), Ok(Retried::Waits));
    assert_eq!(told(&mut world), [told_of("spare", "a", News::Over)]);
    world.wait(400);
    assert_eq!(told(&mut world), [], "nobody has put that of `ops` back");
    assert_eq!(world.deliveries[&ops].status, Status::Dead);
    assert_eq!(world.retry(&ops), Ok(Retried::Waits));
    assert_eq!(told(&mut world), [told_of("ops", "a", News::Over)]);
}

#[test]
fn what_may_have_been_heard_was_not_by_a_fallback_that_refused_it() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    let claimed = world.claim();
    world.settle(&claimed[0], &lost());
    take_down(&mut world, &["ops"]);
    world.wait(60);
    assert!(world.claim().is_empty(), "it moves");
    assert_eq!(sent(&mut world, &gone()), [pair("spare", "crashed")]);
    mend(&mut world);
    hear_now(&mut world, "a", "RUNNING");
    let mut ends = Vec::new();
    for _ in 0..4 {
        world.wait(301);
        ends.extend(told(&mut world).into_iter().map(|(to, _)| to));
    }
    assert_eq!(ends, ["ops"], "`spare` never heard that it began");
}

#[test]
fn a_fallback_that_takes_nothing_keeps_back_nothing_of_a_receiver_that_is_well() {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.group_by = vec!["service".into()];
    let fallbacks = [("ops".into(), "spare".into())].into();
    let rules = Rules::new(vec![crashed]).with_fallbacks(fallbacks);
    let mut world = World::new(rules.with_receivers(["spare".into()]));
    crash(&mut world, "a");
    sent(&mut world, &gone());
    assert_eq!(told(&mut world), [told_of("spare", "a", News::Firing)]);
    mend(&mut world);
    world.hear("a", "RUNNING", 60);
    world.wait(301);
    assert!(sent(&mut world, &SENT).is_empty(), "it is only moved");
    assert_eq!(sent(&mut world, &failed()), [pair("spare", "crashed")]);
    let now = world.now.since(at(0)).as_secs();
    world.hear("b", "CRASHED", now);
    world.wait(1);
    assert_eq!(told(&mut world), [told_of("ops", "b", News::Firing)]);
    world.wait(301);
    world.claim();
    assert_eq!(told(&mut world), [told_of("spare", "a", News::Over)]);
}

#[test]
fn what_waited_for_a_receiver_is_told_once_that_is_back() {
    let mut world = World::new(Rules::new(vec![rule("crashed", &[State::Crashed])]));
    crash(&mut world, "a");
    let claimed = world.claim();
    world.settle_after(&claimed[0], &failed(), Duration::from_secs(7200));
    assert!(sent(&mut world, &SENT).is_empty());
    mend(&mut world);
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed")], "it is what tries it");
}

#[test]
fn that_a_receiver_was_down_is_not_told_once_it_is_back() {
    for may_have_heard in [false, true] {
        let mut world = with_fallbacks();
        crash(&mut world, "a");
        sent(&mut world, &gone());
        let outcome = match may_have_heard {
            true => Outcome::Unknown { detail: "timed out".into() },
            false => failed(),
        };
        sent(&mut world, &outcome);
        mend(&mut world);
        crash(&mut world, "b");
        assert!(sent(&mut world, &SENT).contains(&pair("ops", "crashed")));
        world.wait(60);
        let mut notices = Vec::new();
        for claimed in world.claim().iter().filter(|one| one.notification.notice.is_some()) {
            notices.push((claimed.delivery.to.to_string(), claimed.notification.alerts[0].news));
        }
        notices.sort_unstable_by_key(|(_, news)| *news == News::Over);
        let told: &[(String, News)] = match may_have_heard {
            true => &[("spare".into(), News::Firing), ("spare".into(), News::Over)],
            false => &[],
        };
        assert_eq!(notices, told);
    }
}

#[test]
fn what_a_fallback_has_stays_there_when_whom_it_was_for_is_no_longer_in_the_file() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    world.send();
    assert!(world.in_flight.iter().all(|one| &*one.delivery.to == "spare"));
    let mut renamed = rule("crashed", &[State::Crashed]);
    (renamed.group_by, renamed.notify) = (vec!["id".into()], vec!["ops2".into()]);
    let rules = Rules::new(vec![renamed]);
    world.reload(rules.with_receivers(["spare".into(), "last".into()]));
    world.wait(7200);
    sent(&mut world, &SENT);
    let pending = world.deliveries.values().filter(|one| one.status == Status::Pending);
    assert!(pending.clone().all(|one| &*one.to != "ops"), "{:?}", pending.collect::<Vec<_>>());
}

#[test]
fn a_start_tries_receivers_that_were_down() {
    let mut world = down();
    let now = world.now;
    let keys = Keys { receivers: ["ops".into()].into(), ..Keys::default() };
    world.transact(keys, |snapshot| try_again(snapshot, &["ops".into()], now));
    crash(&mut world, "b");
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed")]);
}

#[test]
fn a_word_of_a_receiver_that_nobody_took_can_be_put_back() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    let refused = Outcome::Message { detail: "no".into() };
    for _ in 0..2 {
        sent(&mut world, &refused);
    }
    let mut letters = world.deliveries.values().filter(|letter| letter.status == Status::Dead);
    let letter = letters.find(|letter| letter.is_notice()).unwrap().id.clone();
    let (rules, now) = (world.rules.clone(), world.now);
    let retried = world.transact(Keys::default(), |snapshot| retry(&rules, snapshot, &letter, now));
    assert_eq!(retried, Ok(Retried::Waits));
    assert_eq!(sent(&mut world, &SENT), [pair("spare", RECEIVER_DOWN)]);
}

/// Who looked for what waits for `ops` may find it moved by the time that it claims it.
#[test]
fn what_went_to_a_fallback_meanwhile_is_claimed_for_that_alone() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    let [found] = &world.claim()[..] else { panic!("one is to be sent") };
    world.settle(found, &gone());
    let moved = found.delivery.id.clone();
    assert_eq!(&*world.deliveries[&moved].to, "spare");

    let lease = Lease { token: "another".into(), until: world.now.plus(Duration::from_secs(60)) };
    let (rules, now) = (world.rules.clone(), world.now);
    for (receiver, is_claimed) in [("ops", false), ("spare", true)] {
        let hand =
            Hand { receiver: receiver.into(), lease: lease.clone(), shows: Shows::default() };
        let next = [Claim { hand, deliveries: vec![moved.clone()] }];
        let claimed =
            world.transact(Keys::default(), |snapshot| claim(&rules, snapshot, &next, now));
        assert_eq!(!claimed.is_empty(), is_claimed, "{receiver}");
        assert_eq!(world.deliveries[&moved].lease.is_some(), is_claimed, "{receiver}");
    }
}

/// A place that asks for more than five minutes is down for as long as it asked.
#[test]
fn what_was_under_way_when_a_receiver_went_down_neither_brings_it_up_nor_ends_its_rest_early() {
    let hour = Duration::from_secs(3600);
    for outcome in [SENT, failed()] {
        let mut world = with_fallbacks();
        for container in ["a", "b"] {
            world.hear(container, "CRASHED", 0);
        }
        world.wait(5);
        let [first, second] = &world.claim()[..] else { panic!("two are under way") };
        world.settle_after(first, &failed(), hour);
        world.settle(second, &outcome);
        let down = world.receivers["ops"].down.as_ref().unwrap();
        assert_eq!(down.probe.due_at, world.now.plus(hour), "{outcome:?}");
        crash(&mut world, "c");
        let told = sent(&mut world, &SENT);
        assert!(told.iter().all(|(to, _)| to == "spare"), "{told:?}");
        world.wait(3600);
        crash(&mut world, "d");
        assert!(sent(&mut world, &SENT).contains(&pair("ops", "crashed")));
        assert!(world.receivers.get("ops").is_none_or(|health| health.down.is_none()));
    }
}

#[test]
fn one_mailbox_that_takes_nothing_takes_no_receiver_down() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    for attempt in 0..30 {
        let claimed = world.claim();
        let settlement = Settlement {
            deliveries: vec![claimed[0].delivery.id.clone()],
            token: claimed[0].delivery.lease.as_ref().unwrap().token.clone(),
            outcome: failed(),
            reached: vec!["one@example.com".into()],
            backoff: Duration::from_secs(60),
            pause: None,
            give_up_after: Duration::from_secs(86_400),
        };
        world.settle_so(&settlement);
        let down = world.receivers.get("ops").and_then(|health| health.down.as_ref());
        assert!(down.is_none(), "attempt {attempt}");
        world.wait(60);
    }
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_a_receiver_from_being_down() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    world.wait(7200);
    sent(&mut world, &failed());
    world.now = world.now.minus(Duration::from_secs(3600));
    for _ in 0..12 {
        world.wait(40);
        sent(&mut world, &failed());
    }
    assert!(world.receivers["ops"].down.is_some());
}

/// These are down for a day.
fn take_down(world: &mut World, receivers: &[&str]) {
    let since = world.now;
    let probe = Timer { set_at: since, due_at: since.plus(Duration::from_secs(86_400)) };
    for receiver in receivers {
        let (reason, missed, missed_in_all) = ("404".into(), Vec::new(), 0);
        let (is_tried, told) = (false, None);
        // Whoever was to be told of it was.
        let notice = Some(DeliveryId("notice".into()));
        let down =
            Some(Down { since, reason, probe, is_tried, notice, told, missed, missed_in_all });
        let receiver: Arc<str> = (*receiver).into();
        let health =
            Health { down, failures: 1, failing_since: since, ..Health::well(receiver.clone()) };
        world.memory.receivers.insert(receiver, health);
    }
}

#[test]
fn what_took_too_long_goes_to_who_takes_it_and_not_to_and_fro() {
    for (down, becomes) in [
        (&[][..], Settled::Moved { to: "spare".into() }),
        (&["spare"], Settled::Moved { to: "last".into() }),
        (&["spare", "last"], Settled::Dead),
    ] {
        let mut world = with_fallbacks();
        crash(&mut world, "a");
        let claimed = world.claim();
        take_down(&mut world, down);
        assert_eq!(world.give_up(&claimed[0], &lost()), becomes);
    }
}

#[test]
fn what_one_mailbox_has_is_told_and_waits_for_the_others_alone() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    let claimed = world.claim();
    world.settle_reached(&claimed[0], &failed(), vec!["one@example.com".into()]);
    hear_now(&mut world, "b", "CRASHED");
    world.wait(300);
    let (rest, new): (Vec<_>, Vec<_>) =
        world.claim().into_iter().partition(|it| it.delivery.is_remainder());
    assert_eq!(said(&[(*new[0].notification).clone()]), [[("b".into(), News::Firing)]]);
    assert_eq!((rest[0].id(), &rest[0].notification), (claimed[0].id(), &claimed[0].notification));
    assert_eq!(rest[0].thread, claimed[0].thread);
    world.settle(&new[0], &SENT);
    world.settle_reached(&rest[0], &failed(), rest[0].delivery.reached.clone());
    // It ends for those who have it as for the others.
    hear_now(&mut world, "a", "RUNNING");
    world.wait(300);
    let ended = world.claim().into_iter().find(|it| !it.delivery.is_remainder()).unwrap();
    assert!(ended.delivery.reached.is_empty());
    world.settle(&ended, &SENT);
    // Whom it did not reach hears that alone, and nobody hears anything twice.
    world.wait(300);
    assert!(world.claim().is_empty());
    assert_eq!(world.deliveries[claimed[0].id()].status, Status::Superseded);
}

#[test]
fn what_one_mailbox_has_is_a_dead_letter_of_the_others_in_the_end() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    let claimed = world.claim();
    world.settle_reached(&claimed[0], &failed(), vec!["one@example.com".into()]);
    for _ in 0..300 {
        world.wait(300);
        for claimed in world.claim() {
            let reached = claimed.delivery.reached.clone();
            let outcome = if claimed.delivery.is_remainder() { failed() } else { SENT };
            world.settle_reached(&claimed, &outcome, reached);
        }
    }
    assert_eq!(world.dead_letters(), [claimed[0].id().clone()]);
}

#[test]
fn what_one_mailbox_has_goes_to_no_other_receiver_since_it_was_told() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    let claimed = world.claim();
    world.settle_reached(&claimed[0], &failed(), vec!["one@example.com".into()]);
    take_down(&mut world, &["ops"]);
    for _ in 0..3 {
        world.wait(60);
        assert!(world.claim().is_empty());
    }
    assert!(world.deliveries.values().all(|delivery| &*delivery.to == "ops"));
}

#[test]
fn who_refused_full_words_gets_plain_ones_though_others_took_them() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    let claimed = world.claim();
    let refused = Outcome::Message { detail: "no html".into() };
    world.settle_reached(&claimed[0], &refused, vec!["one@example.com".into()]);
    let plain = world.claim();
    assert_eq!((plain[0].id(), plain[0].delivery.plain), (claimed[0].id(), true));
    let settled = world.settle_reached(&plain[0], &refused, plain[0].delivery.reached.clone());
    assert_eq!(settled, Settled::Dead);
}

#[test]
fn what_waits_while_one_message_tries_a_receiver_does_not_wait_long_once_that_is_back() {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.group_by = vec!["id".into()];
    let mut world = World::new(Rules::new(vec![crashed]));
    crash(&mut world, "a");
    sent(&mut world, &gone());
    crash(&mut world, "b");
    crash(&mut world, "c");
    world.wait(150);
    let tries = world.claim();
    assert_eq!(tries.len(), 1);
    assert!(world.claim().is_empty());
    world.settle(&tries[0], &SENT);
    world.wait(5);
    assert_eq!(sent(&mut world, &SENT).len(), 2);
}

#[test]
fn a_receiver_that_was_to_be_tried_and_was_not_is_tried_with_the_next_message() {
    for outcome in [Outcome::Unsent, Outcome::Message { detail: "too long".into() }] {
        let mut world = down();
        world.wait(150);
        crash(&mut world, "b");
        assert_eq!(sent(&mut world, &outcome), [pair("ops", "crashed")]);
        crash(&mut world, "c");
        assert_eq!(world.claim().iter().filter(|one| &*one.delivery.to == "ops").count(), 1);
    }
}

#[test]
fn the_end_of_what_a_fallback_took_goes_there_and_what_is_new_goes_to_whose_it_is() {
    let mut world = down();
    world.wait(150);
    // It is back, as `b` shows; `a` was told to who stood in.
    crash(&mut world, "b");
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed")]);
    sent(&mut world, &SENT);
    for container in ["a", "b"] {
        world.hear(container, "RUNNING", 200);
    }
    world.wait(300);
    let ends = |world: &mut World| {
        let claimed = world.claim();
        for claimed in &claimed {
            assert!(!claimed.delivery.is_notice());
            world.settle(claimed, &SENT);
        }
        let said = |one: &Claimed| {
            let alert = &one.notification.alerts[0];
            assert_eq!(alert.news, News::Over);
            pair(&one.delivery.to, &alert.container)
        };
        claimed.iter().map(said).collect::<Vec<_>>()
    };
    let mut told = ends(&mut world);
    told.extend(ends(&mut world));
    told.sort();
    assert_eq!(told, [pair("ops", "b"), pair("spare", "a")]);
    world.wait(3600);
    assert!(ends(&mut world).is_empty());
}

#[test]
fn an_end_goes_to_each_who_took_the_beginning() {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.repeat_interval = Duration::from_secs(600);
    let rules = Rules::new(vec![crashed]).with_fallbacks([("ops".into(), "spare".into())].into());
    let mut world = World::new(rules.with_receivers(["spare".into()]));
    crash(&mut world, "a");
    sent(&mut world, &gone());
    sent(&mut world, &SENT);
    world.wait(600);
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed")], "it fires still");
    sent(&mut world, &SENT);
    world.hear("a", "RUNNING", 700);
    world.wait(300);
    let mut told = sent(&mut world, &SENT);
    world.wait(300);
    for _ in 0..2 {
        told.extend(sent(&mut world, &SENT));
    }
    assert_eq!(told, [pair("ops", "crashed"), pair("spare", "crashed")]);
    world.wait(3600);
    assert!(sent(&mut world, &SENT).is_empty());
}

#[test]
fn an_end_for_who_stood_in_waits_for_it_and_is_a_dead_letter_in_the_end() {
    let mut world = down();
    world.wait(150);
    crash(&mut world, "b");
    sent(&mut world, &SENT);
    sent(&mut world, &SENT);
    for container in ["a", "b"] {
        world.hear(container, "RUNNING", 200);
    }
    world.wait(300);
    for _ in 0..30 {
        for claimed in world.claim() {
            let of_a = claimed.notification.alerts[0].container == "a";
            let to = if of_a { "spare" } else { "ops" };
            assert!(claimed.delivery.is_notice() || &*claimed.delivery.to == to);
            world.settle(&claimed, &if of_a { failed() } else { SENT });
        }
        world.wait(3600);
    }
    assert_eq!(world.dead_letters().len(), 1);
}

#[test]
fn who_heard_that_a_receiver_is_down_hears_that_it_is_back() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    // The fallback is down as well; its own takes it.
    sent(&mut world, &gone());
    sent(&mut world, &SENT);
    world.wait(150);
    crash(&mut world, "b");
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed")]);
    let told = world.claim();
    let back = told.iter().filter(|one| {
        let notice = one.notification.notice.as_ref();
        notice.is_some_and(|notice| notice.receiver == "ops" && one.delivery.to != "ops".into())
    });
    let to: Vec<&str> = back.map(|one| &*one.delivery.to).collect();
    assert_eq!(to, ["last"]);
}

#[test]
fn one_that_asked_to_be_left_alone_is_so_across_a_restart_and_nobody_stands_in_for_it() {
    let mut world = with_fallbacks();
    crash(&mut world, "a");
    let claimed = world.claim();
    let lease = claimed[0].delivery.lease.clone().unwrap();
    world.settle_so(&Settlement {
        deliveries: vec![claimed[0].delivery.id.clone()],
        token: lease.token,
        outcome: failed(),
        reached: Vec::new(),
        backoff: Duration::from_secs(100),
        pause: Some(Duration::from_secs(100)),
        give_up_after: Duration::from_secs(24 * 3600),
    });
    world.restart();
    crash(&mut world, "b");
    assert!(world.claim().is_empty());
    world.wait(95);
    assert_eq!(sent(&mut world, &SENT), [pair("ops", "crashed"), pair("ops", "crashed")]);
}

#[test]
fn what_another_heard_who_is_gone_is_news_to_who_is_there() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    crash(&mut world, "b");
    for _ in 0..3 {
        world.wait(301);
        told(&mut world);
    }
    let alone = Rules::new(world.rules.iter().map(|rule| (**rule).clone()).collect());
    world.reload(alone);
    mend(&mut world);
    hear_now(&mut world, "a", "RUNNING");
    let mut told_now = Vec::new();
    for _ in 0..3 {
        world.wait(301);
        told_now.extend(told(&mut world));
    }
    let both = vec![("b".to_owned(), News::Firing), ("a".to_owned(), News::BeganAndEnded)];
    assert_eq!(told_now, [("ops".to_owned(), both)]);
}

#[test]
fn who_was_gone_for_a_while_hears_the_end_in_the_thread_of_the_beginning() {
    let rules = |notify: &str| {
        let notify = vec![notify.to_owned()];
        Rules::new(vec![Rule { notify, ..rule("crashed", &[State::Crashed]) }])
    };
    let mut world = World::new(rules("ops"));
    crash(&mut world, "a");
    let began = world.claim();
    world.settle(&began[0], &SENT);
    world.reload(rules("team"));
    world.wait(400);
    told(&mut world);
    world.reload(rules("ops"));
    world.wait(400);
    hear_now(&mut world, "a", "RUNNING");
    world.wait(301);
    let ended = world.claim().into_iter().find(|it| &*it.delivery.to == "ops").unwrap();
    assert_eq!(ended.notification.alerts[0].news, News::Over);
    assert_eq!(ended.thread, began[0].thread);
}

/// The notices that are told now: to whom, under which thread, and whether the receiver is back.
fn notices(world: &mut World) -> Vec<(String, String, bool)> {
    let claimed = world.claim();
    for claimed in &claimed {
        world.settle(claimed, &SENT);
    }
    let notices = claimed.iter().filter_map(|it| Some((it, it.notification.notice.as_ref()?)));
    let mut notices: Vec<_> = notices
        .filter(|(it, _)| &*it.delivery.to != "ops")
        .map(|(it, notice)| {
            (it.delivery.to.to_string(), it.thread.clone(), notice.back_at.is_some())
        })
        .collect();
    notices.sort();
    notices
}

/// `ops` is back, and whoever heard that it is down hears of that, where they heard it.
fn assert_that_all_hear_that_it_is_back(world: &mut World, down: &[(String, String, bool)]) {
    mend(world);
    hear_now(world, "b", "CRASHED");
    world.wait(301);
    sent(world, &SENT);
    let back: Vec<_> =
        down.iter().map(|(to, thread, _)| (to.clone(), thread.clone(), true)).collect();
    assert_eq!(notices(world), back);
}

#[test]
fn that_a_receiver_is_back_is_told_where_it_was_told_that_it_is_down_whoever_stands_in_by_now() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    let down = notices(&mut world);
    assert_eq!(down.len(), 1);
    world.reload(falling_back_to(Some("other")));
    assert_that_all_hear_that_it_is_back(&mut world, &down);
}

#[test]
fn that_a_receiver_is_down_is_not_told_once_it_is_back_whoever_stands_in_by_now() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    world.reload(falling_back_to(None));
    mend(&mut world);
    world.wait(1);
    // What moved to `spare` is for `ops` again.
    for _ in 0..3 {
        let claimed = world.claim();
        let (ops, others): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|it| &*it.delivery.to == "ops");
        others.iter().for_each(|it| drop(world.settle(it, &Outcome::Unsent)));
        ops.iter().for_each(|it| drop(world.settle(it, &SENT)));
        world.wait(1);
    }
    assert_eq!(notices(&mut world), []);
}

#[test]
fn a_fallback_that_is_new_is_told_of_a_receiver_that_is_down_already() {
    let mut world = World::new(falling_back_to(None));
    crash(&mut world, "a");
    sent(&mut world, &gone());
    world.reload(falling_back_to(Some("spare")));
    mend(&mut world);
    world.wait(300);
    sent(&mut world, &gone());
    let down = notices(&mut world);
    assert_eq!(
        down.iter().map(|(to, _, back)| (&**to, *back)).collect::<Vec<_>>(),
        [("spare", false)]
    );
    assert_that_all_hear_that_it_is_back(&mut world, &down);
}

#[test]
fn a_notice_that_one_mailbox_has_goes_to_the_others_as_well() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    for claimed in world.claim() {
        world.settle_reached(&claimed, &failed(), vec!["one@example.com".into()]);
    }
    world.wait(30);
    let rest = world.claim();
    assert_eq!(rest.iter().filter(|it| it.delivery.is_notice()).count(), 1);
    assert_eq!(rest.len(), 2);
}

#[test]
fn a_letter_of_a_fallback_that_some_have_is_put_back_for_the_others_of_it() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    let reached = || vec!["one@example.com".into()];
    for outcome in [failed(), Outcome::Message { detail: "never".into() }] {
        for _ in 0..2 {
            for claimed in world.claim() {
                world.settle_reached(&claimed, &outcome, reached());
            }
            world.wait(30);
        }
    }
    mend(&mut world);
    let letters = world.dead_letters();
    let letter = letters.iter().find(|id| !world.deliveries[id].is_notice()).unwrap();
    assert_eq!(world.retry(letter), Ok(Retried::Waits));
    assert_eq!(&*world.deliveries[letter].to, "spare");
}

#[test]
fn a_fallback_is_told_that_a_receiver_is_down_unless_another_was_who_is_there() {
    let mut world = with_a_group();
    crash(&mut world, "a");
    sent(&mut world, &gone());
    notices(&mut world);
    // It stays told while who heard it is there, and is told anew once that is gone.
    for (receivers, told) in [(&["spare", "other"][..], 0), (&["other"], 1)] {
        let rules = Rules::new(world.rules.iter().map(|rule| (**rule).clone()).collect());
        let rules = rules.with_fallbacks([("ops".into(), "other".into())].into());
        world.reload(rules.with_receivers(receivers.iter().map(|name| (*name).to_owned())));
        mend(&mut world);
        hear_now(&mut world, "b", "CRASHED");
        hear_now(&mut world, "b", "RUNNING");
        world.wait(301);
        sent(&mut world, &gone());
        let now = notices(&mut world);
        assert_eq!(now.iter().filter(|(to, _, back)| to == "other" && !back).count(), told);
    }
}
