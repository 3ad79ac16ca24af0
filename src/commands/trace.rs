//! `sixgate trace`: follows messages through the logs of sixgate and the MTA.
//!
//! The logs are read twice, and once more for a Message-ID; see [`crate::trace`].

use super::logs::{self, ReadErrors};
use crate::{
    cli::Trace as Arguments,
    exit::{Exit, Failure},
    logs::{GIVES_UP_AFTER, Log, Window},
    trace::{Collection, Query, QueueIds, Search, Trace, text},
};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// Prints the messages on standard output.
///
/// # Errors
/// Fails if there is nothing to read, or if nothing is found. If only some logs can't be read,
/// prints what the others contain, and then fails.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_period(arguments)?;
    let zone = TimeZone::system();
    let mut errors = ReadErrors::default();
    let mut sources = logs::Sources {
        files: &arguments.files,
        journal: arguments.journal,
        // Other attempts of a message may be outside the period.
        since: arguments
            .since
            .and_then(|since| since.checked_sub(GIVES_UP_AFTER.seconds()).ok()),
        until: arguments
            .until
            .and_then(|until| until.checked_add(GIVES_UP_AFTER.seconds()).ok()),
        spooled: Vec::new(),
    };
    sources.spool("trace")?;
    let mut query = query(arguments);
    let read = |errors: &mut ReadErrors, piece: &mut dyn FnMut(&mut Log, &[u8])| {
        let inputs = sources.open("trace", &zone, errors)?;
        logs::read(inputs, &zone, errors, piece)
    };
    if query.needs_queue_ids() {
        read(&mut ReadErrors::silent(), &mut |log, piece| {
            query.find_message_id(log, piece)
        })?;
    }
    let mut search = Search::new(&query, arguments.limit.into());
    read(&mut errors, &mut |log, piece| search.add(log, piece))?;
    if search.read().decisions == 0 {
        eprintln!(
            "no line of these logs is a decision of sixgate: add its log (log.target says where \
             it goes), or --journal"
        );
    }
    let lines = search.read().lines;
    let mut collection = Collection::new(&query, search);
    read(&mut ReadErrors::silent(), &mut |log, piece| {
        collection.add(log, piece)
    })?;
    let trace = collection.finish(arguments.limit.into());
    logs::print(&render(arguments, &trace, &zone)?)?;
    errors.verdict("the trace")?;
    match trace.messages.is_empty() {
        true => Err(Failure::new(
            Exit::NotFound,
            anyhow::anyhow!("no message found in {lines} lines"),
        )),
        false => Ok(()),
    }
}

fn check_period(arguments: &Arguments) -> Result<(), Failure> {
    match (arguments.since, arguments.until) {
        (Some(since), Some(until)) if since >= until => Err(Failure::new(
            Exit::Usage,
            anyhow::anyhow!("--since {since} is not before --until {until}"),
        )),
        _ => Ok(()),
    }
}

fn query(arguments: &Arguments) -> Query {
    let without_brackets = |id: &String| {
        let id = id.strip_prefix('<').unwrap_or(id);
        id.strip_suffix('>').unwrap_or(id).to_owned()
    };
    Query {
        from: arguments.from.clone(),
        to: arguments.to.clone(),
        client: arguments.client.clone(),
        queue_id: arguments.queue_id.clone(),
        message_id: arguments.message_id.as_ref().map(without_brackets),
        window: Window {
            since: arguments.since.map(Timestamp::as_second),
            until: arguments.until.map(Timestamp::as_second),
        },
        queue_ids: QueueIds::default(),
    }
}

fn render(arguments: &Arguments, trace: &Trace, zone: &TimeZone) -> Result<String, Failure> {
    if arguments.json {
        let json = serde_json::to_string_pretty(trace);
        return Ok(json.map_err(|error| Failure::new(Exit::Io, error))? + "\n");
    }
    Ok(text::render(trace, zone))
}
