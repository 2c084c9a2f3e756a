use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Value as Json, json};

use super::*;
use crate::event::{self, Signal, State};

/// Small words of each kind, so that rules and events often meet.
const WORDS: [&str; 7] = ["web", "shop", "Web", "true", "null", "9", "CRASHED"];
const REGEXES: [&str; 8] = ["^web", "(?i)WEB", "sh.p$", "9", "(?i)crash|run", "KILL", "^$", "e"];
const STATES: [&str; 4] = ["CRASHED", "running", "STARVED", "odd"];
/// 2^53 and its neighbours are one float, and three whole numbers.
const NUMBERS: [Number; 10] = [
    Number::Whole(0),
    Number::Float(-0.0),
    Number::Whole(1),
    Number::Float(1.0),
    Number::Float(1.5),
    Number::Whole(9),
    Number::Whole(-3),
    Number::Float(-1.5),
    Number::Whole(9_007_199_254_740_993),
    Number::Float(9_007_199_254_740_992.0),
];
const COMPARISONS: [Comparison; 5] =
    [Comparison::Ge, Comparison::Gt, Comparison::Le, Comparison::Lt, Comparison::Ne];

fn field() -> impl Strategy<Value = Field> {
    let named: Vec<Field> = Field::names().filter_map(Field::named).collect();
    let places = ["payload.x", "payload.x.y", "payload.x.0", "payload.state"];
    prop_oneof![6 => select(named), 1 => select(places.map(|it| Field::named(it).unwrap()).to_vec())]
}

/// Patterns of every kind, also where the field is of another.
fn pattern() -> impl Strategy<Value = Pattern> {
    let plain = prop_oneof![
        1 => Just(Pattern::Null),
        1 => any::<bool>().prop_map(Pattern::Bool),
        3 => select(NUMBERS.to_vec()).prop_map(Pattern::Number),
        6 => select(WORDS.to_vec()).prop_map(|word| Pattern::Text(word.into())),
        6 => select(STATES.to_vec()).prop_map(|name| Pattern::State(State::named(name))),
        2 => select(vec![1, 9, 64]).prop_map(|number| Pattern::Signal(Signal(number))),
        4 => select(REGEXES.to_vec()).prop_map(|it| pattern::regex(it, "").unwrap()),
        4 => (select(COMPARISONS.to_vec()), select(NUMBERS.to_vec()))
            .prop_map(|(comparison, number)| Pattern::Compare(comparison, number)),
        1 => any::<bool>().prop_map(Pattern::Exists),
    ];
    plain.prop_recursive(2, 8, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            1 => inner.prop_map(|pattern| Pattern::Not(Box::new(pattern))),
            3 => several.clone().prop_map(Pattern::Any),
            1 => several.prop_map(Pattern::All),
        ]
    })
}

/// A field with a pattern that suits it, as most have.
fn suited() -> impl Strategy<Value = Clause> {
    let text = (
        select(vec![Field::Application, Field::Service, Field::Id]),
        prop_oneof![
            select(WORDS.to_vec()).prop_map(|word| Pattern::Text(word.into())),
            select(REGEXES.to_vec()).prop_map(|it| pattern::regex(it, "").unwrap()),
        ],
    );
    let number = (
        select(vec![Field::Starts, Field::ExitStatus, Field::ExitSignal]),
        (select(COMPARISONS.to_vec()), select(NUMBERS.to_vec()))
            .prop_map(|(comparison, number)| Pattern::Compare(comparison, number)),
    );
    let state = (
        select(vec![Field::State, Field::PrevState]),
        prop::collection::vec(select(STATES.to_vec()), 1..3).prop_map(|names| {
            Pattern::Any(names.into_iter().map(|name| Pattern::State(State::named(name))).collect())
        }),
    );
    prop_oneof![text, number, state].prop_map(|(field, pattern)| Clause::Field(field, pattern))
}

