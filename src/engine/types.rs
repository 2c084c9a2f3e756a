//! What the store keeps and the engine decides on. Plain data.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::claim::Lease;
use super::health::{Health, Notice};
use super::silence::{Silence, SilenceId};
use crate::clock::Timestamp;
use crate::event::{Event, Identity, State};
use crate::rules::{Labels, On, Severity};

/// An event with what receiving it added.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The event: shared, since it goes from hand to hand with its whole payload.
    pub event: Arc<Event>,
    /// When it was received.
    pub received_at: Timestamp,
    /// Its place in the timeline: its timestamp, but no further ahead of `received_at` than
    /// [`AHEAD`].
    pub at: Timestamp,
}

/// How far ahead of its receipt an event may stand in the timeline (DESIGN.md §3).
pub const AHEAD: Duration = Duration::from_secs(5 * 60);

impl Heard {
    /// An event received now.
    #[must_use]
    pub fn new(event: Event, received_at: Timestamp) -> Heard {
        let at = event.timestamp.min(received_at.plus(AHEAD));
        Heard { event: Arc::new(event), received_at, at }
    }

    /// What refers to this event.
    #[must_use]
    pub fn reference(&self) -> EventRef {
        EventRef { timestamp: self.event.timestamp, identity: self.event.identity }
    }
}

/// Refers to an event of a known container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventRef {
    /// When it says it happened.
    pub timestamp: Timestamp,
    /// Which it is.
    pub identity: Identity,
}

/// What is known of a container without reading its timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its id.
    pub id: Arc<str>,
    /// Its application, by its last event.
    pub application: Option<Arc<str>>,
    /// Its service, by its last event.
    pub service: Option<Arc<str>>,
    /// The state of its last event.
    pub state: State,
    /// When the run of events in that state began.
    pub since: Timestamp,
    /// `counters.start` of its last event.
    pub starts: Option<i64>,
    /// How many gaps its timeline has: places where events are missing.
    pub gaps: u32,
    /// The place of its last event in the timeline.
    pub last_at: Timestamp,
    /// Up to here its intervals are derived; an event that is not later takes its place by deriving
    /// the timeline again.
    pub derived_to: Timestamp,
    /// How many of its intervals are open: none means that there are none to read.
    pub open: u32,
}

/// What is left of the part of a container's timeline that was pruned: what happened then or before
/// is too old, and what happened later goes on from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The container.
    #[serde(skip)]
    pub container: Arc<str>,
    /// Up to where: the place of the last event of that part or, where that is the last of all, when
    /// what it had left open ended by itself.
    #[serde(skip)]
    pub at: Timestamp,
    /// The place of the last event of that part.
    pub last_at: Timestamp,
    /// Its application, by that event.
    pub application: Option<Arc<str>>,
    /// Its service, by that event.
    pub service: Option<Arc<str>>,
    /// The state of that event.
    pub state: State,
    /// When the run of events in that state began.
    pub since: Timestamp,
    /// `counters.start` of that event.
    pub starts: Option<i64>,
    /// How many gaps there were so far.
    pub gaps: u32,
    /// When that event was received.
    pub received_at: Timestamp,
    /// When the last of all those events was received.
    pub last_received_at: Timestamp,
    /// What was open then.
    pub members: Vec<Member>,
}

/// What a container held up when its timeline was pruned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The alert.
    pub alert: AlertKey,
    /// Since when the rule derived that this follows from: one that changed later is another.
    pub since: Timestamp,
    /// As the interval had it then, and so the rest.
    pub start: Timestamp,
    /// When its first occurrence was received.
    pub heard_at: Timestamp,
    /// How many it had.
    pub occurrences: u64,
    /// The place of the last one.
    pub last_at: Timestamp,
    /// The last one.
    pub last: EventRef,
}

/// Why nothing is derived from an event that happened before its container's checkpoint.
pub const TOO_OLD: &str = "too old";

/// Events that were received first of all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// Only those that were received before this.
    pub received_before: Timestamp,
    /// Only those after this place in the order of reception; 0 is before the first.
    pub after: i64,
    /// How many events are looked at.
    pub limit: usize,
}

/// What there is of [`Oldest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Swath {
    /// The place up to which was looked.
    pub until: i64,
    /// Whether there may be more after it.
    pub more: bool,
    /// Of each container, what is to be looked at.
    pub containers: BTreeMap<Arc<str>, Old>,
}

