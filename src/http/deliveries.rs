//! `/api/deliveries/{id}`: one delivery, and what can be done about a dead letter. What follows from
//! that is for the engine to say.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::Api;
use super::answer::{self, Refusal, Response};
use super::params::Params;
use crate::clock::{self, Timestamp};
use crate::engine::{self, Decision, DeliveryId, Keys, Notification, Retried, Snapshot, Stays};
use crate::store::{
    AttemptRow, DeliveryHistory, DeliveryQuery, DeliveryRow, PageQuery, StoreError, transact,
};
use crate::wake::Stirred;

/// How many dead letters are asked for at once, of those that one receiver missed.
const PAGE: usize = 1000;

/// How many of them are put back at once: the store commits together what waits together.
const AT_ONCE: usize = 64;

/// What a notification says.
#[derive(Clone, Debug)]
pub struct Words {
    /// In one line.
    pub title: String,
    /// All the rest.
    pub text: String,
}

/// Words notifications as they are sent at a time, but for a place's own markup.
pub type Wording = Arc<dyn Fn(&Notification, Timestamp) -> Words + Send + Sync>;

/// A delivery as `/api/deliveries/ID` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryShown {
    /// As in the list.
    #[serde(flatten)]
    pub row: DeliveryRow,
    /// What it says, in one line; `null` until it is first tried.
    pub title: Option<String>,
    /// All the rest that it says.
    pub text: Option<String>,
    /// Its attempts, the first first.
    pub history: Vec<AttemptRow>,
}

/// What became of one dead letter that was to be sent again.
#[derive(Serialize)]
struct Receipt<'a> {
    id: &'a DeliveryId,
    status: engine::Status,
}

/// What became of all dead letters of a receiver, by status.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RetriedAll {
    /// How many wait to be sent.
    pub pending: usize,
    /// How many go out with another notification.
    pub superseded: usize,
    /// Of how many nothing is left to tell.
    pub dropped: usize,
    /// How many stay as they are, since their rule does not tell this receiver any more.
    pub dead: usize,
}

/// `GET /api/deliveries/{id}`
pub(super) async fn show<I>(api: &Api<I>, id: &str, query: &str) -> Result<Response, Refusal> {
    Params::new(query, &[])?;
    let found = api.store.delivery(DeliveryId(id.to_owned())).await.map_err(|error| {
        warn!(error = &error as &dyn std::error::Error, "a delivery cannot be read");
        Refusal::from(error)
    })?;
    let Some(DeliveryHistory { row, notification, attempts }) = found else {
        return Err(unknown());
    };
    // As it was last said: told late or not, and how long it had fired by then.
    let said_at = attempts.last().map_or_else(clock::now, |attempt| attempt.started_at);
    let words = notification.as_ref().map(|notification| (api.words)(notification, said_at));
    let (title, text) = match words {
        Some(Words { title, text }) => (Some(title), Some(text)),
        None => (None, None),
    };
    let shown = DeliveryShown { row, title, text, history: attempts };
    Ok(answer::json(answer::text_of(&shown)))
}

/// `POST /api/deliveries/{id}/retry`
pub(super) async fn retry<I>(api: &Api<I>, id: &str, query: &str) -> Result<Response, Refusal> {
    Params::new(query, &[])?;
    let id = DeliveryId(id.to_owned());
    match retry_one(api, id.clone()).await.map_err(unchanged)? {
        Ok(retried) => {
            Ok(answer::json(answer::text_of(&Receipt { id: &id, status: retried.status() })))
        }
        Err(stays) => Err(refusal(stays, "sent again")),
    }
}

