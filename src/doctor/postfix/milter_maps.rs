//! `smtpd_milter_maps`: the milters that Postfix uses for certain clients.
//!
//! Tables of any type are queried with `postmap -q`, for sample addresses from the whole
//! IPv4 and IPv6 Internet.

use super::{
    instance::{Instance, Service, words},
    milters::{self, Milter},
};
use crate::{
    config::Config,
    doctor::{
        finding::{Check, Finding},
        listeners::Listeners,
    },
};
use std::collections::{BTreeSet, HashMap};

/// A table that has only some of these is for certain clients, not for all of IPv4.
const IPV4_SAMPLES: [&str; 8] = [
    "8.8.8.8",
    "45.33.32.156",
    "77.88.55.60",
    "104.16.1.1",
    "151.101.1.1",
    "185.12.64.1",
    "198.51.100.7",
    "212.227.15.3",
];

/// One address for each range from which registries assign.
const IPV6_SAMPLES: [&str; 7] = [
    "2001:db8::7",
    "2001:4860:4860::8888",
    "2400:cb00::1",
    "2600:1f18::1",
    "2800:3f0::1",
    "2a01:4f8::1",
    "2c0f:fb50::1",
];

/// The milters of a service, by client.
pub(super) struct MilterMaps {
    /// The milters of clients without an entry in the tables.
    default: String,
    /// The entries for the sample addresses.
    found: HashMap<String, String>,
}

impl MilterMaps {
    /// Looks up the samples in the tables of a service.
    ///
    /// # Errors
    /// Returns a problem if a table can't be queried: smtpd then defers all mail.
    pub(super) async fn look_up(instance: &Instance, service: &Service) -> Result<Self, Finding> {
        let mut found = HashMap::new();
        let samples = [IPV4_SAMPLES.as_slice(), IPV6_SAMPLES.as_slice()].concat();
        let tables = milters::items(instance.value(service, "smtpd_milter_maps"));
        for table in tables {
            let answers = instance
                .look_up(table, &samples)
                .await
                .map_err(|failure| unusable(instance, service, table, &failure.to_string()))?;
            for (client, milters) in answers {
                // The first table that has an entry decides.
                found.entry(client).or_insert(milters);
            }
        }
        Ok(Self {
            default: instance.value(service, "smtpd_milters").to_owned(),
            found,
        })
    }

    /// Returns the milters of IPv6 clients: those of the first sample.
    pub(super) fn ipv6_milters(&self) -> Vec<Milter> {
        milters::parse(self.of(IPV6_SAMPLES[0]))
    }

    fn of(&self, client: &str) -> &str {
        match self.found.get(client) {
            Some(disabled) if disabled.eq_ignore_ascii_case("DISABLE") => "",
            Some(milters) => milters,
            None => &self.default,
        }
    }

    /// Returns the samples that bypass sixgate.
    async fn without_sixgate(
        &self,
        samples: &[&'static str],
        instance: &Instance,
        service: &Service,
        listeners: &Listeners,
    ) -> Vec<&'static str> {
        let mut without = Vec::new();
        for client in samples {
            if !has_sixgate(self.of(client), instance, service, listeners).await {
                without.push(*client);
            }
        }
        without
    }
}

async fn has_sixgate(
    list: &str,
    instance: &Instance,
    service: &Service,
    listeners: &Listeners,
) -> bool {
    for milter in milters::parse(list) {
        if is_sixgate(&milter, instance, service, listeners).await {
            return true;
        }
    }
    false
}

async fn is_sixgate(
    milter: &Milter,
    instance: &Instance,
    service: &Service,
    listeners: &Listeners,
) -> bool {
    match milter.place(service.chroot, instance.queue()) {
        Some(place) => listeners.contains(&place).await,
        None => false,
    }
}

fn unusable(instance: &Instance, service: &Service, table: &str, failure: &str) -> Finding {
    let origin = instance.origin(service, "smtpd_milter_maps");
    Finding::problem(
        Check::Attached,
        format!("{origin}: smtpd_milter_maps: {table} can't be used: {failure}"),
        "fix that table; until then, Postfix defers the mail of every client",
    )
}

/// Checks that sixgate sees every IPv6 client, and that IPv4 mail bypasses it unless it gets
/// results.
pub(super) async fn check(
    instance: &Instance,
    config: &Config,
    service: &Service,
    listeners: &Listeners,
) -> Vec<Finding> {
    let maps = match MilterMaps::look_up(instance, service).await {
        Ok(maps) => maps,
        Err(unusable) => return vec![unusable],
    };
    let mut findings: Vec<Finding> = maps
        .without_sixgate(&IPV6_SAMPLES, instance, service, listeners)
        .await
        .first()
        .map(|client| unchecked(instance, service, client))
        .into_iter()
        .collect();
    let protocols: Vec<&str> = words(instance.main("inet_protocols")).collect();
    if protocols.contains(&"all") || protocols.contains(&"ipv4") {
        findings.extend(match config.authentication_results.need_ipv4_mail() {
            true => vec![ipv4_results(instance, service, &maps, listeners).await],
            false => ipv4(instance, service, &maps, listeners).await,
        });
    }
    findings
}

