//! The HTTP edge: takes events in, and shows what is known (DESIGN.md §4).
//!
//! Decides nothing. The connection loop is our own, since warp's has no time-outs and no cap; warp
//! is what a request passes through on its way from there to `route`.

mod answer;
mod connection;
mod deliveries;
mod health;
mod lists;
mod params;
mod receive;
mod receivers;
mod route;
mod silences;
mod socket;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use connection::serve;
pub use deliveries::{DeliveryShown, RetriedAll, Wording, Words};
pub use receive::Intake;

use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::store::Store;
use crate::wake::Wake;

/// What the requests are answered from.
pub struct Api<I = Ingest> {
    /// Where the lists are read.
    pub store: Arc<dyn Store>,
    /// Where events go.
    pub ingest: I,
    /// Who is told that a silence was made or ended, or a dead letter put back.
    pub wake: Arc<Wake>,
    /// The rules in force: an event is answered with those that it matches.
    pub rules: Arc<Rules>,
    /// What is counted.
    pub metrics: Metrics,
    /// Every receiver of the file.
    pub places: Arc<[Place]>,
    /// How notifications are worded.
    pub words: Wording,
    /// Cancelled when the program stops: no new requests are taken from then on.
    pub stop: CancellationToken,
}

/// A receiver of the file, for those who ask how it stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// Whether it has no address.
    pub off: bool,
}

/// How much a client may ask for, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections are open at once; more wait to be accepted.
    pub connections: usize,
    /// How many bytes a body has at most.
    pub body: usize,
    /// How many bytes a request line and its headers have at most; not less than 8192.
    pub headers: usize,
    /// How long the request line and the headers may take, from when the connection is open or the
    /// request before is answered.
    pub headers_within: Duration,
    /// How long a whole body may take.
    pub body_within: Duration,
    /// How long an answer may wait for the client to read any of it.
    pub read_within: Duration,
    /// How long the store may take to say whether it can be written.
    pub ready_within: Duration,
}

/// The limits of DESIGN.md §4, and, where it has none, what clients that mean well stay far below.
impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            body: 256 * 1024,
            headers: 32 * 1024,
            headers_within: Duration::from_secs(10),
            body_within: Duration::from_secs(30),
            read_within: Duration::from_secs(30),
            ready_within: Duration::from_secs(5),
        }
    }
}
