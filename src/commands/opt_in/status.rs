//! `sixgate opt-in status`: shows whether domains have opted in, and which source decides.
//! Queries the same sources as the milter.

use super::{
    hosts::{self, Host},
    requests,
    verdict::{self, Verdict},
};
use crate::{
    cli::OptInStatus,
    config::Config,
    dns::Answer,
    exit::{Exit, Failure},
    opt_in::{Sources, mx_zone::Drift, pending::Pending},
    policy::OptIn,
};
use serde::Serialize;
use std::{
    fmt,
    io::{self, BufWriter, Write},
    net::Ipv6Addr,
    path::Path,
};

pub(super) fn run(arguments: &OptInStatus) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let domains = requests::read_domains(&arguments.domains)?;
    let sources = Sources::open(&config.opt_in, None)?;
    let hosts = hosts::look_up(&config, &domains)?;
    let verdicts = verdict::look_up(&config, &sources, domains)?;
    let statuses: Vec<Status> = match hosts {
        None => verdicts.into_iter().map(Status::without_host).collect(),
        Some(hosts) => verdicts
            .into_iter()
            .zip(hosts)
            .map(Status::with_host)
            .collect(),
    };
    print(&statuses, arguments.json).map_err(|error| Failure::new(Exit::Io, error))
}

/// What applies to a domain, and the records of its host name.
struct Status {
    verdict: Verdict,
    /// `None` without `opt_in.mx_zone`.
    host: Option<(Host, Drift)>,
}

impl Status {
    fn without_host(verdict: Verdict) -> Self {
        Self {
            verdict,
            host: None,
        }
    }

    fn with_host((verdict, host): (Verdict, Host)) -> Self {
        let is_pending = host.pending.is_some();
        let drift = Drift::new(verdict.answer.opt_in, is_pending, &host.aaaa);
        Self {
            verdict,
            host: Some((host, drift)),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict.domain, self.verdict)?;
        let Some((host, drift)) = &self.host else {
            return Ok(());
        };
        let aaaa = host.aaaa.describe(Ipv6Addr::to_string);
        write!(f, "; {} AAAA: {aaaa}", host.name)?;
        match (&host.pending, drift) {
            (Some(pending), _) => match pending.until {
                Some(until) => write!(f, "; opt-out in progress until {until}"),
                None => f.write_str("; opt-out in progress"),
            },
            (None, Drift::None | Drift::Unknown) => Ok(()),
            (None, drift) => write!(f, "; drift: {drift}, run sixgate opt-in sync-dns"),
        }
    }
}

#[derive(Serialize)]
struct Object<'a> {
    domain: &'a str,
    verdict: &'static str,
    /// The verdict in an older form: `temperror` instead of `unknown`.
    opt_in: &'static str,
    source: String,
    entry: Option<String>,
    file: Option<&'a Path>,
    line: Option<usize>,
    reason: &'a str,
    #[serde(flatten)]
    host: Option<HostObject<'a>>,
}

#[derive(Serialize)]
struct HostObject<'a> {
    host: &'a str,
    /// `null` if the lookup failed.
    aaaa: Option<&'a [Ipv6Addr]>,
    drift: &'static str,
    /// When the opt-out in progress ends; `null` without one.
    opt_out_until: Option<String>,
}

impl<'a> From<&'a (Host, Drift)> for HostObject<'a> {
    fn from((host, drift): &'a (Host, Drift)) -> Self {
        let until = |pending: &Pending| match pending.until {
            Some(until) => until.to_string(),
            None => "unknown".to_owned(),
        };
        Self {
            host: &host.name,
            aaaa: match &host.aaaa {
                Answer::Found(found) => Some(&found.records),
                Answer::Absent(_) => Some(&[]),
                Answer::Temperror(_) => None,
            },
            drift: drift.name(),
            opt_out_until: host.pending.as_ref().map(until),
        }
    }
}

impl<'a> From<&'a Status> for Object<'a> {
    fn from(status: &'a Status) -> Self {
        let verdict = &status.verdict;
        let listed = verdict.listed.as_ref();
        let location = listed.and_then(|listed| listed.location.as_ref());
        Self {
            domain: verdict.domain.as_str(),
            verdict: verdict.word(),
            opt_in: match verdict.answer.opt_in {
                OptIn::Temperror => "temperror",
                OptIn::Yes | OptIn::No => verdict.word(),
            },
            source: verdict.answer.source.to_string(),
            entry: listed.map(|listed| listed.entry.to_string()),
            file: location.map(|location| location.file.as_path()),
            line: location.map(|location| location.line),
            reason: &verdict.reason,
            host: status.host.as_ref().map(HostObject::from),
        }
    }
}

/// Prints one line per domain, also as JSON.
fn print(statuses: &[Status], json: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match json {
        true => {
            let mut before = "[\n";
            for status in statuses {
                out.write_all(before.as_bytes())?;
                before = ",\n";
                serde_json::to_writer(&mut out, &Object::from(status))?;
            }
            match before {
                "[\n" => writeln!(out, "[]")?,
                _ => writeln!(out, "\n]")?,
            }
        }
        false => {
            for status in statuses {
                writeln!(out, "{status}")?;
            }
        }
    }
    out.flush()
}
