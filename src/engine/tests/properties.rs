//! What holds for every fleet, every order of arrival, every answer (DESIGN.md §6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Weekday, time};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use super::reference::{derived, reference};
use super::suppress::inhibit;
use super::world::{Hearing, Other, World, at};
use super::{SENT, failed, lost, rule};
use crate::clock::Timestamp;
use crate::engine::*;
use crate::event::State;
use crate::rules::calendar::Window;
use crate::rules::{Condition, Field, MuteTime, On, Resolve, Rule, Rules, Threshold};

/// Rules of every kind: two receivers, groups large and small; one does not tell the end, one lasts,
/// one lasts until something else, one is all moments; some are of several containers or occurrences,
/// some of what is missing.
pub(super) fn rules() -> Rules {
    let mut crashed = rule("crashed", &[State::Crashed]);
    let mut down = rule("down", &[State::Crashed, State::Stopped, State::Deleted]);
    down.notify = vec!["ops".into(), "oncall".into()];
    down.group_by = vec!["id".into()];
    // Whoever has nothing to send is handed what it makes by the decision that makes it.
    down.group_wait = Duration::ZERO;
    let mut quiet = rule("quiet", &[State::Stopped]);
    quiet.send_resolved = false;
    let mut stuck = rule("stuck", &[State::Crashed, State::Starting]);
    stuck.hold = Some(Duration::from_secs(60));
    stuck.resolve = Resolve::EndOfRun;
    stuck.expire_after = Duration::from_secs(3 * 3600);
    let mut hung = rule("hung", &[State::Stopped]);
    hung.hold = Some(Duration::from_secs(2 * 3600));
    hung.expire_after = Duration::from_secs(10 * 3600);
    let mut started = rule("started", &[State::Starting]);
    started.resolve = Resolve::Never;
    let mut outage = rule("outage", &[State::Crashed, State::Stopped]);
    outage.per = vec![Field::Application];
    outage.expire_after = Duration::from_secs(5 * 3600);
    let mut stalled = rule("stalled", &[State::Starting, State::Crashed]);
    stalled.per = vec![Field::Application, Field::Service];
    stalled.hold = Some(Duration::from_secs(60));
    stalled.resolve = Resolve::EndOfRun;
    let mut storm = rule("storm", &[State::Crashed, State::Stopped]);
    storm.per = vec![Field::Application];
    storm.threshold = Some(Threshold { count: 3, within: Duration::from_secs(3600) });
    let mut flapping = rule("flapping", &[State::Crashed]);
    flapping.threshold = Some(Threshold { count: 2, within: Duration::from_secs(100) });
    let mut gap = on(On::Gap, "gap", Condition::any(), 7200);
    gap.resolve = Resolve::Never;
    let mut silent = on(On::Silence, "silent", Condition::any(), 600);
    silent.group_by = vec!["id".into()];
    let alive = Condition::states(&[State::Running, State::Starting, State::Deleted]);
    let mut deserted = on(On::Silence, "deserted", alive, 3 * 3600);
    deserted.per = vec![Field::Application];
    for muted_rule in [&mut crashed, &mut stuck, &mut started, &mut outage, &mut gap] {
        muted_rule.mute_during = vec![Arc::new(muted())];
    }
    let all = vec![
        crashed, down, quiet, stuck, hung, started, outage, stalled, storm, flapping, gap, silent,
        deserted,
    ];
    let inhibits = vec![
        inhibit("outage", "down", &["application"]),
        inhibit("hung", "quiet", &[]),
        inhibit("quiet", "flapping", &["id"]),
    ];
    Rules::new(all)
        .with_inhibits(inhibits)
        .with_fallbacks(fallbacks())
        .with_receivers(["spare".into()])
}

/// For one of them another stands in.
fn fallbacks() -> BTreeMap<Arc<str>, Arc<str>> {
    [("ops".into(), "spare".into())].into()
}

/// A rule of this kind, `for` so many seconds.
pub(super) fn on(on: On, name: &str, when: Condition, seconds: u64) -> Rule {
    let hold = Some(Duration::from_secs(seconds));
    Rule { on, when, hold, resolve: Resolve::EndOfRun, ..rule(name, &[]) }
}

/// Four hours each day, from one o'clock and from eight in the evening.
fn muted() -> MuteTime {
    let days = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    let windows = [(1, 3), (20, 22)].map(|(from, to)| Window {
        days: days.to_vec(),
        hours: (time(from, 0, 0, 0), time(to, 0, 0, 0)),
        timezone: TimeZone::UTC,
    });
    MuteTime { name: "rest".into(), windows: windows.to_vec() }
}

