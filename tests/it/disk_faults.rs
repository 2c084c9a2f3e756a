//! Whatever the disk does, what was answered 2xx is there, and tocsin goes on once the disk does.
//!
//! `tests/bad_disk.c` stands for the disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::bad_disk::{at, on};
use crate::harness::{
    BadDisk, Fault, Place, Plan, Sink, Tocsin, client, crash, ended_or_listens, event, noise, now,
    post_to, wait_until,
};

const RULES: &str = "defaults: { group_wait: 0s, group_by: [id] }
rules: [{ name: crashed, when: { state: CRASHED } }]\n";

/// What was answered 2xx, of which container each.
#[derive(Default)]
struct Taken(BTreeSet<String>);

impl Taken {
    /// Posts an event: it is taken, or left to its producer with a sentence.
    fn post(&mut self, tocsin: &Tocsin, event: &Value) -> bool {
        let (status, answer) = tocsin.post(event.to_string());
        assert!([200, 503].contains(&status), "{status}: {answer}");
        if status == 200 {
            self.0.insert(event["id"].as_str().unwrap().to_owned());
        } else {
            let sentence = answer["error"].as_str().unwrap();
            assert!(sentence.starts_with("the event was not recorded: "), "{sentence}");
        }
        status == 200
    }

    /// Sees that all of it is there, in lists and in timelines.
    fn is_in(&self, tocsin: &Tocsin, when: &str) {
        let ids = |path: &str| -> BTreeSet<String> {
            let listed = tocsin.all(path).into_iter();
            listed.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
        };
        for path in ["/api/list?limit=10000", "/api/containers?limit=10000"] {
            let there = ids(path);
            let lost: Vec<&String> = self.0.difference(&there).collect();
            assert!(lost.is_empty(), "{when}: answered 2xx and not in {path}: {lost:?}");
        }
    }
}

/// Reads the whole database beside the program.
fn is_sound(place: &Place, when: &str) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(place.database(), flags).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    reads_as_sound(&connection, when);
}

fn reads_as_sound(connection: &Connection, when: &str) {
    let sound: String =
        connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{when}");
}

/// A copy of a database that nobody uses, to be looked at: whoever opens it may change it.
fn copy_of(place: &Place) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tocsin.db");
    let beside = |path: &Path, end: &str| format!("{}{end}", path.display());
    for end in ["", "-wal", "-journal"] {
        let _ = fs::copy(beside(&place.database(), end), beside(&copy, end));
    }
    copy.exists().then_some((folder, copy))
}

/// Has each call of a short run fail, one after the other, once or until the disk is mended.
fn every_call_fails(fault: Fault, fail: u64) {
    let (place, disk) = BadDisk::under(Place::new(RULES), false);
    let mut tocsin = place.serve();
    let mut taken = Taken::default();
    let mut refused = 0;
    for skip in 0.. {
        let when = format!("{fault:?} at call {skip}");
        disk.fail(Plan { skip, fail, ..Plan::all(fault) });
        let mut left = Vec::new();
        for number in 0..3 {
            let event = event(&format!("{skip}-{number}"), "STARTING", "RUNNING");
            if !taken.post(&tocsin, &event) {
                left.push(event);
            }
        }
        let crash = crash(&format!("{skip}-crash"));
        if !taken.post(&tocsin, &crash) {
            left.push(crash);
        }
        refused += left.len();
        let hit = disk.failed() > 0;
        disk.mend();
        for event in &left {
            assert!(taken.post(&tocsin, event), "{when}: it does not go on by itself");
        }
        taken.is_in(&tocsin, &when);
        tocsin.is_well();
        // Killed now and then, and not only at the end.
        if skip % 8 == 7 || !hit {
            is_sound(&place, &when);
            tocsin.kill();
            tocsin = place.serve();
            taken.is_in(&tocsin, &when);
        }
        if !hit {
            assert!(skip > 20, "a run of only {skip} calls");
            break;
        }
    }
    assert!(refused > 20, "only {refused} were refused");
    is_sound(&place, "at the end");
}

#[test]
fn an_i_o_error_at_any_call_loses_nothing_that_was_taken() {
    every_call_fails(Fault::Eio, 1);
}

#[test]
fn i_o_errors_from_any_call_on_lose_nothing_that_was_taken() {
    every_call_fails(Fault::Eio, u64::MAX);
}

#[test]
fn a_disk_that_is_full_at_any_call_loses_nothing_that_was_taken() {
    every_call_fails(Fault::Enospc, u64::MAX);
}

#[test]
fn a_write_that_is_cut_short_loses_nothing_that_was_taken() {
    every_call_fails(Fault::Short, 1);
}

