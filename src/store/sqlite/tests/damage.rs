//! A damaged database is found, said to be so, and left as it is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::*;

const PAGE: u64 = 4096;

/// A database with some events, as a process that was killed leaves it: the newest are in the log.
async fn killed() -> (PathBuf, TempDir) {
    let (store, folder) = open_new();
    let many = (0..400).map(|n| heard(&format!("c{n}"), 1, "X")).collect();
    write_events(&store, many).await;
    drop(store);
    let store = SqliteStore::open(&folder.path().join("tocsin.db")).unwrap();
    write_events(&store, vec![heard("last", 1, "X")]).await;
    let left = tempfile::tempdir().unwrap();
    for name in ["tocsin.db", "tocsin.db-wal"] {
        fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    assert!(fs::metadata(left.path().join("tocsin.db-wal")).unwrap().len() > 0);
    (left.path().join("tocsin.db"), left)
}

/// What is in it and in its log; an empty log is none.
fn files(path: &Path) -> [Vec<u8>; 2] {
    [path, &open::beside(path, "-wal")].map(|path| fs::read(path).unwrap_or_default())
}

/// Sees it refused with these words, twice, with all that was there left as it was.
fn is_left_alone(path: &Path, words: &str) {
    let before = files(path);
    for _ in 0..2 {
        let why = refusal(path);
        assert!(why.contains(words), "{words:?} is not in {why:?}");
        assert!(!why.contains('\n'), "{why:?}");
        assert!(files(path) == before, "{words}: it was changed");
    }
}

fn root_page(path: &Path, table: &str) -> u32 {
    // A copy, since a connection that is closed leaves no log.
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("copy.db");
    fs::copy(path, &copied).unwrap();
    let connection = Connection::open(copied).unwrap();
    let sql = "select rootpage from sqlite_schema where name = ?1";
    connection.query_row(sql, [table], |row| row.get(0)).unwrap()
}

fn scribble(path: &Path, at: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0x5a; 512], at).unwrap();
}

#[tokio::test]
async fn a_damaged_page_at_either_end_of_a_table_is_found_at_the_start() {
    for table in ["events", "containers", "deliveries", "rules"] {
        let (path, _folder) = killed().await;
        let page = root_page(&path, table);
        fs::remove_file(open::beside(&path, "-wal")).unwrap();
        scribble(&path, u64::from(page - 1) * PAGE);
        is_left_alone(&path, "is damaged (the table ");
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_found_at_the_start() {
    let (path, _folder) = killed().await;
    fs::remove_file(open::beside(&path, "-wal")).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 2 / PAGE * PAGE).unwrap();
    is_left_alone(&path, "is damaged (");
}

#[tokio::test]
async fn a_damaged_header_is_found_and_the_log_is_not_folded_into_it() {
    let (path, _folder) = killed().await;
    scribble(&path, 0);
    is_left_alone(&path, "is no SQLite database");
}

#[tokio::test]
async fn what_was_taken_away_from_the_schema_is_missed() {
    for (change, words) in [
        ("drop table attempts", "the table attempts is missing"),
        ("drop index groups_due", "the index groups_due is missing"),
        ("alter table rules add column x text", "the table rules is not as tocsin made it"),
    ] {
        let (path, _folder) = killed().await;
        let connection = open::connection(&path, OpenFlags::default()).unwrap();
        connection.execute_batch(change).unwrap();
        drop(connection);
        is_left_alone(&path, words);
    }
}

#[tokio::test]
async fn what_was_added_to_the_schema_does_no_harm() {
    let (path, _folder) = killed().await;
    let connection = open::connection(&path, OpenFlags::default()).unwrap();
    connection.execute_batch("create index mine on events (received_at)").unwrap();
    drop(connection);
    assert_eq!(payloads(&SqliteStore::open(&path).unwrap()).await, 401);
}

#[tokio::test]
async fn a_log_without_its_database_is_not_thrown_away() {
    let (path, _folder) = killed().await;
    fs::remove_file(&path).unwrap();
    is_left_alone(&path, "is gone, and its newest commits are there in");
    File::create(&path).unwrap();
    is_left_alone(&path, "is gone, and its newest commits are there in");
}

#[tokio::test]
async fn a_restore_that_was_broken_off_is_no_new_database() {
    let (path, _folder) = killed().await;
    fs::rename(&path, open::beside(&path, ".restoring")).unwrap();
    is_left_alone(&path, "was being restored, which was broken off");
}

#[tokio::test]
async fn a_start_folds_in_what_the_last_process_left() {
    let (path, _folder) = killed().await;
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(fs::metadata(open::beside(&path, "-wal")).unwrap().len(), 0);
    assert_eq!(payloads(&store).await, 401);
}

/// Damage that is met while it runs, and the file that it was done to.
async fn met_while_running(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).unwrap();
    // Where nobody looks at the start: in the middle of the events.
    let pages = fs::metadata(path).unwrap().len() / PAGE;
    let middle: Vec<u64> = (0..pages)
        .filter(|page| {
            let mut bytes = [0; PAGE as usize];
            File::open(path).unwrap().read_exact_at(&mut bytes, page * PAGE).unwrap();
            bytes.windows(4).any(|part| part == b"c200")
        })
        .collect();
    for page in middle {
        scribble(path, page * PAGE);
    }
    let scan = store.read(|db| {
        let mut statement = db.prepare("select sum(length(payload)) from events")?;
        Ok(statement.query_row([], |row| row.get::<_, i64>(0))?)
    });
    let error = scan.await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    store
}

