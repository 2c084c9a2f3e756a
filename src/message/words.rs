//! The built-in words (DESIGN.md §7): what and how many, the change and the exit, which containers,
//! how often they have started, when and how late, the runbook, the link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::text::{count, duration, one_line, shorten, time, times};
use super::{Body, Context, Message, Section, States, Status};
use crate::clock::Timestamp;
use crate::engine::{AlertNews, Cause, News, Notification};
use crate::event::{self, Event, State};
use crate::rules::On;

/// How many containers are named. The rest is counted.
const NAMED: usize = 10;

/// The same for the second, plain try.
const NAMED_PLAINLY: usize = 3;

/// An id up to this long (a UUID) is always given in full.
const FULL_ID: usize = 36;

/// How much of a longer one is given in a list: what Docker shows, and takes.
const SHORT_ID: usize = 12;

/// What was heard, or is told, later than this after it was to be is said to be late (DESIGN.md §6,
/// "Late").
const LATE: Duration = Duration::from_secs(60);

/// No name out of an event takes more room than this.
const NAME: usize = 120;

pub(super) fn built_in(notification: &Notification, context: &Context<'_>) -> Message {
    let named = if context.plain { NAMED_PLAINLY } else { NAMED };
    let place = Place::of(notification);
    let status = status(notification);
    let rule = name(&notification.rule);
    let severity = notification.severity.as_str();
    let topic = match place.to_string() {
        place if place.is_empty() => format!("[{severity}] {rule}"),
        place => format!("[{severity}] {rule}: {place}"),
    };
    Message {
        severity: notification.severity,
        status,
        title: title(notification, status, &rule, &place),
        topic,
        body: Body::Sections(sections(notification, &place, named, context.now)),
        states: States::of(notification).filter(|_| !context.plain),
        notes: notes(notification, named),
        remarks: Vec::new(),
        runbook_url: notification.runbook_url.as_deref().map(one_line),
        link: context.link(),
        plain: context.plain,
        rule,
    }
}

/// A name in one line. One in which nothing can be seen is quoted.
pub(super) fn name(text: &str) -> String {
    let line = one_line(text);
    let line = if line.is_empty() && !text.is_empty() { format!("{text:?}") } else { line };
    shorten(&line, NAME).into_owned()
}

pub(super) fn status(notification: &Notification) -> Status {
    let all = |news: News| notification.alerts.iter().all(|alert| alert.news == news);
    let recovered = |alert: &AlertNews| {
        alert.news != News::Withdrawn
            && matches!(
                alert.cause,
                None | Some(Cause::Resolved | Cause::Deleted | Cause::Subsided)
            )
    };
    match (notification.firing > 0, notification.resolved > 0) {
        (true, true) => Status::Mixed,
        (true, false) if all(News::StillFiring) => Status::StillFiring,
        (true, false) if all(News::HadNotEnded) => Status::NotOver,
        (true, false) => Status::Firing,
        (false, _) if all(News::Withdrawn) => Status::Withdrawn,
        (false, _) if notification.alerts.iter().all(recovered) => Status::Over,
        (false, _) => Status::Ended,
    }
}

fn title(notification: &Notification, status: Status, rule: &str, place: &Place) -> String {
    let severity = notification.severity.as_str().to_uppercase();
    let word = match status {
        Status::Firing | Status::Mixed => severity,
        Status::StillFiring => format!("STILL {severity}"),
        Status::NotOver => format!("{severity}, NOT OVER"),
        Status::Over => "OVER".to_owned(),
        Status::Ended => "ENDED".to_owned(),
        Status::Withdrawn => "WITHDRAWN".to_owned(),
    };
    let number = containers(notification, status == Status::Mixed);
    let mut title = format!("{word} {rule}: {}", count(number, "container"));
    let place = place.to_string();
    if !place.is_empty() {
        title.push_str(" of ");
        title.push_str(&place);
    }
    if status == Status::Mixed {
        title.push_str(&format!(", {} over", notification.resolved));
    }
    title
}

