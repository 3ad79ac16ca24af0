//! Plans the changes to the zone, in this order: removes AAAA records of domains that have
//! not opted in, because they bounce mail; corrects wrong records; adds AAAA records, once
//! every daemon knows the opt-in.

use super::MxZone;
use crate::{
    dns::primary::{Change, Family, HostRecords, RrSet},
    policy::OptIn,
};
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

/// A host name that has to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The label of the host name.
    pub label: String,
    /// The opt-in of its domain; AAAA records stay unchanged while it is unknown.
    pub opt_in: OptIn,
}

/// The changes, grouped by their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// AAAA records to remove.
    pub removals: Vec<Change>,
    /// A records to change, and AAAA records whose addresses or TTL are wrong.
    pub corrections: Vec<Change>,
    /// AAAA records to add where there are none.
    pub additions: Vec<Change>,
    /// Labels of required host names that are aliases, which are not changed.
    pub aliases: Vec<String>,
    /// Labels below the suffix that have our form but belong to no domain.
    pub unexpected: Vec<String>,
}

impl Plan {
    /// Compares the required host names with the existing ones.
    pub fn new(zone: &MxZone, wanted: &[Wanted], existing: &HashMap<String, HostRecords>) -> Self {
        let mut plan = Self::default();
        let ttl = u32::try_from(zone.ttl.as_secs()).unwrap_or(u32::MAX);
        let a = RrSet::new(ttl, zone.a.iter().copied().map(IpAddr::from));
        let aaaa = RrSet::new(ttl, zone.aaaa.iter().copied().map(IpAddr::from));
        let nothing = HostRecords::default();
        for Wanted { label, opt_in } in wanted {
            let host = existing.get(label).unwrap_or(&nothing);
            if host.is_alias {
                plan.aliases.push(label.clone());
                continue;
            }
            if host.a != a {
                plan.corrections.push(change(label, Family::V4, host, &a));
            }
            match (opt_in, &host.aaaa) {
                (OptIn::No, Some(_)) => {
                    plan.removals.push(change(label, Family::V6, host, &None));
                }
                (OptIn::Yes, None) => {
                    plan.additions.push(change(label, Family::V6, host, &aaaa));
                }
                (OptIn::Yes, present) if *present != aaaa => {
                    plan.corrections
                        .push(change(label, Family::V6, host, &aaaa));
                }
                (OptIn::Yes | OptIn::No | OptIn::Temperror, _) => {}
            }
        }
        plan.unexpected = unexpected_records(wanted, existing, a.as_ref());
        plan
    }

    /// Adds the removal of the host names that belong to no domain.
    pub fn prune(&mut self, existing: &HashMap<String, HostRecords>) {
        for label in &self.unexpected {
            let Some(host) = existing.get(label) else {
                continue;
            };
            for family in [Family::V6, Family::V4] {
                if host.of(family).is_some() {
                    self.removals.push(change(label, family, host, &None));
                }
            }
        }
    }

    /// Returns whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.corrections.is_empty() && self.additions.is_empty()
    }
}

fn change(label: &str, family: Family, host: &HostRecords, after: &Option<RrSet>) -> Change {
    Change {
        label: label.to_owned(),
        family,
        before: host.of(family).cloned(),
        after: after.clone(),
    }
}

