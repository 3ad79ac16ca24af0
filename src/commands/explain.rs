//! `sixgate explain`: shows what sixgate would do with a message, and why.
//!
//! Runs the checks and the policy of the milter, but evaluates all checks, including those
//! that the policy would not need.

mod field;
mod message;
mod report;
mod verdict;

pub(crate) use report::Report;
#[cfg(feature = "status")]
pub(crate) use verdict::VerdictReport;

use crate::{
    address::{Recipient, ReversePath},
    checks::{Checks, Sender},
    cli::{DEFAULT_CONFIG, Explain, OptionalConfigFile},
    commands,
    config::{Config, ConfigError},
    dkim,
    dns::{Dns, Traced},
    exempt::{self, Exemptions},
    exit::{Exit, Failure},
    forwarder::Identified,
    opt_in::{self, Sources},
    policy::{Confirmation, Facts, Settings, Tls},
    ptr::Reverse,
    spf,
};
use anyhow::{Context, Result};
use message::Body;
use std::{
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Instant,
};

/// Explains one message on standard output.
///
/// # Errors
/// Fails if the configuration is invalid, the message can't be read, or there is no DNS
/// server.
pub(super) fn run(arguments: &Explain) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    let sources = Sources::open(&config.opt_in, None)?;
    let exemptions = Exemptions::open(&config, None)?;
    let message = match &arguments.message {
        Some(file) => {
            let message = message::open(file, config.limits.header_bytes);
            Some(message.map_err(|e| Failure::new(Exit::NoInput, e))?)
        }
        None => None,
    };
    let runtime = commands::runtime()?;
    if let Err(error) = runtime.block_on(exemptions.load()) {
        eprintln!("warning: exempt networks: {error}");
    }
    let report = explain(&config, sources, &exemptions, arguments, message);
    let report = runtime.block_on(report)?;
    print(&report, arguments.json).map_err(|e| Failure::new(Exit::Io, e))
}

/// Explains one message. Ignores the files named in `arguments`. The future is not `Send`, and
/// hashes the message on its thread.
#[cfg(feature = "status")]
pub(crate) async fn explain_message(
    config: &Config,
    sources: Sources,
    exemptions: &Exemptions,
    arguments: &Explain,
    message: Option<Vec<u8>>,
) -> Result<Report, Failure> {
    let header_bytes = config.limits.header_bytes;
    let message = message.map(|message| message::of(message, header_bytes));
    let message = message
        .transpose()
        .map_err(|e| Failure::new(Exit::NoInput, e))?;
    explain(config, sources, exemptions, arguments, message).await
}

async fn explain(
    config: &Config,
    sources: Sources,
    exemptions: &Exemptions,
    arguments: &Explain,
    message: Option<(dkim::HeaderBlock, Body)>,
) -> Result<Report, Failure> {
    let mut findings = run_checks(config, sources, arguments, message).await?;
    findings.exemption = Exemption::of(arguments, exemptions);
    Ok(Report::new(config, arguments, &findings))
}

/// Loads the configuration. Without `-c`, a missing file at the default path means the
/// defaults: sixgate may not be installed on this machine.
fn load(file: &OptionalConfigFile) -> Result<Config, Failure> {
    let default = Path::new(DEFAULT_CONFIG);
    match (
        &file.path,
        Config::load(file.path.as_deref().unwrap_or(default)),
    ) {
        (None, Err(ConfigError::Unreadable { error, .. }))
            if error.kind() == io::ErrorKind::NotFound =>
        {
            eprintln!(
                "{DEFAULT_CONFIG} does not exist; using the defaults (-c FILE names another)"
            );
            Ok(Config::default())
        }
        (_, loaded) => Ok(loaded?),
    }
}

/// The results of all checks of a message.
struct Findings {
    /// The client, or the IPv4 client behind a translator.
    client: IpAddr,
    reverse_path: String,
    recipients: Vec<Addressee>,
    reverse: Reverse,
    confirmation: Confirmation,
    spf: spf::Outcome,
    spf_trace: spf::Trace,
    /// SPF of the HELO name, if a complete Authentication-Results field contains it in
    /// addition.
    helo_spf: Option<spf::Outcome>,
    /// `None` if `exempt.forwarders` has no entry.
    forwarder: Option<Identified>,
    dkim: Option<dkim::Outcome>,
    questions: Vec<crate::dns::Question>,
    exemption: Exemption,
}

/// The entry of the lists of exempt networks for the client.
#[derive(Default)]
struct Exemption {
    /// Whether the list of `sixgate exempt` exempts the client.
    is_managed: bool,
    /// The entry that exempts the client, otherwise one that has expired.
    entry: Option<exempt::Found>,
    /// The managed file.
    file: PathBuf,
}

