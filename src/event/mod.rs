//! What a webhook payload says, as types: the event, its state, its exit.
//!
//! Knows nothing of rules, stores or networks.

mod decode;
mod exit;
mod json;
pub mod payload;
mod state;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use decode::{DecodeError, decode, decode_packed, from_value};
pub use exit::{Exit, Signal};
pub use payload::Payload;
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
    /// The payload, as received.
    pub payload: Payload,
}

/// What makes an event this event (DESIGN.md §3): a digest of the container's id, the timestamp and
/// the payload in canonical form without `counters.post_attempts`. 128 bits of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity(pub [u8; 16]);

/// 32 lower-case hexadecimal digits.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        f.write_str(str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
