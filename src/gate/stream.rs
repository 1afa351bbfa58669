//! A connection of any kind, with the bytes that were read to see what it speaks put back in front, and its place.
//!
//! Whoever keeps a small buffer, as a WebSocket does that waits for years, is not made to ask the kernel for every spoonful: as
//! much as there is is read into a buffer that all connections of a thread share, and what is left over is kept until it is asked
//! for.

use std::cell::RefCell;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use super::places::Place;

/// What HTTP/2 begins with (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What stands in every STUN message at bytes 4 to 8 (RFC 8489, section 5).
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Less than this at a time is asked for by who keeps a small buffer.
const SMALL: usize = 1024;

/// How much is then read at once: a record of TLS.
const AHEAD: usize = 16 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; AHEAD].into());
}

/// What a connection speaks, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speech {
    /// HTTP/1, or anything else, which its parser then refuses.
    Http1,
    /// HTTP/2 with prior knowledge or by ALPN.
    Http2,
    /// TURN: it begins with a STUN message.
    Turn,
}

/// A stream that begins with `first`, then goes on with `inner`.
pub(super) struct Stream<S> {
    /// What was read already.
    first: Bytes,
    inner: S,
    place: Place,
}

/// Reads until it is clear what the other side speaks. The bytes are not lost: the stream returned has them.
///
/// # Errors
/// The connection fails, or ends before it said anything.
pub(super) async fn listen<S: AsyncRead + Unpin>(
    mut inner: S,
    place: Place,
) -> io::Result<(Speech, Stream<S>)> {
    let mut first = Vec::with_capacity(HTTP2.len());
    let speech = loop {
        match speech(&first) {
            Some(speech) => break speech,
            // `take` keeps whatever follows in the kernel: nothing is read that cannot be put back.
            None => {
                let missing = HTTP2.len().saturating_sub(first.len()) as u64;
                if (&mut inner).take(missing).read_buf(&mut first).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    };
    Ok((speech, Stream { first: Bytes::from(first), inner, place }))
}

impl<S> Stream<S> {
    /// A connection nothing was read of.
    pub(super) fn new(inner: S, place: Place) -> Self {
        Self { first: Bytes::new(), inner, place }
    }

    /// What was read to look, the connection behind it, and its place.
    pub(super) fn into_parts(self) -> (Bytes, S, Place) {
        (self.first, self.inner, self.place)
    }
}

/// None: too few bytes to tell.
fn speech(first: &[u8]) -> Option<Speech> {
    // The two highest bits of a STUN message are 0, and no method has one of the next four (RFC 8489, section 5).
    if first.first().is_some_and(|&byte| byte < 4) {
        let cookie = first.get(4..).unwrap_or_default();
        return match cookie.iter().zip(MAGIC_COOKIE).take_while(|(is, should)| *is == should).count() {
            4 => Some(Speech::Turn),
            same if same == cookie.len() => None,
            _ => Some(Speech::Http1),
        };
    }
    let same = first.iter().zip(HTTP2).take_while(|(a, b)| a == b).count();
    if same == HTTP2.len() {
        Some(Speech::Http2)
    } else if same < first.len() {
        Some(Speech::Http1)
    } else {
        None
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            if into.remaining() >= SMALL {
                return Pin::new(&mut self.inner).poll_read(context, into);
            }
            return SHARED.with_borrow_mut(|shared| {
                let mut read = ReadBuf::new(shared);
                ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
                let read = read.filled();
                let (now, later) = read.split_at(read.len().min(into.remaining()));
                into.put_slice(now);
                self.first = Bytes::copy_from_slice(later);
                Poll::Ready(Ok(()))
            });
        }
        let length = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..length]);
        self.first.advance(length);
        if self.first.is_empty() {
            // It would hold all its memory, else.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt;

    use super::super::places::Places;
    use super::*;

    async fn heard(parts: &[&[u8]]) -> io::Result<(Speech, Vec<u8>)> {
        let (mut client, server) = tokio::io::duplex(64);
        let place = Places::new(1, 0).take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let say = async {
            for part in parts {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let (heard, ()) = tokio::join!(listen(server, place), say);
        let (speech, mut stream) = heard?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        Ok((speech, all))
    }

    #[tokio::test]
    async fn what_was_read_to_look_is_read_again() {
        for (parts, expected) in [
            (&[&b"GET / HTTP/1.1\r\n\r\n"[..]][..], Speech::Http1),
            (&[b"P", b"OST / HTTP/1.1\r\n\r\n"], Speech::Http1),
            (&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\nframes"], Speech::Http2),
            (&[b"PRI * HTTP/2.0\r\n\r\nSN"], Speech::Http1),
            (&[b"\x16\x03\x01\0"], Speech::Http1),
            (&[b"\0\x03\0\x08\x21\x12\xa4\x42"], Speech::Turn),
            (&[b"\0", b"\x03\0", b"\x08\x21\x12", b"\xa4", b"\x42 and more than is looked at"], Speech::Turn),
            (&[b"\0\x03\0\x08\x21\x12\xa4\x43"], Speech::Http1),
            (&[b"\0\x03\0\x08\x22"], Speech::Http1),
            (&[b"\x04\x03\0\x08\x21\x12\xa4\x42"], Speech::Http1),
            (&[b"\x40\0\0\x08"], Speech::Http1),
        ] {
            let (speech, all) = heard(parts).await.unwrap();
            assert_eq!(speech, expected, "{parts:?}");
            assert_eq!(all, parts.concat());
        }
    }

    /// Gives everything it has at once, as far as there is room, and counts how often it was asked.
    struct Counted(Vec<u8>, usize);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1 += 1;
            let length = self.0.len().min(into.remaining());
            into.put_slice(&self.0.drain(..length).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn who_reads_by_the_spoon_is_served_from_one_read() {
        let all: Vec<u8> = (0..AHEAD + 500).map(|n| n as u8).collect();
        let place = Places::new(1, 0).take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut stream = Stream::new(Counted(all.clone(), 0), place);
        let mut heard = Vec::new();
        let mut spoon = [0; 100];
        loop {
            match stream.read(&mut spoon).await.unwrap() {
                0 => break,
                length => heard.extend_from_slice(&spoon[..length]),
            }
        }
        assert_eq!(heard, all);
        // One for the first 16 KiB, one for the rest, one that says that it is the end.
        assert_eq!(stream.inner.1, 3);
    }

    #[tokio::test]
    async fn who_has_room_is_read_for_in_place() {
        let place = Places::new(1, 0).take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut stream = Stream::new(Counted(vec![7; 3 * SMALL], 0), place);
        let mut large = [0; 2 * SMALL];
        assert_eq!(stream.read(&mut large).await.unwrap(), 2 * SMALL);
        assert!(stream.first.is_empty());
        assert_eq!(stream.read(&mut large).await.unwrap(), SMALL);
    }

    #[tokio::test]
    async fn saying_nothing_or_too_little_is_an_error() {
        assert!(heard(&[]).await.is_err());
        assert!(heard(&[b"PRI *"]).await.is_err());
        assert!(heard(&[b"\0\x03\0\x08\x21\x12\xa4"]).await.is_err());
    }
}
