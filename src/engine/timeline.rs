//! A container's history: its order, and the intervals that follow from it.
//!
//! What is here depends on what happened, never on the order in which it was heard.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::types::*;
use crate::clock::Timestamp;
use crate::event::{Event, State};
use crate::rules::{On, Resolve, Rule, Rules};

/// Up to so many events of one container at one instant and start, the order that chains the most
/// `prev_state`s is searched for exactly; beyond, they are chained one by one.
const EXACT: usize = 6;

/// Puts a container's events in the order of its timeline: by time, by `counters.start`, then so
/// that each `prev_state` follows the `state` before it where that is possible, then by identity.
pub fn sort(timeline: &mut [Heard]) {
    sort_after(None, timeline);
}

/// The same of what comes after a checkpoint.
pub(super) fn sort_after(base: Option<&Checkpoint>, timeline: &mut [Heard]) {
    timeline.sort_by(|one, other| {
        (one.at, one.event.starts, one.event.identity).cmp(&(
            other.at,
            other.event.starts,
            other.event.identity,
        ))
    });
    let mut before: Option<State> = base.map(|base| base.state.clone());
    for tied in timeline
        .chunk_by_mut(|one, other| (one.at, one.event.starts) == (other.at, other.event.starts))
    {
        if tied.len() > 1 {
            let order = chained(before.as_ref(), tied);
            let ordered: Vec<Heard> = order.into_iter().map(|index| tied[index].clone()).collect();
            tied.clone_from_slice(&ordered);
        }
        before = tied.last().map(|heard| heard.event.state.clone());
    }
}

/// The order of tied events, themselves sorted by identity, that follows on from `before`.
fn chained(before: Option<&State>, tied: &[Heard]) -> Vec<usize> {
    let follows = |previous: Option<&State>, next: usize| {
        previous.is_some() && tied[next].event.prev_state.as_ref() == previous
    };
    let mut order = Vec::with_capacity(tied.len());
    let mut rest: Vec<usize> = (0..tied.len()).collect();
    let mut last = before;
    while !rest.is_empty() {
        // Of those that leave the most links to be made, the first by identity.
        let best = rest.iter().copied().min_by_key(|next| {
            let others: Vec<usize> = rest.iter().copied().filter(|other| other != next).collect();
            let later = if tied.len() <= EXACT {
                most_links(tied, Some(&tied[*next].event.state), &others)
            } else {
                0
            };
            (Reverse(usize::from(follows(last, *next)) + later), *next)
        });
        let Some(next) = best else { break };
        order.push(next);
        rest.retain(|other| *other != next);
        last = Some(&tied[next].event.state);
    }
    order
}

/// The most links that any order of these events makes after `before`.
fn most_links(tied: &[Heard], before: Option<&State>, rest: &[usize]) -> usize {
    // Events that say the same `prev_state` and `state` are alike here: trying one is enough.
    let mut tried: Vec<(&Option<State>, &State)> = Vec::new();
    let mut most = 0;
    for next in rest {
        let event = &tied[*next].event;
        if tried.contains(&(&event.prev_state, &event.state)) {
            continue;
        }
        tried.push((&event.prev_state, &event.state));
        let link = usize::from(before.is_some() && event.prev_state.as_ref() == before);
        let others: Vec<usize> = rest.iter().copied().filter(|other| other != next).collect();
        most = most.max(link + most_links(tied, Some(&event.state), &others));
        if most == rest.len() {
            break;
        }
    }
    most
}

/// Whether events are missing between this event and one before it in its container's timeline, whose
/// state and starts these were (DESIGN.md §6).
pub(super) fn is_gap(state: &State, starts: Option<i64>, event: &Event) -> bool {
    let other_state = event.prev_state.as_ref().is_some_and(|before| before != state);
    let started = event.starts.zip(starts);
    other_state || started.is_some_and(|(starts, before)| starts.saturating_sub(before) > 1)
}

/// What came before an event in its timeline, be it pruned.
#[derive(Clone, Copy)]
struct Before<'a> {
    state: &'a State,
    starts: Option<i64>,
    received_at: Timestamp,
}

impl<'a> Before<'a> {
    /// What came before the event at this place.
    fn of(base: Option<&'a Checkpoint>, timeline: &'a [Heard], index: usize) -> Option<Before<'a>> {
        let Some(before) = index.checked_sub(1).map(|before| &timeline[before]) else {
            return base.map(|base| Before {
                state: &base.state,
                starts: base.starts,
                received_at: base.received_at,
            });
        };
        let (state, starts) = (&before.event.state, before.event.starts);
        Some(Before { state, starts, received_at: before.received_at })
    }

    /// Whether events are missing between this and the event.
    fn is_gap_to(&self, event: &Event) -> bool {
        is_gap(self.state, self.starts, event)
    }
}

