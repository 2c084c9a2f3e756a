//! Time-outs, the cap, and the end.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

const EVENT: &str = r#"{"id": "a", "state": "CRASHED", "timestamp": 5}"#;
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(10);

async fn edge_within(limits: Limits) -> Edge {
    Edge::with(FakeStore::default(), FakeIntake::default(), limits).await
}

/// An edge whose events wait until the gate is opened.
async fn gated(limits: Limits) -> (Edge, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let intake = FakeIntake { gate: Some(Arc::clone(&gate)), ..FakeIntake::default() };
    (Edge::with(FakeStore::default(), intake, limits).await, gate)
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    timeout(LATER, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let edge = edge_within(Limits { headers_within: SOON, ..Limits::default() }).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    let mut silent = edge.connect().await;
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn a_body_that_drips_is_bounded_as_a_whole() {
    let limits = Limits { body_within: Duration::from_millis(200), ..Limits::default() };
    let edge = edge_within(limits).await;
    let (mut reader, mut writer) = edge.connect().await.into_split();
    let drip = TaskTracker::new().spawn(async move {
        let head = b"POST /api/post HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n";
        writer.write_all(head).await.unwrap();
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = vec![0; 24];
    timeout(LATER, reader.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 408 Request Tim");
    timeout(LATER, drip).await.unwrap().unwrap();
}

#[tokio::test]
async fn headers_over_the_limit_are_431() {
    let edge = Edge::start().await;
    let long = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(edge.send(long.as_bytes()).await.status, 431);
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(edge.send(many.as_bytes()).await.status, 431);
}

#[tokio::test]
async fn a_connection_over_the_cap_takes_the_place_of_one_that_asks_nothing() {
    let edge = edge_within(Limits { connections: 2, ..Limits::default() }).await;
    let mut silent = edge.connect().await;
    let mut slow = edge.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.unwrap();
    let mut good = [edge.connect().await, edge.connect().await];
    for stream in &mut good {
        stream.write_all(posting(EVENT).as_bytes()).await.unwrap();
        assert_eq!(read(stream).await.status, 200);
    }
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut slow).await, "");
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_while_all_are_being_answered() {
    let (edge, gate) = gated(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = edge.connect().await;
    first.write_all(posting(EVENT).as_bytes()).await.unwrap();
    edge.until_handed_in(1).await;
    let mut second = edge.connect().await;
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(timeout(SOON, second.readable()).await.is_err());
    gate.add_permits(1);
    assert_eq!(read(&mut first).await.status, 200, "what was begun is answered");
    assert_eq!(timeout(LATER, read(&mut second)).await.unwrap().status, 200);
}

#[tokio::test]
async fn one_address_does_not_have_all_the_connections() {
    let limits = Limits { connections_each: 2, ..Limits::default() };
    let (edge, gate) = gated(limits).await;
    let mut busy = [edge.connect().await, edge.connect().await];
    for stream in &mut busy {
        stream.write_all(posting(EVENT).as_bytes()).await.unwrap();
    }
    let from = |address: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        socket.connect(edge.address)
    };
    // Until both are being answered, one of them may give way.
    edge.until_handed_in(2).await;
    let mut third = from("127.0.0.1").await.unwrap();
    assert_eq!(rest(&mut third).await, "");
    let mut other = from("127.0.0.2").await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut other).await.status, 200);
    gate.add_permits(2);
}

#[tokio::test]
async fn bodies_together_have_a_limit() {
    let limits = Limits { bodies: 1000, ..Limits::default() };
    let (edge, gate) = gated(limits).await;
    let large = EVENT.replace('}', &format!(", \"x\": \"{}\"}}", "x".repeat(600)));
    let mut first = edge.connect().await;
    first.write_all(posting(&large).as_bytes()).await.unwrap();
    edge.until_handed_in(1).await;
    let refused = edge.post(&large).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    gate.add_permits(2);
    assert_eq!(read(&mut first).await.status, 200);
    assert_eq!(edge.post(&large).await.status, 200, "there is room again");
}

#[tokio::test]
async fn a_request_that_runs_is_answered_before_the_end() {
    let (edge, gate) = gated(Limits::default()).await;
    let mut busy = edge.connect().await;
    busy.write_all(posting(EVENT).as_bytes()).await.unwrap();
    let mut idle = edge.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut idle).await.status, 200);
    let mut unused = edge.connect().await;
    // Connections are accepted in their order: once this one is answered, all above are in.
    assert_eq!(edge.get("/healthz").await.status, 200);

    edge.stop.cancel();
    assert_eq!(rest(&mut idle).await, "", "an idle connection is closed");
    assert_eq!(rest(&mut unused).await, "", "one that was never used as well");
    assert!(!edge.served.is_finished());

    gate.add_permits(1);
    let answer = read(&mut busy).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(rest(&mut busy).await, "");
    drop((busy, idle, unused));
    timeout(LATER, edge.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(edge.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_target_that_is_no_path_is_refused() {
    let edge = Edge::start().await;
    for request in ["CONNECT x:80", "GET x:80", "OPTIONS x"] {
        let answer = edge.send(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, 400, "{request}: {}", answer.body);
        assert_eq!(answer.error(), "the request names no path; ask for one, like `GET /healthz`");
    }
}
