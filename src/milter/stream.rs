//! A milter connection with Sendmail's idea of an IPv6 address translated.
//!
//! Sendmail writes the client's address in CONNECT as
//! `IPv6:2001:db8:1:0:0:0:0:10`; the protocol library reads addresses without a
//! prefix. This stream takes the prefix away. Nothing else is touched, and
//! after the CONNECT frame nothing is even looked at.
//!
//! An MTA that does not read what we write loses its connection in the end: the
//! library, having given up, would wait without limit for its last words to be
//! read.

use crate::telemetry::metrics::OpenConnection;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};

/// The longest CONNECT frame that is translated, in octets: a host name, the
/// family, the port and an address fit several times over. Longer ones go on
/// untouched, for the protocol library to judge.
const MAX_CONNECT: usize = 4096;

/// Length and command.
const HEADER: usize = 5;

/// Wraps the MTA's connection.
#[derive(Debug)]
pub struct MilterStream<S> {
    stream: S,
    state: State,
    /// How long the MTA may leave what we write unread.
    patience: Duration,
    /// Runs while it does.
    unread: Option<Pin<Box<Sleep>>>,
    /// Its place among the connections that may be open.
    _permit: OwnedSemaphorePermit,
    _open: OpenConnection,
}

#[derive(Debug)]
enum State {
    /// Frames before CONNECT: reading the header of the next.
    Header(Vec<u8>),
    /// Within a frame that is no CONNECT; so many octets are left of it.
    Frame(usize),
    /// Reading a CONNECT frame that has this length in all.
    Connect(Vec<u8>, usize),
    /// Handing out what was held back; then on to the next state.
    Release(Vec<u8>, usize, Box<State>),
    /// Behind CONNECT.
    Through,
}

impl<S> MilterStream<S> {
    /// Begins before negotiation. The permit is held until the end.
    pub fn new(stream: S, patience: Duration, permit: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            state: State::Header(Vec::new()),
            patience,
            unread: None,
            _permit: permit,
            _open: OpenConnection::count(),
        }
    }
}

impl State {
    /// Takes what was just read while something is held back.
    fn advance(self) -> Self {
        match self {
            Self::Header(header) if header.len() == HEADER => frame(header),
            Self::Connect(frame, length) if frame.len() == length => {
                Self::Release(translate(frame), 0, Box::new(Self::Through))
            }
            Self::Release(held, done, next) if held.len() == done => *next,
            Self::Frame(0) => Self::Header(Vec::new()),
            unchanged => unchanged,
        }
    }

    /// How many octets to hold back next, and where.
    fn holding(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        match self {
            Self::Header(header) => Some((header, HEADER)),
            Self::Connect(frame, length) => Some((frame, *length)),
            Self::Frame(_) | Self::Release(..) | Self::Through => None,
        }
    }
}

