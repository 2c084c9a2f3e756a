//! The log, written by a thread of its own: whoever reads it may stop to, as a terminal does at Ctrl-S,
//! and nobody else is to wait for that. What it has no room for is lost, and counted there.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many lines wait at most to be written.
const LINES: usize = 512;

/// How long the last of them may take to be written before the program ends without.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where lines of the log are put. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

enum Item {
    Line(Vec<u8>),
    /// All that came before is written.
    Written(SyncSender<()>),
}

impl Log {
    /// A log that a thread writes to this output. What cannot be written is nowhere to be said.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Log> {
        let (queue, waiting) = mpsc::sync_channel(LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write(output, &waiting, &counted))?;
        Ok(Log { queue, lost })
    }

    /// Waits until all that was put there is written, if that can be soon; whether it is.
    pub fn finish(&self) -> bool {
        let (written, is_written) = mpsc::sync_channel(1);
        let asked = self.queue.try_send(Item::Written(written));
        asked.is_ok() && is_written.recv_timeout(LAST_WORDS).is_ok()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Log;

    fn make_writer(&'a self) -> &'a Log {
        self
    }
}

/// What is written at once is one line.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Item::Line(line.to_vec())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(mut output: impl Write, waiting: &Receiver<Item>, lost: &AtomicU64) {
    for item in waiting {
        let written = match item {
            Item::Line(line) => output.write_all(&line),
            Item::Written(done) => {
                let _ = done.send(());
                Ok(())
            }
        };
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 && written.is_ok() {
            let line = format!("{lost} lines of the log were lost here: nobody read it\n");
            let _ = output.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;

    use super::*;

    /// An output that takes a line whenever it is let to, and says what it took.
    struct Slow(Mutex<Receiver<()>>, Sender<String>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.lock().unwrap().recv();
            self.1.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_nobody_reads_keeps_nobody_waiting_and_is_counted() {
        let (read, may_read) = mpsc::channel();
        let (took, taken) = mpsc::channel();
        let log = Log::start(Slow(Mutex::new(may_read), took)).unwrap();
        // One of them is being written.
        let more = LINES + 11;
        for number in 0..more {
            (&log).write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert!(!log.finish());
        drop(read);
        while !log.finish() {}
        let lines: Vec<String> = taken.try_iter().collect();
        let (counts, lines): (Vec<&String>, Vec<&String>) =
            lines.iter().partition(|line| line.contains("lost"));
        let lost = more - lines.len();
        assert!((10..=11).contains(&lost), "{lost}");
        assert_eq!(counts, [&format!("{lost} lines of the log were lost here: nobody read it\n")]);
    }

    #[test]
    fn all_is_written_before_the_end() {
        let (read, may_read) = mpsc::channel();
        let (took, taken) = mpsc::channel();
        drop(read);
        let log = Log::start(Slow(Mutex::new(may_read), took)).unwrap();
        (&log).write_all(b"stopped softly\n").unwrap();
        assert!(log.finish());
        assert_eq!(taken.try_iter().collect::<Vec<_>>(), ["stopped softly\n"]);
    }
}
