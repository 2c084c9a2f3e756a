//! A running tocsin and the places it tells, each on a free port and in a folder of its own.

mod alertmanager;
pub mod bad_disk;
mod faults;
mod mail;
mod postfix;
mod python;
mod sink;
mod small_disk;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

pub use alertmanager::Alertmanager;
pub use bad_disk::{BadDisk, Fault, Plan};
pub use faults::{Fate, Faults};
pub use mail::{Mail, MailServer};
pub use postfix::Postfix;
pub use python::python;
pub use sink::{Answer, Exchange, Sink};
pub use small_disk::SmallDisk;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a rules file and a database, in which tocsin can be run again and again.
pub struct Place {
    folder: TempDir,
    environment: Vec<(String, String)>,
    file_limit: Option<u32>,
    descriptor_limit: Option<u32>,
    disk: Option<SmallDisk>,
}

/// A running tocsin. Killed when dropped.
pub struct Tocsin {
    child: Child,
    base: String,
    log: mpsc::Receiver<String>,
    said: String,
}

impl Place {
    pub fn new(rules: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        Place {
            folder,
            environment: Vec::new(),
            file_limit: None,
            descriptor_limit: None,
            disk: None,
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn database(&self) -> PathBuf {
        match &self.disk {
            None => self.path().join("tocsin.db"),
            Some(disk) => disk.file("tocsin.db"),
        }
    }

    /// The same, with the database on a disk of its own.
    pub fn on(self, disk: SmallDisk) -> Place {
        Place { disk: Some(disk), ..self }
    }

    /// The disk of the database.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("it was put on one")
    }

    pub fn with_environment(mut self, name: &str, value: &str) -> Place {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn write_rules(&self, rules: &str) {
        fs::write(self.path().join("rules.yaml"), rules).unwrap();
    }

    /// From now on the program can make no file larger than so many KiB: stands for a full disk.
    pub fn limit_files(&mut self, kib: Option<u32>) {
        self.file_limit = kib;
    }

    /// From now on the program can have so many files and connections open.
    pub fn limit_descriptors(&mut self, count: u32) {
        self.descriptor_limit = Some(count);
    }

    /// The program with these arguments, in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_tocsin");
        let files = self.file_limit.map(|kib| format!("ulimit -f {kib}; "));
        let descriptors = self.descriptor_limit.map(|count| format!("ulimit -n {count}; "));
        let limits: String = [files, descriptors].into_iter().flatten().collect();
        let mut command = match &self.disk {
            Some(disk) => disk.command(program),
            None if limits.is_empty() => Command::new(program),
            None => {
                let mut shell = Command::new("/bin/bash");
                shell.args(["-c", &format!("{limits}exec \"$0\" \"$@\""), program]);
                shell
            }
        };
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end: exit status, standard output, standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = child.id();
        let (sender, output) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let output = output.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            send_signal("KILL", id);
            panic!("{arguments:?} does not end");
        });
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Starts `serve` on a free port and waits until it listens.
    pub fn serve(&self) -> Tocsin {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, more: &[&str]) -> Tocsin {
        self.serve_on("127.0.0.1:0", more)
    }

    pub fn serve_on(&self, listen: &str, more: &[&str]) -> Tocsin {
        let database = format!("sqlite:{}", self.database().display());
        let mut arguments = vec!["serve", "rules.yaml", "--listen", listen, "--storage", &database];
        arguments.extend(more);
        let mut child =
            self.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = mpsc::channel();
        let lines = |stream: Box<dyn Read + Send>, sender: mpsc::Sender<String>| {
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        };
        lines(Box::new(child.stdout.take().unwrap()), sender.clone());
        lines(Box::new(child.stderr.take().unwrap()), sender);
        let mut tocsin = Tocsin { child, base: String::new(), log, said: String::new() };
        let line = tocsin.wait_for_line("listening on ");
        let address = line.split("listening on ").nth(1).unwrap();
        tocsin.base = address.split_whitespace().next().unwrap().to_owned();
        tocsin
    }
}

