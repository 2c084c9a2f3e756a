//! A client's socket that bounds two waits which HTTP leaves open: for a client that does not read
//! its answer, and for one that still sends when its answer is complete.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may go on sending what is no longer read. Closing while it sends would reset
/// the connection, and the client could lose the answer that says why.
const LINGER: Duration = Duration::from_secs(1);

/// A stream to a client.
pub(super) struct Socket<S> {
    stream: S,
    read_within: Duration,
    /// Runs while the client reads nothing of what we have to say.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs once all is said.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    /// A client may leave an answer unread for `read_within`.
    pub(super) fn new(stream: S, read_within: Duration) -> Socket<S> {
        Socket { stream, read_within, stalled: None, lingering: None }
    }

    /// What `written` says, or that it has been so for too long.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.read_within)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads no answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unless_stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_stalled(cx, flushed)
    }

    /// Says that there is no more to come, then reads and forgets until the client is done as well.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.lingering = Some(Box::pin(sleep(LINGER)));
        }
        let mut forgotten = [0; 4096];
        while let Some(lingering) = &mut self.lingering {
            // A client that keeps sending never lets the read wait, and so the timer never be
            // polled to its end, but for this.
            if lingering.deadline() <= Instant::now() || lingering.as_mut().poll(cx).is_ready() {
                break;
            }
            let mut buffer = ReadBuf::new(&mut forgotten);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (ours, _theirs) = duplex(16);
        let mut socket = Socket::new(ours, Duration::from_millis(20));
        let error = socket.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_not() {
        let (ours, mut theirs) = duplex(16);
        let mut socket = Socket::new(ours, Duration::from_secs(5));
        let mut read = Vec::new();
        let write = async {
            socket.write_all(&[7; 64]).await.unwrap();
            drop(socket);
        };
        let (_, length) = tokio::join!(write, theirs.read_to_end(&mut read));
        assert_eq!(length.unwrap(), 64);
    }

    #[tokio::test]
    async fn what_a_client_still_sends_is_read_until_it_is_done() {
        let (ours, mut theirs) = duplex(16);
        let mut socket = Socket::new(ours, Duration::from_secs(5));
        let client = async {
            theirs.write_all(&[1; 64]).await.unwrap();
            theirs.shutdown().await.unwrap();
            theirs
        };
        let (closed, _theirs) = tokio::join!(socket.shutdown(), client);
        closed.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_stops_sending_is_left() {
        let (ours, mut theirs) = duplex(16);
        let mut socket = Socket::new(ours, Duration::from_secs(5));
        let client = async { while theirs.write_all(&[1; 64]).await.is_ok() {} };
        let close = async {
            socket.shutdown().await.unwrap();
            drop(socket);
        };
        tokio::join!(close, client);
    }
}
