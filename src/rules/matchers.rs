//! What an alert's labels are held against, as silences and inhibition have it: a pattern for each label.
//!
//! Patterns are written as in `when` (DESIGN.md §5), and labels are text, so that whatever asks for
//! a number or a truth value is an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Labels;
use super::pattern::{self, Found, Pattern};

/// Patterns by label. They hold if all of them do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Matchers {
    patterns: BTreeMap<String, Pattern>,
    written: Value,
}

/// Why something is no [`Matchers`], in words for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongMatchers(String);

const SPELLED: [&str; 4] = ["not", "exists", "eq", "regex"];

impl Matchers {
    /// Whether all patterns match. A label that is missing matches only `exists: false` and `not`.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.patterns.iter().all(|(label, pattern)| {
            pattern.matches(labels.get(label).map_or(Found::Missing, Found::Text))
        })
    }

    /// The labels that there is a pattern for.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.patterns.keys().map(String::as_str)
    }

    /// The pattern for this label, if there is one.
    pub(super) fn pattern(&self, label: &str) -> Option<&Pattern> {
        self.patterns.get(label)
    }
}

/// Equal if they are written so.
impl PartialEq for Matchers {
    fn eq(&self, other: &Matchers) -> bool {
        self.written == other.written
    }
}

impl From<Matchers> for Value {
    fn from(matchers: Matchers) -> Value {
        matchers.written
    }
}

impl TryFrom<Value> for Matchers {
    type Error = WrongMatchers;

    fn try_from(written: Value) -> Result<Matchers, WrongMatchers> {
        let Value::Object(entries) = &written else {
            let kind = kind(&written);
            return wrong(format!(
                "matchers must map labels to patterns, like {{\"rule\": \"crashed\"}}, \
                 and are {kind}"
            ));
        };
        if entries.is_empty() {
            return wrong("matchers must name at least one label".into());
        }
        let of_label = |(label, written): (&String, &Value)| match of(written) {
            Ok(pattern) => Ok((label.clone(), pattern)),
            Err(WrongMatchers(message)) => wrong(format!("the pattern for {label:?} {message}")),
        };
        let patterns = entries.iter().map(of_label).collect::<Result<_, _>>()?;
        Ok(Matchers { patterns, written })
    }
}

/// The pattern that this writes. Errors go on after "the pattern for …".
fn of(written: &Value) -> Result<Pattern, WrongMatchers> {
    match written {
        Value::Array(items) if items.is_empty() => {
            wrong("is an empty list, which matches nothing".into())
        }
        Value::Array(items) => items.iter().map(of).collect::<Result<_, _>>().map(Pattern::Any),
        Value::Object(entries) if entries.is_empty() => {
            wrong(format!("is empty; give one of {}", SPELLED.join(", ")))
        }
        Value::Object(entries) => {
            let spelled = entries.iter().map(|(key, written)| spelled(key, written));
            spelled.collect::<Result<_, _>>().map(Pattern::All)
        }
        Value::String(text) => match pattern::slashed(text) {
            Some((source, flags)) => regex(source, flags),
            None if text.starts_with(['<', '>']) || text.starts_with("!=") => wrong(format!(
                "compares numbers ({text:?}), and labels are text; write {{\"not\": …}} for what \
                 it is not, or {{\"eq\": …}} for a text that begins so"
            )),
            None => Ok(Pattern::Text(text.clone())),
        },
        _ => literal(written),
    }
}

fn spelled(key: &str, written: &Value) -> Result<Pattern, WrongMatchers> {
    match (key, written) {
        ("not", _) => of(written).map(|pattern| Pattern::Not(Box::new(pattern))),
        ("eq", _) => literal(written),
        ("exists", Value::Bool(wanted)) => Ok(Pattern::Exists(*wanted)),
        ("exists", _) => wrong("has an \"exists\" that is neither true nor false".into()),
        ("regex", Value::String(text)) => {
            let (source, flags) = pattern::slashed(text).unwrap_or((text, ""));
            regex(source, flags)
        }
        ("regex", _) => wrong("has a \"regex\" that is no text".into()),
        _ => {
            let known = SPELLED.join(", ");
            wrong(format!("has {key:?}, which is not known for a label; known are {known}"))
        }
    }
}

