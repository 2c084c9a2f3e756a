//! What a mail takes of a server: the steps of a conversation, each within the time that is left and
//! with the one kind of reply that it waits for.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::client::TlsParameters;
use lettre::transport::smtp::extension::ClientId;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::outbound::{self, LookupError};
use super::super::{certificate, no_answer_within};
use super::conversation::{Conversation, Reply};

/// It was done (RFC 5321 §4.2.1).
const DONE: RangeInclusive<u16> = 200..=299;
/// More is waited for: of AUTH (RFC 4954 §4).
const MORE: RangeInclusive<u16> = 334..=334;
/// More is waited for: the mail.
const GO_ON: RangeInclusive<u16> = 354..=354;

/// How long a server has to say goodbye: all is settled that was to be.
const GOODBYE: Duration = Duration::from_millis(300);

/// How far a conversation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    /// Connecting, TLS and EHLO.
    Connect,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, and the mail without its end.
    Data,
    /// The end of the mail, at which it is taken.
    End,
}

/// Why a step did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server said no.
    Reply(u16, String),
    /// The connection broke, was never made, stalled, or is out of step.
    Lost(String),
    /// It can never work with this server as it is set up.
    Setup(String),
    /// It can never work for this recipient.
    Recipient(String),
}

/// When an attempt has to end.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) time: Duration,
}

/// A conversation with a server that has greeted.
pub(super) struct Session {
    conversation: Conversation,
    deadline: Deadline,
    /// What the server offers, a line each: a keyword, which knows no case, and its parameters (RFC
    /// 5321 §4.1.1.1).
    offers: Vec<String>,
}

