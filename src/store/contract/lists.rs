//! Pages of what is stored.

use super::*;

/// The values of one field of the payloads of a page.
fn values(page: &Page<String>, field: &str) -> Vec<i64> {
    let value = |text: &String| serde_json::from_str::<serde_json::Value>(text).unwrap();
    page.items.iter().map(|text| value(text)[field].as_i64().unwrap()).collect()
}

pub(crate) async fn the_newest_events_come_first_and_each_page_ascends(store: &dyn Store) {
    assert!(store.events(query(10)).await.unwrap().items.is_empty());
    // Seven events, five of them at one instant.
    let times = [1, 5, 5, 5, 5, 5, 9];
    let events = times
        .iter()
        .zip(0..)
        .map(|(time, n)| heard_of(json!({"id": "a", "state": "X", "timestamp": time, "n": n})));
    write_events(store, events.collect()).await;

    let mut seen = Vec::new();
    let mut next = query(3);
    loop {
        let page = store.events(next.clone()).await.unwrap();
        seen.push(values(&page, "n"));
        next.page.cursor = page.next;
        if next.page.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [vec![4, 5, 6], vec![1, 2, 3], vec![0]]);
    let whole = store.events(query(7)).await.unwrap();
    assert_eq!((whole.items.len(), whole.next), (7, None));
}

pub(crate) async fn events_are_filtered_by_what_they_say_themselves(store: &dyn Store) {
    let events = vec![
        heard_of(json!({"id": "a", "state": "crashed", "timestamp": 1, "application": "shop"})),
        // The same container says something else later on.
        heard_of(json!({"id": "a", "state": "RUNNING", "timestamp": 2, "application": "blog",
            "service": "web"})),
        heard_of(json!({"id": "b", "state": "PAUSED", "timestamp": 3, "application": 7})),
        heard_of(json!({"id": "b", "state": "CRASHED", "timestamp": 4, "application": "",
            "service": "web"})),
    ];
    write_events(store, events).await;
    let all = query(10);
    let cases = [
        (EventQuery { application: Some("shop".into()), ..all.clone() }, vec![1]),
        (EventQuery { application: Some(String::new()), ..all.clone() }, vec![4]),
        (EventQuery { application: Some("7".into()), ..all.clone() }, vec![]),
        (EventQuery { service: Some("web".into()), ..all.clone() }, vec![2, 4]),
        (EventQuery { container: Some("a".into()), ..all.clone() }, vec![1, 2]),
        (EventQuery { container: Some("c".into()), ..all.clone() }, vec![]),
        (EventQuery { state: Some(State::Crashed), ..all.clone() }, vec![1, 4]),
        (EventQuery { state: Some(State::named("paused")), ..all.clone() }, vec![3]),
        (
            EventQuery {
                container: Some("b".into()),
                service: Some("web".into()),
                state: Some(State::Crashed),
                since: Some(at(4)),
                ..all.clone()
            },
            vec![4],
        ),
    ];
    for (query, expected) in cases {
        let page = store.events(query.clone()).await.unwrap();
        assert_eq!(values(&page, "timestamp"), expected, "{query:?}");
    }
}

pub(crate) async fn events_are_filtered_by_time(store: &dyn Store) {
    write_events(store, (1..=5).map(|second| heard("a", second, "X")).collect()).await;
    let page = store
        .events(EventQuery { since: Some(at(2)), until: Some(at(4)), ..query(2) })
        .await
        .unwrap();
    assert_eq!(values(&page, "timestamp"), [3, 4]);
    let rest = EventQuery {
        since: Some(at(2)),
        until: Some(at(4)),
        page: PageQuery { limit: 2, cursor: page.next },
        ..query(2)
    };
    let page = store.events(rest).await.unwrap();
    assert_eq!((values(&page, "timestamp"), page.next), (vec![2], None));
}

pub(crate) async fn a_cursor_of_no_list_is_refused(store: &dyn Store) {
    let wrong = PageQuery { limit: 5, cursor: Some("~".into()) };
    let events = store.events(EventQuery { page: wrong.clone(), ..query(5) }).await;
    assert!(matches!(events, Err(StoreError::Refused(_))));
    assert!(matches!(store.containers(wrong.clone()).await, Err(StoreError::Refused(_))));
    let alerts =
        store.alerts(AlertQuery { now: at(10_000), firing: None, page: wrong.clone() }).await;
    assert!(matches!(alerts, Err(StoreError::Refused(_))));
    let statuses = &[SilenceStatus::Active];
    let silences = SilenceQuery { now: at(1), statuses, page: wrong.clone() };
    assert!(matches!(store.silences(silences).await, Err(StoreError::Refused(_))));
    let deliveries = store.deliveries(query_of(None, wrong)).await;
    assert!(matches!(deliveries, Err(StoreError::Refused(_))));
}

