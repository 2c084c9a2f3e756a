//! What is fed with arbitrary input, and what has to hold of it whatever that is. Each function
//! panics where something does not hold.
//!
//! Shared by the fuzz targets and by `tests/fuzz.rs`, which runs the same on stable.

mod decode;
mod edge;
mod patterns;
mod rules_file;
mod templates;

use std::time::Duration;

pub use decode::decode;
pub use edge::edge;
pub use patterns::patterns;
pub use rules_file::rules_file;
pub use templates::templates;

/// How much of a processor anything may take that is done while an event is received, or a file is
/// read. Far more than it takes: what it is to find takes for ever.
const EFFORT: Duration = Duration::from_secs(10);

/// What stands between the parts of an input that has several.
const SEPARATOR: &str = "\n---\n";

/// That a sentence is one, whatever it is about: it is there, in one line, and moves no cursor.
fn assert_is_a_sentence(text: &str) {
    assert!(!text.trim().is_empty(), "it says nothing");
    assert!(!text.contains(char::is_control), "{text:?} has control characters in it");
}

/// Does this, and sees that it does not take long: by what the processor did, for the machine may be
/// busy with something else.
fn without_effort<T>(work: impl FnOnce() -> T) -> T {
    let before = effort();
    let done = work();
    let took = effort() - before;
    assert!(took < EFFORT, "it took {took:?}");
    done
}

/// For how long this thread has run: Linux says so, and elsewhere it is not known.
fn effort() -> Duration {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = counted.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
