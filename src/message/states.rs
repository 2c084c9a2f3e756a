//! The states that a container was in: for a picture, and in words that say the same.

use std::time::Duration;

use super::text::{count, duration, time};
use super::words::name;
use crate::clock::Timestamp;
use crate::engine::{AlertNews, News, Notification, StateSince};
use crate::event::{self, State};

/// How many are said in words: the last ones. The others are counted.
const SAID: usize = 8;

/// The states of one container over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct States {
    /// Whose they are, in one line.
    pub heading: String,
    /// One after the other.
    pub stretches: Vec<Stretch>,
    /// From when until when the alert fires, or did; nothing if it never should have.
    pub alert: Option<(Timestamp, Timestamp)>,
}

/// A time that it spent in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The state.
    pub state: State,
    /// Since when: not known of what came before all that is known.
    pub from: Option<Timestamp>,
    /// Until when.
    pub until: Timestamp,
    /// Whether the alert began in it.
    pub alert_began: bool,
    /// The same in one line.
    pub line: String,
}

impl States {
    /// The states that a notification has. They end when it was put together, whenever it is
    /// worded.
    pub(super) fn of(notification: &Notification) -> Option<States> {
        let alert = notification.alerts.first()?;
        let now = notification.made_at;
        let began = (alert.news != News::Withdrawn).then_some(alert.started_at);
        let known = &notification.states;
        let began_in = began.and_then(|began| began_in(known, began, alert));
        let ends = known.iter().skip(1).filter_map(|next| next.since).chain([now]);
        let stretches: Vec<Stretch> = known
            .iter()
            .zip(ends)
            .enumerate()
            .map(|(index, (known_since, until))| {
                let (state, from) = (known_since.state.clone(), known_since.since);
                let last = index + 1 == known.len();
                let began = began.filter(|_| began_in == Some(index));
                let line = line(&state, from, until, last, began, now);
                Stretch { state, from, until, alert_began: began.is_some(), line }
            })
            .collect();
        if stretches.is_empty() {
            return None;
        }
        let container = alert.members.first().unwrap_or(&alert.container);
        Some(States {
            heading: format!("The states of container {}:", name(container)),
            stretches,
            alert: began.map(|began| (began, alert.ended_at.unwrap_or(now))),
        })
    }

    /// Those that are said in words, and in front of them how many are not.
    pub fn said(&self) -> (Option<String>, &[Stretch]) {
        let unsaid = self.stretches.len().saturating_sub(SAID);
        let more = (unsaid > 0).then(|| format!("{} before", count(unsaid as u64, "change")));
        (more, &self.stretches[unsaid..])
    }

    /// What a picture of them shows, in one line.
    #[must_use]
    pub fn picture(&self) -> String {
        let (more, said) = self.said();
        let words = said.iter().map(|stretch| {
            let mark = if stretch.alert_began { " (the alert began)" } else { "" };
            format!("{}{mark}", name(stretch.state.as_str()))
        });
        more.into_iter().chain(words).collect::<Vec<_>>().join(", then ")
    }

    /// All that is said of them, as lines of text.
    #[must_use]
    pub fn text(&self) -> String {
        let (more, said) = self.said();
        let lines = more.as_deref().into_iter().chain(said.iter().map(|it| it.line.as_str()));
        lines.fold(self.heading.clone(), |text, line| format!("{text}\n  {line}"))
    }
}

/// In which of these states an alert began at this time. Of several that began with it, it is the one
/// that its event tells of; else the last, since what begins as one state ends belongs to the next.
fn began_in(known: &[StateSince], at: Timestamp, alert: &AlertNews) -> Option<usize> {
    let told = alert.event.as_ref().and_then(|event| event::from_value(event).ok());
    let is_told = |known: &StateSince| {
        known.since == Some(at) && told.as_ref().is_some_and(|event| event.state == known.state)
    };
    let had_begun = |known: &StateSince| known.since.is_none_or(|since| since <= at);
    known.iter().position(is_told).or_else(|| known.iter().rposition(had_begun))
}

fn length(length: Duration) -> String {
    match length.as_secs() {
        0 => "less than 1 s".to_owned(),
        _ => duration(length),
    }
}

/// `14:02 UTC CRASHED, for 4 min so far (the alert began)`.
fn line(
    state: &State,
    from: Option<Timestamp>,
    until: Timestamp,
    last: bool,
    began: Option<Timestamp>,
    now: Timestamp,
) -> String {
    let named = name(state.as_str());
    let mut line = match from {
        None => format!("until {} {named}", time(until, now)),
        Some(from) if *state == State::Deleted && last => format!("{} {named}", time(from, now)),
        Some(from) => {
            let so_far = if last { " so far" } else { "" };
            format!("{} {named}, for {}{so_far}", time(from, now), length(until.since(from)))
        }
    };
    if let Some(began) = began {
        let when = (Some(began) != from).then(|| format!(" {}", time(began, now)));
        line.push_str(&format!(" (the alert began{})", when.unwrap_or_default()));
    }
    line
}
