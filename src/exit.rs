//! Exit codes, and the error message of a command that failed.

use crate::{
    config::ConfigError,
    list_file::{ListError, edit::EditError},
};
use std::process::ExitCode;

/// Why a command failed: the codes of sysexits.h, and 1 as of grep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: `sixgate trace` found no message.
    NotFound = 1,
    /// 64: the command line is wrong.
    Usage = 64,
    /// 66: a file that was named does not exist or can't be read.
    NoInput = 66,
    /// 69: something that is needed does not work, such as the DNS.
    Unavailable = 69,
    /// 71: the operating system refused something, such as a socket.
    Os = 71,
    /// 74: reading or writing failed half-way.
    Io = 74,
    /// 75: nothing is wrong yet, but `sixgate doctor` has a warning.
    TempFail = 75,
    /// 78: the configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a command could not do.
#[derive(Debug)]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// For standard error, in one line.
    pub error: anyhow::Error,
}

impl Failure {
    /// Creates a failure with its exit code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        Self { exit, error }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = match error {
            ConfigError::Unreadable { .. } => Exit::NoInput,
            ConfigError::Invalid { .. } => Exit::Config,
        };
        Self::new(exit, error)
    }
}

impl From<ListError> for Failure {
    /// A list is part of the configuration that names it.
    fn from(error: ListError) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::List(error) => error.into(),
            EditError::Io { .. } => Self::new(Exit::Io, error),
        }
    }
}
