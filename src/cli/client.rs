//! A running tocsin, asked over its HTTP API: for the commands that take `--url`.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
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
        value_parser = address
    )]
    url: Url,
}

/// Asks one tocsin, and waits for its answers.
pub(super) struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    url: Url,
}

impl Client {
    pub(super) fn new(address: Address) -> anyhow::Result<Client> {
        install_tls();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let mut url = address.url;
        let named = |name| app::environment(name).filter(|value| !value.is_empty());
        if let (Some(password), "") = (named("TOCSIN_PASSWORD"), url.username()) {
            let user = named("TOCSIN_USER").context(
                "TOCSIN_PASSWORD is set and TOCSIN_USER is not; set it to the user of `server.admin`",
            )?;
            // What has no host was refused as an address.
            let _ = url.set_username(&user).and_then(|()| url.set_password(Some(&password)));
        }
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
        Ok(Client { http, runtime, url })
    }

    /// Every item of a list, page by page.
    fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.runtime.block_on(async {
            let (mut items, mut next) = (Vec::new(), Some(path.to_owned()));
            while let Some(path) = next {
                let answer = self.ask(Method::GET, &path, None).await?;
                next = next_page(&answer);
                items.extend(self.read::<Vec<Value>>(answer).await?);
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
        self.runtime.block_on(self.ask(Method::DELETE, path, None)).map(drop)
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
            true => anyhow!("what {} answered is no answer of tocsin's", self.shown()),
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

    /// Where it is, without credentials.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        // What has no host has no credentials.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        url.as_str().trim_end_matches('/').to_owned()
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

/// The path of the page after this one (RFC 8288, as tocsin writes it).
fn next_page(answer: &Response) -> Option<String> {
    let link = answer.headers().get(LINK)?.to_str().ok()?;
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| path.to_owned())
}

fn address(text: &str) -> Result<Url, String> {
    let wrong = || "it is no address; write it like http://127.0.0.1:8080".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    match matches!(url.scheme(), "http" | "https") && url.query().is_none() {
        true => Ok(url),
        false => Err(wrong()),
    }
}
