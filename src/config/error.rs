//! Configuration errors, each in one line.

use std::{fmt, io};

/// Why a file could not be converted to a [`super::Config`].
#[derive(Debug)]
pub enum ConfigError {
    /// The file can't be read.
    Unreadable {
        /// The file name as given.
        file: String,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The file is invalid.
    Invalid {
        /// The file name as given.
        file: String,
        /// The line number, counted from 1; `None` if the error is not in a single line.
        line: Option<usize>,
        /// The key, what is wrong and what to write.
        complaint: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => write!(f, "{file}: can't be read: {error}"),
            Self::Invalid {
                file,
                line: Some(line),
                complaint,
            } => write!(f, "{file}:{line}: {}", on_one_line(complaint)),
            Self::Invalid {
                file,
                line: None,
                complaint,
            } => write!(f, "{file}: {}", on_one_line(complaint)),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Puts an error on one line: values from the file may contain line breaks.
fn on_one_line(complaint: &str) -> String {
    complaint.replace(char::is_control, " ")
}
