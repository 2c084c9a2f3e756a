//! A real Alertmanager: Debian's package `prometheus-alertmanager`, which `tests/run` installs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::client;

/// An Alertmanager on a free port that tells nobody. Ends when dropped.
pub struct Alertmanager {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Alertmanager {
    pub fn new() -> Alertmanager {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alertmanager.yml");
        fs::write(&file, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
        let mut child = Command::new("/usr/bin/prometheus-alertmanager")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus-alertmanager is there; tests/run installs it");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("Listening on")).expect("Alertmanager starts");
        let address = line.split("address=").nth(1).unwrap().to_owned();
        // Nobody reads on, and it must not wait for that.
        thread::spawn(move || log.for_each(drop));
        Alertmanager { child, address, _folder: folder }
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The alerts that fire there.
    pub fn firing(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts", self.base());
        let answer = client().get(url).send().unwrap().text().unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
