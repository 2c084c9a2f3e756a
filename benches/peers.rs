//! How many requests a second tocsin takes beside what people would otherwise use, and what each has
//! left after `kill -9`: see `benches/README.md`.
//!
//! All are driven in turn by the same load in one run, so that their ratios say something on any
//! machine.

mod figures;
mod limits;
mod load;
mod process;
mod sink;

#[path = "peers/left.rs"]
mod left;
#[path = "peers/peer.rs"]
mod peer;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tocsin::deliver::receivers::install_tls;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use left::{Left, left};
use limits::Limit::{AtLeast, AtMost};
use load::{CONTAINERS, Load, Report, Target};
use peer::Peer;
use process::Process;
use sink::Sink;

const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(5);

/// How long all are left alone before their memory is looked at.
const IDLE: Duration = Duration::from_secs(3);

/// How often each is killed, after how long under load, and how long that load would have gone on.
const KILLS: u16 = 3;
const BEFORE_KILL: Duration = Duration::from_millis(700);
const KILL_ROUND: Duration = Duration::from_secs(10);

/// What tocsin is to reach of the rates of the others.
const LEAST_OF_ALERTMANAGER: f64 = 3.0;
const LEAST_OF_WEBHOOK: f64 = 2.0;

/// Has Alertmanager keep an alert for each event, as tocsin keeps each event.
const LASTING: &str = "lasting";

/// Above what `rates` says.
const HEAD: &str = "             accepted/s  p50 ms  p99 ms   CPU µs";

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> anyhow::Result<()> {
    // `cargo bench` says so. Whoever runs it as a test, or lists its tests, finds none.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--bench") {
        install_tls();
        let lasting = arguments.iter().any(|argument| argument == LASTING);
        let words = if lasting { Peer::lasting_words } else { Peer::words };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            // Whichever it is, what was started ends with it.
            tokio::select! {
                measured = timeout(PATIENCE, measure(words)) => {
                    measured.context("it took too long, and was called off")?
                }
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
                _ = terminated.recv() => bail!("terminated"),
            }
        });
    }
    Ok(())
}

/// Has the load be what a program takes.
type Words = fn(Peer, Load) -> Load;

async fn measure(words: Words) -> anyhow::Result<()> {
    let (missing, present): (Vec<Peer>, Vec<Peer>) =
        Peer::ALL.into_iter().partition(|peer| peer.package_missing().is_some());
    for package in missing.into_iter().filter_map(Peer::package_missing) {
        println!("{package} is not here and is left out: apt-get install {package}");
    }
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {} s each\n", ROUND.as_secs());
    println!("{HEAD}");
    let mut rivals = Vec::new();
    for peer in present {
        rivals.push(Rival::start(peer, words).await?);
    }
    for rival in &mut rivals {
        rival.load.run(WARM_UP).await?;
    }
    for _ in 0..ROUNDS {
        for rival in &mut rivals {
            rival.round().await?;
        }
    }
    sleep(IDLE).await;
    // Before any is killed, they are stopped: they share the machine.
    let mut figures =
        rivals.into_iter().map(Rival::figures).collect::<anyhow::Result<Vec<Figures>>>()?;
    println!("\nkilled {KILLS} times each");
    for figures in &mut figures {
        for number in 0..KILLS {
            figures.left.add(kill(figures.peer, number).await?);
        }
    }
    print(&mut figures)?;
    println!("A sync took {:.2} ms.", process::sync()?);
    Ok(())
}

/// A program that is measured.
struct Rival {
    peer: Peer,
    process: Process,
    load: Load,
    sink: Sink,
    total: Report,
    cpu: Duration,
    // The last, so that the process is gone when it is removed.
    _folder: TempDir,
}

/// What came of one.
struct Figures {
    peer: Peer,
    total: Report,
    cpu: Duration,
    /// In MB.
    memory: f64,
    /// How many messages it has told.
    told: usize,
    left: Left,
}

