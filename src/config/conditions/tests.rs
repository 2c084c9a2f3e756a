use serde_json::json;

use super::*;
use crate::config::yaml;
use crate::event::{Event, decode};

fn compile(when: &str) -> Result<Condition, Vec<String>> {
    let mut root = yaml::parse(when).unwrap();
    let report = Report::default();
    super::super::prepare(&mut root, Some(&|_| None), &report, &mut Vec::new());
    let condition = condition(&root, "\"when\"", &report);
    condition.ok_or_else(|| report.into_parts().0.into_iter().map(|(_, text)| text).collect())
}

fn event(payload: &serde_json::Value) -> Event {
    decode(payload.to_string().as_bytes()).unwrap()
}

fn crash() -> Event {
    event(&json!({
        "id": "c0ffee", "application": "shop", "service": "web-1", "type": "Container",
        "event": "state", "state": "CRASHED", "prev_state": "RUNNING", "timestamp": 1500.25,
        "counters": {"start": 12, "post_attempts": 3},
        "data": {"last_exit_status": {"reason": "signaled", "signal": 9, "raw_exit_status": 137}},
        "host": {"name": "n1", "cores": 8, "load": 0.5, "up": true, "rack": null, "tags": ["a", "b"]},
        "big": 9_007_199_254_740_993_u64, "number": "42", "sign": ">= 5",
    }))
}

/// With nothing but what an event must have.
fn bare() -> Event {
    event(&json!({"id": "7", "state": "weird", "timestamp": 5, "application": null}))
}

#[test]
fn every_pattern_means_what_the_table_says() {
    for (when, on_crash, on_bare) in [
        ("{}", true, true),
        // Equality, by each field.
        ("{ application: shop }", true, false),
        ("{ application: Shop }", false, false),
        ("{ service: web-1 }", true, false),
        ("{ id: c0ffee }", true, false),
        ("{ id: 7 }", false, true),
        ("{ type: Container, event: state }", true, false),
        ("{ state: CRASHED }", true, false),
        ("{ state: crashed }", true, false),
        ("{ state: Weird }", false, true),
        ("{ prev_state: running }", true, false),
        ("{ timestamp: 1500.25 }", true, false),
        ("{ timestamp: '< 1000' }", false, true),
        ("{ starts: 12 }", true, false),
        ("{ starts: 12.0 }", true, false),
        ("{ starts: '12' }", true, false),
        ("{ exit.reason: signaled }", true, false),
        ("{ exit.status: 0 }", false, false),
        ("{ exit.signal: 9 }", true, false),
        ("{ exit.signal: SIGKILL }", true, false),
        ("{ exit.signal: kill }", true, false),
        ("{ exit.signal: '9' }", true, false),
        ("{ exit.signal: TERM }", false, false),
        ("{ exit.raw: 137 }", true, false),
        ("{ exit.core_dumped: true }", true, false),
        ("{ exit.core_dumped: false }", false, false),
        // Lists.
        ("{ state: [RUNNING, CRASHED] }", true, false),
        ("{ application: [blog, /^sh/, { eq: x }] }", true, false),
        ("{ starts: [3, '> 10'] }", true, false),
        // Regexes, found anywhere.
        ("{ service: /^web-/ }", true, false),
        ("{ service: /eb/ }", true, false),
        ("{ service: /WEB/ }", false, false),
        ("{ service: /WEB/i }", true, false),
        ("{ service: { regex: '^web-\\d+$' } }", true, false),
        ("{ service: { regex: /WEB/i } }", true, false),
        ("{ state: /^crash/ }", true, false),
        ("{ exit.signal: /KILL$/ }", true, false),
        ("{ application: /var/log }", false, false),
        // Comparisons.
        ("{ starts: '>= 12' }", true, false),
        ("{ starts: '>=13' }", false, false),
        ("{ starts: '> 11.5' }", true, false),
        ("{ starts: '<= 12' }", true, false),
        ("{ starts: '< 12' }", false, false),
        ("{ starts: '!= 0' }", true, false),
        ("{ starts: '!= 12' }", false, false),
        ("{ starts: { ge: 10, lt: 20 } }", true, false),
        ("{ starts: { gt: 10, le: 11 } }", false, false),
        ("{ starts: { ne: 3 } }", true, false),
        ("{ exit.signal: '> 8' }", true, false),
        // Negation and presence; a missing field matches nothing else.
        ("{ service: { not: web-1 } }", false, true),
        ("{ service: { not: [a, /b$/] } }", true, true),
        ("{ starts: { not: '>= 12' } }", false, true),
        ("{ service: { exists: true } }", true, false),
        ("{ service: { exists: false } }", false, true),
        ("{ application: { exists: false } }", false, true),
        ("{ service: { exists: true, not: blog } }", true, false),
        ("{ service: { not: { exists: false } } }", true, false),
        // Places in the payload, by their own kinds.
        ("{ payload.host.name: n1 }", true, false),
        ("{ payload.host.cores: 8 }", true, false),
        ("{ payload.host.cores: '8' }", false, false),
        ("{ payload.host.cores: '>= 8' }", true, false),
        ("{ payload.host.load: 0.5 }", true, false),
        ("{ payload.host.up: true }", true, false),
        ("{ payload.host.up: 'true' }", false, false),
        ("{ payload.number: 42 }", false, false),
        ("{ payload.number: '42' }", true, false),
        ("{ payload.sign: { eq: '>= 5' } }", true, false),
        ("{ payload.host.tags.1: b }", true, false),
        ("{ payload.host.tags.9: b }", false, false),
        ("{ payload.host: { exists: true } }", true, false),
        ("{ payload.host.name.x: { exists: false } }", true, true),
        ("{ payload.big: 9007199254740993 }", true, false),
        ("{ payload.big: 9007199254740992 }", false, false),
        // An explicit null is there for `null`, and is not there for `exists`.
        ("{ payload.host.rack: null }", true, false),
        ("{ payload.host.rack: { exists: true } }", false, false),
        ("{ payload.host.rack: { exists: false } }", true, true),
        ("{ payload.host.rack: { not: null } }", false, true),
        // Together.
        ("{ state: CRASHED, starts: '>= 100' }", false, false),
        ("all: [{ state: CRASHED }, { starts: 12 }]", true, false),
        ("any: [{ state: RUNNING }, { starts: 12 }]", true, false),
        ("any: [{ state: RUNNING }, { id: '7' }]", false, true),
        ("not: { state: CRASHED, starts: 12 }", false, true),
        ("{ not: { any: [{ id: '7' }, { all: [{ starts: 1 }] }] }, state: CRASHED }", true, false),
    ] {
        let condition = compile(when).unwrap_or_else(|wrong| panic!("{when}: {wrong:?}"));
        assert_eq!(condition.matches(&crash()), on_crash, "{when} on the crash");
        assert_eq!(condition.matches(&bare()), on_bare, "{when} on the bare event");
    }
}

