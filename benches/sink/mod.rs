//! A place that is told, on a thread of its own: it notes when what arrived, and answers at once.

#![allow(dead_code, reason = "not every benchmark looks at what arrives")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use warp::Filter;
use warp::http::header::RETRY_AFTER;
use warp::http::{HeaderMap, Response, StatusCode};
use warp::hyper::body::Bytes;

/// A sink, until the program ends.
pub(crate) struct Sink {
    address: SocketAddr,
    leave_alone: Arc<AtomicBool>,
    arrivals: UnboundedReceiver<Arrival>,
}

/// A message that arrived.
pub(crate) struct Arrival {
    /// When all of it was there.
    pub(crate) at: Instant,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Sink {
    /// Starts a sink that takes everything. One that is to be left alone asks for `pause`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub(crate) fn start(pause: Duration) -> anyhow::Result<Sink> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let leave_alone = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&leave_alone);
        let (note, arrivals) = mpsc::unbounded_channel();
        let take = warp::post().and(warp::header::headers_cloned()).and(warp::body::bytes()).map(
            move |headers, body| {
                // At the end of the program nobody listens any more.
                let _ = note.send(Arrival { at: Instant::now(), headers, body });
                let mut answer = Response::new("");
                if refuses.load(Ordering::Relaxed) {
                    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    answer.headers_mut().insert(RETRY_AFTER, pause.as_secs().into());
                }
                answer
            },
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)
                    .expect("it is bound and does not block");
                warp::serve(take).incoming(listener).run().await;
            });
        });
        Ok(Sink { address, leave_alone, arrivals })
    }

    /// Where to post.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on it asks to be left alone (503), or takes what comes.
    pub(crate) fn leave_alone(&self, leave_alone: bool) {
        self.leave_alone.store(leave_alone, Ordering::Relaxed);
    }

    /// How many messages have arrived that nobody took. They are gone after that.
    pub(crate) fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.arrivals.try_recv().ok()).count()
    }

    /// The next so many messages, the first first.
    ///
    /// # Errors
    /// If they do not come within `patience`.
    pub(crate) async fn take(
        &mut self,
        count: usize,
        patience: Duration,
    ) -> anyhow::Result<Vec<Arrival>> {
        let mut taken = Vec::with_capacity(count);
        let taking = async {
            while taken.len() < count {
                taken.push(self.arrivals.recv().await.context("the sink is gone")?);
            }
            anyhow::Ok(())
        };
        let in_time = tokio::time::timeout(patience, taking).await;
        in_time.with_context(|| format!("{count} messages did not arrive"))??;
        Ok(taken)
    }
}
