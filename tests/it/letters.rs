//! Dead letters as people see them, send them again and discard them.

use serde_json::{Value, json};

use crate::harness::{Place, Sink, Tocsin, client, crash};

/// Rules that tell this place of every crash at once, and give up after a second.
fn rules(sink: &Sink) -> String {
    format!(
        "receivers:\n  ops: {{ slack: {{ webhook_url: {:?} }}, give_up_after: 1s }}\n\
         defaults: {{ notify: [ops], group_wait: 0s }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]\n",
        sink.url(),
    )
}

/// A place whose Slack is gone for good, and what was given up there: a crash in each service.
fn given_up(services: &[&str]) -> (Place, Tocsin, Vec<String>) {
    let place = Place::new(&rules(&Sink::answering(404, "no_service")));
    let tocsin = place.serve();
    for service in services {
        let mut event = crash(service);
        event["service"] = json!(service);
        tocsin.hear(&event);
    }
    let letters = tocsin.wait_for("/api/deliveries?status=dead&receiver=ops", |letters| {
        let letters = letters.as_array().unwrap();
        let ids = letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned());
        (letters.len() == services.len()).then(|| ids.collect())
    });
    (place, tocsin, letters)
}

/// The same place, with another Slack.
fn mended(place: &Place, tocsin: Tocsin) -> (Sink, Tocsin) {
    let sink = Sink::new();
    place.write_rules(&rules(&sink));
    tocsin.kill();
    (sink, place.serve())
}

/// `tocsin deliveries`, asked of this one.
fn deliveries(place: &Place, tocsin: &Tocsin, arguments: &[&str]) -> (i32, String, String) {
    place.run(&[&["deliveries"], arguments, &["--url", tocsin.base()]].concat())
}

#[test]
fn what_was_given_up_is_told_once_when_the_place_is_mended_and_it_is_put_back() {
    let (place, tocsin, letters) = given_up(&["web"]);
    let id = letters[0].as_str();
    let (code, stdout, _) = deliveries(&place, &tocsin, &["list", "--status", "dead"]);
    assert_eq!(code, 0);
    for words in [
        format!("{id}  dead: "),
        "    crashed of shop/web\n".to_owned(),
        "    for ops, made ".to_owned(),
        "    404 no_service\n".to_owned(),
    ] {
        assert!(stdout.contains(&words), "{words:?} is not in\n{stdout}");
    }
    let (code, stdout, _) = deliveries(&place, &tocsin, &["show", id]);
    assert_eq!(code, 0);
    for words in
        ["    WARNING crashed: 1 container of shop/web\n", " destination  404 no_service\n"]
    {
        assert!(stdout.contains(words), "{words:?} is not in\n{stdout}");
    }

    let (sink, tocsin) = mended(&place, tocsin);
    let (code, stdout, stderr) = deliveries(&place, &tocsin, &["retry", id]);
    assert_eq!((code, &*stdout, stderr), (0, "", format!("{id} waits to be sent\n")));
    let taken = sink.wait_for_taken(1);
    assert!(taken[0].to_string().contains("WARNING crashed: 1 container"), "{:#}", taken[0]);
    let sent = tocsin.wait_for_delivery("ops", "sent");
    assert_eq!(sent["id"], id);

    let (code, stdout, stderr) = deliveries(&place, &tocsin, &["retry", id]);
    assert_eq!((code, &*stdout), (1, ""));
    let refusal = format!("error: {id}: this delivery is sent, and only a dead letter can be ");
    assert!(stderr.starts_with(&refusal), "{stderr}");
    assert_eq!(
        (sink.requests().len(), tocsin.get("/api/deliveries").as_array().unwrap().len()),
        (1, 1)
    );

    let shown = tocsin.get(&format!("/api/deliveries/{id}"));
    let history = shown["history"].as_array().unwrap();
    assert_eq!(history.len(), shown["attempts"].as_u64().unwrap() as usize);
    assert_eq!(history.last().unwrap()["outcome"], "sent");
    let (_, stdout, _) = deliveries(&place, &tocsin, &["show", id, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), shown);
}

#[test]
fn all_that_one_receiver_missed_is_sent_with_one_command() {
    let (place, tocsin, _) = given_up(&["web", "api", "db"]);
    let (sink, tocsin) = mended(&place, tocsin);
    let retry = ["retry", "--receiver", "ops"];
    let (code, stdout, stderr) = deliveries(&place, &tocsin, &retry);
    assert_eq!((code, &*stdout, &*stderr), (0, "", "3 to be sent\n"));
    sink.wait_for_taken(3);
    let (code, _, stderr) = deliveries(&place, &tocsin, &retry);
    assert_eq!((code, &*stderr), (0, "there are no dead letters for ops\n"));
    assert_eq!(sink.requests().len(), 3);

    let (code, _, stderr) = deliveries(&place, &tocsin, &["retry", "--receiver", "opps"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: there is no such receiver in the rules file"), "{stderr}");
}

#[test]
fn what_is_discarded_is_listed_and_never_sent() {
    let (place, tocsin, letters) = given_up(&["web", "api"]);
    let arguments: Vec<&str> = ["discard", "nobody"].into_iter().chain([&*letters[0]]).collect();
    let (code, _, stderr) = deliveries(&place, &tocsin, &arguments);
    assert_eq!(code, 1, "one of them is not there");
    assert!(stderr.contains("error: nobody: there is no delivery of this id"), "{stderr}");
    assert!(stderr.contains(&format!("{} is discarded\n", letters[0])), "{stderr}");

    let (sink, tocsin) = mended(&place, tocsin);
    let list = ["list", "--status", "discarded", "--receiver", "ops", "--json"];
    let (_, stdout, _) = deliveries(&place, &tocsin, &list);
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &json!(letters[0])));
    assert!(listed[0]["ended_at"].is_string(), "{listed:#}");

    let (_, _, stderr) = deliveries(&place, &tocsin, &["retry", "--receiver", "ops"]);
    assert_eq!(stderr, "1 to be sent\n");
    sink.wait_for_taken(1);
    tocsin.wait_for_delivery("ops", "sent");
    for id in &letters {
        let url = format!("{}/api/deliveries/{id}", tocsin.base());
        assert_eq!(client().delete(url).send().unwrap().status(), 409);
    }
    assert_eq!(sink.requests().len(), 1);
}
