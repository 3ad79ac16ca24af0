//! The live checks: each one a look-up with a deadline, started in the
//! background and waited for when a rule needs it.
//!
//! What runs out of time is a temperror. Nothing is decided here.

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

/// Everything that can be asked about a mail.
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

/// The sender of a mail transaction, as SPF is asked about it.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The client's address.
    pub client: IpAddr,
    /// The MAIL FROM identity, or the null reverse-path.
    pub reverse_path: ReversePath,
    /// The name given at HELO or EHLO.
    pub helo: Option<String>,
}

impl<R: Resolve> Checks<R> {
    /// Makes the checks that a configuration asks for.
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

    /// The resolver that all checks ask.
    pub fn resolver(&self) -> &R {
        &self.resolver
    }

    /// The sources that tell who opted in.
    pub fn opt_in_sources(&self) -> &opt_in::Sources {
        &self.opt_in
    }

    /// Whether a recipient's domain takes mail over IPv6.
    pub async fn opt_in(&self, domain: Option<&Domain>) -> opt_in::Answer {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let answer = self.opt_in.query(&self.resolver, deadline, domain).await;
        metrics::opt_in(&answer, start.elapsed());
        answer
    }

    /// Starts the reverse look-up of an address, and behind it the look-up of
    /// its names; both share one deadline.
    pub fn reverse(&self, ip: IpAddr) -> (Pending<Reverse>, Pending<Confirmation>) {
        let deadline = self.deadline();
        let (names_to, names_from) = oneshot::channel();
        let resolver = Arc::clone(&self.resolver);
        let reverse = Pending::start(metrics::ptr, async move {
            match timeout_at(deadline, ptr::look_up(&*resolver, ip)).await {
                Ok(reverse) => {
                    // Nobody may want the confirmation any more.
                    let _ = names_to.send(reverse.host_names().to_vec());
                    reverse
                }
                Err(_too_late) => Reverse::timed_out(),
            }
        });
        let resolver = Arc::clone(&self.resolver);
        let confirmation = Pending::start(metrics::confirmation, async move {
            let confirmation = timeout_at(deadline, async {
                match names_from.await {
                    Ok(names) => ptr::confirm(&*resolver, ip, &names).await,
                    Err(_gave_up) => Confirmation::Temperror,
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

    /// Starts that of the HELO name by itself (RFC 7208 section 2.3).
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
        found: fn(&spf::Outcome, Duration),
    ) -> Pending<spf::Outcome> {
        let (deadline, limits) = (self.deadline(), self.spf_limits);
        let resolver = Arc::clone(&self.resolver);
        Pending::start(found, async move {
            let request = request(&sender);
            let outcome = timeout_at(deadline, spf::evaluate(&*resolver, &request, limits)).await;
            outcome.unwrap_or_else(|_too_late| spf::Outcome::timed_out(&request))
        })
    }

    /// Starts to compare the client with the known forwarders. `since` is when the MTA
    /// began to wait: it has waited for SPF already.
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
            identified.unwrap_or_else(|_too_late| Identified::timed_out())
        })
    }

    /// Evaluates SPF and tells each step, for people.
    pub async fn spf_explained(&self, sender: &Sender) -> (spf::Outcome, spf::Trace) {
        let mut trace = spf::Trace::default();
        let request = request(sender);
        let evaluation = spf::explain(&*self.resolver, &request, self.spf_limits, &mut trace);
        let outcome = match timeout(self.timeout, evaluation).await {
            Ok(outcome) => outcome,
            Err(_too_late) => spf::Outcome::timed_out(&request),
        };
        (outcome, trace)
    }

    /// How to verify a message now.
    pub fn dkim_settings(&self) -> dkim::Settings {
        dkim::Settings {
            max_signatures: self.dkim_limits.max_signatures,
            min_rsa_bits: self.dkim_limits.min_rsa_bits,
            now: SystemTime::now(),
        }
    }

    /// Starts to fetch the keys of the signatures that are worth verifying.
    /// Those that do not come in time are missing from the result.
    pub fn dkim_keys(&self, verification: &dkim::Verification) -> Pending<dkim::Keys> {
        let resolver = Arc::clone(&self.resolver);
        let cache = Arc::clone(&self.keys);
        let names = verification.key_names();
        let deadline = self.deadline().into_std();
        // The fetch itself ends in time, with the keys that it has by then.
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
