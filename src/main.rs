//! Arguments → command → exit code.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::Parser;
use tocsin::logging::Log;
use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = tocsin::cli::Cli::parse();
    let log = match Log::start(stderr()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("no thread could be started for the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let lines = fmt::layer()
        .compact()
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(log.clone());
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (levels, ignored) = levels(&wanted);
    tracing_subscriber::registry().with(levels).with(lines).init();
    for part in ignored {
        warn!(
            "{part:?} in RUST_LOG is no level such as \"debug\", nor a part with one such as \"tocsin::http=debug\""
        );
    }
    let exit = cli.run(&log);
    log.finish();
    exit.into()
}

/// How much is logged, of what `RUST_LOG` says: a level, and others for single parts
/// (`warn,tocsin::http=debug`). And what of that is not understood.
fn levels(wanted: &str) -> (Targets, Vec<&str>) {
    // What it says of a certificate is said again by whoever deals with it, in words.
    let mut levels = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("rustls_platform_verifier", LevelFilter::OFF);
    let mut ignored = Vec::new();
    for part in wanted.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) = part.split_once('=').unwrap_or(("", part));
        // The empty text is a level there.
        let level = Some(level).filter(|level| !level.is_empty()).map(str::parse::<LevelFilter>);
        levels = match level {
            Some(Ok(level)) if target.is_empty() => levels.with_default(level),
            Some(Ok(level)) => levels.with_target(target, level),
            _ => {
                ignored.push(part);
                levels
            }
        };
    }
    (levels, ignored)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_is_told_in_words_is_not_logged_as_well_unless_it_is_asked_for() {
        let target = "rustls_platform_verifier::verification::others";
        assert!(!levels("debug").0.would_enable(target, &Level::ERROR));
        assert!(levels("rustls_platform_verifier=warn").0.would_enable(target, &Level::ERROR));
    }

    #[test]
    fn rust_log_is_a_level_and_others_for_parts() {
        let cases: [(&str, Level, Level, &[&str]); 11] = [
            ("", Level::INFO, Level::INFO, &[]),
            ("warn", Level::WARN, Level::WARN, &[]),
            (" info, ,", Level::INFO, Level::INFO, &[]),
            ("DEBUG", Level::DEBUG, Level::DEBUG, &[]),
            ("tocsin::http=debug", Level::INFO, Level::DEBUG, &[]),
            ("tocsin::http=debug,warn", Level::WARN, Level::DEBUG, &[]),
            ("error, tocsin::http=trace", Level::ERROR, Level::TRACE, &[]),
            ("warning", Level::INFO, Level::INFO, &["warning"]),
            ("warn,tocsin::http=verbose", Level::WARN, Level::WARN, &["tocsin::http=verbose"]),
            ("tocsin::http=", Level::INFO, Level::INFO, &["tocsin::http="]),
            ("tocsin", Level::INFO, Level::INFO, &["tocsin"]),
        ];
        for (wanted, everywhere, http, not_understood) in cases {
            let (levels, ignored) = levels(wanted);
            assert_eq!(ignored, not_understood, "{wanted:?}");
            for (target, level) in [("tocsin::app", everywhere), ("tocsin::http::door", http)] {
                for other in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                    let logged = levels.would_enable(target, &other);
                    assert_eq!(logged, other <= level, "{wanted:?}: {other} of {target}");
                }
            }
        }
    }
}
