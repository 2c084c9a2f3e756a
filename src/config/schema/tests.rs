use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::schema;
use crate::config::{conditions, parse};

/// No key is anything like this.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzz";

/// Each mapping of the schema, and a file with a key in it that nobody knows.
const MAPPINGS: [(&str, &str); 24] = [
    ("", "KEY: 1"),
    ("Server", "server: { KEY: 1 }"),
    ("Admin", "server: { admin: { KEY: 1 } }"),
    ("Tls", "server: { tls: { KEY: 1 } }"),
    ("Storage", "storage: { KEY: 1 }"),
    ("Receiver", "receivers: { r: { KEY: 1 } }"),
    ("Slack", "receivers: { r: { slack: { KEY: 1 } } }"),
    ("SlackApi", "receivers: { r: { slack_api: { KEY: 1 } } }"),
    ("Email", "receivers: { r: { email: { KEY: 1 } } }"),
    ("Webhook", "receivers: { r: [{ webhook: { KEY: 1 } }] }"),
    ("PagerDuty", "receivers: { r: { pagerduty: { KEY: 1 } } }"),
    ("Teams", "receivers: { r: { teams: { KEY: 1 } } }"),
    ("Discord", "receivers: { r: { discord: { KEY: 1 } } }"),
    ("Telegram", "receivers: { r: { telegram: { KEY: 1 } } }"),
    ("Ntfy", "receivers: { r: { ntfy: { KEY: 1 } } }"),
    ("Alertmanager", "receivers: { r: { alertmanager: { KEY: 1 } } }"),
    ("Defaults", "defaults: { KEY: 1 }"),
    ("Window", "mute_times: { m: { KEY: 1 } }"),
    ("Inhibit", "inhibit: [{ KEY: 1 }]"),
    ("Rule", "rules: [{ KEY: 1 }]"),
    ("Test", "tests: [{ KEY: 1 }]"),
    ("Event", "tests: [{ events: [{ KEY: 1 }] }]"),
    ("Exit", "tests: [{ events: [{ exit: { KEY: 1 } }] }]"),
    ("Expectation", "tests: [{ expect: [{ KEY: 1 }] }]"),
];

fn parsed() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// The keys that the schema has for this mapping, the whole file being "".
fn described(schema: &Value, name: &str) -> BTreeSet<String> {
    let mapping = if name.is_empty() { schema } else { &schema["$defs"][name] };
    let properties = mapping["properties"].as_object().into_iter().flatten();
    properties.map(|(key, _)| key.clone()).collect()
}

/// The keys that the reader lists where it meets one that it does not know.
fn known(file: &str) -> BTreeSet<String> {
    let file = file.replace("KEY", UNKNOWN);
    let problems = parse("rules.yaml", &file, &|_| None, &|_| Vec::new()).unwrap_err();
    let mut messages = problems.listed.iter().map(|problem| problem.message.as_str());
    let list = messages.find_map(|message| {
        message.strip_prefix(&format!("unknown key \"{UNKNOWN}\"; known here: "))
    });
    list.unwrap_or_else(|| panic!("{problems}")).split(", ").map(str::to_owned).collect()
}

#[test]
fn the_schema_has_the_keys_that_the_readers_know() {
    let schema = parsed();
    for (name, file) in MAPPINGS {
        assert_eq!(described(&schema, name), known(file), "{name}: described, known");
    }
    assert_eq!(described(&schema, "Spelled"), conditions::SPELLED.map(str::to_owned).into());
    let condition = described(&schema, "Condition");
    for key in conditions::GROUPS {
        assert!(condition.contains(key), "{key}");
    }
}

#[test]
fn every_mapping_of_the_schema_is_held_to_its_reader() {
    let elsewhere = ["Condition", "Console", "Pattern", "Spelled"];
    for (name, _) in parsed()["$defs"].as_object().unwrap() {
        let held = MAPPINGS.iter().any(|(mapping, _)| mapping == name);
        assert!(held || elsewhere.contains(&name.as_str()), "{name} is in no table of this file");
    }
}

