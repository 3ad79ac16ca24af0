//! Parses the entries given to `sixgate opt-in`, as arguments or on standard input.

use crate::{
    address::Domain,
    exit::{Exit, Failure},
    opt_in::{
        entry::Entry,
        files::parse_line,
        list::{Insertion, List},
    },
};
use anyhow::anyhow;
use std::io::{self, BufRead};

/// An entry to add or remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) entry: Entry,
    /// Its comment on standard input; empty if there is none.
    pub(super) comment: String,
}

/// Parses the entries. A wrong one is an error before anything is written.
pub(super) fn read(arguments: &[String]) -> Result<Vec<Request>, Failure> {
    let mut requests = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "-" => read_input(&mut requests)?,
            text => requests.push(Request {
                entry: text.parse().map_err(|error| usage(anyhow!("{error}")))?,
                comment: String::new(),
            }),
        }
    }
    check_contradictions(&requests)?;
    Ok(requests)
}

/// Parses domains; an invalid one is an error.
pub(super) fn read_domains(arguments: &[String]) -> Result<Vec<Domain>, Failure> {
    let mut domains = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "-" => read_domains_of_input(&mut domains)?,
            text => domains.push(parse_domain(text).map_err(usage)?),
        }
    }
    Ok(domains)
}

fn read_domains_of_input(domains: &mut Vec<Domain>) -> Result<(), Failure> {
    for (line, number) in io::stdin().lock().lines().zip(1..) {
        let line = line.map_err(|error| Failure::new(Exit::Io, error))?;
        let text = line.split('#').next().unwrap_or_default().trim();
        if !text.is_empty() {
            let domain = parse_domain(text);
            domains
                .push(domain.map_err(|error| usage(anyhow!("standard input:{number}: {error}")))?);
        }
    }
    Ok(())
}

fn parse_domain(text: &str) -> anyhow::Result<Domain> {
    Domain::parse(text).map_err(|error| anyhow!("{text:?} is not a valid domain: {error}"))
}

/// Converts opt-ins to opt-outs of the same domains.
pub(super) fn deny(requests: Vec<Request>) -> Result<Vec<Request>, Failure> {
    match requests.iter().find(|request| !request.entry.opted_in) {
        Some(Request { entry, .. }) => {
            let opposite = entry.opposite();
            Err(usage(anyhow!(
                "{entry} is an opt-out already; use {opposite}"
            )))
        }
        None => Ok(requests
            .into_iter()
            .map(|request| Request {
                entry: request.entry.opposite(),
                ..request
            })
            .collect()),
    }
}

fn read_input(requests: &mut Vec<Request>) -> Result<(), Failure> {
    for (line, number) in io::stdin().lock().lines().zip(1..) {
        let line = line.map_err(|error| Failure::new(Exit::Io, error))?;
        let parsed = parse_line(&line);
        let (entry, comment) =
            parsed.map_err(|complaint| usage(anyhow!("standard input:{number}: {complaint}")))?;
        requests.extend(entry.map(|entry| Request {
            entry,
            comment: comment.to_owned(),
        }));
    }
    Ok(())
}

fn check_contradictions(requests: &[Request]) -> Result<(), Failure> {
    let mut list = List::default();
    let contradicts = |request: &&Request| list.insert(&request.entry) == Insertion::Contradiction;
    match requests.iter().find(contradicts) {
        Some(Request { entry, .. }) => {
            let opposite = entry.opposite();
            Err(usage(anyhow!(
                "{entry} contradicts {opposite}; remove one of them"
            )))
        }
        None => Ok(()),
    }
}

/// Refuses domains without a dot: few top-level domains accept mail, so it is usually a typo.
pub(super) fn check_dots(requests: &[Request]) -> Result<(), Failure> {
    let top_level = |request: &&Request| request.entry.domain.parent().is_none();
    match requests.iter().find(top_level) {
        Some(Request { entry, .. }) => Err(usage(anyhow!(
            "{entry} is a domain without a dot; if that is intended, use --force"
        ))),
        None => Ok(()),
    }
}

fn usage(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Usage, error)
}
