//! The live resolver: several servers with a failover of our own, behind a cache.
//!
//! hickory does not query a second server when the first returns SERVFAIL or REFUSED, and
//! takes the first answer of several even if it is one of these. So each server has its
//! own resolver, and a temporary failure continues with the next server.

use super::{
    Absence, Answer, Failure, Mx, Name, Purpose, Resolve,
    cache::{Cache, Kind, Question, Record, Timed},
    server::Server,
    system::{ResolvConf, system_servers},
};
use crate::config::{self, DnsServer};
use hickory_resolver::{
    net::NetError,
    proto::rr::{RData, RecordType},
};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

/// The polling interval for `/etc/resolv.conf`. A change takes effect once two polls saw
/// the same file, so that it is not read while it is being written.
const EVERY: Duration = Duration::from_millis(500);

/// The interval at which a missing server in `/etc/resolv.conf` is logged again.
const REMINDER: Duration = Duration::from_secs(3600);

/// A resolver for the configured servers, or those of the system.
pub struct Dns {
    shared: Arc<Shared>,
    cache: Cache,
}

/// The answer of one server to a test query.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    /// The server.
    pub server: DnsServer,
    /// Whether it refused EDNS within the last hour.
    pub refuses_edns: bool,
    /// The response time.
    pub took: Duration,
    /// The failure, if there was no answer.
    pub failure: Option<Failure>,
}

/// Why there is no server to query; the text names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoServer(pub(super) String);

struct Shared {
    config: config::Dns,
    servers: RwLock<Arc<Servers>>,
}

/// The servers that are in use together.
struct Servers {
    servers: Vec<Server>,
    /// Why there is none.
    problem: Option<NoServer>,
    attempts: usize,
    /// The index of the server to query first: the last one that gave a definite answer,
    /// so that an unresponsive server costs its timeout only once.
    preferred: AtomicUsize,
}

impl NoServer {
    /// Creates the result for servers that could not be checked.
    pub fn unchecked(error: &impl fmt::Display) -> Self {
        Self(format!("the DNS servers can't be checked: {error}"))
    }
}

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoServer {}

impl From<NetError> for NoServer {
    fn from(error: NetError) -> Self {
        Self(error.to_string())
    }
}

impl Dns {
    /// Creates a resolver. Sends no packet.
    ///
    /// # Errors
    /// Fails if the system's servers are to be used and there are none, or if hickory
    /// can't be set up.
    pub fn new(config: &config::Dns) -> Result<Self, NoServer> {
        let dns = Self::waiting_for_servers(config)?;
        match &dns.servers().problem {
            Some(problem) => Err(problem.clone()),
            None => Ok(dns),
        }
    }

