//! A disk that is really full, or that really cannot be written, at night, while events come in.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{
    Answer, Place, Sink, SmallDisk, client, crash, event, noise, post_to, wait_until,
};

fn rules(slack: &Sink) -> String {
    format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: \"{}\" }}, rate: 1000/s }} }}
defaults: {{ notify: [ops], group_by: [id], group_wait: 0s }}
rules: [ {{ name: crashed, when: {{ state: CRASHED }} }} ]",
        slack.url()
    )
}

/// Whether what Slack took tells of this container.
fn is_told(slack: &Sink, id: &str) -> bool {
    slack.taken().iter().any(|text| text.to_string().contains(&format!("{id}.")))
}

#[test]
fn a_disk_that_fills_up_while_events_come_in_loses_nothing_and_goes_on_when_there_is_room() {
    let slack = Sink::new();
    let place = Place::new(&rules(&slack)).on(SmallDisk::new(24));
    place.disk().take_up(14);
    let tocsin = place.serve();
    let (taken, refused) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for name in 0..3 {
            let (base, taken, refused, stop) = (tocsin.base(), &taken, &refused, &stop);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("c{name}-{number}.");
                    let mut event = if number % 5 == 0 {
                        crash(&id)
                    } else {
                        event(&id, "STARTING", "RUNNING")
                    };
                    event["padding"] = json!(noise(20_000));
                    match post_to(base, event.to_string()).unwrap() {
                        (200, _) => drop(taken.lock().unwrap().insert(id)),
                        (503, answer) => refused.lock().unwrap().push((event, answer)),
                        (status, answer) => panic!("{status}: {answer}"),
                    }
                }
            });
        }
        // It runs full by what comes in, and not only by others.
        let is_full = || refused.lock().unwrap().len() > 20;
        wait_until(|| is_full().then_some(()), || "it does not run full".into());
        stop.store(true, Ordering::SeqCst);
    });
    let (taken, refused) = (taken.into_inner().unwrap(), refused.into_inner().unwrap());
    assert!(taken.len() > 20, "only {} were taken", taken.len());
    let (event, answer) = &refused[0];
    let sentence = answer["error"].as_str().unwrap();
    assert!(sentence.contains("database or disk is full; free some space"), "{sentence}");
    let again = client().post(format!("{}/api/post", tocsin.base())).body(event.to_string());
    assert_eq!(again.send().unwrap().headers()["retry-after"], "10");
    tocsin
        .wait_for("/readyz", |it| it["error"].as_str()?.contains("free some space").then_some(()));

    place.disk().free();
    tocsin.hear(event);
    tocsin.wait_for("/readyz", |it| (it["status"] == "ready").then_some(()));
    let ids = |events: Vec<Value>| -> BTreeSet<String> {
        events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    };
    let lost = |there: BTreeSet<String>| taken.difference(&there).cloned().collect::<Vec<_>>();
    let listed = lost(ids(tocsin.all("/api/list?limit=1000")));
    assert!(listed.is_empty(), "answered 2xx and lost: {listed:?}");
    let owed: Vec<&String> =
        taken.iter().filter(|id| id.ends_with("0.") || id.ends_with("5.")).collect();
    let untold = || owed.iter().filter(|id| !is_told(&slack, id.trim_end_matches('.'))).count();
    wait_until(|| (untold() == 0).then_some(()), || format!("{} never told", untold()));
    tocsin.kill();
    let listed = lost(ids(place.serve().all("/api/list?limit=1000")));
    assert!(listed.is_empty(), "lost by the kill: {listed:?}");
}

#[test]
fn what_was_sent_while_the_disk_was_full_is_settled_when_there_is_room_and_not_sent_again() {
    let slack = Sink::new().then(&[Answer::OkAfter(1000)]);
    let place = Place::new(&rules(&slack)).on(SmallDisk::new(12));
    let mut tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    slack.wait_for_requests(1);
    place.disk().fill();
    tocsin.wait_for_line("the database cannot be used");
    tocsin.wait_for("/readyz", |it| it["error"].as_str().map(drop));
    assert_eq!(tocsin.get("/api/deliveries")[0]["status"], "pending");
    place.disk().free();
    tocsin.wait_for_delivery("ops", "sent");
    assert_eq!(slack.requests().len(), 1, "nothing is told twice");
}

#[test]
fn a_start_on_a_full_disk_says_so_and_loses_nothing() {
    let place = Place::new("rules: []").on(SmallDisk::new(12));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    tocsin.kill();
    place.disk().fill();
    let storage = format!("sqlite:{}", place.database().display());
    let arguments = ["serve", "rules.yaml", "--listen", "127.0.0.1:0", "--storage", &storage];
    let (code, _, stderr) = place.run(&arguments);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("its disk has less than 1 MiB free; free some space"), "{stderr}");
    place.disk().free();
    let listed = place.serve().get("/api/list");
    assert_eq!(listed[0]["id"], "web-1");
}

#[test]
fn files_that_nobody_may_write_stop_the_taking_until_they_may_be_written_again() {
    let place = Place::new("rules: []").on(SmallDisk::new(12));
    if !place.disk().is_ext4() {
        eprintln!(
            "SKIPPED: no ext4 can be mounted here, and a tmpfs protects no files; run as root"
        );
        return;
    }
    let tocsin = place.serve();
    tocsin.hear(&crash("before"));
    let files = ["tocsin.db", "tocsin.db-wal"].map(|name| place.disk().outside(name));
    files.iter().for_each(|file| place.disk().protect(file, true));
    for _ in 0..2 {
        let (status, answer) = tocsin.post(crash("meanwhile").to_string());
        assert_eq!(status, 503, "{answer}");
        let sentence = answer["error"].as_str().unwrap();
        assert!(
            sentence.contains("disk I/O error on writing: operation not permitted"),
            "{sentence}"
        );
    }
    tocsin.wait_for("/readyz", |it| it["error"].as_str()?.contains("not permitted").then_some(()));
    files.iter().for_each(|file| place.disk().protect(file, false));
    tocsin.hear(&crash("meanwhile"));
    assert_eq!(tocsin.get("/api/list").as_array().unwrap().len(), 2);
}

#[test]
fn a_database_that_is_moved_away_takes_nothing_until_it_is_back() {
    let place = Place::new("rules: []");
    let mut tocsin = place.serve();
    tocsin.hear(&crash("before"));
    let away = place.path().join("away.db");
    std::fs::rename(place.database(), &away).unwrap();
    tocsin.wait_for("/readyz", |it| it["error"].as_str()?.contains("was moved").then_some(()));
    let (status, answer) = tocsin.post(crash("meanwhile").to_string());
    assert_eq!(status, 503, "{answer}");
    // Not even one that is whole: it is not the one that is open.
    std::fs::copy(&away, place.database()).unwrap();
    assert_eq!(tocsin.post(crash("meanwhile").to_string()).0, 503);
    std::fs::rename(&away, place.database()).unwrap();
    tocsin.hear(&crash("meanwhile"));
    tocsin.signal("TERM");
    assert_eq!(tocsin.wait().code(), Some(0));
    assert_eq!(place.serve().get("/api/list").as_array().unwrap().len(), 2);
}
