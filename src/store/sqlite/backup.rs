//! Copies of a database: made beside a tocsin that runs, and put in its place while none does.
//!
//! Every copy is read as a whole before it gets its name, and no file that was there before is lost.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use tempfile::TempPath;

use super::check;
use super::open::{self, RESTORING, beside, reason, refuse};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// A copy of a database.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The database that was copied.
    pub from: PathBuf,
    /// The copy.
    pub to: PathBuf,
    /// How large it is, in bytes.
    pub size: u64,
    /// How many events it has.
    pub events: u64,
    /// When the last of them was received.
    pub last_received: Option<Timestamp>,
    /// What was in its place before, and where it is now.
    pub aside: Option<PathBuf>,
}

/// Copies the database at `from` to the file `to`, as it is at one moment, beside whoever uses it.
///
/// # Errors
/// [`StoreError::Open`] if there is no sound database, if `to` cannot be written, or if it is there
/// and not to be `replace`d. What was at `to` is as before then.
pub fn backup(from: &Path, to: &Path, replace: bool) -> Result<Copied, StoreError> {
    let (from, to) = (there(from)?, open::resolve(to)?);
    if beside(&to, "-wal").exists() || to == from {
        return Err(refuse(&to, "is in use as a database; name another file"));
    }
    if belongs_to_another(&to) {
        let why = format!("{} belongs to the database beside it; name another file", to.display());
        return Err(StoreError::Open(why));
    }
    if to.exists() && !replace {
        return Err(exists(&to));
    }
    let (copy, copied) = copy(&from, &to)?;
    let put = |copy: TempPath| match replace {
        true => copy.persist(&to),
        false => copy.persist_noclobber(&to),
    };
    put(copy).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => exists(&to),
        _ => unwritable(&to, &error.error),
    })?;
    open::sync_folder(&to).map_err(|error| unwritable(&to, &error))?;
    Ok(copied)
}

/// Puts a copy of the database at `from` in the place of that at `to`, which no tocsin may be using.
/// One that is there is moved `aside` with its log, if that is allowed; `now` tells it from others.
///
/// # Errors
/// [`StoreError::Open`] if there is no sound database at `from`, or if that at `to` is in use or not
/// to be moved. What was at `to` is as before then.
pub fn restore(from: &Path, to: &Path, aside: bool, now: Timestamp) -> Result<Copied, StoreError> {
    let from = there(from)?;
    if from == open::resolve(to)? {
        return Err(refuse(&from, "is the one to be restored; name its backup"));
    }
    // Before anything is made or asked for: whoever named the wrong file is to hear of that first.
    drop(source(&from, at_rest(&from).is_some())?);
    let open::Taken { path: to, lock } = open::take(to)?;
    let unwritable = |error: &io::Error| unwritable(&to, error);
    let folder = to.parent().unwrap_or(Path::new("/"));
    let owner =
        fs::metadata(if to.exists() { &to } else { folder }).map_err(|error| unwritable(&error))?;
    // It may just have been made, by root.
    hand_over(&beside(&to, ".lock"), &owner).map_err(|error| unwritable(&error))?;
    let is_there = |end: &str| fs::metadata(beside(&to, end)).is_ok_and(|file| file.len() > 0);
    let taken = is_there("") || is_there("-wal");
    if taken && !aside {
        return Err(refuse(
            &to,
            "is there already, and left as it is; say --force to have it moved aside",
        ));
    }
    let old = beside(&to, &now.utc().strftime(".before-%Y%m%dT%H%M%SZ").to_string());
    let old = unused(old);
    let (copy, mut copied) = copy(&from, &to)?;
    hand_over(&copy, &owner).map_err(|error| unwritable(&error))?;
    if to.exists() {
        let mode = Permissions::from_mode(owner.mode());
        fs::set_permissions(&copy, mode).map_err(|error| unwritable(&error))?;
    }
    // From here to the end a start is refused: there may be no database, or half of two.
    let restoring = beside(&to, RESTORING);
    copy.persist(&restoring).map_err(|error| unwritable(&error.error))?;
    if taken {
        move_aside(&to, &old).map_err(|error| unwritable(&error))?;
        copied.aside = Some(old);
    }
    fs::rename(&restoring, &to).map_err(|error| unwritable(&error))?;
    open::sync_folder(&to).map_err(|error| unwritable(&error))?;
    drop(lock);
    Ok(copied)
}

/// The one true path of a database that has to be there.
fn there(given: &Path) -> Result<PathBuf, StoreError> {
    let path = open::resolve(given)?;
    if path.exists() {
        return Ok(path);
    }
    let why = match given.is_relative() {
        // As where the rules file of a server that was started elsewhere names it.
        true => format!(
            "is not there ({} is relative to the current folder); name the whole path of the one \
             that you mean",
            given.display()
        ),
        false => "is not there; name another file".to_owned(),
    };
    Err(refuse(&path, &why))
}

/// Whether a file is one that is kept beside a database, by its name: the log, its index, the lock, or
/// half of a restore.
fn belongs_to_another(file: &Path) -> bool {
    let name = file.to_string_lossy();
    let mut others = ["-wal", "-shm", "-journal", ".lock", RESTORING].iter();
    others.any(|end| name.strip_suffix(end).is_some_and(|database| Path::new(database).is_file()))
}

