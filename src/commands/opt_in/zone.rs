//! Prints the lists as a DNS zone, as in RFC 5782: `DOMAIN A 127.0.0.2` for opt-ins and
//! `127.0.0.3` for opt-outs.

use super::listing::{Item, Listing};
use crate::{
    address::Domain,
    opt_in::{
        entry::{Entry, Scope},
        list::{Insertion, List},
    },
};
use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

/// The refresh, retry and expire intervals of the SOA record, and the TTL of negative answers,
/// in seconds.
pub(super) const TIMES: &str = "600 300 2419200 60";

/// The TTL of entries in seconds.
const TTL: u32 = 300;

/// Prints a zone file (RFC 1035 section 5). Without `origin`, the server's configuration has to
/// name the zone.
pub(super) fn print(
    listing: &Listing<'_>,
    origin: Option<&Domain>,
    out: &mut impl Write,
) -> io::Result<()> {
    if let Some(origin) = origin {
        writeln!(out, "$ORIGIN {origin}.")?;
    }
    writeln!(out, "$TTL {TTL}")?;
    writeln!(out, "@ SOA localhost. root.localhost. {} {TIMES}", serial())?;
    writeln!(out, "@ NS localhost.")?;
    // The test entry shows that the zone works, even if it is empty (RFC 5782 section 5).
    writeln!(out, "test A 127.0.0.2")?;
    let mut zone = Zone {
        entries: merged(listing)?,
        done: List::default(),
        out,
    };
    listing.each(|Item { entry, .. }| zone.name_and_those_above(&entry.domain))
}

/// Prints the entries for rbldnsd, which finds the closest wildcard itself.
pub(super) fn print_rbldnsd(listing: &Listing<'_>, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "$SOA {TTL} localhost. root.localhost. {} {TIMES}",
        serial()
    )?;
    writeln!(out, "$NS {TTL} localhost.")?;
    writeln!(out, "test :127.0.0.2:")?;
    listing.each(|Item { entry, .. }| {
        let star = match entry.scope {
            Scope::Itself => "",
            Scope::Subdomains => "*.",
        };
        writeln!(out, "{star}{} :{}:", entry.domain, address(entry))
    })
}

fn merged(listing: &Listing<'_>) -> io::Result<List> {
    let mut merged = List::default();
    listing.each(|Item { entry, .. }| {
        merged.insert(entry);
        Ok(())
    })?;
    Ok(merged)
}

struct Zone<'a, W> {
    entries: List,
    /// The names printed so far.
    done: List,
    out: &'a mut W,
}

impl<W: Write> Zone<'_, W> {
    /// Prints a name, and the names between it and a wildcard above. A wildcard does not apply
    /// below an existing name (RFC 4592 section 2.2.1), and a name exists if one below it does.
    /// So these names repeat the records of the wildcard.
    fn name_and_those_above(&mut self, domain: &Domain) -> io::Result<()> {
        self.name(domain)?;
        for above in domain.ancestors() {
            let wildcard = above
                .ancestors()
                .next()
                .and_then(|parent| self.entries.entry_for_subdomains(&parent));
            if wildcard.is_none() {
                break;
            }
            self.name(&above)?;
        }
        Ok(())
    }

    fn name(&mut self, domain: &Domain) -> io::Result<()> {
        match self.done.insert(&Entry::opt_in(domain.clone())) {
            Insertion::Added => {}
            Insertion::Duplicate | Insertion::Contradiction | Insertion::Full => return Ok(()),
        }
        if let Some(entry) = self.entries.entry_for(domain) {
            writeln!(self.out, "{domain} A {}", address(&entry))?;
        }
        if let Some(entry) = self.entries.entry_for_subdomains(domain) {
            writeln!(self.out, "*.{domain} A {}", address(&entry))?;
        }
        Ok(())
    }
}

fn address(entry: &Entry) -> &'static str {
    match entry.opted_in {
        true => "127.0.0.2",
        false => "127.0.0.3",
    }
}

/// Returns the serial number (RFC 1982): the time in seconds.
pub(super) fn serial() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs() as u32
}
