//! Who may call (DESIGN.md §4): a token lets events in, `admin` all else.
//!
//! A request has one go: what it gives is looked at in one place, and compared in constant time.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::warn;
use warp::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::answer::Refusal;
use super::attempts::{Attempts, Verdict};
use super::origin::Neighbours;
use crate::password::Password;
use crate::rate::{Bucket, Rate};

/// How often a hash is asked, whoever may want it: some ten milliseconds each time.
const HASHES: Rate = Rate::per_second(5);

/// Who may call what.
pub(super) struct Access {
    receive: Tokens,
    admin: Option<Arc<Admin>>,
}

/// What lets events in.
struct Tokens {
    digests: Vec<[u8; 32]>,
    attempts: Mutex<Attempts>,
    rate: Option<Rate>,
    /// One for each token, or one for all where there is none.
    buckets: Vec<Mutex<Bucket>>,
}

struct Admin {
    user: [u8; 32],
    password: Password,
    attempts: Mutex<Attempts>,
    /// Whose turn it is to have the hash asked.
    turn: Arc<Semaphore>,
    hashes: Mutex<Bucket>,
}

impl Access {
    pub(super) fn new(
        receive_tokens: &[SecretString],
        receive_rate: Option<Rate>,
        admin: Option<(String, Password)>,
    ) -> Access {
        let now = Instant::now();
        let digests: Vec<[u8; 32]> =
            receive_tokens.iter().map(|token| digest(token.expose_secret().as_bytes())).collect();
        let bucket = |rate| Mutex::new(Bucket::new(rate, now));
        let buckets =
            receive_rate.map(|rate| (0..digests.len().max(1)).map(|_| bucket(rate)).collect());
        Access {
            receive: Tokens {
                digests,
                attempts: Mutex::default(),
                rate: receive_rate,
                buckets: buckets.unwrap_or_default(),
            },
            admin: admin.map(|(user, password)| {
                Arc::new(Admin {
                    user: digest(user.as_bytes()),
                    password,
                    attempts: Mutex::default(),
                    turn: Arc::new(Semaphore::new(1)),
                    hashes: bucket(HASHES),
                })
            }),
        }
    }