/// The events of one container that were received first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Old {
    /// All that were received up to some moment, and are in its timeline, not before its checkpoint,
    /// and before the others, in no order.
    pub events: Vec<Heard>,
    /// The first place at which any of the others may be.
    pub others_from: Option<Timestamp>,
}

/// What is removed of the events in a [`Swath`]: those that failed, and those that are not after
/// their container's checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Pruned {
    /// What was asked for.
    pub oldest: Oldest,
    /// Up to where was looked.
    pub until: i64,
    /// What stays all the same. So does what was received last of each container, and what it is in.
    pub stay: BTreeSet<(Arc<str>, EventRef)>,
}

/// Intervals that ended, those of which that was heard first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Only those of which it was heard before this.
    pub before: Timestamp,
    /// Only those after this one, by when it was heard and then by number.
    pub after: (Timestamp, IntervalId),
    /// How many at most.
    pub limit: usize,
}

/// Deliveries that ended, the first to end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Only those that ended before this.
    pub before: Timestamp,
    /// How many at most.
    pub limit: usize,
}

/// How many of the parts and wholes of an alert that ended are looked at at once.
pub const ENDED_AT_ONCE: usize = 256;

/// Which alert: a rule and the values of its `per` fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The values of its `per` fields, in their order.
    pub values: Vec<Option<Arc<str>>>,
}

/// Names an interval in the store. Those not yet stored have negative numbers, until they are. They are
/// in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IntervalId(pub i64);

impl Ord for IntervalId {
    fn cmp(&self, other: &IntervalId) -> Ordering {
        // The new ones, whose numbers count down, come last.
        let order = |id: &IntervalId| (id.0 < 0, id.0.unsigned_abs());
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for IntervalId {
    fn partial_cmp(&self, other: &IntervalId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whose stretch of an alert an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The alert's, which one container holds up alone.
    Own,
    /// What one container, or one occurrence, adds to an alert that more than one may hold up.
    /// Nothing is told of it.
    Part,
    /// That alert's: it follows from its parts.
    Whole,
}

/// A stretch of event time during which an alert fired, or a container held it up, and what was told
/// of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Its name in the store.
    pub id: IntervalId,
    /// Whose stretch it is.
    pub role: Role,
    /// The alert.
    pub alert: AlertKey,
    /// The alert's labels, as they were when it began.
    pub labels: Labels,
    /// The container that holds it up; where there are several, that of the last occurrence.
    pub container: Arc<str>,
    /// When it began: the place of its first occurrence or, where that has to last, when it has
    /// lasted. What has not begun yet may never.
    pub start: Timestamp,
    /// When the first occurrence was received.
    pub heard_at: Timestamp,
    /// How many occurrences it has. A silence has none.
    pub occurrences: u64,
    /// The place of the last one; of a silence, that of the last sign of life.
    pub last_at: Timestamp,
    /// The last one.
    pub last: EventRef,
    /// How it ended, if it did.
    pub end: Option<End>,
    /// When it has to be looked at next if nothing more is heard: it begins to fire, or it ends by
    /// itself. `None` once it ended.
    pub due: Option<Timestamp>,
    /// What was told of it, to each receiver.
    pub ledger: Vec<Entry>,
}

/// The end of an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// When that was known.
    pub heard_at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The event that ended it, if one did.
    pub event: Option<EventRef>,
}

/// Whether what began at `start` was heard of late: more than a minute after (DESIGN.md §6, "Late").
#[must_use]
pub fn is_late(start: Timestamp, heard_at: Timestamp) -> bool {
    heard_at.since(start) > Duration::from_secs(60)
}

/// Why an interval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A later event met `resolve`.
    Resolved,
    /// The container was deleted.
    Deleted,
    /// Nothing more was heard for `expire_after`.
    Expired,
    /// The rule is no longer in the file.
    RuleRemoved,
    /// It had not happened after all: events heard since leave nothing of it.
    Withdrawn,
    /// It has no length: what happened is all there is to it.
    Momentary,
    /// There were too few occurrences in the last while.
    Subsided,
    /// The events that were missing there were heard of after all.
    Filled,
    /// It did not last for as long as its rule asks: it never fired.
    TooShort,
}

