//! Whether a domain's mail exchangers are reached over IPv6.

use crate::{
    address::Domain,
    dns::{Absence, Answer, Mx, Name, Resolve},
};

/// The hosts that take a domain's mail (RFC 5321 section 5.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exchangers {
    /// At least this one has an AAAA record; name and address for people.
    WithAaaa(String),
    /// These, and none has.
    WithoutAaaa(String),
    /// There are none: why, for people.
    None(&'static str),
    /// It can't be known now: why, for people.
    Temperror(String),
}

/// Asks for the MX records of a domain and the AAAA records of their hosts.
pub(crate) async fn look_up<R: Resolve>(resolver: &R, domain: &Domain) -> Exchangers {
    let Ok(name) = Name::parse(domain.as_str()) else {
        return Exchangers::None("it is no name that the DNS can carry");
    };
    match resolver.mx(&name).await {
        Answer::Found(found) => of_hosts(resolver, &hosts(found.records)).await,
        // RFC 5321 section 5.1: without MX records, the domain is its own MX.
        Answer::Absent(Absence::NoData) => of_hosts(resolver, &[name]).await,
        Answer::Absent(Absence::NxDomain) => Exchangers::None("the DNS does not know it"),
        Answer::Temperror(failure) => Exchangers::Temperror(format!("MX: {failure}")),
    }
}

/// Without the root, which stands for no host (RFC 7505).
fn hosts(records: Vec<Mx>) -> Vec<Name> {
    let hosts = records.into_iter().map(|mx| mx.exchange);
    hosts
        .filter(|host| host.labels().next().is_some())
        .collect()
}

async fn of_hosts<R: Resolve>(resolver: &R, hosts: &[Name]) -> Exchangers {
    let mut failed = None;
    for host in hosts {
        match resolver.aaaa(host).await {
            Answer::Found(found) => {
                let address = found
                    .records
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                return Exchangers::WithAaaa(format!("{host} ({address})"));
            }
            Answer::Absent(_) => {}
            Answer::Temperror(failure) => failed = Some(format!("AAAA of {host}: {failure}")),
        }
    }
    let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    match (failed, names.is_empty()) {
        (Some(failure), _) => Exchangers::Temperror(failure),
        (None, true) => Exchangers::None("it takes no mail (null MX)"),
        (None, false) => Exchangers::WithoutAaaa(names.join(", ")),
    }
}
