//! Five places that are told and one that stands in, each of which fails at random, and what they were
//! told, as they remember it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fastrand::Rng;
use jiff::SignedDuration;
use regex::Regex;
use serde_json::{Value, json};

use crate::harness::{Answer, Exchange, Fate, Faults, MailServer, Sink, now};
use crate::smtp_faults::GOOD;

/// Who is told of each crash. Beside them, `spare` stands in for some.
pub const RECEIVERS: [&str; 5] = ["ops", "hook", "mail", "page", "chat"];

/// What goes wrong at a place that is told over HTTP, and in how many of ten thousand requests it
/// begins to. What takes time is rare, for it holds up all that comes after it.
const HTTP: [(u32, Answer); 15] = [
    (50, Answer::Status(429, "", "slow down")),
    (10, Answer::Status(429, "retry-after: 1\r\n", "slow down")),
    (60, Answer::Status(500, "", "oops")),
    (40, Answer::Status(502, "", "<html>Bad Gateway</html>")),
    (60, Answer::Status(503, "", "")),
    (20, Answer::Status(408, "", "")),
    (20, Answer::Status(307, "location: http://127.0.0.1:9/\r\n", "moved")),
    (60, Answer::Status(400, "", "not this one")),
    (4, Answer::Status(401, "", "who are you")),
    (4, Answer::Status(404, "", "no such hook")),
    (4, Answer::Status(410, "", "gone")),
    (8, Answer::Hang),
    (8, Answer::Drip),
    (60, Answer::Reset),
    (60, Answer::Cut),
];

/// What only a place is told from that has words of its own for a success.
const WRONG_BODY: (u32, Answer) = (60, Answer::Status(200, "", "<html>Please log in</html>"));

/// The same for a mail server, in how many of ten thousand conversations, and when.
const SMTP: [(u32, (&str, &str)); 14] = [
    (50, (MAIL, "451 4.3.0 later")),
    (30, (MAIL, "421 4.3.2 closing")),
    (50, (MAIL, "554 5.6.0 not this one")),
    (8, (MAIL, "hang")),
    (8, (MAIL, "drip")),
    (60, (MAIL, "reset")),
    (50, ("RCPT", "450 4.2.1 greylisted")),
    (30, ("RCPT", "452 4.5.3 too many")),
    (4, ("RCPT", "550 5.1.1 no such user")),
    (6, ("RCPT", "hang")),
    (30, ("RCPT", "reset")),
    (30, ("AUTH", "454 4.7.0 not now")),
    (4, ("AUTH", "535 5.7.8 who are you")),
    (4, ("AUTH", "530 5.7.0 not like this")),
];

/// How what refuses a message for good begins. A second time, in plain words, that makes it a dead
/// letter; all else is tried again.
pub const FOR_GOOD: [&str; 2] = ["400", "554"];

/// When the server has the whole mail.
const MAIL: &str = "DATA";

