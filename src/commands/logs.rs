//! Reads logs for `report` and `trace`.
//!
//! One thread reads and decompresses, the caller's thread parses. A log that can't be read is
//! reported immediately, and the others are still read; then the command fails at its end.

mod input;
mod progress;
mod reader;

use crate::{
    exit::{Exit, Failure},
    logs::Log,
};
use anyhow::Context;
pub(super) use input::Input;
use jiff::{Timestamp, tz::TimeZone};
use progress::Progress;
use reader::Event;
use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

/// The logs named on the command line.
pub(super) struct Sources<'a> {
    /// The files; `-` is standard input, which is also the default.
    pub(super) files: &'a [PathBuf],
    pub(super) journal: bool,
    /// The period to read from the journal.
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// Copies of inputs that can be read only once, made by [`Sources::spool`].
    pub(super) spooled: Vec<Spooled>,
}

/// A copy of a pipe or of standard input, in an unnamed file.
pub(super) struct Spooled {
    path: PathBuf,
    file: File,
}

/// The errors of logs that can't be read.
#[derive(Default)]
pub(super) struct ReadErrors {
    first: Option<Exit>,
    is_silent: bool,
}

impl ReadErrors {
    /// Reports nothing: for a second pass over the same logs, with the same errors.
    pub(super) fn silent() -> Self {
        Self {
            first: None,
            is_silent: true,
        }
    }

    fn report(&mut self, exit: Exit, name: &str, error: &anyhow::Error) {
        if !self.is_silent {
            eprintln!("{name}: {error:#}");
        }
        self.first.get_or_insert(exit);
    }

    /// Fails if there was an error. `output` names the result, which is incomplete.
    pub(super) fn verdict(&self, output: &str) -> Result<(), Failure> {
        match self.first {
            None => Ok(()),
            Some(exit) => {
                let error = anyhow::anyhow!("{output} is incomplete, because a log can't be read");
                Err(Failure::new(exit, error))
            }
        }
    }
}

impl Sources<'_> {
    /// Opens the logs and sorts them by the time of their first line, so that a retry is read
    /// after the deferral. `command` is for error messages.
    pub(super) fn open(
        &self,
        command: &str,
        zone: &TimeZone,
        errors: &mut ReadErrors,
    ) -> Result<Vec<Input>, Failure> {
        let mut inputs = Vec::new();
        for path in self.paths(command)? {
            let copy = self.spooled.iter().find(|spooled| spooled.path == path);
            let opened = match copy {
                Some(copy) => input::reopen(&path, &copy.file, zone),
                None => input::open(&path, zone),
            };
            match opened {
                Ok(input) => inputs.push(input),
                Err(error) => errors.report(Exit::NoInput, &path.display().to_string(), &error),
            }
        }
        if self.journal {
            match input::journal(self.since, self.until, zone) {
                Ok(input) => inputs.push(input),
                Err(error) => errors.report(Exit::Unavailable, "the journal", &error),
            }
        }
        inputs.sort_by_key(|input| input.begin);
        Ok(inputs)
    }

    /// Copies inputs that can be read only once, so that all logs can be read again.
    ///
    /// # Errors
    /// Fails if there is nothing to read, or no space for the copy.
    pub(super) fn spool(&mut self, command: &str) -> Result<(), Failure> {
        for path in self.paths(command)? {
            let is_file = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
            let mut pipe: Box<dyn Read> = match path == Path::new("-") {
                true => Box::new(io::stdin()),
                // A file that can't be opened is reported when it is read.
                false if is_file || path.is_dir() => continue,
                false => match File::open(&path) {
                    Ok(pipe) => Box::new(pipe),
                    Err(_) => continue,
                },
            };
            let copied = tempfile::tempfile().and_then(|mut file| {
                io::copy(&mut pipe, &mut file)?;
                Ok(file)
            });
            let file = copied.with_context(|| format!("{} can't be copied", path.display()));
            let file = file.map_err(|error| Failure::new(Exit::Io, error))?;
            self.spooled.push(Spooled { path, file });
        }
        Ok(())
    }

    fn paths(&self, command: &str) -> Result<Vec<PathBuf>, Failure> {
        let is_given = self.journal || !self.files.is_empty();
        match is_given {
            true => Ok(self.files.to_vec()),
            false if io::stdin().is_terminal() => Err(Failure::new(
                Exit::Usage,
                anyhow::anyhow!(
                    "nothing to read: name log files (sixgate {command} /var/log/mail.log*), or use \
                     --journal"
                ),
            )),
            false => Ok(vec![PathBuf::from("-")]),
        }
    }
}

/// Calls `piece` for each piece of the logs, which consists of whole lines.
pub(super) fn read(
    inputs: Vec<Input>,
    zone: &TimeZone,
    errors: &mut ReadErrors,
    mut piece: impl FnMut(&mut Log, &[u8]),
) -> Result<(), Failure> {
    let mut progress = Progress::new(inputs.iter().map(|input| input.length).sum());
    let mut log = Log::new(zone.clone(), Timestamp::now());
    let events = reader::read(inputs).map_err(|error| Failure::new(Exit::Os, error))?;
    for event in events {
        match event {
            Event::Begin(next) => log = next,
            Event::Lines {
                piece: lines,
                so_far,
            } => {
                piece(&mut log, &lines);
                progress.show(so_far);
            }
            Event::Failed { name, error } => {
                progress.clear();
                errors.report(Exit::Io, &name, &error);
            }
        }
    }
    progress.clear();
    Ok(())
}

/// Prints the result. A reader that closes the pipe early, such as `head`, is not an error.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::new(Exit::Io, error)),
    }
}
