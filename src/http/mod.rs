//! The HTTP edge: takes events in, and shows what is known (DESIGN.md §4).
//!
//! Decides nothing. The connection loop is our own, since warp's has no time-outs and no cap; warp
//! is what a request passes through on its way from there to `route`.

mod access;
mod answer;
mod attempts;
mod connection;
mod deliveries;
mod door;
mod handshake;
mod health;
mod lists;
mod origin;
mod params;
mod receive;
mod receivers;
mod route;
mod seats;
mod silences;
mod socket;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use connection::serve;
pub use deliveries::{DeliveryShown, RetriedAll, Wording, Words};
pub use door::names;
pub use receive::Intake;

use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::password::Password;
use crate::rate::Rate;
use crate::rules::Rules;
use crate::store::Store;
use crate::tls;
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

/// Who may ask, and how they are known. Anyone may, over plain HTTP, where nothing is said.
#[derive(Default)]
pub struct Guard {
    /// Any of which lets events in.
    pub receive_tokens: Vec<SecretString>,
    /// How many requests one of them lets in.
    pub receive_rate: Option<Rate>,
    /// The user and the password that all else asks for.
    pub admin: Option<(String, Password)>,
    /// The names that it is called by, beside addresses and `localhost`. Where these are said, a request
    /// by another name is refused, as of a page whose name was made to lead to this machine.
    pub names: Option<Vec<String>>,
    /// Who is believed where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// What TLS is served with.
    pub tls: Option<tls::Current>,
}

/// How much a client may ask for, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections are open at once: one more takes the place of one that is idle, or waits
    /// until there is one. Each has one request at a time.
    pub connections: usize,
    /// How many of them are from one address, but for trusted proxies.
    pub connections_each: usize,
    /// How many bytes a body has at most.
    pub body: usize,
    /// How many bytes all bodies have together that are not answered yet.
    pub bodies: usize,
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
            connections_each: 256,
            body: 256 * 1024,
            bodies: 32 * 1024 * 1024,
            headers: 32 * 1024,
            headers_within: Duration::from_secs(10),
            body_within: Duration::from_secs(30),
            read_within: Duration::from_secs(30),
            ready_within: Duration::from_secs(5),
        }
    }
}
