//! Dead letters, put back and discarded.

use serde_json::json;

use super::*;

fn refused() -> Outcome {
    Outcome::Message { detail: "invalid_blocks".into() }
}

/// What waits is refused until it is given up, which takes no time. The letter.
fn given_up(world: &mut World) -> DeliveryId {
    world.deliver(&refused());
    world.deliver(&refused());
    world.dead_letters().pop().unwrap()
}

/// `a` crashes at the start, and that is given up five seconds later.
fn crash_given_up(world: &mut World) -> DeliveryId {
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    given_up(world)
}

fn status(world: &World, id: &DeliveryId) -> Status {
    world.deliveries[id].status
}

#[test]
fn what_was_given_up_and_still_fires_is_told_under_its_id_and_once() {
    let mut world = crashed();
    let letter = crash_given_up(&mut world);
    world.wait(3600);
    assert!(world.claim().is_empty());
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    let claimed = world.claim();
    assert_eq!(said(&[(*claimed[0].notification).clone()]), [[("a".into(), News::Firing)]]);
    assert_eq!(claimed[0].delivery.id, letter);
    assert!(!claimed[0].delivery.plain, "the full wording is tried again");
    assert_eq!(world.settle(&claimed[0], &SENT), Settled::Sent);
    assert_eq!(world.deliveries[&letter].attempts, 3);
    assert_eq!(world.retry(&letter), Err(Stays::NotDead(Status::Sent)));
    world.wait(600);
    assert!(world.deliver(&SENT).is_empty());
    world.hear("a", "RUNNING", 4000);
    world.wait(600);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn what_ended_since_and_was_told_leaves_nothing_to_tell() {
    let mut world = crashed();
    let letter = crash_given_up(&mut world);
    world.hear("a", "RUNNING", 4);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
    assert_eq!(world.retry(&letter), Ok(Retried::NothingLeft));
    assert_eq!(status(&world, &letter), Status::Dropped);
    world.wait(100_000);
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn a_group_that_is_gone_comes_back_and_speaks_at_once() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 1);
    world.wait(5);
    let letter = given_up(&mut world);
    world.wait(600);
    assert!(world.groups.is_empty());
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
    world.wait(600);
    assert!(world.groups.is_empty());
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_is_put_back_joins_the_notification_of_its_group_that_waits() {
    let mut world = crashed();
    let letter = crash_given_up(&mut world);
    world.hear("b", "CRASHED", 4);
    world.wait(300);
    let waiting = world.claim();
    world.settle(&waiting[0], &failed());
    assert_eq!(world.retry(&letter), Ok(Retried::Joined));
    assert_eq!(status(&world, &letter), Status::Superseded);
    world.wait(30);
    assert_eq!(
        said(&world.deliver(&SENT)),
        [[("a".into(), News::Firing), ("b".into(), News::Firing)]]
    );
}

#[test]
fn of_two_letters_of_a_group_one_is_told_and_says_what_both_say() {
    let mut world = crashed();
    let first = crash_given_up(&mut world);
    world.hear("b", "CRASHED", 4);
    world.wait(300);
    let second = given_up(&mut world);
    assert_eq!(world.retry(&second), Ok(Retried::Waits));
    assert_eq!(world.retry(&first), Ok(Retried::Joined));
    assert_eq!(
        said(&world.deliver(&SENT)),
        [[("a".into(), News::Firing), ("b".into(), News::Firing)]]
    );
    assert_eq!(status(&world, &second), Status::Sent);
}

#[test]
fn a_later_letter_says_what_an_earlier_one_said() {
    let mut world = crashed();
    let first = crash_given_up(&mut world);
    world.hear("a", "RUNNING", 4);
    world.wait(300);
    let second = given_up(&mut world);
    assert_eq!(world.retry(&first), Ok(Retried::NothingLeft));
    assert_eq!(world.retry(&second), Ok(Retried::Waits));
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
}

#[test]
fn an_end_that_was_given_up_is_told() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    world.deliver(&SENT);
    world.hear("a", "RUNNING", 6);
    world.wait(300);
    let letter = given_up(&mut world);
    world.wait(100_000);
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Over)]]);
}

