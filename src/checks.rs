//! The checks: lookups with a deadline, started in the background and awaited when a rule
//! needs their result.
//!
//! A check that exceeds its deadline is a temperror. Decisions are made by `policy`.

mod metrics;
mod pending;

pub use pending::Pending;

use crate::{
    address::{Domain, ReversePath},
    config::{self, Config},
    dkim,
    dns::Resolve,
    forwarder::{Identified, KnownForwarders},
    opt_in,
    policy::Confirmation,
    ptr::{self, Reverse},
    spf,
};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

/// The checks of a configuration, with its resolver, opt-in sources and caches.
#[derive(Debug)]
pub struct Checks<R> {
    resolver: Arc<R>,
    opt_in: opt_in::Sources,
    keys: Arc<dkim::KeyCache>,
    forwarders: Arc<KnownForwarders>,
    spf_limits: config::Spf,
    dkim_limits: config::Dkim,
    timeout: Duration,
}

/// The sender of a mail transaction, for SPF.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The client's address.
    pub client: IpAddr,
    /// The MAIL FROM identity, or the null reverse-path.
    pub reverse_path: ReversePath,
    /// The name of HELO or EHLO.
    pub helo: Option<String>,
}

impl<R: Resolve> Checks<R> {
    /// Creates the checks of a configuration.
    pub fn new(config: &Config, opt_in: opt_in::Sources, resolver: R) -> Self {
        Self {
            resolver: Arc::new(resolver),
            opt_in,
            keys: Arc::default(),
            forwarders: Arc::new(KnownForwarders::new(config.forwarders.clone(), config.spf)),
            spf_limits: config.spf,
            dkim_limits: config.dkim,
            timeout: config.limits.stage_timeout,
        }
    }

    /// Returns the resolver that all checks use.
    pub fn resolver(&self) -> &R {
        &self.resolver
    }

    /// Returns the opt-in sources.
    pub fn opt_in_sources(&self) -> &opt_in::Sources {
        &self.opt_in
    }

    /// Looks up whether a recipient's domain has opted in to mail over IPv6; `None` is a
    /// recipient without a domain.
    pub async fn opt_in(&self, domain: Option<&Domain>) -> opt_in::Answer {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let answer = self.opt_in.query(&self.resolver, deadline, domain).await;
        metrics::opt_in(&answer, start.elapsed());
        answer
    }

    /// Starts the PTR lookup of an address, followed by the address lookups of its names. Both
    /// share one deadline.
    pub fn reverse(&self, ip: IpAddr) -> (Pending<Reverse>, Pending<Confirmation>) {
        let deadline = self.deadline();
        let (names_to, names_from) = oneshot::channel();
        let resolver = Arc::clone(&self.resolver);
        let reverse = Pending::start(metrics::ptr, async move {
            match timeout_at(deadline, ptr::look_up(&*resolver, ip)).await {
                Ok(reverse) => {
                    // Fails if the confirmation was dropped.
                    let _ = names_to.send(reverse.host_names().to_vec());
                    reverse
                }
                Err(_elapsed) => Reverse::timed_out(),
            }
        });
        let resolver = Arc::clone(&self.resolver);
        let confirmation = Pending::start(metrics::confirmation, async move {
            let confirmation = timeout_at(deadline, async {
                match names_from.await {
                    Ok(names) => ptr::confirm(&*resolver, ip, &names).await,
                    Err(_timed_out) => Confirmation::Temperror,
                }
            });
            confirmation.await.unwrap_or(Confirmation::Temperror)
        });
        (reverse, confirmation)
    }

    /// Starts the evaluation of SPF.
    pub fn spf(&self, sender: Sender) -> Pending<spf::Outcome> {
        self.evaluate_spf(sender, metrics::spf)
    }

    /// Starts the SPF evaluation of the HELO identity (RFC 7208 section 2.3).
    pub fn helo_spf(&self, client: IpAddr, helo: &str) -> Pending<spf::Outcome> {
        let sender = Sender {
            client,
            reverse_path: ReversePath::Null,
            helo: Some(helo.to_owned()),
        };
        self.evaluate_spf(sender, metrics::helo_spf)
    }

    fn evaluate_spf(
        &self,
        sender: Sender,
        record: fn(&spf::Outcome, Duration),
    ) -> Pending<spf::Outcome> {
        let (deadline, limits) = (self.deadline(), self.spf_limits);
        let resolver = Arc::clone(&self.resolver);
        Pending::start(record, async move {
            let request = request(&sender);
            let outcome = timeout_at(deadline, spf::evaluate(&*resolver, &request, limits)).await;
            outcome.unwrap_or_else(|_elapsed| spf::Outcome::timed_out(&request))
        })
    }

    /// Starts to compare the client with the known forwarders. The deadline counts from
    /// `since`, when the MTA began to wait, because it has already waited for SPF.
    pub fn forwarder(
        &self,
        client: IpAddr,
        reverse: Reverse,
        since: std::time::Instant,
    ) -> Pending<Identified> {
        let deadline = Instant::from_std(since) + self.timeout;
        let (forwarders, resolver) = (Arc::clone(&self.forwarders), Arc::clone(&self.resolver));
        Pending::start(metrics::forwarder, async move {
            let identified = forwarders.identify(&resolver, client, &reverse);
            let identified = timeout_at(deadline, identified).await;
            identified.unwrap_or_else(|_elapsed| Identified::timed_out())
        })
    }

    /// Evaluates SPF and returns a trace of the evaluation, for `sixgate explain`.
    pub async fn spf_explained(&self, sender: &Sender) -> (spf::Outcome, spf::Trace) {
        let mut trace = spf::Trace::default();
        let request = request(sender);
        let evaluation = spf::explain(&*self.resolver, &request, self.spf_limits, &mut trace);
        let outcome = match timeout(self.timeout, evaluation).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => spf::Outcome::timed_out(&request),
        };
        (outcome, trace)
    }

    /// Returns the settings to verify a message at this moment.
    pub fn dkim_settings(&self) -> dkim::Settings {
        dkim::Settings {
            max_signatures: self.dkim_limits.max_signatures,
            min_rsa_bits: self.dkim_limits.min_rsa_bits,
            now: SystemTime::now(),
        }
    }

    /// Starts to look up the keys of the usable signatures. Keys that do not arrive before the
    /// deadline are missing from the result.
    pub fn dkim_keys(&self, verification: &dkim::Verification) -> Pending<dkim::Keys> {
        let resolver = Arc::clone(&self.resolver);
        let cache = Arc::clone(&self.keys);
        let names = verification.key_names();
        let deadline = self.deadline().into_std();
        // `fetch_keys` applies the deadline itself, and returns the keys that have arrived.
        Pending::start(metrics::keys, async move {
            dkim::fetch_keys(&resolver, &cache, &names, deadline).await
        })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

fn request(sender: &Sender) -> spf::Request<'_> {
    spf::Request {
        client: sender.client,
        reverse_path: &sender.reverse_path,
        helo: sender.helo.as_deref(),
        receiver: "unknown",
    }
}
