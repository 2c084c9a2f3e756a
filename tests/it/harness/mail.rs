//! A real SMTP server (`tests/smtp_server.py`), with a certificate of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::wait_until;

/// A mail server on a free port that asks for STARTTLS and AUTH. Ends when dropped.
pub struct MailServer {
    child: Child,
    folder: TempDir,
    port: u16,
}

/// A mail as it arrived.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Headers and body, byte for byte, with CRLF as LF.
    pub text: String,
}

impl MailServer {
    /// A server that answers as the script says (see `tests/smtp_server.py`), and otherwise well.
    pub fn new(script: &Value) -> MailServer {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        let mut child = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/smtp_server.py"))
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{script}").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the mail server starts; is python3-aiosmtpd there?");
        MailServer { child, folder, port }
    }

    /// The certificate to trust, for `SSL_CERT_FILE`.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// `smtp://…`, with STARTTLS required and these credentials.
    pub fn url(&self, credentials: &str) -> String {
        format!("smtp://{credentials}@localhost:{}?tls=required", self.port)
    }

    /// The mails that were taken, in order.
    pub fn mails(&self) -> Vec<Mail> {
        self.numbered("")
    }

    /// The mails that it was told not to take once it had them whole.
    pub fn refused(&self) -> Vec<Mail> {
        self.numbered("refused-")
    }

    fn numbered(&self, prefix: &str) -> Vec<Mail> {
        let path = |number: i32| self.folder.path().join(format!("{prefix}{number}.eml"));
        (1..)
            .map_while(|number| fs::read(path(number)).ok())
            .map(|bytes| Mail { text: String::from_utf8(bytes).unwrap().replace("\r\n", "\n") })
            .collect()
    }

    /// Waits until so many were taken.
    pub fn wait_for_mails(&self, count: usize) -> Vec<Mail> {
        wait_until(
            || Some(self.mails()).filter(|mails| mails.len() >= count),
            || format!("only {} mails", self.mails().len()),
        )
    }

    /// What was answered at random or to a whole mail, in order: `at` (Unix seconds), `stage`,
    /// `answer`, `from`, and of a mail `id` and `text`.
    pub fn log(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.path().join("log.jsonl")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every RCPT so far, whatever was answered.
    pub fn recipients(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("rcpt.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Mail {
    /// The value of a header, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.text.split("\n\n").next().unwrap().replace("\n ", " ");
        let prefix = format!("{}:", name.to_lowercase());
        head.lines()
            .find(|line| line.to_lowercase().starts_with(&prefix))
            .map(|line| line[prefix.len()..].trim().to_owned())
    }
}

impl Mail {
    /// The text part, decoded by Python's own `email` package.
    pub fn text_part(&self) -> String {
        self.part("plain")
    }

    /// The HTML part, decoded in the same way.
    pub fn html_part(&self) -> String {
        self.part("html")
    }

    fn part(&self, kind: &str) -> String {
        const DECODE: &str = "import email, email.policy, sys
mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.strict)
sys.stdout.write(mail.get_body((sys.argv[1],)).get_content())";
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", DECODE, kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(self.text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "Python refuses the mail:\n{}", self.text);
        String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
