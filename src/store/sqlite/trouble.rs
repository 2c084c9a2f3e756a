//! What is wrong with the database, as whoever uses it finds out: kept for those who ask, and said in
//! the log when it begins and when it is over.
//!
//! Damage is the end of all writing: what is added to a damaged database may be lost with it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::{ErrorCode, ffi};
use tracing::{error, info};

use super::failure::Failure;
use super::lock;
use super::open::{beside, reason};
use crate::store::StoreError;

/// For how long a failure says that the next commit may fail as well.
const RECENT: Duration = Duration::from_secs(10);

/// What is known to be wrong with the database at a path.
pub(super) struct Trouble {
    path: PathBuf,
    /// Which files it has.
    files: Vec<Watched>,
    /// When it last could not be used, and why.
    last: Mutex<Option<(Instant, String)>>,
    damage: OnceLock<String>,
    /// See [`Trouble::doubt`].
    in_doubt: AtomicBool,
}

/// A file that has to stay where it is: SQLite goes on with one that was removed, and what it writes
/// there is gone with the process. All of them are there once the database is open, and nothing but
/// the stop of the last connection removes one.
struct Watched {
    path: PathBuf,
    /// Its device and its number there.
    file: Option<(u64, u64)>,
    /// What to do when it is another.
    remedy: &'static str,
}

/// The ends of the names of these files, and their remedies.
const WATCHED: [(&str, &str); 4] = [
    ("", "put it back, or restart tocsin to go on with what is there"),
    ("-wal", STOP),
    ("-shm", STOP),
    (".lock", "see that no other tocsin has taken the database since, and restart this one"),
];

/// The connection that is open still has the log, and folds it in when it is closed.
const STOP: &str = "put it back, or stop tocsin without killing it, which saves what was written, and \
                    start it again";

impl Trouble {
    /// None yet with the database at `path`, which is open.
    pub(super) fn new(path: &Path) -> Trouble {
        let watched = WATCHED.iter().map(|(end, remedy)| {
            let path = beside(path, end);
            Watched { file: file_at(&path), path, remedy }
        });
        Trouble {
            path: path.to_owned(),
            files: watched.collect(),
            last: Mutex::new(None),
            damage: OnceLock::new(),
            in_doubt: AtomicBool::new(false),
        }
    }

    /// Where the database is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sees whether the files that are open are still the database: what is written to one that was
    /// moved or removed is kept nowhere, and without its lock it is not ours alone.
    ///
    /// # Errors
    /// If they are not.
    pub(super) fn still_there(&self) -> Result<(), StoreError> {
        let changed = |it: &&Watched| it.file.is_none() || it.file != file_at(&it.path);
        let Some(Watched { path, remedy, .. }) = self.files.iter().find(changed) else {
            return Ok(());
        };
        let what = if *path == self.path { "the database" } else { "the database's file" };
        Err(self.unavailable(format!(
            "{what} {} was moved, removed or replaced while it was in use; {remedy}",
            path.display()
        )))
    }

