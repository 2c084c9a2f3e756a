//! Reads one HTTP answer, of whatever length it says to be. It keeps no more than what is needed to
//! count answers and to go on with the next.

use std::io::{self, ErrorKind};
use std::ops::Range;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// An answer, all of which is in the buffer that it was read into.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where its body is; with the lengths of its chunks, if it has such.
    pub(super) body: Range<usize>,
    /// Whether the connection ends with it.
    pub(super) is_last: bool,
}

enum Length {
    Known(usize),
    Chunked,
    /// As long as the connection.
    UntilClosed,
}

/// Reads one whole answer.
///
/// # Errors
/// If the connection ends before it, or with `InvalidData` if what comes is no HTTP.
pub(super) async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Answer> {
    buffer.clear();
    loop {
        let closed = stream.read_buf(buffer).await? == 0;
        let Some(end) = find(buffer, b"\r\n\r\n") else {
            if closed {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end])
            .map_err(|_| strange("the head of an answer is not text"))?;
        let body = end + 4;
        let status = status(head)?;
        let (length, end) = match length(head, status)? {
            Length::Known(length) => (Some(length), false),
            Length::Chunked => (chunks(&buffer[body..])?, false),
            Length::UntilClosed => (closed.then_some(buffer.len() - body), true),
        };
        if let Some(length) = length.filter(|length| buffer.len() - body >= *length) {
            let is_last = end || is_last(head);
            return Ok(Answer { status, body: body..body + length, is_last });
        }
        if closed {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

fn status(head: &str) -> io::Result<u16> {
    let of = |head: &str| head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok();
    of(head).ok_or_else(|| strange("what answers there does not speak HTTP/1"))
}

fn length(head: &str, status: u16) -> io::Result<Length> {
    if let 204 | 304 = status {
        return Ok(Length::Known(0));
    }
    if header(head, "transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
        return Ok(Length::Chunked);
    }
    header(head, "content-length").map_or(Ok(Length::UntilClosed), |length| {
        length
            .parse()
            .map(Length::Known)
            .map_err(|_| strange("the length of an answer is no number"))
    })
}

fn is_last(head: &str) -> bool {
    match header(head, "connection") {
        Some(wish) => wish.eq_ignore_ascii_case("close"),
        None => head.starts_with("HTTP/1.0"),
    }
}

/// How long a body in chunks is (RFC 9112 §7.1), if all of it is there.
fn chunks(body: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    while let Some(line) = body.get(at..).and_then(|rest| find(rest, b"\r\n")) {
        let size = std::str::from_utf8(&body[at..at + line]).unwrap_or_default();
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u32::from_str_radix(size, 16)
            .map_err(|_| strange("the length of a part of an answer is no number"))?;
        if size == 0 {
            // Trailers may follow; without them this is the line's own end, and an empty line.
            let end = find(&body[at + line..], b"\r\n\r\n");
            return Ok(end.map(|end| at + line + end + 4));
        }
        at += line + 2 + size as usize + 2;
    }
    Ok(None)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(named, _)| named.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn strange(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

pub(super) fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
