//! Who is to look again after a commit: those who wait for timers, those who wait for deliveries, and
//! whoever looks at groups when a silence begins or ends. And who has a hand free: what a commit makes
//! for such a one, it claims for it, and hands it over.
//!
//! A wake-up is only a hint. Everyone who waits also looks by itself now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::engine::{Changes, Claimed, Decision, Delivery, Hand, Keys, Snapshot, Status};
use crate::store::{self, Store, StoreError};

/// Wakes the scheduler and the delivery workers.
#[derive(Debug, Default)]
pub struct Wake {
    timers: watch::Sender<()>,
    deliveries: watch::Sender<()>,
    silences: watch::Sender<()>,
    /// Whoever waits for something to send, by its receiver.
    free: Mutex<BTreeMap<Arc<str>, Offer>>,
}

/// A hand that is free, and where to hand it what it is to send.
#[derive(Debug)]
struct Offer {
    hand: Hand,
    answer: oneshot::Sender<Claimed>,
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
                let stirred = Stirred::by_writing(&changes);
                Decision::Done(changes, (value, stirred))
            }
        }
    }

    fn by_writing(changes: &Changes) -> Stirred {
        Stirred {
            timers: !changes.groups.is_empty() || !changes.intervals.is_empty(),
            deliveries: changes.deliveries.iter().any(is_waiting) || !changes.hurried.is_empty(),
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

    /// Says that there is a hand free, until it is withdrawn. What is claimed for it comes by what this
    /// answers; that ends if nothing came of it after all.
    pub fn offer(&self, hand: Hand) -> oneshot::Receiver<Claimed> {
        let (answer, handed) = oneshot::channel();
        lock(&self.free).insert(hand.receiver.clone(), Offer { hand, answer });
        handed
    }

    /// Takes back what was offered. Whether it was still there: if not, what was claimed may come yet.
    pub fn withdraw(&self, receiver: &str) -> bool {
        lock(&self.free).remove(receiver).is_some()
    }

    /// Runs a decision as a unit of work of `store`, hands over what was claimed in it for whoever has a
    /// hand free, and wakes whom it concerns.
    ///
    /// # Errors
    /// As [`Store::run`]. Nothing is handed over then.
    pub async fn transact<T: Send + 'static>(
        self: &Arc<Self>,
        store: &dyn Store,
        keys: Keys,
        mut decide: impl FnMut(&Snapshot, &[Hand]) -> Decision<(T, Vec<Claimed>)> + Send + 'static,
    ) -> Result<T, StoreError> {
        let wake = Arc::clone(self);
        let unit = move |snapshot: &Snapshot| {
            loop {
                let hands: Vec<Hand> =
                    lock(&wake.free).values().map(|offer| offer.hand.clone()).collect();
                let (changes, value, claimed) = match decide(snapshot, &hands) {
                    Decision::Need(keys) => return Decision::Need(keys),
                    Decision::Done(changes, (value, claimed)) => (changes, value, claimed),
                };
                // If one was withdrawn meanwhile, it is decided anew without it.
                if let Some(handed) = wake.take(claimed) {
                    let passed_over = wake.take_those_who_are_to_look(&changes);
                    return Stirred::by(Decision::Done(changes, (value, handed, passed_over)));
                }
            }
        };
        let ((value, handed, passed_over), stirred) = store::transact(store, keys, unit).await?;
        // They learn of it now that there is something to be found.
        drop(passed_over);
        for (answer, claimed) in handed {
            // Whoever is gone by now went with the program, and the next start sees to it.
            let _: Result<(), Claimed> = answer.send(claimed);
        }
        self.wake(stirred);
        Ok(value)
    }

    /// Takes the hands for which this was claimed, if all are there.
    fn take(&self, claimed: Vec<Claimed>) -> Option<Vec<(oneshot::Sender<Claimed>, Claimed)>> {
        let mut free = lock(&self.free);
        let receiver = |claimed: &Claimed| claimed.delivery.to.clone();
        if !claimed.iter().all(|claimed| free.contains_key(&receiver(claimed))) {
            return None;
        }
        let handed = claimed
            .into_iter()
            .filter_map(|claimed| Some((free.remove(&receiver(&claimed))?.answer, claimed)));
        Some(handed.collect())
    }

    /// Takes the hands of those for whom something is left to be looked at: what is made next is not to
    /// overtake it.
    fn take_those_who_are_to_look(&self, changes: &Changes) -> Vec<oneshot::Sender<Claimed>> {
        let mut free = lock(&self.free);
        let waiting = changes.deliveries.iter().filter(|delivery| is_waiting(delivery));
        waiting.filter_map(|delivery| Some(free.remove(&delivery.to)?.answer)).collect()
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

/// Whether someone is to see to it: not so if it is claimed, or has ended.
fn is_waiting(delivery: &Delivery) -> bool {
    delivery.status == Status::Pending && delivery.lease.is_none()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::engine::{IntervalId, Lease, Shows};
    use crate::store::contract::{delivery, notification};
    use crate::store::sqlite::SqliteStore;

    fn hand(receiver: &str) -> Hand {
        let lease = Lease { token: "t".into(), until: Timestamp::FOR_EVER };
        Hand { receiver: receiver.into(), lease, shows: Shows::default() }
    }

    /// Decides nothing, and claims something for each who has a hand free. For how many.
    fn claim_for_all(free: &[Hand]) -> Decision<(usize, Vec<Claimed>)> {
        let claimed = free.iter().map(|hand| Claimed {
            delivery: delivery("d", &hand.receiver, 0),
            others: Vec::new(),
            notification: notification(IntervalId(1)).into(),
            thread: String::new(),
            handle: None,
        });
        Decision::Done(Changes::default(), (free.len(), claimed.collect()))
    }

    fn store() -> (SqliteStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (SqliteStore::open(&folder.path().join("tocsin.db")).unwrap(), folder)
    }

    #[test]
    fn only_what_waits_and_nobody_sends_wakes_those_who_send() {
        let waits = delivery("d", "ops", 0);
        let claimed = Delivery { lease: Some(hand("ops").lease), ..waits.clone() };
        let sent = Delivery { status: Status::Sent, ..waits.clone() };
        for (deliveries, wakes) in [
            (vec![], false),
            (vec![claimed.clone(), sent.clone()], false),
            (vec![claimed, sent, waits], true),
        ] {
            let stirred = Stirred::by_writing(&Changes { deliveries, ..Changes::default() });
            assert_eq!(stirred.deliveries, wakes);
        }
    }

    #[tokio::test]
    async fn what_is_claimed_for_a_free_hand_is_handed_to_it_once() {
        let (store, _folder) = store();
        let wake = Arc::new(Wake::default());
        let mut handed = wake.offer(hand("ops"));
        let mut others = wake.offer(hand("oncall"));
        assert!(wake.withdraw("oncall"));
        for free in [1, 0] {
            let claim = |_: &Snapshot, free: &[Hand]| claim_for_all(free);
            assert_eq!(wake.transact(&store, Keys::default(), claim).await.unwrap(), free);
        }
        assert_eq!(&*handed.try_recv().unwrap().delivery.to, "ops");
        assert!(others.try_recv().is_err());
        assert!(!wake.withdraw("ops"));
    }

    #[tokio::test]
    async fn what_is_withdrawn_while_it_is_decided_is_decided_anew_without_it() {
        let (store, _folder) = store();
        let wake = Arc::new(Wake::default());
        let mut handed = wake.offer(hand("ops"));
        let others = Arc::clone(&wake);
        let claim = move |_: &Snapshot, free: &[Hand]| {
            others.withdraw("ops");
            claim_for_all(free)
        };
        assert_eq!(wake.transact(&store, Keys::default(), claim).await.unwrap(), 0);
        assert!(handed.try_recv().is_err());
    }
}