/// How many containers the alerts are of, or those of the alerts that fire.
fn containers(notification: &Notification, firing_only: bool) -> u64 {
    let alerts = if firing_only { u64::from(notification.firing) } else { total(notification) };
    let told = notification.alerts.iter().filter(|alert| !firing_only || alert.news.is_alarm());
    let more = told.map(|alert| u64::from(alert.members_in_all.saturating_sub(1)));
    alerts + more.sum::<u64>()
}

/// How many alerts are told of, listed or not.
fn total(notification: &Notification) -> u64 {
    let counted = u64::from(notification.firing) + u64::from(notification.resolved);
    counted.max(notification.alerts.len() as u64)
}

/// What the alerts have in common of application and service.
struct Place {
    application: Option<String>,
    service: Option<String>,
}

impl Place {
    fn of(notification: &Notification) -> Place {
        let complete = total(notification) == notification.alerts.len() as u64;
        let common = |label: &str| {
            if let Some(value) = notification.labels.get(label) {
                return named(value);
            }
            // Of alerts that are only counted it is not known where they are.
            let mut values = notification.alerts.iter().map(|alert| alert.labels.get(label));
            let first = values.next().flatten().filter(|_| complete)?;
            values.all(|value| value == Some(first)).then(|| named(first)).flatten()
        };
        Place { application: common("application"), service: common("service") }
    }

    /// What of an alert's place this leaves open.
    fn rest(&self, alert: &AlertNews) -> Option<String> {
        let open = |label: &str, said: &Option<String>| {
            alert.labels.get(label).filter(|_| said.is_none()).and_then(named)
        };
        let rest = Place {
            application: open("application", &self.application),
            service: open("service", &self.service),
        };
        Some(rest.to_string()).filter(|rest| !rest.is_empty())
    }
}

/// The name, if it says anything.
fn named(text: &str) -> Option<String> {
    Some(name(text)).filter(|_| !one_line(text).is_empty())
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.application, &self.service) {
            (Some(application), Some(service)) => write!(f, "{application}/{service}"),
            (Some(application), None) => write!(f, "{application}"),
            (None, Some(service)) => write!(f, "service {service}"),
            (None, None) => Ok(()),
        }
    }
}

fn sections(
    notification: &Notification,
    place: &Place,
    named: usize,
    now: Timestamp,
) -> Vec<Section> {
    if let ([alert], 1) = (notification.alerts.as_slice(), total(notification)) {
        let story = Story::of(alert, notification.on, now);
        let mut lines = vec![members(alert, named)];
        lines.extend(place.rest(alert));
        lines.extend(story.facts());
        return vec![Section { heading: story.heading(), lines }];
    }
    let shown = &notification.alerts[..notification.alerts.len().min(named)];
    let mut sections: Vec<Section> = Vec::new();
    for alert in shown {
        let story = Story::of(alert, notification.on, now);
        let mut parts = vec![match alert.members_in_all {
            0 | 1 => listed_id(&alert.container, shown),
            several => count(several.into(), "container"),
        }];
        parts.extend(place.rest(alert));
        parts.extend(story.facts());
        let (heading, line) = (story.heading(), parts.join(" · "));
        match sections.iter_mut().find(|section| section.heading == heading) {
            Some(section) => section.lines.push(line),
            None => sections.push(Section { heading, lines: vec![line] }),
        }
    }
    sections
}

/// The containers of the one alert that is told of.
fn members(alert: &AlertNews, named: usize) -> String {
    match alert.members.as_slice() {
        [] => format!("container {}", name(&alert.container)),
        [only] => format!("container {}", name(only)),
        several => {
            let names: Vec<String> = several.iter().take(named).map(|id| name(id)).collect();
            let more = (alert.members_in_all as usize).saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("containers {}{more}", names.join(", "))
        }
    }
}

