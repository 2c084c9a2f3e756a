//! Silences as people make, see and end them: over HTTP, and with the command.

use serde_json::{Value, json};

use crate::harness::{Answer, Place, Sink, Tocsin, client, crash, event};

const RULES: &str = "rules: [{ name: crashed, when: { state: CRASHED } }]\n";

/// `tocsin silences`, asked of this one.
fn silences(place: &Place, tocsin: &Tocsin, arguments: &[&str]) -> (i32, String, String) {
    place.run(&[&["silences"], arguments, &["--url", tocsin.base()]].concat())
}

#[test]
fn a_silence_is_made_listed_and_ended() {
    let place = Place::new(RULES);
    let tocsin = place.serve();
    let (code, stdout, stderr) = silences(&place, &tocsin, &["list"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", "there are no silences\n"));

    tocsin.hear(&crash("a"));
    tocsin.hear(&crash("b"));
    let add = ["add", "--match", "application=/^SHOP$/i", "--match", "id=[a, c]", "--for", "30m"];
    let more = ["--by", "alice", "--comment", "deploying"];
    let (code, stdout, stderr) = silences(&place, &tocsin, &[&add[..], &more].concat());
    assert_eq!((code, stdout.as_str()), (0, "1\n"), "{stderr}");

    let listed = tocsin.get("/api/silences");
    let silence = &listed[0];
    assert_eq!(silence["matchers"], json!({"application": "/^SHOP$/i", "id": ["a", "c"]}));
    for (key, value) in [("id", json!(1)), ("status", json!("active")), ("alerts", json!(1))] {
        assert_eq!(silence[key], value, "{silence:#}");
    }
    let (code, stdout, _) = silences(&place, &tocsin, &["list"]);
    assert_eq!(code, 0);
    for line in [
        "1  active: until ",
        "    application=/^SHOP$/i\n",
        "    id=[\"a\",\"c\"]\n",
        "    by alice: deploying\n",
        "  ! 1 alert fires behind it, to be told when it ends\n",
    ] {
        assert!(stdout.contains(line), "{line:?} is not in\n{stdout}");
    }
    let (_, stdout, _) = silences(&place, &tocsin, &["list", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), listed);

    // What ended is not behind it any more.
    tocsin.hear(&event("a", "CRASHED", "RUNNING"));
    assert_eq!(tocsin.get("/api/silences")[0]["alerts"], 0);

    let (code, stdout, stderr) = silences(&place, &tocsin, &["end", "1"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", "silence 1 is over\n"));
    assert_eq!(tocsin.get("/api/silences"), json!([]));
    let (_, stdout, _) = silences(&place, &tocsin, &["list", "--all"]);
    assert!(stdout.starts_with("1  expired: since "), "{stdout}");
}

#[test]
fn what_another_program_answers_is_no_success() {
    let place = Place::new(RULES);
    for body in ["<html></html>", "{\"x\":1}"] {
        let other = Sink::answering(200, body);
        for command in [
            &["silences", "end", "5"][..],
            &["silences", "add", "--match", "id=a", "--for", "1h"],
            &["deliveries", "discard", "abc"],
        ] {
            let (code, stdout, stderr) = place.run(&[command, &["--url", &other.base()]].concat());
            assert_eq!((code, stdout.as_str()), (1, ""), "{command:?}: {stderr}");
            assert!(stderr.contains("answer"), "{stderr}");
        }
    }
}

#[test]
fn a_page_that_leads_to_itself_or_elsewhere_is_not_followed() {
    let place = Place::new(RULES);
    for link in [
        "link: </api/silences>; rel=\"next\"\r\n",
        "link: <@127.0.0.1:1/x>; rel=\"next\"\r\n",
        "link: <.example.com/x>; rel=\"next\"\r\n",
    ] {
        let other = Sink::new().then(&[Answer::Status(200, link, "[]")]);
        let (code, _, stderr) = place.run(&["silences", "list", "--url", &other.base()]);
        assert_eq!(code, 1);
        assert!(stderr.contains("is no answer of tocsin's"), "{stderr}");
        assert_eq!(other.heard().len(), 1);
    }
}

#[test]
fn silences_outlive_a_kill_and_are_listed_in_pages() {
    let place = Place::new(RULES);
    let tocsin = place.serve();
    for container in ["a", "b", "c"] {
        let matcher = format!("id={container}");
        let from = "2999-01-01T00:00:00Z";
        let add = ["add", "--match", &matcher, "--from", from, "--for", "1h", "--json"];
        let (code, stdout, stderr) = silences(&place, &tocsin, &add);
        assert!(code == 0 && stdout.starts_with("{\"id\":"), "{stdout}{stderr}");
    }
    tocsin.kill();
    let tocsin = place.serve();
    let (page, next) = tocsin.page("/api/silences?status=pending&limit=2");
    assert_eq!(page.iter().map(|silence| &silence["id"]).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(page[0]["ends_at"], "2999-01-01T01:00:00Z");
    let (page, next) = tocsin.page(&next.unwrap());
    assert_eq!((page.len(), next), (1, None));

    // One that has not begun leaves nothing behind.
    let (code, ..) = silences(&place, &tocsin, &["end", "3"]);
    assert_eq!((code, tocsin.get("/api/silences?status=all").as_array().unwrap().len()), (0, 2));
}

#[test]
fn a_no_is_said_in_the_servers_words_and_ends_with_1() {
    let place = Place::new(RULES);
    let tocsin = place.serve();
    for (arguments, words) in [
        (&["end", "9"][..], "error: there is no silence of this id; "),
        (&["add", "--match", "id=/(/", "--for", "1h"], "regex is wrong: unclosed group"),
        (&["add", "--match", "id=a", "--until", "2015-11-20T10:35:59Z"], "must be in the future"),
    ] {
        let (code, stdout, stderr) = silences(&place, &tocsin, arguments);
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(stderr.contains(words) && stderr.lines().count() == 1, "{stderr}");
    }
    let body = json!({"matchers": {"id": "a"}, "end_at": "2999-01-01T00:00:00Z"}).to_string();
    let url = format!("{}/api/silences", tocsin.base());
    let answer = client().post(url).body(body).send().unwrap();
    assert_eq!(answer.status(), 400);
    let answer: Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
    assert_eq!(answer["error"], "there is no key \"end_at\"; did you mean `ends_at`?");
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_so() {
    let place = Place::new(RULES);
    // Port 1 of this machine refuses.
    let url = "http://alice:s3cret@127.0.0.1:1";
    let (code, stdout, stderr) = place.run(&["silences", "list", "--url", url]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: cannot reach http://127.0.0.1:1: "), "{stderr}");
    assert!(stderr.contains("does tocsin run there?") && !stderr.contains("s3cret"), "{stderr}");
}
