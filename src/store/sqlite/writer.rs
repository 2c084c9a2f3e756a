//! The thread that writes: all the work that waits goes into one transaction, and so into one sync.
//!
//! Every piece of work stands or falls alone, within a savepoint. It is answered after the commit.
//! What fails because of the store fails for all of them, and leaves nothing.
//!
//! A commit whose sync failed was rolled back, and the next one is written over it in the log: so
//! that what the system may have forgotten is written anew, and it is safe to go on. Where the log
//! was being folded into the database that is not so ([`Trouble::doubt`]), and the writer has
//! everything opened anew first.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::checkpoint::Checkpoints;
use super::failure::Failure;
use super::memory::Memory;
use super::open::Index;
use super::reader::Question;
use super::trouble::Trouble;
use super::{Queue, lock, open};
use crate::store::StoreError;

/// Work to be done within a transaction.
pub(super) type Work = Box<dyn FnOnce(&Connection, &mut Memory) -> Result<(), Failure> + Send>;

/// Work that waits, and where to answer that it is committed.
pub(super) struct Unit {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// How many units one commit takes at most.
const BATCH: usize = 256;

/// What the thread has at hand.
pub(super) struct Writer {
    /// `None` while the database cannot be opened anew.
    open: Option<Open>,
    /// Who reads, and has to let go of the database for that.
    reader: Arc<Queue<Question>>,
    trouble: Arc<Trouble>,
    /// When it was last seen that the database is still there.
    seen: Instant,
}

/// How long that holds. A commit is not to wait for it.
const SEEN_HOLDS: Duration = Duration::from_secs(1);

/// An open database.
struct Open {
    connection: Connection,
    checkpoints: Checkpoints,
    memory: Memory,
    index: Index,
}

impl Writer {
    /// One that writes by this connection, and folds in by that of a helper.
    pub(super) fn new(
        connection: Connection,
        helper: Connection,
        index: Index,
        reader: Arc<Queue<Question>>,
        trouble: &Arc<Trouble>,
    ) -> io::Result<Writer> {
        let trouble = Arc::clone(trouble);
        let open = Some(Open::new(connection, helper, index, &trouble)?);
        Ok(Writer { open, reader, trouble, seen: Instant::now() })
    }

    /// Works until every sender of the queue is gone, then leaves the whole database in its one file.
    pub(super) fn serve(mut self, queue: &Receiver<Unit>) {
        while let Ok(first) = queue.recv() {
            let mut units = vec![first];
            units.extend(queue.try_iter().take(BATCH - 1));
            let (works, answers): (Vec<_>, Vec<_>) =
                units.into_iter().map(|unit| (unit.work, unit.answer)).unzip();
            let results = match self.commit(works) {
                Ok(results) => results,
                Err(error) => answers.iter().map(|_| Err(error.clone())).collect(),
            };
            for (answer, result) in answers.into_iter().zip(results) {
                // Whoever asked may have gone; what was done is done.
                let _ = answer.send(result);
            }
        }
        let in_order = self.trouble.damage().is_none() && !self.trouble.in_doubt();
        if let Some(mut open) = self.open {
            // What is in memory is out of date if another tocsin could take the database.
            if in_order && self.trouble.still_there().is_ok() {
                open.settle();
            }
            open.close(in_order);
        }
    }

    /// Does all of it in one transaction. `Err` means that nothing at all was committed.
    fn commit(&mut self, works: Vec<Work>) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        if let Some(damage) = self.trouble.damage() {
            return Err(damage);
        }
        if self.seen.elapsed() >= SEEN_HOLDS {
            self.trouble.still_there()?;
            self.seen = Instant::now();
        }
        let Open { connection, memory, .. } = match &mut self.open {
            Some(open) if !self.trouble.in_doubt() => open,
            _ => {
                let before = self.open.take();
                let anew = self.open_anew(before)?;
                self.open.insert(anew)
            }
        };
        let results = within_transaction(connection, memory, works);
        match results {
            Ok(_) => memory.committed(),
            Err(_) => memory.roll_back(0),
        }
        // A full disk or a failing one may or may not have ended the transaction.
        if results.is_err()
            && !connection.is_autocommit()
            && let Err(error) = command(connection, "rollback")
        {
            error!(%error, "the database cannot roll back; it is to be opened anew");
            self.trouble.doubt();
        }
        let results = results.map_err(|failure| self.trouble.note(failure))?;
        self.trouble.went_well();
        Ok(results)
    }

