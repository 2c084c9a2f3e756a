//! The rules file as people write it, as types: for the JSON Schema that editors ask for.
//!
//! Nothing is read by these; what a rules file may be is for its readers to say, which know more
//! than a schema can. A test holds the keys here to those that they know.

#![expect(dead_code, reason = "these types are described, and never made")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json, json};

use crate::event::State;
use crate::rules::Field;

/// The JSON Schema (2020-12) of a rules file, as text.
///
/// # Panics
/// Never: a schema is JSON, which can always be written.
#[must_use]
pub fn schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>();
    serde_json::to_string_pretty(&schema).expect("a schema can be written")
}

/// The rules file of tocsin: what to look for, and whom to tell.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "tocsin's rules file")]
struct File {
    /// How to be reached.
    server: Option<Server>,
    /// Where to keep things.
    storage: Option<Storage>,
    /// Places to tell, by name.
    receivers: Option<BTreeMap<String, Receivers>>,
    /// What holds for every rule that does not say otherwise.
    defaults: Option<Defaults>,
    /// Hours at which nobody is to be told, by name.
    mute_times: Option<BTreeMap<String, MuteTime>>,
    /// Which alerts hold others back while they fire.
    inhibit: Option<Vec<Inhibit>>,
    /// What to look for, and whom to tell.
    rules: Option<Vec<Rule>>,
    /// What the rules are to tell of which events; `tocsin test` tries it out.
    tests: Option<Vec<Test>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Server {
    /// `host:port` to listen on; 127.0.0.1:8080 unless given.
    listen: Option<String>,
    /// Where people reach this tocsin: messages link to it.
    external_url: Option<String>,
    /// Whether it may listen on more than loopback though anyone may call.
    open: Option<Flag>,
    /// What lets events in at /api/post: as ?token=, as a Bearer token, or as a Basic password. A
    /// list while one takes the place of another; anyone may post if it is empty.
    receive_token: Option<Secrets>,
    /// Files with nothing but a token in each.
    receive_token_file: Option<OneOrMany>,
    /// How many requests one token lets in; any number unless given.
    receive_rate: Option<Rate>,
    /// Who may see and do everything else.
    admin: Option<Admin>,
    /// Addresses and networks of the proxies in front, whose X-Forwarded-For is believed.
    trusted_proxies: Option<OneOrMany>,
    /// What to serve TLS with, instead of plain HTTP.
    tls: Option<Tls>,
}

/// Who may see and do everything.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&[
    "password", "password_file", "password_hash", "password_hash_file",
])))]
struct Admin {
    /// The name.
    user: Text,
    /// The password; anyone may call if it is empty.
    password: Option<Text>,
    /// A file with nothing but the password in it.
    password_file: Option<String>,
    /// Its argon2id hash, `$argon2id$…`.
    password_hash: Option<String>,
    /// A file with nothing but the hash in it.
    password_hash_file: Option<String>,
}

/// Files of PEM, read again whenever they change.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Tls {
    /// The certificate, and those between it and its authority.
    cert_file: String,
    /// Its private key.
    key_file: String,
    /// Authorities: only clients with a certificate of one of them are let in.
    client_ca_file: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Storage {
    /// `sqlite:PATH`, relative to the folder that tocsin is started in.
    url: Option<String>,
    /// Events that were received longer ago than this, and alerts that ended longer ago, go; 30d
    /// unless given. It must be longer than a day, and than every `within`, `for` and
    /// `expire_after`.
    keep: Option<Duration>,
}

/// A place to tell, or a list of places that are one name.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Receivers {
    One(Box<Receiver>),
    Many(#[schemars(length(min = 1))] Vec<Receiver>),
}

/// A place to tell: one kind, and how to go about it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&[
    "console", "slack", "slack_api", "email", "webhook", "pagerduty", "teams", "discord",
    "telegram", "ntfy", "alertmanager",
])))]
struct Receiver {
    /// Lines on standard output.
    console: Option<Console>,
    /// A Slack incoming webhook, or one that takes the same.
    slack: Option<Slack>,
    /// A channel of Slack, by a bot: with threads.
    slack_api: Option<SlackApi>,
    /// Mail over SMTP.
    email: Option<Email>,
    /// A program of your own: JSON, signed by Standard Webhooks.
    webhook: Option<Webhook>,
    /// PagerDuty, by its Events API v2.
    pagerduty: Option<PagerDuty>,
    /// A channel of Microsoft Teams, by a workflow.
    teams: Option<Teams>,
    /// A channel of Discord, by a webhook.
    discord: Option<Discord>,
    /// A chat of Telegram, by a bot.
    telegram: Option<Telegram>,
    /// A topic of ntfy.
    ntfy: Option<Ntfy>,
    /// Prometheus Alertmanager, by its API v2.
    alertmanager: Option<Alertmanager>,
    /// How long one attempt may take; 10s unless given.
    timeout: Option<Duration>,
    /// After how long a delivery goes to the fallback or becomes a dead letter; 24h unless given.
    give_up_after: Option<Duration>,
    /// How many messages it may get in a time; as the place has it unless given.
    rate: Option<Rate>,
    /// The receiver that gets what is for this one while it is down.
    fallback: Option<Text>,
    /// Whether plain HTTP may leave this machine.
    allow_http: Option<Flag>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Console {}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["webhook_url", "webhook_url_file"])))]
