//! Checks an installation: the configuration, the DNS, sockets, lists and the mail servers
//! of this machine. `sixgate doctor` prints the result; docs/doctor.md lists the checks.
//!
//! Reads and queries, and changes nothing: it connects to sockets as an MTA does, queries
//! DNS servers as mail does, and reads the configuration of Postfix and Sendmail. Each
//! subject has a file, whose functions return [`Finding`]s.

mod certificates;
mod clients;
mod clock;
mod configuration;
mod domains;
mod exemptions;
mod finding;
mod forwarders;
mod listeners;
mod mta_duration;
mod opt_in;
mod permissions;
mod postfix;
mod program;
mod resolver;
mod sendmail;
mod sockets;
mod status_page;
mod translation;

use crate::{
    cli::Doctor, config::Config, dns::Dns, exempt::Exemptions, exit::Failure, opt_in::Sources,
    snapshot::Snapshot,
};
use certificates::ClientCertificates;
use exemptions::OwnNetworks;
use finding::Check;
pub(crate) use finding::{Finding, Level};
use listeners::Listeners;
use sendmail::Cf;
use std::path::{Path, PathBuf};

/// Returns warnings about exemptions by client certificate, which depend on the CAs that the
/// MTAs of this machine trust.
pub(crate) async fn certificate_warnings(config: &Config) -> Vec<String> {
    let mtas = Mtas::installed().await;
    warnings(certificates::check(config, &mtas.client_certificates()))
}

/// Returns warnings about `exempt.forwarders`, after looking up the SPF records.
pub(crate) async fn forwarder_warnings(config: &Config) -> Vec<String> {
    match Dns::new(&config.dns) {
        Ok(dns) => warnings(forwarders::check(config, &dns).await),
        Err(error) => vec![format!("exempt.forwarders: not checked: {error}")],
    }
}

fn warnings(findings: Vec<Finding>) -> Vec<String> {
    let warnings = findings.into_iter().filter(|f| f.level > Level::Ok);
    warnings.map(|finding| finding.seen).collect()
}

/// Runs all checks.
///
/// # Errors
/// Fails if the list of `--domains` can't be read.
pub(crate) async fn examine(arguments: &Doctor, config: &Config) -> Result<Vec<Finding>, Failure> {
    let file = &arguments.config.path;
    let mut findings = configuration::check(config, file);
    let sources = opt_in::open(config).await;
    findings.extend(opt_in::check(&sources));
    let exemptions = exemptions::open(config).await;
    let snapshot = snapshot(config, sources, &exemptions);
    if let Some(snapshot) = &snapshot {
        let zone = snapshot.config.opt_in.dns_zone.as_ref();
        findings.extend(opt_in::check_servers(&snapshot.checks, zone).await);
        let mx = &snapshot.config.opt_in.mx;
        let resolver = snapshot.checks.resolver();
        findings.extend(opt_in::check_mx_hosts(resolver, mx).await);
        findings.extend(forwarders::check(config, resolver).await);
    }
    findings.extend(resolver::check(config, arguments.mute.as_deref()).await);
    findings.extend(translation::check(config).await);
    findings.push(clock::check(file).await);
    findings.extend(status_page::check(config).await);
    let mtas = Mtas::find(arguments).await;
    findings.extend(examine_mtas(&mtas, config, &exemptions).await);
    findings.extend(match &exemptions {
        Ok(exemptions) => exemptions::check_entries(exemptions),
        Err(finding) => vec![finding.clone()],
    });
    if arguments.dns || arguments.domains.is_some() {
        findings.extend(match snapshot {
            Some(snapshot) if dns_works(&findings) => {
                domains::check(arguments, snapshot, &mtas).await?
            }
            Some(_) => vec![domains_skipped("no DNS server answers")],
            None => vec![domains_skipped(
                "an opt-in list can't be read, or there is no DNS server",
            )],
        });
    }
    Ok(findings)
}

/// Builds what the daemon would use to check mail; `None` if it could not start.
fn snapshot(
    config: &Config,
    sources: Result<Sources, Finding>,
    exemptions: &Result<Exemptions, Finding>,
) -> Option<Snapshot<Dns>> {
    let dns = Dns::new(&config.dns).ok()?;
    let exemptions = exemptions.clone().ok()?;
    Some(Snapshot::new(
        config.clone(),
        sources.ok()?,
        exemptions,
        dns,
    ))
}

