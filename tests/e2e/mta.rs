//! The mail servers that the dialogues are held with, and in what they differ.

use super::{postfix::Postfix, sendmail::Sendmail, world::Gate};
use std::{fmt, io, net::SocketAddr, path::Path};

/// What dialogues need to know of a mail server.
pub trait Mta: Send + Sync {
    /// Whether everything accepted has been handed on, or put off.
    fn is_idle(&self) -> bool;
    /// How this MTA passes a milter's reply on to that line of a client; and
    /// what it says where a dialogue has a reply of Postfix's own.
    fn passes_on(&self, said: &str, reply: &str) -> String;
    /// The message without what this MTA spells anew when it delivers.
    fn plain_spelling(&self, message: &str) -> String;
}

/// Which mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postfix,
    Sendmail,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Postfix, Self::Sendmail];

    /// Why it can't be run here.
    pub fn obstacle(self) -> Option<String> {
        match self {
            Self::Postfix => None,
            Self::Sendmail => Sendmail::obstacle(),
        }
    }

    /// The port of the gate with that index.
    pub fn port(self, gate: u16) -> u16 {
        match self {
            Self::Postfix if gate == 0 => 25,
            Self::Postfix => 2500 + gate,
            Self::Sendmail => 3500 + gate,
        }
    }

    /// Starts one in that directory, with a port for each gate. What it accepts
    /// goes to `relay`, an LMTP server. It ends with its PID namespace.
    pub fn start(
        self,
        directory: &Path,
        gates: &[Gate],
        relay: SocketAddr,
    ) -> io::Result<Box<dyn Mta>> {
        Ok(match self {
            Self::Postfix => Box::new(Postfix::start(directory, gates, relay)?),
            Self::Sendmail => Box::new(Sendmail::start(directory, gates, relay)?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postfix => "postfix",
            Self::Sendmail => "sendmail",
        })
    }
}
