//! Events that try to be more than data: at every place, in every log, on every terminal.

use serde_json::{Value, json};

use crate::harness::{MailServer, Place, Sink, Tocsin, now};

/// What an event may bring along, and what it hopes to be.
const HOSTILE: [&str; 16] = [
    "a\u{1b}[2Jb\u{1b}]0;owned\u{7}\u{8}\u{7f}", // a terminal's commands
    "a\u{9b}31mb\u{85}c",                        // the same in one character, and a line's end
    "a\r\nBcc: evil@evil.example\r\n\r\n<b>body</b>", // headers of a mail, and its body
    "2026-01-01T00:00:00Z ERROR forged\n2026-01-01T00:00:00Z  INFO lines of a log",
    "=?utf-8?q?=0D=0ABcc=3A_evil=40evil.example?=", // the same, encoded
    "<!channel> <!here> <@U123> &lt;!channel&gt;",  // Slack's mentions
    "<https://evil.example|click> <#C1>",           // and its links
    "[click](https://evil.example) ![x](https://evil.example/x.png)", // Markdown
    "@everyone @here @channel <@1> <@&1> @alice",   // everybody's mentions
    "*b* _i_ ~s~ `c` ```d``` ||x|| # h > q - l",    // what looks like markup
    "<script>alert(1)</script><img src=x onerror=alert(1)>", // HTML
    "\" onmouseover=\"alert(1)\" x='</title>",
    "a\u{202e}txet\u{2066}b\u{200f}c\u{61c}d\u{2028}e\u{2029}f", // text turned round
    "z\u{200b}e\u{feff}r\u{2060}o",                              // what is as wide as nothing
    "{{ 7 * 7 }}{% for x in range(9999) %}y{% endfor %} %s%n ${HOME}", // templates
    "\u{0}null",
];

/// The kinds whose messages people read, as each is written for its sink, and what it answers.
const READ: [(&str, &str, u16, &str); 7] = [
    ("slack", "{ webhook_url: BASE/1 }", 200, "ok"),
    (
        "slack_api",
        "{ bot_token: xoxb-1, channel: ops, url: BASE }",
        200,
        r#"{"ok":true,"channel":"C","ts":"1.0"}"#,
    ),
    ("pagerduty", "{ routing_key: R, url: BASE }", 202, r#"{"message":"Event processed"}"#),
    ("teams", "{ webhook_url: BASE/1 }", 202, ""),
    ("discord", "{ webhook_url: BASE/1 }", 200, r#"{"id":"7"}"#),
    (
        "telegram",
        "{ bot_token: \"1:a\", chat_id: -5, url: BASE }",
        200,
        r#"{"ok":true,"result":{"message_id":7}}"#,
    ),
    ("ntfy", "{ url: BASE/topic }", 200, r#"{"id":"7"}"#),
];

/// The kinds that programs read: they get data, as it is.
const DATA: [(&str, &str, u16, &str); 2] =
    [("webhook", "{ url: BASE/1 }", 204, ""), ("alertmanager", "{ url: BASE }", 200, "")];

/// Rules that say all in the built-in words, and in words that have much of the payload in them.
const RULES: &str = r#"
  - name: crashed
    when: { payload.templated: { exists: false } }
    resolve: never
    per: [application, service, id, state]
  - name: templated
    when: { payload.templated: true }
    resolve: never
    title: "{{ labels.application }} and {{ alerts[0].event.note }} of {{ rule }}"
    message: "{{ alerts[0].event.note|default('nothing') }} {{ alerts[0].event|tojson }}"
"#;

fn hostile(number: usize, value: &str, templated: bool) -> Value {
    let mut event = json!({
        "id": format!("c{number} {value}"), "application": value, "service": value, "type": value,
        "event": value, "prev_state": value, "state": value, "timestamp": now(), "note": value,
        "data": {"last_exit_status": {"reason": value}}, "counters": {"start": 3},
    });
    if templated {
        event["templated"] = json!(true);
    }
    event
}

/// Every text in it, with the key that it stands under.
fn texts<'a>(value: &'a Value, key: &'a str, found: &mut Vec<(&'a str, &'a str)>) {
    match value {
        Value::String(text) => found.push((key, text)),
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| texts(value, key, found)),
        _ => {}
    }
}

/// Whether it does something to a line, instead of standing in it.
fn is_unseemly(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

fn assert_is_seemly(what: &str, text: &str) {
    let unseemly = |char| char != '\n' && is_unseemly(char);
    assert!(!text.contains(unseemly), "{what}: {text:?}");
}

/// What is left when everything behind a backslash is taken out.
fn unescaped(text: &str) -> String {
    let (mut kept, mut chars) = (String::new(), text.chars());
    while let Some(char) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            char => kept.push(char),
        }
    }
    kept
}

