//! What a long history costs: a store that holds ten million events, beside one that is empty or holds
//! ten thousand: see `benches/README.md`.

mod figures;
mod limits;
mod load;
mod process;
mod teams;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::Client;
use tempfile::TempDir;
use tocsin::clock;
use tocsin::deliver::receivers::install_tls;
use tocsin::metrics::Metrics;
use tocsin::rules::{Rule, Rules};
use tocsin::store::Store;
use tocsin::store::sqlite::SqliteStore;
use tocsin::wake::Wake;
use tocsin::{config, event, ingest};
use tokio::task::JoinSet;

use figures::percentile;
use limits::Figures;
use limits::Limit::{AtLeast, AtMost};
use load::{Fleet, Load, Report};
use process::Process;

/// How many events a long history has, unless this variable says another number.
const MANY: u64 = 10_000_000;
const EVENTS: &str = "TOCSIN_BENCH_EVENTS";

/// How many a short one has.
const FEW: u64 = 10_000;

/// How many fleets tell a history, of 16 containers each.
const FLEETS: usize = 512;

/// How long the disk is left alone after so much was written to it.
const REST: Duration = Duration::from_secs(20);

/// How long events are kept, unless it is said.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

const STARTS: usize = 5;
const ASKED: usize = 200;
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(5);

/// What a history is told to: alerts, of which nobody is told.
const RECORD: &str = "rules: [ { name: crashed, when: { state: CRASHED } } ]";

fn main() -> anyhow::Result<()> {
    // `cargo bench` says so. Whoever runs it as a test, or lists its tests, finds none.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let many = match std::env::var(EVENTS) {
        Ok(number) => number.parse().with_context(|| format!("{EVENTS} is no number"))?,
        Err(_) => MANY,
    };
    install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (few, many) = (runtime.block_on(fill(FEW))?, runtime.block_on(fill(many))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&few, &many))
}

/// A database with a history, and what is known of it.
struct Place {
    folder: TempDir,
    rules: PathBuf,
    /// A container of which it has events.
    container: String,
    /// What all payloads are long, in bytes.
    payloads: u64,
}

impl Place {
    fn new() -> anyhow::Result<Place> {
        let folder = process::folder("history-")?;
        let rules = folder.path().join("rules.yaml");
        std::fs::write(&rules, teams::rules_file(100))?;
        Ok(Place { folder, rules, container: String::new(), payloads: 0 })
    }

    fn start(&self, name: &'static str) -> anyhow::Result<Process> {
        Process::start(name, &mut process::tocsin_in(self.folder.path(), &self.rules))
    }

    /// Has the first thirtieth of its events be older than they are kept, as after a day of thirty.
    /// Answers how many that are.
    fn age_a_thirtieth(&self) -> anyhow::Result<u64> {
        let old = "update events set received_at = received_at - ?1
                   where seq <= (select max(seq) / 30 from events)";
        let database = rusqlite::Connection::open(self.folder.path().join("tocsin.db"))?;
        Ok(u64::try_from(database.execute(old, [i64::try_from(KEPT.as_micros())?])?)?)
    }

