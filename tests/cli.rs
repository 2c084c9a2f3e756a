//! The command as a shell sees it: its help, its exit codes, its streams.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn tocsin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
    command.args(args).stdin(Stdio::null());
    for variable in ["COLUMNS", "RUST_LOG", "TOCSIN_LISTEN", "TOCSIN_STORAGE", "TOCSIN_URL"] {
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
        ("help-send", &["send", "--help"]),
        ("help-silences", &["silences", "--help"]),
        ("help-silences-list", &["silences", "list", "--help"]),
        ("help-silences-add", &["silences", "add", "--help"]),
        ("help-silences-end", &["silences", "end", "--help"]),
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
        &["check"],
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
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(!stderr.is_empty(), "{args:?}");
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
