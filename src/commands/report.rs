//! `sixgate report`: summarizes the decisions in logs.

use super::{
    logs::{self, Input, ReadErrors},
    opt_in::in_redis,
};
use crate::{
    cli::{DEFAULT_CONFIG, Report, ReportConfigFile},
    config::Config,
    exempt::{Exemptions, Found, State, entry::show},
    exit::{Exit, Failure},
    logs::Window,
    report::{ExemptEntry, Summary, Tally, html, text},
};
use jiff::{Timestamp, tz::TimeZone};
use std::path::Path;

/// Prints the report on standard output.
///
/// # Errors
/// Fails if there is nothing to read. If only some logs can't be read, prints the report about
/// the others, and then fails.
pub(super) fn run(arguments: &Report) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let mut errors = ReadErrors::default();
    let sources = logs::Sources {
        files: &arguments.files,
        journal: arguments.journal,
        since: arguments.since,
        until: arguments.until,
        spooled: Vec::new(),
    };
    let inputs = sources.open("report", &zone, &mut errors)?;
    let tally = count(arguments, inputs, &zone, &mut errors)?;
    let exempt = exempt_entries(&arguments.config)?;
    let summary = Summary::new(tally, arguments.top, exempt);
    logs::print(&render(arguments, &summary, &zone)?)?;
    errors.verdict("the report")
}

fn count(
    arguments: &Report,
    inputs: Vec<Input>,
    zone: &TimeZone,
    errors: &mut ReadErrors,
) -> Result<Tally, Failure> {
    let mut tally = Tally::new(Window {
        since: arguments.since.map(|since| since.as_second()),
        until: arguments.until.map(|until| until.as_second()),
    });
    logs::read(inputs, zone, errors, |log, piece| tally.add(log, piece))?;
    Ok(tally)
}

/// Returns the entries of exempt networks that need attention. `None` if the configuration at
/// the default path can't be read: sixgate may not be installed on this machine.
fn exempt_entries(config: &ReportConfigFile) -> Result<Option<Vec<ExemptEntry>>, Failure> {
    let path = config.path.as_deref();
    let loaded = Config::load(path.unwrap_or(Path::new(DEFAULT_CONFIG)));
    let config = match (path, loaded) {
        (_, Ok(config)) => config,
        (None, Err(_)) => return Ok(None),
        (Some(_), Err(error)) => return Err(error.into()),
    };
    let exemptions = match (path, Exemptions::open(&config, None)) {
        (_, Ok(exemptions)) => exemptions,
        (None, Err(_)) => return Ok(None),
        (Some(_), Err(error)) => return Err(error.into()),
    };
    if exemptions.is_in_redis() {
        match (path, in_redis(async || exemptions.load().await)) {
            (_, Ok(())) => {}
            (None, Err(_)) => return Ok(None),
            (Some(_), Err(failure)) => return Err(failure),
        }
    }
    let now = Timestamp::now();
    let entry = |found: Found| {
        let listed = &found.listed;
        let entry = ExemptEntry {
            entry: show(&listed.entry.network),
            comment: listed.comment.to_string(),
            until: listed.entry.until,
            last_used: listed.usage.record().used,
            is_ending: listed.state(now) == State::Ending,
            is_unused: listed.is_unused(now),
        };
        (entry.is_ending || entry.is_unused).then_some(entry)
    };
    Ok(Some(exemptions.each().filter_map(entry).collect()))
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
