//! Who stands in for whom, whatever goes down and comes back: with others' fleets and other fates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::world::{World, at};
use super::{SENT, lost, rule};
use crate::engine::*;
use crate::event::State;
use crate::rules::Rules;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Crashes(u8),
    Recovers(u8),
    /// One of the receivers takes messages from now on, or takes none.
    Takes(u8, bool),
    /// The program is started anew, which has whatever is down tried again.
    Restart,
    /// So many seconds pass.
    Passes(u64),
    /// Messages are sent, of which the answers are lost or are not.
    Sends(bool),
    /// Of one it is heard late that it had crashed for a moment.
    Late(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u8).prop_map(Step::Crashes),
        3 => (0..4u8).prop_map(Step::Recovers),
        3 => (0..2u8, any::<bool>()).prop_map(|(receiver, takes)| Step::Takes(receiver, takes)),
        1 => Just(Step::Restart),
        4 => prop_oneof![Just(5), Just(301), Just(700), Just(4 * 3600)].prop_map(Step::Passes),
        6 => prop::bool::weighted(0.2).prop_map(Step::Sends),
        1 => (0..4u8).prop_map(Step::Late),
    ]
}

const RECEIVERS: [&str; 2] = ["ops", "spare"];

/// A world, who of [`RECEIVERS`] takes messages, and what each of them believes.
struct Fates {
    world: World,
    takes: [bool; 2],
    /// Whether somebody may have heard what nobody knows of: it is told who stands in as well.
    answers_were_lost: bool,
    /// Whether it fires, as it was last told.
    believed: BTreeMap<(String, String), bool>,
}

impl Fates {
    fn new() -> Fates {
        let mut crashed = rule("crashed", &[State::Crashed]);
        crashed.group_by = vec!["service".into()];
        let fallbacks = [("ops".into(), "spare".into())].into();
        let rules = Rules::new(vec![crashed]).with_fallbacks(fallbacks);
        let world = World::new(rules.with_receivers(["spare".into()]));
        Fates { world, takes: [true; 2], answers_were_lost: false, believed: BTreeMap::new() }
    }

    fn take(&mut self, step: &Step) {
        let now = self.world.now.since(at(0)).as_secs();
        match step {
            Step::Crashes(container) => {
                self.world.hear(&container.to_string(), "CRASHED", now);
            }
            Step::Recovers(container) => {
                self.world.hear(&container.to_string(), "RUNNING", now);
            }
            Step::Takes(receiver, takes) => self.takes[usize::from(*receiver)] = *takes,
            Step::Restart => {
                let names: Vec<Arc<str>> = RECEIVERS.map(Into::into).into();
                let keys = Keys { receivers: names.iter().cloned().collect(), ..Keys::default() };
                let now = self.world.now;
                self.world.transact(keys, |snapshot| try_again(snapshot, &names, now));
            }
            Step::Passes(seconds) => self.world.wait(*seconds),
            Step::Sends(answers_are_lost) => {
                self.answers_were_lost |= answers_are_lost;
                self.send(*answers_are_lost);
            }
            Step::Late(container) => {
                self.world.hear(&container.to_string(), "CRASHED", now / 2);
                self.world.hear(&container.to_string(), "RUNNING", now / 2 + 1);
            }
        }
    }

    /// Sends what can be sent, be it moved to another first.
    fn send(&mut self, answers_are_lost: bool) {
        for _ in 0..4 {
            for claimed in self.world.claim() {
                let to = &*claimed.delivery.to;
                let place = RECEIVERS.iter().position(|name| *name == to).unwrap();
                let outcome = match self.takes[place] {
                    true if answers_are_lost => lost(),
                    true => SENT,
                    false => Outcome::Destination { detail: "404 no_service".into() },
                };
                if self.takes[place] && claimed.notification.notice.is_none() {
                    self.hear(to, &claimed.notification.alerts);
                }
                assert_ne!(self.world.settle(&claimed, &outcome), Settled::Lost);
            }
        }
    }

    fn hear(&mut self, to: &str, alerts: &[AlertNews]) {
        for alert in alerts {
            let of_it = (to.to_owned(), alert.container.clone());
            let before = self.believed.insert(of_it, alert.news.is_firing());
            if alert.news == News::Over && !self.answers_were_lost {
                assert!(before.is_some(), "{to} never heard that this began: {alert:?}");
            }
        }
    }

    /// All are well again, and time passes.
    fn mend(&mut self) {
        self.takes = [true; 2];
        self.take(&Step::Restart);
        for _ in 0..12 {
            self.send(false);
            self.world.wait(301);
        }
        self.send(false);
    }

    fn check(&self) {
        let open = self.world.intervals.values().filter(|one| one.end.is_none());
        let firing: BTreeSet<&str> = open.map(|one| &*one.container).collect();
        for ((receiver, container), believed) in &self.believed {
            let fires = firing.contains(container.as_str());
            assert!(!believed || fires, "{receiver} believes that {container} has crashed");
        }
        for container in firing {
            let knows = |receiver: &str| {
                self.believed.get(&(receiver.to_owned(), container.to_owned())) == Some(&true)
            };
            assert!(RECEIVERS.into_iter().any(knows), "nobody knows of {container}");
        }
    }
}

proptest! {
    /// The end of something goes to whoever took its beginning, and to nobody else; and nothing that
    /// fires is known to nobody.
    #[test]
    fn each_end_is_told_to_those_who_heard_the_beginning(steps in prop::collection::vec(step(), 1..40)) {
        let mut fates = Fates::new();
        steps.iter().for_each(|step| fates.take(step));
        fates.mend();
        fates.check();
    }
}