#[test]
fn what_means_nothing_is_refused_in_words() {
    for (when, words) in [
        ("[a]", "\"when\" must be a mapping like { state: CRASHED }, and is a list"),
        ("{ sate: X }", "unknown field \"sate\"; did you mean \"state\"?"),
        (
            "{ exit: 1 }",
            "unknown field \"exit\"; other places in the payload are written payload.a.b",
        ),
        ("{ payload: 1 }", "\"payload\" is no place in the payload; write payload.a.b"),
        ("{ payload.a..b: 1 }", "\"payload.a..b\" is no place in the payload; write payload.a.b"),
        (
            "{ payload.counters.post_attempts: 1 }",
            "\"payload.counters.post_attempts\" changes from one retry of an event to the next, \
             and cannot be matched",
        ),
        ("{ starts: many }", "\"starts\" is a number, and this is none"),
        ("{ starts: true }", "\"starts\" is a number, and this is true or false"),
        ("{ starts: /1/ }", "\"starts\" is no text that a regex could be found in"),
        (
            "{ starts: '>= ten' }",
            "\">=\" compares numbers, and what follows is none; for what it is not, write { not: … }",
        ),
        (
            "{ state: '!= RUNNING' }",
            "\"state\" is no number to compare; write { not: … } for what it is not, \
             or { eq: … } for a text that begins so",
        ),
        ("{ application: 1.10 }", "\"application\" is text; put quotes around this"),
        ("{ application: true }", "\"application\" is text; put quotes around this"),
        ("{ application: null }", "\"application\" is never null; write { exists: false }"),
        ("{ application: [] }", "an empty list matches nothing"),
        ("{ application: /(/ }", "this regex is wrong: unclosed group"),
        (
            "{ application: /x/g }",
            "\"g\" is no flag of a regex, only \"i\" is; for a text between slashes, write { eq: … }",
        ),
        (
            "{ application: { like: x } }",
            "unknown pattern \"like\"; known are not, exists, eq, regex, ge, gt, le, lt, ne",
        ),
        ("{ application: { exist: true } }", "unknown pattern \"exist\"; did you mean \"exists\"?"),
        ("{ application: { exists: 1 } }", "\"exists\" must be true or false"),
        ("{ exit.signal: SIGKIL }", "\"SIGKIL\" is no signal; did you mean \"SIGKILL\"?"),
        ("{ exit.core_dumped: 1 }", "\"exit.core_dumped\" is true or false, and this is a number"),
        (
            "{ payload.a: { eq: { b: 1 } } }",
            "\"payload.a\" is text, a number, true, false or null, and this is a mapping",
        ),
        ("any: []", "\"any\" lists no condition"),
        ("any: { state: X }", "\"any\" must be a list, and is a mapping"),
        ("all: [x]", "each of \"all\" must be a mapping like { state: CRASHED }, and is text"),
        ("not: x", "\"not\" must be a mapping like { state: CRASHED }, and is text"),
    ] {
        assert_eq!(compile(when).unwrap_err(), [words], "{when}");
    }
}

#[test]
fn the_flags_of_a_regex_are_part_of_its_text() {
    let text_of = |when: &str| match compile(when).unwrap().clause() {
        Clause::Field(_, Pattern::Regex(regex)) => regex.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text_of("{ service: /web/ }"), "web");
    assert_eq!(text_of("{ service: /web/i }"), "(?i)web");
    assert_eq!(text_of("{ state: /crash/ }"), "(?i)crash");
}

#[test]
fn a_rule_ends_with_running_or_deleted_unless_it_says_otherwise() {
    let resolve = Condition::default_resolve();
    for (state, ends) in [("RUNNING", true), ("deleted", true), ("STOPPED", false), ("X", false)] {
        let event = event(&json!({"id": "a", "state": state, "timestamp": 1}));
        assert_eq!(resolve.matches(&event), ends, "{state}");
    }
}