    /// Creates a resolver for a program that [follows](Self::follow) the servers of the
    /// system. While there are none, lookups fail.
    ///
    /// # Errors
    /// Fails if hickory can't be set up.
    pub fn waiting_for_servers(config: &config::Dns) -> Result<Self, NoServer> {
        let servers = match config.servers.as_slice() {
            [] => system_servers(),
            servers => Ok(servers.to_vec()),
        };
        let servers = match servers {
            Ok(servers) => Servers::new(&servers, config)?,
            Err(problem) => Servers {
                problem: Some(problem),
                ..Servers::new(&[], config)?
            },
        };
        Ok(Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                servers: RwLock::new(Arc::new(servers)),
            }),
            cache: Cache::new(config.cache_capacity()),
        })
    }

    /// Takes over the servers of the previous resolver if the system lists none now.
    #[must_use]
    pub fn inherit_from(self, old: &Self) -> Self {
        let is_lost = self.servers().problem.is_some() && self.shared.config.servers.is_empty();
        if is_lost && old.shared.config.servers.is_empty() {
            self.shared.replace(old.servers());
        }
        self
    }

    /// Follows `/etc/resolv.conf` in the background until the resolver is dropped. Does
    /// nothing if servers are configured. Must be called in a tokio runtime.
    pub fn follow(&self) {
        if self.shared.config.servers.is_empty() {
            tokio::spawn(follow(Arc::downgrade(&self.shared)));
        }
    }

    /// Returns the servers that refused EDNS within the last hour.
    pub fn servers_without_edns(&self) -> Vec<DnsServer> {
        let servers = self.servers();
        let refusing = servers.servers.iter().filter(|s| s.refuses_edns());
        refusing.map(|server| server.address().clone()).collect()
    }

    /// Queries all servers concurrently for the names of an address, without the cache.
    ///
    /// # Errors
    /// Fails if there are no servers.
    pub async fn check_servers(&self, address: IpAddr) -> Result<Vec<ServerHealth>, NoServer> {
        let servers = self.servers();
        if let Some(problem) = &servers.problem {
            return Err(problem.clone());
        }
        let name = Name::reverse(address);
        let mut checks = JoinSet::new();
        for index in 0..servers.servers.len() {
            let (servers, name) = (Arc::clone(&servers), name.clone());
            checks.spawn(async move {
                let server = &servers.servers[index];
                let start = Instant::now();
                let timed = server.query(&name, RecordType::PTR).await;
                let health = ServerHealth {
                    server: server.address().clone(),
                    refuses_edns: server.refuses_edns(),
                    took: start.elapsed(),
                    failure: match timed.answer {
                        Answer::Found(_) | Answer::Absent(_) => None,
                        Answer::Temperror(failure) => Some(failure),
                    },
                };
                (index, health)
            });
        }
        let mut found = checks.join_all().await;
        found.sort_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, health)| health).collect())
    }

    fn servers(&self) -> Arc<Servers> {
        self.shared.servers()
    }

    /// Returns the records of a name, from the cache or the servers.
    async fn records<T: Record>(
        &self,
        kind: Kind,
        name: &Name,
        rtype: RecordType,
        convert: fn(RData) -> Option<T>,
    ) -> Answer<T> {
        let query = async { self.query(name, rtype).await.filter_map(convert) };
        let question = Question::Name(kind, name);
        let timed = self.cache.get_or_query(question, Timed::clone, query);
        timed.await.answer
    }

    async fn query(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        let servers = self.servers();
        // Boxed, so that a lookup answered from the cache does not reserve kilobytes for
        // it.
        Box::pin(async move { servers.query(name, rtype).await }).await
    }
}

impl Shared {
    fn servers(&self) -> Arc<Servers> {
        Arc::clone(&self.servers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, servers: Arc<Servers>) {
        *self.servers.write().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// Switches to the servers that `/etc/resolv.conf` now lists.
    fn take(&self, servers: &[DnsServer], was_failing: bool) {
        let old = self.servers();
        let is_same = old.servers.iter().map(Server::address).eq(servers);
        if !is_same {
            match Servers::new(servers, &self.config) {
                Ok(servers) => self.replace(Arc::new(servers)),
                Err(error) => {
                    tracing::error!("/etc/resolv.conf: {error}; the last DNS servers stay in use");
                    return;
                }
            }
        }
        if !is_same || was_failing {
            let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
            tracing::info!("/etc/resolv.conf: the DNS servers are {}", names.join(", "));
        }
    }

    fn log(&self, problem: &NoServer) {
        match self.servers().servers.len() {
            0 => tracing::error!("{problem}; mail can't be checked until then"),
            _ => tracing::error!("{problem}; the last good DNS servers stay in use"),
        }
    }
}

async fn follow(shared: Weak<Shared>) {
    let mut file = ResolvConf::unread();
    let mut failing: Option<(NoServer, Instant)> = None;
    loop {
        sleep(EVERY).await;
        let look = spawn_blocking(move || {
            let found = file.poll();
            (file, found)
        });
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let Ok((looked, found)) = look.await else {
            // The task panicked; the panic hook has logged it.
            file = ResolvConf::unread();
            continue;
        };
        file = looked;
        match found {
            Some(Ok(servers)) => {
                shared.take(&servers, failing.take().is_some());
            }
            Some(Err(problem)) if failing.as_ref().is_none_or(|(last, _)| *last != problem) => {
                shared.log(&problem);
                failing = Some((problem, Instant::now()));
            }
            Some(Err(_)) | None => {
                if let Some((problem, logged)) = &mut failing
                    && logged.elapsed() >= REMINDER
                {
                    shared.log(problem);
                    *logged = Instant::now();
                }
            }
        }
    }
}

impl Servers {
    fn new(addresses: &[DnsServer], config: &config::Dns) -> Result<Self, NetError> {
        let servers = addresses.iter();
        Ok(Self {
            servers: servers
                .map(|address| Server::new(address, config))
                .collect::<Result<_, _>>()?,
            problem: None,
            attempts: config.attempts.max(1),
            preferred: AtomicUsize::new(0),
        })
    }

    async fn query(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        if let Some(problem) = &self.problem {
            return Timed::uncached(Answer::Temperror(Failure::Other(problem.to_string())));
        }
        let mut failure = Failure::Timeout;
        for _ in 0..self.attempts {
            let timed = self.query_each(name, rtype).await;
            match timed.answer {
                Answer::Temperror(Failure::Timeout) => {}
                // All servers have been queried: asking again would only repeat it.
                Answer::Temperror(said) => {
                    failure = said;
                    break;
                }
                Answer::Found(_) | Answer::Absent(_) => return timed,
            }
        }
        Timed::uncached(Answer::Temperror(failure))
    }

    /// Returns the first definite answer; if there is none, the failure of a server that
    /// answered is preferred to a timeout.
    async fn query_each(&self, name: &Name, rtype: RecordType) -> Timed<RData> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = Failure::Timeout;
        for turn in 0..self.servers.len() {
            let index = (first + turn) % self.servers.len();
            let timed = self.servers[index].query(name, rtype).await;
            match timed.answer {
                Answer::Temperror(Failure::Timeout) => {}
                Answer::Temperror(said) => failure = said,
                Answer::Found(_) | Answer::Absent(_) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return timed;
                }
            }
        }
        Timed::uncached(Answer::Temperror(failure))
    }
}

