use std::cell::Cell;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::*;

const RULE: &str = "rules:\n  - name: crashed\n    when: { state: CRASHED }\n";

fn env(name: &str) -> Option<String> {
    match name {
        "HOOK" => Some("https://hooks.slack.com/services/T/B/hush".into()),
        "SECRET" => Some("hush".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, Problems> {
    parse("rules.yaml", text, &env, &|_| Vec::new())
}

fn config(text: &str) -> Config {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn printed(text: &str) -> String {
    read(text).map(|config| config.notes).unwrap_err().to_string()
}

#[test]
fn a_number_may_come_from_the_environment() {
    let text =
        "rules: [{ name: often, when: { state: CRASHED }, count: '${NONE:-3}', within: 1m }]";
    let threshold = config(text).rules.get("often").unwrap().threshold.unwrap();
    assert_eq!(threshold.count, 3);
}

#[test]
fn what_is_received_is_kept_for_as_long_as_the_file_says() {
    let kept = |text: &str| config(text).keep.as_secs() / 3600;
    assert_eq!(kept("storage: { keep: 25h }"), 25);
    assert_eq!(kept("storage: { url: 'sqlite:t.db' }"), 30 * 24);
    let longest = "storage: { keep: 100d }
rules: [{ name: r, on: silence, for: 99d }]";
    assert_eq!(kept(longest), 100 * 24);
}

#[test]
fn the_example_loads() {
    let text = std::fs::read_to_string("rules.example.yaml").unwrap();
    let config = parse("rules.example.yaml", &text, &|_| None, &|_| Vec::new());
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.storage, Storage::Sqlite("tocsin.db".into()));
    assert!(config.rules.iter().all(|rule| rule.notify == [CONSOLE]));
    assert!(matches!(config.receivers[CONSOLE].kind, ReceiverKind::Console));
    insta::assert_snapshot!(config.notes.join("\n"), @r#"
    receiver "oncall" is off: its "smtp_url" is empty
    receiver "ops" is off: its "webhook_url" is empty
    told on the console: "killed", "crashed", "restart-loop", "failed-exit", "starved", "events-missing", "job-silent"
    "#);
}

#[test]
fn a_rule_on_what_is_missing_asks_for_little() {
    let config = config("rules: [{ name: g, on: gap }, { name: s, on: silence, for: 36h }]\n");
    let of = |name| {
        let rule = config.rules.get(name).unwrap();
        (rule.on, rule.hold.unwrap().as_secs() / 3600, rule.is_shared())
    };
    assert_eq!(of("g"), (crate::rules::On::Gap, 2, false));
    assert_eq!(of("s"), (crate::rules::On::Silence, 36, false));
}

#[test]
fn the_example_tells_no_event_of_real_containers_twice() {
    let config = parse(
        "rules.example.yaml",
        &std::fs::read_to_string("rules.example.yaml").unwrap(),
        &|_| None,
        &|_| Vec::new(),
    );
    let rules = config.unwrap().rules;
    let events = std::fs::read_to_string("tests/events/real-containers.jsonl").unwrap();
    for line in events.lines() {
        let event = crate::event::decode(line.as_bytes()).unwrap();
        let told = rules.matching(&event).filter(|rule| rule.on == crate::rules::On::Event).count();
        let ended_badly = event.state == crate::event::State::Crashed;
        assert_eq!(told, usize::from(ended_badly), "{line}");
    }
}

#[test]
fn what_a_rule_leaves_open_is_as_the_contract_says() {
    let config = config(RULE);
    let rule = config.rules.get("crashed").unwrap();
    assert_eq!(rule.severity, crate::rules::Severity::Warning);
    assert_eq!(rule.group_by, ["application", "service"]);
    assert_eq!(rule.notify, [CONSOLE]);
    assert_eq!(rule.group_wait, Duration::from_secs(5));
    assert_eq!(rule.group_interval, Duration::from_secs(300));
    assert_eq!(rule.repeat_interval, Duration::from_secs(14_400));
    assert_eq!(rule.expire_after, Duration::from_secs(86_400));
    assert!(rule.send_resolved);
    assert_eq!(config.server.listen, "127.0.0.1:8080");
    assert!(!config.server.open);
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn a_file_that_says_everything_is_taken_at_its_word() {
    let config = config(
        r#"
server: { listen: "[::1]:0", external_url: "https://t.example.com/", open: true }
storage: { url: "sqlite:///var/lib/t.db" }
receivers:
  terminal: { console: {} }
  ops: { slack: { webhook_url: "${HOOK}" }, timeout: 2s, give_up_after: 1h, rate: 20/min, allow_http: true }
  mail: { email: { smtp_url: "smtps://u:${SECRET}@h", from: a@x.org, to: [b@x.org, "${EMPTY}"] } }
defaults: { notify: terminal, group_by: [team, service], group_wait: 0s, send_resolved: false }
rules:
  - name: r
    description: d
    severity: info
    when: { state: CRASHED }
    resolve: { state: RUNNING }
    notify: [ops, mail, ops]
    group_by: [rule, team]
    group_interval: 1m
    repeat_interval: 1d12h
    send_resolved: true
    labels: { team: shop, floor: 2 }
    runbook_url: http://wiki/r
    title: "{{ rule }}"
    message: costs $$5
  - { name: s, when: { state: X, any: [{ id: a }] } }
"#,
    );
    assert_eq!(config.server.external_url.as_deref(), Some("https://t.example.com"));
    assert_eq!(config.storage, Storage::Sqlite("/var/lib/t.db".into()));
    assert_eq!(config.keep, Duration::from_secs(30 * 24 * 3600));
    let ops = &config.receivers["ops"];
    assert_eq!(
        (ops.timeout, ops.give_up_after),
        (Duration::from_secs(2), Duration::from_secs(3600))
    );
    assert_eq!(ops.rate, Some(Rate::per_minute(20)));
    assert!(ops.allow_http && !ops.is_off());
    let ReceiverKind::Email { smtp_url, to, .. } = &config.receivers["mail"].kind else { panic!() };
    assert_eq!(smtp_url.expose_secret(), "smtps://u:hush@h");
    assert_eq!(to, &["b@x.org"]);

    let rule = config.rules.get("r").unwrap();
    assert_eq!(rule.notify, ["ops", "mail"]);
    assert_eq!(rule.group_by, ["rule", "team"]);
    assert_eq!(rule.group_wait, Duration::ZERO);
    assert_eq!(rule.repeat_interval, Duration::from_secs(36 * 3600));
    assert_eq!(rule.labels["floor"], "2");
    assert!(rule.send_resolved);

    let other = config.rules.get("s").unwrap();
    assert_eq!(other.notify, ["terminal"]);
    // The inherited grouping is cut down to the labels that there are.
    assert_eq!(other.group_by, ["service"]);
    assert!(!other.send_resolved);
    assert!(!config.receivers.contains_key(CONSOLE));
    assert_eq!(config.notes, ["\"X\" is not a state of Sailabove's"]);
}

#[test]
fn all_errors_are_printed_at_once_each_with_its_place() {
    let text = r#"
server:
  listen: "8080"
  receive_tokn: abc
receivers:
  ops-slack: { slack: { webhook_url: "${HOOK}" } }
  mail:
    email: { smtp_url: "${NONE}", from: a@x.org, to: 5 }
    fallback: ops-slack
  pager: { pagerduty: { routing_key: k } }
defaults:
  group_by: [aplication]
tests: {}
rules:
  - name: crashed
    when: { sate: CRASHED }
    notify: [ops-slak]
    for: 5
    severity: critcal
  - when: { state: CRASHED }
    notify: [ops-slack]
    group_wiat: 5
    group_interval: 5
  - name: crashed
    when: { starts: ">= many" }
    labels: { rule: x }
    group_by: [team]
"#;
    insta::assert_snapshot!(printed(text), @r#"
    rules.yaml:3:11: "listen" must be host:port, like 127.0.0.1:8080
          listen: "8080"
                  ^
    rules.yaml:4:3: unknown key "receive_tokn"; did you mean "receive_token"?
          receive_tokn: ***
          ^
    rules.yaml:8:24: the environment variable NONE is not set; set it, or give a default: ${NONE:-…}
            email: { smtp_url: "${NONE}", from: a@x.org, to: 5 }
                               ^
    rules.yaml:8:54: "to" must be text or a list, and is a number; put quotes around it
            email: { smtp_url: "${NONE}", from: a@x.org, to: 5 }
                                                             ^
    rules.yaml:12:14: unknown label "aplication"; did you mean "application"?
          group_by: [aplication]
                     ^
    rules.yaml:13:8: "tests" must be a list, and is a mapping
        tests: {}
               ^
    rules.yaml:16:13: unknown field "sate"; did you mean "state"?
            when: { sate: CRASHED }
                    ^
    rules.yaml:17:14: unknown receiver "ops-slak"; did you mean "ops-slack"?
            notify: [ops-slak]
                     ^
    rules.yaml:18:10: "for" needs a unit; write 5s for seconds
            for: 5
                 ^
    rules.yaml:19:15: "severity" must be critical, warning or info; did you mean "critical"?
            severity: critcal
                      ^
    rules.yaml:20:5: a rule needs a "name"
          - when: { state: CRASHED }
            ^
    rules.yaml:22:5: unknown key "group_wiat"; did you mean "group_wait"?
            group_wiat: 5
            ^
    rules.yaml:23:21: "group_interval" needs a unit; write 5s for seconds
            group_interval: 5
                            ^
    rules.yaml:24:5: rule "crashed" tells nobody; give it "notify", or "defaults" one
          - name: crashed
            ^
    rules.yaml:24:11: another rule is named "crashed" already
          - name: crashed
                  ^
    rules.yaml:25:21: ">=" compares numbers, and what follows is none; for what it is not, write { not: … }
            when: { starts: ">= many" }
                            ^
    rules.yaml:26:15: every alert has its own label "rule"; take another name
            labels: { rule: x }
                      ^
    rules.yaml:27:16: unknown label "team"; there are application, id, rule, service, severity
            group_by: [team]
                       ^
    "#);
}

#[test]
fn a_receiver_gets_as_many_messages_as_its_place_takes_unless_it_says_otherwise() {
    let config = config(
        "receivers:
  slack: { slack: { webhook_url: 'https://x/y' } }
  slow: { slack: { webhook_url: 'https://x/y' }, rate: 30/h }
  teams: { teams: { webhook_url: 'https://x/y' } }
  person: { telegram: { bot_token: '1:a', chat_id: '17' } }
  group: { telegram: { bot_token: '1:a', chat_id: '-17' } }
  hook: { webhook: { url: 'https://x/y' } }
rules: [{ name: r, when: { state: X }, notify: slack }]",
    );
    let rate = |name: &str| config.receivers[name].rate;
    let slow = Rate { count: 30, per: Duration::from_secs(3600) };
    assert_eq!([rate("slack"), rate("slow")], [Some(Rate::per_second(1)), Some(slow)]);
    assert_eq!(rate("teams"), Some(Rate::per_second(4)));
    assert_eq!(rate("person"), Some(Rate::per_second(1)));
    assert_eq!(rate("group"), Some(Rate::per_minute(20)));
    assert_eq!(rate("hook"), None);
}

#[test]
fn a_line_that_is_shown_moves_no_cursor() {
    let shown = printed("rules:\n  - { naem: a\u{202e}b\u{9b}2J, x: \u{1b}]0;owned\u{7} }\n");
    assert!(shown.contains("naem: a\u{fffd}b\u{fffd}2J, x: \u{fffd}]0;owned\u{fffd}"), "{shown}");
    assert!(!shown.contains(|char: char| char != '\n' && char.is_control()), "{shown:?}");
}

#[test]
fn each_bad_file_gets_one_clear_sentence() {
    for (text, expected) in [
        ("", "rules.yaml:1:1: the file is empty; see rules.example.yaml for one to begin with"),
        ("# nothing\n", "the file is empty"),
        ("[a]", "rules.yaml:1:1: a rules file must be a mapping, and is a list\n    [a]\n    ^"),
        ("hello", "rules.yaml:1:1: a rules file must be a mapping, and is text\n    hello\n    ^"),
        ("a: [1\nb: 2\n", "rules.yaml:2:2: this is not YAML: did not find expected ',' or ']'"),
        ("rules:\n\t- a", "this is not YAML: found character that cannot start any token"),
        ("a: \u{1}", "rules.yaml:1:4: this is not YAML: control characters are not allowed"),
        ("rules: []\n---\nrules: []\n", "rules.yaml:3:1: a second document begins here"),
        ("rules: []\nrules: []\n", "rules.yaml:2:1: \"rules\" is here twice; keep one"),
        ("rules: 5", "rules.yaml:1:8: \"rules\" must be a list, and is a number"),
        ("rules: !x []", "rules.yaml:1:8: tags are not for rules files"),
        ("rulse: []", "rules.yaml:1:1: unknown key \"rulse\"; did you mean \"rules\"?"),
        ("? [a]\n: b", "rules.yaml:1:3: a key must be text, and is a list; put quotes around it"),
        (
            "storage: { url: 'postgres://h/d' }",
            "rules.yaml:1:17: \"url\" must be sqlite:PATH; postgres:// is not supported yet",
        ),
        (
            "storage: { url: 'sqlite:' }",
            "rules.yaml:1:17: \"url\" must be sqlite:PATH, like sqlite:tocsin.db",
        ),
        ("storage: { keep: 24h }", "rules.yaml:1:18: \"keep\" must be longer than a day, like 30d"),
        ("storage: { keep: long }", "rules.yaml:1:18: \"keep\" is no duration"),
        (
            "storage: { keep: 2d }\nrules: [{ name: r, when: { state: X }, expire_after: 48h }]",
            "rules.yaml:1:18: \"keep\" must be longer than \"expire_after\" of rule \"r\", 2d",
        ),
        (
            "storage: { keep: 2d }\nrules: [{ name: r, on: silence, for: 3d }]",
            "rules.yaml:1:18: \"keep\" must be longer than \"for\" of rule \"r\", 3d",
        ),
        (
            "rules: [{ name: r, when: { state: X }, count: 2, within: 5w }]",
            "rules.yaml:1:58: \"within\" must be shorter than \"storage.keep\", which is 30d \
             unless given",
        ),
        (
            "server: { external_url: ftp://x }",
            "rules.yaml:1:25: \"external_url\" must be a URL like https://host/path",
        ),
        (
            "server: { external_url: \"https://x/?a=b\" }",
            "rules.yaml:1:25: \"external_url\" must have no ? and no #: paths are added to it",
        ),
        (
            "server: { external_url: \"https://x/#a\" }",
            "rules.yaml:1:25: \"external_url\" must have no ? and no #: paths are added to it",
        ),
        (
            "receivers: { a: {} }",
            "rules.yaml:1:14: receiver \"a\" needs a kind: console, slack, slack_api, email, \
             webhook, pagerduty, teams, discord, telegram, ntfy, alertmanager",
        ),
        (
            "receivers: { a: { console: {}, slack: {} } }",
            "rules.yaml:1:39: receiver \"a\" has a kind already; \"slack\" is one too many",
        ),
        (
            "receivers: { a: { slack: {} } }",
            "rules.yaml:1:26: \"webhook_url\" or \"webhook_url_file\" is missing",
        ),
        (
            "receivers: { a: { slack: { webhook_url: x, webhook_url_file: y } } }",
            "\"webhook_url\" and \"webhook_url_file\" are both given; keep one",
        ),
        (
            "receivers: { a: { slack: { webhook_url_file: /none/x } } }",
            "rules.yaml:1:46: cannot read \"/none/x\": No such file or directory",
        ),
        (
            "receivers: { ops: { console: {} }, a: { console: {}, fallback: opps } }",
            "rules.yaml:1:64: unknown receiver \"opps\"; did you mean \"ops\"?",
        ),
        (
            "receivers: { a: { console: {}, rate: 20 } }",
            "1:38: \"rate\" is a number; write a rate like 1/s or 20/min",
        ),
        (
            "receivers: { a: { console: {}, rate: 20/hour } }",
            "1:38: \"rate\" is no rate; write one like 1/s, 20/min or 500/h",
        ),
        (
            "receivers: { a: { console: {}, rate: 0/s } }",
            "1:38: \"rate\" lets nothing through; write at least 1/h",
        ),
        (
            "receivers: { t: [{ console: {} }], a: { console: {}, fallback: t } }",
            "1:64: \"fallback\" is one receiver, and \"t\" is a list; name a part of it, like \
             \"t/console\"",
        ),
        (
            "receivers: { a: { console: {}, fallback: a } }",
            "1:42: these stand in for each other for ever: a → a; leave one of them without",
        ),
        (
            "receivers:\n  a: { console: {}, fallback: b }\n  b: { console: {}, fallback: c }\n  \
             c: { console: {}, fallback: b }",
            "3:31: these stand in for each other for ever: b → c → b; leave one",
        ),
        (
            "rules: [{ name: receiver-down, when: {} }]",
            "1:17: the name \"receiver-down\" is kept for receivers that are down",
        ),
        ("receivers: { a: [] }", "rules.yaml:1:14: receiver \"a\" lists nothing"),
        (
            "receivers: { a: [{ slak: {} }] }",
            "rules.yaml:1:20: unknown key \"slak\"; did you mean \"slack\"?",
        ),
        (
            "receivers: { a: [[]] }",
            "rules.yaml:1:18: receiver \"a/unknown\" must be a mapping, and is a list",
        ),
        (
            "receivers: { a: [{ console: {} }], a/console: { console: {} } }",
            "rules.yaml:1:36: another receiver is named \"a/console\" already",
        ),
        (
            "receivers: { console: [{ console: {} }] }",
            "rules.yaml:1:14: the name \"console\" is kept for the console",
        ),
        (
            "receivers: { a: { slack_api: { bot_token: x } } }",
            "rules.yaml:1:30: \"slack_api\" needs \"channel\"",
        ),
        (
            "receivers: { a: { telegram: { bot_token: x, chat_id: 5, chatid: 5 } } }",
            "unknown key \"chatid\"; did you mean \"chat_id\"?",
        ),
        (
            "receivers: { a: { webhook: { url: x, secret: ['${EMPTY}'] } } }",
            "rules.yaml:1:46: \"secret\" is empty; leave it out if nothing is to be signed",
        ),
        (
            "receivers: { a: { webhook: { url: x, secret: y, secret_file: z } } }",
            "\"secret\" and \"secret_file\" are both given; keep one",
        ),
        (
            "receivers: { a: { ntfy: { url: x, token: y, token_file: z } } }",
            "\"token\" and \"token_file\" are both given; keep one",
        ),
        (
            "receivers: { a: { pagerduty: { routing_key: x, url: y } } }",
            "\"url\" must be a URL like https://host/path",
        ),
        (
            "receivers: { console: { slack: { webhook_url: x } } }",
            "rules.yaml:1:14: the name \"console\" is kept for the console",
        ),
        ("rules: [{ name: a }]", "rules.yaml:1:9: rule \"a\" has no \"when\""),
        ("rules: [{ when: {} }]", "rules.yaml:1:9: a rule needs a \"name\""),
        ("rules: [~]", "rules.yaml:1:9: a rule must be a mapping, and is empty"),
        ("rules: [{ name: '', when: {} }]", "rules.yaml:1:17: \"name\" is empty"),
        (
            "rules: [{ name: a, when: {}, resolve: nver }]",
            "\"resolve\" must be a condition or never; did you mean \"never\"?",
        ),
        (
            "rules: [{ name: a, when: {}, for: 5m, resolve: never }]",
            "\"for\" makes an alert that lasts, and \"resolve: never\" one that does not; keep one of \
             them",
        ),
        (
            "rules: [{ name: a, when: {}, for: 5m, expire_after: 5m }]",
            "\"expire_after\" must be longer than \"for\", or nothing would ever fire",
        ),
        (
            "rules: [{ name: a, when: {}, for: 1d }]",
            "what is to last for a day or longer would expire before; give the rule a longer \
             \"expire_after\"",
        ),
        (
            "rules: [{ name: a, when: {}, resolve: never, expire_after: 1h }]",
            "\"expire_after\" means nothing beside \"resolve: never\"; keep one of them",
        ),
        (
            "rules: [{ name: a, when: {}, per: [id, aplication] }]",
            "unknown field \"aplication\"; did you mean \"application\"?",
        ),
        ("rules: [{ name: a, when: {}, per: [] }]", "\"per\" lists no field"),
        (
            "rules: [{ name: a, when: {}, count: 5 }]",
            "\"count\" needs \"within\": so many in how long, like 10m",
        ),
        (
            "rules: [{ name: a, when: {}, within: 5m }]",
            "\"within\" needs \"count\": how many occurrences make an alert",
        ),
        (
            "rules: [{ name: a, when: {}, count: 0, within: 5m }]",
            "\"count\" must be a whole number of at least 1",
        ),
        (
            "rules: [{ name: a, when: {}, count: 2.5, within: 5m }]",
            "\"count\" must be a whole number of at least 1",
        ),
        ("rules: [{ name: a, when: {}, count: 2, within: 0s }]", "\"within\" must be at least 1s"),
        (
            "rules: [{ name: a, when: {}, count: 2, within: 5m, for: 1m }]",
            "\"for\" means nothing beside \"count\" and \"within\"",
        ),
        (
            "rules: [{ name: a, when: {}, count: 2, within: 5m, resolve: never }]",
            "\"resolve\" means nothing beside \"count\" and \"within\"",
        ),
        (
            "rules: [{ name: a, when: {}, count: 2, within: 5m, expire_after: 1h }]",
            "\"expire_after\" means nothing beside \"count\" and \"within\"",
        ),
        ("rules: [{ name: a, when: {}, late: ignore }]", "\"late\" must be notify or record"),
        (
            "rules: [{ name: a, on: silense, for: 1h }]",
            "\"on\" must be event, gap or silence; did you mean \"silence\"?",
        ),
        ("rules: [{ name: a, on: event }]", "rule \"a\" has no \"when\""),
        (
            "rules: [{ name: a, on: silence }]",
            "rule \"a\" is on a silence and needs \"for\": how long nothing is to be heard",
        ),
        (
            "rules: [{ name: a, on: silence, for: 1h, late: record }]",
            "\"late\" means nothing beside \"on: silence\": a silence lasts until something is heard \
             again; leave it out",
        ),
        (
            "rules: [{ name: a, on: gap, resolve: never }]",
            "\"resolve\" means nothing beside \"on: gap\": each gap is news by itself, told once; \
             leave it out",
        ),
        ("rules: [{ name: a, on: gap, count: 2 }]", "\"count\" means nothing"),
        (
            "rules: [{ name: a, when: {}, repeat_interval: 10ms }]",
            "\"repeat_interval\" must be at least 1s",
        ),
        (
            "rules: [{ name: a, when: {}, group_wait: soon }]",
            "\"group_wait\" is no duration; write it like",
        ),
        ("rules: [{ name: a, when: {}, title: '{{ bad' }]", "rules.yaml:1:37: "),
        (
            "rules: [{ name: a, when: {}, message: \"{{ 1 / firing }}\" }]",
            "rules.yaml:1:39: when an alert is over: invalid operation: unable to calculate 1 / 0 \
             (line 1 of the template)",
        ),
        (
            "rules: [{ name: a, when: {}, title: \"{% if firing %}it fires{% endif %}\" }]",
            "rules.yaml:1:37: when an alert is over: it comes out empty; have it say something",
        ),
        (
            "receivers: { a: { console: {} } }\nrules: [{ name: a, when: {} }]",
            "rules.yaml:2:9: rule \"a\" tells nobody",
        ),
        ("rules: [{ name: a, when: {}, notify: [x] }]", "rules.yaml:1:39: unknown receiver \"x\""),
    ] {
        let printed = printed(text);
        assert!(printed.contains(expected), "{text}\n{printed}\nshould have\n{expected}");
        assert_eq!(printed.matches("rules.yaml:").count(), 1, "{printed}");
    }
}

#[test]
fn what_yaml_takes_otherwise_than_it_is_meant_needs_quotes() {
    for (text, words) in [
        ("rules:\n- when:\n    starts: >= 10\n", "quotes around a text that begins with > or |"),
        ("rules:\n- when: { id: * }\n", "put quotes around a text that begins with * or &"),
        ("rules:\n- when: { id: *-web }\n", "put quotes around a text that begins with *"),
        ("rules:\n- when: { id: \"/\\d/\" }\n", "single quotes around a text with backslashes"),
        ("rules:\n- when: { id: @x }\n", "put quotes around a text that begins so"),
        ("rules:\n- title: {{ rule }} down\n", "quotes around a text that begins with {"),
        ("rules:\n- title: {{ rule }}\n", "is a mapping; put quotes around a template"),
        ("rules:\n- name: a\n  notify: 5\n", "must be text or a list, and is a number; put quotes"),
        ("rules:\n- name: a\n  notify: [5]\n", "must list texts, and this is a number; put quotes"),
    ] {
        let printed = printed(text);
        assert!(printed.contains(words), "{text}\n{printed}");
    }
}

#[test]
fn a_number_that_would_be_another_text_needs_quotes() {
    for (value, at) in [
        ("rules: [{ name: 0x10, when: {} }]", "1:17:"),
        ("rules: [{ name: a, when: { id: 0x1f } }]", "1:32:"),
        ("rules: [{ name: a, when: { id: [0o7, 7] } }]", "1:33:"),
        ("rules: [{ name: a, when: { id: -0 } }]", "1:32:"),
        ("rules: [{ name: a, when: {}, labels: { a: +5 } }]", "1:43:"),
        ("rules: [{ name: a, when: {}, labels: { 1.10: x } }]", "1:40:"),
        ("rules: [{ name: a, when: {}, labels: { 0b1: x } }]", "1:40:"),
        ("server: { receive_token: 0x1f }", "1:26:"),
        (
            "rules: [{ name: a, when: {} }]\ninhibit: [{ source: { id: 0x1f }, target: { rule: a } }]",
            "2:27:",
        ),
    ] {
        let printed = printed(value);
        assert!(
            printed.contains(at) && printed.contains("put quotes around"),
            "{value}\n{printed}"
        );
        assert_eq!(printed.matches("rules.yaml:").count(), 1, "{printed}");
    }
    let config =
        config("rules: [{ name: 5, when: { id: 17, starts: 0x1f }, labels: { 5: 7, true: x } }]");
    assert_eq!(config.rules.get("5").unwrap().labels["5"], "7");
    assert_eq!(config.rules.get("5").unwrap().labels["true"], "x");
}

#[test]
fn what_is_no_number_compares_with_nothing_and_is_refused() {
    for (text, at) in [
        ("rules: [{ name: a, when: { starts: .nan } }]", "1:36:"),
        ("rules: [{ name: a, when: { starts: { ge: .nan } } }]", "1:42:"),
        ("rules: [{ name: a, when: { payload.x: -.inf } }]", "1:39:"),
    ] {
        let printed = printed(text);
        assert!(printed.contains(at) && printed.contains("is no number to compare"), "{printed}");
        assert_eq!(printed.matches("rules.yaml:").count(), 1, "{printed}");
    }
}

#[test]
fn a_key_that_is_no_text_hides_nothing_else() {
    let printed = printed("receivers:\n  null: { console: {} }\n  ops: { cnsole: {} }\n");
    assert!(printed.contains("2:3: a key must be text, and is empty; put quotes"), "{printed}");
    assert!(printed.contains("3:10: unknown key \"cnsole\""), "{printed}");
}

#[test]
fn what_aliases_repeat_is_told_once_and_hides_nothing() {
    let rule = |index| format!("- {{ name: r{index}, when: *w }}\n");
    let rules: String = (0..150).map(rule).collect();
    let printed = printed(&format!(
        "rules:\n- {{ name: r, when: &w {{ sate: X }} }}\n{rules}- {{ name: s, wen: 1 }}\n"
    ));
    assert_eq!(printed.matches("unknown field \"sate\"").count(), 1, "{printed}");
    assert!(printed.contains("153:14: unknown key \"wen\""), "{printed}");
    assert!(!printed.contains(" more"), "{printed}");
}

#[test]
fn what_is_wrong_by_an_alias_alone_says_where_that_is() {
    let printed = printed(
        "rules:\n- { name: a, when: {}, per: &p [application] }\n\
         - { name: b, when: {}, per: [service], group_by: *p }\n",
    );
    assert!(printed.contains("rules.yaml:2:33: unknown label \"application\""), "{printed}");
    assert!(printed.contains("(\"group_by\" in line 3 takes this by an alias)"), "{printed}");
}

#[test]
fn merge_keys_are_not_supported_and_said_to_be() {
    let text = "rules:\n- { name: a, when: { <<: { state: X } }, labels: { <<: { a: b } } }\n";
    let printed = printed(text);
    assert_eq!(printed.matches("\"<<\" is not supported; write out what").count(), 2, "{printed}");
    assert_eq!(printed.matches("rules.yaml:").count(), 2, "{printed}");
}

#[test]
fn places_are_right_for_every_way_of_writing() {
    for (text, place) in [
        ("\u{feff}server: { opne: true }", "rules.yaml:1:11:"),
        ("# é ü\r\nserver:\r\n  opne: true\r\n", "rules.yaml:3:3:"),
        ("server: { external_url: \"é\",  opne: true, open: 5 }", "rules.yaml:1:25:"),
        ("server: { external_url: \"http://é\",  opne: true }", "rules.yaml:1:38:"),
        ("server: &a\n  opne: true", "rules.yaml:2:3:"),
        ("server:\n  external_url: >-\n    htp://x\n", "rules.yaml:2:17:"),
        ("server:\n  listen:\n", "rules.yaml:2:10:"),
        ("server:\n  \"opne\": 1\n", "rules.yaml:2:3:"),
        ("rules:\n- name: a\n  when: {state: CRASHED}\n  fro: 5\n", "rules.yaml:4:3:"),
        ("x-a: &w { sate: X }\nrules: [{ name: a, when: *w }]", "rules.yaml:1:11:"),
        ("---\nserver: { opne: 1 }\n...\n", "rules.yaml:2:11:"),
    ] {
        let printed = printed(text);
        assert!(printed.contains(place), "{text}\n{printed}\nshould be at {place}");
    }
}

#[test]
fn one_mistake_is_told_once() {
    for text in [
        "receivers: { a: { console: {} } }\nrules: [{ name: r, when: {}, notify: 5 }]",
        "receivers: { a: { console: {} } }\ndefaults: { notify: [b] }\nrules: [{ name: r, when: {} }]",
        "receivers: { a: { console: {} } }\nrules: [{ name: r, when: {}, notify: ['${NONE}'] }]",
        "receivers: { a: { console: 5 } }\nrules: [{ name: r, when: {}, notify: a }]",
        "receivers: { a: { cnsole: } }\nrules: [{ name: r, when: {}, notify: [a] }]",
        "rules: [{ name: r, when: { state: '${NONE' } }]",
        "rules: [{ name: r, when: { starts: !x 5 } }]",
    ] {
        let printed = printed(text);
        assert_eq!(printed.matches("rules.yaml:").count(), 1, "{printed}");
    }
}

#[test]
fn a_caret_stands_below_its_character() {
    let printed = printed("server: { external_url: \"http://é\",\topne: true }");
    let lines: Vec<&str> = printed.lines().collect();
    let caret = lines[2].chars().position(|char| char == '^').unwrap();
    let offending: String = lines[1].chars().skip(caret).collect();
    assert!(offending.starts_with("opne"), "{printed}");
    assert_eq!(lines[2].matches('\t').count(), 1);
}

#[test]
fn a_long_line_is_shown_around_its_place() {
    let text = format!("server: {{ external_url: \"http://{}\", opne: 1 }}", "x".repeat(5000));
    let printed = printed(&text);
    assert!(printed.len() < 500 && printed.contains("opne"), "{printed}");
}

#[test]
fn a_hundred_problems_are_listed_and_the_others_counted() {
    let text: String = (0..250).map(|index| format!("x{index}: 1\n")).collect();
    let problems = read(&text).map(|config| config.notes).unwrap_err();
    assert_eq!((problems.listed.len(), problems.more), (100, 150));
    assert_eq!(problems.listed[99].line, 100);
    assert!(problems.to_string().ends_with("\nand 150 more"));
}

#[test]
fn secrets_cannot_be_printed() {
    let config = config(
        "receivers:\n  a: { slack: { webhook_url: 'https://x/${SECRET}' } }\n  \
         b: { email: { smtp_url: 'smtp://u:${SECRET}@h', from: a@x.org, to: [b@x.org] } }\n",
    );
    assert!(!format!("{config:?}").contains("hush"));

    for text in [
        "receivers: { a: { slack: { webhook_url: hush, opne: 1 } } }",
        "receivers: { a: { slack: { webhook_ulr: hush } } }",
        "receivers: { a: { slack: hush } }",
        "receivers: { a: { slack: { 'https://hooks.slack.com/hush' } } }",
        "receivers: { a: { slack: { webhook_url: hush-hush } } }\nx: hush-hush",
        "receivers:\n  a:\n    slack:\n      webhook_url: >-\n        hush\n\t\n",
        "receivers: { a: { email: { smtp_url: \"x hush y\", form: x } } }",
        "receivers: { a: { email: { smtp_url: \"hush, from: x } } }",
        "receivers: { a: { webhook: { url: hush-hush, secret: [hush-a-bye, hush-b-bye], x: 1 } } }",
        "receivers: { a: { webhook: { url: 'https://x/hush', secrt: hush } } }",
        "receivers: { a: { ntfy: { url: 'https://ntfy.sh/hush', x: 1 } } }",
        "receivers: { a: { telegram: { bot_token: hush, x: 1 } } }",
        "receivers: { a: { slack_api: { bot_tokn: hush } } }",
        "receivers: { a: [{ pagerduty: { routing_key: hush } }, { pagerduty: { routing_ky: hush } }] }",
        "receivers: { a: { discord: { webhook_url: hush, webhook_url_file: x } } }",
        "server: { receive_token: hush, x: 1 }",
        "server: { receive_token: [hush-a-bye, hush-b-bye], x: [hush-a-bye] }",
        "server: { admin: { user: a, password: hush, x: 1 } }",
        "server: { admin: { user: a, password_hash: hush } }",
        "server: { admin: { user: a, password_hash: '$argon2id$hush', passwrd: hush } }",
        "server: { trusted_proxies: '${SECRET}' }",
        "server: { tls: { cert_file: 'x/${SECRET}', key_file: '/${SECRET}' } }",
        "rules: [{ name: a, when: {}, notify: ['${SECRET}'], severity: '${SECRET}' }]",
        "rules: [{ name: '${SECRET}', description: [] }, { name: '${SECRET}', when: {} }]",
        "rules: [{ name: a, when: { state: CRASHED }, group_by: ['${SECRET}'] }]",
        "defaults: { group_by: ['${SECRET}'] }",
        "rules: [{ name: a, when: { exit.signal: '${SECRET}', starts: '${SECRET}' } }]",
        "rules: [{ name: a, when: { id: '/(${SECRET}/', service: '>= ${SECRET}' } }]",
        "receivers: { a: { slack: { webhook_url_file: 'x/${SECRET}' } } }",
        "storage: { url: '${SECRET}' }",
        "receivers: { a: { console: {}, fallback: '${SECRET}' } }",
        "rules: [{ name: a, when: {} }]\ntests: [{ name: t, rules: a, events: [], expect: [{ at: 0s, rule: '${SECRET}', firing: 1 }] }]",
        "server:\n  admin: { user: ops, pass: hush }",
        "receivers: { a: { discord: 'https://x/hush' } }",
        "receivers:\n  a: { telegram: \"123:hush\" }",
        "receivers:\n  a: { telegram: { \"123:hush\" } }",
        "receivers:\n  a: { discord: { https://x/hush } }",
        "receivers:\n  a: { discord: { https://x/hush: 1 } }",
        "receivers: { a: { pagerduty: { hush-hush } } }",
        "receivers:\n  a:\n    pagerduty: hush\n",
        "receivers:\n  a: { ntfy: { url: https://ntfy.sh/topic, auth: hush } }",
        "receivers:\n  a: { teams: 'https://x/?sig=hush' }",
        "receivers:\n  a: { email: { pwd: hush } }",
        "receivers:\n  a: { webhook: { signing: hush } }",
        "server:\n  receive_token:\n  - a\n  - \"hush",
        "server:\n  receive_token: &a # see: there\n\n    \"hush",
        "server:\n  receive_token: |\n    one\n    hush \u{1}\n",
        "server: { listen: '${SECRET}', external_url: '${SECRET}', open: '${SECRET}' }",
    ] {
        let printed = printed(text);
        assert!(!printed.contains("hush"), "{text}\n{printed}");
    }
}

#[test]
fn a_secret_can_be_in_a_file_beside_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hook"), "https://x/y\n").unwrap();
    std::fs::write(folder.path().join("none"), "\n").unwrap();
    let rules = folder.path().join("rules.yaml");
    let text = "receivers:\n  a: { slack: { webhook_url_file: hook } }\n  \
                b: { slack: { webhook_url_file: none } }\n";
    std::fs::write(&rules, text).unwrap();
    let config = load(&rules, &env, &|_| Vec::new()).unwrap();
    let ReceiverKind::Slack { webhook_url, .. } = &config.receivers["a"].kind else { panic!() };
    assert_eq!(webhook_url.expose_secret(), "https://x/y");
    assert!(config.receivers["b"].is_off());
}

#[test]
fn a_file_of_a_secret_holds_one_line_with_or_without_a_mark_of_its_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, "server: { receive_token_file: token }\n").unwrap();
    let loaded = |token: &str| {
        std::fs::write(folder.path().join("token"), token).unwrap();
        let loaded = load(&rules, &env, &|_| Vec::new());
        loaded.map(|config| config.server.receive_tokens[0].expose_secret().to_owned())
    };
    assert_eq!(loaded("\u{feff}a-token\r\n").unwrap(), "a-token");
    for wrong in ["hush\nhush", "hush\0"] {
        let error = loaded(wrong).unwrap_err().to_string();
        assert!(error.contains("\"token\" must hold one line"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_file_of_a_secret_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hook"), "x\n").unwrap();
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, "receivers: { a: { slack: { webhook_url_file: hook } } }\n").unwrap();
    let validate = |_: &Receiver| vec![("webhook_url", "is no URL".to_owned())];
    let error = load(&rules, &env, &validate).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("1:46: what the file of \"webhook_url_file\" holds is no URL"),
        "{error}"
    );
}

#[test]
fn what_the_receivers_own_check_finds_shows_no_variables_value() {
    let text = "receivers:\n  a: { email: { smtp_url: smtp://h, from: '${SECRET}', to: ['${SECRET}'] } }\n";
    let validate = |_: &Receiver| {
        let wrong = "\"hush\" is no mailbox".to_owned();
        vec![("from", wrong.clone()), ("to", wrong)]
    };
    let error = parse("r.yaml", text, &env, &validate).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error.matches("\"${SECRET}\" is no mailbox").count(), 2, "{error}");
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn a_thousand_rules_with_hundreds_of_inhibits_load_in_a_moment() {
    let rules: String =
        (0..1000).map(|index| format!("- {{ name: r{index}, when: {{ state: X }} }}\n")).collect();
    let inhibits: String = (0..400)
        .map(|index| {
            format!("- {{ source: {{ rule: r{index} }}, target: {{ rule: r{} }} }}\n", index + 1)
        })
        .collect();
    let begun = Instant::now();
    config(&format!("rules:\n{rules}inhibit:\n{inhibits}"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_list_of_places_is_one_name_whose_parts_are_receivers_like_any_other() {
    let config = config(
        "receivers:\n  team:\n    - { slack: { webhook_url: '${HOOK}' }, timeout: 2s }\n    \
         - { email: { smtp_url: smtp://h, from: a@x.org, to: b@x.org } }\n    \
         - { slack: { webhook_url: '${NONE:-}' } }\n  ops: { console: {} }\n\
         defaults: { notify: [ops, team] }\n\
         rules:\n  - { name: all, when: { state: CRASHED } }\n  \
         - { name: part, when: { state: CRASHED }, notify: [team/email, team] }\n\
         tests:\n  - name: t\n    rules: all\n    events: [{ at: 0s, id: a, state: CRASHED }]\n    \
         expect: [{ at: 5s, rule: all, receiver: [ops, team], firing: 1 }]\n",
    );
    let parts = ["team/slack", "team/email", "team/slack-2"];
    assert_eq!(config.receivers.parts("team"), parts);
    assert_eq!(config.receivers.parts("team/email"), ["team/email"]);
    assert!(config.receivers.parts("tem").is_empty());
    assert_eq!(config.receivers["team/slack"].timeout, Duration::from_secs(2));
    assert_eq!(config.receivers["team/email"].name, "team/email");
    let tells = |rule| config.rules.get(rule).map(|rule| rule.notify.clone()).unwrap();
    assert_eq!(tells("all"), ["ops", "team/slack", "team/email"], "the third part is off");
    assert_eq!(tells("part"), ["team/email", "team/slack"]);
    assert!(config.tests.run().all(|outcome| outcome.passed()));
    assert_eq!(config.notes, ["receiver \"team/slack-2\" is off: its \"webhook_url\" is empty"]);
}

#[test]
fn a_receiver_may_have_others_to_stand_in_for_it() {
    let config = config(
        "receivers:\n  a: { console: {}, fallback: b }\n  b: { console: {}, fallback: console }\n  \
         c: { console: {}, fallback: off }\n  off: { slack: { webhook_url: '' } }\n\
         rules: [{ name: r, when: {}, notify: a }]",
    );
    let fallback = |name| config.rules.fallback(name).map(|name| &**name);
    assert_eq!([fallback("a"), fallback("b"), fallback("c")], [Some("b"), Some("console"), None]);
    assert!(config.receivers.contains_key(CONSOLE));
    let note = "nobody stands in for receiver \"c\": its fallback \"off\" is off";
    assert!(config.notes.iter().any(|other| other == note), "{:?}", config.notes);
}

#[test]
fn every_kind_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s"), "hush\n").unwrap();
    let text = "receivers:
  a: { slack: { webhook_url: x, blocks: false } }
  b: { slack_api: { bot_token_file: s, channel: C1, url: 'http://127.0.0.1:1' } }
  c: { webhook: { url_file: s, secret_file: [s, s] } }
  d: { webhook: { url: x } }
  e: { pagerduty: { routing_key_file: s } }
  f: { teams: { webhook_url: x } }
  g: { discord: { webhook_url_file: s } }
  h: { telegram: { bot_token: x, chat_id: -100123 } }
  i: { ntfy: { url: x, token: '${EMPTY}' } }
  j: { alertmanager: { url: x } }
  k: { slack_api: { bot_token: x, channel: '${EMPTY}' } }
  l: { telegram: { bot_token: '${EMPTY}', chat_id: 5 } }
";
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, text).unwrap();
    let config = load(&rules, &env, &|_| Vec::new()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        config.notes[1..],
        [
            "receiver \"k\" is off: its \"channel\" is empty",
            "receiver \"l\" is off: its \"bot_token\" is empty",
        ]
    );
    let kind = |name: &str| &config.receivers[name].kind;
    assert!(matches!(kind("a"), ReceiverKind::Slack { blocks: false, .. }));
    let ReceiverKind::Webhook { secrets, .. } = kind("c") else { panic!() };
    assert_eq!(secrets.iter().map(|secret| secret.expose_secret()).collect::<String>(), "hushhush");
    assert!(matches!(kind("d"), ReceiverKind::Webhook { secrets, .. } if secrets.is_empty()));
    assert!(matches!(kind("h"), ReceiverKind::Telegram { chat_id, .. } if chat_id == "-100123"));
    assert!(matches!(kind("i"), ReceiverKind::Ntfy { token: None, .. }));
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| load(path, &env, &|_| Vec::new()).map(|_| ()).unwrap_err().to_string();
    let missing = folder.path().join("none.yaml");
    assert_eq!(
        said(&missing),
        format!("{}: there is no such file; name the rules file", missing.display())
    );
    assert!(said(folder.path()).ends_with(": this is a folder; name the rules file in it"));
    let bytes = folder.path().join("bytes.yaml");
    std::fs::write(&bytes, b"a: 1\nb: \xff\n").unwrap();
    assert!(said(&bytes).contains(":2:4: this is not UTF-8; save the file in that encoding"));
}

#[test]
fn receivers_that_are_off_leave_the_telling_to_the_others() {
    let config = config(
        "receivers:\n  a: { slack: { webhook_url: '${NONE:-}' } }\n  b: { console: }\n  \
         c: { email: { smtp_url: smtp://h, from: x, to: ['', ' '] } }\n\
         rules:\n  - { name: r, when: { state: CRASHD }, notify: [a, b] }\n  \
         - { name: s, when: {}, notify: [a, c] }\n",
    );
    assert_eq!(config.rules.get("r").unwrap().notify, ["b"]);
    assert_eq!(config.rules.get("s").unwrap().notify, [CONSOLE]);
    assert!(config.receivers.contains_key(CONSOLE));
    assert_eq!(
        config.notes,
        [
            "\"CRASHD\" is not a state of Sailabove's; did you mean \"CRASHED\"?",
            "receiver \"a\" is off: its \"webhook_url\" is empty",
            "receiver \"c\" is off: its \"to\" is empty",
            "told on the console: \"s\"",
        ]
    );
}

#[test]
fn a_file_without_rules_is_a_note() {
    for text in ["rules: []", "rules:", "server: {}"] {
        assert_eq!(config(text).notes, ["there are no rules: nothing will be told"]);
    }
}

#[test]
fn what_the_receivers_own_check_finds_stands_at_the_key_that_it_names() {
    let text = "receivers:\n  a:\n    slack: { webhook_url: ftp://x }\n  \
                off: { slack: { webhook_url: '' } }\n";
    let asked = Cell::new(0);
    let validate = |receiver: &Receiver| {
        asked.set(asked.get() + 1);
        assert_eq!(receiver.name, "a");
        vec![("webhook_url", "\"webhook_url\" must be https".to_owned()), ("x", "else".to_owned())]
    };
    let problems = parse("r.yaml", text, &env, &validate).map(|_| ()).unwrap_err().to_string();
    assert_eq!(asked.get(), 1);
    insta::assert_snapshot!(problems, @r#"
    r.yaml:2:3: else
          a:
          ^
    r.yaml:3:27: "webhook_url" must be https
            slack: { webhook_url: ******* }
                                  ^
    "#);
}

#[test]
fn a_fingerprint_is_of_what_is_derived_and_not_of_how_it_is_told() {
    let fingerprint = |rule: &str| {
        let config = config(&format!("rules: [{{ name: r, {rule} }}]"));
        config.rules.get("r").unwrap().fingerprint.clone()
    };
    let first = fingerprint("when: { state: CRASHED, id: a }");
    assert_eq!(
        first,
        fingerprint("when: { id: a, state: CRASHED }, severity: info, group_wait: 1s")
    );
    let number = fingerprint("when: { payload.n: 1 }");
    assert_ne!(number, fingerprint("when: { payload.n: '1' }"));
    for other in [
        "when: { state: CRASHED, id: b }",
        "when: { state: CRASHED, id: a, payload.n: 1 }",
        "when: { state: CRASHED, id: a }, resolve: { state: STOPPED }",
        "when: { state: CRASHED, id: a }, labels: { team: x }",
    ] {
        assert_ne!(first, fingerprint(other), "{other}");
    }
}

#[test]
fn ten_thousand_rules_load_in_a_moment() {
    let rule = |index| {
        format!(
            "  - name: r{index}\n    when: {{ state: CRASHED, application: app-{index} }}\n    notify: [c{index}]\n"
        )
    };
    let receiver = |index| format!("  c{index}: {{ console: {{}} }}\n");
    let receivers: String = (0..10_000).map(receiver).collect();
    let rules: String = (0..10_000).map(rule).collect();
    let begun = Instant::now();
    let config = config(&format!("receivers:\n{receivers}rules:\n{rules}"));
    assert_eq!(config.rules.iter().count(), 10_000);
    // Ten times what an unoptimised build takes; quadratic work would take minutes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_large_file_full_of_mistakes_is_answered_too() {
    let rule = |index| format!("  - {{ name: r{index}, when: {{ sate: CRASHED }} }}\n");
    let rules: String = (0..2000).map(rule).collect();
    let problems = read(&format!("rules:\n{rules}")).map(|_| ()).unwrap_err();
    assert_eq!((problems.listed[99].line, problems.more), (101, 1900));
}

#[test]
fn mute_times_and_inhibition_are_read() {
    let config = config(
        r#"
mute_times:
  nights: { days: [mon, Tue], from: "22:00", to: "07:00", timezone: Europe/Paris }
  rest:
    - { days: sun }
    - { from: "00:00", to: "24:00", timezone: asia/kathmandu }
rules:
  - { name: down, when: { state: X }, severity: critical, per: application }
  - { name: crashed, when: { state: CRASHED }, mute_during: [nights, rest, nights] }
inhibit:
  - { source: { rule: down }, target: { severity: warning }, equal: [application] }
"#,
    );
    use jiff::civil::{Weekday, time};
    let muted = &config.rules.get("crashed").unwrap().mute_during;
    let names: Vec<&str> = muted.iter().map(|mute| &*mute.name).collect();
    assert_eq!(names, ["nights", "rest"]);
    let nights = &muted[0].windows[0];
    assert_eq!(nights.days, [Weekday::Monday, Weekday::Tuesday]);
    assert_eq!(nights.hours, (time(22, 0, 0, 0), time(7, 0, 0, 0)));
    assert_eq!(nights.timezone.iana_name(), Some("Europe/Paris"));
    assert_eq!(muted[1].windows[0].days, [Weekday::Sunday]);
    assert_eq!(muted[1].windows[1].days.len(), 7);

    let label = |labels: &[(&str, &str)]| labels.iter().copied().collect::<crate::rules::Labels>();
    let down = label(&[("rule", "down"), ("application", "shop")]);
    let crashed = |application| label(&[("severity", "warning"), ("application", application)]);
    assert!(config.rules.inhibits(&down, &crashed("shop")));
    assert!(!config.rules.inhibits(&down, &crashed("blog")));
    assert_eq!(config.rules.sources_of("crashed").count(), 1);
    assert_eq!(config.rules.sources_of("down").count(), 0);
}

#[test]
fn what_is_wrong_elsewhere_hides_nothing_of_an_inhibit() {
    let text = "receivers: { a: { slack: { webhook_url: '${NOT_SET}' } } }
inhibit:
  - { source: { rule: dwon }, target: { rule: carshed } }
  - { source: { rule: down }, target: { rule: crashed }, equal: [host] }
rules:
  - { name: down, when: { state: /(/ }, notify: [b], for: soon }
  - { name: crashed, when: { state: CRASHED } }
";
    let printed = printed(text);
    for expected in [
        "1:41: the environment variable NOT_SET",
        "3:15: no rule has alerts like this \"source\"",
        "3:39: no rule has alerts like this \"target\"",
        "4:66: no rule has a label \"host\"",
        "6:34: this regex is wrong",
        "6:50: unknown receiver \"b\"",
        "6:59: \"for\"",
        "7:5: rule \"crashed\" tells nobody",
    ] {
        assert!(printed.contains(expected), "{printed}\nshould have\n{expected}");
    }
    assert_eq!(printed.matches("rules.yaml:").count(), 8, "{printed}");
    // What the labels of a rule are is not known here, and so nothing wrong with asking for others.
    for rule in [
        "{ name: down, when: {}, labels: { team: '${NOT_SET}' } }",
        "{ name: down, when: {}, lables: { team: shop } }",
        "{ name: [down], when: {} }",
        "{ name: down, when: {}, severity: bad, labels: { team: shop } }",
        "7",
    ] {
        let text = format!(
            "inhibit: [{{ source: {{ team: shop, severity: info }}, target: {{ rule: b }} }}]\n\
             defaults: {{ notify: [console] }}\nrules: [{rule}, {{ name: b, when: {{}} }}]\n"
        );
        let printed = self::printed(&text);
        assert_eq!(printed.matches("rules.yaml:").count(), 1, "{printed}");
    }
}

#[test]
fn a_list_of_no_receivers_is_one_mistake() {
    let printed = printed("receivers: { a: [] }\nrules: [{ name: x, when: {}, notify: [a] }]\n");
    assert_eq!(printed.matches("rules.yaml:").count(), 1, "{printed}");
    assert!(printed.contains("receiver \"a\" lists nothing"), "{printed}");
}

#[test]
fn each_bad_mute_time_and_inhibit_gets_one_clear_sentence() {
    let with_rules = |section: &str| {
        format!(
            "{section}\nrules:\n  - {{ name: down, when: {{ state: X }}, severity: critical }}\n  \
             - {{ name: crashed, when: {{ state: CRASHED }}, labels: {{ team: shop }} }}\n"
        )
    };
    for (section, expected) in [
        ("mute_times: [a]", "1:13: \"mute_times\" must be a mapping, and is a list"),
        ("mute_times: { a: }", "1:18: a mute time is empty; write it like"),
        ("mute_times: { a: [] }", "1:18: mute time \"a\" has no hours"),
        ("mute_times: { a: { day: mon } }", "1:20: unknown key \"day\"; did you mean \"days\"?"),
        (
            "mute_times: { a: { days: [mon, tues] } }",
            "1:32: unknown day \"tues\"; did you mean \"tue\"?",
        ),
        (
            "mute_times: { a: { days: [x] } }",
            "1:27: unknown day \"x\"; days are mon, tue, wed, thu, fri, sat, sun",
        ),
        ("mute_times: { a: { days: [] } }", "1:26: \"days\" lists no day"),
        ("mute_times: { a: { from: '22:00' } }", "1:26: \"from\" needs \"to\""),
        ("mute_times: { a: { to: '22:00' } }", "1:24: \"to\" needs \"from\""),
        (
            "mute_times: { a: { from: '7', to: '08:00' } }",
            "1:26: \"from\" must be a time of day in quotes, like \"22:00\"",
        ),
        ("mute_times: { a: { from: '24:00', to: '08:00' } }", "1:26: \"from\" must be a time"),
        (
            "mute_times: { a: { from: '08:00', to: '08:00' } }",
            "1:39: \"from\" and \"to\" are the same time; leave both out to mute the whole day",
        ),
        (
            "mute_times: { a: { timezone: Europe/Pariss } }",
            "1:30: unknown time zone \"Europe/Pariss\"; did you mean \"Europe/Paris\"?",
        ),
        (
            "mute_times: { a: { timezone: paris } }",
            "1:30: unknown time zone \"paris\"; did you mean \"Europe/Paris\"?",
        ),
        ("inhibit: {}", "1:10: \"inhibit\" must be a list, and is a mapping"),
        ("inhibit: [~]", "1:11: an inhibit must be a mapping, and is empty"),
        ("inhibit: [{ source: { rule: down } }]", "1:11: an inhibit needs a \"target\""),
        (
            "inhibit: [{ source: {}, target: { rule: crashed } }]",
            "1:21: \"source\" names no label, and would match every alert",
        ),
        (
            "inhibit: [{ source: { rule: down }, target: { taem: shop } }]",
            "1:47: no rule has a label \"taem\"; did you mean \"team\"?",
        ),
        (
            "inhibit: [{ source: { rule: down }, target: { rule: crashed }, equal: [host] }]",
            "1:72: no rule has a label \"host\"; there are application, id, rule, service, \
             severity, team",
        ),
        (
            "inhibit: [{ source: { rule: dwon }, target: { rule: crashed } }]",
            "1:21: no rule has alerts like this \"source\"; did you mean \"down\"?",
        ),
        (
            "inhibit: [{ source: { rule: down }, target: { id: '>= 3' } }]",
            "1:51: the pattern for \"id\" compares numbers",
        ),
        (
            "inhibit: [{ source: { rule: down }, target: { application: shop } }]",
            "1:11: this inhibit matches itself: an alert of rule \"down\" may be its source and its \
             target",
        ),
        (
            "inhibit:\n  - { source: { rule: down }, target: { rule: crashed } }\n  \
             - { source: { team: shop }, target: { severity: critical } }",
            "3:5: what this holds back may, by what is written above, hold back its source",
        ),
    ] {
        let printed = printed(&with_rules(section));
        assert!(printed.contains(expected), "{section}\n{printed}\nshould have\n{expected}");
        assert_eq!(printed.matches("rules.yaml:").count(), 1, "{printed}");
    }
    let printed = printed(
        "mute_times: { nights: { days: sat } }\n\
         rules: [{ name: a, when: {}, mute_during: [nihgts, weekends] }]",
    );
    assert!(printed.contains("2:44: unknown mute time \"nihgts\"; did you mean \"nights\"?"));
    assert!(printed.contains("2:52: unknown mute time \"weekends\"; name it under \"mute_times\""));
}

#[test]
fn who_may_call_is_read_with_its_secrets_from_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-token-from-a-file\n").unwrap();
    std::fs::write(folder.path().join("password"), "hush\n").unwrap();
    let rules = folder.path().join("rules.yaml");
    let text = "server:\n  receive_token_file: [token]\n  receive_rate: 100/s\n  \
                admin: { user: ops, password_file: password }\n  \
                trusted_proxies: [127.0.0.1, 10.1.2.3/8, '::1', '::ffff:192.0.2.1']\n";
    std::fs::write(&rules, text).unwrap();
    let Config { server, notes, .. } = load(&rules, &env, &|_| Vec::new()).unwrap();
    assert_eq!(notes, ["there are no rules: nothing will be told"]);
    let tokens: Vec<&str> = server.receive_tokens.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(tokens, ["a-token-from-a-file"]);
    assert_eq!(server.receive_rate, Some(Rate::per_second(100)));
    let admin = server.admin.unwrap();
    assert_eq!((admin.user.as_str(), admin.password.is(b"hush")), ("ops", true));
    let proxies: Vec<String> = server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["127.0.0.1/32", "10.0.0.0/8", "::1/128", "192.0.2.1/32"]);
}

#[test]
fn a_token_or_a_password_that_comes_out_empty_is_none_and_said_to_be() {
    let config = config(
        "server:\n  receive_token: ['${NONE:-}', '']\n  \
         admin: { user: ops, password: '${NONE:-}' }\n",
    );
    assert!(config.server.receive_tokens.is_empty() && config.server.admin.is_none());
    assert_eq!(
        config.notes[..2],
        [
            "anyone may post events: \"receive_token\" is empty",
            "anyone may see and do everything: the password of \"admin\" is empty"
        ]
    );
    let short = self::config("server: { receive_token: [abc, '0123456789abcdef'] }");
    assert_eq!(short.server.receive_tokens.len(), 2);
    assert!(short.notes[0].starts_with("a \"receive_token\" can be guessed"), "{:?}", short.notes);
}

#[test]
fn what_is_wrong_with_who_may_call_is_said_at_its_place() {
    for (text, wrong) in [
        (
            "server: { receive_token: a, receive_token_file: b }",
            "rules.yaml:1:49: \"receive_token\" and \"receive_token_file\" are both given; keep one",
        ),
        (
            "server: { admin: { user: a } }",
            "rules.yaml:1:18: \"admin\" needs a \"password\", a \"password_hash\", or a file with one",
        ),
        ("server: { admin: { password: a } }", "rules.yaml:1:18: \"admin\" needs a \"user\""),
        (
            "server: { admin: { user: a, password: a, password_hash: b } }",
            "rules.yaml:1:18: \"password\" and \"password_hash\" are given; keep one",
        ),
        (
            "server: { admin: { user: 'a:b', password: a } }",
            "rules.yaml:1:26: \"user\" must be a name without a colon, like ops",
        ),
        (
            "server: { admin: { user: a, password_hash: b } }",
            "rules.yaml:1:44: \"password_hash\" is no hash by argon2id, which begins with $argon2id$",
        ),
        (
            "server: { trusted_proxies: [proxy.example.com] }",
            "rules.yaml:1:29: a trusted proxy must be an address or a network, like 10.0.0.7",
        ),
        (
            "server: { trusted_proxies: 0.0.0.0/0 }",
            "rules.yaml:1:28: a trusted proxy cannot be anyone",
        ),
        (
            "server: { receive_rate: 5 }",
            "rules.yaml:1:25: \"receive_rate\" is a number; write a rate",
        ),
        ("server: { tls: { cert_file: a } }", "rules.yaml:1:16: \"tls\" needs \"key_file\""),
        (
            "server: { tls: { cert_file: /no/cert, key_file: /no/key } }",
            "rules.yaml:1:29: \"cert_file\" cannot be read: No such file",
        ),
        (
            "server: { tls: { cert_file: /no/cert, key_file: /no/key } }",
            "rules.yaml:1:49: \"key_file\" cannot be read: No such file",
        ),
        ("server: { tls: { cert: a } }", "unknown key \"cert\"; known here: cert_file"),
    ] {
        let printed = printed(text);
        assert!(printed.contains(wrong), "{text}\n{printed}");
    }
}
