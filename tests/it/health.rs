//! `tocsin health`, as a container's health check asks.

use rusqlite::Connection;

use crate::harness::Place;

#[test]
fn health_is_asked_of_this_machine_without_a_detour_and_says_no_where_nobody_listens() {
    let proxy = "http://127.0.0.1:1";
    let place = Place::new("rules: []").with_environment("HTTP_PROXY", proxy);
    let tocsin = place.serve();
    let base = tocsin.base().to_owned();
    assert_eq!(place.run(&["health", "--url", &base]), (0, "ok\n".into(), String::new()));
    let (code, stdout, _) = place.run(&["health", "--ready", "--url", &base]);
    assert_eq!((code, stdout.as_str()), (0, "ready\n"));

    tocsin.kill();
    let (code, stdout, stderr) = place.run(&["health", "--url", &base]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with(&format!("error: cannot reach {base}: ")), "{stderr}");
}

#[test]
fn a_store_that_cannot_commit_is_unready_and_alive() {
    let place = Place::new("rules: []");
    let tocsin = place.serve();
    let other = Connection::open(place.database()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let (code, stdout, stderr) = place.run(&["health", "--ready", "--url", tocsin.base()]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: events cannot be recorded: "), "{stderr}");
    assert_eq!(place.run(&["health", "--url", tocsin.base()]).0, 0);
}