/// The same rules, told to others and otherwise.
fn edited() -> Rules {
    let rules = rules();
    let edit = |name: &str| (**rules.get(name).unwrap()).clone();
    let (mut crashed, mut down) = (edit("crashed"), edit("down"));
    crashed.notify = vec!["ops".into(), "team".into()];
    crashed.group_interval = Duration::from_secs(60);
    down.notify = vec!["oncall".into()];
    down.group_by = vec!["service".into()];
    crashed.mute_during.clear();
    down.mute_during = vec![Arc::new(muted())];
    let mut all = vec![crashed, down];
    all.extend(rules.iter().skip(2).map(|rule| (**rule).clone()));
    let inhibits = vec![inhibit("outage", "stuck", &["application"])];
    Rules::new(all)
        .with_inhibits(inhibits)
        .with_fallbacks(fallbacks())
        .with_receivers(["spare".into()])
}

/// Payloads of a small fleet over two days, close together and hours apart, with ties.
fn payload() -> impl Strategy<Value = Value> {
    (
        select(vec!["a", "b", "c", "z"]),
        select(vec!["CRASHED", "RUNNING", "STOPPED", "STARTING", "DELETED"]),
        select(vec![None, Some("CRASHED"), Some("RUNNING"), Some("STOPPED")]),
        prop_oneof![0u64..5, 0u64..200, (0u64..48).prop_map(|hour| hour * 3600)],
        prop::option::of(0u64..3),
    )
        .prop_map(|(id, state, prev_state, seconds, start)| {
            let application = if id == "z" { "bank" } else { "shop" };
            json!({
                "id": id, "application": application, "service": "web", "state": state,
                "prev_state": prev_state, "timestamp": at(seconds).as_seconds(),
                "counters": {"start": start},
            })
        })
}

pub(crate) fn payloads() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(payload(), 1..25)
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Hear(Vec<Index>),
    Wait(u64),
    Send,
    Land(Outcome),
    Restart,
    Edit(bool),
    Prune(u64),
    Silence(Value, u64),
    EndSilence(Index),
    GiveUp,
    Retry(Index),
    Discard(Index),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<Index>(), 1..4).prop_map(Step::Hear),
        2 => prop_oneof![0u64..10, 100u64..400, 3600u64..50_000].prop_map(Step::Wait),
        2 => Just(Step::Send),
        3 => select(vec![
            SENT,
            failed(),
            lost(),
            Outcome::Message { detail: "no".into() },
            Outcome::Destination { detail: "nobody".into() },
            Outcome::Unsent,
        ])
        .prop_map(Step::Land),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Edit),
        2 => select(vec![0, 3600, 36_000]).prop_map(Step::Prune),
        1 => silence(),
        1 => any::<Index>().prop_map(Step::EndSilence),
        1 => Just(Step::GiveUp),
        2 => any::<Index>().prop_map(Step::Retry),
        1 => any::<Index>().prop_map(Step::Discard),
    ]
}

fn silence() -> impl Strategy<Value = Step> {
    let matchers = select(vec![
        json!({"id": "a"}),
        json!({"id": ["b", "c"], "rule": {"not": "crashed"}}),
        json!({"application": "shop", "service": {"exists": false}}),
        json!({"rule": ["down", "started"]}),
    ]);
    (matchers, prop_oneof![1u64..400, 3600u64..50_000])
        .prop_map(|(matchers, seconds)| Step::Silence(matchers, seconds))
}

/// After all that can have happened in the payloads' two days has been heard.
const AFTERWARDS: u64 = 48 * 3600;

/// Runs the steps, then hears all there is, lets all that is due happen and all be delivered.
fn run(payloads: &[Value], steps: &[Step]) -> World {
    run_beside(payloads, steps, None)
}

