//! Lines on standard output, for a terminal or for what collects a program's output.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Accepted, Envelope, SendError, Sender};
use crate::engine::DeliveryId;
use crate::message::Message;
use crate::message::text::is_unseemly;
use crate::rules::Severity;

/// How long to wait for a message to be read before the next is tried another time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many messages are known to be written. Of each group, one may wait to be tried again.
const WRITTEN: usize = 64;

/// Standard output.
pub(super) struct Console;

/// What is known of standard output, which there is one of, whatever many consoles are told. Locked
/// while something is written: nobody may read it, and then no more is to be written, or waited for by
/// a thread, than that.
#[derive(Default)]
struct Output {
    /// The messages that were written last, [`WRITTEN`] at most. It may be that nobody waited for that any
    /// more: they are not to be written again.
    written: VecDeque<DeliveryId>,
    /// Whether only part of one was.
    is_torn: bool,
}

static OUTPUT: LazyLock<Arc<Mutex<Output>>> = LazyLock::new(Arc::default);

impl Sender for Console {
    fn send<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<Accepted, SendError>> {
        async move {
            let accepted = || Accepted { answer: "written".into(), ..Accepted::default() };
            let Ok(mut output) = timeout(PATIENCE, Arc::clone(&OUTPUT).lock_owned()).await else {
                let detail = "cannot write: nobody reads what was written before";
                return Err(SendError::transient(detail.to_owned()));
            };
            if output.written.contains(&envelope.id) {
                return Ok(accepted());
            }
            let colour = io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let (id, text) = (envelope.id.clone(), render(&envelope.message, colour));
            // It may be read slowly, and a worker must not wait for that.
            let written = tokio::task::spawn_blocking(move || {
                let before = if output.is_torn { "\n" } else { "" };
                let written = write(&format!("{before}{text}"));
                output.is_torn = written.is_err();
                if written.is_ok() {
                    output.written.truncate(WRITTEN - 1);
                    output.written.push_front(id);
                }
                written
            })
            .await;
            match written {
                Ok(Ok(())) => Ok(accepted()),
                Ok(Err(error)) => Err(SendError::transient(format!("cannot write: {error}"))),
                Err(error) => Err(SendError::transient(format!("cannot write: {error}"))),
            }
        }
        .boxed()
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// The message as lines, and an empty one after it.
fn render(message: &Message, colour: bool) -> String {
    let title = visible(&message.title);
    let title = match (colour, style(message)) {
        (true, style) => format!("\u{1b}[{style}m{title}\u{1b}[0m"),
        (false, _) => title.into_owned(),
    };
    let mut text = format!("{title}\n");
    for line in message.body_text().lines().filter(|line| !line.is_empty()) {
        text.push_str("  ");
        text.push_str(&visible(line));
        text.push('\n');
    }
    text.push('\n');
    text
}

fn style(message: &Message) -> &'static str {
    match message.severity {
        _ if message.status.is_over() => "1;32",
        Severity::Critical => "1;31",
        Severity::Warning => "1;33",
        Severity::Info => "1",
    }
}

/// Control characters as `\u{1b}`, so that nothing in data moves the cursor or turns the line round.
fn visible(line: &str) -> Cow<'_, str> {
    if !line.contains(is_unseemly) {
        return Cow::Borrowed(line);
    }
    let escaped = |character: char| match is_unseemly(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(line.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::deliver::receivers::tests::{message, section};
    use crate::message::Status;

    #[test]
    fn a_message_is_a_few_lines_and_an_empty_one() {
        let message =
            message(vec![section("RUNNING → CRASHED", &["container c1", "since 14:02 UTC"])]);
        assert_snapshot!(render(&message, false), @r"
    CRITICAL crashed: 1 container of toto/hello-python
      RUNNING → CRASHED
        container c1
        since 14:02 UTC
      Runbook: https://wiki.example.com/crashed?a=1&b=2
      Alerts: https://alerts.example.com/api/alerts
    ");
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        let mut message = message(vec![section("a\u{1b}[2J\u{7}\u{202e}", &["b\tc"])]);
        message.title = "x\u{1b}]0;owned\u{7}".into();
        let text = render(&message, false);
        assert!(!text.contains(|character: char| character.is_control() && character != '\n'));
        assert!(text.contains("\\u{1b}[2J\\u{7}\\u{202e}"), "{text}");
    }

    #[test]
    fn colour_says_how_much_it_matters() {
        let mut message = message(Vec::new());
        assert!(render(&message, true).starts_with("\u{1b}[1;31mCRITICAL"));
        message.status = Status::Over;
        assert!(render(&message, true).starts_with("\u{1b}[1;32m"));
    }
}
