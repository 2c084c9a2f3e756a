//! How many instructions tocsin takes for an event, for the rules, for a decision and in its store,
//! beside the figures in `baseline.txt`: see `benches/README.md`.
//!
//! Nothing is timed, so that it says the same on a busy machine as on a quiet one. It starts itself
//! again within valgrind, whose callgrind counts.

mod baseline;
#[path = "../load/fleet.rs"]
mod fleet;
mod measured;
#[path = "../teams/mod.rs"]
mod teams;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, anyhow, bail, ensure};

use baseline::{Figure, WRITE};

/// Has this program do what is counted, in the folder that follows.
const MEASURED: &str = "--measured";

/// Where the figures are kept.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/guard/baseline.txt");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Cargo adds `--bench` at the end.
    let done = match arguments[..] {
        [MEASURED, folder] => measured::run(Path::new(folder)).map(|()| true),
        [] | ["--bench"] => check(false),
        ["--write"] | ["--write", "--bench"] => check(true),
        _ => Err(anyhow!("unknown arguments; there is only `{WRITE}`")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Counts, and compares with what is kept, or keeps it. Whether all is well.
fn check(write: bool) -> anyhow::Result<bool> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        println!("guard: skipped, since its figures are of Linux on x86_64");
        return Ok(true);
    }
    // Otherwise what is counted is another program.
    let built_as_agreed =
        !cfg!(debug_assertions) && std::env::current_exe()?.iter().any(|part| part == "debug");
    ensure!(built_as_agreed, "this is not built as what the figures are of; run `cargo guard`");
    let figures = count()?;
    if write {
        fs::write(BASELINE, baseline::written(&figures)).context("the figures cannot be kept")?;
        print!("{}", baseline::written(&figures));
        return Ok(true);
    }
    let kept =
        fs::read_to_string(BASELINE).with_context(|| format!("{BASELINE} cannot be read"))?;
    let kept = baseline::read(&kept)
        .map_err(|line| anyhow!("{BASELINE} has a line without a figure: {line}"))?;
    let comparison = baseline::compare(&figures, &kept);
    print!("{}", comparison.table);
    for note in &comparison.notes {
        println!("guard: {note}");
    }
    for wrong in &comparison.wrong {
        eprintln!("guard: {wrong}");
    }
    if !comparison.wrong.is_empty() {
        eprintln!(
            "guard: if that is meant, run `{WRITE}` and commit what it writes with the reason"
        );
    }
    Ok(comparison.wrong.is_empty())
}

/// Has callgrind count. It writes down what it has counted between one mark and the next.
fn count() -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let counts = folder.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet", "--dump-before=guard::measured::mark*"])
        // Left out: valgrind's processor has no instructions for SHA-256, so that in software it would
        // be the greater part of decoding.
        .args(["--toggle-collect=sha2::sha256::soft::unroll::compress*", "--collect-atstart=yes"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe()?)
        .arg(MEASURED)
        .arg(folder.path())
        // What is in the environment lies on the stack, and moves what comes after it.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = valgrind.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            anyhow!("valgrind is not there, which counts; install it (apt-get install valgrind)")
        }
        _ => anyhow!(error).context("valgrind cannot be started"),
    })?;
    ensure!(output.status.success(), "what is counted ended with {}", output.status);
    let done = String::from_utf8(output.stdout).context("it says what is no text")?;
    let figures = done.lines().enumerate().map(|(number, line)| figure(&counts, number, line));
    let figures = figures.collect::<Result<Vec<_>, _>>()?;
    let one_more = counts.with_extension((2 * figures.len() + 1).to_string());
    ensure!(!one_more.exists(), "callgrind has taken something else for a mark as well");
    Ok(figures)
}

/// The figure for a line of what [`measured::run`] says. There are two marks for each: what is
/// counted up to the first is what comes before.
fn figure(counts: &Path, number: usize, line: &str) -> anyhow::Result<Figure> {
    let [times, name, each] = line.split('\t').collect::<Vec<_>>()[..] else {
        bail!("it says what nobody understands: {line}");
    };
    let file = counts.with_extension((2 * number + 2).to_string());
    let text = fs::read_to_string(&file)
        .with_context(|| format!("callgrind did not count \"{name}\" apart from the rest"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total.with_context(|| format!("no total of \"{name}\""))?.trim().parse()?;
    let instructions = total / times.parse::<u64>()?;
    ensure!(instructions > 0, "callgrind counted nothing of \"{name}\"");
    Ok(Figure { name: name.to_owned(), instructions, each: each.to_owned() })
}
