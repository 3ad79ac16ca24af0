//! `sixgate opt-in sync-dns`: updates the host names of mail exchangers after opt-ins and
//! opt-outs, in an order that bounces no mail.
//!
//! An AAAA record is added after every daemon knows the opt-in. An opt-out is listed after the
//! removed AAAA record has expired from caches. Opt-outs in progress are in a file
//! ([`pending`]), so that any later run can complete them.

mod opt_outs;
mod script;
mod summary;

pub(super) use opt_outs::{OptOut, cancel};

use super::{
    known_domains, mx_zone,
    requests::{self, Request},
    verdict,
};
use crate::{
    address::Domain,
    cli::{MxZoneOptions, OptInEdit, OptInSyncDns},
    commands,
    config::Config,
    dns::primary::{self, Change, HostRecords, KeyError, Primary, PrimaryError, TsigKey},
    exit::{Exit, Failure},
    opt_in::{
        Source, Sources,
        entry::{Entry, Scope},
        mx_zone::{Domains, MxZone, Plan, Wanted},
        pending::{self, OptOuts},
    },
    policy::OptIn,
};
use anyhow::anyhow;
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    thread,
    time::Duration,
};
use summary::Summary;
use tokio::runtime::Runtime;

/// The number of attempts if the zone changes while it is being compared.
const ATTEMPTS: usize = 3;

/// The timeout for connecting to the primary server, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The time after which every daemon has read a changed list, which it polls twice a second.
const LIST_SETTLE: Duration = Duration::from_secs(3);

pub(super) fn run(arguments: &OptInSyncDns) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let opt_outs = requests::read_domains(&arguments.opt_out)?;
    let cancelled = requests::read_domains(&arguments.cancel)?;
    let sync = Sync::by_arguments(&config, arguments)?;
    if arguments.dry_run {
        return sync.print_differences(arguments.prune);
    }
    cancel(&config.opt_in.managed_file, &cancelled)?;
    let opt_outs: Vec<OptOut> = opt_outs.into_iter().map(OptOut::hold).collect();
    let held = sync.begin(&opt_outs)?;
    sync.pass(None, arguments.prune)?;
    match arguments.no_wait {
        true => Ok(()),
        false => sync.wait_for(&held),
    }
}

/// Edits the managed list and updates the host names of the same domains. `list` adds the
/// opt-ins, before their AAAA records are added; opt-outs follow when their records have
/// expired from caches.
pub(super) fn edit(
    config: &Config,
    arguments: &OptInEdit,
    opt_ins: &[Request],
    opt_outs: &[OptOut],
    list: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let sync = Sync::by_config(config)?;
    let opt_ins = opt_ins.iter().map(|request| domain(&request.entry));
    let opt_ins: BTreeSet<Domain> = opt_ins.collect::<Result<_, _>>()?;
    let held = sync.begin(opt_outs)?;
    if !opt_ins.is_empty() {
        list()?;
    }
    sync.pass(Some(&opt_ins.union(&held).cloned().collect()), false)?;
    match arguments.no_wait {
        true => Ok(()),
        false => sync.wait_for(&held),
    }
}

fn domain(entry: &Entry) -> Result<Domain, Failure> {
    match entry.scope {
        Scope::Itself => Ok(entry.domain.clone()),
        Scope::Subdomains => Err(Failure::new(
            Exit::Usage,
            anyhow!("{entry}: --sync-dns supports domains, not entries for subdomains"),
        )),
    }
}

/// The settings of a run.
struct Sync<'a> {
    config: &'a Config,
    zone: MxZone,
    primary: Primary,
    /// The domains given in addition to those of the lists.
    given: Domains,
    settle: Option<Duration>,
    grace: Duration,
    runtime: Runtime,
}

