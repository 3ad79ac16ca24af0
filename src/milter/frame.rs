//! Frames of the milter protocol: four octets of length, a command's letter, its
//! data.
//!
//! All are read into one buffer and handed out as slices of it. The buffer grows
//! with what comes, never with what a peer announces. What is in a frame is
//! nothing to this module.

use super::closed::Closed;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest frame in octets, its length not counted. MTAs send 64 KiB.
pub(super) const MAX_FRAME: usize = 1 << 20;

/// The octets of the length.
const LENGTH: usize = 4;

/// Room for what comes between mail transactions.
const IDLE_ROOM: usize = 512;
/// Room for what comes within one: MTAs write header fields by 4 KiB.
const BUSY_ROOM: usize = 8 << 10;
/// Room for the rest of a frame that has begun, however long it is to be.
const FRAME_ROOM: usize = 64 << 10;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The command.
    pub(super) letter: u8,
    /// Its data.
    pub(super) data: &'a [u8],
}

/// What has come in of an MTA's frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// What is before this is done with.
    start: usize,
}

impl Frames {
    /// Whether a whole frame is there.
    ///
    /// # Errors
    /// When the next one can't be a frame.
    pub(super) fn has_next(&self) -> Result<bool, Closed> {
        let length = self.next_length()?;
        Ok(length.is_some_and(|length| self.rest().len() >= length))
    }

    /// The next frame, if a whole one is there.
    ///
    /// # Errors
    /// When it can't be a frame.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, Closed> {
        let Some(length) = self.next_length()? else {
            return Ok(None);
        };
        let start = self.start;
        let Some([_, _, _, _, letter, data @ ..]) = self.buffer.get(start..start + length) else {
            return Ok(None);
        };
        self.start += length;
        Ok(Some(Frame {
            letter: *letter,
            data,
        }))
    }

    /// Reads what there is; cancel safe.
    ///
    /// # Errors
    /// When the MTA has gone, or the stream fails.
    pub(super) async fn fill<S>(&mut self, stream: &mut S, is_idle: bool) -> Result<(), Closed>
    where
        S: AsyncRead + Unpin,
    {
        self.make_room(is_idle)?;
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err(Closed::Gone),
            _ => Ok(()),
        }
    }

    fn make_room(&mut self, is_idle: bool) -> Result<(), Closed> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if is_idle && self.buffer.is_empty() && self.buffer.capacity() > IDLE_ROOM {
            self.buffer = Vec::new();
        }
        let missing = match self.next_length()? {
            Some(length) => length.saturating_sub(self.buffer.len()),
            None => 0,
        };
        let least = if is_idle { IDLE_ROOM } else { BUSY_ROOM };
        let room = missing.clamp(least, FRAME_ROOM);
        if self.buffer.capacity() - self.buffer.len() < room {
            self.buffer.reserve_exact(room.max(self.buffer.len()));
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The octets of the next frame, its length included.
    fn next_length(&self) -> Result<Option<usize>, Closed> {
        let Some((length, _)) = self.rest().split_first_chunk() else {
            return Ok(None);
        };
        match u32::from_be_bytes(*length) as usize {
            0 => Err(Closed::Malformed("frame: it has no command")),
            length if length > MAX_FRAME => Err(Closed::TooLong),
            length => Ok(Some(LENGTH + length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[u8] = b"\0\0\0\x01Q\0\0\0\x05Babcd\0\0\0\x02Hx";

    async fn read(mut sent: &[u8]) -> (Vec<(u8, Vec<u8>)>, Closed) {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        loop {
            match frames.next() {
                Ok(Some(frame)) => seen.push((frame.letter, frame.data.to_vec())),
                Err(closed) => return (seen, closed),
                Ok(None) => match frames.fill(&mut sent, true).await {
                    Ok(()) => {}
                    Err(closed) => return (seen, closed),
                },
            }
        }
    }

    #[tokio::test]
    async fn frames_come_out_as_they_were_sent_however_long() {
        for length in [1, IDLE_ROOM, BUSY_ROOM, FRAME_ROOM, MAX_FRAME - 1] {
            let data = vec![b'x'; length];
            let announced = (length as u32 + 1).to_be_bytes();
            let sent = [SENT, &announced, b"B", &data, SENT].concat();
            let (seen, closed) = read(&sent).await;
            let letters: Vec<u8> = seen.iter().map(|(letter, _)| *letter).collect();
            assert_eq!(letters, b"QBHBQBH");
            assert_eq!(seen[1].1, b"abcd");
            assert_eq!(seen[3].1, data);
            assert!(matches!(closed, Closed::Gone));
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_connection() {
        let table: [(&[u8], &str); 4] = [
            (b"\0\0\0\0Q", "no command"),
            (b"\0\x10\0\x01B", "more than 1 MiB"),
            (b"\xff\xff\xff\xffB", "more than 1 MiB"),
            (b"\0\0\0\x05Babc", "went away"),
        ];
        for (sent, want) in table {
            let (seen, closed) = read(&[SENT, sent].concat()).await;
            assert_eq!(seen.len(), 3);
            assert!(closed.to_string().contains(want), "{closed}");
        }
    }

    #[tokio::test]
    async fn the_buffer_grows_with_what_comes_and_shrinks_when_idle() {
        let mut frames = Frames::default();
        let mut announced: &[u8] = &[0, 0x10, 0, 0, b'B', b'x'];
        frames.fill(&mut announced, false).await.unwrap();
        frames.make_room(false).unwrap();
        assert!(frames.buffer.capacity() <= 2 * FRAME_ROOM);
        frames.buffer.resize(LENGTH + MAX_FRAME, b'x');
        assert!(frames.next().unwrap().is_some());
        frames.make_room(true).unwrap();
        assert_eq!(frames.buffer.capacity(), IDLE_ROOM);
    }
}
