//! What becomes of a notification when Slack, or what stands in its way, does not take it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Place, Sink, Tocsin, crash};

const NO_SERVICE: Answer = Answer::Status(404, "", "no_service");
const INVALID_BLOCKS: Answer = Answer::Status(400, "", "invalid_blocks");

/// A running tocsin that tells these receivers of every crash at once: a name, a sink, and further
/// settings.
fn telling(receivers: &[(&str, &Sink, &str)]) -> (Place, Tocsin) {
    let names: Vec<&str> = receivers.iter().map(|(name, ..)| *name).collect();
    let receivers: String = receivers
        .iter()
        .map(|(name, sink, settings)| {
            format!("  {name}: {{ slack: {{ webhook_url: {:?} }}, {settings} }}\n", sink.url())
        })
        .collect();
    let place = Place::new(&format!(
        "receivers:\n{receivers}\
         defaults: {{ notify: [{}], group_wait: 0s }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]\n",
        names.join(", "),
    ));
    let tocsin = place.serve();
    (place, tocsin)
}

/// A crash in a service of its own, and so in a group and a notification of its own.
fn crash_in(service: &str) -> Value {
    let mut event = crash(service);
    event["service"] = json!(service);
    event
}

/// Fails once in this way, and sees the same message taken at the second attempt. Answers what
/// tocsin has to say of it, and how long it waited.
fn taken_at_the_second_attempt(fault: Answer, settings: &str) -> (String, Duration) {
    let sink = Sink::new().then(&[fault]);
    let (_place, tocsin) = telling(&[("ops", &sink, settings)]);
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("ops", "sent");
    assert_eq!(delivery["attempts"], 2, "{delivery:#}");
    assert_eq!(tocsin.get("/api/deliveries").as_array().unwrap().len(), 1);

    let requests = sink.requests();
    assert_eq!(requests.len(), 2, "{requests:#?}");
    assert_eq!(requests[0].1, requests[1].1, "a retry says the same");
    assert_eq!(sink.taken().len(), 1);
    let waited = requests[1].0 - requests[0].0;
    (delivery["last_error"].as_str().unwrap().to_owned(), waited)
}

#[test]
fn retry_after_is_waited_out() {
    let limited = Answer::Status(429, "retry-after: 2\r\n", "rate_limited");
    let (error, waited) = taken_at_the_second_attempt(limited, "");
    assert_eq!(error, "429 rate_limited");
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
}

#[test]
fn retry_after_holds_for_all_that_the_receiver_is_to_get() {
    let sink = Sink::new().then(&[Answer::Status(429, "retry-after: 2\r\n", "rate_limited")]);
    let (_place, tocsin) = telling(&[("ops", &sink, "")]);
    tocsin.hear(&crash_in("web"));
    sink.wait_for_requests(1);
    tocsin.hear(&crash_in("cart"));
    sink.wait_for_taken(2);
    let requests = sink.requests();
    let waited = requests[1].0 - requests[0].0;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(requests.len(), 3, "{requests:#?}");
}

#[test]
fn an_absurd_retry_after_silences_nobody_for_longer_than_a_delivery_may_wait() {
    for header in ["retry-after: 31536000\r\n", "retry-after: 10000000000000000000\r\n"] {
        let limited = Answer::Status(429, header, "rate_limited");
        let (_, waited) = taken_at_the_second_attempt(limited, "give_up_after: 1s");
        assert!(waited >= Duration::from_millis(900), "{waited:?}");
    }
}

#[test]
fn a_server_error_is_tried_again() {
    let (error, waited) = taken_at_the_second_attempt(Answer::Status(500, "", "rollup_error"), "");
    assert_eq!(error, "500 rollup_error");
    assert!(waited >= Duration::from_millis(500), "{waited:?}");
}

#[test]
fn a_place_that_never_answers_is_tried_again() {
    let (error, _) = taken_at_the_second_attempt(Answer::Hang, "timeout: 400ms");
    assert!(error.starts_with("no answer within "), "{error}");
}

#[test]
fn a_connection_that_is_reset_is_tried_again() {
    let (error, _) = taken_at_the_second_attempt(Answer::Reset, "");
    assert!(error.starts_with("the answer was lost: "), "{error}");
}

