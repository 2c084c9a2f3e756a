//! The edge over a real socket, before a store and an intake that do as they are told.

mod access;
mod connections;
mod deliveries;
mod posting;
mod reading;
mod silences;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Api, Guard, Intake, Limits, Place, Words, serve};
use crate::clock::Timestamp;
use crate::engine::{
    Delivery, DeliveryId, Down, Heard, Keys, Notification, SilenceId, SilenceStatus, Snapshot,
    Status, Timer,
};
use crate::event::{self, Event, Identity, State};
use crate::ingest::{IngestError, Recorded};
use crate::metrics::Metrics;
use crate::rules::{Labels, On, Rules, Severity};
use crate::store::{
    Adoption, AlertQuery, AlertRow, AttemptRow, Claimable, ContainerRow, ContainerTimeline,
    DecideFn, DeliveryHistory, DeliveryQuery, DeliveryRow, Due, EventQuery, HeldBack, NewSilence,
    Page, PageQuery, ReceiverRow, SilenceQuery, SilenceRow, Step, Store, StoreError, Unfinished,
    Version,
};
use crate::wake::Wake;

/// A running edge.
struct Edge {
    address: SocketAddr,
    stop: CancellationToken,
    store: Arc<FakeStore>,
    wake: Arc<Wake>,
    /// How many events were handed in.
    handed_in: Arc<AtomicUsize>,
    served: JoinHandle<()>,
}

/// What a client reads.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Edge {
    async fn start() -> Edge {
        Edge::with(FakeStore::default(), FakeIntake::default(), Limits::default()).await
    }

    async fn with(store: FakeStore, ingest: FakeIntake, limits: Limits) -> Edge {
        let rules = Rules::default().with_receivers(["ops".into()]);
        Edge::with_rules(store, ingest, limits, rules).await
    }

    async fn guarded(guard: Guard) -> Edge {
        let (store, ingest, rules) = Default::default();
        Edge::with_all(store, ingest, guard, Limits::default(), rules).await
    }

    async fn with_rules(
        store: FakeStore,
        ingest: FakeIntake,
        limits: Limits,
        rules: Rules,
    ) -> Edge {
        Edge::with_all(store, ingest, Guard::default(), limits, rules).await
    }

    async fn with_all(
        store: FakeStore,
        ingest: FakeIntake,
        guard: Guard,
        limits: Limits,
        rules: Rules,
    ) -> Edge {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let store = Arc::new(store);
        let handed_in = Arc::clone(&ingest.handed_in);
        let wake = Arc::new(Wake::default());
        let api = Api {
            store: Arc::clone(&store) as Arc<dyn Store>,
            ingest,
            wake: Arc::clone(&wake),
            rules: Arc::new(rules),
            words: Arc::new(|said, _| Words {
                title: format!("{} {}", said.firing, said.rule),
                text: "of a".into(),
            }),
            metrics: Metrics::default(),
            places: Arc::from([
                Place { name: "ops".into(), kind: "slack", off: false },
                Place { name: "oncall".into(), kind: "email", off: true },
            ]),
            stop: stop.clone(),
        };
        let served = TaskTracker::new().spawn(serve(listener, api, guard, limits));
        Edge { address, stop, store, wake, handed_in, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes on a connection of their own, and reads one answer.
    async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read(&mut stream).await
    }

    /// Waits until so many events were handed in.
    async fn until_handed_in(&self, count: usize) {
        while self.handed_in.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    }

    async fn get(&self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
    }

    async fn post(&self, body: &str) -> Answer {
        self.send(posting(body).as_bytes()).await
    }
}

