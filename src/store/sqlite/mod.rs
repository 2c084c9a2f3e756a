//! The store on one SQLite file: rusqlite on threads of its own, behind the [`Store`] trait.
//!
//! One connection writes, one reads, and one folds the log of what was written into the database. What is absent on purpose: a pool, since SQLite has one
//! writer at a time, and any SQL that another backend shares.

pub mod backup;
mod check;
mod checkpoint;
mod due;
mod failure;
mod lists;
mod load;
mod memory;
mod open;
mod prune;
mod reader;
mod rules;
mod save;
mod silences;
mod trouble;
mod values;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    Adoption, AlertQuery, AlertRow, Claimable, ContainerRow, ContainerTimeline, DecideFn,
    DeliveryHistory, DeliveryQuery, DeliveryRow, Due, EventQuery, NewSilence, Page, PageQuery,
    ReceiverRow, SilenceQuery, SilenceRow, Store, StoreError, Unfinished, Version,
};
use crate::clock::Timestamp;
use crate::engine::{DeliveryId, Keys, SilenceId};
use failure::Failure;
use memory::Memory;
use trouble::Trouble;

/// A store in one SQLite file, for one process.
pub struct SqliteStore {
    reader: Worker<reader::Question>,
    writer: Worker<writer::Unit>,
    lock: Mutex<Option<File>>,
    trouble: Arc<Trouble>,
    /// When it was last asked what is due.
    last_look: Mutex<Timestamp>,
    /// Since when the writer has been at one decision, while it is at one.
    deciding: Arc<Mutex<Option<Instant>>>,
}

/// How long one decision may take before it counts as one that never ends. Those of alerts that
/// thousands of containers hold up take seconds.
const DECIDES_WITHIN: Duration = Duration::from_secs(60);

