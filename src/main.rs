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
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let levels = match wanted.parse::<Targets>() {
        Ok(levels) => levels,
        Err(error) => {
            // Nothing that is logged goes anywhere yet.
            eprintln!("RUST_LOG: {error}: {wanted:?} is no level such as warn, info or debug");
            Targets::new()
        }
    };
    match levels.default_level() {
        Some(_) => levels,
        None => levels.with_default(LevelFilter::INFO),
    }
}