    /// How many events it has that are older than that.
    fn older(&self) -> anyhow::Result<u64> {
        let database = rusqlite::Connection::open(self.folder.path().join("tocsin.db"))?;
        let before = clock::now().minus(KEPT).as_micros();
        let older = "select count(*) from events where received_at < ?1";
        let count: i64 = database.query_row(older, [before], |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }

    /// How large its files are, in bytes.
    fn bytes(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for file in std::fs::read_dir(self.folder.path())? {
            let (file, name) = (file.as_ref(), file.as_ref().map(std::fs::DirEntry::file_name));
            if name.is_ok_and(|name| name.to_string_lossy().starts_with("tocsin.db")) {
                bytes += file.map_or(Ok(0), |file| file.metadata().map(|file| file.len()))?;
            }
        }
        Ok(bytes)
    }
}

/// A database with so many events, which the engine decided on as it does while it serves.
async fn fill(events: u64) -> anyhow::Result<Place> {
    let began = Instant::now();
    let mut place = Place::new()?;
    let store: Arc<SqliteStore> =
        Arc::new(SqliteStore::open(&place.folder.path().join("tocsin.db"))?);
    let rules = config::parse("rules.yaml", RECORD, &|_| None, &|_| Vec::new());
    let rules = rules.map_err(|problems| anyhow::anyhow!("{problems}"))?.rules;
    // Whoever serves would have told it all by now.
    let untold = rules.iter().map(|rule| Rule { notify: Vec::new(), ..(**rule).clone() });
    let rules = Arc::new(Rules::new(untold.collect()));
    let (wake, metrics) = (Arc::new(Wake::default()), Metrics::default());
    let dynamic = Arc::clone(&store) as Arc<dyn Store>;
    let (ingest, batches) = ingest::channel(dynamic, rules, wake, metrics);
    let mut storing = JoinSet::new();
    storing.spawn(batches.run());
    let (left, payloads) = (Arc::new(AtomicU64::new(events)), Arc::new(AtomicU64::new(0)));
    let mut telling = JoinSet::new();
    for number in 0..FLEETS {
        let (ingest, left, payloads) = (ingest.clone(), Arc::clone(&left), Arc::clone(&payloads));
        telling.spawn(async move {
            let mut fleet = Fleet::new(0, number, load::CONTAINERS);
            let (mut body, mut last) = (Vec::new(), String::new());
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                let happening = fleet.next(clock::now());
                body.clear();
                happening.write_event(&mut body);
                payloads.fetch_add(body.len() as u64, Ordering::Relaxed);
                ingest.submit(event::decode(&body)?).await?;
                last = happening.id().to_string();
            }
            anyhow::Ok(last)
        });
    }
    while let Some(last) = telling.join_next().await {
        place.container = last??;
    }
    drop(ingest);
    storing.join_all().await;
    store.close();
    place.payloads = payloads.load(Ordering::Relaxed);
    println!("{events} events were stored in {:.0} s", began.elapsed().as_secs_f64());
    Ok(place)
}

