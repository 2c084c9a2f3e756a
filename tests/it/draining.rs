//! What goes out to a webhook one after the other while much waits for it, and when that ends.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Answer, Place, Sink, Tocsin, crash};

/// How many messages a webhook is sent at once.
const AT_ONCE: usize = 4;

/// How many crashes pile up behind the first.
const WAITING: usize = 40;

const LEFT_ALONE: Answer = Answer::Status(503, "retry-after: 2\r\n", "later");

/// A running tocsin that tells a webhook of each container by itself.
fn telling(sink: &Sink) -> (Place, Tocsin) {
    let place = Place::new(&format!(
        "receivers: {{ hook: {{ webhook: {{ url: {:?} }} }} }}\n\
         defaults: {{ notify: [hook], group_by: [id], group_wait: 0s }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]\n",
        sink.url(),
    ));
    let tocsin = place.serve();
    (place, tocsin)
}

/// The same where the webhook asks to be left alone for two seconds at first, so that messages pile up
/// behind it.
fn with_much_waiting(sink: &Sink) -> (Place, Tocsin) {
    let (place, tocsin) = telling(sink);
    tocsin.hear(&crash("first"));
    sink.wait_for_requests(1);
    (0..WAITING).for_each(|number| tocsin.hear(&crash(&format!("web-{number}"))));
    (place, tocsin)
}

/// Of how many containers the sink took the crash, each once.
fn told(sink: &Sink) -> usize {
    let taken = sink.taken();
    let container = |message: &Value| message["data"]["alerts"][0]["containers"][0].to_string();
    let told: HashSet<String> = taken.iter().map(container).collect();
    assert_eq!(told.len(), taken.len(), "something was told twice");
    told.len()
}

#[test]
fn a_place_that_asks_to_be_left_alone_gets_no_more_than_what_is_under_way() {
    let answers = [vec![LEFT_ALONE], vec![Answer::OkAfter(1); 9], vec![LEFT_ALONE]].concat();
    let sink = Sink::new().then(&answers);
    let (_place, _tocsin) = with_much_waiting(&sink);
    sink.wait_for_taken(WAITING + 1);
    assert_eq!(told(&sink), WAITING + 1);
    let requests = sink.requests();
    let again = requests[answers.len() - 1].0;
    let times = requests.iter().map(|(at, _)| at.saturating_duration_since(again));
    // Those under way when it asked, and as many again by the time that it was heard.
    let rest = Duration::from_millis(1)..Duration::from_millis(1900);
    let during = times.filter(|time| rest.contains(time)).count();
    assert!(during < 2 * AT_ONCE, "{during} requests while it was to be left alone");
}

#[test]
fn a_stop_ends_what_goes_out_one_after_the_other_and_the_next_start_goes_on() {
    let slow = vec![Answer::OkAfter(1000); AT_ONCE];
    let sink = Sink::new().then(&[vec![LEFT_ALONE], slow].concat());
    let (place, tocsin) = with_much_waiting(&sink);
    sink.wait_for_requests(1 + AT_ONCE);
    tocsin.stop();
    assert_eq!(sink.requests().len(), 1 + AT_ONCE, "no more than what was under way");
    let _tocsin = place.serve();
    sink.wait_for_taken(WAITING + 1);
    assert_eq!(told(&sink), WAITING + 1);
}

#[test]
fn a_place_that_asks_to_be_left_alone_for_no_time_is_not_hurried() {
    let sink = Sink::new().then(&vec![Answer::Status(503, "retry-after: 0\r\n", "later"); 100]);
    let (_place, tocsin) = telling(&sink);
    tocsin.hear(&crash("first"));
    let requests = sink.wait_for_requests(3);
    let waited = requests[2].0 - requests[0].0;
    assert!(waited >= Duration::from_millis(1400), "{waited:?} until the second retry");
}
