//! What a receiver can be, and how each kind is written.

use secrecy::{ExposeSecret, SecretString};

use super::super::fields::Fields;
use super::super::rate::Rate;
use super::super::yaml::Node;
use super::Reader;

/// What a receiver is. What its secrets and URLs are worth is for `deliver` to say.
#[derive(Clone, Debug)]
pub enum ReceiverKind {
    /// Lines on standard output.
    Console,
    /// A Slack incoming webhook, or one that takes the same.
    Slack {
        /// Its URL, which is its secret; empty if the receiver is off.
        webhook_url: SecretString,
        /// Whether the place knows Slack's blocks; else it gets text only.
        blocks: bool,
    },
    /// A channel of Slack, by a bot.
    SlackApi {
        /// The bot's token; empty if the receiver is off.
        bot_token: SecretString,
        /// The channel's id or name; empty if the receiver is off.
        channel: String,
        /// Where the API is, if not at Slack.
        url: Option<String>,
    },
    /// Mail over SMTP.
    Email {
        /// `smtp://` or `smtps://`, with credentials; empty if the receiver is off.
        smtp_url: SecretString,
        /// The sender's mailbox.
        from: String,
        /// The recipients' mailboxes.
        to: Vec<String>,
    },
    /// A program of one's own, told as JSON.
    Webhook {
        /// Its URL; empty if the receiver is off.
        url: SecretString,
        /// What its requests are signed with; several while one takes the place of another, none if
        /// they are not signed.
        secrets: Vec<SecretString>,
    },
    /// PagerDuty, by its Events API v2.
    PagerDuty {
        /// The integration's key; empty if the receiver is off.
        routing_key: SecretString,
        /// Where the API is, if not at PagerDuty's.
        url: Option<String>,
    },
    /// A channel of Microsoft Teams, by a workflow.
    Teams {
        /// The workflow's URL, which is its secret; empty if the receiver is off.
        webhook_url: SecretString,
    },
    /// A channel of Discord.
    Discord {
        /// The webhook's URL, which is its secret; empty if the receiver is off.
        webhook_url: SecretString,
    },
    /// A chat of Telegram, by a bot.
    Telegram {
        /// The bot's token; empty if the receiver is off.
        bot_token: SecretString,
        /// The chat's id, or a channel's `@name`; empty if the receiver is off.
        chat_id: String,
        /// Where the API is, if not at Telegram's.
        url: Option<String>,
    },
    /// A topic of ntfy.
    Ntfy {
        /// Its URL with the topic, which may be the only secret; empty if the receiver is off.
        url: SecretString,
        /// The access token, if one is needed.
        token: Option<SecretString>,
    },
    /// Prometheus Alertmanager, by its API v2.
    Alertmanager {
        /// Where it is, with user and password if it asks for them; empty if the receiver is off.
        url: SecretString,
    },
}

pub(super) const KINDS: [&str; 11] = [
    "console",
    "slack",
    "slack_api",
    "email",
    "webhook",
    "pagerduty",
    "teams",
    "discord",
    "telegram",
    "ntfy",
    "alertmanager",
];

impl ReceiverKind {
    /// Its name in the rules file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            ReceiverKind::Console => "console",
            ReceiverKind::Slack { .. } => "slack",
            ReceiverKind::SlackApi { .. } => "slack_api",
            ReceiverKind::Email { .. } => "email",
            ReceiverKind::Webhook { .. } => "webhook",
            ReceiverKind::PagerDuty { .. } => "pagerduty",
            ReceiverKind::Teams { .. } => "teams",
            ReceiverKind::Discord { .. } => "discord",
            ReceiverKind::Telegram { .. } => "telegram",
            ReceiverKind::Ntfy { .. } => "ntfy",
            ReceiverKind::Alertmanager { .. } => "alertmanager",
        }
    }

    /// The key of the address that came out empty, if one did: such a receiver is off.
    pub(crate) fn missing_address(&self) -> Option<&'static str> {
        let secret = |secret: &SecretString| secret.expose_secret().trim().is_empty();
        let text = |text: &String| text.trim().is_empty();
        let (key, empty) = match self {
            ReceiverKind::Console => return None,
            ReceiverKind::Slack { webhook_url, .. }
            | ReceiverKind::Teams { webhook_url }
            | ReceiverKind::Discord { webhook_url } => ("webhook_url", secret(webhook_url)),
            ReceiverKind::SlackApi { channel, bot_token, .. } if !secret(bot_token) => {
                ("channel", text(channel))
            }
            ReceiverKind::Telegram { chat_id, bot_token, .. } if !secret(bot_token) => {
                ("chat_id", text(chat_id))
            }
            ReceiverKind::SlackApi { .. } | ReceiverKind::Telegram { .. } => ("bot_token", true),
            ReceiverKind::Email { smtp_url, .. } if secret(smtp_url) => ("smtp_url", true),
            ReceiverKind::Email { to, .. } => ("to", to.is_empty()),
            ReceiverKind::PagerDuty { routing_key, .. } => ("routing_key", secret(routing_key)),
            ReceiverKind::Webhook { url, .. }
            | ReceiverKind::Ntfy { url, .. }
            | ReceiverKind::Alertmanager { url } => ("url", secret(url)),
        };
        empty.then_some(key)
    }

    /// How many messages it takes in a time, where the place says so (FACTS.md). A chat of Telegram's
    /// whose id is negative, or a name, is a group or a channel.
    pub(crate) fn usual_rate(&self) -> Option<Rate> {
        match self {
            ReceiverKind::Slack { .. } | ReceiverKind::SlackApi { .. } => Some(Rate::per_second(1)),
            ReceiverKind::Teams { .. } => Some(Rate::per_second(4)),
            ReceiverKind::Telegram { chat_id, .. } if chat_id.parse::<u64>().is_ok() => {
                Some(Rate::per_second(1))
            }
            ReceiverKind::Telegram { .. } => Some(Rate::per_minute(20)),
            ReceiverKind::Console
            | ReceiverKind::Email { .. }
            | ReceiverKind::Webhook { .. }
            | ReceiverKind::PagerDuty { .. }
            | ReceiverKind::Discord { .. }
            | ReceiverKind::Ntfy { .. }
            | ReceiverKind::Alertmanager { .. } => None,
        }
    }

    /// Whether people read it, so that several messages can be told in one. What takes data needs
    /// each by itself.
    pub(crate) fn takes_digests(&self) -> bool {
        !matches!(
            self,
            ReceiverKind::Webhook { .. }
                | ReceiverKind::PagerDuty { .. }
                | ReceiverKind::Alertmanager { .. }
        )
    }

    /// Whether it shows the states that a container was in.
    pub(crate) fn shows_states(&self) -> bool {
        matches!(self, ReceiverKind::Email { .. })
    }
}

