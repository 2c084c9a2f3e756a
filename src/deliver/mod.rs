//! Gets notifications out: claims a lease, sends, settles. Never a transaction across the network.

mod desk;
pub mod receivers;
pub mod retry;
mod worker;

pub use worker::{Bell, Worker};
