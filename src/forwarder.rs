//! Known forwarders (`exempt.forwarders`): whether a client is verifiably one of them.
//!
//! A forwarder is identified by the SPF record of its domain, which lists its addresses,
//! or by a PTR name that resolves back to the client. Anything the client claims itself,
//! such as its HELO name, proves nothing, and neither does a failed lookup.

use crate::{
    address::{Domain, ReversePath},
    config::{self, Forwarders, HostPattern},
    dns::{Name, Resolve},
    policy::{Confirmation, Forwarder, Ptr},
    ptr::{self, Reverse},
    spf::{self, SpfResult},
};
use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// The result of identifying a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Whether it is a known forwarder.
    pub result: Forwarder,
    /// The proof, if it is a known forwarder.
    pub proof: Option<Proof>,
    /// Why each tried entry does not match, in the order in which this became known.
    pub reasons: Vec<String>,
}

/// The entry of `exempt.forwarders` that matches a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// An entry of `spf_of`, and the matching term of its record.
    Spf {
        /// The domain.
        domain: Domain,
        /// The term, such as `ip6:2001:db8::/32`.
        term: Option<String>,
    },
    /// An entry of `names`, and the matching name of the client.
    Name {
        /// The entry.
        pattern: HostPattern,
        /// The name of the client, which resolves back to it.
        name: Name,
    },
}

impl fmt::Display for Proof {
    /// Writes the entry as in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spf { domain, .. } => write!(f, "spf:{domain}"),
            Self::Name { pattern, .. } => write!(f, "name:{pattern}"),
        }
    }
}

impl fmt::Display for Identified {
    /// Writes the result as in logs: the entry, `none` or `temperror`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.proof, self.result) {
            (Some(proof), _) => proof.fmt(f),
            (None, Forwarder::Temperror) => f.write_str("temperror"),
            (None, Forwarder::Known | Forwarder::Unknown) => f.write_str("none"),
        }
    }
}

impl Identified {
    /// Returns the result for an identification that ran into its deadline.
    pub fn timed_out() -> Self {
        Self {
            result: Forwarder::Temperror,
            proof: None,
            reasons: vec!["no result within the time limit".to_owned()],
        }
    }

    fn known(proof: Proof) -> Self {
        Self {
            result: Forwarder::Known,
            proof: Some(proof),
            reasons: Vec::new(),
        }
    }
}

/// The known forwarders of a configuration.
#[derive(Debug)]
pub struct KnownForwarders {
    config: Forwarders,
    limits: config::Spf,
    open: OpenRecords,
}

impl KnownForwarders {
    /// Creates them from a configuration.
    pub fn new(config: Forwarders, limits: config::Spf) -> Self {
        Self {
            config,
            limits,
            open: OpenRecords::default(),
        }
    }

    /// Identifies a client. Evaluates all domains of `spf_of` concurrently; the caller
    /// sets the deadline.
    pub async fn identify<R: Resolve>(
        self: &Arc<Self>,
        resolver: &Arc<R>,
        client: IpAddr,
        reverse: &Reverse,
    ) -> Identified {
        let mut reasons = Vec::new();
        let mut result = Forwarder::Unknown;
        match self.by_name(&**resolver, client, reverse).await {
            ByName::Proven(proof) => return Identified::known(proof),
            ByName::No(why) => reasons.extend(why),
            ByName::Temperror(why) => {
                result = Forwarder::Temperror;
                reasons.push(why);
            }
        }
        let mut evaluations = JoinSet::new();
        for domain in &self.config.spf_of {
            let (this, resolver) = (Arc::clone(self), Arc::clone(resolver));
            let domain = domain.clone();
            evaluations.spawn(async move { this.by_spf(&*resolver, client, domain).await });
        }
        while let Some(evaluated) = evaluations.join_next().await {
            match evaluated {
                Ok(Ok(proof)) => return Identified::known(proof),
                Ok(Err((of_domain, why))) => {
                    if of_domain == Forwarder::Temperror {
                        result = Forwarder::Temperror;
                    }
                    reasons.push(why);
                }
                // A panic must not become a DNS failure, which `on_dns_failure: accept`
                // would accept: it ends the session, and the MTA defers the message.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_cancelled) => result = Forwarder::Temperror,
                },
            }
        }
        Identified {
            result,
            proof: None,
            reasons,
        }
    }

    /// Compares the names of the client's PTR records. Looks up matching names only, so
    /// that a client can't cause a temporary failure with other names that do not
    /// resolve.
    async fn by_name<R: Resolve>(&self, resolver: &R, client: IpAddr, reverse: &Reverse) -> ByName {
        if self.config.names.is_empty() {
            return ByName::No(None);
        }
        if reverse.result == Ptr::Temperror {
            return ByName::Temperror(format!("PTR: {}", reverse.reason));
        }
        let mut failed = None;
        let mut forged = None;
        for name in reverse.host_names() {
            let mut patterns = self.config.names.iter();
            let Some(pattern) = patterns.find(|pattern| pattern.matches(name)) else {
                continue;
            };
            match ptr::confirm(resolver, client, std::slice::from_ref(name)).await {
                Confirmation::Confirmed => {
                    return ByName::Proven(Proof::Name {
                        pattern: pattern.clone(),
                        name: name.clone(),
                    });
                }
                Confirmation::Unconfirmed => {
                    forged = Some(format!("name:{pattern}: {name} does not lead back to it"));
                }
                Confirmation::Temperror => {
                    failed = Some(format!("name:{pattern}: {name} can't be looked up"));
                }
            }
        }
        match failed {
            Some(why) => ByName::Temperror(why),
            None => ByName::No(
                forged.or_else(|| Some("names: the client has none of these".to_owned())),
            ),
        }
    }

    async fn by_spf<R: Resolve>(
        &self,
        resolver: &R,
        client: IpAddr,
        domain: Domain,
    ) -> Result<Proof, (Forwarder, String)> {
        let outcome = evaluate(resolver, client, &domain, self.limits).await;
        let why = format!("spf:{domain}: {}: {}", outcome.result, outcome.reason);
        match outcome.result {
            SpfResult::Pass => {}
            SpfResult::TempError => return Err((Forwarder::Temperror, why)),
            SpfResult::Fail
            | SpfResult::SoftFail
            | SpfResult::Neutral
            | SpfResult::None
            | SpfResult::PermError => return Err((Forwarder::Unknown, why)),
        }
        match self.open.is_open(resolver, &domain, self.limits).await {
            Some(false) => Ok(Proof::Spf {
                term: outcome.term,
                domain,
            }),
            Some(true) => Err((
                Forwarder::Unknown,
                format!("spf:{domain}: the record passes any client, so it proves nothing"),
            )),
            None => Err((
                Forwarder::Temperror,
                format!("spf:{domain}: whether the record passes any client is unknown"),
            )),
        }
    }
}

