//! The rules, ready to be asked: which events they match, whom they tell, and when.
//!
//! Knows events only. Does no I/O; `config` reads the file and builds what is here.

pub mod calendar;
pub mod condition;
mod index;
mod inhibit;
mod labels;
mod matchers;
pub mod pattern;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use calendar::MuteTime;
pub use condition::{Condition, Field};
use index::Index;
pub use inhibit::Inhibit;
pub use labels::Labels;
pub use matchers::{Matchers, WrongMatchers};

use crate::clock::Timestamp;
use crate::event::Event;

/// Every rule of the file, in its order.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Arc<Rule>>,
    by_name: BTreeMap<Arc<str>, usize>,
    index: Arc<Index>,
    receivers: BTreeSet<String>,
    fallbacks: BTreeMap<Arc<str>, Arc<str>>,
    inhibition: Arc<Inhibition>,
    up_since: Timestamp,
}

/// What alerts hold others back, and between which rules that may be.
#[derive(Debug, Default)]
struct Inhibition {
    inhibits: Vec<Inhibit>,
    sources: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    targets: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

/// One rule: what it matches, and how what it finds is told.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its unique name.
    pub name: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// What its alerts are of.
    pub on: On,
    /// The condition for an occurrence; on a gap, for the event after it, and on a silence, for a
    /// sign of life.
    pub when: Condition,
    /// `for` in the file: how long a run of occurrences has to last before it counts; how long a gap
    /// has to stay one; how long nothing has to be heard.
    pub hold: Option<Duration>,
    /// How many occurrences within which time make an alert, if one does not.
    pub threshold: Option<Threshold>,
    /// The fields that an alert's key is made of.
    pub per: Vec<Field>,
    /// When a container leaves the alert.
    pub resolve: Resolve,
    /// How long after its last occurrence a container leaves the alert by itself.
    pub expire_after: Duration,
    /// What becomes of what was over before it was heard of.
    pub late: Late,
    /// The receivers it tells, those that are off left out; at least one.
    pub notify: Vec<String>,
    /// The labels by which its alerts are told together.
    pub group_by: Vec<String>,
    /// How long a new group waits before it speaks.
    pub group_wait: Duration,
    /// How long a group waits between two changes that it tells.
    pub group_interval: Duration,
    /// How long a group that fires unchanged waits before it says so again.
    pub repeat_interval: Duration,
    /// Whether the end is told.
    pub send_resolved: bool,
    /// When its alerts are held back.
    pub mute_during: Vec<Arc<MuteTime>>,
    /// Labels added to each of its alerts.
    pub labels: BTreeMap<String, String>,
    /// What to do about it.
    pub runbook_url: Option<String>,
    /// What it is for, in the operator's words.
    pub description: Option<String>,
    /// A digest of what the rule derives from: when it changes, the rule is another (DESIGN.md §6,
    /// "Reload").
    pub fingerprint: String,
    /// The rule derives only from events received at or after this instant.
    pub since: Timestamp,
}

/// What a rule's alerts are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// Events that happened.
    #[default]
    Event,
    /// Events that are missing.
    Gap,
    /// Events that do not come.
    Silence,
}

/// So many occurrences within so long: `count` and `within` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// How many there have to be at least.
    pub count: usize,
    /// For how long each counts.
    pub within: Duration,
}

/// When a container leaves an alert.
#[derive(Clone, Debug)]
pub enum Resolve {
    /// With a later event that meets this, and not `when`.
    When(Condition),
    /// With the first event that does not match: the end of the run.
    EndOfRun,
    /// Never, since it is never in: each occurrence is news by itself.
    Never,
}

/// What becomes of something that was over when its first occurrence was heard, late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// It is told, with the lateness said.
    #[default]
    Notify,
    /// It is kept, and not told.
    Record,
}

/// How much an alert matters. The most severe sorts first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Someone has to act now.
    Critical,
    /// Someone has to look.
    #[default]
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The name as written in the rules file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// The fields that an alert's key is made of, unless the rule says otherwise.
pub const PER: [Field; 3] = [Field::Application, Field::Service, Field::Id];

/// How long a gap has to stay one before it is told, unless the rule says otherwise (DESIGN.md §6).
pub const GAP: Duration = Duration::from_secs(2 * 3600);

