//! What a client may send to the HTTP edge (DESIGN.md §4), before a whole bridge.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tocsin::app;
use tocsin::config;
use tocsin::lifecycle::Lifecycle;
use tocsin::store::sqlite::SqliteStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long a connection may stay open when all is sent: the time-outs of the edge are shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rules by which events match, and nobody is told.
const RULES: &str = "
receivers: { nobody: { slack: { webhook_url: http://127.0.0.1:1/ } } }
defaults: { notify: [nobody], group_wait: 7d }
rules: [{ name: crashed, when: { state: CRASHED } }, { name: any, when: { id: { exists: true } } }]
";

/// The same behind a proxy, for those who know something.
const GUARDED: &str = "
server:
  receive_token: t
  admin: { user: u, password: p }
  trusted_proxies: [127.0.0.1]
";

/// How many inputs a bridge is given, so that what it keeps stays small.
const INPUTS: u32 = 5_000;

/// How long nothing has to come before all is taken for said.
const QUIET: Duration = Duration::from_millis(10);

/// Sends these bytes on a connection of their own, but for the first, which says whether the client
/// waits for an answer before it says that there is no more to come, and whether it is asked who it
/// is. What it gets are whole answers of HTTP, or none; those that refuse say why; and the connection
/// ends.
pub fn edge(input: &[u8]) {
    let Some((first, request)) = input.split_first() else { return };
    thread_local! {
        static BRIDGES: RefCell<[Option<Bridge>; 2]> = const { RefCell::new([None, None]) };
    }
    let (patient, guarded) = (first & 1 != 0, first & 2 != 0);
    BRIDGES.with_borrow_mut(|bridges| {
        let bridge = match &mut bridges[usize::from(guarded)] {
            Some(bridge) if bridge.left > 0 => bridge,
            none => none.insert(Bridge::start(guarded)),
        };
        bridge.left -= 1;
        for answer in answers(&bridge.ask(request, patient), request) {
            answer.check();
        }
    });
}

/// A bridge on a thread of its own, which ends with it.
struct Bridge {
    asked: Option<Sender<(Vec<u8>, bool)>>,
    answered: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    left: u32,
}

impl Bridge {
    fn start(guarded: bool) -> Bridge {
        let ((asked, to_ask), (to_answer, answered)) = (channel(), channel());
        let rules = format!("{RULES}{}", if guarded { GUARDED } else { "" });
        let thread = Some(std::thread::spawn(move || run(&rules, &to_ask, &to_answer)));
        Bridge { asked: Some(asked), answered, thread, left: INPUTS }
    }

    fn ask(&self, request: &[u8], patient: bool) -> Vec<u8> {
        let asked = self.asked.as_ref().map(|asked| asked.send((request.to_vec(), patient)));
        assert!(asked.is_some_and(|sent| sent.is_ok()), "the bridge has ended");
        self.answered.recv().expect("the bridge goes on, and so does its client")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.asked.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|it| it.is_ok()), "it fell over");
    }
}

/// A bridge with a database of its own, and a client for each request.
fn run(rules: &str, to_ask: &Receiver<(Vec<u8>, bool)>, to_answer: &Sender<Vec<u8>>) {
    let folder = tempfile::tempdir().expect("there is a folder for what is temporary");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let life = Lifecycle::new();
    runtime.expect("a runtime can be had").block_on(async {
        let config = config::parse("rules.yaml", rules, &|_| None, &|_| Vec::new());
        let store = SqliteStore::open(&folder.path().join("tocsin.db"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let store = Arc::new(store.expect("a new database"));
        let config = config.expect("the rules are right");
        app::ring(config, store, listener, &life).await.expect("it starts");
        // Nothing of the bridge runs between two requests: what comes of one is seen in the next.
        for (request, patient) in to_ask {
            let answer = ask(address, &request, patient).await;
            if to_answer.send(answer).is_err() {
                break;
            }
        }
        life.soft.cancel();
        assert!(life.stopped_within(PATIENCE).await, "it did not stop softly");
    });
}

/// All that is answered to these bytes, until the connection ends.
async fn ask(address: SocketAddr, request: &[u8], patient: bool) -> Vec<u8> {
    let began = Instant::now();
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let send = async {
        // It may be answered, and closed, before it is read to its end.
        let _ = writer.write_all(request).await;
        writer
    };
    let read = async {
        let mut answer = Vec::new();
        if patient {
            while let Ok(Ok(1..)) = timeout(QUIET, reader.read_buf(&mut answer)).await {}
        }
        (answer, reader)
    };
    let (mut writer, (heard, mut reader)) = tokio::join!(send, read);
    answer.extend(heard);
    let _ = writer.shutdown().await;
    let rest = timeout(PATIENCE, reader.read_to_end(&mut answer)).await;
    // That it is reset is an end as well.
    assert!(rest.is_ok(), "the connection is open after {:?}: {:?}", began.elapsed(), request);
    answer
}

/// An answer of HTTP.
struct Answer<'a> {
    status: u16,
    headers: Vec<(String, &'a str)>,
    body: &'a [u8],
}

/// The answers in these bytes, to the requests in those.
fn answers<'a>(mut bytes: &'a [u8], request: &[u8]) -> Vec<Answer<'a>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let shown = || String::from_utf8_lossy(bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { panic!("no head: {:?}", shown()) };
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        let version = status.strip_prefix("HTTP/1.1 ").or(status.strip_prefix("HTTP/1.0 "));
        let status = version.and_then(|rest| rest.get(..3)?.parse().ok());
        let Some(status) = status else { panic!("no status: {:?}", shown()) };
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header has a name and a value");
            (name.to_ascii_lowercase(), value)
        });
        let headers: Vec<(String, &str)> = headers.collect();
        let mut answer = Answer { status, headers, body: &[] };
        bytes = &bytes[end + 4..];
        let length = answer.header("content-length").map(|length| length.parse::<usize>());
        let length = length.map_or(0, |length| length.expect("a length is a number"));
        // To HEAD the body is left out, and which answer is to which request is not known here.
        let has_body = bytes.len() >= length && !bytes.starts_with(b"HTTP/1.");
        if has_body || !request.windows(4).any(|four| four == b"HEAD") {
            assert!(bytes.len() >= length, "a body is cut: {:?}", shown());
            (answer.body, bytes) = bytes.split_at(length);
        }
        answers.push(answer);
    }
    answers
}

impl Answer<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    fn check(&self) {
        let known = matches!(self.status, 100 | 200..=204 | 400..=431 | 500 | 503);
        assert!(known, "{} is no answer of ours", self.status);
        let shown = String::from_utf8_lossy(self.body);
        assert_ne!(self.status, 500, "a fault of tocsin's: {shown}");
        if self.header("content-type") != Some("application/json") || self.body.is_empty() {
            return;
        }
        let body: Value = serde_json::from_slice(self.body).expect("a body that is JSON");
        if self.status >= 400 {
            super::assert_is_a_sentence(
                body["error"].as_str().expect("an error says what is wrong"),
            );
        }
    }
}
