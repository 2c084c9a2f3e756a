//! `mute_times`: the hours at which nobody is to be told, by the name that rules refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::{Time, Weekday};
use jiff::tz::{self, TimeZone};

use super::fields::{self, Fields};
use super::report::{Report, did_you_mean, quoted};
use super::yaml::{Node, Text, Value};
use crate::rules::MuteTime;
use crate::rules::calendar::Window;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// The mute times by name; what is wrong with one does not make rules that name it wrong.
pub(super) type MuteTimes = BTreeMap<String, Arc<MuteTime>>;

/// The mute times of this section.
pub(super) fn read(node: Option<&Node>, report: &Report) -> MuteTimes {
    let entries = node.and_then(|node| fields::entries(node, "\"mute_times\"", report));
    let mut mute_times = MuteTimes::new();
    for (key, node) in entries.unwrap_or_default() {
        let written = match &node.value {
            Value::List(items) if items.is_empty() => {
                report.wrong(node.place, format!("mute time {} has no hours", quoted(&key.text)));
                &[]
            }
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let windows = written.iter().filter_map(|node| window(node, report)).collect();
        let mute_time = MuteTime { name: key.text.as_str().into(), windows };
        mute_times.insert(key.text.clone(), Arc::new(mute_time));
    }
    mute_times
}

/// The mute times that a rule names.
pub(super) fn named(
    fields: &mut Fields<'_>,
    known: &MuteTimes,
    report: &Report,
) -> Vec<Arc<MuteTime>> {
    let mut named: Vec<Arc<MuteTime>> = Vec::new();
    for (place, text) in fields.texts("mute_during").unwrap_or_default() {
        match known.get(&text.value) {
            Some(mute) if named.iter().any(|other| other.name == mute.name) => {}
            Some(mute) => named.push(Arc::clone(mute)),
            None => {
                let hint = match text.hint(known.keys().map(String::as_str)) {
                    hint if hint.is_empty() => "; name it under \"mute_times\"".to_owned(),
                    hint => hint,
                };
                let message = format!("unknown mute time {}{hint}", quoted(&text.written));
                report.wrong(place, message);
            }
        }
    }
    named
}

fn window(node: &Node, report: &Report) -> Option<Window> {
    if let Value::Null = node.value {
        let message =
            "a mute time is empty; write it like { days: [sat, sun] }, or give it from and to";
        report.wrong(node.place, message);
        return None;
    }
    let mut fields = Fields::of(node, "a mute time", report)?;
    let window = Window {
        days: days(&mut fields, report),
        hours: hours(&mut fields, report),
        timezone: timezone(&mut fields, report),
    };
    fields.finish(&[]);
    Some(window)
}

fn days(fields: &mut Fields<'_>, report: &Report) -> Vec<Weekday> {
    let all = || DAYS.iter().map(|(_, day)| *day).collect();
    let Some(node) = fields.get("days") else { return all() };
    let Some(written) = fields.texts("days") else { return all() };
    if written.is_empty() {
        report.wrong(node.place, "\"days\" lists no day; leave it out for every day");
    }
    let day = |text: &Text| {
        let name = text.value.to_lowercase();
        DAYS.iter().find(|(known, _)| *known == name).map(|(_, day)| *day)
    };
    let mut days = Vec::new();
    for (place, text) in written {
        match day(text) {
            Some(day) => days.push(day),
            None => {
                let names: Vec<&str> = DAYS.iter().map(|(name, _)| *name).collect();
                let hint = match text.hint(names.iter().copied()) {
                    hint if hint.is_empty() => format!("; days are {}", names.join(", ")),
                    hint => hint,
                };
                report.wrong(place, format!("unknown day {}{hint}", quoted(&text.written)));
            }
        }
    }
    days
}

/// From when until when; midnight until midnight if it is not said.
fn hours(fields: &mut Fields<'_>, report: &Report) -> (Time, Time) {
    let all_day = (Time::midnight(), Time::midnight());
    let (from, to) = match (fields.get("from"), fields.get("to")) {
        (None, None) => return all_day,
        (Some(from), Some(to)) => (from, to),
        (Some(node), None) => {
            report.wrong(node.place, "\"from\" needs \"to\": until when it is muted");
            return all_day;
        }
        (None, Some(node)) => {
            report.wrong(node.place, "\"to\" needs \"from\": from when it is muted");
            return all_day;
        }
    };
    let read = |node: &Node, key: &str, last_of_day: bool| {
        let found = match &node.value {
            Value::Text(text) if last_of_day && text.value == "24:00" => Some(Time::midnight()),
            Value::Text(text) => time(&text.value),
            _ => None,
        };
        if found.is_none() {
            let message = format!("\"{key}\" must be a time of day in quotes, like \"22:00\"");
            report.wrong(node.place, message);
        }
        found
    };
    let (Some(begin), Some(end)) = (read(from, "from", false), read(to, "to", true)) else {
        return all_day;
    };
    let day_ends = matches!(&to.value, Value::Text(text) if text.value == "24:00");
    if begin == end && !day_ends {
        let message = "\"from\" and \"to\" are the same time; leave both out to mute the whole day";
        report.wrong(to.place, message);
    }
    (begin, end)
}

/// Hours and minutes, each of two digits.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let digits_only = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| digits_only)
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

fn timezone(fields: &mut Fields<'_>, report: &Report) -> TimeZone {
    let Some(node) = fields.get("timezone") else { return TimeZone::UTC };
    let Some(name) = fields.filled("timezone") else { return TimeZone::UTC };
    tz::db().get(&name).unwrap_or_else(|_| {
        let hint = match &node.value {
            Value::Text(text) if text.written == text.value => {
                let known: Vec<String> =
                    tz::db().available().map(|name| name.to_string()).collect();
                let mut cities = known.iter().filter_map(|zone| zone.rsplit_once('/'));
                // People know their city, and often not its continent.
                let city = cities.find(|(_, city)| city.eq_ignore_ascii_case(&name));
                match city {
                    Some((area, city)) => {
                        format!("; did you mean {}?", quoted(&format!("{area}/{city}")))
                    }
                    None => did_you_mean(&name, known.iter().map(String::as_str)),
                }
            }
            _ => String::new(),
        };
        let hint = if hint.is_empty() { "; write one like Europe/Paris".into() } else { hint };
        report.wrong(node.place, format!("unknown time zone {}{hint}", node.value.written()));
        TimeZone::UTC
    })
}
