//! A mail server, and a mail's way to it: one transaction for each recipient, and what comes of it
//! for each (RFC 5321; FACTS.md, "Mail").

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::transport::smtp::client::TlsParameters;
use reqwest::Url;

use super::super::address::{host, is_loopback, percent_decoded};
use super::super::{in_a_line, outbound};
use super::session::{Deadline, Failure, Phase, Session, root_cause};

/// Where to deliver mail, and how to get in. Holds secrets, so there is no `Debug`.
pub(super) struct Server {
    host: String,
    port: u16,
    security: Security,
    /// User and password.
    credentials: Option<(String, String)>,
    /// What a server may repeat of them.
    secrets: Vec<String>,
    /// The certificates that are trusted, loaded when they are first needed.
    tls: OnceLock<TlsParameters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// None: to this machine only.
    Plain,
    /// TLS before anything is said, or nothing is.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// What became of the mail for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Accepted.
    Reached(String),
    /// This mail was refused for good; another may be taken.
    Refused(String),
    /// Any mail to this recipient is refused for good.
    Mailbox(String),
    /// Not now.
    Transient(String),
    /// The mail was sent, and the answer lost.
    Unknown(String),
    /// Refused, whatever the mail and whoever the recipient.
    Destination(String),
    /// It has not come to this recipient.
    Untried(String),
}

impl Server {
    /// Reads `smtp://` or `smtps://` with `user:password@`. The error never repeats the URL.
    pub(super) fn parse(text: &str) -> Result<Server, String> {
        const ENCODE: &str =
            "special characters in user and password must be percent-encoded, as %40 for @";
        let url = Url::parse(text).map_err(|error| format!("is no URL: {error}; {ENCODE}"))?;
        let host = host(&url);
        if !["smtp", "smtps"].contains(&url.scheme()) {
            return Err("must begin with smtp:// or smtps://".into());
        }
        if host.is_empty() {
            return Err(format!("names no server; write smtp://server, and {ENCODE}"));
        }
        outbound::check_host(&host)?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(format!("has something after the server's name; {ENCODE}"));
        }
        let required = match url.query() {
            None => false,
            Some("tls=required") => true,
            Some(_) => return Err("takes no other option than ?tls=required".into()),
        };
        let (security, port) = match url.scheme() {
            "smtps" => (Security::Tls, 465),
            _ if required || !is_loopback(&host) => (Security::StartTls, 587),
            _ => (Security::Plain, 25),
        };
        let decode =
            |part: &str| percent_decoded(part).map_err(|error| format!("user or password {error}"));
        let (credentials, secrets) = match (url.username(), url.password()) {
            ("", None) => (None, Vec::new()),
            ("", Some(_)) => return Err("has a password and no user".into()),
            (_, None) => return Err("has a user and no password".into()),
            (user, Some(password)) => {
                let (user, password) = (decode(user)?, decode(password)?);
                // As AUTH PLAIN and AUTH LOGIN send them (RFC 4616).
                let sent = [format!("\0{user}\0{password}"), password.clone()];
                let mut secrets: Vec<String> = sent.map(|text| STANDARD.encode(text)).into();
                secrets.push(password.clone());
                // What is shorter is found in innocent words.
                secrets.retain(|secret| secret.len() >= 6);
                (Some((user, password)), secrets)
            }
        };
        let port = url.port().unwrap_or(port);
        Ok(Server { host, port, security, credentials, secrets, tls: OnceLock::new() })
    }

    /// Delivers these bytes to each recipient, in `time` altogether. Who ends the connection ends it
    /// for nobody else: for the next there is another.
    pub(super) async fn deliver(
        &self,
        bytes: &[u8],
        from: &Address,
        recipients: &[&Address],
        time: Duration,
    ) -> Vec<(String, Judgement)> {
        let deadline = Deadline::after(time);
        let mut session = None;
        let mut longest = Duration::ZERO;
        // Why there is nothing to be had for those who are left.
        let mut over: Option<Judgement> = None;
        let mut judged = Vec::new();
        for to in recipients {
            if over.is_none() && deadline.left() < longest {
                // It would be broken off when it may have been taken, and be sent again.
                let words = "not tried: less time was left than the mail before took";
                over = Some(Judgement::Untried(words.into()));
            }
            let judgement = match &over {
                Some(judgement) => judgement.clone(),
                None => {
                    let began = Instant::now();
                    let done = self.send(&mut session, bytes, from, to, deadline).await;
                    longest = longest.max(began.elapsed());
                    let phase = done.as_ref().err().map(|(phase, _)| *phase);
                    let judgement = judge(done);
                    // This recipient had no part in it.
                    if session.is_none() && phase.is_some_and(|phase| phase < Phase::Rcpt) {
                        over = Some(judgement.clone());
                    }
                    judgement
                }
            };
            judged.push((to.to_string(), self.in_a_line(judgement)));
        }
        if let Some(session) = session {
            session.quit().await;
        }
        judged
    }

    /// One mail to one recipient, in the session that is there or in a new one; leaves it there if it
    /// can be gone on with.
    async fn send(
        &self,
        open: &mut Option<Session>,
        bytes: &[u8],
        from: &Address,
        to: &Address,
        deadline: Deadline,
    ) -> Result<String, (Phase, Failure)> {
        if let Some(mut session) = open.take() {
            let done = session.transaction(bytes, from, to).await;
            let goes_on = session.goes_on(&done).await;
            // A server may close after so many mails, which is no answer to this one.
            if goes_on || !matches!(done, Err((Phase::Mail, _))) {
                *open = Some(session).filter(|_| goes_on);
                return done;
            }
        }
        let mut session = self.connect(deadline).await?;
        let done = session.transaction(bytes, from, to).await;
        if session.goes_on(&done).await {
            *open = Some(session);
        }
        done
    }

    /// Each judgement's words in a line, without what they repeat of the credentials.
    fn in_a_line(&self, mut judgement: Judgement) -> Judgement {
        use Judgement::{Destination, Mailbox, Reached, Refused, Transient, Unknown, Untried};
        let (Reached(words) | Refused(words) | Mailbox(words) | Transient(words) | Unknown(words)
        | Destination(words) | Untried(words)) = &mut judgement;
        let hide = |words: String, secret: &String| words.replace(secret, "***");
        *words = in_a_line(&self.secrets.iter().fold(std::mem::take(words), hide));
        judgement
    }

    /// Connects, with TLS where that is asked for, and gets in.
    async fn connect(&self, deadline: Deadline) -> Result<Session, (Phase, Failure)> {
        let mut session = self.open(deadline).await.map_err(|failure| (Phase::Connect, failure))?;
        if let Some((user, password)) = &self.credentials {
            let got_in = session.authenticate(user, password).await;
            got_in.map_err(|failure| (Phase::Auth, failure))?;
        }
        Ok(session)
    }

    async fn open(&self, deadline: Deadline) -> Result<Session, Failure> {
        let server = (self.host.as_str(), self.port);
        match self.security {
            Security::Plain => Session::open(server, None, deadline).await,
            Security::Tls => Session::open(server, Some(self.tls()?), deadline).await,
            Security::StartTls => {
                let mut session = Session::open(server, None, deadline).await?;
                session.start_tls(self.tls()?).await?;
                Ok(session)
            }
        }
    }

    fn tls(&self) -> Result<TlsParameters, Failure> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = TlsParameters::new_rustls(self.host.clone())
            .map_err(|error| Failure::Setup(root_cause(&error)))?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}

