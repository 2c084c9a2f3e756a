//! Rows are read as they were written.

use std::sync::Arc;

use foldhash::HashSet;

use super::*;

pub(crate) async fn rows_are_read_as_they_were_written(store: &dyn Store) {
    let mut early = heard("a", 100, "CRASHED");
    early.at = at(90);
    let other = heard("b", 200, "PAUSED");
    let because = Some(Held::Silenced { by: SilenceId(3), until: None });
    let told = Told {
        over: true,
        from: at(1),
        until: at(2),
        goes_on: false,
        because,
        by_way_of: Some("spare".into()),
    };
    let joined = crate::engine::Belief::from_iter([
        told.clone(),
        Told { from: at(3), goes_on: true, ..told.clone() },
    ]);
    let entries = vec![
        Entry { told: joined, firing: false, ..entry("ops", Some(News::HadNotEnded)) },
        Entry { maybe: told.clone().into(), given_up: told.into(), ..entry("mail", None) },
    ];
    let mut sent = delivery("d1", "ops", 105);
    sent.lease = Some(Lease { token: "t".into(), until: at(200) });
    sent.notification = Some(notification(IntervalId(1)).into());
    sent.reached = vec!["a@x".into()];
    sent.last_error = Some("no_service".into());
    (sent.attempts, sent.failures, sent.plain, sent.doubtful) = (4, 3, true, true);
    sent.ended_at = Some(at(300));
    sent.digest = Some(DeliveryId("many".into()));
    let mut speaking = group("ops");
    speaking.waiting = Some(DeliveryId("d1".into()));
    speaking.last_told = Some(at(101));
    speaking.firing = 0;
    let mut quiet = group("mail");
    (quiet.timer, quiet.news) = (None, 0);
    let attempt = Attempt {
        delivery: sent.id.clone(),
        number: 1,
        started_at: at(105),
        ended_at: Some(at(106)),
        outcome: Some("transient"),
        detail: Some("503".into()),
    };
    let mut stranger = container(&other);
    (stranger.application, stranger.starts, stranger.open) = (None, None, 0);
    let changes = Changes {
        events: vec![early.clone(), other.clone()],
        containers: vec![container(&early), stranger.clone()],
        intervals: vec![
            interval(-1, &early, entries),
            ended(interval(-2, &other, Vec::new()), 300, Cause::Resolved),
            ended(interval(-3, &other, Vec::new()), 400, Cause::Expired),
        ],
        groups: vec![speaking.clone(), quiet.clone()],
        deliveries: vec![sent.clone()],
        attempts: vec![attempt],
        ..Changes::default()
    };
    write(store, changes.clone()).await.unwrap();

    let snapshot = read(
        store,
        Keys {
            known: HashSet::from_iter([("a".into(), early.reference())]),
            containers: ["a".into(), "b".into()].into(),
            timelines: ["a".into(), "b".into()].into(),
            events: one(("b".into(), other.reference())),
            groups: [speaking.key.clone(), quiet.key.clone()].into(),
            deliveries: one(sent.id.clone()),
            ..Keys::default()
        },
    )
    .await;
    assert!(snapshot.known.contains(&("a".into(), early.reference())));
    assert_eq!(snapshot.containers["a"], container(&early));
    assert_eq!(snapshot.containers["b"], stranger);
    assert_eq!(snapshot.timelines["a"], [early.clone()]);
    assert_eq!(snapshot.timelines["b"], std::slice::from_ref(&other));
    assert_eq!(snapshot.events[&("b".into(), other.reference())], other.event);
    assert_eq!(snapshot.groups[&speaking.key], speaking);
    assert_eq!(snapshot.groups[&quiet.key], quiet);
    assert_eq!(snapshot.deliveries[&sent.id], sent);

    let mut stored: Vec<_> = snapshot.intervals.into_values().map(Arc::unwrap_or_clone).collect();
    stored.sort_by_key(|interval| interval.id);
    assert!(stored.iter().all(|interval| interval.id.0 > 0));
    for (interval, written) in stored.iter_mut().zip(&changes.intervals) {
        interval.id = written.id;
    }
    assert_eq!(stored, changes.intervals);
}

