//! What every store can do. Coarse on purpose: the unit of work is read, decide, write, commit.
//!
//! Knows the engine's types; the SQL is in the backends.

#[cfg(test)]
pub(crate) mod contract;
mod cursor;
pub mod sqlite;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tracing::error;

use crate::clock::Timestamp;
use crate::engine::{
    Changes, Decision, DeliveryId, Down, GroupKey, Heard, IntervalId, Keys, Notification, Reason,
    SilenceId, SilenceStatus, Snapshot, Status,
};
use crate::event::State;
use crate::rules::{Labels, Matchers, Rule, Rules};

/// How long a silence is kept after its end: what it held back may be asked about.
pub const SILENCES_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why the store could not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened; says why and what to do.
    #[error("{0}")]
    Open(String),
    /// It cannot read or commit now: the disk is full, the file is read-only, the database is away.
    #[error("the store cannot be used now: {0}")]
    Unavailable(String),
    /// What was to be written makes no sense to the store; nothing was written.
    #[error("the store refused the work: {0}")]
    Refused(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the store says so in the log by itself, when it begins and when it is over: who tries
    /// again and again says it no louder, or the log fills what is left of a disk.
    #[must_use]
    pub fn is_said(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}

/// A decision to be run within a unit of work, as often as the store has to.
pub type DecideFn = Box<dyn FnMut(&Snapshot) -> Step + Send>;

/// What a decision answers to the store.
#[expect(clippy::large_enum_variant, reason = "it is handed on at once, and never kept")]
pub enum Step {
    /// Write this, and commit.
    Write(Changes),
    /// Read these as well, and ask again.
    Read(Keys),
}

/// A durable store of events, containers, intervals, groups and deliveries.
///
/// What is absent on purpose: no way to write a row outside a unit of work, and no transaction that
/// outlives a call.
pub trait Store: Send + Sync + 'static {
    /// Reads `keys` under lock, runs `decide` until it answers what to write, writes it, commits.
    /// It returns after the commit; on an error nothing is written.
    fn run(&self, keys: Keys, decide: DecideFn) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What is due at `now`, at most `limit` containers and groups of it, and when more will be.
    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Due, StoreError>>;

    /// The deliveries for `receiver` that can be claimed at `now`, the longest waiting first, and
    /// when more will be.
    fn claimable<'a>(
        &'a self,
        receiver: &'a str,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Claimable, StoreError>>;

    /// The deliveries that were leased when the program last stopped.
    fn leased(&self) -> BoxFuture<'_, Result<Vec<DeliveryId>, StoreError>>;

    /// The deliveries that wait for a receiver not among these.
    fn waiting_for_others(
        &self,
        receivers: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryId>, StoreError>>;

    /// What a changed rules file may concern.
    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, StoreError>>;

    /// Takes note of the rules in force, by name, and answers since when each derives; and which
    /// containers hold alerts of rules that are gone. One that is there under a name by which something
    /// of another kind fires still is [left out](Adoption::replacing) until that has ended.
    fn adopt(
        &self,
        rules: BTreeMap<String, Version>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Adoption, StoreError>>;

    /// A page of payloads.
    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Page<String>, StoreError>>;

    /// A page of containers, by id.
    fn containers(&self, page: PageQuery) -> BoxFuture<'_, Result<Page<ContainerRow>, StoreError>>;

    /// One container and its timeline.
    fn container(&self, id: String)
    -> BoxFuture<'_, Result<Option<ContainerTimeline>, StoreError>>;

    /// A page of alerts, the latest first.
    fn alerts(&self, query: AlertQuery) -> BoxFuture<'_, Result<Page<AlertRow>, StoreError>>;

    /// A page of deliveries, the latest first.
    fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> BoxFuture<'_, Result<Page<DeliveryRow>, StoreError>>;

    /// How receivers stand, those of which there is something to say, by name.
    fn receivers(&self) -> BoxFuture<'_, Result<Vec<ReceiverRow>, StoreError>>;

    /// How often the timelines of all containers show that events are missing.
    fn missing(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// One delivery, with what it says and its attempts.
    fn delivery(
        &self,
        id: DeliveryId,
    ) -> BoxFuture<'_, Result<Option<DeliveryHistory>, StoreError>>;

    /// A page of silences, the latest first.
    fn silences(&self, query: SilenceQuery) -> BoxFuture<'_, Result<Page<SilenceRow>, StoreError>>;

    /// Adds a silence, and removes those that were over [`SILENCES_KEPT`] before `now`.
    fn add_silence(
        &self,
        silence: NewSilence,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<SilenceId, StoreError>>;

    /// Ends a silence now, if it is not over, and removes it if it has not begun. Answers whether
    /// there is one of this name.
    fn end_silence(&self, id: SilenceId, now: Timestamp)
    -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Commits nothing, durably: whether the store can be written.
    fn check_writable(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Why the store does nothing more until the program is started again, if that is so. A disk
    /// that is full or slow is no such reason: a start would not better it.
    fn stuck(&self) -> Option<String> {
        None
    }
}

/// Runs a decision as a unit of work of `store`, and answers what came of it.
///
/// # Errors
/// As [`Store::run`].
pub async fn transact<T: Send + 'static>(
    store: &dyn Store,
    keys: Keys,
    mut decide: impl FnMut(&Snapshot) -> Decision<T> + Send + 'static,
) -> Result<T, StoreError> {
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    let step = Box::new(move |snapshot: &Snapshot| match decide(snapshot) {
        Decision::Need(keys) => Step::Read(keys),
        Decision::Done(changes, value) => {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Step::Write(changes)
        }
    });
    store.run(keys, step).await?;
    let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    value.ok_or_else(|| StoreError::Refused("the work was committed without a decision".into()))
}

/// How many rows one unit of work of [`in_parts`] concerns.
const PART: usize = 256;

/// Does work on `items` in units of a bounded size. What the store refuses is done one by one, so
/// that one bad row does not stop the rest; what is refused even so is logged and left as it is.
/// Answers whether there was any.
///
/// # Errors
/// Whatever else fails, at once.
pub async fn in_parts<'a, T: Clone + std::fmt::Debug>(
    items: &[T],
    work: impl Fn(Vec<T>) -> BoxFuture<'a, Result<(), StoreError>>,
) -> Result<bool, StoreError> {
    let mut any_refused = false;
    for part in items.chunks(PART) {
        match work(part.to_vec()).await {
            Err(StoreError::Refused(_)) => {}
            done => {
                done?;
                continue;
            }
        }
        for item in part {
            match work(vec![item.clone()]).await {
                Err(StoreError::Refused(reason)) => {
                    error!(?item, reason, "this could not be decided on, and is left as it is");
                    any_refused = true;
                }
                done => done?,
            }
        }
    }
    Ok(any_refused)
}

/// A silence to be made.
#[derive(Clone, Debug)]
pub struct NewSilence {
    /// What the labels of an alert must be like.
    pub matchers: Matchers,
    /// When it begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// Who makes it.
    pub created_by: Option<String>,
    /// What for.
    pub comment: Option<String>,
}

/// What has to be looked at again.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Now.
    pub keys: Keys,
    /// When there will be more, as far as is known.
    pub next: Option<Timestamp>,
}

/// What a receiver can send.
#[derive(Clone, Debug, Default)]
pub struct Claimable {
    /// Now.
    pub deliveries: Vec<DeliveryId>,
    /// When there will be more, as far as is known.
    pub next: Option<Timestamp>,
}

/// What has not come to its end.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    /// The intervals that are open, or of which there is news.
    pub intervals: Vec<IntervalId>,
    /// Every group.
    pub groups: Vec<GroupKey>,
}

/// What tells whether a rule is what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// [`Rule::fingerprint`].
    pub fingerprint: String,
    /// [`Rule::kind`].
    pub kind: String,
}