/// What was told of one interval to one receiver, and whether there is news.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The group that tells it; names the receiver.
    pub group: GroupKey,
    /// What was told of it.
    pub told: Belief,
    /// What an attempt says that is under way, or said without an answer: it may have been heard,
    /// and will be said again unless it turns out that it was.
    pub maybe: Belief,
    /// What was given up: it is a dead letter, or was held back until it was over, and is not said
    /// again by itself.
    pub given_up: Belief,
    /// What is true and not told.
    pub news: Option<News>,
    /// Whether the interval was firing when this entry was last looked at.
    pub firing: bool,
    /// Why it is not told, if so: for now, if there is news, and for good, if there is none.
    pub held: Option<Held>,
}

/// Why something is not told (DESIGN.md §6, "Held back").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It was over before it was heard of, and its rule has such things recorded only.
    Late,
    /// Someone wants to hear nothing of it for a while.
    Silenced {
        /// The silence.
        by: SilenceId,
        /// When that ends; `None` where what is held back is over.
        until: Option<Timestamp>,
    },
    /// It falls into hours at which its rule tells nobody.
    Muted {
        /// The mute time's name.
        by: Arc<str>,
        /// When that ends; `None` where what is held back is over.
        until: Option<Timestamp>,
    },
    /// Another alert fires that says more.
    Inhibited {
        /// That alert.
        by: AlertKey,
    },
    /// It is not sure yet: what is missing may still come, or the program did not listen for long
    /// enough to know.
    TooEarly {
        /// When it is sure; `None` where what is held back is over.
        until: Option<Timestamp>,
    },
}

impl Held {
    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Held::Late => "late",
            Held::Silenced { .. } => "silenced",
            Held::Muted { .. } => "muted",
            Held::Inhibited { .. } => "inhibited",
            Held::TooEarly { .. } => "too early",
        }
    }

    /// What does so, if it has a name.
    #[must_use]
    pub fn by(&self) -> Option<String> {
        match self {
            Held::Late | Held::TooEarly { .. } => None,
            Held::Silenced { by, .. } => Some(by.0.to_string()),
            Held::Muted { by, .. } => Some(by.to_string()),
            Held::Inhibited { by } => {
                let values: Vec<&str> = by.values.iter().flatten().map(AsRef::as_ref).collect();
                Some(format!("{} {}", by.rule, values.join("/")))
            }
        }
    }

    /// Until when, if it may be told then.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Held::Late | Held::Inhibited { .. } => None,
            Held::Silenced { until, .. } | Held::Muted { until, .. } | Held::TooEarly { until } => {
                *until
            }
        }
    }
}

/// A stretch that was spoken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// From when.
    pub from: Timestamp,
    /// Until when: its end, or when it was said to be firing.
    pub until: Timestamp,
    /// Whether it was said to be over, and not firing.
    pub over: bool,
    /// Whether it goes on, as a later interval of the alert: what became of it is said of that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    /// Of what was given up, what held it back until it was over; a dead letter has no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Held>,
    /// Who it was said to, if that was another in place of whom the group tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_way_of: Option<Arc<str>>,
}

impl Told {
    /// Whether both speak of the same time, be it an instant.
    #[must_use]
    pub fn meets(&self, other: &Told) -> bool {
        let end = |told: &Told| if told.over { told.until } else { Timestamp::FOR_EVER };
        self.from <= end(other) && other.from <= end(self)
    }

    /// Whether it was said to be firing, and is not said of a later interval by now.
    #[must_use]
    pub fn fires(&self) -> bool {
        !self.over && !self.goes_on
    }

    /// What tells one stretch that is said from another: an open one grows while it is being said.
    #[must_use]
    pub fn key(&self) -> (Timestamp, Option<Timestamp>) {
        (self.from, self.over.then_some(self.until))
    }
}

/// What was said of an interval: one stretch or, where late events joined what had been told apart,
/// several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Belief(Vec<Told>);

