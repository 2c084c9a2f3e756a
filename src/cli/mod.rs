//! The command: a file a subcommand. Data goes to stdout, diagnostics to stderr.

mod backup;
mod check;
mod client;
mod deliveries;
mod health;
mod output;
mod schema;
mod send;
mod serve;
mod silences;
mod test;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Problems};
use crate::deliver::receivers;
use crate::logging::Log;

/// The alarm bell for containers: receives their state changes as webhooks, and tells people on
/// Slack or by mail.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge: take events in, and tell people.
    Serve(serve::Serve),
    /// Say all that is wrong with a rules file; exit 1 if anything is.
    Check {
        /// The rules file.
        rules: PathBuf,
    },
    /// Run the tests of a rules file, by a clock of their own; exit 1 if one fails.
    Test {
        /// The rules file.
        rules: PathBuf,
        /// Print the results as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send a test notification, and show the place's own answer; exit 1 if it was not taken.
    Send {
        /// The rules file.
        rules: PathBuf,
        /// The receiver to tell, by its name in the file.
        #[arg(long, value_name = "NAME")]
        receiver: String,
    },
    /// Make, list and end silences of a running tocsin.
    Silences(silences::Silences),
    /// List what a running tocsin tells, and send again or discard what it could not.
    Deliveries(deliveries::Deliveries),
    /// Copy the database to a file, also while tocsin runs; exit 1 if no sound copy was made.
    Backup(backup::Backup),
    /// Put a backup in the database's place, while tocsin does not run.
    Restore(backup::Restore),
    /// Ask a running tocsin whether it is well; exit 1 if it is not.
    Health(health::Health),
    /// Print the JSON Schema of a rules file, for editors.
    Schema,
    /// What a later version has.
    #[command(
        name = "explain",
        aliases = ["backtest", "simulate", "completions", "events", "alerts"],
        hide = true
    )]
    Later {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<OsString>,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The answer is no.
    No,
    /// Wrong usage. What can be seen from the arguments alone, clap ends with the same code.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
        })
    }
}

impl Cli {
    /// Does what is asked.
    #[must_use]
    pub fn run(self, log: &Log) -> Exit {
        let ended = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Check { rules } => check::run(&rules),
            Command::Test { rules, json } => test::run(&rules, json),
            Command::Send { rules, receiver } => send::run(&rules, &receiver),
            Command::Silences(silences) => silences.run(),
            Command::Deliveries(deliveries) => deliveries.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Health(health) => health.run(),
            Command::Schema => schema::run(),
            Command::Later { .. } => {
                output::note(
                    "error: this command is not supported yet; events and alerts are listed by the \
                     HTTP API, at /api/list and /api/alerts",
                );
                Ok(Exit::Usage)
            }
        };
        ended.unwrap_or_else(|error| {
            // It comes after what was logged. Where nobody reads that, nobody reads this either.
            if log.finish() {
                output::error(&error);
            }
            Exit::No
        })
    }
}

/// The rules file, with this process's environment.
fn load(rules: &Path) -> Result<Config, Problems> {
    config::load(rules, &|name| std::env::var(name).ok(), &receivers::validate)
}