/// Has each call of a start with a new database fail: it starts, or says why not in one sentence.
/// Then a start on a disk that is whole again finds a database of one version or the other.
#[test]
fn a_start_that_fails_anywhere_leaves_a_database_to_start_with() {
    let (place, disk) = BadDisk::under(Place::new(RULES), false);
    let storage = format!("sqlite:{}", place.database().display());
    let arguments = ["serve", "rules.yaml", "--listen", "127.0.0.1:0", "--storage", &storage];
    for skip in 0.. {
        disk.fail(Plan { skip, ..Plan::all(Fault::Eio) });
        let mut child = place.command(&arguments);
        let child = child.stderr(Stdio::piped()).spawn().unwrap();
        let ended = ended_or_listens(child);
        let hit = disk.failed() > 0;
        disk.mend();
        if let Some((code, stderr)) = ended {
            assert_eq!(code, 1, "call {skip}: {stderr}");
            let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
            assert_eq!(errors, 1, "call {skip}: {stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
        if let Some((_folder, copy)) = copy_of(&place) {
            reads_as_sound(&Connection::open(&copy).unwrap(), &format!("call {skip}"));
        }
        goes_on(&place);
        if !hit {
            assert!(skip > 50, "a start of only {skip} calls");
            break;
        }
    }
}

/// Sees that the next start records what it is told, and leaves no database behind.
fn goes_on(place: &Place) {
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    tocsin.kill();
    for end in ["", "-wal", "-shm", ".lock"] {
        let _ = fs::remove_file(format!("{}{end}", place.database().display()));
    }
}

/// A start with a new database is a migration, from nothing to the first version.
#[test]
fn a_kill_in_the_middle_of_a_migration_leaves_the_version_before() {
    let (place, disk) = BadDisk::under(Place::new(RULES), false);
    let storage = format!("sqlite:{}", place.database().display());
    let arguments = ["serve", "rules.yaml", "--listen", "127.0.0.1:0", "--storage", &storage];
    let mut versions = BTreeSet::new();
    for skip in 0.. {
        disk.fail(Plan { skip, ..Plan::all(Fault::Kill) });
        let child = place.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let _ = ended_or_listens(child);
        let hit = disk.failed() > 0;
        disk.mend();
        if let Some((_folder, copy)) = copy_of(&place) {
            let database = Connection::open(&copy).unwrap();
            let found: (i32, i32, i32) = database
                .query_row(
                    "select (select user_version from pragma_user_version),
                            (select application_id from pragma_application_id),
                            (select count(*) from sqlite_schema where type = 'table')",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .unwrap();
            versions.insert(found);
            reads_as_sound(&database, &format!("call {skip}"));
        }
        goes_on(&place);
        if !hit {
            break;
        }
    }
    let versions: Vec<_> = versions.into_iter().collect();
    assert_eq!(versions.len(), 2, "one of either version, and nothing in between: {versions:?}");
    assert_eq!(versions[0], (0, 0, 0));
    assert_eq!(versions[1].0, 1);
}

/// What a request answers, with the time to wait that it says.
fn refusal(tocsin: &Tocsin) -> String {
    let request = client().post(format!("{}/api/post", tocsin.base())).body(crash("x").to_string());
    let answer = request.send().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "10");
    let answer: Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
    answer["error"].as_str().unwrap().to_owned()
}

#[test]
fn what_the_disk_does_is_said_by_readyz_and_goes_on_by_itself_when_it_is_over() {
    let (place, disk) = BadDisk::under(Place::new(RULES), false);
    let mut tocsin = place.serve();
    tocsin.hear(&crash("before"));
    for (fault, words) in [
        (Fault::Enospc, "database or disk is full; free some space"),
        (Fault::Erofs, "disk I/O error on writing"),
        (Fault::Eio, "disk I/O error on writing"),
    ] {
        disk.fail(Plan { files: on::LOG, ..Plan::all(fault) });
        let refused = refusal(&tocsin);
        assert!(refused.contains(words), "{fault:?}: {refused}");
        // What it last said holds for a second.
        let unready = tocsin.wait_for("/readyz", |it| {
            it["error"].as_str().filter(|error| error.contains(words)).map(str::to_owned)
        });
        assert!(unready.starts_with("events cannot be recorded: "), "{unready}");
        assert_eq!(tocsin.get("/healthz")["status"], "ok");
        assert_eq!(tocsin.get("/api/list").as_array().unwrap()[0]["id"], "before");
        disk.mend();
        tocsin.hear(&crash(&format!("after {fault:?}")));
    }
    tocsin.wait_for("/readyz", |ready| (ready["status"] == "ready").then_some(()));
    tocsin.wait_for_line("the database can be used again");
}

/// How many of those each of two clients posts, so that the log is folded in once or twice.
const LARGE: usize = 45;

/// An event that fills many pages.
fn large(id: &str) -> Value {
    let mut large = event(id, "STARTING", "RUNNING");
    large["padding"] = json!(noise(250_000));
    large
}

/// Posts large events from two clients at once, so that the log is folded in while more is written to
/// it, until so many were asked for. What was taken.
fn post_large(tocsin: &Tocsin, name: &str, each: usize) -> BTreeSet<String> {
    let clients: Vec<_> = thread::scope(|scope| {
        let post = |client: usize| {
            let base = tocsin.base();
            scope.spawn(move || {
                let ids = (0..each).map(|number| format!("{name}-{client}-{number}"));
                let taken = ids.filter(|id| post_to(base, large(id).to_string()).unwrap().0 == 200);
                taken.collect::<Vec<String>>()
            })
        };
        let clients = [post(0), post(1)];
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    clients.into_iter().flatten().collect()
}

/// A sync of the database fails while the log is folded into it. Linux forgets then what was to be
/// written, and the next sync succeeds: only writing it all again can help.
fn folding_in_fails(plan: Plan) {
    let (place, disk) = BadDisk::under(Place::new("rules: []"), true);
    let tocsin = place.serve();
    disk.fail(plan);
    let mut taken = Taken::default();
    for round in 0..5 {
        taken.0.append(&mut post_large(&tocsin, &format!("during-{round}"), LARGE));
        if disk.failed() == plan.fail {
            break;
        }
    }
    assert_eq!(disk.failed(), plan.fail, "{plan:?}: only {} calls", disk.seen());
    disk.mend();
    taken.0.append(&mut post_large(&tocsin, "after", LARGE));
    assert!(taken.0.len() >= 2 * LARGE, "{plan:?}: only {}", taken.0.len());
    tocsin.is_well();
    taken.is_in(&tocsin, &format!("{plan:?}"));
    tocsin.kill();
    place.cut_power();
    let tocsin = place.serve();
    taken.is_in(&tocsin, &format!("{plan:?}, after a power cut"));
    is_sound(&place, &format!("{plan:?}"));
}

#[test]
fn a_failed_sync_of_the_database_loses_nothing_even_by_a_power_cut() {
    for (skip, fail) in [(0, 1), (1, 1)] {
        let fault = Fault::Eio;
        folding_in_fails(Plan { skip, fail, fault, files: on::DATABASE, calls: at::SYNCS });
    }
}

#[test]
fn a_failed_write_to_the_database_loses_nothing_even_by_a_power_cut() {
    for (skip, fault) in [(0, Fault::Eio), (500, Fault::Short)] {
        folding_in_fails(Plan { skip, fail: 1, fault, files: on::DATABASE, calls: at::WRITES });
    }
}

/// As the start of [`folding_in_fails`], for the syncs of commits.
#[test]
fn a_failed_sync_of_a_commit_loses_nothing_even_by_a_power_cut() {
    let (place, disk) = BadDisk::under(Place::new("rules: []"), true);
    let mut tocsin = place.serve();
    let mut taken = Taken::default();
    for round in 0..12 {
        let plan = Plan { fail: 1, files: on::LOG, calls: at::SYNCS, ..Plan::all(Fault::Eio) };
        disk.fail(plan);
        // Large, so that what comes next does not write over all of it.
        assert!(!taken.post(&tocsin, &large(&format!("{round}-lost"))));
        disk.mend();
        let small = event(&format!("{round}-small"), "STARTING", "RUNNING");
        // What was not taken may be found by a start, and what is built on that has to be as safe.
        if round % 3 == 1 {
            tocsin.kill();
            tocsin = place.serve();
        }
        assert!(taken.post(&tocsin, &small));
        taken.is_in(&tocsin, &format!("round {round}"));
        if round % 3 != 0 {
            tocsin.kill();
            place.cut_power();
            tocsin = place.serve();
            taken.is_in(&tocsin, &format!("round {round}, after a power cut"));
        }
    }
    is_sound(&place, "at the end");
}

/// What is to be said of its end cannot be put together, since what is to be said of its beginning is
/// damaged: that is no reason to keep the event out of the timeline, or the message from being made.
#[test]
fn an_event_whose_message_cannot_be_put_together_takes_its_place_all_the_same() {
    let sink = Sink::new();
    let place = Place::new(&format!(
        "receivers: {{ hook: {{ webhook: {{ url: {:?} }} }} }}\n\
         defaults: {{ notify: [hook], group_wait: 0s, group_interval: 1s }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]\n",
        sink.url(),
    ));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    tocsin.wait_for_delivery("hook", "sent");
    let told = now();
    tocsin.stop();
    let connection = Connection::open(place.database()).unwrap();
    connection.execute("update events set payload = x'ff'", []).unwrap();
    drop(connection);
    let tocsin = place.serve();
    // From then on its end is told at once.
    wait_until(|| (now() > told + 1.0).then_some(()), String::new);
    tocsin.hear(&event("web-1", "CRASHED", "RUNNING"));
    assert_eq!(tocsin.get("/api/containers")[0]["state"], "RUNNING");
    tocsin.wait_for_delivery("hook", "pending");
}
