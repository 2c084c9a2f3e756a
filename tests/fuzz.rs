//! The fuzz targets on stable: what was found and kept is tried again, and a short run of what was
//! not. A long one is `cargo fuzz run TARGET` (CONTRIBUTING.md).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "the targets are a crate of their own in `fuzz`")]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

/// What is kept of the inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    assert!(files.len() > 10, "{} has {} files", folder.display(), files.len());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// What is done to an input.
#[derive(Clone, Debug)]
enum Mutation {
    /// Puts these bytes there.
    Insert(Index, Vec<u8>),
    /// Puts this byte in the place of another.
    Replace(Index, u8),
    /// Takes out so much.
    Remove(Index, usize),
    /// Says so much again.
    Repeat(Index, usize, usize),
    /// Goes on as another input does from there.
    Splice(Index, Index, Index),
}

/// What means something in one place or another.
const WORDS: [&str; 30] = [
    "\n",
    "\n---\n",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    "\r\n",
    "\0",
    "\u{1b}",
    "\u{202e}",
    "-",
    "1e308",
    "99999999999999999999",
    "null",
    "&a ",
    "*a",
    "!x ",
    "<<: ",
    "/",
    "(.*)+",
    "{50}",
    "{{ ",
    " }}",
    "{% for x in alerts %}",
    "${SECRET}",
    "%0a",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    let some = || vec(any::<u8>(), 1..4);
    let word = select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec());
    prop_oneof![
        (place(), prop_oneof![word, some()]).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (place(), 1..40usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (place(), 1..20usize, 1..30usize)
            .prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)),
        (place(), place(), place()).prop_map(|(at, other, from)| Mutation::Splice(at, other, from)),
    ]
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = |place: &Index, input: &[u8]| place.index(input.len() + 1);
        let part = |place: &Index, length: usize, input: &[u8]| {
            let start = at(place, input);
            start..(start + length).min(input.len())
        };
        match self {
            Mutation::Insert(place, bytes) => {
                let at = at(place, input);
                input.splice(at..at, bytes.iter().copied());
            }
            Mutation::Replace(place, byte) => {
                let part = part(place, 1, input);
                input[part].fill(*byte);
            }
            Mutation::Remove(place, length) => drop(input.drain(part(place, *length, input))),
            Mutation::Repeat(place, length, times) => {
                let part = part(place, *length, input);
                let again = input[part.clone()].repeat(*times);
                input.splice(part.end..part.end, again);
            }
            Mutation::Splice(place, other, from) => {
                let other = &corpus[other.index(corpus.len())];
                input.truncate(at(place, input));
                input.extend_from_slice(&other[at(from, other)..]);
            }
        }
    }
}

/// What is kept, changed in a few places; and now and then bytes that are like nothing.
fn input(corpus: &[Vec<u8>]) -> impl Strategy<Value = Vec<u8>> {
    let known = corpus.to_vec();
    let changed = (any::<Index>(), vec(mutation(), 1..6)).prop_map(move |(start, mutations)| {
        let mut input = known[start.index(known.len())].clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut input, &known));
        input
    });
    prop_oneof![20 => changed, 1 => vec(any::<u8>(), 0..200)]
}

/// Feeds a target with all that is kept for it, then with so much that is not.
fn feed(name: &str, target: fn(&[u8]), cases: u32) {
    let corpus = corpus(name);
    let keep = |input: &[u8], fed: std::thread::Result<()>| {
        if let Err(panic) = fed {
            let shown = String::from_utf8_lossy(input);
            eprintln!("{name} does not hold for {input:?}\n{shown}\nkeep it in fuzz/corpus/{name}");
            resume_unwind(panic);
        }
    };
    for input in &corpus {
        keep(input, catch_unwind(|| target(input)));
    }
    let config = ProptestConfig {
        cases,
        // What fails is kept in the corpus, where the fuzzer finds it as well.
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let fed = TestRunner::new(config).run(&input(&corpus), |input| {
        catch_unwind(AssertUnwindSafe(|| target(&input)))
            .map_err(|_| TestCaseError::fail(format!("{:?}", String::from_utf8_lossy(&input))))
    });
    fed.unwrap_or_else(|error| panic!("keep what this says in fuzz/corpus/{name}: {error}"));
}

#[test]
fn a_payload_is_an_event_or_a_clear_error() {
    feed("decode", targets::decode, 20_000);
}

#[test]
fn a_rules_file_loads_or_has_errors_with_places_in_it() {
    feed("rules_file", targets::rules_file, 4_000);
}

#[test]
fn patterns_are_found_by_the_index_and_soon() {
    feed("patterns", targets::patterns, 8_000);
}

#[test]
fn a_template_gives_words_within_its_budget() {
    feed("templates", targets::templates, 4_000);
}

#[test]
fn whatever_a_client_sends_is_answered_or_ended() {
    feed("edge", targets::edge, 500);
}
