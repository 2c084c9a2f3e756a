//! A unit of work: it may ask for more, and is written as a whole or not at all.

use foldhash::HashSet;

use super::*;

pub(crate) async fn a_decision_may_ask_for_more(store: &dyn Store) {
    write_events(store, vec![heard("a", 1, "X"), heard("b", 2, "Y")]).await;
    let keys = Keys { containers: one("a".into()), ..Keys::default() };
    let seen = transact(store, keys, |snapshot| {
        if !snapshot.asked.containers.contains("b") {
            return Decision::Need(Keys { containers: one("b".into()), ..Keys::default() });
        }
        if !snapshot.asked.timelines.contains("b") {
            return Decision::Need(Keys { timelines: one("b".into()), ..Keys::default() });
        }
        let seen = (snapshot.containers.len(), snapshot.timelines["b"].len());
        Decision::Done(Changes::default(), seen)
    });
    assert_eq!(seen.await.unwrap(), (2, 1));
}

pub(crate) async fn a_decision_that_asks_for_ever_is_refused(store: &dyn Store) {
    let same = |_: &Snapshot| Step::Read(Keys { containers: one("a".into()), ..Keys::default() });
    let result = store.run(Keys::default(), Box::new(same)).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");

    let mut round = 0;
    let more = move |_: &Snapshot| {
        round += 1;
        Step::Read(Keys { intervals: one(IntervalId(round)), ..Keys::default() })
    };
    let result = store.run(Keys::default(), Box::new(more)).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}

pub(crate) async fn a_decision_that_panics_writes_nothing(store: &dyn Store) {
    let result = store.run(Keys::default(), Box::new(|_| panic!("on purpose"))).await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains("on purpose"), "{error}");
    write_events(store, vec![heard("a", 1, "X")]).await;
}

pub(crate) async fn an_event_is_stored_once(store: &dyn Store) {
    let event = heard("a", 1, "X");
    write_events(store, vec![event.clone()]).await;
    let mut gone = container(&event);
    gone.state = State::Deleted;
    let again = Changes { events: vec![event], containers: vec![gone], ..Changes::default() };
    let result = write(store, again).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
    let snapshot = read(store, Keys { containers: one("a".into()), ..Keys::default() }).await;
    assert_ne!(snapshot.containers["a"].state, State::Deleted, "all or nothing is written");
}

pub(crate) async fn an_event_without_its_container_is_refused(store: &dyn Store) {
    let events = vec![heard("a", 1, "X")];
    let result = write(store, Changes { events, ..Changes::default() }).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}

pub(crate) async fn a_failed_event_is_listed_and_no_part_of_a_timeline(store: &dyn Store) {
    let event = heard("a", 1, "X");
    let failed = vec![(event.clone(), "it panicked".to_owned())];
    write(store, Changes { failed: failed.clone(), ..Changes::default() }).await.unwrap();
    let again = write(store, Changes { failed, ..Changes::default() }).await;
    assert!(matches!(again, Err(StoreError::Refused(_))), "{again:?}");

    let keys = Keys {
        known: HashSet::from_iter([("a".into(), event.reference())]),
        containers: one("a".into()),
        timelines: one("a".into()),
        ..Keys::default()
    };
    let snapshot = read(store, keys.clone()).await;
    assert!(snapshot.known.contains(&("a".into(), event.reference())));
    assert!(snapshot.containers.is_empty() && snapshot.timelines["a"].is_empty());
    assert!(store.containers(first(9)).await.unwrap().items.is_empty());
    assert!(store.container("a".into()).await.unwrap().is_none());
    let listed = EventQuery { container: Some("a".into()), ..query(9) };
    assert_eq!(store.events(listed).await.unwrap().items, [event.event.payload.text()]);

    let sound = heard("a", 2, "X");
    write_events(store, vec![sound.clone()]).await;
    let snapshot = read(store, keys).await;
    assert_eq!(snapshot.containers["a"], container(&sound));
    assert_eq!(snapshot.timelines["a"], [sound]);
}
