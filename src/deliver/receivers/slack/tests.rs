use super::*;
use crate::deliver::receivers::tests::judged;

fn slack(blocks: bool) -> Slack {
    Slack { url: "https://hooks.slack.com/services/T/B/x".parse().unwrap(), blocks }
}

#[test]
fn answers_are_judged_by_what_is_to_be_done() {
    for (status, body, expected) in [
        (200, "ok", "accepted"),
        (200, "OK", "transient"),
        (200, "ok\n", "transient"),
        (200, "<html>Log in to the WLAN", "transient"),
        (204, "", "transient"),
        (302, "", "transient"),
        (429, "rate_limited", "transient"),
        (408, "", "transient"),
        (500, "rollup_error", "transient"),
        (503, "", "transient"),
        (400, "invalid_payload", "message"),
        (400, "invalid_blocks", "message"),
        (400, "no_text", "message"),
        (400, "user_not_found", "message"),
        (400, "too_many_attachments", "message"),
        (404, "user_not_found", "message"),
        (403, "action_prohibited", "destination"),
        (403, "invalid_token", "destination"),
        (404, "channel_not_found", "destination"),
        (404, "no_service", "destination"),
        (404, "no_active_hooks", "destination"),
        (410, "channel_is_archived", "destination"),
        (400, "no_service_id", "destination"),
        (400, "no_team", "destination"),
        (400, "team_disabled", "destination"),
        (400, "posting_to_general_channel_denied", "destination"),
        (403, "something new", "destination"),
        (404, "", "destination"),
        (410, "", "destination"),
        (400, r#"{"id":"web.incoming_webhook.text.app_error","message":"No text"}"#, "message"),
        (400, r#"{"success":false,"error":"unknown-error"}"#, "message"),
        (400, "something new", "message"),
        (413, "", "message"),
    ] {
        assert_eq!(judged(&slack(true), status, body), expected, "{status} {body}");
    }
}

#[test]
fn a_hook_that_is_gone_is_the_destinations_trouble_at_places_that_take_the_same() {
    for (status, body) in [
        (400, r#"{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook"}"#),
        (501, r#"{"id":"web.incoming_webhook.disabled.app_error","message":"Disabled"}"#),
        (400, r#"{"success":false,"error":"Invalid integration id or token provided."}"#),
        (400, r#"{"success":false,"error":"invalid-channel"}"#),
    ] {
        assert_eq!(judged(&slack(false), status, body), "destination", "{status} {body}");
    }
}

#[test]
fn places_that_take_the_same_say_so_in_their_own_way() {
    assert_eq!(judged(&slack(false), 200, "ok"), "accepted", "Mattermost");
    assert_eq!(judged(&slack(false), 200, r#"{"success":true}"#), "accepted", "Rocket.Chat");
    assert_eq!(judged(&slack(false), 200, r#"{"success":false,"error":"x"}"#), "transient");
    assert_eq!(judged(&slack(true), 200, r#"{"success":true}"#), "transient");
}
