//! What becomes of a notification when a mail server, or a mailbox, does not take it. The server is a
//! real one, with STARTTLS and AUTH.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Mail, MailServer, Place, Tocsin, crash};

/// The credentials that the server takes, as a URL writes them.
pub const GOOD: &str = "bell:p%40ss%20word";
pub const BAD: &str = "bell:guess";

/// A rules file that mails every crash to Alice and Bob at once.
pub fn rules(smtp_url: &str, settings: &str) -> String {
    format!(
        "receivers:\n  oncall:\n    email:\n      smtp_url: {smtp_url:?}\n      \
         from: tocsin <alerts@example.com>\n      to: [alice@example.com, bob@example.com]\n\
         {settings}\n\
         defaults: {{ notify: [oncall], group_wait: 0s }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]\n"
    )
}

/// A running tocsin that trusts this certificate.
fn telling(rules: &str, certificate: &Path) -> (Place, Tocsin) {
    let place = Place::new(rules).with_environment("SSL_CERT_FILE", certificate.to_str().unwrap());
    let tocsin = place.serve();
    (place, tocsin)
}

/// Who got which mail, sorted.
fn by_recipient(mails: &[Mail]) -> Vec<String> {
    let mut recipients: Vec<String> =
        mails.iter().map(|mail| mail.header("X-Rcpt-To").unwrap()).collect();
    recipients.sort();
    recipients
}

fn all_the_same(headers: &[Option<String>]) -> bool {
    headers[0].is_some() && headers.iter().all(|header| *header == headers[0])
}

const BOTH: [&str; 2] = ["alice@example.com", "bob@example.com"];

#[test]
fn mail_goes_out_over_tls_to_those_who_know_the_password() {
    let server = MailServer::new(&json!({}));
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "sent");
    assert_eq!((&delivery["attempts"], &delivery["last_error"]), (&json!(1), &Value::Null));
    let mails = server.mails();
    assert_eq!(by_recipient(&mails), BOTH);
    for mail in &mails {
        assert_eq!(mail.header("X-Tls").as_deref(), Some("yes"));
        assert_eq!(mail.header("X-Authenticated").as_deref(), Some("True"));
    }
}

#[test]
fn a_server_that_says_not_now_is_asked_again_for_the_same_mail() {
    let server = MailServer::new(&json!({"DATA": ["451 4.3.0 later", "451 4.3.0 later"]}));
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "sent");
    assert_eq!(delivery["attempts"], 2, "{delivery:#}");
    let error = delivery["last_error"].as_str().unwrap();
    assert!(error.contains("alice@example.com: 451 4.3.0 later"), "{error}");

    let mails = server.mails();
    assert_eq!(by_recipient(&mails), BOTH, "each once");
    let refused = server.refused();
    assert_eq!(refused.len(), 2);
    // But for the three lines that the server put before them.
    let sent = mails.iter().map(|mail| mail.text.splitn(4, '\n').last().unwrap());
    for sent in sent {
        assert!(sent.contains("The states of container web-1:"), "{sent}");
        assert!(refused.iter().all(|refused| refused.text == sent), "{sent}\n{refused:?}");
    }
}

#[test]
fn a_reply_that_is_no_utf_8_is_what_its_code_says() {
    let taken = ["250 gr\u{fc}\u{df}e queued", "250 gr\u{fc}\u{df}e queued"];
    let server = MailServer::new(&json!({"DATA": taken}));
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "sent");
    assert_eq!((&delivery["attempts"], &delivery["last_error"]), (&json!(1), &Value::Null));
    assert_eq!(server.recipients(), BOTH, "each is sent it once");
}

#[test]
fn who_has_the_mail_does_not_get_it_again_when_another_is_late() {
    let server = MailServer::new(&json!({"RCPT bob@example.com": ["451 4.2.1 greylisted"]}));
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "sent");
    assert_eq!(delivery["attempts"], 2);
    assert_eq!(delivery["last_error"], "bob@example.com: 451 4.2.1 greylisted");
    let mails = server.mails();
    assert_eq!(by_recipient(&mails), BOTH);
    let ids: Vec<_> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
    assert!(all_the_same(&ids), "{ids:?}");
    assert_eq!(server.recipients(), [BOTH[0], BOTH[1], BOTH[1]]);
}

#[test]
fn one_bad_mailbox_does_not_stop_the_other() {
    let server = MailServer::new(&json!({"RCPT alice@example.com": ["550 5.1.1 no such user"]}));
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "sent");
    assert_eq!(delivery["attempts"], 1);
    assert_eq!(delivery["last_error"], "refused for alice@example.com: 550 5.1.1 no such user");
    assert_eq!(by_recipient(&server.mails()), ["bob@example.com"]);
    assert_eq!(server.recipients(), BOTH, "nobody is asked twice");
}

#[test]
fn mailboxes_of_which_none_is_there_are_told_to_the_fallback() {
    let no = ["550 5.1.1 no such user"];
    let server =
        MailServer::new(&json!({"RCPT alice@example.com": no, "RCPT bob@example.com": no}));
    let fallback = "    fallback: console\n  console: { console: {} }";
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), fallback), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for("/api/deliveries?status=sent", |deliveries| {
        let mut deliveries = deliveries.as_array().unwrap().iter();
        deliveries.find(|delivery| delivery["rule"] == "crashed").cloned()
    });
    assert_eq!(delivery["receiver"], "console", "{delivery:#}");
    let error = delivery["last_error"].as_str().unwrap();
    assert!(error.contains("bob@example.com: 550 5.1.1 no such user"), "{error}");
    assert_eq!(server.recipients(), BOTH, "nobody is asked in vain");
}

