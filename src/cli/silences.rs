//! `tocsin silences`: makes, lists and ends silences of a running tocsin.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Address, Client, understood};
use super::{Exit, output};
use crate::clock::{self, Timestamp};
use crate::config::{parse_duration, parse_pattern};
use crate::engine::{SilenceId, SilenceStatus};
use crate::message::text::{self, one_line};
use crate::store::SilenceRow;

/// A silence that ends sooner than this while alerts fire behind it is worth a word.
const SOON: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
pub(super) struct Silences {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    address: Address,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the silences that are not over, the latest first.
    List {
        /// Show those that are over as well.
        #[arg(long)]
        all: bool,
        /// Print what the API answers, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold back what matches for a while, and print the new silence's id.
    Add(Add),
    /// End a silence now; one that has not begun is removed.
    End {
        /// Its id, as `list` shows it.
        #[arg(value_parser = id)]
        id: u32,
    },
}

/// In two lines: clap breaks a usage nowhere, and this one is wider than a terminal.
const USAGE: &str = "tocsin silences add [OPTIONS] --match <LABEL=PATTERN>
                           <--for <DURATION>|--until <TIME>>";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("end").required(true).args(["lasting", "until"]))]
#[command(override_usage = USAGE)]
struct Add {
    /// What a label must be like, by a pattern as in `when`: application=shop, rule=/^crash/,
    /// 'service=[web, api]'; if given more than once, all must hold.
    #[arg(long = "match", value_name = "LABEL=PATTERN", required = true, value_parser = matcher)]
    matchers: Vec<(String, Value)>,
    /// How long it lasts, like 2h or 1d12h.
    #[arg(long = "for", id = "lasting", value_name = "DURATION", value_parser = duration)]
    lasting: Option<Duration>,
    /// When it ends, like 2026-01-31T18:00:00Z or 2026-01-31T19:00:00+01:00.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// When it begins, if not now; may be past.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Who makes it.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// What for.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Print what the API answers, as JSON.
    #[arg(long)]
    json: bool,
}

impl Silences {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(self.address)?;
        match self.command {
            Command::List { all, json } => list(&client, all, json),
            Command::Add(silence) => add(&client, silence),
            Command::End { id } => {
                client.delete(&format!("/api/silences/{id}"))?;
                output::note(format_args!("silence {id} is over"));
                Ok(Exit::Done)
            }
        }
    }
}

fn list(client: &Client, all: bool, json: bool) -> anyhow::Result<Exit> {
    let path = if all { "/api/silences?status=all" } else { "/api/silences" };
    let lines = |row: &SilenceRow| lines(row, clock::now());
    client.print_list(path, json, lines, "there are no silences")
}

fn add(client: &Client, silence: Add) -> anyhow::Result<Exit> {
    let mut matchers = Map::new();
    for (label, pattern) in silence.matchers {
        if matchers.insert(label.clone(), pattern).is_some() {
            output::note(format_args!(
                "error: --match {label}=… is given twice; for either of two, write \
                 '{label}=[A, B]'"
            ));
            return Ok(Exit::Usage);
        }
    }
    let begin = silence.from.unwrap_or_else(clock::now);
    let ends_at = silence.until.or(silence.lasting.map(|lasting| begin.plus(lasting)));
    let answer = client.post(
        "/api/silences",
        &json!({
            "matchers": matchers,
            "starts_at": silence.from,
            "ends_at": ends_at,
            "created_by": silence.by,
            "comment": silence.comment,
        }),
    )?;
    let id: SilenceId = understood(answer["id"].clone())?;
    match silence.json {
        true => output::data(&answer)?,
        false => output::data(id.0)?,
    }
    Ok(Exit::Done)
}

/// A silence for people: what it is in the first line, the rest below it.
fn lines(row: &SilenceRow, now: Timestamp) -> Vec<String> {
    let (starts, ends) = (text::time(row.starts_at, now), text::time(row.ends_at, now));
    let when = match row.status {
        SilenceStatus::Pending => format!("pending: from {starts} until {ends}"),
        SilenceStatus::Active => {
            let left = text::duration(row.ends_at.since(now));
            format!("active: until {ends}, {left} from now")
        }
        SilenceStatus::Expired => format!("expired: since {ends}"),
    };
    let mut lines = vec![format!("{}  {when}", row.id.0)];
    let matchers = Value::from((*row.matchers).clone());
    lines.extend(matchers.as_object().into_iter().flatten().map(|(label, pattern)| {
        let pattern = pattern.as_str().map_or_else(|| pattern.to_string(), str::to_owned);
        format!("    {label}={}", one_line(&pattern))
    }));
    let said = [&row.created_by, &row.comment].map(|text| text.as_deref().map(one_line));
    match said {
        [Some(by), Some(comment)] => lines.push(format!("    by {by}: {comment}")),
        [Some(by), None] => lines.push(format!("    by {by}")),
        [None, Some(comment)] => lines.push(format!("    {comment}")),
        [None, None] => {}
    }
    let firing = match row.alerts {
        0 => return output::cut(lines),
        1 => "1 alert fires".to_owned(),
        alerts => format!("{alerts} alerts fire"),
    };
    let ends_soon = row.status == SilenceStatus::Active && row.ends_at.since(now) < SOON;
    lines.push(match row.status {
        _ if ends_soon => format!("  ! {firing} behind it, to be told when it ends"),
        SilenceStatus::Active => format!("    {firing} behind it"),
        _ => format!("    {firing} that it matches"),
    });
    output::cut(lines)
}

