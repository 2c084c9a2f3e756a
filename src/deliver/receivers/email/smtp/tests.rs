use super::super::scripted::{CLOSE, HANG, Scripted};
use super::*;

fn server(url: &str) -> Server {
    Server::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn how_to_get_in_is_in_the_url() {
    use Security::{Plain, StartTls, Tls};
    for (url, host, port, security) in [
        ("smtp://127.0.0.1", "127.0.0.1", 25, Plain),
        ("smtp://localhost:2525/", "localhost", 2525, Plain),
        ("smtp://[::1]:2525?tls=required", "::1", 2525, StartTls),
        ("smtp://mail.example.com", "mail.example.com", 587, StartTls),
        ("smtp://mail.example.com:25", "mail.example.com", 25, StartTls),
        ("smtps://u:p@mail.example.com", "mail.example.com", 465, Tls),
    ] {
        let server = server(url);
        assert_eq!(
            (server.host.as_str(), server.port, server.security),
            (host, port, security),
            "{url}"
        );
    }
}

#[test]
fn user_and_password_are_decoded() {
    let server = server("smtps://ops%40example.com:a%2Fb%3A%C3%A9@mail.example.com");
    assert!(server.credentials == Some(("ops@example.com".into(), "a/b:é".into())));
}

#[test]
fn what_a_server_repeats_of_the_credentials_is_hidden_before_its_words_are_cut() {
    let server = server("smtp://ops:pa%2Fssword@mail.example.com");
    for repeated in ["pa/ssword", "AG9wcwBwYS9zc3dvcmQ=", "cGEvc3N3b3Jk"] {
        for before in [0, 292, 296] {
            let words = format!("535 {} {repeated}\nand more", "x".repeat(before));
            let judged = server.in_a_line(Judgement::Destination(words));
            let Judgement::Destination(words) = judged else { panic!("{judged:?}") };
            assert!(words.starts_with("535 ") && !words.contains(&repeated[..4]), "{words}");
        }
    }
}

#[test]
fn urls_that_mean_nothing_are_refused() {
    for url in [
        "smtp://",
        "mail.example.com",
        "smtp://u@mail.example.com",
        "smtp://:p@mail.example.com",
        "smtp://mail.example.com?tls=none",
        "smtp://u:a#b@mail.example.com",
        "smtp://mail.example.com/inbox",
        "smtp://169.254.169.254",
        "smtps://u:p@2852039166",
    ] {
        assert!(Server::parse(url).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_name_that_stands_for_a_metadata_service_is_the_destinations_trouble() {
    // As if its name had been another when the file was read.
    let server = Server { host: "2852039166".into(), ..server("smtp://mail.example.com") };
    let to: Address = "oncall@example.com".parse().unwrap();
    let judged = server.deliver(b"", &to, &[&to], Duration::from_secs(5)).await;
    let [(_, Judgement::Destination(words))] = &judged[..] else { panic!("{judged:?}") };
    assert!(words.starts_with("its name stands for 169.254.169.254"), "{words}");
}

#[test]
fn failures_are_judged_by_what_is_to_be_done() {
    let w = || "words".to_owned();
    let reply = |code| Failure::Reply(code, w());
    for (phase, failure, judgement) in [
        (Phase::Connect, Failure::Lost(w()), Judgement::Untried(w())),
        (Phase::Connect, Failure::Setup(w()), Judgement::Destination(w())),
        (Phase::Connect, reply(421), Judgement::Untried(w())),
        (Phase::Connect, reply(554), Judgement::Destination(w())),
        (Phase::Auth, reply(535), Judgement::Destination(w())),
        (Phase::Auth, reply(534), Judgement::Destination(w())),
        (Phase::Auth, reply(454), Judgement::Untried(w())),
        (Phase::Mail, reply(530), Judgement::Destination(w())),
        (Phase::Mail, reply(451), Judgement::Untried(w())),
        (Phase::Mail, reply(553), Judgement::Destination(w())),
        (Phase::Mail, reply(552), Judgement::Refused(w())),
        (Phase::Rcpt, reply(550), Judgement::Mailbox(w())),
        (Phase::Rcpt, reply(552), Judgement::Transient(w())),
        (Phase::Rcpt, reply(450), Judgement::Transient(w())),
        (Phase::Rcpt, Failure::Lost(w()), Judgement::Transient(w())),
        (Phase::Rcpt, Failure::Recipient(w()), Judgement::Mailbox(w())),
        (Phase::Data, reply(554), Judgement::Refused(w())),
        (Phase::Data, Failure::Lost(w()), Judgement::Transient(w())),
        (Phase::End, reply(552), Judgement::Refused(w())),
        (Phase::End, reply(554), Judgement::Refused(w())),
        (Phase::End, reply(451), Judgement::Transient(w())),
        (Phase::End, Failure::Lost(w()), Judgement::Unknown(w())),
    ] {
        let words = format!("{phase:?} {failure:?}");
        assert_eq!(judge(Err((phase, failure))), judgement, "{words}");
    }
}

/// What becomes of a mail from one to these, within this time.
async fn delivered(server: &Scripted, to: &[&str], time: Duration) -> Vec<Judgement> {
    let to: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
    let to: Vec<&Address> = to.iter().collect();
    let from: Address = "alerts@example.com".parse().unwrap();
    let server = Server::parse(&server.url()).unwrap();
    let judged = server.deliver(b"Subject: a\r\n\r\n.\r\nb\r\n", &from, &to, time).await;
    judged.into_iter().map(|(_, judgement)| judgement).collect()
}

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";
const LONG: Duration = Duration::from_secs(30);

fn taken() -> Judgement {
    Judgement::Reached("250 fine".into())
}

/// To a step, this.
fn when(step: &'static str, reply: &'static str) -> Scripted {
    Scripted::new(move |asked| asked.starts_with(step).then_some(reply))
}

#[tokio::test]
async fn a_mail_is_taken_by_a_server_that_says_no_more_than_codes() {
    let server = Scripted::new(|asked| match asked.split([' ', ':']).next() {
        Some("") => Some("220"),
        Some("DATA") => Some("354"),
        Some("EHLO") => Some("250-mail\r\n250"),
        _ => Some("250"),
    });
    let judged = delivered(&server, &[ALICE, BOB], LONG).await;
    assert_eq!(judged, [Judgement::Reached("250".into()), Judgement::Reached("250".into())]);
    assert_eq!(server.asked("EHLO").len(), 1);
}

#[tokio::test]
async fn a_step_is_done_only_by_the_reply_that_it_waits_for() {
    for (step, reply) in [
        ("", "354 go on"),
        ("EHLO", "354 go on"),
        ("MAIL", "354 go on"),
        ("RCPT", "354 go on"),
        ("DATA", "250 fine"),
        ("DATA", "334 more"),
        ("END", "354 go on"),
    ] {
        let server = when(step, reply);
        let judged = delivered(&server, &[ALICE], LONG).await;
        assert!(!matches!(judged[..], [Judgement::Reached(_)]), "{step} {reply}: {judged:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_a_reply_ahead_has_taken_nothing() {
    for step in ["EHLO", "MAIL", "RCPT"] {
        let server = Scripted::new(move |asked| match asked {
            _ if asked.starts_with(step) => Some("250 fine\r\n250 fine"),
            _ if asked.starts_with("END") => Some("554 no"),
            _ => None,
        });
        let judged = delivered(&server, &[ALICE], LONG).await;
        let words = format!("{judged:?}");
        assert!(words.contains("said, without being asked: 250 fine"), "{step}: {words}");
        assert!(!matches!(judged[..], [Judgement::Reached(_)]), "{step}: {words}");
    }
}

#[tokio::test]
async fn keywords_of_a_server_know_no_case() {
    let server = when("EHLO", "250-mail\r\n250-auth=plain\r\n250 smtpUTF8");
    let url = format!("smtp://u:p@127.0.0.1:{}", server.port);
    let to: Address = "bübe@example.com".parse().unwrap();
    let from: Address = "alerts@example.com".parse().unwrap();
    let judged = Server::parse(&url).unwrap().deliver(b"a", &from, &[&to], LONG).await;
    assert_eq!(judged[0].1, taken());
    assert_eq!(server.asked("AUTH"), ["AUTH PLAIN AHUAcA=="]);
    assert_eq!(server.asked("MAIL"), ["MAIL FROM:<alerts@example.com> SMTPUTF8"]);
}

#[tokio::test]
async fn who_cannot_get_in_is_told_what_is_offered() {
    for (offers, words) in [
        ("250-mail\r\n250 SIZE", "the server offers no AUTH here"),
        ("250-mail\r\n250 AUTH", "the server offers no AUTH here"),
        (
            "250-mail\r\n250-AUTH CRAM-MD5\r\n250 AUTH=NTLM",
            "the server offers AUTH by CRAM-MD5, NTLM alone, and tocsin knows PLAIN and LOGIN",
        ),
    ] {
        let server = when("EHLO", offers);
        let url = format!("smtp://u:p@127.0.0.1:{}", server.port);
        let to: Address = ALICE.parse().unwrap();
        let judged = Server::parse(&url).unwrap().deliver(b"a", &to, &[&to], LONG).await;
        let Judgement::Destination(said) = &judged[0].1 else { panic!("{judged:?}") };
        assert!(said.starts_with(words), "{said}");
    }
}

#[tokio::test]
async fn login_is_had_where_plain_is_not_offered() {
    let server = Scripted::new(|asked| match asked {
        "AUTH LOGIN" => Some("334 VXNlcm5hbWU6"),
        "dQ==" => Some("334"),
        "cA==" => Some("235 in"),
        _ if asked.starts_with("EHLO") => Some("250-mail\r\n250 AUTH LOGIN"),
        _ => None,
    });
    let url = format!("smtp://u:p@127.0.0.1:{}", server.port);
    let to: Address = ALICE.parse().unwrap();
    let judged = Server::parse(&url).unwrap().deliver(b"a", &to, &[&to], LONG).await;
    assert_eq!(judged[0].1, taken());
}

#[tokio::test]
async fn who_asks_for_tls_of_a_server_that_begins_in_the_clear_is_told_how_to_begin() {
    let server = Scripted::new(|_| None);
    let url = format!("smtps://localhost:{}", server.port);
    crate::deliver::receivers::install_tls();
    let to: Address = ALICE.parse().unwrap();
    let judged = Server::parse(&url).unwrap().deliver(b"a", &to, &[&to], LONG).await;
    let Judgement::Destination(words) = &judged[0].1 else { panic!("{judged:?}") };
    assert!(words.contains("does not speak TLS here") && words.contains("smtp://"), "{words}");
}

#[tokio::test]
async fn who_begins_in_the_clear_where_no_greeting_comes_is_told_that_tls_may_be_waited_for() {
    let server = when("", HANG);
    let judged = delivered(&server, &[ALICE], Duration::from_millis(100)).await;
    let words =
        "no answer within 0.1 s; where TLS begins at once, the URL has to begin with smtps://";
    assert_eq!(judged, [Judgement::Untried(words.into())]);
}

#[tokio::test]
async fn nobody_waits_for_a_server_that_does_not_say_goodbye() {
    let server = when("QUIT", HANG);
    let began = Instant::now();
    assert_eq!(delivered(&server, &[ALICE], LONG).await, [taken()]);
    assert!(began.elapsed() < LONG / 3, "{:?}", began.elapsed());
    assert_eq!(server.asked("QUIT").len(), 1);
}

#[tokio::test]
async fn a_mailbox_at_which_the_connection_breaks_breaks_it_for_nobody_else() {
    for (step, reply) in [
        ("RCPT TO:<alice", CLOSE),
        ("RCPT TO:<alice", "421 no(closes)"),
        ("RCPT TO:<alice", "450 later(closes)"),
        ("RCPT TO:<alice", "250 fine\r\n250 fine"),
        ("END alice", CLOSE),
    ] {
        let server = when(step, reply);
        let judged = delivered(&server, &[ALICE, BOB], LONG).await;
        assert!(judged[0] != taken() && judged[1] == taken(), "{step} {reply}: {judged:?}");
        assert_eq!(server.asked("").iter().filter(|asked| asked.is_empty()).count(), 2);
    }
}

#[tokio::test]
async fn a_server_that_closes_after_so_many_mails_is_connected_to_again() {
    let server = when("END", "250 fine(closes)");
    assert_eq!(delivered(&server, &[ALICE, BOB], LONG).await, [taken(), taken()]);
    assert_eq!(server.asked("END"), [format!("END {ALICE}"), format!("END {BOB}")]);
}

#[tokio::test]
async fn a_server_that_takes_no_mails_is_asked_once_for_all() {
    let server = when("MAIL", "421 too many(closes)");
    let busy = Judgement::Untried("421 too many".into());
    assert_eq!(delivered(&server, &[ALICE, BOB], LONG).await, [busy.clone(), busy]);
    assert_eq!(server.asked("MAIL").len(), 1);
}

#[tokio::test]
async fn no_mail_is_begun_that_would_be_broken_off() {
    let server = Scripted::new(|asked| {
        if asked.starts_with("END") {
            std::thread::sleep(Duration::from_millis(1200));
        }
        None
    });
    let judged = delivered(&server, &[ALICE, BOB], Duration::from_secs(2)).await;
    assert_eq!(judged[0], taken());
    assert!(matches!(&judged[1], Judgement::Untried(words) if words.starts_with("not tried")));
    assert_eq!(server.asked("RCPT").len(), 1);
}