/// The versions of all rules, by name.
#[must_use]
pub fn versions(rules: &Rules) -> BTreeMap<String, Version> {
    let version =
        |rule: &Rule| Version { fingerprint: rule.fingerprint.clone(), kind: rule.kind() };
    rules.iter().map(|rule| (rule.name.to_string(), version(rule))).collect()
}

/// What taking note of the rules found.
#[derive(Clone, Debug, Default)]
pub struct Adoption {
    /// Since when each rule derives from events received.
    pub since: BTreeMap<String, Timestamp>,
    /// The containers that hold open alerts of rules that are gone.
    pub orphaned: Vec<String>,
    /// The rules under whose names alerts of another kind are open: they are rules that are gone, too.
    /// These come after them.
    pub replacing: Vec<String>,
    /// The rules that changed since the program last ran.
    pub changed: Vec<String>,
    /// The rules that are gone since the program last ran.
    pub removed: Vec<String>,
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// How much of a list, and from where.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// How many items at most.
    pub limit: usize,
    /// The `next` of the page before; a cursor that is not one is refused.
    pub cursor: Option<String>,
}

/// Which events: all that is given must hold.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// `application`, exactly.
    pub application: Option<String>,
    /// `service`, exactly.
    pub service: Option<String>,
    /// `id`, exactly.
    pub container: Option<String>,
    /// `state`.
    pub state: Option<State>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
    /// How many, and from where. The first page has the newest; each is in ascending order.
    pub page: PageQuery,
}

/// Which alerts.
#[derive(Clone, Debug)]
pub struct AlertQuery {
    /// The time: what begins later only may.
    pub now: Timestamp,
    /// Only those firing, or only those resolved.
    pub firing: Option<bool>,
    /// How many, and from where.
    pub page: PageQuery,
}