impl Belief {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it was said to be firing, and not over since.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.0.iter().any(Told::fires)
    }

    /// Whether it was said to be over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.is_empty() && !self.fires()
    }

    /// The stretch that was said to be over and holds all of this one, if there is one.
    #[must_use]
    pub fn covering(&self, start: Timestamp, end: Timestamp) -> Option<&Told> {
        self.0.iter().find(|told| told.over && told.from <= start && end <= told.until)
    }

    /// The stretches, in no order.
    pub fn stretches(&self) -> impl Iterator<Item = Told> + '_ {
        self.0.iter().cloned()
    }

    /// Adds a stretch, unless it is there.
    pub fn add(&mut self, told: Told) {
        if !self.0.contains(&told) {
            // There is hardly ever another.
            self.0.reserve_exact(1);
            self.0.push(told);
        }
    }

    /// What was said, leaving nothing.
    pub fn take(&mut self) -> Belief {
        std::mem::take(self)
    }

    /// Forgets the stretches for which this holds.
    pub fn forget(&mut self, which: impl Fn(&Told) -> bool) {
        self.0.retain(|told| !which(told));
    }
}

impl From<Told> for Belief {
    fn from(told: Told) -> Belief {
        Belief(vec![told])
    }
}

impl FromIterator<Told> for Belief {
    fn from_iter<T: IntoIterator<Item = Told>>(stretches: T) -> Belief {
        let mut belief = Belief::default();
        stretches.into_iter().for_each(|told| belief.add(told));
        belief
    }
}

impl Interval {
    /// Whether both are the same, be it that something else was told of each.
    #[must_use]
    pub fn is_as(&self, other: &Interval) -> bool {
        let Interval {
            id,
            role,
            alert,
            labels,
            container,
            start,
            heard_at,
            occurrences,
            last_at,
            last,
            end,
            due,
            ledger: _,
        } = other;
        (self.id, self.role, &self.alert, &self.labels) == (*id, *role, alert, labels)
            && (&self.container, self.start, self.heard_at) == (container, *start, *heard_at)
            && (self.occurrences, self.last_at, self.last) == (*occurrences, *last_at, *last)
            && (&self.end, self.due) == (end, *due)
    }

    /// Whether it is a moment: news of itself, with no end to wait for.
    #[must_use]
    pub fn is_moment(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.cause == Cause::Momentary)
    }

    /// Whether it ended before it had lasted for as long as its rule asks.
    #[must_use]
    pub fn is_too_short(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.cause == Cause::TooShort)
    }

    /// Whether it is named by its last event: there is at most one for each.
    #[must_use]
    pub fn is_of_one_event(&self) -> bool {
        let ended = |cause| self.end.as_ref().is_some_and(|end| end.cause == cause);
        let was_a_moment = ended(Cause::Filled);
        let subsides = self.role == Role::Part && ended(Cause::Subsided);
        self.is_moment() || was_a_moment || self.is_too_short() || subsides
    }
}

impl Entry {
    /// Whether anything was, or may have been, said of it.
    #[must_use]
    pub fn was_told(&self) -> bool {
        !(self.told.is_empty() && self.maybe.is_empty() && self.given_up.is_empty())
    }

    /// Whether there is news that is not held back.
    #[must_use]
    pub fn is_to_be_told(&self) -> bool {
        self.news.is_some() && self.held.is_none()
    }

    /// An entry of which nothing was told.
    #[must_use]
    pub fn new(group: GroupKey) -> Entry {
        Entry {
            group,
            told: Belief::default(),
            maybe: Belief::default(),
            given_up: Belief::default(),
            news: None,
            firing: false,
            held: None,
        }
    }
}

/// What there is to tell of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It began.
    Firing,
    /// It ended.
    Over,
    /// It began and ended, and neither was told.
    BeganAndEnded,
    /// It happened, and has no end to wait for.
    Happened,
    /// It was said to be over, and is firing.
    HadNotEnded,
    /// It was said to be firing, and had not happened.
    Withdrawn,
    /// It fires still; told after `repeat_interval` of silence.
    StillFiring,
}

/// Which group: a rule, a receiver, and the values of the `group_by` labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The receiver's name.
    pub receiver: Arc<str>,
    /// The `group_by` labels and their values.
    pub labels: Labels,
}

/// Alerts told together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which.
    pub key: GroupKey,
    /// When it came to be.
    pub opened_at: Timestamp,
    /// When it was last told, if it was.
    pub last_told: Option<Timestamp>,
    /// How many of its entries have news that is not held back.
    pub news: u32,
    /// How many of its entries are firing.
    pub firing: u32,
    /// The one notification of it that waits, if one does.
    pub waiting: Option<DeliveryId>,
    /// How many notifications it has made; part of their ids.
    pub spoken: u32,
    /// The receiver's own name for the first message of this group, if it gave one: what follows
    /// can refer to it.
    pub handle: Option<String>,
    /// When it has to be looked at next.
    pub timer: Option<Timer>,
}