/// How long after its last occurrence a container leaves an alert by itself, unless the rule says
/// otherwise (DESIGN.md §5).
pub const EXPIRE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What tells that a receiver is down speaks as a rule of this name, which none of the file may have.
pub const RECEIVER_DOWN: &str = "receiver-down";

impl Rules {
    /// The rules in the order of the file. Of two with one name the later is found by name; the
    /// file's validation refuses such a pair.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Rules {
        let by_name =
            rules.iter().enumerate().map(|(index, rule)| (rule.name.clone(), index)).collect();
        let receivers = rules.iter().flat_map(|rule| rule.notify.iter().cloned()).collect();
        let index = Arc::new(Index::new(rules.iter().map(|rule| &rule.when)));
        let rules = rules.into_iter().map(Arc::new).collect();
        let up_since = Timestamp::default();
        Rules {
            rules,
            by_name,
            index,
            receivers,
            fallbacks: BTreeMap::new(),
            inhibition: Arc::default(),
            up_since,
        }
    }

    /// The same rules, with alerts that hold others back.
    #[must_use]
    pub fn with_inhibits(mut self, inhibits: Vec<Inhibit>) -> Rules {
        let mut inhibition = Inhibition::default();
        for inhibit in &inhibits {
            let of = |may: &dyn Fn(&Rule) -> bool| -> BTreeSet<Arc<str>> {
                self.iter().filter(|rule| may(rule)).map(|rule| rule.name.clone()).collect()
            };
            let sources = of(&|rule| inhibit.source.may_match(rule));
            let targets = of(&|rule| inhibit.target.may_match(rule));
            for source in &sources {
                let of_source = inhibition.targets.entry(source.clone()).or_default();
                of_source.extend(targets.iter().cloned());
            }
            for target in targets {
                inhibition.sources.entry(target).or_default().extend(sources.iter().cloned());
            }
        }
        self.inhibition = Arc::new(Inhibition { inhibits, ..inhibition });
        self
    }

    /// Whether an alert with the one labels holds back one with the other while it fires.
    #[must_use]
    pub fn inhibits(&self, source: &Labels, target: &Labels) -> bool {
        self.inhibition.inhibits.iter().any(|inhibit| inhibit.holds_back(source, target))
    }

    /// The rules whose alerts may hold back those of this rule.
    pub fn sources_of(&self, target: &str) -> impl Iterator<Item = &Arc<str>> {
        self.inhibition.sources.get(target).into_iter().flatten()
    }

    /// The rules whose alerts those of this rule may hold back.
    pub fn targets_of(&self, source: &str) -> impl Iterator<Item = &Arc<str>> {
        self.inhibition.targets.get(source).into_iter().flatten()
    }

    /// The same rules, in a file that has these receivers too.
    #[must_use]
    pub fn with_receivers(mut self, receivers: impl IntoIterator<Item = String>) -> Rules {
        self.receivers.extend(receivers);
        self
    }

    /// Whether the file has a receiver of this name, be it one that no rule tells.
    #[must_use]
    pub fn has_receiver(&self, name: &str) -> bool {
        self.receivers.contains(name)
    }

    /// The same rules, in a file in which these receivers stand in for others: name → fallback.
    #[must_use]
    pub fn with_fallbacks(mut self, fallbacks: BTreeMap<Arc<str>, Arc<str>>) -> Rules {
        self.fallbacks = fallbacks;
        self
    }

    /// Who gets what is for a receiver while that is down, if someone does.
    #[must_use]
    pub fn fallback(&self, receiver: &str) -> Option<&Arc<str>> {
        self.fallbacks.get(receiver)
    }

    /// The rule of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.by_name.get(name).map(|index| &self.rules[*index])
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// The same rules, in a program that came up at this instant: what it does not hear of before it
    /// has listened for long enough may have been said while it was down.
    #[must_use]
    pub fn came_up(self, at: Timestamp) -> Rules {
        Rules { up_since: at, ..self }
    }

    /// When the program came up; the beginning of time unless that was said.
    #[must_use]
    pub fn up_since(&self) -> Timestamp {
        self.up_since
    }

    /// Those whose `when` holds for this event, in the order of the file.
    pub fn matching<'a>(&'a self, event: &Event) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a> {
        let mut places = Vec::new();
        self.index.visit(event, &mut |place| {
            if self.rules[place].when.matches(event) {
                places.push(place);
            }
        });
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| &self.rules[place])
    }

    /// The rules but for those of these names.
    #[must_use]
    pub fn without(&self, names: &[String]) -> Rules {
        let stays = |rule: &&Arc<Rule>| !names.iter().any(|name| **name == *rule.name);
        let rules = Rules::new(self.iter().filter(stays).map(|rule| (**rule).clone()).collect());
        Rules { rules: rules.rules, by_name: rules.by_name, index: rules.index, ..self.clone() }
    }

    /// The same rules, each deriving from events received at or after the instant given for it.
    #[must_use]
    pub fn starting_at(mut self, since: &BTreeMap<String, Timestamp>) -> Rules {
        for rule in &mut self.rules {
            if let Some(since) = since.get(&*rule.name) {
                Arc::make_mut(rule).since = *since;
            }
        }
        self
    }
}

