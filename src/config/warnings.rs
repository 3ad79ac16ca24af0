//! Warnings about valid settings that are probably not intended.

use super::{
    Config, Families, HostPattern, HttpSocket, Mode, Socket, SqlEngine, numbers::Size, value::Kind,
};
use crate::{
    enforcement::refusing_rules,
    opt_in::entry::Entry,
    policy::{ExemptTls, OnDnsFailure},
    reply::Class,
};
use ipnet::IpNet;
use std::{fs, net::IpAddr, os::unix::fs::MetadataExt, path::Path, time::Duration};

impl Config {
    /// Returns one line per warning: the key, the consequence of its value, and what to
    /// write instead.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.listen.iter().filter_map(exposed).collect();
        warnings.extend(self.open_to_all_users());
        warnings.extend(self.lenient_policy());
        warnings.extend(self.exempt_networks());
        warnings.extend(self.exempt_by_tls());
        warnings.extend(self.forwarders());
        warnings.extend(self.opt_in());
        warnings.extend(self.sql());
        warnings.extend(self.redis());
        warnings.extend(self.mx_zone());
        warnings.extend(self.replies());
        warnings.extend(self.authentication_results());
        warnings.extend(self.limits());
        warnings.extend(self.metrics.listen.iter().filter_map(readable));
        warnings.extend(self.status());
        warnings
    }

    fn open_to_all_users(&self) -> Option<String> {
        let any_unix = self.listen.iter().any(|s| matches!(s, Socket::Unix(_)));
        (any_unix && self.socket_mode & 0o002 != 0).then(|| {
            format!(
                "socket_mode: with {:04o} every user of this machine can connect",
                self.socket_mode
            )
        })
    }

    fn lenient_policy(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match self.mode {
            Mode::Enforce => {}
            Mode::Observe if !self.observe_domains.is_empty() => warnings
                .push("mode: observe refuses nothing, whatever observe_domains says".to_owned()),
            Mode::Observe => warnings.push("mode: observe refuses nothing".to_owned()),
        }
        match self.mode {
            Mode::Enforce if self.enforce_share.is_nothing() => {
                warnings.push("enforce_share: 0% refuses nothing".to_owned());
            }
            Mode::Enforce if refusing_rules().all(|rule| self.observe_rules.contains(&rule)) => {
                warnings.push("observe_rules: has every rule, so nothing is refused".to_owned());
            }
            Mode::Enforce => {}
            Mode::Observe if !self.enforce_share.is_everything() => warnings
                .push("mode: observe refuses nothing, whatever enforce_share says".to_owned()),
            Mode::Observe => {}
        }
        if self.enforce_share_key.is_some() && self.enforce_share.is_everything() {
            warnings
                .push("enforce_share_key: has no effect, because enforce_share is 100%".to_owned());
        }
        match self.policy.on_dns_failure {
            OnDnsFailure::Tempfail => {}
            OnDnsFailure::Accept => warnings.push(
                "on_dns_failure: accept lets unchecked mail in while the DNS fails, \
                 and a sender can make that of its own domain fail"
                    .to_owned(),
            ),
        }
        warnings
    }

    fn exempt_networks(&self) -> Vec<String> {
        let networks = self.policy.exempt_networks.iter();
        let warning = |network: &IpNet| match network {
            IpNet::V4(_) => Some(format!(
                "exempt.networks: {network} has no effect: mail over IPv4 is never checked"
            )),
            IpNet::V6(private) if private.addr().is_unique_local() => None,
            IpNet::V6(wide) if wide.prefix_len() < 16 => Some(format!(
                "exempt.networks: {network} exempts a large part of the Internet"
            )),
            IpNet::V6(_) => None,
        };
        networks.filter_map(warning).collect()
    }

    fn exempt_by_tls(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.policy.exempt_tls == ExemptTls::Any {
            warnings.push(
                "exempt.tls: any exempts everyone who uses STARTTLS, which is anyone; name the \
                 certificates of partners in exempt.certificates"
                    .to_owned(),
            );
        }
        let patterns = self.policy.exempt_certificates.iter();
        let wide = patterns.filter(|pattern| pattern.is_below_top_level());
        warnings.extend(wide.map(|pattern| {
            format!("exempt.certificates: {pattern} stands for every name below a top-level domain")
        }));
        warnings
    }

    fn forwarders(&self) -> Vec<String> {
        let names = self.forwarders.names.iter();
        let wide = names.filter(|pattern| pattern.is_below_top_level());
        wide.map(|pattern| {
            format!(
                "exempt.forwarders.names: {pattern} stands for every name below a top-level domain"
            )
        })
        .collect()
    }

    fn authentication_results(&self) -> Vec<String> {
        let results = &self.authentication_results;
        let without_field =
            |key: &str| format!("authentication_results.{key} has no effect, because add is false");
        let settings = [
            (results.complete, "complete: yes"),
            (results.families == Families::All, "families: all"),
        ];
        let ineffective = settings
            .into_iter()
            .filter(|(is_set, _)| *is_set && !results.add);
        ineffective.map(|(_, key)| without_field(key)).collect()
    }

    fn opt_in(&self) -> Vec<String> {
        let top_level = |entry: &&Entry| entry.domain.parent().is_none();
        let entries = self.opt_in.domains.iter().filter(top_level);
        entries
            .map(|entry| format!("opt_in.domains: {entry} is a domain without a dot"))
            .collect()
    }

    fn sql(&self) -> Vec<String> {
        let sql = &self.opt_in.sql;
        let mut warnings = Vec::new();
        if let Some(file) = &sql.password_file {
            warnings.extend(password_file("opt_in.sql.password_file", file));
            if sql.url.iter().all(|url| url.engine == SqlEngine::Sqlite) {
                warnings.push(
                    "opt_in.sql.password_file: has no effect, because SQLite has no passwords"
                        .to_owned(),
                );
            }
        }
        if sql.is_configured() && sql.timeout >= self.limits.stage_timeout {
            warnings.push(second_server_unused("opt_in.sql", "database"));
        }
        warnings
    }

    fn redis(&self) -> Vec<String> {
        let redis = &self.opt_in.redis;
        let mut warnings = Vec::new();
        if let Some(file) = &redis.password_file {
            warnings.extend(password_file("opt_in.redis.password_file", file));
        }
        let has_user = redis.url.iter().any(|url| url.user.is_some());
        if has_user && redis.password_file.is_none() {
            warnings.push(
                "opt_in.redis.url: its user has no effect without opt_in.redis.password_file"
                    .to_owned(),
            );
        }
        if redis.is_configured() && redis.timeout >= self.limits.stage_timeout {
            warnings.push(second_server_unused("opt_in.redis", "server"));
        }
        let file = &self.opt_in.managed_file;
        if redis.managed && file.exists() {
            let file = file.display();
            warnings.push(format!(
                "opt_in.managed_file: {file} is not read, because opt_in.redis.managed is yes; to \
                 move its entries to the hash: sixgate opt-in add - <{file}, then remove the file"
            ));
        }
        warnings
    }

    fn mx_zone(&self) -> Vec<String> {
        let zone = &self.opt_in.mx_zone;
        let mut warnings = Vec::new();
        if let Some(file) = &zone.key_file {
            let name = file.display();
            // Only the user of sync-dns needs to read it.
            let mode = fs::metadata(file)
                .map(|found| found.mode())
                .unwrap_or_default();
            if mode & 0o004 != 0 {
                warnings.push(format!(
                    "opt_in.mx_zone.key_file: every user of this machine can read {name}; chmod \
                     600 {name}"
                ));
            }
        }
        let hosts = self.opt_in.mx.hosts.iter();
        let ours = |host: &&HostPattern| {
            let suffix = zone.suffix.as_ref().map(ToString::to_string);
            suffix.is_some_and(|suffix| host.to_string().trim_start_matches('.').ends_with(&suffix))
        };
        warnings.extend(hosts.filter(ours).map(|host| {
            format!(
                "opt_in.mx.hosts: {host} is one of opt_in.mx_zone, so every domain that uses its \
                 own host name opts in"
            )
        }));
        warnings
    }

    fn replies(&self) -> Vec<String> {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        let mut warnings = Vec::new();
        if self.replies.url.is_some() && !self.replies.details {
            warnings.push("replies.url: has no effect without replies.details: yes".to_owned());
        }
        let Some(after) = self.replies.give_up_after else {
            return warnings;
        };
        if after < 4 * HOUR {
            warnings.push(
                "replies.give_up_after: under 4h, which some senders need to come back over IPv4"
                    .to_owned(),
            );
        }
        if after > 5 * 24 * HOUR {
            warnings.push(
                "replies.give_up_after: over 5d, after which most senders give up by themselves"
                    .to_owned(),
            );
        }
        let replies = [&self.replies.no_ptr, &self.replies.unauthenticated];
        if replies
            .iter()
            .all(|reply| reply.class() == Class::Permanent)
        {
            warnings.push(
                "replies.give_up_after: has no effect, because replies.no_ptr and \
                 replies.unauthenticated are permanent"
                    .to_owned(),
            );
        }
        warnings
    }

    fn status(&self) -> Vec<String> {
        let status = &self.status;
        let mut warnings = Vec::new();
        if let Some(file) = &status.token_file {
            warnings.extend(password_file("status.token_file", file));
        }
        let exposed = status.listen.iter().filter(|socket| !socket.is_local());
        warnings.extend(exposed.map(|socket| {
            format!(
                "status.listen: {socket} is not on loopback, and the token crosses the network \
                 unencrypted; put a proxy with TLS before it, or use an SSH tunnel"
            )
        }));
        if !status.is_on() {
            let keys = [
                ("token_file", status.token_file.is_some()),
                ("host_names", !status.host_names.is_empty()),
                (
                    "history",
                    status.history != super::Status::default().history,
                ),
            ];
            let unused = keys.iter().filter(|(_, is_set)| *is_set);
            warnings.extend(
                unused.map(|(key, _)| format!("status.{key}: has no effect without status.listen")),
            );
        }
        warnings
    }

    fn limits(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.spf.max_lookups > 10 {
            warnings.push(format!(
                "spf.max_lookups: {} is more than RFC 7208 section 4.6.4 allows (10)",
                self.spf.max_lookups
            ));
        }
        if self.dns.cache_entries.is_some() {
            let size = Size::<0>::show(&self.dns.cache_capacity());
            warnings.push(format!(
                "dns.cache_entries: replaced by dns.cache_bytes; write cache_bytes: {size}"
            ));
        }
        if self.dns.timeout >= self.limits.stage_timeout {
            warnings.push(
                "dns.timeout: not less than limits.stage_timeout, so a second server is \
                 never queried"
                    .to_owned(),
            );
        }
        warnings
    }
}

