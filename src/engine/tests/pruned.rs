//! What is pruned changes nothing of what is, also where rules change meanwhile.

use proptest::prelude::*;
use proptest::sample::Index;

use super::properties::{config, payloads};
use super::*;
use crate::clock::Timestamp;
use crate::event::State;
use crate::rules::{Field, Rules};

#[derive(Clone, Debug)]
enum Step {
    Hear(Index),
    Wait(u64),
    Change(bool),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<Index>().prop_map(Step::Hear),
        2 => (1u64..5000).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Change),
        2 => Just(Step::Prune),
    ]
}

/// Rules that nothing expires by, and that derive from now on if they are others.
fn rules(wide: bool, since: Timestamp) -> Rules {
    let crashed = match wide {
        true => rule("crashed", &[State::Crashed, State::Stopped]),
        false => rule("crashed", &[State::Crashed]),
    };
    let mut down = rule("down", &[State::Crashed, State::Stopped]);
    down.per = vec![Field::Application];
    let mut stuck = rule("stuck", &[State::Crashed, State::Starting]);
    stuck.hold = Some(Duration::from_secs(60));
    stuck.resolve = Resolve::EndOfRun;
    let changed = [crashed, down, stuck].map(|rule| Rule {
        since,
        expire_after: Duration::from_secs(1000 * 24 * 3600),
        ..rule
    });
    Rules::new(changed.to_vec())
}

/// What fires, and since when, of each container.
fn firing(world: &World) -> Vec<(String, String, Timestamp)> {
    let open = world.intervals.values().filter(|interval| interval.end.is_none());
    let mut open: Vec<_> = open
        .map(|one| (one.alert.rule.to_string(), one.container.to_string(), one.start))
        .collect();
    open.sort();
    open
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_fires_is_the_same_whether_events_are_pruned_or_not(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut pruned = World::new(rules(false, Timestamp::default()));
        let mut whole = World::new(rules(false, Timestamp::default()));
        pruned.wait(48 * 3600);
        whole.wait(48 * 3600);
        for step in steps {
            match step {
                Step::Hear(index) => {
                    let payload = index.get(&payloads).clone();
                    if pruned.take(std::slice::from_ref(&payload)) == [Decided::Recorded] {
                        whole.take(&[payload]);
                    }
                }
                Step::Wait(seconds) => {
                    pruned.wait(seconds);
                    whole.wait(seconds);
                }
                Step::Change(wide) => {
                    pruned.reload(rules(wide, pruned.now));
                    whole.reload(rules(wide, whole.now));
                }
                Step::Prune => pruned.prune(Duration::ZERO),
            }
            prop_assert_eq!(firing(&pruned), firing(&whole));
        }
    }
}