/// Why a run stopped.
enum Stopped {
    /// The zone has changed and has to be read again.
    Changed,
    Failed(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<'a> Sync<'a> {
    /// Creates a run with the settings of the configuration.
    fn by_config(config: &'a Config) -> Result<Self, Failure> {
        let nothing = MxZoneOptions {
            suffix: None,
            a: Vec::new(),
            aaaa: Vec::new(),
            ttl: None,
            domains: None,
        };
        let configured = &config.opt_in.mx_zone;
        let server = configured.server.clone();
        let server = server.ok_or_else(|| missing("opt_in.mx_zone.server"))?;
        let key_file = configured.key_file.as_deref();
        let key_file = key_file.ok_or_else(|| missing("opt_in.mx_zone.key_file"))?;
        let zone = mx_zone::zone(&nothing, config)?;
        let of_zone = configured.zone.as_ref().unwrap_or(&zone.suffix);
        let key = read_key(key_file)?;
        Ok(Self {
            config,
            primary: primary(server, of_zone, &zone.suffix, key)?,
            zone,
            given: Domains::default(),
            settle: None,
            grace: configured.grace,
            runtime: commands::runtime()?,
        })
    }

    fn by_arguments(config: &'a Config, arguments: &OptInSyncDns) -> Result<Self, Failure> {
        let configured = &config.opt_in.mx_zone;
        let zone = mx_zone::zone(&arguments.mx_zone, config)?;
        let of_zone = match (&arguments.zone, &arguments.mx_zone.suffix) {
            (Some(given), _) => given,
            // The configured zone belongs to the configured suffix.
            (None, Some(suffix)) => suffix,
            (None, None) => configured.zone.as_ref().unwrap_or(&zone.suffix),
        };
        if *of_zone != zone.suffix && !zone.suffix.ancestors().any(|above| above == *of_zone) {
            let complaint = anyhow!("--zone: {} is not in {of_zone}", zone.suffix);
            return Err(Failure::new(Exit::Usage, complaint));
        }
        let server = arguments.server.clone().or(configured.server.clone());
        let server = server.ok_or_else(|| missing("--server or opt_in.mx_zone.server"))?;
        let key_file = arguments.key_file.as_deref();
        let key_file = key_file.or(configured.key_file.as_deref());
        let key_file = key_file.ok_or_else(|| missing("--key-file or opt_in.mx_zone.key_file"))?;
        let key = read_key(key_file)?;
        Ok(Self {
            config,
            primary: primary(server, of_zone, &zone.suffix, key)?,
            zone,
            given: known_domains::given(config, arguments.mx_zone.domains.as_deref())?,
            settle: arguments.settle,
            grace: arguments.grace.unwrap_or(configured.grace),
            runtime: commands::runtime()?,
        })
    }

    /// Updates the zone, for all domains or for `only` some.
    fn pass(&self, only: Option<&BTreeSet<Domain>>, prune: bool) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            match self.try_pass(only, prune) {
                Err(Stopped::Changed) => {}
                Err(Stopped::Failed(failure)) => return Err(failure),
                Ok(()) => return Ok(()),
            }
        }
        let complaint = anyhow!(
            "{}: another program keeps changing the zone; run the command again",
            self.primary.server()
        );
        Err(Failure::new(Exit::TempFail, complaint))
    }

    fn try_pass(&self, only: Option<&BTreeSet<Domain>>, prune: bool) -> Result<(), Stopped> {
        let comparison = self.compare(only, prune)?;
        let mut summary = Summary::default();
        let plan = &comparison.plan;
        self.apply(&plan.removals, &mut summary)?;
        self.note_removals(&comparison)?;
        self.apply(&plan.corrections, &mut summary)?;
        self.complete(&comparison)?;
        if !plan.additions.is_empty() {
            let additions = self.settled_additions(&comparison)?;
            self.apply(&additions, &mut summary)?;
        }
        summary.print(&self.zone, comparison.domains.len())?;
        comparison.warn(&self.zone, only.is_none());
        match comparison.unknown() {
            None => Ok(()),
            Some(failure) => Err(failure.into()),
        }
    }

