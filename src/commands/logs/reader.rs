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

/// How much is read at once. A line that is longer is none of ours: the longest
/// decision line has some 20 KiB, every value escaped and at its limit.
const PIECE: usize = 1 << 20;

/// Pieces read ahead.
const AHEAD: usize = 4;

pub(super) enum Event {
    /// The next log.
    Begin(Log),
    /// Whole lines of it.
    Lines {
        piece: Vec<u8>,
        /// Octets of all logs read so far, as stored.
        so_far: u64,
    },
    /// It can't be read further.
    Failed { name: String, error: anyhow::Error },
}

/// Everything in `inputs`, one after the other.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn read(inputs: Vec<Input>) -> io::Result<impl Iterator<Item = Event>> {
    let (sender, receiver) = sync_channel(AHEAD);
    thread::Builder::new()
        .name("log reader".to_owned())
        .spawn(move || read_all(inputs, &sender))?;
    Ok(receiver.into_iter())
}

/// The receiver goes only when the program ends, so that a send may fail.
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
        let is_end = !matches!(read, Ok(octets) if octets as u64 == wanted);
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

/// What follows the middle of a line must not be taken for a beginning. False if
/// the line goes on.
fn skip_line(piece: &mut Vec<u8>) -> bool {
    let end = memchr::memchr(b'\n', piece);
    piece.drain(..end.map_or(piece.len(), |end| end + 1));
    end.is_some()
}
