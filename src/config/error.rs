//! Why there is no configuration, in one line.

use std::{fmt, io};

/// Why a file could not be made a [`super::Config`].
#[derive(Debug)]
pub enum ConfigError {
    /// The file can't be read.
    Unreadable {
        /// As it was named to us.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// Something in it is wrong.
    Invalid {
        /// As it was named to us.
        file: String,
        /// Counted from 1; `None` when no single line is at fault.
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

/// Values come from the file and may have line breaks in them.
fn on_one_line(complaint: &str) -> String {
    complaint.replace(char::is_control, " ")
}
