//! `when` and `resolve` → a [`Condition`] (DESIGN.md §5, "Fields" and "Patterns").

use super::report::{Report, did_you_mean, quoted};
use super::yaml::{Key, Node, Numeral, Text, Value};
use crate::event::{Signal, State};
use crate::rules::Condition;
use crate::rules::condition::{Clause, Field, Kind};
use crate::rules::pattern::{self, Comparison, Number, Pattern, slashed};

const SIGNS: [(&str, Comparison); 5] = [
    (">=", Comparison::Ge),
    ("<=", Comparison::Le),
    ("!=", Comparison::Ne),
    (">", Comparison::Gt),
    ("<", Comparison::Lt),
];
const COMPARISONS: [(&str, Comparison); 5] = [
    ("ge", Comparison::Ge),
    ("gt", Comparison::Gt),
    ("le", Comparison::Le),
    ("lt", Comparison::Lt),
    ("ne", Comparison::Ne),
];
pub(super) const SPELLED: [&str; 9] =
    ["not", "exists", "eq", "regex", "ge", "gt", "le", "lt", "ne"];
pub(super) const GROUPS: [&str; 3] = ["all", "any", "not"];

/// The condition of a mapping, which errors call `what`; `None` if something in it is wrong.
pub(super) fn condition(node: &Node, what: &str, report: &Report) -> Option<Condition> {
    let before = report.count();
    let clause = clause(node, what, report)?;
    (report.count() == before).then(|| Condition::new(clause))
}

fn clause(node: &Node, what: &str, report: &Report) -> Option<Clause> {
    let Value::Mapping(entries) = &node.value else {
        let kind = node.value.kind();
        let message = format!("{what} must be a mapping like {{ state: CRASHED }}, and is {kind}");
        report.wrong(node.place, message);
        return None;
    };
    let clauses: Vec<Clause> =
        entries.iter().filter_map(|(key, node)| entry(key, node, report)).collect();
    match <[Clause; 1]>::try_from(clauses) {
        Ok([only]) => Some(only),
        Err(clauses) => Some(Clause::All(clauses)),
    }
}

fn entry(key: &Key, node: &Node, report: &Report) -> Option<Clause> {
    match key.text.as_str() {
        "all" => clauses(node, "all", report).map(Clause::All),
        "any" => clauses(node, "any", report).map(Clause::Any),
        "not" => clause(node, "\"not\"", report).map(|clause| Clause::Not(Box::new(clause))),
        name => {
            let field = field(name, key, report)?;
            let subject = Subject { name, kind: field.kind(), report };
            Some(Clause::Field(field, subject.pattern(node)?))
        }
    }
}

fn clauses(node: &Node, key: &str, report: &Report) -> Option<Vec<Clause>> {
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            let what = format!("each of \"{key}\"");
            Some(items.iter().filter_map(|item| clause(item, &what, report)).collect())
        }
        Value::List(_) => {
            report.wrong(node.place, format!("\"{key}\" lists no condition"));
            None
        }
        other => {
            let kind = other.kind();
            report.wrong(node.place, format!("\"{key}\" must be a list, and is {kind}"));
            None
        }
    }
}

fn field(name: &str, key: &Key, report: &Report) -> Option<Field> {
    let wrong = match Field::named(name) {
        Some(Field::Payload(path)) if path == ["counters", "post_attempts"] => {
            "\"payload.counters.post_attempts\" changes from one retry of an event to the next, \
             and cannot be matched"
                .to_owned()
        }
        Some(field) => return Some(field),
        None if name == "payload" || name.starts_with("payload.") => {
            format!("{} is no place in the payload; write payload.a.b", quoted(name))
        }
        None => {
            let hint = match did_you_mean(name, Field::names().chain(GROUPS)) {
                hint if hint.is_empty() => {
                    "; other places in the payload are written payload.a.b".to_owned()
                }
                hint => hint,
            };
            format!("unknown field {}{hint}", quoted(name))
        }
    };
    report.wrong(key.place, wrong);
    None
}

