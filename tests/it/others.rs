//! What tocsin sends, held against what others wrote: Slack's own models of its blocks, a verifier of
//! Standard Webhooks, and a real Alertmanager. Python's packages and Debian's are installed by
//! `tests/run`; a test whose tool is missing fails.

use serde_json::{Value, json};

use crate::harness::{Alertmanager, Answer, Place, Sink, Tocsin, crash, event, python, wait_until};

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];

fn telling(receiver: &str, rule: &str) -> (Place, Tocsin) {
    let place = Place::new(&format!(
        "server: {{ external_url: \"https://alerts.example.com\" }}\n\
         receivers: {{ ops: {receiver} }}\n\
         defaults: {{ notify: ops, group_wait: 1s, group_interval: 1s }}\n\
         rules: [{{ name: crashed, severity: critical, when: {{ state: CRASHED }},\n\
         \x20        runbook_url: \"https://wiki.example.com/crashed?a=1&b=2\" {rule} }}]\n"
    ));
    let tocsin = place.serve();
    (place, tocsin)
}

/// Crashes of many containers with names of the nastier kind.
fn crash_many(tocsin: &Tocsin, count: usize) {
    for number in 0..count {
        let mut event = crash(&format!("c{number}-<!here>&\"'\u{1}{}", "x".repeat(90)));
        event["service"] = json!("web <@U1>");
        tocsin.hear(&event);
    }
}

/// Builds every block with Slack's own models, which check types and limits, and sees that they
/// write the same JSON.
const SLACK: &str = "
import json, sys
from slack_sdk.models.blocks import Block
for message in json.load(sys.stdin):
    assert message['text'] and len(message['text']) <= 4000
    blocks = message.get('blocks', [])
    assert len(blocks) <= 50
    for block in blocks:
        parsed = Block.parse(block)
        assert parsed is not None and type(parsed) is not Block, block
        assert parsed.to_dict() == block, (parsed.to_dict(), block)
";

#[test]
fn slacks_own_models_take_what_slack_is_told() {
    const NO_BLOCKS: Answer = Answer::Status(400, "", "invalid_blocks");
    let sink = Sink::new().then(&[Answer::Status(200, "", "ok"), NO_BLOCKS]);
    let slack = format!("{{ slack: {{ webhook_url: {:?} }} }}", sink.url());
    let (_place, tocsin) = telling(&slack, "");
    crash_many(&tocsin, 1);
    sink.wait_for_taken(1);
    crash_many(&tocsin, 30);
    sink.wait_for_taken(2);
    let mut well = crash("c0");
    well["state"] = json!("RUNNING");
    tocsin.hear(&well);
    let messages: Vec<Value> = sink.requests().into_iter().map(|(_, body)| body).collect();
    assert!(messages.len() >= 3, "{messages:#?}");
    python(SLACK, &json!(messages));
}

#[test]
fn slacks_own_models_take_a_digest() {
    let sink = Sink::new();
    let slack = format!("{{ slack: {{ webhook_url: {:?} }} }}", sink.url());
    let (_place, tocsin) = telling(&slack, ", group_by: [service]");
    for number in 0..30 {
        let mut event = crash("c");
        event["service"] = json!(format!("{number} <@U1> & {}", "x".repeat(200)));
        tocsin.hear(&event);
    }
    let digest = |messages: &[Value]| {
        messages.iter().any(|message| message.to_string().contains(" digest: "))
    };
    let messages = wait_until(|| Some(sink.taken()).filter(|it| digest(it)), || "no digest".into());
    python(SLACK, &json!(messages));
}

