use std::time::Duration;

use crate::config::{Config, Problems, parse};

const RULES: &str = "
receivers: { ops: { console: {} }, oncall: { slack: { webhook_url: \"${UNSET:-}\" } } }
defaults: { notify: [ops, oncall] }
rules:
  - { name: crashed, when: { state: CRASHED } }
  - { name: quiet, when: { state: STOPPED }, notify: ops }
tests:
";

fn read(tests: &str) -> Result<Config, Problems> {
    parse("rules.yaml", &format!("{RULES}{tests}"), &|_| None, &|_| Vec::new())
}

/// The message for the one thing that is wrong with this test, and what it points at.
fn wrong(test: &str) -> String {
    let problems = read(&format!("  - {test}\n")).map(|config| config.notes).unwrap_err();
    assert_eq!(problems.listed.len(), 1, "{problems}");
    let problem = &problems.listed[0];
    let rest: String = problem.text.chars().skip(problem.column - 1).take(8).collect();
    format!("{rest} | {}", problem.message)
}

fn expecting(expectation: &str) -> String {
    wrong(&format!("{{ name: t, events: [], expect: [{{ {expectation} }}] }}"))
}

fn hearing(event: &str) -> String {
    wrong(&format!("{{ name: t, expect: [], events: [{{ {event} }}] }}"))
}

#[test]
fn who_is_told_is_whom_the_rule_tells_be_they_off() {
    let config = read(
        "  - name: t
    events: [{ at: 1m, id: a, state: CRASHED }]
    expect:
      - { at: 65s, rule: crashed, firing: 1 }
      - { at: 2m, rule: crashed, receiver: oncall, firing: 1, resolved: 2, labels: { x: 1 } }
",
    );
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let case = &config.tests.cases[0];
    let told: Vec<&str> = case.expect.iter().map(|telling| telling.receiver.as_str()).collect();
    assert_eq!(told, ["ops", "oncall", "oncall"]);
    assert_eq!(case.expect[2].labels.as_ref().unwrap().get("x"), Some("1"));
    assert_eq!(case.until, Duration::from_secs(120 + 3600));
    assert_eq!(config.tests.rules.get("crashed").unwrap().notify, ["ops", "oncall"]);
    assert_eq!(config.rules.get("crashed").unwrap().notify, ["ops"]);
}

#[test]
fn an_event_is_written_in_short_and_may_have_any_payload() {
    let config = read(
        "  - name: t
    start: 2026-03-02T21:00:00+01:00
    expect: []
    events:
      - { at: 0s, id: a, application: shop, service: web, state: CRASHED, starts: 3,
          exit: { signal: SEGV, core_dumped: true } }
      - { at: 5m, id: a, state: running, prev_state: CRASHED, timestamp: 1m, exit: { status: 3 },
          payload: { region: eu, counters: { post_attempts: 2 } } }
      - { at: 5m, payload: { id: b, state: CRASHED, timestamp: 7, service: mail, data: null } }
",
    );
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let [(_, first), (at, second), (_, third)] = config.tests.cases[0].events.as_slice() else {
        panic!("there are three events");
    };
    assert_eq!(first.timestamp.to_string(), "2026-03-02T20:00:00Z");
    assert_eq!(first.exit.as_ref().unwrap().to_string(), "killed by SIGSEGV, core dumped");
    assert_eq!(first.starts, Some(3));
    assert_eq!(*at, Duration::from_secs(300));
    assert_eq!(second.timestamp.to_string(), "2026-03-02T20:01:00Z");
    assert_eq!(
        (second.application.as_deref(), second.service.as_deref()),
        (Some("shop"), Some("web"))
    );
    assert_eq!(second.exit.as_ref().unwrap().to_string(), "exited with status 3");
    assert_eq!(second.payload.value()["region"], "eu");
    assert_eq!(second.payload.value()["type"], "Container");
    assert_eq!((third.service.as_deref(), &*third.container), (Some("mail"), "b"));
    assert_eq!(third.timestamp.to_string(), "2026-03-02T20:05:00Z");
}

#[test]
fn names_that_refer_to_nothing_are_errors_with_their_place() {
    insta::assert_snapshot!(
        expecting("at: 5s, rule: crashd, firing: 1"),
        @r#"crashd,  | unknown rule "crashd"; did you mean "crashed"?"#
    );
    insta::assert_snapshot!(
        expecting("at: 5s, rule: crashed, receiver: opps, firing: 1"),
        @r#"opps, fi | unknown receiver "opps"; did you mean "ops"?"#
    );
    insta::assert_snapshot!(
        expecting("at: 5s, rule: quiet, receiver: oncall, firing: 1"),
        @r#"oncall,  | rule "quiet" does not tell "oncall", but ops"#
    );
    insta::assert_snapshot!(
        wrong("{ name: t, rules: [quit], events: [], expect: [] }"),
        @r#"quit], e | unknown rule "quit"; did you mean "quiet"?"#
    );
    insta::assert_snapshot!(
        wrong("{ name: t, rules: [quiet], events: [], expect: [{ at: 5s, rule: crashed, firing: 1 }] }"),
        @r#"crashed, | this test is not about "crashed", by its "rules""#
    );
}

#[test]
fn what_an_expectation_lacks_is_said() {
    insta::assert_snapshot!(
        expecting("rule: crashed, firing: 1"),
        @r#"{ rule:  | an expectation needs "at": how long after the start of the test"#
    );
    insta::assert_snapshot!(
        expecting("at: 5s, firing: 1"),
        @r#"{ at: 5s | an expectation needs the "rule" that tells it"#
    );
    insta::assert_snapshot!(
        expecting("at: 5s, rule: crashed"),
        @r#"{ at: 5s | an expectation needs "firing" or "resolved": how many alerts it is told of"#
    );
    insta::assert_snapshot!(
        expecting("at: 5s, rule: crashed, firing: 0"),
        @r#"{ at: 5s | nothing is ever told of no alert; leave this out, since whatever is not expected may not be told"#
    );
    insta::assert_snapshot!(
        expecting("at: 5s, rule: crashed, firing: -1"),
        @r#"-1 }] } | "firing" must be a whole number of at least 0"#
    );
}

#[test]
fn what_is_wrong_with_an_event_is_said() {
    insta::assert_snapshot!(
        hearing("at: 5, id: a, state: CRASHED"),
        @r#"5, id: a | "at" needs a unit; write 5s for seconds"#
    );
    insta::assert_snapshot!(
        hearing("at: 5s, state: CRASHED"),
        @r#"{ at: 5s | an event needs "id""#
    );
    insta::assert_snapshot!(
        hearing("at: 5s, id: a, stat: CRASHED"),
        @r#"stat: CR | unknown key "stat"; did you mean "state"?"#
    );
    insta::assert_snapshot!(
        hearing("at: 5s, id: a, state: CRASHED, exit: { signal: SIGKIL }"),
        @r#"SIGKIL } | "SIGKIL" is no signal; did you mean "SIGKILL"?"#
    );
    insta::assert_snapshot!(
        hearing("at: 5s, id: a, state: CRASHED, exit: { status: 1, signal: 9 }"),
        @r#"{ status | "exit" needs either "status" or "signal"; write any other as payload: { data: { last_exit_status: { … } } }"#
    );
    insta::assert_snapshot!(
        hearing("at: 5s, id: a, state: CRASHED }, { at: 4s, id: a, state: RUNNING"),
        @r#"{ at: 4s | this is heard before the event above; put it there or, if it is to be heard late, give it the "timestamp" at which it happened"#
    );
}

#[test]
fn a_test_says_what_is_heard_and_what_is_told() {
    insta::assert_snapshot!(
        wrong("{ name: t, events: [] }"),
        @r#"{ name:  | a test needs "expect": all that is to be told; write [] if that is nothing"#
    );
    insta::assert_snapshot!(
        wrong("{ name: t, expect: [] }"),
        @r#"{ name:  | a test needs "events": what is heard, and when"#
    );
    insta::assert_snapshot!(
        wrong("{ events: [], expect: [] }"),
        @r#"{ events | a test needs a "name""#
    );
    insta::assert_snapshot!(
        wrong("{ name: t, start: soon, events: [], expect: [] }"),
        @r#"soon, ev | "start" must be a time like 2026-01-01T09:30:00+01:00"#
    );
    insta::assert_snapshot!(
        wrong("{ name: t, until: 5s, events: [{ at: 6s, id: a, state: X }], expect: [] }"),
        @r#"5s, even | "until" is before the last event or expectation; let the clock run on"#
    );
    insta::assert_snapshot!(
        wrong("{ name: t, events: [], expect: [] }\n  - { name: t, events: [], expect: [] }"),
        @r#"t, event | another test is named "t" already"#
    );
}

#[test]
fn a_rule_that_is_wrong_is_there_all_the_same() {
    let text = format!(
        "{RULES}  - {{ name: t, events: [], expect: [{{ at: 5s, rule: broken, firing: 1 }}] }}\n"
    );
    let text = text
        .replace("name: quiet, when: { state: STOPPED }", "name: broken, when: { stat: STOPPED }");
    let problems = parse("rules.yaml", &text, &|_| None, &|_| Vec::new()).unwrap_err();
    assert_eq!(problems.listed.len(), 1, "{problems}");
}

#[test]
fn a_clock_that_would_run_for_ages_is_refused() {
    let long = wrong("{ name: t, events: [], expect: [], until: 50000d }");
    assert!(long.contains("the clock runs for too long: in 50000d what fires would be"), "{long}");
}

#[test]
fn what_no_count_can_be_is_too_large() {
    let large = expecting("at: 0s, rule: crashed, firing: 5000000000");
    assert!(large.contains("50000000 | \"firing\" is too large a number"), "{large}");
}
