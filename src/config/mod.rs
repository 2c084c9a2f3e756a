//! The rules file: read as written, validated whole, every error with its place.
//!
//! The only configuration there is. What it yields can be trusted by the rest of the crate.

mod cases;
mod conditions;
mod duration;
mod fields;
mod inhibit;
mod masking;
mod mutes;
mod problem;
mod rate;
mod receivers;
mod report;
mod rules;
mod schema;
mod secrets;
mod server;
mod variables;
mod yaml;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use crate::message::Templates;
use crate::password::Password;
use crate::rules::Rules;
use crate::simulation::Suite;
use crate::tls;
use fields::Fields;
use problem::Source;
use report::{Report, quoted};
use secrets::Secrets;
use yaml::{Node, Place, Places, Value};

pub use duration::{parse as parse_duration, write as write_duration};
pub use problem::{Problem, Problems};
pub use rate::Rate;
pub use receivers::{ReceiverKind, Receivers};
pub use schema::schema;

/// A rules file that holds together.
#[derive(Debug)]
pub struct Config {
    /// How to be reached.
    pub server: Server,
    /// Where to keep things.
    pub storage: Storage,
    /// For how long to keep what was received: longer than a day, and than anything that a rule
    /// looks back on.
    pub keep: Duration,
    /// Whom to tell, by name; those that are off are among them.
    pub receivers: Receivers,
    /// The rules. Each names at least one receiver that is there and not off.
    pub rules: Rules,
    /// The rules' own titles and messages.
    pub templates: Templates,
    /// The rules' tests.
    pub tests: Suite,
    /// What an operator should know though it is no error: receivers that are off, states that are
    /// not known.
    pub notes: Vec<String>,
}

/// How to be reached, and by whom.
#[derive(Debug)]
pub struct Server {
    /// `host:port` to listen on.
    pub listen: String,
    /// Where people reach it, without a slash at the end; for links in messages.
    pub external_url: Option<String>,
    /// Whether it may listen on more than loopback though anyone may call.
    pub open: bool,
    /// Any of which lets events in; none lets anyone post.
    pub receive_tokens: Vec<SecretString>,
    /// How many requests one such token lets in.
    pub receive_rate: Option<Rate>,
    /// Who may do all else; anyone may if there is none.
    pub admin: Option<Admin>,
    /// Who is believed where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// What to serve TLS with, instead of plain HTTP.
    pub tls: Option<tls::Files>,
}

/// Who may see and do everything.
#[derive(Debug)]
pub struct Admin {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// Where to keep things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A SQLite file.
    Sqlite(PathBuf),
}

/// A named place to tell.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ReceiverKind,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long a delivery is tried before it goes to the fallback or is a dead letter.
    pub give_up_after: Duration,
    /// Who gets what is for it while it is down.
    pub fallback: Option<String>,
    /// How many messages it may get in a time.
    pub rate: Option<Rate>,
    /// Whether plain HTTP may leave the machine.
    pub allow_http: bool,
}

/// The receiver that everything goes to when none is given or all are off.
pub const CONSOLE: &str = "console";

/// Looks an environment variable up.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Says what is wrong with a receiver: the key that is, and in which way.
pub type Validate<'a> = dyn Fn(&Receiver) -> Vec<(&'static str, String)> + 'a;

/// Reads and checks a rules file. Files that it names are relative to its folder.
///
/// # Errors
/// All that is wrong with it, or why it cannot be read.
pub fn load(path: &Path, env: &Env<'_>, validate: &Validate<'_>) -> Result<Config, Problems> {
    parse(&path.display().to_string(), &text_of(path)?, env, validate)
}