struct Slack {
    /// The webhook's URL, which is its secret. The receiver is off if it is empty.
    webhook_url: Option<String>,
    /// A file with nothing but the URL in it.
    webhook_url_file: Option<String>,
    /// Whether the place knows Slack's blocks; false for Mattermost and Rocket.Chat, true unless
    /// given.
    blocks: Option<Flag>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["bot_token", "bot_token_file"])))]
struct SlackApi {
    /// The bot's token, `xoxb-…`. The receiver is off if it is empty.
    bot_token: Option<Text>,
    /// A file with nothing but the token in it.
    bot_token_file: Option<String>,
    /// The channel's id or name. The receiver is off if it is empty.
    channel: Text,
    /// Where the API is; `https://slack.com/api` unless given.
    url: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["url", "url_file"])))]
struct Webhook {
    /// Where to post. The receiver is off if it is empty.
    url: Option<String>,
    /// A file with nothing but the URL in it.
    url_file: Option<String>,
    /// What to sign with, `whsec_…`; a list while one takes the place of another.
    secret: Option<Secrets>,
    /// Files with nothing but a secret in each.
    secret_file: Option<OneOrMany>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["routing_key", "routing_key_file"])))]
struct PagerDuty {
    /// The integration's key. The receiver is off if it is empty.
    routing_key: Option<Text>,
    /// A file with nothing but the key in it.
    routing_key_file: Option<String>,
    /// Where the API is; `https://events.pagerduty.com` unless given.
    url: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["webhook_url", "webhook_url_file"])))]
struct Teams {
    /// The workflow's URL, which is its secret. The receiver is off if it is empty.
    webhook_url: Option<String>,
    /// A file with nothing but the URL in it.
    webhook_url_file: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["webhook_url", "webhook_url_file"])))]
struct Discord {
    /// The webhook's URL, which is its secret. The receiver is off if it is empty.
    webhook_url: Option<String>,
    /// A file with nothing but the URL in it.
    webhook_url_file: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["bot_token", "bot_token_file"])))]
struct Telegram {
    /// The bot's token. The receiver is off if it is empty.
    bot_token: Option<Text>,
    /// A file with nothing but the token in it.
    bot_token_file: Option<String>,
    /// The chat's id, or a channel's `@name`. The receiver is off if it is empty.
    chat_id: Text,
    /// Where the API is; `https://api.telegram.org` unless given.
    url: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["url", "url_file"])))]
struct Ntfy {
    /// The topic's URL, like `https://ntfy.sh/topic`. The receiver is off if it is empty.
    url: Option<String>,
    /// A file with nothing but the URL in it.
    url_file: Option<String>,
    /// An access token, if the topic needs one.
    token: Option<Text>,
    /// A file with nothing but the token in it.
    token_file: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["url", "url_file"])))]
struct Alertmanager {
    /// Where it is, like `http://USER:PASSWORD@localhost:9093`. The receiver is off if it is empty.
    url: Option<String>,
    /// A file with nothing but the URL in it.
    url_file: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["smtp_url", "smtp_url_file"])))]
struct Email {
    /// `smtp://USER:PASSWORD@HOST` (STARTTLS) or `smtps://…` (TLS). The receiver is off if it is
    /// empty.
    smtp_url: Option<Text>,
    /// A file with nothing but the URL in it.
    smtp_url_file: Option<String>,
    /// The sender's mailbox.
    from: Text,
    /// The recipients' mailboxes.
    to: OneOrMany,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Defaults {
    /// The receivers to tell.
    notify: Option<OneOrMany>,
    /// The labels by which alerts are told together.
    group_by: Option<OneOrMany>,
    /// How long a first message waits for company; 5s unless given.
    group_wait: Option<Duration>,
    /// News of one group comes at most this often; 5m unless given.
    group_interval: Option<Duration>,
    /// What fires still is said again this often; 4h unless given.
    repeat_interval: Option<Duration>,
    /// Whether the end is told.
    send_resolved: Option<Flag>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("if" = is_on("gap"), "else" = needs_by_kind()))]