#[test]
fn what_was_put_back_has_the_whole_of_give_up_after_before_it() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    fail_for_a_day(&mut world);
    let letter = world.dead_letters().pop().unwrap();
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    world.deliver(&failed());
    assert_eq!(status(&world, &letter), Status::Pending);
    assert_eq!(world.deliveries[&letter].failures, 1);
}

#[test]
fn a_reminder_that_was_given_up_is_told_unless_someone_was_told_since() {
    let reminded = || {
        let mut world = crashed();
        world.hear("a", "CRASHED", 0);
        world.wait(5);
        world.deliver(&SENT);
        world.wait(4 * 3600);
        let letter = given_up(&mut world);
        world.wait(60);
        (world, letter)
    };
    let (mut world, letter) = reminded();
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::StillFiring)]]);

    let (mut world, letter) = reminded();
    world.hear("b", "CRASHED", 4 * 3600);
    world.wait(300);
    assert_eq!(said(&world.deliver(&SENT)), [[("b".into(), News::Firing)]]);
    assert_eq!(world.retry(&letter), Ok(Retried::NothingLeft));
    assert!(world.deliver(&SENT).is_empty());
}

#[test]
fn what_may_have_been_heard_is_said_again_under_its_id_and_otherwise_under_another() {
    for ends in [false, true] {
        let mut world = crashed();
        world.hear("a", "CRASHED", 0);
        world.wait(5);
        world.deliver(&lost());
        world.wait(30);
        let letter = given_up(&mut world);
        assert!(world.deliveries[&letter].doubtful);
        if ends {
            world.hear("a", "RUNNING", 35);
        }
        assert_eq!(world.retry(&letter), Ok(Retried::Waits));
        let claimed = world.claim();
        assert_eq!(claimed[0].delivery.id == letter, !ends);
        let news = if ends { News::BeganAndEnded } else { News::Firing };
        assert_eq!(said(&[(*claimed[0].notification).clone()]), [[("a".into(), news)]]);
    }
}

#[test]
fn what_late_events_parted_is_told_as_it_was() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.hear("a", "RUNNING", 100);
    world.wait(200);
    let letter = given_up(&mut world);
    // It was well in between, and then it was not.
    world.hear("a", "RUNNING", 10);
    world.hear("a", "CRASHED", 50);
    assert_eq!(world.intervals.len(), 2);
    world.wait(600);
    assert!(world.claim().is_empty());
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    let told = world.deliver(&SENT);
    assert_eq!(said(&told), [[("a".into(), News::BeganAndEnded)]]);
    assert_eq!(told[0].alerts[0].intervals, 2, "both stretches are found");
}

#[test]
fn what_was_silenced_until_it_was_over_does_not_come_back() {
    let mut world = crashed();
    let letter = crash_given_up(&mut world);
    world.silence(json!({"id": "b"}), 600);
    world.hear("b", "CRASHED", 6);
    world.hear("b", "RUNNING", 7);
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn what_is_silenced_now_is_told_when_the_silence_ends() {
    let mut world = crashed();
    let letter = crash_given_up(&mut world);
    world.silence(json!({"id": "a"}), 600);
    assert_eq!(world.retry(&letter), Ok(Retried::Joined));
    world.wait(599);
    assert!(world.deliver(&SENT).is_empty());
    world.wait(1);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::Firing)]]);
}

#[test]
fn a_letter_stays_while_nobody_is_to_be_told() {
    let mut world = crashed();
    let letter = crash_given_up(&mut world);
    let all = world.rules.clone();
    let mut moved = rule("crashed", &[State::Crashed]);
    moved.notify = vec!["others".into()];
    let before = world.deliveries.clone();
    world.rules = Rules::new(vec![moved.clone()]);
    assert_eq!(world.retry(&letter), Err(Stays::NoReceiver));
    world.rules = Rules::new(vec![moved]).with_receivers(["ops".into()]);
    assert_eq!(world.retry(&letter), Err(Stays::NotTold));
    world.rules = Rules::default().with_receivers(["ops".into()]);
    assert_eq!(world.retry(&letter), Err(Stays::NotTold));
    assert_eq!(world.deliveries, before);
    world.rules = all;
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
}

