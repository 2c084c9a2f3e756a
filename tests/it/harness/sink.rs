//! An HTTP sink that stands for Slack or another place, and fails as it is told.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults::{Fate, Faults};
use super::wait_until;

/// What the sink does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers with this status, these further headers, and this body.
    Status(u16, &'static str, &'static str),
    /// Answers `ok`, after so many milliseconds.
    OkAfter(u64),
    /// Answers with this status, and repeats all that it was sent.
    Echo(u16),
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and resets the connection.
    Reset,
    /// Answers as when all is well, but so slowly that nobody waits for the end.
    Drip,
    /// Begins to answer as when all is well, and closes the connection in the middle of it.
    Cut,
}

/// What Slack says when all is well.
const OK: Answer = Answer::Status(200, "", "ok");

/// Between two bytes of an answer that is so slow that nobody waits for its end.
const DRIP: Duration = Duration::from_millis(100);

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

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When it had come.
    pub at: Instant,
    pub request: Request,
    pub fate: Fate,
}

/// A sink on a free port. It answers `ok` unless it was told otherwise.
pub struct Sink {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    usual: Answer,
    script: VecDeque<Answer>,
    faults: Option<Faults<Answer>>,
    exchanges: Vec<Exchange>,
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
        let (script, exchanges) = (VecDeque::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { usual, script, faults: None, exchanges }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Sink { port, state }
    }

    /// One that refuses everything with this status, and repeats all that it was sent.
    pub fn echoing(status: u16) -> Sink {
        let sink = Sink::new();
        sink.state.lock().unwrap().usual = Answer::Echo(status);
        sink
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

    /// Has it fail at random.
    pub fn failing(self, faults: Faults<Answer>) -> Sink {
        self.state.lock().unwrap().faults = Some(faults);
        self
    }

    /// Every request so far, with what became of it.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.state.lock().unwrap().exchanges.clone()
    }

    /// Every request so far, with when it came.
    pub fn requests(&self) -> Vec<(Instant, Value)> {
        self.heard().into_iter().map(|(at, request)| (at, request.json())).collect()
    }

    /// Every request so far, whole.
    pub fn heard(&self) -> Vec<(Instant, Request)> {
        self.exchanges().into_iter().map(|exchange| (exchange.at, exchange.request)).collect()
    }

    /// The bodies that were answered as when all is well.
    pub fn taken(&self) -> Vec<Value> {
        let exchanges = self.exchanges().into_iter();
        let taken = exchanges.filter(|exchange| exchange.fate == Fate::Taken);
        taken.map(|exchange| exchange.request.json()).collect()
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

impl State {
    /// Keeps a request. Answers what to do with it, and what would be done if all were well.
    fn receive(&mut self, request: Request) -> (Answer, Answer) {
        let fault = || self.faults.as_mut().and_then(Faults::next).flatten();
        let answer = self.script.pop_front().or_else(fault).unwrap_or_else(|| self.usual.clone());
        let fate = answer.fate(&self.usual);
        let answer = match answer {
            Answer::Echo(status) => {
                let Request { path, headers, body } = &request;
                let echo = format!("no: {path} {headers:?} {body}");
                Answer::Status(status, "", Box::leak(echo.into_boxed_str()))
            }
            answer => answer,
        };
        self.exchanges.push(Exchange { at: Instant::now(), request, fate });
        (answer, self.usual.clone())
    }
}

impl Answer {
    /// What it says of a request, where all is well if it is as `usual`.
    fn fate(&self, usual: &Answer) -> Fate {
        match (self, usual) {
            (Answer::OkAfter(_), _) => Fate::Taken,
            (Answer::Status(status, _, body), Answer::Status(usual, _, usual_body))
                if (status, body) == (usual, usual_body) =>
            {
                Fate::Taken
            }
            (Answer::Status(status, ..) | Answer::Echo(status), _) => {
                Fate::Refused(status.to_string())
            }
            (Answer::Hang | Answer::Reset | Answer::Drip | Answer::Cut, _) => Fate::Lost,
        }
    }

    /// As it is written, if it is something to write.
    fn bytes(&self) -> Vec<u8> {
        let Answer::Status(status, headers, text) = self else { return Vec::new() };
        let length = text.len();
        format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{text}").into()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let (answer, usual) = state.lock().unwrap().receive(request);
        let usual = usual.bytes();
        let stream = reader.get_mut();
        let written = match answer {
            Answer::OkAfter(millis) => {
                thread::sleep(Duration::from_millis(millis));
                stream.write_all(&OK.bytes())
            }
            Answer::Status(..) | Answer::Echo(_) => stream.write_all(&answer.bytes()),
            Answer::Drip => drip(stream, &usual),
            Answer::Cut => {
                let _ = stream.write_all(&usual[..usual.len() / 2]);
                return;
            }
            Answer::Hang => {
                // Until the other side gives up.
                let _ = reader.read(&mut [0]);
                return;
            }
            Answer::Reset => return reset(reader.into_inner()),
        };
        if written.is_err() {
            return;
        }
    }
}

/// Writes a byte now and then, until the other side gives up.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| {
        thread::sleep(DRIP);
        stream.write_all(&[*byte])
    })
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
