//! `tocsin serve`: the bridge itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::Exit;
use crate::app;
use crate::config::{Server, Storage, parse_duration};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The rules file.
    #[arg(default_value = "rules.yaml")]
    rules: PathBuf,
    /// Where to listen, instead of `server.listen`.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "TOCSIN_LISTEN",
        hide_env_values = true,
        value_parser = listen
    )]
    listen: Option<String>,
    /// Where to keep things, instead of `storage.url`.
    #[arg(
        long,
        value_name = "URL",
        env = "TOCSIN_STORAGE",
        hide_env_values = true,
        value_parser = storage
    )]
    storage: Option<String>,
    /// How long a soft stop may take before it turns hard.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    stop_timeout: Duration,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers())
            // What the store answers comes from its own thread: it is to be passed on at once.
            .global_queue_interval(1)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let ended = runtime.block_on(app::run(app::Options {
            rules: self.rules,
            listen: self.listen.filter(|listen| !listen.is_empty()),
            storage: self.storage.filter(|storage| !storage.is_empty()),
            stop_timeout: self.stop_timeout,
        }));
        // After a hard stop something may hang for good, such as a write to a disk that is gone.
        runtime.shutdown_background();
        ended.map(|()| Exit::Done)
    }
}

/// How many threads serve: one for each processor, but for the one that the store's writer keeps
/// busy. Every event waits for the writer, so that a thread more would take its processor from it,
/// and the rest of the work is handed from thread to thread for nothing (`benches/README.md`).
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() - 1).max(1))
}

/// An address to listen on. An empty variable is one that is not set.
fn listen(text: &str) -> Result<String, String> {
    if !text.is_empty() {
        Server::check_listen(text).map_err(|error| format!("it {error}"))?;
    }
    Ok(text.to_owned())
}

/// A place to keep things, likewise.
pub(super) fn storage(text: &str) -> Result<String, String> {
    if !text.is_empty() {
        text.parse::<Storage>().map_err(|error| format!("it {error}"))?;
    }
    Ok(text.to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("it {error}"))
}