fn literal(written: &Value) -> Result<Pattern, WrongMatchers> {
    match written {
        Value::String(text) => Ok(Pattern::Text(text.clone())),
        // Whole numbers alone read the same in quotes: 1.10 would come out as 1.1.
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            Ok(Pattern::Text(number.to_string()))
        }
        Value::Number(_) | Value::Bool(_) => {
            wrong(format!("is {}, and labels are text; put quotes around it", kind(written)))
        }
        Value::Null => wrong("is null, which no label ever is; write {\"exists\": false}".into()),
        Value::Array(_) | Value::Object(_) => {
            wrong(format!("has an \"eq\" that is {}, and labels are text", kind(written)))
        }
    }
}

fn regex(source: &str, flags: &str) -> Result<Pattern, WrongMatchers> {
    pattern::regex(source, flags)
        .map_err(|message| WrongMatchers(format!("cannot be read: {message}")))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn wrong<T>(message: String) -> Result<T, WrongMatchers> {
    Err(WrongMatchers(message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels() -> Labels {
        let labels = [("rule", "crashed"), ("application", "prod-shop"), ("id", "7")];
        labels
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>()
            .into()
    }

    fn matches(written: Value) -> bool {
        Matchers::try_from(written).unwrap().matches(&labels())
    }

    fn error(written: Value) -> String {
        Matchers::try_from(written).unwrap_err().to_string()
    }

    #[test]
    fn all_labels_must_match() {
        assert!(matches(json!({"rule": "crashed", "application": "/^prod-/"})));
        assert!(!matches(json!({"rule": "crashed", "application": "/^test-/"})));
    }

    #[test]
    fn patterns_are_those_of_when() {
        for (pattern, expected) in [
            (json!("prod-shop"), true),
            (json!("PROD-shop"), false),
            (json!("/SHOP/i"), true),
            (json!(["blog", "/shop$/"]), true),
            (json!({"not": "blog"}), true),
            (json!({"not": ["blog", "/shop/"]}), false),
            (json!({"regex": "^prod", "not": "prod-blog"}), true),
            (json!({"eq": "/shop/"}), false),
            (json!({"exists": true}), true),
        ] {
            assert_eq!(matches(json!({"application": pattern})), expected, "{pattern}");
        }
        assert!(matches(json!({"id": 7})), "a whole number reads as its text");
    }

    #[test]
    fn a_missing_label_matches_only_its_absence_and_negations() {
        assert!(matches(json!({"service": {"exists": false}})));
        assert!(matches(json!({"service": {"not": "web"}})));
        assert!(!matches(json!({"service": "/./"})));
        assert!(!matches(json!({"service": {"exists": true}})));
    }

    #[test]
    fn they_are_stored_as_they_were_written() {
        let written = json!({"application": ["a", "/b/i"], "service": {"exists": false}});
        let matchers: Matchers = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&matchers).unwrap(), written);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_label() {
        insta::assert_snapshot!(error(json!([])), @r#"matchers must map labels to patterns, like {"rule": "crashed"}, and are a list"#);
        insta::assert_snapshot!(error(json!({})), @"matchers must name at least one label");
        insta::assert_snapshot!(error(json!({"id": "/(/"})), @r#"the pattern for "id" cannot be read: this regex is wrong: unclosed group"#);
        insta::assert_snapshot!(error(json!({"id": ["a", ">= 3"]})), @r#"the pattern for "id" compares numbers (">= 3"), and labels are text; write {"not": …} for what it is not, or {"eq": …} for a text that begins so"#);
        insta::assert_snapshot!(error(json!({"id": {"ge": 3}})), @r#"the pattern for "id" has "ge", which is not known for a label; known are not, exists, eq, regex"#);
        insta::assert_snapshot!(error(json!({"id": null})), @r#"the pattern for "id" is null, which no label ever is; write {"exists": false}"#);
        insta::assert_snapshot!(error(json!({"id": 1.5})), @r#"the pattern for "id" is a number, and labels are text; put quotes around it"#);
    }
}
