//! The states of a container, by name. Unknown names are kept: no event is refused for its state.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A container's state. Names compare without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the producer's own, and FACTS.md has what is known")]
pub enum State {
    Init,
    Creating,
    Stopped,
    Scheduling,
    Scheduled,
    Starting,
    Running,
    Starved,
    Crashed,
    Terminated,
    Stopping,
    Deleting,
    Deleted,
    /// A state that the published graph does not have, in upper case.
    Other(String),
}

impl State {
    /// The states of the published graph.
    pub const KNOWN: [State; 13] = [
        State::Init,
        State::Creating,
        State::Stopped,
        State::Scheduling,
        State::Scheduled,
        State::Starting,
        State::Running,
        State::Starved,
        State::Crashed,
        State::Terminated,
        State::Stopping,
        State::Deleting,
        State::Deleted,
    ];

    /// The state of this name, in any case; `SCHEDULLING`, as the announcement prints it, is
    /// `SCHEDULING`.
    #[must_use]
    pub fn named(name: &str) -> State {
        if name.eq_ignore_ascii_case("SCHEDULLING") {
            return State::Scheduling;
        }
        State::KNOWN
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(name))
            .unwrap_or_else(|| State::Other(name.to_uppercase()))
    }

    /// The name in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            State::Init => "INIT",
            State::Creating => "CREATING",
            State::Stopped => "STOPPED",
            State::Scheduling => "SCHEDULING",
            State::Scheduled => "SCHEDULED",
            State::Starting => "STARTING",
            State::Running => "RUNNING",
            State::Starved => "STARVED",
            State::Crashed => "CRASHED",
            State::Terminated => "TERMINATED",
            State::Stopping => "STOPPING",
            State::Deleting => "DELETING",
            State::Deleted => "DELETED",
            State::Other(name) => name,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
        Ok(State::named(&String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_regard_to_case() {
        assert_eq!(State::named("running"), State::Running);
        assert_eq!(State::named("Schedulling"), State::Scheduling);
    }

    #[test]
    fn an_unknown_state_is_kept_by_name() {
        assert_eq!(State::named("paused"), State::named("PAUSED"));
        assert_eq!(State::named("paused").as_str(), "PAUSED");
    }
}
