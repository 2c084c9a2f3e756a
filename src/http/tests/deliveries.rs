//! Deliveries: shown one by one, and what can be asked of dead letters.

use super::*;
use crate::engine::{GroupKey, Notice, Timer};
use crate::rules::{Condition, Rule};

/// A letter to `ops` of which nothing is left to tell.
fn letter(id: &str, status: Status) -> (DeliveryId, Delivery) {
    let at = Timestamp::from_micros(5_000_000);
    let id = DeliveryId(id.into());
    let group =
        GroupKey { rule: "crashed".into(), receiver: "ops".into(), labels: Labels::default() };
    let letter = Delivery {
        id: id.clone(),
        to: group.receiver.clone(),
        group,
        status,
        created_at: at,
        due_at: at,
        waiting_since: at,
        next_attempt: Timer { set_at: at, due_at: at },
        attempts: 4,
        failures: 4,
        lease: None,
        digest: None,
        notification: None,
        doubtful: false,
        plain: false,
        reached: Vec::new(),
        last_error: None,
        ended_at: Some(at),
    };
    (id, letter)
}

/// An edge with these letters, and a rule that tells `receivers`.
async fn edge(letters: &[(&str, Status)], receivers: &[&str]) -> Edge {
    let letters = letters.iter().map(|(id, status)| letter(id, *status)).collect();
    let store = FakeStore { letters: Mutex::new(letters), ..FakeStore::default() };
    let notify = receivers.iter().map(|name| (*name).into()).collect();
    let rule = Rule { notify, ..Rule::new("crashed", Condition::any()) };
    let rules = Rules::new(vec![rule]);
    Edge::with_rules(store, FakeIntake::default(), Limits::default(), rules).await
}

fn status(edge: &Edge, id: &str) -> Status {
    edge.store.letters.lock().unwrap()[&DeliveryId(id.into())].status
}

#[tokio::test]
async fn a_delivery_is_shown_with_its_attempts_and_what_it_says() {
    let edge = Edge::start().await;
    assert_eq!(
        edge.get("/api/deliveries/d1").await.body,
        r#"{"id":"d1","receiver":"ops","instead_of":null,"status":"dead","rule":"crashed","labels":{},"digest":null,"attempts":4,"last_error":"no_service","next_attempt_at":null,"created_at":"1970-01-01T00:00:05Z","ended_at":"1970-01-01T00:00:06Z","title":"1 crash","text":"of a","history":[{"number":1,"started_at":"1970-01-01T00:00:05Z","ended_at":null,"outcome":"destination","detail":"no_service"}]}"#
    );
    let unknown = edge.get("/api/deliveries/nobody").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.error().starts_with("there is no delivery of this id; "));
}

