//! The states of a container in words.

use super::*;

/// The container of [`alert`] as its last events tell it.
fn with_states(alert: AlertNews, states: &[(Option<&str>, &str)]) -> Notification {
    let states = states
        .iter()
        .map(|(since, state)| StateSince { since: since.map(at), state: State::named(state) });
    Notification { states: states.collect(), ..notification(vec![alert]) }
}

const CRASHED: [(Option<&str>, &str); 4] = [
    (None, "CREATING"),
    (Some("13:02:00"), "STARTING"),
    (Some("13:02:03"), "RUNNING"),
    (Some("14:02:00"), "CRASHED"),
];

#[test]
fn the_states_of_the_container_are_said_with_where_the_alert_began() {
    assert_snapshot!(words(&with_states(alert(ID, News::Firing), &CRASHED)), @r"
    CRITICAL crashed: 1 container of toto/hello-python

    RUNNING → CRASHED, exited with status 1
      container b9e7bef7-d571-4ee4-b80e-835a2377040e
      started 12 times
      since 14:02 UTC

    The states of container b9e7bef7-d571-4ee4-b80e-835a2377040e:
      until 13:02 UTC CREATING
      13:02 UTC STARTING, for 3 s
      13:02 UTC RUNNING, for 59 min
      14:02 UTC CRASHED, for 4 min so far (the alert began)

    Runbook: https://wiki.example.com/crashed
    Alerts: https://alerts.example.com/api/alerts
    ");
}

#[test]
fn where_the_alert_began_within_a_state_the_time_is_said() {
    let silent = AlertNews { started_at: at("13:32:03"), ..alert("c1", News::BeganAndEnded) };
    let states = States::of(&with_states(silent, &CRASHED[..3])).unwrap();
    assert_snapshot!(states.text(), @r"
    The states of container c1:
      until 13:02 UTC CREATING
      13:02 UTC STARTING, for 3 s
      13:02 UTC RUNNING, for 1h 3 min so far (the alert began 13:32 UTC)
    ");
    assert_eq!(states.picture(), "CREATING, then STARTING, then RUNNING (the alert began)");
    assert_eq!(states.alert, Some((at("13:32:03"), at("14:05:10"))));
}

#[test]
fn of_states_that_began_in_one_instant_the_alert_began_in_the_one_that_its_event_tells_of() {
    let at_once = [(Some("14:01:00"), "RUNNING"), (Some("14:02:00"), "CRASHED")];
    let at_once = [&at_once[..], &[(Some("14:02:00"), "STARTING")]].concat();
    let states = States::of(&with_states(alert("c1", News::Firing), &at_once)).unwrap();
    assert_eq!(states.picture(), "RUNNING, then CRASHED (the alert began), then STARTING");
}

#[test]
fn the_states_are_said_to_be_of_the_first_of_several_containers() {
    let members = vec!["c1".to_owned(), "c2".to_owned()];
    let several = AlertNews { members, members_in_all: 14, ..alert("c14", News::Firing) };
    let states = States::of(&with_states(several, &CRASHED)).unwrap();
    assert_eq!(states.heading, "The states of container c1:");
}

#[test]
fn what_had_not_happened_began_nowhere() {
    let states = States::of(&with_states(alert("c1", News::Withdrawn), &CRASHED)).unwrap();
    assert_eq!(states.alert, None);
    assert!(!states.text().contains("the alert began"), "{}", states.text());
}

#[test]
fn of_many_states_the_last_are_said_and_the_others_counted() {
    let times: Vec<String> = (0..24).map(|minute| format!("13:{minute:02}:00")).collect();
    let many = times.iter().enumerate().map(|(index, time)| {
        (Some(time.as_str()), if index % 2 == 0 { "RUNNING" } else { "\u{1b}<odd>\n" })
    });
    let many: Vec<_> = many.collect();
    let states = States::of(&with_states(alert("c1", News::Firing), &many)).unwrap();
    assert_eq!(states.stretches.len(), 24);
    assert_snapshot!(states.text(), @r"
    The states of container c1:
      16 changes before
      13:16 UTC RUNNING, for 1 min
      13:17 UTC <ODD>, for 1 min
      13:18 UTC RUNNING, for 1 min
      13:19 UTC <ODD>, for 1 min
      13:20 UTC RUNNING, for 1 min
      13:21 UTC <ODD>, for 1 min
      13:22 UTC RUNNING, for 1 min
      13:23 UTC <ODD>, for 43 min so far (the alert began 14:02 UTC)
    ");
    assert!(states.picture().starts_with("16 changes before, then RUNNING, then <ODD>"));
}

#[test]
fn states_are_not_said_where_they_were_not_asked_for_or_words_are_to_be_few() {
    assert_eq!(States::of(&notification(vec![alert(ID, News::Firing)])), None);
    let context = Context { plain: true, ..context() };
    let told = with_states(alert(ID, News::Firing), &CRASHED);
    assert_eq!(word(&told, &Templates::new(), &context).states, None);
}
