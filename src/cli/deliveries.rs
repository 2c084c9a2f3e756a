//! `tocsin deliveries`: what a running tocsin tells, and what it could not: dead letters are sent again
//! or discarded.

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Subcommand};
use form_urlencoded::Serializer;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::client::{Address, Client, understood};
use super::{Exit, output};
use crate::clock::{self, Timestamp};
use crate::engine::Status;
use crate::http::{DeliveryShown, RetriedAll};
use crate::message::text::{self, one_line};
use crate::store::{AttemptRow, DeliveryRow};

/// How far a message can be.
const STATUSES: [&str; 6] = ["pending", "sent", "dead", "superseded", "dropped", "discarded"];

#[derive(Debug, Args)]
pub(super) struct Deliveries {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    address: Address,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the messages, the latest first.
    List {
        /// Only those that are this far.
        #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(STATUSES))]
        status: Option<String>,
        /// Only those for this receiver.
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
        /// Only those that this digest told or tells, by its id.
        #[arg(long, value_name = "ID")]
        digest: Option<String>,
        /// Print what the API answers, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one message: what it says, and every attempt to send it.
    Show {
        /// Its id, as `list` shows it.
        id: String,
        /// Print what the API answers, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send dead letters again: what they say is told as it is now, unless it was told since.
    #[command(group = ArgGroup::new("which").required(true).args(["ids", "receiver"]))]
    Retry {
        /// Their ids, as `list --status dead` shows them.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// All that this receiver missed.
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
    },
    /// Discard dead letters: they stay listed, and are not sent.
    Discard {
        /// Their ids, as `list --status dead` shows them.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

impl Deliveries {
    pub(super) fn run(self) -> Result<Exit> {
        let client = Client::new(self.address)?;
        match self.command {
            Command::List { status, receiver, digest, json } => {
                let filters = [("status", status), ("receiver", receiver), ("digest", digest)];
                list(&client, filters, json)
            }
            Command::Show { id, json } => show(&client, &id, json),
            Command::Retry { receiver: Some(receiver), .. } => retry_all(&client, &receiver),
            Command::Retry { ids, receiver: None } => each(&ids, |id| retry(&client, id)),
            Command::Discard { ids } => each(&ids, |id| {
                client.delete(&path_of(id, ""))?;
                output::note(format_args!("{id} is discarded"));
                Ok(())
            }),
        }
    }
}

fn list(client: &Client, filters: [(&str, Option<String>); 3], json: bool) -> Result<Exit> {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(filters.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let path = format!("/api/deliveries?{}", query.finish());
    let lines = |row: &DeliveryRow| lines(row, clock::now());
    client.print_list(&path, json, lines, "there are no such messages")
}

fn show(client: &Client, id: &str, json: bool) -> Result<Exit> {
    let answer = client.get(&path_of(id, ""))?;
    match json {
        true => output::data(answer)?,
        false => output::data(whole(&understood(answer)?, clock::now()))?,
    }
    Ok(Exit::Done)
}

fn retry(client: &Client, id: &str) -> Result<()> {
    let answer = client.post(&path_of(id, "/retry"), &json!({}))?;
    let now = match understood(answer["status"].clone())? {
        Status::Superseded => "is news again, and goes out with what else there is to tell",
        Status::Dropped => "is dropped: nothing of it is left to tell",
        _ => "waits to be sent",
    };
    output::note(format_args!("{id} {now}"));
    Ok(())
}

fn retry_all(client: &Client, receiver: &str) -> Result<Exit> {
    let query = Serializer::new(String::new()).append_pair("receiver", receiver).finish();
    let answer = client.post(&format!("/api/deliveries/retry?{query}"), &json!({}))?;
    let all: RetriedAll = understood(answer)?;
    let became = [
        (all.pending, "to be sent"),
        (all.superseded, "to go out with others"),
        (all.dropped, "with nothing left to tell"),
        (all.dead, "left, since their rules do not tell this receiver any more"),
    ];
    let became = became.iter().filter(|(number, _)| *number > 0);
    let became: Vec<String> = became.map(|(number, what)| format!("{number} {what}")).collect();
    match became.is_empty() {
        true => output::note(format_args!("there are no dead letters for {receiver}")),
        false => output::note(became.join(", ")),
    }
    Ok(if all.dead == 0 { Exit::Done } else { Exit::No })
}

/// Does this for each of them, be it that one cannot be done: whether all could.
fn each(ids: &[String], work: impl Fn(&str) -> Result<()>) -> Result<Exit> {
    let mut exit = Exit::Done;
    for id in ids {
        if let Err(error) = work(id) {
            output::error(&error.context(id.clone()));
            exit = Exit::No;
        }
    }
    Ok(exit)
}

/// A path of the API for this delivery, whatever was typed as its id.
fn path_of(id: &str, more: &str) -> String {
    format!("/api/deliveries/{}{more}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

/// A delivery for people: what became of it in the first line, the rest below it.
fn lines(row: &DeliveryRow, now: Timestamp) -> Vec<String> {
    let time = |at: Timestamp| text::time(at, now);
    let since = row.ended_at.map(|at| format!(": {}", time(at))).unwrap_or_default();
    let when = match (row.status, row.next_attempt_at) {
        (Status::Pending, Some(at)) if at > now => format!(": next try {}", time(at)),
        (Status::Pending, Some(_)) => ": due now".to_owned(),
        (Status::Pending, None) => ": being sent".to_owned(),
        _ => since,
    };
    let labels = row.labels.iter().map(|(_, value)| one_line(value)).collect::<Vec<_>>().join("/");
    let of = if labels.is_empty() { String::new() } else { format!(" of {labels}") };
    let tried = match row.attempts {
        0 => "not tried yet".to_owned(),
        attempts => format!("tried {}", output::count(attempts as usize, "time")),
    };
    let mut lines = vec![
        format!("{}  {}{when}", row.id, row.status.as_str()),
        format!("    {}{of}", one_line(&row.rule)),
        format!("    for {}, made {}, {tried}", one_line(&row.receiver), time(row.created_at)),
    ];
    let instead_of = row.instead_of.as_ref();
    lines.extend(instead_of.map(|name| format!("    instead of {}", one_line(name))));
    lines.extend(row.digest.as_ref().map(|digest| format!("    in digest {}", one_line(digest))));
    lines.extend(row.last_error.as_ref().map(|error| format!("    {}", one_line(error))));
    output::cut(lines)
}

/// A delivery with all that is known of it.
fn whole(shown: &DeliveryShown, now: Timestamp) -> String {
    let mut parts = vec![lines(&shown.row, now).join("\n")];
    parts.extend(shown.title.iter().chain(&shown.text).map(|text| indented(text)));
    let history = shown.history.iter().map(|attempt| attempt_line(attempt, now));
    parts.push(output::cut(history.collect()).join("\n"));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn attempt_line(attempt: &AttemptRow, now: Timestamp) -> String {
    let outcome = attempt.outcome.as_deref().unwrap_or("no outcome yet");
    let detail = attempt.detail.as_deref().map(|detail| format!("  {}", one_line(detail)));
    let (number, at) = (attempt.number, text::time(attempt.started_at, now));
    format!("{number:>5}  {at}  {outcome}{}", detail.unwrap_or_default())
}

fn indented(text: &str) -> String {
    let indent = |line: &str| if line.is_empty() { String::new() } else { format!("    {line}") };
    text::lines(text).lines().map(indent).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: &str, next_attempt_at: Option<&str>) -> DeliveryShown {
        serde_json::from_value(json!({
            "id": "0123456789abcdef0123456789abcdef", "receiver": "ops", "status": status,
            "rule": "crashed", "labels": {"application": "shop", "service": "web\u{1b}[2J"},
            "attempts": 2, "last_error": "404: no_service", "next_attempt_at": next_attempt_at,
            "created_at": "2026-01-30T09:00:00Z",
            "ended_at": (status != "pending").then_some("2026-01-31T08:30:00Z"),
            "title": "CRITICAL crashed: 1 container of shop/web",
            "text": "RUNNING → CRASHED\n  container a\u{1b}[2J\n\nRunbook: https://wiki/crash",
            "history": [
                {"number": 1, "started_at": "2026-01-30T09:00:00Z",
                    "ended_at": "2026-01-30T09:00:01Z", "outcome": "destination",
                    "detail": "404: no_service"},
                {"number": 2, "started_at": "2026-01-31T08:30:00Z", "ended_at": null,
                    "outcome": null, "detail": null},
            ],
        }))
        .unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-31T09:00:00Z").unwrap()
    }

    #[test]
    fn a_delivery_is_shown_with_what_it_says_and_what_became_of_it() {
        insta::assert_snapshot!(whole(&shown("dead", None), now()), @"
        0123456789abcdef0123456789abcdef  dead: 08:30 UTC
            crashed of shop/web [2J
            for ops, made 2026-01-30 09:00 UTC, tried 2 times
            404: no_service

            CRITICAL crashed: 1 container of shop/web

            RUNNING → CRASHED
              container a [2J

            Runbook: https://wiki/crash

            1  2026-01-30 09:00 UTC  destination  404: no_service
            2  08:30 UTC  no outcome yet
        ");
    }

    #[test]
    fn what_waits_says_when_it_is_tried() {
        for (next, words) in [
            (None, "pending: being sent"),
            (Some("2026-01-31T08:59:00Z"), "pending: due now"),
            (Some("2026-01-31T09:05:00Z"), "pending: next try 09:05 UTC"),
        ] {
            let first = lines(&shown("pending", next).row, now()).remove(0);
            assert!(first.ends_with(words), "{first}");
        }
    }

    #[test]
    fn no_line_of_a_list_is_longer_than_a_terminal() {
        let mut row = shown("dead", None).row;
        row.last_error = Some("é".repeat(200));
        row.rule = "r".repeat(200);
        assert!(lines(&row, now()).iter().all(|line| line.chars().count() <= output::WIDTH));
    }
}
