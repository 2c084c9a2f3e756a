//! The payload of an event (DESIGN.md §3).

use serde_json::{Value, json};
use tocsin::event;

use super::assert_is_a_sentence;

/// Decodes a body. What is an event keeps its payload, is the same event when its payload is written
/// anew, and when the producer sends it again.
pub fn decode(body: &[u8]) {
    let event = match event::decode(body) {
        Ok(event) => event,
        Err(error) => return assert_is_a_sentence(&error.to_string()),
    };
    assert_eq!(event.payload.text().as_bytes(), body);
    assert!(!event.container.is_empty() && !event.state.as_str().is_empty());

    let mut payload = event.payload.value().clone();
    let again = event::from_value(&payload).expect("it was an event as it was written");
    assert_eq!(again.identity, event.identity, "written anew: {payload}");
    assert_eq!(
        (again.timestamp, &again.state, &again.prev_state, again.starts, &again.exit),
        (event.timestamp, &event.state, &event.prev_state, event.starts, &event.exit)
    );

    match &mut payload["counters"] {
        Value::Object(counters) => drop(counters.insert("post_attempts".into(), json!(7))),
        _ => return,
    }
    let retried = event::from_value(&payload).expect("a counter makes no event less of one");
    assert_eq!(retried.identity, event.identity, "sent again: {payload}");
}