/// `LABEL=PATTERN`: a list or a mapping is YAML, as in the rules file; all else is text.
fn matcher(text: &str) -> Result<(String, Value), String> {
    let (label, pattern) = text
        .split_once('=')
        .map(|(label, pattern)| (label.trim(), pattern.trim()))
        .filter(|(label, _)| !label.is_empty())
        .ok_or("it is no matcher; write it like application=shop or rule=/^crash/")?;
    // Prometheus's signs: taken as text, they would make a silence that holds nothing back.
    if label.ends_with(['!', '<', '>']) || pattern.starts_with(['~', '=']) {
        return Err("it is written as for Prometheus; say it by a pattern, like rule=crashed, \
                    rule=/^crash/ or 'rule={ not: crashed }'"
            .into());
    }
    if let Some(quote @ ('"' | '\'')) = pattern.chars().next()
        && pattern.len() > 1
        && pattern.ends_with(quote)
    {
        return Err("its quotes would be part of the text; leave them out".into());
    }
    let pattern = match pattern.starts_with(['[', '{']) {
        true => parse_pattern(pattern)
            .map_err(|error| format!("its pattern cannot be read: {error}"))?,
        false => Value::from(pattern),
    };
    Ok((label.to_owned(), pattern))
}

fn id(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        "it is no id of a silence, which is a number; `tocsin silences list` shows them".to_owned()
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("it {error}"))
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .ok_or_else(|| "it is no time; write it like 2026-01-31T18:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: &str, ends_at: &str, alerts: usize) -> SilenceRow {
        serde_json::from_value(json!({
            "id": 7, "matchers": {"application": "/^prod-/", "service": ["web", "api"]},
            "starts_at": "2026-01-31T08:00:00Z", "ends_at": ends_at, "status": status,
            "created_by": "alice", "comment": "deploying\u{1b}[2J the shop", "alerts": alerts,
        }))
        .unwrap()
    }

    fn shown(row: &SilenceRow) -> String {
        lines(row, Timestamp::parse("2026-01-31T09:00:00Z").unwrap()).join("\n")
    }

    #[test]
    fn a_silence_that_ends_soon_with_alerts_behind_it_is_marked() {
        insta::assert_snapshot!(shown(&row("active", "2026-01-31T09:34:00Z", 2)), @r#"
        7  active: until 09:34 UTC, 34 min from now
            application=/^prod-/
            service=["web","api"]
            by alice: deploying [2J the shop
          ! 2 alerts fire behind it, to be told when it ends
        "#);
        insta::assert_snapshot!(shown(&row("active", "2026-01-31T18:00:00Z", 1)), @r#"
        7  active: until 18:00 UTC, 9h from now
            application=/^prod-/
            service=["web","api"]
            by alice: deploying [2J the shop
            1 alert fires behind it
        "#);
        insta::assert_snapshot!(shown(&row("active", "2026-01-31T09:34:00Z", 0)), @r#"
        7  active: until 09:34 UTC, 34 min from now
            application=/^prod-/
            service=["web","api"]
            by alice: deploying [2J the shop
        "#);
    }

    #[test]
    fn silences_that_do_not_hold_say_so() {
        let pending = SilenceRow {
            starts_at: Timestamp::parse("2026-02-01T08:00:00Z").unwrap(),
            ..row("pending", "2026-02-01T09:00:00Z", 2)
        };
        insta::assert_snapshot!(shown(&pending), @r#"
        7  pending: from 2026-02-01 08:00 UTC until 2026-02-01 09:00 UTC
            application=/^prod-/
            service=["web","api"]
            by alice: deploying [2J the shop
            2 alerts fire that it matches
        "#);
        insta::assert_snapshot!(shown(&row("expired", "2026-01-31T08:30:00Z", 0)), @r#"
        7  expired: since 08:30 UTC
            application=/^prod-/
            service=["web","api"]
            by alice: deploying [2J the shop
        "#);
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let mut long = row("active", "2026-01-31T18:00:00Z", 1);
        long.comment = Some("é".repeat(200));
        assert!(
            lines(&long, long.starts_at).iter().all(|line| line.chars().count() <= output::WIDTH)
        );
    }

    #[test]
    fn a_matcher_is_text_unless_it_is_a_list_or_a_mapping() {
        for (written, pattern) in [
            ("id=007", json!("007")),
            ("id = /a=b/i", json!("/a=b/i")),
            ("id=", json!("")),
            ("id=[a, /b/]", json!(["a", "/b/"])),
            ("id={ not: [a, b] }", json!({"not": ["a", "b"]})),
        ] {
            assert_eq!(matcher(written), Ok(("id".to_owned(), pattern)), "{written}");
        }
        for wrong in [
            "id", "=a", "id=[a", "id!=a", "id=~a", "id!~a", "id==a", "id>=10", "id<=10",
            "id=\"a\"", "id='a'",
        ] {
            assert!(matcher(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_matcher_in_which_something_would_be_lost_is_refused() {
        for (wrong, words) in [
            ("id={ not: web, not: api }", "\"not\" is here twice; keep one"),
            ("id=[0x1f, +5]", "labels are text, and it has a number; put quotes around that"),
            ("id={ not: [+5] }", "put quotes around that"),
            ("id=[!x a]", "tags are not for rules files"),
        ] {
            let error = matcher(wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
        assert_eq!(matcher("id=[31, '${X}']"), Ok(("id".to_owned(), json!([31, "${X}"]))));
    }
}