#[tokio::test]
async fn a_dead_letter_is_put_back() {
    let edge = edge(&[("d1", Status::Dead)], &["ops"]).await;
    let answer = ask(&edge, "POST", "/api/deliveries/d1/retry", "").await;
    assert_eq!((answer.status, &*answer.body), (200, r#"{"id":"d1","status":"dropped"}"#));
    assert_eq!(status(&edge, "d1"), Status::Dropped);
}

/// That a receiver is down was given up: it is to be told still.
#[tokio::test]
async fn a_dead_letter_that_is_to_be_sent_again_wakes_those_who_send() {
    let edge = edge(&[("d1", Status::Dead)], &["ops"]).await;
    let notice = Notice {
        receiver: "oncall".into(),
        reason: "404 no_service".into(),
        back_at: None,
        missed: Vec::new(),
        missed_in_all: 0,
    };
    let notification = Notification { notice: Some(notice), ..notification() };
    let id = DeliveryId("d1".into());
    edge.store.letters.lock().unwrap().get_mut(&id).unwrap().notification =
        Some(notification.into());
    let woken = edge.wake.deliveries();
    let answer = ask(&edge, "POST", "/api/deliveries/d1/retry", "").await;
    assert_eq!((answer.status, &*answer.body), (200, r#"{"id":"d1","status":"pending"}"#));
    assert!(woken.has_changed().unwrap());
}

#[tokio::test]
async fn all_that_one_receiver_missed_is_put_back_and_counted() {
    let edge = edge(&[("d1", Status::Dead)], &["ops"]).await;
    let answer = ask(&edge, "POST", "/api/deliveries/retry?receiver=ops", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body, r#"{"pending":0,"superseded":0,"dropped":1,"dead":0}"#);
    assert!(edge.store.asked.lock().unwrap()[0].contains(r#"Some(Dead), receiver: Some("ops")"#));
}

#[tokio::test]
async fn a_dead_letter_is_discarded() {
    let edge = edge(&[("d1", Status::Dead)], &["ops"]).await;
    let answer = ask(&edge, "DELETE", "/api/deliveries/d1", "").await;
    assert_eq!((answer.status, &*answer.body), (204, ""));
    assert_eq!(status(&edge, "d1"), Status::Discarded);
}

#[tokio::test]
async fn what_is_no_dead_letter_is_left_alone() {
    let letters = [("p", Status::Pending), ("s", Status::Sent), ("x", Status::Discarded)];
    let edge = edge(&letters, &["ops"]).await;
    for (id, is) in [("p", "pending"), ("s", "sent"), ("x", "discarded")] {
        for (method, path, what) in [("POST", "/retry", "sent again"), ("DELETE", "", "discarded")]
        {
            let answer = ask(&edge, method, &format!("/api/deliveries/{id}{path}"), "").await;
            assert_eq!(answer.status, 409);
            let sentence = format!("this delivery is {is}, and only a dead letter can be {what}; ");
            assert!(answer.error().starts_with(&sentence), "{}", answer.body);
        }
    }
    for (id, is) in letters {
        assert_eq!(status(&edge, id), is);
    }
    for (method, path) in [("POST", "/retry"), ("DELETE", "")] {
        let answer = ask(&edge, method, &format!("/api/deliveries/nobody{path}"), "").await;
        assert_eq!(answer.status, 404);
    }
}

#[tokio::test]
async fn a_letter_that_nobody_is_to_be_told_stays_and_says_why() {
    let gone = edge(&[("d1", Status::Dead)], &["others"]).await;
    for target in ["/api/deliveries/d1/retry", "/api/deliveries/retry?receiver=ops"] {
        let answer = ask(&gone, "POST", target, "").await;
        assert_eq!(answer.status, 409, "{target}");
        assert!(answer.error().starts_with("there is no such receiver in the rules file, or it"));
    }
    let store = FakeStore {
        letters: Mutex::new([letter("d1", Status::Dead)].into()),
        ..FakeStore::default()
    };
    // It has a receiver of this name, and no rule that tells it.
    let silent = Edge::with(store, FakeIntake::default(), Limits::default()).await;
    let answer = ask(&silent, "POST", "/api/deliveries/d1/retry", "").await;
    assert_eq!(answer.status, 409);
    assert!(answer.error().starts_with("the rules file does not tell this receiver of that rule"));
    let answer = ask(&silent, "POST", "/api/deliveries/retry?receiver=ops", "").await;
    assert_eq!(answer.body, r#"{"pending":0,"superseded":0,"dropped":0,"dead":1}"#);
    assert_eq!(status(&silent, "d1"), Status::Dead);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_in_a_sentence() {
    let edge = Edge::start().await;
    for (method, target, code, words) in [
        ("POST", "/api/deliveries/retry", 400, "`receiver` is missing; "),
        ("POST", "/api/deliveries/retry?reciever=ops", 400, "there is no parameter \"reciever\""),
        ("POST", "/api/deliveries/d1/retry?receiver=ops", 400, "there is no parameter"),
        ("DELETE", "/api/deliveries/d1?all=1", 400, "there is no parameter"),
        ("GET", "/api/deliveries/d1?limit=1", 400, "there is no parameter"),
        ("GET", "/api/deliveries/d1/retry", 405, "this path cannot be asked so; use POST"),
        ("GET", "/api/deliveries/retry", 405, "this path cannot be asked so; use POST"),
        ("POST", "/api/deliveries/d1", 405, "use GET or HEAD or DELETE"),
        ("POST", "/api/deliveries//retry", 404, "there is nothing at this path"),
        ("POST", "/api/deliveries/a/b/retry", 404, "there is nothing at this path"),
    ] {
        let answer = ask(&edge, method, target, "").await;
        assert!(
            answer.status == code && answer.error().contains(words),
            "{target}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn a_store_that_cannot_commit_puts_nothing_back() {
    let store = FakeStore::failing(StoreError::Unavailable("the disk is full".into()));
    let edge = Edge::with(store, FakeIntake::default(), Limits::default()).await;
    for (method, path) in [("POST", "/retry"), ("DELETE", ""), ("GET", "")] {
        let answer = ask(&edge, method, &format!("/api/deliveries/d1{path}"), "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")));
        assert!(answer.error().contains("the disk is full"));
    }
}
