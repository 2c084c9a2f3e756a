//! What hostile clients do to how soon good ones are answered: see `benches/README.md`.
//!
//! The good ones post at a steady rate. Quiet and hostile rounds take turns in one run, on one
//! process, so that their ratio says something on any machine.

mod figures;
mod limits;
mod load;
mod process;

#[path = "../tests/hostile_clients/mod.rs"]
mod hostile_clients;

use std::time::Duration;

use hostile_clients::{Crew, SLOW};
use limits::{Figures, Limit};
use load::{Load, Report};
use process::Process;

/// The good clients, and how often each posts: 800 events a second in all.
const CONNECTIONS: usize = 16;
const EVERY: Duration = Duration::from_millis(20);

const WARM_UP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(8);

/// How long the hostile ones are at it before it counts: all of the slow ones are there by then.
const LEAD: Duration = Duration::from_secs(2);

/// How many times the p99 of a quiet round that of a hostile one may be.
const MOST_RATIO: f64 = 3.0;

const RULES: &str = "
server: { receive_token: a-token-that-nobody-guesses }
rules: [ { name: crashed, when: { state: CRASHED } } ]";
const TOKEN: &str = "a-token-that-nobody-guesses";
const PATH: &str = "/api/post?token=a-token-that-nobody-guesses";

fn main() -> anyhow::Result<()> {
    process::when_asked(measure())
}

async fn measure() -> anyhow::Result<()> {
    let folder = process::folder("hostile-")?;
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, RULES)?;
    let tocsin = Process::start("tocsin", &mut process::tocsin_in(folder.path(), &rules))?;
    let mut load = Load::connect(tocsin.address, CONNECTIONS, PATH).await?.paced(EVERY);
    load.run(WARM_UP).await?;

    println!(
        "{CONNECTIONS} clients, a post every {EVERY:?} each; against {} slow ones and others\n",
        2 * SLOW
    );
    println!("{:>8} {:>10} {:>9} {:>9}", "", "events/s", "p50 ms", "p99 ms");
    let before = tocsin.cpu()?;
    let (mut quiet, mut besieged) = (Report::default(), Report::default());
    for _ in 0..ROUNDS {
        quiet.add(print("quiet", load.run(ROUND).await?));
        let crew = Crew::against(tocsin.address, TOKEN);
        tokio::time::sleep(LEAD).await;
        besieged.add(print("hostile", load.run(ROUND).await?));
        let toll = crew.toll();
        let told: u32 = toll.values().flat_map(|statuses| statuses.values()).sum();
        // Slow bodies are still under way, and slow heads may be.
        anyhow::ensure!(toll.len() >= 6 && told > 1000, "they did next to nothing: {toll:?}");
    }
    println!("\nall rounds");
    let (mut quiet, mut besieged) = (print("quiet", quiet), print("hostile", besieged));
    let ratio = besieged.percentile(0.99) / quiet.percentile(0.99);
    println!("\n{} worked for {:.1} s", tocsin.name, (tocsin.cpu()? - before).as_secs_f64());
    let mut figures = Figures::of("hostile");
    figures.ratio("p99 while besieged / while quiet", ratio, Limit::AtMost(MOST_RATIO));
    figures.keep()
}

fn print(name: &str, mut report: Report) -> Report {
    let (rate, p50, p99) = (report.rate(), report.percentile(0.5), report.percentile(0.99));
    println!("{name:>8} {rate:>10.0} {p50:>9.2} {p99:>9.2}");
    report
}
