//! What a large fleet takes: the worst ten seconds of it, and the memory that it needs: see
//! `benches/README.md`.

mod figures;
mod limits;
mod load;
mod process;
mod sink;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use limits::Figures;
use limits::Limit::{AtLeast, AtMost};
use load::{Happening, Load, Report};
use process::Process;
use sink::Sink;

const CONNECTIONS: u32 = 64;

/// The storm: so many containers that crash within ten seconds, each for the first time.
const CRASHES: usize = 100_000;
const STORM: Duration = Duration::from_secs(10);

/// How many messages an application may lead to in the first minute.
const MINUTE: Duration = Duration::from_secs(60);

/// How long the last of it may take to be told.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many events are told, of how many containers, of which a tenth is down at the end.
const EVENTS: usize = 1_000_000;
const CONTAINERS: usize = 100_000;

/// How long a process is left alone before its memory counts.
const REST: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    process::when_asked(measure())
}

async fn measure() -> anyhow::Result<()> {
    let mut figures = Figures::of("fleet");
    storm(&mut figures).await?;
    remember(&mut figures).await?;
    figures.keep()
}

/// tocsin that tells a sink, with its folder.
fn tocsin(sink: &Sink) -> anyhow::Result<(Process, TempDir)> {
    let folder = process::folder("fleet-")?;
    let rules = folder.path().join("rules.yaml");
    let text = format!(
        "receivers: {{ sink: {{ webhook: {{ url: '{}' }} }} }}\n\
         defaults: {{ notify: [sink], group_by: [application], group_wait: 5s, group_interval: 30s }}\n\
         rules: [ {{ name: crashed, when: {{ state: CRASHED }} }} ]\n",
        sink.url()
    );
    std::fs::write(&rules, text)?;
    let process = Process::start("tocsin", &mut process::tocsin_in(folder.path(), &rules))?;
    Ok((process, folder))
}

async fn storm(figures: &mut Figures) -> anyhow::Result<()> {
    let mut sink = Sink::start(Duration::ZERO)?;
    let (process, _folder) = tocsin(&sink)?;
    let every = STORM * CONNECTIONS / CRASHES as u32;
    let mut load = connect(&process, CRASHES).await?.paced(every).writing(write_crash);
    let began = Instant::now();
    let mut storm = load.run(STORM).await?;
    let accepted = storm.latencies.len();
    println!(
        "{accepted} crashes were taken in {:.1} s, p50 {:.2} ms, p99 {:.2} ms",
        storm.ran.as_secs_f64(),
        storm.percentile(0.5),
        storm.percentile(0.99)
    );

    let (mut told, mut early) = (0, BTreeMap::<String, u32>::new());
    while told < accepted as u64 {
        let message = sink.take(1, PATIENCE).await.context("not all were told")?.remove(0);
        let body: Value = serde_json::from_slice(&message.body)?;
        let firing = body["data"]["firing"].as_u64().context("a message counts what fires")?;
        let application = body["data"]["labels"]["application"].to_string();
        let after = message.at - began;
        println!("{:>6.1} s: {firing} of {application}", after.as_secs_f64());
        told += firing;
        if after <= MINUTE {
            *early.entry(application).or_default() += 1;
        }
    }
    let most = early.values().copied().max().unwrap_or(0);
    let peak = process.peak_memory()?;
    let share = accepted as f64 / CRASHES as f64;
    figures.ratio("storm: crashes taken in ten seconds / 100,000", share, AtLeast(0.99));
    figures.ratio("storm: told / taken", told as f64 / accepted as f64, AtLeast(1.0));
    figures.quantity("storm: messages of one application", f64::from(most), "", AtMost(5.0));
    figures.quantity("storm: memory at the most", peak, "MB", AtMost(100.0));
    Ok(())
}

async fn remember(figures: &mut Figures) -> anyhow::Result<()> {
    let sink = Sink::start(Duration::ZERO)?;
    let (process, _folder) = tocsin(&sink)?;
    let mut load = connect(&process, CONTAINERS).await?.writing(write_life);
    let mut report = Report::default();
    while report.latencies.len() < EVENTS {
        report.add(load.run(Duration::from_secs(1)).await?);
    }
    tokio::time::sleep(REST).await;
    println!(
        "\n{} events of {CONTAINERS} containers, at {:.0} events a second; {:.1} MB at the most",
        report.latencies.len(),
        report.rate(),
        process.peak_memory()?
    );
    let memory = process.memory()?;
    figures.quantity("memory after a million events", memory, "MB", AtMost(64.0));
    Ok(())
}

async fn connect(process: &Process, containers: usize) -> anyhow::Result<Load> {
    let target = load::Target::here(process.address, "/api/post");
    // Whoever has one container less than others would have one crash twice.
    let containers = containers + CONNECTIONS as usize;
    Ok(Load::connect_to(target, CONNECTIONS as usize, containers, 0).await?)
}

fn write_crash(happening: &Happening, body: &mut Vec<u8>) {
    happening.crashed().write_event(body);
}

/// A tenth of the containers crash again and again, and the others never do.
fn write_life(happening: &Happening, body: &mut Vec<u8>) {
    match happening.is_of_the_tenth() {
        true => happening.crashed().write_event(body),
        false => happening.well().write_event(body),
    }
}
