//! `inhibit`: which alerts hold others back while they fire.

use std::collections::BTreeSet;

use serde_json::json;

use super::fields::{self, Fields};
use super::report::{Report, did_you_mean, quoted};
use super::yaml::{Key, Node, Place, Value};
use crate::rules::{Inhibit, Matchers, Rule};

/// What reading them needs to know.
pub(super) struct Reader<'a> {
    rules: &'a [Rule],
    /// Every label that alerts of the rules may have.
    labels: BTreeSet<String>,
    /// Whether of every rule it is known what its alerts are like.
    all_rules: bool,
    report: &'a Report,
}

impl<'a> Reader<'a> {
    /// To be called when the rules have been read, from `node`.
    pub(super) fn new(rules: &'a [Rule], node: Option<&Node>, report: &'a Report) -> Reader<'a> {
        let labels = super::rules::labels(rules);
        let all_rules = node.is_none_or(|node| match &node.value {
            Value::List(items) => items.iter().all(|item| has_known_labels(item, report)),
            other => matches!(other, Value::Null),
        });
        Reader { rules, labels, all_rules, report }
    }

    /// The entries of this section, in their order.
    pub(super) fn read(&self, node: Option<&Node>) -> Vec<Inhibit> {
        let items = match node.map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => &[],
            Some((_, Value::List(items))) => items.as_slice(),
            Some((node, other)) => {
                let message = format!("\"inhibit\" must be a list, and is {}", other.kind());
                self.report.wrong(node.place, message);
                return Vec::new();
            }
        };
        let read: Vec<(Place, Inhibit)> = items
            .iter()
            .filter_map(|item| self.inhibit(item).map(|inhibit| (item.place, inhibit)))
            .collect();
        if self.all_rules {
            self.refuse_circles(&read);
        }
        read.into_iter().map(|(_, inhibit)| inhibit).collect()
    }

    fn inhibit(&self, node: &Node) -> Option<Inhibit> {
        if let Value::Null = node.value {
            self.report.wrong(node.place, "an inhibit must be a mapping, and is empty");
            return None;
        }
        let mut fields = Fields::of(node, "an inhibit", self.report)?;
        let source = self.matchers(&mut fields, "source");
        let target = self.matchers(&mut fields, "target");
        let mut equal: Vec<String> = Vec::new();
        for (place, text) in fields.texts("equal").unwrap_or_default() {
            if self.is_label(&text.value) {
                equal.push(text.value.clone());
            } else {
                let hint = text.hint(self.labels.iter().map(String::as_str));
                self.no_such_label(place, &text.written, hint);
            }
        }
        fields.finish(&[]);
        Some(Inhibit { source: source?, target: target?, equal })
    }

    /// A pattern for each label.
    fn matchers(&self, fields: &mut Fields<'_>, key: &'static str) -> Option<Matchers> {
        let Some(node) = fields.get(key) else {
            let message = format!("an inhibit needs a \"{key}\", like {{ rule: crashed }}");
            self.report.wrong(fields.place, message);
            return None;
        };
        let entries = fields::entries(node, &format!("\"{key}\""), self.report)?;
        if entries.is_empty() {
            let message = format!("\"{key}\" names no label, and would match every alert");
            self.report.wrong(node.place, message);
            return None;
        }
        let before = self.report.count();
        for (label, node) in entries {
            if !self.is_label(&label.text) {
                let hint = did_you_mean(&label.text, self.labels.iter().map(String::as_str));
                self.no_such_label(label.place, &label.text, hint);
            } else if let Some(place) = node.odd_number() {
                let message = "labels are text, and this is a number; put quotes around it";
                self.report.wrong(place, message);
            } else if let Err(error) =
                Matchers::try_from(json!({ &*label.text: node.value.to_json() }))
            {
                self.report.wrong(node.place, error.to_string());
            }
        }
        let matchers = Matchers::try_from(node.value.to_json()).ok();
        let matchers = matchers.filter(|_| self.report.count() == before)?;
        if self.all_rules && !self.rules.iter().any(|rule| matchers.may_match(rule)) {
            let named = entries.iter().find(|(label, _)| label.text == "rule");
            let names = self.rules.iter().map(|rule| &*rule.name);
            let hint = named.map(|(_, name)| name.value.hint(names)).unwrap_or_default();
            let message = format!("no rule has alerts like this \"{key}\"{hint}");
            self.report.wrong(node.place, message);
        }
        Some(matchers)
    }

    fn is_label(&self, name: &str) -> bool {
        !self.all_rules || self.labels.contains(name)
    }

    fn no_such_label(&self, place: Place, label: &str, hint: String) {
        let there_are = || {
            let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
            format!("; there are {}", labels.join(", "))
        };
        let hint = if hint.is_empty() { there_are() } else { hint };
        self.report.wrong(place, format!("no rule has a label {}{hint}", quoted(label)));
    }

    /// Alerts that hold each other back would all be held back, and nobody be told: where the
    /// target of one may be the source of another, and so on, that must not lead back.
    fn refuse_circles(&self, inhibits: &[(Place, Inhibit)]) {
        // Most inhibits are about few of the rules: those alone are looked at for each two of them.
        let may = |matchers: &Matchers| {
            self.rules.iter().map(|rule| matchers.may_match(rule)).collect::<Vec<bool>>()
        };
        let sources: Vec<Vec<bool>> = inhibits.iter().map(|(_, to)| may(&to.source)).collect();
        let leads: Vec<Vec<Option<&Rule>>> = inhibits
            .iter()
            .map(|(_, from)| {
                let targets = may(&from.target);
                let targets: Vec<(usize, &Rule)> =
                    self.rules.iter().enumerate().filter(|(index, _)| targets[*index]).collect();
                let rule_to = |(to, may): (&(Place, Inhibit), &Vec<bool>)| {
                    let mut both = targets.iter().filter(|(index, _)| may[*index]);
                    both.find(|(_, rule)| from.may_lead_to(&to.1, rule)).map(|(_, rule)| *rule)
                };
                inhibits.iter().zip(&sources).map(rule_to).collect()
            })
            .collect();
        let mut sound: Vec<usize> = Vec::new();
        for (last, (place, _)) in inhibits.iter().enumerate() {
            // With those before, of which none leads back to itself.
            sound.push(last);
            let mut reached: BTreeSet<usize> = BTreeSet::new();
            let mut next = vec![last];
            while let Some(from) = next.pop() {
                let to = sound.iter().filter(|to| leads[from][**to].is_some());
                next.extend(to.filter(|to| reached.insert(**to)));
            }
            if !reached.contains(&last) {
                continue;
            }
            sound.pop();
            let message = match leads[last][last] {
                Some(rule) => format!(
                    "this inhibit matches itself: an alert of rule {} may be its source and its \
                     target; say in \"target\" what the source is not, as by rule: {{ not: … }}",
                    quoted(&rule.name)
                ),
                None => {
                    "what this holds back may, by what is written above, hold back its source: \
                         nobody would be told of either"
                        .into()
                }
            };
            self.report.wrong(*place, message);
        }
    }
}

/// Whether it is known what the alerts of the rule at `node` are like: what else is wrong with it is
/// nothing to who asks for that.
fn has_known_labels(node: &Node, report: &Report) -> bool {
    let Value::Mapping(entries) = &node.value else { return false };
    let is_known = |(key, value): &(Key, Node)| {
        // A key that is unknown may be one of these.
        let makes_labels = ["name", "severity", "labels", "per"].contains(&key.text.as_str());
        !(report.is_wrong_at(key.place) || makes_labels && report.is_wrong(value))
    };
    entries.iter().any(|(key, _)| key.text == "name") && entries.iter().all(is_known)
}