#[tokio::test]
async fn damage_that_is_met_while_it_runs_ends_all_writing() {
    let (path, _folder) = killed().await;
    let store = met_while_running(&path).await;
    let before = files(&path);
    let refused = write(&store, Changes::default()).await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("is damaged")),
        "{refused:?}"
    );
    let unready = store.check_writable().await.unwrap_err().to_string();
    assert!(unready.contains("stop tocsin and restore a backup"), "{unready}");
    drop(store);
    assert!(files(&path) == before, "nothing was written, not even by the stop");
}

#[tokio::test]
async fn a_unit_that_meets_damage_takes_those_that_share_its_commit_along() {
    let (store, _folder) = open_new();
    let [blocker, releasing] = hold_up(&store);
    let mark = |name: &'static str| {
        store.write(move |db, _| {
            db.execute("insert into meta values (?1, 1)", [name])?;
            Ok(())
        })
    };
    let meeting = store.write(|_, _| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err::<(), _>(Failure::Sql(rusqlite::Error::SqliteFailure(code, None)))
    });
    let work: Vec<BoxFuture<'_, Result<(), StoreError>>> = vec![
        blocker,
        Box::pin(mark("before")),
        Box::pin(meeting),
        Box::pin(mark("after")),
        releasing,
    ];
    let results: Vec<_> = join_all(work).await.into_iter().map(|result| result.is_ok()).collect();
    assert_eq!(results[1..4], [false; 3]);
    let marks = store
        .read(|db| Ok(db.query_row("select count(*) from meta", [], |row| row.get::<_, u32>(0))?));
    assert_eq!(marks.await.unwrap(), 0);
}

#[tokio::test]
async fn what_cannot_be_trusted_is_opened_anew_and_goes_on() {
    let (store, folder) = open_new();
    write_events(&store, vec![heard("a", 1, "X")]).await;
    store.trouble.doubt();
    write_events(&store, vec![heard("a", 2, "Y")]).await;
    assert!(!store.trouble.in_doubt());
    let a = store.container("a".into()).await.unwrap().unwrap();
    assert_eq!((a.row.state.as_str(), a.events.len()), ("Y", 2));
    // Its files are those that they were.
    store.trouble.still_there().unwrap();
    store.trouble.doubt();
    drop(store);
    assert_eq!(containers_at(&folder.path().join("tocsin.db")).await, [("a".into(), "Y".into())]);
}

#[tokio::test]
async fn what_cannot_be_opened_anew_is_unavailable_until_it_can() {
    let (store, folder) = open_new();
    write_events(&store, vec![heard("a", 1, "X")]).await;
    let (path, away) = (folder.path().join("tocsin.db"), folder.path().join("away.db"));
    store.trouble.doubt();
    fs::rename(&path, &away).unwrap();
    for _ in 0..2 {
        let refused = write(&store, Changes::default()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        let refused = store.leased().await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(!path.exists(), "no new database is made for one that is gone");
    fs::rename(&away, &path).unwrap();
    write_events(&store, vec![heard("a", 2, "Y")]).await;
    assert_eq!(payloads(&store).await, 2);
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_noticed_and_what_was_written_is_kept_by_the_stop() {
    let mut stores = Vec::new();
    for (end, remedy) in [
        ("-wal", "stop tocsin without killing it"),
        ("-shm", "stop tocsin without killing it"),
        (".lock", "see that no other tocsin"),
    ] {
        for replaced in [false, true] {
            let (store, folder) = open_new();
            let path = folder.path().join("tocsin.db");
            write_events(&store, vec![heard("a", 1, "X")]).await;
            let (file, away) = (open::beside(&path, end), folder.path().join("away"));
            fs::rename(&file, &away).unwrap();
            if replaced {
                fs::copy(&away, &file).unwrap();
            }
            stores.push((store, folder, path, format!("tocsin.db{end} was moved"), remedy));
        }
    }
    // For as long as what was seen holds.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (store, _folder, path, words, remedy) in stores {
        for _ in 0..2 {
            let why = write(&store, Changes::default()).await.unwrap_err().to_string();
            assert!(why.contains(&words) && why.contains(remedy), "{words}, {remedy}: {why}");
        }
        drop(store);
        assert_eq!(payloads(&SqliteStore::open(&path).unwrap()).await, 1, "{words}");
    }
}

#[tokio::test]
async fn a_payload_that_is_damaged_stays_with_what_came_after_it_and_stops_no_pruning() {
    let (store, _folder) = open_new();
    let events: Vec<_> = (1..4).map(|second| heard("a", second, "X")).collect();
    write_events(&store, events.clone()).await;
    write_events(&store, vec![heard("b", 1, "X")]).await;
    let damage = store.write(|db, _| {
        Ok(db.execute("update events set payload = x'01' where seq = 2", []).map(drop)?)
    });
    damage.await.unwrap();
    let oldest = Oldest { received_before: Timestamp::FOR_EVER, after: 0, limit: 100 };
    let swath =
        read(&store, Keys { oldest: Some(oldest), ..Keys::default() }).await.oldest.unwrap();
    let of_a = &swath.containers["a"];
    assert_eq!((&of_a.events[..], of_a.others_from), (&events[..1], Some(events[1].at)));
    assert_eq!(swath.containers["b"].events.len(), 1);
}
