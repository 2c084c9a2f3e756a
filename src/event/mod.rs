//! What a webhook payload says, as types: the event, its state, its exit.
//!
//! Knows nothing of rules, stores or networks.

mod decode;
mod exit;
mod state;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use decode::{DecodeError, decode, from_value};
pub use exit::{Exit, Signal};
pub use state::State;

use crate::clock::Timestamp;

/// One state change of one container, as a webhook told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The container's id (`id`).
    pub container: Arc<str>,
    /// The application it belongs to, if the payload says so.
    pub application: Option<Arc<str>>,
    /// The service it belongs to, if the payload says so.
    pub service: Option<Arc<str>>,
    /// The state it is in now.
    pub state: State,
    /// The state it was in before, as the producer says.
    pub prev_state: Option<State>,
    /// When it happened, by the producer's clock.
    pub timestamp: Timestamp,
    /// How often the container has started (`counters.start`).
    pub starts: Option<i64>,
    /// How its last run ended (`data.last_exit_status`).
    pub exit: Option<Exit>,
    /// Which event this is: the same for every retry of it.
    pub identity: Identity,
    /// The payload, as received and parsed.
    pub payload: Payload,
}

/// A payload: the text as received, and what it parses to.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// The body, byte for byte.
    pub text: String,
    /// The same, parsed once.
    pub value: serde_json::Value,
}

/// What makes an event this event (DESIGN.md §3): a digest of the container's id, the timestamp and
/// the payload in canonical form without `counters.post_attempts`. 128 bits of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity(pub [u8; 16]);

/// 32 lower-case hexadecimal digits.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
