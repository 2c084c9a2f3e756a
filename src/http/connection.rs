//! The connection loop: accepts up to a cap, bounds every wait, and stops softly.
//!
//! Knows nothing of what is asked.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::receive::Intake;
use super::socket::Socket;
use super::{Api, Limits, route};

/// How long to wait before accepting again where it failed for want of something, such as file
/// descriptors.
const BREATHER: Duration = Duration::from_millis(200);

/// Answers requests until `api.stop` is cancelled. From then on it takes no connection and no
/// request; it returns when the requests that run are answered.
pub async fn serve<I: Intake>(listener: TcpListener, api: Api<I>, limits: Limits) {
    let stop = api.stop.clone();
    let service = TowerToHyperService::new(warp::service(route::filter(api, limits)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_header_size(limits.headers)
        .max_buf_size(limits.headers);

    let free = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    while let Some((stream, permit)) = next(&listener, &free, &stop).await {
        let socket = TokioIo::new(Socket::new(stream, limits.read_within));
        let connection = builder.serve_connection(socket, service.clone());
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let outcome = tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = outcome {
                debug!(error = &error as &dyn std::error::Error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection and its place among those that may be open; `None` once we stop.
async fn next(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accepted = async {
        // The semaphore is never closed, so that this waits until a place is free.
        let permit = Arc::clone(free).acquire_owned().await.ok()?;
        Some((accept(listener).await, permit))
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = accepted => accepted,
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "a connection keeps Nagle's delay");
                }
                return stream;
            }
            Err(error) if is_the_clients(&error) => debug!(%error, "a client did not wait"),
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// Whether only this one connection failed, so that the next can be accepted at once.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
