//! All that can be done to it from outside at once, and killed over and over: good clients see
//! nothing of it, and nothing that was taken is lost.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Place, Tocsin, client, now};
use crate::hostile_clients::{Crew, SLOW, Toll};

/// How long it runs each time before it is killed: the last time for longer than a head may take, so
/// that slow clients are thrown out.
const RUNS: [Duration; 5] = [
    Duration::from_secs(3),
    Duration::from_secs(4),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(13),
];

/// How many good clients there are, and how often each posts.
const CLIENTS: u128 = 8;
const EVERY: Duration = Duration::from_millis(10);

/// How much memory it may ever have used, in KiB.
const MOST_MEMORY: u64 = 100_000_000 / 1024;

const RULES: &str = "
server: { receive_token: a-token-that-nobody-guesses }
rules: [ { name: crashed, when: { state: CRASHED } } ]";
const TOKEN: &str = "a-token-that-nobody-guesses";

#[test]
fn hostile_clients_stop_no_others_and_cost_no_event() {
    let place = Place::new(RULES);
    let answered = Mutex::new(BTreeSet::new());
    let mut toll = Toll::new();
    for (round, run) in RUNS.iter().enumerate() {
        let tocsin = place.serve();
        let address = tocsin.base().trim_start_matches("http://").parse().unwrap();
        let url = format!("{}/api/post", tocsin.base());
        let crew = Crew::against(address, TOKEN);
        let killed = AtomicBool::new(false);
        let memory = thread::scope(|scope| {
            for name in 0..CLIENTS {
                let (url, answered, killed) = (&url, &answered, &killed);
                let name = format!("r{round}-c{name}");
                scope.spawn(move || post_steadily(url, &name, answered, killed));
            }
            thread::sleep(*run);
            for (kind, statuses) in crew.toll() {
                for (status, count) in statuses {
                    *toll.entry(kind).or_default().entry(status).or_default() += count;
                }
            }
            let memory = most_memory(&tocsin);
            killed.store(true, Ordering::SeqCst);
            tocsin.signal("KILL");
            memory
        });
        drop(crew);
        assert!(memory < MOST_MEMORY, "it had {memory} KiB of memory");
        let log = tocsin.kill_and_read();
        let panicked = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panicked, None, "{log}");
        assert!(!log.contains(TOKEN) && !log.contains("guess-"), "the log says what was given");
    }

    // Each of them did what it is there for.
    let count = |kind: &str, status: u16| toll[kind].get(&status).copied().unwrap_or(0);
    assert!(count("slow head", 408) + count("slow head", 0) >= SLOW, "{toll:?}");
    let rounds = RUNS.len() as u32;
    for (kind, status) in [
        ("oversize", 413),
        ("endless", 413),
        ("malformed", 400),
        ("no HTTP", 400),
        ("wrong token", 401),
        ("wrong token", 429),
        ("reset", 0),
    ] {
        assert!(count(kind, status) >= rounds, "{kind} was not told {status}: {toll:?}");
    }
    assert!(toll.values().all(|statuses| !statuses.contains_key(&200)), "{toll:?}");
    assert!(toll.values().all(|statuses| !statuses.contains_key(&500)), "{toll:?}");

    let answered = answered.into_inner().unwrap();
    let posted = RUNS.iter().sum::<Duration>().as_millis() / EVERY.as_millis() * CLIENTS;
    assert!(answered.len() as u128 > posted / 4, "only {} events were taken", answered.len());
    let tocsin = place.serve();
    let listed = tocsin.all("/api/list?limit=1000");
    let listed: BTreeSet<&str> = listed.iter().map(|event| event["id"].as_str().unwrap()).collect();
    let lost: Vec<&String> = answered.iter().filter(|id| !listed.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "answered 2xx and lost: {lost:?}");
    let stolen = listed.iter().filter(|id| id.starts_with("stolen")).count();
    assert_eq!(stolen, 0, "a wrong token let events in");
}

/// Posts an event every so often, whatever others do, until tocsin is killed.
fn post_steadily(url: &str, name: &str, answered: &Mutex<BTreeSet<String>>, killed: &AtomicBool) {
    let start = Instant::now();
    for number in 0.. {
        thread::sleep((start + EVERY * number).saturating_duration_since(Instant::now()));
        let id = format!("{name}-n{number}");
        let event = json!({"id": id, "state": "RUNNING", "timestamp": now()});
        match client().post(url).bearer_auth(TOKEN).body(event.to_string()).send() {
            Ok(answer) if answer.status() == 200 => answered.lock().unwrap().insert(id),
            Ok(answer) => panic!("a good client was told {}: {:?}", answer.status(), answer.text()),
            Err(error) => {
                assert!(killed.load(Ordering::SeqCst), "a good client was not answered: {error:?}");
                break;
            }
        };
    }
}

/// The most memory that it ever had resident, in KiB.
fn most_memory(tocsin: &Tocsin) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", tocsin.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
