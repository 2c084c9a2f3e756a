//! A silence: for a while, whoever matches is not told of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::rules::Matchers;

/// Names a silence in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SilenceId(pub i64);

/// Someone's word that alerts are not to be told for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// Its name in the store.
    pub id: SilenceId,
    /// What the labels of an alert must be like.
    pub matchers: Arc<Matchers>,
    /// When it begins; may be before it was made.
    pub starts_at: Timestamp,
    /// When it ends: at this instant it does not hold any more.
    pub ends_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Option<String>,
    /// What for.
    pub comment: Option<String>,
}

/// How far a silence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SilenceStatus {
    /// It has not begun.
    Pending,
    /// It holds.
    Active,
    /// It is over.
    Expired,
}

impl Silence {
    /// How far it is at this instant.
    #[must_use]
    pub fn status(&self, at: Timestamp) -> SilenceStatus {
        if at >= self.ends_at {
            SilenceStatus::Expired
        } else if at < self.starts_at {
            SilenceStatus::Pending
        } else {
            SilenceStatus::Active
        }
    }

    /// Whether it holds at this instant.
    #[must_use]
    pub fn is_active(&self, at: Timestamp) -> bool {
        self.status(at) == SilenceStatus::Active
    }

    /// Whether what began at `from` and ended at `to` lies wholly inside it.
    #[must_use]
    pub fn covers(&self, from: Timestamp, to: Timestamp) -> bool {
        self.is_active(from) && to <= self.ends_at
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn a_silence_holds_from_its_start_and_not_at_its_end() {
        let silence = Silence {
            id: SilenceId(1),
            matchers: serde_json::from_value(json!({"rule": "crashed"})).unwrap(),
            starts_at: at(10),
            ends_at: at(20),
            created_at: at(10),
            created_by: None,
            comment: None,
        };
        let active = [9, 10, 19, 20].map(|second| silence.is_active(at(second)));
        assert_eq!(active, [false, true, true, false]);
        for (from, to, covered) in
            [(10, 20, true), (9, 12, false), (12, 21, false), (19, 19, true), (20, 20, false)]
        {
            assert_eq!(silence.covers(at(from), at(to)), covered, "{from} to {to}");
        }
    }
}
