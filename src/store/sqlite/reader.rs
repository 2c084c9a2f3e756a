//! The thread that reads what is no part of a unit of work, so that no long list delays a commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use rusqlite::Connection;
use tracing::error;

/// A question to be asked of the database; it answers for itself. There is no connection while the
/// writer has the database opened anew.
pub(super) type Question = Box<dyn FnOnce(&mut Option<Connection>) + Send>;

/// Answers until every sender of the queue is gone.
pub(super) fn serve(connection: Connection, queue: &Receiver<Question>) {
    let mut connection = Some(connection);
    for question in queue {
        if catch_unwind(AssertUnwindSafe(|| question(&mut connection))).is_err() {
            error!("reading from the database panicked");
        }
    }
    // Closed before the writer's connection, which has to be the last one.
    drop(connection);
}
