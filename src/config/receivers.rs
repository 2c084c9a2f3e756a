//! `receivers`: the named places to tell.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::fields::{self, Fields};
use super::report::{Report, quoted};
use super::yaml::{Key, Node, Place, Value};
use super::{CONSOLE, Receiver, ReceiverKind, Validate};

const KINDS: [&str; 3] = ["console", "slack", "email"];
const KINDS_LATER: [&str; 8] =
    ["webhook", "slack_api", "pagerduty", "teams", "discord", "telegram", "ntfy", "alertmanager"];
const SETTINGS_LATER: [&str; 2] = ["fallback", "rate"];

const TIMEOUT: Duration = Duration::from_secs(10);
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What reading a receiver needs to know.
pub(super) struct Reader<'a> {
    /// The folder that `…_file` is relative to.
    pub(super) folder: &'a Path,
    pub(super) validate: &'a Validate<'a>,
    pub(super) report: &'a Report,
}

impl Receiver {
    /// The console, as it is where no receiver is given.
    #[must_use]
    pub fn console() -> Receiver {
        Receiver::new(CONSOLE, ReceiverKind::Console)
    }

    /// Whether it has no address, so that nothing can be sent to it.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.missing_address().is_some()
    }

    /// The key of the address that came out empty.
    pub(super) fn missing_address(&self) -> Option<&'static str> {
        let empty = |secret: &SecretString| secret.expose_secret().trim().is_empty();
        match &self.kind {
            ReceiverKind::Console => None,
            ReceiverKind::Slack { webhook_url } => empty(webhook_url).then_some("webhook_url"),
            ReceiverKind::Email { smtp_url, .. } if empty(smtp_url) => Some("smtp_url"),
            ReceiverKind::Email { to, .. } => to.is_empty().then_some("to"),
        }
    }

    fn new(name: &str, kind: ReceiverKind) -> Receiver {
        Receiver {
            name: name.to_owned(),
            kind,
            timeout: TIMEOUT,
            give_up_after: GIVE_UP_AFTER,
            allow_http: false,
        }
    }
}