pub(crate) async fn containers_are_listed_by_id(store: &dyn Store) {
    write_events(store, ["b", "é/?", "a"].map(|id| heard(id, 1, "X")).into()).await;
    let page = store.containers(first(2)).await.unwrap();
    assert!(page.items.iter().all(|row| row.missing), "the gaps are there");
    let ids: Vec<_> = page.items.iter().map(|row| &*row.id).collect();
    assert_eq!(ids, ["a", "b"]);
    let page = store.containers(PageQuery { limit: 2, cursor: page.next }).await.unwrap();
    assert_eq!((&*page.items[0].id, page.next), ("é/?", None));
    assert_eq!(page.items[0].application.as_deref(), Some("shop"));
}

pub(crate) async fn a_container_is_shown_with_its_timeline(store: &dyn Store) {
    let event = heard("a", 1, "X");
    write_events(store, vec![event.clone(), heard("b", 1, "X")]).await;
    let shown = store.container("a".into()).await.unwrap().unwrap();
    assert_eq!((shown.row.id, shown.events), ("a".into(), vec![event]));
    assert!(store.container("c".into()).await.unwrap().is_none());
}

pub(crate) async fn alerts_are_listed_latest_first(store: &dyn Store) {
    let events: Vec<_> = (1..=4).map(|second| heard("a", second, "CRASHED")).collect();
    write_events(store, events.clone()).await;
    let mut late = interval(-1, &events[0], Vec::new());
    late.heard_at = at(62);
    let intervals = vec![
        late,
        ended(interval(-2, &events[1], Vec::new()), 20, Cause::Resolved),
        ended(interval(-3, &events[2], Vec::new()), 20, Cause::Withdrawn),
        interval(-4, &events[3], Vec::new()),
        interval(-5, &events[3], Vec::new()),
    ];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();

    let list = async |firing, page| {
        let page = store.alerts(AlertQuery { now: at(10_000), firing, page }).await.unwrap();
        let starts: Vec<_> =
            page.items.iter().map(|row| row.started_at.as_micros() / 1_000_000).collect();
        (starts, page)
    };
    let (starts, page) = list(None, first(3)).await;
    assert_eq!(starts, [4, 4, 2]);
    assert_eq!((page.items[2].status, page.items[2].resolved_at), ("resolved", Some(at(20))));
    let (starts, page) = list(None, PageQuery { limit: 3, cursor: page.next }).await;
    assert_eq!((starts, page.next), (vec![1], None));
    let oldest = &page.items[0];
    assert_eq!((oldest.status, oldest.late, oldest.occurrences), ("firing", true, 2));
    assert_eq!(oldest.severity.as_deref(), Some("critical"));

    let (starts, page) = list(Some(true), first(1)).await;
    assert_eq!(starts, [4]);
    let (starts, _) = list(Some(true), PageQuery { limit: 9, cursor: page.next }).await;
    assert_eq!(starts, [4, 1]);
    assert_eq!(list(Some(false), first(9)).await.0, [2]);
}

pub(crate) async fn alerts_say_who_is_not_told_yet(store: &dyn Store) {
    let told = Told {
        over: false,
        from: at(1),
        until: at(2),
        goes_on: false,
        because: None,
        by_way_of: None,
    };
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event.clone()]).await;
    let entries = vec![
        entry("ops", Some(News::Firing)),
        Entry { told: told.into(), ..entry("told", None) },
        entry("sending", Some(News::Firing)),
    ];
    let mut sending = group("sending");
    sending.waiting = Some(DeliveryId("d".into()));
    let changes = Changes {
        intervals: vec![interval(-1, &event, entries)],
        groups: vec![group("ops"), sending, group("told")],
        ..Changes::default()
    };
    write(store, changes).await.unwrap();
    let page =
        store.alerts(AlertQuery { now: at(10_000), firing: None, page: first(9) }).await.unwrap();
    let held: Vec<_> = page.items[0]
        .held_back
        .iter()
        .map(|held| (held.receiver.as_deref(), held.reason, held.until))
        .collect();
    assert_eq!(
        held,
        [
            (Some("ops"), "grouped", Some(at(105))),
            (Some("told"), "not due to repeat", Some(at(105)))
        ]
    );
}

pub(crate) async fn what_never_fired_is_listed_with_the_reason(store: &dyn Store) {
    let events: Vec<Heard> = (1..=3).map(|second| heard("a", second, "CRASHED")).collect();
    write_events(store, events.clone()).await;
    let part = |id, event: &Heard, until, rule: &str| {
        let part = ended(interval(id, event, Vec::new()), until, Cause::Subsided);
        let alert = AlertKey { rule: rule.into(), ..part.alert.clone() };
        Interval { role: Role::Part, alert, ..part }
    };
    let whole = part(-4, &events[2], 300, "storm");
    let changes = Changes {
        intervals: vec![
            part(-1, &events[0], 9, "calm"),
            part(-2, &events[1], 20_000, "calm"),
            part(-3, &events[2], 300, "storm"),
            Interval { role: Role::Whole, end: None, due: Some(at(300)), ..whole },
            ended(interval(-5, &events[0], vec![entry("ops", None)]), 4, Cause::TooShort),
        ],
        ..Changes::default()
    };
    write(store, changes).await.unwrap();
    let list = async |firing| {
        let query = AlertQuery { now: at(10_000), firing, page: first(9) };
        let page = store.alerts(query).await.unwrap();
        let rows = page.items.into_iter().map(|row| {
            let reasons: Vec<_> = row.held_back.iter().map(|held| held.reason).collect();
            (row.rule, row.status, reasons.join(", "))
        });
        rows.collect::<Vec<_>>()
    };
    let row = |rule: &str, status, reason: &str| (rule.to_owned(), status, reason.to_owned());
    let all = [
        row("crashed", "never_fired", "run too short"),
        row("storm", "firing", ""),
        row("calm", "pending", "below count"),
        row("calm", "never_fired", "below count"),
    ];
    assert_eq!(list(None).await, all);
    assert_eq!(list(Some(true)).await, all[1..2]);
    assert!(list(Some(false)).await.is_empty());
}

