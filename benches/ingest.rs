//! How many events a second tocsin takes in durably, beside a bare warp handler that parses the
//! same JSON and forgets it: see `benches/README.md`.
//!
//! Both are processes of their own, driven in turn by the same load in one run, so that their ratio
//! says something on any machine.

mod figures;
mod load;
mod process;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warp::Filter;

use load::{Load, Report};
use process::Process;

const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(5);

/// How long a process is left alone before its memory counts as idle.
const IDLE: Duration = Duration::from_secs(3);

/// What tocsin is to reach of the bare handler's rate, and to stay under in memory, in MB.
const LEAST_RATIO: f64 = 0.45;
const MOST_MEMORY: f64 = 20.0;

/// Has this program be the bare handler.
const BARE: &str = "bare";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == BARE) {
        return serve_bare();
    }
    // `cargo bench` says so. Whoever runs it as a test, or lists its tests, finds none.
    if arguments.iter().any(|argument| argument == "--bench") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(measure());
    }
    Ok(())
}

async fn measure() -> anyhow::Result<()> {
    let folder = process::folder("ingest-")?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules.example.yaml");
    let mut bare = Target::start("bare warp", Command::new(std::env::current_exe()?).arg(BARE))?;
    let mut tocsin = Target::start("tocsin", &mut process::tocsin_in(folder.path(), &rules))?;
    tokio::time::sleep(IDLE).await;
    let idle = tocsin.process.memory()?;

    for target in [&mut bare, &mut tocsin] {
        target.connect().await?;
        target.load().run(WARM_UP).await?;
    }
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {} s each\n", ROUND.as_secs());
    println!(
        "{:>12} {:>10} {:>9} {:>9} {:>14}",
        "", "events/s", "p50 ms", "p99 ms", "CPU µs/event"
    );
    for _ in 0..ROUNDS {
        for target in [&mut bare, &mut tocsin] {
            let before = target.process.cpu()?;
            let mut round = target.load().run(ROUND).await?;
            let cpu = target.process.cpu()? - before;
            print_rates(target.process.name, &mut round, cpu);
            target.total.add(round);
            target.total_cpu += cpu;
        }
    }
    println!("\nall rounds");
    for target in [&mut bare, &mut tocsin] {
        print_rates(target.process.name, &mut target.total, target.total_cpu);
    }
    tokio::time::sleep(IDLE).await;

    let ratio = tocsin.total.rate() / bare.total.rate();
    let matched = tocsin.total.matched as f64 / tocsin.total.latencies.len() as f64;
    println!("\nratio                 {ratio:.3}   (at least {LEAST_RATIO})");
    println!("matched a rule        {:.1} %", matched * 100.0);
    println!("memory, idle          {idle:.1} MB (under {MOST_MEMORY})");
    println!("memory, after load    {:.1} MB", tocsin.process.memory()?);
    Ok(())
}

fn print_rates(name: &str, report: &mut Report, cpu: Duration) {
    let (rate, p50, p99) = (report.rate(), report.percentile(0.5), report.percentile(0.99));
    let cpu = cpu.as_secs_f64() * 1e6 / report.latencies.len() as f64;
    println!("{name:>12} {rate:>10.0} {p50:>9.2} {p99:>9.2} {cpu:>14.1}");
}

/// A process to be measured.
struct Target {
    process: Process,
    load: Option<Load>,
    total: Report,
    total_cpu: Duration,
}

impl Target {
    fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Target> {
        let process = Process::start(name, command)?;
        Ok(Target { process, load: None, total: Report::default(), total_cpu: Duration::ZERO })
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        self.load = Some(Load::connect(self.process.address, CONNECTIONS, "/api/post").await?);
        Ok(())
    }

    fn load(&mut self) -> &mut Load {
        self.load.as_mut().expect("every target is connected before it is loaded")
    }
}

/// The least that a warp server can do with an event: it parses the JSON and forgets it.
fn serve_bare() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        process::announce(listener.local_addr()?)?;
        let forget = warp::path!("api" / "post")
            .and(warp::post())
            .and(warp::body::json())
            .map(|_: serde_json::Value| warp::reply());
        warp::serve(forget).incoming(listener).run().await;
        Ok(())
    })
}
