//! What is held back is not told, says why, and is told when nothing holds it back any more.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Place, Sink, Tocsin, crash, event};

const MUTED: &str = "mute_times: { always: {} }\n";

fn rules(sink: &Sink, of_rule: &str, sections: &str) -> String {
    format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: {:?} }} }} }}\n\
         defaults: {{ notify: ops, group_wait: 0s }}\n\
         rules:\n\
         \x20 - {{ name: crashed, when: {{ state: CRASHED }}, {of_rule} }}\n\
         \x20 - {{ name: stopped, when: {{ state: STOPPED }} }}\n\
         {sections}",
        sink.url()
    )
}

/// Why the alert of this rule is not told, once it is not.
fn held_back(tocsin: &Tocsin, rule: &str) -> Value {
    tocsin.wait_for("/api/alerts?status=firing", |alerts| {
        let alert = alerts.as_array()?.iter().find(|alert| alert["rule"] == rule)?;
        let held = alert["held_back"].as_array()?.first()?;
        (held["reason"] != "grouped").then(|| held.clone())
    })
}

#[test]
fn what_is_muted_says_so_and_is_told_once_it_is_not() {
    let sink = Sink::new();
    let place = Place::new(&rules(&sink, "mute_during: always", MUTED));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let held = held_back(&tocsin, "crashed");
    assert_eq!((&held["reason"], &held["by"]), (&json!("muted"), &json!("always")), "{held}");
    assert!(held["until"].is_string(), "{held}");
    tocsin.kill();

    let tocsin = place.serve();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sink.requests().len(), 0, "a restart is no reason to tell");
    tocsin.kill();

    place.write_rules(&rules(&sink, "", MUTED));
    let tocsin = place.serve();
    assert_eq!(sink.wait_for_taken(1).len(), 1);
    let alerts = tocsin.get("/api/alerts?status=firing");
    assert_eq!(alerts[0]["rule"], "crashed", "{alerts:#}");
}

#[test]
fn what_another_alert_holds_back_is_told_once_that_is_over() {
    let sink = Sink::new();
    let inhibit = "inhibit: [{ source: { rule: stopped }, target: { rule: crashed }, equal: [application] }]\n";
    let place = Place::new(&rules(&sink, "", inhibit));
    let tocsin = place.serve();
    tocsin.hear(&event("db-1", "RUNNING", "STOPPED"));
    assert_eq!(sink.wait_for_taken(1).len(), 1);
    tocsin.hear(&crash("web-1"));
    let held = held_back(&tocsin, "crashed");
    assert_eq!(held["reason"], "inhibited", "{held}");
    assert!(held["by"].as_str().unwrap().starts_with("stopped "), "{held}");
    assert_eq!(sink.taken().len(), 1);
    tocsin.hear(&event("db-1", "STOPPED", "RUNNING"));
    tocsin.wait_for("/api/deliveries?status=sent", |deliveries| {
        deliveries.as_array()?.iter().find(|delivery| delivery["rule"] == "crashed").cloned()
    });
}
