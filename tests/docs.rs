//! Every example in the documentation of the rules does what it says.

use std::process::Command;

/// The rules files in a page, each with the heading above it.
fn examples(page: &str) -> Vec<(String, String)> {
    let (mut examples, mut heading, mut example) = (Vec::new(), String::new(), None);
    for line in page.lines() {
        match (&mut example, line) {
            (None, "```yaml") => example = Some(String::new()),
            (Some(_), "```") => examples.extend(example.take().map(|text| (heading.clone(), text))),
            (Some(text), line) => *text += &format!("{line}\n"),
            (None, line) if line.starts_with('#') => heading = line.to_owned(),
            (None, _) => {}
        }
    }
    examples
}

#[test]
fn every_example_of_the_language_passes_its_own_tests() {
    let examples = examples(include_str!("../docs/rules.md"));
    assert!(examples.len() >= 10, "{} examples", examples.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    for (heading, example) in examples {
        assert!(example.contains("\ntests:\n"), "{heading}: an example without tests");
        std::fs::write(&file, &example).unwrap();
        let test = Command::new(env!("CARGO_BIN_EXE_tocsin"))
            .arg("test")
            .arg(&file)
            .env_remove("SLACK_WEBHOOK_URL")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(test.stdout), text(test.stderr));
        assert!(test.status.success(), "{heading}\n{example}\n{stdout}{stderr}");
    }
}
