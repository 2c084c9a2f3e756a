//! What `deploy/` has is what the program takes, and gives away as little as it says.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{PATIENCE, Place, send_signal};

const UNIT: &str = include_str!("../../deploy/tocsin.service");
const IMAGE: &str = include_str!("../../deploy/Containerfile");

/// Where the unit and the image have the program and the rules.
const PROGRAM: &str = "/usr/local/bin/tocsin";
const RULES: &str = "/etc/tocsin/rules.yaml";

/// How much `systemd-analyze security` may find, in tenths: `docs/deploying.md` says 1.1, by systemd
/// 252, and a later one may look for more.
const EXPOSURE: &str = "--threshold=15";

/// The unit in a folder of its own, with the program where this machine has it.
fn unit() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tocsin.service");
    assert!(UNIT.contains(PROGRAM));
    fs::write(&file, UNIT.replace(PROGRAM, env!("CARGO_BIN_EXE_tocsin"))).unwrap();
    (folder, file)
}

/// Runs `systemd-analyze`: whether it succeeds, and all that it says.
fn analyze(arguments: &[&str], file: &PathBuf) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).arg(file).output();
    let output = output.expect("Debian's `systemd` is installed, as tests/run does");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// The words of the only line of a text that begins so.
fn words_after<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.trim_start().strip_prefix(beginning));
    let line = lines.next().expect(beginning);
    assert_eq!(lines.next(), None, "{beginning} is there twice");
    line.split_whitespace().map(|word| word.trim_matches(['[', ']', '"', ','])).collect()
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let (_folder, file) = unit();
    let (good, said) = analyze(&["verify", "--man=no"], &file);
    // It warns of a key that it does not know, and succeeds all the same.
    assert!(good && !said.contains("tocsin.service"), "{said}");
}

#[test]
fn the_unit_gives_the_program_hardly_a_right() {
    let (_folder, file) = unit();
    let (good, said) = analyze(&["security", "--offline=true", "--no-pager", EXPOSURE], &file);
    assert!(good, "{said}");
}

#[test]
fn what_the_unit_starts_is_ready() {
    let place = Place::new("rules: []");
    let socket = UnixDatagram::bind(place.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let started = words_after(UNIT, "ExecStart=");
    assert_eq!(started[0], PROGRAM);
    assert!(started.contains(&RULES));
    let rules = place.path().join("rules.yaml");
    let arguments = started[1..].iter().map(|word| match *word {
        RULES => rules.to_str().unwrap(),
        word => word,
    });
    let mut child = place
        .command(&arguments.collect::<Vec<_>>())
        .env("NOTIFY_SOCKET", place.path().join("notify"))
        .env("TOCSIN_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = [0; 512];
    let length = socket.recv(&mut said);
    send_signal("TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(said[..length.unwrap()].starts_with(b"READY=1\n"));
    assert!(place.database().exists(), "the database is in the folder that it is started in");
}

#[test]
fn the_image_starts_and_asks_what_the_program_takes() {
    let place = Place::new("rules: []");
    assert_eq!(words_after(IMAGE, "ENTRYPOINT "), [PROGRAM]);
    // Of `serve` only whether it is understood: without a password it may not listen on all addresses.
    let start = words_after(IMAGE, "CMD [\"serve\"");
    assert_eq!(start[1], RULES);
    let listen = words_after(IMAGE, "ENV TOCSIN_LISTEN=");
    let serve = [&["serve", "rules.yaml", "--listen", listen[0]], &start[2..]].concat();
    let (status, _, said) = place.run(&serve);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("server.open"), "{said}");

    let check = words_after(IMAGE, "CMD [\"/usr/local/bin/tocsin\"");
    let tocsin = place.serve();
    let check = [&check[1..], &["--url", tocsin.base()]].concat();
    let (status, said, _) = place.run(&check);
    assert_eq!((status, said.as_str()), (0, "ok\n"));
}
