//! Reads logs for `report` and `trace`.
//!
//! One thread reads and unpacks, the caller's parses. A log that can't be read
//! is reported at once and does not keep the others from being read; the exit
//! code says so in the end.

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
    /// `-` is standard input, and so is no file at all.
    pub(super) files: &'a [PathBuf],
    pub(super) journal: bool,
    /// The period that the journal is asked for.
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// Copies of what can be read only once, made by [`Sources::spool`].
    pub(super) spooled: Vec<Spooled>,
}

/// A pipe or standard input, copied to a file that has no name.
pub(super) struct Spooled {
    path: PathBuf,
    file: File,
}

/// The logs that could not be read.
#[derive(Default)]
pub(super) struct ReadErrors {
    first: Option<Exit>,
    is_silent: bool,
}

impl ReadErrors {
    /// For another reading of the same logs, which has the same errors.
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

    /// Fails if there was any. `output` is what was made of the rest.
    pub(super) fn verdict(&self, output: &str) -> Result<(), Failure> {
        match self.first {
            None => Ok(()),
            Some(exit) => {
                let error = anyhow::anyhow!("{output} lacks what could not be read");
                Err(Failure::new(exit, error))
            }
        }
    }
}

impl Sources<'_> {
    /// Opens the logs and orders them by their first lines, so that the return
    /// of a message is read after its deferral. `command` is for messages.
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

    /// Copies what can be read only once, so that the logs can be opened again.
    ///
    /// # Errors
    /// When there is nothing to read, or no room for the copy.
    pub(super) fn spool(&mut self, command: &str) -> Result<(), Failure> {
        for path in self.paths(command)? {
            let is_file = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
            let mut pipe: Box<dyn Read> = match path == Path::new("-") {
                true => Box::new(io::stdin()),
                // What can't be opened is reported when it is read.
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
                    "nothing to read: name logs (sixgate {command} /var/log/mail.log*), or \
                     --journal"
                ),
            )),
            false => Ok(vec![PathBuf::from("-")]),
        }
    }
}

/// Calls `piece` for each piece of the logs, in order; it holds whole lines.
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

/// Prints the result. A reader that closes its end early, such as `head`, is no
/// failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::new(Exit::Io, error)),
    }
}
