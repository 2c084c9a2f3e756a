//! What of all that a program answered 2xx for it still has: asked over its own API or, where there
//! is none, by what it did.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::Client;
use serde::Deserialize;
use tokio::time::sleep;

use crate::load::Happening;
use crate::peer::Peer;
use crate::process::Process;

/// For how long nothing more may happen until it counts as over.
const QUIET: Duration = Duration::from_millis(500);

/// How long commands that run may go on.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much was to be kept, and how much of it is there.
#[derive(Clone, Copy, Default)]
pub(crate) struct Left {
    pub(crate) answered: usize,
    pub(crate) there: usize,
}

impl Left {
    /// Adds what was found another time.
    pub(crate) fn add(&mut self, other: Left) {
        self.answered += other.answered;
        self.there += other.there;
    }

    /// How much is not there.
    pub(crate) fn lost(self) -> usize {
        self.answered - self.there
    }
}

/// Asks what is left of `taken`.
///
/// # Errors
/// If it cannot be asked.
pub(crate) async fn left(
    peer: Peer,
    process: &Process,
    folder: &Path,
    taken: &[Happening],
) -> anyhow::Result<Left> {
    match peer {
        Peer::Tocsin => {
            let listed = listed(process).await?;
            Ok(count(taken.iter().map(event), &listed))
        }
        Peer::Alertmanager => {
            let firing = firing(process).await?;
            Ok(count(taken.iter().map(event), &firing))
        }
        Peer::Webhook => {
            // Of what runs no command it says itself that it is of no interest.
            let ran = ran(folder).await?;
            let crashes = taken.iter().filter(|happening| happening.is_crash());
            Ok(count(crashes.map(|crash| crash.id().to_string()), &ran))
        }
    }
}

/// An event: its container's id, and its time in microseconds.
type Event = (String, i64);

fn event(happening: &Happening) -> Event {
    (happening.id().to_string(), happening.at.as_micros())
}

fn count<T: Eq + std::hash::Hash>(taken: impl Iterator<Item = T>, there: &HashSet<T>) -> Left {
    taken.fold(Left::default(), |left, one| Left {
        answered: left.answered + 1,
        there: left.there + usize::from(there.contains(&one)),
    })
}

/// All events that tocsin lists.
async fn listed(process: &Process) -> anyhow::Result<HashSet<Event>> {
    #[derive(Deserialize)]
    struct Payload {
        id: String,
        timestamp: f64,
    }
    let client = client()?;
    let mut next = Some("/api/list?limit=10000".to_owned());
    let mut listed = HashSet::new();
    while let Some(path) = next {
        let url = format!("http://{}{path}", process.address);
        let page = client.get(url).send().await?.error_for_status()?;
        // `<PATH>; rel="next"`
        let link = page.headers().get("link").map(|link| link.to_str()).transpose()?;
        next = link.and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()));
        let page: Vec<Payload> = serde_json::from_slice(&page.bytes().await?)?;
        let micros = |seconds: f64| (seconds * 1e6).round() as i64;
        listed.extend(page.into_iter().map(|event| (event.id, micros(event.timestamp))));
    }
    Ok(listed)
}

/// All alerts that Alertmanager has.
async fn firing(process: &Process) -> anyhow::Result<HashSet<Event>> {
    #[derive(Deserialize)]
    struct Alert {
        labels: Labels,
    }
    #[derive(Deserialize)]
    struct Labels {
        id: String,
        event: String,
    }
    let url = format!("http://{}/api/v2/alerts", process.address);
    let alerts = client()?.get(url).send().await?.error_for_status()?.bytes().await?;
    let alerts: Vec<Alert> = serde_json::from_slice(&alerts)?;
    let events = alerts.into_iter().map(|Alert { labels }| Ok((labels.id, labels.event.parse()?)));
    events.collect()
}

/// The containers that a command of `webhook`'s ran for, once no more do.
async fn ran(folder: &Path) -> anyhow::Result<HashSet<String>> {
    let read = || match std::fs::read_to_string(folder.join("ran")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.context("cannot read which commands ran"),
    };
    let over = async {
        let mut before = read()?;
        loop {
            sleep(QUIET).await;
            let now = read()?;
            if now == before {
                return anyhow::Ok(now);
            }
            before = now;
        }
    };
    let over = tokio::time::timeout(PATIENCE, over).await;
    let ran = over.context("the commands of webhook did not come to an end")??;
    Ok(ran.lines().map(str::to_owned).collect())
}

fn client() -> reqwest::Result<Client> {
    // Nothing between here and the loopback interface is asked.
    Client::builder().no_proxy().timeout(PATIENCE).build()
}
