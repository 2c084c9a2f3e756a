//! What is secret stays so, whatever goes wrong and whoever repeats it.

use std::fs;

use serde_json::json;

use crate::harness::{Answer, MailServer, Place, Sink, crash, wait_until};

/// What each secret has in it, and nothing else that is said.
const MARK: &str = "s3cr3t";

/// The receivers, with each secret in one of the ways that it can be given, and what is secret of
/// them.
const RECEIVERS: [(&str, &str); 10] = [
    ("slack", "slack: { webhook_url: \"${SLACK_URL}\" }"),
    ("slack_api", "slack_api: { bot_token_file: bot-token, channel: ops, url: BASE }"),
    (
        "webhook",
        "webhook: { url: \"BASE/hook/s3cr3t-path?key=s3cr3t-query\", \
         secret: [\"${SIGNING}\", whsec_czNjcjN0czNjcjN0czNjcjN0czNjcjN0czNjcjN0] }",
    ),
    ("pagerduty", "pagerduty: { routing_key: s3cr3t0123456789abcdef, url: BASE }"),
    ("teams", "teams: { webhook_url: \"BASE/workflows/1?sp=run&sig=s3cr3t-sig%2F\" }"),
    ("discord", "discord: { webhook_url: BASE/api/webhooks/1/s3cr3t-hook }"),
    ("telegram", "telegram: { bot_token: \"1:s3cr3t-bot\", chat_id: -5, url: BASE }"),
    ("ntfy", "ntfy: { url: BASE/s3cr3t-topic, token: tk_s3cr3t }"),
    ("alertmanager", "alertmanager: { url: \"USER:s3cr3t%2Fpassword@BASE\" }"),
    ("email", "email: { smtp_url: \"${SMTP_URL}\", from: a@example.com, to: [b@example.com] }"),
];

fn rules(sink: &Sink) -> String {
    let mut rules = "receivers:\n".to_owned();
    for (name, receiver) in RECEIVERS {
        let with_user =
            format!("http://user:s3cr3t%2Fpassword@{}", &sink.base()["http://".len()..]);
        let receiver = receiver.replace("USER:s3cr3t%2Fpassword@BASE", &with_user);
        let receiver = receiver.replace("BASE", &sink.base());
        rules += &format!("  {name}: {{ {receiver}, rate: 100/s }}\n");
    }
    // One that is told through a proxy.
    rules += "  far: { webhook: { url: https://hooks.example.com/s3cr3t-far } }\n";
    let names = RECEIVERS.map(|(name, _)| name).join(", ");
    rules += &format!("defaults: {{ notify: [{names}, far], group_wait: 0s }}\n");
    rules + "rules: [{ name: crashed, when: { state: CRASHED } }]\n"
}

/// A folder in which all of these are given, and told of an error.
fn place(sink: &Sink, mail: &MailServer) -> Place {
    let place = Place::new(&rules(sink))
        .with_environment("SLACK_URL", &format!("{}/services/T0/B0/s3cr3t-slack", sink.base()))
        .with_environment("SIGNING", "whsec_czNjcjN0czNjcjN0czNjcjN0czNjcjN0")
        .with_environment("SMTP_URL", &mail.url("bell:s3cr3t%2Fmail"))
        .with_environment("SSL_CERT_FILE", &mail.certificate().display().to_string())
        .with_environment("HTTPS_PROXY", &sink.base().replace("//", "//me:s3cr3t-proxy@"));
    fs::write(place.path().join("bot-token"), "xoxb-s3cr3t-bot\n").unwrap();
    place
}

/// Every form that a secret may be met in: as it is, and as Basic and SMTP encode it.
fn assert_tells_no_secret(what: &str, text: &str) {
    let encoded = [
        "dXNlcjpzM2NyM3QvcGFzc3dvcmQ=", // user:s3cr3t/password
        "bWU6czNjcjN0LXByb3h5",         // me:s3cr3t-proxy
        "AGJlbGwAczNjcjN0L21haWw=",     // \0bell\0s3cr3t/mail
        "czNjcjN0L21haWw=",             // s3cr3t/mail
        "czNjcjN0czNj",                 // the signing keys
    ];
    for secret in encoded.into_iter().chain([MARK]) {
        assert!(!text.contains(secret), "{what} tells {secret}:\n{text}");
    }
}

fn mail_server() -> MailServer {
    let repeats = "535 5.7.8 no AGJlbGwAczNjcjN0L21haWw=, which is bell and s3cr3t/mail";
    MailServer::new(&json!({"AUTH": [repeats, repeats, repeats, repeats, repeats, repeats]}))
}