struct Rule {
    /// Its unique name.
    name: Text,
    /// What it is for.
    description: Option<Text>,
    /// How much it matters; warning unless given.
    severity: Option<Word<Severity>>,
    /// What its alerts are of: events, events that are missing, or events that do not come; event
    /// unless given.
    on: Option<Word<On>>,
    /// Which events it is about: of a gap, the event after it, of a silence, the signs of life. Any
    /// for these two unless given.
    when: Option<Condition>,
    /// How long it has to last before it counts; of a gap, how long it has to stay one, 2h unless
    /// given; of a silence, how long nothing is to be heard.
    #[schemars(rename = "for")]
    hold: Option<Duration>,
    /// How many occurrences it takes, within `within`.
    count: Option<Count>,
    /// In how long a time `count` occurrences have to fall.
    within: Option<Duration>,
    /// The fields that make an alert one; application, service and id unless given.
    per: Option<OneOrMany>,
    /// What ends it; the container RUNNING or DELETED unless given.
    resolve: Option<Resolve>,
    /// How long after the last occurrence it ends by itself; 24h unless given.
    expire_after: Option<Duration>,
    /// What becomes of what was over before it was heard of.
    late: Option<Word<Late>>,
    /// Labels that each of its alerts has.
    labels: Option<BTreeMap<String, Text>>,
    /// The receivers to tell.
    notify: Option<OneOrMany>,
    /// The labels by which alerts are told together.
    group_by: Option<OneOrMany>,
    /// How long a first message waits for company.
    group_wait: Option<Duration>,
    /// News of one group comes at most this often.
    group_interval: Option<Duration>,
    /// What fires still is said again this often.
    repeat_interval: Option<Duration>,
    /// Whether the end is told.
    send_resolved: Option<Flag>,
    /// The mute times during which it is not told.
    mute_during: Option<OneOrMany>,
    /// What to do about it: in every message.
    runbook_url: Option<String>,
    /// A template for the title.
    title: Option<Text>,
    /// A template for the message.
    message: Option<Text>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
enum Severity {
    Critical,
    Warning,
    Info,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
enum On {
    Event,
    Gap,
    Silence,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
enum Late {
    Notify,
    Record,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Resolve {
    When(Condition),
    Word(Word<Never>),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
enum Never {
    Never,
}

/// Hours of the week, or a list of such.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum MuteTime {
    One(Window),
    Many(#[schemars(length(min = 1))] Vec<Window>),
}

/// The same hours on some days of the week.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Window {
    /// The days on which it begins, mon to sun; all unless given.
    days: Option<OneOrMany>,
    /// From when on, like "22:00"; midnight unless given.
    from: Option<String>,
    /// Until when, like "07:00", if need be on the day after; midnight unless given.
    to: Option<String>,
    /// Whose clock is meant, like Europe/Paris; UTC unless given.
    timezone: Option<String>,
}

/// What alerts hold back which others while they fire.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Inhibit {
    /// The alerts that hold others back: patterns on their labels.
    source: BTreeMap<String, Pattern>,
    /// The alerts that are held back.
    target: BTreeMap<String, Pattern>,
    /// The labels that both must have alike.
    equal: Option<OneOrMany>,
}

/// What is heard, and all that is to be told of it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Test {
    /// Its unique name.
    name: Text,
    /// The time at which it starts, as in RFC 3339; 2026-01-01T00:00:00Z unless given.
    start: Option<Text>,
    /// The rules that it is about; all unless given.
    rules: Option<OneOrMany>,
    /// What is heard, in this order.
    events: Listed<Event>,
    /// All that is to be told: whatever is told beside it fails the test.
    expect: Listed<Expectation>,
    /// How long the clock runs; an hour after the last event or expectation unless given.
    until: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Event {
    /// When it is received, counted from the start of the test.
    at: Duration,
    /// When it happened; `at` unless given.
    timestamp: Option<Duration>,
    /// The container.
    id: Option<Text>,
    /// What it belongs to; as the last event with this id unless given.
    application: Option<Text>,
    /// What it belongs to; as the last event with this id unless given.
    service: Option<Text>,
    /// The state that it takes.
    #[schemars(transform = suggest_states)]
    state: Option<Text>,
    /// The state that it was in before.
    #[schemars(transform = suggest_states)]
    prev_state: Option<Text>,
    /// How often it has started.
    starts: Option<Whole>,
    /// How its last run ended.
    exit: Option<Exit>,
    /// Whatever else the payload has.
    payload: Option<Map<String, Json>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["status", "signal"])))]
