//! `sixgate opt-in list --format mx-zone`: prints a zone with a host name for each domain, with
//! AAAA records only for domains that have opted in.

use super::{
    known_domains, verdict,
    zone::{TIMES, serial},
};
use crate::{
    address::Domain,
    cli::{MxZoneOptions, OptInList},
    config::Config,
    exit::{Exit, Failure},
    opt_in::{
        Sources,
        mx_zone::{MxZone, label},
    },
    policy::OptIn,
};
use anyhow::anyhow;
use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
};

/// Returns the zone by the command line, with the configuration as the default.
pub(super) fn zone(options: &MxZoneOptions, config: &Config) -> Result<MxZone, Failure> {
    let configured = &config.opt_in.mx_zone;
    let missing = |option: &str| {
        let complaint = anyhow!("--{option} or opt_in.mx_zone.{option} is missing");
        Failure::new(Exit::Usage, complaint)
    };
    let suffix = options.suffix.clone().or(configured.suffix.clone());
    let given_or = |given: &[_], configured: &[_]| match given.is_empty() {
        true => configured.to_vec(),
        false => given.to_vec(),
    };
    let aaaa = match options.aaaa.is_empty() {
        true => configured.aaaa.clone(),
        false => options.aaaa.clone(),
    };
    let zone = MxZone {
        suffix: suffix.ok_or_else(|| missing("suffix"))?,
        a: given_or(&options.a, &configured.a),
        aaaa,
        ttl: options.ttl.unwrap_or(configured.ttl),
    };
    match (zone.a.is_empty(), zone.aaaa.is_empty()) {
        (true, _) => Err(missing("a")),
        (false, true) => Err(missing("aaaa")),
        (false, false) => Ok(zone),
    }
}

/// Refuses options that other formats would ignore.
pub(super) fn refuse_options(arguments: &OptInList) -> Result<(), Failure> {
    let options = &arguments.mx_zone;
    let given = [
        ("suffix", options.suffix.is_some()),
        ("a", !options.a.is_empty()),
        ("aaaa", !options.aaaa.is_empty()),
        ("ttl", options.ttl.is_some()),
        ("ns", !arguments.ns.is_empty()),
        ("domains", options.domains.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(Failure::new(
            Exit::Usage,
            anyhow!("--{option} has no effect without --format mx-zone"),
        )),
        None => Ok(()),
    }
}

/// Returns the labels of domains. Two domains with the same label would share their AAAA
/// record, which is possible in theory, because long names are hashed.
pub(super) fn labels(domains: &[Domain]) -> Result<Vec<String>, Failure> {
    let mut seen = HashMap::<String, &Domain>::with_capacity(domains.len());
    let mut labels = Vec::with_capacity(domains.len());
    for domain in domains {
        let label = label(domain);
        if let Some(other) = seen.insert(label.clone(), domain) {
            let complaint = anyhow!("{domain} and {other} have the same label, {label}");
            return Err(Failure::new(Exit::Config, complaint));
        }
        labels.push(label);
    }
    Ok(labels)
}

pub(super) fn print(arguments: &OptInList, config: &Config) -> Result<(), Failure> {
    for (option, is_given) in [
        ("managed", arguments.managed),
        ("zone", arguments.zone.is_some()),
    ] {
        if is_given {
            let complaint = anyhow!("--{option} has no effect with --format mx-zone");
            return Err(Failure::new(Exit::Usage, complaint));
        }
    }
    let zone = zone(&arguments.mx_zone, config)?;
    let sources = Sources::open(&config.opt_in, None)?;
    let given = known_domains::given(config, arguments.mx_zone.domains.as_deref())?;
    let domains = known_domains::with_those_of_lists(config, &sources, given)?;
    let answers = verdict::answers(config, &sources, &domains)?;
    let unknown =
        |(_, (answer, _)): &(&Domain, &verdict::Answered)| answer.opt_in == OptIn::Temperror;
    // The zone must be complete, and a wrong guess would bounce mail.
    if let Some((domain, (_, reason))) = domains.iter().zip(&answers).find(unknown) {
        let reason = reason.as_deref().unwrap_or("the lookup failed");
        let complaint = anyhow!("whether {domain} has opted in is unknown: {reason}");
        return Err(Failure::new(Exit::TempFail, complaint));
    }
    let opt_ins = answers.iter().map(|(answer, _)| answer.opt_in);
    let hosts: Vec<(String, OptIn)> = labels(&domains)?.into_iter().zip(opt_ins).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    write(&zone, &arguments.ns, &hosts, &mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Io, error))
}

/// Writes a zone file (RFC 1035 section 5). Every record has a TTL, because `$TTL` would also
/// apply to later records of a zone that includes the file.
fn write(
    zone: &MxZone,
    ns: &[Domain],
    hosts: &[(String, OptIn)],
    out: &mut impl Write,
) -> io::Result<()> {
    let ttl = zone.ttl.as_secs();
    writeln!(
        out,
        "; One host name per domain: A, and AAAA if it has opted in."
    )?;
    writeln!(out, "; Made by sixgate opt-in list --format mx-zone.")?;
    writeln!(out, "$ORIGIN {}.", zone.suffix)?;
    if let Some(first) = ns.first() {
        let (suffix, serial) = (&zone.suffix, serial());
        writeln!(
            out,
            "@ {ttl} SOA {first}. hostmaster.{suffix}. {serial} {TIMES}"
        )?;
        for ns in ns {
            writeln!(out, "@ {ttl} NS {ns}.")?;
        }
    }
    for (label, opt_in) in hosts {
        for address in &zone.a {
            writeln!(out, "{label} {ttl} A {address}")?;
        }
        if *opt_in == OptIn::Yes {
            for address in &zone.aaaa {
                writeln!(out, "{label} {ttl} AAAA {address}")?;
            }
        }
    }
    Ok(())
}
