//! How many deliveries a second tocsin gets out and settles durably, beside a bare reqwest loop, and
//! how soon after an event somebody is told, beside a forwarder that stores nothing: see
//! `benches/README.md`.
//!
//! All of them post to one sink, in turn in one run, so that the ratios say something on any machine.

mod figures;
mod least;
mod limits;
mod process;
mod sink;

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::Client;
use reqwest::header::{CONTENT_LENGTH, HOST, HeaderMap};
use serde_json::Value;
use tempfile::TempDir;
use tocsin::clock;
use tocsin::deliver::receivers::install_tls;
use tokio::task::JoinSet;
use warp::Filter;
use warp::hyper::body::Bytes;

use figures::percentile;
use least::Rows;
use limits::{Figures, Limit};
use process::Process;
use sink::{Arrival, Sink};

/// How many messages tocsin has under way to a webhook at once, which `src/deliver/worker.rs` says;
/// the bare loop has as many.
const AT_ONCE: usize = 4;

/// How many are drained: one that the sink refused once, and others that were never tried.
const DELIVERIES: usize = 10_000;
const ROUNDS: usize = 3;

/// How many events are told one at a time, and how long everyone is left in peace after each.
const EVENTS: usize = 1000;
const PEACE: Duration = Duration::from_millis(5);

/// How many events are posted at once where nothing is measured.
const POSTED_AT_ONCE: usize = 64;

/// For how long the sink asks to be left alone: long enough for [`DELIVERIES`] to be made meanwhile.
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// How long anything may take before the run is called off.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether all is settled.
const LOOK: Duration = Duration::from_millis(2);

/// What tocsin is to reach of the bare loop's rate, and to stay under of the forwarder's time.
const LEAST_RATIO: f64 = 0.5;
const MOST_TIMES: f64 = 3.0;

/// Has this program be the forwarder to the URL that follows.
const FORWARDER: &str = "forwarder";

/// Has it be one that keeps a row of what it forwards, before it does.
const KEEPER: &str = "keeper";

fn main() -> anyhow::Result<()> {
    install_tls();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [FORWARDER, url] => return runtime.block_on(forward_to(url.to_owned(), None)),
        [KEEPER, url] => {
            let rows = Rows::open(Path::new("rows.db"), (1, Duration::ZERO))?;
            return runtime.block_on(forward_to(url.to_owned(), Some(rows)));
        }
        _ => {}
    }
    // `cargo bench` says so. Whoever runs it as a test, or lists its tests, finds none.
    if arguments.iter().any(|argument| argument == "--bench") {
        return runtime.block_on(measure());
    }
    Ok(())
}

async fn measure() -> anyhow::Result<()> {
    let client = bare_client()?;
    let mut sink = Sink::start(LEFT_ALONE)?;
    println!("{DELIVERIES} deliveries, {AT_ONCE} at once, {ROUNDS} rounds\n");
    println!("{:>16} {:>13} {:>7} {:>17}", "", "deliveries/s", "s", "CPU µs/delivery");
    let (mut drained, mut posted) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (told, took, cpu) = drain(&client, &mut sink).await?;
        let cpu = cpu.as_secs_f64() * 1e6 / DELIVERIES as f64;
        print_drained("tocsin", took, &format!("{cpu:.0}"));
        drained.push(took);
        let took = post_again(&client, &mut sink, told).await?;
        print_drained("bare loop", took, "");
        posted.push(took);
    }
    let [mut forwarded, mut kept, mut told] = tell_one_at_a_time(&client, &mut sink).await?;

    println!("\nmedians");
    let (drained, posted) = (median(drained), median(posted));
    print_drained("tocsin", drained, "");
    print_drained("bare loop", posted, "");
    println!("\n{EVENTS} events each, one at a time\n");
    println!("{:>16} {:>9} {:>9}", "", "p50 ms", "p99 ms");
    let all =
        [("bare forwarder", &mut forwarded), ("keeps a row", &mut kept), ("tocsin", &mut told)];
    for (name, times) in all {
        println!("{name:>16} {:>9.2} {:>9.2}", percentile(times, 0.5), percentile(times, 0.99));
    }

    let ratio = posted.as_secs_f64() / drained.as_secs_f64();
    let times = percentile(&mut told, 0.5) / percentile(&mut forwarded, 0.5);
    println!("\na sync {:.2} ms", process::sync()?);
    let mut figures = Figures::of("deliver");
    figures.ratio("draining / bare loop's rate", ratio, Limit::AtLeast(LEAST_RATIO));
    figures.ratio("from event to arrival / forwarder's", times, Limit::AtMost(MOST_TIMES));
    figures.keep()
}

fn print_drained(name: &str, took: Duration, cpu: &str) {
    let seconds = took.as_secs_f64();
    println!("{name:>16} {:>13.0} {seconds:>7.2} {cpu:>17}", DELIVERIES as f64 / seconds);
}

