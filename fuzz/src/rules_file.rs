//! The rules file (DESIGN.md §5).

use tocsin::config;
use tocsin::deliver::receivers;

use super::{assert_is_a_sentence, without_effort};

/// What the environment has to keep to itself.
const SECRET: &str = "s3cr3t-0f-the-environment";

/// Reads a rules file: either it holds together, or all that is wrong is said, each in a sentence
/// and at a place inside the file. What variables stand for is never shown.
pub fn rules_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let variable = |name: &str| match name {
        "SECRET" => Some(SECRET.to_owned()),
        "URL" => Some(format!("https://user:{SECRET}@example.com/{SECRET}")),
        "SMTP_URL" => Some(format!("smtps://user:{SECRET}@example.com")),
        _ => None,
    };
    // In a folder that is not there, so that no file is read.
    let read = || config::parse("nowhere/rules.yaml", text, &variable, &receivers::validate);
    let problems = match without_effort(read) {
        Ok(config) => {
            assert!(!format!("{:?}", config.receivers).contains(SECRET), "{:?}", config.receivers);
            for rule in config.rules.iter() {
                assert!(!rule.notify.is_empty(), "{} tells nobody", rule.name);
                let known = |name: &String| config.rules.has_receiver(name);
                assert!(rule.notify.iter().all(known), "{:?} are not all known", rule.notify);
            }
            config.notes.iter().for_each(|note| assert_is_a_sentence(note));
            // What a rule is called is told to everyone, whatever it is made of.
            let is_in_a_name = config.rules.iter().any(|rule| rule.name.contains(SECRET));
            let is_shown = config.notes.join("\n").contains(SECRET);
            return assert!(!is_shown || is_in_a_name, "{:?}", config.notes);
        }
        Err(problems) => problems,
    };
    assert!(!problems.listed.is_empty(), "it is wrong, and nobody says why");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &problems.listed {
        assert_is_a_sentence(&problem.message);
        assert!((1..=lines.len()).contains(&problem.line), "there is no such line: {problem:?}");
        let columns = lines[problem.line - 1].chars().count() + 1;
        assert!((1..=columns).contains(&problem.column), "no such column: {problem:?}");
    }
    let shown = problems.to_string();
    assert!(!shown.contains(SECRET), "{shown}");
    let moves_the_cursor = |char: char| char.is_control() && !"\n\t".contains(char);
    assert!(!shown.contains(moves_the_cursor), "{shown:?}");
}
