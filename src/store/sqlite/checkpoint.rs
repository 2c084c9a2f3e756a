//! Folds the write-ahead log into the database on a thread of its own, so that commits go on
//! meanwhile.
//!
//! SQLite begins the log anew once all of it is folded in. Under load it never is, since more is
//! written while it is: what is left then is little, and is folded in by the writer itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode};
use tracing::{error, warn};

use super::failure::Failure;
use super::trouble::Trouble;

/// The thread that folds in what one connection writes.
pub(super) struct Checkpoints(JoinHandle<()>);

impl Checkpoints {
    /// Has a thread fold in, by its connection `helper`, what `writer` writes, whenever that is
    /// `pages` of the log.
    pub(super) fn start(
        writer: &mut Connection,
        helper: Connection,
        pages: i32,
        trouble: &Arc<Trouble>,
    ) -> io::Result<Checkpoints> {
        let done = Arc::new(AtomicBool::new(false));
        let (ask, asked) = mpsc::channel();
        let thread = {
            let (done, trouble) = (Arc::clone(&done), Arc::clone(trouble));
            thread::Builder::new().name("store-folder".into()).spawn(move || {
                for () in asked {
                    let passive = "pragma wal_checkpoint(passive)";
                    said(helper.query_row(passive, [], |_| Ok(())), &trouble);
                    // After what failed, if it did: the writer is not to fold in more.
                    done.store(true, Ordering::Release);
                }
            })?
        };
        let mut under_way = false;
        let trouble = Arc::clone(trouble);
        let hook = move |log: &mut Wal, length: i32| {
            if trouble.in_doubt() || trouble.damage().is_some() {
                // The writer sees to that.
            } else if under_way && done.swap(false, Ordering::Acquire) {
                under_way = false;
                said(log.checkpoint(), &trouble);
            } else if !under_way && length >= pages {
                under_way = ask.send(()).is_ok();
            }
            Ok(())
        };
        writer.wal_hook(Some(hook)).map_err(io::Error::other)?;
        Ok(Checkpoints(thread))
    }

    /// Ends the thread once it has done what it was asked for.
    pub(super) fn stop(self, writer: &mut Connection) {
        // The hook is what asks it.
        if let Err(error) = writer.wal_hook(None::<fn(&mut Wal, i32) -> rusqlite::Result<()>>) {
            warn!(%error, "the thread that folds in the write-ahead log is left behind");
            return;
        }
        if self.0.join().is_err() {
            error!("folding in the write-ahead log panicked");
        }
    }
}

/// What was committed is in the log, whether it is folded in or not.
fn said(result: rusqlite::Result<()>, trouble: &Trouble) {
    let Err(error) = result else { return };
    warn!(%error, "the write-ahead log could not be folded into the database; it grows");
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => trouble.doubt(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            trouble.note(Failure::Sql(error));
        }
        _ => {}
    }
}