/// Where a rules file says that things are kept. What else is wrong with it is not looked at, and
/// what else it takes from the environment need not be there: whoever saves the database at night
/// knows no secrets.
///
/// # Errors
/// What is wrong with `storage`, or why the file cannot be read.
pub fn load_storage(path: &Path, env: &Env<'_>) -> Result<Storage, Problems> {
    let (name, text) = (path.display().to_string(), text_of(path)?);
    let mut source = Source { name: &name, text: &text, secrets: Vec::new() };
    let mut root =
        yaml::parse(&text).map_err(|error| Problems::at(&source, error.offset, error.message))?;
    let report = Report::default();
    if let Value::Mapping(entries) = &mut root.value {
        for (_, node) in entries.iter_mut().filter(|(key, _)| key.text == "storage") {
            prepare(node, Some(env), &report, &mut source.secrets);
        }
    }
    let storage = Fields::of(&root, "a rules file", &report)
        .map(|mut fields| server::storage(fields.get("storage"), &report).0);
    let (wrong, _) = report.into_parts();
    match storage {
        Some(storage) if wrong.is_empty() => Ok(storage),
        _ => Err(in_source(&source, wrong, &root)),
    }
}

/// The pattern for a label that this text writes as a rules file would, as JSON.
///
/// # Errors
/// What is wrong with it.
pub fn parse_pattern(text: &str) -> Result<serde_json::Value, String> {
    let mut pattern = yaml::parse(text).map_err(|error| error.message)?;
    let report = Report::default();
    // What a shell leaves of a dollar is meant.
    prepare(&mut pattern, None, &report, &mut Vec::new());
    match report.into_parts().0.into_iter().next() {
        Some((_, wrong)) => Err(wrong),
        None if pattern.odd_number().is_some() => {
            Err("labels are text, and it has a number; put quotes around that".into())
        }
        None => Ok(pattern.value.to_json()),
    }
}

/// What was found to be wrong with what was read from this source.
fn in_source(source: &Source<'_>, wrong: Vec<(Place, String)>, root: &Node) -> Problems {
    let places = Places::new(source.text, root);
    let alias = |place| {
        let key = places.alias(place)?;
        Some((key.text.as_str(), places.offset(key.place)))
    };
    Problems::in_source(source, wrong, |place| places.offset(place), alias)
}

/// The text of a rules file, without a mark of its encoding.
fn text_of(path: &Path) -> Result<String, Problems> {
    let bytes = std::fs::read(path).map_err(|error| {
        let message = match error.kind() {
            ErrorKind::NotFound => "there is no such file; name the rules file".into(),
            ErrorKind::IsADirectory => "this is a folder; name the rules file in it".into(),
            _ => format!("the rules file cannot be read: {error}"),
        };
        Problems::with_file(path, message)
    })?;
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let source = Source { name: &name, text: &text, secrets: Vec::new() };
            let message = "this is not UTF-8; save the file in that encoding";
            Err(Problems::at(&source, offset, message.into()))
        }
    }
}

/// Reads and checks the text of a rules file of this name, which places in errors begin with.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(
    name: &str,
    text: &str,
    env: &Env<'_>,
    validate: &Validate<'_>,
) -> Result<Config, Problems> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source { name, text, secrets: Vec::new() };
    let mut root =
        yaml::parse(text).map_err(|error| Problems::at(&source, error.offset, error.message))?;
    let report = Report::default();
    prepare(&mut root, Some(env), &report, &mut source.secrets);
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let config = read(&root, folder, validate, &report);
    let (wrong, notes) = report.into_parts();
    match config {
        Some(config) if wrong.is_empty() => Ok(Config { notes, ..config }),
        _ => Err(in_source(&source, wrong, &root)),
    }
}

