//! Arguments → command → exit code.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = tocsin::cli::Cli::parse();
    let log = fmt::layer()
        .compact()
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(stderr)
        // Whoever read the log may be gone: that would be said there as well, and break down whoever says it.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(levels()).with(log).init();
    cli.run().into()
}

/// How much is logged, of what `RUST_LOG` says: a level, and others for single parts
/// (`warn,tocsin::http=debug`).
fn levels() -> Targets {
    let by_default = || Targets::new().with_default(LevelFilter::INFO);
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    if wanted.trim().is_empty() {
        return by_default();
    }
    match wanted.parse::<Targets>() {
        Ok(levels) if levels.default_level().is_some() => levels,
        Ok(levels) => levels.with_default(LevelFilter::INFO),
        Err(error) => {
            // Nothing that is logged goes anywhere yet.
            eprintln!("RUST_LOG={wanted:?} is not understood, and \"info\" taken: {error}");
            by_default()
        }
    }
}