impl Group {
    /// A group that has come to be and has nothing to tell yet.
    #[must_use]
    pub fn new(key: GroupKey, opened_at: Timestamp) -> Group {
        Group {
            key,
            opened_at,
            last_told: None,
            news: 0,
            firing: 0,
            waiting: None,
            spoken: 0,
            handle: None,
            timer: None,
        }
    }
}

/// A delay, kept so that a clock that jumps back only re-arms it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// When it was set.
    pub set_at: Timestamp,
    /// When it is due.
    pub due_at: Timestamp,
}

impl Timer {
    /// Whether it is due. One that was set in what is now the future is: the clock jumped back, and
    /// what it concerns has to be looked at again.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at <= now || self.set_at > now
    }
}

/// Names a delivery: the same through all its attempts, so that a receiver can tell a repeat.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId(pub String);

/// Getting one notification out.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The group that speaks.
    pub group: GroupKey,
    /// Who is to get it: the group's receiver or, while that is down, its fallback.
    pub to: Arc<str>,
    /// How far it is.
    pub status: Status,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the group was to speak: earlier than `created_at` if the program was not there then.
    pub due_at: Timestamp,
    /// When what it says first waited: earlier than `created_at` if it took the place of another.
    pub waiting_since: Timestamp,
    /// When to try next.
    pub next_attempt: Timer,
    /// How often it was tried.
    pub attempts: u32,
    /// How many failures in a row, through all deliveries that it took the place of; what the
    /// backoff goes by.
    pub failures: u32,
    /// Who sends it now, if someone does.
    pub lease: Option<Lease>,
    /// The digest that told it last, or tells it, along with others.
    pub digest: Option<DeliveryId>,
    /// What it says, once it was claimed.
    pub notification: Option<Arc<Notification>>,
    /// Whether an attempt may have been heard though there was no good answer.
    pub doubtful: bool,
    /// Whether it is to be worded plainly, since the full wording was refused.
    pub plain: bool,
    /// Which of the receiver's addresses have it already: if any has, its receiver is told, and it waits
    /// for the others alone.
    pub reached: Vec<String>,
    /// The last failure, in the place's own words.
    pub last_error: Option<String>,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
}

impl Delivery {
    /// The same, speaking of intervals by these names where they are new: what is claimed as they are
    /// made knows no better.
    #[must_use]
    pub fn naming(&self, names: &BTreeMap<IntervalId, IntervalId>) -> Cow<'_, Delivery> {
        let mut says = self.notification.iter().flat_map(|it| &it.says);
        if names.is_empty() || !says.any(|saying| names.contains_key(&saying.interval)) {
            return Cow::Borrowed(self);
        }
        let mut named = self.clone();
        let notification = named.notification.as_mut().map(Arc::make_mut);
        for saying in notification.into_iter().flat_map(|it| &mut it.says) {
            saying.interval = names.get(&saying.interval).copied().unwrap_or(saying.interval);
        }
        Cow::Owned(named)
    }

    /// Whom it was for, if it goes to another instead.
    #[must_use]
    pub fn instead_of(&self) -> Option<&Arc<str>> {
        Some(&self.group.receiver).filter(|receiver| **receiver != self.to)
    }

    /// Whether it only ends what whom it goes to heard the beginning of, and is for nobody else.
    #[must_use]
    pub fn goes_to_who_took_it(&self) -> bool {
        let says = self.notification.iter().flat_map(|notification| &notification.says);
        says.take(1).any(|saying| saying.to_who_took_it)
    }

    /// Whether its receiver is told, and what is left is to tell those of its addresses that do not have
    /// it: nobody else waits for that.
    #[must_use]
    pub fn is_remainder(&self) -> bool {
        !self.reached.is_empty()
    }

    /// Whether it says what it said when it was made, and belongs to no group by now.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        self.is_notice() || self.is_remainder()
    }

    /// The same for another receiver, which is to be tried at once, in full words.
    #[must_use]
    pub fn moved_to(self, receiver: Arc<str>, now: Timestamp) -> Delivery {
        Delivery {
            to: receiver,
            next_attempt: Timer { set_at: now, due_at: now },
            failures: 0,
            lease: None,
            digest: None,
            plain: false,
            ..self
        }
    }
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waiting, or being sent.
    Pending,
    /// Accepted by the place.
    Sent,
    /// Given up.
    Dead,
    /// Replaced by a later one before it got out.
    Superseded,
    /// Nothing was left to say when its turn came.
    Dropped,
    /// It was given up, and someone threw it away.
    Discarded,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Sent => "sent",
            Status::Dead => "dead",
            Status::Superseded => "superseded",
            Status::Dropped => "dropped",
            Status::Discarded => "discarded",
        }
    }
}

