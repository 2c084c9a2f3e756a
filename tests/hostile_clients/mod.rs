//! Clients that mean ill, each kind from a loopback address of its own, for as long as they are kept.
//!
//! The torture test and the benchmark beside it share them. They know HTTP and no more of what they
//! talk to, and are paced, so that what they do to others is not that they leave no processor.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How many clients send a head that never ends, and how many a body.
pub(crate) const SLOW: u32 = 200;

/// Between two bytes of a slow client: far below the time-outs, which are for the whole.
const DRIP: Duration = Duration::from_millis(400);

/// Between two goes of a client that is not slow.
const PACE: Duration = Duration::from_millis(5);

/// How long a client waits for an answer that may never come.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of each kind of ill will: how often it was told which status; 0 where there was none.
pub(crate) type Toll = BTreeMap<&'static str, BTreeMap<u16, u32>>;

/// Hostile clients at work.
pub(crate) struct Crew {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    toll: Arc<Mutex<Toll>>,
}

/// Whom they are after.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    /// What lets events in, for those who have it.
    token: Arc<str>,
    toll: Arc<Mutex<Toll>>,
}

impl Crew {
    /// Sets them on `address`, until this is dropped. Some of them know what lets events in.
    pub(crate) fn against(address: SocketAddr, token: &str) -> Crew {
        let (stop, toll) = (CancellationToken::new(), Arc::default());
        let target = Target { address, token: token.into(), toll: Arc::clone(&toll) };
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime needs a few file descriptors");
            runtime.block_on(stopped.run_until_cancelled(work(target)));
        });
        Crew { stop, thread: Some(thread), toll }
    }

    /// What came of it so far.
    pub(crate) fn toll(&self) -> Toll {
        self.toll.lock().expect("nothing panics while it holds this").clone()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // What they may have panicked over was said where it happened.
            let _ = thread.join();
        }
    }
}

async fn work(target: Target) {
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        let (head, body) = (target.clone(), target.clone());
        slow.spawn(async move {
            loop {
                head.go("slow head", head.slow_head()).await;
            }
        });
        slow.spawn(async move {
            loop {
                body.go("slow body", body.slow_body()).await;
            }
        });
    }
    for number in 0_usize.. {
        target.go("oversize", target.oversize()).await;
        target.go("endless", target.endless()).await;
        target.go("malformed", target.malformed(number)).await;
        target.go("no HTTP", target.no_http(number)).await;
        target.go("wrong token", target.wrong_token(number)).await;
        target.go("reset", target.reset(number)).await;
        sleep(PACE).await;
    }
}

impl Target {
    /// Notes what came of it: nothing, where the connection broke.
    async fn go(&self, kind: &'static str, attempt: impl Future<Output = io::Result<u16>>) {
        let status = attempt.await.unwrap_or(0);
        self.note(kind, status);
        if status == 0 {
            sleep(PACE).await;
        }
    }

    fn note(&self, kind: &'static str, status: u16) {
        let mut toll = self.toll.lock().expect("nothing panics while it holds this");
        *toll.entry(kind).or_default().entry(status).or_default() += 1;
    }

    /// A connection from 127.0.0.`from`.
    async fn connect(&self, from: u8) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)))?;
        timeout(PATIENCE, socket.connect(self.address)).await?
    }

    /// The head of a POST with these headers.
    fn head(&self, headers: &str) -> String {
        format!("POST /api/post?token={} HTTP/1.1\r\nhost: x\r\n{headers}\r\n", self.token)
    }

    /// A request whose head never ends.
    async fn slow_head(&self) -> io::Result<u16> {
        let mut stream = self.connect(2).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await?;
        drip(stream).await
    }

    /// A request whose body never ends.
    async fn slow_body(&self) -> io::Result<u16> {
        let mut stream = self.connect(3).await?;
        stream.write_all(self.head("content-length: 100000\r\n").as_bytes()).await?;
        drip(stream).await
    }

    /// A body that says how long it is: too long.
    async fn oversize(&self) -> io::Result<u16> {
        let mut stream = self.connect(4).await?;
        stream.write_all(self.head("content-length: 1000000000\r\n").as_bytes()).await?;
        status(&mut stream).await
    }

    /// A body that does not.
    async fn endless(&self) -> io::Result<u16> {
        let mut stream = self.connect(4).await?;
        stream.write_all(self.head("transfer-encoding: chunked\r\n").as_bytes()).await?;
        let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
        // It is answered while it is sent, if at all.
        let (mut read, mut write) = stream.split();
        let send = async {
            for _ in 0..64 {
                if write.write_all(chunk.as_bytes()).await.is_err() {
                    break;
                }
            }
        };
        let (answer, ()) = tokio::join!(status(&mut read), send);
        answer
    }

    /// What is no event.
    async fn malformed(&self, number: usize) -> io::Result<u16> {
        let deep = "[".repeat(20_000);
        let bodies: [&[u8]; 6] = [
            b"{",
            b"null",
            b"{\"id\":\"a\",\"state\":\"B\",\"timestamp\":1e999}",
            b"{\"id\":\"\xff\",\"state\":\"B\",\"timestamp\":1}",
            deep.as_bytes(),
            b"",
        ];
        let body = bodies[number % bodies.len()];
        let mut stream = self.connect(5).await?;
        let head = self.head(&format!("content-length: {}\r\n", body.len()));
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        status(&mut stream).await
    }

    /// What is no request.
    async fn no_http(&self, number: usize) -> io::Result<u16> {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
        let noises: [&[u8]; 5] = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0\0\0\0\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /api/post HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            long.as_bytes(),
        ];
        let mut stream = self.connect(6).await?;
        stream.write_all(noises[number % noises.len()]).await?;
        stream.shutdown().await?;
        status(&mut stream).await
    }

    /// Somebody who guesses.
    async fn wrong_token(&self, number: usize) -> io::Result<u16> {
        let mut stream = self.connect(7).await?;
        let event = format!(r#"{{"id":"stolen-{number}","state":"CRASHED","timestamp":1}}"#);
        let request = format!(
            "POST /api/post?token=guess-{number} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{event}",
            event.len()
        );
        stream.write_all(request.as_bytes()).await?;
        status(&mut stream).await
    }

    /// A good request whose connection is reset, each time at another point of it; past its end,
    /// while it is being answered.
    async fn reset(&self, number: usize) -> io::Result<u16> {
        let mut stream = self.connect(8).await?;
        let event = format!(r#"{{"id":"reset-{number}","state":"RUNNING","timestamp":1}}"#);
        let request = self.head(&format!("content-length: {}\r\n", event.len())) + &event;
        let point = number % (request.len() + 2);
        stream.write_all(&request.as_bytes()[..point.min(request.len())]).await?;
        // So that it is not all one to whoever reads.
        tokio::task::yield_now().await;
        stream.set_zero_linger()?;
        Ok(0)
    }
}

/// Sends a byte now and then, until it is answered or thrown out.
async fn drip(mut stream: TcpStream) -> io::Result<u16> {
    let mut answer = [0; 256];
    loop {
        stream.write_all(b"a").await?;
        if let Ok(read) = timeout(DRIP, stream.read(&mut answer)).await {
            return Ok(parse(&answer[..read?]));
        }
    }
}

/// The status of an answer; 0 if none comes.
async fn status(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<u16> {
    let mut answer = [0; 256];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await??;
    Ok(parse(&answer[..read]))
}

fn parse(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
