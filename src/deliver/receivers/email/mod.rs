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
use crate::clock::Timestamp;
use crate::engine::DeliveryId;

/// Of how many mails it is kept at most who refused them.
const REFUSED: usize = 1_000;

/// For how long who refused a mail is not asked for it again: by then someone may have mended that.
const REFUSED_FOR: Duration = Duration::from_secs(3600);

/// A longer name of a mailbox might make a line of more than 998 octets (RFC 5322 §2.1.1), in characters.
const NAME: usize = 200;

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
    /// Who refused a mail that is to be tried again for others, in which words, and since when: it would
    /// be asked in vain. Lost with the program, that costs one question more.
    refused: Mutex<HashMap<Waiting, (Instant, Judged)>>,
}

/// A mail, and since when it waits: put back once it was given up, it is asked for anew.
type Waiting = (DeliveryId, Timestamp);

/// What came of a mail for each of some mailboxes.
type Judged = Vec<(String, Judgement)>;

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
            Err(error) => {
                let error = format!("{error}; several are a list: [a@example.com, b@example.com]");
                errors.push(("to", error));
            }
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
    if mailbox.name.as_ref().is_some_and(|name| name.chars().count() > NAME) {
        let address = mailbox.email;
        return Err(format!("{address} has a name of more than {NAME} characters; shorten it"));
    }
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
            refused: Mutex::default(),
        })
    }

    /// Puts first who has not failed, and last who failed last.
    fn sort(&self, mailboxes: &mut [&Address]) {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.sort_by_key(|to| failed.get(to.as_ref() as &str));
    }

    fn note(&self, judged: &Judged) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (mailbox, judgement) in judged {
            match judgement {
                Judgement::Reached(_) => failed.remove(mailbox),
                Judgement::Untried(_) => None,
                _ => failed.insert(mailbox.clone(), Instant::now()),
            };
        }
    }

    /// Who refused a mail for good, and since when.
    fn take_refused(&self, mail: &Waiting) -> (Instant, Judged) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refused.remove(mail).filter(|(since, _)| since.elapsed() < REFUSED_FOR);
        known.unwrap_or_else(|| (Instant::now(), Vec::new()))
    }

    /// Keeps of a mail that is to be tried again who refused it for good.
    fn keep_refused(&self, mail: Waiting, since: Instant, mut judged: Judged) {
        judged.retain(|(_, it)| matches!(it, Judgement::Refused(_) | Judgement::Mailbox(_)));
        if judged.is_empty() {
            return;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        // Some are of mails that are tried no more.
        if refused.len() >= REFUSED {
            refused.clear();
        }
        refused.insert(mail, (since, judged));
    }
}

impl Sender for Email {
    fn send<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<Accepted, SendError>> {
        async move {
            let bytes = mail::bytes(envelope, &self.from, &self.to).map_err(SendError::message)?;
            let (before, mut missing): (Vec<_>, Vec<_>) = self
                .to
                .iter()
                .map(|to| &to.email)
                .partition(|to| is_among(to.as_ref(), &envelope.reached));
            let before: Vec<String> = before.into_iter().map(ToString::to_string).collect();
            let waiting = (envelope.id.clone(), envelope.waiting_since);
            let (since, mut judged) = self.take_refused(&waiting);
            missing.retain(|to| judged.iter().all(|(refused, _)| refused != to.as_ref() as &str));
            self.sort(&mut missing);
            let now = self.server.deliver(&bytes, &self.from.email, &missing, self.timeout).await;
            self.note(&now);
            judged.extend(now);
            let concluded = conclude(&before, &judged, envelope.message.plain);
            if let Err(SendError::Transient { .. } | SendError::Unknown { .. }) = &concluded {
                self.keep_refused(waiting, since, judged);
            }
            concluded
        }
        .boxed()
    }
}

/// What it all came to, from what it came to for each mailbox that it had not reached before.
fn conclude(before: &[String], judged: &Judged, plain: bool) -> Result<Accepted, SendError> {
    let mut reached = before.to_vec();
    let (mut refused, mut delayed, mut lost, mut closed) = (vec![], vec![], vec![], vec![]);
    let mut answer = String::new();
    let mut is_of_the_mail = false;
    for (mailbox, judgement) in judged {
        let of_mailbox = |words: &String| format!("{mailbox}: {words}");
        match judgement {
            Judgement::Reached(words) => {
                answer.clone_from(words);
                reached.push(mailbox.clone());
            }
            Judgement::Refused(words) => {
                is_of_the_mail = true;
                refused.push(of_mailbox(words));
            }
            Judgement::Mailbox(words) => refused.push(of_mailbox(words)),
            Judgement::Transient(words) | Judgement::Untried(words) => {
                delayed.push(of_mailbox(words))
            }
            Judgement::Unknown(words) => lost.push(of_mailbox(words)),
            Judgement::Destination(words) => closed.push(words.clone()),
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
    // Where other mailboxes have it, plain words are still tried; once they were, it is a complaint.
    if is_of_the_mail && (!plain || reached.is_empty()) {
        return Err(SendError::Message { detail: refused.join("; "), reached });
    }
    // No mailbox takes anything: not the next mail either.
    if reached.is_empty() {
        return Err(SendError::Destination { detail: refused.join("; ") });
    }
    Ok(Accepted { answer, complaint, handle: None })
}

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