/// What one group says to one receiver, once: data, worded when it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The rule's name.
    pub rule: String,
    /// The receiver's name.
    pub receiver: String,
    /// The severity of its alerts.
    pub severity: Severity,
    /// What its alerts are of.
    pub on: On,
    /// The group's labels.
    pub labels: Labels,
    /// What to do about it.
    pub runbook_url: Option<String>,
    /// When the group came to be; with its key, it names the thread.
    pub group_opened_at: Timestamp,
    /// What it says instead of news of a group: that another receiver is down, or is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// What it sums up, if it is a digest: made of what its deliveries say, and not stored beside it.
    #[serde(skip)]
    pub digest: Option<Digest>,
    /// When it was to be told.
    pub due_at: Timestamp,
    /// When this was put together.
    pub made_at: Timestamp,
    /// How many of the alerts told of here fire.
    pub firing: u32,
    /// How many of the alerts told of here are over.
    pub resolved: u32,
    /// How many of the group's alerts fire, told of here or before.
    pub firing_in_group: u32,
    /// What is told of each alert, the firing first, then by start: at most [`ALERTS`]; for receivers
    /// that show every alert all, those beyond without members and payloads.
    pub alerts: Vec<AlertNews>,
    /// The states of the first alert's container, or of its first member, until this was put together,
    /// by time, as far as the last [`RECENT`] events tell them; for receivers that show them, and empty
    /// for all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StateSince>,
    /// Every interval this speaks of, with what it says of it, for the ledger.
    pub says: Vec<Saying>,
}

/// Several notifications in one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// Its id: the same while it tells the same deliveries.
    pub id: DeliveryId,
    /// What they say, the most severe first.
    pub of: Vec<Arc<Notification>>,
}

/// A state that a container was in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSince {
    /// Since when: not known of what came before the first event.
    pub since: Option<Timestamp>,
    /// The state.
    pub state: State,
}

/// How many alerts a notification carries in full. The rest is counted.
pub const ALERTS: usize = 50;

/// How many events of a container the states in a notification are taken from.
pub const RECENT: usize = 24;

/// How many containers of one alert a notification names. The rest is counted.
pub const MEMBERS: usize = 10;

/// What a notification says of one alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertNews {
    /// The alert's labels.
    pub labels: Labels,
    /// The container; of several, that of the last occurrence.
    pub container: String,
    /// Where several may hold it up, the first [`MEMBERS`] that do, or did until it ended.
    pub members: Vec<String>,
    /// How many they are.
    pub members_in_all: u32,
    /// What is new.
    pub news: News,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
    /// Why it ended, if it did.
    pub cause: Option<Cause>,
    /// How many occurrences it has.
    pub occurrences: u64,
    /// How many intervals of the alert this stands for: more than one where it began and ended
    /// again and again.
    pub intervals: u32,
    /// When its first occurrence was heard.
    pub heard_at: Timestamp,
    /// The payload of its last occurrence.
    pub event: Option<serde_json::Value>,
    /// The payload of the event that ended it.
    pub ended_by: Option<serde_json::Value>,
    /// Of a gap, the payload of the event before it.
    pub before: Option<serde_json::Value>,
}

/// What a notification says of one interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saying {
    /// The interval.
    pub interval: IntervalId,
    /// The alert that it is a stretch of.
    pub alert: AlertKey,
    /// What is said.
    pub news: News,
    /// Since when it fires, as said.
    pub from: Timestamp,
    /// When it ended, as said.
    pub until: Option<Timestamp>,
    /// Since when this waits to be said; `give_up_after` counts from here.
    pub waiting_since: Timestamp,
    /// Whether a delivery that this one took the place of may have been heard to say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubtful: bool,
    /// Whether it is the end of what whom it goes to heard the beginning of, and goes to nobody else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_who_took_it: bool,
}

