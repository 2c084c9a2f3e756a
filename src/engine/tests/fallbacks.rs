//! Who stands in for whom, whatever goes down and comes back: with others' fleets and other fates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::world::{GIVE_UP_AFTER, World, at};
use super::{SENT, failed, lost, rule};
use crate::clock::Timestamp;
use crate::engine::*;
use crate::event::State;
use crate::rules::Rules;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Crashes(u8),
    Recovers(u8),
    /// One of the places takes messages from now on, or takes none.
    Takes(u8, bool),
    /// The rules file is edited: the rule tells these from now on.
    Asks(&'static [&'static str]),
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
        3 => (0..3u8, any::<bool>()).prop_map(|(place, takes)| Step::Takes(place, takes)),
        1 => prop_oneof![
            Just(&["ops"][..]),
            Just(&["spare"][..]),
            Just(&["ops", "spare"][..]),
        ].prop_map(Step::Asks),
        1 => Just(Step::Restart),
        4 => prop_oneof![Just(5), Just(301), Just(700), Just(4 * 3600), Just(25 * 3600)].prop_map(Step::Passes),
        6 => prop::bool::weighted(0.2).prop_map(Step::Sends),
        1 => (0..4u8).prop_map(Step::Late),
    ]
}

const RECEIVERS: [&str; 2] = ["ops", "spare"];

/// The places where they are told, by name: two mailboxes and another.
const PLACES: [&str; 3] = ["ops/1", "ops/2", "spare"];

/// Where this receiver is told.
fn places_of(receiver: &str) -> &'static [&'static str] {
    if receiver == "ops" { &PLACES[..2] } else { &PLACES[2..] }
}

fn rules(asked: &[&str]) -> Rules {
    let mut crashed = rule("crashed", &[State::Crashed]);
    crashed.group_by = vec!["service".into()];
    crashed.notify = asked.iter().map(|name| (*name).to_owned()).collect();
    let fallbacks = [("ops".into(), "spare".into())].into();
    let rules = Rules::new(vec![crashed]).with_fallbacks(fallbacks);
    rules.with_receivers(RECEIVERS.map(str::to_owned))
}

/// What somebody may believe of a container: where, in which thread, of which.
type Of = (&'static str, String, String);

/// A world, which of [`PLACES`] take messages, and what each of them believes.
struct Fates {
    world: World,
    takes: [bool; 3],
    /// Whether somebody may have heard what nobody knows of: it is told who stands in as well.
    answers_were_lost: bool,
    /// Whether it fires, as the last message says, whenever that came.
    believed: BTreeMap<Of, (Timestamp, bool)>,
    /// What was given up that would have told them otherwise.
    given_up: BTreeSet<Of>,
}

impl Fates {
    fn new() -> Fates {
        let world = World::new(rules(&["ops"]));
        let (believed, given_up) = (BTreeMap::new(), BTreeSet::new());
        Fates { world, takes: [true; 3], answers_were_lost: false, believed, given_up }
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
            Step::Takes(place, takes) => self.takes[usize::from(*place)] = *takes,
            Step::Asks(receivers) => self.world.reload(rules(receivers)),
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
                self.send_one(&claimed, answers_are_lost);
            }
        }
    }

    fn send_one(&mut self, claimed: &Claimed, answers_are_lost: bool) {
        let mut reached = claimed.delivery.reached.clone();
        let places = places_of(&claimed.delivery.to).iter().copied();
        let (takes, refuses): (Vec<_>, Vec<_>) = places
            .filter(|place| !claimed.delivery.reached.iter().any(|has_it| has_it == place))
            .partition(|place| self.takes[PLACES.iter().position(|name| name == place).unwrap()]);
        takes.iter().for_each(|place| self.hear(place, claimed));
        let outcome = if answers_are_lost {
            lost()
        } else {
            reached.extend(takes.iter().map(|place| (*place).to_owned()));
            match (refuses.is_empty(), reached.is_empty()) {
                (true, _) => SENT,
                (false, true) => Outcome::Destination { detail: "404 no_service".into() },
                (false, false) => failed(),
            }
        };
        let settled = self.world.settle_reached(claimed, &outcome, reached);
        assert_ne!(settled, Settled::Lost);
        let waited = self.world.now.since(claimed.delivery.waiting_since);
        if settled == Settled::Dead || waited >= GIVE_UP_AFTER {
            // What some may have heard is news to anyone, and given up as that.
            let places = if self.answers_were_lost { &PLACES[..] } else { &refuses };
            let given_up = places.iter().flat_map(|place| says(claimed, place));
            self.given_up.extend(given_up.map(|(of, _)| of));
        }
    }

    fn hear(&mut self, place: &'static str, claimed: &Claimed) {
        let of_receiver = places_of(&claimed.delivery.to);
        for (of, news) in says(claimed, place) {
            if news == News::Over && !self.answers_were_lost {
                // Each mailbox hears that it is over, be it that another heard it begin.
                let mut of_each =
                    of_receiver.iter().map(|place| (*place, of.1.clone(), of.2.clone()));
                let began = of_each.any(|of| self.believed.contains_key(&of));
                assert!(began, "that this began was never heard there: {of:?}");
            }
            let says = (claimed.notification.made_at, news.is_firing());
            let believed = self.believed.entry(of).or_insert(says);
            *believed = if believed.0 > says.0 { *believed } else { says };
        }
    }

    /// All are well again, and time passes.
    fn mend(&mut self) {
        self.takes = [true; 3];
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
        for (of, (_, believed)) in &self.believed {
            let fires = firing.contains(&*of.2) || self.given_up.contains(of);
            assert!(!believed || fires, "somebody believes that it has crashed: {of:?}");
        }
        let believed = self.believed.iter().filter(|(_, (_, fires))| *fires).map(|(of, _)| of);
        let known: BTreeSet<&str> =
            believed.chain(&self.given_up).map(|(_, _, container)| &**container).collect();
        assert!(firing.is_subset(&known), "of {firing:?} only {known:?} are known");
    }
}

/// What a message tells of containers, to this place.
fn says(claimed: &Claimed, place: &'static str) -> Vec<(Of, News)> {
    let Claimed { notification, thread, .. } = claimed;
    let alerts = notification.alerts.iter().filter(|_| notification.notice.is_none());
    alerts.map(|alert| ((place, thread.clone(), alert.container.clone()), alert.news)).collect()
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
