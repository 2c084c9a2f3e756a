//! How a container's run ended, and how to say so.

use std::fmt;

/// The exit of a container's last run, from `data.last_exit_status`.
///
/// Where `raw_exit_status` contradicts `reason`, `reason` wins (DESIGN.md §3): what the raw status
/// says fills only what the rest leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// `exited`, `signaled`, `raw`, or a word not seen before.
    pub reason: Option<String>,
    /// The exit code, if it exited.
    pub status: Option<i64>,
    /// The signal, if it was killed by one.
    pub signal: Option<Signal>,
    /// The wait(2) status as sent.
    pub raw: Option<i64>,
    /// Whether it dumped core, where that is known.
    pub core_dumped: Option<bool>,
}

/// A signal by number. Its name is the one of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(pub i64);

/// Signal names of Linux on x86 and ARM, from signal(7); the index is the number.
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl Exit {
    /// The exit that these fields describe. Each may be missing.
    #[must_use]
    pub fn new(
        reason: Option<String>,
        status: Option<i64>,
        signal: Option<i64>,
        raw: Option<i64>,
    ) -> Exit {
        let wait = raw.filter(|raw| (0..=0xffff).contains(raw));
        let raw_code = wait.filter(|raw| raw & 0x7f == 0).map(|raw| raw >> 8);
        let raw_signal = wait.map(|raw| raw & 0x7f).filter(|signal| (1..=64).contains(signal));
        let (status, signal) = match reason.as_deref() {
            Some("exited") => (status.or(raw_code), None),
            Some("signaled") => (None, signal.or(raw_signal)),
            // "raw" says that the producer could not tell; another word says nothing known.
            Some(_) => (status, signal),
            None if status.is_some() || signal.is_some() => (status, signal),
            None => (raw_code, raw_signal),
        };
        let core_dumped = match signal {
            Some(number) if raw_signal == Some(number) => wait.map(|raw| raw & 0x80 != 0),
            Some(_) => None,
            None => status.map(|_| false),
        };
        Exit { reason, status, signal: signal.map(Signal), raw, core_dumped }
    }
}

/// The exit in words: `killed by SIGKILL`, `exited with status 1`,
/// `ended, status unknown (raw 256)`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signal, self.status, self.raw) {
            (Some(signal), ..) if self.core_dumped == Some(true) => {
                write!(f, "killed by {signal}, core dumped")
            }
            (Some(signal), ..) => write!(f, "killed by {signal}"),
            (None, Some(status), _) => write!(f, "exited with status {status}"),
            (None, None, Some(raw)) => write!(f, "ended, status unknown (raw {raw})"),
            (None, None, None) => match self.reason.as_deref() {
                Some("exited") => write!(f, "exited, status unknown"),
                Some("signaled") => write!(f, "killed by an unknown signal"),
                _ => write!(f, "ended, status unknown"),
            },
        }
    }
}

impl Signal {
    /// The signal of this name, with or without `SIG`, in any case; or of this number.
    #[must_use]
    pub fn named(name: &str) -> Option<Signal> {
        if let Ok(number) = name.parse::<i64>() {
            return Some(Signal(number));
        }
        let upper = name.to_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| !known.is_empty() && *known == short)?;
        i64::try_from(number).ok().map(Signal)
    }

    /// Every name there is, with `SIG`.
    pub fn names() -> impl Iterator<Item = String> {
        NAMES.iter().skip(1).map(|name| format!("SIG{name}"))
    }
}

/// `SIGKILL`, or `signal 40` where there is no name.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0).ok().and_then(|number| NAMES.get(number)) {
            Some(name) if !name.is_empty() => write!(f, "SIG{name}"),
            _ => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(reason: Option<&str>, status: Option<i64>, signal: Option<i64>, raw: i64) -> String {
        Exit::new(reason.map(str::to_owned), status, signal, Some(raw)).to_string()
    }

    #[test]
    fn exits_are_said_in_words() {
        assert_eq!(words(Some("exited"), Some(1), None, 256), "exited with status 1");
        assert_eq!(words(Some("signaled"), None, Some(9), 9), "killed by SIGKILL");
        assert_eq!(words(Some("signaled"), None, Some(11), 139), "killed by SIGSEGV, core dumped");
        assert_eq!(words(Some("raw"), None, None, 256), "ended, status unknown (raw 256)");
        assert_eq!(words(Some("signaled"), None, Some(40), 40), "killed by signal 40");
    }

    #[test]
    fn the_reason_wins_over_a_raw_status_that_contradicts_it() {
        let exit = Exit::new(Some("signaled".into()), None, Some(9), Some(256));
        assert_eq!(exit.to_string(), "killed by SIGKILL");
        assert_eq!(exit.status, None);
        assert_eq!(exit.core_dumped, None);
    }

    #[test]
    fn the_raw_status_fills_what_is_missing() {
        assert_eq!(words(Some("exited"), None, None, 768), "exited with status 3");
        assert_eq!(words(Some("signaled"), None, None, 15), "killed by SIGTERM");
        assert_eq!(words(None, None, None, 9), "killed by SIGKILL");
    }

    #[test]
    fn signals_are_known_by_number_and_by_name() {
        for name in ["9", "KILL", "sigkill", "SIGKILL"] {
            assert_eq!(Signal::named(name), Some(Signal(9)), "{name}");
        }
        assert_eq!(Signal::named("SIGKIL"), None);
        assert_eq!(Signal::named("SIG"), None);
    }
}