    /// Whether someone may ask for what is at `path`, be there something or not.
    pub(super) async fn check(
        &self,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<(), Refusal> {
        match (path, &self.admin) {
            ("/healthz" | "/readyz", _) => Ok(()),
            ("/api/post", _) => self.receive.check(query, headers, client),
            (_, Some(admin)) => admin.check(headers, client).await,
            (_, None) => Ok(()),
        }
    }
}

impl Tokens {
    fn check(
        &self,
        query: Option<&str>,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<(), Refusal> {
        let token = if self.digests.is_empty() { 0 } else { self.token(query, headers, client)? };
        let (Some(rate), Some(bucket)) = (self.rate, self.buckets.get(token)) else {
            return Ok(());
        };
        let (mut bucket, now) = (lock(bucket), Instant::now());
        if bucket.available(now) == 0 {
            let wait = bucket.next(now) - now;
            let sentence = format!("these are more requests than {rate}; send it again in a while");
            return Err(Refusal::too_many(sentence, wait));
        }
        bucket.take(1, now);
        Ok(())
    }

    /// Which token was given.
    fn token(
        &self,
        query: Option<&str>,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<usize, Refusal> {
        const HOW: &str = "give one of `server.receive_token`, as ?token=… in the URL, as a Bearer \
                           token, or as the password of Basic credentials";
        let unauthorized = |what: &str| {
            let challenge = r#"Basic realm="tocsin", Bearer realm="tocsin""#;
            Refusal::unauthorized(format!("{what}; {HOW}"), HeaderValue::from_static(challenge))
        };
        let Some(given) = token_given(query, headers) else {
            return Err(unauthorized("this takes a token"));
        };
        let found = self.find(&given);
        let verdict =
            lock(&self.attempts).judge(Neighbours::of(client), found.is_some(), Instant::now());
        settle(verdict, client, "receive_token", || unauthorized("the token is wrong"))?;
        found.ok_or_else(|| unauthorized("the token is wrong"))
    }

    /// Compares with all of them, so that the time that it takes does not tell which it is.
    fn find(&self, given: &[u8]) -> Option<usize> {
        let given = digest(given);
        let is = |token: &[u8; 32]| bool::from(token.ct_eq(&given));
        self.digests.iter().enumerate().fold(
            None,
            |found, (index, token)| {
                if is(token) { Some(index) } else { found }
            },
        )
    }
}

impl Admin {
    async fn check(self: &Arc<Self>, headers: &HeaderMap, client: IpAddr) -> Result<(), Refusal> {
        let Some((user, password)) = basic(headers) else {
            return Err(Admin::unauthorized("this takes the user and the password of"));
        };
        let user = digest(&user).ct_eq(&self.user);
        if let Some(is_right) = self.password.is_at_once(&password) {
            return self.judge(user & choice(is_right), client);
        }
        // The client may go away at any time, and what it asked for goes on: so the turn goes along
        // with it, and the verdict is given there.
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        if let Some(is_right) = self.password.is_at_once(&password) {
            return self.judge(user & choice(is_right), client);
        }
        if let Some(time) = lock(&self.attempts).shut_out(Neighbours::of(client), Instant::now()) {
            return settle(Verdict::TooMany(time), client, "admin", Admin::wrong);
        }
        self.take_hash()?;
        let admin = Arc::clone(self);
        let judged = tokio::task::spawn_blocking(move || {
            let is_right = admin.password.is(&password);
            drop(turn);
            admin.judge(user & choice(is_right), client)
        });
        judged.await.unwrap_or_else(|_| {
            Err(Refusal::unavailable("the password could not be looked at; try again", 1))
        })
    }

    fn take_hash(&self) -> Result<(), Refusal> {
        let (mut hashes, now) = (lock(&self.hashes), Instant::now());
        if hashes.available(now) == 0 {
            let wait = hashes.next(now) - now;
            let sentence = "too many passwords are being tried; try again in a while";
            return Err(Refusal::too_many(sentence, wait));
        }
        hashes.take(1, now);
        Ok(())
    }

    fn judge(&self, is_right: Choice, client: IpAddr) -> Result<(), Refusal> {
        let from = Neighbours::of(client);
        let verdict = lock(&self.attempts).judge(from, is_right.into(), Instant::now());
        settle(verdict, client, "admin", Admin::wrong)
    }

    fn wrong() -> Refusal {
        Admin::unauthorized("the user or the password is wrong; give those of")
    }

    fn unauthorized(what: &str) -> Refusal {
        let challenge = r#"Basic realm="tocsin", charset="UTF-8""#;
        Refusal::unauthorized(format!("{what} `server.admin`"), HeaderValue::from_static(challenge))
    }
}

/// What a verdict means for whoever asked, and for the log: the first and the last wrong ones of a
/// minute are said, of each address.
fn settle(
    verdict: Verdict,
    client: IpAddr,
    door: &'static str,
    wrong: impl FnOnce() -> Refusal,
) -> Result<(), Refusal> {
    match verdict {
        Verdict::Right => Ok(()),
        Verdict::Wrong(count) => {
            match count {
                1 => warn!(client.address = %client, door, "wrong credentials"),
                super::attempts::MOST_WRONG => warn!(
                    client.address = %client, door,
                    "wrong credentials, time and again; no more are looked at for a while"
                ),
                _ => {}
            }
            Err(wrong())
        }
        Verdict::TooMany(time) => Err(Refusal::too_many(
            "too many wrong credentials came from this address; wait, then try the right ones",
            time,
        )),
    }
}

/// The token that a request gives: in the query or, if it has none there, in a header.
fn token_given<'a>(query: Option<&'a str>, headers: &'a HeaderMap) -> Option<Cow<'a, [u8]>> {
    let mut query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    if let Some((_, token)) = query.find(|(name, _)| name == "token") {
        return Some(match token {
            Cow::Borrowed(token) => Cow::Borrowed(token.as_bytes()),
            Cow::Owned(token) => Cow::Owned(token.into_bytes()),
        });
    }
    match authorization(headers, "bearer") {
        Some(token) => Some(Cow::Borrowed(token)),
        None => basic(headers).map(|(_, password)| Cow::Owned(password)),
    }
}

/// User and password. What cannot be read is as good as wrong.
fn basic(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut decoded = BASE64_STANDARD.decode(authorization(headers, "basic")?).unwrap_or_default();
    let Some(colon) = decoded.iter().position(|byte| *byte == b':') else {
        return Some((decoded, Vec::new()));
    };
    let password = decoded.split_off(colon + 1);
    decoded.truncate(colon);
    Some((decoded, password))
}

/// What the first `Authorization` gives, if it is by this scheme.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a [u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (found, rest) = value.split_at_checked(scheme.len())?;
    let is_it = found.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ");
    is_it.then(|| rest.trim_ascii())
}

fn choice(is: bool) -> Choice {
    Choice::from(u8::from(is))
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing is left half done behind these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
