//! Opens the database file: for one process alone, of a version that is known, unharmed as far as can
//! be seen at once, and set to be durable.
//!
//! Nothing is written to a file before it is known to be ours and found in order.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use tracing::warn;

#[cfg(doc)]
use super::checkpoint::Checkpoints;
use super::{check, memory};
use crate::store::StoreError;

/// Each brings the database from the version that is its index to the next, which `user_version`
/// keeps.
pub(super) const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];

/// "tocs" in ASCII: tells our files from those of other programs.
const APPLICATION_ID: i32 = 0x746f_6373;

/// Nobody else should hold a lock; a backup or a curious person with the `sqlite3` shell may.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection may cache, in KiB: idle memory is to stay small.
const WRITER_CACHE: i32 = 4096;
const READER_CACHE: i32 = 1024;

/// How large the write-ahead log may stay after a burst, in bytes.
const WAL_LIMIT: i64 = 16 * 1024 * 1024;

/// How long the write-ahead log grows before it is folded into the database, in pages of 4 KiB: as
/// long as it may stay. The longer it is, the more writes of one page become one.
pub(super) const CHECKPOINT: i32 = (WAL_LIMIT / 4096) as i32;

/// The size of the index of the log, in bytes: enough for a log of 256 MiB, 32 KiB for each 4096 pages
/// (<https://sqlite.org/walformat.html>).
const INDEX: u64 = 16 * 32 * 1024;

/// How much room there has to be on the disk for a start, in bytes.
const ROOM: u64 = 1024 * 1024;

/// More than there are different statements.
const STATEMENTS: usize = 128;

/// The connections to a database.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    /// For [`Checkpoints`] alone.
    pub(super) helper: Connection,
    pub(super) index: Index,
}

/// Has room on the disk for the index of the log, which SQLite writes as memory: where there is none
/// when it does, the process is killed. Closed before the last connection, it would take SQLite's
/// locks along.
pub(super) struct Index {
    _file: File,
}

/// A database that is this process's alone, as long as the lock is kept.
pub(super) struct Taken {
    /// The one true path of its file.
    pub(super) path: PathBuf,
    pub(super) lock: File,
}

/// Takes the database at `path` for this process, be there one or not.
pub(super) fn take(path: &Path) -> Result<Taken, StoreError> {
    let path = resolve(path)?;
    let lock = lock(&path)?;
    Ok(Taken { path, lock })
}

/// Opens the database at `path`, which is this process's, and makes it if there is none.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let restoring = beside(path, RESTORING);
    if restoring.exists() {
        let why = format!(
            "was being restored, which was broken off; restore it again, or remove {}",
            restoring.display()
        );
        return Err(refuse(path, &why));
    }
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let log = beside(path, "-wal");
    if size(path) == 0 && size(&log) > 0 {
        let why = format!(
            "is gone, and its newest commits are there in {}; put it back, or move that away too",
            log.display()
        );
        return Err(refuse(path, &why));
    }
    connect(path, OpenFlags::SQLITE_OPEN_CREATE)
}

/// Opens the database at `path`, which was open before, from its files alone.
pub(super) fn reopen(path: &Path) -> Result<Opened, StoreError> {
    connect(path, OpenFlags::empty())
}

fn connect(path: &Path, more: OpenFlags) -> Result<Opened, StoreError> {
    if room(path).is_some_and(|room| room < ROOM) {
        let why = "cannot be opened while its disk has less than 1 MiB free; free some space";
        return Err(refuse(path, why));
    }
    let explain = |error: rusqlite::Error| explain(path, &error);
    let connect = || connection(path, OpenFlags::SQLITE_OPEN_READ_WRITE | more).map_err(explain);
    let mut writer = connect()?;
    if writer.is_readonly("main").map_err(explain)? {
        return Err(refuse(path, "is read-only; let tocsin write it"));
    }
    let version = version(&writer, path)?;
    check::at_once(&writer, version).map_err(|damage| damaged(path, &damage))?;
    make_durable(&writer, path)?;
    migrate(&mut writer, version).map_err(explain)?;
    memory::settle(&writer).map_err(explain)?;
    fold(&writer).map_err(explain)?;
    sync_folder(path).map_err(|error| {
        refuse(path, &format!("cannot be made durable ({}); see to the disk", reason(&error)))
    })?;
    writer.pragma_update(None, "cache_size", -WRITER_CACHE).map_err(explain)?;
    writer.pragma_update(None, "journal_size_limit", WAL_LIMIT).map_err(explain)?;
    // What a unit may have to take back is kept in memory: no disk but the database's has to do.
    writer.pragma_update(None, "temp_store", "memory").map_err(explain)?;

    let reader = connect()?;
    reader.pragma_update(None, "cache_size", -READER_CACHE).map_err(explain)?;
    reader.pragma_update(None, "query_only", true).map_err(explain)?;
    let helper = connect()?;
    let index = reserve_index(path).map_err(|error| {
        refuse(path, &format!("has no room for its -shm ({}); free some space", reason(&error)))
    })?;
    Ok(Opened { writer, reader, helper, index })
}

