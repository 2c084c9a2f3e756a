//! tocsin, the alarm bell for containers: from a state-change webhook to Slack and mail, durably.

pub mod clock;
pub mod config;
pub mod event;
pub mod rules;
pub mod engine;
pub mod store;
pub mod message;