fn password_file(key: &str, file: &Path) -> Option<String> {
    let name = file.display();
    match fs::metadata(file) {
        Ok(found) if found.mode() & 0o004 != 0 => Some(format!(
            "{key}: every user of this machine can read {name}; \
             chmod 640 {name}, and give it the group that sixgate runs as"
        )),
        Ok(_) => None,
        // The credentials directory of a service exists only while it runs.
        Err(_) if file.starts_with("$CREDENTIALS_DIRECTORY") => None,
        Err(error) => Some(format!("{key}: {name} can't be read: {error}")),
    }
}

fn second_server_unused(section: &str, server: &str) -> String {
    format!(
        "{section}.timeout: not less than limits.stage_timeout, so a second {server} is never \
         queried"
    )
}

/// Warns about a socket that others can reach, as the milter protocol has no
/// authentication.
fn exposed(socket: &Socket) -> Option<String> {
    let Socket::Inet { host, .. } = socket else {
        return None;
    };
    (!is_local(host))
        .then(|| format!("listen: {socket} is not on loopback; whoever reaches it can use it"))
}

fn readable(socket: &HttpSocket) -> Option<String> {
    (!socket.is_local()).then(|| {
        format!("metrics.listen: {socket} is not on loopback; whoever reaches it can read it")
    })
}

fn is_local(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host == "localhost",
    }
}
