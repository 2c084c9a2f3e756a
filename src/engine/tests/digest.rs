//! Several deliveries in one message, by example.

use std::time::Duration;

use super::world::World;
use super::{SENT, failed, lost, rule};
use crate::engine::*;
use crate::event::State;
use crate::rules::{Rules, Severity};

const DAY: u64 = 24 * 3600;

/// A rule that tells `ops` of each container by itself, for which `spare` stands in, and one that
/// matters less.
fn world() -> World {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.group_by = vec!["id".into()];
    crashed.expire_after = Duration::from_secs(2 * DAY);
    let mut stopped = rule("stopped", &[State::Stopped]);
    stopped.severity = Severity::Warning;
    let fallbacks = [("ops".into(), "spare".into())].into();
    let rules = Rules::new(vec![crashed, stopped]).with_fallbacks(fallbacks);
    World::new(rules.with_receivers(["spare".into()]))
}

/// Has `a` and `b` crash and `c` stop, and claims all that waits of it in one message.
fn digest(world: &mut World) -> Claimed {
    for (container, state) in [("c", "STOPPED"), ("a", "CRASHED"), ("b", "CRASHED")] {
        world.hear(container, state, 0);
    }
    world.wait(5);
    claimed(world)
}

fn claimed(world: &mut World) -> Claimed {
    let mut claimed = world.claim_digests();
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

fn statuses(world: &World) -> Vec<Status> {
    world.deliveries.values().map(|delivery| delivery.status).collect()
}

/// The containers that a digest tells of, in its order.
fn containers(claimed: &Claimed) -> Vec<&str> {
    let digest = claimed.notification.digest.as_ref().unwrap();
    digest.of.iter().map(|said| said.alerts[0].container.as_str()).collect()
}

#[test]
fn a_digest_tells_all_that_waits_the_most_severe_first_and_settles_it_as_a_whole() {
    let mut world = world();
    let claimed = digest(&mut world);
    assert_eq!(containers(&claimed), ["a", "b", "c"]);
    let Notification { severity, firing, resolved, .. } = *claimed.notification;
    assert_eq!((severity, firing, resolved), (Severity::Critical, 3, 0));
    assert!(claimed.deliveries().all(|delivery| delivery.digest.as_ref() == Some(claimed.id())));
    assert_eq!(world.settle(&claimed, &SENT), Settled::Sent);
    assert_eq!(statuses(&world), [Status::Sent; 3]);
    world.wait(300);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn the_place_s_name_for_a_digest_is_no_group_s() {
    let mut world = world();
    let claimed = digest(&mut world);
    let outcome = Outcome::Sent { complaint: None, handle: Some("170.1".into()) };
    world.settle(&claimed, &outcome);
    assert!(world.groups.values().all(|group| group.handle.is_none()));
}

#[test]
fn what_may_have_been_heard_by_itself_is_told_by_itself_again() {
    let mut world = world();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&lost());
    let first = world.deliveries.keys().next().unwrap().clone();
    world.hear("b", "CRASHED", 5);
    world.hear("c", "STOPPED", 5);
    world.wait(30);
    assert_eq!(*claimed(&mut world).id(), first);
    assert_eq!(containers(&claimed(&mut world)), ["b", "c"]);
}

#[test]
fn a_digest_that_says_the_same_again_keeps_its_id() {
    for outcome in [failed(), lost()] {
        let mut world = world();
        let first = digest(&mut world);
        world.settle(&first, &outcome);
        world.hear("d", "CRASHED", 5);
        world.wait(30);
        // What came since is told by itself: who knows what the first was heard to say.
        let again = claimed(&mut world);
        assert_eq!((again.id(), containers(&again)), (first.id(), vec!["a", "b", "c"]));
        world.settle(&again, &SENT);
        assert_eq!(claimed(&mut world).notification.alerts[0].container, "d");
    }
}

#[test]
fn a_digest_that_would_say_something_else_is_another() {
    let mut world = world();
    let first = digest(&mut world);
    world.settle(&first, &failed());
    world.hear("a", "RUNNING", 10);
    world.wait(30);
    let second = claimed(&mut world);
    assert_ne!(second.id(), first.id());
    world.settle(&second, &SENT);
    let superseded = statuses(&world).into_iter().filter(|it| *it == Status::Superseded);
    assert_eq!(superseded.count(), 1);
    world.wait(300);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn a_digest_that_some_have_goes_to_the_others_as_it_was() {
    let mut world = world();
    let first = digest(&mut world);
    world.settle_reached(&first, &failed(), vec!["one@example.com".into()]);
    world.hear("a", "RUNNING", 10);
    world.wait(30);
    let rest = claimed(&mut world);
    assert_eq!((rest.id(), containers(&rest)), (first.id(), vec!["a", "b", "c"]));
    assert_eq!(rest.delivery.reached, ["one@example.com"]);
    world.settle_reached(&rest, &SENT, vec!["one@example.com".into()]);
    world.wait(300);
    assert_eq!(claimed(&mut world).notification.alerts[0].news, News::Over);
}

#[test]
fn a_digest_that_is_refused_is_told_apart_in_plain_words() {
    let mut world = world();
    let first = digest(&mut world);
    let refused = Outcome::Message { detail: "too long".into() };
    assert_eq!(world.settle(&first, &refused), Settled::Waits { until: world.now });
    let mut plain = 0;
    while let Some(claimed) = world.claim_digests().pop() {
        assert!(claimed.delivery.plain && claimed.notification.digest.is_none());
        world.settle(&claimed, if plain == 0 { &refused } else { &SENT });
        plain += 1;
    }
    assert_eq!(plain, 3);
    let mut statuses = statuses(&world);
    statuses.sort_by_key(|status| status.as_str());
    assert_eq!(statuses, [Status::Dead, Status::Sent, Status::Sent]);
}

#[test]
fn what_a_digest_was_to_tell_goes_to_the_fallback_of_a_receiver_that_is_down() {
    let mut world = world();
    let first = digest(&mut world);
    let moved = Settled::Moved { to: "spare".into() };
    assert_eq!(world.settle(&first, &Outcome::Destination { detail: "gone".into() }), moved);
    let claimed = world.claim();
    let told: Vec<&str> = claimed.iter().map(|claimed| &*claimed.notification.rule).collect();
    assert_eq!(told.iter().filter(|rule| **rule == "crashed").count(), 2);
    assert!(claimed.iter().all(|claimed| &*claimed.delivery.to == "spare"));
    assert!(claimed.iter().all(|claimed| claimed.delivery.digest.is_none()));
}

#[test]
fn what_waited_too_long_leaves_the_digest() {
    let mut world = world();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&failed());
    world.wait(DAY - 30);
    world.hear("b", "CRASHED", DAY - 100);
    world.hear("c", "STOPPED", DAY - 100);
    world.wait(5);
    let first = claimed(&mut world);
    world.settle_after(&first, &failed(), Duration::from_secs(300));
    // The last attempt of the one is made with the others.
    world.wait(25);
    let again = claimed(&mut world);
    assert_eq!((again.id(), again.deliveries().count()), (first.id(), 3));
    let moved = Settled::Moved { to: "spare".into() };
    assert_eq!(world.settle(&again, &failed()), moved);
    world.wait(30);
    let mut rest = world.claim_digests();
    rest.retain(|claimed| &*claimed.delivery.to == "ops");
    assert_eq!(containers(&rest[0]), ["b", "c"]);
    assert_ne!(rest[0].id(), first.id());
}

#[test]
fn what_was_told_in_a_digest_goes_apart_to_who_takes_none_by_now() {
    let mut world = world();
    let first = digest(&mut world);
    world.settle(&first, &failed());
    world.wait(30);
    let (rules, now) = (world.rules.clone(), world.now);
    let mut apart = Vec::new();
    for (number, delivery) in first.deliveries().enumerate() {
        let lease = Lease { token: number.to_string(), until: now.plus(Duration::from_secs(60)) };
        let hand = Hand { receiver: "ops".into(), lease, shows: Shows::default() };
        let next = [Claim { hand, deliveries: vec![delivery.id.clone()] }];
        apart.extend(
            world.transact(Keys::default(), |snapshot| claim(&rules, snapshot, &next, now)),
        );
    }
    let ids: Vec<&DeliveryId> = apart.iter().map(Claimed::id).collect();
    assert_eq!(ids, first.deliveries().map(|delivery| &delivery.id).collect::<Vec<_>>());
    assert!(apart.iter().all(|claimed| claimed.notification.digest.is_none()));
}
