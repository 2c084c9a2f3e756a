mod digest;
mod states;
mod templates;

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;
use crate::engine::{AlertNews, Cause, Missed, News, Notice, StateSince};
use crate::event::State;
use crate::rules::{Labels, On};

const ID: &str = "b9e7bef7-d571-4ee4-b80e-835a2377040e";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(&format!("2015-11-20T{text}Z")).unwrap()
}

fn map(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

/// These labels with another one, or with another value of one.
fn with(labels: &Labels, label: &str, value: &str) -> Labels {
    labels.iter().chain([(label, value)]).collect()
}

fn payload(id: &str, time: Timestamp, state: &str, before: &str, starts: i64) -> Value {
    let data = match state {
        "CRASHED" => json!({"last_exit_status":
            {"raw_exit_status": 256, "reason": "exited", "exit_status": 1}}),
        _ => json!({}),
    };
    json!({
        "service": "hello-python", "application": "toto", "id": id, "type": "Container",
        "event": "state", "state": state, "prev_state": before, "data": data,
        "timestamp": time.as_seconds(), "counters": {"start": starts, "post_attempts": 0},
    })
}

/// A container that crashed at 14:02 and ran again, or otherwise ended, at 14:05.
fn alert(id: &str, news: News) -> AlertNews {
    let firing = matches!(news, News::Firing | News::StillFiring | News::HadNotEnded);
    let started_at = at("14:02:00");
    AlertNews {
        labels: map(&[("application", "toto"), ("service", "hello-python"), ("id", id)]),
        container: id.to_owned(),
        members: Vec::new(),
        members_in_all: 0,
        news,
        started_at,
        ended_at: (!firing).then(|| at("14:05:10")),
        cause: (!firing).then_some(Cause::Resolved),
        occurrences: 1,
        intervals: 1,
        heard_at: at("14:02:01"),
        event: Some(payload(id, started_at, "CRASHED", "RUNNING", 12)),
        ended_by: (!firing).then(|| payload(id, at("14:05:10"), "RUNNING", "STARTING", 13)),
        before: None,
    }
}

pub(crate) fn notification(alerts: Vec<AlertNews>) -> Notification {
    let firing = alerts.iter().filter(|alert| alert.ended_at.is_none()).count() as u32;
    Notification {
        rule: "crashed".into(),
        receiver: "ops".into(),
        severity: Severity::Critical,
        on: On::Event,
        labels: map(&[("application", "toto"), ("service", "hello-python")]),
        runbook_url: Some("https://wiki.example.com/crashed".into()),
        group_opened_at: at("14:02:01"),
        notice: None,
        digest: None,
        due_at: at("14:06:00"),
        made_at: at("14:06:00"),
        firing,
        resolved: alerts.len() as u32 - firing,
        firing_in_group: firing,
        alerts,
        states: Vec::new(),
        says: Vec::new(),
    }
}

fn context() -> Context<'static> {
    Context {
        external_url: Some("https://alerts.example.com"),
        now: at("14:06:00"),
        plain: false,
        instead_of: None,
    }
}

fn words(notification: &Notification) -> String {
    word(notification, &Templates::new(), &context()).text()
}

fn words_of(alert: AlertNews) -> String {
    words(&Notification { runbook_url: None, ..notification(vec![alert]) })
}

#[test]
fn what_is_told_late_says_so() {
    let told = notification(vec![alert(ID, News::Firing)]);
    let late = Notification { due_at: told.made_at.minus(Duration::from_secs(34 * 60)), ..told };
    let text = word(&late, &Templates::new(), &context()).text();
    assert!(text.contains("told 34 min late"), "{text}");
}

#[test]
fn what_was_put_together_in_time_and_is_told_late_says_so() {
    let told = notification(vec![alert(ID, News::Firing)]);
    let later = Context { now: told.due_at.plus(Duration::from_secs(34 * 60)), ..context() };
    for context in [later, Context { plain: true, ..later }] {
        let text = word(&told, &Templates::new(), &context).text();
        assert!(text.contains("told 34 min late"), "{text}");
    }
    let text = word(&notice(None, 0), &Templates::new(), &later).text();
    assert!(text.contains("told 34 min late"), "{text}");
}