/// Reports what no part of a rules file may be; puts variables in, throughout; and gathers the
/// secrets that stand in the file itself.
fn prepare(node: &mut Node, env: Option<&Env<'_>>, report: &Report, secrets: &mut Vec<String>) {
    match &mut node.value {
        Value::Text(text) => {
            match env.map_or(Ok(text.written.clone()), |env| variables::put_in(&text.written, env))
            {
                Ok(value) => text.value = value,
                Err(error) => report.spoiled(node.place, error),
            }
        }
        Value::List(items) => {
            items.iter_mut().for_each(|item| prepare(item, env, report, secrets));
        }
        Value::Mapping(entries) => {
            let mut keys = HashSet::new();
            for (key, value) in entries {
                let merges = (key.text == "<<")
                    .then_some("\"<<\" is not supported; write out what it was to bring in");
                if let Some(wrong) = key.wrong.as_deref().or(merges) {
                    report.spoiled(key.place, wrong);
                    report.pass_over(value.place);
                    value.value = Value::Null;
                }
                if !keys.insert(key.text.clone()) {
                    let message = format!("{} is here twice; keep one", quoted(&key.text));
                    report.wrong(key.place, message);
                }
                prepare(value, env, report, secrets);
                if masking::SECRET_KEYS.contains(&key.text.as_str()) {
                    note_secrets(value, secrets);
                }
            }
        }
        Value::Tagged => {
            report.spoiled(
                node.place,
                "tags are not for rules files; put quotes around a text with \"!\"",
            );
        }
        Value::Number(numeral) if !numeral.number.is_finite() => {
            report.spoiled(node.place, "this is no number to compare with, or it needs quotes");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Notes what stands here as secrets: a text or, while one takes the place of another, a list.
fn note_secrets(node: &Node, secrets: &mut Vec<String>) {
    match &node.value {
        Value::Text(text) if !masking::is_reference(&text.written) => {
            // What is shorter is found in innocent words.
            let pieces = text.written.split_whitespace().filter(|piece| piece.len() > 5);
            secrets.extend(pieces.map(str::to_owned));
        }
        Value::List(items) => items.iter().for_each(|item| note_secrets(item, secrets)),
        _ => {}
    }
}

/// The configuration, without its notes; `None` if it is none at all.
fn read(root: &Node, folder: &Path, validate: &Validate<'_>, report: &Report) -> Option<Config> {
    if let Value::Null = root.value {
        report.wrong(root.place, "the file is empty; see rules.example.yaml for one to begin with");
        return None;
    }
    let mut fields = Fields::of(root, "a rules file", report)?;
    let secrets = Secrets { folder, report };
    let server = server::server(fields.get("server"), secrets, report);
    let (storage, keep) = server::storage(fields.get("storage"), report);
    let reader = receivers::Reader::new(secrets, validate, report);
    let mut receivers = reader.read(fields.get("receivers"));
    let mute_times = mutes::read(fields.get("mute_times"), report);
    let reader = rules::Reader { keep, receivers: &receivers, mute_times: &mute_times, report };
    let (rules, templates) = reader.read(fields.get("defaults"), fields.get("rules"));
    let reader = inhibit::Reader::new(&rules, fields.get("rules"), report);
    let inhibits = reader.read(fields.get("inhibit"));
    let as_written = || Rules::new(rules.clone()).with_inhibits(inhibits.clone());
    let tests = tests(as_written, &receivers, &mut fields, report);
    fields.finish(&[]);

    let rules = Rules::new(rules::without_those_off(rules, &receivers)).with_inhibits(inhibits);
    rules::note_those_off(&receivers, &rules, report);
    let is_told = rules.iter().any(|rule| rule.tells(CONSOLE));
    if is_told || receivers.fall_back_to(CONSOLE) {
        receivers.add_console();
    }
    let rules = rules.with_fallbacks(receivers.fallbacks());
    let (keep, notes) = (keep.length, Vec::new());
    Some(Config { server, storage, keep, receivers, rules, templates, tests, notes })
}

/// The tests of these rules, which tell even those receivers that are off.
fn tests(
    rules: impl FnOnce() -> Rules,
    receivers: &Receivers,
    fields: &mut Fields<'_>,
    report: &Report,
) -> Suite {
    let Some(node) = fields.get("tests") else { return Suite::default() };
    let rules = rules();
    let names = cases::rule_names(fields.get("rules"));
    let cases = cases::Reader { rules: &rules, names, receivers, report }.read(node);
    Suite { rules, cases }
}

#[cfg(test)]
mod tests;
