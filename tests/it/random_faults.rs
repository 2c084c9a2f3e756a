//! Faults at random: whatever goes wrong at the places that are told, and whenever tocsin is stopped or
//! killed, every notification ends told, or told to who stands in, or as a dead letter with its
//! reason. None is lost, and none is told twice but where an answer was lost.
//!
//! What the places had and answered is held against what tocsin says of it in the end. The faults
//! follow from a seed, and who meets them from the timing. A longer run by hand, or another one:
//!
//! ```sh
//! TOCSIN_FAULTS=30000 TOCSIN_FAULTS_SEED=7 cargo nextest run --test it random_faults --no-capture
//! ```

mod places;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::ops::Range;
use std::str::FromStr;
use std::thread;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use self::places::{
    FOR_GOOD, GIVE_UP_AFTER, Notification, Places, RECEIVERS, Told, receiver, unsettled,
};
use crate::harness::{Fate, Place, Tocsin, client, crash, wait_until};

/// How many notifications, unless `TOCSIN_FAULTS` says otherwise.
const NOTIFICATIONS: usize = 10_000;

/// How many containers crash between two starts.
const BATCH: usize = 200;

/// How many are heard of at once.
const CLIENTS: usize = 4;

/// How many messages wait when a run ends. If it were none, each run would last until the last of those
/// is given up that are for a host that is not found.
const WAITING: Range<u64> = 250..650;

/// What tocsin says where no answer came, or no host was found.
const NETWORK: [&str; 4] =
    ["no answer within", "the answer was lost", "connection failed", "cannot connect"];

/// How a run of the program ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// By a signal, with all settled that was being sent.
    Softly,
    /// By `kill -9`.
    Killed,
}

#[test]
fn every_notification_ends_told_once_or_with_who_stands_in_or_dead_with_its_reason() {
    let count = setting("TOCSIN_FAULTS", NOTIFICATIONS) / RECEIVERS.len();
    let containers: Vec<String> = (0..count).map(|number| format!("box{number:06}")).collect();
    let mut random = Rng::with_seed(setting("TOCSIN_FAULTS_SEED", 1));
    let places = Places::new(&mut random, count);
    let certificate = places.mail.certificate();
    let place = Place::new("").with_environment("SSL_CERT_FILE", certificate.to_str().unwrap());
    let runs = tell_all(&containers, &places, &place, &mut random);

    // If there were still something to tell, another start would tell it.
    let tocsin = place.serve();
    every_event_is_listed_and_fires(&tocsin, &containers);
    let told = places.told();
    let letters = by_notification(letters(&tocsin), &told);
    let mut told_again = BTreeMap::new();
    for notification in containers.iter().flat_map(|id| RECEIVERS.map(|to| (id.clone(), to))) {
        let letter = letters.get(&notification);
        let letter = letter.unwrap_or_else(|| panic!("{notification:?} is lost"));
        let told = told.get(&notification).map_or(&[][..], Vec::as_slice);
        has_ended(letter, told);
        for (run, place) in forgotten(letter, told) {
            assert_eq!(runs[run], Ends::Killed, "taken in run {run}: {letter:#} {told:#?}");
            *told_again.entry((run, place)).or_insert(0) += 1;
        }
    }
    for ((run, place), count) in told_again {
        assert!(count <= unsettled(place), "run {run} forgot {count} that {place} took");
    }
    was_no_picnic(&letters, &told);
}

/// Has all containers crash, with a restart now and then, and waits until all is told that is going to
/// be. Answers how each run ended.
fn tell_all(containers: &[String], places: &Places, place: &Place, random: &mut Rng) -> Vec<Ends> {
    let mut runs = Vec::new();
    let mut start = |ends, not_found| {
        place.write_rules(&places.rules(runs.len(), not_found));
        runs.push(ends);
        place.serve()
    };
    for batch in containers.chunks(BATCH) {
        let not_found = RECEIVERS[random.usize(..RECEIVERS.len())];
        let ends = if random.bool() { Ends::Killed } else { Ends::Softly };
        let tocsin = start(ends, Some(not_found).filter(|_| random.bool()));
        hear(&tocsin, batch);
        let few = random.u64(WAITING);
        wait_until(|| (waiting(&tocsin) <= few).then_some(()), || "they wait for ever".into());
        end(tocsin, ends);
    }
    let tocsin = start(Ends::Softly, None);
    let expected = containers.len() * RECEIVERS.len();
    let all_ended = || waiting(&tocsin) == 0 && letters(&tocsin).len() >= expected;
    wait_until(|| all_ended().then_some(()), || format!("{} wait for ever", waiting(&tocsin)));
    end(tocsin, Ends::Softly);
    runs
}

/// Has these containers crash, and sees it recorded.
fn hear(tocsin: &Tocsin, containers: &[String]) {
    let url = format!("{}/api/post", tocsin.base());
    thread::scope(|scope| {
        for part in containers.chunks(BATCH.div_ceil(CLIENTS)) {
            let post = |container: &String| {
                let answer = client().post(&url).body(crash(container).to_string()).send();
                assert_eq!(answer.unwrap().status(), 200);
            };
            scope.spawn(move || part.iter().for_each(post));
        }
    });
}

fn end(mut tocsin: Tocsin, ends: Ends) {
    match ends {
        Ends::Killed => tocsin.kill(),
        Ends::Softly => {
            tocsin.signal("TERM");
            assert!(tocsin.wait().success());
        }
    }
}