fn clause() -> impl Strategy<Value = Clause> {
    let plain = prop_oneof![
        2 => suited(),
        1 => (field(), pattern()).prop_map(|(field, pattern)| Clause::Field(field, pattern)),
    ];
    plain.prop_recursive(3, 12, 4, |inner| {
        let several = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            3 => several.clone().prop_map(Clause::All),
            2 => several.prop_map(Clause::Any),
            1 => inner.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

fn payload() -> impl Strategy<Value = Json> {
    let word = || prop::option::of(select(WORDS.to_vec()));
    let number = || {
        prop_oneof![
            select(vec![json!(null), json!(0), json!(1), json!(9), json!(-3), json!(-2)]),
            select(vec![json!(1.5), json!(9_007_199_254_740_993_i64), json!(-0.0)]),
        ]
    };
    let place = prop_oneof![
        select(WORDS.to_vec()).prop_map(|word| json!(word)),
        number(),
        any::<bool>().prop_map(|value| json!(value)),
        number().prop_map(|number| json!({"y": number})),
        select(WORDS.to_vec()).prop_map(|word| json!([word])),
    ];
    let exit = (word(), number(), number(), select(vec![json!(null), json!(9), json!(137)]));
    (
        (select(WORDS.to_vec()), word(), word(), select(STATES.to_vec())),
        prop::option::of(select(STATES.to_vec())),
        (word(), number(), exit, place),
        select(vec![0.0, 1.0, 1.5, 9.0]),
    )
        .prop_map(|((id, application, service, state), prev_state, rest, timestamp)| {
            let (kind, starts, (reason, status, signal, raw), place) = rest;
            json!({
                "id": id, "application": application, "service": service, "state": state,
                "prev_state": prev_state, "type": kind, "event": kind, "timestamp": timestamp,
                "counters": {"start": starts}, "x": place,
                "data": {"last_exit_status": {
                    "reason": reason, "exit_status": status, "signal": signal,
                    "raw_exit_status": raw,
                }},
            })
        })
}

fn decoded(payload: &Json) -> Event {
    event::decode(payload.to_string().as_bytes()).unwrap()
}

/// The places of those that hold, found by looking at all.
fn by_scan(conditions: &[Condition], event: &Event) -> Vec<usize> {
    let places = 0..conditions.len();
    places.filter(|place| conditions[*place].matches(event)).collect()
}

/// The same, found with the index, and how many were looked at.
fn by_index(conditions: &[Condition], index: &Index, event: &Event) -> (Vec<usize>, usize) {
    let looks = Cell::new(0);
    let mut places = Vec::new();
    index.visit(event, &mut |place| {
        looks.set(looks.get() + 1);
        if conditions[place].matches(event) {
            places.push(place);
        }
    });
    places.sort_unstable();
    places.dedup();
    (places, looks.get())
}

/// A thousand cases, the same ones each time; `PROPTEST_CASES` asks for as many others.
fn config() -> ProptestConfig {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return ProptestConfig::default();
    }
    ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn it_finds_what_looking_at_every_rule_finds(
        clauses in prop::collection::vec(clause(), 0..60),
        payloads in prop::collection::vec(payload(), 1..8),
    ) {
        let conditions: Vec<Condition> = clauses.into_iter().map(Condition::new).collect();
        let index = Index::new(conditions.iter());
        for payload in payloads {
            let event = decoded(&payload);
            let (found, _) = by_index(&conditions, &index, &event);
            prop_assert_eq!(found, by_scan(&conditions, &event), "{}", payload);
        }
    }
}

fn is(field: Field, text: &str) -> Clause {
    Clause::Field(field, Pattern::Text(text.into()))
}

fn crashed() -> Clause {
    Clause::Field(Field::State, Pattern::State(State::Crashed))
}

fn has(field: Field, regex: &str) -> Clause {
    Clause::Field(field, pattern::regex(regex, "").unwrap())
}

fn at_least(field: Field, limit: i64) -> Clause {
    Clause::Field(field, Pattern::Compare(Comparison::Ge, limit.into()))
}

fn crash_of(application: &str, service: &str) -> Json {
    json!({
        "id": "a", "application": application, "service": service, "state": "CRASHED",
        "timestamp": 1, "counters": {"start": 500}, "key": "500",
    })
}

/// How many of these rules are looked at for an event, and how many match it.
fn looks(clauses: impl IntoIterator<Item = Clause>, event: &Event) -> (usize, usize) {
    let conditions: Vec<Condition> = clauses.into_iter().map(Condition::new).collect();
    let (found, looks) = by_index(&conditions, &Index::new(conditions.iter()), event);
    assert_eq!(found, by_scan(&conditions, event));
    (looks, found.len())
}

#[test]
fn of_rules_that_share_a_state_only_those_for_the_application_are_looked_at() {
    let event = decoded(&crash_of("app-7", "web"));
    let rules = (0..1000).map(|number| {
        Clause::All(vec![crashed(), is(Field::Application, &format!("app-{number}"))])
    });
    assert_eq!(looks(rules, &event), (1, 1));
}

#[test]
fn rules_that_share_each_value_but_not_all_of_them_are_told_apart() {
    let event = decoded(&crash_of("app-7", "service-9"));
    let rules = (0..10_000).map(|number| {
        let application = is(Field::Application, &format!("app-{}", number / 100));
        let service = is(Field::Service, &format!("service-{}", number % 100));
        Clause::All(vec![crashed(), application, service])
    });
    assert_eq!(looks(rules, &event), (1, 1));
}

#[test]
fn of_regexes_only_those_found_are_looked_at() {
    let event = decoded(&crash_of("app-7-blue", "web"));
    let rules = (0..2000).map(|number| {
        Clause::All(vec![crashed(), has(Field::Application, &format!("^app-{number}-"))])
    });
    assert_eq!(looks(rules, &event), (1, 1));
}

#[test]
fn of_bounds_only_those_that_hold_are_looked_at() {
    let event = decoded(&crash_of("app", "web"));
    let rules =
        (0..1000).map(|number| Clause::All(vec![crashed(), at_least(Field::Starts, 490 + number)]));
    assert_eq!(looks(rules, &event), (11, 11));
}

#[test]
fn each_of_several_alternatives_finds_its_rule() {
    let event = decoded(&crash_of("app-7", "service-8"));
    let rules = (0..1000).map(|number| {
        Clause::Any(vec![
            is(Field::Application, &format!("app-{number}")),
            is(Field::Service, &format!("service-{number}")),
        ])
    });
    assert_eq!(looks(rules, &event), (2, 2));
}

#[test]
fn the_payload_is_not_parsed_for_an_event_of_another_state() {
    let key = Field::named("payload.key").unwrap();
    let rules = |number: usize| Clause::All(vec![crashed(), is(key.clone(), &number.to_string())]);
    let mut payload = crash_of("app", "web");
    assert_eq!(looks((0..1000).map(rules), &decoded(&payload)), (1, 1));
    payload["state"] = json!("RUNNING");
    assert_eq!(looks((0..1000).map(rules), &decoded(&payload)), (0, 0));
    let index = Index::new((0..1000).map(rules).map(Condition::new).collect::<Vec<_>>().iter());
    assert_eq!(index.lookups.iter().map(|it| &it.field).collect::<Vec<_>>(), [&Field::State]);
}

#[test]
fn what_has_nothing_to_look_up_is_always_looked_at() {
    let event = decoded(&crash_of("app", "web"));
    let rules = (0..20).map(|_| Clause::Not(Box::new(is(Field::Service, "api"))));
    assert_eq!(looks(rules, &event), (20, 20));
}

#[test]
fn regexes_that_are_too_large_for_one_set_are_put_into_several() {
    // Each some 200 KB as an automaton, but for the last, which is too large for any set.
    let words = (0..12).map(|number| format!(r"^app-\w{{8}}{number}$"));
    let regexes = words.chain([r"^app-\w{40}$".to_owned()]);
    let conditions: Vec<Condition> =
        regexes.map(|regex| Condition::new(has(Field::Application, &regex))).collect();
    let index = Index::new(conditions.iter());
    assert!(index.lookups[0].regexes.len() > 1, "{index:?}");
    assert_eq!(index.scanned, [12]);
    let event = decoded(&crash_of("app-abcdefgh7", "web"));
    assert_eq!(by_index(&conditions, &index, &event), (vec![7], 2));
}
