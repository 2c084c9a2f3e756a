//! `server` and `storage`: how to be reached and by whom, and where to keep things.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use super::fields::Fields;
use super::report::Report;
use super::secrets::Secrets;
use super::yaml::{Node, Place};
use super::{Admin, Server, Storage};
use crate::password::Password;
use crate::tls;

/// What is shorter can be guessed, by someone with many addresses and a few weeks.
const SHORT_TOKEN: usize = 16;

/// Keys that a later version has.
const STORAGE_LATER: [&str; 1] = ["url_file"];

/// What `keep` has to be longer than, whatever the rules.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long things are kept, and where the file says so.
#[derive(Clone, Copy)]
pub(super) struct Keep {
    pub(super) length: Duration,
    pub(super) place: Option<Place>,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { length: 30 * DAY, place: None }
    }
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: "127.0.0.1:8080".into(),
            external_url: None,
            open: false,
            receive_tokens: Vec::new(),
            receive_rate: None,
            admin: None,
            trusted_proxies: Vec::new(),
            tls: None,
        }
    }
}

impl Default for Storage {
    fn default() -> Storage {
        Storage::Sqlite(PathBuf::from("tocsin.db"))
    }
}

impl Server {
    /// Takes `host:port`, an IPv6 host in brackets.
    ///
    /// # Errors
    /// A sentence on what it must be.
    pub fn check_listen(listen: &str) -> Result<(), String> {
        let well = listen.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
            let plain = !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']);
            (bracketed || plain) && port.parse::<u16>().is_ok()
        });
        if well { Ok(()) } else { Err("must be host:port, like 127.0.0.1:8080".into()) }
    }
}

/// Reads `sqlite:PATH`, the path being relative to the current folder.
impl FromStr for Storage {
    type Err = String;

    fn from_str(url: &str) -> Result<Storage, String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Err("must be sqlite:PATH; postgres:// is not supported yet".into());
        }
        let path = match url.strip_prefix("sqlite:") {
            // As other programs write it: an empty host, then an absolute path.
            Some(rest) if rest.starts_with("///") => &rest[2..],
            Some(rest) if rest.starts_with("//") => "",
            Some(rest) => rest,
            None => "",
        };
        if path.is_empty() || path.starts_with(':') {
            return Err("must be sqlite:PATH, like sqlite:tocsin.db".into());
        }
        Ok(Storage::Sqlite(PathBuf::from(path)))
    }
}

pub(super) fn server(node: Option<&Node>, secrets: Secrets<'_>, report: &Report) -> Server {
    let mut server = Server::default();
    let Some(mut fields) = node.and_then(|node| Fields::of(node, "\"server\"", report)) else {
        return server;
    };
    let place = fields.get("listen").map(|node| node.place);
    if let (Some(listen), Some(place)) = (fields.text("listen"), place) {
        match Server::check_listen(&listen) {
            Ok(()) => server.listen = listen,
            Err(error) => report.wrong(place, format!("\"listen\" {error}")),
        }
    }
    server.external_url = external_url(&mut fields, report);
    server.open = fields.bool("open").unwrap_or_default();
    server.receive_tokens = receive_tokens(&mut fields, secrets, report);
    server.receive_rate = fields.rate("receive_rate");
    server.admin = fields.get("admin").and_then(|node| admin(node, secrets, report));
    server.trusted_proxies = trusted_proxies(&mut fields, report);
    server.tls = fields.get("tls").and_then(|node| tls(node, secrets.folder, report));
    fields.finish(&[]);
    server
}

