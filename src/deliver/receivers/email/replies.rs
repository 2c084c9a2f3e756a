//! The stream to an SMTP server, whose replies lettre can read: it takes a line that is not UTF-8 for
//! a broken connection, code and all, so that a mail that was taken would be sent again.

#![expect(deprecated, reason = "lettre gives no other way to a stream that its TLS is on")]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead as _, AsyncWrite as _};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::client::{AsyncNetworkStream, AsyncTokioStream, TlsParameters};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A line is refused that is longer, in bytes: of a reply it may have 512 (RFC 5321 §4.5.3.1.5).
const LINE: usize = 16 * 1024;

/// What a conversation that nobody was greeted in begins with.
const GREETING: &[u8] = b"220 TLS\r\n";

/// The stream to a server. Its clones are the same stream, so that it can be had back from a
/// conversation.
#[derive(Clone)]
pub(super) struct Replies(Arc<Mutex<Inner>>);

struct Inner {
    /// There but for the time in which TLS is made of it.
    stream: Option<AsyncNetworkStream>,
    /// What was read of a line whose end was not: half a character may be in it.
    begun: Vec<u8>,
    /// What can be read.
    whole: Vec<u8>,
}

impl Replies {
    /// Connects to one of these addresses, with TLS from the first byte if it is given.
    pub(super) async fn connect(
        addresses: &[SocketAddr],
        tls: Option<TlsParameters>,
    ) -> Result<Replies, SmtpError> {
        let stream = AsyncNetworkStream::connect_tokio1(addresses, None, tls, None).await?;
        let inner = Inner { stream: Some(stream), begun: Vec::new(), whole: Vec::new() };
        Ok(Replies(Arc::new(Mutex::new(inner))))
    }

    /// Goes on in TLS, once the server has said that it does, with a conversation of its own. What
    /// was said in the clear is forgotten, be it that it came too early.
    pub(super) async fn encrypt(&self, tls: TlsParameters) -> Result<(), SmtpError> {
        let stream = self.lock().stream.take();
        let mut stream = stream.expect("one conversation is had at a time, and TLS made once");
        stream.upgrade_tls(tls).await?;
        *self.lock() = Inner { stream: Some(stream), begun: Vec::new(), whole: GREETING.to_vec() };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn stream(&mut self) -> io::Result<Pin<&mut AsyncNetworkStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes what the server said; nothing is its end. Of what is not UTF-8 only the code can be
    /// made out, and no line may become longer.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.begun.extend_from_slice(bytes);
        let end = match self.begun.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if bytes.is_empty() => self.begun.len(),
            None if self.begun.len() > LINE => {
                return Err(io::Error::other("a line of its reply has no end"));
            }
            None => 0,
        };
        let lines: Vec<u8> = self.begun.drain(..end).collect();
        self.whole.extend(String::from_utf8_lossy(&lines).replace('\u{fffd}', "?").bytes());
        Ok(())
    }
}

impl AsyncRead for Replies {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        while inner.whole.is_empty() {
            let mut bytes = [0; 1024];
            let count = ready!(inner.stream()?.poll_read(context, &mut bytes))?;
            inner.take(&bytes[..count])?;
            if count == 0 {
                break;
            }
        }
        let count = inner.whole.len().min(into.remaining());
        into.put_slice(&inner.whole[..count]);
        inner.whole.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replies {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().stream()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().stream()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().stream()?.poll_close(context)
    }
}

impl AsyncTokioStream for Replies {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.lock().stream()?.peer_addr()
    }
}

/// lettre asks for it. What is said in it is nobody's business.
impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replies")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_given_on_when_it_is_whole_and_what_is_not_utf_8_in_it_is_a_question_mark() {
        let mut inner = Inner { stream: None, begun: Vec::new(), whole: Vec::new() };
        for (said, whole) in [
            (&b"250-gr\xc3"[..], ""),
            (b"\xbc\xc3\x9fe\r\n250 gr\xfc", "250-grüße\r\n"),
            (b"\xdfe\r\n", "250-grüße\r\n250 gr??e\r\n"),
            (b"42", "250-grüße\r\n250 gr??e\r\n"),
            (b"", "250-grüße\r\n250 gr??e\r\n42"),
        ] {
            inner.take(said).unwrap();
            assert_eq!(String::from_utf8_lossy(&inner.whole), whole);
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept_forever() {
        let mut inner = Inner { stream: None, begun: Vec::new(), whole: Vec::new() };
        let error = (0..100).find_map(|_| inner.take(&[b'x'; 1024]).err());
        assert!(error.unwrap().to_string().contains("no end"));
    }
}
