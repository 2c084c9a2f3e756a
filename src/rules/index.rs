//! Which rules an event may match, found without looking at the others.
//!
//! Whenever a rule's `when` holds, some simple test in it holds as well: that a field is equal to a
//! value, that a regex is found in it, or that a number is above or below another. The rule is filed
//! under that test, or under several of which one must hold; in the literature this is its *access
//! predicate*. An event looks its own fields up, and finds the rules filed under them. These have
//! still to be asked, so that the index may find too many, and must not find too few.

use std::collections::{BTreeMap, HashMap};

use regex::{RegexSet, RegexSetBuilder};

use super::condition::{Clause, Condition, Field};
use super::pattern::{self, Comparison, Found, Number, Pattern};
use crate::event::Event;

#[cfg(test)]
mod tests;

/// So many rules are looked at one by one sooner than looked up.
const FEW: usize = 8;

/// Under how many tests, one within the other, a rule is filed at most.
const DEPTH: usize = 3;

/// How many regexes a set has at most: what it found is a list with a place for each.
const SET_LENGTH: usize = 512;

/// How large a set's automaton may be, in bytes: from a few times that, the regex crate would have
/// no room to run it as a lazy DFA, and be slower by orders of magnitude.
const SET_SIZE: usize = 1 << 20;

/// Rules filed under what must hold for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    lookups: Vec<Lookup>,
    /// Those that are filed under nothing, and are looked at for every event.
    scanned: Vec<usize>,
}

/// The rules that are filed under tests of one field. Where many share a test, they are an index of
/// their own, by what else they ask.
#[derive(Clone, Debug)]
struct Lookup {
    field: Field,
    texts: HashMap<String, Index>,
    numbers: HashMap<i64, Index>,
    /// Sets of regexes, each with the rules of its regexes.
    regexes: Vec<(RegexSet, Vec<Index>)>,
    /// Lower bounds in ascending order, each with a rule.
    at_least: Vec<(i64, usize)>,
    /// Upper bounds in ascending order, each with a rule.
    at_most: Vec<(i64, usize)>,
}

/// A rule that is to be filed: its place among all, and what it asks for.
type Entry<'a> = (usize, &'a Clause);

