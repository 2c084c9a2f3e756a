//! Who is to look again after a commit: those who wait for timers, those who wait for deliveries, and
//! whoever looks at groups when a silence begins or ends.
//!
//! A wake-up is only a hint. Everyone who waits also looks by itself now and then.

use tokio::sync::watch;

use crate::engine::Decision;

/// Wakes the scheduler and the delivery workers.
#[derive(Debug, Default)]
pub struct Wake {
    timers: watch::Sender<()>,
    deliveries: watch::Sender<()>,
    silences: watch::Sender<()>,
}

/// What a commit stirred up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stirred {
    timers: bool,
    deliveries: bool,
}

impl Stirred {
    /// The same decision, with what writing it stirs up.
    #[must_use]
    pub fn by<T>(decision: Decision<T>) -> Decision<(T, Stirred)> {
        match decision {
            Decision::Need(keys) => Decision::Need(keys),
            Decision::Done(changes, value) => {
                let stirred = Stirred {
                    timers: !changes.groups.is_empty() || !changes.intervals.is_empty(),
                    deliveries: !changes.deliveries.is_empty(),
                };
                Decision::Done(changes, (value, stirred))
            }
        }
    }
}

impl Wake {
    /// Wakes whom it concerns.
    pub fn wake(&self, stirred: Stirred) {
        if stirred.timers {
            self.timers.send_replace(());
        }
        if stirred.deliveries {
            self.deliveries.send_replace(());
        }
    }

    /// Has every group looked at again, since a silence was made or ended.
    pub fn silences_changed(&self) {
        self.silences.send_replace(());
    }

    /// Learns of silences made or ended from now on.
    #[must_use]
    pub fn silences(&self) -> watch::Receiver<()> {
        self.silences.subscribe()
    }

    /// Learns of timers set from now on.
    #[must_use]
    pub fn timers(&self) -> watch::Receiver<()> {
        self.timers.subscribe()
    }

    /// Learns of deliveries made from now on.
    #[must_use]
    pub fn deliveries(&self) -> watch::Receiver<()> {
        self.deliveries.subscribe()
    }
}
