//! The thread that writes: all the work that waits goes into one transaction, and so into one sync.
//!
//! Every piece of work stands or falls alone, within a savepoint. It is answered after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::checkpoint::Checkpoints;
use super::failure::Failure;
use super::memory::Memory;
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

/// Works until every sender of the queue is gone, then leaves the whole database in its one file.
pub(super) fn serve(mut connection: Connection, checkpoints: Checkpoints, queue: &Receiver<Unit>) {
    let mut memory = Memory::default();
    while let Ok(first) = queue.recv() {
        let mut units = vec![first];
        units.extend(queue.try_iter().take(BATCH - 1));
        let (works, answers): (Vec<_>, Vec<_>) =
            units.into_iter().map(|unit| (unit.work, unit.answer)).unzip();
        let results = match commit(&connection, &mut memory, works) {
            Ok(results) => results,
            Err(error) => answers.iter().map(|_| Err(error.clone())).collect(),
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // Whoever asked may have gone; what was done is done.
            let _ = answer.send(result);
        }
    }
    memory.settle();
    if let Err(error) = commit(&connection, &mut memory, Vec::new()) {
        warn!(%error, "the log of containers stays in the database until the next start");
    }
    checkpoints.stop(&mut connection);
    let checkpoint = connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
    if let Err(error) = checkpoint.and_then(|()| connection.close().map_err(|(_, error)| error)) {
        warn!(%error, "the write-ahead log stays beside the database until the next start");
    }
}

/// Does all of it in one transaction. `Err` means that nothing at all was committed.
fn commit(
    connection: &Connection,
    memory: &mut Memory,
    works: Vec<Work>,
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
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
        error!(%error, "the database cannot roll back");
    }
    results.map_err(StoreError::from)
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
        if connection.is_autocommit() {
            return Err(failure);
        }
        command(connection, "rollback to unit")?;
        command(connection, "release unit")?;
        return Ok(Err(failure.into()));
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