    fn print_differences(&self, prune: bool) -> Result<(), Failure> {
        let comparison = match self.compare(None, prune) {
            Ok(comparison) => comparison,
            // No update was sent, so this never happens.
            Err(Stopped::Changed) => return Ok(()),
            Err(Stopped::Failed(failure)) => return Err(failure),
        };
        script::print(&self.primary, &comparison.plan)?;
        comparison.warn(&self.zone, true);
        comparison.unknown().map_or(Ok(()), Err)
    }

    fn compare(&self, only: Option<&BTreeSet<Domain>>, prune: bool) -> Result<Comparison, Stopped> {
        let sources = Sources::open(&self.config.opt_in, None).map_err(Failure::from)?;
        let pending = self.pending()?;
        let domains = match only {
            Some(only) => only.iter().cloned().collect(),
            None => {
                let mut given = self.given.clone();
                given.domains.extend(pending.keys().cloned());
                known_domains::with_those_of_lists(self.config, &sources, given)?
            }
        };
        let answers = verdict::answers(self.config, &sources, &domains)?;
        let wanted = |(label, (domain, (answer, _))): (String, (&Domain, &verdict::Answered))| {
            let opt_in = match pending.contains_key(domain) {
                true => OptIn::No,
                false => answer.opt_in,
            };
            Wanted { label, opt_in }
        };
        let labels = mx_zone::labels(&domains)?.into_iter();
        let wanted: Vec<Wanted> = labels
            .zip(domains.iter().zip(&answers))
            .map(wanted)
            .collect();
        let existing = self.runtime.block_on(self.read_zone(&wanted));
        let existing = existing.map_err(|error| self.failed(error))?;
        let mut plan = Plan::new(&self.zone, &wanted, &existing);
        if only.is_some() {
            plan.unexpected.clear();
        }
        if prune {
            plan.prune(&existing);
        }
        Ok(Comparison {
            domains,
            wanted,
            answers,
            pending,
            plan,
            prune,
        })
    }

    fn pending(&self) -> Result<OptOuts, Failure> {
        Ok(pending::read(&self.config.opt_in.managed_file)?)
    }

    /// Transfers the zone, with signatures; if the server refuses that, queries each name.
    async fn read_zone(
        &self,
        wanted: &[Wanted],
    ) -> Result<HashMap<String, HostRecords>, PrimaryError> {
        let refused = match self.primary.connect().await?.transfer().await {
            Err(PrimaryError::Refused(why)) => why,
            transferred => return transferred,
        };
        let server = self.primary.server();
        eprintln!("warning: {server}: {refused}; each name is queried instead, without signatures");
        let labels = wanted.iter().map(|wanted| wanted.label.as_str());
        self.primary.connect().await?.look_up(labels).await
    }

    /// Sends changes, in order.
    fn apply(&self, changes: &[Change], summary: &mut Summary) -> Result<(), Stopped> {
        let send = async {
            if changes.is_empty() {
                return Ok(());
            }
            let mut connection = self.primary.connect().await?;
            for batch in primary::batches(changes) {
                connection.update(batch).await?;
                summary.count(batch);
            }
            Ok(())
        };
        self.runtime
            .block_on(send)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: PrimaryError) -> Stopped {
        match error {
            PrimaryError::Changed => Stopped::Changed,
            error => {
                let complaint = anyhow!("{}: {error}", self.primary.server());
                Stopped::Failed(Failure::new(Exit::Unavailable, complaint))
            }
        }
    }