/// Whether events are missing before this one in a sorted timeline, as far as it is there.
pub(super) fn is_missing_before(
    base: Option<&Checkpoint>,
    timeline: &[Heard],
    event: EventRef,
) -> bool {
    let place = timeline.iter().position(|heard| heard.reference() == event);
    place.is_none_or(|index| {
        let before = Before::of(base, timeline, index);
        before.is_some_and(|before| before.is_gap_to(&timeline[index].event))
    })
}

/// The event before this one in its container's timeline.
pub(super) fn event_before(mut timeline: Vec<Heard>, event: EventRef) -> Option<Arc<Event>> {
    sort(&mut timeline);
    let mut pairs = timeline.windows(2);
    pairs.find(|pair| pair[1].reference() == event).map(|pair| Arc::clone(&pair[0].event))
}

/// The rules that this event is an occurrence for, or a sign of life: whose `when` holds and, where
/// they look for gaps, after a gap.
pub(super) fn concerned<'a>(
    rules: &'a Rules,
    event: &Event,
    gap: bool,
) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a> {
    rules.matching(event).filter(move |rule| gap || rule.on != On::Gap)
}

/// What the last events of a sorted timeline say of its container.
pub(super) fn container_of(
    base: Option<&Checkpoint>,
    timeline: &[Heard],
    derived_to: Timestamp,
    open: u32,
) -> Option<Container> {
    let Some(last) = timeline.last() else {
        let base = base?.clone();
        return Some(Container {
            id: base.container,
            application: base.application,
            service: base.service,
            state: base.state,
            since: base.since,
            starts: base.starts,
            gaps: base.gaps,
            last_at: base.last_at,
            derived_to: derived_to.max(base.at),
            open,
        });
    };
    let run = timeline.iter().rev().take_while(|heard| heard.event.state == last.event.state);
    let run: Vec<&Heard> = run.collect();
    let since = match base.filter(|base| base.state == last.event.state) {
        Some(base) if run.len() == timeline.len() => base.since,
        _ => run.last().map_or(last.at, |first| first.at),
    };
    let gaps = timeline.iter().enumerate().filter(|(index, heard)| {
        Before::of(base, timeline, *index).is_some_and(|before| before.is_gap_to(&heard.event))
    });
    Some(Container {
        id: last.event.container.clone(),
        application: last.event.application.clone(),
        service: last.event.service.clone(),
        state: last.event.state.clone(),
        since,
        starts: last.event.starts,
        gaps: base.map_or(0, |base| base.gaps).saturating_add(count(gaps.count())),
        last_at: last.at,
        derived_to: derived_to.max(last.at),
        open,
    })
}

/// Takes one event into account for one rule and container: what was open may go on or end, and
/// something may begin. `matches` says whether the rule's `when` holds for it.
pub(super) fn step(
    rule: &Rule,
    heard: &Heard,
    matches: bool,
    open: &mut Vec<Interval>,
    ended: &mut Vec<Interval>,
) {
    if rule.on == On::Silence {
        return hear(rule, heard, matches, open, ended);
    }
    expire(rule, open, ended, heard.at);
    if matches && let Some(threshold) = rule.threshold {
        ended.push(alone(rule, heard, heard.at.plus(threshold.within), Cause::Subsided));
        return;
    }
    if matches && matches!(rule.resolve, Resolve::Never) {
        ended.push(alone(rule, heard, heard.at, Cause::Momentary));
        return;
    }
    if matches {
        let values = rule.key(&heard.event);
        match open.iter_mut().find(|interval| interval.alert.values == values) {
            Some(interval) => occur(interval, heard),
            None => open.push(begin(rule, values, heard)),
        }
    }
    let deleted = heard.event.state == State::Deleted;
    if rule.hold.is_some() && (deleted || !matches) {
        // A run that ended before it counted: kept to say why nobody was told.
        let short = open.extract_if(.., |interval| heard.at <= interval.start);
        ended.extend(short.map(|interval| Interval {
            start: interval.start.minus(rule.hold.unwrap_or_default()),
            ..end_with(interval, heard, Cause::TooShort)
        }));
    }
    let resolved = match &rule.resolve {
        Resolve::When(condition) => condition.matches(&heard.event),
        Resolve::EndOfRun => true,
        Resolve::Never => false,
    };
    if deleted || (!matches && resolved) {
        let cause = if deleted { Cause::Deleted } else { Cause::Resolved };
        ended.extend(open.drain(..).map(|interval| end_with(interval, heard, cause)));
    }
}

