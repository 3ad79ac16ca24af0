//! Looks up whether the MX hosts of a domain have AAAA records.

use crate::{
    address::Domain,
    dns::{Absence, Answer, Mx, Name, Resolve},
};

/// The MX hosts of a domain (RFC 5321 section 5.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exchangers {
    /// A host with an AAAA record: its name and address, to show.
    WithAaaa(String),
    /// The names of all hosts; none has an AAAA record.
    WithoutAaaa(String),
    /// There are no hosts; the reason to show.
    None(&'static str),
    /// A lookup failed; the reason to show.
    Temperror(String),
}

/// Looks up the MX records of a domain and the AAAA records of the hosts.
pub(crate) async fn look_up<R: Resolve>(resolver: &R, domain: &Domain) -> Exchangers {
    let Ok(name) = Name::parse(domain.as_str()) else {
        return Exchangers::None("its name is too long for the DNS");
    };
    match resolver.mx(&name).await {
        Answer::Found(found) => of_hosts(resolver, &hosts(found.records)).await,
        // RFC 5321 section 5.1: without MX records, the domain is its own MX.
        Answer::Absent(Absence::NoData) => of_hosts(resolver, &[name]).await,
        Answer::Absent(Absence::NxDomain) => Exchangers::None("it does not exist in the DNS"),
        Answer::Temperror(failure) => Exchangers::Temperror(format!("MX: {failure}")),
    }
}

/// Removes the root, which means that there is no host (null MX, RFC 7505).
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
        (None, true) => Exchangers::None("it accepts no mail (null MX)"),
        (None, false) => Exchangers::WithoutAaaa(names.join(", ")),
    }
}