    /// Waits until every daemon knows the opt-ins, and returns the additions that are still
    /// valid.
    fn settled_additions(&self, comparison: &Comparison) -> Result<Vec<Change>, Failure> {
        let added: BTreeSet<&str> = comparison
            .plan
            .additions
            .iter()
            .map(|change| change.label.as_str())
            .collect();
        let hosts = comparison.domains.iter().zip(&comparison.wanted);
        let hosts = hosts.zip(&comparison.answers);
        let hosts: Vec<_> = hosts
            .filter(|((_, wanted), _)| added.contains(wanted.label.as_str()))
            .collect();
        let settle = hosts
            .iter()
            .map(|(_, (answer, _))| self.settle(answer.source));
        let settle = settle.max().unwrap_or_default();
        if settle > LIST_SETTLE {
            eprintln!(
                "waiting {} s until every daemon knows the opt-ins",
                settle.as_secs()
            );
        }
        thread::sleep(settle);
        let sources = Sources::open(&self.config.opt_in, None)?;
        let domains: Vec<Domain> = hosts
            .iter()
            .map(|((domain, _), _)| (*domain).clone())
            .collect();
        let answers = verdict::answers(self.config, &sources, &domains)?;
        let pending = self.pending()?;
        let still = hosts
            .iter()
            .zip(answers)
            .filter(|((host, _), (answer, _))| {
                answer.opt_in == OptIn::Yes && !pending.contains_key(host.0)
            });
        let still: BTreeSet<&str> = still.map(|((host, _), _)| host.1.label.as_str()).collect();
        let additions = comparison.plan.additions.iter();
        Ok(additions
            .filter(|change| still.contains(change.label.as_str()))
            .cloned()
            .collect())
    }

    fn settle(&self, source: Source) -> Duration {
        let cache = self.config.opt_in.cache;
        self.settle.unwrap_or(match source {
            Source::Managed | Source::Domains | Source::File | Source::Default => LIST_SETTLE,
            // A daemon may have cached a negative answer just before.
            _ => cache.positive.max(cache.negative).max(LIST_SETTLE),
        })
    }
}

/// The actual and the wanted state.
struct Comparison {
    domains: Vec<Domain>,
    /// The wanted host names, in the order of the domains, as are the answers.
    wanted: Vec<Wanted>,
    answers: Vec<verdict::Answered>,
    pending: OptOuts,
    plan: Plan,
    prune: bool,
}

impl Comparison {
    fn warn(&self, zone: &MxZone, about_unexpected: bool) {
        for label in &self.plan.aliases {
            let suffix = &zone.suffix;
            eprintln!("warning: {label}.{suffix} has a CNAME record, so it is not changed");
        }
        if let (Some(first), true, false) =
            (self.plan.unexpected.first(), about_unexpected, self.prune)
        {
            let number = self.plan.unexpected.len();
            eprintln!(
                "warning: {number} host names belong to no known domain, such as {first}.{}; \
                 to remove them: --prune",
                zone.suffix
            );
        }
    }

    fn unknown(&self) -> Option<Failure> {
        let unknown =
            |(_, (answer, _)): &(&Domain, &verdict::Answered)| answer.opt_in == OptIn::Temperror;
        let mut unknown = self.domains.iter().zip(&self.answers).filter(unknown);
        let (domain, (_, reason)) = unknown.next()?;
        let more = match unknown.count() {
            0 => String::new(),
            more => format!(" and of {more} more"),
        };
        let reason = reason.as_deref().unwrap_or("the lookup failed");
        let complaint = anyhow!(
            "the AAAA record of {domain}{more} is not changed, because its opt-in is unknown: \
             {reason}"
        );
        Some(Failure::new(Exit::TempFail, complaint))
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(Exit::Usage, anyhow!("{what} is missing"))
}

fn read_key(file: &Path) -> Result<TsigKey, Failure> {
    let name = file.display();
    let key = TsigKey::read(file).map_err(|error| {
        let exit = match &error {
            KeyError::Unreadable(_) => Exit::NoInput,
            KeyError::Invalid { .. } => Exit::Config,
        };
        Failure::new(exit, anyhow!("{name}:{error}"))
    })?;
    if key.is_world_readable {
        eprintln!("warning: every user of this machine can read {name}; chmod 600 {name}");
    }
    Ok(key)
}

fn primary(
    server: crate::config::DnsServer,
    zone: &Domain,
    suffix: &Domain,
    key: TsigKey,
) -> Result<Primary, Failure> {
    Primary::new(server, zone, suffix, key, TIMEOUT)
        .map_err(|error| Failure::new(Exit::Config, error))
}