struct Exit {
    /// The status that it exited with.
    status: Option<Whole>,
    /// The signal that killed it, by name or number.
    signal: Option<Text>,
    /// Whether it dumped core.
    core_dumped: Option<Flag>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Expectation {
    /// When it is told, counted from the start of the test.
    at: Duration,
    /// The rule that tells it.
    rule: Text,
    /// Who is told; all whom the rule tells unless given.
    receiver: Option<OneOrMany>,
    /// Of how many alerts it is told that they fire.
    firing: Option<Whole>,
    /// Of how many it is told that they do not.
    resolved: Option<Whole>,
    /// The labels by which they are told together, all of them.
    labels: Option<BTreeMap<String, Text>>,
}

// A whole number is a text too.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Text {
    Text(String),
    Whole(i64),
}

// One of some words, or a variable that comes out as one of them.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Word<T> {
    Word(T),
    Written(#[schemars(regex(pattern = r"\$\{"))] String),
}

// A whole number, or a text that comes out as one.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Whole {
    Whole(u32),
    Written(#[schemars(regex(pattern = r"^\+?[0-9]+$|\$\{"))] String),
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Count {
    Whole(#[schemars(range(min = 1))] u32),
    Written(#[schemars(regex(pattern = r"^\+?[0-9]+$|\$\{"))] String),
}

// A list that has to be given, be it empty.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Listed<T> {
    Some(Vec<T>),
    Nothing(()),
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Secrets {
    One(Text),
    Many(Vec<Text>),
}

// True or false, or a variable that comes out as one of them.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Flag {
    Bool(bool),
    Written(#[schemars(regex(pattern = r"^(true|false)$|\$\{"))] String),
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A duration like 500ms, 90s, 5m, 1h30m or 7d.
#[derive(JsonSchema)]
#[schemars(inline)]
struct Duration(#[schemars(regex(pattern = r"^\s*([0-9]+(ms|w|d|h|m|s))+\s*$|\$\{"))] String);

#[derive(JsonSchema)]
#[schemars(inline)]
struct Rate(#[schemars(regex(pattern = r"^\s*[0-9]+\s*/\s*(s|min|h)\s*$|\$\{"))] String);

struct Condition;

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let condition = generator.subschema_for::<Condition>();
        let pattern = generator.subschema_for::<Pattern>();
        let mut properties: Map<String, Json> =
            Field::names().map(|name| (name.to_owned(), pattern.clone().to_value())).collect();
        for name in ["state", "prev_state"] {
            let mut state = pattern.clone();
            suggest_states(&mut state);
            properties.insert(name.to_owned(), state.to_value());
        }
        let list = json!({ "type": "array", "items": condition, "minItems": 1 });
        properties.insert("all".to_owned(), list.clone());
        properties.insert("any".to_owned(), list);
        properties.insert("not".to_owned(), condition.to_value());
        json_schema!({
            "description": "What has to hold of an event: all of these.",
            "type": "object",
            "properties": properties,
            "patternProperties": { r"^payload\..": pattern },
            "additionalProperties": false,
        })
    }
}

/// What a field is to be like: a value, a `/regex/`, a comparison like `>= 10`, or a list of which
/// any will do.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Pattern {
    Null(()),
    Bool(bool),
    Number(f64),
    Text(String),
    Any(#[schemars(length(min = 1))] Vec<Pattern>),
    Spelled(Box<Spelled>),
}

/// A pattern spelled out; all of it has to hold.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Spelled {
    /// Whatever does not match this.
    not: Option<Pattern>,
    /// Whether the field is there.
    exists: Option<bool>,
    /// Equal to this.
    eq: Option<Scalar>,
    /// A text in which this regex is found.
    regex: Option<String>,
    /// At least.
    ge: Option<Number>,
    /// Greater than.
    gt: Option<Number>,
    /// At most.
    le: Option<Number>,
    /// Less than.
    lt: Option<Number>,
    /// Another number than.
    ne: Option<Number>,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Scalar {
    Null(()),
    Bool(bool),
    Number(f64),
    Text(String),
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Number {
    Number(f64),
    Written(String),
}

/// Any name may be a state's; these are worth offering.
fn suggest_states(schema: &mut Schema) {
    let states: Vec<&str> = State::KNOWN.iter().map(State::as_str).collect();
    schema.insert("examples".to_owned(), json!(states));
}

/// Whether a rule is of this kind, or may come out as one.
fn is_on(kind: &str) -> Json {
    let pattern = format!(r"^{kind}$|\$\{{");
    json!({ "properties": { "on": { "pattern": pattern } }, "required": ["on"] })
}

/// What a rule needs that is not on a gap, which needs nothing.
fn needs_by_kind() -> Json {
    json!({
        "if": is_on("silence"), "then": { "required": ["for"] }, "else": { "required": ["when"] },
    })
}

/// Exactly one of these keys.
fn one_of(keys: &[&str]) -> Json {
    keys.iter().map(|key| json!({ "required": [key] })).collect()
}

#[cfg(test)]
mod tests;
