//! What the benchmarks are to reach, and what they came to: each leaves its figures in a file, so that
//! `table`, which `cargo bench` runs last, can show all of them together.

#![allow(dead_code, reason = "a benchmark writes figures, and the table reads them")]

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

/// The figures of one benchmark.
pub(crate) struct Figures {
    bench: &'static str,
    figures: Vec<Figure>,
}

/// A ratio or a quantity that has a limit.
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: String,
    limit: Limit,
}

/// What it is to reach, or to stay under.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// The more, the better.
    AtLeast(f64),
    /// The less, the better.
    AtMost(f64),
}

impl Limit {
    fn words(self) -> (&'static str, f64) {
        match self {
            Limit::AtLeast(limit) => ("at least", limit),
            Limit::AtMost(limit) => ("at most", limit),
        }
    }
}

impl Figures {
    /// None yet.
    pub(crate) fn of(bench: &'static str) -> Figures {
        Figures { bench, figures: Vec::new() }
    }

    /// Adds a ratio.
    pub(crate) fn ratio(&mut self, what: &str, value: f64, limit: Limit) {
        self.quantity(what, value, "", limit);
    }

    /// Adds a quantity in this unit.
    pub(crate) fn quantity(&mut self, what: &str, value: f64, unit: &str, limit: Limit) {
        let (what, unit) = (what.to_owned(), unit.to_owned());
        self.figures.push(Figure { what, value, unit, limit });
    }

    /// Prints them, and keeps them for the table in the place of those of the last run.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn keep(self) -> anyhow::Result<()> {
        println!();
        let mut lines = String::new();
        for figure in &self.figures {
            println!("{figure}");
            lines += &figure.line();
        }
        fs::create_dir_all(folder())?;
        fs::write(folder().join(self.bench), lines).context("the figures cannot be kept")
    }

    /// Those of every benchmark that ran, with how long ago that was.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn all() -> anyhow::Result<Vec<(String, Duration, Vec<Figure>)>> {
        let mut all = Vec::new();
        for file in fs::read_dir(folder()).context("no benchmark has run yet")? {
            let file = file?;
            let bench = file.file_name().to_string_lossy().into_owned();
            let ago = file.metadata()?.modified()?.elapsed();
            let figures = fs::read_to_string(file.path())?;
            let figures: Option<Vec<Figure>> = figures.lines().map(Figure::read).collect();
            let figures =
                figures.with_context(|| format!("{:?} is not understood", file.path()))?;
            all.push((bench, ago.unwrap_or_default(), figures));
        }
        all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        Ok(all)
    }
}

impl Figure {
    /// Whether it is as it should be.
    pub(crate) fn is_kept(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.value >= limit,
            Limit::AtMost(limit) => self.value <= limit,
        }
    }

    fn line(&self) -> String {
        let (kind, limit) = self.limit.words();
        format!("{}\t{}\t{}\t{kind}\t{limit}\n", self.what, self.value, self.unit)
    }

    fn read(line: &str) -> Option<Figure> {
        let mut fields = line.split('\t');
        let what = fields.next()?.to_owned();
        let value = fields.next()?.parse().ok()?;
        let unit = fields.next()?.to_owned();
        let (kind, limit) = (fields.next()?, fields.next()?.parse().ok()?);
        let limit = match kind {
            "at least" => Limit::AtLeast(limit),
            _ => Limit::AtMost(limit),
        };
        Some(Figure { what, value, unit, limit })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, limit) = self.limit.words();
        let missed = if self.is_kept() { "" } else { "MISSED" };
        let (value, unit) = (format!("{:.2}", self.value), &self.unit);
        write!(f, "{:<48} {value:>9} {unit:<2} {kind:>8} {limit:<6} {missed}", self.what)
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("figures")
}
