//! What the guard says of figures beside those that are kept. The guard itself is `cargo guard`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../benches/guard/baseline.rs"]
mod baseline;

use baseline::{Comparison, Figure, compare, read, written};

fn figures(instructions: [u64; 2]) -> [Figure; 2] {
    [("decode", "an event", instructions[0]), ("store, claim", "a delivery", instructions[1])].map(
        |(name, each, instructions)| Figure { name: name.into(), instructions, each: each.into() },
    )
}

/// What is said of these, beside 10,000 and 1,234,567.
fn said_of(instructions: [u64; 2]) -> Comparison {
    let kept = written(&figures([10_000, 1_234_567]));
    compare(&figures(instructions), &read(&kept).unwrap())
}

#[test]
fn figures_are_kept_as_people_read_them() {
    insta::assert_snapshot!(written(&figures([10_000, 1_234_567])), @r#"
    # How many instructions each of these takes: benches/README.md, "guard".
    # Written by `cargo guard -- --write`.
    decode: 10,000 an event
    store, claim: 1,234,567 a delivery
    "#);
}

#[test]
fn what_is_in_the_repository_can_be_read() {
    let kept = read(include_str!("../benches/guard/baseline.txt")).unwrap();
    assert!(kept.contains_key("decode"), "{kept:?}");
}

#[test]
fn a_line_without_a_figure_is_named() {
    for line in ["decode", "decode: many an event", "decode: 0 an event"] {
        assert_eq!(read(&format!("# words\n\n{line}\n")), Err(line.to_owned()));
    }
}

#[test]
fn a_little_more_or_less_is_no_news() {
    let Comparison { table, wrong, notes } = said_of([10_090, 1_224_567]);
    assert_eq!((wrong, notes), (vec![], vec![]));
    insta::assert_snapshot!(table, @"
    decode                                10,090 an event     +0.90 %
    store, claim                       1,224,567 a delivery   -0.81 %
    ");
}

#[test]
fn what_takes_more_is_wrong() {
    let Comparison { wrong, notes, .. } = said_of([10_210, 1_234_567]);
    assert_eq!(notes, Vec::<String>::new());
    insta::assert_snapshot!(wrong.join("\n"), @"decode: 10,210 instructions an event, 2.1 % more than the 10,000 that are kept (2 % are let pass)");
}

#[test]
fn what_takes_less_is_to_be_kept() {
    let Comparison { wrong, notes, .. } = said_of([10_000, 1_000_000]);
    assert_eq!(wrong, Vec::<String>::new());
    insta::assert_snapshot!(notes.join("\n"), @"store, claim: 1,000,000 instructions a delivery, 19.0 % fewer than the 1,234,567 that are kept; keep that by `cargo guard -- --write`, or it may be lost again unseen");
}

#[test]
fn what_is_only_counted_or_only_kept_is_wrong() {
    let [decode, claim] = figures([10_000, 1_234_567]);
    let kept = read(&written(&[decode])).unwrap();
    let Comparison { wrong, .. } = compare(&[claim], &kept);
    insta::assert_snapshot!(wrong.join("\n"), @"
    store, claim: 1,234,567 instructions a delivery, and no figure of it is kept
    decode: a figure is kept of it, and it is not counted
    ");
}
