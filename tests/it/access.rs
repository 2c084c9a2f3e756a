//! Who may call: tokens, the admin's password, where it may listen, and what hostile clients get.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Place, Tocsin, client, crash};

/// "hush", by Debian's `argon2 saltsalt -id -k 19456 -t 2 -p 1 -e`.
const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$dnUHW/gzcGBOCOJCXJjc6QjZtBfdh6SOuMkN1jgukBY";

fn guarded(more: &str) -> Place {
    Place::new(&format!(
        "server:
  receive_token: [an-old-token-of-some-length, a-new-token-of-some-length]
  admin: {{ user: ops, password_hash: \"{HASH}\" }}
  {more}
rules: []
"
    ))
}

fn post(tocsin: &Tocsin, token: &str) -> reqwest::blocking::Response {
    let url = format!("{}/api/post?token={token}", tocsin.base());
    client().post(url).body(crash("a").to_string()).send().unwrap()
}

fn list(tocsin: &Tocsin, password: &str) -> u16 {
    let get = client().get(format!("{}/api/list", tocsin.base()));
    get.basic_auth("ops", Some(password)).send().unwrap().status().as_u16()
}

#[test]
fn a_token_lets_events_in_and_the_admin_sees_them() {
    let place = guarded("");
    let tocsin = place.serve();
    for token in ["an-old-token-of-some-length", "a-new-token-of-some-length"] {
        assert_eq!(post(&tocsin, token).status(), 200, "{token}");
    }
    let url = format!("{}/api/post", tocsin.base());
    let bearer = client().post(&url).bearer_auth("a-new-token-of-some-length");
    assert_eq!(bearer.body(crash("b").to_string()).send().unwrap().status(), 200);
    assert_eq!(client().post(&url).body(crash("c").to_string()).send().unwrap().status(), 401);

    for path in ["/api/list", "/nope", "/metrics"] {
        let answer = client().get(format!("{}{path}", tocsin.base())).send().unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        assert!(answer.headers().contains_key("www-authenticate"), "{path}");
    }
    assert_eq!([list(&tocsin, "hash"), list(&tocsin, "hush")], [401, 200]);
    assert_eq!(tocsin.get("/readyz")["status"], "ready");
}

#[test]
fn the_eleventh_wrong_attempt_of_an_address_is_429() {
    let place = guarded("trusted_proxies: [127.0.0.1]");
    let mut tocsin = place.serve();
    let attempt = |client_address: &str, token: &str| {
        let post = client().post(format!("{}/api/post", tocsin.base())).bearer_auth(token);
        let post = post.header("x-forwarded-for", client_address);
        post.body(crash("a").to_string()).send().unwrap()
    };
    for _ in 0..10 {
        assert_eq!(attempt("198.51.100.7", "wrong").status(), 401);
    }
    for token in ["wrong", "an-old-token-of-some-length"] {
        let answer = attempt("198.51.100.7", token);
        assert_eq!(answer.status(), 429, "{token}");
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((2..=60).contains(&wait), "{wait}");
    }
    let other = attempt("2001:db8::1", "an-old-token-of-some-length");
    assert_eq!(other.status(), 200, "others are not concerned");
    let line = tocsin.wait_for_line("wrong credentials, time and again");
    assert!(line.contains("198.51.100.7"), "{line}");
}

#[test]
fn the_commands_give_user_and_password() {
    let place = guarded("");
    let tocsin = place.serve();
    let base = tocsin.base();
    let (code, _, stderr) = place.run(&["silences", "list", "--url", base]);
    assert_eq!(code, 1);
    assert!(stderr.contains("TOCSIN_USER and TOCSIN_PASSWORD"), "{stderr}");
    let with_password = base.replace("//", "//ops:hush@");
    let (code, _, stderr) = place.run(&["silences", "list", "--url", &with_password]);
    assert_eq!((code, stderr.as_str()), (0, "there are no silences\n"));
    let list = ["deliveries", "list", "--url", base];
    let user = ("TOCSIN_USER", "ops");
    for (environment, answer) in [
        (&[user, ("TOCSIN_PASSWORD", "hush")][..], "there are no such messages"),
        (&[user, ("TOCSIN_PASSWORD", "wrong")], "the user or the password is wrong"),
        (&[("TOCSIN_PASSWORD", "hush")], "TOCSIN_PASSWORD is set and TOCSIN_USER is not"),
    ] {
        let output = place.command(&list).envs(environment.iter().copied()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(answer), "{stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
    }
}

#[test]
fn a_password_is_given_as_it_is_whatever_it_has_in_it() {
    let place =
        Place::new("server: { admin: { user: 'o%41s', password: 'a%2fb%zz:c' } }\nrules: []\n");
    let tocsin = place.serve();
    let given = |url: &str, environment: &[(&str, &str)]| {
        let mut command = place.command(&["silences", "list", "--url", url]);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let password = ("TOCSIN_PASSWORD", "a%2fb%zz:c");
    assert_eq!(
        given(tocsin.base(), &[("TOCSIN_USER", "o%41s"), password]),
        "there are no silences\n"
    );
    let with_user = tocsin.base().replace("//", "//o%2541s@");
    assert_eq!(given(&with_user, &[password]), "there are no silences\n");
    let with_both = tocsin.base().replace("//", "//o%2541s:a%252fb%25zz%3ac@");
    assert_eq!(given(&with_both, &[]), "there are no silences\n");
    let health = place.command(&["health", "--url", tocsin.base()]).envs([password]).output();
    assert!(health.unwrap().status.success(), "health needs no credentials");
}

#[test]
fn listening_openly_takes_both_or_a_word_that_it_is_meant() {
    let token = "receive_token: a-token-of-some-length";
    let admin = "admin: { user: ops, password: hush }";
    for (server, words) in [
        ("{}".to_owned(), "without `server.receive_token` and `server.admin`"),
        (format!("{{ {token} }}"), "without `server.admin`"),
        (format!("{{ {admin} }}"), "without `server.receive_token`"),
        (format!("{{ receive_token: '', {admin} }}"), "without `server.receive_token`"),
    ] {
        let place = Place::new(&format!("server: {server}\nrules: []\n"));
        let (code, _, stderr) = place.run(&["serve", "rules.yaml", "--listen", "0.0.0.0:0"]);
        assert_eq!(code, 1, "{server}");
        assert!(stderr.contains("refusing to listen on 0.0.0.0:0"), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
        assert!(stderr.contains("server.open: true"), "{stderr}");
        assert!(!place.database().exists());
    }
    for server in [format!("{{ {token}, {admin} }}"), "{ open: true }".into()] {
        let place = Place::new(&format!("server: {server}\nrules: []\n"));
        let tocsin = place.serve_on("0.0.0.0:0", &[]);
        assert_eq!(tocsin.get("/healthz")["status"], "ok", "{server}");
    }
}

#[test]
fn nothing_of_a_query_or_a_credential_is_in_the_log_however_much_is_logged() {
    let place = guarded("").with_environment("RUST_LOG", "trace");
    let tocsin = place.serve();
    let base = tocsin.base().to_owned();
    for query in ["token=SENTINEL", "token=%ff%SENTINEL", "SENTINEL", "a-new-token=SENTINEL"] {
        let url = format!("{base}/api/post?{query}");
        let answer = client().post(url).body(crash("a").to_string()).send().unwrap();
        assert_eq!(answer.status(), 401);
        assert!(!answer.text().unwrap().contains("SENTINEL"));
    }
    assert_eq!(post(&tocsin, "a-new-token-of-some-length").status(), 200);
    assert_eq!([list(&tocsin, "SENTINEL"), list(&tocsin, "hush")], [401, 200]);
    let get = client().get(format!("{base}/api/list?token=SENTINEL"));
    let answer = get.basic_auth("ops", Some("hush")).send().unwrap();
    assert_eq!(answer.status(), 400);
    assert!(!answer.text().unwrap().contains("SENTINEL"));
    raw(&base, b"GET /api/list?token=SENTINEL HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n");
    raw(&base, b"SENTINEL\r\n\r\n");
    let log = tocsin.stop();
    assert!(log.contains("wrong credentials"), "{log}");
    for secret in ["SENTINEL", "hush", "-of-some-length", "argon2id"] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}

/// Sends this, and waits until the other side has had enough.
fn raw(base: &str, request: &[u8]) {
    let address: SocketAddr = base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn clients_that_ask_nothing_by_the_hundred_keep_nobody_out() {
    let place = Place::new("rules: []");
    let tocsin = place.serve();
    let address: SocketAddr = tocsin.base().strip_prefix("http://").unwrap().parse().unwrap();
    let slow: Vec<TcpStream> = (0..600)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            let _ = stream.write_all(b"POST /api/post HTTP/1.1\r\nHost: x\r\n");
            stream
        })
        .collect();
    let begun = Instant::now();
    for number in 0..20 {
        tocsin.hear(&crash(&format!("web-{number}")));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "their time is not waited for");
    drop(slow);
}