impl Resolve for Dns {
    async fn txt(&self, name: &Name, purpose: Purpose) -> Answer<Vec<u8>> {
        let query = async {
            let answer = self.query(name, RecordType::TXT).await;
            answer.filter_map(|data| match data {
                RData::TXT(txt) => Some(txt.txt_data.concat()),
                _ => None,
            })
        };
        let question = Question::Name(Kind::Txt(purpose), name);
        let trim = |fresh: &Timed<_>| fresh.trimmed(purpose);
        self.cache.get_or_query(question, trim, query).await.answer
    }

    async fn a(&self, name: &Name) -> Answer<Ipv4Addr> {
        let convert = |data| match data {
            RData::A(a) => Some(a.0),
            _ => None,
        };
        self.records(Kind::A, name, RecordType::A, convert).await
    }

    async fn aaaa(&self, name: &Name) -> Answer<Ipv6Addr> {
        let convert = |data| match data {
            RData::AAAA(aaaa) => Some(aaaa.0),
            _ => None,
        };
        self.records(Kind::Aaaa, name, RecordType::AAAA, convert)
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
        self.records(Kind::Mx, name, RecordType::MX, convert).await
    }

    async fn ptr(&self, ip: IpAddr) -> Answer<Name> {
        let query = async {
            let answer = self.query(&Name::reverse(ip), RecordType::PTR).await;
            answer.filter_map(|data| match data {
                RData::PTR(ptr) => Some(Name::from_record(ptr.0)),
                _ => None,
            })
        };
        let question = Question::Address(ip);
        let timed = self.cache.get_or_query(question, Timed::clone, query);
        timed.await.answer
    }

    async fn is_denied(&self, name: &Name) -> Result<bool, Failure> {
        let query = async {
            let answer = self.query(name, RecordType::SOA).await;
            answer.filter_map(|_| Some(()))
        };
        let question = Question::Name(Kind::Soa, name);
        let timed = self.cache.get_or_query(question, Timed::clone, query).await;
        match timed.answer {
            Answer::Found(_) | Answer::Absent(Absence::NoData) => Ok(false),
            // An expiry is known only if the answer has the SOA record.
            Answer::Absent(Absence::NxDomain) => Ok(timed.keep_until.is_some()),
            Answer::Temperror(failure) => Err(failure),
        }
    }
}
