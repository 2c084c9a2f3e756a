//! What an event costs that matches one rule of many, beside what its JSON costs to decode: see
//! `benches/README.md`.

mod limits;
mod teams;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group};
use tocsin::clock::Timestamp;
use tocsin::engine::{self, Heard, Snapshot};
use tocsin::event::{self, Event};
use tocsin::rules::{Rule, Rules};
use tocsin::simulation::Memory;

use limits::Figures;
use limits::Limit::AtMost;
use teams::{payloads, quiet, rules};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// How often each is timed, of all the events.
const ROUNDS: usize = 200;

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for size in SIZES {
        let rules = rules(size);
        let payloads = payloads(size);
        let events = teams::events(&payloads);
        let quiet = teams::events(&quiet(&payloads));
        for (events, matches) in [(&events, 1), (&quiet, 0)] {
            for event in events {
                assert!(
                    rules
                        .matching(event)
                        .map(|rule| &rule.name)
                        .eq(by_scan(&rules, event).map(|rule| &rule.name)),
                    "the index is wrong"
                );
                assert_eq!(rules.matching(event).count(), matches, "{}", event.payload.text());
            }
        }
        group.bench_function(BenchmarkId::new("decode", size), |bencher| {
            let mut payloads = payloads.iter().cycle();
            bencher.iter(|| payloads.next().map(|payload| event::decode(payload.as_bytes())));
        });
        group.bench_function(BenchmarkId::new("match", size), |bencher| {
            let mut events = events.iter().cycle();
            bencher.iter(|| events.next().map(|event| rules.matching(black_box(event)).count()));
        });
        group.bench_function(BenchmarkId::new("match none", size), |bencher| {
            let mut events = quiet.iter().cycle();
            bencher.iter(|| events.next().map(|event| rules.matching(black_box(event)).count()));
        });
        group.bench_function(BenchmarkId::new("scan", size), |bencher| {
            let mut events = events.iter().cycle();
            bencher.iter(|| events.next().map(|event| by_scan(&rules, black_box(event)).count()));
        });
    }
    group.finish();
}

/// What `matching` is to answer, without the index.
fn by_scan<'a>(rules: &'a Rules, event: &Event) -> impl Iterator<Item = &'a Arc<Rule>> {
    rules.iter().filter(|rule| rule.when.matches(event))
}

/// What a decision costs beside decoding, and finding one of 10,000 rules beside one of 10: taken in
/// turn, so that their ratios say something on any machine.
fn compare() -> anyhow::Result<()> {
    let (ten, hundred, many) = (rules(10), rules(100), rules(10_000));
    let (of_ten, payloads, of_many) = (payloads(10), payloads(100), payloads(10_000));
    let (of_ten, events, of_many) =
        (teams::events(&of_ten), teams::events(&payloads), teams::events(&of_many));
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let heard: Vec<[Heard; 1]> = events.into_iter().map(|event| [Heard::new(event, now)]).collect();
    let memory = Memory::default();
    let decided = |heard: &[Heard; 1]| {
        let keys = engine::keys(&hundred, heard);
        memory.decided(keys, |snapshot| engine::decide(&hundred, snapshot, heard, now))
    };
    let snapshots: Vec<Snapshot> = heard
        .iter()
        .map(|heard| {
            let (snapshot, changes, _) = decided(heard);
            assert_eq!(changes.intervals.len(), 1, "an alert begins");
            snapshot
        })
        .collect();
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        times[0].push(time(|| {
            payloads.iter().for_each(|it| drop(black_box(event::decode(it.as_bytes()))));
        }));
        times[1].push(time(|| {
            for (heard, snapshot) in heard.iter().zip(&snapshots) {
                black_box(engine::keys(&hundred, black_box(heard)));
                black_box(engine::decide(&hundred, snapshot, black_box(heard), now));
            }
        }));
        for (place, rules, events) in [(2, &ten, &of_ten), (3, &many, &of_many)] {
            times[place].push(time(|| {
                events.iter().for_each(|event| {
                    black_box(rules.matching(black_box(event)).count());
                });
            }));
        }
    }
    let [decode, decide, match_ten, match_many] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    });
    let mut figures = Figures::of("rules");
    figures.ratio("decide, an alert begins / decode", decide / decode, AtMost(3.0));
    figures.ratio("find one of 10,000 rules / decode", match_many / decode, AtMost(1.0));
    figures.ratio("find one of 10,000 rules / of 10", match_many / match_ten, AtMost(3.0));
    figures.keep()
}

fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

criterion_group!(benches, matching);

fn main() -> anyhow::Result<()> {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // With the name of one of them, only that is wanted.
    match std::env::args().skip(1).eq(["--bench"]) {
        true => compare(),
        false => Ok(()),
    }
}
