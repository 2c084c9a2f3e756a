//! TLS: served from files, read again when they change, and with certificates of clients.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Certificate;
use reqwest::blocking::Client;

use crate::harness::{PATIENCE, Place, Tocsin, client, crash, wait_until};

/// An authority of its own for each test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this machine and its key, as PEM.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A client that trusts this authority and no other, and has not spoken to anyone yet.
    fn client(&self, identity: Option<&str>) -> Client {
        client();
        let root = Certificate::from_pem(self.pem().as_bytes()).unwrap();
        let mut builder = Client::builder().tls_certs_only([root]).timeout(PATIENCE);
        if let Some(pem) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }
}

fn serving(authority: &Authority, more: &str) -> Place {
    let place = Place::new(&format!(
        "server: {{ tls: {{ cert_file: tls/cert.pem, key_file: tls/key.pem{more} }} }}\nrules: []\n"
    ));
    fs::create_dir(place.path().join("tls")).unwrap();
    renew(&place, authority);
    write(&place, "ca.pem", &authority.pem());
    place
}

fn renew(place: &Place, authority: &Authority) {
    let (cert, key) = authority.issue();
    write(place, "cert.pem", &cert);
    write(place, "key.pem", &key);
}

fn write(place: &Place, name: &str, contents: &str) -> PathBuf {
    let path = place.path().join("tls").join(name);
    fs::write(&path, contents).unwrap();
    path
}

/// The status of an answer to an event, if there is one.
fn post(client: &Client, tocsin: &Tocsin) -> Option<u16> {
    let post = client.post(format!("{}/api/post", tocsin.base())).body(crash("a").to_string());
    post.send().ok().map(|answer| answer.status().as_u16())
}

#[test]
fn events_come_in_over_tls() {
    let authority = Authority::new();
    let place = serving(&authority, "");
    let tocsin = place.serve();
    assert!(tocsin.base().starts_with("https://"), "{}", tocsin.base());
    let client = authority.client(None);
    assert_eq!([post(&client, &tocsin), post(&client, &tocsin)], [Some(200); 2]);
    assert_eq!(post(&Authority::new().client(None), &tocsin), None, "not to whom they trust");

    let ca = write(&place, "ca.pem", &authority.pem());
    let mut list = place.command(&["silences", "list", "--url", tocsin.base()]);
    let output = list.env("SSL_CERT_FILE", ca).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), "there are no silences\n"));
}

#[test]
fn who_does_not_encrypt_is_told_to_and_stops_nobody() {
    let authority = Authority::new();
    let place = serving(&authority, "");
    let tocsin = place.serve();
    let plain = tocsin.base().replace("https://", "http://");
    let answer = client().get(format!("{plain}/healthz")).send().unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().unwrap().contains("use https:// in the URL"));

    let address: SocketAddr = plain.strip_prefix("http://").unwrap().parse().unwrap();
    let silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut broken = TcpStream::connect(address).unwrap();
    broken.set_read_timeout(Some(PATIENCE)).unwrap();
    broken.write_all(&[[22, 3, 1].as_slice(), &[255; 600]].concat()).unwrap();
    let _ = broken.read_to_end(&mut Vec::new());
    assert_eq!(post(&authority.client(None), &tocsin), Some(200));
    drop(silent);
}

#[test]
fn a_new_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let old = Authority::new();
    let place = serving(&old, "");
    let mut tocsin = place.serve();
    let kept = old.client(None);
    assert_eq!(post(&kept, &tocsin), Some(200));

    write(&place, "key.pem", &Authority::new().issue().1);
    let line = tocsin.wait_for_line("the new certificate cannot be used");
    assert!(line.contains("is not the key of the certificate"), "{line}");
    assert_eq!(post(&old.client(None), &tocsin), Some(200), "the one before goes on");

    let new = Authority::new();
    renew(&place, &new);
    tocsin.wait_for_line("the certificate is read anew");
    let served = || post(&new.client(None), &tocsin).filter(|status| *status == 200);
    wait_until(served, || "the new one is not served".into());
    assert_eq!(post(&old.client(None), &tocsin), None);
    assert_eq!(post(&kept, &tocsin), Some(200), "who is connected stays so");
}

#[test]
fn where_clients_need_a_certificate_nobody_else_gets_an_answer() {
    let authority = Authority::new();
    let place = serving(&authority, ", client_ca_file: tls/ca.pem");
    let tocsin = place.serve();
    let (cert, key) = authority.issue();
    let identity = format!("{cert}{key}");
    assert_eq!(post(&authority.client(Some(&identity)), &tocsin), Some(200));
    assert_eq!(post(&authority.client(None), &tocsin), None);
    let (cert, key) = Authority::new().issue();
    assert_eq!(post(&authority.client(Some(&format!("{cert}{key}"))), &tocsin), None);

    let ca = write(&place, "ca.pem", &authority.pem());
    let mine = write(&place, "mine.pem", &identity);
    let mut list = place.command(&["silences", "list", "--url", tocsin.base()]);
    list.env("SSL_CERT_FILE", ca);
    assert_eq!(list.output().unwrap().status.code(), Some(1));
    assert_eq!(list.env("TOCSIN_CLIENT_CERT", mine).output().unwrap().status.code(), Some(0));
}
