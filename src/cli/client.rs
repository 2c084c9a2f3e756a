//! A running tocsin, asked over its HTTP API: for the commands that take `--url`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args};
use percent_encoding::percent_decode_str;
use reqwest::header::LINK;
use reqwest::{Identity, Method, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Exit, output};
use crate::app;
use crate::deliver::receivers::{install_tls, is_here, with_causes};

/// How long an answer may take: the store behind it may be busy.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where tocsin runs.
#[derive(Clone, Debug, Args)]
pub(super) struct Address {
    /// Where tocsin runs: https://USER:PASSWORD@HOST:PORT where it asks for them, or TOCSIN_USER and
    /// TOCSIN_PASSWORD in the environment.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TOCSIN_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_parser = AddressParser
    )]
    url: Url,
}

/// Reads an address. What is none is not shown as clap would: it may have a password in it.
#[derive(Clone)]
struct AddressParser;

impl TypedValueParser for AddressParser {
    type Value = Url;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Url, clap::Error> {
        value.to_str().and_then(address).ok_or_else(|| {
            let message =
                "--url (or TOCSIN_URL) is no address; write it like http://127.0.0.1:8080";
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// Asks one tocsin, and waits for its answers.
pub(super) struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    /// Without credentials.
    url: Url,
    credentials: Option<Credentials>,
}

/// As they are, and not as a URL has them.
struct Credentials {
    user: String,
    password: Option<String>,
}

impl Client {
    /// Asks what whoever `server.admin` is may ask.
    pub(super) fn new(address: Address) -> anyhow::Result<Client> {
        Credentials::of(&address.url)?;
        Client::of_anyone(address)
    }

    /// Asks what anyone may, be the credentials that are given not whole.
    pub(super) fn of_anyone(address: Address) -> anyhow::Result<Client> {
        install_tls();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let mut url = address.url;
        let credentials = Credentials::of(&url).ok().flatten();
        // What has no host was refused as an address.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        let mut http = reqwest::Client::builder();
        if let Some(path) = named("TOCSIN_CLIENT_CERT") {
            let pem = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
            let identity = Identity::from_pem(&pem).map_err(|error| {
                let causes = with_causes(&error);
                anyhow!("{path} holds no certificate with its key, both as PEM: {causes}")
            })?;
            http = http.identity(identity);
        }
        http = http
            .user_agent(concat!("tocsin/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT);
        if is_here(&url) {
            // No proxy reaches what listens on this machine only.
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| anyhow!("cannot ask over HTTP: {}", with_causes(&error)))?;
        Ok(Client { http, runtime, url, credentials })
    }

    /// Every item of a list, page by page.
    fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.runtime.block_on(async {
            let (mut items, mut next) = (Vec::new(), Some(path.to_owned()));
            let mut seen = HashSet::new();
            while let Some(path) = next {
                let answer = self.ask(Method::GET, &path, None).await?;
                next = next_page(&answer);
                items.extend(self.read::<Vec<Value>>(answer).await?);
                // What leads back would be read for ever, and what begins otherwise is elsewhere.
                seen.insert(path);
                let leads_on = |next: &String| next.starts_with('/') && !seen.contains(next);
                if !next.as_ref().is_none_or(leads_on) {
                    bail!("{}", self.not_ours());
                }
            }
            Ok(items)
        })
    }

    /// Prints a list: as JSON, or the lines of each of its items, and a word if it has `none`.
    pub(super) fn print_list<T: DeserializeOwned>(
        &self,
        path: &str,
        json: bool,
        lines: impl Fn(&T) -> Vec<String>,
        none: &str,
    ) -> anyhow::Result<Exit> {
        let items = Value::Array(self.list(path)?);
        if json {
            output::data(items)?;
            return Ok(Exit::Done);
        }
        let rows: Vec<T> = understood(items)?;
        for row in &rows {
            output::data(lines(row).join("\n"))?;
        }
        if rows.is_empty() {
            output::note(none);
        }
        Ok(Exit::Done)
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            let answer = self.ask(Method::GET, path, None).await?;
            self.read(answer).await
        })
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            let answer = self.ask(Method::POST, path, Some(body)).await?;
            self.read(answer).await
        })
    }

    pub(super) fn delete(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.runtime.block_on(self.ask(Method::DELETE, path, None))?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(()),
            // Others say yes to whatever they are asked.
            _ => bail!("{}", self.not_ours()),
        }
    }

    /// The answer, if it is yes.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response> {
        let url = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        let mut request = self.http.request(method, url);
        if let Some(Credentials { user, password }) = &self.credentials {
            request = request.basic_auth(user, password.as_ref());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.lost(error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let status = answer.status();
        match answer.json::<Refusal>().await {
            Ok(refusal) if status == StatusCode::UNAUTHORIZED => bail!(
                "{}; they go into --url, or into TOCSIN_USER and TOCSIN_PASSWORD",
                refusal.error
            ),
            Ok(refusal) => bail!("{}", refusal.error),
            Err(_) => bail!("{} answered {status}, which is no answer of tocsin's", self.shown()),
        }
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> anyhow::Result<T> {
        answer.json().await.map_err(|error| match error.is_decode() {
            true => anyhow!(self.not_ours()),
            false => self.lost(error),
        })
    }

    fn lost(&self, error: reqwest::Error) -> anyhow::Error {
        // The URL may hold a password.
        let error = error.without_url();
        if error.is_timeout() {
            return anyhow!("no answer from {} within {} s", self.shown(), TIMEOUT.as_secs());
        }
        let causes = with_causes(&error);
        anyhow!("cannot reach {}: {causes}; does tocsin run there? --url says where", self.shown())
    }

    fn not_ours(&self) -> String {
        format!("what {} answered is no answer of tocsin's", self.shown())
    }

    /// Where it is.
    fn shown(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

impl Credentials {
    /// What the URL has, and what it lacks of the environment's; none if there is no password.
    fn of(url: &Url) -> anyhow::Result<Option<Credentials>> {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let given = Some(decoded(url.username())).filter(|user| !user.is_empty());
        let password = url.password().map(decoded).or_else(|| named("TOCSIN_PASSWORD"));
        let user = match (given, &password) {
            (Some(user), _) => user,
            (None, None) => return Ok(None),
            (None, Some(_)) => named("TOCSIN_USER").context(
                "TOCSIN_PASSWORD is set and TOCSIN_USER is not; set it to the user of `server.admin`",
            )?,
        };
        Ok(Some(Credentials { user, password }))
    }
}

/// What an answer says, as tocsin writes it.
///
/// # Errors
/// If it says something else.
pub(super) fn understood<T: DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer)
        .context("the answer cannot be read; is that tocsin of another version?")
}

/// A variable that is set to something.
fn named(name: &str) -> Option<String> {
    app::environment(name).filter(|value| !value.is_empty())
}

/// The path of the page after this one (RFC 8288, as tocsin writes it).
fn next_page(answer: &Response) -> Option<String> {
    let link = answer.headers().get(LINK)?.to_str().ok()?;
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| path.to_owned())
}

/// An HTTP address that paths can be put behind.
fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.query().is_none() && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && is_plain).then_some(url)
}
