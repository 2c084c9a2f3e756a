//! How the program ends: softly at the first signal, at once at the second.
//!
//! Knows the tasks there are, and nothing of what they do.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// The tasks of a running program, and how they are told to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Cancelled when nothing new is to be begun.
    pub soft: CancellationToken,
    /// Cancelled when what was begun is to be left as it is.
    pub hard: CancellationToken,
    tracker: TaskTracker,
    broken: Arc<AtomicBool>,
}

impl Lifecycle {
    /// A program that runs.
    #[must_use]
    pub fn new() -> Lifecycle {
        Lifecycle::default()
    }

    /// Runs a task whose end is waited for. It is dropped where it stands when the stop turns hard.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let hard = self.hard.clone();
        self.tracker.spawn(hard.run_until_cancelled_owned(task))
    }

    /// As [`Lifecycle::spawn`], for a task that the program cannot do without: if it ends before the
    /// soft stop, that begins, and is not called soft in the end.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let life = self.clone();
        self.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if ended.is_err() || !life.soft.is_cancelled() {
                error!(task = name, "a task ended that has to run; stopping");
                life.broken.store(true, Ordering::Relaxed);
                life.soft.cancel();
            }
        });
    }

    /// From now on SIGTERM and SIGINT stop the program: the first softly, the second hard. SIGHUP
    /// and SIGXFSZ do nothing.
    ///
    /// # Errors
    /// If the signals cannot be listened for.
    pub fn listen_for_signals(&self) -> io::Result<()> {
        let mut signals = Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        };
        let mut hangup = signal(SignalKind::hangup())?;
        // Once it was listened for it kills no more: a write beyond the limit of a file's size fails
        // instead, as on a full disk.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        let Lifecycle { soft, hard, .. } = self.clone();
        // Not waited for: it ends with the program.
        #[expect(clippy::disallowed_methods, reason = "it waits for signals until the very end")]
        tokio::spawn(async move {
            let name = loop {
                tokio::select! {
                    name = signals.next() => break name,
                    _ = hangup.recv() => {
                        warn!("SIGHUP does nothing yet; restart to have the rules file read again");
                    }
                }
            };
            info!(signal = name, "stopping; a second signal ends at once");
            soft.cancel();
            let name = signals.next().await;
            warn!(signal = name, "ending at once");
            hard.cancel();
        });
        Ok(())
    }

    /// Waits for a soft stop, then for all tasks to end, for at most so long; then the stop turns
    /// hard. Answers whether all tasks ended by themselves.
    pub async fn stopped_within(&self, limit: Duration) -> bool {
        self.soft.cancelled().await;
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.hard.cancelled() => {}
            () = self.tracker.wait() => {
                return !self.hard.is_cancelled() && !self.broken.load(Ordering::Relaxed);
            }
            () = tokio::time::sleep(limit) => {
                warn!(?limit, "not all has ended in time; ending at once");
                self.hard.cancel();
            }
        }
        self.tracker.wait().await;
        false
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_soft_stop_waits_for_what_runs() {
        let life = Lifecycle::new();
        let soft = life.soft.clone();
        let task = life.spawn(async move {
            soft.cancelled().await;
            tokio::task::yield_now().await;
            7
        });
        life.soft.cancel();
        assert!(life.stopped_within(LONG).await);
        assert_eq!(task.await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn what_does_not_end_in_time_is_dropped() {
        let life = Lifecycle::new();
        let task = life.spawn(pending::<()>());
        life.soft.cancel();
        assert!(!life.stopped_within(Duration::from_millis(10)).await);
        assert!(life.hard.is_cancelled());
        assert_eq!(task.await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_vital_task_that_breaks_down_stops_the_program() {
        let life = Lifecycle::new();
        life.spawn_vital("test", async { panic!("this is on purpose") });
        assert!(!life.stopped_within(LONG).await);
        assert!(life.soft.is_cancelled());
    }

    #[tokio::test]
    async fn a_hard_stop_waits_for_nothing() {
        let life = Lifecycle::new();
        let _task = life.spawn(pending::<()>());
        life.soft.cancel();
        life.hard.cancel();
        assert!(!life.stopped_within(LONG).await);
    }
}
