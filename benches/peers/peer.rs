//! The programs that are compared: how each is started, and what it is told of a happening. What of
//! it is left is asked in `left`.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::load::{Happening, Load};
use crate::process::{self, Process};

/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that hears of containers and does something about it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Peer {
    Tocsin,
    /// Prometheus' Alertmanager.
    Alertmanager,
    /// Adnan Hajdarević's `webhook`, which runs commands.
    Webhook,
}

impl Peer {
    pub(crate) const ALL: [Peer; 3] = [Peer::Tocsin, Peer::Alertmanager, Peer::Webhook];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Tocsin => "tocsin",
            Peer::Alertmanager => "alertmanager",
            Peer::Webhook => "webhook",
        }
    }

    /// Debian's package of it, if it is not installed.
    pub(crate) fn package_missing(self) -> Option<&'static str> {
        let program = self.program()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        (!is_there).then_some(program)
    }

    /// What it is called where it is installed, which is also what its package is called. tocsin is
    /// the one that was just built.
    fn program(self) -> Option<&'static str> {
        match self {
            Peer::Tocsin => None,
            Peer::Alertmanager => Some("prometheus-alertmanager"),
            Peer::Webhook => Some("webhook"),
        }
    }

    /// Starts it, with all that it keeps in `folder`, to tell the place at `sink`.
    ///
    /// # Errors
    /// If it does not come to listen.
    pub(crate) fn start(self, folder: &Path, sink: &str) -> anyhow::Result<Process> {
        let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        let Some(program) = self.program() else {
            let mut command = process::tocsin_in(folder, &parts.join("rules.yaml"));
            return Process::start(self.name(), command.env("SINK_URL", sink));
        };
        let address = free_address()?;
        let mut command = Command::new(program);
        command.current_dir(folder);
        if self == Peer::Alertmanager {
            let config = std::fs::read_to_string(parts.join("alertmanager.yml"))?;
            let config = config.replace("${SINK_URL}", sink);
            std::fs::write(folder.join("alertmanager.yml"), config)
                .context("cannot write Alertmanager's configuration")?;
            command.args(["--config.file=alertmanager.yml", "--storage.path=data"]);
            command.arg(format!("--web.listen-address={address}"));
            // It is alone.
            command.arg("--cluster.listen-address=");
        } else {
            let port = address.port().to_string();
            command.arg("-hooks").arg(parts.join("hooks.json"));
            command.args(["-ip", "127.0.0.1", "-port", &port]);
        }
        let log = folder.join("log");
        Process::start_silent(self.name(), &mut command, address, &log, PATIENCE)
    }

    /// Where it takes what is posted.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Peer::Tocsin => "/api/post",
            Peer::Alertmanager => "/api/v2/alerts",
            Peer::Webhook => "/hooks/container",
        }
    }

    /// Has the load be what this one takes, as it would be in a life of it.
    pub(crate) fn words(self, load: Load) -> Load {
        if self == Peer::Alertmanager { load.writing(write_alert) } else { load }
    }

    /// The same, but so that nothing that it takes ends anything that it took: all of it has to be
    /// there afterwards.
    pub(crate) fn lasting_words(self, load: Load) -> Load {
        if self == Peer::Alertmanager { load.writing(write_lasting_alert) } else { load }
    }
}

/// Where nothing listens. Someone else may take it before it is used: then the start fails.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// An alert for each container: a crash has it fire, whatever else happens ends it.
fn write_alert(happening: &Happening, body: &mut Vec<u8>) {
    let bound = if happening.is_crash() { "startsAt" } else { "endsAt" };
    write_alert_of(happening, "", bound, body);
}

/// An alert for each event, which fires until Alertmanager's own `resolve_timeout` of five minutes.
fn write_lasting_alert(happening: &Happening, body: &mut Vec<u8>) {
    let event = format!(r#","event":"{}""#, happening.at.as_micros());
    write_alert_of(happening, &event, "startsAt", body);
}

/// Writes one alert as Alertmanager's API v2 takes it, in a list.
fn write_alert_of(happening: &Happening, more_labels: &str, bound: &str, body: &mut Vec<u8>) {
    write!(
        body,
        concat!(
            r#"[{{"labels":{{"alertname":"crashed","application":"{application}","#,
            r#""service":"{service}","id":"{id}"{more_labels}}},"#,
            r#""annotations":{{"state":"{state}"}},"{bound}":"{at}"}}]"#,
        ),
        application = happening.application(),
        service = happening.service(),
        id = happening.id(),
        more_labels = more_labels,
        state = happening.state(),
        bound = bound,
        at = happening.at,
    )
    .expect("a vector takes all that is written");
}