#[test]
fn a_success_that_slack_did_not_say_is_tried_again() {
    let portal = Answer::Status(200, "content-type: text/html\r\n", "<html>Please log in</html>");
    let (error, _) = taken_at_the_second_attempt(portal, "");
    assert!(error.starts_with("not from Slack"), "{error}");
    assert!(error.contains("200 <html>Please log in</html>"), "{error}");
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Sink::new();
    let location: &str = Box::leak(format!("location: {}\r\n", elsewhere.url()).into());
    let (error, _) = taken_at_the_second_attempt(Answer::Status(307, location, "moved"), "");
    assert!(error.contains("307 moved"), "{error}");
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_hook_that_is_gone_is_left_alone_and_everything_waits() {
    let (gone, well) = (Sink::new().then(&[NO_SERVICE]), Sink::new());
    let (_place, tocsin) = telling(&[("ops", &gone, ""), ("boss", &well, "")]);
    tocsin.hear(&crash_in("web"));
    let delivery = tocsin.wait_for("/api/deliveries?status=pending", |deliveries| {
        deliveries.as_array().unwrap().iter().find(|it| !it["last_error"].is_null()).cloned()
    });
    assert_eq!(delivery["receiver"], "ops");
    assert_eq!(delivery["last_error"], "404 no_service");
    assert_eq!(delivery["attempts"], 1);
    // It is probed now and then.
    let time = |key: &str| delivery[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let pause = time("next_attempt_at").duration_since(time("created_at")).as_secs();
    assert!((149..=310).contains(&pause), "{delivery:#}");

    tocsin.hear(&crash_in("cart"));
    well.wait_for_taken(2);
    let waiting = tocsin.wait_for("/api/deliveries?status=pending", |deliveries| {
        // What the other has taken may still be on its way into the database.
        let waiting = deliveries.as_array().unwrap().clone();
        Some(waiting).filter(|waiting| waiting.iter().all(|it| it["receiver"] == "ops"))
    });
    assert_eq!(waiting.len(), 2, "{waiting:#?}");
    assert_eq!(gone.requests().len(), 1);
}

#[test]
fn a_hook_that_stays_gone_is_given_up_in_its_own_words() {
    let sink = Sink::new().then(&[NO_SERVICE, NO_SERVICE, NO_SERVICE]);
    let (_place, tocsin) = telling(&[("ops", &sink, "give_up_after: 1s")]);
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("ops", "dead");
    assert_eq!(delivery["last_error"], "404 no_service");
    assert_eq!(delivery["attempts"], 2, "at once, and when the time is up");
    assert_eq!(delivery["next_attempt_at"], Value::Null);
    let requests = sink.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].0 - requests[0].0 >= Duration::from_millis(900), "{requests:#?}");
}

#[test]
fn a_place_that_never_recovers_is_given_up() {
    let down = Answer::Status(503, "", "");
    let sink = Sink::new().then(&vec![down; 20]);
    let (_place, tocsin) = telling(&[("ops", &sink, "give_up_after: 1s")]);
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("ops", "dead");
    assert_eq!(delivery["last_error"], "503, without a word");
    assert_eq!(delivery["attempts"], sink.requests().len());
}

#[test]
fn a_message_that_is_refused_is_said_plainly() {
    let sink = Sink::new().then(&[INVALID_BLOCKS]);
    let (_place, tocsin) = telling(&[("ops", &sink, "")]);
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("ops", "sent");
    assert_eq!(delivery["last_error"], "400 invalid_blocks");
    let requests = sink.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].1["blocks"].is_array());
    let plain = &requests[1].1;
    assert_eq!(plain["blocks"], Value::Null);
    assert!(plain["text"].as_str().unwrap().contains("web-1"), "{plain:#}");
}

#[test]
fn a_message_that_is_refused_in_plain_words_too_is_a_dead_letter() {
    let sink = Sink::new().then(&[INVALID_BLOCKS, Answer::Status(400, "", "no_text")]);
    let (_place, tocsin) = telling(&[("ops", &sink, "")]);
    tocsin.hear(&crash_in("web"));
    let delivery = tocsin.wait_for_delivery("ops", "dead");
    assert_eq!(delivery["last_error"], "400 no_text");
    assert_eq!(delivery["attempts"], 2);

    // That was the message's fault, and not the receiver's.
    tocsin.hear(&crash_in("cart"));
    let taken = sink.wait_for_taken(1);
    assert!(taken[0]["blocks"].is_array());
    assert_eq!(sink.requests().len(), 3);
}

#[test]
fn the_trouble_of_one_receiver_delays_no_other() {
    let (stuck, well) = (Sink::new().then(&vec![Answer::Hang; 5]), Sink::new());
    let (_place, tocsin) =
        telling(&[("stuck", &stuck, "timeout: 50s"), ("well", &well, "timeout: 5s")]);
    for service in ["web", "cart", "mail"] {
        tocsin.hear(&crash_in(service));
    }
    stuck.wait_for_requests(1);
    well.wait_for_taken(3);
    // Still at its first.
    assert_eq!(stuck.requests().len(), 1);
    let sent = tocsin.wait_for("/api/deliveries?status=sent", |deliveries| {
        Some(deliveries.as_array().unwrap().clone()).filter(|deliveries| deliveries.len() >= 3)
    });
    assert!(sent.iter().all(|delivery| delivery["receiver"] == "well"), "{sent:#?}");
}

#[test]
fn the_hook_which_is_a_secret_is_in_no_error() {
    let sink = Sink::new().then(&[Answer::Reset, Answer::Status(500, "", "")]);
    let (_place, mut tocsin) = telling(&[("ops", &sink, "")]);
    tocsin.hear(&crash("web-1"));
    tocsin.wait_for_delivery("ops", "sent");
    for _ in 0..2 {
        let line = tocsin.wait_for_line("not delivered");
        assert!(!line.contains("secret"), "{line}");
    }
    let deliveries = tocsin.get("/api/deliveries").to_string();
    assert!(!deliveries.contains("secret"), "{deliveries}");
}
