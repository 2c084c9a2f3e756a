//! The connections that are open at once: so many in all, and so many from one address.
//!
//! Where there is no room, whoever has waited for the longest without asking anything gives way, so
//! that no number of idle or slow clients keeps others out. Who is being answered never has to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::origin::{Neighbours, Proxies};

/// How long whoever was answered has the seat at least: the answer may still be on its way.
const AFTER_ANSWER: Duration = Duration::from_millis(250);

/// The time since which somebody waits who is being answered.
const NEVER: u64 = u64::MAX;

/// All there are.
pub(super) struct Seats {
    most: usize,
    most_each: usize,
    began: Instant,
    taken: Mutex<Taken>,
    /// Told when one is free.
    free: Notify,
}

#[derive(Default)]
struct Taken {
    last_id: u64,
    by_id: HashMap<u64, Arc<Place>>,
    /// How many there are from where, but for trusted proxies, which speak for many.
    counts: HashMap<Neighbours, usize>,
}

struct Place {
    from: Option<Neighbours>,
    /// Since when it does nothing but wait for a request, in microseconds since the beginning.
    waiting_since: AtomicU64,
    given_up: Notify,
}

/// A seat that is taken. It is free again when this is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    id: u64,
    place: Arc<Place>,
}

/// There is no room for one more from this address, all of whose requests are being answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMore;

impl Seats {
    /// `most` in all, and `most_each` from one address.
    pub(super) fn new(most: usize, most_each: usize) -> Arc<Seats> {
        let (taken, free) = (Mutex::default(), Notify::new());
        Arc::new(Seats { most, most_each, began: Instant::now(), taken, free })
    }

    /// A seat for a client at this address, if need be in the place of another; waits while all are
    /// being answered.
    pub(super) async fn take(
        self: &Arc<Self>,
        peer: IpAddr,
        proxies: &Proxies,
    ) -> Result<Seat, NoMore> {
        let from = (!proxies.trust(peer)).then(|| Neighbours::of(peer));
        loop {
            if let Some(seat) = self.try_take(from, Instant::now())? {
                return Ok(seat);
            }
            // Then at the latest, somebody may have been answered.
            let _ = timeout(AFTER_ANSWER, self.free.notified()).await;
        }
    }

    fn try_take(
        self: &Arc<Self>,
        from: Option<Neighbours>,
        now: Instant,
    ) -> Result<Option<Seat>, NoMore> {
        let (mut taken, now) = (self.lock(), self.micros(now));
        let count = from.and_then(|from| taken.counts.get(&from)).copied().unwrap_or(0);
        if count >= self.most_each && !taken.give_up_longest(now, |place| place.from == from) {
            return Err(NoMore);
        }
        if taken.by_id.len() >= self.most && !taken.give_up_longest(now, |_| true) {
            return Ok(None);
        }
        if let Some(from) = from {
            *taken.counts.entry(from).or_default() += 1;
        }
        taken.last_id += 1;
        let id = taken.last_id;
        let waiting_since = AtomicU64::new(now);
        let place = Arc::new(Place { from, waiting_since, given_up: Notify::new() });
        taken.by_id.insert(id, Arc::clone(&place));
        Ok(Some(Seat { seats: Arc::clone(self), id, place }))
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(NEVER - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Whatever panicked did not do so in here.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Has the one leave that has waited for the longest, of those wanted. `false` if none waits.
    fn give_up_longest(&mut self, now: u64, wanted: impl Fn(&Place) -> bool) -> bool {
        let waiting = self.by_id.iter().filter(|(_, place)| wanted(place));
        let since = |place: &Place| place.waiting_since.load(Ordering::Relaxed);
        let longest = waiting.map(|(id, place)| (since(place), *id)).min();
        let Some((_, id)) = longest.filter(|(since, _)| *since <= now) else { return false };
        if let Some(place) = self.remove(id) {
            place.given_up.notify_one();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Place>> {
        let place = self.by_id.remove(&id)?;
        if let Some(from) = place.from
            && let Some(count) = self.counts.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&from);
            }
        }
        Some(place)
    }
}

impl Seat {
    /// From now on a request is being answered.
    pub(super) fn asks(&self) {
        self.place.waiting_since.store(NEVER, Ordering::Relaxed);
    }