impl Reader<'_> {
    /// Every receiver by name. One that is wrong is in the map as well, as a console: so that
    /// those who name it are not told that there is no such receiver.
    pub(super) fn read(&self, node: Option<&Node>) -> BTreeMap<String, Receiver> {
        let entries = node.and_then(|node| fields::entries(node, "\"receivers\"", self.report));
        let mut receivers = BTreeMap::new();
        for (key, node) in entries.unwrap_or_default() {
            let receiver = self.receiver(key, node);
            let receiver =
                receiver.unwrap_or_else(|| Receiver::new(&key.text, ReceiverKind::Console));
            receivers.insert(key.text.clone(), receiver);
        }
        receivers
    }

    fn receiver(&self, key: &Key, node: &Node) -> Option<Receiver> {
        let before = self.report.count();
        let name = key.text.as_str();
        if name.trim().is_empty() {
            self.report.wrong(key.place, "a receiver needs a name");
        }
        let what = format!("receiver {}", quoted(name));
        let mut fields = Fields::of(node, &what, self.report)?;
        let given: Vec<(&'static str, &Node)> =
            KINDS.iter().filter_map(|kind| Some((*kind, fields.get(kind)?))).collect();
        let least = (Duration::from_millis(1), "1ms");
        let timeout = fields.duration("timeout", least).unwrap_or(TIMEOUT);
        let give_up_after = fields.duration("give_up_after", least).unwrap_or(GIVE_UP_AFTER);
        let allow_http = fields.bool("allow_http").unwrap_or_default();
        let known_later = KINDS_LATER.iter().chain(&SETTINGS_LATER).copied().collect::<Vec<&str>>();
        fields.finish(&known_later);

        let (kind, node) = match given.as_slice() {
            [one] => *one,
            [] => {
                // An unknown or later kind has been reported already.
                if self.report.count() == before {
                    let message = format!("{what} needs a kind: {}", KINDS.join(", "));
                    self.report.wrong(key.place, message);
                }
                return None;
            }
            [_, (kind, second), ..] => {
                let message = format!("{what} has a kind already; \"{kind}\" is one too many");
                self.report.wrong(second.place, message);
                return None;
            }
        };
        if name == CONSOLE && kind != "console" {
            let message = "the name \"console\" is kept for the console; name this one otherwise";
            self.report.wrong(key.place, message);
        }
        let kind = self.kind(kind, node)?;
        let receiver = Receiver { timeout, give_up_after, allow_http, ..Receiver::new(name, kind) };
        if self.report.count() == before && !receiver.is_off() {
            for (wrong, message) in (self.validate)(&receiver) {
                self.report.wrong(place_of(wrong, node).unwrap_or(key.place), message);
            }
        }
        Some(receiver)
    }

    fn kind(&self, kind: &'static str, node: &Node) -> Option<ReceiverKind> {
        let mut fields = Fields::of(node, &format!("\"{kind}\""), self.report)?;
        let kind = match kind {
            "console" => Some(ReceiverKind::Console),
            "slack" => {
                let url = self.secret(&mut fields, "webhook_url", "webhook_url_file");
                url.map(|webhook_url| ReceiverKind::Slack { webhook_url })
            }
            _ => self.email(&mut fields),
        };
        fields.finish(&[]);
        kind
    }

    fn email(&self, fields: &mut Fields<'_>) -> Option<ReceiverKind> {
        let smtp_url = self.secret(fields, "smtp_url", "smtp_url_file");
        let from = fields.text("from");
        let to = fields.texts("to");
        for (key, given) in [("from", fields.get("from")), ("to", fields.get("to"))] {
            if given.is_none() {
                self.report.wrong(fields.place, format!("\"email\" needs \"{key}\""));
            }
        }
        let to = to?.into_iter().map(|(_, text)| text.value.trim().to_owned());
        let to = to.filter(|mailbox| !mailbox.is_empty()).collect();
        Some(ReceiverKind::Email { smtp_url: smtp_url?, from: from?, to })
    }

    /// A secret given as such or in a file, whose trailing newline does not belong to it.
    fn secret(
        &self,
        fields: &mut Fields<'_>,
        key: &'static str,
        file_key: &'static str,
    ) -> Option<SecretString> {
        let (here, file) = (fields.get(key), fields.get(file_key));
        match (here, file) {
            (Some(_), None) => Some(SecretString::from(fields.text(key)?.trim().to_owned())),
            (None, Some(node)) => self.secret_in(node, file_key),
            (Some(_), Some(file)) => {
                let message = format!("\"{key}\" and \"{file_key}\" are both given; keep one");
                self.report.wrong(file.place, message);
                None
            }
            (None, None) => {
                let message = format!("\"{key}\" or \"{file_key}\" is missing");
                self.report.wrong(fields.place, message);
                None
            }
        }
    }

    fn secret_in(&self, node: &Node, key: &str) -> Option<SecretString> {
        let path = fields::text(node, key, self.report)?;
        if path.trim().is_empty() {
            return Some(SecretString::default());
        }
        match std::fs::read_to_string(self.folder.join(path)) {
            Ok(secret) => Some(SecretString::from(secret.trim().to_owned())),
            Err(error) => {
                let written = node.value.written();
                self.report.wrong(node.place, format!("cannot read {written}: {error}"));
                None
            }
        }
    }
}

/// The value under this key, or under the file in which it is.
fn place_of(key: &str, kind: &Node) -> Option<Place> {
    let Value::Mapping(entries) = &kind.value else { return None };
    let named = |(found, _): &&(Key, Node)| {
        found.text == key || found.text.strip_suffix("_file") == Some(key)
    };
    entries.iter().find(named).map(|(_, node)| node.place)
}

/// The names of the receivers listed here, each once; those that are none are reported.
pub(super) fn names(
    fields: &mut Fields<'_>,
    receivers: &BTreeMap<String, Receiver>,
    report: &Report,
) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (place, text) in fields.texts("notify")? {
        let name = &text.value;
        if !receivers.contains_key(name) && name != CONSOLE {
            let hint = text.hint(receivers.keys().map(String::as_str));
            report.wrong(place, format!("unknown receiver {}{hint}", quoted(&text.written)));
        } else if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Some(names)
}
