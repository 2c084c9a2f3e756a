//! An HTTP sink that stands for Slack or another place, and fails as it is told.

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

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// With the query.
    pub path: String,
    /// In lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A sink on a free port. It answers `ok` unless it was told otherwise.
pub struct Sink {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    usual: Answer,
    script: VecDeque<Answer>,
    received: Vec<(Instant, Request)>,
    taken: Vec<Value>,
}

impl Sink {
    pub fn new() -> Sink {
        Sink::answering(200, "ok")
    }

    /// One that answers so when all is well.
    pub fn answering(status: u16, body: &'static str) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let usual = Answer::Status(status, "", body);
        let (script, received, taken) = (VecDeque::new(), Vec::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { usual, script, received, taken }));
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

    /// `http://127.0.0.1:PORT`, for places whose URL is a base.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What to answer to the next requests, in order.
    pub fn then(self, answers: &[Answer]) -> Sink {
        self.state.lock().unwrap().script.extend(answers.iter().cloned());
        self
    }

    /// Every request so far, with when it came.
    pub fn requests(&self) -> Vec<(Instant, Value)> {
        self.heard().into_iter().map(|(at, request)| (at, request.json())).collect()
    }

    /// Every request so far, whole.
    pub fn heard(&self) -> Vec<(Instant, Request)> {
        self.state.lock().unwrap().received.clone()
    }

    /// The bodies that were answered as when all is well.
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
    while let Some(request) = read_request(&mut reader) {
        let answer = {
            let mut state = state.lock().unwrap();
            state.received.push((Instant::now(), request.clone()));
            let answer = state.script.pop_front().unwrap_or_else(|| state.usual.clone());
            let well = match (&answer, &state.usual) {
                (Answer::OkAfter(_), _) => true,
                (Answer::Status(status, _, body), Answer::Status(usual, _, usual_body)) => {
                    (status, body) == (usual, usual_body)
                }
                _ => false,
            };
            if well {
                state.taken.push(request.json());
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

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let line = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        let length = reader.read_line(&mut line).ok()?;
        (length > 0).then(|| line.trim_end().to_owned())
    };
    let path = line(reader)?.split(' ').nth(1)?.to_owned();
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { path, headers, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}
