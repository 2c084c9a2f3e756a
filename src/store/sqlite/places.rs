//! Where the rows of one unit of work are kept, learnt once: its containers and facets.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use crate::clock::Timestamp;
use crate::event::State;

/// Where a container and its events are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) key: i64,
    /// The event that was received last.
    pub(super) last_event: i64,
    /// The latest place of its events in the timeline.
    pub(super) newest: Timestamp,
    /// How many of its events have a later timestamp than their place: they came from the future.
    pub(super) ahead: i64,
}

/// What one unit of work has learnt. Not to outlive it: what it wrote may be rolled back.
#[derive(Default)]
pub(super) struct Places {
    containers: HashMap<String, Place>,
    facets: HashMap<Facet, i64>,
}

type Facet = (Option<String>, Option<String>, State);

impl Places {
    pub(super) fn put(&mut self, id: &str, place: Place) {
        self.containers.insert(id.to_owned(), place);
    }

    /// Where a container is kept, if anything was heard of it.
    pub(super) fn get(
        &mut self,
        connection: &Connection,
        id: &str,
    ) -> Result<Option<Place>, Failure> {
        if let Some(place) = self.containers.get(id) {
            return Ok(Some(*place));
        }
        let mut statement = connection.prepare_cached(
            "select c.key, s.last_event, s.newest, s.ahead
             from containers c join container_states s on s.container = c.key where c.id = ?1",
        )?;
        let place = statement.query_row([id], |row| {
            Ok(Place {
                key: row.get(0)?,
                last_event: row.get(1)?,
                newest: row.get(2)?,
                ahead: row.get(3)?,
            })
        });
        let place = place.optional()?;
        if let Some(place) = place {
            self.put(id, place);
        }
        Ok(place)
    }

    /// The number of what an event can be listed by.
    pub(super) fn facet(
        &mut self,
        connection: &Connection,
        application: Option<&String>,
        service: Option<&String>,
        state: &State,
    ) -> Result<i64, Failure> {
        let facet = (application.cloned(), service.cloned(), state.clone());
        if let Some(known) = self.facets.get(&facet) {
            return Ok(*known);
        }
        let known: Option<i64> = connection
            .prepare_cached(
                "select id from facets where state = ?3 and application is ?1 and service is ?2",
            )?
            .query_row(params![application, service, state], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => {
                connection
                    .prepare_cached(
                        "insert into facets (application, service, state) values (?1, ?2, ?3)",
                    )?
                    .execute(params![application, service, state])?;
                connection.last_insert_rowid()
            }
        };
        self.facets.insert(facet, number);
        Ok(number)
    }
}