/// Something that can be looked up of a field's value. It holds whenever the pattern does that it
/// stands for, and sometimes besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test<'a> {
    Equal(Value<'a>),
    Regex(&'a str),
    AtLeast(i64),
    AtMost(i64),
}

/// What is equal here may differ in kind: the text `true` and the truth value, a signal and its
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Text(&'a str),
    /// A number by its [`rank`].
    Number(i64),
}

impl Index {
    /// The index over these conditions, which are called by their places.
    pub(super) fn new<'a>(conditions: impl Iterator<Item = &'a Condition>) -> Index {
        let rules: Vec<Entry<'_>> = conditions.map(Condition::clause).enumerate().collect();
        Index::within(&[], &rules)
    }

    /// The index over rules that are all filed under tests of the `known` fields.
    fn within(known: &[&Field], rules: &[Entry<'_>]) -> Index {
        let mut index = Index::default();
        if rules.len() <= FEW || known.len() == DEPTH {
            index.scanned.extend(rules.iter().map(|(place, _)| place));
            return index;
        }
        let survey = Survey::of(known, rules);
        let mut filed: BTreeMap<&Field, BTreeMap<Test<'_>, Vec<Entry<'_>>>> = BTreeMap::new();
        for (place, clause) in rules {
            // Below the root only under a few, so that lists within lists do not multiply.
            match survey.access(clause).filter(|it| known.is_empty() || it.tests.len() <= FEW) {
                Some(access) => {
                    for (field, test) in access.tests {
                        let tests = filed.entry(field).or_default();
                        tests.entry(test).or_default().push((*place, clause));
                    }
                }
                None => index.scanned.push(*place),
            }
        }
        for (field, tests) in filed {
            let known: Vec<&Field> = known.iter().copied().chain([field]).collect();
            let lookup = Lookup::new(field, tests, &known, &mut index.scanned);
            index.lookups.push(lookup);
        }
        index
    }

    /// Looks at every rule that this event may match, at some perhaps more than once, in no order.
    pub(super) fn visit(&self, event: &Event, look: &mut impl FnMut(usize)) {
        self.scanned.iter().for_each(|place| look(*place));
        for lookup in &self.lookups {
            lookup.visit(event, look);
        }
    }
}

impl Lookup {
    /// Rules whose regex is too large for a set are `scanned`.
    fn new(
        field: &Field,
        tests: BTreeMap<Test<'_>, Vec<Entry<'_>>>,
        known: &[&Field],
        scanned: &mut Vec<usize>,
    ) -> Lookup {
        let mut lookup = Lookup {
            field: field.clone(),
            texts: HashMap::new(),
            numbers: HashMap::new(),
            regexes: Vec::new(),
            at_least: Vec::new(),
            at_most: Vec::new(),
        };
        let mut regexes = Vec::new();
        for (test, rules) in tests {
            let places = || rules.iter().map(|(place, _)| *place);
            match test {
                Test::Equal(Value::Text(text)) => {
                    lookup.texts.insert(text.to_owned(), Index::within(known, &rules));
                }
                Test::Equal(Value::Number(number)) => {
                    lookup.numbers.insert(number, Index::within(known, &rules));
                }
                Test::Regex(source) => regexes.push((source, rules)),
                Test::AtLeast(bound) => lookup.at_least.extend(places().map(|it| (bound, it))),
                Test::AtMost(bound) => lookup.at_most.extend(places().map(|it| (bound, it))),
            }
        }
        for regexes in regexes.chunks(SET_LENGTH) {
            lookup.add_set(regexes, known, scanned);
        }
        lookup
    }

    fn add_set(
        &mut self,
        regexes: &[(&str, Vec<Entry<'_>>)],
        known: &[&Field],
        scanned: &mut Vec<usize>,
    ) {
        let sources = regexes.iter().map(|(source, _)| source);
        match (RegexSetBuilder::new(sources).size_limit(SET_SIZE).build(), regexes) {
            (Ok(set), _) => {
                let rules = regexes.iter().map(|(_, rules)| Index::within(known, rules));
                self.regexes.push((set, rules.collect()));
            }
            (Err(_), [(_, rules)]) => scanned.extend(rules.iter().map(|(place, _)| place)),
            (Err(_), _) => {
                let (some, others) = regexes.split_at(regexes.len() / 2);
                self.add_set(some, known, scanned);
                self.add_set(others, known, scanned);
            }
        }
    }

    fn visit(&self, event: &Event, look: &mut impl FnMut(usize)) {
        let found = self.field.find(event);
        match Value::found(found) {
            Some(Value::Text(text)) => {
                if let Some(rules) = self.texts.get(text) {
                    rules.visit(event, look);
                }
                self.visit_regexes(text, event, look);
            }
            Some(Value::Number(number)) => {
                if let Some(rules) = self.numbers.get(&number) {
                    rules.visit(event, look);
                }
                let below = self.at_least.iter().take_while(|(bound, _)| *bound <= number);
                let above = self.at_most.iter().rev().take_while(|(bound, _)| *bound >= number);
                below.chain(above).for_each(|(_, place)| look(*place));
                if let (Found::Signal(signal), false) = (found, self.regexes.is_empty()) {
                    self.visit_regexes(&signal.to_string(), event, look);
                }
            }
            None => {}
        }
    }

    fn visit_regexes(&self, text: &str, event: &Event, look: &mut impl FnMut(usize)) {
        let text = pattern::reach(text);
        for (set, rules) in &self.regexes {
            // Which of them are found is a list in memory of its own: mostly, it would be empty.
            if set.is_match(text) {
                for found in &set.matches(text) {
                    rules[found].visit(event, look);
                }
            }
        }
    }
}

/// What the rules of an index ask for, so that each can be filed under what it shares with few.
struct Survey<'a> {
    known: &'a [&'a Field],
    /// How often each test is asked for. All lower bounds of a field count as one, and all upper
    /// ones, since at worst an event is within all of them.
    shared: BTreeMap<(&'a Field, Test<'a>), usize>,
}

/// Tests of which one must hold, and about how many rules are looked at where one does.
struct Access<'a> {
    tests: Vec<(&'a Field, Test<'a>)>,
    cost: Cost,
}

/// The payload is parsed where nothing else will do: that costs more than a thousand rules.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    parses_payload: bool,
    rules: usize,
}

