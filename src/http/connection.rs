//! The connection loop: accepts up to a cap, bounds every wait, and stops softly.
//!
//! Knows nothing of what is asked.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::access::Access;
use super::answer::Response;
use super::door::Door;
use super::handshake;
use super::origin::Proxies;
use super::receive::Intake;
use super::seats::{NoMore, Seat, Seats};
use super::socket::Socket;
use super::{Api, Guard, Limits, route};
use crate::tls::Current;

/// How long to wait before accepting again where it failed for want of something, such as file
/// descriptors.
const BREATHER: Duration = Duration::from_millis(200);

/// How long clients have at the stop to ask the whole of what they have begun to, and to take their
/// answer.
pub(super) const LAST_CALL: Duration = Duration::from_secs(2);

/// What every connection needs.
struct Server<S> {
    builder: http1::Builder,
    door: Door<S>,
    tls: Option<Current>,
    limits: Limits,
    stop: CancellationToken,
}

/// Answers requests until `api.stop` is cancelled. From then on it takes no connection and no
/// request; it returns when the requests that run are answered.
pub async fn serve<I: Intake>(listener: TcpListener, api: Api<I>, guard: Guard, limits: Limits) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_header_size(limits.headers)
        .max_buf_size(limits.headers);
    let stop = api.stop.clone();
    let server = Arc::new(Server {
        builder,
        door: Door {
            access: Access::new(&guard.receive_tokens, guard.receive_rate, guard.admin),
            names: guard.names,
            proxies: Proxies(guard.trusted_proxies),
            inside: TowerToHyperService::new(warp::service(route::filter(api, limits))),
        },
        tls: guard.tls,
        limits,
        stop: stop.clone(),
    });

    let seats = Seats::new(limits.connections, limits.connections_each);
    let connections = TaskTracker::new();
    let accept = async {
        loop {
            let (stream, peer) = accept(&listener).await;
            match seats.take(peer, &server.door.proxies).await {
                Ok(seat) => {
                    connections.spawn(Arc::clone(&server).attend(stream, peer, seat));
                }
                Err(NoMore) => debug!(client.address = %peer, "too many connections from there"),
            }
        }
    };
    // It never ends by itself.
    let _: Option<Infallible> = stop.run_until_cancelled(accept).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

impl<S> Server<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    /// Answers what is asked on a connection, until it or the seat is given up.
    async fn attend(self: Arc<Self>, stream: TcpStream, peer: IpAddr, seat: Seat) {
        let Limits { headers_within, read_within, .. } = self.limits;
        let ended = match &self.tls {
            None => self.converse(Socket::new(stream, read_within), peer, &seat).await,
            Some(current) => {
                let shaken = tokio::select! {
                    shaken = handshake::shake(stream, current, headers_within, read_within) => shaken,
                    () = seat.given_up() => return,
                    () = self.stop.cancelled() => return,
                };
                match shaken {
                    Ok(stream) => self.converse(stream, peer, &seat).await,
                    Err(error) => {
                        debug!(client.address = %peer, %error, "no TLS with this client");
                        return;
                    }
                }
            }
        };
        if let Err(error) = ended {
            let error = &error as &dyn std::error::Error;
            debug!(client.address = %peer, error, "a connection ended early");
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: IpAddr,
        seat: &Seat,
    ) -> hyper::Result<()> {
        let service = service_fn(async |request| {
            seat.asks();
            let answer = self.door.answer(request, peer).await;
            seat.waits(Instant::now());
            Ok::<_, Infallible>(answer)
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = seat.given_up() => {
                debug!(client.address = %peer, "an idle connection gives way to another");
                Ok(())
            }
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                loop {
                    tokio::select! {
                        ended = connection.as_mut() => return ended,
                        () = tokio::time::sleep(LAST_CALL) => if !seat.is_asking() {
                            return Ok(());
                        },
                    }
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "a connection keeps Nagle's delay");
                }
                return (stream, peer.ip());
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