/// The id as it stands in a list: long ones short, unless two of those shown would look the same.
fn listed_id(id: &str, shown: &[AlertNews]) -> String {
    if id.chars().count() <= FULL_ID {
        return name(id);
    }
    let short: String = id.chars().take(SHORT_ID).collect();
    let alike =
        shown.iter().any(|other| other.container != id && other.container.starts_with(&short));
    if alike { name(id) } else { name(&short) }
}

/// What is told of one alert alone.
pub(super) fn of_alert(alert: &AlertNews, on: On, now: Timestamp) -> Section {
    let story = Story::of(alert, on, now);
    let mut lines = vec![members(alert, NAMED)];
    lines.extend(story.facts());
    Section { heading: story.heading(), lines }
}

fn notes(notification: &Notification, named: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let more = total(notification) - notification.alerts.len().min(named) as u64;
    if more > 0 {
        notes.push(format!("and {more} more"));
    }
    match notification.firing_in_group.saturating_sub(notification.firing) {
        0 => {}
        1 => notes.push("1 other still fires".to_owned()),
        others => notes.push(format!("{others} others still fire")),
    }
    const SAID: [&str; 5] = ["rule", "severity", "application", "service", "id"];
    let labels = notification.labels.iter().filter(|(label, _)| !SAID.contains(label));
    notes.extend(labels.map(|(label, value)| format!("{}: {}", name(label), name(value))));
    notes
}

/// How late it is told, where that is to be said: by the time at which it is worded, for it may have
/// been tried for hours, or elsewhere.
pub(super) fn late(notification: &Notification, context: &Context<'_>) -> Option<String> {
    let late = context.now.since(notification.due_at);
    (late > LATE).then(|| format!("told {} late", duration(late)))
}

/// What a rule's own words may leave out, and nobody is to miss: that something was heard late, and what
/// ended otherwise than well.
pub(super) fn provisos(notification: &Notification) -> Vec<String> {
    let alerts = &notification.alerts;
    let of = |number: usize, words: String| match total(notification) {
        1 => words,
        total => format!("{number} of {total}: {words}"),
    };
    let late: Vec<Duration> = alerts.iter().filter_map(heard_late).collect();
    let latest = late.iter().max().map(|latest| {
        let up_to = if late.len() > 1 { "up to " } else { "" };
        of(late.len(), format!("heard {up_to}{} late", duration(*latest)))
    });
    let mut ends = BTreeMap::new();
    for end in alerts.iter().filter_map(no_recovery) {
        *ends.entry(end).or_default() += 1;
    }
    let ends = ends.into_iter().map(|(end, number)| of(number, end.to_owned()));
    latest.into_iter().chain(ends).collect()
}

/// How late it was heard what is told of the alert, where that is to be said.
fn heard_late(alert: &AlertNews) -> Option<Duration> {
    let late = alert.heard_at.since(alert.started_at);
    let tells_of_the_beginning =
        !matches!(alert.news, News::StillFiring | News::Over | News::Withdrawn);
    (tells_of_the_beginning && late > LATE).then_some(late)
}

/// What its end is, where that is no recovery.
fn no_recovery(alert: &AlertNews) -> Option<&'static str> {
    match (alert.news, alert.cause) {
        (News::Withdrawn, _) | (_, Some(Cause::Withdrawn | Cause::Filled)) => {
            Some("had not happened after all")
        }
        (_, Some(Cause::Expired)) => Some("not heard of again, which is no recovery"),
        (_, Some(Cause::RuleRemoved)) => Some("no longer watched, which is no recovery"),
        _ => None,
    }
}

/// What is to be said of one alert.
struct Story<'a> {
    alert: &'a AlertNews,
    /// What it is of.
    on: On,
    /// Its last occurrence; of a silence, the last sign of life.
    event: Option<Event>,
    /// The event that ended it.
    ended_by: Option<Event>,
    /// The event before a gap.
    before: Option<Event>,
    now: Timestamp,
}

