//! What SQLite alone has to do: files, locks, versions, threads, full disks.

mod damage;
mod restarts;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use futures_util::future::join_all;
use rusqlite::OpenFlags;
use tempfile::TempDir;

use super::*;
use crate::engine::{Attempt, Changes, Oldest, Snapshot};
use crate::store::Step;
use crate::store::contract::{
    container, contract, heard, interval, intervals_of, read, write, write_events,
};

contract!(opened);

async fn opened() -> (SqliteStore, TempDir) {
    open_new()
}

fn open_new() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("tocsin.db")).unwrap();
    (store, folder)
}

/// Why `path` cannot be opened.
fn refusal(path: &Path) -> String {
    match SqliteStore::open(path) {
        Err(StoreError::Open(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

async fn payloads(store: &SqliteStore) -> u32 {
    store
        .read(|db| Ok(db.query_row("select count(*) from events", [], |row| row.get(0))?))
        .await
        .unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let (store, folder) = open_new();
    write_events(&store, vec![heard("a", 1, "X")]).await;
    drop(store);
    let path = folder.path().join("tocsin.db");
    assert!(!path.with_extension("db-wal").exists(), "the log is folded into the one file");
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(payloads(&store).await, 1);
}

/// The containers of the store at `path`, with their states, as a start finds them.
async fn containers_at(path: &Path) -> Vec<(String, String)> {
    let store = SqliteStore::open(path).unwrap();
    let page = store.containers(PageQuery { limit: 100_000, cursor: None }).await.unwrap();
    page.items.into_iter().map(|row| (row.id, row.state.as_str().to_owned())).collect()
}

#[tokio::test]
async fn containers_in_the_log_are_there_after_a_kill() {
    let (store, folder) = open_new();
    for (second, state) in [(1, "X"), (2, "Y"), (3, "Z")] {
        write_events(&store, vec![heard("a", second, state)]).await;
    }
    write_events(&store, vec![heard("b", 1, "X")]).await;
    // What a process that is killed leaves behind.
    let left = tempfile::tempdir().unwrap();
    for name in ["tocsin.db", "tocsin.db-wal"] {
        std::fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    let both = [("a".into(), "Z".into()), ("b".into(), "X".into())];
    assert_eq!(containers_at(&left.path().join("tocsin.db")).await, both);
    drop(store);
    assert_eq!(containers_at(&folder.path().join("tocsin.db")).await, both);
}

#[tokio::test]
async fn containers_beyond_those_in_memory_are_read_again() {
    let (store, folder) = open_new();
    for second in [1, 2] {
        for part in 0..20 {
            let ids = (part * 500)..((part + 1) * 500);
            let events: Vec<_> =
                ids.map(|id| heard(&id.to_string(), second, &format!("S{second}"))).collect();
            write_events(&store, events).await;
        }
    }
    let timeline = store.container("123".into()).await.unwrap().unwrap();
    assert_eq!(timeline.events.len(), 2);
    drop(store);
    let found = containers_at(&folder.path().join("tocsin.db")).await;
    assert_eq!(found.len(), 10_000);
    assert!(found.iter().all(|(_, state)| state == "S2"));
}

#[tokio::test]
async fn a_container_is_as_it_was_where_the_work_failed() {
    let (store, _folder) = open_new();
    write_events(&store, vec![heard("a", 1, "X")]).await;
    let event = heard("a", 2, "Y");
    let put_without_an_event = {
        let strange = container(&heard("nobody", 2, "Y"));
        Changes {
            containers: vec![container(&event), strange],
            events: vec![event],
            ..Changes::default()
        }
    };
    let failed = write(&store, put_without_an_event).await;
    assert!(matches!(failed, Err(StoreError::Refused(_))), "{failed:?}");
    let a = store.container("a".into()).await.unwrap().unwrap();
    assert_eq!((a.row.state.as_str(), a.events.len()), ("X", 1));
    write_events(&store, vec![heard("a", 3, "Z")]).await;
    let a = store.container("a".into()).await.unwrap().unwrap();
    assert_eq!((a.row.state.as_str(), a.events.len()), ("Z", 2));
}

#[tokio::test]
async fn every_commit_is_synced() {
    let (store, _folder) = open_new();
    let settings = store.write(|db, _| {
        let mode: String = db.query_row("pragma journal_mode", [], |row| row.get(0))?;
        let synchronous: i32 = db.query_row("pragma synchronous", [], |row| row.get(0))?;
        let keys: bool = db.query_row("pragma foreign_keys", [], |row| row.get(0))?;
        Ok((mode, synchronous, keys))
    });
    assert_eq!(settings.await.unwrap(), ("wal".to_owned(), 2, true));
}

#[tokio::test]
async fn a_container_is_found_without_a_look_at_all_others() {
    let (store, _folder) = open_new();
    write_events(&store, (0..100).map(|n| heard(&format!("c{n}"), 1, "X")).collect()).await;
    let plan = plan_of(&store, memory::NOW).await;
    let all = ["SCAN c", "SCAN s", "MATERIALIZE containers_now", "CO-ROUTINE containers_now"];
    let looks_at_all = |step: &&String| all.contains(&step.as_str());
    assert_eq!(plan.iter().find(looks_at_all), None, "{plan:#?}");
}

/// The steps of a query.
async fn plan_of(store: &SqliteStore, sql: &'static str) -> Vec<String> {
    let plan = store.read(move |db| {
        let mut statement = db.prepare(&format!("explain query plan {sql}"))?;
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next()? {
            steps.push(row.get(3)?);
        }
        Ok(steps)
    });
    plan.await.unwrap()
}

/// Work that holds up the writer, to be asked for first, and what lets go of it, to be polled last: by
/// then all that is asked for in between waits, and shares a commit.
fn hold_up(store: &SqliteStore) -> [BoxFuture<'_, Result<(), StoreError>>; 2] {
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let blocker = store.write(move |_, _| {
        started.send(()).unwrap();
        released.recv().unwrap();
        Ok(())
    });
    let releasing = async move {
        has_started.recv().unwrap();
        release.send(()).unwrap();
        Ok(())
    };
    [Box::pin(blocker), Box::pin(releasing)]
}

#[tokio::test]
async fn units_that_wait_share_a_commit_and_fail_alone() {
    let (store, _folder) = open_new();
    let [blocker, releasing] = hold_up(&store);
    let add = |id: &str| {
        let event = heard(id, 1, "X");
        let changes = Changes {
            containers: vec![container(&event)],
            events: vec![event],
            ..Changes::default()
        };
        write(&store, changes)
    };
    let panicking = store.run(Keys::default(), Box::new(|_: &Snapshot| -> Step { panic!("no") }));
    let twice = add("a");
    let orders = store.write(|db, _| {
        db.execute_batch("insert into meta values ('half', 1)")?;
        Err::<(), _>(Failure::Refused("on second thoughts".into()))
    });
    let work: Vec<BoxFuture<'_, Result<(), StoreError>>> = vec![
        blocker,
        Box::pin(add("a")),
        Box::pin(panicking),
        Box::pin(twice),
        Box::pin(orders),
        Box::pin(add("b")),
        releasing,
    ];
    let results: Vec<_> = join_all(work).await.into_iter().map(|result| result.is_ok()).collect();
    assert_eq!(results, [true, true, false, false, false, true, true]);
    assert_eq!(payloads(&store).await, 2);
    let halves = store
        .read(|db| Ok(db.query_row("select count(*) from meta", [], |row| row.get::<_, u32>(0))?));
    assert_eq!(halves.await.unwrap(), 0);
}

#[tokio::test]
async fn a_number_that_was_given_in_vain_lets_none_come_back() {
    let (store, folder) = open_new();
    let event = heard("a", 1, "CRASHED");
    write_events(&store, vec![event.clone()]).await;
    let new = Changes { intervals: vec![interval(-1, &event, Vec::new())], ..Changes::default() };
    write(&store, new.clone()).await.unwrap();
    let first = intervals_of(&store, "a").await[0].id;
    // It is refused once its interval has a number.
    let of_nothing = Attempt {
        delivery: DeliveryId("nothing".into()),
        number: 1,
        started_at: event.at,
        ended_at: None,
        outcome: None,
        detail: None,
    };
    let refused = Changes { attempts: vec![of_nothing], ..new.clone() };
    assert!(matches!(write(&store, refused).await, Err(StoreError::Refused(_))));
    let intervals_removed = vec![first];
    write(&store, Changes { intervals_removed, ..Changes::default() }).await.unwrap();
    drop(store);
    let store = SqliteStore::open(&folder.path().join("tocsin.db")).unwrap();
    write(&store, new).await.unwrap();
    assert_ne!(intervals_of(&store, "a").await[0].id, first);
}

#[tokio::test]
async fn a_full_disk_is_survived() {
    let (store, _folder) = open_new();
    let limit = |pages: u32| {
        store.write(move |db, _| {
            let pages = pages.max(1);
            db.query_row(&format!("pragma max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(())
        })
    };
    limit(1).await.unwrap();
    let mut written: u32 = 0;
    let error = loop {
        let events: Vec<_> = (0..20).map(|n| heard(&format!("{written}-{n}"), n, "X")).collect();
        let containers = events.iter().map(container).collect();
        match write(&store, Changes { events, containers, ..Changes::default() }).await {
            Ok(()) => written += 20,
            Err(error) => break error,
        }
        assert!(written < 10_000, "the disk is never full");
    };
    assert!(
        matches!(&error, StoreError::Unavailable(why) if why.contains("free some space")),
        "{error}"
    );
    assert_eq!(payloads(&store).await, written, "what failed left nothing");

    limit(1_000_000).await.unwrap();
    write_events(&store, vec![heard("after", 1, "X")]).await;
    assert_eq!(payloads(&store).await, written + 1);
}

#[tokio::test]
async fn a_long_list_delays_no_commit() {
    let (store, _folder) = open_new();
    let store = Arc::new(store);
    let (release, released) = mpsc::channel::<()>();
    let reading = store.read(move |_| {
        released.recv().unwrap();
        Ok(())
    });
    let writing = async {
        write_events(&*store, vec![heard("a", 1, "X")]).await;
        release.send(()).unwrap();
        Ok::<_, StoreError>(())
    };
    let (read, wrote) = futures_util::future::join(reading, writing).await;
    assert!(read.is_ok() && wrote.is_ok());
}

#[tokio::test]
async fn a_panic_while_reading_ends_only_that_question() {
    let (store, _folder) = open_new();
    let result = store.read::<()>(|_| panic!("on purpose")).await;
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    assert_eq!(payloads(&store).await, 0);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (store, folder) = open_new();
    store.close();
    assert!(matches!(store.check_writable().await, Err(StoreError::Closed)));
    assert!(matches!(store.leased().await, Err(StoreError::Closed)));
    // And it may be opened again.
    SqliteStore::open(&folder.path().join("tocsin.db")).unwrap();
}

#[test]
fn a_second_opener_is_refused_by_whatever_name() {
    let (_store, folder) = open_new();
    let path = folder.path().join("tocsin.db");
    let why = refusal(&path);
    assert!(why.contains("is in use by another tocsin") && why.contains("tocsin.db.lock"), "{why}");
    let other_name = folder.path().join("other.db");
    std::os::unix::fs::symlink(&path, &other_name).unwrap();
    assert!(refusal(&other_name).contains("is in use by another tocsin"));
}

#[test]
fn a_newer_database_is_left_alone() {
    let (store, folder) = open_new();
    drop(store);
    let path = folder.path().join("tocsin.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    connection.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let why = refusal(&path);
    assert!(why.contains("has format 99") && why.contains("run the newer tocsin"), "{why}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_database_of_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    let long = folder.path().join("long.txt");
    let foreign = folder.path().join("other.db");
    std::fs::write(&text, "buy milk").unwrap();
    std::fs::write(&long, "buy milk\n".repeat(2_000)).unwrap();
    let connection = Connection::open(&foreign).unwrap();
    connection.execute_batch("create table users (name text)").unwrap();
    connection.close().unwrap();
    for (path, words) in [
        (text, "is no SQLite database"),
        (long, "is no SQLite database"),
        (foreign, "is a database of another program"),
    ] {
        let before = std::fs::read(&path).unwrap();
        let why = refusal(&path);
        assert!(why.contains(words), "{why}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{}", path.display());
    }
}

#[test]
fn an_empty_file_is_a_new_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tocsin.db");
    std::fs::write(&path, "").unwrap();
    SqliteStore::open(&path).unwrap();
}

#[test]
fn places_where_no_database_can_be_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (path, words) in [
        (folder.path().to_owned(), "is a directory; name a file in it"),
        (folder.path().join("missing/tocsin.db"), "make the folder first"),
        (file.join("tocsin.db"), "which is no folder"),
        (PathBuf::from("/proc/tocsin.db"), "give tocsin a folder that it may write"),
        (PathBuf::from(".."), "is a directory"),
        (PathBuf::from(""), "names no file"),
    ] {
        let why = refusal(&path);
        assert!(why.contains(words), "{why}");
        assert!(!why.contains('\n') && !why.contains("os error"), "{why}");
    }
}

#[tokio::test]
async fn lists_and_timers_are_read_by_index() {
    let (store, _folder) = open_new();
    for (sql, index) in [
        (
            "select t.timestamp, t.seq from events_by_time t \
              where (t.timestamp, t.seq) < (5, 5) \
              union all select t.timestamp, t.seq from events t where t.seq > 5 \
              order by 1 desc, 2 desc limit 5",
            "SEARCH t USING PRIMARY KEY",
        ),
        (
            "select t.timestamp, t.seq from events_by_time t \
              where t.facet in (select id from facets where service = 'x') \
              order by 1 desc, 2 desc limit 5",
            "SCAN t",
        ),
        (
            "select id from intervals i where i.end_at is null and i.due <= 5 \
              order by i.due limit 5",
            "intervals_open",
        ),
        ("select min(due) from intervals where end_at is null and due > 5", "intervals_open"),
        (
            "select id from intervals i \
              where i.id in (select interval from ledger \
                             where group_key = 5 and alive and firing)",
            "ledger_alive",
        ),
        (
            "select key from groups g where g.timer_due_at <= 5 order by g.timer_due_at",
            "groups_due",
        ),
        (
            "select id from deliveries \
              where status = 'pending' and receiver = 'x' \
              order by waiting_since, key",
            "deliveries_waiting",
        ),
        (
            "select receiver from deliveries where status = 'dead' \
              and status not in ('pending', 'sent') order by key desc",
            "deliveries_unsent",
        ),
        (
            "select id from facets where state = 'X' and application is null and service is 'y'",
            "facets_by_value (state=? AND application=? AND service=?)",
        ),
    ] {
        let plan = plan_of(&store, sql).await.join("\n");
        assert!(plan.contains(index), "{sql}\n{plan}");
        // To the right of a merge are the few events that are not in order yet.
        let sorted = plan.split("RIGHT").next().unwrap_or_default().contains("FOR ORDER BY");
        assert!(!sorted, "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn what_is_unfinished_is_found_without_a_look_at_what_is_over() {
    let (store, _folder) = open_new();
    let plan = plan_of(&store, due::UNFINISHED).await.join("\n");
    assert!(plan.contains("intervals_open") && plan.contains("ledger_alive"), "{plan}");
}

/// The promise of the schema: what is kept beside a payload is little.
#[tokio::test]
async fn an_event_takes_less_than_its_payload() {
    let (store, folder) = open_new();
    let example = include_str!("../../../tests/events/seed-stopped-exited.json");
    let example: serde_json::Value = serde_json::from_str(example).unwrap();
    let mut payload_bytes = 0;
    for batch in 0..40 {
        let events: Vec<_> = (0..500)
            .map(|n| {
                let mut payload = example.clone();
                payload["id"] = format!("b7f34acb-e057-2362-6643-{:012x}", n * 7 % 250).into();
                payload["timestamp"] = (1.5e9 + f64::from(batch * 500 + n) / 8.0).into();
                let event = crate::event::decode(payload.to_string().as_bytes()).unwrap();
                payload_bytes += event.payload.text().len();
                crate::engine::Heard::new(event, Timestamp::from_micros(1_600_000_000_000_000))
            })
            .collect();
        write_events(&store, events).await;
    }
    drop(store);
    let file = std::fs::metadata(folder.path().join("tocsin.db")).unwrap().len();
    let ratio = file as f64 / payload_bytes as f64;
    assert!(ratio < 0.9, "{ratio}");
}

#[tokio::test]
async fn a_decision_that_does_not_end_is_found_and_a_lock_that_others_hold_is_no_such_thing() {
    let (store, folder) = open_new();
    assert_eq!(store.stuck(), None);
    let other = Connection::open(folder.path().join("tocsin.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let (begun, begins) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let decide = Box::new(move |_: &Snapshot| {
        begun.send(()).unwrap();
        let _ = goes_on.recv();
        Step::Write(Changes::default())
    });
    let mut work = std::pin::pin!(store.run(Keys::default(), decide));
    // It goes into the queue.
    assert!(futures_util::poll!(work.as_mut()).is_pending());
    assert!(begins.recv_timeout(Duration::from_millis(100)).is_err(), "the other holds the lock");
    assert_eq!(store.stuck_for(Duration::ZERO), None, "the writer waits, and for no decision");
    other.execute_batch("rollback").unwrap();
    begins.recv().unwrap();
    assert!(store.stuck_for(Duration::ZERO).is_some());
    assert_eq!(store.stuck(), None, "it may still end");
    drop(go_on);
    work.await.unwrap();
    assert_eq!(store.stuck_for(Duration::ZERO), None);
}