pub(crate) async fn rows_that_do_not_exist_are_not_in_the_snapshot(store: &dyn Store) {
    let nobody = heard("nobody", 1, "X");
    let keys = Keys {
        known: HashSet::from_iter([("nobody".into(), nobody.reference())]),
        containers: one("nobody".into()),
        checkpoints: one("nobody".into()),
        oldest: None,
        ended: None,
        ended_of: [(interval(0, &nobody, Vec::new()).alert, at(1))].into(),
        done: None,
        letters: one(group_key("ops")),
        timelines: one("nobody".into()),
        recent: one("nobody".into()),
        intervals: one(IntervalId(7)),
        shared: [(interval(0, &nobody, Vec::new()).alert, at(1))].into(),
        wholes: one(interval(0, &nobody, Vec::new()).alert),
        events: one(("nobody".into(), nobody.reference())),
        groups: one(group_key("ops")),
        news: one(group_key("ops")),
        held: one(group_key("ops")),
        firing: one(group_key("ops")),
        deliveries: one(DeliveryId("d".into())),
        digests: one(DeliveryId("e".into())),
        receivers: one("ops".into()),
        silences: true,
        sources: one("crashed".into()),
        untold: one("crashed".into()),
    };
    let snapshot = read(store, keys.clone()).await;
    assert_eq!(snapshot.asked, keys);
    assert!(snapshot.known.is_empty() && snapshot.containers.is_empty());
    assert!(snapshot.intervals.is_empty() && snapshot.events.is_empty());
    assert!(snapshot.groups.is_empty() && snapshot.deliveries.is_empty());
    assert!(snapshot.receivers.is_empty());
    assert_eq!(snapshot.timelines["nobody"], []);
}

pub(crate) async fn a_digest_brings_those_of_its_deliveries_that_wait(store: &dyn Store) {
    let digest = DeliveryId("many".into());
    let waiting = Delivery { digest: Some(digest.clone()), ..delivery("waiting", "ops", 1) };
    let sent = Delivery { status: Status::Sent, ..waiting.clone() };
    let deliveries = vec![
        waiting.clone(),
        Delivery { id: DeliveryId("sent".into()), ..sent },
        delivery("alone", "ops", 1),
    ];
    write(store, Changes { deliveries, ..Changes::default() }).await.unwrap();
    let snapshot = read(store, Keys { digests: one(digest), ..Keys::default() }).await;
    assert_eq!(snapshot.deliveries.into_values().collect::<Vec<_>>(), [waiting]);
}

pub(crate) async fn a_timeline_brings_every_event_and_interval_of_its_container(store: &dyn Store) {
    let events = vec![heard("a", 1, "CRASHED"), heard("a", 2, "RUNNING"), heard("b", 3, "X")];
    write_events(store, events.clone()).await;
    let mut other_rule = interval(-2, &events[0], Vec::new());
    other_rule.alert.rule = "killed".into();
    let intervals = vec![
        ended(interval(-1, &events[0], Vec::new()), 2, Cause::Resolved),
        other_rule,
        interval(-3, &events[2], Vec::new()),
    ];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();

    let keys = Keys { timelines: one("a".into()), ..Keys::default() };
    let mut snapshot = read(store, keys).await;
    let mut timeline = snapshot.timelines.remove("a").unwrap();
    timeline.sort_by_key(|heard| heard.at);
    assert_eq!(timeline, events[..2]);
    let rules: BTreeSet<_> = snapshot.intervals.values().map(|it| &*it.alert.rule).collect();
    assert_eq!((snapshot.intervals.len(), rules), (2, ["crashed", "killed"].into()));
}

