//! Python, with what others wrote: `tests/requirements.txt`, which `tests/run` installs.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs a script with this on its standard input, and sees it end well.
pub fn python(script: &str, input: &Value) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
    let mut child = Command::new(program)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("target/python is there; tests/run makes it");
    write!(child.stdin.take().unwrap(), "{input}").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nof {input:#}");
}
