//! What a fleet of containers says: lifecycles as a scheduler tells them, one payload a step.

#![allow(dead_code, reason = "no program that has this module uses all of it")]

use std::fmt::{self, Display};
use std::io::Write;

use tocsin::clock::Timestamp;

const EXITED: &str =
    r#"{"last_exit_status":{"raw_exit_status":0,"reason":"exited","exit_status":0}}"#;
const BROKEN: &str =
    r#"{"last_exit_status":{"raw_exit_status":256,"reason":"exited","exit_status":1}}"#;

/// A step of a life.
struct Step {
    prev_state: &'static str,
    state: &'static str,
    starts: u32,
    data: &'static str,
}

const fn step(
    prev_state: &'static str,
    state: &'static str,
    starts: u32,
    data: &'static str,
) -> Step {
    Step { prev_state, state, starts, data }
}

/// A container's life. One step in twenty matches a rule of `rules.example.yaml`: the crash. Then
/// another container, of another id, takes its place, as when a service is deployed again.
const LIFE: [Step; 20] = [
    step("INIT", "CREATING", 0, "{}"),
    step("CREATING", "STOPPED", 0, "{}"),
    step("STOPPED", "SCHEDULING", 0, "{}"),
    step("SCHEDULING", "SCHEDULED", 0, "{}"),
    step("SCHEDULED", "STARTING", 0, "{}"),
    step("STARTING", "RUNNING", 1, "{}"),
    step("RUNNING", "STOPPING", 1, "{}"),
    step("STOPPING", "STOPPED", 1, EXITED),
    step("STOPPED", "STARTING", 1, "{}"),
    step("STARTING", "RUNNING", 2, "{}"),
    step("RUNNING", "CRASHED", 2, BROKEN),
    step("CRASHED", "STARTING", 2, "{}"),
    step("STARTING", "RUNNING", 3, "{}"),
    step("RUNNING", "TERMINATED", 3, EXITED),
    step("TERMINATED", "STARTING", 3, "{}"),
    step("STARTING", "RUNNING", 4, "{}"),
    step("RUNNING", "STOPPING", 4, "{}"),
    step("STOPPING", "STOPPED", 4, EXITED),
    step("STOPPED", "DELETING", 4, "{}"),
    step("DELETING", "DELETED", 4, "{}"),
];

/// The place of the crash.
const CRASH: usize = 10;

/// The containers that one connection speaks for. It never says the same twice.
pub(crate) struct Fleet {
    run: u16,
    number: usize,
    containers: Vec<Container>,
    next: usize,
    last_told: Timestamp,
}

struct Container {
    /// How many containers were here before it.
    generation: u32,
    step: usize,
}

/// What happened to one container.
#[derive(Clone, Copy)]
pub(crate) struct Happening {
    run: u16,
    fleet: usize,
    place: usize,
    generation: u32,
    step: &'static Step,
    /// When.
    pub(crate) at: Timestamp,
}

impl Fleet {
    /// The fleet of this number, of so many containers. They are at different points of their lives,
    /// so that no moment has more crashes than another. What differs in its `run`, of at most twelve
    /// bits, has no container in common.
    pub(crate) fn new(run: u16, number: usize, containers: usize) -> Fleet {
        let containers = (0..containers)
            .map(|place| Container { generation: 0, step: (number + 7 * place) % LIFE.len() })
            .collect();
        Fleet { run, number, containers, next: 0, last_told: Timestamp::default() }
    }

    /// What happens next, as of `now`.
    pub(crate) fn next(&mut self, now: Timestamp) -> Happening {
        // Two events of one container never share a microsecond, whatever the clock does.
        self.last_told = now.max(Timestamp::from_micros(self.last_told.as_micros() + 1));
        let place = self.next;
        self.next = (self.next + 1) % self.containers.len();
        let container = &mut self.containers[place];
        let happening = Happening {
            run: self.run,
            fleet: self.number,
            place,
            generation: container.generation,
            step: &LIFE[container.step],
            at: self.last_told,
        };
        container.step = (container.step + 1) % LIFE.len();
        if container.step == 0 {
            container.generation += 1;
        }
        happening
    }
}

impl Happening {
    /// The container's id.
    pub(crate) fn id(&self) -> impl Display {
        let Happening { run, fleet, place, generation, .. } = *self;
        fmt::from_fn(move |f| {
            write!(f, "{generation:08x}-{fleet:04x}-4{run:03x}-8000-{place:012x}")
        })
    }

    /// The container's application.
    pub(crate) fn application(&self) -> impl Display {
        let number = self.fleet % 8;
        fmt::from_fn(move |f| write!(f, "shop-{number}"))
    }

    /// The container's service.
    pub(crate) fn service(&self) -> &'static str {
        ["web", "worker", "mail", "search"][self.place % 4]
    }

    /// The state that the container is in since.
    pub(crate) fn state(&self) -> &'static str {
        self.step.state
    }

    /// Whether it is what somebody wants to be told: the crash.
    pub(crate) fn is_crash(&self) -> bool {
        self.step.state == "CRASHED"
    }

    /// The same container, as it crashes.
    pub(crate) fn crashed(self) -> Happening {
        Happening { step: &LIFE[CRASH], ..self }
    }

    /// The same container, in the tenth of them that is meant to be down for good.
    pub(crate) fn is_of_the_tenth(&self) -> bool {
        self.place.is_multiple_of(10)
    }

    /// The same container, well again if it would have crashed.
    pub(crate) fn well(self) -> Happening {
        let step = if self.is_crash() { &LIFE[CRASH + 2] } else { self.step };
        Happening { step, ..self }
    }

    /// Writes the event's payload behind what `body` has.
    pub(crate) fn write_event(&self, body: &mut Vec<u8>) {
        let micros = self.at.as_micros();
        write!(
            body,
            concat!(
                r#"{{"service":"{service}","timestamp":{seconds}.{micros:06},"#,
                r#""application":"{application}","id":"{id}","#,
                r#""state":"{state}","prev_state":"{prev_state}","type":"Container","#,
                r#""data":{data},"event":"state","#,
                r#""counters":{{"start":{starts},"post_attempts":0}}}}"#,
            ),
            service = self.service(),
            seconds = micros / 1_000_000,
            micros = micros % 1_000_000,
            application = self.application(),
            id = self.id(),
            state = self.step.state,
            prev_state = self.step.prev_state,
            data = self.step.data,
            starts = self.step.starts,
        )
        .expect("a vector takes all that is written");
    }
}
