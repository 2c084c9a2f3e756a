//! `tocsin schema`: the JSON Schema of a rules file, for editors.

use super::{Exit, output};
use crate::config;

pub(super) fn run() -> anyhow::Result<Exit> {
    output::data(config::schema())?;
    Ok(Exit::Done)
}
