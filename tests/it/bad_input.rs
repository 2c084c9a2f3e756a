//! What is no event, no rules file, no port or no database: each gets one clear sentence, and nothing
//! that was there before is lost.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Place, Tocsin, client, crash, event, noise, now};

const RULES: &str = "rules: [{ name: crashed, when: { state: CRASHED } }]\n";

/// A tocsin that has one event.
struct Fixture {
    _place: Place,
    tocsin: Tocsin,
    list: Value,
}

impl Fixture {
    fn new() -> Fixture {
        let place = Place::new(RULES);
        let tocsin = place.serve();
        tocsin.hear(&crash("web-1"));
        let list = tocsin.get("/api/list");
        assert_eq!(list.as_array().unwrap().len(), 1);
        Fixture { _place: place, tocsin, list }
    }

    /// Sees a body refused with this status and a sentence with these words, nothing lost, and the
    /// next event taken.
    fn refuses(&self, status: u16, body: impl Into<Vec<u8>>, words: &str) {
        let (answered, answer) = self.tocsin.post(body);
        self.is_refusal(status, answered, &answer, words);
    }

    fn is_refusal(&self, status: u16, answered: u16, answer: &Value, words: &str) {
        assert_eq!(answered, status, "{words}: {answer}");
        let sentence = answer["error"].as_str().unwrap();
        assert!(sentence.contains(words), "{words:?} is not in {sentence:?}");
        assert!(!sentence.contains('\n') && sentence.len() < 300, "{sentence:?}");
        assert!(!sentence.ends_with('.'), "{sentence:?}");
        assert_eq!(self.tocsin.get("/api/list"), self.list, "{words}");
        assert_eq!(self.tocsin.get("/readyz")["status"], "ready", "{words}");
    }

