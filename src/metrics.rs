//! What is counted while the program runs, for Prometheus. Counters begin anew with every start.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What is counted as it happens. What the store knows is added when it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    events: Family<Result, Counter>,
    attempts: Family<Attempt, Counter>,
    letters_pruned: Family<OfReceiver, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    receiver: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReceiver {
    receiver: String,
}

/// How a receiver stands, as the store has it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub receiver: String,
    /// Whether it takes messages.
    pub up: bool,
    /// How many wait for it.
    pub pending: i64,
    /// For how long the oldest of these has, in seconds.
    pub oldest: f64,
    /// How many were given up.
    pub dead: i64,
}

impl Metrics {
    /// Counts an event by what came of it: `recorded`, `too_old`, `duplicate`, `failed` or `refused`.
    pub fn event(&self, result: &'static str) {
        self.events.get_or_create(&Result { result }).inc();
    }

    /// Counts an attempt by what came of it: `sent`, `transient`, `unknown`, `message` or
    /// `destination`.
    pub fn attempt(&self, receiver: &str, outcome: &'static str) {
        let attempt = Attempt { receiver: receiver.to_owned(), outcome };
        self.attempts.get_or_create(&attempt).inc();
    }

    /// Counts a dead letter that was older than it is to be kept.
    pub fn letter_pruned(&self, receiver: &str) {
        let of = OfReceiver { receiver: receiver.to_owned() };
        self.letters_pruned.get_or_create(&of).inc();
    }

    /// All of it in the text format, with how the receivers stand and how often events are missing.
    #[must_use]
    pub fn text(&self, standings: &[Standing], missing: i64) -> String {
        let mut registry = Registry::with_prefix("tocsin");
        let [up, pending, dead]: [Family<OfReceiver, Gauge>; 3] = Default::default();
        let oldest = Family::<OfReceiver, Gauge<f64, AtomicU64>>::default();
        for standing in standings {
            let of = OfReceiver { receiver: standing.receiver.clone() };
            up.get_or_create(&of).set(i64::from(standing.up));
            pending.get_or_create(&of).set(standing.pending);
            dead.get_or_create(&of).set(standing.dead);
            oldest.get_or_create(&of).set(standing.oldest);
        }
        let gaps = Gauge::<i64>::default();
        gaps.set(missing);
        registry.register("events", "Events by what came of them", self.events.clone());
        registry.register(
            "events_missing",
            "How often the timelines show that events are missing",
            gaps,
        );
        registry.register(
            "delivery_attempts",
            "Attempts to deliver, by receiver and what came of them",
            self.attempts.clone(),
        );
        registry.register("receiver_up", "Whether the receiver takes messages", up);
        registry.register("deliveries_pending", "Messages that wait for the receiver", pending);
        registry.register_with_unit(
            "delivery_oldest_age",
            "For how long the oldest of the messages that wait has",
            Unit::Seconds,
            oldest,
        );
        registry.register("deliveries_dead", "Messages for the receiver that were given up", dead);
        registry.register(
            "dead_letters_pruned",
            "Dead letters for the receiver that were discarded since they were older than storage.keep",
            self.letters_pruned.clone(),
        );
        let mut text = String::new();
        // Writing to a string does not fail.
        let _: std::fmt::Result = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.event("recorded");
        metrics.attempt("ops", "sent");
        metrics.attempt("ops", "sent");
        metrics.letter_pruned("ops");
        let standing =
            Standing { receiver: "ops".into(), up: false, pending: 2, oldest: 12.5, dead: 1 };
        insta::assert_snapshot!(metrics.text(&[standing], 3), @r#"
        # HELP tocsin_events Events by what came of them.
        # TYPE tocsin_events counter
        tocsin_events_total{result="recorded"} 1
        # HELP tocsin_events_missing How often the timelines show that events are missing.
        # TYPE tocsin_events_missing gauge
        tocsin_events_missing 3
        # HELP tocsin_delivery_attempts Attempts to deliver, by receiver and what came of them.
        # TYPE tocsin_delivery_attempts counter
        tocsin_delivery_attempts_total{receiver="ops",outcome="sent"} 2
        # HELP tocsin_receiver_up Whether the receiver takes messages.
        # TYPE tocsin_receiver_up gauge
        tocsin_receiver_up{receiver="ops"} 0
        # HELP tocsin_deliveries_pending Messages that wait for the receiver.
        # TYPE tocsin_deliveries_pending gauge
        tocsin_deliveries_pending{receiver="ops"} 2
        # HELP tocsin_delivery_oldest_age_seconds For how long the oldest of the messages that wait has.
        # TYPE tocsin_delivery_oldest_age_seconds gauge
        # UNIT tocsin_delivery_oldest_age_seconds seconds
        tocsin_delivery_oldest_age_seconds{receiver="ops"} 12.5
        # HELP tocsin_deliveries_dead Messages for the receiver that were given up.
        # TYPE tocsin_deliveries_dead gauge
        tocsin_deliveries_dead{receiver="ops"} 1
        # HELP tocsin_dead_letters_pruned Dead letters for the receiver that were discarded since they were older than storage.keep.
        # TYPE tocsin_dead_letters_pruned counter
        tocsin_dead_letters_pruned_total{receiver="ops"} 1
        # EOF
        "#);
    }
}
