//! The log targets: the journal, syslog and standard error.
//!
//! A lost socket is reopened before the pending line is written; meanwhile the queue
//! fills.

use crate::config::LogTarget;
use nix::sys::stat::{SFlag, fstat, major, minor};
use std::{
    env,
    io::{self, Write},
    os::unix::net::UnixDatagram,
    thread,
    time::Duration,
};

/// The socket of syslog(3).
const SYSLOG: &str = "/dev/log";

/// The socket of the journal: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The timeout for writing a line to a socket, after which the socket is reopened.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The delay before a lost socket is reopened.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The maximum bytes written at once to a target that accepts several lines.
const BATCH: usize = 64 << 10;

/// The format of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordFormat {
    /// An entry of the journal's native protocol.
    Journal,
    /// A datagram as in RFC 3164.
    Syslog,
    /// A line with a priority prefix, for a stream to the journal.
    JournalStream,
    /// A plain line.
    Stderr,
}

/// An open log target.
#[derive(Debug)]
pub(super) struct Target {
    record_format: RecordFormat,
    socket: Option<UnixDatagram>,
    /// Whether the loss of the socket was logged.
    loss_logged: bool,
}

impl Target {
    /// Creates the target without opening it.
    pub(super) fn of(target: LogTarget) -> Self {
        let record_format = match target {
            LogTarget::Auto => auto(),
            LogTarget::Journald => RecordFormat::Journal,
            LogTarget::Syslog => RecordFormat::Syslog,
            LogTarget::Stderr if stderr_is_the_journal() => RecordFormat::JournalStream,
            LogTarget::Stderr => RecordFormat::Stderr,
        };
        Self {
            record_format,
            socket: None,
            loss_logged: false,
        }
    }

    pub(super) fn record_format(&self) -> RecordFormat {
        self.record_format
    }

    /// Returns whether the target is not the same as standard error.
    pub(super) fn is_elsewhere(&self) -> bool {
        match self.record_format {
            RecordFormat::Syslog => true,
            RecordFormat::Journal => !stderr_is_the_journal(),
            RecordFormat::JournalStream | RecordFormat::Stderr => false,
        }
    }

    /// Returns whether another line may be appended to this record.
    pub(super) fn takes_more(&self, record: &str) -> bool {
        match self.record_format {
            RecordFormat::Journal | RecordFormat::Syslog => false,
            RecordFormat::JournalStream | RecordFormat::Stderr => record.len() < BATCH,
        }
    }

    /// Writes a record; blocks until the target accepts it.
    ///
    /// # Errors
    /// Fails if this record can never be written.
    pub(super) fn write(&mut self, record: &[u8]) -> io::Result<()> {
        match self.record_format {
            RecordFormat::Journal => self.send(JOURNAL, record),
            RecordFormat::Syslog => self.send(SYSLOG, record),
            RecordFormat::JournalStream | RecordFormat::Stderr => write_to_stderr(record),
        }
    }

    fn send(&mut self, path: &str, record: &[u8]) -> io::Result<()> {
        loop {
            match self.try_send(path, record) {
                Ok(()) => {
                    self.loss_logged = false;
                    return Ok(());
                }
                Err(error) if is_too_long(&error) => return Err(error),
                Err(error) => self.report_failure(path, &error),
            }
        }
    }

    fn try_send(&mut self, path: &str, record: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(path)?,
        };
        // A datagram is sent as a whole or not at all.
        socket.send(record)?;
        self.socket = Some(socket);
        Ok(())
    }

    fn report_failure(&mut self, path: &str, error: &io::Error) {
        self.socket = None;
        if !self.loss_logged {
            self.loss_logged = true;
            let text = format!("the log at {path} can't be written: {error}; lines wait for it\n");
            let _ = write_to_stderr(text.as_bytes());
        }
        thread::sleep(RETRY_PAUSE);
    }
}

fn connect(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    Ok(socket)
}

fn is_too_long(error: &io::Error) -> bool {
    const EMSGSIZE: i32 = nix::errno::Errno::EMSGSIZE as i32;
    error.raw_os_error() == Some(EMSGSIZE)
}

fn write_to_stderr(record: &[u8]) -> io::Result<()> {
    let mut rest = record;
    let mut stderr = io::stderr().lock();
    while !rest.is_empty() {
        match stderr.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Standard error may be nonblocking because of the parent process.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn auto() -> RecordFormat {
    if stderr_is_the_journal() {
        RecordFormat::Journal
    } else if stderr_leads_anywhere() {
        RecordFormat::Stderr
    } else {
        RecordFormat::Syslog
    }
}

/// Returns whether standard error is connected to the journal. By systemd.exec(5),
/// JOURNAL_STREAM is the device and inode of the stream that leads to the journal;
/// standard error may have been redirected since.
fn stderr_is_the_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").unwrap_or_default();
    let stderr = fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    stderr.is_ok_and(|stderr| stderr == stream)
}

/// Returns whether standard error is not /dev/null (memory device 3), which init scripts
/// often use.
fn stderr_leads_anywhere() -> bool {
    let Ok(stat) = fstat(io::stderr()) else {
        return false;
    };
    let is_device = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    !(is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3))
}
