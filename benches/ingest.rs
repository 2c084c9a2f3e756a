//! How many events a second tocsin takes in durably, beside a bare warp handler that parses the
//! same JSON and forgets it, and one that keeps a row of it: see `benches/README.md`.
//!
//! All are processes of their own, driven in turn by the same load in one run, so that their ratios
//! say something on any machine.

mod figures;
mod least;
mod limits;
mod load;
mod process;
mod teams;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use limits::Figures;
use limits::Limit::{AtLeast, AtMost};
use load::{Load, Report};
use process::Process;

const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(5);

/// How long each round with one connection is.
const ALONE: Duration = Duration::from_secs(2);

/// How long a process is left alone before its memory counts as idle.
const IDLE: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    least::when_asked().unwrap_or_else(|| process::when_asked(measure()))
}

async fn measure() -> anyhow::Result<()> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules.example.yaml");
    let rows = process::folder("ingest-")?;
    let mut targets = [
        Target::start("bare warp", &mut least::forgetting()?, None)?,
        Target::tocsin("100 rules", &teams::rules_file(100))?,
        Target::tocsin("10,000 rules", &teams::rules_file(10_000))?,
        Target::tocsin("example", &std::fs::read_to_string(example)?)?,
        Target::start("a row each", &mut least::keeping(rows.path())?, Some(rows))?,
    ];
    tokio::time::sleep(IDLE).await;
    let idle = targets[1].process.memory()?;

    for target in &mut targets {
        target.connect(CONNECTIONS).await?;
        target.load().run(WARM_UP).await?;
    }
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {} s each\n", ROUND.as_secs());
    print_head();
    for _ in 0..ROUNDS {
        for target in &mut targets {
            target.round(ROUND).await?;
        }
    }
    println!("\nall rounds");
    let [bare, hundred, ten_thousand, example, row] = targets.each_mut().map(Target::sum_up);
    let matched = targets[1].total.matched as f64 / targets[1].total.latencies.len() as f64;
    tokio::time::sleep(IDLE).await;
    println!("\nmatched a rule {:.1} %", matched * 100.0);
    println!("a row each / bare handler's rate {:.2}", row.rate / bare.rate);
    for target in &targets[1..4] {
        println!("memory of {} after load {:.1} MB", target.process.name, target.process.memory()?);
    }

    let [alone_bare, alone, ..] = &mut targets;
    println!("\none connection, one event at a time\n");
    print_head();
    for target in [&mut *alone_bare, &mut *alone] {
        target.total = Report::default();
        target.total_cpu = Duration::ZERO;
        target.connect(1).await?;
    }
    let mut syncs = Vec::new();
    for _ in 0..ROUNDS {
        syncs.push(process::sync()?);
        for target in [&mut *alone_bare, &mut *alone] {
            target.round(ALONE).await?;
        }
    }
    println!("\nall rounds");
    let (alone_bare, alone) = (alone_bare.sum_up(), alone.sum_up());
    syncs.sort_by(f64::total_cmp);
    let sync = syncs[syncs.len() / 2];
    println!("\na sync of one page {sync:.2} ms");

    let mut figures = Figures::of("ingest");
    figures.ratio("rate with 100 rules / bare handler's", hundred.rate / bare.rate, AtLeast(0.65));
    figures.ratio("its p99 / bare handler's", hundred.p99 / bare.p99, AtMost(3.0));
    let many = ten_thousand.rate / hundred.rate;
    figures.ratio("rate with 10,000 rules / with 100", many, AtLeast(0.9));
    figures.ratio("rate with the example's / bare", example.rate / bare.rate, AtLeast(0.45));
    let alone = alone.p50 / (sync + alone_bare.p50);
    figures.ratio("one connection / a sync and the bare handler", alone, AtMost(2.0));
    figures.quantity("memory while idle", idle, "MB", AtMost(15.0));
    figures.keep()
}

fn print_head() {
    println!(
        "{:>12} {:>10} {:>9} {:>9} {:>14}",
        "", "events/s", "p50 ms", "p99 ms", "CPU µs/event"
    );
}

/// What rounds came to.
struct Sum {
    rate: f64,
    p50: f64,
    p99: f64,
}

fn print_rates(name: &str, report: &mut Report, cpu: Duration) -> Sum {
    let (rate, p50, p99) = (report.rate(), report.percentile(0.5), report.percentile(0.99));
    let cpu = cpu.as_secs_f64() * 1e6 / report.latencies.len() as f64;
    println!("{name:>12} {rate:>10.0} {p50:>9.2} {p99:>9.2} {cpu:>14.1}");
    Sum { rate, p50, p99 }
}

/// A process to be measured.
struct Target {
    process: Process,
    load: Option<Load>,
    total: Report,
    total_cpu: Duration,
    /// Where its database is.
    _folder: Option<TempDir>,
}

impl Target {
    fn start(
        name: &'static str,
        command: &mut Command,
        folder: Option<TempDir>,
    ) -> anyhow::Result<Target> {
        let process = Process::start(name, command)?;
        let (total, total_cpu) = (Report::default(), Duration::ZERO);
        Ok(Target { process, load: None, total, total_cpu, _folder: folder })
    }

    /// tocsin with these rules, in a folder of its own.
    fn tocsin(name: &'static str, rules: &str) -> anyhow::Result<Target> {
        let folder = process::folder("ingest-")?;
        let file = folder.path().join("rules.yaml");
        std::fs::write(&file, rules)?;
        Target::start(name, &mut process::tocsin_in(folder.path(), &file), Some(folder))
    }

    async fn connect(&mut self, connections: usize) -> anyhow::Result<()> {
        // What was told with other connections is not told again.
        let run = u16::from(self.load.is_some());
        let target = load::Target::here(self.process.address, "/api/post");
        let containers = load::CONTAINERS * connections;
        self.load = Some(Load::connect_to(target, connections, containers, run).await?);
        Ok(())
    }

    fn load(&mut self) -> &mut Load {
        self.load.as_mut().expect("every target is connected before it is loaded")
    }

    async fn round(&mut self, length: Duration) -> anyhow::Result<()> {
        // Since its last one, the others had theirs, and idle connections are closed.
        self.load().reconnect().await?;
        let before = self.process.cpu()?;
        let mut round = self.load().run(length).await?;
        let cpu = self.process.cpu()? - before;
        print_rates(self.process.name, &mut round, cpu);
        self.total.add(round);
        self.total_cpu += cpu;
        Ok(())
    }

    fn sum_up(&mut self) -> Sum {
        print_rates(self.process.name, &mut self.total, self.total_cpu)
    }
}