/// A sound copy of the database at `from`, under a name of its own beside `to`.
fn copy(from: &Path, to: &Path) -> Result<(TempPath, Copied), StoreError> {
    let before = at_rest(from);
    let copied = copy_of(from, before.is_some(), to);
    // Whatever came of it, if a tocsin was started meanwhile.
    if before.is_some() && at_rest(from) != before { copy_of(from, false, to) } else { copied }
}

/// When a database was last written and how large it is, if it is in its one file alone.
fn at_rest(path: &Path) -> Option<(i64, i64, u64)> {
    let in_use = ["-wal", "-shm", "-journal"].iter().any(|end| beside(path, end).exists());
    let file = fs::metadata(path).ok().filter(|_| !in_use)?;
    Some((file.mtime(), file.mtime_nsec(), file.len()))
}

/// Opens the database at `from` to be read. One that is `at_rest` is read without locks and without
/// a log, which SQLite would have to make: its folder need not be written, and is left as it is.
fn source(from: &Path, at_rest: bool) -> Result<Connection, StoreError> {
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let source = match at_rest {
        true => open::connection(&immutable(from), read_only | OpenFlags::SQLITE_OPEN_URI),
        false => open::connection(from, read_only),
    };
    let source = source.map_err(|error| unreadable(from, &error))?;
    if open::version(&source, from)? == 0 {
        return Err(refuse(from, "is empty; name another file"));
    }
    Ok(source)
}

/// The path as a URI (<https://sqlite.org/uri.html>) that says that nobody writes to the file.
fn immutable(path: &Path) -> PathBuf {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    PathBuf::from(uri + "?immutable=1")
}

fn copy_of(from: &Path, at_rest: bool, to: &Path) -> Result<(TempPath, Copied), StoreError> {
    let folder = to.parent().unwrap_or(Path::new("/"));
    let file = tempfile::Builder::new()
        .prefix(".tocsin-")
        .suffix(".part")
        .tempfile_in(folder)
        .map_err(|error| unwritable(to, &error))?;
    let path = file.into_temp_path();
    let source = source(from, at_rest)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let written = |error: rusqlite::Error| match error.sqlite_error_code() {
        // Which of the two it is of is not said; the source is what is read.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(from, &error),
        _ => refuse(to, &format!("cannot be written ({error}); see to the disk")),
    };
    let mut copy = Connection::open_with_flags(&path, flags).map_err(written)?;
    // All in one step, within one reading of the source: where others write to it between two steps,
    // all would have to begin again.
    let step = Backup::new(&source, &mut copy).and_then(|backup| backup.step(-1));
    if step.map_err(written)? != StepResult::Done {
        return Err(refuse(from, "is locked by another program; stop that one"));
    }
    drop(source);
    // One file that needs no other, wherever it is read.
    let mode = copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()));
    mode.map_err(written)?;
    check::whole(&copy).map_err(|damage| damaged(from, &damage))?;
    let events = copy.query_row("select count(*) from events", [], |row| row.get::<_, i64>(0));
    let events = events.map_err(written)?;
    let last = "select received_at from events order by seq desc limit 1";
    let last_received = copy.query_row(last, [], |row| row.get(0)).optional().map_err(written)?;
    copy.close().map_err(|(_, error)| written(error))?;
    let file = File::open(&path).map_err(|error| unwritable(to, &error))?;
    file.sync_all().map_err(|error| unwritable(to, &error))?;
    let size = file.metadata().map_err(|error| unwritable(to, &error))?.len();
    let events = u64::try_from(events).unwrap_or(0);
    let (from, to) = (from.to_owned(), to.to_owned());
    Ok((path, Copied { from, to, size, events, last_received, aside: None }))
}

/// Gives a file to this owner, where it has another: what root restores, tocsin has to write.
fn hand_over(path: &Path, owner: &fs::Metadata) -> io::Result<()> {
    let file = fs::metadata(path)?;
    if (file.uid(), file.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    match chown(path, Some(owner.uid()), Some(owner.gid())) {
        // Who may not give it away keeps it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

/// This name, or one with a number behind it, which no database has.
fn unused(name: PathBuf) -> PathBuf {
    let names = (2..).map(|number| beside(&name, &format!("-{number}")));
    let mut names = std::iter::once(name.clone()).chain(names);
    names.find(|name| !name.exists() && !beside(name, "-wal").exists()).unwrap_or(name)
}

/// Moves a database with its log: without it, it would lack its newest commits, and beside another
/// database the log would destroy that.
fn move_aside(path: &Path, old: &Path) -> io::Result<()> {
    for end in ["", "-wal"] {
        let from = beside(path, end);
        if from.exists() {
            fs::rename(from, beside(old, end))?;
        }
    }
    // An index of the log, which is made anew.
    match fs::remove_file(beside(path, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> StoreError {
    refuse(path, "is there already, and left as it is; name another file, or say --force")
}

fn unwritable(path: &Path, error: &io::Error) -> StoreError {
    refuse(path, &format!("cannot be written ({}); mend that, or name another file", reason(error)))
}

fn unreadable(path: &Path, error: &rusqlite::Error) -> StoreError {
    refuse(path, &format!("cannot be read ({error}); let whoever runs this read it and its folder"))
}

fn damaged(path: &Path, damage: &dyn std::fmt::Display) -> StoreError {
    refuse(path, &format!("is damaged ({damage}); no copy is made of it: take an older backup"))
}
