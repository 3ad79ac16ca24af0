//! `sixgate report`: sums the decision lines of logs up.
//!
//! One thread reads and unpacks, this one understands and counts. What can't be
//! read is told at once and does not keep the rest from being counted; the exit
//! code tells it again.

mod input;
mod lines;
mod progress;

use crate::{
    cli::Report,
    exit::{Exit, Failure},
    report::{Summary, Tally, Window, html, text},
};
use input::Input;
use jiff::tz::TimeZone;
use lines::Event;
use progress::Progress;
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

/// Prints the report on standard output.
///
/// # Errors
/// When there is nothing to read, or something could not be read. In the latter
/// case the report about the rest has been printed.
pub(super) fn run(arguments: &Report) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let mut trouble = Trouble::default();
    let inputs = open_all(arguments, &zone, &mut trouble)?;
    let tally = count(arguments, inputs, &zone, &mut trouble)?;
    let summary = tally.finish(arguments.top);
    print(&render(arguments, &summary, &zone)?).map_err(|e| Failure::new(Exit::Io, e))?;
    trouble.verdict()
}

/// What could not be read.
#[derive(Default)]
struct Trouble {
    first: Option<Exit>,
    inputs: usize,
}

impl Trouble {
    fn tell(&mut self, exit: Exit, name: &str, error: &anyhow::Error) {
        eprintln!("{name}: {error:#}");
        self.first.get_or_insert(exit);
        self.inputs += 1;
    }

    fn verdict(&self) -> Result<(), Failure> {
        match self.first {
            None => Ok(()),
            Some(exit) => {
                let error = anyhow::anyhow!("the report lacks what could not be read");
                Err(Failure::new(exit, error))
            }
        }
    }
}

/// The logs in the order of their first lines, so that a mail's return is read
/// after its deferral.
fn open_all(
    arguments: &Report,
    zone: &TimeZone,
    trouble: &mut Trouble,
) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for path in paths(arguments)? {
        match input::open(&path, zone) {
            Ok(input) => inputs.push(input),
            Err(error) => trouble.tell(Exit::NoInput, &path.display().to_string(), &error),
        }
    }
    if arguments.journal {
        match input::journal(arguments.since, arguments.until, zone) {
            Ok(input) => inputs.push(input),
            Err(error) => trouble.tell(Exit::Unavailable, "the journal", &error),
        }
    }
    inputs.sort_by_key(|input| input.begin);
    Ok(inputs)
}

fn paths(arguments: &Report) -> Result<Vec<PathBuf>, Failure> {
    let is_given = arguments.journal || !arguments.files.is_empty();
    match is_given {
        true => Ok(arguments.files.clone()),
        false if io::stdin().is_terminal() => Err(Failure::new(
            Exit::Usage,
            anyhow::anyhow!(
                "nothing to read: name logs (sixgate report /var/log/mail.log*), or --journal"
            ),
        )),
        false => Ok(vec![PathBuf::from("-")]),
    }
}

fn count(
    arguments: &Report,
    inputs: Vec<Input>,
    zone: &TimeZone,
    trouble: &mut Trouble,
) -> Result<Tally, Failure> {
    let mut tally = Tally::new(Window {
        since: arguments.since.map(|since| since.as_second()),
        until: arguments.until.map(|until| until.as_second()),
    });
    let mut progress = Progress::new(inputs.iter().map(|input| input.length).sum());
    let mut log = crate::report::Log::new(zone.clone(), jiff::Timestamp::now());
    let events = lines::read(inputs).map_err(|error| Failure::new(Exit::Os, error))?;
    for event in events {
        match event {
            Event::Begin(next) => log = next,
            Event::Lines { piece, so_far } => {
                tally.add(&mut log, &piece);
                progress.show(so_far);
            }
            Event::Failed { name, error } => {
                progress.clear();
                trouble.tell(Exit::Io, &name, &error);
            }
        }
    }
    progress.clear();
    Ok(tally)
}

fn render(arguments: &Report, summary: &Summary, zone: &TimeZone) -> Result<String, Failure> {
    if arguments.json {
        let json = serde_json::to_string_pretty(summary);
        return Ok(json.map_err(|error| Failure::new(Exit::Io, error))? + "\n");
    }
    Ok(match arguments.html {
        true => html::render(summary, zone),
        false => text::render(summary, zone),
    })
}

/// A reader that has seen enough and goes is no failure.
fn print(page: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(page.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