impl Reader<'_> {
    /// What is written under a kind's name.
    pub(super) fn kind(&self, kind: &'static str, node: &Node) -> Option<ReceiverKind> {
        let mut fields = Fields::of(node, &format!("\"{kind}\""), self.report)?;
        let read = self.fields_of(kind, &mut fields);
        fields.finish(&[]);
        read
    }

    /// Asks for every key of the kind before it answers, so that none is taken for unknown.
    fn fields_of(&self, kind: &'static str, fields: &mut Fields<'_>) -> Option<ReceiverKind> {
        match kind {
            "console" => Some(ReceiverKind::Console),
            "slack" => {
                let (webhook_url, blocks) = (self.webhook_url(fields), fields.bool("blocks"));
                let blocks = blocks.unwrap_or(true);
                Some(ReceiverKind::Slack { webhook_url: webhook_url?, blocks })
            }
            "slack_api" => {
                let bot_token = self.secrets.one(fields, "bot_token", "bot_token_file");
                let channel = self.needed(fields, kind, "channel");
                let url = fields.web_url("url");
                Some(ReceiverKind::SlackApi { bot_token: bot_token?, channel: channel?, url })
            }
            "email" => self.email(fields),
            "webhook" => {
                let url = self.secrets.one(fields, "url", "url_file");
                let secrets = self.signed_with(fields);
                Some(ReceiverKind::Webhook { url: url?, secrets: secrets? })
            }
            "pagerduty" => {
                let routing_key = self.secrets.one(fields, "routing_key", "routing_key_file");
                let url = fields.web_url("url");
                Some(ReceiverKind::PagerDuty { routing_key: routing_key?, url })
            }
            "teams" => Some(ReceiverKind::Teams { webhook_url: self.webhook_url(fields)? }),
            "discord" => Some(ReceiverKind::Discord { webhook_url: self.webhook_url(fields)? }),
            "telegram" => {
                let bot_token = self.secrets.one(fields, "bot_token", "bot_token_file");
                let chat_id = self.needed(fields, kind, "chat_id");
                let url = fields.web_url("url");
                Some(ReceiverKind::Telegram { bot_token: bot_token?, chat_id: chat_id?, url })
            }
            "ntfy" => {
                let url = self.secrets.one(fields, "url", "url_file");
                let given = fields.get("token").or(fields.get("token_file")).is_some();
                let token = given.then(|| self.secrets.one(fields, "token", "token_file"));
                let token = token.map_or(Some(None), |token| token.map(Some))?;
                let token = token.filter(|token| !token.expose_secret().is_empty());
                Some(ReceiverKind::Ntfy { url: url?, token })
            }
            _ => {
                let url = self.secrets.one(fields, "url", "url_file");
                Some(ReceiverKind::Alertmanager { url: url? })
            }
        }
    }

    /// The secrets to sign with. If all come out empty, someone meant to sign and would not.
    fn signed_with(&self, fields: &mut Fields<'_>) -> Option<Vec<SecretString>> {
        let given = fields.get("secret").or(fields.get("secret_file"));
        let secrets = self.secrets.many(fields, "secret", "secret_file")?;
        match given {
            Some(node) if secrets.is_empty() => {
                let message = "\"secret\" is empty; leave it out if nothing is to be signed";
                self.report.wrong(node.place, message);
                None
            }
            _ => Some(secrets),
        }
    }

    fn webhook_url(&self, fields: &mut Fields<'_>) -> Option<SecretString> {
        self.secrets.one(fields, "webhook_url", "webhook_url_file")
    }

    fn email(&self, fields: &mut Fields<'_>) -> Option<ReceiverKind> {
        let smtp_url = self.secrets.one(fields, "smtp_url", "smtp_url_file");
        let from = self.needed(fields, "email", "from");
        let to = fields.texts("to");
        if fields.get("to").is_none() {
            self.report.wrong(fields.place, "\"email\" needs \"to\"");
        }
        let to = to?.into_iter().map(|(_, text)| text.value.trim().to_owned());
        let to = to.filter(|mailbox| !mailbox.is_empty()).collect();
        Some(ReceiverKind::Email { smtp_url: smtp_url?, from: from?, to })
    }

    /// A text that has to be given, be it empty.
    fn needed(&self, fields: &mut Fields<'_>, kind: &str, key: &'static str) -> Option<String> {
        if fields.get(key).is_none() {
            self.report.wrong(fields.place, format!("\"{kind}\" needs \"{key}\""));
        }
        Some(fields.text(key)?.trim().to_owned())
    }
}