fn posting(body: &str) -> String {
    format!("POST /api/post HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn request(method: &str, target: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

async fn ask(edge: &Edge, method: &str, target: &str, body: &str) -> Answer {
    edge.send(request(method, target, body).as_bytes()).await
}

/// Reads the head, then as much as `Content-Length` says.
async fn read(stream: &mut TcpStream) -> Answer {
    let head = read_head(stream).await;
    let answer = Answer { status: head[9..12].parse().unwrap(), head, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Answer { body: String::from_utf8(body).unwrap(), ..answer }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.body).unwrap()
    }

    /// The sentence of an error.
    fn error(&self) -> String {
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        json["error"].as_str().unwrap().to_owned()
    }
}

/// Records what is new, unless told otherwise.
#[derive(Default)]
struct FakeIntake {
    known: Mutex<HashSet<Identity>>,
    refusing: Option<IngestError>,
    /// Whether all of it happened before what is kept.
    too_old: bool,
    handed_in: Arc<AtomicUsize>,
    /// If there is one, each event waits for a permit of it.
    gate: Option<Arc<Semaphore>>,
}

impl Intake for FakeIntake {
    async fn submit(&self, event: Event) -> Result<Recorded, IngestError> {
        self.handed_in.fetch_add(1, Ordering::Relaxed);
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        match &self.refusing {
            Some(error) => Err(error.clone()),
            None if self.too_old => Ok(Recorded::TooOld),
            None if self.known.lock().unwrap().insert(event.identity) => Ok(Recorded::New),
            None => Ok(Recorded::Duplicate),
        }
    }
}

/// Answers what it was given, and keeps what it was asked.
#[derive(Default)]
struct FakeStore {
    events: Vec<String>,
    containers: Vec<ContainerRow>,
    next: Option<String>,
    failing: Option<StoreError>,
    /// The deliveries that a unit of work finds.
    letters: Mutex<HashMap<DeliveryId, Delivery>>,
    asked: Mutex<Vec<String>>,
    probes: AtomicUsize,
}

impl FakeStore {
    fn failing(error: StoreError) -> FakeStore {
        FakeStore { failing: Some(error), ..FakeStore::default() }
    }

    fn page<T: Send + 'static>(
        &self,
        query: &impl std::fmt::Debug,
        items: Vec<T>,
    ) -> BoxFuture<'_, Result<Page<T>, StoreError>> {
        self.answer(query, Page { items, next: self.next.clone() })
    }

    fn answer<T: Send + 'static>(
        &self,
        question: &impl std::fmt::Debug,
        answer: T,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.asked.lock().unwrap().push(format!("{question:?}"));
        let answer = self.failing.clone().map_or(Ok(answer), Err);
        async { answer }.boxed()
    }

    fn asked(&self) -> String {
        self.asked.lock().unwrap().pop().unwrap()
    }
}

fn row(id: &str) -> ContainerRow {
    ContainerRow {
        id: id.into(),
        application: Some("shop".into()),
        service: None,
        state: State::Running,
        since: Timestamp::from_micros(5_000_000),
        starts: Some(2),
        missing: false,
    }
}

fn alert() -> AlertRow {
    AlertRow {
        rule: "crashed".into(),
        severity: Some("critical".into()),
        status: "firing",
        labels: [("rule", "crashed")].into(),
        started_at: Timestamp::from_micros(5_000_000),
        resolved_at: None,
        occurrences: 3,
        late: false,
        held_back: vec![HeldBack {
            receiver: Some("ops".into()),
            reason: "grouped",
            by: None,
            until: None,
        }],
    }
}

fn delivery() -> DeliveryRow {
    DeliveryRow {
        id: "d1".into(),
        receiver: "ops".into(),
        instead_of: None,
        status: Status::Dead,
        rule: "crashed".into(),
        labels: Labels::default(),
        digest: None,
        attempts: 4,
        last_error: Some("no_service".into()),
        next_attempt_at: None,
        created_at: Timestamp::from_micros(5_000_000),
        ended_at: Some(Timestamp::from_micros(6_000_000)),
    }
}

fn notification() -> Notification {
    Notification {
        rule: "crash".into(),
        receiver: "ops".into(),
        severity: Severity::Critical,
        on: On::Event,
        labels: Labels::default(),
        runbook_url: None,
        group_opened_at: Timestamp::from_micros(0),
        notice: None,
        digest: None,
        due_at: Timestamp::from_micros(0),
        made_at: Timestamp::from_micros(0),
        firing: 1,
        resolved: 0,
        firing_in_group: 1,
        alerts: Vec::new(),
        states: Vec::new(),
        says: Vec::new(),
    }
}

fn attempt() -> AttemptRow {
    AttemptRow {
        number: 1,
        started_at: Timestamp::from_micros(5_000_000),
        ended_at: None,
        outcome: Some("destination".into()),
        detail: Some("no_service".into()),
    }
}

