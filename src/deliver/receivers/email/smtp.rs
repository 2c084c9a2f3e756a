//! The conversation with an SMTP server: one transaction for each recipient, and what its replies
//! mean (RFC 5321; FACTS.md, "Mail").

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use reqwest::Url;
use tokio::time::{Instant, timeout_at};

use super::super::address::{host, is_loopback, percent_decoded};
use super::super::outbound::{self, LookupError};
use super::super::{certificate, in_a_line, no_answer_within};
use super::replies::Replies;

/// Where to deliver mail, and how to get in. Holds secrets, so there is no `Debug`.
pub(super) struct Server {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
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
    /// Refused for good.
    Refused(String),
    /// Not now.
    Transient(String),
    /// The mail was sent, and the answer lost.
    Unknown(String),
    /// Refused, whatever the mail and whoever the recipient.
    Destination(String),
}

/// How far a conversation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connecting, TLS and EHLO.
    Connect,
    /// AUTH.
    Auth,
    /// MAIL, and DATA as a command.
    Mail,
    /// RCPT.
    Rcpt,
    /// The mail itself.
    Content,
}

/// Why a step did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// The server said no.
    Reply(u16, String),
    /// The connection broke, was never made, or stalled.
    Lost(String),
    /// It can never work with this server as it is set up.
    Setup(String),
    /// It can never work for this recipient.
    Recipient(String),
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
                (Some(Credentials::new(user, password)), secrets)
            }
        };
        let port = url.port().unwrap_or(port);
        Ok(Server { host, port, security, credentials, secrets, tls: OnceLock::new() })
    }

    /// Delivers these bytes to each recipient, in `time` altogether.
    pub(super) async fn deliver(
        &self,
        bytes: &[u8],
        from: &Address,
        recipients: &[&Address],
        time: Duration,
    ) -> Vec<(String, Judgement)> {
        let deadline = Deadline { at: Instant::now() + time, time };
        let mut judged = Vec::new();
        let mut connection = match self.connect(deadline).await {
            Ok(connection) => connection,
            Err((phase, failure)) => {
                let judgement = self.in_a_line(judge(phase, failure));
                return recipients.iter().map(|to| (to.to_string(), judgement.clone())).collect();
            }
        };
        // What ended the connection ends it for those after it as well, but they were never tried.
        let mut broken: Option<String> = None;
        for to in recipients {
            let judgement = match &broken {
                Some(words) => Judgement::Transient(words.clone()),
                None => match transaction(&mut connection, bytes, from, to, deadline).await {
                    Ok(words) => Judgement::Reached(words),
                    Err((phase, failure)) => {
                        broken = self.recover(&mut connection, &failure, deadline).await.err();
                        judge(phase, failure)
                    }
                },
            };
            judged.push((to.to_string(), self.in_a_line(judgement)));
        }
        if broken.is_none() {
            let _ = deadline.bound(connection.quit()).await;
        }
        judged
    }

    /// Each judgement's words in a line, without what they repeat of the credentials.
    fn in_a_line(&self, mut judgement: Judgement) -> Judgement {
        use Judgement::{Destination, Reached, Refused, Transient, Unknown};
        let (Reached(words) | Refused(words) | Transient(words) | Unknown(words)
        | Destination(words)) = &mut judgement;
        let hide = |words: String, secret: &String| words.replace(secret, "***");
        *words = in_a_line(&self.secrets.iter().fold(std::mem::take(words), hide));
        judgement
    }

    async fn connect(&self, deadline: Deadline) -> Result<AsyncSmtpConnection, (Phase, Failure)> {
        let connect = |failure| (Phase::Connect, failure);
        let hello = ClientId::default();
        let tls = match self.security {
            Security::Tls => Some(self.tls().map_err(connect)?),
            Security::Plain | Security::StartTls => None,
        };
        let found = timeout_at(deadline.at, outbound::look_up(&self.host, self.port)).await;
        let found = found.map_err(|_| connect(deadline.passed()))?;
        let addresses = found.map_err(|error| connect(error.into()))?;
        let stream = deadline.bound(Replies::connect(&addresses, tls)).await.map_err(connect)?;
        let converse =
            || AsyncSmtpConnection::connect_with_transport(Box::new(stream.clone()), &hello);
        let mut connection = deadline.bound(converse()).await.map_err(connect)?;
        if self.security == Security::StartTls {
            if !connection.can_starttls() {
                let words = "the server offers no STARTTLS, and nothing is sent without it";
                return Err(connect(Failure::Setup(words.into())));
            }
            let tls = self.tls().map_err(connect)?;
            deadline.bound(connection.command(Starttls)).await.map_err(connect)?;
            deadline.bound(stream.encrypt(tls)).await.map_err(connect)?;
            connection = deadline.bound(converse()).await.map_err(connect)?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let auth = deadline.bound(connection.auth(&mechanisms, credentials)).await;
            auth.map_err(|failure| (Phase::Auth, failure))?;
        }
        Ok(connection)
    }

    fn tls(&self) -> Result<TlsParameters, Failure> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = TlsParameters::new_rustls(self.host.clone())
            .map_err(|error| Failure::Setup(root_cause(&error)))?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }

    /// Makes the connection ready for the next recipient, or says why there is none.
    async fn recover(
        &self,
        connection: &mut AsyncSmtpConnection,
        failure: &Failure,
        deadline: Deadline,
    ) -> Result<(), String> {
        match failure {
            // 421: the server closes the connection (RFC 5321 §3.8).
            Failure::Lost(words) | Failure::Reply(421, words) => Err(format!("not tried: {words}")),
            Failure::Recipient(_) => Ok(()),
            Failure::Reply(..) | Failure::Setup(_) => {
                let reset = deadline.bound(connection.command(Rset)).await;
                reset.map(drop).map_err(|_| "not tried: the connection was lost".to_owned())
            }
        }
    }
}

