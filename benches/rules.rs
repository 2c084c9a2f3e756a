//! What an event costs that matches one rule of many, beside what its JSON costs to decode: see
//! `benches/README.md`.

mod teams;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tocsin::event::{self, Event};
use tocsin::rules::{Rule, Rules};

use teams::{payloads, quiet, rules};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

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
                assert_eq!(rules.matching(event).count(), matches, "{}", event.payload.text);
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

criterion_group!(benches, matching);
criterion_main!(benches);
