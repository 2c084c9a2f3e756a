//! Conditions and their patterns, asked of an event (DESIGN.md §5).

use tocsin::config;
use tocsin::event;
use tocsin::rules::condition::Clause;
use tocsin::rules::{Condition, Rule};

use super::{SEPARATOR, without_effort};

/// Asks conditions of an event. The input is a condition for each rule, and then a payload, with a
/// line of `---` between them. The index finds the rules that are found by asking each; what holds
/// does not hold negated; and none of it takes long.
pub fn patterns(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut parts: Vec<&str> = text.split(SEPARATOR).collect();
    let payload = parts.pop().unwrap_or_default();
    let Ok(event) = event::decode(payload.as_bytes()) else { return };
    let mut file = "rules:\n".to_owned();
    for (number, condition) in parts.iter().enumerate() {
        let condition = condition.replace('\n', "\n      ");
        file += &format!("  - name: rule {number}\n    when:\n      {condition}\n");
    }
    let Ok(config) = config::parse("rules.yaml", &file, &|_| None, &|_| Vec::new()) else { return };

    let name = |rule: &Rule| rule.name.to_string();
    let matching = || config.rules.matching(&event).map(|rule| name(rule)).collect();
    let found: Vec<String> = without_effort(matching);
    let asked = config.rules.iter().filter(|rule| rule.when.matches(&event));
    assert_eq!(found, asked.map(|rule| name(rule)).collect::<Vec<_>>());
    for rule in config.rules.iter() {
        let negated = Condition::new(Clause::Not(Box::new(rule.when.clause().clone())));
        assert_ne!(negated.matches(&event), rule.when.matches(&event), "{}", rule.name);
    }
}
