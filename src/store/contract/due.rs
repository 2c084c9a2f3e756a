//! What is due when, and since when rules derive.

use super::*;
use crate::store::Version;

pub(crate) async fn what_is_due_is_found_and_when_more_will_be(store: &dyn Store) {
    let events = vec![heard("a", 1, "X"), heard("b", 1, "X")];
    write_events(store, events.clone()).await;
    let mut later = interval(-2, &events[1], Vec::new());
    later.due = Some(at(2_000));
    let mut quiet = group("mail");
    quiet.timer = None;
    let changes = Changes {
        intervals: vec![interval(-1, &events[0], Vec::new()), later],
        groups: vec![group("ops"), quiet],
        ..Changes::default()
    };
    write(store, changes).await.unwrap();

    let nothing = store.due(at(104), 10).await.unwrap();
    assert!(nothing.keys.is_empty());
    assert_eq!(nothing.next, Some(at(105)));
    let group_only = store.due(at(105), 10).await.unwrap();
    let keys = Keys { groups: one(group_key("ops")), ..Keys::default() };
    assert_eq!((group_only.keys, group_only.next), (keys, Some(at(1_000))));
    let both = store.due(at(1_000), 10).await.unwrap();
    assert_eq!(both.keys.containers, one("a".into()));
    assert_eq!((both.keys.groups.len(), both.next), (1, Some(at(2_000))));
    let some = store.due(at(3_000), 2).await.unwrap();
    assert_eq!((some.keys.containers.len(), some.keys.groups.len()), (1, 1));
    assert_eq!(some.next, Some(at(3_000)), "there is more now");
    assert_eq!(store.due(at(3_000), 10).await.unwrap().next, None);
}

pub(crate) async fn a_timer_set_in_the_future_is_due(store: &dyn Store) {
    let changes = Changes { groups: vec![group("ops")], ..Changes::default() };
    write(store, changes).await.unwrap();
    let due = store.due(at(50), 10).await.unwrap();
    assert_eq!(due.keys.groups, one(group_key("ops")), "the clock jumped back");

    let changes = Changes { deliveries: vec![delivery("d", "ops", 100)], ..Changes::default() };
    write(store, changes).await.unwrap();
    let claimable = store.claimable("ops", at(50), 10).await.unwrap();
    assert_eq!(claimable.deliveries, [DeliveryId("d".into())]);
}

pub(crate) async fn deliveries_are_claimable_when_due_and_not_leased(store: &dyn Store) {
    let mut retried = delivery("retried", "ops", 1);
    retried.next_attempt = Timer { set_at: at(5), due_at: at(50) };
    let mut leased = delivery("leased", "ops", 2);
    leased.lease = Some(Lease { token: "t".into(), until: at(40) });
    let mut sent = delivery("sent", "ops", 3);
    sent.status = Status::Sent;
    let deliveries = vec![
        delivery("young", "ops", 9),
        delivery("old", "ops", 4),
        retried,
        leased,
        sent,
        delivery("other", "mail", 1),
    ];
    write(store, Changes { deliveries, ..Changes::default() }).await.unwrap();

    let ids = |claimable: Claimable| -> Vec<String> {
        claimable.deliveries.into_iter().map(|id| id.0).collect()
    };
    let now = store.claimable("ops", at(10), 10).await.unwrap();
    assert_eq!(now.next, Some(at(40)));
    assert_eq!(ids(now), ["old", "young"]);
    let limited = store.claimable("ops", at(10), 1).await.unwrap();
    assert_eq!(limited.next, Some(at(10)), "there is more now");
    assert_eq!(ids(limited), ["old"]);
    let lapsed = store.claimable("ops", at(40), 10).await.unwrap();
    assert_eq!(lapsed.next, Some(at(50)));
    assert_eq!(ids(lapsed), ["leased", "old", "young"]);
    assert_eq!(ids(store.claimable("ops", at(50), 10).await.unwrap())[0], "retried");
    assert_eq!(store.claimable("nobody", at(50), 10).await.unwrap().next, None);
}

pub(crate) async fn leased_and_orphaned_deliveries_are_found(store: &dyn Store) {
    let lease = Some(Lease { token: "t".into(), until: at(40) });
    let leased = Delivery { lease: lease.clone(), ..delivery("leased", "ops", 1) };
    let settled = Delivery { lease, status: Status::Sent, ..delivery("settled", "gone", 1) };
    let deliveries = vec![leased, settled, delivery("orphan", "gone", 2)];
    write(store, Changes { deliveries, ..Changes::default() }).await.unwrap();
    assert_eq!(store.leased().await.unwrap(), [DeliveryId("leased".into())]);
    let orphans = store.waiting_for_others(vec!["ops".into(), "mail".into()]).await.unwrap();
    assert_eq!(orphans, [DeliveryId("orphan".into())]);
}