/// The same, and what is over is forgotten where events are pruned. What was forgotten of the alerts
/// of single containers, and up to when.
pub(crate) fn run_forgetting(
    payloads: &[Value],
    steps: &[Step],
    other: Option<Box<dyn Other>>,
) -> (World, Vec<Interval>, Timestamp) {
    let mut world = World::new(rules());
    world.other = other;
    let (mut forgotten, mut until) = (Vec::new(), Timestamp::default());
    world.wait(AFTERWARDS);
    for (index, step) in steps.iter().enumerate() {
        go(&mut world, payloads, step, index);
        if let Step::Prune(keep) = step {
            let before = world.intervals.clone();
            world.forget(Duration::from_secs(*keep));
            until = until.max(world.now.minus(Duration::from_secs(*keep)));
            let gone = before.into_values().filter(|one| !world.intervals.contains_key(&one.id));
            forgotten.extend(gone.filter(|one| one.role == Role::Own));
        }
    }
    world.take(payloads);
    (world, forgotten, until)
}

/// The same, with another store that is to read and keep the same.
pub(crate) fn run_beside(
    payloads: &[Value],
    steps: &[Step],
    other: Option<Box<dyn Other>>,
) -> World {
    let mut world = World::new(rules());
    world.other = other;
    world.wait(AFTERWARDS);
    for (index, step) in steps.iter().enumerate() {
        go(&mut world, payloads, step, index);
    }
    world.take(payloads);
    world
}

/// Does one step, which is the `index`th.
fn go(world: &mut World, payloads: &[Value], step: &Step, index: usize) {
    match step {
        Step::Hear(which) => {
            let batch: Vec<Value> = which.iter().map(|index| index.get(payloads).clone()).collect();
            match index % 2 {
                0 => drop(world.take(&batch)),
                // Whoever has nothing to send takes what this makes.
                _ => world.take_and_send(&batch),
            }
        }
        Step::Wait(seconds) if index % 2 == 1 => world.wait_and_send(*seconds),
        Step::Wait(seconds) => world.wait(*seconds),
        // As many as wait in one message, at times.
        Step::Send if index % 3 == 2 => world.send_digests(),
        Step::Send => world.send(),
        // Whoever sends goes on with what is next, at times.
        Step::Land(outcome) if index % 2 == 1 => world.land_and_send(outcome),
        Step::Land(outcome) => world.land(outcome),
        Step::Restart => world.restart(),
        Step::Prune(keep) => world.prune(Duration::from_secs(*keep)),
        Step::Silence(matchers, seconds) => {
            world.silence(matchers.clone(), *seconds);
        }
        Step::EndSilence(index) if !world.silences.is_empty() => {
            world.end_silence(index.index(world.silences.len()));
        }
        Step::EndSilence(_) => {}
        Step::GiveUp => give_up(world),
        Step::Retry(index) => {
            if let Some(id) = one_of(&world.dead_letters(), *index) {
                retry(world, &id);
            }
        }
        Step::Discard(index) => {
            if let Some(id) = one_of(&world.dead_letters(), *index) {
                assert_eq!(world.discard(&id), Ok(()));
            }
        }
        Step::Edit(edit) => world.reload(if *edit { edited() } else { rules() }),
    }
}

/// Has all that is and can be sent refused, in plain words too: it is given up at once.
fn give_up(world: &mut World) {
    let refused = Outcome::Message { detail: "never".into() };
    while !world.in_flight.is_empty() {
        world.land(&refused);
    }
    world.deliver(&refused);
    world.deliver(&refused);
}

fn one_of<T: Clone>(items: &[T], index: Index) -> Option<T> {
    (!items.is_empty()).then(|| index.get(items).clone())
}

/// Puts a dead letter back, and sees that nothing of what it gave up stays given up.
fn retry(world: &mut World, id: &DeliveryId) {
    let letter = world.deliveries[id].clone();
    let retried = world.retry(id);
    let Ok(retried) = retried else {
        assert_eq!(world.deliveries[id], letter);
        return;
    };
    assert_eq!(world.deliveries[id].status, retried.status());
    let says = letter.notification.iter().flat_map(|notification| &notification.says);
    for saying in says {
        let said = saying.told(letter.ended_at.unwrap());
        // Of moments in one instant, each is in a letter of its own.
        let of_alert = world.intervals.values().filter(|other| {
            other.alert == saying.alert && (other.id == saying.interval || !other.is_of_one_event())
        });
        let mut entries = of_alert.flat_map(|interval| &interval.ledger);
        let given_up = entries.find(|entry| {
            entry.group.receiver == letter.group.receiver
                && entry.given_up.stretches().any(|told| {
                    told.because.is_none() && (told.from, told.until) == (said.from, said.until)
                })
        });
        assert_eq!(given_up, None, "{saying:?} is still given up");
    }
}

