//! A disk that fails when it is told to, and a clock that jumps: `tests/bad_disk.c`, compiled anew and
//! loaded into the program.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Place;

/// As `tests/bad_disk.c` numbers them.
const PLAN: usize = 9 * 8;
const SEEN: u64 = 6;
const FAILED: u64 = 7;
const AHEAD: u64 = 8;

/// The files of a database.
pub mod on {
    pub const DATABASE: u64 = 1;
    pub const LOG: u64 = 2;
    pub const ALL: u64 = 7;
}

/// What is done to them.
pub mod at {
    pub const WRITES: u64 = 1;
    pub const SYNCS: u64 = 2;
    pub const ALL: u64 = 7;
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Eio = 5,
    Enospc = 28,
    Erofs = 30,
    /// Half of it is written, and then the disk is full.
    Short = 1000,
    /// The process is killed there and then.
    Kill = 1001,
}

/// What is to fail.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub skip: u64,
    pub fail: u64,
    pub fault: Fault,
    pub files: u64,
    pub calls: u64,
}

impl Plan {
    /// Every call from now on.
    pub fn all(fault: Fault) -> Plan {
        Plan { skip: 0, fail: u64::MAX, fault, files: on::ALL, calls: at::ALL }
    }
}

/// The disk and the clock of the programs in a place.
pub struct BadDisk {
    plan: File,
}

impl BadDisk {
    /// From now on the programs of this place run on it. With `shadow`, see [`Place::cut_power`].
    pub fn under(place: Place, shadow: bool) -> (Place, BadDisk) {
        let (library, plan) = (place.path().join("bad_disk.so"), place.path().join("bad_disk"));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad_disk.c"))
            .status()
            .expect("there is a C compiler, since building needs one");
        assert!(compiled.success());
        fs::write(&plan, [0; PLAN]).unwrap();
        let file = File::options().read(true).write(true).open(&plan).unwrap();
        let place = place
            .with_environment("LD_PRELOAD", library.to_str().unwrap())
            .with_environment("BAD_DISK", plan.to_str().unwrap());
        let place = if shadow { place.with_environment("BAD_DISK_SHADOW", "1") } else { place };
        (place, BadDisk { plan: file })
    }

    fn set(&self, at: u64, value: u64) {
        self.plan.write_all_at(&value.to_ne_bytes(), at * 8).unwrap();
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.plan.read_exact_at(&mut bytes, at * 8).unwrap();
        u64::from_ne_bytes(bytes)
    }

    /// Has it fail so from now on.
    pub fn fail(&self, plan: Plan) {
        self.mend();
        let Plan { skip, fail, fault, files, calls } = plan;
        for (at, value) in (1..).zip([skip, fail, fault as u64, files, calls, 0, 0]) {
            self.set(at, value);
        }
        self.set(0, 1);
    }

    /// It is whole again.
    pub fn mend(&self) {
        self.set(0, 0);
    }

    /// How many calls the last plan saw.
    pub fn seen(&self) -> u64 {
        self.get(SEEN)
    }

    /// How many calls the last plan had fail.
    pub fn failed(&self) -> u64 {
        self.get(FAILED)
    }

    /// Sets the clock wrong.
    pub fn set_clock_ahead(&self, by: Duration) {
        self.set(AHEAD, u64::try_from(by.as_micros()).unwrap());
    }

    /// Sets the clock wrong the other way.
    pub fn set_clock_behind(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.set(AHEAD, (-micros).cast_unsigned());
    }
}

impl Place {
    /// Leaves of the database what was on the disk, as a power cut would.
    pub fn cut_power(&self) {
        let beside = |end: &str| PathBuf::from(format!("{}{end}", self.database().display()));
        for end in ["", "-wal"] {
            if beside(&format!("{end}.disk")).exists() {
                fs::rename(beside(&format!("{end}.disk")), beside(end)).unwrap();
            }
        }
        let _ = fs::remove_file(beside("-shm"));
    }
}
