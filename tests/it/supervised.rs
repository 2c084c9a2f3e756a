//! What a service manager hears of the program, over a socket as systemd has one.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use crate::harness::{PATIENCE, Place, client, send_signal};

/// Asked for signs of life every 50 ms.
const WATCHDOG_USEC: &str = "100000";

const RULES: &str = "rules: [ { name: crashed, when: { state: CRASHED } } ]";

/// A service manager, and the program that it started. Kills it when dropped.
struct Managed {
    place: Place,
    socket: UnixDatagram,
    child: Child,
}

impl Managed {
    fn start(rules: &str) -> Managed {
        let place = Place::new(rules);
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Managed::with(place, socket, path.to_str().unwrap())
    }

    fn with(place: Place, socket: UnixDatagram, name: &str) -> Managed {
        let mut serve: Command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        serve.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", WATCHDOG_USEC);
        let child = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Managed { place, socket, child }
    }

    /// The next message, if one comes in time.
    fn hears(&self, within: Duration) -> Option<String> {
        let mut message = [0; 4096];
        self.socket.set_read_timeout(Some(within)).unwrap();
        match self.socket.recv(&mut message) {
            Ok(length) => Some(String::from_utf8(message[..length].to_vec()).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message.
    fn next(&self) -> String {
        self.hears(PATIENCE).expect("the program says something")
    }

    /// Reads on to the first message that begins so.
    fn waits_for(&self, beginning: &str) -> String {
        std::iter::repeat_with(|| self.next()).find(|said| said.starts_with(beginning)).unwrap()
    }

    /// Whether it gives a sign of life, once all messages that wait are read.
    fn sees_life(&self) -> bool {
        while self.hears(Duration::from_nanos(1)).is_some() {}
        self.hears(Duration::from_millis(500)).is_some()
    }

    fn signal(&self, name: &str) {
        send_signal(name, self.child.id());
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_manager_hears_that_it_is_ready_alive_and_stopping_in_this_order() {
    let mut managed = Managed::start(RULES);
    let ready = managed.next();
    let status = ready.strip_prefix("READY=1\nSTATUS=listening on ").expect(&ready);
    let (base, rules) = status.split_once(", ").unwrap();
    assert_eq!(rules, "1 rule");
    // It is what it says: nobody has to ask twice.
    let answer = client().get(format!("{base}/readyz")).send().unwrap();
    assert_eq!(answer.status(), 200);

    for _ in 0..3 {
        assert_eq!(managed.next(), "WATCHDOG=1");
    }
    managed.signal("TERM");
    assert_eq!(managed.waits_for("STOPPING"), "STOPPING=1\nSTATUS=stopping");
    assert_eq!(managed.child.wait().unwrap().code(), Some(0));
    assert_eq!(managed.hears(Duration::from_nanos(1)), None, "that was its last word");
}

#[test]
fn a_program_that_cannot_start_is_never_ready() {
    let mut managed = Managed::start("rules: [ { name: crashed } ]");
    assert_eq!(managed.child.wait().unwrap().code(), Some(1));
    assert_eq!(managed.hears(Duration::from_nanos(1)), None);
}

#[test]
fn a_store_that_cannot_commit_is_told_in_the_status_and_no_reason_to_be_restarted() {
    let managed = Managed::start(RULES);
    let ready = managed.next();
    let other = Connection::open(managed.place.database()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    managed.waits_for("STATUS=events cannot be recorded: ");
    for _ in 0..10 {
        managed.waits_for("WATCHDOG=1");
    }
    other.execute_batch("rollback").unwrap();
    let status = ready.strip_prefix("READY=1\n").unwrap();
    assert_eq!(managed.waits_for("STATUS=listening"), status, "it goes on by itself");
}

#[test]
fn a_program_that_does_not_run_gives_no_sign_of_life() {
    let managed = Managed::start(RULES);
    managed.waits_for("WATCHDOG=1");
    managed.signal("STOP");
    assert!(!managed.sees_life());
    managed.signal("CONT");
    managed.waits_for("WATCHDOG=1");
}

#[test]
fn an_abstract_socket_is_heard_on_as_well() {
    let place = Place::new(RULES);
    let name = format!("tocsin-{}", place.path().display());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let managed = Managed::with(place, socket, &format!("@{name}"));
    assert!(managed.next().starts_with("READY=1\n"));
}
