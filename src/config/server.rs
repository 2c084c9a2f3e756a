//! `server` and `storage`: how to be reached, and where to keep things.

use std::path::PathBuf;
use std::str::FromStr;

use super::fields::Fields;
use super::report::Report;
use super::yaml::Node;
use super::{Server, Storage};

/// Keys that a later version has.
const SERVER_LATER: [&str; 6] =
    ["receive_token", "receive_token_file", "admin", "trusted_proxies", "tls", "tls_cert"];
const STORAGE_LATER: [&str; 2] = ["keep", "url_file"];

impl Default for Server {
    fn default() -> Server {
        Server { listen: "127.0.0.1:8080".into(), external_url: None, open: false }
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

pub(super) fn server(node: Option<&Node>, report: &Report) -> Server {
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
    server.external_url =
        fields.web_url("external_url").map(|url| url.trim_end_matches('/').to_owned());
    server.open = fields.bool("open").unwrap_or_default();
    fields.finish(&SERVER_LATER);
    server
}

pub(super) fn storage(node: Option<&Node>, report: &Report) -> Storage {
    let mut storage = Storage::default();
    let Some(mut fields) = node.and_then(|node| Fields::of(node, "\"storage\"", report)) else {
        return storage;
    };
    let place = fields.get("url").map(|node| node.place);
    if let (Some(url), Some(place)) = (fields.text("url"), place) {
        match url.parse() {
            Ok(url) => storage = url,
            Err(error) => report.wrong(place, format!("\"url\" {error}")),
        }
    }
    fields.finish(&STORAGE_LATER);
    storage
}
