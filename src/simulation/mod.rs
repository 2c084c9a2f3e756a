//! The program without its edges: the engine's own functions over a store in memory, with a clock
//! that jumps to whatever is due next, and receivers that take everything at once.
//!
//! Pure. What it tells is what the running program would tell of the same events.

mod case;
mod memory;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use case::{Case, Line, Outcome, START, Suite, Telling};
pub use memory::Memory;

use crate::clock::Timestamp;
use crate::engine::{
    self, Claim, Claimed, Decided, DeliveryId, Hand, Heard, Keys, Lease, Notification, Settlement,
    Shows, Status,
};
use crate::event::Event;
use crate::rules::Rules;

/// The program in a world of its own.
#[derive(Debug)]
pub struct Simulation<'a> {
    rules: &'a Rules,
    now: Timestamp,
    memory: Memory,
    told: Vec<Notification>,
}

impl<'a> Simulation<'a> {
    /// A program that starts at this instant, and knows nothing yet.
    #[must_use]
    pub fn new(rules: &'a Rules, start: Timestamp) -> Simulation<'a> {
        Simulation { rules, now: start, memory: Memory::default(), told: Vec::new() }
    }

    /// Hears of these events at `at`, all at once. What is due at that very instant is done after
    /// they took their places.
    pub fn hear(&mut self, events: impl IntoIterator<Item = Event>, at: Timestamp) -> Vec<Decided> {
        self.pass(|due| due < at);
        self.now = self.now.max(at);
        let (rules, now) = (self.rules, self.now);
        let heard: Vec<Heard> = events.into_iter().map(|event| Heard::new(event, now)).collect();
        self.memory.transact(engine::keys(rules, &heard), |snapshot| {
            engine::decide(rules, snapshot, &heard, now)
        })
    }

    /// Lets time pass up to and including `until`. What was told since this was last asked, each
    /// with the instant at which it was (`made_at`).
    pub fn run_until(&mut self, until: Timestamp) -> Vec<Notification> {
        self.pass(|due| due <= until);
        self.now = self.now.max(until);
        std::mem::take(&mut self.told)
    }

    /// Jumps from one thing that is due to the next, as long as they are `within`.
    fn pass(&mut self, within: impl Fn(Timestamp) -> bool) {
        while let Some(due) = self.memory.next_due().filter(|due| within(*due)) {
            self.now = self.now.max(due);
            let keys = self.memory.due(self.now);
            if !keys.is_empty() {
                let (rules, now) = (self.rules, self.now);
                self.memory.transact(keys, |snapshot| engine::decide(rules, snapshot, &[], now));
            }
            self.deliver();
        }
    }

    /// Sends what can be sent. It is taken at once.
    fn deliver(&mut self) {
        for id in self.memory.to_send(self.now) {
            if let Some(claimed) = self.claim(&id) {
                self.settle(&claimed);
                self.told.push(Arc::unwrap_or_clone(claimed.notification));
            }
        }
        // Nothing asks for what is done with.
        self.memory.deliveries.retain(|_, delivery| delivery.status == Status::Pending);
    }

    fn claim(&mut self, id: &DeliveryId) -> Option<Claimed> {
        let (rules, now) = (self.rules, self.now);
        let lease = Lease { token: String::new(), until: now.plus(Duration::from_secs(60)) };
        let receiver = self.memory.deliveries.get(id)?.to.clone();
        let hand = Hand { receiver, lease, shows: Shows::default() };
        let next = [Claim { hand, deliveries: vec![id.clone()] }];
        self.memory
            .transact(Keys::default(), |snapshot| engine::claim(rules, snapshot, &next, now))
            .pop()
    }

    fn settle(&mut self, claimed: &Claimed) {
        let (rules, now) = (self.rules, self.now);
        let settlements = [Settlement {
            deliveries: vec![claimed.delivery.id.clone()],
            token: String::new(),
            outcome: engine::Outcome::Sent { complaint: None, handle: None },
            reached: Vec::new(),
            backoff: Duration::ZERO,
            pause: None,
            give_up_after: Duration::MAX,
        }];
        self.memory.transact(Keys::default(), |snapshot| {
            engine::settle(rules, snapshot, &settlements, now)
        });
    }
}
