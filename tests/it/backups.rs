//! `tocsin backup` and `tocsin restore`: a sound copy of what is in use, and back again, with nothing
//! lost that was there before.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusqlite::Connection;

use crate::harness::{Answer, Place, Sink, Tocsin, crash, event, post_to};

const RULES: &str = "rules: [{ name: crashed, when: { state: CRASHED } }]\n";

/// Runs `backup` or `restore` for the place's database: exit code, standard output, standard error.
fn run(place: &Place, command: &str, file: &Path, more: &[&str]) -> (i32, String, String) {
    let storage = format!("sqlite:{}", place.database().display());
    let mut arguments = vec![command, file.to_str().unwrap(), "--storage", &storage];
    arguments.extend(more);
    place.run(&arguments)
}

fn does(place: &Place, command: &str, file: &Path, more: &[&str]) -> String {
    let (code, stdout, stderr) = run(place, command, file, more);
    assert_eq!(code, 0, "{command}: {stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    stdout
}

/// Sees it refused in one sentence with these words.
fn refuses(place: &Place, command: &str, file: &Path, more: &[&str], words: &str) {
    let (code, stdout, stderr) = run(place, command, file, more);
    assert_eq!((code, stdout.as_str()), (1, ""), "{command}: {stderr}");
    assert!(stderr.contains(words), "{words:?} is not in {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: ") && !stderr.contains("panicked"), "{stderr}");
}

