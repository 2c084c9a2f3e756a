//! What the service manager that started the program is told of it (`sd_notify(3)`): that it is
//! ready, that it is alive, how it stands, and that it stops.
//!
//! Alive is what a restart would not better. So it is said from within the runtime, which has to turn
//! for that, and only while the store's own threads go on. A disk that is full or slow is told in the
//! status, and is no reason to be killed.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::store::Store;

/// How often to look how the program stands, unless the watchdog asks for more.
const LOOK: Duration = Duration::from_secs(15);

/// How long the store may take to say whether it can be written.
const STORE_WITHIN: Duration = Duration::from_secs(5);

/// The service manager that started this program, and wants to hear of it.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    /// How long it goes without a sign of life before it restarts the program.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Whom `NOTIFY_SOCKET` names, if anyone, and how often `WATCHDOG_USEC` has it ask.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn from_environment(
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> io::Result<Option<Supervisor>> {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // Nobody who does not read holds up the program.
        socket.set_nonblocking(true)?;
        let is_us = |pid: String| pid == process::id().to_string();
        let watchdog = variable("WATCHDOG_USEC")
            .filter(|_| variable("WATCHDOG_PID").is_none_or(is_us))
            .and_then(|usec| usec.parse().ok())
            .filter(|usec| *usec > 0)
            .map(Duration::from_micros);
        Ok(Some(Supervisor { socket, watchdog }))
    }

    /// Says that the program is ready and does what `serving` says, then how it stands, until `stop`.
    pub async fn attend(&self, store: &dyn Store, serving: &str, stop: &CancellationToken) {
        self.tell(&format!("READY=1\nSTATUS={}", in_a_line(serving)));
        stop.run_until_cancelled(self.look_after(store, serving)).await;
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Never ends.
    async fn look_after(&self, store: &dyn Store, serving: &str) {
        // Twice as often as it has to be, as `sd_watchdog_enabled(3)` advises.
        let every = self.watchdog.map_or(LOOK, |watchdog| LOOK.min(watchdog / 2));
        let mut looks = interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = serving.to_owned();
        loop {
            looks.tick().await;
            let stuck = store.stuck();
            if stuck.is_none() && self.watchdog.is_some() {
                self.tell("WATCHDOG=1");
            }
            let trouble = match &stuck {
                Some(_) => stuck.clone(),
                None => trouble(store, STORE_WITHIN.min(every / 2)).await,
            };
            let status = trouble.unwrap_or_else(|| serving.to_owned());
            if status == told {
                continue;
            }
            if let Some(stuck) = stuck {
                error!(reason = stuck, "the program hangs; no more signs of life are given");
            }
            self.tell(&format!("STATUS={}", in_a_line(&status)));
            told = status;
        }
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            warn!(%error, "the service manager cannot be told how the program stands");
        }
    }
}

/// Why events cannot be recorded, if so.
async fn trouble(store: &dyn Store, within: Duration) -> Option<String> {
    match timeout(within, store.check_writable()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("events cannot be recorded: {error}")),
        Err(_) => Some(format!("events cannot be recorded: the store is silent for {within:?}")),
    }
}

/// A line is a message of its own to the service manager.
fn in_a_line(words: &str) -> String {
    words.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests;
