//! `sixgate opt-in status`: whether domains have opted in, and which source says
//! so. Asks what the milter asks.

use super::{
    requests,
    verdict::{self, Verdict},
};
use crate::{
    cli::OptInStatus,
    config::Config,
    exit::{Exit, Failure},
    opt_in::Sources,
    policy::OptIn,
};
use serde::Serialize;
use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

pub(super) fn run(arguments: &OptInStatus) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let domains = requests::read_domains(&arguments.domains)?;
    let sources = Sources::open(&config.opt_in, None)?;
    let verdicts = verdict::ask(&config, &sources, domains)?;
    print(&verdicts, arguments.json).map_err(|error| Failure::new(Exit::Io, error))
}

#[derive(Serialize)]
struct Object<'a> {
    domain: &'a str,
    verdict: &'static str,
    /// What `verdict` was called before there was `unknown`.
    opt_in: &'static str,
    source: String,
    entry: Option<String>,
    file: Option<&'a Path>,
    line: Option<usize>,
    reason: &'a str,
}

impl<'a> From<&'a Verdict> for Object<'a> {
    fn from(verdict: &'a Verdict) -> Self {
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
        }
    }
}

/// Prints one line per domain, also as JSON.
fn print(verdicts: &[Verdict], json: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match json {
        true => {
            let mut before = "[\n";
            for verdict in verdicts {
                out.write_all(before.as_bytes())?;
                before = ",\n";
                serde_json::to_writer(&mut out, &Object::from(verdict))?;
            }
            match before {
                "[\n" => writeln!(out, "[]")?,
                _ => writeln!(out, "\n]")?,
            }
        }
        false => {
            for verdict in verdicts {
                writeln!(out, "{}: {verdict}", verdict.domain)?;
            }
        }
    }
    out.flush()
}