pub(crate) async fn only_the_last_events_are_recent(store: &dyn Store) {
    // The last that was received is the first that happened.
    let seconds = (2..60).chain([1]);
    let events: Vec<Heard> = seconds.map(|second| heard("a", second, "X")).collect();
    let others = (1..60).map(|second| heard("b", second, "X"));
    for (event, other) in events.iter().zip(others) {
        write_events(store, vec![event.clone(), other]).await;
    }
    let keys = Keys { recent: ["a".into(), "nobody".into()].into(), ..Keys::default() };
    let mut snapshot = read(store, keys).await;
    let mut recent = snapshot.recent.remove("a").unwrap();
    recent.sort_by_key(|heard| (heard.at == at(1), heard.at));
    assert_eq!(recent, events[events.len() - RECENT..]);
    assert!(snapshot.recent.values().all(Vec::is_empty), "there is nobody else");
    assert!(snapshot.timelines.is_empty() && snapshot.intervals.is_empty());
}

pub(crate) async fn a_shared_alert_brings_what_had_not_ended(store: &dyn Store) {
    let events: Vec<Heard> = (1..=9).map(|second| heard("a", second, "CRASHED")).collect();
    write_events(store, events.clone()).await;
    let alert = AlertKey { rule: "outage".into(), values: vec![Some("shop".into())] };
    let of_alert = |id: i64, role, from: usize| Interval {
        role,
        alert: alert.clone(),
        ..interval(id, &events[from - 1], Vec::new())
    };
    let ended_at = |interval, second| ended(interval, second, Cause::Resolved);
    let mut intervals = vec![
        ended_at(of_alert(-1, Role::Part, 1), 2),
        ended_at(of_alert(-2, Role::Whole, 1), 2),
        ended_at(of_alert(-3, Role::Part, 3), 5),
        of_alert(-4, Role::Part, 4),
        of_alert(-5, Role::Whole, 3),
        interval(-6, &events[0], Vec::new()),
    ];
    intervals.push(Interval {
        alert: AlertKey { values: vec![None], ..alert.clone() },
        ..of_alert(-7, Role::Part, 4)
    });
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();

    let keys = Keys { shared: [(alert.clone(), at(7))].into(), ..Keys::default() };
    let snapshot = read(store, keys).await;
    let mut found: Vec<_> = snapshot
        .intervals
        .values()
        .map(|interval| (interval.start, interval.role, interval.end.is_none()))
        .collect();
    found.sort_by_key(|(start, role, _)| (*start, *role == Role::Whole));
    let expected =
        [(at(3), Role::Part, false), (at(3), Role::Whole, true), (at(4), Role::Part, true)];
    assert_eq!(found, expected);
    assert_eq!(snapshot.asked.shared[&alert], at(3), "back to where the whole began");
    let wholes = read(store, Keys { wholes: one(alert), ..Keys::default() }).await.intervals;
    let starts: Vec<_> = wholes.values().map(|whole| (whole.role, whole.start)).collect();
    assert_eq!(starts, [(Role::Whole, at(3))]);
    // A whole is not one of its container's.
    let of_container = intervals_of(store, "a").await;
    assert!(of_container.iter().all(|interval| interval.role != Role::Whole));
}

pub(crate) async fn a_container_brings_only_its_open_intervals(store: &dyn Store) {
    let events = vec![heard("a", 1, "CRASHED"), heard("b", 1, "CRASHED")];
    write_events(store, events.clone()).await;
    let intervals = vec![
        ended(interval(-1, &events[0], Vec::new()), 2, Cause::Resolved),
        interval(-2, &events[0], vec![entry("ops", None)]),
        interval(-3, &events[1], Vec::new()),
    ];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();

    let keys = Keys { containers: one("a".into()), ..Keys::default() };
    let snapshot = read(store, keys).await;
    let open: Vec<_> = snapshot.intervals.values().collect();
    assert_eq!((open.len(), &open[0].ledger), (1, &vec![entry("ops", None)]));
}