/// How much room the disk of a database has, in bytes, if that can be known.
fn room(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path.parent()?).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn reserve_index(path: &Path) -> io::Result<Index> {
    let file = File::options().write(true).open(beside(path, "-shm"))?;
    match fallocate(&file, FallocateFlags::empty(), 0, INDEX) {
        // Some file systems know no such thing.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) | Ok(()) => Ok(Index { _file: file }),
        Err(error) => Err(error.into()),
    }
}

/// Folds all of the log that the last process left into the database.
///
/// If the disk failed then, some of the log may be in the system's memory and not on the disk, and
/// no sync would tell. Written to the database and synced there, it is on the disk before anything
/// that builds on it is accepted.
fn fold(writer: &Connection) -> rusqlite::Result<()> {
    let busy: bool = writer.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
    if busy {
        warn!("another program reads the database; the write-ahead log grows until it is done");
    }
    Ok(())
}

/// Has the names of the files be as durable as what is in them.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// What the last moment of a restore is known by (`backup.rs`).
pub(super) const RESTORING: &str = ".restoring";

/// The file beside the database whose name has this end.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The one true path of the file, so that no second name for it escapes the lock. Also keeps SQLite
/// from reading a path as a URI.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    if path.is_dir() {
        return Err(refuse(path, "is a directory; name a file in it"));
    }
    if let Ok(whole) = fs::canonicalize(path) {
        return Ok(whole);
    }
    let name = path.file_name().ok_or_else(|| refuse(path, "names no file; name one"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::canonicalize(folder) {
        Ok(folder) if folder.is_dir() => Ok(folder.join(name)),
        Ok(folder) => Err(refuse(
            path,
            &format!("lies in {}, which is no folder; name another place", folder.display()),
        )),
        Err(error) => Err(refuse(
            path,
            &format!(
                "cannot be made, since its folder {} cannot be used ({}); make the folder first",
                folder.display(),
                reason(&error)
            ),
        )),
    }
}

/// Takes the database for this process. The lock goes with the file handle, also when the process
/// is killed; the file of the lock stays.
fn lock(path: &Path) -> Result<File, StoreError> {
    let name = beside(path, ".lock");
    let file =
        File::options().create(true).write(true).truncate(false).open(&name).map_err(|error| {
            let why = format!(
                "cannot be used, since {} cannot be written ({}); give tocsin a folder that it may \
                 write",
                name.display(),
                reason(&error)
            );
            refuse(path, &why)
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refuse(
            path,
            &format!(
                "is in use by another tocsin (it holds {}); stop that one, or give this one \
                 another file",
                name.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(refuse(
            path,
            &format!(
                "cannot be locked by {} ({}); put it on a disk of this machine",
                name.display(),
                reason(&error)
            ),
        )),
    }
}

/// A connection that changes nothing by being closed: what is damaged stays as it is, and what may
/// not be on the disk is not folded in as if it were.
pub(super) fn connection(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    // Else SQLite plans again whenever a parameter that a partial index might look at is bound anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// How many migrations the database has had.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let pragma = |name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(explain)
    };
    let empty: bool = connection
        .query_row("select not exists (select 1 from sqlite_schema)", [], |row| row.get(0))
        .map_err(explain)?;
    let (owner, version) = (pragma("application_id")?, pragma("user_version")?);
    if empty && owner == 0 && version == 0 {
        return Ok(0);
    }
    if owner != APPLICATION_ID {
        return Err(refuse(path, "is a database of another program; name another file"));
    }
    match usize::try_from(version) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(refuse(
            path,
            &format!(
                "has format {version}, and this tocsin knows formats up to {}; run the newer \
                 tocsin that wrote it, or name another file",
                MIGRATIONS.len()
            ),
        )),
    }
}

fn make_durable(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(explain)?;
    connection.pragma_update(None, "synchronous", "full").map_err(explain)?;
    let synchronous: i32 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(explain)?;
    // 2 is FULL: every commit is synced before it returns.
    if mode != "wal" || synchronous != 2 {
        let why = format!(
            "cannot be made durable (journal_mode {mode}, synchronous {synchronous}); put it on a \
             disk of this machine"
        );
        return Err(refuse(path, &why));
    }
    Ok(())
}

/// Each migration is one transaction: killed in the middle of it, the database is as before.
fn migrate(connection: &mut Connection, from: usize) -> rusqlite::Result<()> {
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", super::values::count(index + 1))?;
        transaction.commit()?;
    }
    Ok(())
}

pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let why = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            "is no SQLite database; name another file, or move this one away".to_owned()
        }
        Some(ErrorCode::DatabaseCorrupt) => return damaged(path, &error.to_string()),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            format!("cannot be opened for writing ({error}); let tocsin write it and its folder")
        }
        Some(ErrorCode::DiskFull) => format!("cannot be written ({error}); free some space"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("is locked by another program ({error}); stop that one")
        }
        _ => format!("cannot be opened ({error}); mend that, or name another file"),
    };
    refuse(path, &why)
}

fn damaged(path: &Path, damage: &str) -> StoreError {
    let why = format!("is damaged ({damage}) and left as it is; restore a backup, or name another");
    refuse(path, &why)
}

pub(super) fn refuse(path: &Path, why: &str) -> StoreError {
    StoreError::Open(format!("the database {} {why}", path.display()))
}

/// What the system says, without the number of the error.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}
