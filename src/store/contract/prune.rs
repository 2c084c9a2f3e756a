//! What is old is found and removed, and what stays is found as before.

use foldhash::HashSet;

use super::*;
use crate::engine::{Checkpoint, Done, Ended, Member, Old, Oldest, Pruned};

fn checkpoint(heard: &Heard, members: Vec<Member>) -> Checkpoint {
    Checkpoint {
        container: heard.event.container.clone(),
        at: heard.at,
        last_at: heard.at,
        application: heard.event.application.clone(),
        service: heard.event.service.clone(),
        state: heard.event.state.clone(),
        since: heard.at,
        starts: Some(3),
        gaps: 2,
        received_at: heard.received_at,
        last_received_at: heard.received_at,
        members,
    }
}

fn oldest(second: i64, after: i64, limit: usize) -> Keys {
    let oldest = Oldest { received_before: at(second), after, limit };
    Keys { oldest: Some(oldest), ..Keys::default() }
}

/// Prunes up to this event all that was received before an instant, but for these.
async fn prune(store: &dyn Store, to: &Heard, second: i64, stay: &[&Heard]) {
    let stay = stay.iter().map(|heard| (heard.event.container.clone(), heard.reference()));
    let oldest = oldest(second, 0, 100).oldest.unwrap();
    let pruned = Pruned { oldest, until: i64::MAX, stay: stay.collect() };
    let checkpoints = vec![checkpoint(to, Vec::new())];
    write(store, Changes { checkpoints, pruned: Some(pruned), ..Changes::default() })
        .await
        .unwrap();
}

/// The events of a container by time, as its timeline has them, and as the list has them.
async fn events_of(store: &dyn Store, container: &str) -> Vec<Heard> {
    let keys = Keys { timelines: one(container.into()), ..Keys::default() };
    let mut timeline = read(store, keys).await.timelines.remove(container).unwrap();
    timeline.sort_by_key(|heard| heard.at);
    let listed = EventQuery { container: Some(container.into()), ..query(100) };
    let listed = store.events(listed).await.unwrap().items;
    let texts: Vec<_> = timeline.iter().map(|heard| heard.event.payload.text()).collect();
    assert_eq!(listed, texts);
    timeline
}

