//! The mail servers of the dialogues, and their differences.

use super::{fixture::Gate, postfix::Postfix, release::Release, sendmail::Sendmail};
use std::{fmt, io, net::SocketAddr, path::Path};

/// The interface of a mail server for dialogues.
pub trait Mta: Send + Sync {
    /// Its version, such as `3.7.11`.
    fn version(&self) -> io::Result<String>;
    /// Whether everything accepted has been delivered or deferred.
    fn is_idle(&self) -> bool;
    /// How this MTA passes a milter's reply to that command of a client, and its own reply
    /// where a dialogue expects Postfix's.
    fn passes_on(&self, said: &str, reply: &str) -> String;
    /// The reply to a client, at MAIL or earlier, while the milter is unreachable; versions
    /// differ.
    fn replies_without_milter(&self) -> &[&str];
    /// The message without the parts that this MTA rewrites at delivery.
    fn plain_spelling(&self, message: &str) -> String;
}

/// The kind of mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub program: Program,
    pub release: Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Postfix,
    Sendmail,
}

impl Kind {
    pub const POSTFIX: Self = Self {
        program: Program::Postfix,
        release: Release::Own,
    };

    pub const ALL: [Self; 4] = [
        Self::POSTFIX,
        Self {
            program: Program::Sendmail,
            release: Release::Own,
        },
        Self {
            program: Program::Postfix,
            release: Release::Debian13,
        },
        Self {
            program: Program::Sendmail,
            release: Release::Debian13,
        },
    ];

    /// Returns the reason if it cannot run here.
    pub fn obstacle(self) -> Option<String> {
        self.release.obstacle().or_else(|| match self.program {
            Program::Postfix => None,
            Program::Sendmail => Sendmail::obstacle(self.release),
        })
    }

    /// The port of the gate with that index.
    pub fn port(self, gate: u16) -> u16 {
        let first = match (self.program, self.release) {
            (Program::Postfix, Release::Own) if gate == 0 => return 25,
            (Program::Postfix, Release::Own) => 2500,
            (Program::Sendmail, Release::Own) => 3500,
            (Program::Postfix, Release::Debian13) => 4500,
            (Program::Sendmail, Release::Debian13) => 5500,
        };
        first + gate
    }

    /// Starts one in that directory, with a port for each gate. What it accepts
    /// goes to `relay`, an LMTP server. It ends with its PID namespace.
    pub fn start(
        self,
        directory: &Path,
        gates: &[Gate],
        relay: SocketAddr,
    ) -> io::Result<Box<dyn Mta>> {
        let release = self.release;
        Ok(match self.program {
            Program::Postfix => Box::new(Postfix::start(release, directory, gates, relay)?),
            Program::Sendmail => Box::new(Sendmail::start(release, directory, gates, relay)?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.program, self.release)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postfix => "postfix",
            Self::Sendmail => "sendmail",
        })
    }
}