impl SqliteStore {
    /// Opens the database at `path`, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError::Open`] if it cannot be made, is no database of a known version, is damaged, or
    /// is in use; the file is as it was then.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        let open::Taken { path, lock } = open::take(path)?;
        let open::Opened { writer, reader, helper, index } = open::open(&path)?;
        let trouble = Arc::new(Trouble::new(&path));
        let reader = Worker::start("store-reader", |queue| reader::serve(reader, &queue))?;
        let writer =
            writer::Writer::new(writer, helper, index, Arc::clone(&reader.queue), &trouble)
                .map_err(|error| no_thread(&error))?;
        Ok(SqliteStore {
            reader,
            writer: Worker::start("store-writer", |queue| writer.serve(&queue))?,
            lock: Mutex::new(Some(lock)),
            trouble,
            // Nothing is known of the clock before the start.
            last_look: Mutex::new(Timestamp::FOR_EVER),
            deciding: Arc::default(),
        })
    }

    /// Does what waits, folds everything into the one file, and gives it up. Later calls answer
    /// [`StoreError::Closed`]. Blocks; dropping the store does the same.
    pub fn close(&self) {
        self.reader.stop();
        self.writer.stop();
        take(&self.lock);
    }

    /// Runs `work` within a transaction, and answers after the commit.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Memory) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, mut outcome) = oneshot::channel();
        let (answer, committed) = oneshot::channel();
        let work = Box::new(move |connection: &Connection, memory: &mut Memory| {
            let value = work(connection, memory)?;
            // Whoever asked may have gone; the work is to be committed all the same.
            let _ = done.send(value);
            Ok(())
        });
        self.writer.send(writer::Unit { work, answer })?;
        committed.await.map_err(|_| StoreError::Closed)??;
        outcome.try_recv().map_err(|_| StoreError::Closed)
    }

    /// As [`Store::stuck`], where a decision may take so long.
    fn stuck_for(&self, limit: Duration) -> Option<String> {
        if self.writer.ended() || self.reader.ended() {
            return Some("a thread of the store has ended".into());
        }
        let since = (*lock(&self.deciding))?;
        (since.elapsed() > limit).then(|| format!("a decision takes longer than {limit:?}"))
    }

    /// Asks `question` of one state of the database.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let trouble = Arc::clone(&self.trouble);
        self.reader.send(Box::new(move |connection| {
            if answer.is_closed() {
                return;
            }
            let Some(connection) = connection else {
                let why = "the database is being opened anew".to_owned();
                let _ = answer.send(Err(trouble.recent().unwrap_or(StoreError::Unavailable(why))));
                return;
            };
            let ask = || {
                let transaction = connection.unchecked_transaction()?;
                let value = question(&transaction)?;
                transaction.commit()?;
                Ok(value)
            };
            let _ = answer.send(ask().map_err(|failure| trouble.note(failure)));
        }))?;
        answered
            .await
            .map_err(|_| StoreError::Unavailable("reading from the database ended early".into()))?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for SqliteStore {
    fn run(&self, keys: Keys, mut decide: DecideFn) -> BoxFuture<'_, Result<(), StoreError>> {
        let deciding = Arc::clone(&self.deciding);
        let mut decide: DecideFn = Box::new(move |snapshot| {
            let _until_decided = Deciding::begin(&deciding);
            decide(snapshot)
        });
        Box::pin(self.write(move |connection, memory| {
            let (read, changes) = load::decided(connection, memory, keys, &mut decide)?;
            save::changes(connection, memory, &read, &changes)
        }))
    }

    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Due, StoreError>> {
        Box::pin(async move {
            let before = std::mem::replace(&mut *lock(&self.last_look), now);
            let clock_went_back = before > now;
            let due =
                self.read(move |connection| due::due(connection, now, clock_went_back, limit));
            let due = due.await;
            if clock_went_back && !due.as_ref().is_ok_and(|due| due.keys.is_empty()) {
                // Until nothing of it is left, what was set then is to be looked for.
                *lock(&self.last_look) = before;
            }
            due
        })
    }

    fn claimable<'a>(
        &'a self,
        receiver: &'a str,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Claimable, StoreError>> {
        let receiver = receiver.to_owned();
        Box::pin(self.read(move |connection| due::claimable(connection, &receiver, now, limit)))
    }

    fn leased(&self) -> BoxFuture<'_, Result<Vec<DeliveryId>, StoreError>> {
        Box::pin(self.read(due::leased))
    }

    fn waiting_for_others(
        &self,
        receivers: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryId>, StoreError>> {
        Box::pin(self.read(move |connection| due::waiting_for_others(connection, receivers)))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, StoreError>> {
        Box::pin(self.read(due::unfinished))
    }

    fn adopt(
        &self,
        rules: BTreeMap<String, Version>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Adoption, StoreError>> {
        Box::pin(self.write(move |connection, _| rules::adopt(connection, rules, now)))
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Page<String>, StoreError>> {
        Box::pin(async move { self.read(lists::events(query)?).await })
    }

    fn containers(&self, page: PageQuery) -> BoxFuture<'_, Result<Page<ContainerRow>, StoreError>> {
        Box::pin(async move { self.read(lists::containers(page)?).await })
    }

    fn container(
        &self,
        id: String,
    ) -> BoxFuture<'_, Result<Option<ContainerTimeline>, StoreError>> {
        Box::pin(self.read(move |connection| lists::container(connection, &id.into())))
    }

    fn alerts(&self, query: AlertQuery) -> BoxFuture<'_, Result<Page<AlertRow>, StoreError>> {
        Box::pin(async move { self.read(lists::alerts(query)?).await })
    }

    fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> BoxFuture<'_, Result<Page<DeliveryRow>, StoreError>> {
        Box::pin(async move { self.read(lists::deliveries(query)?).await })
    }

    fn receivers(&self) -> BoxFuture<'_, Result<Vec<ReceiverRow>, StoreError>> {
        Box::pin(self.read(|connection: &Connection| lists::receivers(connection)))
    }

    fn missing(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.read(|connection: &Connection| lists::missing(connection)))
    }

    fn delivery(
        &self,
        id: DeliveryId,
    ) -> BoxFuture<'_, Result<Option<DeliveryHistory>, StoreError>> {
        Box::pin(self.read(move |connection| lists::delivery(connection, &id)))
    }

    fn silences(&self, query: SilenceQuery) -> BoxFuture<'_, Result<Page<SilenceRow>, StoreError>> {
        Box::pin(async move { self.read(lists::silences(query)?).await })
    }

    fn add_silence(
        &self,
        silence: NewSilence,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<SilenceId, StoreError>> {
        Box::pin(self.write(move |connection, memory| {
            memory.forget_silences();
            silences::add(connection, &silence, now)
        }))
    }

    fn end_silence(
        &self,
        id: SilenceId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.write(move |connection, memory| {
            memory.forget_silences();
            silences::end(connection, id, now)
        }))
    }

    fn check_writable(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.write(|connection, _| rules::note_check(connection)).await?;
            // A disk may have room for this one row, and none for what comes in.
            self.trouble.recent().map_or(Ok(()), Err)
        })
    }

    fn stuck(&self) -> Option<String> {
        self.stuck_for(DECIDES_WITHIN)
    }
}

/// Notes that the writer decides, and, once dropped, that it does not.
struct Deciding<'a>(&'a Mutex<Option<Instant>>);

impl Deciding<'_> {
    fn begin(since: &Mutex<Option<Instant>>) -> Deciding<'_> {
        *lock(since) = Some(Instant::now());
        Deciding(since)
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

fn no_thread(error: &io::Error) -> StoreError {
    StoreError::Open(format!("no thread could be started for the store: {error}"))
}

/// Where work is sent to, until no more is taken.
type Queue<T> = Mutex<Option<Sender<T>>>;

/// A thread that works off a queue.
struct Worker<T> {
    queue: Arc<Queue<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<T: Send + 'static> Worker<T> {
    fn start(
        name: &str,
        serve: impl FnOnce(Receiver<T>) + Send + 'static,
    ) -> Result<Worker<T>, StoreError> {
        let (queue, waiting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || serve(waiting))
            .map_err(|error| no_thread(&error))?;
        Ok(Worker { queue: Arc::new(Mutex::new(Some(queue))), thread: Mutex::new(Some(thread)) })
    }

    fn send(&self, item: T) -> Result<(), StoreError> {
        let queue = lock(&self.queue);
        let queue = queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(item).map_err(|_| StoreError::Closed)
    }

    /// Whether nothing will be worked off any more.
    fn ended(&self) -> bool {
        lock(&self.thread).as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until what is queued is done and the thread has ended.
    fn stop(&self) {
        drop(take(&self.queue));
        if let Some(thread) = take(&self.thread) {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    lock(slot).take()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