#[test]
fn who_refuses_a_mail_that_others_have_gets_it_in_plain_words() {
    let server = MailServer::new(&json!({"DATA": ["554 5.6.0 no html"]}));
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "sent");
    assert_eq!(delivery["attempts"], 2, "{delivery:#}");
    assert_eq!(delivery["last_error"], "alice@example.com: 554 5.6.0 no html");
    let mails = server.mails();
    assert_eq!(by_recipient(&mails), BOTH, "each once");
    let html: Vec<bool> = mails.iter().map(|mail| mail.text.contains("text/html")).collect();
    assert_eq!(html, [true, false]);
}

#[test]
fn a_mail_that_nobody_takes_is_a_dead_letter() {
    let no = ["554 5.6.0 no"; 4];
    let server = MailServer::new(&json!({"DATA": no}));
    let (_place, tocsin) = telling(&rules(&server.url(GOOD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "dead");
    assert_eq!(delivery["attempts"], 2, "as it is, and plainly");
    let error = delivery["last_error"].as_str().unwrap();
    assert!(error.contains("bob@example.com: 554 5.6.0 no"), "{error}");
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn a_wrong_password_is_the_destinations_trouble_and_is_waited_for() {
    let server = MailServer::new(&json!({}));
    let (_place, tocsin) = telling(&rules(&server.url(BAD), ""), &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for("/api/deliveries?status=pending", |deliveries| {
        Some(deliveries[0].clone()).filter(|delivery| !delivery["last_error"].is_null())
    });
    let error = delivery["last_error"].as_str().unwrap();
    assert!(error.starts_with("535 5.7.8 "), "{error}");
    assert!(!error.contains("guess"), "{error}");
    let time = |key: &str| delivery[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let pause = time("next_attempt_at").duration_since(time("created_at")).as_secs();
    assert!((149..=310).contains(&pause), "{delivery:#}");
}

#[test]
fn a_mail_that_waited_for_the_right_password_goes_out_once_it_is_there() {
    let server = MailServer::new(&json!({}));
    // The last attempt is made when the time is up, so that the test need not wait for a probe.
    let patience = "    give_up_after: 4s";
    let (place, tocsin) = telling(&rules(&server.url(BAD), patience), &server.certificate());
    tocsin.hear(&crash("web-1"));
    tocsin.wait_for("/api/deliveries?status=pending", |deliveries| {
        Some(()).filter(|()| !deliveries[0]["last_error"].is_null())
    });
    tocsin.kill();
    place.write_rules(&rules(&server.url(GOOD), patience));
    let _tocsin = place.serve();
    assert_eq!(by_recipient(&server.wait_for_mails(2)), BOTH);
}

#[test]
fn a_password_that_stays_wrong_ends_in_a_dead_letter() {
    let server = MailServer::new(&json!({}));
    let rules = rules(&server.url(BAD), "    give_up_after: 1s");
    let (_place, tocsin) = telling(&rules, &server.certificate());
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "dead");
    assert_eq!(delivery["attempts"], 2, "at once, and when the time is up");
    let error = delivery["last_error"].as_str().unwrap();
    assert!(error.starts_with("535 5.7.8 "), "{error}");
    assert_eq!(server.recipients(), [""; 0]);
}

#[test]
fn a_certificate_that_is_not_trusted_gets_neither_password_nor_mail() {
    let server = MailServer::new(&json!({}));
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let rules = rules(&server.url(GOOD), "    give_up_after: 1s");
    let place = Place::new(&rules).with_environment("SSL_CERT_FILE", "other.pem");
    fs::write(place.path().join("other.pem"), other.cert.pem()).unwrap();
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "dead");
    let error = delivery["last_error"].as_str().unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(server.recipients(), [""; 0]);
}

#[test]
fn a_server_that_is_not_there_is_tried_again_until_it_is_given_up() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new(&rules(&format!("smtp://127.0.0.1:{port}"), "    give_up_after: 2s"));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "dead");
    let error = delivery["last_error"].as_str().unwrap();
    assert!(error.contains("refused"), "{error}");
    assert!(delivery["attempts"].as_u64().unwrap() >= 3, "{delivery:#}");
}

#[test]
fn a_server_that_never_speaks_holds_an_attempt_no_longer_than_its_time() {
    // Connections are made and never accepted.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let place = Place::new(&rules(&url, "    timeout: 300ms\n    give_up_after: 1s"));
    let tocsin = place.serve();
    tocsin.hear(&crash("web-1"));
    let delivery = tocsin.wait_for_delivery("oncall", "dead");
    let error = delivery["last_error"].as_str().unwrap();
    // On a busy machine the attempt ends before what is done for the mail within it does.
    let in_time = ["no answer within 0.27 s", "no answer within 0.3 s"];
    assert!(in_time.iter().any(|words| error.contains(words)), "{error}");
    assert!(delivery["attempts"].as_u64().unwrap() >= 2, "{delivery:#}");
}
