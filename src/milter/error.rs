//! The reasons for closing a milter connection before the MTA sends QUIT.
//!
//! Each one is logged, because a connection that is closed without a reason is hard to
//! diagnose. If the MTA closes the connection itself, nothing is logged.

use crate::telemetry::log::Limit;
use std::{fmt, io};

/// Why a connection is closed.
#[derive(Debug)]
pub enum ConnectionError {
    /// The MTA closed the connection without QUIT. Sendmail does so when its client
    /// disconnects.
    Disconnected,
    /// For `limits.idle_timeout`, the MTA sent nothing, did not complete a frame, or did
    /// not read its replies.
    IdleTimeout,
    /// The MTA announced a frame of more than 1 MiB.
    FrameTooLong,
    /// The MTA sent a command that the milter protocol does not define; its letter.
    UnknownCommand(u8),
    /// The data of a command is malformed; the name of the command.
    Malformed(&'static str),
    /// A command arrived out of order, or although it was negotiated away; the name of
    /// the command.
    Unexpected(&'static str),
    /// The MTA does not offer a required feature.
    MissingFeature {
        /// The MTA's protocol version, if that is too old.
        version: Option<u32>,
        /// Whether header fields can't be added although `authentication_results.add`
        /// requires it.
        lacks_add_header: bool,
    },
    /// The socket failed.
    Io(io::Error),
}

impl ConnectionError {
    /// Logs the reason, unless the MTA closed the connection itself.
    pub fn log(&self) {
        if let Some(limit) = self.limit() {
            limit.log(format_args!("a milter connection is closed: {self}"));
        }
    }

    /// Returns the limit for the log line of a reason. Each reason has its own, so that a
    /// peer that causes thousands of lines does not suppress those about other MTAs.
    fn limit(&self) -> Option<&'static Limit> {
        static IDLE_TIMEOUT: Limit = Limit::warnings();
        static FRAME_TOO_LONG: Limit = Limit::warnings();
        static UNKNOWN_COMMAND: Limit = Limit::warnings();
        static MALFORMED: Limit = Limit::warnings();
        static UNEXPECTED: Limit = Limit::warnings();
        static MISSING_FEATURE: Limit = Limit::warnings();
        static IO: Limit = Limit::warnings();
        match self {
            Self::Disconnected => None,
            Self::IdleTimeout => Some(&IDLE_TIMEOUT),
            Self::FrameTooLong => Some(&FRAME_TOO_LONG),
            Self::UnknownCommand(_) => Some(&UNKNOWN_COMMAND),
            Self::Malformed(_) => Some(&MALFORMED),
            Self::Unexpected(_) => Some(&UNEXPECTED),
            Self::MissingFeature { .. } => Some(&MISSING_FEATURE),
            Self::Io(_) => Some(&IO),
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const VIOLATION: &str = "the MTA violated the milter protocol";
        match self {
            Self::Disconnected => f.write_str("the MTA closed the connection"),
            Self::IdleTimeout => {
                f.write_str("the MTA sent or read nothing for limits.idle_timeout")
            }
            Self::FrameTooLong => f.write_str("the MTA sent a frame of more than 1 MiB"),
            Self::UnknownCommand(letter) => {
                write!(
                    f,
                    "{VIOLATION}: unknown command '{}'",
                    letter.escape_ascii()
                )
            }
            Self::Malformed(what) => write!(f, "{VIOLATION}: malformed {what}"),
            Self::Unexpected(what) => write!(f, "{VIOLATION}: {what} out of order"),
            Self::MissingFeature {
                version,
                lacks_add_header,
            } => {
                f.write_str("the MTA does not offer what sixgate needs:")?;
                if let Some(version) = version {
                    write!(f, " milter protocol 2 to 6 (it offers {version})")?;
                }
                if version.is_some() && *lacks_add_header {
                    f.write_str(", and")?;
                }
                if *lacks_add_header {
                    f.write_str(
                        " adding header fields (SMFIF_ADDHDRS); allow it in the MTA, or set \
                         authentication_results.add to no",
                    )?;
                }
                Ok(())
            }
            Self::Io(error) => write!(f, "socket error: {error}"),
        }
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof => Self::Disconnected,
            _ => Self::Io(error),
        }
    }
}
