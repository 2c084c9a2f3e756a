//! Conditions on one event, compiled: what a rule's `when` and `resolve` say (DESIGN.md §5).
//!
//! Asked for every event and every rule: matching allocates nothing but for a regex on a signal.

use std::fmt;
use std::sync::Arc;

use crate::event::{Event, State};

use super::pattern::{Found, Number, Pattern};

/// What must hold of an event.
#[derive(Clone, Debug)]
pub struct Condition {
    clause: Clause,
}

/// A condition's parts. Open to be read, for the index over them.
#[derive(Clone, Debug)]
pub enum Clause {
    /// All of these hold; so does the empty one.
    All(Vec<Clause>),
    /// One of these holds.
    Any(Vec<Clause>),
    /// This does not hold.
    Not(Box<Clause>),
    /// The field is like this.
    Field(Field, Pattern),
}

/// A place in an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `application`.
    Application,
    /// `service`.
    Service,
    /// `id`, the container's.
    Id,
    /// `state`.
    State,
    /// `prev_state`.
    PrevState,
    /// `type`, the kind of thing that changed.
    Type,
    /// `event`, the kind of change.
    Event,
    /// `timestamp`, in Unix seconds.
    Timestamp,
    /// `starts`: how often the container has started.
    Starts,
    /// `exit.reason`.
    ExitReason,
    /// `exit.status`.
    ExitStatus,
    /// `exit.signal`.
    ExitSignal,
    /// `exit.raw`: the wait(2) status.
    ExitRaw,
    /// `exit.core_dumped`.
    ExitCoreDumped,
    /// `payload.a.b`: any place in the payload. A number is a place in an array too.
    Payload(Vec<String>),
}

/// What a field's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A container's state.
    State,
    /// A signal.
    Signal,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// Whatever the payload has there.
    Any,
}

impl Condition {
    /// The condition that this clause states.
    #[must_use]
    pub fn new(clause: Clause) -> Condition {
        Condition { clause }
    }

    /// The condition that holds of every event.
    #[must_use]
    pub fn any() -> Condition {
        Condition::new(Clause::All(Vec::new()))
    }

    /// The condition that the state is one of these.
    #[must_use]
    pub fn states(states: &[State]) -> Condition {
        let states = states.iter().cloned().map(Pattern::State);
        Condition::new(Clause::Field(Field::State, Pattern::Any(states.collect())))
    }

    /// `{ state: [RUNNING, DELETED] }`: when a container is over what it was told for, unless its
    /// rule says otherwise.
    #[must_use]
    pub fn default_resolve() -> Condition {
        Condition::states(&[State::Running, State::Deleted])
    }

    /// Whether it holds of this event.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.clause.holds(event)
    }

    /// What it is made of.
    #[must_use]
    pub fn clause(&self) -> &Clause {
        &self.clause
    }
}

impl Clause {
    fn holds(&self, event: &Event) -> bool {
        match self {
            Clause::All(clauses) => clauses.iter().all(|clause| clause.holds(event)),
            Clause::Any(clauses) => clauses.iter().any(|clause| clause.holds(event)),
            Clause::Not(clause) => !clause.holds(event),
            Clause::Field(field, pattern) => pattern.matches(field.find(event)),
        }
    }
}

impl Field {
    /// Every field by the name that the rules file has for it, but for the payload's.
    const NAMED: [(&'static str, Field); 14] = [
        ("application", Field::Application),
        ("service", Field::Service),
        ("id", Field::Id),
        ("state", Field::State),
        ("prev_state", Field::PrevState),
        ("type", Field::Type),
        ("event", Field::Event),
        ("timestamp", Field::Timestamp),
        ("starts", Field::Starts),
        ("exit.reason", Field::ExitReason),
        ("exit.status", Field::ExitStatus),
        ("exit.signal", Field::ExitSignal),
        ("exit.raw", Field::ExitRaw),
        ("exit.core_dumped", Field::ExitCoreDumped),
    ];

    /// The names of all fields; the payload's places are named `payload.` and their path.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().map(|(name, _)| *name)
    }

    /// The field of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Field> {
        if let Some(path) = name.strip_prefix("payload.") {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            let complete = path.iter().all(|part| !part.is_empty());
            return complete.then_some(Field::Payload(path));
        }
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone())
    }

    /// What an event has here, as the text that a label has; `None` where it has no one value.
    #[must_use]
    pub fn value(&self, event: &Event) -> Option<Arc<str>> {
        match self {
            Field::Application => event.application.clone(),
            Field::Service => event.service.clone(),
            Field::Id => Some(event.container.clone()),
            field => match field.find(event) {
                Found::Missing | Found::Null | Found::Other => None,
                Found::Bool(value) => Some(value.to_string().into()),
                Found::Number(number) => Some(number.to_string().into()),
                Found::Text(text) => Some(text.into()),
                Found::State(state) => Some(state.as_str().into()),
                Found::Signal(signal) => Some(signal.to_string().into()),
            },
        }
    }

    /// What its values are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Field::Application
            | Field::Service
            | Field::Id
            | Field::Type
            | Field::Event
            | Field::ExitReason => Kind::Text,
            Field::State | Field::PrevState => Kind::State,
            Field::ExitSignal => Kind::Signal,
            Field::Timestamp | Field::Starts | Field::ExitStatus | Field::ExitRaw => Kind::Number,
            Field::ExitCoreDumped => Kind::Bool,
            Field::Payload(_) => Kind::Any,
        }
    }

    /// Whether it is found only in the payload, which has to be parsed for that.
    pub(super) fn is_in_payload(&self) -> bool {
        matches!(self, Field::Type | Field::Event | Field::Payload(_))
    }

    pub(super) fn find<'a>(&self, event: &'a Event) -> Found<'a> {
        let exit = event.exit.as_ref();
        match self {
            Field::Application => text(event.application.as_deref()),
            Field::Service => text(event.service.as_deref()),
            Field::Id => Found::Text(&event.container),
            Field::State => Found::State(&event.state),
            Field::PrevState => event.prev_state.as_ref().map_or(Found::Missing, Found::State),
            Field::Type => text(event.payload.value().get("type").and_then(|value| value.as_str())),
            Field::Event => {
                text(event.payload.value().get("event").and_then(|value| value.as_str()))
            }
            Field::Timestamp => Found::Number(Number::Float(event.timestamp.as_seconds())),
            Field::Starts => number(event.starts),
            Field::ExitReason => text(exit.and_then(|exit| exit.reason.as_deref())),
            Field::ExitStatus => number(exit.and_then(|exit| exit.status)),
            Field::ExitSignal => {
                exit.and_then(|exit| exit.signal).map_or(Found::Missing, Found::Signal)
            }
            Field::ExitRaw => number(exit.and_then(|exit| exit.raw)),
            Field::ExitCoreDumped => {
                exit.and_then(|exit| exit.core_dumped).map_or(Found::Missing, Found::Bool)
            }
            Field::Payload(path) => {
                let place =
                    path.iter().try_fold(event.payload.value(), |value, part| match value {
                        serde_json::Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                        other => other.get(part),
                    });
                place.map_or(Found::Missing, Found::from)
            }
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Payload(path) => write!(f, "payload.{}", path.join(".")),
            field => {
                let name = Self::NAMED.iter().find(|(_, named)| named == field);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

fn text(text: Option<&str>) -> Found<'_> {
    text.map_or(Found::Missing, Found::Text)
}

fn number<'a>(whole: Option<i64>) -> Found<'a> {
    whole.map_or(Found::Missing, |whole| Found::Number(Number::from(whole)))
}
