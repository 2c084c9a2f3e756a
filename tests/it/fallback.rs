//! A receiver that is down: who stands in for it, what they are told, and what can be looked up.

use serde_json::Value;

use crate::harness::{Answer, Place, Sink, Tocsin, crash};

/// Rules by which `ops` is told of each container by itself, and `spare` stands in for it.
fn rules(ops: &Sink, spare: &Sink) -> String {
    format!(
        "receivers:\n  ops: {{ slack: {{ webhook_url: {:?} }}, fallback: spare }}\n  \
         spare: {{ slack: {{ webhook_url: {:?} }} }}\n\
         defaults: {{ notify: [ops], group_by: [id], group_wait: 0s }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]\n",
        ops.url(),
        spare.url()
    )
}

/// The texts that a place took, in order.
fn texts(sink: &Sink) -> Vec<String> {
    sink.taken().iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

fn receiver(tocsin: &Tocsin, name: &str) -> Value {
    let receivers = tocsin.get("/api/receivers");
    let mut receivers = receivers.as_array().unwrap().iter();
    receivers.find(|receiver| receiver["receiver"] == name).unwrap().clone()
}

#[test]
fn another_stands_in_for_a_receiver_that_is_down_and_both_are_told_when_it_is_back() {
    let ops = Sink::new().then(&[Answer::Status(404, "", "no_service")]);
    let spare = Sink::new();
    let place = Place::new(&rules(&ops, &spare));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    spare.wait_for_taken(2);
    let mut told = texts(&spare);
    told.sort();
    assert!(told[0].starts_with("CRITICAL receiver-down: ops takes nothing"), "{told:#?}");
    assert!(told[1].starts_with("WARNING crashed: 1 container"), "{told:#?}");
    let whole = spare.taken().iter().map(Value::to_string).collect::<String>();
    assert!(whole.contains("404 no_service"), "{whole}");
    assert!(whole.contains("told here, since ops takes nothing"), "{whole}");
    assert!(ops.taken().is_empty());

    let ops_stands = receiver(&tocsin, "ops");
    assert_eq!(ops_stands["status"], "down", "{ops_stands:#}");
    assert_eq!(ops_stands["reason"], "404 no_service");
    assert_eq!((&ops_stands["fallback"], &ops_stands["pending"]), (&"spare".into(), &0.into()));
    assert_eq!(receiver(&tocsin, "spare")["status"], "up");
    assert_eq!(tocsin.get("/readyz")["status"], "ready");
    let metrics = tocsin.get_text("/metrics");
    for line in [
        "tocsin_receiver_up{receiver=\"ops\"} 0",
        "tocsin_receiver_up{receiver=\"spare\"} 1",
        "tocsin_delivery_attempts_total{receiver=\"ops\",outcome=\"destination\"} 1",
        "tocsin_events_total{result=\"recorded\"} 1",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
    }

    // A start tries it with the next message there is; it has been mended meanwhile.
    drop(tocsin);
    let tocsin = place.serve();
    tocsin.hear(&crash("web-2"));
    ops.wait_for_taken(2);
    let told = texts(&ops);
    assert!(told[0].starts_with("WARNING crashed: 1 container"), "{told:#?}");
    assert!(told[1].starts_with("OVER receiver-down: ops takes messages again"), "{told:#?}");
    let whole = ops.taken()[1].to_string();
    assert!(whole.contains("1 message for ops went elsewhere meanwhile"), "{whole}");
    spare.wait_for_taken(3);
    assert!(texts(&spare)[2].starts_with("OVER receiver-down"), "{:#?}", texts(&spare));
    assert_eq!(receiver(&tocsin, "ops")["status"], "up");
}
