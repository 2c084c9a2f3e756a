//! The recorded run of eight real containers, in order, shuffled and doubled.

use serde_json::Value;

use super::properties::rules;
use super::reference::{derived, reference};
use super::world::World;
use crate::clock::Timestamp;

/// A time when all of it is long past.
const AFTERWARDS: Timestamp = Timestamp::from_micros(2_000_000_000_000_000);

fn recorded() -> Vec<Value> {
    let lines = include_str!("../../../tests/events/real-containers.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is derived from this, heard in batches of up to `batch`.
fn hear(payloads: &[Value], batch: usize) -> World {
    let mut world = World::new(rules());
    world.now = AFTERWARDS;
    for batch in payloads.chunks(batch) {
        world.take(batch);
    }
    world
}

#[test]
fn the_recorded_run_gives_the_same_alerts_in_order_shuffled_and_doubled() {
    let payloads = recorded();
    let in_order = hear(&payloads, 1);
    let expected = derived(&in_order);
    assert_eq!(expected, reference(&in_order, &payloads));
    let mut told: Vec<&str> = expected.iter().map(|alert| alert.0.as_str()).collect();
    told.dedup();
    assert!(told.len() >= 5, "alerts of several rules: {told:?}");

    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shuffled = payloads.clone();
        if seed % 2 == 1 {
            shuffled.extend(payloads.clone());
        }
        random.shuffle(&mut shuffled);
        let world = hear(&shuffled, random.usize(1..20));
        assert_eq!(derived(&world), expected, "seed {seed}");
        assert_eq!(world.events.len(), in_order.events.len(), "seed {seed}");
    }
}
