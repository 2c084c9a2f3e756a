use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use insta::assert_snapshot;

use super::scripted::{HANG, Scripted};
use super::*;
use crate::deliver::receivers::tests::{at, envelope, message, section};
use crate::event::State;
use crate::message::{Body, Message, States, Stretch};

fn bytes(message: Message) -> String {
    let from = mailbox("tocsin <alerts@example.com>").unwrap();
    let to = ["oncall@example.com", "Bob <bob@example.org>"].map(|to| mailbox(to).unwrap());
    String::from_utf8(mail::bytes(&envelope(message), &from, &to).unwrap()).unwrap()
}

fn headers(mail: &str) -> Vec<(String, String)> {
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.into(), value.into()));
    unfolded.split("\r\n").map(|line| pair(line).unwrap()).collect()
}

#[test]
fn a_mail_has_text_and_html_and_every_header_once() {
    let mut message = message(vec![section("RUNNING → CRASHED, <b>", &["c1 · since 14:02 UTC"])]);
    message.notes.push("and 490 more".into());
    assert_snapshot!(bytes(message).replace("\r\n", "\n"), @r#"
    From: tocsin <alerts@example.com>
    Subject: [critical] crashed: toto/hello-python
    Date: Fri, 20 Nov 2015 14:02:07 +0000
    Message-ID: <d-17@example.com>
    In-Reply-To: <t-9@example.com>
    References: <t-9@example.com>
    Auto-Submitted: auto-generated
    X-Auto-Response-Suppress: All
    List-Id: <crashed.tocsin.example.com>
    To: oncall@example.com, Bob <bob@example.org>
    MIME-Version: 1.0
    Content-Type: multipart/alternative;
     boundary="=_41379b9fd7392a4512cd8c01bdd3cc91_alternative"

    --=_41379b9fd7392a4512cd8c01bdd3cc91_alternative
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: quoted-printable

    CRITICAL crashed: 1 container of toto/hello-python

    RUNNING =E2=86=92 CRASHED, <b>
      c1 =C2=B7 since 14:02 UTC

    and 490 more

    Runbook: https://wiki.example.com/crashed?a=3D1&b=3D2
    Alerts: https://alerts.example.com/api/alerts
    --=_41379b9fd7392a4512cd8c01bdd3cc91_alternative
    Content-Type: text/html; charset=utf-8
    Content-Transfer-Encoding: quoted-printable

    <!doctype html>
    <html lang=3D"en"><head><meta charset=3D"utf-8">
    <meta name=3D"viewport" content=3D"width=3Ddevice-width, initial-scale=3D1">
    <meta name=3D"color-scheme" content=3D"light dark">
    <meta name=3D"supported-color-schemes" content=3D"light dark">
    <title>CRITICAL crashed: 1 container of toto/hello-python</title>
    <style>:root { color-scheme: light dark }
    @media (prefers-color-scheme: dark) { a { color: #8ab4f8 } }</style></head>
    <body style=3D"font-family: sans-serif; font-size: 16px; line-height: 1.45;=
     overflow-wrap: anywhere">
    <h1 style=3D"border-left: 6px solid #d32f2f; padding-left: 10px; font-size:=
     18px">CRITICAL crashed: 1 container of toto/hello-python</h1>
    <p><strong>RUNNING =E2=86=92 CRASHED, &lt;b&gt;</strong></p>
    <ul style=3D"padding-left: 20px">
    <li>c1 =C2=B7 since 14:02 UTC</li>
    </ul>
    <p>and 490 more</p>
    <p>Runbook: <a href=3D"https://wiki.example.com/crashed?a=3D1&amp;b=3D2">ht=
    tps://wiki.example.com/crashed?a=3D1&amp;b=3D2</a></p>
    <p>Alerts: <a href=3D"https://alerts.example.com/api/alerts">https://alerts=
    .example.com/api/alerts</a></p>
    </body></html>

    --=_41379b9fd7392a4512cd8c01bdd3cc91_alternative--
    "#);
}

#[test]
fn every_attempt_sends_the_same_bytes() {
    let message = message(vec![section("a", &["b"])]);
    assert_eq!(bytes(message.clone()), bytes(message));
}

#[test]
fn no_data_becomes_a_header() {
    let evil = "a\r\nBcc: x@example.com\r\n\r\nbody";
    let mut message = message(vec![section(evil, &[evil])]);
    (message.topic, message.title, message.rule) = (evil.into(), evil.into(), evil.into());
    let headers = headers(&bytes(message));
    let mut names: Vec<String> =
        headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    let mut expected = [
        "auto-submitted",
        "content-type",
        "date",
        "from",
        "in-reply-to",
        "list-id",
        "message-id",
        "mime-version",
        "references",
        "subject",
        "to",
        "x-auto-response-suppress",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn the_thread_is_one_for_all_that_a_group_says() {
    let headers = headers(&bytes(message(Vec::new())));
    let value = |name: &str| &headers.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(value("In-Reply-To"), "<t-9@example.com>");
    assert_eq!(value("References"), "<t-9@example.com>");
    assert_eq!(value("Message-ID"), "<d-17@example.com>");
    assert_eq!(value("Subject"), "[critical] crashed: toto/hello-python");
    assert_eq!(value("Date"), "Fri, 20 Nov 2015 14:02:07 +0000", "when it was put into words");
}

#[test]
fn a_mail_that_is_a_thread_by_itself_answers_none() {
    let envelope = Envelope { thread: "d-17".into(), ..envelope(message(Vec::new())) };
    let from = mailbox("alerts@example.com").unwrap();
    let mail = mail::bytes(&envelope, &from, std::slice::from_ref(&from)).unwrap();
    let mail = String::from_utf8(mail).unwrap();
    assert!(mail.contains("Message-ID: <d-17@example.com>"), "{mail}");
    assert!(!mail.contains("In-Reply-To") && !mail.contains("References"), "{mail}");
}

#[test]
fn nothing_of_an_event_becomes_a_link_in_a_mail() {
    let evil = "http://evil.example/?a=b www.evil.example";
    let mut message = message(vec![section(evil, &[evil])]);
    (message.title, message.notes) = (evil.into(), vec![evil.into()]);
    let heading = evil.into();
    message.states = Some(States { heading, ..states() });
    let mail = bytes(message).replace("=\r\n", "");
    assert!(!mail.contains("http://evil") && !mail.contains("www.evil"), "{mail}");
    assert!(mail.contains("https://wiki.example.com/crashed"), "{mail}");
    let custom = Message {
        body: Body::Custom("see https://wiki.example.com/own".into()),
        ..super::super::tests::message(Vec::new())
    };
    assert!(bytes(custom).contains("see https://wiki.example.com/own"));
}

#[test]
fn no_line_is_longer_than_998_octets() {
    let long = "ü<&x ".repeat(2_000);
    let mut message = message(vec![section(&long, &[long.as_str()])]);
    (message.title, message.topic) = (long.clone(), long.replace(' ', ""));
    message.rule = "r".repeat(3_000);
    for message in [
        Message { body: Body::Custom("x".repeat(100_000)), ..message.clone() },
        Message { plain: true, ..message.clone() },
        message,
    ] {
        let mail = bytes(message);
        assert!(mail.is_ascii());
        let longest = mail.split("\r\n").map(str::len).max().unwrap();
        assert!(longest <= 998, "{longest}");
    }
}

#[test]
fn however_long_a_template_what_is_said_below_it_is_said_in_text_and_html() {
    let message = Message {
        body: Body::Custom("x ".repeat(40_000)),
        states: Some(states()),
        remarks: vec!["told here, since ops takes nothing".into()],
        ..message(Vec::new())
    };
    let mail = bytes(message).replace("=\r\n", "");
    let (text, html) = mail.split_once("Content-Type: text/html").unwrap();
    for said in ["shortened", "The states of container", "told here, since ops takes nothing"] {
        assert!(text.contains(said) && html.contains(said), "{said}");
    }
}

#[test]
fn a_plain_mail_has_no_html() {
    let mail = bytes(Message { plain: true, ..message(vec![section("a", &["b"])]) });
    assert!(!mail.contains("text/html"));
    assert!(mail.contains("Message-ID: <d-17@example.com>"));
}

#[test]
fn no_address_puts_a_letter_beyond_ascii_into_a_mail() {
    let from = mailbox("tócsin <alerts@bücher.example>").unwrap();
    let to = ["Bob <bob@bücher.example>", "Bübe <bübe@example.com>", "al@example.com"];
    let to = to.map(|to| mailbox(to).unwrap());
    let mail = mail::bytes(&envelope(message(Vec::new())), &from, &to).unwrap();
    let mail = String::from_utf8(mail).unwrap();
    assert!(mail.is_ascii(), "{mail}");
    let headers = headers(&mail);
    let value = |name: &str| &headers.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(value("To"), "Bob <bob@xn--bcher-kva.example>, al@example.com");
    assert!(value("From").ends_with(" <alerts@xn--bcher-kva.example>"), "{}", value("From"));
    assert_eq!(value("Message-ID"), "<d-17@xn--bcher-kva.example>");

    let alone = mail::bytes(&envelope(message(Vec::new())), &from, &to[1..2]).unwrap();
    assert!(alone.is_ascii());
}

#[test]
fn who_sends_is_named_in_ascii() {
    let wrong = |from: &str| validate("", from, &["al@example.com".into()]);
    assert!(matches!(&wrong("bübe@example.com")[..], [("from", _)]));
    assert_eq!(wrong("al@bücher.example"), []);
}

#[test]
fn what_is_wrong_with_a_mailbox_says_how_to_write_it() {
    let wrong = |from: &str, to: &str| validate("", from, &[to.to_owned()]);
    let [("to", words)] = &wrong("a@example.com", "b@example.com, c@example.com")[..] else {
        panic!()
    };
    assert!(words.ends_with("; several are a list: [a@example.com, b@example.com]"), "{words}");
    let long = format!("{} <a@example.com>", "n".repeat(NAME + 1));
    let [("from", words), ("to", _)] = &wrong(&long, &long)[..] else { panic!() };
    assert!(words.contains("has a name of more than 200 characters"), "{words}");
    assert_eq!(wrong(&long[1..], &long[1..]), []);
}

fn reached(words: &str) -> Judgement {
    Judgement::Reached(words.into())
}

fn concluded(before: &[&str], judged: &[(&str, Judgement)]) -> Result<Accepted, SendError> {
    concluded_of(false, before, judged)
}

fn concluded_of(
    plain: bool,
    before: &[&str],
    judged: &[(&str, Judgement)],
) -> Result<Accepted, SendError> {
    let before: Vec<String> = before.iter().map(|mailbox| (*mailbox).to_owned()).collect();
    let judged = judged.iter().map(|(to, judgement)| ((*to).to_owned(), judgement.clone()));
    conclude(&before, &judged.collect(), plain)
}

#[test]
fn one_bad_mailbox_does_not_stop_the_others() {
    let refused = Judgement::Mailbox("550 no such user".into());
    let done = concluded(&[], &[("a", reached("250 queued")), ("b", refused.clone())]).unwrap();
    assert_eq!(done.answer, "250 queued");
    assert_eq!(done.complaint.as_deref(), Some("refused for b: 550 no such user"));
    // Also where the other one had it from an earlier attempt.
    assert!(concluded(&["a"], &[("b", refused)]).is_ok());
}

#[test]
fn mailboxes_of_which_none_takes_anything_are_the_destinations_trouble() {
    let refused = Judgement::Mailbox("550 no such user".into());
    let nobody = [("a", refused.clone()), ("b", refused)];
    let detail = "a: 550 no such user; b: 550 no such user";
    assert_eq!(concluded(&[], &nobody), Err(SendError::Destination { detail: detail.into() }));
    let [a, _] = nobody;
    let later = concluded(&[], &[a, ("b", Judgement::Transient("451 later".into()))]);
    assert!(matches!(later, Err(SendError::Transient { .. })), "{later:?}");
}

#[test]
fn who_refuses_the_mail_gets_plain_words_though_others_have_it() {
    let judged = [
        ("a", reached("250 queued")),
        ("b", Judgement::Refused("554 no html".into())),
        ("c", Judgement::Mailbox("550 no such user".into())),
    ];
    assert_eq!(
        concluded_of(false, &[], &judged),
        Err(SendError::Message {
            detail: "b: 554 no html; c: 550 no such user".into(),
            reached: vec!["a".into()],
        })
    );
    let done = concluded_of(true, &["a"], &judged[1..]).unwrap();
    let complaint = "refused for b: 554 no html; c: 550 no such user";
    assert_eq!(done.complaint.as_deref(), Some(complaint));
    let nobody = concluded_of(true, &[], &judged[1..]);
    assert_eq!(nobody, Err(SendError::message(&complaint["refused for ".len()..])));
}

#[test]
fn who_has_it_is_not_told_again() {
    let later = Judgement::Transient("451 later".into());
    assert_eq!(
        concluded(&["a"], &[("b", reached("250")), ("c", later)]),
        Err(SendError::Transient {
            detail: "c: 451 later".into(),
            retry_after: None,
            reached: vec!["a".into(), "b".into()],
        })
    );
    assert!(concluded(&["a", "b"], &[]).is_ok());
}

#[test]
fn a_lost_answer_is_said_to_be_lost() {
    let lost = Judgement::Unknown("connection reset".into());
    assert_eq!(
        concluded(&[], &[("a", reached("250")), ("b", lost)]),
        Err(SendError::Unknown { detail: "b: connection reset".into(), reached: vec!["a".into()] })
    );
}

#[test]
fn a_closed_door_is_the_destinations_unless_someone_got_in() {
    let closed = Judgement::Destination("535 wrong password".into());
    assert_eq!(
        concluded(&["z"], &[("a", closed.clone()), ("b", closed.clone())]),
        Err(SendError::Destination { detail: "535 wrong password".into() })
    );
    let both = concluded(&[], &[("a", reached("250")), ("b", closed)]);
    assert!(matches!(both, Err(SendError::Transient { reached, .. }) if reached == ["a"]));
}

#[test]
fn who_is_refused_is_named_though_others_are_tried_again() {
    let refused = || ("a", Judgement::Mailbox("550 no such user".into()));
    let later = || ("b", Judgement::Transient("451 later".into()));
    let words = |judged: &[(&str, Judgement)]| concluded(&[], judged).unwrap_err().to_string();
    let expected = "b: 451 later; refused for a: 550 no such user";
    assert_eq!(words(&[refused(), later()]), expected);
    let lost = ("c", Judgement::Unknown("no answer".into()));
    assert_eq!(words(&[refused(), later(), lost]), format!("c: no answer; {expected}"));
}

#[tokio::test]
async fn who_was_not_tried_is_tried_first_the_next_time() {
    // Alice's mailbox takes all the time there is, for as long as it is there.
    let server = Scripted::new(|asked| asked.starts_with("RCPT TO:<alice").then_some(HANG));
    let email = Email::new(
        &server.url(),
        "a@example.com",
        &["alice@example.com".into(), "bob@example.com".into()],
        Duration::from_millis(500),
    )
    .unwrap();
    let mut envelope = envelope(message(Vec::new()));
    assert!(email.send(&envelope).await.is_err());
    assert_eq!(server.asked("RCPT TO:<bob").len(), 0);
    let second = email.send(&envelope).await;
    let Err(SendError::Transient { reached, .. }) = second else { panic!("{second:?}") };
    assert_eq!(reached, ["bob@example.com"]);
    envelope.reached = reached;
    assert!(email.send(&envelope).await.is_err());
    assert_eq!(server.asked("RCPT TO:<bob").len(), 1);
}

#[tokio::test]
async fn who_refused_a_mail_is_not_asked_again_while_it_is_tried_for_others() {
    let bob_is_full = Arc::new(AtomicBool::new(true));
    let is_full = bob_is_full.clone();
    let server = Scripted::new(move |asked| match asked {
        "RCPT TO:<alice@example.com>" => Some("550 no such user"),
        "RCPT TO:<bob@example.com>" if is_full.load(Ordering::Relaxed) => Some("452 full"),
        _ => None,
    });
    let to = ["alice@example.com".to_owned(), "bob@example.com".to_owned()];
    let email = Email::new(&server.url(), "a@example.com", &to, Duration::from_secs(5)).unwrap();
    let one = envelope(message(Vec::new()));
    for _ in 0..3 {
        let error = email.send(&one).await.unwrap_err();
        let words = "bob@example.com: 452 full; refused for alice@example.com: 550 no such user";
        assert_eq!(error.to_string(), words);
    }
    assert_eq!(server.asked("RCPT TO:<alice").len(), 1);
    for (since, _) in email.refused.lock().unwrap().values_mut() {
        *since = since.checked_sub(REFUSED_FOR).unwrap();
    }
    email.send(&one).await.unwrap_err();
    assert_eq!(server.asked("RCPT TO:<alice").len(), 2, "it may be there by then");
    let put_back =
        Envelope { waiting_since: Timestamp::from_micros(1), ..envelope(message(Vec::new())) };
    email.send(&put_back).await.unwrap_err();
    assert_eq!(server.asked("RCPT TO:<alice").len(), 3, "who puts it back may have mended that");
    bob_is_full.store(false, Ordering::Relaxed);
    let complaint = email.send(&one).await.unwrap().complaint;
    assert_eq!(complaint.as_deref(), Some("refused for alice@example.com: 550 no such user"));
    assert_eq!(server.asked("RCPT TO:<alice").len(), 3);
    email.send(&one).await.unwrap();
    assert_eq!(server.asked("RCPT TO:<alice").len(), 4, "kept no longer than it is of use");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_transient() {
    // Port 1 of this machine refuses.
    let email = Email::new(
        "smtp://u:s3cret@127.0.0.1:1",
        "a@example.com",
        &["b@example.com".into()],
        Duration::from_secs(5),
    )
    .unwrap();
    let error = email.send(&envelope(message(Vec::new()))).await.unwrap_err();
    assert!(matches!(&error, SendError::Transient { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn who_has_it_is_known_in_whichever_case_the_mailbox_is_written() {
    let server = Scripted::new(|_| None);
    let to = ["Al@Example.com".to_owned()];
    let email = Email::new(&server.url(), "a@example.com", &to, Duration::from_secs(5)).unwrap();
    let reached = vec!["al@example.com".to_owned()];
    let envelope = Envelope { reached, ..envelope(message(Vec::new())) };
    assert!(email.send(&envelope).await.is_ok());
    assert_eq!(server.asked("RCPT"), [""; 0]);
}

/// What is known of a container that ran, crashed at 14:02:01 and was told of six seconds later.
fn states() -> States {
    let at = |time: &str| at(&format!("2015-11-20T{time}Z"));
    let stretch = |state, from: Option<&str>, until, line: &str| Stretch {
        state,
        from: from.map(at),
        until: at(until),
        alert_began: from.is_some(),
        line: line.to_owned(),
    };
    States {
        heading: "The states of container <c1>:".to_owned(),
        stretches: vec![
            stretch(State::Running, None, "14:02:01", "until 14:02 UTC RUNNING"),
            stretch(
                State::named("<odd>"),
                Some("14:02:01"),
                "14:02:07",
                "14:02 UTC <ODD>, for 6 s so far (the alert began)",
            ),
        ],
        alert: Some((at("14:02:01"), at("14:02:07"))),
    }
}

#[test]
fn the_states_are_a_picture_and_the_same_in_words() {
    let message = Message { states: Some(states()), ..message(vec![section("a", &["b"])]) };
    let mail = bytes(message.clone()).replace("\r\n", "\n");
    let (words, picture) = mail.split_once("Content-ID").unwrap();
    assert_snapshot!(words, @r#"
    From: tocsin <alerts@example.com>
    Subject: [critical] crashed: toto/hello-python
    Date: Fri, 20 Nov 2015 14:02:07 +0000
    Message-ID: <d-17@example.com>
    In-Reply-To: <t-9@example.com>
    References: <t-9@example.com>
    Auto-Submitted: auto-generated
    X-Auto-Response-Suppress: All
    List-Id: <crashed.tocsin.example.com>
    To: oncall@example.com, Bob <bob@example.org>
    MIME-Version: 1.0
    Content-Type: multipart/alternative;
     boundary="=_41379b9fd7392a4512cd8c01bdd3cc91_alternative"

    --=_41379b9fd7392a4512cd8c01bdd3cc91_alternative
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: 7bit

    CRITICAL crashed: 1 container of toto/hello-python

    a
      b

    The states of container <c1>:
      until 14:02 UTC RUNNING
      14:02 UTC <ODD>, for 6 s so far (the alert began)

    Runbook: https://wiki.example.com/crashed?a=1&b=2
    Alerts: https://alerts.example.com/api/alerts
    --=_41379b9fd7392a4512cd8c01bdd3cc91_alternative
    Content-Type: multipart/related;
     boundary="=_41379b9fd7392a4512cd8c01bdd3cc91_related"; type="text/html"

    --=_41379b9fd7392a4512cd8c01bdd3cc91_related
    Content-Type: text/html; charset=utf-8
    Content-Transfer-Encoding: quoted-printable

    <!doctype html>
    <html lang=3D"en"><head><meta charset=3D"utf-8">
    <meta name=3D"viewport" content=3D"width=3Ddevice-width, initial-scale=3D1">
    <meta name=3D"color-scheme" content=3D"light dark">
    <meta name=3D"supported-color-schemes" content=3D"light dark">
    <title>CRITICAL crashed: 1 container of toto/hello-python</title>
    <style>:root { color-scheme: light dark }
    @media (prefers-color-scheme: dark) { a { color: #8ab4f8 } }</style></head>
    <body style=3D"font-family: sans-serif; font-size: 16px; line-height: 1.45;=
     overflow-wrap: anywhere">
    <h1 style=3D"border-left: 6px solid #d32f2f; padding-left: 10px; font-size:=
     18px">CRITICAL crashed: 1 container of toto/hello-python</h1>
    <p><strong>a</strong></p>
    <ul style=3D"padding-left: 20px">
    <li>b</li>
    </ul>
    <p><strong>The states of container &lt;c1&gt;:</strong></p>
    <img src=3D"cid:states-d-17@example.com" alt=3D"RUNNING, then &lt;ODD&gt; (=
    the alert began)" width=3D"560" height=3D"60" style=3D"display: block; widt=
    h: 100%; max-width: 560px; height: auto">
    <ul style=3D"list-style: none; padding-left: 0">
    <li><span style=3D"color: #2e8b57" aria-hidden=3D"true">&#9632;</span> unti=
    l 14:02 UTC RUNNING</li>
    <li><span style=3D"color: #9a5cd0" aria-hidden=3D"true">&#9632;</span> 14:0=
    2 UTC &lt;ODD&gt;, for 6 s so far (the alert began)</li>
    </ul>
    <p>Runbook: <a href=3D"https://wiki.example.com/crashed?a=3D1&amp;b=3D2">ht=
    tps://wiki.example.com/crashed?a=3D1&amp;b=3D2</a></p>
    <p>Alerts: <a href=3D"https://alerts.example.com/api/alerts">https://alerts=
    .example.com/api/alerts</a></p>
    </body></html>

    --=_41379b9fd7392a4512cd8c01bdd3cc91_related
    "#);
    let (head, png) = picture.split_once("\n\n").unwrap();
    assert_snapshot!(head, @r#"
    : <states-d-17@example.com>
    Content-Disposition: inline; filename="states.png"
    Content-Type: image/png
    Content-Transfer-Encoding: base64
    "#);
    let (png, end) = png.split_once("--").unwrap();
    let png = base64::engine::general_purpose::STANDARD.decode(png.replace('\n', "")).unwrap();
    assert_eq!(Some(png), picture::png(&states(), "#d32f2f"));
    assert_snapshot!(end, @r"
    =_41379b9fd7392a4512cd8c01bdd3cc91_related--
    --=_41379b9fd7392a4512cd8c01bdd3cc91_alternative--
    ");
    assert_eq!(bytes(message.clone()), bytes(message), "every attempt sends the same");
}

#[test]
fn a_plain_mail_has_no_picture() {
    let mail = bytes(Message { states: Some(states()), plain: true, ..message(Vec::new()) });
    assert!(!mail.contains("image/png"), "{mail}");
}