/// The same for a rule on a silence. One that a container holds up alone begins when nothing was
/// heard for long enough, so that what is open may not have begun. Of those that several containers
/// may end, each part is a container's life from a first sign until it was silent for that long and
/// then heard of again, or is deleted: it is heard of from `start` until `last_at` + `for`.
fn hear(
    rule: &Rule,
    heard: &Heard,
    matches: bool,
    open: &mut Vec<Interval>,
    ended: &mut Vec<Interval>,
) {
    let deleted = heard.event.state == State::Deleted;
    if !matches && !deleted {
        return;
    }
    let cause = if deleted { Cause::Deleted } else { Cause::Resolved };
    // What had begun when its rule asked for less stays begun.
    let silent = |interval: &mut Interval| {
        let has_begun = interval.role == Role::Own && interval.start < heard.at;
        has_begun || silent_from(rule, interval) < heard.at
    };
    ended.extend(open.extract_if(.., silent).map(|interval| end_with(interval, heard, cause)));
    let values = rule.key(&heard.event);
    if matches {
        match open.iter_mut().find(|interval| interval.alert.values == values) {
            Some(interval) => {
                interval.last_at = heard.at;
                interval.last = heard.reference();
                interval.heard_at = heard.received_at;
                if interval.role == Role::Own {
                    interval.start = silent_from(rule, interval);
                }
            }
            None => open.push(Interval { occurrences: 0, ..begin(rule, values.clone(), heard) }),
        }
    }
    // What a container is of may change: it goes on as what it is of now.
    let stays = |interval: &Interval| !deleted && interval.alert.values == values;
    for interval in open.extract_if(.., |interval| !stays(interval)) {
        if interval.role == Role::Part {
            ended.push(end_with(interval, heard, cause));
        }
    }
}

/// When a silence begins, if nothing more is heard.
pub(super) fn silent_from(rule: &Rule, interval: &Interval) -> Timestamp {
    interval.last_at.plus(rule.hold.unwrap_or_default())
}

/// The interval as it is once this event has ended it.
fn end_with(interval: Interval, heard: &Heard, cause: Cause) -> Interval {
    let (heard_at, event) = (heard.received_at, Some(heard.reference()));
    Interval { end: Some(End { at: heard.at, heard_at, cause, event }), due: None, ..interval }
}

/// When an open interval ends by itself if nothing more is heard, if it does.
pub(super) fn expires(rule: &Rule, interval: &Interval) -> Option<Timestamp> {
    (rule.on != On::Silence).then(|| interval.last_at.plus(rule.expire_after))
}

/// Ends what ends by itself at `at` or before.
pub(super) fn expire(
    rule: &Rule,
    open: &mut Vec<Interval>,
    ended: &mut Vec<Interval>,
    at: Timestamp,
) {
    open.retain_mut(|interval| {
        let Some(due) = expires(rule, interval).filter(|due| *due <= at) else { return true };
        let end = End { at: due, heard_at: due, cause: Cause::Expired, event: None };
        ended.push(Interval { end: Some(end), due: None, ..interval.clone() });
        false
    });
}

fn occur(interval: &mut Interval, heard: &Heard) {
    interval.occurrences += 1;
    // What was carried over when the rule changed may be later than what was heard late since.
    if heard.at >= interval.last_at {
        interval.last_at = heard.at;
        interval.last = heard.reference();
    }
}

fn begin(rule: &Rule, values: Vec<Option<Arc<str>>>, heard: &Heard) -> Interval {
    Interval {
        id: UNNAMED,
        role: if rule.is_shared() { Role::Part } else { Role::Own },
        labels: rule.labels(&values),
        alert: AlertKey { rule: rule.name.clone(), values },
        container: heard.event.container.clone(),
        start: heard.at.plus(rule.lead()),
        heard_at: heard.received_at,
        occurrences: 1,
        last_at: heard.at,
        last: heard.reference(),
        end: None,
        due: None,
        ledger: Vec::new(),
    }
}

/// An occurrence that counts by itself, until then.
fn alone(rule: &Rule, heard: &Heard, until: Timestamp, cause: Cause) -> Interval {
    let event = (cause == Cause::Momentary).then(|| heard.reference());
    let end = End { at: until, heard_at: until.max(heard.received_at), cause, event };
    Interval { end: Some(end), ..begin(rule, rule.key(&heard.event), heard) }
}

