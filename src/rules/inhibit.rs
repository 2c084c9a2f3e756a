//! Inhibition: alerts that hold others back while they fire, so that a parent's fall is told and not
//! that of each child (DESIGN.md §5, `inhibit`).

use super::matchers::Matchers;
use super::pattern::{Found, Pattern};
use super::{Labels, Rule};

/// While an alert like `source` fires, those like `target` are held back that have the same labels
/// `equal`; two that lack one have the same.
#[derive(Clone, Debug)]
pub struct Inhibit {
    /// What the alerts are like that hold others back.
    pub source: Matchers,
    /// What the alerts are like that are held back.
    pub target: Matchers,
    /// The labels that both must have in common.
    pub equal: Vec<String>,
}

impl Inhibit {
    /// Whether an alert with the one labels holds back one with the other.
    #[must_use]
    pub fn holds_back(&self, source: &Labels, target: &Labels) -> bool {
        self.source.matches(source)
            && self.target.matches(target)
            && self.equal.iter().all(|label| source.get(label) == target.get(label))
    }

    /// Whether one alert of this rule may be held back by this, and hold others back by `next`. It
    /// is not missed where it may; where two patterns for one label that differs from alert to
    /// alert are no plain texts, they are taken to have something in common.
    #[must_use]
    pub fn may_lead_to(&self, next: &Inhibit, rule: &Rule) -> bool {
        may_match(&[&self.target, &next.source], rule)
    }
}

impl Matchers {
    /// Whether alerts of this rule may match.
    #[must_use]
    pub fn may_match(&self, rule: &Rule) -> bool {
        may_match(&[self], rule)
    }
}

/// Whether one alert of this rule may match all of these.
fn may_match(all: &[&Matchers], rule: &Rule) -> bool {
    all.iter().flat_map(|matchers| matchers.labels()).all(|label| {
        let patterns: Vec<&Pattern> =
            all.iter().filter_map(|matchers| matchers.pattern(label)).collect();
        let match_all = |found: Found<'_>| patterns.iter().all(|pattern| pattern.matches(found));
        if rule.per.iter().any(|field| field.to_string() == label) {
            let texts = patterns.iter().find_map(|pattern| pattern.texts());
            return texts.is_none_or(|texts| texts.into_iter().any(|t| match_all(Found::Text(t))));
        }
        match_all(match label {
            "rule" => Found::Text(&rule.name),
            "severity" => Found::Text(rule.severity.as_str()),
            _ => rule.labels.get(label).map_or(Found::Missing, |value| Found::Text(value)),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rules::{Condition, Field};

    fn inhibit(source: Value, target: Value, equal: &[&str]) -> Inhibit {
        Inhibit {
            source: serde_json::from_value(source).unwrap(),
            target: serde_json::from_value(target).unwrap(),
            equal: equal.iter().map(|label| label.to_string()).collect(),
        }
    }

    fn rule(name: &str) -> Rule {
        let mut rule = Rule::new(name, Condition::default_resolve());
        rule.labels.insert("team".into(), "shop".into());
        rule.per = vec![Field::Application];
        rule
    }

    fn labels(labels: &[(&str, &str)]) -> Labels {
        labels.iter().copied().collect()
    }

    #[test]
    fn both_must_match_and_have_the_equal_labels_in_common() {
        let inhibit = inhibit(json!({"rule": "down"}), json!({"rule": "crashed"}), &["host"]);
        let down = |host| labels(&[("rule", "down"), ("host", host)]);
        let crashed = |host| labels(&[("rule", "crashed"), ("host", host)]);
        assert!(inhibit.holds_back(&down("a"), &crashed("a")));
        assert!(!inhibit.holds_back(&down("a"), &crashed("b")));
        assert!(!inhibit.holds_back(&crashed("a"), &down("a")));
        assert!(!inhibit.holds_back(&down("a"), &labels(&[("rule", "crashed")])));
        assert!(inhibit.holds_back(&labels(&[("rule", "down")]), &labels(&[("rule", "crashed")])));
    }

    #[test]
    fn what_a_rule_has_for_sure_decides_and_what_differs_may_match() {
        let may = |target: Value| {
            inhibit(json!({"rule": "x"}), target, &[]).target.may_match(&rule("crashed"))
        };
        assert!(may(json!({"rule": "crashed", "severity": "warning"})));
        assert!(may(json!({"team": "/^sh/", "application": "any"})));
        assert!(may(json!({"host": {"exists": false}})));
        assert!(!may(json!({"rule": {"not": "crashed"}})));
        assert!(!may(json!({"severity": "critical"})));
        assert!(!may(json!({"host": "a"})));
    }

    #[test]
    fn one_alert_cannot_have_two_values_of_one_label() {
        let leads = |source: Value, target: Value| {
            let inhibit = inhibit(source, target, &[]);
            inhibit.may_lead_to(&inhibit, &rule("crashed"))
        };
        let of = |application: Value| json!({"rule": "crashed", "application": application});
        assert!(!leads(of(json!("db")), of(json!("web"))));
        assert!(!leads(of(json!(["db", "kv"])), of(json!({"not": ["kv", "db"]}))));
        assert!(!leads(of(json!("db")), of(json!("/^web/"))));
        assert!(leads(of(json!(["db", "web"])), of(json!("web"))));
        assert!(leads(of(json!("/b/")), of(json!("/w/"))));
        assert!(leads(json!({"application": "db"}), json!({"rule": "crashed"})));
    }
}
