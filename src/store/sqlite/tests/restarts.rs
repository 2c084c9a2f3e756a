//! (E): a restart between any two steps changes nothing (DESIGN.md §6). What SQLite reads, opened
//! anew between some of the steps, is what a store in memory reads that never stopped.

use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::engine::tests::properties::{config, payloads, run_beside, run_forgetting, step};
use crate::engine::tests::world::Other;
use crate::engine::{Changes, Heard, Silence, Snapshot};
use crate::simulation;
use crate::store::contract::read;

/// A database that is closed and opened again before some of the units of work.
struct Reopened {
    path: PathBuf,
    _folder: TempDir,
    runtime: Runtime,
    store: Option<SqliteStore>,
    /// Before which of the next units it is opened again, over and over.
    restarts: std::iter::Cycle<std::vec::IntoIter<bool>>,
}

impl Reopened {
    fn new(restarts: Vec<bool>) -> Reopened {
        // In memory where that can be had: it is not the disk that is tried here.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = folder.path().join("tocsin.db");
        let store = Some(SqliteStore::open(&path).unwrap());
        let runtime = Builder::new_current_thread().build().unwrap();
        Reopened { path, _folder: folder, runtime, store, restarts: restarts.into_iter().cycle() }
    }

    fn store(&mut self) -> (&SqliteStore, &Runtime) {
        if self.restarts.next() == Some(true) {
            self.store = None;
        }
        let path = &self.path;
        let store = self.store.get_or_insert_with(|| SqliteStore::open(path).unwrap());
        (store, &self.runtime)
    }
}

impl Other for Reopened {
    fn transact(&mut self, memory: &simulation::Memory, snapshot: &Snapshot, changes: &Changes) {
        let (store, runtime) = self.store();
        let found = runtime.block_on(read(store, snapshot.asked.clone()));
        assert_eq!(found.known, snapshot.known);
        assert_eq!(found.containers, snapshot.containers);
        assert_eq!(found.groups, snapshot.groups);
        assert_eq!(found.deliveries, snapshot.deliveries);
        assert_eq!(found.silences, snapshot.silences);
        assert_eq!(found.events, snapshot.events);
        assert_eq!(found.checkpoints, snapshot.checkpoints);
        assert_eq!(found.ended, snapshot.ended);
        assert_eq!(found.letters, snapshot.letters);
        let [mut done, mut expected] = [found.done.clone(), snapshot.done.clone()];
        done.sort();
        expected.sort();
        assert_eq!(done, expected);
        for (id, recent) in &snapshot.recent {
            let read = found.recent.get(id).cloned().unwrap_or_default();
            let mut recent = [recent.clone(), read];
            for recent in &mut recent {
                recent.sort_by_key(Heard::reference);
            }
            assert_eq!(recent[0], recent[1]);
        }
        for (id, timeline) in &snapshot.timelines {
            let mut timelines = [timeline.clone(), found.timelines[id].clone()];
            for timeline in &mut timelines {
                timeline.sort_by_key(Heard::reference);
            }
            assert_eq!(timelines[0], timelines[1]);
        }
        // It may read more than it was asked for, and that is as it is.
        for id in snapshot.intervals.keys().chain(found.intervals.keys()) {
            let found = found.intervals.get(id).map(AsRef::as_ref);
            assert_eq!(found, memory.intervals.get(id), "{id:?}");
        }
        // Of what it read only that is written which differs.
        let changes = changes.clone();
        let decide = move |_: &Snapshot| Step::Write(changes.clone());
        runtime.block_on(store.run(snapshot.asked.clone(), Box::new(decide))).unwrap();
    }

    fn silence(&mut self, silence: &Silence) {
        let (store, runtime) = self.store();
        let new = NewSilence {
            matchers: (*silence.matchers).clone(),
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            created_by: None,
            comment: None,
        };
        let id = runtime.block_on(store.add_silence(new, silence.created_at)).unwrap();
        assert_eq!(id, silence.id);
    }

    fn end_silence(&mut self, id: SilenceId, now: Timestamp) {
        let (store, runtime) = self.store();
        assert!(runtime.block_on(store.end_silence(id, now)).unwrap());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_restart_between_any_two_steps_changes_nothing(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
        restarts in prop::collection::vec(prop::bool::weighted(0.1), 20..40),
    ) {
        run_beside(&payloads, &steps, Some(Box::new(Reopened::new(restarts))));
    }

    /// The same where what is over is forgotten, too.
    #[test]
    fn what_is_forgotten_is_forgotten_across_restarts(
        payloads in payloads(),
        steps in prop::collection::vec(step(), 0..30),
        restarts in prop::collection::vec(prop::bool::weighted(0.1), 20..40),
    ) {
        run_forgetting(&payloads, &steps, Some(Box::new(Reopened::new(restarts))));
    }
}