/// One mail to one recipient; the server's words, or how far it came and why no further.
async fn transaction(
    connection: &mut AsyncSmtpConnection,
    bytes: &[u8],
    from: &Address,
    to: &Address,
    deadline: Deadline,
) -> Result<String, (Phase, Failure)> {
    let mut parameters = Vec::new();
    // Whether an address needs SMTPUTF8 (RFC 6531). The mail itself is always ASCII.
    if !(from.to_string().is_ascii() && to.to_string().is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            let words = "the server takes no addresses beyond ASCII (SMTPUTF8)";
            return Err((Phase::Rcpt, Failure::Recipient(words.into())));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let mail = connection.command(Mail::new(Some(from.clone()), parameters));
    deadline.bound(mail).await.map_err(|failure| (Phase::Mail, failure))?;
    let rcpt = connection.command(Rcpt::new(to.clone(), Vec::new()));
    deadline.bound(rcpt).await.map_err(|failure| (Phase::Rcpt, failure))?;
    let data = connection.command(Data);
    deadline.bound(data).await.map_err(|failure| (Phase::Mail, failure))?;
    let sent = deadline.bound(connection.message(bytes)).await;
    let response: Response = sent.map_err(|failure| (Phase::Content, failure))?;
    let words = response.message().collect::<Vec<_>>().join(" ");
    Ok(format!("{} {words}", response.code()))
}

/// When an attempt has to end.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    time: Duration,
}

