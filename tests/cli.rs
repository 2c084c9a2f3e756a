//! The command as a shell sees it: its help, its exit codes, its streams.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn tocsin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
    command.args(args).stdin(Stdio::null());
    for variable in [
        "COLUMNS",
        "RUST_LOG",
        "TOCSIN_LISTEN",
        "TOCSIN_PASSWORD",
        "TOCSIN_STORAGE",
        "TOCSIN_URL",
        "TOCSIN_USER",
    ] {
        command.env_remove(variable);
    }
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tocsin(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A rules file of its own folder, which lives as long as the folder.
fn rules(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

const GOOD: &str = "rules: [{ name: crashed, when: { state: CRASHED } }]\n";

#[test]
fn the_help_is_as_pinned() {
    for (name, args) in [
        ("help", &["--help"][..]),
        ("help-serve", &["serve", "--help"]),
        ("help-check", &["check", "--help"]),
        ("help-test", &["test", "--help"]),
        ("help-send", &["send", "--help"]),
        ("help-silences", &["silences", "--help"]),
        ("help-silences-list", &["silences", "list", "--help"]),
        ("help-silences-add", &["silences", "add", "--help"]),
        ("help-silences-end", &["silences", "end", "--help"]),
        ("help-deliveries", &["deliveries", "--help"]),
        ("help-deliveries-list", &["deliveries", "list", "--help"]),
        ("help-deliveries-show", &["deliveries", "show", "--help"]),
        ("help-deliveries-retry", &["deliveries", "retry", "--help"]),
        ("help-deliveries-discard", &["deliveries", "discard", "--help"]),
        ("help-backup", &["backup", "--help"]),
        ("help-restore", &["restore", "--help"]),
        ("help-health", &["health", "--help"]),
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{name}");
        insta::assert_snapshot!(name, stdout);
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &[][..],
        &["explain"],
        &["events", "--url", "http://127.0.0.1:1", "--json"],
        &["tell"],
        &["check"],
        &["test"],
        &["test", "rules.yaml", "--jsn"],
        &["serve", "a", "b"],
        &["serve", "--stop-timeout", "soon"],
        &["send", "rules.yaml"],
        &["silences"],
        &["silences", "add", "--for", "2h"],
        &["silences", "add", "--match", "rule=crashed"],
        &["silences", "add", "--match", "crashed", "--for", "2h"],
        &["silences", "add", "--match", "a=b", "--for", "2h", "--until", "2030-01-01T00:00:00Z"],
        &["silences", "add", "--match", "a=b", "--match", "a=c", "--for", "2h"],
        &["silences", "end", "x"],
        &["silences", "list", "--url", "localhost:8080"],
        &["health", "--url", "localhost:8080"],
        &["health", "--url", "http://127.0.0.1:1/#x"],
        &["health", "--url", "http://127.0.0.1:1/?x"],
        &["deliveries"],
        &["deliveries", "list", "--status", "lost"],
        &["deliveries", "show"],
        &["deliveries", "retry"],
        &["deliveries", "retry", "a", "--receiver", "ops"],
        &["deliveries", "discard"],
        &["backup"],
        &["backup", "a", "b"],
        &["backup", "a", "--storage", "mysql://db"],
        &["restore"],
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(!stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    for (args, words) in [
        (&["deliveries", "retry"][..], "<ID|--receiver <NAME>>"),
        (&["silences", "end", "abc"], "it is no id of a silence, which is a number"),
        (&["alerts"], "this command is not supported yet"),
        (&["events", "--url", "http://x", "y"], "this command is not supported yet"),
        (&["health", "--url", "x"], "--url (or TOCSIN_URL) is no address; write it like http://"),
    ] {
        let (_, _, stderr) = run(args);
        assert!(stderr.contains(words), "{words:?} is not in {stderr}");
    }
}

#[test]
fn an_address_that_is_none_is_not_shown_since_it_may_have_a_password() {
    for url in ["htps://ops:hush@host", "http://ops:hush@host:port", "http://ops:hush@h/?x"] {
        let (code, _, stderr) = run(&["silences", "list", "--url", url]);
        assert_eq!(code, Some(2));
        let by_variable = tocsin(&["health"]).env("TOCSIN_URL", url).output().unwrap();
        let stderr = stderr + &String::from_utf8(by_variable.stderr).unwrap();
        assert_eq!(stderr.matches("is no address; write it like").count(), 2, "{stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
    }
}

#[test]
fn a_good_file_is_summed_up_in_a_line() {
    let (_folder, path) = rules(GOOD);
    let path = path.to_str().unwrap();
    let (code, stdout, _) = run(&["check", path]);
    assert_eq!(code, Some(0));
    assert_eq!(stdout, format!("{path}: 1 rule, 1 receiver\n"));
}

#[test]
fn a_bad_file_ends_with_1_and_its_problems_are_counted() {
    let (_folder, path) = rules("rules: [{ name: crashed, wen: { state: CRASHED } }]\n");
    for command in ["check", "serve"] {
        let (code, stdout, stderr) = run(&[command, path.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{command}");
        let last = stderr.lines().last().unwrap();
        assert!(last.ends_with("problem") || last.ends_with("problems"), "{command}: {stderr}");
    }
}

#[test]
fn a_file_that_nobody_may_be_served_with_is_a_problem() {
    let (_folder, path) = rules("server: { listen: '0.0.0.0:8080' }\nrules: []\n");
    let (code, _, stderr) = run(&["check", path.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("refusing to listen on 0.0.0.0:8080"), "{stderr}");
    let (_folder, path) = rules("server: { listen: '0.0.0.0:8080', open: true }\nrules: []\n");
    let (code, _, stderr) = run(&["check", path.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("note: everyone who reaches 0.0.0.0:8080 may call"), "{stderr}");
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let (code, stdout, stderr) = run(&["check", "/nowhere/rules.yaml"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with("/nowhere/rules.yaml: "), "{stderr}");
    assert!(stderr.ends_with("\n1 problem\n"), "{stderr}");
}

#[test]
fn a_receiver_that_is_not_there_is_wrong_usage() {
    let (_folder, path) = rules(GOOD);
    let (code, stdout, stderr) = run(&["send", path.to_str().unwrap(), "--receiver", "opps"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("has no receiver \"opps\"; it has console"), "{stderr}");
    let (_folder, path) = rules("rules: []\n");
    let (_, _, stderr) = run(&["send", path.to_str().unwrap(), "--receiver", "ops"]);
    assert!(stderr.contains("has no receiver \"ops\"; it has none"), "{stderr}");
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let (_folder, path) = rules(GOOD);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        tocsin(&["check", path.to_str().unwrap()]).stdout(writer).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A rule, and a test of it that passes with a `group_wait` of five seconds.
const TESTED: &str = "
defaults: { group_wait: 5s }
rules: [{ name: crashed, when: { state: CRASHED } }]
tests:
  - name: a crash is told once, and its end
    events:
      - { at: 0s, id: c1, application: shop, service: web, state: CRASHED }
      - { at: 1m, id: c1, state: RUNNING }
    expect:
      - { at: 5s, rule: crashed, firing: 1 }
      - { at: 5m5s, rule: crashed, resolved: 1 }
  - name: a start is not told
    events: [{ at: 0s, id: c1, state: STARTING }]
    expect: []
";

#[test]
fn tests_that_pass_are_listed_and_counted() {
    let (_folder, path) = rules(TESTED);
    let path = path.to_str().unwrap();
    let (code, stdout, stderr) = run(&["test", path]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(stdout.replace(path, "rules.yaml"), @r"
    ok      a crash is told once, and its end
    ok      a start is not told
    rules.yaml: 2 tests, 0 failed
    ");
    assert_eq!(run(&["check", path]).1, format!("{path}: 1 rule, 1 receiver, 2 tests\n"));
}

#[test]
fn a_test_that_fails_shows_what_was_expected_beside_what_was_told() {
    let text =
        TESTED.replace("group_wait: 5s", "group_wait: 10s").replace("firing: 1", "firing: 3");
    let (_folder, path) = rules(&text);
    let path = path.to_str().unwrap();
    let (code, stdout, stderr) = run(&["test", path]);
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    insta::assert_snapshot!(stdout.replace(path, "rules.yaml"), @r"
    FAILED  a crash is told once, and its end
         at     rule     receiver  expected    told
      -  5s     crashed  console   3 firing
      +  10s    crashed  console               1 firing
           of application=shop, service=web
      -  5m5s   crashed  console   1 resolved
      +  5m10s  crashed  console               1 resolved
           of application=shop, service=web
    ok      a start is not told
    rules.yaml: 2 tests, 1 failed
    ");
    let (code, stdout, _) = run(&["test", path, "--json"]);
    assert_eq!(code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
    assert_eq!(
        json["tests"][0]["lines"][0],
        serde_json::json!({
            "at": "5s", "rule": "crashed", "receiver": "console", "agrees": false,
            "expected": { "firing": 3, "resolved": 0, "labels": null }, "told": null,
        })
    );
}

#[test]
fn the_schema_that_is_printed_is_the_one_in_the_docs() {
    let (code, stdout, stderr) = run(&["schema"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.schema.json");
    assert!(stdout == std::fs::read_to_string(path).unwrap());
}

#[test]
fn a_file_without_tests_says_so() {
    let (_folder, path) = rules(GOOD);
    let path = path.to_str().unwrap();
    let (code, stdout, stderr) = run(&["test", path]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, format!("{path}: there are no tests; write some under \"tests\"\n"));
}

#[test]
fn tests_that_cannot_be_read_are_problems_of_the_file() {
    let (_folder, path) = rules(&TESTED.replace("rule: crashed", "rule: crashd"));
    let path = path.to_str().unwrap();
    let checked = run(&["check", path]);
    assert_eq!((checked.0, checked.1.as_str()), (Some(1), ""));
    assert!(
        checked.2.contains("unknown rule \"crashd\"; did you mean \"crashed\"?"),
        "{checked:?}"
    );
    assert!(checked.2.ends_with("\n2 problems\n"), "{checked:?}");
    assert_eq!(run(&["test", path]), checked);
}

#[test]
fn the_examples_own_tests_pass_and_name_each_of_its_rules() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/rules.example.yaml");
    let (code, stdout, _) = run(&["test", path]);
    assert_eq!(code, Some(0), "{stdout}");
    let text = std::fs::read_to_string(path).unwrap();
    let (rules, tests) = text.split_once("\ntests:\n").unwrap();
    for name in rules.lines().filter_map(|line| line.strip_prefix("  - name: ")) {
        assert!(tests.contains(&format!("rule: {name},")), "rule {name} has no test");
    }
}
