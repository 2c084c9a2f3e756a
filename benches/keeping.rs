//! How many events a second tocsin takes in while it lets go of old ones, beside the same tocsin with
//! as large a database of which nothing is old: see `benches/README.md`.

#[allow(dead_code, reason = "not all of it is needed here")]
mod load;
#[allow(dead_code, reason = "not all of it is needed here")]
mod process;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use rusqlite::Connection;

use load::{Load, Report};
use process::Process;

const CONNECTIONS: usize = 64;
/// How long the database is filled.
const FILL: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(5);

/// What pruning is to leave of the rate.
const LEAST_RATIO: f64 = 0.8;

const YEAR: i64 = 365 * 24 * 3600 * 1_000_000;

fn main() -> anyhow::Result<()> {
    // `cargo bench` says so. Whoever runs it as a test, or lists its tests, finds none.
    if std::env::args().any(|argument| argument == "--bench") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(measure());
    }
    Ok(())
}

async fn measure() -> anyhow::Result<()> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules.example.yaml");
    let (young, old) = (process::folder("young-")?, process::folder("old-")?);
    {
        let tocsin = Process::start("tocsin", &mut process::tocsin_in(young.path(), &rules))?;
        let mut load = Load::connect(tocsin.address, CONNECTIONS, "/api/post").await?;
        load.run(FILL).await?;
    }
    let file = |folder: &Path| folder.join("tocsin.db");
    // Opened so, all of it is folded into the one file.
    drop(Connection::open(file(young.path()))?);
    Connection::open(file(young.path()))?.query_row(
        "pragma wal_checkpoint(truncate)",
        [],
        |_| Ok(()),
    )?;
    std::fs::copy(file(young.path()), file(old.path()))?;
    let connection = Connection::open(file(old.path()))?;
    connection.execute("update events set received_at = received_at - ?1", [YEAR])?;
    let heard = "update intervals set end_at = end_at - ?1, end_heard_at = end_heard_at - ?1
                 where end_at is not null";
    connection.execute(heard, [YEAR])?;
    let filled: i64 = connection.query_row("select count(*) from events", [], |row| row.get(0))?;
    drop(connection);

    let mut targets = Vec::new();
    for (name, folder) in [("keeps all", &young), ("prunes", &old)] {
        let process = Process::start(name, &mut process::tocsin_in(folder.path(), &rules))?;
        let mut load = Load::connect(process.address, CONNECTIONS, "/api/post").await?;
        load.run(WARM_UP).await?;
        signal(&process, "STOP")?;
        targets.push((process, load, Report::default()));
    }
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {} s each\n", ROUND.as_secs());
    for _ in 0..ROUNDS {
        for (process, load, total) in &mut targets {
            // Only one of them runs: pruning is not to slow down the other one.
            signal(process, "CONT")?;
            let mut round = load.run(ROUND).await?;
            signal(process, "STOP")?;
            print_rates(process.name, &mut round);
            total.add(round);
        }
    }
    println!("\nall rounds");
    let mut rates = Vec::new();
    for (process, _, total) in &mut targets {
        print_rates(process.name, total);
        rates.push(total.rate());
    }
    drop(targets);
    let left = old_events(&file(old.path()))?;
    println!("\nratio                 {:.3}   (at least {LEAST_RATIO})", rates[1] / rates[0]);
    println!("old events            {filled}, of which {left} are left");
    ensure!(left < filled, "nothing was pruned");
    Ok(())
}

fn print_rates(name: &str, report: &mut Report) {
    let (rate, p50, p99) = (report.rate(), report.percentile(0.5), report.percentile(0.99));
    println!("{name:>12} {rate:>10.0} /s   p50 {p50:>6.2} ms   p99 {p99:>6.2} ms");
}

fn signal(process: &Process, name: &str) -> anyhow::Result<()> {
    let id = process.child.id().to_string();
    let status = Command::new("kill").args([format!("-{name}"), id]).status()?;
    ensure!(status.success(), "a signal could not be sent");
    Ok(())
}

/// How many events in a database were received long ago.
fn old_events(file: &Path) -> anyhow::Result<i64> {
    let sql = "select count(*) from events
               where received_at < (select max(received_at) from events) - ?1";
    Ok(Connection::open(file)?.query_row(sql, [YEAR / 2], |row| row.get(0))?)
}