/// What became of the mail for the recipient whom it was tried for.
fn judge(done: Result<String, (Phase, Failure)>) -> Judgement {
    match done {
        Ok(words) => Judgement::Reached(words),
        Err((_, Failure::Setup(words))) => Judgement::Destination(words),
        Err((_, Failure::Recipient(words))) => Judgement::Mailbox(words),
        Err((Phase::End, Failure::Lost(words))) => Judgement::Unknown(words),
        // "Too many recipients" (RFC 5321 §4.5.3.1.10).
        Err((Phase::Rcpt, Failure::Reply(552, words))) => Judgement::Transient(words),
        // Authentication is required, too weak, or wrong (RFC 4954 §6).
        Err((_, Failure::Reply(530 | 534 | 535 | 538, words))) => Judgement::Destination(words),
        Err((Phase::Rcpt, Failure::Reply(500.., words))) => Judgement::Mailbox(words),
        // At MAIL, who sends is refused, unless it is that the mail is too long (RFC 1870 §6.1).
        Err((Phase::Mail, Failure::Reply(552, words))) => Judgement::Refused(words),
        Err((Phase::Connect | Phase::Auth | Phase::Mail, Failure::Reply(500.., words))) => {
            Judgement::Destination(words)
        }
        Err((_, Failure::Reply(500.., words))) => Judgement::Refused(words),
        Err((phase, Failure::Lost(words) | Failure::Reply(_, words))) => match phase {
            Phase::Connect | Phase::Auth | Phase::Mail => Judgement::Untried(words),
            Phase::Rcpt | Phase::Data | Phase::End => Judgement::Transient(words),
        },
    }
}

#[cfg(test)]
mod tests;
