//! `sixgate opt-in list`: prints all lists of a configuration as one list.

use super::{
    listing::{Listing, read_hash},
    mx_zone, zone,
};
use crate::{
    address::Domain,
    cli::{ListFormat, OptInList},
    config::Config,
    exit::{Exit, Failure},
    list_file::EMPTY,
    opt_in::{Sources, entry::Scope},
};
use anyhow::anyhow;
use serde::Serialize;
use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

pub(super) fn run(arguments: &OptInList) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let zone = match &arguments.zone {
        Some(name) => Some(Domain::parse(name).map_err(|error| {
            let complaint = anyhow!("{name:?} is not a valid zone name: {error}");
            Failure::new(Exit::Usage, complaint)
        })?),
        None => None,
    };
    if arguments.format == ListFormat::MxZone {
        return mx_zone::print(arguments, &config);
    }
    mx_zone::refuse_options(arguments)?;
    let sources = Sources::open(&config.opt_in, None)?;
    let hash = match config.opt_in.redis.managed {
        true => Some(read_hash(&config)?),
        false => None,
    };
    let listing = Listing::new(&config, &sources, hash, arguments.managed);
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match arguments.format {
        ListFormat::List => print_list(&listing, &mut out),
        ListFormat::Json => print_json(&listing, &mut out),
        ListFormat::Zone => zone::print(&listing, zone.as_ref(), &mut out),
        ListFormat::Rbldnsd => zone::print_rbldnsd(&listing, &mut out),
        ListFormat::MxZone => Ok(()),
    };
    printed
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Io, error))
}

/// Prints a list in the format of opt-in lists.
fn print_list(listing: &Listing<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut heading = String::new();
    listing.each(|item| {
        let place = match item.file {
            Some(file) => format!("{}: {}", item.source, file.display()),
            None => item.source.to_string(),
        };
        if place != heading {
            writeln!(out, "# {place}")?;
            heading = place;
        }
        match item.comment {
            "" => writeln!(out, "{}", item.entry),
            comment => writeln!(out, "{}  # {comment}", item.entry),
        }
    })?;
    match heading.is_empty() {
        true => writeln!(out, "{EMPTY}"),
        false => Ok(()),
    }
}

#[derive(Serialize)]
struct Object<'a> {
    entry: String,
    domain: &'a str,
    subdomains: bool,
    opt_in: &'static str,
    source: String,
    file: Option<&'a Path>,
    comment: &'a str,
}

/// Prints one object per line, without building the array in memory.
fn print_json(listing: &Listing<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut before = "[\n";
    listing.each(|item| {
        out.write_all(before.as_bytes())?;
        before = ",\n";
        let object = Object {
            entry: item.entry.to_string(),
            domain: item.entry.domain.as_str(),
            subdomains: item.entry.scope == Scope::Subdomains,
            opt_in: if item.entry.opted_in { "yes" } else { "no" },
            source: item.source.to_string(),
            file: item.file,
            comment: item.comment,
        };
        serde_json::to_writer(&mut *out, &object).map_err(io::Error::from)
    })?;
    match before {
        "[\n" => writeln!(out, "[]"),
        _ => writeln!(out, "\n]"),
    }
}