/// The news that events are missing before this one. That was known once both sides of the gap had
/// been heard.
fn gap(rule: &Rule, before: Before<'_>, heard: &Heard) -> Interval {
    let received_at = before.received_at.max(heard.received_at);
    alone(rule, &Heard { received_at, ..heard.clone() }, heard.at, Cause::Momentary)
}

/// The id of an interval that has none yet.
pub(super) const UNNAMED: IntervalId = IntervalId(0);

/// The intervals of one container as they follow from its sorted timeline, by start. `carried` are
/// those that were open at the checkpoint that it begins after, and those that fired when their rule
/// changed: they go on from there.
pub(super) fn derive(
    rules: &Rules,
    base: Option<&Checkpoint>,
    timeline: &[Heard],
    carried: Vec<Interval>,
    now: Timestamp,
) -> Vec<Interval> {
    let (derivations, mut ended) = walk(rules, base, timeline, carried);
    for Derivation { rule, mut open } in derivations {
        expire(&rule, &mut open, &mut ended, now);
        ended.append(&mut open);
    }
    ended.sort_by(|one, other| (one.start, &one.alert).cmp(&(other.start, &other.alert)));
    ended
}

/// What is open of one rule.
struct Derivation {
    rule: Arc<Rule>,
    open: Vec<Interval>,
}

/// Goes through a sorted timeline: what is open at its end, by rule, and what ended in it.
fn walk(
    rules: &Rules,
    base: Option<&Checkpoint>,
    timeline: &[Heard],
    carried: Vec<Interval>,
) -> (Vec<Derivation>, Vec<Interval>) {
    let mut ended = Vec::new();
    let mut derivations: BTreeMap<Arc<str>, Derivation> = BTreeMap::new();
    for interval in carried {
        let Some(rule) = rules.get(&interval.alert.rule) else { continue };
        derivations
            .entry(rule.name.clone())
            .or_insert_with(|| Derivation { rule: Arc::clone(rule), open: Vec::new() })
            .open
            .push(interval);
    }
    for (index, heard) in timeline.iter().enumerate() {
        let before = Before::of(base, timeline, index);
        let before = before.filter(|before| before.is_gap_to(&heard.event));
        let matching: Vec<&Arc<Rule>> = concerned(rules, &heard.event, before.is_some()).collect();
        for rule in matching.iter().filter(|rule| heard.received_at >= rule.since) {
            if let (On::Gap, Some(before)) = (rule.on, before) {
                ended.push(gap(rule, before, heard));
                continue;
            }
            let derivation = derivations
                .entry(rule.name.clone())
                .or_insert_with(|| Derivation { rule: Arc::clone(rule), open: Vec::new() });
            step(rule, heard, true, &mut derivation.open, &mut ended);
        }
        for Derivation { rule, open } in derivations.values_mut() {
            let matches = matching.iter().any(|other| other.name == rule.name);
            if heard.received_at < rule.since {
                step_before(rule, heard, matches, open, &mut ended);
                continue;
            }
            // What is carried began before the events that its rule derives from.
            let later = open.iter().all(|interval| interval.last_at <= heard.at);
            if !open.is_empty() && later && !matches {
                step(rule, heard, false, open, &mut ended);
            }
        }
    }
    (derivations.into_values().collect(), ended)
}

/// Takes an event into account that was received before its rule was as it is: nothing begins with it,
/// and what the rule had found by then is left as it was. But what began since, with what was heard late,
/// was over by then.
fn step_before(
    rule: &Rule,
    heard: &Heard,
    matches: bool,
    open: &mut Vec<Interval>,
    ended: &mut Vec<Interval>,
) {
    let began_since =
        |interval: &mut Interval| interval.heard_at >= rule.since && interval.last_at <= heard.at;
    let mut since: Vec<Interval> = open.extract_if(.., began_since).collect();
    let is_sign = rule.on == On::Silence;
    if !since.is_empty() && (is_sign || !matches || heard.event.state == State::Deleted) {
        // To the rule it is as if it were told of it when it came.
        let heard = Heard { received_at: rule.since, ..heard.clone() };
        step(rule, &heard, matches && is_sign, &mut since, ended);
    }
    open.append(&mut since);
}