/// `POST /api/deliveries/retry?receiver=NAME`
pub(super) async fn retry_all<I>(api: &Api<I>, query: &str) -> Result<Response, Refusal> {
    let params = Params::new(query, &["receiver"])?;
    let Some(receiver) = params.owned("receiver") else {
        return Err(Refusal::malformed(
            "`receiver` is missing; say whose dead letters are to be sent again",
        ));
    };
    if !api.rules.has_receiver(&receiver) {
        return Err(refusal(Stays::NoReceiver, "sent again"));
    }
    let (mut all, mut cursor) = (RetriedAll::default(), None);
    loop {
        let query = DeliveryQuery {
            status: Some(engine::Status::Dead),
            receiver: Some(receiver.clone()),
            digest: None,
            page: PageQuery { limit: PAGE, cursor },
        };
        let page = api.store.deliveries(query).await.map_err(unchanged)?;
        let letters = page.items.into_iter().map(|row| retry_one(api, DeliveryId(row.id)));
        let mut retried = stream::iter(letters).buffered(AT_ONCE);
        while let Some(retried) = retried.try_next().await.map_err(unchanged)? {
            match retried {
                Ok(Retried::Waits) => all.pending += 1,
                Ok(Retried::Joined) => all.superseded += 1,
                Ok(Retried::NothingLeft) => all.dropped += 1,
                Err(Stays::NoReceiver | Stays::NotTold) => all.dead += 1,
                // Someone else was faster.
                Err(Stays::Unknown | Stays::NotDead(_)) => {}
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(answer::json(answer::text_of(&all)));
        }
    }
}

/// `DELETE /api/deliveries/{id}`
pub(super) async fn discard<I>(api: &Api<I>, id: &str, query: &str) -> Result<Response, Refusal> {
    Params::new(query, &[])?;
    let id = DeliveryId(id.to_owned());
    let letter = id.clone();
    let discard = move |snapshot: &Snapshot| engine::discard(snapshot, &letter, clock::now());
    match decide(api, &id, discard).await.map_err(unchanged)? {
        Ok(()) => {
            info!(delivery.id = id.0, "a dead letter was discarded");
            Ok(answer::nothing())
        }
        Err(stays) => Err(refusal(stays, "discarded")),
    }
}

async fn retry_one<I>(api: &Api<I>, id: DeliveryId) -> Result<Result<Retried, Stays>, StoreError> {
    let (letter, rules) = (id.clone(), Arc::clone(&api.rules));
    let retry = move |snapshot: &Snapshot| engine::retry(&rules, snapshot, &letter, clock::now());
    let retried = decide(api, &id, retry).await?;
    if let Ok(retried) = retried {
        info!(delivery.id = id.0, status = retried.status().as_str(), "a dead letter was put back");
    }
    Ok(retried)
}

/// Decides on one delivery, and wakes whom it concerns.
async fn decide<I, T: Send + 'static>(
    api: &Api<I>,
    id: &DeliveryId,
    mut decide: impl FnMut(&Snapshot) -> Decision<T> + Send + 'static,
) -> Result<T, StoreError> {
    let keys = Keys { deliveries: [id.clone()].into(), ..Keys::default() };
    let decide = move |snapshot: &Snapshot| Stirred::by(decide(snapshot));
    let (value, stirred) = transact(&*api.store, keys, decide).await?;
    api.wake.wake(stirred);
    Ok(value)
}

fn unknown() -> Refusal {
    Refusal::not_found("there is no delivery of this id; `/api/deliveries` lists those there are")
}

fn refusal(stays: Stays, what: &str) -> Refusal {
    match stays {
        Stays::Unknown => unknown(),
        Stays::NotDead(status) => Refusal::conflict(format!(
            "this delivery is {}, and only a dead letter can be {what}; \
             `/api/deliveries?status=dead` lists those there are",
            status.as_str()
        )),
        Stays::NoReceiver => Refusal::conflict(
            "there is no such receiver in the rules file, or it is off; bring it back and restart, \
             or discard the dead letters",
        ),
        Stays::NotTold => Refusal::conflict(
            "the rules file does not tell this receiver of that rule any more; bring that back and \
             restart, or discard the dead letter",
        ),
    }
}

fn unchanged(error: StoreError) -> Refusal {
    warn!(error = &error as &dyn std::error::Error, "dead letters cannot be changed");
    error.into()
}