/// A number from the environment.
fn setting<T: FromStr<Err: Debug>>(name: &str, usual: T) -> T {
    env::var(name).map_or(usual, |number| number.parse().unwrap())
}

/// How many messages wait, for whomever.
fn waiting(tocsin: &Tocsin) -> u64 {
    let receivers = tocsin.get("/api/receivers");
    receivers.as_array().unwrap().iter().map(|it| it["pending"].as_u64().unwrap()).sum()
}

/// What tocsin says became of the notifications.
fn letters(tocsin: &Tocsin) -> Vec<Value> {
    let mut letters = tocsin.all("/api/deliveries?limit=10000");
    letters.retain(|letter| letter["rule"] == "crashed");
    letters
}

/// The same by what they are about. Whom `spare` stood in for is known from what it was told.
fn by_notification(
    letters: Vec<Value>,
    told: &BTreeMap<Notification, Vec<Told>>,
) -> BTreeMap<Notification, Value> {
    let mut by_spare = BTreeMap::new();
    for (notification, told) in told {
        for told in told.iter().filter(|told| told.place == "spare") {
            by_spare.insert(told.delivery.as_deref(), notification);
        }
    }
    let mut found = BTreeMap::new();
    for letter in letters {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let notification = match receiver(&text(&letter["receiver"])) {
            Some(receiver) => (text(&letter["labels"]["id"]), receiver),
            None => by_spare[&letter["id"].as_str()].clone(),
        };
        let other = found.insert(notification, letter);
        assert!(other.is_none(), "told by two deliveries, one of them {other:#?}");
    }
    found
}

fn every_event_is_listed_and_fires(tocsin: &Tocsin, containers: &[String]) {
    let sorted = |path, id: fn(&Value) -> &Value| {
        let rows = tocsin.all(path);
        let mut ids: Vec<String> =
            rows.iter().map(|row| id(row).as_str().unwrap().into()).collect();
        ids.sort();
        ids
    };
    assert_eq!(sorted("/api/list?limit=10000", |event| &event["id"]), containers);
    let firing = "/api/alerts?status=firing&limit=10000";
    assert_eq!(sorted(firing, |alert| &alert["labels"]["id"]), containers);
}

/// Sees that a notification was taken by someone, or is dead and says why; under one id all the while.
fn has_ended(letter: &Value, told: &[Told]) {
    for told in told.iter().filter_map(|told| told.delivery.as_ref()) {
        assert_eq!(letter["id"], **told, "{letter:#}");
    }
    let context = || format!("{letter:#} {told:#?}");
    match letter["status"].as_str().unwrap() {
        "sent" => {
            let taken = told.last().is_some_and(|told| told.fate == Fate::Taken);
            assert!(taken, "sent, and not taken in the end: {}", context());
        }
        "dead" => {
            let reason = letter["last_error"].as_str().unwrap();
            let has_reason = reasons(letter, told).iter().any(|words| reason.contains(words));
            assert!(has_reason, "dead for no reason: {}", context());
            let for_good = FOR_GOOD.iter().any(|words| reason.contains(words));
            let was_tried_for_long = tried_for(letter) >= GIVE_UP_AFTER;
            assert!(for_good || was_tried_for_long, "given up too soon: {}", context());
        }
        _ => panic!("neither sent nor dead: {}", context()),
    }
}

/// How long it took until a delivery ended.
fn tried_for(letter: &Value) -> SignedDuration {
    let time = |key: &str| letter[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    time("ended_at").duration_since(time("created_at"))
}

/// Why a notification may be dead.
fn reasons<'a>(letter: &Value, told: &'a [Told]) -> Vec<&'a str> {
    let mut reasons: Vec<&str> = NETWORK.to_vec();
    reasons.extend(told.iter().filter_map(|told| match &told.fate {
        Fate::Refused(words) => Some(words.as_str()),
        Fate::Taken | Fate::Lost => None,
    }));
    if letter["receiver"] == "mail" {
        reasons.extend(places::said_before_the_mail());
    }
    reasons
}

/// In which runs, and where, a notification was taken, and yet was tried again or given up later.
fn forgotten(letter: &Value, told: &[Told]) -> Vec<(usize, &'static str)> {
    let kept = usize::from(letter["status"] == "sent");
    let before = &told[..told.len().saturating_sub(kept)];
    let taken = before.iter().filter(|told| told.fate == Fate::Taken);
    taken.map(|told| (told.run, told.place)).collect()
}

/// Sees that all of that was put to the test.
fn was_no_picnic(
    letters: &BTreeMap<Notification, Value>,
    told: &BTreeMap<Notification, Vec<Told>>,
) {
    let count = |is: fn(&Value) -> bool| letters.values().filter(|letter| is(letter)).count();
    let retried = count(|letter| letter["attempts"] != 1);
    let elsewhere = count(|letter| letter["receiver"] == "spare");
    let dead = count(|letter| letter["status"] == "dead");
    let lost = told.values().flatten().filter(|told| told.fate == Fate::Lost).count();
    // Where no server of names answers, this is a time-out like any other.
    let not_found = count(|letter| letter["last_error"].to_string().contains("failed to lookup"));
    println!(
        "of {} notifications {retried} took more than one attempt, {elsewhere} went elsewhere, \
         and {dead} are dead; {lost} answers were lost, and of {not_found} the host was not found",
        letters.len()
    );
    assert!(retried > 0 && elsewhere > 0 && dead > 0 && lost > 0);
}
