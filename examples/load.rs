//! The load of the benchmarks, for any receiver of webhooks: `benches/README.md` says how.
//!
//! It is for machines of one's own. So it posts to loopback addresses only, unless it is told
//! otherwise, and to the addresses that were looked at, whatever a name says a moment later.

#[path = "../benches/figures/mod.rs"]
mod figures;
#[path = "../benches/load/mod.rs"]
mod load;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use reqwest::Url;

use load::{CONTAINERS, Load, Report, Target};

/// Posts container events to a receiver of webhooks, as fast as it takes them or
/// at a steady rate, and says how fast that was.
///
/// Each event is a request of its own, and each connection posts its next one
/// after the answer. The containers live as those of a scheduler do: one event in
/// twenty is a crash. They are new with every run.
#[derive(Parser)]
#[command(name = "load", max_term_width = 80, after_help = AFTER)]
struct Arguments {
    /// Where to post: tocsin has its events at /api/post.
    #[arg(long, value_name = "URL", default_value = TOCSIN, value_parser = url)]
    url: Url,
    /// How many connections, all of which are kept alive.
    #[arg(
        long,
        short,
        value_name = "N",
        default_value = "64",
        value_parser = RangedU64ValueParser::<u16>::new().range(1..=10_000)
    )]
    connections: u16,
    /// For how many seconds.
    #[arg(
        long,
        short,
        value_name = "N",
        default_value = "10",
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=86_400)
    )]
    seconds: u32,
    /// How many events a second among all connections; as many as are taken, if it
    /// is not given.
    #[arg(
        long,
        short,
        value_name = "N",
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=10_000_000)
    )]
    rate: Option<u32>,
    /// The token that the receiver asks for, sent as a Bearer token.
    #[arg(long, value_name = "TOKEN", env = "LOAD_TOKEN", hide_env_values = true, value_parser = token)]
    token: Option<String>,
    /// How many containers the events are of, at least one for each connection; 16
    /// for each, if it is not given.
    #[arg(
        long,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000_000)
    )]
    containers: Option<usize>,
    /// Post to other machines, too. Only ever do that to what is yours.
    #[arg(long)]
    anywhere: bool,
}

/// Where tocsin has its events, as it listens unless it is told otherwise.
const TOCSIN: &str = "http://127.0.0.1:8080/api/post";

const AFTER: &str = "\
What is answered with another status than 2xx is counted and not posted again.
The exit code is 0 if any event was taken, 1 if none was, and 2 if the
arguments make no sense.";

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether any event was taken.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = target(arguments).await?;
        let connections = usize::from(arguments.connections);
        let containers = arguments.containers.unwrap_or(CONTAINERS * connections).max(connections);
        // Without the query, which may hold a token.
        let mut shown = arguments.url.clone();
        shown.set_query(None);
        let place = target.address;
        // A number of its own, so that a receiver that has the last run still has not heard of these.
        let run = fastrand::u16(..0x1000);
        let mut load = Load::connect_to(target, connections, containers, run)
            .await
            .with_context(|| format!("cannot open {connections} connections to {place}"))?
            .lenient();
        if let Some(rate) = arguments.rate {
            load = load.paced(Duration::from_secs(1) * connections as u32 / rate);
        }
        println!(
            "{shown}\n{connections} connections, {containers} containers, {} s{}\n",
            arguments.seconds,
            arguments.rate.map(|rate| format!(", {rate} events/s")).unwrap_or_default(),
        );
        let mut report = load.run(Duration::from_secs(arguments.seconds.into())).await?;
        print(&mut report, connections - load.connections());
        Ok(!report.latencies.is_empty())
    })
}

fn print(report: &mut Report, gone: usize) {
    let taken = report.latencies.len();
    println!("{:<18}{:>10}   in {:.1} s", "taken", taken, report.ran.as_secs_f64());
    println!("{:<18}{:>10.0}", "events/s", report.rate());
    if taken > 0 {
        for (name, share) in [("p50 ms", 0.5), ("p99 ms", 0.99)] {
            println!("{name:<18}{:>10.2}", report.percentile(share));
        }
    }
    if report.matched > 0 {
        println!("{:<18}{:>10}   as the receiver says", "matched a rule", report.matched);
    }
    let refused: usize = report.refused.values().sum();
    println!("{:<18}{refused:>10}", "refused");
    for (status, count) in &report.refused {
        println!("  {:<16}{count:>10}", format!("with {status}"));
    }
    println!("{:<18}{:>10}", "lost connections", report.lost);
    if gone > 0 {
        println!("\n{gone} of the connections could not be opened again: is it still there?");
    }
}

/// Where to post, if that is a place that may be posted to.
async fn target(arguments: &Arguments) -> anyhow::Result<Target> {
    let url = &arguments.url;
    ensure!(
        url.scheme() == "http",
        "{}:// is not spoken here; give a URL that begins with http://",
        url.scheme()
    );
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "a user and a password in the URL are not sent; give a token with --token"
    );
    let name = url.host_str().context("the URL has no host")?;
    let port = url.port_or_known_default().context("the URL has no port")?;
    // An IPv6 address is in brackets in a URL, and must not be in a look-up.
    let bare = name.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
        .await
        .with_context(|| format!("cannot find {name}"))?
        .collect();
    if !arguments.anywhere {
        for address in &addresses {
            ensure!(
                address.ip().to_canonical().is_loopback(),
                "{address} is not on this machine, and load is posted to loopback addresses only; \
                 give --anywhere if that place is yours"
            );
        }
    }
    let address = reachable(&addresses).await.with_context(|| format!("{name} has no address"))?;
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    };
    Ok(Target { address, host, path, token: arguments.token.clone() })
}

/// The first that takes a connection, as `localhost` may be two; the first of all, if none does.
async fn reachable(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    for address in addresses {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Some(*address);
        }
    }
    addresses.first().copied()
}

fn url(text: &str) -> Result<Url, String> {
    text.parse().map_err(|error| format!("{error}; give one such as {TOCSIN}"))
}

/// What may stand in a header.
fn token(text: &str) -> Result<String, &'static str> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("a token is one word of plain ASCII")
    }
}
