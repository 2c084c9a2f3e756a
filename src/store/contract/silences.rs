//! Silences: made and ended from outside, read by decisions.

use super::*;

fn silence(starts: i64, ends: i64) -> NewSilence {
    NewSilence {
        matchers: serde_json::from_value(json!({"application": ["shop", "/^prod-/i"]})).unwrap(),
        starts_at: at(starts),
        ends_at: at(ends),
        created_by: Some("alice".into()),
        comment: None,
    }
}

/// The silences that a decision sees.
async fn seen(store: &dyn Store) -> Vec<Silence> {
    let snapshot = read(store, Keys { silences: true, ..Keys::default() }).await;
    assert!(snapshot.asked.silences);
    snapshot.silences.to_vec()
}

pub(crate) async fn silences_are_read_when_asked_for(store: &dyn Store) {
    assert_eq!(seen(store).await, []);
    let made = silence(5, 20);
    let id = store.add_silence(made.clone(), at(10)).await.unwrap();
    let over = store.add_silence(silence(1, 2), at(10)).await.unwrap();

    let silences = seen(store).await;
    let expected = Silence {
        id,
        matchers: made.matchers.into(),
        starts_at: at(5),
        ends_at: at(20),
        created_at: at(10),
        created_by: Some("alice".into()),
        comment: None,
    };
    assert_eq!(silences[0], expected);
    assert_eq!(silences[1].id, over);
    let labels = Labels::from(BTreeMap::from([("application".to_owned(), "PROD-x".to_owned())]));
    assert!(silences[0].matchers.matches(&labels));
    assert!(read(store, Keys::default()).await.silences.is_empty());
}

pub(crate) async fn a_silence_is_ended_once(store: &dyn Store) {
    let id = store.add_silence(silence(5, 20), at(10)).await.unwrap();
    seen(store).await;
    assert!(store.end_silence(id, at(15)).await.unwrap());
    assert_eq!(seen(store).await[0].ends_at, at(15));
    assert!(store.end_silence(id, at(17)).await.unwrap());
    assert_eq!(seen(store).await[0].ends_at, at(15));
    assert!(!store.end_silence(SilenceId(99), at(17)).await.unwrap());
}

pub(crate) async fn a_silence_that_has_not_begun_is_removed(store: &dyn Store) {
    let id = store.add_silence(silence(15, 20), at(10)).await.unwrap();
    assert!(store.end_silence(id, at(12)).await.unwrap());
    assert_eq!(seen(store).await, []);
}

pub(crate) async fn silences_that_were_over_long_ago_are_removed(store: &dyn Store) {
    let old = store.add_silence(silence(1, 20), at(10)).await.unwrap();
    let (still, gone) = (at(20).plus(SILENCES_KEPT), at(21).plus(SILENCES_KEPT));
    store.add_silence(silence(1, 20_000_000), still).await.unwrap();
    assert_eq!(seen(store).await[0].id, old);
    store.add_silence(silence(1, 20_000_000), gone).await.unwrap();
    let ids: Vec<_> = seen(store).await.iter().map(|silence| silence.id).collect();
    assert!(ids.len() == 2 && !ids.contains(&old), "{ids:?}");
}

pub(crate) async fn the_number_of_a_removed_silence_does_not_come_back(store: &dyn Store) {
    let id = store.add_silence(silence(15, 20), at(10)).await.unwrap();
    store.end_silence(id, at(12)).await.unwrap();
    assert_ne!(store.add_silence(silence(15, 20), at(13)).await.unwrap(), id);
}

pub(crate) async fn silences_are_listed_with_what_fires_behind_them(store: &dyn Store) {
    const ALL: &[SilenceStatus] =
        &[SilenceStatus::Pending, SilenceStatus::Active, SilenceStatus::Expired];
    let events: Vec<_> = ["a", "b", "c"].map(|id| heard(id, 1, "CRASHED")).into();
    write_events(store, events.clone()).await;
    let shop = |id: i64, event: &Heard| Interval {
        labels: BTreeMap::from([("application".to_owned(), "shop".to_owned())]).into(),
        ..interval(id, event, Vec::new())
    };
    let intervals = vec![
        shop(-1, &events[0]),
        ended(shop(-2, &events[1]), 5, Cause::Resolved),
        // It has not lasted yet.
        Interval { start: at(9_000), ..shop(-3, &events[2]) },
    ];
    write(store, Changes { intervals, ..Changes::default() }).await.unwrap();
    for (starts, ends) in [(1, 2), (5, 20), (15, 20)] {
        store.add_silence(silence(starts, ends), at(1)).await.unwrap();
    }

    let list = async |statuses, page| {
        let page = store.silences(SilenceQuery { now: at(10), statuses, page }).await.unwrap();
        let rows: Vec<_> = page.items.iter().map(|row| (row.status, row.alerts)).collect();
        (rows, page.next)
    };
    let (rows, next) = list(ALL, first(2)).await;
    assert_eq!(rows, [(SilenceStatus::Pending, 1), (SilenceStatus::Active, 1)]);
    let (rows, next) = list(ALL, PageQuery { limit: 2, cursor: next }).await;
    assert_eq!((rows, next), (vec![(SilenceStatus::Expired, 1)], None));
    let (rows, _) = list(&[SilenceStatus::Active], first(9)).await;
    assert_eq!(rows, [(SilenceStatus::Active, 1)]);
}
