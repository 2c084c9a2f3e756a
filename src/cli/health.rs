//! `tocsin health`: whether a running tocsin answers, for health checks where there is no other
//! program to ask with, such as in a container.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;

use super::client::{Address, Client, understood};
use super::{Exit, output};

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Ask whether it can record events, and not only whether it runs.
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    address: Address,
}

impl Health {
    pub(super) fn run(self) -> Result<Exit> {
        // Where a health check decides about a restart, only the first is to be asked: a full disk
        // makes tocsin unready, and no start betters it.
        let path = if self.ready { "/readyz" } else { "/healthz" };
        #[derive(Deserialize)]
        struct Said {
            status: String,
        }
        let said: Said = understood(Client::of_anyone(self.address)?.get(path)?)?;
        output::data(said.status)?;
        Ok(Exit::Done)
    }
}
