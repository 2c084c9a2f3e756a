//! A test of a rules file: what is heard, and all that is to be told of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Simulation;
use crate::clock::Timestamp;
use crate::engine::Notification;
use crate::event::Event;
use crate::rules::{Labels, Rules};

/// The tests of a rules file.
#[derive(Debug, Default)]
pub struct Suite {
    /// The rules. Those who are told are as the file has them, receivers that are off among them.
    pub rules: Rules,
    /// The tests, in the order of the file.
    pub cases: Vec<Case>,
}

/// One test. Times are counted from its start.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// When it starts, by its own clock.
    pub start: Timestamp,
    /// What is heard and when, in this order; what is heard at one instant is heard all at once.
    pub events: Vec<(Duration, Event)>,
    /// All that is to be told, in any order.
    pub expect: Vec<Telling>,
    /// The rules that it is about: what others tell does not count. `None` is all of them.
    pub only: Option<BTreeSet<String>>,
    /// How long the clock runs.
    pub until: Duration,
}

/// When a test starts that does not say so: 2026-01-01T00:00:00Z, a Thursday.
pub const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// What one receiver is told of one group, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// When.
    pub at: Duration,
    /// The rule that speaks.
    pub rule: String,
    /// Who is told.
    pub receiver: String,
    /// Of how many alerts it says that they fire.
    pub firing: u32,
    /// Of how many it says that they do not.
    pub resolved: u32,
    /// The group's labels; `None` where any will do.
    pub labels: Option<Labels>,
}

/// What came of a test.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What was expected beside what was told, over time.
    pub lines: Vec<Line>,
}

/// What was expected beside what was told, of one rule to one receiver at one instant. At least one
/// of them is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was expected, if anything.
    pub expected: Option<Telling>,
    /// What was told, if anything.
    pub told: Option<Telling>,
}

impl Suite {
    /// Runs each test.
    pub fn run(&self) -> impl Iterator<Item = Outcome> {
        self.cases.iter().map(|case| case.run(&self.rules))
    }
}

impl Case {
    /// Runs the test.
    #[must_use]
    pub fn run(&self, rules: &Rules) -> Outcome {
        let mut simulation = Simulation::new(rules, self.start);
        for together in self.events.chunk_by(|(one, _), (other, _)| one == other) {
            let at = together.first().map_or(Duration::ZERO, |(at, _)| *at);
            simulation.hear(together.iter().map(|(_, event)| event.clone()), self.start.plus(at));
        }
        let told = simulation.run_until(self.start.plus(self.until));
        let counts = |rule: &String| self.only.as_ref().is_none_or(|only| only.contains(rule));
        let told = told.into_iter().filter(|notification| counts(&notification.rule));
        let told = told.map(|notification| Telling::new(notification, self.start)).collect();
        Outcome { name: self.name.clone(), lines: compare(&self.expect, told) }
    }
}

impl Telling {
    fn new(notification: Notification, start: Timestamp) -> Telling {
        Telling {
            at: notification.made_at.since(start),
            rule: notification.rule,
            receiver: notification.receiver,
            firing: notification.firing,
            resolved: notification.resolved,
            labels: Some(notification.labels),
        }
    }

    /// When, and who tells whom.
    #[must_use]
    pub fn place(&self) -> (Duration, &str, &str) {
        (self.at, &self.rule, &self.receiver)
    }

    fn is_met_by(&self, told: &Telling) -> bool {
        let labels = self.labels.is_none() || self.labels == told.labels;
        let counts = (self.firing, self.resolved) == (told.firing, told.resolved);
        self.place() == told.place() && counts && labels
    }
}

impl Outcome {
    /// Whether all was told that was expected, and nothing else.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.lines.iter().all(Line::agrees)
    }
}

impl Line {
    /// Whether what was expected was told.
    #[must_use]
    pub fn agrees(&self) -> bool {
        match (&self.expected, &self.told) {
            (Some(expected), Some(told)) => expected.is_met_by(told),
            _ => false,
        }
    }

    /// When, and who tells whom.
    #[must_use]
    pub fn place(&self) -> (Duration, &str, &str) {
        let either = self.expected.as_ref().or(self.told.as_ref());
        either.map_or((Duration::ZERO, "", ""), Telling::place)
    }
}

/// Puts what was told beside what was expected: first where it meets it, then where it is at least
/// of the same rule, to the same receiver, at the same instant.
fn compare(expected: &[Telling], mut told: Vec<Telling>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut open: Vec<&Telling> = expected.iter().collect();
    // Whoever asks for no labels takes what the others leave.
    open.sort_by_key(|expected| expected.labels.is_none());
    let same_place = |expected: &Telling, told: &Telling| expected.place() == told.place();
    for meets in [Telling::is_met_by, same_place] {
        open.retain(|expected| {
            let Some(found) = told.iter().position(|told| meets(expected, told)) else {
                return true;
            };
            let told = Some(told.remove(found));
            lines.push(Line { expected: Some((*expected).clone()), told });
            false
        });
    }
    lines.extend(open.into_iter().map(|one| Line { expected: Some(one.clone()), told: None }));
    lines.extend(told.into_iter().map(|told| Line { expected: None, told: Some(told) }));
    lines.sort_by(|one, other| one.place().cmp(&other.place()));
    lines
}
