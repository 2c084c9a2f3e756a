//! What is counted: the work of an event from its bytes to its row, and of a delivery's attempt.
//!
//! Runs within valgrind, and says on standard output what was done how often. All that it does is
//! the same in each run: times are made up, and all that is random is the seeds of hash maps.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tocsin::clock::Timestamp;
use tocsin::config;
use tocsin::engine::{
    self, Claim, Claimed, Decision, DeliveryId, Hand, Heard, Keys, Lease, Settlement, Shows,
    Snapshot,
};
use tocsin::event::{self, Event};
use tocsin::rules::Rules;
use tocsin::simulation::Memory;
use tocsin::store::sqlite::SqliteStore;
use tocsin::store::{Store, transact, versions};

use crate::fleet::Fleet;
use crate::teams;

/// Events of real containers, as they were recorded.
const RECORDED: &str = include_str!("../../tests/events/real-containers.jsonl");

/// How often each of them is decoded.
const TIMES: usize = 10;

/// How many fleets there are, which makes 64 containers, and how many steps they live before others
/// take their place. Each step of all of them is a unit of work.
const FLEETS: usize = 4;
const STEPS: usize = 20;

/// How many containers are in a fleet.
const CONTAINERS: usize = 16;

/// When it all happens. It is no special time.
const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Does all of it. The database is made in `folder`.
///
/// # Errors
/// If anything does not do what it is there for: then its figure would say nothing.
pub(crate) fn run(folder: &Path) -> anyhow::Result<()> {
    decode()?;
    let hundred = teams::rules(100);
    matching("100", &hundred, 100)?;
    let ten_thousand = count("read 10,000 rules", "a rule", 10_000, || teams::rules(10_000));
    matching("10,000", &ten_thousand, 10_000)?;
    decide(&hundred)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(store(folder))
}

/// Counts what `work` takes, of which there are so many.
fn count<T>(name: &str, each: &str, times: usize, work: impl FnOnce() -> T) -> T {
    mark();
    let value = work();
    mark();
    println!("{times}\t{name}\t{each}");
    value
}

/// The same, where it has to be waited for: what other threads do meanwhile counts as well.
async fn count_async<T>(name: &str, each: &str, times: usize, work: impl Future<Output = T>) -> T {
    mark();
    let value = work.await;
    mark();
    println!("{times}\t{name}\t{each}");
    value
}

/// Whenever this is entered, callgrind writes down what it has counted, and begins anew.
#[inline(never)]
fn mark() {
    // With nothing in it, it could be taken for any other function that has nothing in it.
    static MARKS: AtomicUsize = AtomicUsize::new(0);
    MARKS.fetch_add(1, Ordering::Relaxed);
}

fn decode() -> anyhow::Result<()> {
    let decode = |payload: &str| event::decode(payload.as_bytes());
    let payloads: Vec<&str> = RECORDED.lines().collect();
    for payload in &payloads {
        decode(payload).with_context(|| format!("this is an event, and is refused: {payload}"))?;
    }
    count("decode", "an event", payloads.len() * TIMES, || {
        for _ in 0..TIMES {
            for payload in &payloads {
                let _: Result<Event, _> = black_box(decode(black_box(payload)));
            }
        }
    });
    Ok(())
}

fn matching(many: &str, rules: &Rules, size: usize) -> anyhow::Result<()> {
    let payloads = teams::payloads(size);
    let quiet = teams::events(&teams::quiet(&payloads));
    let loud = teams::events(&payloads);
    for (name, events, matches) in [("match one of", &loud, 1), ("match none of", &quiet, 0)] {
        // The first time, regexes note what they find.
        let ask_all = || events.iter().map(|event| rules.matching(black_box(event)).count()).sum();
        let found: usize = ask_all();
        ensure!(found == matches * events.len(), "{found} of {} events match", events.len());
        count(&format!("{name} {many} rules"), "an event", events.len(), ask_all);
    }
    Ok(())
}

fn decide(rules: &Rules) -> anyhow::Result<()> {
    let payloads = teams::payloads(100);
    let quiet = teams::events(&teams::quiet(&payloads));
    let loud = teams::events(&payloads);
    for (name, events, alerts) in
        [("decide, an alert begins", loud, 1), ("decide, nothing matches", quiet, 0)]
    {
        let heard: Vec<[Heard; 1]> =
            events.into_iter().map(|event| [Heard::new(event, START)]).collect();
        let memory = Memory::default();
        let mut snapshots = Vec::new();
        for heard in &heard {
            let (snapshot, changes, _) = memory.decided(engine::keys(rules, heard), |snapshot| {
                engine::decide(rules, snapshot, heard, START)
            });
            let begun = changes.intervals.len();
            ensure!(begun == alerts, "{begun} alerts begin, and not {alerts}: {heard:?}");
            snapshots.push(snapshot);
        }
        count(name, "an event", heard.len(), || {
            for (heard, snapshot) in heard.iter().zip(&snapshots) {
                black_box(engine::keys(rules, black_box(heard)));
                black_box(engine::decide(rules, snapshot, black_box(heard), START));
            }
        });
    }
    Ok(())
}

