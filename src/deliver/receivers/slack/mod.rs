//! Slack: an incoming webhook, or what takes the same, and what its answers mean. `blocks` is what
//! is said; `api` says it by a bot, in threads.

mod api;
mod blocks;

use reqwest::Url;

use super::Envelope;
use super::http::{Answer, Place, Request};
use super::verdict::{Reading, Says};
use crate::clock::Timestamp;

pub(super) use api::{API, SlackApi};

/// The body of an answer that says that this message will never be taken.
const MESSAGE_ERRORS: [&str; 5] =
    ["invalid_payload", "invalid_blocks", "no_text", "user_not_found", "too_many_attachments"];

/// The same that nothing will be taken here; the last ones in the JSON of Mattermost
/// (`app/webhook.go`), as its `id`, and of Rocket.Chat (`integrations/server/api/api.ts`), as its
/// `error`.
const DESTINATION_ERRORS: [&str; 14] = [
    "action_prohibited",
    "invalid_token",
    "channel_not_found",
    "no_service",
    "no_active_hooks",
    "channel_is_archived",
    "no_service_id",
    "no_team",
    "team_disabled",
    "posting_to_general_channel_denied",
    "web.incoming_webhook.invalid.app_error",
    "web.incoming_webhook.disabled.app_error",
    "Invalid integration id or token provided.",
    "invalid-channel",
];

/// A Slack incoming webhook. The URL is its secret, so there is no `Debug`.
pub(super) struct Slack {
    pub(super) url: Url,
    /// Whether the place knows blocks. Mattermost and Rocket.Chat take Slack's webhooks and show
    /// the text only.
    pub(super) blocks: bool,
}

impl Place for Slack {
    fn request(&self, envelope: &Envelope, _: Timestamp) -> Request {
        let payload = match self.blocks {
            true => blocks::payload(&envelope.message),
            false => blocks::text_only(&envelope.message),
        };
        Request::json(&self.url, &payload)
    }

    /// FACTS.md, "Slack incoming webhooks".
    fn read(&self, answer: &Answer) -> Reading {
        let json = answer.json();
        let named = [Some(answer.body.trim()), json["id"].as_str(), json["error"].as_str()];
        let said = |errors: &[&str]| {
            answer.status >= 400 && errors.iter().any(|error| named.contains(&Some(*error)))
        };
        // Rocket.Chat's own word for it.
        let success = || json["success"] == true;
        let says = match answer.status {
            200 if answer.body == "ok" => Says::Taken,
            200 if !self.blocks && success() => Says::Taken,
            200..300 => Says::Stranger("Slack, which answers 200 ok"),
            _ if said(&MESSAGE_ERRORS) => Says::Message,
            _ if said(&DESTINATION_ERRORS) => Says::Destination,
            _ => Says::Nothing,
        };
        Reading::of_text(answer, says)
    }
}

#[cfg(test)]
mod tests;
