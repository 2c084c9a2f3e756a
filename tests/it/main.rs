//! The built program from outside, as its users meet it: real HTTP, a real SMTP server, real signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "the harness has no other crate to be reached from")]

mod access;
mod backups;
mod bad_input;
mod deployed;
mod disk_faults;
mod disk_full;
mod draining;
mod encrypted;
mod fallback;
mod harness;
mod health;
mod hostile;
#[path = "../hostile_clients/mod.rs"]
mod hostile_clients;
mod keeping;
mod killed;
mod letters;
mod mails;
mod others;
mod outbound;
mod places;
mod random_faults;
mod rate;
mod recorded;
mod secrets;
mod sending;
mod shortages;
mod silences;
mod slack_faults;
mod smtp_faults;
mod stopping;
mod supervised;
mod suppress;
mod torture;