/// Lets all that is due within `hours` happen, and everything be delivered.
fn come_to_rest(world: &mut World) {
    while !world.in_flight.is_empty() {
        world.land(&SENT);
    }
    for _ in 0..40 {
        world.wait(301);
        world.deliver(&SENT);
    }
    // What came due at the very end of that is told as well.
    for _ in 0..5 {
        if world.groups.values().any(|group| group.news > 0) {
            world.wait(301);
            world.deliver(&SENT);
        }
    }
}

/// Which stretch of an alert fires, and since when, as its receiver believes after this as well.
fn believed_after(
    world: &World,
    before: Option<(IntervalId, Timestamp)>,
    hearing: &Hearing,
) -> Option<(IntervalId, Timestamp)> {
    let said = &hearing.saying;
    match said.news {
        News::Firing | News::HadNotEnded | News::StillFiring => Some((said.interval, said.from)),
        News::Over | News::Withdrawn => None,
        // Of an earlier stretch than the one that fires, be it that this one is what that was first
        // taken for. Of two within one instant, the other is another only while it is there.
        News::BeganAndEnded | News::Happened => before.filter(|(id, from)| {
            let is_another = *id != said.interval && world.intervals.contains_key(id);
            *from > hearing.until || (*from == hearing.until && is_another)
        }),
    }
}

fn end_of(interval: &Interval) -> Timestamp {
    interval.end.as_ref().map_or(Timestamp::FOR_EVER, |end| end.at)
}

/// The intervals that have this occurrence: those of their alert, if it is of several containers or
/// occurrences and ever fired with this among them.
fn holders<'a>(world: &'a World, rule: &Rule, heard: &Heard) -> Vec<&'a Interval> {
    let happened = |interval: &&Interval| {
        let cause = interval.end.as_ref().map(|end| end.cause);
        !matches!(cause, Some(Cause::Withdrawn | Cause::Filled)) && interval.alert.rule == rule.name
    };
    let all = || world.intervals.values().filter(happened);
    // An instant belongs to what it touches.
    let meet = |whole: &Interval, part: &Interval| {
        let instant = part.start == end_of(part) && part.start == end_of(whole);
        (whole.start <= part.start && part.start < end_of(whole))
            || (part.start < whole.start && whole.start < end_of(part))
            || instant
    };
    let holds = all().filter(|interval| {
        let hold = if interval.is_too_short() { Duration::ZERO } else { rule.lead() };
        interval.role != Role::Whole
            && interval.container == heard.event.container
            && (interval.start.minus(hold)..=interval.last_at).contains(&heard.at)
    });
    let of_alert = |part: &'a Interval| {
        let mut wholes = all().filter(|whole| {
            whole.role == Role::Whole && whole.alert == part.alert && meet(whole, part)
        });
        wholes.next().unwrap_or(part)
    };
    let mut holders: Vec<&Interval> = holds.map(of_alert).collect();
    // Of what stands alone and what has others beside it, in one instant, the alert's is asked.
    holders.sort_by_key(|interval| interval.role == Role::Part);
    holders
}