enum ByName {
    Proven(Proof),
    No(Option<String>),
    Temperror(String),
}

/// Evaluates the SPF record of `domain` as if it were the sender's domain. Passes no HELO
/// name, because the client chooses it and a record may use it (`%{h}`).
async fn evaluate<R: Resolve>(
    resolver: &R,
    client: IpAddr,
    domain: &Domain,
    limits: config::Spf,
) -> spf::Outcome {
    let sender = ReversePath::parse(&format!("<postmaster@{domain}>"));
    let request = spf::Request {
        client,
        reverse_path: &sender,
        helo: None,
        receiver: "unknown",
    };
    spf::evaluate(resolver, &request, limits).await
}

/// Addresses that no client can have: documentation (RFC 9637) and benchmarking (RFC
/// 5180). A record that passes one of them, by `+all` or a network such as 2000::/3, does
/// not identify a forwarder.
const UNUSED_ADDRESSES: [Ipv6Addr; 2] = [
    Ipv6Addr::new(
        0x3fff, 0xfff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xfffe,
    ),
    Ipv6Addr::new(0x2001, 2, 0, 0xffff, 0xffff, 0xffff, 0xffff, 0xfffe),
];

/// The state of the SPF record of a forwarder's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// The record passes some clients but not all.
    Usable,
    /// The record passes any client, by this term.
    Open(String),
    /// There is no record, or it is invalid.
    Unusable(String),
    /// The lookup failed temporarily.
    Temperror(String),
}

/// Examines the SPF record of a forwarder's domain.
pub async fn examine<R: Resolve>(
    resolver: &R,
    domain: &Domain,
    limits: config::Spf,
) -> RecordState {
    for unused in UNUSED_ADDRESSES {
        let outcome = evaluate(resolver, unused.into(), domain, limits).await;
        match outcome.result {
            SpfResult::Pass => return RecordState::Open(outcome.term.unwrap_or(outcome.reason)),
            SpfResult::TempError => return RecordState::Temperror(outcome.reason),
            SpfResult::None | SpfResult::PermError => {
                return RecordState::Unusable(outcome.reason);
            }
            SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => {}
        }
    }
    RecordState::Usable
}

/// A cache of which records pass any client, with at most one entry per domain of
/// `spf_of`.
#[derive(Debug, Default)]
struct OpenRecords(Mutex<HashMap<Domain, Examined>>);

#[derive(Clone, Copy, Debug)]
struct Examined {
    at: Instant,
    is_open: bool,
    logged_at: Option<Instant>,
}

impl OpenRecords {
    /// The lifetime of an entry. The records themselves are cached by their TTL.
    const KEPT: Duration = Duration::from_secs(60);
    /// The minimum interval between log lines.
    const LOGGED: Duration = Duration::from_secs(60 * 60);

    /// Returns whether a record passes any client; `None` after a temporary failure.
    async fn is_open<R: Resolve>(
        &self,
        resolver: &R,
        domain: &Domain,
        limits: config::Spf,
    ) -> Option<bool> {
        let known = self.lock().get(domain).copied();
        if let Some(known) = known.filter(|known| known.at.elapsed() < Self::KEPT) {
            return Some(known.is_open);
        }
        let is_open = match examine(resolver, domain, limits).await {
            RecordState::Usable => false,
            RecordState::Open(_) => true,
            // The record has just passed the client, so it has changed; in case of doubt
            // it does not exempt.
            RecordState::Unusable(_) | RecordState::Temperror(_) => return None,
        };
        let now = Instant::now();
        let logged_at = known.and_then(|known| known.logged_at);
        let is_due = logged_at.is_none_or(|at| now.duration_since(at) >= Self::LOGGED);
        if is_open && is_due {
            tracing::warn!(
                "exempt.forwarders.spf_of: the SPF record of {domain} passes any client, so it \
                 exempts none"
            );
        }
        let examined = Examined {
            at: now,
            is_open,
            logged_at: if is_open && is_due {
                Some(now)
            } else {
                logged_at
            },
        };
        self.lock().insert(domain.clone(), examined);
        Some(is_open)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Domain, Examined>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