/// That nothing in a message for people is more than text there.
fn assert_is_only_text(kind: &str, body: &Value) {
    let mut found = Vec::new();
    texts(body, "", &mut found);
    for (key, text) in found {
        assert_is_seemly(kind, text);
        match (kind, key) {
            ("discord", "title" | "description" | "content") => {
                let live = unescaped(text).replace("**", "");
                assert!(!live.contains(['<', '>', '[', ']', '`', '|', '#', '~']), "{kind}: {text}");
                assert!(!live.contains(['*', '_']), "{kind}: {text}");
            }
            ("telegram", "text") => {
                assert!(!text.replace("@\u{200b}", "").contains('@'), "{kind}: {text}");
            }
            _ => {}
        }
    }
    match kind {
        "slack" | "slack_api" => {
            assert_eq!((&body["link_names"], &body["parse"]), (&Value::Null, &Value::Null));
            let text = body["text"].as_str().unwrap();
            assert!(body["mrkdwn"] == false && !text.contains(['<', '>']), "{text}");
            for block in body["blocks"].as_array().unwrap() {
                // In these nothing is markup; what else there is has nothing of an event.
                let is_plain = block["text"]["type"] == "plain_text";
                let runs = block["elements"][0]["elements"].as_array();
                let is_rich = block["type"] == "rich_text"
                    && runs.is_some_and(|runs| runs.iter().all(|run| run["type"] == "text"));
                assert!(is_plain || is_rich, "{block:#}");
            }
        }
        "discord" => assert_eq!(body["allowed_mentions"], json!({"parse": []})),
        "telegram" => assert_eq!(body["parse_mode"], Value::Null),
        "ntfy" => assert_eq!(body["markdown"], Value::Null),
        "teams" => {
            let body = &body["attachments"][0]["content"]["body"];
            for block in body.as_array().unwrap() {
                let run = &block["inlines"][0]["type"];
                assert_eq!((&block["type"], run), (&json!("RichTextBlock"), &json!("TextRun")));
            }
        }
        _ => {}
    }
}

/// The mail, and what Python makes of it: no header that is not ours, and no markup.
fn assert_is_a_clean_mail(mail: &crate::harness::Mail) {
    const KNOWN: [&str; 16] = [
        "X-Rcpt-To",
        "X-Tls",
        "X-Authenticated",
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "In-Reply-To",
        "References",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "List-Id",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];
    assert!(mail.text.is_ascii(), "{}", mail.text);
    assert_is_seemly("a mail", &mail.text);
    let head = mail.text.split("\n\n").next().unwrap();
    let mut names: Vec<&str> = Vec::new();
    for line in head.lines().filter(|line| !line.starts_with([' ', '\t'])) {
        let (name, _) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
        assert!(KNOWN.contains(&name) && !names.contains(&name), "{name}:\n{head}");
        names.push(name);
    }
    assert_is_seemly("the text of a mail", &mail.text_part());
    let html = mail.html_part();
    assert_is_seemly("the HTML of a mail", &html);
    for (index, _) in html.match_indices('<') {
        let tag: String = html[index + 1..]
            .chars()
            .take_while(|char| char.is_ascii_alphanumeric() || *char == '/')
            .collect();
        let ours = [
            "", "/a", "/body", "/div", "/h1", "/head", "/html", "/li", "/p", "/span", "/strong",
            "/style", "/title", "/ul", "a", "body", "div", "h1", "head", "html", "img", "li",
            "meta", "p", "span", "strong", "style", "title", "ul",
        ];
        assert!(ours.contains(&tag.as_str()), "<{tag} in:\n{html}");
        let inside = html[index..].split('>').next().unwrap();
        assert!(!inside.contains("onerror") && !inside.contains("onmouseover"), "{inside}");
        assert!(!inside.contains("evil") && !inside.contains("src=x"), "{inside}");
    }
}

