//! The built program from outside, as its users meet it: real HTTP, a real SMTP server, real signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod killed;
mod recorded;
mod stopping;