/// Has tocsin get out what waits, all of it due, from the first arrival until all is settled.
/// Answers what arrived, how long it took, and what it cost tocsin's processors.
async fn drain(
    client: &Client,
    sink: &mut Sink,
) -> anyhow::Result<(Vec<Arrival>, Duration, Duration)> {
    let place = Place::telling(&sink.url())?;
    let_wait(client, sink, &place).await?;
    let tocsin = place.serve(&mut place.command())?;
    let first = sink.take(1, PATIENCE).await?;
    let cpu_before = tocsin.cpu()?;
    let others = sink.take(DELIVERIES - 1, PATIENCE).await?;
    until(client, &tocsin, r#"tocsin_deliveries_pending{receiver="sink"}"#, 0).await?;
    let took = first[0].at.elapsed();
    let cpu = tocsin.cpu()? - cpu_before;

    let told: Vec<Arrival> = first.into_iter().chain(others).collect();
    let ids: HashSet<_> = told.iter().map(|arrival| arrival.headers.get("webhook-id")).collect();
    ensure!(ids.len() == DELIVERIES, "something was told twice, or without an id");
    let sent = count_sent(client, &tocsin).await?;
    ensure!(sent == DELIVERIES, "{sent} of {DELIVERIES} deliveries are settled as sent");
    Ok((told, took, cpu))
}

/// Leaves [`DELIVERIES`] in the store, all of them due when it is opened next.
///
/// The sink refuses the first message and asks to be left alone. tocsin obeys, and makes a delivery
/// of each of the events that follow; it is stopped, and that time passes.
async fn let_wait(client: &Client, sink: &mut Sink, place: &Place) -> anyhow::Result<()> {
    // That the sink refuses is no news.
    let tocsin = place.serve(place.command().env("RUST_LOG", "info,tocsin::deliver=error"))?;
    let attempt = r#"tocsin_delivery_attempts_total{receiver="sink",outcome="transient"}"#;
    sink.leave_alone(true);
    post(client, &events_url(&tocsin), crash("first")).await?;
    until(client, &tocsin, attempt, 1).await?;
    let asked = Instant::now();
    sink.leave_alone(false);
    let crashes = (1..DELIVERIES).map(|number| crash(&number.to_string())).collect();
    post_all(client, &events_url(&tocsin), crashes, POSTED_AT_ONCE).await?;
    let pending = r#"tocsin_deliveries_pending{receiver="sink"}"#;
    until(client, &tocsin, pending, DELIVERIES).await?;
    tocsin.stop()?;
    ensure!(asked.elapsed() < LEFT_ALONE, "they were not made in time");
    tokio::time::sleep(LEFT_ALONE.saturating_sub(asked.elapsed())).await;
    let refused = sink.take(1, PATIENCE).await?;
    ensure!(contains(&refused[0].body, "first"), "something else was told than what came first");
    Ok(())
}

/// The same messages once more, with the same headers, by a bare loop: from the first arrival until
/// the last answer.
async fn post_again(
    client: &Client,
    sink: &mut Sink,
    told: Vec<Arrival>,
) -> anyhow::Result<Duration> {
    let messages = told.into_iter().map(|arrival| {
        let mut headers = arrival.headers;
        // These are for reqwest to say.
        headers.remove(HOST);
        headers.remove(CONTENT_LENGTH);
        Message { headers, body: arrival.body }
    });
    post_all(client, &sink.url(), messages.collect(), AT_ONCE).await?;
    let ended = Instant::now();
    let arrivals = sink.take(DELIVERIES, PATIENCE).await?;
    Ok(ended - arrivals[0].at)
}

/// How long it took from the POST of each event to its arrival at the sink, in microseconds: through
/// the bare forwarder, one that keeps a row of each before, and tocsin, in turn.
async fn tell_one_at_a_time(client: &Client, sink: &mut Sink) -> anyhow::Result<[Vec<u32>; 3]> {
    let place = Place::telling(&sink.url())?;
    let forwarder = |name| {
        let mut command = Command::new(std::env::current_exe()?);
        let command = command.arg(name).arg(sink.url()).current_dir(place.folder.path());
        Process::start(name, command)
    };
    let (forwarder, keeper) = (forwarder(FORWARDER)?, forwarder(KEEPER)?);
    let tocsin = place.serve(&mut place.command())?;
    let mut targets = [forwarder, keeper, tocsin].map(|process| (process, Vec::new()));
    for number in 0..EVENTS {
        for (process, times) in &mut targets {
            let id = format!("{number}-{}", process.name);
            let (url, event) = (events_url(process), crash(&id));
            let asked = Instant::now();
            post(client, &url, event).await?;
            let arrivals = sink.take(1, PATIENCE).await?;
            ensure!(contains(&arrivals[0].body, &id), "another event was told than was posted");
            let took = arrivals[0].at - asked;
            times.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            tokio::time::sleep(PEACE).await;
        }
    }
    Ok(targets.map(|(_, times)| times))
}

/// A folder with rules and a database.
struct Place {
    folder: TempDir,
}

impl Place {
    /// Every crash is a group of its own, and told to this webhook at once.
    fn telling(url: &str) -> anyhow::Result<Place> {
        let folder = process::folder("deliver-")?;
        let mut file = std::fs::File::create(folder.path().join("rules.yaml"))?;
        write!(
            file,
            "receivers:\n  sink: {{ webhook: {{ url: \"{url}\" }} }}\n\
             defaults: {{ notify: [sink], group_by: [id], group_wait: 0s }}\n\
             rules:\n  - name: crashed\n    when: {{ state: CRASHED }}\n"
        )?;
        Ok(Place { folder })
    }

    fn command(&self) -> Command {
        process::tocsin_in(self.folder.path(), Path::new("rules.yaml"))
    }

    fn serve(&self, command: &mut Command) -> anyhow::Result<Process> {
        Process::start("tocsin", command)
    }
}

/// What is posted.
struct Message {
    headers: HeaderMap,
    body: Bytes,
}

/// The crash, now, of a container of this id.
fn crash(id: &str) -> Message {
    let micros = clock::now().as_micros();
    let body = format!(
        concat!(
            r#"{{"service":"web","timestamp":{seconds}.{micros:06},"application":"shop","#,
            r#""id":"{id}","state":"CRASHED","prev_state":"RUNNING","type":"Container","#,
            r#""data":{{"last_exit_status":"#,
            r#"{{"raw_exit_status":256,"reason":"exited","exit_status":1}}}},"#,
            r#""event":"state","counters":{{"start":1,"post_attempts":0}}}}"#,
        ),
        seconds = micros / 1_000_000,
        micros = micros % 1_000_000,
        id = id,
    );
    Message { headers: HeaderMap::new(), body: body.into() }
}

fn events_url(process: &Process) -> String {
    format!("http://{}/api/post", process.address)
}

/// A client as reqwest makes it, except that nothing between here and the loopback interface is asked.
fn bare_client() -> reqwest::Result<Client> {
    Client::builder().no_proxy().timeout(PATIENCE).build()
}

async fn post(client: &Client, url: &str, message: Message) -> anyhow::Result<()> {
    let request = client.post(url).headers(message.headers).body(message.body);
    // To its end: only then the connection is free for the next.
    request.send().await?.error_for_status()?.bytes().await?;
    Ok(())
}

/// Posts all of it, so many at a time.
async fn post_all(
    client: &Client,
    url: &str,
    messages: Vec<Message>,
    at_once: usize,
) -> anyhow::Result<()> {
    let (messages, next) = (Arc::new(messages), Arc::new(AtomicUsize::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..at_once {
        let (client, url) = (client.clone(), url.to_owned());
        let (messages, next) = (Arc::clone(&messages), Arc::clone(&next));
        running.spawn(async move {
            while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (headers, body) = (message.headers.clone(), message.body.clone());
                post(&client, &url, Message { headers, body }).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until this metric of tocsin's has this value.
async fn until(
    client: &Client,
    tocsin: &Process,
    metric: &str,
    value: usize,
) -> anyhow::Result<()> {
    let (url, line) = (format!("http://{}/metrics", tocsin.address), format!("{metric} {value}"));
    let looking = async {
        while !client.get(&url).send().await?.text().await?.lines().any(|said| said == line) {
            tokio::time::sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(PATIENCE, looking).await;
    in_time.with_context(|| format!("it never came to {line}"))?
}

/// How many deliveries tocsin lists as sent.
async fn count_sent(client: &Client, tocsin: &Process) -> anyhow::Result<usize> {
    let mut next = Some("/api/deliveries?status=sent&limit=1000".to_owned());
    let mut count = 0;
    while let Some(path) = next {
        let url = format!("http://{}{path}", tocsin.address);
        let page = client.get(url).send().await?.error_for_status()?;
        // `<PATH>; rel="next"`
        let link = page.headers().get("link").map(|link| link.to_str()).transpose()?;
        next = link.and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()));
        count += serde_json::from_slice::<Vec<Value>>(&page.bytes().await?)?.len();
    }
    Ok(count)
}

/// Posts each event to this URL before it answers, once a row of it is kept, or of none if there is
/// nowhere to.
async fn forward_to(url: String, rows: Option<Rows>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    process::announce(listener.local_addr()?)?;
    let client = bare_client()?;
    let forward = warp::path!("api" / "post").and(warp::post()).and(warp::body::bytes()).then(
        move |body: Bytes| {
            let (client, url, rows) = (client.clone(), url.clone(), rows.clone());
            async move {
                if let Some(rows) = rows
                    && rows.add(body.clone()).await.is_err()
                {
                    return warp::http::StatusCode::SERVICE_UNAVAILABLE;
                }
                match post(&client, &url, Message { headers: HeaderMap::new(), body }).await {
                    Ok(()) => warp::http::StatusCode::OK,
                    Err(_) => warp::http::StatusCode::BAD_GATEWAY,
                }
            }
        },
    );
    warp::serve(forward).incoming(listener).run().await;
    Ok(())
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
