//! Each place that is told over HTTP, from the event to the request, at a fake that answers as the
//! place is documented to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Place, Sink, Tocsin, crash, event};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const POSTED: &str = r#"{"ok":true,"channel":"C0PS","ts":"1700000000.000100"}"#;

/// A kind as it is written for this sink, and what the place answers when all is well.
const KINDS: [(&str, &str, u16, &str); 9] = [
    ("slack", "{ webhook_url: BASE/services/s3cret }", 200, "ok"),
    ("slack_api", "{ bot_token: xoxb-s3cret, channel: ops, url: BASE }", 200, POSTED),
    ("webhook", "{ url: BASE/hook/s3cret }", 204, ""),
    (
        "pagerduty",
        "{ routing_key: s3cret, url: BASE }",
        202,
        r#"{"status":"success","message":"Event processed"}"#,
    ),
    ("teams", "{ webhook_url: BASE/workflows/s3cret }", 202, ""),
    ("discord", "{ webhook_url: BASE/api/webhooks/1/s3cret }", 200, r#"{"id":"7"}"#),
    (
        "telegram",
        "{ bot_token: \"1:s3cret\", chat_id: -5, url: BASE }",
        200,
        r#"{"ok":true,"result":{"message_id":7}}"#,
    ),
    ("ntfy", "{ url: BASE/s3cret, token: tk_s3cret }", 200, r#"{"id":"7","event":"message"}"#),
    ("alertmanager", "{ url: BASE }", 200, ""),
];

fn sink_of(kind: &str) -> Sink {
    let (_, _, status, body) = KINDS.into_iter().find(|(name, ..)| *name == kind).unwrap();
    Sink::answering(status, body)
}

/// A receiver of this kind, as a part of a rules file.
fn receiver(kind: &str, sink: &Sink) -> String {
    let (_, written, ..) = KINDS.into_iter().find(|(name, ..)| *name == kind).unwrap();
    format!("{kind}: {}", written.replace("BASE", &sink.base()))
}

fn rules(receivers: &str, notify: &str) -> String {
    format!(
        "receivers:\n{receivers}\
         defaults: {{ notify: [{notify}], group_wait: 0s, group_interval: 1s }}\n\
         rules: [{{ name: crashed, severity: critical, when: {{ state: CRASHED }} }}]\n"
    )
}

fn telling(kind: &str, sink: &Sink) -> (Place, Tocsin) {
    let place = Place::new(&rules(&format!("  ops: {{ {} }}\n", receiver(kind, sink)), "ops"));
    let tocsin = place.serve();
    (place, tocsin)
}

#[test]
fn every_place_is_told_of_a_crash_and_of_its_end() {
    for (kind, ..) in KINDS {
        let sink = sink_of(kind);
        let (_place, tocsin) = telling(kind, &sink);
        tocsin.hear(&crash("web-1"));
        sink.wait_for_taken(1);
        tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
        let told = sink.wait_for_taken(if kind == "slack_api" { 3 } else { 2 });
        assert!(told[0].to_string().contains("crashed"), "{kind}: {told:#?}");
        assert_ne!(told[0], told[1], "{kind}");
        for (_, request) in sink.heard() {
            assert_eq!(request.header("content-type"), Some("application/json"), "{kind}");
            assert_eq!(request.header("user-agent"), Some("tocsin/0.1.0"), "{kind}");
        }
    }
}

#[test]
fn send_shows_every_places_own_answer() {
    for (kind, words) in [
        ("slack", "ok"),
        ("slack_api", "ok"),
        ("webhook", "204"),
        ("pagerduty", "Event processed"),
        ("teams", "202"),
        ("discord", "message 7"),
        ("telegram", "message 7"),
        ("ntfy", "message 7"),
        ("alertmanager", "200"),
    ] {
        let sink = sink_of(kind);
        let place = Place::new(&rules(&format!("  ops: {{ {} }}\n", receiver(kind, &sink)), "ops"));
        let (code, stdout, stderr) = place.run(&["send", "rules.yaml", "--receiver", "ops"]);
        assert_eq!((code, stdout.trim_end()), (0, words), "{kind}: {stderr}");
        assert_eq!(stderr, "ops took the test notification\n", "{kind}");
        assert_eq!(sink.requests().len(), 1, "{kind}");
        assert!(
            sink.heard()[0].1.body.to_lowercase().contains("test"),
            "{kind}: {:?}",
            sink.heard()
        );
    }
}

#[test]
fn send_tells_what_every_places_refusal_means_and_no_secret() {
    for (kind, ..) in KINDS {
        // As proxies do, it repeats what it was asked for.
        let repeated = match kind {
            "slack_api" => "s0rry, not with xoxb-s3cret",
            "ntfy" => "s0rry, not with tk_s3cret",
            "telegram" => "s0rry, there is no /bot1:s3cret/sendMessage",
            "pagerduty" | "alertmanager" => "s0rry",
            _ => "s0rry, there is no /x/s3cret",
        };
        for (answer, meaning) in [
            (Answer::Status(404, "", repeated), "will take nothing until"),
            (Answer::Status(503, "", "s0rry"), "that may pass"),
            (Answer::Status(413, "", "s0rry"), "refuses the message"),
            (Answer::Status(307, "location: http://127.0.0.1:1/\r\n", "s0rry"), "that may pass"),
            (Answer::Status(200, "", "<html>s0rry"), "that may pass"),
            (Answer::Reset, "whether it arrived is not known"),
        ] {
            let page = matches!(answer, Answer::Status(200, ..));
            if kind == "webhook" && page {
                // Whatever one's own program says is right.
                continue;
            }
            let sink = sink_of(kind).then(&[answer]);
            let place =
                Place::new(&rules(&format!("  ops: {{ {} }}\n", receiver(kind, &sink)), "ops"));
            let (code, stdout, stderr) = place.run(&["send", "rules.yaml", "--receiver", "ops"]);
            assert_eq!(code, 1, "{kind}: {stdout}{stderr}");
            assert!(stderr.contains(meaning), "{kind}: {stdout}{stderr}");
            assert!(!format!("{stdout}{stderr}").contains("s3cret"), "{kind}: {stdout}{stderr}");
            assert_eq!(stdout.contains("s0rry"), !stdout.contains("lost"), "{kind}: {stdout}");
        }
    }
}

#[test]
fn a_webhook_has_one_id_for_all_attempts_and_is_signed_anew() {
    let sink = sink_of("webhook").then(&[Answer::Status(500, "", "")]);
    let webhook = format!("{{ url: {}, secret: [{SECRET}, {SECRET}] }}", sink.base());
    let place = Place::new(&rules(&format!("  ops: {{ webhook: {webhook} }}\n"), "ops"));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    tocsin.wait_for_delivery("ops", "sent");
    let heard = sink.heard();
    let ids: Vec<_> = heard.iter().map(|(_, request)| request.header("webhook-id")).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
    assert_eq!(heard[0].1.json()["data"]["id"], ids[0].unwrap());
    let signatures = heard[0].1.header("webhook-signature").unwrap();
    assert_eq!(signatures.split(' ').count(), 2, "{signatures}");
}

#[test]
fn a_webhook_that_is_gone_is_left_alone() {
    let sink = sink_of("webhook").then(&[Answer::Status(410, "", "gone")]);
    let (_place, tocsin) = telling("webhook", &sink);
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for("/api/deliveries?status=pending", |deliveries| {
        deliveries.as_array().unwrap().iter().find(|it| !it["last_error"].is_null()).cloned()
    });
    assert_eq!(delivery["last_error"], "410 gone");
    let time = |key: &str| delivery[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("next_attempt_at").duration_since(time("created_at")).as_secs() > 140);
}

#[test]
fn what_one_group_says_is_a_thread_whose_first_message_is_edited_when_it_is_over() {
    let sink = sink_of("slack_api");
    let (place, tocsin) = telling("slack_api", &sink);
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    tocsin.wait_for_delivery("ops", "sent");
    // The thread is kept where everything is kept.
    tocsin.kill();
    let tocsin = place.serve();
    tocsin.hear(&crash("web-2"));
    sink.wait_for_taken(2);
    for container in ["web-1", "web-2"] {
        tocsin.hear(&event(container, "STARTING", "RUNNING"));
    }
    sink.wait_for_taken(4);
    let heard = sink.heard();
    let said: Vec<(&str, Value)> =
        heard.iter().map(|(_, request)| (request.path.as_str(), request.json())).collect();
    assert!(heard.iter().all(|(_, it)| it.header("authorization") == Some("Bearer xoxb-s3cret")));

    let (path, first) = &said[0];
    assert_eq!((*path, &first["channel"]), ("/chat.postMessage", &json!("ops")));
    assert_eq!(first["thread_ts"], Value::Null);
    let (path, second) = &said[1];
    assert_eq!((*path, &second["channel"]), ("/chat.postMessage", &json!("C0PS")));
    assert_eq!(second["thread_ts"], "1700000000.000100");
    assert_eq!(second["reply_broadcast"], true, "who reads the channel has to see it");

    let over = said.iter().position(|(path, _)| *path == "/chat.update").unwrap();
    let (edit, reply) = (&said[over].1, &said[over - 1].1);
    assert_eq!((&edit["channel"], &edit["ts"]), (&json!("C0PS"), &json!("1700000000.000100")));
    assert!(edit["text"].as_str().unwrap().starts_with("OVER"), "{edit:#}");
    assert_eq!((&reply["thread_ts"], &reply["reply_broadcast"]), (&edit["ts"], &json!(false)));
    assert_eq!(edit["blocks"], reply["blocks"]);
}

#[test]
fn an_answer_with_the_whole_message_in_it_is_read_whole() {
    let large = format!("{},\"message\":{:?}}}", POSTED.trim_end_matches('}'), "x".repeat(100_000));
    let sink = Sink::answering(200, large.leak());
    let (_place, tocsin) = telling("slack_api", &sink);
    tocsin.hear(&crash("web-1"));
    assert_eq!(tocsin.wait_for_delivery("ops", "sent")["attempts"], 1);
}

#[test]
fn a_plain_edit_takes_the_blocks_away() {
    const NO_BLOCKS: Answer = Answer::Status(200, "", r#"{"ok":false,"error":"invalid_blocks"}"#);
    let sink = sink_of("slack_api");
    let (_place, tocsin) = telling("slack_api", &sink);
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    let sink = sink.then(&[NO_BLOCKS]);
    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    let told = sink.wait_for_taken(3);
    assert_eq!(told[1]["blocks"], Value::Null, "the reply");
    assert_eq!(told[2]["blocks"], json!([]), "the edit");
}

#[test]
fn a_thread_that_is_gone_is_begun_anew() {
    const GONE: Answer = Answer::Status(200, "", r#"{"ok":false,"error":"message_not_found"}"#);
    let sink = sink_of("slack_api");
    let (_place, tocsin) = telling("slack_api", &sink);
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    let sink = sink.then(&[Answer::Status(200, "", POSTED), GONE]);
    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    sink.wait_for_requests(4);
    let heard = sink.heard();
    assert_eq!(heard[2].1.path, "/chat.update");
    let last = heard[3].1.json();
    assert_eq!((heard[3].1.path.as_str(), &last["thread_ts"]), ("/chat.postMessage", &Value::Null));
}

#[test]
fn a_thread_that_takes_no_replies_is_begun_anew() {
    for refused in [
        r#"{"ok":false,"error":"restricted_action_thread_locked"}"#,
        r#"{"ok":false,"error":"restricted_action_non_threadable_channel"}"#,
    ] {
        let sink = sink_of("slack_api");
        let (_place, tocsin) = telling("slack_api", &sink);
        tocsin.hear(&crash("web-1"));
        sink.wait_for_taken(1);
        let sink = sink.then(&[Answer::Status(200, "", refused)]);
        tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
        sink.wait_for_requests(3);
        let heard = sink.heard();
        assert_eq!(heard[1].1.json()["thread_ts"], "1700000000.000100");
        let (path, last) = (heard[2].1.path.as_str(), heard[2].1.json());
        assert_eq!((path, &last["thread_ts"]), ("/chat.postMessage", &Value::Null));
    }
}

#[test]
fn a_thread_is_left_for_the_channel_that_the_file_names_now() {
    let sink = sink_of("slack_api");
    let (place, tocsin) = telling("slack_api", &sink);
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    tocsin.wait_for_delivery("ops", "sent");
    drop(tocsin);
    let moved = receiver("slack_api", &sink).replace("channel: ops", "channel: war-room");
    place.write_rules(&rules(&format!("  ops: {{ {moved} }}\n"), "ops"));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-2"));
    sink.wait_for_taken(2);
    let heard = sink.heard();
    let last = heard[1].1.json();
    assert_eq!((&last["channel"], &last["thread_ts"]), (&json!("war-room"), &Value::Null));
}

#[test]
fn an_edit_that_is_refused_costs_no_message() {
    const NEVER: Answer = Answer::Status(200, "", r#"{"ok":false,"error":"cant_update_message"}"#);
    let sink = sink_of("slack_api");
    let (_place, tocsin) = telling("slack_api", &sink);
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    let sink = sink.then(&[Answer::Status(200, "", POSTED), NEVER]);
    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    let told = sink.wait_for_taken(2);
    assert!(told[1]["text"].as_str().unwrap().starts_with("OVER"));
    tocsin.wait_for("/api/deliveries?status=sent", |deliveries| {
        let error =
            |it: &Value| it["last_error"].as_str().is_some_and(|it| it.contains("not edited"));
        deliveries.as_array().unwrap().iter().any(error).then_some(())
    });
}

#[test]
fn an_edit_that_fails_costs_no_message_and_is_made_with_the_next() {
    const LIMITED: &str = r#"{"ok":false,"error":"ratelimited"}"#;
    for edit in [
        Answer::Status(503, "", ""),
        Answer::Hang,
        Answer::Status(429, "Retry-After: 1\r\n", LIMITED),
    ] {
        let sink = sink_of("slack_api");
        let ops = format!("  ops: {{ {}, timeout: 2s }}\n", receiver("slack_api", &sink));
        let place = Place::new(&rules(&ops, "ops"));
        let tocsin = place.serve();
        tocsin.hear(&crash("web-1"));
        sink.wait_for_taken(1);
        let sink = sink.then(&[Answer::Status(200, "", POSTED), edit]);
        tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
        let over = tocsin.wait_for("/api/deliveries?status=sent", |deliveries| {
            deliveries.as_array().unwrap().iter().find(|it| !it["last_error"].is_null()).cloned()
        });
        let error = over["last_error"].as_str().unwrap();
        assert!(error.starts_with("the first message was not edited: "), "{error}");
        assert_eq!(over["attempts"], 1, "{error}");
        // Whether Slack made the edit is not known: it may say by now that it is over.
        tocsin.hear(&crash("web-1"));
        sink.wait_for_requests(5);
        let heard = sink.heard();
        let paths: Vec<&str> = heard[1..].iter().map(|(_, it)| it.path.as_str()).collect();
        let (post, edit) = ("/chat.postMessage", "/chat.update");
        assert_eq!(paths, [post, edit, post, edit]);
        let text = heard[4].1.json()["text"].to_string();
        assert!(!text.contains("OVER"), "{text}");
    }
}

#[test]
fn the_first_message_says_nothing_that_was_not_told() {
    let sink = sink_of("slack_api");
    let (_place, tocsin) = telling("slack_api", &sink);
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    let sink = sink.then(&[Answer::Status(503, "", "")]);
    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    sink.wait_for_taken(3);
    let heard = sink.heard();
    let paths: Vec<&str> = heard[1..].iter().map(|(_, it)| it.path.as_str()).collect();
    assert_eq!(paths, ["/chat.postMessage", "/chat.postMessage", "/chat.update"]);
}

#[test]
fn a_list_is_one_name_and_the_trouble_of_one_part_repeats_nothing_to_the_others() {
    let (well, ill) = (sink_of("ntfy"), sink_of("discord"));
    let ill = ill.then(&[Answer::Status(500, "", ""), Answer::Status(500, "", "")]);
    let parts = [receiver("ntfy", &well), receiver("discord", &ill)];
    let place =
        Place::new(&rules(&format!("  team: [{{ {} }}, {{ {} }}]\n", parts[0], parts[1]), "team"));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    tocsin.wait_for_delivery("team/ntfy", "sent");
    let delivery = tocsin.wait_for_delivery("team/discord", "sent");
    assert_eq!(delivery["attempts"], 3);
    assert_eq!((well.requests().len(), ill.requests().len()), (1, 3));
    drop(tocsin);

    let (code, stdout, stderr) = place.run(&["send", "rules.yaml", "--receiver", "team"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, "team/ntfy: message 7\nteam/discord: message 7\n");
    let ill = ill.then(&[Answer::Status(404, "", r#"{"message":"Unknown Webhook","code":10015}"#)]);
    let (code, stdout, stderr) = place.run(&["send", "rules.yaml", "--receiver", "team"]);
    assert_eq!((code, stdout.lines().count()), (1, 2), "{stdout}{stderr}");
    assert!(stdout.contains("team/discord: 404 Unknown Webhook"), "{stdout}");
    let (code, stdout, _) = place.run(&["send", "rules.yaml", "--receiver", "team/ntfy"]);
    assert_eq!((code, stdout.as_str()), (0, "message 7\n"));
    assert_eq!(ill.requests().len(), 5);
    let (code, _, stderr) = place.run(&["send", "rules.yaml", "--receiver", "tem"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("it has team/discord, team/ntfy, team"), "{stderr}");
}

#[test]
fn how_long_a_place_asks_to_be_left_alone_in_its_body_is_waited_out() {
    const LIMITED: &str = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 2","parameters":{"retry_after":2}}"#;
    let sink = sink_of("telegram").then(&[Answer::Status(429, "", LIMITED)]);
    let (_place, tocsin) = telling("telegram", &sink);
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    let heard = sink.heard();
    assert!(heard[1].0 - heard[0].0 >= Duration::from_secs(2));
    let delivery = tocsin.wait_for_delivery("ops", "sent");
    assert_eq!(delivery["last_error"], "429 Too Many Requests: retry after 2");
}