fn files(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn containers(tocsin: &Tocsin) -> BTreeSet<String> {
    let listed = tocsin.all("/api/list?limit=1000");
    listed.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn is_sound(path: &Path) {
    let sound: String = Connection::open(path)
        .unwrap()
        .query_row("pragma integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok", "{}", path.display());
}

#[test]
fn a_backup_of_a_busy_server_ends_and_has_all_that_was_answered_before_it() {
    let place = Place::new("rules: []");
    let copies = tempfile::tempdir().unwrap();
    let tocsin = place.serve();
    let stop = AtomicBool::new(false);
    let backups: Vec<(BTreeSet<String>, PathBuf)> = thread::scope(|scope| {
        for client in 0..2 {
            let (base, stop) = (tocsin.base(), &stop);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let event = event(&format!("c{client}-{number}"), "STARTING", "RUNNING");
                    assert_eq!(post_to(base, event.to_string()).unwrap().0, 200);
                }
            });
        }
        let backups = (0..5).map(|number| {
            let before = containers(&tocsin);
            let file = copies.path().join(format!("{number}.db"));
            does(&place, "backup", &file, &[]);
            (before, file)
        });
        let backups = backups.collect();
        stop.store(true, Ordering::SeqCst);
        backups
    });
    tocsin.hear(&crash("afterwards"));
    let names: Vec<String> = (0..5).map(|number| format!("{number}.db")).collect();
    assert_eq!(files(copies.path()), names.into_iter().collect(), "one file each, and no more");
    for (before, file) in backups {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        is_sound(&file);
        let restored = Place::new("rules: []");
        does(&restored, "restore", &file, &[]);
        let there = containers(&restored.serve());
        let lost: Vec<_> = before.difference(&there).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

#[test]
fn a_backup_replaces_no_file_unless_it_is_told_to() {
    let place = Place::new(RULES);
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let file = place.path().join("copy.db");
    let said = does(&place, "backup", &file, &[]);
    assert!(said.contains("copy.db: 1 event, the last received 2"), "{said}");
    let before = fs::read(&file).unwrap();
    tocsin.hear(&crash("web-2"));
    refuses(&place, "backup", &file, &[], "is there already, and left as it is");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(does(&place, "backup", &file, &["--force"]).contains("2 events"));
    // Not even then what it is a copy of, nor another that is in use.
    refuses(&place, "backup", &place.database(), &["--force"], "is in use as a database");
    for end in ["-wal", "-shm", ".lock", ".restoring"] {
        let file = place.path().join(format!("tocsin.db{end}"));
        refuses(&place, "backup", &file, &["--force"], "belongs to the database beside it");
    }
    refuses(&place, "backup", &place.path().join("no/copy.db"), &[], "make the folder first");
    refuses(&place, "backup", place.path(), &[], "is a directory; name a file in it");
    tocsin.hear(&crash("web-3"));
}

#[test]
fn a_backup_leaves_a_server_that_does_not_run_as_it_is() {
    for kill in [false, true] {
        let place = Place::new(RULES);
        let mut tocsin = place.serve();
        tocsin.hear(&crash("web-1"));
        if kill {
            tocsin.kill();
        } else {
            tocsin.signal("TERM");
            tocsin.wait();
        }
        let copies = tempfile::tempdir().unwrap();
        let database = || {
            let log = place.path().join("tocsin.db-wal");
            [fs::read(place.database()).unwrap(), fs::read(log).unwrap_or_default()]
        };
        let before = (database(), files(place.path()));
        assert!(does(&place, "backup", &copies.path().join("a.db"), &[]).contains("1 event,"));
        assert!(database() == before.0, "it was written to; killed: {kill}");
        // Who may only read cannot make a file beside it.
        assert_eq!(files(place.path()), before.1, "killed: {kill}");
        assert_eq!(containers(&place.serve()), ["web-1".to_owned()].into());
    }
}

#[test]
fn what_is_no_sound_database_is_not_copied_and_leaves_no_file() {
    let place = Place::new(RULES);
    let copies = tempfile::tempdir().unwrap();
    let file = copies.path().join("copy.db");
    refuses(&place, "backup", &file, &[], "is not there; name another file");
    assert!(!place.database().exists(), "a backup makes no database");
    fs::write(place.database(), "buy milk\n".repeat(1000)).unwrap();
    refuses(&place, "backup", &file, &[], "is no SQLite database");
    fs::write(place.database(), "").unwrap();
    refuses(&place, "backup", &file, &[], "is empty");
    fs::remove_file(place.database()).unwrap();

    let mut tocsin = place.serve();
    for number in 0..200 {
        tocsin.hear(&event(&format!("web-{number}"), "STARTING", "RUNNING"));
    }
    tocsin.signal("TERM");
    tocsin.wait();
    let mut bytes = fs::read(place.database()).unwrap();
    // One row in the middle of the file, where no start looks.
    let at = bytes.windows(7).position(|part| part == b"web-100").unwrap() / 4096 * 4096;
    bytes[at..at + 200].fill(0x5a);
    fs::write(place.database(), bytes).unwrap();
    refuses(&place, "backup", &file, &[], "is damaged (");
    assert!(files(copies.path()).is_empty(), "{:?}", files(copies.path()));
}

#[test]
fn a_backup_needs_no_secrets_and_finds_the_database_by_the_rules_file() {
    let place = Place::new(
        "storage: { url: \"sqlite:${NAME:-kept}.db\" }
receivers: { ops: { slack: { webhook_url: \"${NOT_SET_AT_NIGHT}\" } } }
rules: [ { name: crashed, wen: { state: CRASHED } } ]",
    );
    let elsewhere = Place::new(RULES);
    elsewhere.serve().hear(&crash("web-1"));
    fs::copy(elsewhere.database(), place.path().join("kept.db")).unwrap();
    fs::copy(elsewhere.path().join("tocsin.db-wal"), place.path().join("kept.db-wal")).unwrap();
    let (code, stdout, stderr) = place.run(&["backup", "copy.db"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("copy.db: 1 event,"), "{stdout}");

    place.write_rules("storage: { url: \"sqlite:${NOT_SET}.db\" }");
    let (code, _, stderr) = place.run(&["backup", "other.db"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("rules.yaml:1:") && stderr.contains("NOT_SET"), "{stderr}");
    let (code, _, stderr) = place.run(&["backup", "other.db", "--rules", "no.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no.yaml: there is no such file"), "{stderr}");
}

#[test]
fn a_database_that_is_not_in_the_current_folder_is_said_to_be_looked_for_there() {
    let place = Place::new(RULES);
    let (code, _, stderr) = place.run(&["backup", "copy.db"]);
    assert_eq!(code, 1);
    let words = "/tocsin.db is not there (tocsin.db is relative to the current folder)";
    assert!(stderr.contains(words), "{stderr}");
}

#[test]
fn a_restore_waits_for_the_server_to_stop_and_moves_what_is_there_aside() {
    let place = Place::new(RULES);
    let copies = tempfile::tempdir().unwrap();
    let file = copies.path().join("copy.db");
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    does(&place, "backup", &file, &[]);
    tocsin.hear(&crash("web-2"));
    refuses(&place, "restore", &file, &["--force"], "is in use by another tocsin");
    // Killed, so that the newest commits are in the log alone.
    tocsin.kill();
    refuses(&place, "restore", &file, &[], "say --force to have it moved aside");
    let (code, _, stderr) = run(&place, "restore", &file, &["--force"]);
    assert_eq!(code, 0, "{stderr}");
    let aside = stderr.trim().strip_prefix("what was there before is ").unwrap();
    assert!(!place.path().join("tocsin.db-wal").exists(), "no log of another database is left");
    assert_eq!(containers(&place.serve()), ["web-1".to_owned()].into());
    // What was moved aside is whole, and can be put back.
    for end in ["", "-wal"] {
        let name = format!("tocsin.db{end}");
        fs::rename(place.path().join(&name), copies.path().join(&name)).unwrap();
    }
    does(&place, "restore", Path::new(aside), &[]);
    let both = BTreeSet::from(["web-1".to_owned(), "web-2".to_owned()]);
    assert_eq!(containers(&place.serve()), both);
}

#[test]
fn two_restores_within_a_second_keep_what_each_of_them_found() {
    let place = Place::new(RULES);
    let file = place.path().join("copy %41?#é.db");
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    does(&place, "backup", &file, &[]);
    tocsin.kill();
    let asides: BTreeSet<PathBuf> = (0..4)
        .map(|_| {
            let (code, _, stderr) = run(&place, "restore", &file, &["--force"]);
            assert_eq!(code, 0, "{stderr}");
            stderr.trim().strip_prefix("what was there before is ").unwrap().into()
        })
        .collect();
    assert_eq!(asides.len(), 4);
    asides.iter().for_each(|aside| is_sound(aside));
}

#[test]
fn what_cannot_be_restored_leaves_what_is_there() {
    let place = Place::new(RULES);
    let copies = tempfile::tempdir().unwrap();
    let mut tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let made = |name: &str, change: &dyn Fn(&Path)| {
        let file = copies.path().join(name);
        does(&place, "backup", &file, &[]);
        change(&file);
        file
    };
    let sql = |sql: &'static str| {
        move |file: &Path| Connection::open(file).unwrap().execute_batch(sql).unwrap()
    };
    let newer = made("newer.db", &sql("pragma user_version = 99"));
    let foreign = made("foreign.db", &sql("pragma application_id = 7"));
    let damaged = made("damaged.db", &|file| {
        let mut bytes = fs::read(file).unwrap();
        let at = bytes.len() / 2 / 4096 * 4096;
        bytes[at..at + 4096].fill(0x5a);
        fs::write(file, bytes).unwrap();
    });
    let cut = made("cut.db", &|file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    });
    let text = made("text.db", &|file| fs::write(file, "buy milk\n".repeat(1000)).unwrap());
    let empty = made("empty.db", &|file| fs::write(file, "").unwrap());
    tocsin.signal("TERM");
    tocsin.wait();
    let before = (fs::read(place.database()).unwrap(), files(place.path()));
    for (file, words) in [
        (newer, "has format 99"),
        (foreign, "is a database of another program"),
        (damaged, "is damaged ("),
        (cut, "is damaged ("),
        (text, "is no SQLite database"),
        (empty, "is empty"),
        (copies.path().join("none.db"), "is not there"),
        (place.database(), "is the one to be restored"),
    ] {
        // The backup is looked at before it is said that there is a database already.
        if words != "is damaged (" {
            refuses(&place, "restore", &file, &[], words);
        }
        refuses(&place, "restore", &file, &["--force"], words);
        let after = (fs::read(place.database()).unwrap(), files(place.path()));
        assert!(after == before, "{words}: {:?}", after.1);
    }
}

#[test]
fn what_was_being_sent_when_the_backup_was_made_is_sent_after_the_restore() {
    let slack = Sink::new().then(&[Answer::Hang]);
    let place = Place::new(&format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: \"{}\" }}, timeout: 60s }} }}
defaults: {{ notify: [ops], group_wait: 0s }}
rules: [ {{ name: crashed, when: {{ state: CRASHED }} }} ]",
        slack.url()
    ));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    slack.wait_for_requests(1);
    let file = place.path().join("copy.db");
    does(&place, "backup", &file, &[]);
    tocsin.kill();
    does(&place, "restore", &file, &["--force"]);
    let tocsin = place.serve();
    slack.wait_for_taken(1);
    tocsin.wait_for_delivery("ops", "sent");
}