#[test]
fn one_container_that_crashed_is_told_with_all_that_is_known() {
    assert_snapshot!(words(&notification(vec![alert(ID, News::Firing)])), @r"
    CRITICAL crashed: 1 container of toto/hello-python

    RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      since 14:02 UTC

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_was_heard_late_is_said_to_be() {
    let late = AlertNews { heard_at: at("14:36:30"), ..alert(ID, News::Firing) };
    assert_snapshot!(words_of(late), @r"
    CRITICAL crashed: 1 container of toto/hello-python

    RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      since 14:02 UTC (heard 34 min late)

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn the_date_is_said_of_what_happened_on_another_day() {
    let context = Context { now: at("14:06:00").plus(Duration::from_secs(86_400)), ..context() };
    let told =
        Notification { due_at: context.now, ..notification(vec![alert(ID, News::BeganAndEnded)]) };
    let message = word(&told, &Templates::new(), &context);
    assert_snapshot!(message.body_text(), @r"
    over: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 13 times
      crashed 2015-11-20 14:02, running again 14:05 UTC, after 3 min

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn the_end_is_told_with_how_long_it_took() {
    assert_snapshot!(words_of(alert(ID, News::Over)), @r"
    OVER crashed: 1 container of toto/hello-python

    over: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 13 times
      running again 14:05 UTC, after 3 min

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn a_deleted_container_is_told_as_deleted() {
    let deleted = AlertNews {
        cause: Some(Cause::Deleted),
        ended_by: Some(payload(ID, at("14:05:10"), "DELETED", "DELETING", 12)),
        ..alert(ID, News::Over)
    };
    assert_snapshot!(words_of(deleted), @r"
    OVER crashed: 1 container of toto/hello-python

    over: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      deleted 14:05 UTC, after 3 min

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn silence_is_never_told_as_a_recovery() {
    let expired = AlertNews {
        cause: Some(Cause::Expired),
        started_at: at("14:02:00"),
        ended_at: Some(at("14:02:00").plus(Duration::from_secs(86_400))),
        ended_by: None,
        ..alert(ID, News::Over)
    };
    assert_snapshot!(words_of(expired), @r"
    ENDED crashed: 1 container of toto/hello-python

    not heard of again: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      no news for 24h, last state CRASHED

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn a_rule_that_went_away_is_told_as_that() {
    let removed =
        AlertNews { cause: Some(Cause::RuleRemoved), ended_by: None, ..alert(ID, News::Over) };
    assert_snapshot!(words_of(removed), @r"
    ENDED crashed: 1 container of toto/hello-python

    no longer watched: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      the rule was removed or replaced 14:05 UTC, after 3 min

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_began_and_ended_untold_is_told_as_both() {
    assert_snapshot!(words_of(alert(ID, News::BeganAndEnded)), @r"
    OVER crashed: 1 container of toto/hello-python

    over: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 13 times
      crashed 14:02, running again 14:05 UTC, after 3 min

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_came_and_went_often_is_told_once_with_how_often() {
    let often = AlertNews { intervals: 15, occurrences: 15, ..alert(ID, News::BeganAndEnded) };
    assert_snapshot!(words_of(often), @r"
    OVER crashed: 1 container of toto/hello-python

    over: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 13 times
      crashed 15 times from 14:02, running again 14:05 UTC, after 3 min

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_fires_again_says_how_often_it_did_before() {
    let again = AlertNews { intervals: 2, ..alert(ID, News::Firing) };
    assert!(words_of(again).contains("since 14:02 UTC, and once before"));
    let still = AlertNews { intervals: 3, ..alert(ID, News::StillFiring) };
    assert!(words_of(still).contains(", and 2 times before"));
}

#[test]
fn what_was_told_over_too_soon_had_not_ended() {
    assert_snapshot!(words_of(alert(ID, News::HadNotEnded)), @r"
    CRITICAL, NOT OVER crashed: 1 container of toto/hello-python

    had not ended: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      since 14:02 UTC

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_was_told_wrongly_is_withdrawn() {
    let withdrawn =
        AlertNews { cause: Some(Cause::Withdrawn), ended_by: None, ..alert(ID, News::Withdrawn) };
    assert_snapshot!(words_of(withdrawn), @r"
    WITHDRAWN crashed: 1 container of toto/hello-python

    had not happened after all: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      it was told as of 14:02 UTC

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_fires_still_is_said_with_since_when() {
    let still =
        AlertNews { started_at: at("10:00:00"), occurrences: 5, ..alert(ID, News::StillFiring) };
    assert_snapshot!(words_of(still), @r"
    STILL CRITICAL crashed: 1 container of toto/hello-python

    still firing: RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      seen 5 times
      since 10:00 UTC, for 4h 6 min

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn several_are_listed_by_what_happened_to_them() {
    let docker = "4c01db0b339c".to_owned() + &"0123456789abcdef".repeat(4)[..52];
    let mut killed = alert(&docker, News::Firing);
    let event = killed.event.as_mut().unwrap();
    event["data"]["last_exit_status"] = json!({"reason": "signaled", "signal": 9});
    let other = "0e6599f7-8c97-4a77-9265-960eaeae2cc3";
    let alerts =
        vec![alert(ID, News::Firing), killed, alert(other, News::Firing), alert("c3", News::Over)];
    assert_snapshot!(words(&notification(alerts)), @r"
    CRITICAL crashed: 3 containers of toto/hello-python, 1 over

    RUNNING → CRASHED, exited with status 1
      b9e7bef7-d571-4ee4-b80e-835a2377040e · started 12 times · since 14:02 UTC
      0e6599f7-8c97-4a77-9265-960eaeae2cc3 · started 12 times · since 14:02 UTC

    RUNNING → CRASHED, killed by SIGKILL
      4c01db0b339c · started 12 times · since 14:02 UTC

    over: RUNNING → CRASHED, exited with status 1
      c3 · started 13 times · running again 14:05 UTC, after 3 min

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn past_the_first_ten_they_are_counted() {
    let alerts = (0..50).map(|number| alert(&format!("c{number}"), News::Firing)).collect();
    let mut many = notification(alerts);
    (many.firing, many.firing_in_group) = (500, 512);
    assert_snapshot!(words(&many), @r"
    CRITICAL crashed: 500 containers of toto/hello-python

    RUNNING → CRASHED, exited with status 1
      c0 · started 12 times · since 14:02 UTC
      c1 · started 12 times · since 14:02 UTC
      c2 · started 12 times · since 14:02 UTC
      c3 · started 12 times · since 14:02 UTC
      c4 · started 12 times · since 14:02 UTC
      c5 · started 12 times · since 14:02 UTC
      c6 · started 12 times · since 14:02 UTC
      c7 · started 12 times · since 14:02 UTC
      c8 · started 12 times · since 14:02 UTC
      c9 · started 12 times · since 14:02 UTC

    and 490 more
    12 others still fire

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn an_alert_of_several_containers_names_them() {
    let mut storm = alert("c12", News::Firing);
    storm.labels = storm.labels.iter().filter(|(label, _)| *label != "id").collect();
    storm.members = (1..=10).map(|number| format!("c{number}")).collect();
    storm.members_in_all = 12;
    storm.occurrences = 15;
    assert_snapshot!(words(&notification(vec![storm.clone()])), @r"
    CRITICAL crashed: 12 containers of toto/hello-python

    RUNNING → CRASHED, exited with status 1
      containers c1, c2, c3, c4, c5, c6, c7, c8, c9, c10 and 2 more
      seen 15 times
      since 14:02 UTC

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");

    storm.news = News::Over;
    storm.ended_at = Some(at("14:05:10"));
    storm.cause = Some(Cause::Subsided);
    let mut web = storm.clone();
    web.labels = with(&web.labels, "service", "web");
    (web.members, web.members_in_all) = (vec!["c1".into()], 1);
    assert_snapshot!(words(&notification(vec![storm, web])), @r"
    OVER crashed: 13 containers of toto/hello-python

    over: RUNNING → CRASHED, exited with status 1
      12 containers · seen 15 times · no longer so often 14:05 UTC, after 3 min
      c12 · started 12 times · seen 15 times · no longer so often 14:05 UTC, after 3 min

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn several_services_are_told_apart() {
    let mut web = alert("c1", News::Firing);
    web.labels = with(&web.labels, "service", "web");
    let mut group = notification(vec![alert("c2", News::Firing), web]);
    group.labels = map(&[("team", "blue")]);
    assert_snapshot!(words(&group), @r"
    CRITICAL crashed: 2 containers of toto

    RUNNING → CRASHED, exited with status 1
      c2 · service hello-python · started 12 times · since 14:02 UTC
      c1 · service web · started 12 times · since 14:02 UTC

    team: blue

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn without_application_payload_or_links_it_still_reads_well() {
    let mut bare = alert("c1", News::Firing);
    bare.labels = map(&[("id", "c1")]);
    bare.event = None;
    let mut bare = notification(vec![bare]);
    bare.labels = Labels::default();
    bare.runbook_url = None;
    let context = Context { external_url: None, ..context() };
    assert_snapshot!(word(&bare, &Templates::new(), &context).text(), @r"
    CRITICAL crashed: 1 container

    what happened is no longer known
      container c1
      since 14:02 UTC
    ");
}

#[test]
fn a_container_whose_id_cannot_be_seen_is_quoted() {
    let text = words_of(alert(" \u{1}", News::Firing));
    assert!(text.contains("container \" \\u{1}\"\n"), "{text}");
    let both = [" ", "c1"].map(|id| alert(id, News::Firing));
    let text = words(&notification(both.to_vec()));
    assert!(text.contains("  \" \" · started"), "{text}");
}

#[test]
fn the_plain_wording_is_short() {
    let alerts = (0..20).map(|number| alert(&format!("c{number}"), News::Firing)).collect();
    let message =
        word(&notification(alerts), &Templates::new(), &Context { plain: true, ..context() });
    assert!(message.plain);
    assert_snapshot!(message.text(), @r"
    CRITICAL crashed: 20 containers of toto/hello-python

    RUNNING → CRASHED, exited with status 1
      c0 · started 12 times · since 14:02 UTC
      c1 · started 12 times · since 14:02 UTC
      c2 · started 12 times · since 14:02 UTC

    and 17 more

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn names_from_events_cannot_break_lines_or_grow_without_end() {
    let mut hostile = alert(ID, News::Firing);
    let event = hostile.event.as_mut().unwrap();
    event["state"] = json!("BAD\r\nBcc: x\u{1b}[2J");
    event["prev_state"] = json!("x".repeat(5000));
    let mut hostile = notification(vec![hostile]);
    let application = format!("a\r\nb{}", "y".repeat(5000));
    hostile.labels = with(&hostile.labels, "application", &application);
    let message = word(&hostile, &Templates::new(), &context());
    assert_eq!(message.title.lines().count(), 1);
    assert!(message.text().len() < 1000, "{}", message.text());
    assert!(!message.text().contains(|c: char| c.is_control() && c != '\n'));
}

#[test]
fn what_is_missing_is_told_in_plain_words() {
    let gap = |starts, before_starts| {
        let event = Some(payload(ID, at("14:02:00"), "CRASHED", "STARTING", starts));
        let before = Some(payload(ID, at("13:00:00"), "RUNNING", "STARTING", before_starts));
        let alert = AlertNews { event, before, ended_by: None, ..alert(ID, News::Happened) };
        let rule = "events-missing".into();
        let group = Notification { firing: 1, resolved: 0, ..notification(vec![alert]) };
        words(&Notification { on: On::Gap, rule, runbook_url: None, ..group })
    };
    assert_snapshot!(gap(3, 3), @r"
    CRITICAL events-missing: 1 container of toto/hello-python

    events are missing before CRASHED: it was RUNNING when last heard of, and came from STARTING
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 3 times
      at 14:02 UTC

    Alerts: https://alerts.example.com/api/alerts
    ");
    assert_snapshot!(gap(6, 3), @r"
    CRITICAL events-missing: 1 container of toto/hello-python

    events are missing before CRASHED: it was RUNNING when last heard of, and came from STARTING; starts went from 3 to 6
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 6 times
      at 14:02 UTC

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn a_silence_is_told_with_what_was_heard_last_and_how_it_ended() {
    let silence = |news, cause, ended_by| {
        let event = Some(payload(ID, at("12:02:00"), "RUNNING", "STARTING", 3));
        let cause = alert(ID, news).cause.and(Some(cause));
        let alert = AlertNews { event, cause, ended_by, occurrences: 0, ..alert(ID, news) };
        let rule = "silent".into();
        words(&Notification {
            on: On::Silence,
            rule,
            runbook_url: None,
            ..notification(vec![alert])
        })
    };
    assert_snapshot!(silence(News::Firing, Cause::Resolved, None), @r"
    CRITICAL silent: 1 container of toto/hello-python

    nothing heard of for 2h, last state RUNNING
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 3 times
      since 14:02 UTC

    Alerts: https://alerts.example.com/api/alerts
    ");
    let heard = Some(payload(ID, at("14:05:10"), "CRASHED", "RUNNING", 3));
    assert_snapshot!(silence(News::Over, Cause::Resolved, heard), @r"
    OVER silent: 1 container of toto/hello-python

    over: nothing heard of for 2h, last state RUNNING
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 3 times
      heard of again (CRASHED) 14:05 UTC, after 3 min

    Alerts: https://alerts.example.com/api/alerts
    ");
    assert_snapshot!(silence(News::BeganAndEnded, Cause::Deleted, None), @r"
    OVER silent: 1 container of toto/hello-python

    over: nothing heard of for 2h, last state RUNNING
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 3 times
      silent 14:02, deleted 14:05 UTC, after 3 min

    Alerts: https://alerts.example.com/api/alerts
    ");
}

fn notice(back_at: Option<&str>, missed_in_all: u32) -> Notification {
    let missed = (0..missed_in_all.min(2)).map(|number| Missed {
        rule: "crashed".into(),
        labels: map(&[("application", &format!("shop{number}"))]),
        at: at("14:03:00"),
    });
    let notice = Notice {
        receiver: "oncall".into(),
        reason: "404 no_service".into(),
        back_at: back_at.map(at),
        missed: missed.collect(),
        missed_in_all,
    };
    Notification {
        rule: "receiver-down".into(),
        notice: Some(notice),
        alerts: Vec::new(),
        ..notification(Vec::new())
    }
}

#[test]
fn a_receiver_that_is_down_and_one_that_is_back_are_told_in_words() {
    let said = |notification| word(&notification, &Templates::new(), &context()).text();
    insta::assert_snapshot!(said(notice(None, 0)), @r"
    CRITICAL receiver-down: oncall takes nothing

    404 no_service
      since 14:02 UTC
      what is for oncall is told here until it takes messages again

    Alerts: https://alerts.example.com/api/alerts
    ");
    insta::assert_snapshot!(said(notice(Some("14:05:01"), 3)), @r"
    OVER receiver-down: oncall takes messages again

    was down for 3 min, since 14:02 UTC
      404 no_service

    3 messages for oncall went elsewhere meanwhile
      crashed · application=shop0 · 14:03 UTC
      crashed · application=shop1 · 14:03 UTC
      and 1 more

    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_is_told_to_another_says_for_whom_it_was() {
    let context = Context { instead_of: Some("oncall"), ..context() };
    let notification = notification(vec![alert(ID, News::Firing)]);
    let message = word(&notification, &Templates::new(), &context);
    assert_eq!(message.remarks.last().unwrap(), "told here, since oncall takes nothing");
}

#[test]
fn what_is_empty_is_no_place() {
    let placed = |application: &str, service: &str| {
        let mut told = notification(vec![alert(ID, News::Firing)]);
        told.labels = map(&[("application", application), ("service", service)]);
        word(&told, &Templates::new(), &context()).title
    };
    assert_eq!(placed("", ""), "CRITICAL crashed: 1 container");
    assert_eq!(placed("toto", ""), "CRITICAL crashed: 1 container of toto");
    assert_eq!(placed("", "web"), "CRITICAL crashed: 1 container of service web");

    let mut apart = alert(ID, News::Firing);
    apart.labels = map(&[("application", ""), ("service", "\u{1b}")]);
    let told = Notification { labels: map(&[]), ..notification(vec![apart]) };
    let told = word(&told, &Templates::new(), &context());
    assert_eq!(told.title, "CRITICAL crashed: 1 container");
    assert!(!told.text().contains("/\n"), "{}", told.text());
}