impl Session {
    /// Connects and is greeted, with TLS from the first byte if it is given.
    pub(super) async fn open(
        (host, port): (&str, u16),
        tls: Option<TlsParameters>,
        deadline: Deadline,
    ) -> Result<Session, Failure> {
        let found = timeout_at(deadline.at, outbound::look_up(host, port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|_| deadline.passed())??;
        let conversation = deadline.bound(Conversation::connect(&addresses, deadline.at)).await?;
        let mut session = Session { conversation, deadline, offers: Vec::new() };
        let in_the_clear = tls.is_none();
        if let Some(tls) = tls {
            session.encrypt(tls).await?;
        }
        let greeting = deadline.bound(session.conversation.reply()).await;
        let greeting = greeting.map_err(|failure| match failure {
            // Who waits for TLS to begin does not greet.
            Failure::Lost(words) if in_the_clear => Failure::Lost(format!(
                "{words}; where TLS begins at once, the URL has to begin with smtps://"
            )),
            failure => failure,
        })?;
        expect(greeting, &DONE)?;
        session.hello().await?;
        Ok(session)
    }

    /// Goes on in TLS, or not at all.
    pub(super) async fn start_tls(&mut self, tls: TlsParameters) -> Result<(), Failure> {
        if self.offered("STARTTLS").is_none() {
            let words = "the server offers no STARTTLS, and nothing is sent without it";
            return Err(Failure::Setup(words.into()));
        }
        self.ask("STARTTLS", &DONE).await?;
        self.encrypt(tls).await?;
        self.hello().await
    }

    /// Says who it is that sends, as PLAIN (RFC 4616) or else LOGIN has it.
    pub(super) async fn authenticate(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        let Some(mechanisms) = self.offered("AUTH").filter(|them| !them.is_empty()) else {
            let words = "the server offers no AUTH here, and the URL has a user and a password; take \
                         them out, or name the port at which it does";
            return Err(Failure::Setup(words.into()));
        };
        if mechanisms.contains(&"PLAIN") {
            let response = STANDARD.encode(format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {response}"), &DONE).await?;
        } else if mechanisms.contains(&"LOGIN") {
            self.ask("AUTH LOGIN", &MORE).await?;
            self.ask(&STANDARD.encode(user), &MORE).await?;
            self.ask(&STANDARD.encode(password), &DONE).await?;
        } else {
            return Err(Failure::Setup(format!(
                "the server offers AUTH by {} alone, and tocsin knows PLAIN and LOGIN",
                mechanisms.join(", ")
            )));
        }
        Ok(())
    }

    /// One mail to one recipient; the server's words, or how far it came and why no further.
    pub(super) async fn transaction(
        &mut self,
        mail: &[u8],
        from: &Address,
        to: &Address,
    ) -> Result<String, (Phase, Failure)> {
        let at = |phase| move |failure| (phase, failure);
        let mut begin = format!("MAIL FROM:<{from}>");
        // What the address of a recipient may need (RFC 6531). The mail itself is always ASCII.
        if !to.user().is_ascii() {
            if self.offered("SMTPUTF8").is_none() {
                let words = "the server takes no addresses beyond ASCII (SMTPUTF8)";
                return Err((Phase::Rcpt, Failure::Recipient(words.into())));
            }
            begin.push_str(" SMTPUTF8");
        }
        self.ask(&begin, &DONE).await.map_err(at(Phase::Mail))?;
        self.ask(&format!("RCPT TO:<{to}>"), &DONE).await.map_err(at(Phase::Rcpt))?;
        self.ask("DATA", &GO_ON).await.map_err(at(Phase::Data))?;
        let sent = self.deadline.bound(self.conversation.send(mail)).await;
        sent.map_err(at(Phase::Data))?;
        let taken = self.ask(".", &DONE).await.map_err(at(Phase::End))?;
        Ok(taken.to_string())
    }

    /// Whether another mail can be sent after this came of one.
    pub(super) async fn goes_on(&mut self, done: &Result<String, (Phase, Failure)>) -> bool {
        match done {
            Ok(_) | Err((_, Failure::Recipient(_))) => true,
            // 421: the server closes the connection (RFC 5321 §3.8).
            Err((_, Failure::Lost(_) | Failure::Reply(421, _))) => false,
            Err(_) => self.ask("RSET", &DONE).await.is_ok(),
        }
    }

    /// Takes its leave.
    pub(super) async fn quit(mut self) {
        let _ = timeout(GOODBYE, self.ask("QUIT", &DONE)).await;
    }

    /// Says who is there, and hears what the server offers.
    async fn hello(&mut self) -> Result<(), Failure> {
        let name = full_name(ClientId::default(), self.conversation.here);
        let hello = self.ask(&format!("EHLO {name}"), &DONE).await?;
        self.offers = hello.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    /// The parameters with which the server offers this, if it does. Those of AUTH may follow upon an
    /// equals sign, for what old clients know.
    fn offered(&self, keyword: &str) -> Option<Vec<&str>> {
        let mut offers = self.offers.iter().filter_map(|line| {
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            (words.next() == Some(keyword)).then_some(words)
        });
        let first = offers.next()?;
        Some(first.chain(offers.flatten()).collect())
    }

    async fn ask(&mut self, line: &str, expected: &RangeInclusive<u16>) -> Result<Reply, Failure> {
        expect(self.deadline.bound(self.conversation.ask(line)).await?, expected)
    }

    async fn encrypt(&mut self, tls: TlsParameters) -> Result<(), Failure> {
        let encrypted = timeout_at(self.deadline.at, self.conversation.encrypt(tls)).await;
        encrypted.map_err(|_| self.deadline.passed())?.map_err(|error| Failure::of_tls(&error))
    }
}

/// How a machine with this name and this address calls itself: a name is to be whole, and many servers
/// refuse one that is not; where it is not known, the address stands for it (RFC 5321 §4.1.4).
fn full_name(name: ClientId, here: IpAddr) -> ClientId {
    match (name, here.to_canonical()) {
        (ClientId::Domain(name), _) if name.contains('.') => ClientId::Domain(name),
        (_, IpAddr::V4(address)) => ClientId::Ipv4(address),
        (_, IpAddr::V6(address)) => ClientId::Ipv6(address),
    }
}

/// The reply, if it is of this kind. One that neither is nor refuses is the reply to something else.
fn expect(reply: Reply, expected: &RangeInclusive<u16>) -> Result<Reply, Failure> {
    match reply.code {
        code if expected.contains(&code) => Ok(reply),
        code @ 400.. => Err(Failure::Reply(code, reply.to_string())),
        _ => Err(Failure::Lost(format!("the server is out of step, and said: {reply}"))),
    }
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Deadline {
        Deadline { at: Instant::now() + time, time }
    }

    pub(super) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    async fn bound<T>(self, step: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        match timeout_at(self.at, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::Lost(format!("the connection failed: {error}"))),
            Err(_) => Err(self.passed()),
        }
    }

    fn passed(self) -> Failure {
        Failure::Lost(no_answer_within(self.time))
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Failure {
        match error {
            LookupError::Failed(error) => Failure::Lost(format!("the connection failed: {error}")),
            refused => Failure::Setup(refused.to_string()),
        }
    }
}

impl Failure {
    /// Why there is no TLS. That the other side is not who it should be, or speaks in the clear, does
    /// not mend itself by waiting.
    fn of_tls(error: &SmtpError) -> Failure {
        let words = certificate::refused(error).unwrap_or_else(|| root_cause(error));
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(_)) => Failure::Setup(words),
            Some(rustls::Error::InvalidMessage(_)) => Failure::Setup(format!(
                "the server does not speak TLS here ({words}); where it begins in the clear, the URL \
                 has to begin with smtp://"
            )),
            _ => Failure::Lost(format!("the connection failed: {words}")),
        }
    }
}

/// What is beneath it all: lettre puts its own words around it, and those more than once.
pub(super) fn root_cause(error: &SmtpError) -> String {
    let mut root: &dyn Error = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}

/// What TLS itself has to say of it.
fn tls_error(error: &SmtpError) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_whole_name_is_called_by_its_address() {
        for (name, here, called) in [
            ("mail.example.com", "192.0.2.1", "mail.example.com"),
            ("vm", "192.0.2.1", "[192.0.2.1]"),
            ("vm", "::ffff:192.0.2.1", "[192.0.2.1]"),
            ("vm", "2001:db8::1", "[IPv6:2001:db8::1]"),
        ] {
            let name = full_name(ClientId::Domain(name.into()), here.parse().unwrap());
            assert_eq!(name.to_string(), called);
        }
    }
}