impl Tocsin {
    /// `http://127.0.0.1:PORT`, or `https://…`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The next line it prints that has `part` in it.
    pub fn wait_for_line(&mut self, part: &str) -> String {
        let seen = self.said.len();
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) =
            self.log.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(part) {
                return line;
            }
        }
        panic!("no line with {part:?} in:\n{}", &self.said[seen..]);
    }

    /// Ends it, and answers all that it printed since it was started.
    pub fn all_said(mut self) -> String {
        self.child.kill().unwrap();
        for line in self.log.iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        std::mem::take(&mut self.said)
    }

    /// Sees that nothing has panicked so far.
    pub fn is_well(&self) {
        let panics: Vec<String> =
            self.log.try_iter().filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty(), "{panics:#?}");
    }

    /// Stops it, and answers all that it printed and nobody waited for.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        self.wait();
        self.log.iter().map(|line| line + "\n").collect()
    }

    /// Posts a body to `/api/post`: the status and the answer.
    pub fn post(&self, body: impl Into<Vec<u8>>) -> (u16, Value) {
        post_to(&self.base, body).unwrap()
    }

    /// Posts an event, and sees it recorded.
    pub fn hear(&self, event: &Value) {
        let (status, answer) = self.post(event.to_string());
        assert_eq!(status, 200, "{answer}");
    }

    /// What a path answers, as JSON.
    pub fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.get_text(path)).unwrap()
    }

    /// What a path answers.
    pub fn get_text(&self, path: &str) -> String {
        client().get(format!("{}{path}", self.base)).send().unwrap().text().unwrap()
    }

    /// A page of a list, and the path of the next one.
    pub fn page(&self, path: &str) -> (Vec<Value>, Option<String>) {
        let answer = client().get(format!("{}{path}", self.base)).send().unwrap();
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let next = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        (serde_json::from_str(&answer.text().unwrap()).unwrap(), next)
    }

    /// The whole of a list, page by page.
    pub fn all(&self, path: &str) -> Vec<Value> {
        let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page;
            (page, next) = self.page(&path);
            all.extend(page);
        }
        all
    }

    /// Asks again until `wanted` finds what it wants.
    pub fn wait_for<T>(&self, path: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        wait_until(|| wanted(&self.get(path)), || format!("{path}: {:#}", self.get(path)))
    }

    /// Waits until a delivery to this receiver has this status, and answers it.
    pub fn wait_for_delivery(&self, receiver: &str, status: &str) -> Value {
        self.wait_for("/api/deliveries", |deliveries| {
            let mut deliveries = deliveries.as_array().unwrap().iter();
            deliveries.find(|it| it["receiver"] == receiver && it["status"] == status).cloned()
        })
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        send_signal(name, self.child.id());
    }

    /// Kills it as a power cut would, and answers all that it printed and nobody waited for.
    pub fn kill_and_read(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log.iter().map(|line| line + "\n").collect()
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_until(|| self.child.try_wait().unwrap(), || "it does not end".into())
    }
}

impl Drop for Tocsin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of HTTP.
pub fn client() -> reqwest::blocking::Client {
    static CLIENT: OnceLock<reqwest::blocking::Client> = OnceLock::new();
    CLIENT
        .get_or_init(|| {
            tocsin::deliver::receivers::install_tls();
            reqwest::blocking::Client::new()
        })
        .clone()
}

/// Waits until a process that serves listens, and kills it then, or until it ends: the exit code (-1 if
/// it was killed) and what it said on standard error.
pub fn ended_or_listens(mut child: Child) -> Option<(i32, String)> {
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if line.contains("listening on ") {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        said.push_str(&line);
        said.push('\n');
    }
    Some((child.wait().unwrap().code().unwrap_or(-1), said))
}

/// A text of this length that is kept as it is: what says the same again and again takes next to no
/// room in the database.
pub fn noise(length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(length as u64);
    (0..length).map(|_| random.alphanumeric()).collect()
}

/// Posts a body to the `/api/post` of a tocsin at this base, if it can be reached: the status and the
/// answer.
pub fn post_to(base: &str, body: impl Into<Vec<u8>>) -> reqwest::Result<(u16, Value)> {
    let answer = client().post(format!("{base}/api/post")).body(body.into()).send()?;
    let status = answer.status().as_u16();
    Ok((status, serde_json::from_str(&answer.text()?).unwrap()))
}

pub fn send_signal(name: &str, process: u32) {
    let status =
        Command::new("kill").args([format!("-{name}"), process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Looks again and again until there is something.
pub fn wait_until<T>(mut look: impl FnMut() -> Option<T>, otherwise: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", otherwise());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Unix seconds.
pub fn now() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "the program under test reads the same clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A crash of this container, now.
pub fn crash(container: &str) -> Value {
    event(container, "RUNNING", "CRASHED")
}

/// A state change of this container, now.
pub fn event(container: &str, before: &str, state: &str) -> Value {
    serde_json::json!({
        "id": container, "application": "shop", "service": "web", "type": "Container",
        "event": "state", "prev_state": before, "state": state, "timestamp": now(),
        "data": {"last_exit_status": {"raw_exit_status": 256, "reason": "exited", "exit_status": 1}},
        "counters": {"start": 3, "post_attempts": 0},
    })
}