impl Rule {
    /// Whether it tells this receiver.
    #[must_use]
    pub fn tells(&self, receiver: &str) -> bool {
        self.notify.iter().any(|name| name == receiver)
    }

    /// A rule of this name for events that meet `when`, with the defaults of DESIGN.md §5, that
    /// tells nobody.
    #[must_use]
    pub fn new(name: &str, when: Condition) -> Rule {
        Rule {
            name: name.into(),
            severity: Severity::default(),
            on: On::default(),
            when,
            hold: None,
            threshold: None,
            per: PER.to_vec(),
            resolve: Resolve::When(Condition::default_resolve()),
            expire_after: EXPIRE_AFTER,
            late: Late::default(),
            notify: Vec::new(),
            group_by: vec!["application".into(), "service".into()],
            group_wait: Duration::from_secs(5),
            group_interval: Duration::from_secs(5 * 60),
            repeat_interval: Duration::from_secs(4 * 3600),
            send_resolved: true,
            mute_during: Vec::new(),
            labels: BTreeMap::new(),
            runbook_url: None,
            description: None,
            fingerprint: String::new(),
            since: Timestamp::default(),
        }
    }

    /// What its alerts are of: where that changes, alerts of this name are others, under other keys.
    #[must_use]
    pub fn kind(&self) -> String {
        let per: Vec<String> = self.per.iter().map(Field::to_string).collect();
        let of = match self.on {
            On::Event => "event",
            On::Gap => "gap",
            On::Silence => "silence",
        };
        let held_up = match (self.threshold, &self.resolve) {
            (Some(_), _) => "count",
            (None, Resolve::Never) => "never",
            (None, Resolve::When(_) | Resolve::EndOfRun) => "members",
        };
        format!("{of} by {held_up} per {}", per.join(", "))
    }

    /// Whether its alerts are more than the stretches of one container: several containers hold
    /// them up, or several occurrences do.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let several = !self.per.contains(&Field::Id) && !matches!(self.resolve, Resolve::Never);
        several || self.threshold.is_some()
    }

    /// How long after an occurrence it counts, if nothing else happens before.
    #[must_use]
    pub fn lead(&self) -> Duration {
        match self.on {
            On::Event => self.hold.unwrap_or_default(),
            On::Silence if !self.is_shared() => self.hold.unwrap_or_default(),
            On::Gap | On::Silence => Duration::ZERO,
        }
    }

    /// The key of the alert that this event belongs to: the values of the `per` fields.
    #[must_use]
    pub fn key(&self, event: &Event) -> Vec<Option<Arc<str>>> {
        self.per.iter().map(|field| field.value(event)).collect()
    }

    /// The labels of the alert with this key: `rule`, `severity`, the rule's own, and the key's
    /// fields, as far as they are known.
    #[must_use]
    pub fn labels(&self, key: &[Option<Arc<str>>]) -> Labels {
        let own = self.labels.iter().map(|(label, value)| (Box::from(&**label), &**value));
        let of_rule = [("rule", &*self.name), ("severity", self.severity.as_str())];
        let of_rule = of_rule.map(|(label, value)| (Box::from(label), value));
        let fields = self.per.iter().zip(key).filter_map(|(field, value)| {
            Some((field.to_string().into_boxed_str(), value.as_deref()?))
        });
        own.chain(of_rule).chain(fields).collect()
    }
}
