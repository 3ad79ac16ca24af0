//! The source `opt_in.dns_zone`: `DOMAIN.ZONE` type A, as in RFC 5782.
//!
//! Parent domains are not looked up; a zone can cover subdomains with wildcards.

use super::{
    ServerStatus, Source, SourceAnswer,
    cache::{Cache, DefiniteAnswer, Reply},
};
use crate::{
    address::Domain,
    config,
    dns::{Absence, Answer, Name, NameError, Records, Resolve},
};
use std::{net::Ipv4Addr, sync::Arc};
use tokio::time::Instant;

/// The address of a domain that opted in, by the convention of RFC 5782 section 2.1.
pub const OPTED_IN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The address of a domain that opted out.
const OPTED_OUT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A zone with a cache.
#[derive(Clone, Debug)]
pub(super) struct DnsZone {
    zone: Domain,
    cache: Cache,
}

impl DnsZone {
    /// Creates the source. Takes over the cache of `old` if it is the same zone.
    pub(super) fn new(zone: &Domain, lifetimes: config::OptInCache, old: Option<&Self>) -> Self {
        let cache = Cache::new(format!("opt_in.dns_zone {zone}"), lifetimes);
        Self {
            zone: zone.clone(),
            cache: match old.filter(|old| old.zone == *zone) {
                Some(old) => cache.inherit_from(&old.cache),
                None => cache,
            },
        }
    }

    pub(super) fn status(&self) -> ServerStatus {
        self.cache.status(Source::DnsZone)
    }

    pub(super) async fn query<R: Resolve>(
        &self,
        resolver: &Arc<R>,
        deadline: Instant,
        domain: &Domain,
    ) -> SourceAnswer {
        if let Some(known) = self.cache.fresh(domain) {
            return known;
        }
        let name = match Name::parse(format!("{domain}.{}", self.zone)) {
            Ok(name) => name,
            // An invalid DNS name is in no zone.
            Err(NameError::TooLong | NameError::LabelTooLong | NameError::EmptyLabel) => {
                return SourceAnswer::NoEntry;
            }
        };
        let question = || look_up(Arc::clone(resolver), name, self.zone.clone());
        self.cache.get(domain, deadline, question).await
    }
}

async fn look_up<R: Resolve>(resolver: Arc<R>, name: Name, zone: Domain) -> Reply {
    match resolver.a(&name).await {
        Answer::Found(found) => read(&name, &found),
        Answer::Absent(Absence::NoData) => Reply::Definite(DefiniteAnswer::NoEntry, None),
        Answer::Absent(Absence::NxDomain) => not_listed(&*resolver, &zone).await,
        Answer::Temperror(failure) => failure.into(),
    }
}

/// Handles a domain without an entry. If the zone itself does not exist, because its
/// delegation is gone or its name is misspelled, no name below it exists (RFC 8020). That
/// says nothing about the domains, and must not permanently reject their mail.
async fn not_listed<R: Resolve>(resolver: &R, zone: &Domain) -> Reply {
    let Ok(apex) = Name::parse(zone.as_str()) else {
        return Reply::Definite(DefiniteAnswer::NoEntry, None);
    };
    match resolver.is_denied(&apex).await {
        Ok(false) => Reply::Definite(DefiniteAnswer::NoEntry, None),
        Ok(true) => Reply::Failed("the zone does not exist (NXDOMAIN)".to_owned()),
        Err(failure) => failure.into(),
    }
}

/// Reads the addresses. Anything but one known address does not come from an opt-in list:
/// a resolver that redirects nonexistent names to advertisements, a lapsed zone, a list
/// that refuses to answer. None of these may permanently reject mail or accept it.
fn read(name: &Name, found: &Records<Ipv4Addr>) -> Reply {
    let all = |wanted| found.records.iter().all(|address| *address == wanted);
    let answer = match found.records.as_slice() {
        _ if all(OPTED_IN) => DefiniteAnswer::Yes,
        _ if all(OPTED_OUT) => DefiniteAnswer::No,
        addresses => return Reply::Failed(misconfigured(name, addresses)),
    };
    Reply::Definite(answer, Some(found.valid_until.into()))
}

fn misconfigured(name: &Name, addresses: &[Ipv4Addr]) -> String {
    let refused = |address: &Ipv4Addr| address.octets().starts_with(&[127, 255, 255]);
    let meaning = match addresses {
        // The convention of public lists.
        _ if addresses.iter().any(refused) => "its server refuses to answer this resolver",
        _ if addresses.contains(&OPTED_IN) && addresses.contains(&OPTED_OUT) => {
            "that is both opted in and opted out"
        }
        _ => "write 127.0.0.2 for opted in and 127.0.0.3 for opted out",
    };
    let addresses: Vec<String> = addresses.iter().take(5).map(Ipv4Addr::to_string).collect();
    format!("{name} has {}: {meaning}", addresses.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses, and the expected answer or words of the error.
    type Row = (&'static [[u8; 4]], Result<DefiniteAnswer, &'static str>);

    #[test]
    fn an_address_means_one_thing_or_nothing_certain() {
        let table: [Row; 9] = [
            (&[[127, 0, 0, 2]], Ok(DefiniteAnswer::Yes)),
            (&[[127, 0, 0, 3]], Ok(DefiniteAnswer::No)),
            (&[[127, 0, 0, 2], [127, 0, 0, 2]], Ok(DefiniteAnswer::Yes)),
            (&[[127, 0, 0, 2], [127, 0, 0, 3]], Err("both opted in and")),
            (&[[127, 0, 0, 1]], Err("write 127.0.0.2 for opted in")),
            (&[[127, 0, 0, 2], [127, 0, 0, 4]], Err("write 127.0.0.2")),
            (&[[192, 0, 2, 1]], Err("has 192.0.2.1: write 127.0.0.2")),
            (&[[127, 255, 255, 254]], Err("refuses to answer")),
            (&[[127, 0, 0, 2], [127, 255, 255, 1]], Err("refuses")),
        ];
        let name = Name::parse("example.org.zone.example").unwrap();
        for (addresses, want) in table {
            let valid_until = std::time::Instant::now();
            let records = addresses.iter().copied().map(Ipv4Addr::from).collect();
            let reply = read(
                &name,
                &Records {
                    records,
                    valid_until,
                },
            );
            match (reply, want) {
                (Reply::Definite(answer, until), Ok(want)) => {
                    assert_eq!(answer, want, "{addresses:?}");
                    assert_eq!(until, Some(valid_until.into()));
                }
                (Reply::Failed(reason), Err(want)) => assert!(reason.contains(want), "{reason}"),
                (reply, want) => panic!("{addresses:?}: {reply:?}, not {want:?}"),
            }
        }
    }
}
