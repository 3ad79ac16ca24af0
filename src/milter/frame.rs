//! Frames of the milter protocol: four bytes of length, the letter of a command, its data.
//!
//! All frames are read into one buffer and returned as slices of it: body chunks in parts as
//! they arrive, because they are only hashed, and everything else as a whole. The buffer
//! grows with the data that arrives, never with the length that a peer announces. This module
//! interprets nothing but the letter of body chunks.

use super::error::ConnectionError;
use std::ops::Range;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The maximum length of a frame in bytes, without its length field. MTAs send 64 KiB.
pub(super) const MAX_FRAME: usize = 1 << 20;

/// The size of the length field in bytes.
const LENGTH: usize = 4;

/// The command whose data is returned in parts.
const BODY: u8 = b'B';

/// The capacity in bytes between mail transactions.
const IDLE_CAPACITY: usize = 512;
/// The capacity in bytes within a mail transaction. MTAs write header fields in blocks of
/// 4 KiB.
const TRANSACTION_CAPACITY: usize = 8 << 10;
/// The maximum capacity in bytes for the rest of a frame, whatever its announced length;
/// hundreds of connections may need it at once. A body chunk has 64 KiB, and is read in two
/// parts, even with the macros that Postfix sends before it.
const FRAME_CAPACITY: usize = (32 << 10) + 64;

/// One frame, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The command.
    pub(super) letter: u8,
    /// Its data.
    pub(super) data: &'a [u8],
    /// The number of bytes of its data that are still missing. They are returned as frames
    /// with the same letter.
    pub(super) rest: usize,
}

/// The position of the data of the next frame, or of a part of it.
struct Part {
    letter: u8,
    data: Range<usize>,
    rest: usize,
}

/// The data received from an MTA, split into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// Everything before this position has been processed.
    start: usize,
    /// The missing bytes of a body chunk of which a part was returned.
    rest: usize,
}

impl Frames {
    /// Returns whether a frame, or a part of a body chunk, has been received.
    ///
    /// # Errors
    /// If the received data is not a valid frame.
    pub(super) fn has_next(&self) -> Result<bool, ConnectionError> {
        Ok(self.next_part()?.is_some())
    }