    /// Sends these bytes and no more, and answers status and body.
    fn exchange(&self, request: &[u8]) -> (u16, Value) {
        let mut stream =
            TcpStream::connect(self.tocsin.base().trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have its answer before it has all of the request.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }
}

/// An event with one field set so.
fn with(field: &str, value: &str) -> String {
    let mut fields = vec![("id", "\"web-1\""), ("state", "\"CRASHED\""), ("timestamp", "1")];
    match fields.iter_mut().find(|(name, _)| *name == field) {
        Some(field) => field.1 = value,
        None => fields.push((field, value)),
    }
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", fields.join(", "))
}

#[test]
fn what_is_no_json_is_refused() {
    let fixture = Fixture::new();
    let event = crash("web-2").to_string();
    for length in [0, 1, event.len() / 2, event.len() - 1] {
        fixture.refuses(400, &event[..length], "the body is not JSON: EOF");
    }
    for body in ["container web-1 crashed", "{'id': 'web-1'}", "{\"id\": \"a\",}", "id=a&state=b"] {
        fixture.refuses(400, body, "the body is not JSON");
    }
    fixture.refuses(400, format!("{event}{event}"), "trailing characters");
    fixture.refuses(400, with("id", r#""\ud80x""#), "the body is not JSON");
}

#[test]
fn what_is_no_utf_8_is_refused() {
    let fixture = Fixture::new();
    fixture.refuses(400, &b"{\"id\": \"\xff\xfe\"}"[..], "the body is not UTF-8: byte 8");
    fixture.refuses(400, &b"\xff\xfe{\0}\0"[..], "the body is not UTF-8: byte 0");
    let mut cut = with("service", "\"caf\u{e9}\"").into_bytes();
    cut.truncate(cut.len() - 3);
    fixture.refuses(400, cut, "the body is not UTF-8");
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    let fixture = Fixture::new();
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(40_000), with("data", &"[".repeat(200_000))]
    {
        fixture.refuses(400, deep, "nested deeper than 64 levels");
    }
    let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    fixture.refuses(400, with("data", &closed), "nested deeper than 64 levels");
}

#[test]
fn what_is_no_event_is_refused() {
    let fixture = Fixture::new();
    for (body, is) in
        [("[]", "an array"), ("\"x\"", "a string"), ("7", "a number"), ("null", "null")]
    {
        fixture.refuses(400, body, &format!("the body is {is}"));
    }
    fixture.refuses(400, "{}", "`id` is missing");
    for field in ["id", "state"] {
        fixture.refuses(400, with(field, "null"), &format!("`{field}` is missing"));
        for (value, is) in
            [("\"\"", "empty"), ("5", "a number"), ("[\"a\"]", "an array"), ("{}", "an object")]
        {
            let words = format!("`{field}` must be a non-empty string, and is {is}");
            fixture.refuses(400, with(field, value), &words);
        }
    }
}

#[test]
fn what_is_no_time_is_refused() {
    let fixture = Fixture::new();
    fixture.refuses(400, with("timestamp", "null"), "`timestamp` is missing");
    for (value, is) in [("\"1447\"", "a string"), ("true", "a boolean"), ("[1]", "an array")] {
        fixture.refuses(400, with("timestamp", value), &format!("and is {is}"));
    }
    for value in ["-1", "-0.000001", "253402300800", "1e15", "1e300", "18446744073709551615"] {
        fixture.refuses(
            400,
            with("timestamp", value),
            "`timestamp` must be a number of Unix seconds",
        );
    }
    for value in ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "."] {
        fixture.refuses(400, with("timestamp", value), "the body is not JSON");
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let fixture = Fixture::new();
    let limit = 256 * 1024;
    let padded = |length: usize| {
        let frame = with("data", "\"\"").len();
        with("data", &format!("\"{}\"", "x".repeat(length - frame)))
    };
    let words = "the body is larger than 262144 bytes";
    fixture.refuses(413, padded(limit + 1), words);
    fixture.refuses(413, padded(8 * limit), words);

    let post = "POST /api/post HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let announced = format!("{post}content-length: 99999999999\r\n\r\n{{");
    let (status, answer) = fixture.exchange(announced.as_bytes());
    fixture.is_refusal(413, status, &answer, words);

    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(5));
    let (status, answer) = fixture.exchange(chunked.as_bytes());
    fixture.is_refusal(413, status, &answer, words);

    let (status, answer) = fixture.tocsin.post(padded(limit));
    assert_eq!(status, 200, "what just fits is taken: {answer}");
    assert!(fixture.tocsin.get_text("/api/list").contains(&padded(limit)), "and given back");
}

#[test]
fn a_body_that_breaks_off_is_no_event() {
    let fixture = Fixture::new();
    let event = crash("web-2").to_string();
    let post = "POST /api/post HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    // All of an event, and still not all that was announced.
    let request = format!("{post}content-length: {}\r\n\r\n{event}", event.len() + 1);
    let (status, answer) = fixture.exchange(request.as_bytes());
    fixture.is_refusal(400, status, &answer, "cannot be read to its end");
    let request =
        format!("{post}transfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n", event.len());
    let (status, answer) = fixture.exchange(request.as_bytes());
    fixture.is_refusal(400, status, &answer, "cannot be read to its end");
}

#[test]
fn what_is_only_odd_is_taken_and_given_back_as_it_came() {
    let place = Place::new(RULES);
    let tocsin = place.serve();
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let odd = [
        with("state", "\"HIBERNATING\""),
        with("state", "\"\u{1f514} bell\""),
        with("prev_state", "\"NEVER_SEEN\""),
        with("application", "7"),
        with("data", "[]"),
        with("counters", "\"none\""),
        with("data", r#"{"last_exit_status": {"raw_exit_status": 1e300, "signal": -9}}"#),
        with("data", &deep),
        with("id", r#""a\u0000b""#),
        with("id", r#""' or 1 = 1; --""#),
        with("timestamp", "0"),
        with("timestamp", "253402300799.999"),
        with("new_field", r#"{"n": 12345678901234567890123, "x": 1.10}"#),
        format!("\n {} \n", with("service", "\"spaced\"")),
    ];
    for (count, event) in odd.iter().enumerate() {
        let (status, answer) = tocsin.post(event.as_str());
        assert_eq!((status, &answer["status"]), (200, &json!("recorded")), "{event}: {answer}");
        let list = tocsin.get("/api/list");
        assert_eq!(list.as_array().unwrap().len(), count + 1, "{event}");
        let event: Value = serde_json::from_str(event).unwrap();
        assert!(list.as_array().unwrap().contains(&event), "{event} is not in {list:#}");
    }
    let hibernating = tocsin.get("/api/list?state=hibernating");
    assert_eq!(hibernating.as_array().unwrap().len(), 1);
    assert_eq!(tocsin.get("/api/containers").as_array().unwrap().len(), 3);
    // Half a character, as Python writes it: it is given back as it came.
    let half = with("service", r#""caf\ud83d""#);
    assert_eq!(tocsin.post(half.as_str()).0, 200);
    assert!(tocsin.get_text("/api/list").contains(&half));
}

/// Sees `serve` refuse to start: exit code 1, and one line with these words.
fn refuses_to_start(place: &Place, arguments: &[&str], words: &str) -> String {
    let arguments = [&["serve"], arguments].concat();
    let (code, stdout, stderr) = place.run(&arguments);
    assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}: {stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{arguments:?}: {stderr}");
    assert!(errors[0].contains(words), "{words:?} is not in {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    errors[0].to_owned()
}

#[test]
fn what_is_no_rules_file_is_refused_with_its_place() {
    let place = Place::new(RULES);
    let write = |name: &str, bytes: &[u8]| fs::write(place.path().join(name), bytes).unwrap();
    write("open.yaml", b"rules: [{ name: crashed, when: { state: CRASHED }\n");
    write("tabs.yaml", b"rules:\n\t- name: crashed\n");
    write("prose.yaml", b"please tell me of every crash\n");
    write("list.yaml", b"- name: crashed\n");
    write("empty.yaml", b"");
    write("comments.yaml", b"# nothing yet\n\n");
    write("binary.yaml", b"\x7fELF\x02\x01\x01\0\0\0\xff\xfe\x80");
    write("nul.yaml", b"rules: []\0\n");
    write("bomb.yaml", bomb().as_bytes());
    fs::create_dir(place.path().join("rules.d")).unwrap();
    for (file, words) in [
        ("open.yaml", "open.yaml:"),
        ("tabs.yaml", "tabs.yaml:2:"),
        ("prose.yaml", "prose.yaml:1:1: "),
        ("list.yaml", "list.yaml:1:1: "),
        ("empty.yaml", "the file is empty; see rules.example.yaml"),
        ("comments.yaml", "the file is empty; see rules.example.yaml"),
        ("binary.yaml", "this is not UTF-8"),
        ("nul.yaml", "nul.yaml:"),
        ("bomb.yaml", "bomb.yaml:"),
        ("rules.d", "rules.d: this is a folder; name the rules file in it"),
        ("missing.yaml", "missing.yaml: there is no such file"),
        ("open.yaml/rules.yaml", "open.yaml/rules.yaml: "),
    ] {
        for command in ["check", "serve"] {
            let (code, stdout, stderr) = place.run(&[command, file]);
            assert_eq!((code, stdout.as_str()), (1, ""), "{command} {file}: {stderr}");
            assert!(stderr.contains(words), "{words:?} is not in {stderr}");
            assert!(stderr.ends_with("\n1 problem\n"), "{stderr}");
            assert!(!stderr.contains("panicked") && stderr.len() < 2000, "{stderr}");
        }
    }
    assert!(!place.database().exists(), "nothing was made for rules that mean nothing");
}

/// Aliases of aliases: a few lines that mean ten thousand million.
fn bomb() -> String {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..=10 {
        let alias = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    text
}

#[test]
fn a_port_in_use_is_said() {
    let place = Place::new(RULES);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = refuses_to_start(
        &place,
        &["rules.yaml", "--listen", &address],
        &format!("cannot listen on {address}: "),
    );
    assert!(error.contains("the port is in use"), "{error}");
    for (listen, words) in [
        ("192.0.2.1:0", "refusing to listen on 192.0.2.1:0"),
        ("host.invalid:80", "cannot listen on host.invalid:80"),
    ] {
        refuses_to_start(&place, &["rules.yaml", "--listen", listen], words);
    }
}

#[test]
fn an_address_that_cannot_be_one_is_wrong_usage() {
    let place = Place::new(RULES);
    for (flag, value, words) in [
        ("--listen", "nowhere", "must be host:port"),
        ("--listen", "127.0.0.1:99999", "must be host:port"),
        ("--storage", "sqlite:", "must be sqlite:PATH"),
        ("--storage", "mysql://db", "must be sqlite:PATH"),
    ] {
        let (code, stdout, stderr) = place.run(&["serve", "rules.yaml", flag, value]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{value}: {stderr}");
        assert!(stderr.contains(words), "{words:?} is not in {stderr}");
    }
    assert!(!place.database().exists());
}

#[test]
fn a_place_that_cannot_hold_a_database_is_said() {
    let place = Place::new(RULES);
    fs::create_dir(place.path().join("folder")).unwrap();
    for (storage, words) in [
        // Nobody may write there, not even root.
        ("sqlite:/proc/tocsin.db", "/proc/tocsin.db"),
        ("sqlite:rules.yaml/tocsin.db", "rules.yaml"),
        ("sqlite:missing/tocsin.db", "make the folder first"),
        ("sqlite:folder", "is a directory; name a file in it"),
        ("sqlite:rules.yaml", "is no SQLite database"),
    ] {
        refuses_to_start(
            &place,
            &["rules.yaml", "--listen", "127.0.0.1:0", "--storage", storage],
            words,
        );
    }
    assert_eq!(fs::read_to_string(place.path().join("rules.yaml")).unwrap(), RULES);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let place = Place::new(RULES);
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let list = tocsin.get("/api/list");
    tocsin.kill();
    let set_version = |version: i32| {
        let database = Connection::open(place.database()).unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
    };
    let version: i32 = Connection::open(place.database())
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    set_version(version + 1);
    let database = place.database();
    let storage = format!("sqlite:{}", database.display());
    let error = refuses_to_start(
        &place,
        &["rules.yaml", "--listen", "127.0.0.1:0", "--storage", &storage],
        &format!("has format {}", version + 1),
    );
    assert!(error.contains("run the newer tocsin"), "{error}");
    set_version(version);
    assert_eq!(place.serve().get("/api/list"), list);
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let place = Place::new(RULES);
    let database = Connection::open(place.database()).unwrap();
    database
        .execute_batch("create table songs (title text); insert into songs values ('x')")
        .unwrap();
    let storage = format!("sqlite:{}", place.database().display());
    refuses_to_start(
        &place,
        &["rules.yaml", "--listen", "127.0.0.1:0", "--storage", &storage],
        "is a database of another program",
    );
    let tables: String = database
        .query_row("select group_concat(name) from sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, "songs");
}

#[test]
fn a_second_process_on_one_database_is_refused_and_the_first_goes_on() {
    let place = Place::new(RULES);
    let first = place.serve();
    first.hear(&crash("web-1"));
    let linked = place.path().join("linked.db");
    std::os::unix::fs::symlink(place.database(), &linked).unwrap();
    for path in [place.database(), linked] {
        let storage = format!("sqlite:{}", path.display());
        refuses_to_start(
            &place,
            &["rules.yaml", "--listen", "127.0.0.1:0", "--storage", &storage],
            "is in use by another tocsin",
        );
    }
    first.hear(&crash("web-2"));
    assert_eq!(first.get("/api/list").as_array().unwrap().len(), 2);
    // The lock goes with its holder, whatever its end.
    first.kill();
    assert_eq!(place.serve().get("/api/list").as_array().unwrap().len(), 2);
}

/// Posts an event that cannot be kept: sees it left to its producer, in one sentence.
fn is_left_to_its_producer(base: &str, event: &Value) {
    let request = client().post(format!("{base}/api/post")).body(event.to_string());
    let answer = request.send().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "10");
    let answer: Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
    let sentence = answer["error"].as_str().unwrap();
    assert_eq!(sentence.matches("not recorded").count(), 1, "{sentence}");
    assert_eq!(sentence.matches("again").count(), 1, "{sentence}");
}

#[test]
fn a_disk_that_takes_no_more_loses_nothing_that_was_taken() {
    let mut place = Place::new(RULES);
    place.limit_files(Some(600));
    let tocsin = place.serve();
    let mut taken = 0;
    let refused = loop {
        let mut event = event(&format!("web-{taken}"), "STARTING", "RUNNING");
        event["padding"] = json!(noise(20_000));
        if tocsin.post(event.to_string()).0 == 503 {
            break event;
        }
        taken += 1;
        assert!(taken < 100, "there is no limit");
    };
    assert!(taken > 0);
    is_left_to_its_producer(tocsin.base(), &refused);
    let list = tocsin.get("/api/list");
    assert_eq!(list.as_array().unwrap().len(), taken);
    drop(tocsin);

    place.limit_files(None);
    let tocsin = place.serve();
    assert_eq!(tocsin.get("/api/list"), list);
    tocsin.hear(&refused);
    assert_eq!(tocsin.get("/api/list").as_array().unwrap().len(), taken + 1);
}

#[test]
fn a_database_that_another_program_holds_costs_a_retry_and_no_event() {
    let place = Place::new(RULES);
    let tocsin = place.serve();
    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    let other = Connection::open(place.database()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let base = tocsin.base();
    let refused = event("web-2", "STARTING", "RUNNING");
    thread::scope(|scope| {
        scope.spawn(|| is_left_to_its_producer(base, &refused));
        let unready = tocsin.get("/readyz");
        let sentence = unready["error"].as_str().unwrap_or_else(|| panic!("{unready}"));
        assert!(sentence.starts_with("events cannot be recorded: "), "{sentence}");
        assert_eq!(tocsin.get("/api/list").as_array().unwrap().len(), 1);
    });
    other.execute_batch("rollback").unwrap();
    tocsin.hear(&refused);
    assert_eq!(tocsin.get("/api/list").as_array().unwrap().len(), 2);
}

#[test]
fn an_event_from_the_future_is_recorded_once_and_stops_no_other() {
    let place = Place::new("rules: []");
    let tocsin = place.serve();
    let mut ahead = crash("web-1");
    ahead["timestamp"] = serde_json::json!(now() + 1_000_000.0);
    tocsin.hear(&ahead);
    for (event, status) in
        [(ahead.clone(), "duplicate"), (crash("web-1"), "recorded"), (ahead, "duplicate")]
    {
        let (code, answer) = tocsin.post(event.to_string());
        assert_eq!((code, answer["status"].as_str()), (200, Some(status)), "{answer}");
    }
    assert_eq!(tocsin.get("/api/list").as_array().unwrap().len(), 2);
}
