//! Rules of many teams, and events that match one of them or none: what the benchmarks share that look
//! for the rules of an event. Measures nothing.

#![allow(dead_code, reason = "no benchmark uses all of it")]

use std::fmt::Write;

use tocsin::config;
use tocsin::event::{self, Event};
use tocsin::rules::Rules;

/// How many different events are asked about in turn, so that not one is always in the cache.
const EVENTS: usize = 1_000;

/// How many rules one team has: one of each shape.
const SHAPES: usize = 10;

/// Writes the rules of a team. Two of them have a regex, one that begins at the text's beginning and
/// one that does not.
fn write_rules_of_team(team: usize, file: &mut String) {
    let conditions: [String; SHAPES] = [
        format!("{{ state: CRASHED, application: shop-{team}, service: [web, api] }}"),
        format!("{{ state: [CRASHED, TERMINATED], application: shop-{team}, service: worker }}"),
        format!("{{ state: CRASHED, application: shop-{team}, service: db, starts: '>= 3' }}"),
        format!(
            "{{ state: TERMINATED, application: shop-{team}, exit.status: {{ ge: 2, ne: 143 }} }}"
        ),
        format!(
            "{{ exit.signal: SIGKILL, application: shop-{team}, prev_state: {{ not: STOPPING }} }}"
        ),
        format!("{{ state: STARVED, application: [shop-{team}, bank-{team}] }}"),
        format!("{{ state: CRASHED, application: '/^team{team}-/', service: web }}"),
        format!("{{ state: CRASHED, service: '/(mail|search)-{team}$/i' }}"),
        format!("{{ state: CRASHED, id: node-{team}-7 }}"),
        format!(
            "{{ application: bank-{team}, any: [{{ state: CRASHED }}, {{ starts: '>= 100' }}], \
             not: {{ service: web }} }}"
        ),
    ];
    for (shape, when) in conditions.iter().enumerate() {
        writeln!(file, "  - name: team-{team}-{shape}\n    when: {when}")
            .expect("a string takes all that is written");
    }
}

/// The receiver is off, so that what is for it goes to the console.
const HEAD: &str = "
receivers:
  ops: { slack: { webhook_url: '' } }
defaults: { notify: [ops], group_by: [application, service] }
rules:
  - name: crashed
    when: { state: CRASHED, not: { exit.signal: SIGKILL } }
";

/// A file with so many rules: one that the load's crashes match, and those of other teams.
pub(crate) fn rules_file(count: usize) -> String {
    let mut others = String::new();
    for team in 0..count.div_ceil(SHAPES) {
        write_rules_of_team(1000 + team, &mut others);
    }
    let others = others.lines().take(2 * (count - 1)).map(|line| format!("{line}\n"));
    HEAD.trim_start().to_owned() + &others.collect::<String>()
}

/// So many rules, read as `tocsin serve` does.
pub(crate) fn rules(count: usize) -> Rules {
    let mut file = "rules:\n".to_owned();
    (0..count / SHAPES).for_each(|team| write_rules_of_team(team, &mut file));
    match config::parse("rules.yaml", &file, &|_| None, &|_| Vec::new()) {
        Ok(config) => config.rules,
        Err(problems) => panic!("{problems}"),
    }
}

/// Payloads that each match one rule of these, of each shape as many.
pub(crate) fn payloads(rules: usize) -> Vec<String> {
    let teams = rules / SHAPES;
    (0..EVENTS)
        .map(|number| {
            let team = (number / SHAPES) * 7919 % teams;
            let id = format!("{number:08x}-7d1a-4000-8000-{team:012x}");
            let shop = format!("shop-{team}");
            let (application, service, id, state, starts, exit) = match number % SHAPES {
                0 => (shop, "web".into(), id, "CRASHED", 2, BROKEN),
                1 => (shop, "worker".into(), id, "TERMINATED", 2, BROKEN),
                2 => (shop, "db".into(), id, "CRASHED", 5, BROKEN),
                3 => (shop, "web".into(), id, "TERMINATED", 2, FAILED),
                4 => (shop, "mail".into(), id, "TERMINATED", 2, KILLED),
                5 => (shop, "web".into(), id, "STARVED", 2, "{}"),
                6 => (format!("team{team}-blue"), "web".into(), id, "CRASHED", 2, BROKEN),
                7 => (format!("x-{team}"), format!("mail-{team}"), id, "CRASHED", 2, BROKEN),
                8 => ("x".into(), "web".into(), format!("node-{team}-7"), "CRASHED", 2, BROKEN),
                _ => (format!("bank-{team}"), "worker".into(), id, "CRASHED", 2, BROKEN),
            };
            payload(&application, &service, &id, state, starts, exit)
        })
        .collect()
}

/// Payloads of the same applications and services, where all is well: they match no rule.
pub(crate) fn quiet(payloads: &[String]) -> Vec<String> {
    payloads
        .iter()
        .map(|payload| {
            let payload = payload.replace("CRASHED", "RUNNING").replace("TERMINATED", "RUNNING");
            let payload = payload.replace("STARVED", "RUNNING").replace(BROKEN, "{}");
            payload.replace(FAILED, "{}").replace(KILLED, "{}")
        })
        .collect()
}

const BROKEN: &str = r#"{"raw_exit_status":256,"reason":"exited","exit_status":1}"#;
const FAILED: &str = r#"{"raw_exit_status":768,"reason":"exited","exit_status":3}"#;
const KILLED: &str = r#"{"raw_exit_status":9,"reason":"signaled","signal":9}"#;

fn payload(
    application: &str,
    service: &str,
    id: &str,
    state: &str,
    starts: u32,
    exit: &str,
) -> String {
    format!(
        concat!(
            r#"{{"service":"{service}","timestamp":1700000000.123456,"#,
            r#""application":"{application}","id":"{id}","#,
            r#""state":"{state}","prev_state":"RUNNING","type":"Container","#,
            r#""data":{{"last_exit_status":{exit}}},"event":"state","#,
            r#""counters":{{"start":{starts},"post_attempts":0}}}}"#,
        ),
        service = service,
        application = application,
        id = id,
        state = state,
        exit = exit,
        starts = starts,
    )
}

/// What these payloads say.
pub(crate) fn events(payloads: &[String]) -> Vec<Event> {
    payloads
        .iter()
        .map(|payload| event::decode(payload.as_bytes()).expect("a payload is an event"))
        .collect()
}