#[test]
fn the_checked_in_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.schema.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == format!("{}\n", schema()),
        "write it anew: cargo run -- schema > docs/rules.schema.json"
    );
}

#[test]
fn the_example_is_valid_and_what_is_wrong_is_not() {
    let validator = jsonschema::draft202012::new(&parsed()).unwrap();
    let text = std::fs::read_to_string("rules.example.yaml").unwrap();
    let example: Value = serde_yaml::from_str(&text).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&example).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);

    let rule = |key: &str, value: Value| {
        let mut rule = json!({ "name": "r", "when": { "state": "CRASHED" } });
        rule[key] = value;
        json!({ "rules": [rule] })
    };
    for right in [
        json!({}),
        json!({ "server": null }),
        json!({ "server": { "open": "${OPEN:-false}" } }),
        json!({ "receivers": { "r": [{ "console": {} }, { "ntfy": { "url": "https://n/t" } }] } }),
        json!({ "receivers": { "r": { "telegram": { "bot_token": "t", "chat_id": -5 } } } }),
        json!({ "receivers": { "r": { "webhook": { "url": "u", "secret": ["a", "b"] } } } }),
        json!({ "server": { "receive_token": [5, "a"] } }),
        json!({ "receivers": { "r": { "pagerduty": { "routing_key": 5 }, "fallback": 5 } } }),
        json!({ "receivers": { "r": { "slack_api": { "bot_token": 5, "channel": 5 } } } }),
        json!({ "receivers": { "r": { "ntfy": { "url": "", "token": 5 } } } }),
        json!({ "receivers": { "r": { "email": { "smtp_url": 5, "from": 5, "to": "a" } } } }),
        json!({ "tests": [{ "name": "t", "events": null, "expect": null }] }),
        json!({ "tests": [{ "name": "t", "events": [
            { "at": "0s", "starts": "${N}", "exit": { "status": "1" } },
        ], "expect": [{ "at": "0s", "rule": "r", "firing": "${N}", "resolved": "2" }] }] }),
        json!({ "rules": [{ "name": "r", "on": "${ON:-gap}" }] }),
        rule("severity", json!("${SEVERITY:-info}")),
        rule("late", json!("${LATE}")),
        rule("resolve", json!("${RESOLVE}")),
        rule("count", json!("${COUNT:-3}")),
        rule("count", json!("3")),
        rule("name", json!(5)),
        rule("for", json!("1h30m")),
        rule("for", json!("${HOLD:-5m}")),
        rule("resolve", json!("never")),
        json!({ "rules": [{ "name": "r", "on": "gap" }] }),
        json!({ "rules": [{ "name": "r", "on": "silence", "for": "2h" }] }),
        json!({ "mute_times": { "nights": [{ "from": "22:00", "to": "07:00" }] } }),
        rule("when", json!({ "payload.a.b": null, "all": [{ "starts": ["< 3", { "ge": 10 }] }] })),
    ] {
        assert!(validator.is_valid(&right), "{right}");
    }
    for wrong in [
        json!({ "rule": [] }),
        json!({ "mute_times": { "nights": [] } }),
        json!({ "inhibit": [{ "source": { "rule": "down" } }] }),
        json!({ "receivers": { "r": { "console": {}, "slack": { "webhook_url": "" } } } }),
        json!({ "receivers": { "r": {} } }),
        json!({ "receivers": { "r": [] } }),
        json!({ "receivers": { "r": [{ "console": {} }, { "nobody": {} }] } }),
        json!({ "receivers": { "r": { "telegram": { "bot_token": "t" } } } }),
        json!({ "rules": [{ "name": "r" }] }),
        json!({ "rules": [{ "name": "r", "on": "silence" }] }),
        json!({ "rules": [{ "name": "r", "on": "event" }] }),
        rule("for", json!(5)),
        rule("for", json!("5 minutes")),
        rule("severity", json!("high")),
        rule("count", json!(0)),
        rule("count", json!("few")),
        rule("resolve", json!("always")),
        rule("when", json!({ "stat": "CRASHED" })),
        rule("when", json!({ "starts": { "atleast": 3 } })),
        rule("when", json!({ "any": [] })),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}
