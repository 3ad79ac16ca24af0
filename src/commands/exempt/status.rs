//! `sixgate exempt status`: shows whether clients are exempt and by which entry, as the milter
//! decides it.

use super::{list::Object, requests};
use crate::{
    cli::ExemptStatus,
    config::Config,
    exempt::{Exemptions, Found, display},
    exit::{Exit, Failure},
    policy::{Facts, Rule, Stage, Step, Verdict, decide},
};
use jiff::Zoned;
use serde::Serialize;
use std::{
    fmt,
    io::{self, BufWriter, Write},
    net::IpAddr,
};

pub(super) fn run(arguments: &ExemptStatus) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let addresses = requests::addresses(&arguments.addresses)?;
    let exemptions = super::open(&config)?;
    let now = Zoned::now();
    let statuses = addresses
        .into_iter()
        .map(|address| Status::of(address, &config, &exemptions));
    let statuses: Vec<Status> = statuses.collect();
    print(&statuses, &exemptions, &now, arguments.json).map_err(|e| Failure::new(Exit::Io, e))
}

/// Whether a client is exempt.
struct Status {
    address: IpAddr,
    /// The IPv4 client behind a translator.
    translated: Option<IpAddr>,
    /// The rule that accepts its connections.
    rule: Option<Rule>,
    /// The entry that exempts it.
    by: Option<Found>,
    /// The other entries that contain it, including expired ones.
    others: Vec<Found>,
}

impl Status {
    fn of(address: IpAddr, config: &Config, exemptions: &Exemptions) -> Self {
        let address = address.to_canonical();
        let facts = Facts {
            exempt: exemptions.has_managed(address),
            ..Facts::new(address.into())
        };
        let rule = match decide(Stage::Connect, &config.policy, &facts) {
            Step::Done(Verdict::Accept(rule)) => Some(rule),
            Step::Done(_) | Step::Need(_) => None,
        };
        let by = exemptions
            .find(address)
            .filter(|_| rule == Some(Rule::ExemptNetwork));
        let mut others = match address {
            IpAddr::V6(ip) => exemptions.covering(ip),
            IpAddr::V4(_) => Vec::new(),
        };
        others.retain(|other| by.as_ref().is_none_or(|by| !other.is_same(by)));
        others.reverse();
        let translated = config.policy.translated(address.into());
        Self {
            address,
            translated: translated.map(|found| found.ipv4.into()),
            rule,
            by,
            others,
        }
    }

    fn verdict(&self, exemptions: &Exemptions, now: &Zoned) -> String {
        match (self.rule, &self.by, self.translated) {
            (_, _, Some(ipv4)) => format!(
                "not checked: ipv4_prefixes makes it the IPv4 client {ipv4}, and mail over IPv4 is \
                 never checked"
            ),
            (Some(Rule::Ipv4), ..) => "not checked: mail over IPv4 never is".to_owned(),
            (Some(_), Some(found), _) => {
                format!(
                    "exempt, by {}",
                    display::describe(found, exemptions.file(), now)
                )
            }
            (Some(_), None, _) => {
                "exempt, as loopback and link-local addresses always are".to_owned()
            }
            (None, ..) => "not exempt: its mail is checked".to_owned(),
        }
    }
}

struct Text<'a>(&'a Status, &'a Exemptions, &'a Zoned);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, exemptions, now) = *self;
        writeln!(f, "{}: {}", status.address, status.verdict(exemptions, now))?;
        if let Some(found) = &status.by {
            let used = display::last_use(&found.listed.usage.record(), now);
            writeln!(f, "    last used: {used}")?;
        }
        for other in &status.others {
            writeln!(
                f,
                "    also {}",
                display::describe(other, exemptions.file(), now)
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct StatusObject<'a> {
    address: IpAddr,
    exempt: bool,
    rule: Option<&'static str>,
    entry: Option<Object<'a>>,
    others: Vec<Object<'a>>,
}

fn print(statuses: &[Status], exemptions: &Exemptions, now: &Zoned, json: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match json {
        true => {
            let object = |status| object(status, exemptions, now);
            let objects: Vec<_> = statuses.iter().map(object).collect();
            serde_json::to_writer_pretty(&mut out, &objects)?;
            writeln!(out)?;
        }
        false => {
            for status in statuses {
                write!(out, "{}", Text(status, exemptions, now))?;
            }
        }
    }
    out.flush()
}

fn object<'a>(status: &'a Status, exemptions: &'a Exemptions, now: &Zoned) -> StatusObject<'a> {
    let entry = |found| Object::new(found, exemptions.file(), now.timestamp());
    StatusObject {
        address: status.address,
        exempt: status.rule == Some(Rule::ExemptNetwork),
        rule: status.rule.map(Rule::name),
        entry: status.by.as_ref().map(entry),
        others: status.others.iter().map(entry).collect(),
    }
}