pub(crate) async fn a_group_brings_its_news_and_what_fires(store: &dyn Store) {
    let events = vec![heard("a", 1, "CRASHED")];
    write_events(store, events.clone()).await;
    let quiet = Entry { firing: false, ..entry("ops", None) };
    let over = Entry { firing: false, ..entry("ops", Some(News::Over)) };
    let held = Some(Held::Silenced { by: SilenceId(1), until: None });
    let silenced = Entry { firing: false, held, ..entry("ops", Some(News::Firing)) };
    let intervals = vec![
        interval(-1, &events[0], vec![over, entry("mail", Some(News::Firing))]),
        interval(-2, &events[0], vec![entry("ops", None)]),
        interval(-3, &events[0], vec![quiet]),
        interval(-4, &events[0], vec![silenced]),
    ];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
    let all = intervals_of(store, "a").await;

    let keys = Keys { news: one(group_key("ops")), ..Keys::default() };
    let mut news: Vec<_> = read(store, keys).await.intervals.into_keys().collect();
    news.sort();
    assert_eq!(news, [all[0].id, all[3].id]);
    let keys = Keys { held: one(group_key("ops")), ..Keys::default() };
    let held: Vec<_> = read(store, keys).await.intervals.into_keys().collect();
    assert_eq!(held, [all[3].id]);
    let keys = Keys { firing: one(group_key("ops")), ..Keys::default() };
    let firing: Vec<_> = read(store, keys).await.intervals.into_keys().collect();
    assert_eq!(firing, [all[1].id]);
}

pub(crate) async fn what_was_read_is_changed_where_it_differs_and_nowhere_else(store: &dyn Store) {
    let events = vec![heard("a", 1, "CRASHED")];
    write_events(store, events.clone()).await;
    let begun = interval(-1, &events[0], vec![entry("ops", None), entry("mail", None)]);
    let sent = delivery("sent", "ops", 1);
    let (intervals, deliveries) = (vec![begun], vec![sent.clone()]);
    write(store, Changes { intervals, deliveries, ..Changes::default() }).await.unwrap();
    let begun = intervals_of(store, "a").await.remove(0);
    let over = ended(begun.clone(), 2, Cause::Resolved);
    let told = Interval { ledger: vec![entry("ops", Some(News::Firing))], ..begun.clone() };
    let settled = Delivery { status: Status::Sent, lease: None, ..sent.clone() };
    let reworded = Delivery { notification: None, ..sent };
    let keys =
        Keys { intervals: one(begun.id), deliveries: one(settled.id.clone()), ..Keys::default() };
    for (interval, delivery) in [(told, settled), (over, reworded)] {
        let changes = Changes {
            intervals: vec![interval.clone()],
            deliveries: vec![delivery.clone()],
            ..Changes::default()
        };
        let decide = move |_: &Snapshot| Step::Write(changes.clone());
        store.run(keys.clone(), Box::new(decide)).await.unwrap();
        let snapshot = read(store, keys.clone()).await;
        assert_eq!(*snapshot.intervals[&interval.id], interval);
        assert_eq!(snapshot.deliveries[&delivery.id], delivery);
    }
}

pub(crate) async fn a_rule_brings_what_fires_and_its_news(store: &dyn Store) {
    let events = vec![heard("a", 1, "CRASHED")];
    write_events(store, events.clone()).await;
    let over = Entry { firing: false, ..entry("ops", Some(News::Over)) };
    let intervals = vec![
        interval(-1, &events[0], vec![entry("ops", Some(News::Firing))]),
        interval(-2, &events[0], vec![entry("ops", None)]),
        interval(-3, &events[0], vec![over]),
    ];
    let groups = vec![group("ops")];
    write(store, Changes { intervals, groups, ..Changes::default() }).await.unwrap();
    let all = intervals_of(store, "a").await;

    let keys = Keys { sources: one("crashed".into()), ..Keys::default() };
    let mut sources: Vec<_> = read(store, keys).await.intervals.into_keys().collect();
    sources.sort_unstable();
    assert_eq!(sources, [all[0].id, all[1].id]);
    let keys = Keys { untold: one("crashed".into()), ..Keys::default() };
    let mut untold: Vec<_> = read(store, keys).await.intervals.into_keys().collect();
    untold.sort_unstable();
    assert_eq!(untold, [all[0].id, all[2].id]);
}