impl<'a> Survey<'a> {
    fn of(known: &'a [&'a Field], rules: &[Entry<'a>]) -> Survey<'a> {
        let mut survey = Survey { known, shared: BTreeMap::new() };
        for (_, clause) in rules {
            survey.count(clause);
        }
        survey
    }

    fn count(&mut self, clause: &'a Clause) {
        match clause {
            Clause::All(clauses) | Clause::Any(clauses) => {
                clauses.iter().for_each(|clause| self.count(clause));
            }
            Clause::Not(_) => {}
            Clause::Field(field, pattern) => self.count_in(field, pattern),
        }
    }

    fn count_in(&mut self, field: &'a Field, pattern: &'a Pattern) {
        match pattern {
            Pattern::All(patterns) | Pattern::Any(patterns) => {
                patterns.iter().for_each(|pattern| self.count_in(field, pattern));
            }
            _ => {
                if let Some(test) = Test::of(pattern) {
                    *self.shared.entry((field, test.any_bound())).or_default() += 1;
                }
            }
        }
    }

    /// The cheapest tests under which a rule that asks for this can be filed.
    fn access(&self, clause: &'a Clause) -> Option<Access<'a>> {
        match clause {
            Clause::All(clauses) => Access::cheapest(clauses.iter().map(|it| self.access(it))),
            Clause::Any(clauses) => Access::union(clauses.iter().map(|it| self.access(it))),
            Clause::Not(_) => None,
            Clause::Field(field, _) if self.known.contains(&field) => None,
            Clause::Field(field, pattern) => self.access_in(field, pattern),
        }
    }

    fn access_in(&self, field: &'a Field, pattern: &'a Pattern) -> Option<Access<'a>> {
        let access = |pattern: &'a Pattern| self.access_in(field, pattern);
        match pattern {
            Pattern::All(patterns) => Access::cheapest(patterns.iter().map(access)),
            Pattern::Any(patterns) => Access::union(patterns.iter().map(access)),
            _ => {
                let test = Test::of(pattern)?;
                let shared = self.shared.get(&(field, test.any_bound())).copied().unwrap_or(0);
                // To search a text costs as much as to look at a few rules.
                let search = if let Test::Regex(_) = test { FEW } else { 0 };
                let cost = Cost { parses_payload: field.is_in_payload(), rules: shared + search };
                Some(Access { tests: vec![(field, test)], cost })
            }
        }
    }
}

impl<'a> Access<'a> {
    /// Where all must hold, any one will do.
    fn cheapest(all: impl Iterator<Item = Option<Access<'a>>>) -> Option<Access<'a>> {
        all.flatten().min_by_key(|access| access.cost)
    }

    /// Where one must hold, each is needed.
    fn union(mut any: impl Iterator<Item = Option<Access<'a>>>) -> Option<Access<'a>> {
        any.try_fold(Access { tests: Vec::new(), cost: Cost::default() }, |mut union, access| {
            let access = access?;
            union.tests.extend(access.tests);
            union.cost.parses_payload |= access.cost.parses_payload;
            union.cost.rules += access.cost.rules;
            Some(union)
        })
    }
}

impl<'a> Test<'a> {
    /// The test for what is no pattern of patterns, if it has one.
    fn of(pattern: &'a Pattern) -> Option<Test<'a>> {
        match pattern {
            Pattern::Null => Some(Test::Equal(Value::NULL)),
            Pattern::Bool(value) => Some(Test::Equal(Value::of_bool(*value))),
            Pattern::Number(number) => Some(Test::Equal(Value::Number(rank(*number)))),
            Pattern::Text(text) => Some(Test::Equal(Value::Text(text))),
            Pattern::State(state) => Some(Test::Equal(Value::Text(state.as_str()))),
            Pattern::Signal(signal) => Some(Test::Equal(Value::Number(rank(signal.0.into())))),
            Pattern::Regex(regex) => Some(Test::Regex(regex.as_str())),
            Pattern::Compare(Comparison::Ge | Comparison::Gt, limit) => {
                Some(Test::AtLeast(rank(*limit)))
            }
            Pattern::Compare(Comparison::Le | Comparison::Lt, limit) => {
                Some(Test::AtMost(rank(*limit)))
            }
            Pattern::Compare(Comparison::Ne, _)
            | Pattern::Exists(_)
            | Pattern::Not(_)
            | Pattern::Any(_)
            | Pattern::All(_) => None,
        }
    }

    /// The same, but that one bound is like any other.
    fn any_bound(self) -> Test<'a> {
        match self {
            Test::AtLeast(_) => Test::AtLeast(0),
            Test::AtMost(_) => Test::AtMost(0),
            other => other,
        }
    }
}

impl<'a> Value<'a> {
    const NULL: Value<'static> = Value::Text("null");

    fn of_bool(value: bool) -> Value<'static> {
        Value::Text(if value { "true" } else { "false" })
    }

    /// The value of what an event has, unless no test holds of it.
    fn found(found: Found<'a>) -> Option<Value<'a>> {
        match found {
            Found::Missing | Found::Other => None,
            Found::Null => Some(Value::NULL),
            Found::Bool(value) => Some(Value::of_bool(value)),
            Found::Number(number) => Some(Value::Number(rank(number))),
            Found::Text(text) => Some(Value::Text(text)),
            Found::State(state) => Some(Value::Text(state.as_str())),
            Found::Signal(signal) => Some(Value::Number(rank(signal.0.into()))),
        }
    }
}

/// A whole number for each number, so that of two the greater has no smaller one. Numbers that are
/// too close to be told apart as floats share theirs.
fn rank(number: Number) -> i64 {
    // Adding zero makes one of the two zeros; the rest is what `f64::total_cmp` does.
    let bits = (number.as_float() + 0.0).to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}
