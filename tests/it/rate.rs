//! What a receiver gets when more is to be told than its place takes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Place, Sink, Tocsin, crash};

/// How many services crash at once.
const SERVICES: usize = 40;

/// A running tocsin that tells this receiver of every crash at once, for each service by itself.
fn telling(receiver: &str) -> (Place, Tocsin) {
    let place = Place::new(&format!(
        "receivers: {{ ops: {receiver} }}\n\
         defaults: {{ notify: ops, group_wait: 1s, group_by: [service] }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]\n"
    ));
    let tocsin = place.serve();
    (place, tocsin)
}

/// A container of each service crashes.
fn crash_everywhere(tocsin: &Tocsin) {
    for number in 0..SERVICES {
        let mut event = crash(&format!("web-{number}"));
        event["service"] = json!(format!("service{number}"));
        tocsin.hear(&event);
    }
}

fn all_sent(tocsin: &Tocsin) -> Vec<Value> {
    tocsin.wait_for("/api/deliveries?limit=100", |page| {
        let rows = page.as_array().unwrap().clone();
        let done = rows.iter().filter(|row| row["status"] == "sent").count() == SERVICES;
        done.then_some(rows)
    })
}

#[test]
fn what_piles_up_before_slack_is_told_in_a_digest_that_leads_to_all_of_it() {
    let sink = Sink::new();
    let url = sink.url();
    let (_place, tocsin) = telling(&format!("{{ slack: {{ webhook_url: {url:?} }} }}"));
    crash_everywhere(&tocsin);
    let rows = all_sent(&tocsin);
    let messages = sink.taken();
    assert!(messages.len() <= 8, "{} messages for {SERVICES} groups", messages.len());
    let requests = sink.requests();
    let pauses = requests.windows(2).map(|pair| pair[1].0 - pair[0].0);
    // The bucket holds one at first, and one more for each second.
    assert!(pauses.min() >= Some(Duration::from_millis(900)), "{requests:#?}");

    let digests: Vec<&Value> =
        messages.iter().filter(|message| message.to_string().contains(" digest: ")).collect();
    assert!(!digests.is_empty());
    let mut told_in_digests = 0;
    for digest in rows.iter().filter_map(|row| row["digest"].as_str()) {
        let page = tocsin.get(&format!("/api/deliveries?digest={digest}&limit=100"));
        told_in_digests += 1;
        assert!(page.as_array().unwrap().len() > 6);
        let leads_to_it = |message: &&Value| message.to_string().contains(digest);
        assert_eq!(digests.iter().filter(|it| leads_to_it(it)).count(), 1);
    }
    assert_eq!(told_in_digests + messages.len() - digests.len(), SERVICES);
}

#[test]
fn a_program_gets_each_message_by_itself_at_its_rate() {
    let sink = Sink::new();
    let url = sink.url();
    let (_place, tocsin) = telling(&format!("{{ webhook: {{ url: {url:?} }}, rate: 20/s }}"));
    crash_everywhere(&tocsin);
    all_sent(&tocsin);
    let requests = sink.requests();
    assert_eq!(requests.len(), SERVICES);
    // Twenty at once, and the rest in a second.
    let took = requests[SERVICES - 1].0 - requests[0].0;
    assert!(took >= Duration::from_millis(900), "{took:?}");
}
