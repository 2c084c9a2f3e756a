//! What a fleet of containers says: lifecycles as a scheduler tells them, one payload a step.

use std::io::Write;

use tocsin::clock::Timestamp;

/// How many containers one connection speaks for.
const CONTAINERS: usize = 16;

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

/// The containers that one connection speaks for. It never says the same twice.
pub(super) struct Fleet {
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

impl Fleet {
    /// The fleet of this number. Its containers are at different points of their lives, so that no
    /// moment has more crashes than another.
    pub(super) fn new(number: usize) -> Fleet {
        let containers = (0..CONTAINERS)
            .map(|place| Container { generation: 0, step: (number + 7 * place) % LIFE.len() })
            .collect();
        Fleet { number, containers, next: 0, last_told: Timestamp::default() }
    }

    /// Writes the next payload, as of `now`, behind what `body` has.
    pub(super) fn tell(&mut self, now: Timestamp, body: &mut Vec<u8>) {
        // Two events of one container never share a microsecond, whatever the clock does.
        self.last_told = now.max(Timestamp::from_micros(self.last_told.as_micros() + 1));
        let (fleet, place) = (self.number, self.next);
        self.next = (self.next + 1) % self.containers.len();
        let container = &mut self.containers[place];
        let step = &LIFE[container.step];
        let micros = self.last_told.as_micros();
        write!(
            body,
            concat!(
                r#"{{"service":"{service}","timestamp":{seconds}.{micros:06},"#,
                r#""application":"shop-{application}","#,
                r#""id":"{generation:08x}-{fleet:04x}-4000-8000-{place:012x}","#,
                r#""state":"{state}","prev_state":"{prev_state}","type":"Container","#,
                r#""data":{data},"event":"state","#,
                r#""counters":{{"start":{starts},"post_attempts":0}}}}"#,
            ),
            service = ["web", "worker", "mail", "search"][place % 4],
            seconds = micros / 1_000_000,
            micros = micros % 1_000_000,
            application = fleet % 8,
            generation = container.generation,
            fleet = fleet,
            place = place,
            state = step.state,
            prev_state = step.prev_state,
            data = step.data,
            starts = step.starts,
        )
        .expect("a vector takes all that is written");
        container.step = (container.step + 1) % LIFE.len();
        if container.step == 0 {
            container.generation += 1;
        }
    }
}
