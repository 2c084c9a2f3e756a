//! Opens the database file: for one process alone, of a version that is known, set to be durable.
//!
//! Nothing is written to a file before it is known to be ours.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

#[cfg(doc)]
use super::checkpoint::Checkpoints;
use super::memory;
use crate::store::StoreError;

/// Each brings the database from the version that is its index to the next, which `user_version`
/// keeps.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];

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

/// More than there are different statements.
const STATEMENTS: usize = 128;

/// The connections to a database, and the lock that keeps others out.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    /// For [`Checkpoints`] alone.
    pub(super) helper: Connection,
    pub(super) lock: File,
}

/// Opens the database at `path`, and makes it if there is none.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let path = resolve(path)?;
    let lock = lock(&path)?;
    let explain = |error: rusqlite::Error| explain(&path, &error);
    let mut writer = connect(&path).map_err(explain)?;
    if writer.is_readonly("main").map_err(explain)? {
        return Err(refuse(&path, "is read-only; let tocsin write it"));
    }
    let version = version(&writer, &path)?;
    make_durable(&writer, &path)?;
    migrate(&mut writer, version).map_err(explain)?;
    memory::settle(&writer).map_err(explain)?;
    writer.pragma_update(None, "cache_size", -WRITER_CACHE).map_err(explain)?;
    writer.pragma_update(None, "journal_size_limit", WAL_LIMIT).map_err(explain)?;

    let reader = connect(&path).map_err(explain)?;
    reader.pragma_update(None, "cache_size", -READER_CACHE).map_err(explain)?;
    reader.pragma_update(None, "query_only", true).map_err(explain)?;
    let helper = connect(&path).map_err(explain)?;
    Ok(Opened { writer, reader, helper, lock })
}

/// The one true path of the file, so that no second name for it escapes the lock. Also keeps SQLite
/// from reading a path as a URI.
fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
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
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
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

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    // Else SQLite plans again whenever a parameter that a partial index might look at is bound anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// How many migrations the database has had.
fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
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

fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let why = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            "is no SQLite database; name another file, or move this one away".to_owned()
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("is damaged ({error}); restore it from a backup, or name another file")
        }
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

fn refuse(path: &Path, why: &str) -> StoreError {
    StoreError::Open(format!("the database {} {why}", path.display()))
}

/// What the system says, without the number of the error.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}
