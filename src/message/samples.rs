//! What a rule may come to tell, made up to try its templates on before anything happens.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::engine::{ALERTS, AlertNews, Cause, News, Notification};
use crate::rules::{On, Resolve, Rule};

/// A notification that a rule can make.
pub(super) struct Sample {
    /// What is told, to be said after "when".
    pub(super) when: &'static str,
    pub(super) notification: Notification,
    /// Whether all is there that can be: something has to come of it.
    pub(super) complete: bool,
}

/// One of each kind that the rule can make: of all news, of one alert and of as many as there may be,
/// with all that a payload has and with nothing that may be missing.
pub(super) fn samples(rule: &Rule) -> Vec<Sample> {
    let kinds: &[(News, &str)] = match moments(rule) {
        true => &[(News::Happened, "it happened")],
        false => &[
            (News::Firing, "an alert begins"),
            (News::StillFiring, "an alert fires still"),
            (News::HadNotEnded, "an alert had not ended"),
            (News::Over, "an alert is over"),
            (News::BeganAndEnded, "an alert began and ended"),
            (News::Withdrawn, "an alert is withdrawn"),
        ],
    };
    // The end alone is what a rule without `send_resolved` keeps to itself.
    let kinds = kinds.iter().filter(|(news, _)| *news != News::Over || rule.send_resolved);
    let mut samples = Vec::new();
    let mut add = |when, complete, alerts: Vec<AlertNews>, empty: bool| {
        let notification = notification(rule, alerts, empty);
        samples.push(Sample { when, notification, complete });
    };
    for (news, when) in kinds.clone() {
        add(when, true, vec![alert(rule, *news, Payload::Exited, 0)], false);
    }
    for (news, _) in kinds.clone() {
        add("it was killed", true, vec![alert(rule, *news, Payload::Killed, 0)], false);
    }
    let all: Vec<News> = kinds.map(|(news, _)| *news).collect();
    let several = |payload, number| {
        let kinds = all.iter().copied().cycle().take(number).enumerate();
        kinds.map(|(number, news)| alert(rule, news, payload, number)).collect::<Vec<_>>()
    };
    add("as many alerts as can be are told at once", true, several(Payload::Exited, ALERTS), false);
    for payload in [Payload::Sparse, Payload::Null, Payload::Gone] {
        let when = payload.when();
        for news in &all {
            add(when, false, vec![alert(rule, *news, payload, 0)], true);
        }
        add(when, false, several(payload, 2), true);
    }
    samples
}

/// Whether what the rule tells has no end to wait for.
fn moments(rule: &Rule) -> bool {
    rule.on == On::Gap || (rule.on == On::Event && matches!(rule.resolve, Resolve::Never))
}

/// What there is of a payload.
#[derive(Clone, Copy)]
enum Payload {
    Exited,
    Killed,
    /// Only what an event has to have.
    Sparse,
    /// All keys, and nothing in them.
    Null,
    /// The event is no longer stored.
    Gone,
}

impl Payload {
    fn when(self) -> &'static str {
        match self {
            Payload::Exited | Payload::Killed => "all is known",
            Payload::Sparse => {
                "the payload has no more than it must (`|default(…)` stands in for what is missing)"
            }
            Payload::Null => "there is null in the payload (`|default(…, true)` stands in for it)",
            Payload::Gone => {
                "the payload is no longer known (`|default(…)` stands in for what is missing)"
            }
        }
    }

    /// The payload of an event that went to `state`.
    fn of(self, id: &str, state: &str, before: &str, at: Timestamp) -> Option<Value> {
        let timestamp = at.as_seconds();
        let full = |data: Value| {
            json!({
                "service": "hello-python", "application": "toto", "id": id, "type": "Container",
                "event": "state", "state": state, "prev_state": before, "data": data,
                "timestamp": timestamp, "counters": {"start": 12, "post_attempts": 0},
            })
        };
        match self {
            Payload::Exited => Some(full(json!({"last_exit_status":
                {"raw_exit_status": 256, "reason": "exited", "exit_status": 1}}))),
            Payload::Killed => Some(full(json!({"last_exit_status":
                {"raw_exit_status": 9, "reason": "signaled", "signal": 9}}))),
            Payload::Sparse => Some(json!({"id": id, "state": state, "timestamp": timestamp})),
            Payload::Null => Some(json!({
                "service": null, "application": null, "id": id, "type": null, "event": null,
                "state": state, "prev_state": null, "data": null, "timestamp": timestamp,
                "counters": null,
            })),
            Payload::Gone => None,
        }
    }
}

fn alert(rule: &Rule, news: News, payload: Payload, number: usize) -> AlertNews {
    let started_at = Timestamp::from_micros(1_448_015_759_061_321);
    let made_at = Timestamp::from_micros(1_448_015_940_000_000);
    let id = format!("b9e7bef7-d571-4ee4-b80e-835a2377{number:04}");
    let known = matches!(payload, Payload::Exited | Payload::Killed);
    let key = ["toto", "hello-python", id.as_str()].map(|value| Some(Arc::from(value)));
    let key = if known { &key[..] } else { &[] };
    let over = !news.is_firing();
    let silent = rule.on == On::Silence;
    let state = if silent { ("RUNNING", "STARTING") } else { ("CRASHED", "RUNNING") };
    AlertNews {
        labels: rule.labels(key),
        container: id.clone(),
        members: Vec::new(),
        members_in_all: 0,
        news,
        started_at,
        ended_at: over.then_some(made_at),
        cause: over.then_some(match news {
            News::Happened => Cause::Momentary,
            News::Withdrawn => Cause::Withdrawn,
            _ => Cause::Resolved,
        }),
        occurrences: u64::from(!silent),
        intervals: 1,
        heard_at: made_at,
        event: payload.of(&id, state.0, state.1, started_at),
        ended_by: over.then(|| payload.of(&id, "RUNNING", "STARTING", made_at)).flatten(),
        before: (rule.on == On::Gap)
            .then(|| payload.of(&id, "STARTING", "SCHEDULED", started_at))
            .flatten(),
    }
}

/// What tells these alerts; `empty` if no label is common to all of them.
fn notification(rule: &Rule, alerts: Vec<AlertNews>, empty: bool) -> Notification {
    let made_at = Timestamp::from_micros(1_448_015_940_000_000);
    let firing = alerts.iter().filter(|alert| alert.news.is_alarm()).count();
    let first = alerts.first().map(|alert| alert.labels.clone()).unwrap_or_default();
    let by = |label: &str| rule.group_by.iter().any(|by| by == label);
    let common = first.iter().filter(|(label, _)| !empty && by(label));
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Notification {
        rule: rule.name.to_string(),
        receiver: rule.notify.first().cloned().unwrap_or_default(),
        severity: rule.severity,
        on: rule.on,
        labels: common.collect(),
        runbook_url: rule.runbook_url.clone(),
        group_opened_at: made_at,
        notice: None,
        digest: None,
        due_at: made_at,
        made_at,
        firing: count(firing),
        resolved: count(alerts.len() - firing),
        firing_in_group: count(firing),
        alerts,
        states: Vec::new(),
        says: Vec::new(),
    }
}
