//! Replies to the MTA, buffered until it waits for them and then written together.

use super::session::{Edits, Response};
use crate::{authentication_results, reply::Reply};
use indymilter::message::{Message, reply::ReplyKind};

/// Frames that have not been written yet.
#[derive(Debug, Default)]
pub(super) struct Replies(Vec<u8>);

/// The size of the buffer in bytes from which it is written although more replies follow.
const FLUSH_SIZE: usize = 4096;

impl Replies {
    /// Returns the bytes to write.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether the buffer has to be written although more replies follow.
    pub(super) fn should_flush(&self) -> bool {
        self.0.len() >= FLUSH_SIZE
    }

    /// Empties the buffer after it was written.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(FLUSH_SIZE);
    }

    /// Adds the reply to a negotiation.
    pub(super) fn negotiated(&mut self, answer: &Message) {
        self.frame(answer.kind, &[&answer.buffer]);
    }

    /// Adds the reply to a command.
    pub(super) fn respond(&mut self, response: &Response) {
        match response {
            Response::Continue => self.bare(ReplyKind::Continue),
            Response::Accept => self.bare(ReplyKind::Accept),
            Response::Refuse(reply) => self.refuse(reply),
        }
    }

    /// Adds the reply to a body chunk.
    pub(super) fn body(&mut self, is_more_wanted: bool) {
        self.bare(match is_more_wanted {
            true => ReplyKind::Continue,
            false => ReplyKind::Skip,
        });
    }

    /// Adds a progress reply, which restarts the MTA's timeout at the end of a message.
    pub(super) fn progress(&mut self) {
        self.bare(ReplyKind::Progress);
    }

    /// Adds the changes to an accepted message. They precede the reply to the end of the
    /// message.
    pub(super) fn edit(&mut self, edits: &Edits) {
        let name = authentication_results::NAME.as_bytes();
        for number in &edits.remove {
            let number = number.to_be_bytes();
            self.frame(ReplyKind::ChangeHeader.into(), &[&number, name, b"\0\0"]);
        }
        // Each one is inserted before the previous one.
        for value in edits.insert.iter().rev() {
            let first = 0_i32.to_be_bytes();
            let parts = [&first[..], name, b"\0 ", value.as_bytes(), b"\0"];
            self.frame(ReplyKind::InsertHeader.into(), &parts);
        }
    }

    fn refuse(&mut self, reply: &Reply) {
        // Postfix and Sendmail use the text as a format string: because of a single '%', one
        // loses characters and the other the whole reply.
        let lines = reply.lines().map(|line| line.replace('%', "%%"));
        let reply = lines.reduce(|reply, line| reply + "\r\n" + &line);
        let reply = reply.unwrap_or_default();
        self.frame(ReplyKind::ReplyCode.into(), &[reply.as_bytes(), b"\0"]);
    }

    fn bare(&mut self, kind: ReplyKind) {
        self.frame(kind.into(), &[]);
    }

    fn frame(&mut self, letter: u8, parts: &[&[u8]]) {
        let length: usize = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.0.extend_from_slice(&(length as u32).to_be_bytes());
        self.0.push(letter);
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }
}
