//! What leaves the machine, and what does not: proxies, certificates, forbidden addresses.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::{Place, Sink};

fn rules(webhook_url: &str, more: &str) -> String {
    format!(
        "receivers: {{ ops: {{ slack: {{ webhook_url: \"{webhook_url}\" }}{more} }} }}\n\
         rules: [{{ name: crashed, when: {{ state: CRASHED }}, notify: [ops] }}]\n"
    )
}

const SEND: [&str; 4] = ["send", "rules.yaml", "--receiver", "ops"];

#[test]
fn what_is_for_this_machine_does_not_leave_it_through_a_proxy() {
    let (sink, proxy) = (Sink::new(), Sink::new());
    let place = Place::new(&rules(&sink.url(), ""))
        .with_environment("HTTP_PROXY", &proxy.base())
        .with_environment("ALL_PROXY", &proxy.base());
    let (code, _, stderr) = place.run(&SEND);
    assert_eq!((code, sink.heard().len(), proxy.heard().len()), (0, 1, 0), "{stderr}");

    let tocsin = place.serve();
    let (code, _, stderr) = place.run(&["silences", "list", "--url", tocsin.base()]);
    assert_eq!((code, proxy.heard().len()), (0, 0), "{stderr}");
}

#[test]
fn a_proxy_of_the_environment_learns_the_name_of_a_place_and_no_secret() {
    let proxy = Sink::answering(407, "who are you");
    let url = "https://hooks.example.com/services/T0/B0/s3cret";
    let through = proxy.base().replace("http://", "http://me:pr0xy-s3cret@");
    let place = Place::new(&rules(url, "")).with_environment("HTTPS_PROXY", &through);
    let (code, stdout, stderr) = place.run(&SEND);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(!format!("{stdout}{stderr}").contains("s3cret"), "{stdout}{stderr}");
    let heard = proxy.heard();
    assert_eq!(heard[0].1.path, "hooks.example.com:443");
    assert_eq!(heard[0].1.header("proxy-authorization"), Some("Basic bWU6cHIweHktczNjcmV0"));
    assert!(heard.iter().all(|(_, request)| !format!("{request:?}").contains("/services/")));

    let place = Place::new(&rules("https://hooks.example.invalid/s3cret", ""))
        .with_environment("HTTPS_PROXY", &proxy.base())
        .with_environment("NO_PROXY", "example.invalid");
    assert_eq!(place.run(&SEND).0, 1);
    assert_eq!(proxy.heard().len(), heard.len(), "what is in NO_PROXY takes no proxy");
}

#[test]
fn nobody_is_told_whose_certificate_nobody_vouches_for() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let (chain, key) = (vec![certified.cert.der().clone()], PrivateKeyDer::from(key));
    tocsin::deliver::receivers::install_tls();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/s3cret", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = [0; 64 * 1024];
            // It fails where the client does not trust us.
            if stream.read(&mut request).is_ok() {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                stream.write_all(answer.as_bytes()).unwrap();
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });

    let place = Place::new(&rules(&url, ""));
    let (code, stdout, stderr) = place.run(&SEND);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.contains("certificate") && !stdout.contains("s3cret"), "{stdout}");

    let trusted = place.path().join("trusted.pem");
    fs::write(&trusted, certified.cert.pem()).unwrap();
    let trusted: &Path = &trusted;
    let place = Place::new(&rules(&url, ""))
        .with_environment("SSL_CERT_FILE", &trusted.display().to_string());
    let (code, stdout, stderr) = place.run(&SEND);
    assert_eq!((code, stdout.as_str()), (0, "ok\n"), "{stderr}");
}

#[test]
fn a_rules_file_that_leads_to_a_metadata_service_is_refused_with_its_place() {
    let url = "http://169.254.169.254/latest/meta-data/iam/s3cret";
    let place = Place::new(&rules(url, ", allow_http: true"));
    let (code, _, stderr) = place.run(&["check", "rules.yaml"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.starts_with("rules.yaml:1:"), "{stderr}");
    assert!(stderr.contains("nothing is sent there"), "{stderr}");
    assert!(!stderr.contains("s3cret"), "{stderr}");
}