/// Finds labels that have our form but belong to no domain. The form is a label with a
/// hyphen whose host name has the addresses of the mail servers; other host names are not
/// ours.
fn unexpected_records(
    wanted: &[Wanted],
    existing: &HashMap<String, HostRecords>,
    a: Option<&RrSet>,
) -> Vec<String> {
    let wanted: HashSet<&str> = wanted.iter().map(|wanted| wanted.label.as_str()).collect();
    let addresses = |set: Option<&RrSet>| set.map(|set| set.addresses.clone());
    let is_ours = |host: &HostRecords| addresses(host.a.as_ref()) == addresses(a);
    let mut unexpected: Vec<String> = existing
        .iter()
        .filter(|(label, host)| {
            label.contains('-') && !wanted.contains(label.as_str()) && is_ours(host)
        })
        .map(|(label, _)| label.clone())
        .collect();
    unexpected.sort_unstable();
    unexpected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Domain;
    use std::time::Duration;

    fn zone() -> MxZone {
        MxZone {
            suffix: Domain::parse("mx.example.net").unwrap(),
            a: vec![[192, 0, 2, 25].into()],
            aaaa: vec!["2001:db8::25".parse().unwrap()],
            ttl: Duration::from_secs(300),
        }
    }

    fn set(ttl: u32, addresses: &[&str]) -> Option<RrSet> {
        RrSet::new(
            ttl,
            addresses.iter().map(|address| address.parse().unwrap()),
        )
    }

    const A: &[&str] = &["192.0.2.25"];
    const AAAA: &[&str] = &["2001:db8::25"];

    #[test]
    fn aaaa_records_follow_opt_ins_and_nothing_else_is_touched() {
        let host = |a, aaaa| HostRecords {
            a: set(300, a),
            aaaa: set(300, aaaa),
            is_alias: false,
        };
        let old_ttl = HostRecords {
            a: set(300, A),
            aaaa: set(60, AAAA),
            is_alias: false,
        };
        let alias = HostRecords {
            is_alias: true,
            ..HostRecords::default()
        };
        let existing = HashMap::from([
            ("right-yes".to_owned(), host(A, AAAA)),
            ("right-no".to_owned(), host(A, &[])),
            ("bounced-no".to_owned(), host(A, AAAA)),
            ("missing-yes".to_owned(), host(A, &[])),
            (
                "moved-yes".to_owned(),
                host(&["192.0.2.1"], &["2001:db8::1"]),
            ),
            ("ttl-yes".to_owned(), old_ttl),
            ("unknown-aaaa".to_owned(), host(A, AAAA)),
            ("alias-yes".to_owned(), alias),
            ("gone-customer".to_owned(), host(A, AAAA)),
            ("www-static".to_owned(), host(&["192.0.2.80"], &[])),
            ("ns1".to_owned(), host(A, AAAA)),
        ]);
        let wanted = [
            ("right-yes", OptIn::Yes),
            ("right-no", OptIn::No),
            ("bounced-no", OptIn::No),
            ("missing-yes", OptIn::Yes),
            ("moved-yes", OptIn::Yes),
            ("ttl-yes", OptIn::Yes),
            ("unknown-aaaa", OptIn::Temperror),
            ("unknown-new", OptIn::Temperror),
            ("new-yes", OptIn::Yes),
            ("alias-yes", OptIn::Yes),
        ];
        let wanted = wanted.map(|(label, opt_in)| Wanted {
            label: label.to_owned(),
            opt_in,
        });
        let mut plan = Plan::new(&zone(), &wanted, &existing);
        let shown = |changes: &[Change]| -> Vec<String> {
            let show = |c: &Change| format!("{} {}", c.label, c.family.name());
            changes.iter().map(show).collect()
        };
        assert_eq!(shown(&plan.removals), ["bounced-no AAAA"]);
        assert_eq!(
            shown(&plan.corrections),
            [
                "moved-yes A",
                "moved-yes AAAA",
                "ttl-yes AAAA",
                "unknown-new A",
                "new-yes A"
            ]
        );
        assert_eq!(shown(&plan.additions), ["missing-yes AAAA", "new-yes AAAA"]);
        assert_eq!(plan.aliases, ["alias-yes"]);
        assert_eq!(plan.unexpected, ["gone-customer"]);
        let moved = &plan.corrections[0];
        assert_eq!(moved.before, set(300, &["192.0.2.1"]));
        assert_eq!(moved.after, set(300, A));
        plan.prune(&existing);
        let want = ["bounced-no AAAA", "gone-customer AAAA", "gone-customer A"];
        assert_eq!(shown(&plan.removals), want);
    }
}