impl Saying {
    /// Whether both say the same, however long they have been waiting to, and be it for the first time.
    #[must_use]
    pub fn says_as(&self, other: &Saying) -> bool {
        let Saying { waiting_since, doubtful, .. } = *other;
        Saying { waiting_since, doubtful, ..self.clone() } == *other
    }

    /// The stretch that is spoken of, if it is said now.
    #[must_use]
    pub fn told(&self, now: Timestamp) -> Told {
        let over = !self.news.is_firing();
        let until = match self.news {
            // It takes back all that was said until it was found to be wrong.
            News::Withdrawn => self.waiting_since.max(self.from),
            _ => self.until.unwrap_or(now),
        };
        Told { from: self.from, until, over, goes_on: false, because: None, by_way_of: None }
    }
}

/// One try to get a delivery out.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its number, from 1.
    pub number: u32,
    /// When it began; of one that has ended, what is stored holds.
    pub started_at: Timestamp,
    /// When its outcome was known; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// What came of it: `sent`, `transient`, `message`, `destination`, `unknown`; or `unsent`, until the
    /// next attempt takes its number.
    pub outcome: Option<&'static str>,
    /// The place's own words.
    pub detail: Option<String>,
}

/// Which rows a decision has to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Whether these events are stored already.
    pub known: HashSet<(Arc<str>, EventRef)>,
    /// These containers, with their open intervals and the groups that tell those.
    pub containers: BTreeSet<Arc<str>>,
    /// The whole timelines of these containers, with all their intervals.
    pub timelines: BTreeSet<Arc<str>>,
    /// What is left of what was pruned of these containers. It comes with their timelines, too.
    pub checkpoints: BTreeSet<Arc<str>>,
    /// The events that were received first.
    pub oldest: Option<Oldest>,
    /// The intervals that ended first.
    pub ended: Option<Ended>,
    /// Of the parts and the wholes of these alerts that ended before this instant, the first
    /// [`ENDED_AT_ONCE`] to end, and the first whole to begin that is not among them.
    pub ended_of: BTreeMap<AlertKey, Timestamp>,
    /// The deliveries that ended first.
    pub done: Option<Done>,
    /// Whether these groups have dead letters.
    pub letters: BTreeSet<GroupKey>,
    /// The last [`RECENT`] events of these containers, as they were received, less those that
    /// failed.
    pub recent: BTreeSet<Arc<str>>,
    /// These intervals.
    pub intervals: BTreeSet<IntervalId>,
    /// The parts and the wholes of these alerts, but for those that ended before this instant and
    /// before the wholes that had not ended by then began.
    pub shared: BTreeMap<AlertKey, Timestamp>,
    /// The open wholes of these alerts.
    pub wholes: BTreeSet<AlertKey>,
    /// These events of these containers.
    pub events: BTreeSet<(Arc<str>, EventRef)>,
    /// These groups.
    pub groups: BTreeSet<GroupKey>,
    /// The intervals of which these groups have news.
    pub news: BTreeSet<GroupKey>,
    /// Those of them that are held back.
    pub held: BTreeSet<GroupKey>,
    /// The open intervals of these groups.
    pub firing: BTreeSet<GroupKey>,
    /// These deliveries, with the groups that they are of.
    pub deliveries: BTreeSet<DeliveryId>,
    /// The deliveries that wait to be told by these digests.
    pub digests: BTreeSet<DeliveryId>,
    /// How these receivers are.
    pub receivers: BTreeSet<Arc<str>>,
    /// Every silence.
    pub silences: bool,
    /// The firing intervals of these rules, which may inhibit others.
    pub sources: BTreeSet<Arc<str>>,
    /// The intervals of these rules of which there is news.
    pub untold: BTreeSet<Arc<str>>,
}

