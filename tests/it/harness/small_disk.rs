//! A real file system of a few MiB, which only programs that are started in it see: ext4 on a loop
//! device or, where that cannot be had, a tmpfs. It needs root or, for the tmpfs, a kernel that lets
//! others have name spaces of their own.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use tempfile::TempDir;

/// Makes the file system, says what it is, and holds it until the end of its input.
const MOUNT: &str = "
    PATH=$PATH:/sbin:/usr/sbin
    truncate -s $2M $1/image && mkfs.ext4 -q -m 0 $1/image && mount -o loop $1/image $1/disk \
        && echo ext4 && exec cat
    mount -t tmpfs -o size=$2M none $1/disk && echo tmpfs && exec cat";

/// A small file system. It is gone when dropped.
pub struct SmallDisk {
    holder: Child,
    folder: TempDir,
    is_root: bool,
    kind: String,
}

impl SmallDisk {
    /// One of so many MiB, with nothing on it.
    pub fn new(mib: u32) -> SmallDisk {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("disk")).unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = Command::new("unshare");
        if !is_root {
            command.args(["--user", "--map-root-user"]);
        }
        let mut holder = command
            .args(["--mount", "--propagation", "private", "/bin/sh", "-c", MOUNT, "sh"])
            .arg(folder.path())
            .arg(mib.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut kind = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut kind).unwrap();
        assert!(
            !kind.is_empty(),
            "no small file system can be mounted; run this test as root, or allow user name spaces"
        );
        SmallDisk { holder, folder, is_root, kind: kind.trim().to_owned() }
    }

    /// Whether it is ext4.
    pub fn is_ext4(&self) -> bool {
        self.kind == "ext4"
    }

    /// A file on it, as the programs in it name it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("disk").join(name)
    }

    /// The same, as everyone else names it.
    pub fn outside(&self, name: &str) -> PathBuf {
        let inside = self.file(name);
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(inside.strip_prefix("/").unwrap())
    }

    /// A program that is to run in it, its arguments still to be added.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        if !self.is_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        // The working folder is that of outside.
        command.args(["--mount", &format!("--target={}", self.holder.id()), "--wd=.", program]);
        command
    }

    /// Writes to it until nothing more fits.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.outside("ballast")).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            match io::Write::write(&mut file, &vec![b'x'; size]) {
                Ok(_) => {}
                Err(_) => size /= 2,
            }
        }
        // What is only planned to be written may turn out to be too much.
        let _ = file.sync_all();
    }

    /// Takes up so many MiB of it.
    pub fn take_up(&self, mib: usize) {
        fs::write(self.outside("ballast"), vec![b'x'; mib << 20]).unwrap();
    }

    /// Takes back what [`SmallDisk::fill`] or [`SmallDisk::take_up`] wrote.
    pub fn free(&self) {
        fs::remove_file(self.outside("ballast")).unwrap();
    }

    /// Lets nobody write a file, not even those who have it open, or lets them again.
    pub fn protect(&self, path: &Path, protected: bool) {
        let flag = if protected { "+i" } else { "-i" };
        assert!(Command::new("chattr").arg(flag).arg(path).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The end of its input is its end, and with its last program the file system is gone.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
