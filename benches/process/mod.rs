//! What the benchmarks share that measure whole programs: a process that listens, and tocsin as it
//! is installed. Knows nothing of what is sent to them.

#![allow(dead_code, reason = "not every benchmark asks all of a process")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::figures::percentile;

/// Runs a benchmark if it is `cargo bench` that asks. Whoever runs it as a test, or lists its tests,
/// finds none.
///
/// # Errors
/// Those of the benchmark.
pub(crate) fn when_asked(measure: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    // Not while something is measured.
    LazyLock::force(&INSTALLED);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure)
}

/// What a process says once it listens, before its address.
const LISTENING: &str = "listening on http://";

/// A process that listens; it ends when this is dropped.
pub(crate) struct Process {
    /// What it is called where it is named.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The process itself.
    pub(crate) child: Child,
}

impl Process {
    /// Starts a process and waits until it says where it listens. Whatever troubles it after that
    /// goes to our standard error.
    ///
    /// # Errors
    /// If it cannot be started, or ends without having listened.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Process> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Process { name, address: unknown, child };
        let said = process.child.stderr.take().context("its standard error is not piped")?;
        let mut lines = BufReader::new(said).lines();
        process.address = loop {
            let line = lines.next().with_context(|| format!("{name} ended at once"))??;
            if let Some((_, after)) = line.split_once(LISTENING) {
                let address = after.split_whitespace().next().unwrap_or_default();
                break address
                    .parse()
                    .with_context(|| format!("{name} listens nowhere: {line}"))?;
            }
        };
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| !line.contains(" INFO ")) {
                eprintln!("{name}: {line}");
            }
        });
        Ok(process)
    }

    /// Starts a process that does not say where it listens, or not so that it can be relied on, and
    /// waits until something answers at the address that it was given. What it says goes to `log`.
    ///
    /// # Errors
    /// If it cannot be started, ends at once, or does not listen in time.
    pub(crate) fn start_silent(
        name: &'static str,
        command: &mut Command,
        address: SocketAddr,
        log: &Path,
        patience: Duration,
    ) -> anyhow::Result<Process> {
        let output = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut process = Process { name, address, child };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            if let Some(status) = process.child.try_wait()? {
                bail!("{name} ended at once with {status}: {}", said());
            }
            ensure!(began.elapsed() < patience, "{name} does not listen: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended before.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "{} ended by itself", self.name);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How long processors have worked for the process: unlike its rate, this hardly depends on
    /// what else the machine has to do.
    ///
    /// # Errors
    /// If the process is gone, or the system is not Linux.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        /// Linux counts in hundredths of a second here, whatever the kernel's own tick (`proc(5)`).
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is a name in brackets, and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("the system does not name the process")?;
        let ticks: u32 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u32>)
            .sum::<Result<_, _>>()?;
        Ok(TICK * ticks)
    }
}

impl Process {
    /// Its resident memory, in MB.
    ///
    /// # Errors
    /// If the process is gone, or the system is not Linux.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        self.status("VmRSS:")
    }

    /// The most resident memory that it ever had, in MB.
    ///
    /// # Errors
    /// If the process is gone, or the system is not Linux.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<f64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .context("the system does not say how much memory is resident")?;
        Ok(kib.parse::<f64>()? * 1024.0 / 1e6)
    }

    /// Has it stop softly, and waits until it has.
    ///
    /// # Errors
    /// If it did not.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "{} did not stop softly: {status}", self.name);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says where this process listens, as [`Process::start`] waits for it.
///
/// # Errors
/// If nobody hears it.
pub(crate) fn announce(address: SocketAddr) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{LISTENING}{address}")
}

/// A folder for a database, which goes when this is dropped. It is not the system's temporary one:
/// that may be in memory, where a sync costs nothing.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn folder(prefix: &str) -> std::io::Result<TempDir> {
    TempDir::with_prefix_in(prefix, env!("CARGO_TARGET_TMPDIR"))
}

/// tocsin as it is installed. What Cargo builds beside a benchmark is larger: it has all features of
/// its libraries that only tests and benchmarks ask for.
static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in Cargo's folder");
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--release", "--bin=tocsin", "--target-dir"])
        .arg(target)
        // Its settings are looked for from here up.
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cargo cannot build tocsin");
    target.join("release/tocsin")
});

/// The command for tocsin as it is installed, with these rules and its database in `folder`.
pub(crate) fn tocsin_in(folder: &Path, rules: &Path) -> Command {
    let mut command = Command::new(&*INSTALLED);
    command.arg("serve").arg(rules).args(["--listen", "127.0.0.1:0"]).current_dir(folder);
    for variable in ["TOCSIN_LISTEN", "TOCSIN_STORAGE", "SLACK_WEBHOOK_URL", "SMTP_URL", "RUST_LOG"]
    {
        command.env_remove(variable);
    }
    command
}

/// How long it takes to append a page and sync it, in milliseconds: what each of tocsin's commits
/// waits for at least. The middle of many.
///
/// # Errors
/// If it cannot be done.
pub(crate) fn sync() -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in(folder("sync-")?.path())?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(u32::try_from(began.elapsed().as_micros())?);
    }
    Ok(percentile(&mut times, 0.5))
}