#[test]
fn slacks_own_models_take_what_a_bot_says() {
    let sink = Sink::answering(200, r#"{"ok":true,"channel":"C1","ts":"1.2"}"#);
    let slack = format!("{{ slack_api: {{ bot_token: t, channel: C1, url: {:?} }} }}", sink.base());
    let (_place, tocsin) = telling(&slack, "");
    tocsin.hear(&crash("web-1"));
    sink.wait_for_taken(1);
    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    python(SLACK, &json!(sink.wait_for_taken(3)));
}

const VERIFY: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
case = json.load(sys.stdin)
for secret in case['secrets']:
    assert Webhook(secret).verify(case['body'], case['headers'])['version'] == 1
try:
    Webhook(case['secrets'][0]).verify(case['body'] + ' ', case['headers'])
except WebhookVerificationError:
    sys.exit(0)
raise AssertionError('what was tampered with is taken')
";

#[test]
fn the_standards_own_verifier_takes_the_signature_of_each_secret() {
    let sink = Sink::answering(204, "");
    let [one, other] = SECRETS;
    let webhook = format!("{{ webhook: {{ url: {:?}, secret: [{one}, {other}] }} }}", sink.base());
    let (_place, tocsin) = telling(&webhook, "");
    crash_many(&tocsin, 3);
    sink.wait_for_taken(1);
    let (_, request) = &sink.heard()[0];
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!(request.header(name)))).collect();
    python(VERIFY, &json!({"secrets": SECRETS, "body": request.body, "headers": headers}));
}

#[test]
fn a_real_alertmanager_has_the_alert_while_it_fires() {
    let alertmanager = Alertmanager::new();
    let receiver = format!("{{ alertmanager: {{ url: {:?} }} }}", alertmanager.base());
    let (_place, tocsin) = telling(&receiver, ", labels: { team.name: \"é <b>\" }");
    tocsin.hear(&crash("web-1"));
    let firing = || Some(alertmanager.firing()).filter(|firing| !firing.is_empty());
    let alerts = wait_until(firing, || format!("{:#}", tocsin.get("/api/deliveries")));
    let labels = &alerts[0]["labels"];
    assert_eq!(
        *labels,
        json!({"alertname": "crashed", "rule": "crashed", "severity": "critical", "id": "web-1",
               "application": "shop", "service": "web", "team_name": "é <b>"})
    );
    assert_eq!(alerts[0]["status"]["state"], "active");
    assert_eq!(alerts[0]["generatorURL"], "https://alerts.example.com/api/alerts");
    let annotations = &alerts[0]["annotations"];
    assert_eq!(annotations["summary"], "RUNNING → CRASHED, exited with status 1");
    assert_eq!(annotations["runbook_url"], "https://wiki.example.com/crashed?a=1&b=2");

    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    let over = || alertmanager.firing().is_empty().then_some(());
    wait_until(over, || format!("{:#}", tocsin.get("/api/deliveries")));
}

#[test]
fn a_real_alertmanager_takes_names_of_any_kind_and_a_test() {
    let alertmanager = Alertmanager::new();
    let receiver = format!("{{ alertmanager: {{ url: {:?} }} }}", alertmanager.base());
    let (place, tocsin) = telling(&receiver, "");
    crash_many(&tocsin, 60);
    let enough = || Some(alertmanager.firing()).filter(|firing| firing.len() >= 50);
    wait_until(enough, || format!("{:#}", tocsin.get("/api/deliveries")));

    let (code, stdout, stderr) = place.run(&["send", "rules.yaml", "--receiver", "ops"]);
    assert_eq!((code, stdout.as_str()), (0, "200\n"), "{stderr}");
    let test = |alert: &&Value| alert["labels"]["alertname"] == "test";
    assert_eq!(alertmanager.firing().iter().filter(test).count(), 1);
}

#[test]
fn each_of_many_alerts_begins_and_ends_at_a_real_alertmanager() {
    let alertmanager = Alertmanager::new();
    let receiver = format!("{{ alertmanager: {{ url: {:?} }} }}", alertmanager.base());
    let (_place, tocsin) = telling(&receiver, "");
    let names: Vec<String> = (0..60).map(|number| format!("web-{number}")).collect();
    names.iter().for_each(|name| tocsin.hear(&crash(name)));
    let becomes = |number| {
        let are_as_many = || (alertmanager.firing().len() == number).then_some(());
        wait_until(are_as_many, || format!("{:#}", tocsin.get("/api/deliveries")));
    };
    becomes(60);
    names.iter().for_each(|name| tocsin.hear(&event(name, "STARTING", "RUNNING")));
    becomes(0);
}