    /// Lets everyone go of the database, and opens it as a start does: from its files alone, the
    /// whole log being folded in before anything else is done.
    fn open_anew(&self, before: Option<Open>) -> Result<Open, StoreError> {
        self.ask_reader(|connection| *connection = None);
        if let Some(before) = before {
            before.close(false);
        }
        let trouble = &self.trouble;
        let opened = open::reopen(trouble.path());
        let open::Opened { writer, reader, helper, index } =
            opened.map_err(|error| trouble.unavailable(error.to_string()))?;
        let open = Open::new(writer, helper, index, trouble)
            .map_err(|error| trouble.unavailable(error.to_string()))?;
        self.ask_reader(|connection| *connection = Some(reader));
        trouble.resolved();
        info!("the database was opened anew, and all of its log is folded in");
        Ok(open)
    }

    /// Waits until the reader has done so, if it has not ended.
    fn ask_reader(&self, change: impl FnOnce(&mut Option<Connection>) + Send + 'static) {
        let (done, is_done) = mpsc::channel();
        let change: Question = Box::new(move |connection| {
            change(connection);
            let _ = done.send(());
        });
        let sent = lock(&self.reader).as_ref().is_some_and(|queue| queue.send(change).is_ok());
        if sent {
            // If it ends before it is asked, it lets go as well.
            let _ = is_done.recv();
        }
    }
}

impl Open {
    fn new(
        mut connection: Connection,
        helper: Connection,
        index: Index,
        trouble: &Arc<Trouble>,
    ) -> io::Result<Open> {
        let checkpoints = Checkpoints::start(&mut connection, helper, open::CHECKPOINT, trouble)?;
        Ok(Open { connection, checkpoints, memory: Memory::default(), index })
    }

    /// Brings the tables up to date.
    fn settle(&mut self) {
        let Open { connection, memory, .. } = self;
        memory.settle();
        if let Err(error) = within_transaction(connection, memory, Vec::new()) {
            warn!(?error, "the log of containers stays in the database until the next start");
            if !connection.is_autocommit() {
                // What cannot be rolled back is rolled back by the next start.
                let _ = command(connection, "rollback");
            }
        }
    }

    /// Leaves the whole database in its one file, if it is in order; else everything as it is.
    fn close(self, in_order: bool) {
        let Open { mut connection, checkpoints, memory: _, index } = self;
        checkpoints.stop(&mut connection);
        if in_order && let Err(error) = fold(&connection) {
            warn!(%error, "the write-ahead log stays beside the database until the next start");
        }
        if let Err((_, error)) = connection.close() {
            warn!(%error, "the database could not be closed");
        }
        drop(index);
    }
}

/// Folds in all of the log, and has it removed when the connection is closed.
fn fold(connection: &Connection) -> rusqlite::Result<()> {
    let busy: bool =
        connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, busy).map(drop)
}

fn within_transaction(
    connection: &Connection,
    memory: &mut Memory,
    works: Vec<Work>,
) -> Result<Vec<Result<(), StoreError>>, Failure> {
    command(connection, "begin immediate")?;
    let alone = works.len() == 1;
    let mut results = Vec::with_capacity(works.len());
    for work in works {
        if alone {
            run(connection, memory, work)?;
            results.push(Ok(()));
        } else {
            results.push(within_savepoint(connection, memory, work)?);
        }
    }
    memory.write(connection)?;
    command(connection, "commit")?;
    Ok(results)
}

/// The outer error is one of the whole transaction, the inner one of this work alone.
fn within_savepoint(
    connection: &Connection,
    memory: &mut Memory,
    work: Work,
) -> Result<Result<(), StoreError>, Failure> {
    command(connection, "savepoint unit")?;
    let savepoint = memory.savepoint();
    let result = run(connection, memory, work);
    if let Err(failure) = result {
        memory.roll_back(savepoint);
        let why = failure.refusal()?;
        command(connection, "rollback to unit")?;
        command(connection, "release unit")?;
        return Ok(Err(StoreError::Refused(why)));
    }
    command(connection, "release unit")?;
    Ok(Ok(()))
}

fn run(connection: &Connection, memory: &mut Memory, work: Work) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(|| work(connection, memory))).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<&str>()
            .map(|words| (*words).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no words".into());
        Err(Failure::Refused(format!("it panicked: {words}")))
    })
}

fn command(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
