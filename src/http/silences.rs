//! `POST /api/silences` and `DELETE /api/silences/{id}`: someone's word that alerts are not to be
//! told for a while. What it holds back is for the engine to say.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;
use tracing::{info, warn};
use warp::{Buf, Stream};

use super::Api;
use super::answer::{self, Refusal, Response};
use super::params::{closest, quoted};
use super::receive::Reading;
use crate::clock::{self, Timestamp};
use crate::engine::SilenceId;
use crate::rules::{Matchers, WrongMatchers};
use crate::store::{NewSilence, StoreError};

const KEYS: [&str; 5] = ["matchers", "starts_at", "ends_at", "created_by", "comment"];

#[derive(Serialize)]
struct Receipt {
    id: SilenceId,
}

pub(super) async fn add<I>(
    api: &Api<I>,
    reading: &Reading,
    length: Option<u64>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Refusal> {
    let body = reading.whole(body, length).await?;
    let now = clock::now();
    let silence = decode(&body, now)?;
    let (starts_at, ends_at) = (silence.starts_at, silence.ends_at);
    let id = api.store.add_silence(silence, now).await.map_err(unchanged)?;
    info!(silence.id = id.0, %starts_at, %ends_at, "a silence was made");
    api.wake.silences_changed();
    Ok(answer::created(answer::text_of(&Receipt { id })))
}

pub(super) async fn end<I>(api: &Api<I>, id: &str) -> Result<Response, Refusal> {
    let unknown = || {
        Refusal::not_found(
            "there is no silence of this id; `/api/silences?status=all` lists those there are",
        )
    };
    let id = SilenceId(id.parse().map_err(|_| unknown())?);
    if !api.store.end_silence(id, clock::now()).await.map_err(unchanged)? {
        return Err(unknown());
    }
    info!(silence.id = id.0, "a silence was ended");
    api.wake.silences_changed();
    Ok(answer::nothing())
}

fn unchanged(error: StoreError) -> Refusal {
    warn!(error = &error as &dyn std::error::Error, "a silence cannot be changed");
    error.into()
}

/// The silence that a body asks for.
fn decode(bytes: &[u8], now: Timestamp) -> Result<NewSilence, Refusal> {
    let body: Value = serde_json::from_slice(bytes).map_err(|error| {
        Refusal::malformed(format!(
            "the body is no JSON ({error}); send an object with some of {}",
            KEYS.join(", ")
        ))
    })?;
    Distinct.deserialize(&mut serde_json::Deserializer::from_slice(bytes)).map_err(|error| {
        Refusal::malformed(format!("of two that are named alike one would be lost: {error}"))
    })?;
    let Value::Object(mut given) = body else {
        return Err(Refusal::malformed(format!(
            "the body must be a JSON object with some of {}",
            KEYS.join(", ")
        )));
    };
    if let Some(name) = given.keys().find(|name| !KEYS.contains(&name.as_str())) {
        let advice = match closest(name, &KEYS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("a silence has {}", KEYS.join(", ")),
        };
        return Err(Refusal::malformed(format!("there is no key {}; {advice}", quoted(name))));
    }
    // An explicit null says as much as nothing at all.
    let mut take = |name| given.remove(name).filter(|value| !value.is_null());
    let matchers = take("matchers").ok_or_else(|| {
        Refusal::malformed(
            "`matchers` is missing; give at least one label and its pattern, like \
             {\"rule\": \"crashed\"}",
        )
    })?;
    let matchers = Matchers::try_from(matchers).map_err(|error: WrongMatchers| {
        Refusal::malformed(format!("`matchers` cannot be used: {error}"))
    })?;
    let starts_at = time("starts_at", take("starts_at"))?.unwrap_or(now);
    let Some(ends_at) = time("ends_at", take("ends_at"))? else {
        return Err(Refusal::malformed(
            "`ends_at` is missing; say when the silence ends, like 2015-11-20T10:35:59Z",
        ));
    };
    if ends_at <= now {
        return Err(Refusal::malformed(format!(
            "`ends_at` must be in the future, and is {ends_at}; it is {now} now"
        )));
    }
    if ends_at <= starts_at {
        return Err(Refusal::malformed(format!(
            "`ends_at` must be after `starts_at`, and {ends_at} is not after {starts_at}"
        )));
    }
    let created_by = text("created_by", take("created_by"))?;
    let comment = text("comment", take("comment"))?;
    Ok(NewSilence { matchers, starts_at, ends_at, created_by, comment })
}

fn time(name: &str, value: Option<Value>) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let Some(time) = value.as_str().and_then(Timestamp::parse) else {
        return Err(Refusal::malformed(format!(
            "`{name}` must be RFC 3339 in quotes, such as \"2015-11-20T10:35:59Z\", and is {}",
            quoted(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        )));
    };
    // One before cannot be kept as one that can be read again.
    if time < Timestamp::default() {
        let why = format!("`{name}` must be in 1970 or later, and is {time}");
        return Err(Refusal::malformed(why));
    }
    Ok(Some(time))
}

fn text(name: &str, value: Option<Value>) -> Result<Option<String>, Refusal> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::malformed(format!("`{name}` must be text"))),
    }
}

/// Fails where a key is given twice: of two patterns for one label, or of two parts of one, the last
/// alone would hold, and the silence hold back what it was not meant to.
struct Distinct;

impl<'de> DeserializeSeed<'de> for Distinct {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Distinct)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            entries.next_value_seed(Distinct)?;
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format_args!("{} is here twice", quoted(&key))));
            }
        }
        Ok(())
    }
}