/// The field that patterns are read for.
struct Subject<'a> {
    name: &'a str,
    kind: Kind,
    report: &'a Report,
}

impl Subject<'_> {
    fn pattern(&self, node: &Node) -> Option<Pattern> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.wrong(node, "an empty list matches nothing".into())
            }
            Value::List(items) => {
                Some(Pattern::Any(items.iter().filter_map(|item| self.pattern(item)).collect()))
            }
            Value::Mapping(entries) => self.spelled_out(node, entries),
            Value::Text(text) => self.text(node, text),
            _ => self.literal(node),
        }
    }

    fn spelled_out(&self, node: &Node, entries: &[(Key, Node)]) -> Option<Pattern> {
        if entries.is_empty() {
            return self
                .wrong(node, format!("an empty pattern; give one of {}", SPELLED.join(", ")));
        }
        let patterns: Vec<Pattern> =
            entries.iter().filter_map(|(key, node)| self.spelled(key, node)).collect();
        match <[Pattern; 1]>::try_from(patterns) {
            Ok([only]) => Some(only),
            Err(patterns) => Some(Pattern::All(patterns)),
        }
    }

    fn spelled(&self, key: &Key, node: &Node) -> Option<Pattern> {
        match key.text.as_str() {
            "not" => self.pattern(node).map(|pattern| Pattern::Not(Box::new(pattern))),
            "eq" => self.literal(node),
            "exists" => match &node.value {
                Value::Bool(wanted) => Some(Pattern::Exists(*wanted)),
                _ => self.wrong(node, "\"exists\" must be true or false".into()),
            },
            "regex" => match &node.value {
                Value::Text(text) => {
                    let (source, flags) = slashed(&text.value).unwrap_or((&text.value, ""));
                    self.regex(node, source, flags)
                }
                other => {
                    let kind = other.kind();
                    self.wrong(node, format!("\"regex\" must be text, and is {kind}"))
                }
            },
            name => match COMPARISONS.iter().find(|(known, _)| *known == name) {
                Some((_, comparison)) => {
                    let number = match &node.value {
                        Value::Number(numeral) => Some(numeral.number),
                        Value::Text(text) => Number::parse(&text.value),
                        _ => None,
                    };
                    self.compare(node, name, *comparison, number)
                }
                None => {
                    let hint = match did_you_mean(name, SPELLED) {
                        hint if hint.is_empty() => format!("; known are {}", SPELLED.join(", ")),
                        hint => hint,
                    };
                    self.report.wrong(key.place, format!("unknown pattern {}{hint}", quoted(name)));
                    None
                }
            },
        }
    }

    /// A string, which may be a regex or a comparison in short.
    fn text(&self, node: &Node, text: &Text) -> Option<Pattern> {
        let value = &text.value;
        if let Some((source, flags)) = slashed(value) {
            return self.regex(node, source, flags);
        }
        match SIGNS.iter().find(|(sign, _)| value.starts_with(sign)) {
            Some((sign, comparison)) => {
                self.compare(node, sign, *comparison, Number::parse(&value[sign.len()..]))
            }
            None => self.literal(node),
        }
    }

    fn compare(
        &self,
        node: &Node,
        sign: &str,
        comparison: Comparison,
        number: Option<Number>,
    ) -> Option<Pattern> {
        if !matches!(self.kind, Kind::Number | Kind::Signal | Kind::Any) {
            let name = self.name;
            let message = format!(
                "\"{name}\" is no number to compare; write {{ not: … }} for what it is not, \
                 or {{ eq: … }} for a text that begins so"
            );
            return self.wrong(node, message);
        }
        match number {
            Some(number) => Some(Pattern::Compare(comparison, number)),
            None => {
                let message = format!(
                    "\"{sign}\" compares numbers, and what follows is none; \
                     for what it is not, write {{ not: … }}"
                );
                self.wrong(node, message)
            }
        }
    }

    fn regex(&self, node: &Node, source: &str, flags: &str) -> Option<Pattern> {
        if !matches!(self.kind, Kind::Text | Kind::State | Kind::Signal | Kind::Any) {
            return self.wrong(
                node,
                format!("\"{}\" is no text that a regex could be found in", self.name),
            );
        }
        // The names of states and signals compare without regard to case.
        let any_case = flags.is_empty() && matches!(self.kind, Kind::State | Kind::Signal);
        match pattern::regex(source, if any_case { "i" } else { flags }) {
            Ok(regex) => Some(regex),
            Err(message) => self.wrong(node, message),
        }
    }

    /// A value that the field is to be equal to.
    fn literal(&self, node: &Node) -> Option<Pattern> {
        match (self.kind, &node.value) {
            (Kind::Any, Value::Null) => Some(Pattern::Null),
            (Kind::Any, Value::Bool(value)) => Some(Pattern::Bool(*value)),
            (Kind::Any | Kind::Number, Value::Number(numeral)) => {
                Some(Pattern::Number(numeral.number))
            }
            (Kind::Any, Value::Text(text)) => Some(Pattern::Text(text.value.clone())),

            (_, Value::Null) => {
                let name = self.name;
                self.wrong(node, format!("\"{name}\" is never null; write {{ exists: false }}"))
            }

            // Whole numbers alone read the same in quotes: 1.10 would come out as 1.1.
            (Kind::Text, value) if let Some(text) = value.as_text() => {
                Some(Pattern::Text(text.into_owned()))
            }
            (Kind::Text, Value::Number(_) | Value::Bool(_)) => {
                self.wrong(node, format!("\"{}\" is text; put quotes around this", self.name))
            }

            (Kind::State, Value::Text(text)) => Some(Pattern::State(state(text, self.report))),
            (Kind::Signal, Value::Number(Numeral { number: Number::Whole(whole), .. })) => {
                match i64::try_from(*whole) {
                    Ok(number) => Some(Pattern::Signal(Signal(number))),
                    Err(_) => self.wrong(node, "this is no signal's number".into()),
                }
            }
            (Kind::Signal, Value::Text(text)) => match Signal::named(&text.value) {
                Some(signal) => Some(Pattern::Signal(signal)),
                None => {
                    let names: Vec<String> = Signal::names().collect();
                    let hint = text.hint(names.iter().map(String::as_str));
                    self.wrong(node, format!("{} is no signal{hint}", quoted(&text.written)))
                }
            },
            (Kind::Number, Value::Text(text)) => match Number::parse(&text.value) {
                Some(number) => Some(Pattern::Number(number)),
                None => {
                    self.wrong(node, format!("\"{}\" is a number, and this is none", self.name))
                }
            },
            (Kind::Bool, Value::Bool(value)) => Some(Pattern::Bool(*value)),

            (kind, _) => {
                let must = match kind {
                    Kind::Text => "text",
                    Kind::State => "the name of a state",
                    Kind::Signal => "the name or number of a signal",
                    Kind::Number => "a number",
                    Kind::Bool => "true or false",
                    Kind::Any => "text, a number, true, false or null",
                };
                self.wrong(
                    node,
                    format!("\"{}\" is {must}, and this is {}", self.name, node.value.kind()),
                )
            }
        }
    }

    fn wrong<T>(&self, node: &Node, message: String) -> Option<T> {
        self.report.wrong(node.place, message);
        None
    }
}

/// Any name may be a state's; one that is not known is worth a word.
pub(super) fn state(text: &Text, report: &Report) -> State {
    let state = State::named(&text.value);
    if let State::Other(_) = state {
        let hint = text.hint(State::KNOWN.iter().map(State::as_str));
        let written = quoted(&text.written);
        report.note(format!("{written} is not a state of Sailabove's{hint}"));
    }
    state
}

#[cfg(test)]
mod tests;
