//! The live resolver over hickory, with a failover of our own.
//!
//! hickory does not ask a second server when the first says SERVFAIL or
//! REFUSED, and takes the first answer of several even if it is one of these.
//! So each server has a resolver of its own, and a temporary result moves on to
//! the next server.

use crate::config;

use super::{
    Absence, Answer, Failure, Mx, Name, Records, Resolve,
    cache::{Cache, Timed},
    system_servers,
};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
};
use rustls::{ClientConfig, RootCertStore};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The longest that the absence of a record is believed (RFC 2308 section 5).
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(24 * 3600);

/// Resolves names through the configured servers.
pub struct Dns {
    /// Never empty.
    servers: Vec<Server>,
    attempts: usize,
    /// Index of the server to ask first: the last one that gave a definite
    /// answer, so that a dead server costs its time-out once and not each time.
    preferred: AtomicUsize,
    kept: Kept,
}

/// What was answered before.
struct Kept {
    txt: Cache<Name, Vec<u8>>,
    a: Cache<Name, Ipv4Addr>,
    aaaa: Cache<Name, Ipv6Addr>,
    mx: Cache<Name, Mx>,
    ptr: Cache<IpAddr, Name>,
    soa: Cache<Name, ()>,
}

struct Server {
    resolver: TokioResolver,
    timeout: Duration,
}

impl Dns {
    /// Makes a resolver. No packet is sent.
    ///
    /// # Errors
    /// When the system's servers are wanted and it names none, or hickory can't
    /// be set up.
    pub fn new(config: &config::Dns) -> Result<Self, NetError> {
        let addresses = match config.servers.as_slice() {
            [] => system_servers()?,
            servers => servers.to_vec(),
        };
        if addresses.is_empty() {
            return Err(NetError::Message("the system names no DNS server"));
        }
        let servers = addresses.into_iter();
        Ok(Self {
            servers: servers
                .map(|address| Server::new(address, config))
                .collect::<Result<_, _>>()?,
            attempts: config.attempts.max(1),
            preferred: AtomicUsize::new(0),
            kept: Kept::new(usize::try_from(config.cache_entries).unwrap_or(usize::MAX)),
        })
    }

    /// The records of a name that are kept, or those that the servers have.
    async fn records<T: Clone>(
        &self,
        kept: &Cache<Name, T>,
        name: &Name,
        rtype: RecordType,
        convert: fn(RData) -> Option<T>,
    ) -> Answer<T> {
        let ask = async { self.ask(name, rtype).await.filter_map(convert) };
        kept.answer(name, ask).await
    }

    async fn ask(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        // Kilobytes that are no part of the future that finds an answer kept.
        Box::pin(self.ask_in_attempts(name, rtype)).await
    }

    async fn ask_in_attempts(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        let mut failure = Failure::Timeout;
        for _ in 0..self.attempts {
            let timed = self.ask_each_server(name, rtype).await;
            match timed.answer {
                Answer::Temperror(Failure::Timeout) => {}
                // All servers had their say: asking again would only repeat it.
                Answer::Temperror(said) => {
                    failure = said;
                    break;
                }
                Answer::Found(_) | Answer::Absent(_) => return timed,
            }
        }
        Timed::unkept(Answer::Temperror(failure))
    }

    /// The first definite answer; else what the servers said, where a word is
    /// preferred to silence.
    async fn ask_each_server(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = Failure::Timeout;
        for turn in 0..self.servers.len() {
            let index = (first + turn) % self.servers.len();
            let timed = self.servers[index].ask(name, rtype).await;
            match timed.answer {
                Answer::Temperror(Failure::Timeout) => {}
                Answer::Temperror(said) => failure = said,
                Answer::Found(_) | Answer::Absent(_) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return timed;
                }
            }
        }
        Timed::unkept(Answer::Temperror(failure))
    }
}

impl Kept {
    fn new(capacity: usize) -> Self {
        Self {
            txt: Cache::new(capacity),
            a: Cache::new(capacity),
            aaaa: Cache::new(capacity),
            mx: Cache::new(capacity),
            ptr: Cache::new(capacity),
            soa: Cache::new(capacity),
        }
    }
}