pub(crate) async fn deliveries_are_listed_latest_first(store: &dyn Store) {
    let mut dead = delivery("dead", "ops", 1);
    (dead.status, dead.last_error) = (Status::Dead, Some("no_service".into()));
    let p2 = Delivery {
        to: "spare".into(),
        digest: Some(DeliveryId("many".into())),
        ..delivery("p2", "mail", 3)
    };
    let deliveries = vec![dead.clone(), delivery("p1", "ops", 2), p2];
    write(store, Changes { deliveries, ..Changes::default() }).await.unwrap();
    // Putting it again does not make it a later one.
    let deliveries = vec![dead];
    write(store, Changes { deliveries, ..Changes::default() }).await.unwrap();

    let page = store.deliveries(query_of(None, first(2))).await.unwrap();
    let ids: Vec<_> = page.items.iter().map(|row| &*row.id).collect();
    assert_eq!(ids, ["p2", "p1"]);
    assert_eq!(page.items[0].next_attempt_at, Some(at(3)));
    assert_eq!((&*page.items[0].receiver, page.items[0].status), ("spare", Status::Pending));
    let instead_of: Vec<_> = page.items.iter().map(|row| row.instead_of.as_deref()).collect();
    assert_eq!(instead_of, [Some("mail"), None]);
    let rest = PageQuery { limit: 2, cursor: page.next };
    let page = store.deliveries(query_of(None, rest)).await.unwrap();
    assert_eq!((&*page.items[0].id, page.next), ("dead", None));
    assert_eq!(page.items[0].next_attempt_at, None);
    assert_eq!(page.items[0].last_error.as_deref(), Some("no_service"));

    let pending = query_of(Some(Status::Pending), first(9));
    assert_eq!(store.deliveries(pending).await.unwrap().items.len(), 2);
    let ops = DeliveryQuery { receiver: Some("ops".into()), ..query_of(None, first(9)) };
    let pending = DeliveryQuery { status: Some(Status::Pending), ..ops.clone() };
    let digest = DeliveryQuery { digest: Some("many".into()), ..query_of(None, first(9)) };
    for (query, expected) in [(ops, &["p1", "dead"][..]), (pending, &["p1"]), (digest, &["p2"])] {
        let page = store.deliveries(query).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|row| &*row.id).collect();
        assert_eq!(ids, expected);
    }
}

fn query_of(status: Option<Status>, page: PageQuery) -> DeliveryQuery {
    DeliveryQuery { status, receiver: None, digest: None, page }
}

pub(crate) async fn a_delivery_is_shown_with_its_attempts_and_what_it_says(store: &dyn Store) {
    let event = heard("a", 1, "CRASHED");
    write_events(store, vec![event]).await;
    let mut said = delivery("said", "ops", 2);
    (said.status, said.ended_at) = (Status::Discarded, Some(at(9)));
    said.notification = Some(notification(IntervalId(1)).into());
    let attempt = |number, outcome: Option<&'static str>| Attempt {
        delivery: said.id.clone(),
        number,
        started_at: at(10 * i64::from(number)),
        ended_at: outcome.map(|_| at(10 * i64::from(number) + 1)),
        outcome,
        detail: outcome.map(|_| "404".to_owned()),
    };
    // In no order.
    let attempts = vec![attempt(2, None), attempt(1, Some("destination"))];
    let deliveries = vec![said.clone(), delivery("new", "mail", 3)];
    write(store, Changes { deliveries, attempts, ..Changes::default() }).await.unwrap();

    let shown = store.delivery(said.id.clone()).await.unwrap().unwrap();
    assert_eq!((&*shown.row.id, shown.row.status), ("said", Status::Discarded));
    assert_eq!(shown.row.ended_at, Some(at(9)));
    assert_eq!(shown.notification, said.notification);
    let row = |number, started_at, ended_at, outcome: Option<&str>| AttemptRow {
        number,
        started_at: at(started_at),
        ended_at,
        outcome: outcome.map(str::to_owned),
        detail: outcome.map(|_| "404".to_owned()),
    };
    let rows = [row(1, 10, Some(at(11)), Some("destination")), row(2, 20, None, None)];
    assert_eq!(shown.attempts, rows);
    let shown = store.delivery(DeliveryId("new".into())).await.unwrap().unwrap();
    assert_eq!((shown.notification, shown.attempts), (None, Vec::new()));
    assert!(store.delivery(DeliveryId("none".into())).await.unwrap().is_none());
}
