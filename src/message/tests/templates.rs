//! The rules' own words: what is refused when the file is read, and what becomes of one that fails later.

use super::*;
use crate::rules::{Condition, Field, Resolve, Rule};

/// As `Templates::add`, for a rule whose condition does not matter.
fn templates(
    title: Option<&str>,
    message: Option<&str>,
) -> (Templates, Vec<(&'static str, String)>) {
    let mut templates = Templates::new();
    let notification = notification(vec![alert(ID, News::Firing)]);
    let sample = samples::Sample { when: "it is tried", notification, complete: true };
    let errors = templates.add_with("crashed", title, message, &[sample]);
    (templates, errors)
}

#[test]
fn a_rules_own_templates_replace_the_words() {
    let (templates, errors) = templates(
        Some("{{ severity|upper }}: {{ firing }} of {{ labels.application }}\n"),
        Some(
            "{% for alert in alerts %}{{ alert.event.id }} {{ alert.status }} since \
             {{ alert.started_at }}\n{% endfor %}see {{ runbook_url }} and {{ link }}",
        ),
    );
    assert_eq!(errors, []);
    let message = word(&notification(vec![alert(ID, News::Firing)]), &templates, &context());
    assert_eq!(message.topic, message.title);
    assert_snapshot!(message.text(), @r"
    CRITICAL: 1 of toto

    b9e7bef7-d571-4ee4-b80e-835a2377040e firing since 2015-11-20T14:02:00Z
    see https://wiki.example.com/crashed and https://alerts.example.com/api/alerts
    ");
}

#[test]
fn what_is_told_late_says_so_below_the_rules_own_words() {
    let (templates, _) = templates(None, Some("gone"));
    let told = notification(vec![alert(ID, News::Firing)]);
    let now = told.due_at.plus(Duration::from_secs(90));
    let message = word(&told, &templates, &Context { now, ..context() });
    assert_eq!(message.body_text(), "gone\n\ntold 1 min late");
}

#[test]
fn what_was_heard_late_and_what_ended_without_a_recovery_is_said_below_the_rules_own_words() {
    let (templates, _) = templates(None, Some("gone"));
    let ended = |cause| AlertNews { cause: Some(cause), ..alert(ID, News::Over) };
    let heard = |minutes: u64| {
        let heard_at = at("14:02:00").plus(Duration::from_secs(60 * minutes));
        AlertNews { heard_at, ..alert(ID, News::Firing) }
    };
    let remarks = |alerts: &[AlertNews]| {
        word(&notification(alerts.to_vec()), &templates, &context()).remarks.join("; ")
    };
    for (alerts, expected) in [
        (vec![heard(1)], ""),
        (vec![heard(34)], "heard 34 min late"),
        (vec![heard(34), heard(5), heard(0)], "2 of 3: heard up to 34 min late"),
        (vec![alert(ID, News::Over)], ""),
        (vec![ended(Cause::Expired)], "not heard of again, which is no recovery"),
        (vec![ended(Cause::RuleRemoved)], "no longer watched, which is no recovery"),
        (vec![alert(ID, News::Withdrawn)], "had not happened after all"),
        (
            vec![heard(2), ended(Cause::Expired), ended(Cause::Resolved)],
            "1 of 3: heard 2 min late; 1 of 3: not heard of again, which is no recovery",
        ),
    ] {
        assert_eq!(remarks(&alerts), expected);
    }
}

#[test]
fn templates_know_when_each_alert_was_heard_and_how_it_ended() {
    let text = "{% for a in alerts %}{{ a.news }} {{ a.cause }} {{ a.heard_at }}{% endfor %}";
    let (templates, errors) = templates(None, Some(text));
    assert_eq!(errors, []);
    let said = |alert| word(&notification(vec![alert]), &templates, &context()).body;
    let custom = |text: &str| Body::Custom(text.to_owned());
    let began = said(alert(ID, News::Firing));
    assert_eq!(began, custom("firing None 2015-11-20T14:02:01Z"));
    let over = said(AlertNews { cause: Some(Cause::Expired), ..alert(ID, News::BeganAndEnded) });
    assert_eq!(over, custom("began_and_ended expired 2015-11-20T14:02:01Z"));
}

#[test]
fn a_template_that_fails_costs_no_message() {
    let (templates, errors) =
        templates(None, Some("{% if firing %}\n{{ 1 / (firing - 1) }}{% endif %}"));
    assert_eq!(errors.len(), 1);
    let message = word(&notification(vec![alert(ID, News::Firing)]), &templates, &context());
    assert!(matches!(message.body, Body::Sections(_)));
    assert_snapshot!(message.remarks.join("\n"), @"The rule's own message could not be used: invalid operation: unable to calculate 1 / 0 (line 2 of the template). These are the built-in words.");
}

#[test]
fn a_template_that_runs_for_ever_or_writes_without_end_is_stopped() {
    for (template, words) in [
        (
            "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
            "it runs for too long",
        ),
        ("{% for a in range(9000) %}0123456789{% endfor %}", "more than 64 KiB"),
    ] {
        let (_, errors) = templates(None, Some(template));
        assert!(errors[0].1.contains(words), "{errors:?}");
    }
}

#[test]
fn wrong_templates_are_named_at_load() {
    let (_, errors) = templates(Some("{{ rule }"), Some("fine\n{{ lables.application }}"));
    assert_snapshot!(errors.iter().map(|(key, error)| format!("{key}: {error}")).collect::<Vec<_>>().join("\n"), @r"
    title: syntax error: unexpected `}`, expected end of variable block (line 1 of the template)
    message: unknown variable `lables` (line 2 of the template); did you mean `labels`?
    ");
    let (_, errors) =
        templates(Some("{{ rule|shout }}"), Some("{{ range(3)|join(',') }}{{ wibble }}"));
    assert_snapshot!(errors.iter().map(|(key, error)| format!("{key}: {error}")).collect::<Vec<_>>().join("\n"), @r"
    title: unknown filter: filter shout is unknown (line 1 of the template)
    message: unknown variable `wibble` (line 1 of the template); there are rule, severity, status, labels, firing, resolved, alerts, receiver, runbook_url, link
    ");
}

/// A rule of each kind that there is.
fn rules() -> Vec<Rule> {
    let rule = |name: &str| Rule::new(name, Condition::states(&[State::Crashed]));
    vec![
        rule("event"),
        Rule { resolve: Resolve::Never, ..rule("moment") },
        Rule { send_resolved: false, ..rule("no-end") },
        Rule { on: On::Gap, resolve: Resolve::Never, ..rule("gap") },
        Rule { on: On::Silence, hold: Some(Duration::from_secs(60)), ..rule("silence") },
        Rule { per: vec![Field::Application], group_by: Vec::new(), ..rule("shared") },
    ]
}

/// What is wrong with a message template, by rule.
fn wrong(message: &str) -> Vec<String> {
    let wrong = rules().into_iter().flat_map(|rule| {
        let errors = Templates::new().add(&rule, None, Some(message));
        errors.into_iter().map(move |(_, error)| format!("{}: {error}", rule.name))
    });
    wrong.collect()
}

#[test]
fn every_kind_of_notification_that_a_rule_can_make_is_tried() {
    let told = |rule: &Rule| -> Vec<String> {
        let samples = samples::samples(rule).into_iter();
        let mut told: Vec<String> = samples
            .map(|sample| {
                let Notification { firing, resolved, alerts, .. } = &sample.notification;
                let first = &alerts[0];
                let payload = match &first.event {
                    None => "none",
                    Some(payload) if payload.get("data").is_none() => "sparse",
                    Some(payload) if payload["data"].is_null() => "null",
                    Some(_) => "full",
                };
                format!("{:?} {firing}+{resolved} {payload}", first.news)
            })
            .collect();
        told.dedup();
        told
    };
    let of = |name: &str| {
        let rules = rules();
        told(rules.iter().find(|rule| &*rule.name == name).unwrap()).join("\n")
    };
    assert_snapshot!(of("event"), @r"
    Firing 1+0 full
    StillFiring 1+0 full
    HadNotEnded 1+0 full
    Over 0+1 full
    BeganAndEnded 0+1 full
    Withdrawn 0+1 full
    Firing 1+0 full
    StillFiring 1+0 full
    HadNotEnded 1+0 full
    Over 0+1 full
    BeganAndEnded 0+1 full
    Withdrawn 0+1 full
    Firing 26+24 full
    Firing 1+0 sparse
    StillFiring 1+0 sparse
    HadNotEnded 1+0 sparse
    Over 0+1 sparse
    BeganAndEnded 0+1 sparse
    Withdrawn 0+1 sparse
    Firing 2+0 sparse
    Firing 1+0 null
    StillFiring 1+0 null
    HadNotEnded 1+0 null
    Over 0+1 null
    BeganAndEnded 0+1 null
    Withdrawn 0+1 null
    Firing 2+0 null
    Firing 1+0 none
    StillFiring 1+0 none
    HadNotEnded 1+0 none
    Over 0+1 none
    BeganAndEnded 0+1 none
    Withdrawn 0+1 none
    Firing 2+0 none
    ");
    assert_snapshot!(of("gap"), @r"
    Happened 1+0 full
    Happened 50+0 full
    Happened 1+0 sparse
    Happened 2+0 sparse
    Happened 1+0 null
    Happened 2+0 null
    Happened 1+0 none
    Happened 2+0 none
    ");
    assert!(!of("no-end").contains("Over "), "{}", of("no-end"));
    assert!(of("silence").contains("Over 0+1 full"), "{}", of("silence"));
}

#[test]
fn a_template_that_would_fail_only_now_and_then_is_refused_at_load() {
    for template in [
        "{{ 1 / firing }}",
        "{{ 1 / resolved }}",
        "{{ alerts[0].event.counters.start + 1 }}",
        "{{ alerts[0].event.data.last_exit_status.signal + 1 }}",
        "{{ alerts[0].labels.service ~ 1 + 1 }}{{ alerts[1].occurrences + 1 }}",
    ] {
        assert!(!wrong(template).is_empty(), "{template}");
    }
    assert_snapshot!(wrong("start {{ alerts[0].event.counters.start + 1 }}").join("\n"), @r"
    event: when the payload has no more than it must (`|default(…)` stands in for what is missing): invalid operation: tried to use + operator on unsupported types undefined and number (`alerts[0].event.counters` is undefined) (line 1 of the template)
    moment: when the payload has no more than it must (`|default(…)` stands in for what is missing): invalid operation: tried to use + operator on unsupported types undefined and number (`alerts[0].event.counters` is undefined) (line 1 of the template)
    no-end: when the payload has no more than it must (`|default(…)` stands in for what is missing): invalid operation: tried to use + operator on unsupported types undefined and number (`alerts[0].event.counters` is undefined) (line 1 of the template)
    gap: when the payload has no more than it must (`|default(…)` stands in for what is missing): invalid operation: tried to use + operator on unsupported types undefined and number (`alerts[0].event.counters` is undefined) (line 1 of the template)
    silence: when the payload has no more than it must (`|default(…)` stands in for what is missing): invalid operation: tried to use + operator on unsupported types undefined and number (`alerts[0].event.counters` is undefined) (line 1 of the template)
    shared: when the payload has no more than it must (`|default(…)` stands in for what is missing): invalid operation: tried to use + operator on unsupported types undefined and number (`alerts[0].event.counters` is undefined) (line 1 of the template)
    ");
    assert_eq!(wrong("start {{ alerts[0].event.counters.start|default(0) + 1 }}"), [""; 0]);
}

#[test]
fn a_template_of_which_nothing_comes_is_refused_at_load_unless_the_payload_may_say_it() {
    assert_snapshot!(wrong("{% if status == 'firing' %}it fires{% endif %}").join("\n"), @r"
    event: when an alert is over: it comes out empty; have it say something in every case, with `{% else %}`
    no-end: when an alert began and ended: it comes out empty; have it say something in every case, with `{% else %}`
    silence: when an alert is over: it comes out empty; have it say something in every case, with `{% else %}`
    shared: when an alert is over: it comes out empty; have it say something in every case, with `{% else %}`
    ");
    assert_snapshot!(wrong(" {{ labels.nothing }}\n\t").join("\n"), @r"
    event: it comes out empty; have it say something in every case, with `{% else %}`
    moment: it comes out empty; have it say something in every case, with `{% else %}`
    no-end: it comes out empty; have it say something in every case, with `{% else %}`
    gap: it comes out empty; have it say something in every case, with `{% else %}`
    silence: it comes out empty; have it say something in every case, with `{% else %}`
    shared: it comes out empty; have it say something in every case, with `{% else %}`
    ");
    assert_eq!(wrong("{{ alerts[0].event.words }}"), [""; 0]);
}

#[test]
fn a_title_that_grows_with_the_alerts_is_refused_at_load() {
    let errors = |title: &str| Templates::new().add(&rules()[0], Some(title), None);
    let names = "{% for alert in alerts %}{{ alert.labels.id }} {% endfor %}";
    assert_snapshot!(errors(names)[0].1, @"when as many alerts as can be are told at once: it comes out 1849 characters long, and a title may have 1024; have it name fewer, as `alerts[:3]`");
    assert_eq!(errors(&names.replace("in alerts", "in alerts[:3]")), []);
}

/// What a message says when its template came to this.
fn fallen_back(title: Option<&str>, text: Option<&str>) -> Message {
    let (templates, _) = templates(title, text);
    let message = word(&notification(vec![alert(ID, News::Firing)]), &templates, &context());
    assert_eq!(message.title, "CRITICAL crashed: 1 container of toto/hello-python");
    assert_eq!(message.topic, "[critical] crashed: toto/hello-python");
    assert!(matches!(message.body, Body::Sections(_)), "{message:?}");
    assert!(message.runbook_url.is_some() && message.link.is_some());
    message
}

#[test]
fn whatever_becomes_of_a_template_the_built_in_words_are_sent_with_what_to_do() {
    let notes = |title, text| fallen_back(title, text).remarks.join("\n");
    assert_snapshot!(notes(Some("{{ 1 / resolved }}"), None), @"The rule's own title could not be used: invalid operation: unable to calculate 1 / 0 (line 1 of the template). These are the built-in words.");
    assert_snapshot!(notes(Some(" \u{200b}\n{{ labels.nothing }}\u{feff}"), None), @"The rule's own title could not be used: it comes out empty; have it say something in every case, with `{% else %}`. These are the built-in words.");
    assert_snapshot!(notes(Some("{{ 'long ' * 300 }}"), None), @"The rule's own title could not be used: it comes out 1499 characters long, and a title may have 1024; have it name fewer, as `alerts[:3]`. These are the built-in words.");
    assert_snapshot!(notes(None, Some("{% for a in range(70000) %}{{ a }}{% endfor %}")), @"The rule's own message could not be used: it writes more than 64 KiB; have it write less, as of `alerts[:10]`. These are the built-in words.");
    assert_snapshot!(notes(None, Some("{{ 'x' * 65537 }}")), @"The rule's own message could not be used: it writes more than 64 KiB; have it write less, as of `alerts[:10]`. These are the built-in words.");
    assert_snapshot!(
        notes(None, Some("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}")),
        @"The rule's own message could not be used: it runs for too long (more than 200000 steps); have it loop over less, as over `alerts[:10]`. These are the built-in words."
    );
    assert_snapshot!(notes(Some("{{ labels.nothing }}"), Some("\t\n")), @r"
    The rule's own title could not be used: it comes out empty; have it say something in every case, with `{% else %}`. These are the built-in words.
    The rule's own message could not be used: it comes out empty; have it say something in every case, with `{% else %}`. These are the built-in words.
    ");
}

#[test]
fn one_template_that_fails_does_not_cost_the_other() {
    let (templates, _) = templates(Some("{{ labels.nothing }}"), Some("in own words"));
    let message = word(&notification(vec![alert(ID, News::Firing)]), &templates, &context());
    assert_eq!(message.title, "CRITICAL crashed: 1 container of toto/hello-python");
    assert_eq!(message.body, Body::Custom("in own words".into()));
    assert_eq!(message.remarks.len(), 1);
}
