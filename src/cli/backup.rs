//! `tocsin backup` and `tocsin restore`: copies of the database.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::Exit;
use super::output::{self, count};
use crate::clock;
use crate::config::{self, Storage};
use crate::store::sqlite::backup::{self, Copied};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write.
    file: PathBuf,
    #[command(flatten)]
    database: Database,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup.
    file: PathBuf,
    #[command(flatten)]
    database: Database,
    /// Move the database that is there aside.
    #[arg(long)]
    force: bool,
}

/// Which database.
#[derive(Debug, Args)]
struct Database {
    /// The rules file; only its `storage` is looked at.
    #[arg(long, value_name = "RULES", default_value = "rules.yaml")]
    rules: PathBuf,
    /// Where things are kept, instead of `storage.url`; no rules file is read then.
    #[arg(
        long,
        value_name = "URL",
        env = "TOCSIN_STORAGE",
        hide_env_values = true,
        value_parser = super::serve::storage
    )]
    storage: Option<String>,
}

impl Database {
    fn path(&self) -> anyhow::Result<PathBuf> {
        let Storage::Sqlite(path) = match &self.storage {
            Some(url) if !url.is_empty() => {
                url.parse().map_err(|error| anyhow!("--storage {error}"))?
            }
            _ => config::load_storage(&self.rules, &|name| std::env::var(name).ok())?,
        };
        Ok(path)
    }
}

impl Backup {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let copied = backup::backup(&self.database.path()?, &self.file, self.force)?;
        output::data(format_args!("{}: {}", copied.to.display(), summary(&copied)))?;
        Ok(Exit::Done)
    }
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (path, now) = (self.database.path()?, clock::now());
        let copied = backup::restore(&self.file, &path, self.force, now)?;
        output::data(format_args!("{}: {}", copied.to.display(), summary(&copied)))?;
        if let Some(aside) = &copied.aside {
            output::note(format_args!("what was there before is {}", aside.display()));
        }
        Ok(Exit::Done)
    }
}

/// `3 events, the last received 2026-01-01T12:00:00Z, 160 KiB`.
fn summary(copied: &Copied) -> String {
    let events = count(usize::try_from(copied.events).unwrap_or(usize::MAX), "event");
    let last = copied.last_received.map_or(String::new(), |at| format!(", the last received {at}"));
    format!("{events}{last}, {} KiB", copied.size.div_ceil(1024))
}