fn external_url(fields: &mut Fields<'_>, report: &Report) -> Option<String> {
    let url = fields.web_url("external_url")?;
    if url.contains(['?', '#']) {
        let place = fields.get("external_url")?.place;
        let words = "\"external_url\" must have no ? and no #: paths are added to it";
        report.wrong(place, words);
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

fn receive_tokens(
    fields: &mut Fields<'_>,
    secrets: Secrets<'_>,
    report: &Report,
) -> Vec<SecretString> {
    let is_given = fields.get("receive_token").or(fields.get("receive_token_file")).is_some();
    let tokens = secrets.many(fields, "receive_token", "receive_token_file");
    let Some(tokens) = tokens else { return Vec::new() };
    if is_given && tokens.is_empty() {
        report.note("anyone may post events: \"receive_token\" is empty".into());
    }
    if tokens.iter().any(|token| token.expose_secret().len() < SHORT_TOKEN) {
        report.note(format!(
            "a \"receive_token\" can be guessed: it has fewer than {SHORT_TOKEN} characters; \
             `openssl rand -hex 16` makes one that cannot"
        ));
    }
    tokens
}

fn admin(node: &Node, secrets: Secrets<'_>, report: &Report) -> Option<Admin> {
    let mut fields = Fields::of(node, "\"admin\"", report)?;
    let place = fields.get("user").map_or(fields.place, |node| node.place);
    let user = fields.text("user");
    let user_is_missing = fields.get("user").is_none();
    // Each is asked for, so that none is taken for unknown.
    let given = [
        ("password", fields.get("password").is_some()),
        ("password_file", fields.get("password_file").is_some()),
        ("password_hash", fields.get("password_hash").is_some()),
        ("password_hash_file", fields.get("password_hash_file").is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
    let hash_place = fields.get("password_hash").or(fields.get("password_hash_file"));
    let hash_place = hash_place.map(|node| node.place);
    let secret = match given.as_slice() {
        [key] if key.starts_with("password_hash") => {
            secrets.one(&mut fields, "password_hash", "password_hash_file")
        }
        [_] => secrets.one(&mut fields, "password", "password_file"),
        [] => {
            let message = "\"admin\" needs a \"password\", a \"password_hash\", or a file with one";
            report.wrong(fields.place, message);
            None
        }
        several => {
            let several = several.join("\" and \"");
            report.wrong(fields.place, format!("\"{several}\" are given; keep one"));
            None
        }
    };
    if user_is_missing {
        report.wrong(fields.place, "\"admin\" needs a \"user\"");
    }
    fields.finish(&[]);
    let (user, secret) = (user?, secret?);
    if secret.expose_secret().is_empty() {
        report.note("anyone may see and do everything: the password of \"admin\" is empty".into());
        return None;
    }
    if user.is_empty() || user.contains(|char: char| char == ':' || char.is_control()) {
        report.wrong(place, "\"user\" must be a name without a colon, like ops");
        return None;
    }
    let password = match hash_place {
        None => Password::plain(&secret),
        Some(place) => Password::hashed(&secret)
            .map_err(|error| report.wrong(place, format!("\"password_hash\" {error}")))
            .ok()?,
    };
    Some(Admin { user, password })
}

fn trusted_proxies(fields: &mut Fields<'_>, report: &Report) -> Vec<IpNet> {
    let mut proxies = Vec::new();
    for (place, text) in fields.texts("trusted_proxies").unwrap_or_default() {
        match network(text.value.trim()) {
            Ok(network) => proxies.push(network),
            Err(error) => report.wrong(place, format!("a trusted proxy {error}")),
        }
    }
    proxies
}

/// The network that this text writes, or that of one address.
fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().into(),
        Err(_) => text.parse().map_err(|_| {
            "must be an address or a network, like 10.0.0.7 or 10.0.0.0/8".to_owned()
        })?,
    };
    match network.prefix_len() {
        0 => Err("cannot be anyone: everyone could pretend to be somebody else; name those \
                  that are in front of tocsin"
            .into()),
        _ => Ok(network.trunc()),
    }
}

fn tls(node: &Node, folder: &Path, report: &Report) -> Option<tls::Files> {
    let before = report.count();
    let mut fields = Fields::of(node, "\"tls\"", report)?;
    let places = ["cert_file", "key_file", "client_ca_file"]
        .map(|key| (key, fields.get(key).map(|node| node.place)));
    let [cert, key, client_ca] = places.map(|(key, place)| {
        if place.is_none() && key != "client_ca_file" {
            report.wrong(fields.place, format!("\"tls\" needs \"{key}\""));
        }
        fields.filled(key).map(|path| folder.join(path))
    });
    fields.finish(&[]);
    if report.count() > before {
        return None;
    }
    let files = tls::Files { cert: cert?, key: key?, client_ca };
    for wrong in files.check() {
        let place = places.iter().find(|(name, _)| *name == wrong.key);
        let place = place.and_then(|(_, place)| *place);
        report.wrong(place.unwrap_or(node.place), wrong.to_string());
    }
    Some(files)
}

pub(super) fn storage(node: Option<&Node>, report: &Report) -> (Storage, Keep) {
    let (mut storage, mut keep) = (Storage::default(), Keep::default());
    let Some(mut fields) = node.and_then(|node| Fields::of(node, "\"storage\"", report)) else {
        return (storage, keep);
    };
    let place = fields.get("url").map(|node| node.place);
    if let (Some(url), Some(place)) = (fields.text("url"), place) {
        match url.parse() {
            Ok(url) => storage = url,
            Err(error) => report.wrong(place, format!("\"url\" {error}")),
        }
    }
    let place = fields.get("keep").map(|node| node.place);
    if let (Some(length), Some(place)) = (fields.duration("keep", (Duration::ZERO, "0s")), place) {
        if length > DAY {
            keep = Keep { length, place: Some(place) };
        } else {
            report.wrong(place, "\"keep\" must be longer than a day, like 30d");
        }
    }
    fields.finish(&STORAGE_LATER);
    (storage, keep)
}
