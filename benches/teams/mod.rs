//! Rules of many teams, as a file that grew with its readers has them.

#![allow(dead_code, reason = "not every benchmark needs all of it")]

use std::fmt::Write;

/// How many rules one team has: one of each shape.
pub(crate) const SHAPES: usize = 10;

/// Writes the rules of a team. Two of them have a regex, one that begins at the text's beginning and
/// one that does not.
pub(crate) fn write_rules_of_team(team: usize, file: &mut String) {
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

/// A file with so many rules: one that crashes match, and those of other teams than the load's.
pub(crate) fn rules_file(count: usize) -> String {
    let mut others = String::new();
    for team in 0..count.div_ceil(SHAPES) {
        write_rules_of_team(1000 + team, &mut others);
    }
    let others = others.lines().take(2 * (count - 1)).map(|line| format!("{line}\n"));
    HEAD.trim_start().to_owned() + &others.collect::<String>()
}
