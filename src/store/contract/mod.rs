//! What every store has to do, as tests that each backend runs: `contract!(open)`, where `open` is
//! an async function that answers a new, empty store, and what has to live as long as it does.

mod due;
mod lists;
mod prune;
mod rows;
mod silences;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{
    AlertQuery, AttemptRow, Claimable, DeliveryQuery, EventQuery, NewSilence, Page, PageQuery,
    SILENCES_KEPT, SilenceQuery, Step, Store, StoreError, transact,
};
use crate::clock::Timestamp;
use crate::engine::{
    AlertKey, AlertNews, Attempt, Cause, Changes, Container, Decision, Delivery, DeliveryId, End,
    Entry, Group, GroupKey, Heard, Held, Interval, IntervalId, Keys, Lease, News, Notification,
    RECENT, Role, Saying, Silence, SilenceId, SilenceStatus, Snapshot, StateSince, Status, Timer,
    Told,
};
use crate::event::{self, State};
use crate::rules::{Labels, On, Severity};

/// Runs every fact of the contract against the stores that `$open` answers.
macro_rules! contract {
    ($open:path) => {
        $crate::store::contract::contract!($open:
            rows_are_read_as_they_were_written,
            rows_that_do_not_exist_are_not_in_the_snapshot,
            a_timeline_brings_every_event_and_interval_of_its_container,
            only_the_last_events_are_recent,
            a_container_brings_only_its_open_intervals,
            a_shared_alert_brings_what_had_not_ended,
            a_group_brings_its_news_and_what_fires,
            a_rule_brings_what_fires_and_its_news,
            a_ledger_outlives_its_group,
            rows_put_again_are_replaced,
            intervals_are_removed_with_their_ledgers,
            the_number_of_a_removed_interval_does_not_come_back,
            a_decision_may_ask_for_more,
            a_decision_that_asks_for_ever_is_refused,
            a_decision_that_panics_writes_nothing,
            an_event_is_stored_once,
            an_event_without_its_container_is_refused,
            a_failed_event_is_listed_and_no_part_of_a_timeline,
            the_newest_events_come_first_and_each_page_ascends,
            events_are_filtered_by_what_they_say_themselves,
            events_are_filtered_by_time,
            a_cursor_of_no_list_is_refused,
            containers_are_listed_by_id,
            a_container_is_shown_with_its_timeline,
            alerts_are_listed_latest_first,
            alerts_say_who_is_not_told_yet,
            what_never_fired_is_listed_with_the_reason,
            deliveries_are_listed_latest_first,
            a_delivery_is_shown_with_its_attempts_and_what_it_says,
            what_is_due_is_found_and_when_more_will_be,
            a_timer_set_in_the_future_is_due,
            a_digest_brings_those_of_its_deliveries_that_wait,
            what_was_read_is_changed_where_it_differs_and_nowhere_else,
            deliveries_are_claimable_when_due_and_not_leased,
            leased_and_orphaned_deliveries_are_found,
            rules_of_a_new_store_derive_from_the_beginning,
            rules_that_come_later_derive_from_now,
            alerts_of_rules_that_are_gone_are_found,
            a_rule_whose_alerts_are_of_another_kind_comes_after_them,
            silences_are_listed_with_what_fires_behind_them,
            silences_are_read_when_asked_for,
            a_silence_is_ended_once,
            a_silence_that_has_not_begun_is_removed,
            silences_that_were_over_long_ago_are_removed,
            the_number_of_a_removed_silence_does_not_come_back,
            a_checkpoint_is_read_as_it_was_written,
            the_oldest_events_come_with_where_the_others_begin,
            what_is_pruned_is_gone_and_all_else_is_found,
            what_failed_goes_when_it_is_old,
            intervals_that_ended_are_found_in_order,
            deliveries_that_ended_go_with_their_attempts,
            a_name_comes_back_after_nothing_spoke_of_it,
            a_store_in_health_can_be_written,
        );
    };
    ($open:path: $($fact:ident,)+) => {
        $(
            #[tokio::test]
            async fn $fact() {
                let (store, _keep) = $open().await;
                $crate::store::contract::$fact(&store).await;
            }
        )+
    };
}
pub(crate) use contract;
pub(crate) use due::*;
pub(crate) use lists::*;
pub(crate) use prune::*;
pub(crate) use rows::*;
pub(crate) use silences::*;
pub(crate) use work::*;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

pub(crate) fn heard(container: &str, second: i64, state: &str) -> Heard {
    heard_of(json!({"id": container, "timestamp": second, "state": state,
        "application": "shop", "service": "web"}))
}

fn heard_of(payload: serde_json::Value) -> Heard {
    let event = event::decode(payload.to_string().as_bytes()).unwrap();
    let received_at = event.timestamp.plus(Duration::from_secs(2));
    Heard::new(event, received_at)
}

pub(crate) fn container(heard: &Heard) -> Container {
    Container {
        id: heard.event.container.clone(),
        application: heard.event.application.clone(),
        service: heard.event.service.clone(),
        state: heard.event.state.clone(),
        since: heard.at,
        starts: Some(3),
        gaps: 2,
        last_at: heard.at,
        derived_to: heard.at,
        open: 1,
    }
}

