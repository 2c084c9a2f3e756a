//! TLS, where it is served: from a client's socket to one that is encrypted.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::tls::Current;

/// The first byte of all that begins a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What is said to those who speak plain HTTP here.
const NOT_ENCRYPTED: &str = r#"{"error":"this port is for https; use https:// in the URL"}"#;

/// Shakes hands with what is served with now.
pub(super) async fn shake(
    stream: TcpStream,
    current: &Current,
    within: Duration,
    read_within: Duration,
) -> io::Result<TlsStream<Socket<TcpStream>>> {
    let acceptor = TlsAcceptor::from(current.borrow().clone());
    let shaken = timeout(within, async {
        let mut first = [HANDSHAKE];
        stream.peek(&mut first).await?;
        let mut socket = Socket::new(stream, read_within);
        if first[0] != HANDSHAKE {
            refuse(&mut socket).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not encrypt"));
        }
        acceptor.accept(socket).await
    });
    shaken.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn refuse(socket: &mut Socket<TcpStream>) -> io::Result<()> {
    let length = NOT_ENCRYPTED.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{NOT_ENCRYPTED}"
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}