async fn measure(few: &Place, many: &Place) -> anyhow::Result<()> {
    let mut figures = Figures::of("history");
    let (few_bytes, many_bytes) = (few.bytes()?, many.bytes()?);
    println!("the short history takes {few_bytes} bytes of disk, the long one {many_bytes}");
    tokio::time::sleep(REST).await;

    let client = Client::new();
    let (mut empty_starts, mut long_starts) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let empty = Place::new()?;
        empty_starts.push(time_to_ready(&client, &empty).await?);
        long_starts.push(time_to_ready(&client, many).await?);
    }
    let (empty_start, long_start) =
        (percentile(&mut empty_starts, 0.5), percentile(&mut long_starts, 0.5));
    println!("from start to ready: {empty_start:.1} ms with nothing, {long_start:.1} ms with all");

    let short = few.start("a short history")?;
    let long = many.start("a long history")?;
    let lists = [
        ("a page of /api/list", "/api/list?limit=100".to_owned(), "/api/list?limit=100".to_owned()),
        (
            "a page of /api/alerts",
            "/api/alerts?limit=100".to_owned(),
            "/api/alerts?limit=100".to_owned(),
        ),
        ("a container's timeline", timeline_of(few), timeline_of(many)),
    ];
    println!("\n{:>24} {:>12} {:>12}", "p50 ms", short.name, long.name);
    for (what, of_few, of_many) in lists {
        let (mut of_short, mut of_long) = (Vec::new(), Vec::new());
        for _ in 0..ASKED {
            of_short.push(ask(&client, &short, &of_few).await?);
            of_long.push(ask(&client, &long, &of_many).await?);
        }
        let (of_short, of_long) = (percentile(&mut of_short, 0.5), percentile(&mut of_long, 0.5));
        println!("{what:>24} {of_short:>12.2} {of_long:>12.2}");
        figures.ratio(&format!("{what}, long / short"), of_long / of_short, AtMost(2.0));
    }
    drop(short);

    let empty = Place::new()?;
    let fresh = empty.start("an empty store")?;
    println!("\n{:>16} {:>10} {:>9} {:>9}", "", "events/s", "p50 ms", "p99 ms");
    let mut rates = Vec::new();
    for process in [&fresh, &long] {
        rates.push((process, connect(process, 1).await?, Report::default()));
    }
    for (_, load, _) in &mut rates {
        load.run(WARM_UP).await?;
    }
    for _ in 0..ROUNDS {
        for (process, load, total) in &mut rates {
            load.reconnect().await?;
            let mut round = load.run(ROUND).await?;
            let (p50, p99) = (round.percentile(0.5), round.percentile(0.99));
            println!("{:>16} {:>10.0} {p50:>9.2} {p99:>9.2}", process.name, round.rate());
            total.add(round);
        }
    }
    let of_long = rates[1].2.rate() / rates[0].2.rate();
    let before = rates.swap_remove(1).2.rate();
    drop(rates);
    drop(fresh);
    long.stop()?;

    let bytes = many.bytes()?;
    let old = many.age_a_thirtieth()?;
    let pruned = many.start("while pruning")?;
    let mut load = connect(&pruned, 2).await?;
    let mut total = Report::default();
    for _ in 0..ROUNDS {
        let mut round = load.run(ROUND).await?;
        let (p50, p99) = (round.percentile(0.5), round.percentile(0.99));
        println!("{:>16} {:>10.0} {p50:>9.2} {p99:>9.2}", pruned.name, round.rate());
        total.add(round);
    }
    let pruning = total.rate() / before;
    drop(load);
    pruned.stop()?;
    let (left, grown) = (many.older()?, many.bytes()?.saturating_sub(bytes));
    println!(
        "\n{} of {old} old events were pruned meanwhile; the files grew by {grown} bytes",
        old - left
    );
    ensure!(left < old, "nothing was pruned");
    figures.ratio("ingest while pruning / not", pruning, AtLeast(0.8));
    figures.ratio("ingest, long / empty", of_long, AtLeast(0.8));
    figures.ratio("from start to ready, long / empty", long_start / empty_start, AtMost(2.0));
    let disk = many_bytes as f64 / many.payloads as f64;
    figures.ratio("bytes on disk / bytes of payload", disk, AtMost(1.3));
    figures.keep()
}

/// Connects a load of this run: those of others have no container in common with it.
async fn connect(process: &Process, run: u16) -> anyhow::Result<Load> {
    let target = load::Target::here(process.address, "/api/post");
    Ok(Load::connect_to(target, CONNECTIONS, load::CONTAINERS * CONNECTIONS, run).await?)
}

fn timeline_of(place: &Place) -> String {
    format!("/api/containers/{}", place.container)
}

/// How long it takes from the start until it is ready, in microseconds.
async fn time_to_ready(client: &Client, place: &Place) -> anyhow::Result<u32> {
    let began = Instant::now();
    let process = place.start("tocsin")?;
    let ready = format!("http://{}/readyz", process.address);
    while !client.get(&ready).send().await?.status().is_success() {
        ensure!(began.elapsed() < Duration::from_secs(60), "it is not ready after a minute");
    }
    let took = u32::try_from(began.elapsed().as_micros())?;
    // So that the next start has nothing to mend.
    process.stop()?;
    Ok(took)
}

/// How long a whole answer took, in microseconds.
async fn ask(client: &Client, process: &Process, path: &str) -> anyhow::Result<u32> {
    let url = format!("http://{}{path}", process.address);
    let began = Instant::now();
    let answer = client.get(&url).send().await?.error_for_status()?;
    let body = answer.bytes().await?;
    ensure!(body.len() > 100, "{path} answers nothing");
    Ok(u32::try_from(began.elapsed().as_micros())?)
}
