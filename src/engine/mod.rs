//! Decides who hears of what, and when. Pure: no I/O, no async, no clock.
//!
//! Each function here takes what the store read (a [`Snapshot`]) and answers what to write
//! ([`Changes`]), or which rows it has to see first ([`Keys`]). It may be run again at will.

mod account;
mod claim;
mod decide;
mod draft;
mod group;
mod health;
mod intervals;
mod ledger;
mod letters;
mod prune;
mod settle;
mod shared;
mod silence;
mod suppress;
pub mod timeline;
mod types;

#[cfg(test)]
pub(crate) mod tests;

pub use account::{Fate, Reason, alone, fate, held_back};
pub use claim::{Claim, Claimed, Hand, INTERVALS, Lease, Shows, claim};
pub use decide::{Decided, align, decide, decide_and_claim, keep, keys};
pub use health::{Down, Health, Missed, Notice, try_again};
pub use letters::{Retried, Stays, discard, retry};
pub use prune::{clear, forget, prune};
pub use settle::{Outcome, Settled, Settlement, give_up, settle, take_back};
pub use silence::{Silence, SilenceId, SilenceStatus};
pub use types::*;