pub(crate) async fn a_ledger_outlives_its_group(store: &dyn Store) {
    let events = vec![heard("a", 1, "CRASHED")];
    write_events(store, events.clone()).await;
    let intervals = vec![interval(-1, &events[0], vec![entry("ops", Some(News::Firing))])];
    let groups = vec![group("ops")];
    write(store, Changes { intervals, groups, ..Changes::default() }).await.unwrap();
    let groups_removed = vec![group_key("ops")];
    write(store, Changes { groups_removed, ..Changes::default() }).await.unwrap();

    let keys =
        Keys { groups: one(group_key("ops")), news: one(group_key("ops")), ..Keys::default() };
    let snapshot = read(store, keys.clone()).await;
    assert_eq!((snapshot.groups.len(), snapshot.intervals.len()), (0, 1));

    let groups = vec![group("ops")];
    write(store, Changes { groups, ..Changes::default() }).await.unwrap();
    assert_eq!(read(store, keys).await.groups[&group_key("ops")], group("ops"));
}

pub(crate) async fn rows_put_again_are_replaced(store: &dyn Store) {
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    let entries = vec![entry("ops", Some(News::Firing)), entry("mail", None)];
    write(
        store,
        Changes {
            intervals: vec![interval(-1, &event, entries)],
            groups: vec![group("ops")],
            deliveries: vec![delivery("d", "ops", 5)],
            ..Changes::default()
        },
    )
    .await
    .unwrap();

    let mut changed = container(&event);
    (changed.state, changed.open) = (State::Running, 0);
    let mut over = intervals_of(store, "a").await.remove(0);
    over = ended(over, 9, Cause::Deleted);
    over.ledger.truncate(1);
    over.ledger[0].news = Some(News::BeganAndEnded);
    let mut spoken = group("ops");
    (spoken.timer, spoken.spoken) = (None, 3);
    spoken.handle = Some("C1:1700000000.000100".into());
    let mut dead = delivery("d", "ops", 5);
    (dead.status, dead.ended_at) = (Status::Dead, Some(at(9)));
    write(
        store,
        Changes {
            containers: vec![changed.clone()],
            intervals: vec![over.clone()],
            groups: vec![spoken.clone()],
            deliveries: vec![dead.clone()],
            ..Changes::default()
        },
    )
    .await
    .unwrap();

    let keys = Keys {
        containers: one("a".into()),
        intervals: one(over.id),
        groups: one(group_key("ops")),
        deliveries: one(dead.id.clone()),
        ..Keys::default()
    };
    let snapshot = read(store, keys).await;
    assert_eq!(snapshot.containers["a"], changed);
    assert_eq!(*snapshot.intervals[&over.id], over);
    assert_eq!(snapshot.groups[&group_key("ops")], spoken);
    assert_eq!(snapshot.deliveries[&dead.id], dead);
}

pub(crate) async fn intervals_are_removed_with_their_ledgers(store: &dyn Store) {
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    let intervals = vec![interval(-1, &event, vec![entry("ops", Some(News::Firing))])];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
    let intervals_removed = vec![intervals_of(store, "a").await[0].id];
    write(store, Changes { intervals_removed, ..Changes::default() }).await.unwrap();

    let keys = Keys { news: one(group_key("ops")), ..Keys::default() };
    assert!(read(store, keys).await.intervals.is_empty());
    assert!(intervals_of(store, "a").await.is_empty());
}

pub(crate) async fn the_number_of_a_removed_interval_does_not_come_back(store: &dyn Store) {
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    let new = Changes { intervals: vec![interval(-1, &event, Vec::new())], ..Changes::default() };
    write(store, new.clone()).await.unwrap();
    let removed = intervals_of(store, "a").await[0].id;
    let intervals_removed = vec![removed];
    write(store, Changes { intervals_removed, ..Changes::default() }).await.unwrap();
    write(store, new).await.unwrap();
    assert_ne!(intervals_of(store, "a").await[0].id, removed);
}