/// What is left of a sorted part of a timeline, and of what was before it, once it is pruned.
/// `carried` as for [`derive()`]. `None` if there is nothing of it.
///
/// If nothing came after it, `quiet_until` is until when that is sure: what ended by itself by then
/// has ended for good.
pub(super) fn checkpoint(
    rules: &Rules,
    base: Option<&Checkpoint>,
    timeline: &[Heard],
    carried: Vec<Interval>,
    quiet_until: Option<Timestamp>,
) -> Option<Checkpoint> {
    let container = container_of(base, timeline, Timestamp::default(), 0)?;
    let (derivations, _) = walk(rules, base, timeline, carried);
    let mut members = Vec::new();
    let mut at = base.map(|base| base.at).max(Some(container.last_at)).unwrap_or_default();
    let expired_by = quiet_until.map_or(at, |until| until.max(at));
    for Derivation { rule, mut open } in derivations {
        let mut ended = Vec::new();
        expire(&rule, &mut open, &mut ended, expired_by);
        let ends = ended.iter().filter_map(|interval| interval.end.as_ref());
        at = ends.map(|end| end.at).max().max(Some(at)).unwrap_or_default();
        members.extend(open.into_iter().map(|interval| Member::of(interval, rule.since)));
    }
    let received = timeline.iter().map(|heard| heard.received_at).max();
    let last_received_at = received.max(base.map(|base| base.last_received_at));
    // Of a rule that changed since, what it held up before is known from here alone.
    let stale = base.iter().flat_map(|base| &base.members).filter(|member| {
        rules
            .get(&member.alert.rule)
            .is_some_and(|rule| rule.since != member.since && last_received_at < Some(rule.since))
    });
    members.extend(stale.cloned());
    let received_at = timeline.last().map(|last| last.received_at);
    Some(Checkpoint {
        container: container.id,
        at,
        last_at: container.last_at,
        application: container.application,
        service: container.service,
        state: container.state,
        since: container.since,
        starts: container.starts,
        gaps: container.gaps,
        received_at: received_at.or(base.map(|base| base.received_at)).unwrap_or_default(),
        last_received_at: last_received_at.unwrap_or_default(),
        members,
    })
}

impl Member {
    fn of(interval: Interval, since: Timestamp) -> Member {
        Member {
            alert: interval.alert,
            since,
            start: interval.start,
            heard_at: interval.heard_at,
            occurrences: interval.occurrences,
            last_at: interval.last_at,
            last: interval.last,
        }
    }

    /// The interval as it was at the checkpoint.
    fn interval(&self, rule: &Rule, container: &Arc<str>) -> Interval {
        Interval {
            id: UNNAMED,
            role: if rule.is_shared() { Role::Part } else { Role::Own },
            alert: self.alert.clone(),
            labels: rule.labels(&self.alert.values),
            container: container.clone(),
            start: self.start,
            heard_at: self.heard_at,
            occurrences: self.occurrences,
            last_at: self.last_at,
            last: self.last,
            end: None,
            due: None,
            ledger: Vec::new(),
        }
    }
}

impl Checkpoint {
    /// What was open, and follows from the rules as they are, as it was then.
    pub(super) fn open(&self, rules: &Rules) -> Vec<Interval> {
        let of_rule = |member: &Member| rules.get(&member.alert.rule).cloned();
        let members = self.members.iter().filter_map(|member| Some((of_rule(member)?, member)));
        let current = members.filter(|(rule, member)| rule.since == member.since);
        current.map(|(rule, member)| member.interval(&rule, &self.container)).collect()
    }

    /// Whether one that was open goes on, as far as the rules are as they were then.
    fn has_open(&self, rules: &Rules, alert: &AlertKey) -> bool {
        let since = rules.get(&alert.rule).map(|rule| rule.since);
        self.members.iter().any(|member| member.alert == *alert && Some(member.since) == since)
    }

    /// Whether an interval of its container that ended would be derived again if it were not there.
    pub(super) fn may_derive(&self, rules: &Rules, interval: &Interval) -> bool {
        let Some(rule) = rules.get(&interval.alert.rule) else { return false };
        let is_withdrawn = interval.end.as_ref().is_some_and(|end| end.cause == Cause::Withdrawn);
        let was_carried = interval.heard_at < rule.since;
        !(self.settles(interval)
            || is_withdrawn
            || (was_carried && !self.has_open(rules, &interval.alert)))
    }

    /// Whether nothing that comes after this can change an interval of its container.
    pub(super) fn settles(&self, interval: &Interval) -> bool {
        interval.end.as_ref().is_some_and(|end| match end.cause {
            // An occurrence that counted by itself, for a while.
            Cause::Subsided => interval.last_at <= self.at,
            _ => end.at <= self.at,
        })
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