/// What the program does with its store, in the same order and with the same decisions.
async fn store(folder: &Path) -> anyhow::Result<()> {
    let store = SqliteStore::open(&folder.join("tocsin.db"))?;
    let rules = rules(&store).await?;
    let mut fleets: Vec<Fleet> =
        (0..FLEETS).map(|number| Fleet::new(0, number, CONTAINERS)).collect();
    let (first_life, second_life) = (life(&mut fleets, 0)?, life(&mut fleets, STEPS)?);
    let events = STEPS * FLEETS * CONTAINERS;
    // Once without being counted: statements are prepared, and the measured events find something.
    hear(&store, &rules, first_life).await?;
    let before = deliveries(&store, &rules, now(STEPS)).await?.len();

    let work = hear(&store, &rules, second_life);
    count_async("store, 64 events a commit", "an event", events, work).await?;

    let at = now(2 * STEPS);
    let ids = deliveries(&store, &rules, at).await?;
    let crashes = FLEETS * CONTAINERS;
    ensure!(
        (before, ids.len()) == (crashes, 2 * crashes),
        "{before} and {} deliveries instead of {crashes} each life",
        ids.len()
    );
    let (warm_up, ids) = ids.split_at(crashes);
    let claimed = claim(&store, &rules, warm_up, at).await?;
    settle(&store, &rules, &claimed, at).await?;

    let work = claim(&store, &rules, ids, at);
    let claimed = count_async("store, claim", "a delivery", crashes, work).await?;
    let work = settle(&store, &rules, &claimed, at);
    count_async("store, settle", "a delivery", crashes, work).await?;

    let left = deliveries(&store, &rules, at).await?.len();
    ensure!(left == 0, "{left} deliveries are left that were settled");
    store.close();
    Ok(())
}

/// The guard's rules, in force from the start.
async fn rules(store: &SqliteStore) -> anyhow::Result<Arc<Rules>> {
    let file = include_str!("rules.yaml");
    let config = config::parse("benches/guard/rules.yaml", file, &|_| None, &|_| Vec::new())
        .map_err(|problems| anyhow!("{problems}"))?;
    let since = store.adopt(versions(&config.rules), START).await?.since;
    let rules = config.rules.with_receivers(config.receivers.keys().cloned());
    Ok(Arc::new(rules.starting_at(&since).came_up(START)))
}

fn now(step: usize) -> Timestamp {
    START.plus(Duration::from_secs(step as u64))
}

/// The whole lives of the containers of these fleets, a unit of work for each step.
fn life(fleets: &mut [Fleet], first: usize) -> anyhow::Result<Vec<(Timestamp, Arc<[Heard]>)>> {
    let mut units = Vec::new();
    for step in first..first + STEPS {
        let now = now(step);
        let mut unit = Vec::new();
        for fleet in &mut *fleets {
            for _ in 0..CONTAINERS {
                let mut payload = Vec::new();
                fleet.next(now.minus(Duration::from_millis(50))).write_event(&mut payload);
                unit.push(Heard::new(event::decode(&payload)?, now));
            }
        }
        units.push((now, unit.into()));
    }
    Ok(units)
}

/// Takes events in, as `ingest` does.
async fn hear(
    store: &SqliteStore,
    rules: &Arc<Rules>,
    units: Vec<(Timestamp, Arc<[Heard]>)>,
) -> anyhow::Result<()> {
    for (now, unit) in units {
        let rules = Arc::clone(rules);
        let mut asked = false;
        let decide = move |snapshot: &Snapshot| {
            if !std::mem::replace(&mut asked, true) {
                return Decision::Need(engine::keys(&rules, &unit));
            }
            engine::decide(&rules, snapshot, &unit, now)
        };
        transact(store, Keys::default(), decide).await?;
    }
    Ok(())
}

/// What can be claimed once all that is due was done, as `schedule` does.
async fn deliveries(
    store: &SqliteStore,
    rules: &Arc<Rules>,
    now: Timestamp,
) -> anyhow::Result<Vec<DeliveryId>> {
    let due = store.due(now, usize::from(u16::MAX)).await?;
    let rules = Arc::clone(rules);
    let decide = move |snapshot: &Snapshot| engine::decide(&rules, snapshot, &[], now);
    transact(store, due.keys, decide).await?;
    Ok(store.claimable("ops", now, usize::from(u16::MAX)).await?.deliveries)
}

/// Claims each of them, as `deliver` does.
async fn claim(
    store: &SqliteStore,
    rules: &Arc<Rules>,
    ids: &[DeliveryId],
    now: Timestamp,
) -> anyhow::Result<Vec<Claimed>> {
    let mut all = Vec::new();
    for id in ids {
        let rules = Arc::clone(rules);
        let lease = Lease { token: "00c0ffee".into(), until: now.plus(Duration::from_secs(60)) };
        let hand = Hand { receiver: "ops".into(), lease, shows: Shows::default() };
        let next = [Claim { hand, deliveries: vec![id.clone()] }];
        let keys = Keys { deliveries: [id.clone()].into(), ..Keys::default() };
        let claim = move |snapshot: &Snapshot| engine::claim(&rules, snapshot, &next, now);
        let claimed = transact(store, keys, claim).await?.pop();
        all.push(claimed.with_context(|| format!("{} cannot be claimed", id.0))?);
    }
    Ok(all)
}

/// Settles each of them as sent, as `deliver` does.
async fn settle(
    store: &SqliteStore,
    rules: &Arc<Rules>,
    claimed: &[Claimed],
    now: Timestamp,
) -> anyhow::Result<()> {
    for claimed in claimed {
        let rules = Arc::clone(rules);
        let id = claimed.delivery.id.clone();
        let keys = Keys { deliveries: [id.clone()].into(), ..Keys::default() };
        let settlements = [Settlement {
            deliveries: vec![id],
            token: "00c0ffee".into(),
            outcome: engine::Outcome::Sent { complaint: None, handle: None },
            reached: Vec::new(),
            backoff: Duration::ZERO,
            pause: None,
            give_up_after: Duration::from_secs(24 * 3600),
        }];
        let settle = move |snapshot: &Snapshot| engine::settle(&rules, snapshot, &settlements, now);
        transact(store, keys, settle).await?;
    }
    Ok(())
}