    /// Returns whether a part of a frame was returned, but not yet its end.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.rest > 0
    }

    /// Returns the next frame or part of a body chunk, if it has been received.
    ///
    /// # Errors
    /// If the received data is not a valid frame.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, ConnectionError> {
        let Some(Part { letter, data, rest }) = self.next_part()? else {
            return Ok(None);
        };
        (self.start, self.rest) = (data.end, rest);
        Ok(Some(Frame {
            letter,
            data: &self.buffer[data],
            rest,
        }))
    }

    /// Reads the available data. Cancel safe.
    ///
    /// # Errors
    /// If the MTA has closed the connection, or the stream fails.
    pub(super) async fn fill<S>(
        &mut self,
        stream: &mut S,
        is_idle: bool,
    ) -> Result<(), ConnectionError>
    where
        S: AsyncRead + Unpin,
    {
        self.ensure_capacity(is_idle)?;
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err(ConnectionError::Disconnected),
            _ => Ok(()),
        }
    }

    fn ensure_capacity(&mut self, is_idle: bool) -> Result<(), ConnectionError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if is_idle && self.buffer.is_empty() && self.buffer.capacity() > IDLE_CAPACITY {
            self.buffer = Vec::new();
        }
        let missing = match self.rest {
            0 => {
                let whole = self.next_length()?.map_or(0, |length| LENGTH + length);
                whole.saturating_sub(self.buffer.len())
            }
            rest => rest,
        };
        let least = if is_idle {
            IDLE_CAPACITY
        } else {
            TRANSACTION_CAPACITY
        };
        let room = missing.clamp(least, FRAME_CAPACITY);
        if self.buffer.capacity() - self.buffer.len() < room {
            self.buffer.reserve_exact(room.max(self.buffer.len()));
        }
        Ok(())
    }

    fn next_part(&self) -> Result<Option<Part>, ConnectionError> {
        let (letter, start, length) = match self.rest {
            0 => match (self.next_length()?, self.unread().get(LENGTH)) {
                (Some(length), Some(&letter)) => (letter, self.start + LENGTH + 1, length - 1),
                _ => return Ok(None),
            },
            rest => (BODY, self.start, rest),
        };
        let there = length.min(self.buffer.len() - start);
        let is_usable = there == length || letter == BODY && there > 0;
        Ok(is_usable.then_some(Part {
            letter,
            data: start..start + there,
            rest: length - there,
        }))
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Returns the length of the next frame in bytes, without its length field.
    fn next_length(&self) -> Result<Option<usize>, ConnectionError> {
        let Some((length, _)) = self.unread().split_first_chunk() else {
            return Ok(None);
        };
        match u32::from_be_bytes(*length) as usize {
            0 => Err(ConnectionError::Malformed("frame without a command")),
            length if length > MAX_FRAME => Err(ConnectionError::FrameTooLong),
            length => Ok(Some(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[u8] = b"\0\0\0\x01Q\0\0\0\x05Babcd\0\0\0\x02Hx";

    async fn read(mut sent: &[u8]) -> (Vec<(u8, Vec<u8>)>, ConnectionError) {
        let mut frames = Frames::default();
        let mut seen: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut is_partial = false;
        loop {
            match frames.next() {
                Ok(Some(Frame { letter, data, rest })) => {
                    match seen.last_mut() {
                        Some((previous, part)) if is_partial && *previous == letter => {
                            part.extend(data)
                        }
                        _ => seen.push((letter, data.to_vec())),
                    }
                    is_partial = rest > 0;
                    let is_small = frames.buffer.capacity() <= 2 * FRAME_CAPACITY;
                    assert!(is_small || !is_partial, "a body chunk is buffered");
                }
                Err(closed) => return (seen, closed),
                Ok(None) => match frames.fill(&mut sent, true).await {
                    Ok(()) => {}
                    Err(closed) => return (seen, closed),
                },
            }
        }
    }

    #[tokio::test]
    async fn frames_of_any_length_are_returned_as_they_were_sent() {
        for length in [
            1,
            IDLE_CAPACITY,
            TRANSACTION_CAPACITY,
            FRAME_CAPACITY,
            MAX_FRAME - 1,
        ] {
            let data = vec![b'x'; length];
            let announced = (length as u32 + 1).to_be_bytes();
            for letter in [b'B', b'L'] {
                let sent = [SENT, &announced, &[letter], &data, SENT].concat();
                let (seen, closed) = read(&sent).await;
                let letters: Vec<u8> = seen.iter().map(|(letter, _)| *letter).collect();
                assert_eq!(letters, [b'Q', b'B', b'H', letter, b'Q', b'B', b'H']);
                assert_eq!(seen[1].1, b"abcd");
                assert_eq!(seen[3].1, data);
                assert!(matches!(closed, ConnectionError::Disconnected));
            }
        }
    }

    #[tokio::test]
    async fn a_body_chunk_with_macros_before_it_is_read_in_two_parts() {
        let macros = b"\0\0\0\x10DBi\x004F9D195432C\0";
        let piece = [macros, b"\0\x01\0\0B".as_slice(), &[b'x'; 65_535]].concat();
        let mut frames = Frames::default();
        // The first one finds the capacity that header fields need.
        for want in [3, 2, 2] {
            let (mut sent, mut fills) = (piece.as_slice(), 0);
            while !sent.is_empty() {
                frames.fill(&mut sent, false).await.unwrap();
                while frames.next().unwrap().is_some() {}
                fills += 1;
            }
            assert_eq!(fills, want);
        }
    }

    #[tokio::test]
    async fn an_invalid_frame_closes_the_connection() {
        let table: [(&[u8], &str, usize); 5] = [
            // sent, want, number of frames before
            (b"\0\0\0\0Q", "without a command", 3),
            (b"\0\x10\0\x01B", "more than 1 MiB", 3),
            (b"\xff\xff\xff\xffB", "more than 1 MiB", 3),
            (b"\0\0\0\x05Labc", "closed the connection", 3),
            (b"\0\0\0\x05Babc", "closed the connection", 4),
        ];
        for (sent, want, before) in table {
            let (seen, closed) = read(&[SENT, sent].concat()).await;
            assert_eq!(seen.len(), before, "{want}");
            assert!(closed.to_string().contains(want), "{closed}");
        }
    }

    #[tokio::test]
    async fn the_buffer_grows_with_the_data_that_arrives_and_shrinks_when_idle() {
        let mut frames = Frames::default();
        let mut announced: &[u8] = &[0, 0x10, 0, 0, b'B', b'x'];
        frames.fill(&mut announced, false).await.unwrap();
        frames.ensure_capacity(false).unwrap();
        assert!(frames.buffer.capacity() <= 2 * FRAME_CAPACITY);
        frames.buffer.resize(LENGTH + MAX_FRAME, b'x');
        assert!(frames.next().unwrap().is_some());
        frames.ensure_capacity(true).unwrap();
        assert_eq!(frames.buffer.capacity(), IDLE_CAPACITY);
    }
}
