//! `sixgate exempt list`: the managed list and `exempt.networks`, with ends and uses.

use crate::{
    cli::{ExemptFormat, ExemptList},
    config::Config,
    exempt::{Exemptions, Found, Source, State, display, entry::show},
    exit::{Exit, Failure},
    list_file::EMPTY,
};
use jiff::{Timestamp, Zoned, civil::Date};
use serde::Serialize;
use std::{
    cmp::Reverse,
    io::{self, BufWriter, Write},
    path::Path,
};

pub(super) fn run(arguments: &ExemptList) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let exemptions = super::open(&config)?;
    let mut entries: Vec<Found> = exemptions.each().collect();
    if arguments.managed {
        entries.retain(|found| found.source == Source::Managed);
    }
    let now = Zoned::now();
    let format = match arguments.json {
        true => ExemptFormat::Json,
        false => arguments.format,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match format {
        ExemptFormat::Table => print_table(&mut entries, &now, &mut out),
        ExemptFormat::List => print_list(&entries, &exemptions, &now, &mut out),
        ExemptFormat::Json => print_json(&entries, &exemptions, &now, &mut out),
    };
    printed
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Io, error))
}

fn print_table(entries: &mut [Found], now: &Zoned, out: &mut impl Write) -> io::Result<()> {
    if entries.is_empty() {
        return writeln!(
            out,
            "no networks are exempt besides loopback and link-local"
        );
    }
    entries.sort_by_cached_key(|found| {
        let is_ended = found.listed.state(now.timestamp()) == State::Ended;
        (is_ended, Reverse(found.listed.usage.record().used))
    });
    let head = ["NETWORK", "LAST USED", "END", "COMMENT"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(entries.iter().map(|found| row(found, now)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or_default());
    for [network, used, end, comment] in &rows {
        let line = format!(
            "{network:<a$}  {used:<b$}  {end:<c$}  {comment}",
            a = widths[0],
            b = widths[1],
            c = widths[2]
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn row(found: &Found, now: &Zoned) -> [String; 4] {
    let listed = &found.listed;
    [
        show(&listed.entry.network),
        display::last_use(&listed.usage.record(), now),
        match listed.entry.until {
            Some(time) if listed.state(now.timestamp()) != State::Ended => display::end(time, now),
            Some(time) => display::ended(time, now),
            None => "none".to_owned(),
        },
        match found.source {
            Source::Managed => listed.comment.replace(char::is_control, " "),
            Source::Networks => "(exempt.networks)".to_owned(),
        },
    ]
}

/// Prints a list that `exempt add -` can read. Expired entries are comments.
fn print_list(
    entries: &[Found],
    exemptions: &Exemptions,
    now: &Zoned,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut heading = None;
    for found in entries {
        if heading != Some(found.source) {
            heading = Some(found.source);
            match found.source {
                Source::Managed => writeln!(out, "# managed: {}", exemptions.file().display())?,
                Source::Networks => writeln!(out, "# exempt.networks")?,
            }
        }
        let listed = &found.listed;
        if listed.state(now.timestamp()) == State::Ended {
            write!(out, "# ended: ")?;
        }
        write!(out, "{}", listed.entry)?;
        let date = listed.added.map(|date| date.to_string());
        let comment = Some(listed.comment.to_string()).filter(|comment| !comment.is_empty());
        let comment: Vec<String> = date.into_iter().chain(comment).collect();
        match comment.is_empty() {
            true => writeln!(out)?,
            false => writeln!(out, "  # {}", comment.join(" "))?,
        }
    }
    match heading {
        None => writeln!(out, "{EMPTY}"),
        Some(_) => Ok(()),
    }
}

/// An entry as JSON.
#[derive(Serialize)]
pub(super) struct Object<'a> {
    network: String,
    /// `managed` or `networks`.
    source: String,
    /// `in-force`, `ending` (within a week) or `ended`.
    state: &'static str,
    until: Option<Timestamp>,
    added: Option<Date>,
    comment: &'a str,
    /// The last use that the daemon has recorded.
    last_used: Option<Timestamp>,
    /// When recording of uses started.
    recorded_since: Timestamp,
    file: Option<&'a Path>,
    line: Option<usize>,
}

impl<'a> Object<'a> {
    pub(super) fn new(found: &'a Found, file: &'a Path, now: Timestamp) -> Self {
        let listed = &found.listed;
        let record = listed.usage.record();
        let is_in_file = found.source == Source::Managed && listed.line > 0;
        Self {
            network: show(&listed.entry.network),
            source: found.source.to_string(),
            state: listed.state(now).word(),
            until: listed.entry.until,
            added: listed.added,
            comment: &listed.comment,
            last_used: record.used,
            recorded_since: record.since,
            file: is_in_file.then_some(file),
            line: is_in_file.then_some(listed.line),
        }
    }
}

/// Prints one object per line, without building the array in memory.
fn print_json(
    entries: &[Found],
    exemptions: &Exemptions,
    now: &Zoned,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut before = "[\n";
    for found in entries {
        out.write_all(before.as_bytes())?;
        before = ",\n";
        let object = Object::new(found, exemptions.file(), now.timestamp());
        serde_json::to_writer(&mut *out, &object)?;
    }
    match before {
        "[\n" => writeln!(out, "[]"),
        _ => writeln!(out, "\n]"),
    }
}
