//! What is said to an SMTP server and what it replies, byte by byte (RFC 5321 §4.2). lettre's own
//! conversation takes any good reply for the one that was asked for, and one that it cannot read for
//! a broken connection: what was refused would count as taken, and what was taken be sent again.

#![expect(deprecated, reason = "lettre gives no other way to a stream that its TLS is on")]

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::client::{AsyncNetworkStream, TlsParameters};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::super::no_answer_within;

/// How long an address may take to answer, as a place that is told over HTTP.
const CONNECT: Duration = Duration::from_secs(5);

/// A longer reply is refused, in bytes: a line of it may have 512 (RFC 5321 §4.5.3.1.5).
const REPLY: usize = 64 * 1024;

/// A connection to a server, and what was said on it.
pub(super) struct Conversation {
    stream: AsyncNetworkStream,
    /// The address of this end.
    pub(super) here: IpAddr,
    /// What the server said that was not taken for a reply yet.
    heard: Vec<u8>,
}

/// What a server replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// What stands behind the code, line by line.
    pub(super) lines: Vec<String>,
}

impl Conversation {
    /// Connects to the first of these addresses that answers. Each has its share of the time until
    /// then, so that one that is dead does not cost the others theirs.
    pub(super) async fn connect(addresses: &[SocketAddr], until: Instant) -> io::Result<Self> {
        let mut failure = io::Error::other("its name stands for no address");
        for (address, others) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
            let left = until.saturating_duration_since(Instant::now());
            let share = CONNECT.min(left / others);
            failure = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // The end of a mail is not to wait for what acknowledges the rest of it.
                    let _ = stream.set_nodelay(true);
                    let here = stream.local_addr()?.ip();
                    let stream = AsyncNetworkStream::use_existing_tokio1(Box::new(stream));
                    return Ok(Conversation { stream, here, heard: Vec::new() });
                }
                Ok(Err(error)) => error,
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, no_answer_within(share)),
            };
        }
        Err(failure)
    }

    /// Goes on in TLS. What was said in the clear is forgotten, be it that it came too early.
    pub(super) async fn encrypt(&mut self, tls: TlsParameters) -> Result<(), SmtpError> {
        self.heard.clear();
        self.stream.upgrade_tls(tls).await
    }

    /// Says a line, and waits for the reply to it.
    pub(super) async fn ask(&mut self, line: &str) -> io::Result<Reply> {
        self.nothing_unasked()?;
        self.say(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Says a mail, but for the dot that ends it: without that, nothing of it is taken.
    pub(super) async fn send(&mut self, mail: &[u8]) -> io::Result<()> {
        let mut said = Vec::with_capacity(mail.len() + 64);
        for line in mail.split_inclusive(|byte| *byte == b'\n') {
            // RFC 5321 §4.5.2.
            said.extend(line.starts_with(b".").then_some(b'.'));
            said.extend_from_slice(line);
        }
        if !said.ends_with(b"\r\n") {
            said.extend_from_slice(b"\r\n");
        }
        self.say(&said).await?;
        self.nothing_unasked()
    }

    /// Waits for what the server says next.
    pub(super) async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = Reply::taken_from(&mut self.heard)? {
                return Ok(reply);
            }
            self.hear().await?;
        }
    }

    /// What is said before it is asked for would be taken for the reply to what is asked next: which
    /// replies belong to what, nobody knows from there on.
    fn nothing_unasked(&mut self) -> io::Result<()> {
        if self.heard.is_empty() {
            self.hear().now_or_never().transpose()?;
        }
        match self.heard.is_empty() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&self.heard);
                Err(io::Error::other(format!("the server said, without being asked: {said}")))
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn hear(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1024];
        match self.stream.read(&mut bytes).await? {
            0 => Err(io::Error::other("the server closed it")),
            count => {
                self.heard.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

impl Reply {
    /// Takes a reply from what was heard, once it is whole. A line may be its code and no more, and
    /// what is not UTF-8 in it is a question mark.
    fn taken_from(heard: &mut Vec<u8>) -> io::Result<Option<Reply>> {
        let mut reply: Option<Reply> = None;
        let mut end = 0;
        for line in heard.split_inclusive(|byte| *byte == b'\n').filter(|it| it.ends_with(b"\n")) {
            end += line.len();
            let line = String::from_utf8_lossy(line.trim_ascii_end()).replace('\u{fffd}', "?");
            let senseless = || io::Error::other(format!("its reply makes no sense: {line}"));
            let (code, words) = line.split_at_checked(3).ok_or_else(senseless)?;
            let code = code.parse().ok().filter(|code| (200..600).contains(code));
            let code: u16 = code.ok_or_else(senseless)?;
            let goes_on = words.starts_with('-');
            if !(goes_on || words.is_empty() || words.starts_with(' ')) {
                return Err(senseless());
            }
            let reply = reply.get_or_insert_with(|| Reply { code, lines: Vec::new() });
            if reply.code != code {
                return Err(senseless());
            }
            reply.lines.push(words.get(1..).unwrap_or_default().to_owned());
            if !goes_on {
                let reply = reply.clone();
                heard.drain(..end);
                return Ok(Some(reply));
            }
        }
        match heard.len() > REPLY {
            true => Err(io::Error::other("its reply has no end")),
            false => Ok(None),
        }
    }
}

impl fmt::Display for Reply {
    /// The code and the words of all lines. What each line repeats of the first, which is a more exact
    /// code (RFC 2034), is said once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.lines.first().map_or("", String::as_str);
        let exact = first.split(' ').next().filter(|word| word.contains('.')).unwrap_or_default();
        write!(f, "{} {first}", self.code)?;
        for line in self.lines.iter().skip(1) {
            let line = line.strip_prefix(exact).unwrap_or(line);
            write!(f, " {}", line.trim_start())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(heard: &[u8]) -> (Option<Reply>, Vec<u8>) {
        let mut heard = heard.to_vec();
        (Reply::taken_from(&mut heard).unwrap(), heard)
    }

    fn reply(code: u16, lines: &[&str]) -> Option<Reply> {
        Some(Reply { code, lines: lines.iter().map(|line| (*line).to_owned()).collect() })
    }

    #[test]
    fn a_reply_is_taken_when_it_is_whole_and_what_follows_it_is_left() {
        assert_eq!(taken(b"250-mail\r\n250 ST"), (None, b"250-mail\r\n250 ST".to_vec()));
        let whole = taken(b"250-mail\r\n250 STARTTLS\r\n220 go");
        assert_eq!(whole, (reply(250, &["mail", "STARTTLS"]), b"220 go".to_vec()));
    }

    #[test]
    fn a_reply_may_be_its_code_and_no_more() {
        assert_eq!(taken(b"250\r\n"), (reply(250, &[""]), Vec::new()));
        assert_eq!(taken(b"250 \r\n"), (reply(250, &[""]), Vec::new()));
        assert_eq!(taken(b"250-\r\n250\n"), (reply(250, &["", ""]), Vec::new()));
    }

    #[test]
    fn what_is_not_utf_8_in_a_reply_is_a_question_mark() {
        assert_eq!(
            taken(b"250-gr\xc3\xbc\xc3\x9fe\r\n250 gr\xfc\xdfe\r\n").0.unwrap().to_string(),
            "250 grüße gr??e"
        );
    }

    #[test]
    fn a_line_of_a_reply_may_be_longer_than_it_should_be() {
        let long = "x".repeat(10_000);
        assert_eq!(taken(format!("250 {long}\r\n").as_bytes()).0, reply(250, &[&long]));
    }

    #[test]
    fn what_is_no_reply_is_no_reply() {
        for heard in ["", "25\r\n", "hello\r\n", "2500 ok\r\n", "250-a\r\n550 b\r\n", "150 a\r\n"] {
            let taken = Reply::taken_from(&mut heard.as_bytes().to_vec());
            assert!(!matches!(taken, Ok(Some(_))), "{heard}");
            assert!(taken.is_err() || heard.is_empty(), "{heard}");
        }
        assert!(Reply::taken_from(&mut vec![b'x'; REPLY + 1]).is_err());
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_takes_no_more_than_its_share_of_the_time() {
        // It takes one connection, and lets the others wait.
        let dead = tokio::net::TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = dead.listen(0).unwrap();
        let live = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [dead.local_addr().unwrap(), live.local_addr().unwrap()];
        let _one = TcpStream::connect(addresses[0]).await.unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        assert!(Conversation::connect(&addresses, until).await.is_ok());
        assert!(Conversation::connect(&addresses[..1], until).await.is_err());
    }

    #[test]
    fn an_exact_code_is_said_once() {
        let lines = ["5.7.8 Wrong password.", "5.7.8  See https://mail.example.com", "5.7.8"];
        let lines = lines.map(ToOwned::to_owned).to_vec();
        let words = "535 5.7.8 Wrong password. See https://mail.example.com ";
        assert_eq!(Reply { code: 535, lines }.to_string(), words);
    }
}