impl Keys {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Keys::default()
    }

    /// Asks for all that `other` asks for as well.
    pub fn extend(&mut self, mut other: Keys) {
        if self.known.is_empty() {
            self.known = other.known;
        } else {
            self.known.extend(other.known.drain());
        }
        self.containers.append(&mut other.containers);
        self.timelines.append(&mut other.timelines);
        self.checkpoints.append(&mut other.checkpoints);
        self.oldest = other.oldest.or(self.oldest);
        self.ended = other.ended.or(self.ended);
        self.ended_of.append(&mut other.ended_of);
        self.done = other.done.or(self.done);
        self.letters.append(&mut other.letters);
        self.recent.append(&mut other.recent);
        self.intervals.append(&mut other.intervals);
        for (alert, from) in other.shared {
            self.shared.entry(alert).and_modify(|known| *known = from.min(*known)).or_insert(from);
        }
        self.wholes.append(&mut other.wholes);
        self.events.append(&mut other.events);
        self.groups.append(&mut other.groups);
        self.news.append(&mut other.news);
        self.held.append(&mut other.held);
        self.firing.append(&mut other.firing);
        self.deliveries.append(&mut other.deliveries);
        self.digests.append(&mut other.digests);
        self.receivers.append(&mut other.receivers);
        self.silences |= other.silences;
        self.sources.append(&mut other.sources);
        self.untold.append(&mut other.untold);
    }
}

/// The rows as read. A key that was asked for and is not in a map's values does not exist; one that
/// is not in the map at all was not asked for.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What was asked for, and so what the rest speaks of.
    pub asked: Keys,
    /// The groups that were asked for at first, and not because of something else: where there are no
    /// events, these are to be looked at.
    pub due_groups: BTreeSet<GroupKey>,
    /// Those of the events asked about that are stored.
    pub known: HashSet<(Arc<str>, EventRef)>,
    /// Containers by id.
    pub containers: HashMap<Arc<str>, Container>,
    /// Whole timelines by container, in no order. What is not after the checkpoint may be there still.
    pub timelines: HashMap<Arc<str>, Vec<Heard>>,
    /// What is left of what was pruned, by container.
    pub checkpoints: HashMap<Arc<str>, Checkpoint>,
    /// The events that were received first, if they were asked for.
    pub oldest: Option<Swath>,
    /// Which intervals ended first, in order, if that was asked.
    pub ended: Vec<IntervalId>,
    /// Which deliveries ended first, in order, if that was asked.
    pub done: Vec<DeliveryId>,
    /// Those of the groups asked about that have dead letters.
    pub letters: HashSet<GroupKey>,
    /// The last events by container, in no order.
    pub recent: HashMap<Arc<str>, Vec<Heard>>,
    /// Every interval that was read, for whichever key.
    pub intervals: HashMap<IntervalId, Arc<Interval>>,
    /// Events by container and reference.
    pub events: HashMap<(Arc<str>, EventRef), Arc<Event>>,
    /// Groups by key.
    pub groups: HashMap<GroupKey, Group>,
    /// Every delivery that was read, for whichever key.
    pub deliveries: HashMap<DeliveryId, Delivery>,
    /// Receivers with anything to say of how they are, by name.
    pub receivers: HashMap<Arc<str>, Health>,
    /// Every silence, if they were asked for: what is over may have covered what is over, too.
    pub silences: Arc<[Silence]>,
}

/// The rows to write, all or none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Events to add.
    pub events: Vec<Heard>,
    /// Events to keep though nothing could be derived from them, with the reason. They are listed,
    /// and are no part of any timeline.
    pub failed: Vec<(Heard, String)>,
    /// Containers to put.
    pub containers: Vec<Container>,
    /// Intervals to put, with their ledgers; a negative id is to be replaced by one of the store's.
    pub intervals: Vec<Interval>,
    /// Intervals to remove, with their ledgers.
    pub intervals_removed: Vec<IntervalId>,
    /// Groups to put.
    pub groups: Vec<Group>,
    /// Groups to remove.
    pub groups_removed: Vec<GroupKey>,
    /// Deliveries to put.
    pub deliveries: Vec<Delivery>,
    /// Deliveries to remove, with their attempts.
    pub deliveries_removed: Vec<DeliveryId>,
    /// Receivers for which all that waits is due from this instant on, but for what is put here.
    pub hurried: BTreeMap<Arc<str>, Timestamp>,
    /// How receivers are by now.
    pub receivers: Vec<Health>,
    /// Attempts to put.
    pub attempts: Vec<Attempt>,
    /// Checkpoints to put.
    pub checkpoints: Vec<Checkpoint>,
    /// Events to remove.
    pub pruned: Option<Pruned>,
}

/// What an engine function answers.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "it is handed on at once, and never kept")]
pub enum Decision<T> {
    /// What to write, and what came of it.
    Done(Changes, T),
    /// It has to see these rows as well, and is to be run again.
    Need(Keys),
}
