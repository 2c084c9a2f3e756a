//! One connection of the load: it posts what happens to its containers, one event after the other.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tocsin::clock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout_at};

use super::answer::{self, Answer, contains};
use super::fleet::{Fleet, Happening};
use super::{Report, Target};

/// How long an answer may take before the run is called off.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after a connection was lost the next is opened, so that a place that closes each at once
/// is not asked as fast as it can refuse.
const BREATH: Duration = Duration::from_millis(10);

/// How the clients of one run are to go about it.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Between two posts of one client; nothing, if it posts as soon as it may.
    pub(super) every: Duration,
    /// What is posted of a happening.
    pub(super) write: fn(&Happening, &mut Vec<u8>),
    /// Whether refusals and lost connections are counted, instead of the end of the run.
    pub(super) is_lenient: bool,
    /// Whether what was taken is remembered.
    pub(super) remembers: bool,
}

pub(super) struct Client {
    target: Arc<Target>,
    stream: TcpStream,
    fleet: Fleet,
    body: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(target: Arc<Target>, fleet: Fleet) -> io::Result<Client> {
        let stream = open(&target).await?;
        let (body, request, answer) = Default::default();
        Ok(Client { target, stream, fleet, body, request, answer })
    }

    pub(super) async fn reconnect(&mut self) -> io::Result<()> {
        self.stream = open(&self.target).await?;
        Ok(())
    }

    /// Posts until `end`. Answers itself as well, unless its connection is gone for good.
    pub(super) async fn post_until(
        mut self,
        plan: Plan,
        first: Instant,
        end: Instant,
    ) -> anyhow::Result<(Option<Client>, Report)> {
        let mut report = Report::default();
        // One bound on the whole run: a timer for each request would be a cost of its own.
        let given_up = tokio::time::Instant::from_std(end) + PATIENCE;
        let posting = self.post_all(plan, first, end, &mut report);
        let is_there = match timeout_at(given_up, posting).await {
            Ok(is_there) => is_there?,
            Err(_) if plan.is_lenient => {
                report.lost += 1;
                false
            }
            Err(late) => return Err(late).context("an answer did not come"),
        };
        Ok((is_there.then_some(self), report))
    }

    /// Answers whether the connection is still there.
    async fn post_all(
        &mut self,
        plan: Plan,
        first: Instant,
        end: Instant,
        report: &mut Report,
    ) -> anyhow::Result<bool> {
        let mut next = first;
        while Instant::now() < end {
            if !plan.every.is_zero() {
                sleep_until(next.min(end).into()).await;
                if next >= end {
                    break;
                }
                next += plan.every;
                if plan.is_lenient && self.is_closed() && self.reconnect().await.is_err() {
                    return Ok(false);
                }
            }
            let happening = self.fleet.next(clock::now());
            self.write_request(plan, &happening)?;
            let asked = Instant::now();
            let answer = match self.ask().await {
                Err(error) if plan.is_lenient && error.kind() != ErrorKind::InvalidData => {
                    report.lost += 1;
                    sleep(BREATH).await;
                    if self.reconnect().await.is_err() {
                        return Ok(false);
                    }
                    continue;
                }
                answer => answer.context("an answer did not come whole")?,
            };
            let took = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
            let body = &self.answer[answer.body];
            if plan.is_lenient && !(200..300).contains(&answer.status) {
                *report.refused.entry(answer.status).or_default() += 1;
            } else {
                ensure!(
                    plan.is_lenient || answer.status == 200,
                    "an answer was not 200: {}",
                    String::from_utf8_lossy(&self.answer)
                );
                ensure!(
                    plan.is_lenient || !contains(body, b"duplicate"),
                    "an event was taken for another"
                );
                report.latencies.push(took);
                report.matched += usize::from(contains(body, br#""occurrences":[""#));
                if plan.remembers {
                    report.taken.push(happening);
                }
            }
            if answer.is_last && self.reconnect().await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the other side has ended the connection since its last answer, as it may with one that
    /// was idle for long: nothing is lost by that.
    fn is_closed(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Ok(0))
    }

    async fn ask(&mut self) -> io::Result<Answer> {
        self.stream.write_all(&self.request).await?;
        answer::read(&mut self.stream, &mut self.answer).await
    }

    fn write_request(&mut self, plan: Plan, happening: &Happening) -> io::Result<()> {
        self.body.clear();
        (plan.write)(happening, &mut self.body);
        let Target { host, path, token, .. } = &*self.target;
        self.request.clear();
        write!(self.request, "POST {path} HTTP/1.1\r\nhost: {host}\r\n")?;
        if let Some(token) = token {
            write!(self.request, "authorization: Bearer {token}\r\n")?;
        }
        let length = self.body.len();
        write!(self.request, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n")?;
        self.request.extend_from_slice(&self.body);
        Ok(())
    }
}

async fn open(target: &Target) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