fn rules(rules: &[(&str, &str)]) -> BTreeMap<String, Version> {
    of_kinds(&rules.iter().map(|(name, print)| (*name, *print, "members")).collect::<Vec<_>>())
}

fn of_kinds(rules: &[(&str, &str, &str)]) -> BTreeMap<String, Version> {
    let version = |(name, print, kind): &(&str, &str, &str)| {
        let version = Version { fingerprint: (*print).to_owned(), kind: (*kind).to_owned() };
        ((*name).to_owned(), version)
    };
    rules.iter().map(version).collect()
}

pub(crate) async fn rules_of_a_new_store_derive_from_the_beginning(store: &dyn Store) {
    let adoption = store.adopt(rules(&[("a", "1")]), at(50)).await.unwrap();
    assert_eq!(adoption.since["a"], Timestamp::default());
    assert!(adoption.changed.is_empty() && adoption.removed.is_empty());
    let again = store.adopt(rules(&[("a", "1")]), at(60)).await.unwrap();
    assert_eq!(again.since["a"], Timestamp::default());
}

pub(crate) async fn rules_that_come_later_derive_from_now(store: &dyn Store) {
    write_events(store, vec![heard("a", 1, "X")]).await;
    let first = store.adopt(rules(&[("a", "1"), ("b", "1")]), at(50)).await.unwrap();
    assert_eq!(first.since["a"], at(50), "there were events before any rule");
    let next = store.adopt(rules(&[("a", "2"), ("c", "1")]), at(60)).await.unwrap();
    assert_eq!(next.since, [("a".into(), at(60)), ("c".into(), at(60))].into());
    assert_eq!((next.changed, next.removed), (vec!["a".into()], vec!["b".into()]));
    let back = store.adopt(rules(&[("a", "2"), ("b", "1"), ("c", "1")]), at(70)).await.unwrap();
    assert_eq!((back.since["a"], back.since["b"]), (at(60), at(70)));
}

pub(crate) async fn alerts_of_rules_that_are_gone_are_found(store: &dyn Store) {
    let events = vec![heard("a", 1, "CRASHED"), heard("b", 1, "CRASHED")];
    write_events(store, events.clone()).await;
    store.adopt(rules(&[("crashed", "1")]), at(40)).await.unwrap();
    let intervals = vec![
        interval(-1, &events[0], Vec::new()),
        interval(-2, &events[0], Vec::new()),
        ended(interval(-3, &events[1], Vec::new()), 2, Cause::Resolved),
    ];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
    let here = store.adopt(rules(&[("crashed", "1")]), at(50)).await.unwrap();
    assert!(here.orphaned.is_empty());
    let gone = store.adopt(rules(&[("killed", "1")]), at(60)).await.unwrap();
    assert_eq!(gone.orphaned, ["a"]);
    let still = store.adopt(rules(&[("killed", "1")]), at(70)).await.unwrap();
    assert_eq!(still.orphaned, ["a"], "until they have ended");
}

pub(crate) async fn a_rule_whose_alerts_are_of_another_kind_comes_after_them(store: &dyn Store) {
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    store.adopt(of_kinds(&[("crashed", "1", "members")]), at(10)).await.unwrap();
    let intervals = vec![interval(-1, &event, Vec::new())];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
    for now in [20, 30] {
        let edited = of_kinds(&[("crashed", "2", "count"), ("killed", "1", "members")]);
        let adoption = store.adopt(edited, at(now)).await.unwrap();
        assert_eq!(
            (adoption.replacing, adoption.orphaned),
            (vec!["crashed".into()], vec!["a".into()])
        );
        assert_eq!(adoption.since, [("killed".into(), at(20))].into(), "a start may be broken off");
        assert!(adoption.removed.is_empty() && adoption.changed.is_empty());
    }
    let intervals = vec![ended(interval(1, &event, Vec::new()), 35, Cause::RuleRemoved)];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
    let adoption = store.adopt(of_kinds(&[("crashed", "2", "count")]), at(40)).await.unwrap();
    assert_eq!(adoption.since, [("crashed".into(), at(40))].into());
    assert!(adoption.replacing.is_empty() && adoption.orphaned.is_empty());
}

pub(crate) async fn a_store_in_health_can_be_written(store: &dyn Store) {
    store.check_writable().await.unwrap();
    store.check_writable().await.unwrap();
}
