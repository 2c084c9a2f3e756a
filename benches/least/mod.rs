//! The least that can be done with an event: to forget it, or to keep it as one row. What tocsin is
//! measured against, and what shows how much of its time is HTTP's and the disk's.

#![allow(dead_code, reason = "not every benchmark has use for all of it")]

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::Connection;
use tokio::sync::oneshot;
use warp::Filter;
use warp::hyper::body::Bytes;

use crate::process;

/// Has this program parse events and forget them.
const FORGET: &str = "forget";

/// Has it keep each as a row, and answer after the commit.
const KEEP: &str = "keep";

/// How many rows one commit is worth waiting for, and how long: half of what is in flight.
const COMPANY: (usize, Duration) = (32, Duration::from_millis(1));

/// Answers as another process, if this is one that was started for it.
pub(crate) fn when_asked() -> Option<anyhow::Result<()>> {
    match std::env::args().nth(1)?.as_str() {
        FORGET => Some(forget()),
        KEEP => Some(keep()),
        _ => None,
    }
}

/// The command for a server that forgets.
pub(crate) fn forgetting() -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FORGET);
    Ok(command)
}

/// The command for a server that keeps, in this folder.
pub(crate) fn keeping(folder: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(KEEP).current_dir(folder);
    Ok(command)
}

fn forget() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        process::announce(listener.local_addr()?)?;
        let forget = warp::path!("api" / "post")
            .and(warp::post())
            .and(warp::body::json())
            .map(|_: serde_json::Value| warp::reply());
        warp::serve(forget).incoming(listener).run().await;
        Ok(())
    })
}

fn keep() -> anyhow::Result<()> {
    let rows = Rows::open(Path::new("rows.db"), COMPANY)?;
    // With one thread for HTTP, as tocsin has on two processors, it is faster than with two.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        process::announce(listener.local_addr()?)?;
        let keep = warp::path!("api" / "post").and(warp::post()).and(warp::body::bytes()).then(
            move |body: Bytes| {
                let rows = rows.clone();
                async move {
                    match serde_json::from_slice::<serde_json::Value>(&body) {
                        Ok(_) if rows.add(body).await.is_ok() => warp::http::StatusCode::OK,
                        Ok(_) => warp::http::StatusCode::SERVICE_UNAVAILABLE,
                        Err(_) => warp::http::StatusCode::BAD_REQUEST,
                    }
                }
            },
        );
        warp::serve(keep).incoming(listener).run().await;
        Ok(())
    })
}

/// A table of texts in SQLite, as durable as tocsin's, written by a thread of its own: one commit for
/// all that wait.
#[derive(Clone)]
pub(crate) struct Rows(mpsc::Sender<Row>);

struct Row {
    text: Bytes,
    kept: oneshot::Sender<()>,
}

impl Rows {
    /// A new table in this file, a commit of which waits so long for so many rows.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn open(file: &Path, company: (usize, Duration)) -> anyhow::Result<Rows> {
        let connection = Connection::open(file)?;
        connection.execute_batch(
            "pragma journal_mode = wal; pragma synchronous = full;
             create table rows (number integer primary key, text blob not null);",
        )?;
        let (queue, waiting) = mpsc::channel();
        std::thread::spawn(move || write(&connection, &waiting, company));
        Ok(Rows(queue))
    }

    /// Adds a row. Returns after the commit.
    ///
    /// # Errors
    /// If it could not be added.
    pub(crate) async fn add(&self, text: Bytes) -> anyhow::Result<()> {
        let (kept, is_kept) = oneshot::channel();
        self.0.send(Row { text, kept }).ok().context("no more rows are kept")?;
        Ok(is_kept.await?)
    }
}

/// Writes until nobody is left who adds anything.
fn write(
    connection: &Connection,
    waiting: &mpsc::Receiver<Row>,
    (least, within): (usize, Duration),
) -> rusqlite::Result<()> {
    while let Ok(first) = waiting.recv() {
        let mut rows = vec![first];
        let until = Instant::now() + within;
        rows.extend(waiting.try_iter());
        while rows.len() < least
            && let Ok(row) = waiting.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            rows.push(row);
        }
        connection.prepare_cached("begin immediate")?.execute([])?;
        let mut insert = connection.prepare_cached("insert into rows (text) values (?1)")?;
        for row in &rows {
            insert.execute([&row.text[..]])?;
        }
        connection.prepare_cached("commit")?.execute([])?;
        for row in rows {
            // Whoever is gone by now does not mind.
            let _ = row.kept.send(());
        }
    }
    Ok(())
}