/// Which deliveries.
#[derive(Clone, Debug)]
pub struct DeliveryQuery {
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those for this receiver, by its exact name.
    pub receiver: Option<String>,
    /// Only those that this digest told or tells, by its id.
    pub digest: Option<String>,
    /// How many, and from where.
    pub page: PageQuery,
}

/// Which silences.
#[derive(Clone, Debug)]
pub struct SilenceQuery {
    /// The time that their status goes by.
    pub now: Timestamp,
    /// Only those of one of these.
    pub statuses: &'static [SilenceStatus],
    /// How many, and from where.
    pub page: PageQuery,
}

/// A container as `/api/containers` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerRow {
    /// Its id.
    pub id: String,
    /// Its application.
    pub application: Option<String>,
    /// Its service.
    pub service: Option<String>,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// How often it has started.
    pub starts: Option<i64>,
    /// Whether events of it are missing.
    pub missing: bool,
}

/// A container with its timeline.
#[derive(Clone, Debug)]
pub struct ContainerTimeline {
    /// The container.
    pub row: ContainerRow,
    /// All its events, in no order.
    pub events: Vec<Heard>,
}

/// An alert as `/api/alerts` shows it: one stretch in which it was firing.
#[derive(Clone, Debug, Serialize)]
pub struct AlertRow {
    /// The rule.
    pub rule: String,
    /// Its severity.
    pub severity: Option<String>,
    /// `firing` or `resolved`; of what matched and does not fire yet, since it has to last or others
    /// have to join it, `pending` or, in the end, `never_fired`.
    pub status: &'static str,
    /// Its labels.
    pub labels: Labels,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// How many occurrences it has.
    pub occurrences: u64,
    /// Whether it was heard of more than a minute after it began.
    pub late: bool,
    /// Why it is not told yet, to whom.
    pub held_back: Vec<HeldBack>,
}

/// Why something is not told yet.
#[derive(Clone, Debug, Serialize)]
pub struct HeldBack {
    /// Who is not told; `null` where it is nobody, whoever its rule tells.
    pub receiver: Option<String>,
    /// One of DESIGN.md §6's words.
    pub reason: &'static str,
    /// What does so, if it has a name: a silence's id, a mute time's name.
    pub by: Option<String>,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
}

impl HeldBack {
    /// What is not told to this receiver, or to nobody, for this reason.
    #[must_use]
    pub fn new(receiver: Option<String>, reason: Reason) -> HeldBack {
        HeldBack { receiver, reason: reason.word, by: reason.by, until: reason.until }
    }
}

/// A silence as `/api/silences` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SilenceRow {
    /// Its id.
    pub id: SilenceId,
    /// What the labels of an alert must be like, as they were written.
    pub matchers: Arc<Matchers>,
    /// When it begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// Who made it.
    pub created_by: Option<String>,
    /// What for.
    pub comment: Option<String>,
    /// How far it is.
    pub status: SilenceStatus,
    /// How many alerts match it and fire now.
    pub alerts: usize,
}

/// How a receiver stands, as the store knows it.
#[derive(Clone, Debug, Default)]
pub struct ReceiverRow {
    /// Its name.
    pub receiver: String,
    /// Set while it is down.
    pub down: Option<Down>,
    /// How many attempts failed in a row.
    pub failures: u32,
    /// How many messages wait for it.
    pub pending: u64,
    /// Since when the first of them does.
    pub oldest: Option<Timestamp>,
    /// How many were given up.
    pub dead: u64,
}

/// A delivery as `/api/deliveries` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Its id.
    pub id: String,
    /// The receiver.
    pub receiver: String,
    /// Whom it was for, if it goes to another instead.
    pub instead_of: Option<String>,
    /// How far it is.
    pub status: Status,
    /// The rule that speaks.
    pub rule: String,
    /// The group's labels.
    pub labels: Labels,
    /// The digest that told it last, or tells it, along with others.
    pub digest: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// The last failure, in the place's own words.
    pub last_error: Option<String>,
    /// When it is tried next, while it waits.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A delivery with what became of it.
#[derive(Clone, Debug)]
pub struct DeliveryHistory {
    /// The delivery.
    pub row: DeliveryRow,
    /// What it says, once it was claimed.
    pub notification: Option<Arc<Notification>>,
    /// Its attempts, the first first.
    pub attempts: Vec<AttemptRow>,
}

/// An attempt as `/api/deliveries/ID` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When its outcome was known.
    pub ended_at: Option<Timestamp>,
    /// What came of it: `sent`, `transient`, `message`, `destination` or `unknown`; `unsent` if it was
    /// claimed ahead and put back, until the next attempt takes its number.
    pub outcome: Option<String>,
    /// The place's own words.
    pub detail: Option<String>,
}