struct Told {
    place: Place,
    tocsin: Tocsin,
    sinks: Vec<(&'static str, Sink)>,
    mail: MailServer,
    events: Vec<Value>,
}

/// A tocsin that has told every kind of receiver of every hostile event.
fn told() -> Told {
    let mail = MailServer::new(&json!({}));
    let mut receivers = "receivers:\n  terminal: { console: {} }\n".to_owned();
    let mut sinks = Vec::new();
    for (kind, written, status, body) in READ.into_iter().chain(DATA) {
        let sink = Sink::answering(status, body);
        let written = written.replace("BASE", &sink.base());
        receivers += &format!("  {kind}: {{ {kind}: {written}, rate: 1000/s }}\n");
        sinks.push((kind, sink));
    }
    receivers += "  email: { email: { smtp_url: \"${SMTP_URL}\", from: a@example.com, \
                  to: [b@example.com] } }\n";
    let kinds: Vec<&str> = sinks.iter().map(|(kind, _)| *kind).collect();
    let notify = kinds.join(", ");
    let place = Place::new(&format!(
        "{receivers}defaults: {{ notify: [terminal, email, {notify}], group_wait: 0s }}\n\
         rules:{RULES}"
    ));
    let place = place
        .with_environment("SMTP_URL", &mail.url("bell:p%40ss%20word"))
        .with_environment("SSL_CERT_FILE", &mail.certificate().display().to_string());
    let tocsin = place.serve();
    let mut events = Vec::new();
    for templated in [false, true] {
        let long = "long \u{1b}[2J<b>@x ".repeat(300);
        for (number, value) in HOSTILE.into_iter().chain([long.as_str()]).enumerate() {
            let event = hostile(number, value, templated);
            tocsin.hear(&event);
            events.push(event);
        }
    }
    for (_, sink) in &sinks {
        sink.wait_for_taken(events.len());
    }
    mail.wait_for_mails(events.len());
    Told { place, tocsin, sinks, mail, events }
}

#[test]
fn nothing_in_an_event_is_more_than_data_anywhere() {
    let Told { place, tocsin, sinks, mail, events } = told();
    for (kind, sink) in &sinks {
        for (_, request) in sink.heard() {
            let raw = &request.body;
            assert!(!raw.contains(|char: char| char < ' '), "{kind}: {raw}");
            for (name, value) in &request.headers {
                assert!(value.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{name}: {value}");
                assert!(!value.contains("evil"), "{name}: {value}");
            }
            if READ.iter().any(|(read, ..)| read == kind) {
                assert_is_only_text(kind, &request.json());
            }
        }
    }
    let (_, webhook) = sinks.iter().find(|(kind, _)| *kind == "webhook").unwrap();
    let posted: Vec<Value> = webhook.requests().into_iter().map(|(_, body)| body).collect();
    for event in &events {
        let same = |body: &Value| body["data"]["alerts"][0]["event"] == *event;
        assert!(posted.iter().any(same), "a program does not get the event as it is: {event:#}");
    }
    mail.mails().iter().for_each(assert_is_a_clean_mail);

    for path in ["/api/list", "/api/containers", "/api/alerts?status=all", "/api/deliveries"] {
        assert!(!tocsin.all(path).is_empty(), "{path}");
    }
    let metrics = tocsin.get_text("/metrics");
    assert_is_seemly("/metrics", &metrics);
    assert!(!metrics.contains("evil"), "{metrics}");
    for target in [
        "/api/list?state=%1b%5b2J&limit=%1b%5b2J",
        "/api/list?%1b%5b2J%0d%0aX:%20y=1",
        "/api/list?since=%e2%80%ae1&cursor=%00",
        "/api/list?cursor=%1b%5b2J%00",
        "/api/containers/%1b%5b2J%0d%0aX:%20y",
        "/api/deliveries/%1b%5b2J%e2%80%ae",
        "/api/alerts?status=%c2%9b%0a",
        "/%1b%5b2J%0d%0aSet-Cookie:%20x",
    ] {
        let answer = tocsin.get(target);
        assert_is_seemly(target, answer["error"].as_str().unwrap());
        assert!(!answer["error"].as_str().unwrap().contains('\n'), "{answer}");
    }

    let url = ["--url", tocsin.base()];
    let silence = hostile(0, HOSTILE[0], false)["application"].as_str().unwrap().to_owned();
    let silence = format!("{silence}{}", HOSTILE[12]);
    let (code, _, stderr) = place.run(
        &[
            &["silences", "add", "--match", "rule=x", "--for", "1h"],
            &["--by", &silence][..],
            &["--comment", &silence],
            &url,
        ]
        .concat(),
    );
    assert_eq!(code, 0, "{stderr}");
    let id = tocsin.get("/api/deliveries")[0]["id"].as_str().unwrap().to_owned();
    for arguments in [
        &["deliveries", "list"][..],
        &["deliveries", "list", "--json"],
        &["deliveries", "show", &id],
        &["deliveries", "show", &id, "--json"],
        &["deliveries", "discard", "\u{1b}[2J"],
        &["deliveries", "retry", "--receiver", "\u{1b}[2J"],
        &["silences", "list"],
        &["silences", "list", "--json"],
    ] {
        let (_, stdout, stderr) = place.run(&[arguments, &url].concat());
        assert_is_seemly(&format!("{arguments:?}"), &(stdout + &stderr));
    }

    let said = tocsin.all_said();
    assert_is_seemly("the output", &said);
    assert!(said.contains("WARNING"), "{said}");
    for line in said.lines() {
        assert!(!line.starts_with("Bcc:"), "{line}");
        assert!(!line.starts_with("2026-01-01T00:00:00Z  INFO"), "{line}");
    }
}
