//! Parses the networks given to `sixgate exempt`, as arguments or on standard input.

use crate::{
    cli::ExemptAdd,
    exempt::entry::{Entry, parse_line, show},
    exit::{Exit, Failure},
};
use anyhow::anyhow;
use ipnet::Ipv6Net;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    io::{self, BufRead},
    net::IpAddr,
};

/// Shorter prefixes, which contain a large part of the Internet, need `--force`.
const SHORTEST: u8 = 16;

/// An entry to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) entry: Entry,
    /// `None` keeps the comment of an existing entry.
    pub(super) comment: Option<String>,
}

/// Parses the entries to add. A wrong one is an error before anything is written.
pub(super) fn to_add(arguments: &ExemptAdd) -> Result<Vec<Request>, Failure> {
    let now = Timestamp::now();
    let until = (arguments.lasting.map(|time| now + time)).or(arguments.until);
    let mut requests = read(&arguments.entries)?;
    for request in &mut requests {
        if until.is_some() {
            request.entry.until = until;
        }
        // The list stores whole seconds.
        request.entry.until = request.entry.until.map(whole_seconds);
        if arguments.comment.is_some() {
            request.comment.clone_from(&arguments.comment);
        }
        check(&request.entry, arguments.force, now)
            .map_err(|complaint| usage(anyhow!(complaint)))?;
    }
    check_ends(&requests)?;
    Ok(requests)
}

/// Parses the networks to remove.
pub(super) fn to_remove(entries: &[String]) -> Result<Vec<Ipv6Net>, Failure> {
    let requests = read(entries)?;
    Ok(requests.iter().map(|r| r.entry.network).collect())
}

/// Parses addresses; an invalid one is an error.
pub(super) fn addresses(arguments: &[String]) -> Result<Vec<IpAddr>, Failure> {
    let parse = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| format!("{text:?} is not an address; write one such as 2001:db8::1"))
    };
    let mut addresses = Vec::new();
    each(arguments, |line| {
        let text = line.split('#').next().unwrap_or_default().trim();
        if !text.is_empty() {
            addresses.push(parse(text)?);
        }
        Ok(())
    })?;
    Ok(addresses)
}

fn read(arguments: &[String]) -> Result<Vec<Request>, Failure> {
    let mut requests = Vec::new();
    each(arguments, |line| {
        let (entry, comment) = parse_line(line)?;
        requests.extend(entry.map(|entry| Request {
            entry,
            comment: Some(comment.text.to_owned()).filter(|text| !text.is_empty()),
        }));
        Ok(())
    })?;
    Ok(requests)
}

/// Calls `take` for each argument, and for each line of standard input for `-`.
fn each(
    arguments: &[String],
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), Failure> {
    for argument in arguments {
        match argument.as_str() {
            "-" => {
                for (line, number) in io::stdin().lock().lines().zip(1..) {
                    let line = line.map_err(|error| Failure::new(Exit::Io, error))?;
                    take(&line).map_err(|complaint| {
                        usage(anyhow!("standard input:{number}: {complaint}"))
                    })?;
                }
            }
            text if text.trim().is_empty() => return Err(usage(anyhow!("an argument is empty"))),
            text => take(text).map_err(|complaint| usage(anyhow!(complaint)))?,
        }
    }
    Ok(())
}

fn check(entry: &Entry, force: bool, now: Timestamp) -> Result<(), String> {
    let network = &entry.network;
    if network.prefix_len() < SHORTEST && !network.addr().is_unique_local() && !force {
        return Err(format!(
            "{network} exempts a large part of the Internet; use a longer prefix, or --force if \
             that is intended"
        ));
    }
    match entry.until {
        Some(until) if until <= now => {
            Err(format!("{}: the end {until} is in the past", show(network)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks that no network is given twice with different ends.
fn check_ends(requests: &[Request]) -> Result<(), Failure> {
    let mut ends = HashMap::new();
    for Request { entry, .. } in requests {
        let first = *ends.entry(entry.network).or_insert(entry.until);
        if first != entry.until {
            let network = show(&entry.network);
            return Err(usage(anyhow!(
                "{network} is given twice with different ends; remove one of them"
            )));
        }
    }
    Ok(())
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn usage(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Usage, error)
}
