//! Every example in the documentation of the rules and of the receivers does what it says.

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

#[test]
fn every_example_of_a_receiver_is_right() {
    let examples = examples(include_str!("../docs/receivers.md"));
    assert!(examples.len() >= 12, "{} examples", examples.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    let url = "https://places.example.com/topic";
    for (heading, example) in examples {
        std::fs::write(&file, &example).unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_tocsin"))
            .arg("check")
            .arg(&file)
            .env_clear()
            .envs(
                ["SLACK_WEBHOOK_URL", "MATTERMOST_URL", "HOOK_URL", "TEAMS_URL", "DISCORD_URL"]
                    .map(|name| (name, url)),
            )
            .envs([("NTFY_URL", url), ("ALERTMANAGER_URL", url), ("NTFY_TOKEN", "tk_1")])
            .envs([("SMTP_URL", "smtps://u:p@mail.example.com"), ("PAGERDUTY_KEY", "R0")])
            .envs([("SLACK_BOT_TOKEN", "xoxb-1"), ("TELEGRAM_TOKEN", "1:abc")])
            .env("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(check.stdout), text(check.stderr));
        assert!(check.status.success(), "{heading}\n{example}\n{stdout}{stderr}");
        assert!(!format!("{stdout}{stderr}").contains("off"), "{heading}\n{stdout}{stderr}");
    }
}

#[test]
fn every_kind_of_receiver_has_its_section_with_all_its_keys() {
    let page = include_str!("../docs/receivers.md");
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../docs/rules.schema.json")).unwrap();
    let kinds = schema["$defs"]["Receiver"]["oneOf"].as_array().unwrap();
    for kind in kinds.iter().map(|kind| kind["required"][0].as_str().unwrap()) {
        let section = page.split("\n## ").find(|section| section.starts_with(&format!("{kind}\n")));
        let section = section.unwrap_or_else(|| panic!("{kind} has no section"));
        let name = &schema["$defs"]["Receiver"]["properties"][kind]["anyOf"][0]["$ref"];
        let name = name.as_str().unwrap().rsplit('/').next().unwrap();
        let keys = schema["$defs"][name]["properties"].as_object();
        for key in keys.into_iter().flatten().map(|(key, _)| key) {
            assert!(section.contains(&format!("`{key}`")), "{kind}: {key}");
        }
    }
}