pub(crate) async fn a_checkpoint_is_read_as_it_was_written(store: &dyn Store) {
    let event = heard("a", 100, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    let keys = || Keys { checkpoints: one("a".into()), ..Keys::default() };
    assert!(read(store, keys()).await.checkpoints.is_empty());
    let held = interval(0, &event, Vec::new());
    let member = Member {
        alert: held.alert,
        since: at(7),
        start: held.start,
        heard_at: held.heard_at,
        occurrences: 3,
        last_at: held.last_at,
        last: held.last,
    };
    for members in [vec![member], Vec::new()] {
        let checkpoint = checkpoint(&event, members);
        let checkpoints = vec![checkpoint.clone()];
        write(store, Changes { checkpoints, ..Changes::default() }).await.unwrap();
        assert_eq!(read(store, keys()).await.checkpoints["a"], checkpoint);
        let timeline = Keys { timelines: one("a".into()), ..Keys::default() };
        assert_eq!(read(store, timeline).await.checkpoints["a"], checkpoint);
    }
}

pub(crate) async fn the_oldest_events_come_with_where_the_others_begin(store: &dyn Store) {
    let in_order: Vec<Heard> = (1..=4).map(|second| heard("a", second * 10, "X")).collect();
    for event in &in_order {
        write_events(store, vec![event.clone()]).await;
    }
    // It happened between the first two, and was received last.
    let late = Heard { received_at: at(90), ..heard("a", 15, "X") };
    let other = heard("b", 11, "X");
    write_events(store, vec![late.clone(), other.clone()]).await;

    let swath = read(store, oldest(40, 0, 100)).await.oldest.unwrap();
    let events = in_order[..1].to_vec();
    let others_from = Some(late.at);
    assert_eq!(swath.containers["a"], Old { events, others_from });
    assert_eq!(swath.containers["b"], Old { events: vec![other], others_from: None });
    assert!(!swath.more);

    // A few at a time, each comes with those before it.
    let (mut seen, mut after, mut more) = (Vec::new(), 0, true);
    while more {
        let swath = read(store, oldest(40, after, 1)).await.oldest.unwrap();
        (after, more) = (swath.until, swath.more);
        seen.extend(swath.containers.into_values().map(|old| old.events.len()));
    }
    assert_eq!(seen, [1, 1, 1, 1], "three of a, of which one may go, and one of b");
}

pub(crate) async fn what_is_pruned_is_gone_and_all_else_is_found(store: &dyn Store) {
    let events: Vec<Heard> = (1..=6).map(|second| heard("a", second * 10, "X")).collect();
    for (event, second) in events.iter().zip(1..) {
        write_events(store, vec![event.clone(), heard("b", second * 10, "Y")]).await;
    }
    // The second stays though the others around it go.
    prune(store, &events[3], 100, &[&events[1]]).await;
    let left = [&events[1..2], &events[4..]].concat();
    assert_eq!(events_of(store, "a").await, left);
    assert_eq!(events_of(store, "b").await.len(), 6);
    let known = |heard: &Heard| Keys {
        known: HashSet::from_iter([("a".into(), heard.reference())]),
        events: one(("a".into(), heard.reference())),
        ..Keys::default()
    };
    for event in &events {
        let snapshot = read(store, known(event)).await;
        let stays = left.contains(event);
        assert_eq!((snapshot.known.len(), snapshot.events.len()), (stays.into(), stays.into()));
    }
    // What comes next goes on from there, and then the second may go as well.
    let next = heard("a", 70, "X");
    write_events(store, vec![next.clone()]).await;
    prune(store, &events[4], 100, &[]).await;
    assert_eq!(events_of(store, "a").await, [events[5].clone(), next.clone()]);
    // The last one stays, whatever is said.
    prune(store, &next, 1000, &[]).await;
    assert_eq!(events_of(store, "a").await, [next]);
    assert_eq!(events_of(store, "b").await.len(), 6);
}

pub(crate) async fn what_failed_goes_when_it_is_old(store: &dyn Store) {
    let (failed, sound) = (heard("a", 10, "X"), heard("a", 20, "X"));
    let changes = Changes { failed: vec![(failed, "no".into())], ..Changes::default() };
    write(store, changes).await.unwrap();
    write_events(store, vec![sound.clone()]).await;
    let kept = Heard { at: at(1), ..sound.clone() };
    prune(store, &kept, 12, &[]).await;
    let listed = store.events(query(9)).await.unwrap().items;
    assert_eq!(listed.len(), 2, "it was received at that very instant");
    prune(store, &kept, 13, &[]).await;
    let listed = store.events(query(9)).await.unwrap().items;
    assert_eq!(listed, [sound.event.payload.text()]);
}

pub(crate) async fn intervals_that_ended_are_found_in_order(store: &dyn Store) {
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    let new = |id, role, second: Option<i64>| {
        let interval = Interval { role, ..interval(id, &event, Vec::new()) };
        match second {
            Some(second) => ended(interval, second, Cause::Resolved),
            None => interval,
        }
    };
    let intervals = vec![
        new(-1, Role::Own, Some(30)),
        new(-2, Role::Part, Some(10)),
        new(-3, Role::Whole, Some(10)),
        new(-4, Role::Part, Some(20)),
        new(-5, Role::Whole, None),
        new(-6, Role::Part, Some(40)),
    ];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
    let mut after = (Timestamp::default(), IntervalId(0));
    let mut found = Vec::new();
    for _ in 0..2 {
        let ended = Ended { before: at(32), after, limit: 2 };
        let mut snapshot = read(store, Keys { ended: Some(ended), ..Keys::default() }).await;
        let last = &snapshot.intervals[snapshot.ended.last().unwrap()];
        after = (last.end.as_ref().unwrap().heard_at, last.id);
        found.append(&mut snapshot.ended);
    }
    assert_eq!(found, [2, 3, 4, 1].map(IntervalId));

    let alert = new(0, Role::Own, None).alert;
    let keys = Keys { ended_of: [(alert, at(30))].into(), ..Keys::default() };
    let found = read(store, keys).await.intervals;
    let found: BTreeSet<IntervalId> = found.into_keys().collect();
    assert!(found.is_superset(&[2, 3, 4, 5].map(IntervalId).into()), "{found:?}");
}

pub(crate) async fn deliveries_that_ended_go_with_their_attempts(store: &dyn Store) {
    let new = |id: &str, status, second: Option<i64>| Delivery {
        status,
        ended_at: second.map(at),
        ..delivery(id, "ops", 1)
    };
    let deliveries = vec![
        new("waiting", Status::Pending, None),
        new("second", Status::Dead, Some(20)),
        new("first", Status::Sent, Some(10)),
        new("young", Status::Sent, Some(90)),
    ];
    let attempts = vec![Attempt {
        delivery: DeliveryId("first".into()),
        number: 1,
        started_at: at(9),
        ended_at: Some(at(10)),
        outcome: Some("sent"),
        detail: None,
    }];
    write(store, Changes { deliveries, attempts, ..Changes::default() }).await.unwrap();
    let keys = Keys {
        done: Some(Done { before: at(50), limit: 9 }),
        letters: [group_key("ops"), group_key("mail")].into(),
        ..Keys::default()
    };
    let snapshot = read(store, keys.clone()).await;
    let ids = ["first", "second"].map(|id| DeliveryId(id.into()));
    assert_eq!(snapshot.done, ids);
    assert!(ids.iter().all(|id| snapshot.deliveries.contains_key(id)));
    assert_eq!(snapshot.letters, HashSet::from_iter([group_key("ops")]));

    let deliveries_removed = ids.to_vec();
    write(store, Changes { deliveries_removed, ..Changes::default() }).await.unwrap();
    let snapshot = read(store, keys).await;
    assert!(snapshot.done.is_empty() && snapshot.letters.is_empty());
    for id in ids {
        assert!(store.delivery(id).await.unwrap().is_none());
    }
    assert!(store.delivery(DeliveryId("waiting".into())).await.unwrap().is_some());
}

pub(crate) async fn a_name_comes_back_after_nothing_spoke_of_it(store: &dyn Store) {
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    for id in [1, 2] {
        let over = Entry { firing: false, ..entry("ops", None) };
        let intervals = vec![ended(interval(-1, &event, vec![over]), 2, Cause::Resolved)];
        write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
        let read = intervals_of(store, "a").await;
        assert_eq!((read[0].id, &read[0].ledger[0].group), (IntervalId(id), &group_key("ops")));
        let intervals_removed = vec![IntervalId(id)];
        write(store, Changes { intervals_removed, ..Changes::default() }).await.unwrap();
    }
}
