//! Replies on their way to the MTA: gathered until it waits for them, then
//! written at once.

use super::session::{Edits, Response};
use crate::{authentication_results, reply::Reply};
use indymilter::message::{Message, reply::ReplyKind};

/// Frames to write.
#[derive(Debug, Default)]
pub(super) struct Replies(Vec<u8>);

/// Beyond this many bytes replies are not gathered any more.
const FLUSH_SIZE: usize = 4096;

impl Replies {
    /// What is to be written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is time to write although more is to come.
    pub(super) fn should_flush(&self) -> bool {
        self.0.len() >= FLUSH_SIZE
    }

    /// All was written.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(FLUSH_SIZE);
    }

    /// The answer to a negotiation.
    pub(super) fn negotiated(&mut self, answer: &Message) {
        self.frame(answer.kind, &[&answer.buffer]);
    }

    /// The answer to a command.
    pub(super) fn respond(&mut self, response: &Response) {
        match response {
            Response::Continue => self.bare(ReplyKind::Continue),
            Response::Accept => self.bare(ReplyKind::Accept),
            Response::Refuse(reply) => self.refuse(reply),
        }
    }

    /// The answer to a piece of the body.
    pub(super) fn body(&mut self, is_more_wanted: bool) {
        self.bare(match is_more_wanted {
            true => ReplyKind::Continue,
            false => ReplyKind::Skip,
        });
    }

    /// Keeps an MTA that waits for the end of a message patient.
    pub(super) fn progress(&mut self) {
        self.bare(ReplyKind::Progress);
    }

    /// Changes to a message that goes on; before the answer.
    pub(super) fn edit(&mut self, edits: &Edits) {
        let name = authentication_results::NAME.as_bytes();
        for number in &edits.remove {
            let number = number.to_be_bytes();
            self.frame(ReplyKind::ChangeHeader.into(), &[&number, name, b"\0\0"]);
        }
        // Each is put in front of the one before.
        for value in edits.insert.iter().rev() {
            let first = 0_i32.to_be_bytes();
            let parts = [&first[..], name, b"\0 ", value.as_bytes(), b"\0"];
            self.frame(ReplyKind::InsertHeader.into(), &parts);
        }
    }

    fn refuse(&mut self, reply: &Reply) {
        // Postfix and Sendmail take the text for a format string: a single '%'
        // costs characters on one and the whole reply on the other.
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
