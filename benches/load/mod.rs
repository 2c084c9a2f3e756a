//! Puts load on a receiver of webhooks: one event a request, on connections that are kept alive.
//! Each posts the next after the answer or, if it is paced, when its time has come.
//!
//! It is alone on its thread and spends little on each request, since it shares the machine with
//! what it measures. Knows nothing of what it talks to beyond HTTP, and how tocsin names what an
//! event matched.

#![allow(dead_code, reason = "no program that has this module uses all of it")]

mod answer;
mod client;
mod fleet;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::figures::percentile;
use client::{Client, Plan};
pub(crate) use fleet::{Fleet, Happening};

/// How many containers one connection speaks for, unless it is said.
pub(crate) const CONTAINERS: usize = 16;

/// Where to post.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    /// What it is called.
    pub(crate) host: String,
    /// The path, and the query if there is one.
    pub(crate) path: String,
    /// A token for the `Authorization` header, if one is asked for.
    pub(crate) token: Option<String>,
}

impl Target {
    /// One on this machine that asks for no token.
    pub(crate) fn here(address: SocketAddr, path: &str) -> Target {
        Target { address, host: "localhost".to_owned(), path: path.to_owned(), token: None }
    }
}

/// The clients of one receiver, each with a connection and containers of its own.
pub(crate) struct Load {
    clients: Vec<Client>,
    plan: Plan,
}

/// What a run came to.
#[derive(Default)]
pub(crate) struct Report {
    /// How long it ran.
    pub(crate) ran: Duration,
    /// How long each answer took that said that an event was taken, in microseconds, in no order.
    pub(crate) latencies: Vec<u32>,
    /// How many of these named a rule that the event matched.
    pub(crate) matched: usize,
    /// What was taken, if it is to be remembered.
    pub(crate) taken: Vec<Happening>,
    /// How many answers had each other status.
    pub(crate) refused: BTreeMap<u16, usize>,
    /// How many connections were lost before an answer, or did not have one in time.
    pub(crate) lost: usize,
}

impl Load {
    /// Opens `connections` to `address`, to post events to `path`.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(crate) async fn connect(
        address: SocketAddr,
        connections: usize,
        path: &str,
    ) -> io::Result<Load> {
        let containers = CONTAINERS * connections;
        Load::connect_to(Target::here(address, path), connections, containers, 0).await
    }

    /// The same for a target of any kind, with so many containers among all connections, of which
    /// each has one at least. Two runs whose numbers differ have none in common; a number has at
    /// most twelve bits.
    ///
    /// # Errors
    /// If a connection cannot be opened.
    pub(crate) async fn connect_to(
        target: Target,
        connections: usize,
        containers: usize,
        run: u16,
    ) -> io::Result<Load> {
        let target = Arc::new(target);
        let mut clients = Vec::with_capacity(connections);
        for number in 0..connections {
            // The first have one more, if it does not come out even.
            let share = (containers + connections - 1 - number) / connections;
            let fleet = Fleet::new(run, number, share.max(1));
            clients.push(Client::connect(Arc::clone(&target), fleet).await?);
        }
        let plan = Plan {
            every: Duration::ZERO,
            write: Happening::write_event,
            is_lenient: false,
            remembers: false,
        };
        Ok(Load { clients, plan })
    }

    /// The same, paced: each client posts once in so long, if it may.
    pub(crate) fn paced(self, every: Duration) -> Load {
        Load { plan: Plan { every, ..self.plan }, ..self }
    }

    /// The same, but what is posted is what this writes of a happening.
    pub(crate) fn writing(self, write: fn(&Happening, &mut Vec<u8>)) -> Load {
        Load { plan: Plan { write, ..self.plan }, ..self }
    }

    /// The same, but refusals and lost connections are counted. A lost one is opened again, and a
    /// client whose connection cannot be is out of it.
    pub(crate) fn lenient(self) -> Load {
        Load { plan: Plan { is_lenient: true, ..self.plan }, ..self }
    }

    /// The same, but it is remembered what was taken.
    pub(crate) fn remembering(self) -> Load {
        Load { plan: Plan { remembers: true, ..self.plan }, ..self }
    }

    /// Opens all connections anew: receivers close what was idle for long.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(crate) async fn reconnect(&mut self) -> io::Result<()> {
        for client in &mut self.clients {
            client.reconnect().await?;
        }
        Ok(())
    }

    /// Has every client post one event after the other for so long.
    ///
    /// # Errors
    /// If what answers does not speak HTTP. Unless the load is lenient, also if any answer is not 200,
    /// says that the event was known already, or does not come.
    pub(crate) async fn run(&mut self, during: Duration) -> anyhow::Result<Report> {
        let began = Instant::now();
        let mut running = JoinSet::new();
        let count = self.clients.len().max(1) as u32;
        for (number, client) in self.clients.drain(..).enumerate() {
            // Paced clients do not all post at once.
            let first = began + self.plan.every * number as u32 / count;
            running.spawn(client.post_until(self.plan, first, began + during));
        }
        let mut report = Report::default();
        while let Some(done) = running.join_next().await {
            let (client, part) = done??;
            self.clients.extend(client);
            report.add(part);
        }
        report.ran = began.elapsed();
        Ok(report)
    }

    /// How many clients still have a connection.
    pub(crate) fn connections(&self) -> usize {
        self.clients.len()
    }
}

impl Report {
    /// Adds another run.
    pub(crate) fn add(&mut self, other: Report) {
        self.ran += other.ran;
        self.latencies.extend(other.latencies);
        self.matched += other.matched;
        self.taken.extend(other.taken);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.lost += other.lost;
    }

    /// How many events a second were taken.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.ran.as_secs_f64()
    }

    /// Within what time, in milliseconds, this share of the events was taken.
    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        percentile(&mut self.latencies, share)
    }
}