fn frame(header: Vec<u8>) -> State {
    let [a, b, c, d, command] = header[..] else {
        return State::Release(header, 0, Box::new(State::Through));
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let payload = length.saturating_sub(1);
    match command {
        b'C' if payload <= MAX_CONNECT => State::Connect(header, HEADER + payload).advance(),
        b'C' => State::Release(header, 0, Box::new(State::Through)),
        _ => State::Release(header, 0, Box::new(State::Frame(payload))),
    }
}

/// Takes the prefix of an IPv6 address away: host name, NUL, `6`, two octets of
/// port, address, NUL.
fn translate(frame: Vec<u8>) -> Vec<u8> {
    const PREFIX: &[u8] = b"IPv6:";
    let name = frame.iter().skip(HEADER).position(|&b| b == 0);
    let Some(family) = name.map(|end| HEADER + end + 1) else {
        return frame;
    };
    let address = family + 3;
    let prefixed = frame
        .get(address..address + PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    if frame.get(family) != Some(&b'6') || !prefixed {
        return frame;
    }
    without(frame, address, PREFIX.len())
}

fn without(mut frame: Vec<u8>, start: usize, octets: usize) -> Vec<u8> {
    frame.drain(start..start + octets);
    let length = (frame.len() - HEADER + 1) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

impl<S: AsyncRead + Unpin> AsyncRead for MilterStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let state = std::mem::replace(&mut this.state, State::Through);
            this.state = state.advance();
            match &mut this.state {
                State::Through => return Pin::new(&mut this.stream).poll_read(cx, buf),
                State::Release(held, done, _) => {
                    release(held, done, buf);
                    return Poll::Ready(Ok(()));
                }
                State::Frame(left) => {
                    return poll_read_at_most(&mut this.stream, cx, buf, left);
                }
                State::Header(_) | State::Connect(..) => {}
            }
            if let Some((held, want)) = this.state.holding()
                && ready!(poll_hold(&mut this.stream, cx, held, want))? == 0
            {
                // The MTA went away in the middle of a frame.
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn release(held: &[u8], done: &mut usize, buf: &mut ReadBuf<'_>) {
    let octets = buf.remaining().min(held.len() - *done);
    buf.put_slice(&held[*done..*done + octets]);
    *done += octets;
}

fn poll_read_at_most<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    left: &mut usize,
) -> Poll<io::Result<()>> {
    let mut part = [0; 4096];
    let octets = part.len().min(*left).min(buf.remaining());
    let mut part = ReadBuf::new(&mut part[..octets]);
    ready!(Pin::new(stream).poll_read(cx, &mut part))?;
    *left -= part.filled().len();
    buf.put_slice(part.filled());
    Poll::Ready(Ok(()))
}

/// Reads on until `held` has `want` octets; the number of octets read, 0 at the
/// end of the stream.
fn poll_hold<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    held: &mut Vec<u8>,
    want: usize,
) -> Poll<io::Result<usize>> {
    let mut part = [0; MAX_CONNECT];
    let octets = part.len().min(want - held.len());
    let mut part = ReadBuf::new(&mut part[..octets]);
    ready!(Pin::new(stream).poll_read(cx, &mut part))?;
    held.extend_from_slice(part.filled());
    Poll::Ready(Ok(part.filled().len()))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MilterStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write(cx, buf) {
            this.unread = None;
            return Poll::Ready(written);
        }
        let patience = this.patience;
        let unread = this.unread.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(unread.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Semaphore,
    };

    fn packet(command: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() + 1) as u32;
        [&length.to_be_bytes()[..], &[command], payload].concat()
    }

    async fn read_through(sent: &[u8], chunk: usize) -> Vec<u8> {
        let (mut mta, ours) = tokio::io::duplex(65536);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut stream = MilterStream::new(ours, Duration::from_secs(60), permit);
        for piece in sent.chunks(chunk) {
            mta.write_all(piece).await.unwrap();
        }
        drop(mta);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        read
    }

    #[tokio::test]
    async fn sendmails_address_loses_its_prefix_and_nothing_else_changes() {
        let negotiation = packet(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
        let macros = packet(b'D', b"Cj\0mx.example.org\0");
        let later = packet(b'B', b"IPv6:this is body\0C6..IPv6:");
        let long_name = [b'a'; MAX_CONNECT];
        let table: [(&[u8], &[u8]); 6] = [
            // sent, want
            (
                b"mail.example\x006\x04\x00IPv6:2001:db8:1:0:0:0:0:10\0",
                b"mail.example\x006\x04\x002001:db8:1:0:0:0:0:10\0",
            ),
            (
                b"[IPv6:2001:db8::1]\x006\x04\x002001:db8::1\0",
                b"[IPv6:2001:db8::1]\x006\x04\x002001:db8::1\0",
            ),
            (b"a\x004\x04\x00192.0.2.1\0", b"a\x004\x04\x00192.0.2.1\0"),
            (b"a\0L\0\0IPv6:/run/x\0", b"a\0L\0\0IPv6:/run/x\0"),
            (b"a\0U", b"a\0U"),
            (&long_name, &long_name),
        ];
        for (connect, want) in table {
            let sent = [&negotiation[..], &macros, &packet(b'C', connect), &later].concat();
            let want = [&negotiation[..], &macros, &packet(b'C', want), &later].concat();
            for chunk in [1, 2, 7, sent.len()] {
                assert_eq!(read_through(&sent, chunk).await, want, "{chunk}");
            }
        }
    }

    #[tokio::test]
    async fn an_mta_that_goes_away_in_a_frame_ends_the_stream() {
        let connect = packet(b'C', b"a\x006\x04\x00IPv6:::1\0");
        for end in 0..connect.len() {
            let read = read_through(&connect[..end], end.max(1)).await;
            assert_eq!(read, b"", "{end}");
        }
    }
}