#[test]
fn what_is_discarded_is_not_told_and_its_end_is() {
    let mut world = crashed();
    let letter = crash_given_up(&mut world);
    world.wait(60);
    assert_eq!(world.discard(&letter), Ok(()));
    assert_eq!(status(&world, &letter), Status::Discarded);
    assert_eq!(world.deliveries[&letter].ended_at, Some(world.now));
    assert_eq!(world.discard(&letter), Err(Stays::NotDead(Status::Discarded)));
    assert_eq!(world.retry(&letter), Err(Stays::NotDead(Status::Discarded)));
    world.wait(3 * 3600);
    assert!(world.deliver(&SENT).is_empty());
    world.hear("a", "RUNNING", 3 * 3600);
    world.wait(600);
    assert_eq!(said(&world.deliver(&SENT)), [[("a".into(), News::BeganAndEnded)]]);
}

#[test]
fn only_a_dead_letter_can_be_put_back_or_discarded() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let id = world.claim()[0].delivery.id.clone();
    let pending = Err(Stays::NotDead(Status::Pending));
    assert_eq!(world.retry(&id), Err(Stays::NotDead(Status::Pending)));
    assert_eq!(world.discard(&id), pending);
    let nobody = DeliveryId("nobody".into());
    assert_eq!(world.retry(&nobody), Err(Stays::Unknown));
    assert_eq!(world.discard(&nobody), Err(Stays::Unknown));
}

#[test]
fn what_fires_and_waited_for_a_receiver_that_was_gone_is_told_when_it_is_back_without_its_letter() {
    for tried in [true, false] {
        let mut world = crashed();
        world.hear("a", "CRASHED", 0);
        world.wait(5);
        if tried {
            world.deliver(&failed());
        }
        let all = world.rules.clone();
        let mut moved = rule("crashed", &[State::Crashed]);
        moved.notify = vec!["others".into()];
        world.reload(Rules::new(vec![moved]));
        let ids: Vec<DeliveryId> = world.deliveries.keys().cloned().collect();
        let (rules, now) = (world.rules.clone(), world.now);
        world.transact(Keys::default(), |snapshot| give_up(&rules, snapshot, &ids, now));
        let letter = world.dead_letters().pop().unwrap();
        world.reload(all);
        assert_eq!(world.retry(&letter), Ok(Retried::NothingLeft));
        world.wait(300);
        let told = world.deliver(&SENT);
        let to_ops = told.iter().filter(|notification| notification.receiver == "ops");
        let to_ops: Vec<Notification> = to_ops.cloned().collect();
        assert_eq!(said(&to_ops), [[("a".into(), News::Firing)]], "tried: {tried}");
    }
}

#[test]
fn a_letter_that_some_have_is_put_back_for_the_others() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let first = world.claim();
    let reached = || vec!["one@example.com".into()];
    world.settle_reached(&first[0], &failed(), reached());
    world.wait(30);
    let rest = world.claim();
    let refused = Outcome::Message { detail: "never".into() };
    world.settle_reached(&rest[0], &refused, reached());
    let plain = world.claim();
    assert_eq!(world.settle_reached(&plain[0], &refused, reached()), Settled::Dead);
    let letter = world.dead_letters().pop().unwrap();
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    assert_eq!(world.claim()[0].delivery.reached, ["one@example.com"]);
}

#[test]
fn an_end_that_was_given_up_is_told_in_the_thread_of_the_beginning() {
    let mut world = crashed();
    world.hear("a", "CRASHED", 0);
    world.wait(5);
    let began = world.claim();
    world.settle(&began[0], &SENT);
    world.hear("a", "RUNNING", 10);
    world.wait(300);
    let never = Outcome::Message { detail: "never".into() };
    world.deliver(&never);
    world.deliver(&never);
    world.wait(600);
    assert!(world.groups.is_empty());
    let letter = world.dead_letters().remove(0);
    assert_eq!(world.retry(&letter), Ok(Retried::Waits));
    let ended = world.claim();
    assert_eq!(ended[0].notification.alerts[0].news, News::Over);
    assert_eq!(ended[0].thread, began[0].thread);
    world.settle(&ended[0], &SENT);
    // What comes then is another message of it.
    world.hear("b", "CRASHED", 1000);
    world.wait(300);
    let next = world.claim();
    assert!(![began[0].id(), ended[0].id()].contains(&next[0].id()));
    assert_eq!(world.deliveries.len(), 3);
}