impl Deadline {
    async fn bound<T>(
        self,
        step: impl Future<Output = Result<T, SmtpError>>,
    ) -> Result<T, Failure> {
        match timeout_at(self.at, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::of(&error)),
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
    fn of(error: &SmtpError) -> Failure {
        if let Some(code) = error.status() {
            let words = error.source().map(ToString::to_string).unwrap_or_default();
            return Failure::Reply(code.into(), format!("{code} {words}"));
        }
        let words = certificate::refused(error).unwrap_or_else(|| root_cause(error));
        if error.is_client() || error.is_tls() || is_bad_certificate(error) {
            Failure::Setup(words)
        } else {
            Failure::Lost(format!("the connection failed: {words}"))
        }
    }
}

/// What is beneath it all: lettre puts its own words around it, and those more than once.
fn root_cause(error: &SmtpError) -> String {
    let mut root: &dyn Error = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}

/// Whether the other side is not who it should be: that does not mend itself by waiting.
fn is_bad_certificate(error: &SmtpError) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What a failure means for the recipient that it concerns.
fn judge(phase: Phase, failure: Failure) -> Judgement {
    match (phase, failure) {
        (_, Failure::Setup(words)) => Judgement::Destination(words),
        (_, Failure::Recipient(words)) => Judgement::Refused(words),
        (Phase::Content, Failure::Lost(words)) => Judgement::Unknown(words),
        (_, Failure::Lost(words)) => Judgement::Transient(words),
        // "Too many recipients" (RFC 5321 §4.5.3.1.10).
        (Phase::Rcpt, Failure::Reply(552, words)) => Judgement::Transient(words),
        // Authentication is required, too weak, or wrong (RFC 4954 §6).
        (_, Failure::Reply(530 | 534 | 535 | 538, words)) => Judgement::Destination(words),
        (Phase::Connect | Phase::Auth, Failure::Reply(500.., words)) => {
            Judgement::Destination(words)
        }
        (_, Failure::Reply(500.., words)) => Judgement::Refused(words),
        (_, Failure::Reply(_, words)) => Judgement::Transient(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        Server::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn how_to_get_in_is_in_the_url() {
        use Security::{Plain, StartTls, Tls};
        for (url, host, port, security) in [
            ("smtp://127.0.0.1", "127.0.0.1", 25, Plain),
            ("smtp://localhost:2525/", "localhost", 2525, Plain),
            ("smtp://[::1]:2525?tls=required", "::1", 2525, StartTls),
            ("smtp://mail.example.com", "mail.example.com", 587, StartTls),
            ("smtp://mail.example.com:25", "mail.example.com", 25, StartTls),
            ("smtps://u:p@mail.example.com", "mail.example.com", 465, Tls),
        ] {
            let server = server(url);
            assert_eq!(
                (server.host.as_str(), server.port, server.security),
                (host, port, security),
                "{url}"
            );
        }
    }

    #[test]
    fn user_and_password_are_decoded() {
        let server = server("smtps://ops%40example.com:a%2Fb%3A%C3%A9@mail.example.com");
        let expected = Credentials::new("ops@example.com".into(), "a/b:é".into());
        assert!(server.credentials == Some(expected));
    }

    #[test]
    fn what_a_server_repeats_of_the_credentials_is_hidden_before_its_words_are_cut() {
        let server = server("smtp://ops:pa%2Fssword@mail.example.com");
        for repeated in ["pa/ssword", "AG9wcwBwYS9zc3dvcmQ=", "cGEvc3N3b3Jk"] {
            for before in [0, 292, 296] {
                let words = format!("535 {} {repeated}\nand more", "x".repeat(before));
                let judged = server.in_a_line(Judgement::Destination(words));
                let Judgement::Destination(words) = judged else { panic!("{judged:?}") };
                assert!(words.starts_with("535 ") && !words.contains(&repeated[..4]), "{words}");
            }
        }
    }

    #[test]
    fn urls_that_mean_nothing_are_refused() {
        for url in [
            "smtp://",
            "mail.example.com",
            "smtp://u@mail.example.com",
            "smtp://:p@mail.example.com",
            "smtp://mail.example.com?tls=none",
            "smtp://u:a#b@mail.example.com",
            "smtp://mail.example.com/inbox",
            "smtp://169.254.169.254",
            "smtps://u:p@2852039166",
        ] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_a_metadata_service_is_the_destinations_trouble() {
        // As if its name had been another when the file was read.
        let server = Server { host: "2852039166".into(), ..server("smtp://mail.example.com") };
        let to: Address = "oncall@example.com".parse().unwrap();
        let judged = server.deliver(b"", &to, &[&to], Duration::from_secs(5)).await;
        let [(_, Judgement::Destination(words))] = &judged[..] else { panic!("{judged:?}") };
        assert!(words.starts_with("its name stands for 169.254.169.254"), "{words}");
    }

    #[test]
    fn failures_are_judged_by_what_is_to_be_done() {
        let w = || "words".to_owned();
        let reply = |code| Failure::Reply(code, w());
        for (phase, failure, judgement) in [
            (Phase::Connect, Failure::Lost(w()), Judgement::Transient(w())),
            (Phase::Connect, Failure::Setup(w()), Judgement::Destination(w())),
            (Phase::Connect, reply(421), Judgement::Transient(w())),
            (Phase::Connect, reply(554), Judgement::Destination(w())),
            (Phase::Auth, reply(535), Judgement::Destination(w())),
            (Phase::Auth, reply(534), Judgement::Destination(w())),
            (Phase::Auth, reply(454), Judgement::Transient(w())),
            (Phase::Mail, reply(530), Judgement::Destination(w())),
            (Phase::Mail, reply(451), Judgement::Transient(w())),
            (Phase::Mail, reply(553), Judgement::Refused(w())),
            (Phase::Rcpt, reply(550), Judgement::Refused(w())),
            (Phase::Rcpt, reply(552), Judgement::Transient(w())),
            (Phase::Rcpt, reply(450), Judgement::Transient(w())),
            (Phase::Rcpt, Failure::Lost(w()), Judgement::Transient(w())),
            (Phase::Rcpt, Failure::Recipient(w()), Judgement::Refused(w())),
            (Phase::Content, reply(552), Judgement::Refused(w())),
            (Phase::Content, reply(554), Judgement::Refused(w())),
            (Phase::Content, reply(451), Judgement::Transient(w())),
            (Phase::Content, Failure::Lost(w()), Judgement::Unknown(w())),
        ] {
            let words = format!("{phase:?} {failure:?}");
            assert_eq!(judge(phase, failure), judgement, "{words}");
        }
    }
}