fn group_key(receiver: &str) -> GroupKey {
    let labels = BTreeMap::from([("application".to_owned(), "shop".to_owned())]).into();
    GroupKey { rule: "crashed".into(), receiver: receiver.into(), labels }
}

fn group(receiver: &str) -> Group {
    Group {
        key: group_key(receiver),
        opened_at: at(100),
        last_told: None,
        news: 1,
        firing: 1,
        waiting: None,
        spoken: 2,
        handle: None,
        timer: Some(Timer { set_at: at(100), due_at: at(105) }),
    }
}

fn entry(receiver: &str, news: Option<News>) -> Entry {
    Entry { news, firing: true, ..Entry::new(group_key(receiver)) }
}

pub(crate) fn interval(id: i64, heard: &Heard, ledger: Vec<Entry>) -> Interval {
    let container = heard.event.container.clone();
    Interval {
        id: IntervalId(id),
        role: Role::Own,
        alert: AlertKey {
            rule: "crashed".into(),
            values: vec![Some("shop".into()), None, Some(container.clone())],
        },
        labels: BTreeMap::from([("severity".to_owned(), "critical".to_owned())]).into(),
        container,
        start: heard.at,
        heard_at: heard.received_at,
        occurrences: 2,
        last_at: heard.at,
        last: heard.reference(),
        end: None,
        due: Some(at(1_000)),
        ledger,
    }
}

fn ended(mut interval: Interval, second: i64, cause: Cause) -> Interval {
    let event = (cause == Cause::Resolved).then_some(interval.last);
    interval.end = Some(End { at: at(second), heard_at: at(second + 1), cause, event });
    interval.due = None;
    interval
}

pub(crate) fn delivery(id: &str, receiver: &str, since: i64) -> Delivery {
    Delivery {
        id: DeliveryId(id.into()),
        group: group_key(receiver),
        to: receiver.into(),
        status: Status::Pending,
        created_at: at(since),
        due_at: at(since - 1),
        waiting_since: at(since),
        next_attempt: Timer { set_at: at(since), due_at: at(since) },
        attempts: 0,
        failures: 0,
        lease: None,
        digest: None,
        notification: None,
        doubtful: false,
        plain: false,
        reached: Vec::new(),
        last_error: None,
        ended_at: None,
    }
}

pub(crate) fn notification(interval: IntervalId) -> Notification {
    Notification {
        rule: "crashed".into(),
        receiver: "ops".into(),
        severity: Severity::Critical,
        on: On::Event,
        labels: group_key("ops").labels,
        runbook_url: Some("https://wiki/crash".into()),
        group_opened_at: at(100),
        notice: None,
        digest: None,
        due_at: at(104),
        made_at: at(105),
        firing: 1,
        resolved: 0,
        firing_in_group: 1,
        alerts: vec![AlertNews {
            labels: Labels::default(),
            container: "a".into(),
            members: Vec::new(),
            members_in_all: 0,
            news: News::Firing,
            started_at: at(100),
            ended_at: None,
            cause: None,
            occurrences: 1,
            intervals: 1,
            heard_at: at(101),
            event: Some(json!({"id": "a", "deep": [1, null, "x"]})),
            ended_by: None,
            before: None,
        }],
        states: vec![
            StateSince { since: None, state: State::Running },
            StateSince { since: Some(at(100)), state: State::named("odd") },
        ],
        says: vec![Saying {
            interval,
            alert: AlertKey { rule: "crashed".into(), values: vec![Some("a".into()), None] },
            news: News::Firing,
            from: at(100),
            until: None,
            waiting_since: at(105),
            doubtful: true,
            to_who_took_it: false,
        }],
    }
}

/// Writes `changes`.
pub(crate) async fn write(store: &dyn Store, changes: Changes) -> Result<(), StoreError> {
    let step = move |_: &Snapshot| Step::Write(changes.clone());
    store.run(Keys::default(), Box::new(step)).await
}

/// Writes events, each with its container.
pub(crate) async fn write_events(store: &dyn Store, events: Vec<Heard>) {
    let containers = events.iter().map(container).collect();
    write(store, Changes { events, containers, ..Changes::default() }).await.unwrap();
}

/// What the store answers to `keys`.
pub(crate) async fn read(store: &dyn Store, keys: Keys) -> Snapshot {
    let decide = |snapshot: &Snapshot| Decision::Done(Changes::default(), snapshot.clone());
    transact(store, keys, decide).await.unwrap()
}

fn one<T: Ord>(key: T) -> BTreeSet<T> {
    BTreeSet::from([key])
}

fn first(limit: usize) -> PageQuery {
    PageQuery { limit, cursor: None }
}

/// The intervals of a container, by id.
pub(crate) async fn intervals_of(store: &dyn Store, container: &str) -> Vec<Interval> {
    let keys = Keys { timelines: one(container.into()), ..Keys::default() };
    let mut intervals: Vec<_> =
        read(store, keys).await.intervals.into_values().map(Arc::unwrap_or_clone).collect();
    intervals.sort_by_key(|interval| interval.id);
    intervals
}

/// Every event, at most `limit` a page.
fn query(limit: usize) -> EventQuery {
    EventQuery {
        application: None,
        service: None,
        container: None,
        state: None,
        since: None,
        until: None,
        page: first(limit),
    }
}
