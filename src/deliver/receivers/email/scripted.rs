//! A mail server on this machine that replies as a test has it, byte by byte, and keeps what it was
//! asked. What others make of mails is tried with servers that others wrote (`tests/it`).

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What it does instead of a reply, or after one.
pub(super) const CLOSE: &str = "(closes)";
/// It says nothing.
pub(super) const HANG: &str = "(hangs)";

pub(super) struct Scripted {
    pub(super) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// A server that replies as this says to what it is asked, and otherwise well. It is asked nothing
    /// (``) when it is connected to, and for the end of a mail `END` and for whom.
    pub(super) fn new(
        reply: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, reply) = (asked.clone(), Arc::new(reply));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, reply) = (kept.clone(), reply.clone());
                thread::spawn(move || {
                    let answer = |asked: &str| {
                        kept.lock().unwrap().push(asked.to_owned());
                        reply(asked).unwrap_or_else(|| usual(asked)).to_owned()
                    };
                    // It ends when the other side is gone.
                    let _ = converse(&stream.unwrap(), answer);
                });
            }
        });
        Scripted { port, asked }
    }

    /// All that it was asked that begins so, in order.
    pub(super) fn asked(&self, beginning: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.starts_with(beginning)).cloned().collect()
    }

    pub(super) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }
}

fn usual(asked: &str) -> &'static str {
    match asked.split(' ').next().unwrap_or_default() {
        "" => "220 mail",
        "DATA" => "354 go on",
        "QUIT" => "221 bye(closes)",
        _ => "250 fine",
    }
}

fn converse(stream: &TcpStream, answer: impl Fn(&str) -> String) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let mut asked = String::new();
    let mut recipient = String::new();
    loop {
        let reply = answer(&asked);
        let said = reply.trim_end_matches(CLOSE).trim_end_matches(HANG);
        if !said.is_empty() {
            (&*stream).write_all(format!("{said}\r\n").as_bytes())?;
        }
        if reply.ends_with(CLOSE) {
            return Ok(());
        }
        if asked == "DATA" && said.starts_with("354") {
            while lines.next().transpose()?.is_some_and(|line| line != ".") {}
            asked = format!("END {recipient}");
            continue;
        }
        let Some(line) = lines.next().transpose()? else { return Ok(()) };
        if let Some(address) = line.strip_prefix("RCPT TO:<") {
            recipient = address.trim_end_matches('>').to_owned();
        }
        asked = line;
    }
}
