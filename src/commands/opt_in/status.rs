//! `sixgate opt-in status`: whether domains have opted in, and which source says
//! so. Asks what the milter asks.

use crate::{
    address::Domain,
    checks::Checks,
    cli::OptInStatus,
    config::Config,
    dns::Dns,
    exit::{Exit, Failure},
    opt_in::{Answer, Sources},
    policy::OptIn,
};
use anyhow::anyhow;
use serde::Serialize;
use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
};

/// What is known of one domain.
#[derive(Debug, Serialize)]
struct Report {
    domain: String,
    opt_in: &'static str,
    source: String,
    /// The entry of a list that decides.
    entry: Option<String>,
    file: Option<PathBuf>,
    line: Option<usize>,
    reason: String,
}

pub(super) fn run(arguments: &OptInStatus) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let domains = arguments.domains.iter().map(|text| parse(text));
    let domains = domains.collect::<Result<Vec<Domain>, Failure>>()?;
    let sources = Sources::open(&config.opt_in, None)?;
    let dns = Dns::new(&config.dns).map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let checks = Checks::new(&config, sources, dns);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Os, error))?;
    let reports = runtime.block_on(ask(&checks, &domains));
    print(&reports, arguments.json).map_err(|error| Failure::new(Exit::Io, error))
}

fn parse(text: &str) -> Result<Domain, Failure> {
    let refused = |error| Failure::new(Exit::Usage, anyhow!("{text:?} is no domain: {error}"));
    Domain::parse(text).map_err(refused)
}

async fn ask(checks: &Checks<Dns>, domains: &[Domain]) -> Vec<Report> {
    let mut reports = Vec::with_capacity(domains.len());
    for domain in domains {
        let answer = checks.opt_in(Some(domain)).await;
        reports.push(Report::new(checks.opt_in_sources(), domain, answer));
    }
    reports
}

impl Report {
    fn new(sources: &Sources, domain: &Domain, answer: Answer) -> Self {
        let listed = sources.listed(domain);
        let location = listed.as_ref().and_then(|listed| listed.location.as_ref());
        Self {
            domain: domain.to_string(),
            opt_in: match answer.opt_in {
                OptIn::Yes => "yes",
                OptIn::No => "no",
                OptIn::Temperror => "temperror",
            },
            source: answer.source.to_string(),
            reason: sources.reason(answer, listed.as_ref()),
            entry: listed.as_ref().map(|listed| listed.entry.to_string()),
            file: location.map(|location| location.file.clone()),
            line: location.map(|location| location.line),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (domain, source, reason) = (&self.domain, &self.source, &self.reason);
        write!(f, "{domain}: {} ({source}: {reason})", self.opt_in)
    }
}

fn print(reports: &[Report], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => {
            serde_json::to_writer_pretty(&mut out, reports)?;
            writeln!(out)?;
        }
        false => reports
            .iter()
            .try_for_each(|report| writeln!(out, "{report}"))?,
    }
    out.flush()
}