impl Server {
    fn new(address: SocketAddr, config: &config::Dns) -> Result<Self, NetError> {
        let connections =
            [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
        let server = NameServerConfig::new(address.ip(), true, connections.into());
        let servers = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = Resolver::builder_with_config(servers, TokioRuntimeProvider::default());
        *builder.options_mut() = resolver_opts(config);
        Ok(Self {
            resolver: builder.with_tls_config(no_certificates()?).build()?,
            timeout: config.timeout,
        })
    }

    async fn ask(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        let lookup = self.resolver.lookup(name.as_record().clone(), rtype);
        // hickory's own time-out is per connection attempt; UDP that falls back
        // to TCP could take it twice.
        match tokio::time::timeout(self.timeout, lookup).await {
            Ok(Ok(lookup)) => records(&lookup, rtype),
            Ok(Err(error)) => no_records(&error),
            Err(_elapsed) => failure(Failure::Timeout),
        }
    }
}

/// For a resolver that never speaks TLS; by default it reads the certificates of
/// all authorities that the system trusts, each time one is made.
fn no_certificates() -> Result<ClientConfig, NetError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| NetError::from(error.to_string()))?
        .with_root_certificates(RootCertStore::empty());
    Ok(config.with_no_client_auth())
}

fn resolver_opts(config: &config::Dns) -> ResolverOpts {
    let mut opts = ResolverOpts::default();
    opts.timeout = config.timeout;
    opts.attempts = 0;
    opts.num_concurrent_reqs = 1;
    // See `Kept`.
    opts.cache_size = 0;
    opts.use_hosts_file = ResolveHosts::Never;
    opts
}

fn records(lookup: &Lookup, rtype: RecordType) -> Timed<RData> {
    // The answer section also has the aliases on the way.
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

fn no_records(error: &NetError) -> Timed<RData> {
    let (absence, negative_ttl) = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => (Absence::NxDomain, none.negative_ttl),
            ResponseCode::NoError => (Absence::NoData, none.negative_ttl),
            code => return failure(response_code(code)),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => return failure(response_code(*code)),
        NetError::Timeout => return failure(Failure::Timeout),
        other => return failure(Failure::Other(other.to_string())),
    };
    let ttl = negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
    Timed {
        answer: Answer::Absent(absence),
        keep_until: ttl.map(|ttl| Instant::now() + ttl.min(MAX_NEGATIVE_TTL)),
    }
}

fn failure(failure: Failure) -> Timed<RData> {
    Timed::unkept(Answer::Temperror(failure))
}

fn response_code(code: ResponseCode) -> Failure {
    match code {
        ResponseCode::ServFail => Failure::ServFail,
        ResponseCode::Refused => Failure::Refused,
        other => Failure::Other(other.to_string()),
    }
}

impl Resolve for Dns {
    async fn txt(&self, name: &Name) -> Answer<Vec<u8>> {
        let convert = |data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        };
        self.records(&self.kept.txt, name, RecordType::TXT, convert)
            .await
    }

    async fn a(&self, name: &Name) -> Answer<Ipv4Addr> {
        let convert = |data| match data {
            RData::A(a) => Some(a.0),
            _ => None,
        };
        self.records(&self.kept.a, name, RecordType::A, convert)
            .await
    }

    async fn aaaa(&self, name: &Name) -> Answer<Ipv6Addr> {
        let convert = |data| match data {
            RData::AAAA(aaaa) => Some(aaaa.0),
            _ => None,
        };
        self.records(&self.kept.aaaa, name, RecordType::AAAA, convert)
            .await
    }

    async fn mx(&self, name: &Name) -> Answer<Mx> {
        let convert = |data| match data {
            RData::MX(mx) => Some(Mx {
                preference: mx.preference,
                exchange: Name::from_record(mx.exchange),
            }),
            _ => None,
        };
        self.records(&self.kept.mx, name, RecordType::MX, convert)
            .await
    }

    async fn ptr(&self, ip: IpAddr) -> Answer<Name> {
        let ask = async {
            let answer = self.ask(&Name::reverse(ip), RecordType::PTR).await;
            answer.filter_map(|data| match data {
                RData::PTR(ptr) => Some(Name::from_record(ptr.0)),
                _ => None,
            })
        };
        self.kept.ptr.answer(&ip, ask).await
    }

    async fn is_denied(&self, name: &Name) -> Result<bool, Failure> {
        let ask = async {
            let answer = self.ask(name, RecordType::SOA).await;
            answer.filter_map(|_| Some(()))
        };
        let timed = self.kept.soa.timed(name, ask).await;
        match timed.answer {
            Answer::Found(_) | Answer::Absent(Absence::NoData) => Ok(false),
            // How long it may be kept is told by the record alone.
            Answer::Absent(Absence::NxDomain) => Ok(timed.keep_until.is_some()),
            Answer::Temperror(failure) => Err(failure),
        }
    }
}
