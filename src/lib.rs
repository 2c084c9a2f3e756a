//! tocsin, the alarm bell for containers: from a state-change webhook to Slack and mail, durably.

pub mod clock;
pub mod config;
pub mod deliver;
pub mod engine;
pub mod event;
pub mod http;
pub mod ingest;
pub mod lifecycle;
pub mod message;
pub mod rules;
pub mod schedule;
pub mod store;
pub mod wake;
