//! A real mail server: Debian's package `postfix`, which `tests/run` installs, run by
//! `tests/postfix`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Mail, wait_until};

/// A Postfix on a free port that asks for STARTTLS and delivers to the mailboxes of Alice and Bob at
/// example.com. Ends when dropped.
pub struct Postfix {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Postfix {
    pub fn new() -> Postfix {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postfix");
        // What it starts with has to be done by root.
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = Command::new(if is_root { script } else { "sudo" });
        if !is_root {
            command.args(["-n", script]);
        }
        let child = command
            .arg(folder.path())
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("tests/postfix runs");
        let mut postfix = Postfix { child, folder, port };
        let listens = || {
            let ended = postfix.child.try_wait().unwrap();
            assert!(ended.is_none(), "Postfix does not start; tests/run installs it");
            TcpStream::connect(("127.0.0.1", port)).ok()
        };
        wait_until(listens, || "Postfix does not listen".to_owned());
        postfix
    }

    /// The certificate to trust, for `SSL_CERT_FILE`.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// `smtp://…`, with STARTTLS required.
    pub fn url(&self) -> String {
        format!("smtp://localhost:{}?tls=required", self.port)
    }

    /// What is in a mailbox, by the time of its arrival.
    pub fn mails(&self, mailbox: &str) -> Vec<Mail> {
        let folder = self.folder.path().join("boxes").join(mailbox).join("new");
        let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
        let read =
            |file: &PathBuf| Mail { text: String::from_utf8(fs::read(file).unwrap()).unwrap() };
        files.iter().map(read).collect()
    }

    /// Waits until so many are in a mailbox.
    pub fn wait_for_mails(&self, mailbox: &str, count: usize) -> Vec<Mail> {
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let enough = || Some(self.mails(mailbox)).filter(|mails| mails.len() >= count);
        wait_until(enough, || format!("not yet {count} mails for {mailbox}:\n{}", log()))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