/// The same cases every time, so that what fails fails for a reason in the change at hand. With
/// `PROPTEST_CASES` set, as many, and others each time: to look for what these do not find.
pub(crate) fn config() -> ProptestConfig {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return ProptestConfig::default();
    }
    ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// (A) for plain rules: what is true depends on what happened, not on how it was heard.
    #[test]
    fn intervals_do_not_depend_on_arrival(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let world = run(&payloads, &steps);
        prop_assert_eq!(derived(&world), reference(&world, &world.accepted));
    }

    /// What is forgotten is over, and does not come back; all else is as it would be. What is heard so
    /// late that the others of a shared alert are forgotten is not to be told from that.
    #[test]
    fn what_is_forgotten_stays_so(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let (world, forgotten, until) = run_forgetting(&payloads, &steps, None);
        let (left, all) = (derived(&world), reference(&world, &world.accepted));
        for one in &all {
            let is_over = one.3.is_some_and(|(end, _)| end < until);
            let is_shared = world.rules.get(&one.0).unwrap().is_shared();
            prop_assert!(left.contains(one) || is_over || is_shared, "{:?} is gone", one);
        }
        for interval in world.intervals.values().filter(|one| one.role == Role::Own) {
            let end = |one: &Interval| one.end.clone().map(|end| end.at);
            let same = |other: &&Interval| {
                other.alert == interval.alert && other.last == interval.last
                    && (other.start, end(other)) == (interval.start, end(interval))
            };
            prop_assert_eq!(forgotten.iter().find(same), None, "{:?} came back", interval);
        }
    }

    /// (B) for plain rules: at rest, the ledger says firing exactly where the alert fires and nothing
    /// holds it back.
    #[test]
    fn at_rest_the_ledger_says_what_is_true(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let mut world = run(&payloads, &steps);
        come_to_rest(&mut world);
        for interval in world.intervals.values().filter(|one| one.role != Role::Part) {
            let rule = world.rules.get(&interval.alert.rule).unwrap();
            for entry in &interval.ledger {
                let receiver = &entry.group.receiver;
                let held = entry.held.is_some() && world.held(interval).is_some();
                prop_assert!(entry.news.is_none() || held, "{:?}", interval);
                if !rule.notify.iter().any(|name| **name == **receiver) || !entry.given_up.is_empty() {
                    continue;
                }
                let ends_are_told = rule.send_resolved || interval.end.is_none();
                let told_firing = entry.told.fires();
                prop_assert!(
                    !ends_are_told || held || told_firing == interval.end.is_none(),
                    "{:?}",
                    interval
                );
                let heard = !entry.told.is_empty() || held;
                // What is said to be over, and turns out never to have been, is not said again.
                let cause = interval.end.as_ref().map(|end| end.cause);
                let is_gone = matches!(cause, Some(Cause::Filled | Cause::Withdrawn));
                let is_left = is_gone && !entry.maybe.fires();
                prop_assert!(entry.maybe.is_empty() || heard || is_left, "{:?}", interval);
            }
            // And the receivers, who heard what they heard, believe it.
            for receiver in &rule.notify {
                let of_alert =
                    || world.intervals.values().filter(|other| other.alert == interval.alert);
                let entries = || of_alert().flat_map(|other| &other.ledger);
                let given_up = entries().any(|entry| {
                    *entry.group.receiver == **receiver && !entry.given_up.is_empty()
                });
                // Whoever stood in heard it for itself (`fallbacks.rs`).
                let mut told = entries().flat_map(|entry| entry.told.stretches());
                if told.any(|told| told.by_way_of.is_some()) {
                    continue;
                }
                // A withdrawal that is a dead letter leaves nothing of itself in the ledger.
                let letters = world.deliveries.values().filter(|delivery| {
                    let ended = matches!(delivery.status, Status::Dead | Status::Discarded);
                    ended && *delivery.group.receiver == **receiver
                });
                let mut unheard = letters.filter_map(|letter| letter.notification.as_ref());
                let given_up = given_up
                    || unheard.any(|it| it.says.iter().any(|it| it.alert == interval.alert));
                let heard_by = world.told.iter().filter(|hearing| {
                    hearing.receiver == *receiver && hearing.alert == interval.alert
                });
                let heard_any = heard_by.clone().next().is_some();
                let believed = heard_by
                    .clone()
                    .fold(None, |before, hearing| believed_after(&world, before, hearing));
                let alert_fires =
                    of_alert().any(|other| other.role != Role::Part && other.end.is_none());
                let held_back = entries().any(|entry| entry.held.is_some());
                let ends_are_told = rule.send_resolved || alert_fires;
                if heard_any && !given_up && ends_are_told && (!alert_fires || !held_back) {
                    let all: Vec<_> = of_alert().collect();
                    let heard = heard_by.collect::<Vec<_>>();
                    prop_assert_eq!(believed.is_some(), alert_fires, "{:?}\n{:?}", all, heard);
                }
            }
        }
    }

    /// (C) for plain rules: an end is told only to whoever was told the beginning.
    #[test]
    fn nothing_is_told_over_that_was_not_told(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let mut world = run(&payloads, &steps);
        come_to_rest(&mut world);
        for (index, hearing) in world.told.iter().enumerate() {
            let Hearing { receiver, alert, saying, sure, .. } = hearing;
            // Deleted and crashed within one instant: stretches that cannot be told apart.
            let stretches = world.intervals.values().filter(|interval| {
                interval.alert == *alert
                    && interval.role != Role::Part
                    && (interval.start..=interval.last_at).contains(&saying.from)
            });
            let ambiguous = stretches.count() != 1;
            let before: Vec<&Hearing> = world.told[..index]
                .iter()
                .filter(|earlier| earlier.receiver == *receiver && earlier.alert == *alert)
                .collect();
            let heard_firing = before
                .iter()
                .any(|earlier| earlier.saying.from <= hearing.until && earlier.saying.news.is_firing());
            let doubtful = !sure || before.iter().any(|earlier| !earlier.sure);
            match saying.news {
                News::Over | News::Withdrawn | News::StillFiring => {
                    prop_assert!(heard_firing, "nobody was told: {:?}", hearing);
                }
                News::HadNotEnded => prop_assert!(!before.is_empty(), "{:?}", hearing),
                News::Firing | News::BeganAndEnded | News::Happened => {
                    let again = before.iter().any(|earlier| {
                        earlier.saying.from == saying.from
                            && earlier.saying.news == saying.news
                            && earlier.until == hearing.until
                            && (!ambiguous || earlier.saying.interval == saying.interval)
                    });
                    prop_assert!(
                        doubtful || !again,
                        "told twice: {:?}",
                        hearing
                    );
                }
            }
        }
    }

    /// (D): each occurrence is told, waiting, dead, or held back for one reason, to each receiver.
    #[test]
    fn every_occurrence_is_accounted_for(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
        rest in any::<bool>(),
    ) {
        let mut world = run(&payloads, &steps);
        if rest {
            come_to_rest(&mut world);
        }
        let edited = steps.iter().any(|step| matches!(step, Step::Edit(_)));
        let in_timelines = world.events.iter().filter(|heard| {
            !world.failed.contains(&(heard.event.container.clone(), heard.reference()))
        });
        for heard in in_timelines {
            for rule in world.rules.matching(&heard.event) {
                let holders = holders(&world, rule, heard);
                // Not every event comes after a gap, and a sign of life is no occurrence.
                if rule.on == On::Silence || (rule.on == On::Gap && holders.is_empty()) {
                    continue;
                }
                prop_assert!(!holders.is_empty(), "{} is not known of {:?}", rule.name, heard);
                let interval = holders[0];
                if interval.role == Role::Part {
                    let below_count = alone(interval).word == "below count";
                    prop_assert!(rule.threshold.is_some() == below_count, "{:?}", interval);
                    prop_assert!(below_count || interval.is_too_short() || interval.start > world.now);
                    continue;
                }
                for receiver in &rule.notify {
                    let of_receiver = |entry: &&Entry| *entry.group.receiver == **receiver;
                    let Some(entry) = interval.ledger.iter().find(of_receiver) else {
                        prop_assert!(edited, "{} has no account of {:?}", receiver, interval);
                        continue;
                    };
                    let group = world.groups.get(&entry.group);
                    let fate = fate(interval, entry, group, heard.at, world.now);
                    let heard_of = world.told.iter().any(|hearing| {
                        hearing.receiver == *receiver
                            && hearing.alert == interval.alert
                            && hearing.saying.from <= end_of(interval)
                    });
                    match fate {
                        Fate::Told => prop_assert!(heard_of, "not told: {:?}", interval),
                        Fate::Waiting => {
                            let waiting = group.and_then(|group| group.waiting.as_ref());
                            let status = waiting.map(|id| world.deliveries[id].status);
                            prop_assert_eq!(status, Some(Status::Pending));
                        }
                        Fate::Dead => prop_assert!(
                            world.deliveries.values().any(|delivery| {
                                matches!(delivery.status, Status::Dead | Status::Discarded)
                                    && *delivery.group.receiver == **receiver
                            }),
                            "no dead letter has {:?}", interval
                        ),
                        Fate::HeldBack(reason) => {
                            prop_assert!(edited || reason.word != "rule removed", "{:?}", interval);
                            prop_assert!(
                                !rest || reason.word != "grouped",
                                "at rest, and not told: {:?}", interval
                            );
                        }
                    }
                }
            }
        }
    }

    /// A batch is only a batch.
    #[test]
    fn two_events_at_once_are_the_one_then_the_other(payloads in payloads(), order in any::<bool>()) {
        let mut together = World::new(rules());
        together.wait(AFTERWARDS);
        together.take(&payloads);
        let mut apart = World::new(rules());
        apart.wait(AFTERWARDS);
        for payload in &payloads {
            apart.take(std::slice::from_ref(payload));
        }
        prop_assert_eq!(derived(&together), derived(&apart), "{}", order);
        prop_assert_eq!(&together.containers, &apart.containers);
        prop_assert_eq!(&together.groups, &apart.groups);
    }
}
