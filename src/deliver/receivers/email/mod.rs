//! Mail over SMTP: one mail with all recipients in it, and each recipient judged by itself.

mod conversation;
mod mail;
mod picture;
mod session;
mod smtp;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lettre::Address;
use lettre::address::AddressError;
use lettre::message::Mailbox;

use self::smtp::{Judgement, Server};
use super::{Accepted, Envelope, SendError, Sender};

/// Mailboxes behind an SMTP server.
pub(super) struct Email {
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    /// What one attempt may take: a little less than the caller allows, so that it is this that
    /// ends it, and can say who has been reached.
    timeout: Duration,
    /// When a mailbox was last tried and did not take the mail. Who takes long to fail is tried after
    /// those whom that may cost their turn.
    failed: Mutex<HashMap<String, Instant>>,
}

/// What is wrong, and at which key. An empty URL is not: it says that the receiver is off.
pub(super) fn validate(url: &str, from: &str, to: &[String]) -> Vec<(&'static str, String)> {
    let mut errors = Vec::new();
    if let Some(error) =
        Some(url).filter(|url| !url.is_empty()).and_then(|url| Server::parse(url).err())
    {
        errors.push(("smtp_url", error));
    }
    match mailbox(from) {
        Err(error) => errors.push(("from", error)),
        Ok(from) if !from.email.user().is_ascii() => {
            let error = format!(
                "sends as {:?}, which stands in every mail, and few servers take one with letters \
                 beyond ASCII before the @; name another",
                from.email.user()
            );
            errors.push(("from", error));
        }
        Ok(_) => {}
    }
    if to.is_empty() {
        errors.push(("to", "names no mailbox; name at least one".to_owned()));
    }
    let mut seen: Vec<String> = Vec::new();
    for to in to {
        match mailbox(to).map(|to| to.email.to_string()) {
            Err(error) => errors.push(("to", error)),
            Ok(address) if is_among(&address, &seen) => {
                let error = format!(
                    "names {address} more than once, who would get each mail as often; name it once"
                );
                errors.push(("to", error));
            }
            Ok(address) => seen.push(address),
        }
    }
    errors
}

/// Whether a mailbox is one of these. A server may tell two apart by their case alone, and none does
/// (RFC 5321 §2.4).
fn is_among(address: &str, others: &[String]) -> bool {
    others.iter().any(|other| other.eq_ignore_ascii_case(address))
}

/// The mailbox, with its domain in ASCII (RFC 5891), as every server takes it.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let wrong = |error: AddressError| {
        format!(
            "{text:?} is no mailbox ({error}); write name@example.com, or Name <name@example.com>"
        )
    };
    let mut mailbox: Mailbox = text.parse().map_err(wrong)?;
    if !mailbox.email.domain().is_ascii() {
        let domain = idna::domain_to_ascii(mailbox.email.domain());
        let domain = domain.map_err(|_| wrong(AddressError::InvalidDomain))?;
        mailbox.email = Address::new(mailbox.email.user(), domain).map_err(wrong)?;
    }
    Ok(mailbox)
}

impl Email {
    pub(super) fn new(
        url: &str,
        from: &str,
        to: &[String],
        timeout: Duration,
    ) -> Result<Email, String> {
        Ok(Email {
            server: Server::parse(url)?,
            from: mailbox(from)?,
            to: to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?,
            timeout: timeout.mul_f32(0.9),
            failed: Mutex::default(),
        })
    }

    /// Puts first who has not failed, and last who failed last.
    fn sort(&self, mailboxes: &mut [&Address]) {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.sort_by_key(|to| failed.get(to.as_ref() as &str));
    }

    fn note(&self, judged: &[(String, Judgement)]) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (mailbox, judgement) in judged {
            match judgement {
                Judgement::Reached(_) => failed.remove(mailbox),
                Judgement::Untried(_) => None,
                _ => failed.insert(mailbox.clone(), Instant::now()),
            };
        }
    }
}

impl Sender for Email {
    fn send<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<Accepted, SendError>> {
        async move {
            let bytes = mail::bytes(envelope, &self.from, &self.to)
                .map_err(|detail| SendError::Message { detail })?;
            // Others may have it of another receiver, for which this one stands in.
            let (before, mut missing): (Vec<_>, Vec<_>) = self
                .to
                .iter()
                .map(|to| &to.email)
                .partition(|to| is_among(to.as_ref(), &envelope.reached));
            let before: Vec<String> = before.into_iter().map(ToString::to_string).collect();
            if missing.is_empty() {
                return conclude(&before, Vec::new());
            }
            self.sort(&mut missing);
            let judged =
                self.server.deliver(&bytes, &self.from.email, &missing, self.timeout).await;
            self.note(&judged);
            conclude(&before, judged)
        }
        .boxed()
    }
}

/// What it all came to, from what it came to for each mailbox that was tried now.
fn conclude(before: &[String], judged: Vec<(String, Judgement)>) -> Result<Accepted, SendError> {
    let mut reached = before.to_vec();
    let (mut refused, mut delayed, mut lost, mut closed) = (vec![], vec![], vec![], vec![]);
    let mut answer = String::new();
    for (mailbox, judgement) in judged {
        match judgement {
            Judgement::Reached(words) => {
                answer = words;
                reached.push(mailbox);
            }
            Judgement::Refused(words) => refused.push(format!("{mailbox}: {words}")),
            Judgement::Transient(words) | Judgement::Untried(words) => {
                delayed.push(format!("{mailbox}: {words}"))
            }
            Judgement::Unknown(words) => lost.push(format!("{mailbox}: {words}")),
            Judgement::Destination(words) => closed.push(words),
        }
    }
    // What is to be tried again for some is over for these, and nothing else says so.
    let complaint = (!refused.is_empty()).then(|| format!("refused for {}", refused.join("; ")));
    let and_complaint = |mut words: Vec<String>| {
        words.extend(complaint.clone());
        words.join("; ")
    };
    if !lost.is_empty() {
        lost.append(&mut delayed);
        return Err(SendError::Unknown { detail: and_complaint(lost), reached });
    }
    // If someone was reached, the next attempt finds the same trouble, and has only it to report.
    if let Some(detail) = closed.first().filter(|_| reached.len() == before.len()) {
        return Err(SendError::Destination { detail: detail.clone() });
    }
    delayed.extend(closed);
    if !delayed.is_empty() {
        let detail = and_complaint(delayed);
        return Err(SendError::Transient { detail, retry_after: None, reached });
    }
    if reached.is_empty() {
        return Err(SendError::Message { detail: refused.join("; ") });
    }
    Ok(Accepted { answer, complaint, handle: None })
}

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
