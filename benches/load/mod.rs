//! Puts load on a receiver of webhooks: one event a request, on connections that are kept alive.
//! Each posts the next after the answer or, if it is paced, when its time has come.
//!
//! It is alone on its thread and spends little on each request, since it shares the machine with
//! what it measures. Knows nothing of what it talks to beyond HTTP.

mod fleet;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tocsin::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use crate::process::percentile;
use fleet::Fleet;

/// How long an answer may take before the run is called off.
const PATIENCE: Duration = Duration::from_secs(10);

/// The clients of one receiver, each with a connection and containers of its own.
pub(crate) struct Load {
    clients: Vec<Client>,
    /// Between two posts of one client; nothing, if it posts as soon as it may.
    every: Duration,
}

/// What a run came to.
#[derive(Default)]
pub(crate) struct Report {
    /// How long it ran.
    pub(crate) ran: Duration,
    /// How long each answer took, in microseconds, in no order.
    pub(crate) latencies: Vec<u32>,
    /// How many answers named a rule that the event matched.
    pub(crate) matched: usize,
}

struct Client {
    stream: TcpStream,
    fleet: Fleet,
    path: &'static str,
    body: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Load {
    /// Opens `connections` to `address`, to post to `path`.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(crate) async fn connect(
        address: SocketAddr,
        connections: usize,
        path: &'static str,
    ) -> io::Result<Load> {
        let mut clients = Vec::with_capacity(connections);
        for number in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            clients.push(Client {
                stream,
                fleet: Fleet::new(number),
                path,
                body: Vec::new(),
                request: Vec::new(),
                answer: Vec::new(),
            });
        }
        Ok(Load { clients, every: Duration::ZERO })
    }

    /// The same, paced: each client posts once in so long, if it may.
    #[allow(dead_code, reason = "not every benchmark is paced")]
    pub(crate) fn paced(self, every: Duration) -> Load {
        Load { every, ..self }
    }

    /// Has every client post one event after the other for so long.
    ///
    /// # Errors
    /// If any answer is not 200, says that the event was known already, or does not come.
    pub(crate) async fn run(&mut self, during: Duration) -> anyhow::Result<Report> {
        let began = Instant::now();
        let mut running = JoinSet::new();
        for (number, client) in self.clients.drain(..).enumerate() {
            // Paced clients do not all post at once.
            let first = began + self.every * number as u32 / 16;
            running.spawn(client.post_until(first, self.every, began + during));
        }
        let mut report = Report::default();
        while let Some(done) = running.join_next().await {
            let (client, part) = done??;
            self.clients.push(client);
            report.latencies.extend(part.latencies);
            report.matched += part.matched;
        }
        report.ran = began.elapsed();
        Ok(report)
    }
}

impl Report {
    /// Adds another run.
    pub(crate) fn add(&mut self, other: Report) {
        self.ran += other.ran;
        self.latencies.extend(other.latencies);
        self.matched += other.matched;
    }

    /// How many events a second were answered.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.ran.as_secs_f64()
    }

    /// Within what time, in milliseconds, this share of the answers came.
    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        percentile(&mut self.latencies, share)
    }
}

impl Client {
    async fn post_until(
        mut self,
        first: Instant,
        every: Duration,
        end: Instant,
    ) -> anyhow::Result<(Client, Report)> {
        let mut next = first;
        let mut report = Report::default();
        // One bound on the whole run: a timer for each request would be a cost of its own.
        let given_up = tokio::time::Instant::from_std(end) + PATIENCE;
        let posting = async {
            while Instant::now() < end {
                if !every.is_zero() {
                    sleep_until(next.into()).await;
                    next += every;
                }
                self.write_request()?;
                let asked = Instant::now();
                self.stream.write_all(&self.request).await?;
                let body = read_answer(&mut self.stream, &mut self.answer).await?;
                let took = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
                report.latencies.push(took);
                let body = &self.answer[body..];
                ensure!(!contains(body, b"duplicate"), "an event was taken for another");
                report.matched += usize::from(contains(body, br#""occurrences":[""#));
            }
            anyhow::Ok(())
        };
        timeout_at(given_up, posting).await.context("an answer did not come")??;
        Ok((self, report))
    }

    fn write_request(&mut self) -> io::Result<()> {
        self.body.clear();
        self.fleet.tell(clock::now(), &mut self.body);
        self.request.clear();
        write!(
            self.request,
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.path,
            self.body.len()
        )?;
        self.request.extend_from_slice(&self.body);
        Ok(())
    }
}

/// Reads one whole answer, which must be 200 and say its length. Answers where its body begins.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<usize> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        let Some(end) = find(answer, b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end]).context("an answer's head is not text")?;
        let body = end + 4;
        if answer.len() >= body + length(head)? {
            ensure!(
                head.starts_with("HTTP/1.1 200 "),
                "an answer was not 200: {}",
                String::from_utf8_lossy(answer)
            );
            return Ok(body);
        }
    }
}

fn length(head: &str) -> anyhow::Result<usize> {
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("an answer does not say how long it is")?;
    length.1.trim().parse().context("an answer's length is no number")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
