//! Why a milter connection ends before its MTA says so.
//!
//! Each reason is logged, because a connection that is closed without one is hard to
//! diagnose; only an MTA that closes the connection itself needs no line.

use crate::telemetry::log::Limit;
use std::{fmt, io};

/// What ends a connection.
#[derive(Debug)]
pub enum ConnectionError {
    /// The MTA went away. Sendmail leaves like this when its client does.
    Disconnected,
    /// It was silent, left a frame unfinished or its replies unread for
    /// `limits.idle_timeout`.
    IdleTimeout,
    /// It announced a longer frame than [`MAX_FRAME`](super::frame::MAX_FRAME).
    FrameTooLong,
    /// It sent a command that the milter protocol does not have.
    UnknownCommand(u8),
    /// A command's data is not what the protocol says.
    Malformed(&'static str),
    /// A command came before the connection was ready for it, or was negotiated
    /// away.
    Unexpected(&'static str),
    /// The MTA does not offer a required feature.
    MissingFeature {
        /// Its version of the protocol, if that is too old.
        version: Option<u32>,
        /// Whether header fields can't be added although they are to be.
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

    /// Each reason has a limit of its own: whoever causes one by the thousand must
    /// not hide that another MTA fails for another reason.
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
        const BROKE: &str = "the MTA broke the milter protocol";
        match self {
            Self::Disconnected => f.write_str("the MTA went away"),
            Self::IdleTimeout => {
                f.write_str("the MTA was silent, or did not read, for limits.idle_timeout")
            }
            Self::FrameTooLong => f.write_str("the MTA sent a frame of more than 1 MiB"),
            Self::UnknownCommand(letter) => {
                write!(f, "{BROKE}: unknown command '{}'", letter.escape_ascii())
            }
            Self::Malformed(what) => write!(f, "{BROKE}: malformed {what}"),
            Self::Unexpected(what) => write!(f, "{BROKE}: {what} was not to come now"),
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
            Self::Io(error) => write!(f, "its socket failed: {error}"),
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