    /// Whether a request is being answered.
    pub(super) fn is_asking(&self) -> bool {
        self.place.waiting_since.load(Ordering::Relaxed) == NEVER
    }

    /// From now on the next one is waited for, once the client has the answer.
    pub(super) fn waits(&self, now: Instant) {
        let since = self.seats.micros(now + AFTER_ANSWER);
        self.place.waiting_since.store(since, Ordering::Relaxed);
    }

    /// Returns when somebody else has the seat.
    pub(super) async fn given_up(&self) {
        self.place.given_up.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.seats.lock().remove(self.id).is_some() {
            self.seats.free.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn from(peer: &str) -> Option<Neighbours> {
        Some(Neighbours::of(peer.parse().unwrap()))
    }

    fn is_given_up(seat: &Seat) -> bool {
        seat.given_up().now_or_never().is_some()
    }

    #[test]
    fn who_has_waited_for_the_longest_gives_way() {
        let (seats, mut now) = (Seats::new(3, 3), Instant::now());
        let take = |peer, now| seats.try_take(from(peer), now).unwrap();
        let first = take("1.1.1.1", now).unwrap();
        let second = take("2.2.2.2", now + SECOND).unwrap();
        let third = take("3.3.3.3", now + SECOND).unwrap();
        now += 2 * SECOND;
        first.asks();
        first.waits(now);
        third.asks();
        let fourth = take("4.4.4.4", now).unwrap();
        assert!(is_given_up(&second), "the third is answered, and the first waits anew");
        assert!(!is_given_up(&first) && !is_given_up(&third));
        drop(second);
        fourth.asks();
        assert!(take("5.5.5.5", now).is_none(), "an answer takes its time to arrive");
        now += AFTER_ANSWER;
        let fifth = take("5.5.5.5", now).unwrap();
        assert!(is_given_up(&first));
        fifth.asks();
        assert!(take("6.6.6.6", now).is_none(), "all are answered");
        drop(first);
        assert!(take("6.6.6.6", now).is_none(), "its seat was not its own any more");
        drop(third);
        assert!(take("6.6.6.6", now).is_some());
    }

    #[test]
    fn an_address_over_its_share_makes_room_itself() {
        let (seats, now) = (Seats::new(10, 2), Instant::now());
        let take = |from| seats.try_take(from, now).map(Option::unwrap);
        let other = take(from("9.9.9.9")).unwrap();
        let first = take(from("1.1.1.1")).unwrap();
        let second = take(from("::ffff:1.1.1.1")).unwrap();
        first.asks();
        let third = take(from("1.1.1.1")).unwrap();
        assert!(is_given_up(&second) && !is_given_up(&other));
        third.asks();
        assert_eq!(take(from("1.1.1.1")).err(), Some(NoMore));
        let proxied: Vec<Seat> = (0..5).map(|_| take(None).unwrap()).collect();
        drop((first, third));
        assert_eq!((seats.lock().counts.len(), proxied.len()), (1, 5));
        assert!(take(from("1.1.1.1")).is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_a_seat_gets_the_next_that_is_free() {
        let (seats, proxies) = (Seats::new(1, 1), Proxies(Vec::new()));
        let take = |peer: &str| Box::pin(seats.take(peer.parse().unwrap(), &proxies));
        let first = take("1.1.1.1").await.unwrap();
        first.asks();
        let mut next = take("2.2.2.2");
        assert!(next.as_mut().now_or_never().is_none());
        drop(first);
        let second = next.await.unwrap();
        second.asks();
        let mut next = take("3.3.3.3");
        assert!(next.as_mut().now_or_never().is_none());
        second.waits(Instant::now());
        assert!(next.await.is_ok());
        assert!(is_given_up(&second));
    }
}