    /// Takes note of a failure, and answers what to say of it.
    pub(super) fn note(&self, failure: Failure) -> StoreError {
        let error = match failure.refusal() {
            Ok(why) => return StoreError::Refused(why),
            Err(error) => error,
        };
        let why = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => self.damaged(&error),
            Some(ErrorCode::DiskFull) => format!("{error}; free some space"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                format!("{error}; make it writable")
            }
            Some(ErrorCode::SystemIoFailure) => self.io_failure(&error),
            _ => error.to_string(),
        };
        self.unavailable(why)
    }

    /// Takes note that the store cannot be used for this reason.
    pub(super) fn unavailable(&self, why: String) -> StoreError {
        let before = lock(&self.last).replace((Instant::now(), why.clone()));
        if before.is_none() {
            error!(reason = why, "the database cannot be used; nothing is accepted meanwhile");
        }
        StoreError::Unavailable(why)
    }

    /// To be called after a commit.
    pub(super) fn went_well(&self) {
        let mut last = lock(&self.last);
        // A disk may have room for one row, and none for what comes in.
        if last.as_ref().is_some_and(|(when, _)| when.elapsed() >= RECENT) {
            *last = None;
            info!("the database can be used again");
        }
    }

    /// Why the next commit may fail, if the last ones did.
    pub(super) fn recent(&self) -> Option<StoreError> {
        let last = lock(&self.last);
        let recent = last.as_ref().filter(|(when, _)| when.elapsed() < RECENT);
        recent.map(|(_, why)| StoreError::Unavailable(why.clone()))
    }

    /// Why nothing is to be written any more, if that is so.
    pub(super) fn damage(&self) -> Option<StoreError> {
        self.damage.get().map(|why| StoreError::Unavailable(why.clone()))
    }

    fn damaged(&self, error: &rusqlite::Error) -> String {
        let path = self.path.display();
        let why = format!(
            "the database {path} is damaged ({error}), and nothing is written to it any more; stop \
             tocsin and restore a backup"
        );
        if self.damage.set(why.clone()).is_ok() {
            error!(%error, "the database is damaged; nothing is written to it any more");
        }
        why
    }

    /// Takes note that the log could not be folded into the database since the disk failed.
    ///
    /// What a failed sync leaves behind looks written and may not be, and the next sync says
    /// nothing of it. SQLite goes on where it was in the log, so that what it folded in before is
    /// not written again. So nothing more may be folded in, and the log not begun anew, until the
    /// database is [opened anew](super::writer) and all of the log is folded in from its beginning.
    pub(super) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::Release);
    }

    /// Whether that is so.
    pub(super) fn in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Acquire)
    }

    /// To be called when the database was opened anew.
    pub(super) fn resolved(&self) {
        self.in_doubt.store(false, Ordering::Release);
    }

    /// What the disk said, as far as it can be known: SQLite tells only what it was about to do.
    fn io_failure(&self, error: &rusqlite::Error) -> String {
        let doing = match error.sqlite_extended_error_code() {
            Some(ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ) => " on reading",
            Some(ffi::SQLITE_IOERR_WRITE) => " on writing",
            Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => " on syncing",
            Some(ffi::SQLITE_IOERR_TRUNCATE) => " on truncating",
            Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMOPEN) => {
                " on growing the file -shm, as on a full disk"
            }
            _ => "",
        };
        // The log, since closing the database itself would give up the locks that SQLite has on it.
        let probe = File::options().write(true).open(beside(&self.path, "-wal"));
        let cause = probe.err().map(|error| format!(": {}", reason(&error))).unwrap_or_default();
        format!("{error}{doing}{cause}; see to the disk")
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: i32) -> Failure {
        Failure::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn damage_is_for_ever_and_other_trouble_is_not() {
        let trouble = Trouble::new(Path::new("/nowhere/t.db"));
        trouble.note(failed(ffi::SQLITE_FULL));
        assert!(trouble.recent().is_some() && trouble.damage().is_none());
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            let trouble = Trouble::new(Path::new("/nowhere/t.db"));
            trouble.note(failed(code));
            trouble.went_well();
            let damage = trouble.damage().unwrap().to_string();
            assert!(damage.contains("/nowhere/t.db is damaged"), "{damage}");
        }
    }

    #[test]
    fn what_is_the_works_fault_is_no_trouble_of_the_store() {
        let trouble = Trouble::new(Path::new("/nowhere/t.db"));
        let refused = trouble.note(failed(ffi::SQLITE_CONSTRAINT));
        assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
        assert!(trouble.recent().is_none());
    }

    #[test]
    fn the_systems_own_reason_is_said_where_it_can_be_known() {
        let trouble = Trouble::new(Path::new("/proc/t.db"));
        let said = trouble.note(failed(ffi::SQLITE_IOERR_WRITE)).to_string();
        assert!(said.contains("on writing: no such file or directory; see to the disk"), "{said}");
    }
}