fn unchecked(instance: &Instance, service: &Service, client: &str) -> Finding {
    let origin = instance.origin(service, "smtpd_milter_maps");
    let maps = instance.value(service, "smtpd_milter_maps");
    Finding::problem(
        Check::Attached,
        format!(
            "{origin}: smtpd_milter_maps = {maps}: clients such as {client} bypass sixgate: their \
             mail is accepted unchecked"
        ),
        "limit the table to IPv4 clients (0.0.0.0/0) and your own networks",
    )
}

/// Checks that IPv4 clients are passed to sixgate, which adds results to their mail.
async fn ipv4_results(
    instance: &Instance,
    service: &Service,
    maps: &MilterMaps,
    listeners: &Listeners,
) -> Finding {
    let origin = instance.origin(service, "smtpd_milter_maps");
    let place = format!("{} {}", service.name, service.kind);
    let without = maps
        .without_sixgate(&IPV4_SAMPLES, instance, service, listeners)
        .await;
    match without.first() {
        Some(client) => Finding::warning(
            Check::Ipv4Mail,
            format!(
                "{origin}: clients such as {client} bypass sixgate: their mail gets no \
                 Authentication-Results field, despite authentication_results.families: all"
            ),
            "remove IPv4 clients (0.0.0.0/0) from smtpd_milter_maps, or set \
             authentication_results.families: checked",
        ),
        None => Finding::ok(
            Check::Ipv4Mail,
            format!(
                "{origin}: {place} passes IPv4 clients to sixgate, which adds results to their mail"
            ),
        ),
    }
}

async fn ipv4(
    instance: &Instance,
    service: &Service,
    maps: &MilterMaps,
    listeners: &Listeners,
) -> Vec<Finding> {
    let others = other_milters(&maps.default, instance, service, listeners).await;
    let place = format!("{} {}", service.name, service.kind);
    let without = maps
        .without_sixgate(&IPV4_SAMPLES, instance, service, listeners)
        .await;
    let origin = instance.origin(service, "smtpd_milter_maps");
    if without.len() < IPV4_SAMPLES.len() {
        return how_to_bypass(instance, service, &others)
            .map(|todo| {
                Finding::warning(
                    Check::Ipv4Mail,
                    format!(
                        "{origin}: {place} passes IPv4 clients to sixgate, which never checks \
                         them: while it is down, IPv4 mail is not accepted either"
                    ),
                    todo,
                )
            })
            .into_iter()
            .collect();
    }
    let dropped: BTreeSet<&String> = others
        .iter()
        .filter(|other| {
            let kept = |client: &&str| {
                let kept = milters::parse(maps.of(client));
                kept.iter().any(|milter| milter.socket == **other)
            };
            !IPV4_SAMPLES.iter().all(kept)
        })
        .collect();
    vec![match dropped.first() {
        Some(dropped) => Finding::warning(
            Check::Ipv4Mail,
            format!(
                "{origin}: smtpd_milter_maps disables {dropped} from smtpd_milters for IPv4 \
                 clients, too"
            ),
            format!(
                "add it to the table, unless that is intended: 0.0.0.0/0 {}",
                others.join(", ")
            ),
        ),
        None => Finding::ok(
            Check::Ipv4Mail,
            format!("{origin}: {place} does not need sixgate for IPv4 clients (smtpd_milter_maps)"),
        ),
    }]
}

/// Returns the sockets in `smtpd_milters` other than that of sixgate.
async fn other_milters(
    list: &str,
    instance: &Instance,
    service: &Service,
    listeners: &Listeners,
) -> Vec<String> {
    let mut others = Vec::new();
    for milter in milters::parse(list) {
        if !is_sixgate(&milter, instance, service, listeners).await {
            others.push(milter.socket);
        }
    }
    others
}

/// Returns the setting to suggest; `None` before Postfix 3.2, which lacks
/// `smtpd_milter_maps`.
fn how_to_bypass(instance: &Instance, service: &Service, others: &[String]) -> Option<String> {
    let version = version(instance.main("mail_version"));
    if version < (3, 2) {
        return None;
    }
    let milters = match others {
        [] => "DISABLE".to_owned(),
        others => others.join(", "),
    };
    let directory = &instance.directory;
    let set = |table: &str| match instance.origin(service, "smtpd_milter_maps") {
        master if master == instance.master(service) => {
            format!("-o {{ smtpd_milter_maps = {table} }} in that service")
        }
        _ => format!("postconf -c {directory} -e 'smtpd_milter_maps = {table}'"),
    };
    // Postfix before 3.7 supports no inline tables in main.cf.
    Some(match version < (3, 7) {
        true => {
            let file = format!("{directory}/sixgate.cidr");
            let set = set(&format!("cidr:{file}"));
            format!("write the line 0.0.0.0/0 {milters} to {file}; {set}, and reload Postfix")
        }
        false => {
            let set = set(&format!("cidr:{{{{0.0.0.0/0 {milters}}}}}"));
            format!("{set}, and reload Postfix")
        }
    })
}

/// Parses the major and minor version, such as 3.7 of `3.7.11`.
fn version(mail_version: &str) -> (u32, u32) {
    let mut numbers = mail_version
        .split(['.', '-'])
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("3.7.11"), (3, 7));
        assert_eq!(version("3.10.13"), (3, 10));
        assert_eq!(version("3.11-20250513"), (3, 11));
        assert!(version("3.10.1") > version("3.7.11"));
        assert!(version("2.11.3") < version("3.2.0"));
    }
}