#[test]
fn send_tells_no_secret_that_a_place_repeats() {
    let mail = mail_server();
    for status in [200, 302, 400, 404, 500] {
        let sink = Sink::echoing(status);
        let place = place(&sink, &mail);
        for (name, _) in RECEIVERS.into_iter().chain([("far", "")]) {
            let (_, stdout, stderr) = place.run(&["send", "rules.yaml", "--receiver", name]);
            assert_tells_no_secret(&format!("{name} {status}"), &(stdout + &stderr));
        }
        assert!(sink.heard().len() >= RECEIVERS.len() - 1, "{:#?}", sink.heard());
    }
}

#[test]
fn a_mistake_in_the_rules_file_shows_no_secret_beside_it() {
    let (sink, mail) = (Sink::new(), mail_server());
    let place = place(&sink, &mail);
    let (code, stdout, stderr) = place.run(&["check", "rules.yaml"]);
    assert_eq!(code, 0, "{stderr}");
    assert_tells_no_secret("check", &(stdout + &stderr));
    for (right, wrong) in [
        ("rate: 100/s", "rate: often"),
        ("{ ", "{ nope: 1, "),
        (" }, rate", ", nope: 1 }, rate"),
        ("http://", "ftp://"),
        ("http://", "http://169.254.169.254/?"),
        ("http://", "http://example.com:"),
        ("_url: ", "_ulr: "),
        ("token: ", "tokn: "),
        ("routing_key: ", "routing_keys: "),
        ("url: ", "url: !x "),
        ("\"${SIGNING}\"", "s3cr3t-short"),
        ("{SMTP_URL}", "{SMTP_URL}/x"),
        ("bot-token", "s3cr3t-bot-token"),
        ("\n  slack_api", "\n slack_api"),
    ] {
        let text = rules(&sink).replace(right, wrong);
        assert_ne!(text, rules(&sink), "{right}");
        place.write_rules(&text);
        let (code, stdout, stderr) = place.run(&["check", "rules.yaml"]);
        assert_eq!(code, 1, "{wrong}: {stdout}");
        // The name of a file is no secret.
        let said = (stdout + &stderr).replace("s3cr3t-bot-token", "");
        assert_tells_no_secret(wrong, &said);
    }
}

#[test]
fn no_secret_is_logged_kept_or_shown_when_places_fail() {
    let mail = mail_server();
    let sink = Sink::echoing(404).then(&vec![Answer::Echo(500); RECEIVERS.len()]);
    // What the libraries beneath say, too.
    let place = place(&sink, &mail).with_environment("RUST_LOG", "trace");
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let tried = |deliveries: &serde_json::Value, attempts: u64| {
        let all = deliveries.as_array().unwrap().iter();
        let of = |it: &&serde_json::Value| it["receiver"] != "email" && it["receiver"] != "far";
        all.filter(of).filter(|it| it["attempts"].as_u64() >= Some(attempts)).count()
    };
    wait_until(
        || (tried(&tocsin.get("/api/deliveries"), 2) == RECEIVERS.len() - 1).then_some(()),
        || format!("{:#}", tocsin.get("/api/deliveries")),
    );
    for (receiver, _) in RECEIVERS.into_iter().chain([("far", "")]) {
        tocsin.wait_for("/api/deliveries", |deliveries| {
            let mut all = deliveries.as_array().unwrap().iter();
            all.find(|it| it["receiver"] == receiver && !it["last_error"].is_null()).cloned()
        });
    }

    let mut paths: Vec<String> = [
        "/api/list",
        "/api/containers",
        "/api/alerts?status=all",
        "/api/deliveries",
        "/api/receivers",
        "/api/silences?status=all",
        "/metrics",
        "/readyz",
        "/healthz",
    ]
    .map(str::to_owned)
    .into();
    for delivery in tocsin.all("/api/deliveries") {
        paths.push(format!("/api/deliveries/{}", delivery["id"].as_str().unwrap()));
    }
    for path in &paths {
        assert_tells_no_secret(path, &tocsin.get_text(path));
    }
    for arguments in [&["list"][..], &["list", "--json"]] {
        let all = [&["deliveries"], arguments, &["--url", tocsin.base()]].concat();
        let (code, stdout, stderr) = place.run(&all);
        assert_eq!(code, 0, "{stderr}");
        assert_tells_no_secret("deliveries", &(stdout + &stderr));
    }
    let log = tocsin.all_said();
    for part in ["TRACE", "not delivered", "hooks.example.com"] {
        assert!(log.contains(part), "{part} is not in the log, and so nothing is known of it");
    }
    assert_tells_no_secret("the log", &log);
    for file in fs::read_dir(place.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().is_some_and(|name| name.to_str().unwrap().starts_with("tocsin.db")) {
            let bytes = fs::read(&file).unwrap();
            assert_tells_no_secret("the database", &String::from_utf8_lossy(&bytes));
        }
    }
}