impl Story<'_> {
    fn of(alert: &AlertNews, on: On, now: Timestamp) -> Story<'_> {
        let decode =
            |payload: &Option<serde_json::Value>| event::from_value(payload.as_ref()?).ok();
        Story {
            alert,
            on,
            event: decode(&alert.event),
            ended_by: decode(&alert.ended_by),
            before: decode(&alert.before),
            now,
        }
    }

    /// What happened: the same words for all containers to which the same happened.
    fn heading(&self) -> String {
        let change = match self.on {
            On::Event => self.change(),
            On::Gap => self.gap(),
            On::Silence => self.silence(),
        };
        match (self.alert.news, self.alert.cause) {
            (News::Withdrawn, _) | (_, Some(Cause::Withdrawn)) => {
                format!("had not happened after all: {change}")
            }
            (News::Firing | News::Happened, _) => change,
            (News::StillFiring, _) => format!("still firing: {change}"),
            (News::HadNotEnded, _) => format!("had not ended: {change}"),
            (News::Over | News::BeganAndEnded, Some(Cause::Expired)) => {
                format!("not heard of again: {change}")
            }
            (News::Over | News::BeganAndEnded, Some(Cause::RuleRemoved)) => {
                format!("no longer watched: {change}")
            }
            (News::Over | News::BeganAndEnded, _) => format!("over: {change}"),
        }
    }

    /// `RUNNING → CRASHED, killed by SIGKILL`.
    fn change(&self) -> String {
        let Some(event) = &self.event else {
            return "what happened is no longer known".to_owned();
        };
        let mut change = match &event.prev_state {
            Some(before) if *before != event.state => {
                format!("{} → {}", name(before.as_str()), name(event.state.as_str()))
            }
            _ => name(event.state.as_str()),
        };
        if let Some(exit) = &event.exit {
            change.push_str(&format!(", {exit}"));
        }
        change
    }

    /// `events are missing before CRASHED: it was RUNNING when last heard of, and came from STARTING`.
    fn gap(&self) -> String {
        let Some(event) = &self.event else { return "events are missing".to_owned() };
        let missing = format!("events are missing before {}", name(event.state.as_str()));
        let Some(before) = &self.before else { return missing };
        let was = before.state.as_str();
        let mut signs = Vec::new();
        if let Some(came_from) = event.prev_state.as_ref().filter(|state| **state != before.state) {
            let (was, came_from) = (name(was), name(came_from.as_str()));
            signs.push(format!("it was {was} when last heard of, and came from {came_from}"));
        }
        if let (Some(starts), Some(before)) = (event.starts, before.starts)
            && starts.saturating_sub(before) > 1
        {
            signs.push(format!("starts went from {before} to {starts}"));
        }
        match signs.join("; ") {
            signs if signs.is_empty() => missing,
            signs => format!("{missing}: {signs}"),
        }
    }

    /// `nothing heard of for 2 h, last state RUNNING`.
    fn silence(&self) -> String {
        match &self.event {
            Some(last) => {
                let quiet = duration(self.alert.started_at.since(last.timestamp));
                format!("nothing heard of for {quiet}, last state {}", name(last.state.as_str()))
            }
            None => "nothing heard of".to_owned(),
        }
    }

    /// How often it has started, how often it was seen, and when.
    fn facts(&self) -> impl Iterator<Item = String> {
        [self.starts(), self.occurrences(), Some(self.when())].into_iter().flatten()
    }

    fn starts(&self) -> Option<String> {
        if self.alert.members_in_all > 1 {
            return None;
        }
        let events = [&self.ended_by, &self.event];
        match events.into_iter().flatten().find_map(|event| event.starts)? {
            0 => Some("never started".to_owned()),
            1 => Some("started once".to_owned()),
            starts => Some(format!("started {starts} times")),
        }
    }

    fn occurrences(&self) -> Option<String> {
        // Where it came and went, the times that it did so are told instead.
        (self.alert.occurrences > 1 && self.alert.intervals <= 1)
            .then(|| format!("seen {} times", self.alert.occurrences))
    }

    fn when(&self) -> String {
        let alert = self.alert;
        let since = || format!("since {}", time(alert.started_at, self.now));
        let before = || match alert.intervals {
            0 | 1 => String::new(),
            2 => ", and once before".to_owned(),
            intervals => format!(", and {} times before", intervals - 1),
        };
        match alert.news {
            News::Firing | News::HadNotEnded => {
                format!("{}{}{}", since(), before(), self.late())
            }
            News::StillFiring => {
                let long = duration(self.now.since(alert.started_at));
                format!("{}, for {long}{}", since(), before())
            }
            News::Withdrawn => format!("it was told as of {}", time(alert.started_at, self.now)),
            News::Over => self.ending(|end| time(end, self.now)),
            News::Happened if alert.intervals <= 1 => {
                format!("at {}{}", time(alert.started_at, self.now), self.late())
            }
            News::Happened => {
                let last = alert.ended_at.unwrap_or(alert.started_at);
                let (from, until) = times(alert.started_at, last, self.now);
                format!("{} times from {from} to {until}{}", alert.intervals, self.late())
            }
            News::BeganAndEnded => {
                let end = alert.ended_at.unwrap_or(alert.started_at);
                let (from, until) = times(alert.started_at, end, self.now);
                let began = match &self.event {
                    _ if self.on == On::Silence => "silent".to_owned(),
                    Some(event) => name(event.state.as_str()).to_lowercase(),
                    None => "began".to_owned(),
                };
                let began = match alert.intervals {
                    0 | 1 => format!("{began} {from}"),
                    intervals => format!("{began} {intervals} times from {from}"),
                };
                format!("{began}, {}{}", self.ending(|_| until.clone()), self.late())
            }
        }
    }

    /// `running again 14:03 UTC, after 3 min`.
    fn ending(&self, time: impl Fn(Timestamp) -> String) -> String {
        let alert = self.alert;
        let state = |event: &Option<Event>| event.as_ref().map(|event| event.state.clone());
        let end = alert.ended_at.unwrap_or(alert.started_at);
        let words = match alert.cause {
            Some(Cause::Expired) => {
                let last = self.event.as_ref().map_or(alert.started_at, |event| event.timestamp);
                let state = state(&self.event).map_or(String::new(), |state| {
                    format!(", last state {}", name(state.as_str()))
                });
                return format!("no news for {}{state}", duration(end.since(last)));
            }
            Some(Cause::RuleRemoved) => "the rule was removed or replaced".to_owned(),
            Some(Cause::Withdrawn | Cause::Filled) => {
                return "had not happened after all".to_owned();
            }
            Some(Cause::Deleted) => "deleted".to_owned(),
            Some(Cause::Subsided) => "no longer so often".to_owned(),
            Some(Cause::Resolved) if self.on == On::Silence => match state(&self.ended_by) {
                Some(state) => format!("heard of again ({})", name(state.as_str())),
                None => "heard of again".to_owned(),
            },
            Some(Cause::TooShort) => return "did not last".to_owned(),
            Some(Cause::Resolved | Cause::Momentary) | None => match state(&self.ended_by) {
                Some(State::Running) => "running again".to_owned(),
                Some(State::Deleted) => "deleted".to_owned(),
                Some(state) => format!("now {}", name(state.as_str())),
                None => "over".to_owned(),
            },
        };
        format!("{words} {}, after {}", time(end), duration(end.since(alert.started_at)))
    }

    fn late(&self) -> String {
        heard_late(self.alert)
            .map_or_else(String::new, |late| format!(" (heard {} late)", duration(late)))
    }
}
