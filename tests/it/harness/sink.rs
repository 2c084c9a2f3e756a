//! An HTTP sink that stands for Slack, and fails as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::wait_until;

/// What the sink does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers with this status, these further headers, and this body.
    Status(u16, &'static str, &'static str),
    /// Answers `ok`, after so many milliseconds.
    OkAfter(u64),
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and resets the connection.
    Reset,
}

/// What Slack says when all is well.
const OK: Answer = Answer::Status(200, "", "ok");

/// A sink on a free port. It answers `ok` unless it was told otherwise.
pub struct Sink {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    received: Vec<(Instant, Value)>,
    taken: Vec<Value>,
}

impl Sink {
    pub fn new() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Sink { port, state }
    }

    /// The URL of its hook.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/services/T0/B0/secret", self.port)
    }

    /// What to answer to the next requests, in order.
    pub fn then(self, answers: &[Answer]) -> Sink {
        self.state.lock().unwrap().script.extend(answers.iter().cloned());
        self
    }

    /// Every request so far, with when it came.
    pub fn requests(&self) -> Vec<(Instant, Value)> {
        self.state.lock().unwrap().received.clone()
    }

    /// The bodies that were answered with 200 `ok`.
    pub fn taken(&self) -> Vec<Value> {
        self.state.lock().unwrap().taken.clone()
    }

    /// Waits until so many were taken.
    pub fn wait_for_taken(&self, count: usize) -> Vec<Value> {
        wait_until(
            || Some(self.taken()).filter(|taken| taken.len() >= count),
            || format!("only {:#?} taken of {:#?}", self.taken(), self.requests()),
        )
    }

    /// Waits until so many requests came.
    pub fn wait_for_requests(&self, count: usize) -> Vec<(Instant, Value)> {
        wait_until(
            || Some(self.requests()).filter(|requests| requests.len() >= count),
            || format!("only {:#?}", self.requests()),
        )
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = read_request(&mut reader) {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let answer = {
            let mut state = state.lock().unwrap();
            state.received.push((Instant::now(), body.clone()));
            let answer = state.script.pop_front().unwrap_or(OK);
            if matches!(answer, Answer::Status(200, _, "ok") | Answer::OkAfter(_)) {
                state.taken.push(body);
            }
            answer
        };
        let answer = match answer {
            Answer::OkAfter(millis) => {
                thread::sleep(Duration::from_millis(millis));
                OK
            }
            answer => answer,
        };
        match answer {
            Answer::OkAfter(_) => unreachable!("it became an answer above"),
            Answer::Status(status, headers, text) => {
                let answer = format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{text}",
                    text.len()
                );
                if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            Answer::Hang => {
                // Until the other side gives up.
                let _ = reader.read(&mut [0]);
                return;
            }
            Answer::Reset => {
                reset(reader.into_inner());
                return;
            }
        }
    }
}

/// Closes a connection with RST instead of FIN.
fn reset(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.set_zero_linger().unwrap();
    });
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            return Some(body);
        }
    }
}
