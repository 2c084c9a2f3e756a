use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::store::sqlite::SqliteStore;

/// A watchdog that is asked for signs of life every 10 ms.
const WATCHDOG: Duration = Duration::from_millis(20);

/// How long is long enough to be sure that no sign of life comes.
const SILENCE: Duration = Duration::from_millis(300);

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager with a socket of its own.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Manager { folder, socket }
    }

    fn variables(&self) -> BTreeMap<&'static str, String> {
        let socket = self.folder.path().join("notify").display().to_string();
        let usec = WATCHDOG.as_micros().to_string();
        BTreeMap::from([("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", usec)])
    }

    fn supervisor(&self) -> Supervisor {
        let variables = self.variables();
        Supervisor::from_environment(&|name| variables.get(name).cloned()).unwrap().unwrap()
    }

    /// The next message, if one comes in time.
    fn hears(&self, within: Duration) -> Option<String> {
        let mut message = [0; 1024];
        self.socket.set_read_timeout(Some(within)).unwrap();
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..length].to_vec()).unwrap())
    }

    /// Reads on until a message is this one.
    fn waits_for(&self, wanted: &str) {
        while self.hears(PATIENCE).expect("something is said") != wanted {}
    }

    /// Whether a sign of life comes, once those that wait are read.
    fn sees_life(&self) -> bool {
        while self.hears(Duration::from_nanos(1)).is_some() {}
        self.hears(SILENCE).is_some()
    }
}

fn opened(manager: &Manager) -> SqliteStore {
    SqliteStore::open(&manager.folder.path().join("tocsin.db")).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_runtime_that_hangs_gives_no_sign_of_life() {
    let manager = Manager::new();
    let (store, supervisor) = (opened(&manager), manager.supervisor());
    let runtime = runtime();
    runtime.spawn(async move {
        supervisor.attend(&store, "serving", &CancellationToken::new()).await;
    });
    manager.waits_for("READY=1\nSTATUS=serving");
    manager.waits_for("WATCHDOG=1");

    let (hangs, hanging) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    runtime.spawn(async move {
        hangs.send(()).unwrap();
        let _ = goes_on.recv();
    });
    hanging.recv().unwrap();
    assert!(!manager.sees_life());
    drop(go_on);
    manager.waits_for("WATCHDOG=1");
    runtime.shutdown_background();
}

#[test]
fn a_store_whose_threads_have_ended_is_no_life() {
    let manager = Manager::new();
    let (store, supervisor) = (opened(&manager), manager.supervisor());
    let stop = CancellationToken::new();
    thread::scope(|scope| {
        scope.spawn(|| runtime().block_on(supervisor.attend(&store, "serving", &stop)));
        manager.waits_for("WATCHDOG=1");
        store.close();
        manager.waits_for("STATUS=a thread of the store has ended");
        assert!(!manager.sees_life());
        stop.cancel();
        manager.waits_for("STOPPING=1\nSTATUS=stopping");
    });
}

#[test]
fn a_watchdog_of_another_process_is_none_of_ours() {
    let manager = Manager::new();
    let mut variables = manager.variables();
    let watchdog = |variables: &BTreeMap<&str, String>| {
        let supervisor = Supervisor::from_environment(&|name| variables.get(name).cloned());
        supervisor.unwrap().unwrap().watchdog
    };
    assert_eq!(watchdog(&variables), Some(WATCHDOG));
    variables.insert("WATCHDOG_PID", "1".into());
    assert_eq!(watchdog(&variables), None);
    variables.insert("WATCHDOG_PID", process::id().to_string());
    assert_eq!(watchdog(&variables), Some(WATCHDOG));
    variables.insert("WATCHDOG_USEC", "0".into());
    assert_eq!(watchdog(&variables), None);
}

#[test]
fn without_a_service_manager_nobody_is_told() {
    assert!(Supervisor::from_environment(&|_| None).unwrap().is_none());
    let nobody = |name: &str| (name == "NOTIFY_SOCKET").then(|| "/nonexistent/notify".to_owned());
    assert!(Supervisor::from_environment(&nobody).is_err());
}
