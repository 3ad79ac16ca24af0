//! The thread that reads logs, in pieces of whole lines.

use super::input::Input;
use crate::logs::Log;
use std::{
    io::{self, Read},
    sync::{
        atomic::Ordering,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

/// The size of a piece. Longer lines are skipped: the longest possible decision line has about
/// 20 KiB.
const PIECE: usize = 1 << 20;

/// The number of pieces read ahead.
const AHEAD: usize = 4;

pub(super) enum Event {
    /// The next log.
    Begin(Log),
    /// Whole lines of that log.
    Lines {
        piece: Vec<u8>,
        /// The stored bytes of all logs read so far.
        so_far: u64,
    },
    /// The rest of the log can't be read.
    Failed { name: String, error: anyhow::Error },
}

/// Reads all inputs, one after the other.
///
/// # Errors
/// Fails if no thread can be started.
pub(super) fn read(inputs: Vec<Input>) -> io::Result<impl Iterator<Item = Event>> {
    let (sender, receiver) = sync_channel(AHEAD);
    thread::Builder::new()
        .name("log reader".to_owned())
        .spawn(move || read_all(inputs, &sender))?;
    Ok(receiver.into_iter())
}

/// Sends the events. Sending fails only if the program is ending.
fn read_all(inputs: Vec<Input>, events: &SyncSender<Event>) {
    let mut before = 0;
    for mut input in inputs {
        if events.send(Event::Begin(input.log.clone())).is_err() {
            return;
        }
        if let Err(error) = pieces(&mut input, before, events) {
            let (name, error) = (input.name.clone(), error.into());
            let _ = events.send(Event::Failed { name, error });
        }
        before += input.position.load(Ordering::Relaxed);
    }
}

fn pieces(input: &mut Input, before: u64, events: &SyncSender<Event>) -> io::Result<()> {
    let mut rest = Vec::new();
    let mut in_endless_line = false;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        piece.append(&mut rest);
        let wanted = (PIECE - piece.len()) as u64;
        let read = input.reader.by_ref().take(wanted).read_to_end(&mut piece);
        let is_end = !matches!(read, Ok(bytes) if bytes as u64 == wanted);
        if in_endless_line {
            in_endless_line = !skip_line(&mut piece);
        }
        match memchr::memrchr(b'\n', &piece) {
            _ if is_end => {}
            Some(end) => rest = piece.split_off(end + 1),
            None => {
                in_endless_line = true;
                piece.clear();
            }
        }
        let so_far = before + input.position.load(Ordering::Relaxed);
        let _ = events.send(Event::Lines { piece, so_far });
        if is_end {
            return read.map(drop);
        }
    }
}

/// Removes the rest of a skipped line. Returns `false` if the line continues after the piece.
fn skip_line(piece: &mut Vec<u8>) -> bool {
    let end = memchr::memchr(b'\n', piece);
    piece.drain(..end.map_or(piece.len(), |end| end + 1));
    end.is_some()
}