impl Exemption {
    fn of(arguments: &Explain, exemptions: &Exemptions) -> Self {
        let client = arguments.client.to_canonical();
        let ended = || match client {
            IpAddr::V6(ip) => exemptions.covering(ip).pop(),
            IpAddr::V4(_) => None,
        };
        Self {
            is_managed: exemptions.has_managed(client),
            entry: exemptions.find(client).or_else(ended),
            file: exemptions.file().to_owned(),
        }
    }
}

/// A recipient and whether its domain has opted in.
struct Addressee {
    recipient: Recipient,
    answer: opt_in::Answer,
    /// The explanation to show.
    reason: String,
}

impl Findings {
    /// Returns the facts for the policy, without the opt-in of a recipient.
    fn facts(&self, settings: &Settings, arguments: &Explain) -> Facts {
        let certificate = arguments.certificate.as_deref();
        Facts {
            exempt: self.exemption.is_managed,
            authenticated: arguments.authenticated,
            tls: match certificate {
                Some(_) => Tls::Verified,
                None => Tls::None,
            },
            certificate_named: certificate
                .is_some_and(|name| settings.certificate_pattern(name).is_some()),
            ptr: Some(self.reverse.result),
            confirmation: Some(self.confirmation),
            spf: Some(self.spf.authentication()),
            forwarder: self.forwarder.as_ref().map(|found| found.result),
            signed: self.dkim.is_some(),
            dkim: self.dkim.as_ref().map(dkim::Outcome::authentication),
            ..Facts::new(arguments.client.into())
        }
    }
}

async fn run_checks(
    config: &Config,
    sources: Sources,
    arguments: &Explain,
    message: Option<(dkim::HeaderBlock, Body)>,
) -> Result<Findings, Failure> {
    let dns = Dns::new(&config.dns).map_err(|e| Failure::new(Exit::Unavailable, e))?;
    let checks = Checks::new(config, sources, Traced::new(dns));
    let client = arguments.client.to_canonical();
    let translated = config.policy.translated(client.into());
    let sender = Sender {
        client: translated.map_or(client, |found| found.ipv4.into()),
        reverse_path: ReversePath::parse(&arguments.from),
        helo: arguments.helo.clone(),
    };
    let (mut reverse, mut confirmation) = checks.reverse(sender.client);
    let (spf, spf_trace) = checks.spf_explained(&sender).await;
    let helo_spf = match (&sender.helo, &sender.reverse_path) {
        (Some(helo), ReversePath::Mailbox(_)) if has_every_method(config) => {
            let mut evaluation = checks.helo_spf(sender.client, helo);
            Some(evaluation.get().await.clone())
        }
        _ => None,
    };
    let dkim = match message {
        Some((header, body)) => verify(&checks, &sender, header, body)
            .await
            .map_err(|e| Failure::new(Exit::NoInput, e))?,
        None => None,
    };
    let reverse = reverse.get().await.clone();
    let forwarder = match config.policy.known_forwarders {
        true => {
            let mut found = checks.forwarder(sender.client, reverse.clone(), Instant::now());
            Some(found.get().await.clone())
        }
        false => None,
    };
    Ok(Findings {
        client: sender.client,
        reverse_path: sender.reverse_path.to_string(),
        recipients: recipients(arguments, &checks).await,
        reverse,
        confirmation: *confirmation.get().await,
        spf,
        spf_trace,
        helo_spf,
        forwarder,
        dkim,
        questions: checks.resolver().questions(),
        exemption: Exemption::default(),
    })
}

/// Returns whether some mail gets an Authentication-Results field with all methods.
fn has_every_method(config: &Config) -> bool {
    let results = &config.authentication_results;
    results.need_ipv4_mail() || (results.add && results.complete)
}

async fn recipients(arguments: &Explain, checks: &Checks<Traced<Dns>>) -> Vec<Addressee> {
    let mut answered = Vec::with_capacity(arguments.to.len());
    for to in &arguments.to {
        let recipient = Recipient::parse(to, None);
        let domain = recipient.domain.name();
        let answer = checks.opt_in(domain).await;
        let sources = checks.opt_in_sources();
        let listed = domain.and_then(|domain| sources.listed(domain));
        answered.push(Addressee {
            answer,
            reason: sources.reason(answer, listed.as_ref()),
            recipient,
        });
    }
    answered
}

/// Verifies the signatures; returns `None` if there are none.
async fn verify(
    checks: &Checks<Traced<Dns>>,
    sender: &Sender,
    header: dkim::HeaderBlock,
    body: Body,
) -> Result<Option<dkim::Outcome>> {
    if !header.is_signed() {
        return Ok(None);
    }
    let settings = checks.dkim_settings();
    let verification = dkim::Verification::new(header, &settings, sender.reverse_path.domain());
    let mut keys = checks.dkim_keys(&verification);
    let mut hasher = verification.body_hasher();
    body.read(|piece| hasher.update(piece))
        .context("the message can't be read to its end")?;
    Ok(Some(
        verification.verify(&hasher.finish(), keys.get().await),
    ))
}

fn print(report: &report::Report, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match json {
        true => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)
        }
        false => write!(out, "{report}"),
    }
}
