//! tocsin, the alarm bell for containers: from a state-change webhook to Slack and mail, durably.
//!
//! The way of an event, and of this crate: [`http`] receives, [`event`] decodes, [`ingest`] batches
//! into the [`store`], where [`engine`] decides by the [`rules`] what there is to tell; [`schedule`]
//! asks again when something is due; [`deliver`] claims what waits, words it with [`message`], sends
//! it, and settles. [`app`] puts the pieces together, [`config`] reads the file that says how,
//! [`cli`] is the command.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod engine;
pub mod event;
pub mod http;
pub mod ingest;
pub mod lifecycle;
pub mod logging;
pub mod message;
pub mod metrics;
pub mod password;
pub mod prune;
pub mod rate;
pub mod rules;
pub mod schedule;
pub mod simulation;
pub mod store;
pub mod supervisor;
pub mod tls;
pub mod wake;