fn silence() -> SilenceRow {
    SilenceRow {
        id: SilenceId(7),
        matchers: serde_json::from_str(r#"{"rule": "/^crash/"}"#).unwrap(),
        starts_at: Timestamp::from_micros(5_000_000),
        ends_at: Timestamp::from_micros(6_000_000),
        created_by: None,
        comment: Some("deploying".into()),
        status: SilenceStatus::Expired,
        alerts: 2,
    }
}

impl Store for FakeStore {
    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Page<String>, StoreError>> {
        self.page(&query, self.events.clone())
    }

    fn containers(&self, page: PageQuery) -> BoxFuture<'_, Result<Page<ContainerRow>, StoreError>> {
        self.page(&page, self.containers.clone())
    }

    fn container(
        &self,
        id: String,
    ) -> BoxFuture<'_, Result<Option<ContainerTimeline>, StoreError>> {
        let row = self.containers.iter().find(|row| row.id == id).cloned();
        // The last first: the timeline is in no order.
        let heard = |text: &String| {
            Heard::new(event::decode(text.as_bytes()).unwrap(), Timestamp::from_micros(0))
        };
        let events = self.events.iter().rev().map(heard).collect();
        let found = row.map(|row| ContainerTimeline { row, events });
        async { Ok(found) }.boxed()
    }

    fn alerts(&self, query: AlertQuery) -> BoxFuture<'_, Result<Page<AlertRow>, StoreError>> {
        self.page(&query, vec![alert()])
    }

    fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> BoxFuture<'_, Result<Page<DeliveryRow>, StoreError>> {
        self.page(&query, vec![delivery()])
    }

    fn receivers(&self) -> BoxFuture<'_, Result<Vec<ReceiverRow>, StoreError>> {
        let down = Down {
            notice: None,
            since: Timestamp::from_micros(1_000_000),
            reason: "404 no_service".into(),
            probe: Timer {
                set_at: Timestamp::from_micros(1_000_000),
                due_at: Timestamp::from_micros(151_000_000),
            },
            is_tried: false,
            told: None,
            missed: Vec::new(),
            missed_in_all: 2,
        };
        let oldest = Some(Timestamp::from_micros(2_000_000));
        let row = ReceiverRow {
            receiver: "ops".into(),
            down: Some(down),
            failures: 3,
            pending: 4,
            oldest,
            dead: 1,
        };
        async move { Ok(vec![row]) }.boxed()
    }

    fn missing(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        async { Ok(7) }.boxed()
    }

    fn delivery(
        &self,
        id: DeliveryId,
    ) -> BoxFuture<'_, Result<Option<DeliveryHistory>, StoreError>> {
        let row = delivery();
        let found = (id.0 == row.id).then(|| DeliveryHistory {
            row,
            notification: Some(notification().into()),
            attempts: vec![attempt()],
        });
        self.answer(&id, found)
    }

    fn silences(&self, query: SilenceQuery) -> BoxFuture<'_, Result<Page<SilenceRow>, StoreError>> {
        self.page(&query, vec![silence()])
    }

    fn add_silence(
        &self,
        silence: NewSilence,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<SilenceId, StoreError>> {
        self.answer(&(silence, now), SilenceId(7))
    }

    fn end_silence(
        &self,
        id: SilenceId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.answer(&(id, now), id == SilenceId(7))
    }

    fn check_writable(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.probes.fetch_add(1, Ordering::Relaxed);
        let answer = self.failing.clone().map_or(Ok(()), Err);
        async { answer }.boxed()
    }

    fn run(&self, keys: Keys, mut decide: DecideFn) -> BoxFuture<'_, Result<(), StoreError>> {
        let letters = self.letters.lock().unwrap().clone().into_iter().collect();
        let mut snapshot = Snapshot { asked: keys, deliveries: letters, ..Snapshot::default() };
        let changes = loop {
            match decide(&snapshot) {
                Step::Read(keys) => snapshot.asked.extend(keys),
                Step::Write(changes) => break changes,
            }
        };
        let mut letters = self.letters.lock().unwrap();
        letters.extend(changes.deliveries.into_iter().map(|letter| (letter.id.clone(), letter)));
        drop(letters);
        self.answer(&"run", ())
    }

    fn due(&self, _: Timestamp, _: usize) -> BoxFuture<'_, Result<Due, StoreError>> {
        unreachable!("the edge has no timers")
    }

    fn claimable<'a>(
        &'a self,
        _: &'a str,
        _: Timestamp,
        _: usize,
    ) -> BoxFuture<'a, Result<Claimable, StoreError>> {
        unreachable!("the edge delivers nothing")
    }

    fn leased(&self) -> BoxFuture<'_, Result<Vec<DeliveryId>, StoreError>> {
        unreachable!("the edge delivers nothing")
    }

    fn waiting_for_others(
        &self,
        _: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryId>, StoreError>> {
        unreachable!("the edge delivers nothing")
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, StoreError>> {
        unreachable!("the edge brings no rules")
    }

    fn adopt(
        &self,
        _: BTreeMap<String, Version>,
        _: Timestamp,
    ) -> BoxFuture<'_, Result<Adoption, StoreError>> {
        unreachable!("the edge brings no rules")
    }
}
