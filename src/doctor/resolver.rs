//! Checks the DNS servers: whether each answers and how fast, whether it validates, and
//! whether a domain with unresponsive servers delays other lookups.
//!
//! Sends the queries of a mail server (MX, TXT, PTR), for names that have existed for
//! decades.

mod dnssec;
mod reverse;
mod unresponsive_domain;

use super::finding::{Check, Finding};
use crate::{
    config::{self, Config, DnsServer},
    dns::{Answer, Dns, Name, NoServer, Resolve, system_servers},
};
use std::time::{Duration, Instant};

/// Queries each server alone, then all servers as sixgate does.
pub(super) async fn check(config: &Config, unresponsive: Option<&str>) -> Vec<Finding> {
    let (dns, servers) = match (Dns::new(&config.dns), servers(&config.dns)) {
        (Ok(dns), Ok(servers)) => (dns, servers),
        (Err(error), _) | (_, Err(error)) => return vec![no_server(&error.to_string())],
    };
    let mut trials = Vec::new();
    for server in &servers {
        trials.push(try_one(&config.dns, server).await);
    }
    let works = trials.iter().any(|trial| !trial.answers.is_empty());
    let mut findings: Vec<Finding> = trials.iter().map(|trial| speed(trial, works)).collect();
    if !works {
        return findings;
    }
    for trial in trials.iter().filter(|trial| !trial.answers.is_empty()) {
        findings.push(dnssec::check(&trial.server, config.dns.timeout).await);
    }
    findings.push(reverse::check(&dns).await);
    findings.push(unresponsive_domain::check_stage_timeout(
        config,
        servers.len(),
    ));
    if let Some(name) = unresponsive {
        findings.push(unresponsive_domain::look_up(dns, config, name).await);
    }
    findings
}

fn servers(config: &config::Dns) -> Result<Vec<DnsServer>, NoServer> {
    match config.servers.as_slice() {
        [] => system_servers(),
        servers => Ok(servers.to_vec()),
    }
}

fn no_server(error: &str) -> Finding {
    Finding::problem(
        Check::DnsServers,
        format!("no DNS server is configured: {error}"),
        "add one to dns.servers or /etc/resolv.conf; sixgate reads changes of the latter while it \
         runs",
    )
}

/// The answers of one server.
struct Trial {
    server: DnsServer,
    /// The response times, fastest first.
    answers: Vec<Duration>,
    /// The failure of the last query that failed.
    failure: Option<String>,
    refuses_edns: bool,
}

/// Names for which every resolver finds records.
const NAMES: [&str; 5] = [
    "example.com",
    "example.net",
    "example.org",
    "iana.org",
    "ietf.org",
];

async fn try_one(config: &config::Dns, server: &DnsServer) -> Trial {
    let mut trial = Trial {
        server: server.clone(),
        answers: Vec::new(),
        failure: None,
        refuses_edns: false,
    };
    let single = config::Dns {
        servers: vec![server.clone()],
        attempts: 1,
        ..config.clone()
    };
    match Dns::new(&single) {
        Ok(dns) => trial.ask(&dns).await,
        Err(error) => trial.failure = Some(error.to_string()),
    }
    trial
}

impl Trial {
    async fn ask(&mut self, dns: &Dns) {
        for name in NAMES {
            let Ok(name) = Name::parse(name) else {
                continue;
            };
            let start = Instant::now();
            match dns.mx(&name).await {
                Answer::Found(_) | Answer::Absent(_) => self.answers.push(start.elapsed()),
                Answer::Temperror(failure) => self.failure = Some(failure.to_string()),
            }
            if self.answers.is_empty() && self.failure.is_some() {
                // Waiting for four more timeouts would show nothing new.
                break;
            }
        }
        self.answers.sort();
        self.refuses_edns = !dns.servers_without_edns().is_empty();
    }

    fn median(&self) -> Option<Duration> {
        self.answers.get(self.answers.len() / 2).copied()
    }
}

/// Slower servers are reported: SPF alone may take a dozen queries in sequence.
const SLOW: Duration = Duration::from_millis(250);

fn speed(trial: &Trial, another_works: bool) -> Finding {
    let server = &trial.server;
    let Some(median) = trial.median() else {
        return unresponsive_server(trial, another_works);
    };
    let queries = trial.answers.len();
    let milliseconds = median.as_secs_f64() * 1000.0;
    let seen = format!("{server} answers in {milliseconds:.1} ms (median of {queries} queries)");
    match &trial.failure {
        Some(failure) => Finding::warning(
            Check::DnsServers,
            format!("{seen}, but not always: {failure}"),
            format!("find the cause with dig @{} example.com MX", server.host()),
        ),
        None if trial.refuses_edns => Finding::warning(
            Check::DnsServers,
            format!("{seen}, but refuses EDNS: it is queried without, and long answers need TCP"),
            "update it, or use a resolver that supports EDNS (RFC 6891), such as unbound",
        ),
        None if median > SLOW => Finding::warning(
            Check::DnsServers,
            format!("{seen}, which is slow"),
            "run a caching resolver such as unbound on this machine, and set dns.servers to it",
        ),
        None => Finding::ok(Check::DnsServers, seen),
    }
}

fn unresponsive_server(trial: &Trial, another_works: bool) -> Finding {
    let failure = trial.failure.as_deref().unwrap_or("no answer");
    let seen = format!("{} does not answer: {failure}", trial.server);
    let todo = "fix it, or remove it from dns.servers or /etc/resolv.conf; REFUSED means that it \
                does not serve this machine";
    match another_works {
        true => Finding::warning(Check::DnsServers, seen, todo),
        false => Finding::problem(Check::DnsServers, seen, todo),
    }
}