async fn examine_mtas(
    mtas: &Mtas,
    config: &Config,
    exempt: &Result<Exemptions, Finding>,
) -> Vec<Finding> {
    let listeners = Listeners(listeners::find(&config.listen).await);
    let mut findings = sockets::check(&listeners).await;
    findings.extend(mtas.check(config, &listeners).await);
    findings.extend(clients::check());
    let exempt = exempt.as_ref().ok();
    findings.extend(exemptions::check(config, exempt, &mtas.own_networks()));
    findings.extend(certificates::check(config, &mtas.client_certificates()));
    findings
}

fn dns_works(findings: &[Finding]) -> bool {
    let is_dead = |f: &Finding| f.check == Check::DnsServers && f.level == Level::Problem;
    !findings.iter().any(is_dead)
}

fn domains_skipped(why: &str) -> Finding {
    let seen = format!("domains were not checked, because {why}");
    Finding::warning(Check::Domains, seen, "fix that first")
}

/// The mail servers of this machine.
#[derive(Default)]
struct Mtas {
    postfix: Vec<postfix::Instance>,
    sendmail: Option<Cf>,
    /// Problems of named configurations that can't be read.
    missing: Vec<Finding>,
}

impl Mtas {
    /// Reads the configurations named on the command line, otherwise the installed ones.
    async fn find(arguments: &Doctor) -> Self {
        let named = !arguments.postfix_config.is_empty() || arguments.sendmail_cf.is_some();
        if !named {
            return Self::installed().await;
        }
        let mut mtas = Self::default();
        mtas.read_postfix(&arguments.postfix_config).await;
        mtas.read_sendmail(arguments.sendmail_cf.as_deref());
        mtas
    }

    async fn installed() -> Self {
        let mut mtas = Self::default();
        mtas.read_postfix(&postfix::installed().await).await;
        mtas.read_sendmail(sendmail::installed());
        mtas
    }

    async fn read_postfix(&mut self, directories: &[PathBuf]) {
        for directory in directories {
            match postfix::Instance::read(directory).await {
                Ok(instance) => self.postfix.push(instance),
                Err(failure) => {
                    let seen = format!("Postfix in {}: postconf: {failure}", directory.display());
                    self.missing.push(unreadable(seen));
                }
            }
        }
    }

    fn read_sendmail(&mut self, file: Option<&Path>) {
        match file.map(|file| (file, Cf::read(file))) {
            Some((_, Ok(cf))) => self.sendmail = Some(cf),
            Some((file, Err(error))) => {
                let seen = format!("{} can't be read: {error}", file.display());
                self.missing.push(unreadable(seen));
            }
            None => {}
        }
    }

    async fn check(&self, config: &Config, listeners: &Listeners) -> Vec<Finding> {
        let mut findings = self.missing.clone();
        for instance in &self.postfix {
            findings.extend(postfix::check(instance, config, listeners).await);
        }
        if let Some(cf) = &self.sendmail {
            findings.extend(sendmail::check(cf, config, listeners).await);
        }
        if findings.is_empty() {
            findings.push(no_mta());
        }
        // Services that share a setting would repeat its finding.
        let mut seen = Vec::new();
        findings.retain(|finding| {
            let is_new = !seen.contains(finding);
            seen.push(finding.clone());
            is_new
        });
        findings
    }

    fn own_networks(&self) -> Vec<OwnNetworks> {
        self.postfix.iter().map(postfix::own_networks).collect()
    }

    fn client_certificates(&self) -> Vec<ClientCertificates> {
        let of_postfix = self.postfix.iter().flat_map(postfix::client_certificates);
        let of_sendmail = self.sendmail.iter().map(sendmail::client_certificates);
        of_postfix.chain(of_sendmail).collect()
    }
}

fn unreadable(seen: String) -> Finding {
    Finding::problem(Check::Mta, seen, "correct the path, and run doctor as root")
}

fn no_mta() -> Finding {
    Finding::warning(
        Check::Mta,
        "neither Postfix nor Sendmail is installed on this machine",
        "run doctor on the mail server, or name its configuration with --postfix-config or \
         --sendmail-cf",
    )
}
