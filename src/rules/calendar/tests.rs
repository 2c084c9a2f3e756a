//! Mute times, held against a clock that is read every minute.

use std::collections::BTreeSet;

use jiff::civil::{date, time};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn window(days: &[Weekday], from: (i8, i8), to: (i8, i8), timezone: &str) -> Window {
    let hours = (time(from.0, from.1, 0, 0), time(to.0, to.1, 0, 0));
    Window { days: days.to_vec(), hours, timezone: zone(timezone) }
}

fn mute(windows: Vec<Window>) -> MuteTime {
    MuteTime { name: "nights".into(), windows }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn until(mute: &MuteTime, instant: &str) -> Option<String> {
    mute.muted_until(at(instant)).map(|until| until.to_string())
}

#[test]
fn a_window_across_midnight_belongs_to_the_day_it_begins_on() {
    let nights = mute(vec![window(&[Weekday::Friday], (22, 0), (7, 0), "Europe/Paris")]);
    // 2026-01-02 is a Friday; Paris is an hour ahead of UTC.
    assert_eq!(until(&nights, "2026-01-02T20:59:59Z"), None);
    let saturday = "2026-01-03T06:00:00Z";
    assert_eq!(until(&nights, "2026-01-02T21:00:00Z").as_deref(), Some(saturday));
    assert_eq!(until(&nights, "2026-01-03T05:59:59Z").as_deref(), Some(saturday));
    assert_eq!(until(&nights, saturday), None);
    assert_eq!(until(&nights, "2026-01-03T22:00:00Z"), None);
}

#[test]
fn windows_that_adjoin_are_one_mute() {
    let weekend = mute(vec![
        window(&[Weekday::Saturday, Weekday::Sunday], (0, 0), (0, 0), "UTC"),
        window(&[Weekday::Friday], (18, 0), (0, 0), "UTC"),
    ]);
    assert_eq!(until(&weekend, "2026-01-02T19:00:00Z").as_deref(), Some("2026-01-05T00:00:00Z"));
    assert!(weekend.covers(at("2026-01-02T18:00:00Z"), at("2026-01-05T00:00:00Z")));
    assert!(!weekend.covers(at("2026-01-02T17:59:59Z"), at("2026-01-03T00:00:00Z")));
    assert!(!weekend.covers(at("2026-01-04T00:00:00Z"), at("2026-01-05T00:00:01Z")));
}

#[test]
fn what_is_muted_for_good_is_looked_at_again_all_the_same() {
    let always = mute(vec![window(&WEEK, (0, 0), (0, 0), "Asia/Kathmandu")]);
    let until = always.muted_until(at("2026-01-01T00:00:00Z")).unwrap();
    assert!(until >= at("2026-01-09T00:00:00Z") && until <= at("2026-01-11T00:00:00Z"));
    assert!(always.covers(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")));
}

#[test]
fn a_moment_is_covered_if_it_is_muted_then() {
    let noon = mute(vec![window(&WEEK, (12, 0), (13, 0), "UTC")]);
    let covers = |instant| noon.covers(at(instant), at(instant));
    assert!(covers("2026-01-01T12:00:00Z") && covers("2026-01-01T12:59:59Z"));
    assert!(!covers("2026-01-01T13:00:00Z") && !covers("2026-01-01T11:59:59Z"));
}

#[test]
fn times_that_do_not_exist_are_left_out() {
    // Paris goes from 02:00 to 03:00 at 2026-03-29T01:00:00Z.
    let half = mute(vec![window(&WEEK, (2, 30), (5, 0), "Europe/Paris")]);
    assert_eq!(until(&half, "2026-03-29T00:59:59Z"), None);
    assert_eq!(until(&half, "2026-03-29T01:00:00Z").as_deref(), Some("2026-03-29T03:00:00Z"));
    let before = mute(vec![window(&WEEK, (1, 0), (2, 30), "Europe/Paris")]);
    assert_eq!(until(&before, "2026-03-29T00:00:00Z").as_deref(), Some("2026-03-29T01:00:00Z"));
    let none = mute(vec![window(&WEEK, (2, 15), (2, 45), "Europe/Paris")]);
    assert_eq!(until(&none, "2026-03-29T01:00:00Z"), None);
}

#[test]
fn between_two_times_that_are_the_same_it_goes_on() {
    // Paris goes from 03:00 back to 02:00 at 2026-10-25T01:00:00Z.
    let half = mute(vec![window(&WEEK, (2, 15), (2, 45), "Europe/Paris")]);
    assert_eq!(until(&half, "2026-10-25T00:14:59Z"), None);
    assert_eq!(until(&half, "2026-10-25T00:15:00Z").as_deref(), Some("2026-10-25T01:45:00Z"));
    // Up to two o'clock is up to the first time that it strikes two.
    let two = mute(vec![window(&WEEK, (1, 0), (2, 0), "Europe/Paris")]);
    assert_eq!(until(&two, "2026-10-24T23:30:00Z").as_deref(), Some("2026-10-25T00:00:00Z"));
}

#[test]
fn times_far_off_are_not_muted() {
    let always = mute(vec![window(&WEEK, (0, 0), (0, 0), "UTC")]);
    assert_eq!(always.muted_until(Timestamp::FOR_EVER), None);
}

/// Around the days on which clocks change, and one on which none does.
fn days() -> impl Strategy<Value = (&'static str, Date)> {
    select(vec![
        ("Europe/Paris", date(2026, 3, 29)),
        ("Europe/Paris", date(2026, 10, 25)),
        ("America/New_York", date(2026, 3, 8)),
        ("America/New_York", date(2026, 11, 1)),
        // Half an hour only.
        ("Australia/Lord_Howe", date(2026, 4, 5)),
        ("Australia/Lord_Howe", date(2026, 10, 4)),
        // At midnight.
        ("America/Santiago", date(2026, 4, 5)),
        ("America/Santiago", date(2026, 9, 6)),
        // A whole day that does not exist.
        ("Pacific/Apia", date(2011, 12, 30)),
        ("Asia/Kathmandu", date(2026, 6, 1)),
    ])
}

fn clock_time() -> impl Strategy<Value = Time> {
    prop_oneof![(0i8..24, select(vec![0i8, 15, 30, 45])), (0i8..5, select(vec![0i8, 15, 30, 45]))]
        .prop_map(|(hour, minute)| time(hour, minute, 0, 0))
}

/// The minutes from two days before to two days after at which a window is open, by a clock that is
/// read every minute.
fn open_minutes(window: &Window, first: jiff::Timestamp) -> BTreeSet<i64> {
    let minutes = || (0..5 * 24 * 60i64).map(|minute| (minute, first + minute.minutes()));
    let mut open = BTreeSet::new();
    let start = window.timezone.to_datetime(first).date();
    for offset in -2..8 {
        let day = start.checked_add(offset.days()).unwrap();
        if !window.days.contains(&day.weekday()) {
            continue;
        }
        let (from, to) = window.hours;
        let last_day = if to <= from { day.tomorrow().unwrap() } else { day };
        let shown = day.to_datetime(from)..last_day.to_datetime(to);
        let mut shows = minutes()
            .filter(|(_, instant)| shown.contains(&window.timezone.to_datetime(*instant)))
            .map(|(minute, _)| minute);
        let Some(first) = shows.next() else { continue };
        open.extend(first..=shows.next_back().unwrap_or(first));
    }
    open
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_clock_that_is_read_every_minute_shows_the_same(
        (zone_name, day) in days(),
        windows in prop::collection::vec(
            (subsequence(WEEK.to_vec(), 1..=7), clock_time(), clock_time()), 1..3),
    ) {
        let windows: Vec<Window> = windows
            .into_iter()
            .map(|(days, from, to)| Window { days, hours: (from, to), timezone: zone(zone_name) })
            .collect();
        let noon = day.to_datetime(time(12, 0, 0, 0)).to_zoned_datetime(TimeZone::UTC).unwrap();
        let first = noon.timestamp() - (2 * 24).hours();
        let expected: BTreeSet<i64> =
            windows.iter().flat_map(|window| open_minutes(window, first)).collect();
        let mute = mute(windows);
        let minute = |number: i64| {
            Timestamp::from_micros((first + number.minutes()).as_microsecond())
        };
        for number in (2 * 24 * 60 - 24 * 60)..(3 * 24 * 60 + 12 * 60) {
            let until = mute.muted_until(minute(number));
            prop_assert_eq!(until.is_some(), expected.contains(&number), "{}", minute(number));
            let Some(until) = until else { continue };
            let end = (number..5 * 24 * 60).find(|minute| !expected.contains(minute));
            if let Some(end) = end.filter(|end| *end < 4 * 24 * 60) {
                prop_assert_eq!(until, minute(end));
                prop_assert!(mute.covers(minute(number), minute(end)));
                prop_assert!(!mute.covers(minute(number), minute(end + 1)));
            }
        }
    }
}