/// How long a message is tried, at the receiver and then where someone stands in for it: long enough
/// for a few attempts, and short enough to be waited for.
pub const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// A notification: the container that crashed, and who is to be told.
pub type Notification = (String, &'static str);

/// What a place was told, once.
#[derive(Clone, Debug)]
pub struct Told {
    /// By which run of the program.
    pub run: usize,
    /// Unix seconds.
    pub at: f64,
    pub place: &'static str,
    /// The delivery, where the place gets to know it.
    pub delivery: Option<String>,
    pub fate: Fate,
}

/// The places, each on a port of its own.
pub struct Places {
    sinks: [(&'static str, Sink); 5],
    pub mail: MailServer,
}

impl Places {
    /// Places whose faults last for so many containers.
    pub fn new(random: &mut Rng, containers: usize) -> Places {
        let wrong_body = &[WRONG_BODY][..];
        let sinks = [
            ("ops", 200, "ok", wrong_body),
            // Whatever one's own program answers is right.
            ("hook", 204, "", &[]),
            ("page", 202, r#"{"status":"success"}"#, wrong_body),
            ("chat", 200, r#"{"id":"7"}"#, wrong_body),
            ("spare", 204, "", &[]),
        ]
        .map(|(name, status, body, more)| {
            let faults = Faults::new(random.u64(..), &[&HTTP, more].concat());
            (name, Sink::answering(status, body).failing(faults))
        });
        // Three conversations for each mail are more than there will be.
        let faults = Faults::new(random.u64(..), &SMTP).take(containers * 3);
        let in_turn: Vec<_> = faults.collect();
        Places { sinks, mail: MailServer::new(&json!({"in turn": in_turn})) }
    }

    /// Rules that tell everyone of a crash, each container by itself. The host of one of them is not
    /// found. What is told says by which run, so that it is not taken for the next one's if a place
    /// has it only after the program was killed.
    pub fn rules(&self, run: usize, not_found: Option<&str>) -> String {
        let url = |name| match not_found == Some(name) {
            true => format!("http://{name}.invalid/{run}"),
            false => format!("{}/{run}", self.sink(name).base()),
        };
        let smtp_url = match not_found {
            Some("mail") => "smtp://mail.invalid".to_owned(),
            _ => self.mail.url(GOOD),
        };
        // The time-out is never met by accident, be the machine ever so busy.
        let usual = format!("timeout: 3s, give_up_after: {GIVE_UP_AFTER:#}, allow_http: true");
        format!(
            "receivers:
  ops: {{ slack: {{ webhook_url: {ops} }}, rate: 1000/s, fallback: spare, {usual} }}
  hook: {{ webhook: {{ url: {hook} }}, {usual} }}
  mail:
    email: {{ smtp_url: {smtp_url:?}, from: {run}@example.com, to: [oncall@example.com] }}
    fallback: spare
    timeout: 3s
    give_up_after: {GIVE_UP_AFTER:#}
  page: {{ pagerduty: {{ routing_key: s3cret, url: {page} }}, fallback: spare, {usual} }}
  chat: {{ discord: {{ webhook_url: {chat} }}, {usual} }}
  spare: {{ webhook: {{ url: {spare} }}, {usual} }}
defaults: {{ notify: [ops, hook, mail, page, chat], group_by: [id], group_wait: 0s }}
rules: [{{ name: crashed, when: {{ state: CRASHED }} }}]
",
            ops = url("ops"),
            hook = url("hook"),
            page = url("page"),
            chat = url("chat"),
            spare = url("spare"),
        )
    }

    fn sink(&self, name: &str) -> &Sink {
        self.sinks.iter().find(|(other, _)| *other == name).map(|(_, sink)| sink).unwrap()
    }

    /// What all of them were told of each notification, in order.
    pub fn told(&self) -> BTreeMap<Notification, Vec<Told>> {
        let over_http = self.sinks.iter().flat_map(|(place, sink)| {
            sink.exchanges().into_iter().filter_map(|exchange| told_over_http(place, &exchange))
        });
        let by_mail = self.mail.log().into_iter().filter_map(|entry| told_by_mail(&entry));
        let mut all: BTreeMap<Notification, Vec<Told>> = BTreeMap::new();
        for (notification, told) in over_http.chain(by_mail) {
            all.entry(notification).or_default().push(told);
        }
        for told in all.values_mut() {
            told.sort_by(|one, other| one.run.cmp(&other.run).then(one.at.total_cmp(&other.at)));
        }
        all
    }
}

/// How many messages a place may have taken at most before that is noted: as many as it is sent at once,
/// one where people read, two mails, four to a program; and those that are claimed ahead, since they are
/// sent while a commit is under way, be it a slow one.
pub fn unsettled(place: &str) -> usize {
    const AHEAD: usize = 32;
    let at_once = match place {
        "ops" | "chat" => 1,
        "mail" => 2,
        _ => 4,
    };
    at_once + AHEAD
}

/// The receiver of this name, if it is one of those that are told.
pub fn receiver(name: &str) -> Option<&'static str> {
    RECEIVERS.into_iter().find(|receiver| *receiver == name)
}

/// What a mail server says before it knows of which mail.
pub fn said_before_the_mail() -> Vec<&'static str> {
    let early = SMTP.into_iter().filter(|(_, (stage, _))| *stage != MAIL);
    early.map(|(_, (_, words))| words).collect()
}

fn told_over_http(place: &'static str, exchange: &Exchange) -> Option<(Notification, Told)> {
    let Exchange { at, request, fate } = exchange;
    let container = container_in(&request.body)?;
    let receiver = match place {
        "spare" => receiver(request.json()["data"]["receiver"].as_str()?)?,
        place => place,
    };
    let told = Told {
        run: request.path.split(['/', '?']).nth(1)?.parse().ok()?,
        at: now() - at.elapsed().as_secs_f64(),
        place,
        delivery: request.header("webhook-id").map(str::to_owned),
        fate: fate.clone(),
    };
    Some(((container, receiver), told))
}

fn told_by_mail(entry: &Value) -> Option<(Notification, Told)> {
    let container = container_in(entry["text"].as_str()?)?;
    let before_at = |key: &str| entry[key].as_str()?.trim_start_matches('<').split('@').next();
    let told = Told {
        run: before_at("from")?.parse().ok()?,
        at: entry["at"].as_f64()?,
        place: "mail",
        delivery: Some(before_at("id")?.to_owned()),
        fate: match entry["answer"].as_str()? {
            "250 taken" => Fate::Taken,
            "hang" | "drip" | "reset" => Fate::Lost,
            words => Fate::Refused(words.to_owned()),
        },
    };
    Some(((container, "mail"), told))
}

/// The container that a message is about. A message about a receiver that is down, or is back, is about
/// none, though it may name some.
fn container_in(text: &str) -> Option<String> {
    static CONTAINER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"box\d{6}").unwrap());
    // In Markdown the hyphen is escaped.
    static NOTICE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"receiver\\*-down").unwrap());
    let found = CONTAINER.find(text).filter(|_| !NOTICE.is_match(text))?;
    Some(found.as_str().to_owned())
}
