//! `sixgate report`: sums the decision lines of logs up.
//!
//! One thread reads and unpacks, this one understands and counts. What can't be
//! read is told at once and does not keep the rest from being counted; the exit
//! code tells it again.

use super::logs::{self, Input, Trouble};
use crate::{
    cli::Report,
    exit::{Exit, Failure},
    logs::Window,
    report::{Summary, Tally, html, text},
};
use jiff::tz::TimeZone;

/// Prints the report on standard output.
///
/// # Errors
/// When there is nothing to read, or something could not be read. In the latter
/// case the report about the rest has been printed.
pub(super) fn run(arguments: &Report) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let mut trouble = Trouble::default();
    let sources = logs::Sources {
        files: &arguments.files,
        journal: arguments.journal,
        since: arguments.since,
        until: arguments.until,
        spooled: Vec::new(),
    };
    let inputs = sources.open("report", &zone, &mut trouble)?;
    let tally = count(arguments, inputs, &zone, &mut trouble)?;
    let summary = tally.finish(arguments.top);
    logs::print(&render(arguments, &summary, &zone)?)?;
    trouble.verdict("the report")
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
    logs::read(inputs, zone, trouble, |log, piece| tally.add(log, piece))?;
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