impl Rival {
    async fn start(peer: Peer, words: Words) -> anyhow::Result<Rival> {
        let (folder, sink) = (process::folder("peers-")?, Sink::start(Duration::ZERO)?);
        let process = peer.start(folder.path(), &sink.url())?;
        let load = Load::connect(process.address, CONNECTIONS, peer.path()).await?;
        let load = words(peer, load);
        let (total, cpu) = (Report::default(), Duration::ZERO);
        Ok(Rival { peer, process, load, sink, total, cpu, _folder: folder })
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        // Since its last one, the others had theirs.
        self.load.reconnect().await?;
        let before = self.process.cpu()?;
        let mut round = self.load.run(ROUND).await?;
        let cpu = self.process.cpu()? - before;
        println!("{}", rates(self.peer, &mut round, cpu));
        self.total.add(round);
        self.cpu += cpu;
        Ok(())
    }

    fn figures(mut self) -> anyhow::Result<Figures> {
        Ok(Figures {
            peer: self.peer,
            memory: self.process.memory()?,
            total: self.total,
            cpu: self.cpu,
            told: self.sink.count(),
            left: Left::default(),
        })
    }
}

/// Kills one in the middle of load, starts it again where it was, and asks what is left.
async fn kill(peer: Peer, number: u16) -> anyhow::Result<Left> {
    let (folder, sink) = (process::folder("peers-")?, Sink::start(Duration::ZERO)?);
    let mut process = peer.start(folder.path(), &sink.url())?;
    let target = Target::here(process.address, peer.path());
    let load = Load::connect_to(target, CONNECTIONS, CONTAINERS * CONNECTIONS, number).await?;
    let mut load = peer.lasting_words(load).lenient().remembering();

    let mut report = load.run(BEFORE_KILL).await?;
    // Else nobody could say afterwards whether it was lost, or was never to be found like this.
    let Left { answered, there } = left(peer, &process, folder.path(), &report.taken).await?;
    ensure!(there == answered, "{} has {there} of {answered} before it is killed", peer.name());

    let killing = async {
        sleep(BEFORE_KILL).await;
        process.kill()
    };
    let (last, killed) = tokio::join!(load.run(KILL_ROUND), killing);
    killed?;
    report.add(last?);
    ensure!(load.connections() == 0, "{} was killed and still answers", peer.name());
    let process = peer.start(folder.path(), &sink.url())?;
    left(peer, &process, folder.path(), &report.taken).await
}

fn rates(peer: Peer, report: &mut Report, cpu: Duration) -> String {
    let (rate, p50, p99) = (report.rate(), report.percentile(0.5), report.percentile(0.99));
    let cpu = cpu.as_secs_f64() * 1e6 / report.latencies.len() as f64;
    format!("{:>12} {rate:>10.0} {p50:>7.2} {p99:>7.2} {cpu:>8.1}", peer.name())
}

/// The one table, and what was to be reached.
fn print(all: &mut [Figures]) -> anyhow::Result<()> {
    println!("\nall rounds, and what is left of what was answered when it was killed");
    println!("{HEAD} {:>9} {:>9} {:>8} {:>7}", "memory MB", "answered", "left", "lost");
    for figures in all.iter_mut() {
        let Figures { peer, memory, left, .. } = *figures;
        let rates = rates(peer, &mut figures.total, figures.cpu);
        let (answered, there, lost) = (left.answered, left.there, left.lost());
        println!("{rates} {memory:>9.1} {answered:>9} {there:>8} {lost:>7}");
    }
    let find = |wanted| all.iter().find(|figures| figures.peer == wanted);
    let tocsin = find(Peer::Tocsin).expect("it is never missing, since it was built along");
    let mut limits = limits::Figures::of("peers");
    if let Some(other) = find(Peer::Alertmanager) {
        println!("\nmessages told: {}, and {} by alertmanager", tocsin.told, other.told);
        let rates = tocsin.total.rate() / other.total.rate();
        limits.ratio("rate / alertmanager's", rates, AtLeast(LEAST_OF_ALERTMANAGER));
        limits.ratio("memory / alertmanager's", tocsin.memory / other.memory, AtMost(1.0));
    }
    if let Some(other) = find(Peer::Webhook) {
        let rates = tocsin.total.rate() / other.total.rate();
        limits.ratio("rate / webhook's", rates, AtLeast(LEAST_OF_WEBHOOK));
    }
    limits.quantity("events lost by kill -9", tocsin.left.lost() as f64, "", AtMost(0.0));
    limits.keep()?;
    println!("\nOf webhook, which keeps nothing, it is crashes whose command ran that are left.");
    Ok(())
}
