//! One DNS server: hickory's resolver for it, and the fallback to queries without
//! EDNS (RFC 6891 section 7).

use super::{
    Absence, Answer, Failure, Name, Records,
    cache::Timed,
    socket::{self, LastError, Sockets},
};
use crate::config::{self, DnsServer};
use hickory_resolver::{
    Resolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
};
use rustls::{ClientConfig, RootCertStore};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The maximum time for which a negative answer is cached (RFC 2308 section 5).
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(24 * 3600);

/// How long queries to a server that refused EDNS omit it.
const WITHOUT_EDNS: Duration = Duration::from_secs(3600);

/// A DNS server and its known limitations.
pub(super) struct Server {
    address: DnsServer,
    with_edns: Resolver<Sockets>,
    without_edns: Resolver<Sockets>,
    last_error: LastError,
    timeout: Duration,
    start: Instant,
    /// The end of the time without EDNS, in seconds after `start`.
    plain_until: AtomicU64,
}

impl Server {
    pub(super) fn new(address: &DnsServer, config: &config::Dns) -> Result<Self, NetError> {
        let sockets = Sockets::new(address);
        let resolver = |edns| {
            let connections =
                [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
            let server = NameServerConfig::new(address.ip(), true, connections.into());
            let servers = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let mut builder = Resolver::builder_with_config(servers, sockets.clone());
            *builder.options_mut() = resolver_opts(config, edns);
            builder.with_tls_config(no_certificates()?).build()
        };
        Ok(Self {
            address: address.clone(),
            with_edns: resolver(true)?,
            without_edns: resolver(false)?,
            last_error: sockets.last_error().clone(),
            timeout: config.timeout,
            start: Instant::now(),
            plain_until: AtomicU64::new(0),
        })
    }

    pub(super) fn address(&self) -> &DnsServer {
        &self.address
    }

    /// Returns whether the server refused EDNS within the last hour.
    pub(super) fn refuses_edns(&self) -> bool {
        self.start.elapsed().as_secs() < self.plain_until.load(Ordering::Relaxed)
    }

    /// Queries the server. Takes at most `dns.timeout`, even if both UDP and TCP or both
    /// kinds of queries are needed.
    pub(super) async fn query(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        let answer = async {
            if self.refuses_edns() {
                return self.query_with(&self.without_edns, name, rtype).await;
            }
            let answer = self.query_with(&self.with_edns, name, rtype).await;
            match refusal_of_edns(&answer) {
                Some(code) => self.query_without_edns(name, rtype, code).await,
                None => answer,
            }
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(lookup)) => records(&lookup, rtype),
            Ok(Err(error)) => self.no_records(&error),
            Err(_elapsed) => failure(Failure::Timeout),
        }
    }

    async fn query_with(
        &self,
        resolver: &Resolver<Sockets>,
        name: &Name,
        rtype: RecordType,
    ) -> Result<Lookup, NetError> {
        resolver.lookup(name.as_record().clone(), rtype).await
    }

    /// Repeats a query without EDNS, and remembers the server if this helps. If it does
    /// not, the error may come from the servers of one domain, and the resolver only
    /// forwarded it.
    async fn query_without_edns(
        &self,
        name: &Name,
        rtype: RecordType,
        code: ResponseCode,
    ) -> Result<Lookup, NetError> {
        let answer = self.query_with(&self.without_edns, name, rtype).await;
        if answer.is_ok() || answer.as_ref().is_err_and(NetError::is_no_records_found) {
            let until = self.start.elapsed() + WITHOUT_EDNS;
            let plain_until = self.plain_until.swap(until.as_secs(), Ordering::Relaxed);
            // Logs only once if many queries are in progress.
            if plain_until <= self.start.elapsed().as_secs() {
                tracing::warn!(
                    "DNS server {} refuses EDNS ({}); it is asked without for an hour",
                    self.address,
                    response_code(code)
                );
            }
        }
        answer
    }

    fn no_records(&self, error: &NetError) -> Timed<RData> {
        let (absence, negative_ttl) = match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => (Absence::NxDomain, none.negative_ttl),
                ResponseCode::NoError => (Absence::NoData, none.negative_ttl),
                code => return failure(response_code(code)),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => return failure(response_code(*code)),
            NetError::Timeout => return failure(Failure::Timeout),
            NetError::Io(error) => return failure(socket::failure(error)),
            // hickory discards the socket's error when no server is left.
            NetError::NoConnections => {
                let error = self.last_error.get();
                return failure(error.unwrap_or(Failure::Other("no connection".to_owned())));
            }
            other => return failure(Failure::Other(other.to_string())),
        };
        let ttl = negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
        Timed {
            answer: Answer::Absent(absence),
            keep_until: ttl.map(|ttl| Instant::now() + ttl.min(MAX_NEGATIVE_TTL)),
        }
    }
}

/// Returns the response code if it means that the server does not support EDNS version 0.
fn refusal_of_edns(answer: &Result<Lookup, NetError>) -> Option<ResponseCode> {
    match answer {
        Err(NetError::Dns(DnsError::ResponseCode(code))) => match u16::from(*code) {
            FORMERR | NOTIMP | BADVERS => Some(*code),
            _ => None,
        },
        _ => None,
    }
}

const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
/// The same code as BADSIG, which only TSIG uses (RFC 6891 section 9).
const BADVERS: u16 = 16;

/// Returns an empty TLS configuration, as the resolver never uses TLS. The default one
/// would read all CA certificates of the system for each resolver.
fn no_certificates() -> Result<ClientConfig, NetError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| NetError::from(error.to_string()))?
        .with_root_certificates(RootCertStore::empty());
    Ok(config.with_no_client_auth())
}

fn resolver_opts(config: &config::Dns, edns: bool) -> ResolverOpts {
    let mut opts = ResolverOpts::default();
    opts.timeout = config.timeout;
    opts.attempts = 0;
    opts.num_concurrent_reqs = 1;
    opts.edns0 = edns;
    // Disabled in favor of our own cache.
    opts.cache_size = 0;
    opts.use_hosts_file = ResolveHosts::Never;
    opts
}

fn records(lookup: &Lookup, rtype: RecordType) -> Timed<RData> {
    // The answer section also contains the aliases (CNAME).
    let of_type = lookup.answers().iter().filter(|r| r.record_type() == rtype);
    let records: Vec<RData> = of_type.map(|record| record.data.clone()).collect();
    let valid_until = lookup.valid_until();
    Timed {
        answer: match records.is_empty() {
            true => Answer::Absent(Absence::NoData),
            false => Answer::Found(Records {
                records,
                valid_until,
            }),
        },
        keep_until: Some(valid_until),
    }
}

fn failure(failure: Failure) -> Timed<RData> {
    Timed::uncached(Answer::Temperror(failure))
}

/// Names the response code as in the IANA registry of DNS parameters.
fn response_code(code: ResponseCode) -> Failure {
    match code {
        ResponseCode::ServFail => Failure::ServFail,
        ResponseCode::Refused => Failure::Refused,
        other => Failure::Other(match u16::from(other) {
            FORMERR => "FORMERR".to_owned(),
            NOTIMP => "NOTIMP".to_owned(),
            BADVERS => "BADVERS".to_owned(),
            _ => other.to_string(),
        }),
    }
}
