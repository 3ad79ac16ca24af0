//! A Redis server or cluster, and the connection to it.

use super::RedisFailure;
use crate::{
    config::{self, RedisPlace, RedisTls, RedisUrl},
    password_file,
};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    FromRedisValue, IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisResult,
    TlsCertificates, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::Instant};

/// How long a failed server is tried only after the others.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The maximum idle time of a connection. Firewalls silently drop connections that are
/// idle for longer, and the query would run into the timeout.
const MAX_IDLE: Duration = Duration::from_secs(300);

/// The timeouts of the crate, which do not matter: each call has its own.
const LONG: Duration = Duration::from_secs(120);

/// One server, or the nodes of one cluster.
pub(super) struct Server {
    /// One URL, or the initial nodes of a cluster.
    urls: Vec<RedisUrl>,
    is_cluster: bool,
    name: String,
    password_file: Option<PathBuf>,
    open: Mutex<Option<Open>>,
    /// Lets one task connect while the others wait. Holds the time and reason of the last
    /// failure.
    connecting: tokio::sync::Mutex<Option<(Instant, RedisFailure)>>,
    failed: Mutex<Option<Instant>>,
}

struct Open {
    connection: Connection,
    used: Instant,
}

/// A connection, shared by concurrent queries. Replies come in their order; the reply to
/// a canceled query is dropped.
#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A command or pipeline to send.
#[derive(Clone, Copy)]
enum Question<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
}

impl Question<'_> {
    async fn send_on(self, mut connection: impl ConnectionLike) -> RedisResult<Value> {
        match self {
            Self::Command(command) => connection.req_packed_command(command).await,
            Self::Pipeline(pipeline) => pipeline.query_async(&mut connection).await,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish()
    }
}

impl Server {
    /// Returns each server of a list.
    pub(super) fn each(config: &config::Redis) -> Vec<Self> {
        let urls = config.url.iter();
        urls.map(|url| Self::new(config, vec![url.clone()], false))
            .collect()
    }

    /// Returns the cluster that has the nodes of the list.
    pub(super) fn cluster(config: &config::Redis) -> Self {
        Self::new(config, config.url.clone(), true)
    }

    fn new(config: &config::Redis, urls: Vec<RedisUrl>, is_cluster: bool) -> Self {
        let first = urls.first().map(RedisUrl::to_string).unwrap_or_default();
        Self {
            name: match is_cluster {
                true => format!("the cluster of {first}"),
                false => first,
            },
            urls,
            is_cluster,
            password_file: config.password_file.clone(),
            open: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Returns the name for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.failed).is_some_and(|at| at.elapsed() < RETRY_AFTER)
    }

    /// Records the outcome of a query. After a query without an answer, the connection is
    /// not used again.
    pub(super) fn note(&self, failure: Option<&RedisFailure>) {
        *lock(&self.failed) = failure.map(|_| Instant::now());
        if failure.is_some_and(|failure| failure.is_unreachable) {
            self.disconnect();
        }
    }

    pub(super) fn disconnect(&self) {
        *lock(&self.open) = None;
    }

    /// Sends one command.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisFailure> {
        let reply = self.execute(Question::Command(command)).await?;
        Ok(T::from_redis_value(reply.extract_error()?).map_err(redis::RedisError::from)?)
    }

    /// Sends a pipeline of commands.
    pub(super) async fn query_pipeline<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, RedisFailure> {
        let reply = self.execute(Question::Pipeline(pipeline)).await?;
        Ok(T::from_redis_value(reply).map_err(redis::RedisError::from)?)
    }

    async fn execute(&self, question: Question<'_>) -> Result<Value, RedisFailure> {
        if let Some(connection) = self.kept() {
            match connection.execute(question).await {
                // The server may have closed the connection since the last query, or have
                // been restarted: retry on a new one.
                Err(error) if error.is_unrecoverable_error() => self.disconnect(),
                answered => return Ok(answered?),
            }
        }
        let connection = self.connection().await?;
        Ok(connection.execute(question).await?)
    }

    fn kept(&self) -> Option<Connection> {
        let mut open = lock(&self.open);
        if open
            .as_ref()
            .is_some_and(|open| open.used.elapsed() > MAX_IDLE)
        {
            *open = None;
        }
        let open = open.as_mut()?;
        open.used = Instant::now();
        Some(open.connection.clone())
    }

    async fn connection(&self) -> Result<Connection, RedisFailure> {
        let asked = Instant::now();
        let mut last_failure = self.connecting.lock().await;
        if let Some(connection) = self.kept() {
            return Ok(connection);
        }
        // Tasks that waited for a failed attempt share its failure instead of each trying
        // again.
        if let Some((at, failure)) = &*last_failure
            && *at > asked
        {
            return Err(failure.clone());
        }
        let connected = self.connect().await;
        *last_failure = connected
            .as_ref()
            .err()
            .map(|failure| (Instant::now(), failure.clone()));
        let connection = connected?;
        *lock(&self.open) = Some(Open {
            connection: connection.clone(),
            used: Instant::now(),
        });
        Ok(connection)
    }

    async fn connect(&self) -> Result<Connection, RedisFailure> {
        let password = self.password().await?;
        if !self.is_cluster {
            let client = client(self.first()?, password.as_deref()).await?;
            let limits = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(LONG))
                .set_response_timeout(Some(LONG));
            let connected = client.get_multiplexed_async_connection_with_config(&limits);
            let connection = connected.await.map_err(not_connected)?;
            return Ok(Connection::Single(connection));
        }
        let nodes = self.urls.iter().map(|url| info(url, password.as_deref()));
        let nodes = nodes.collect::<RedisResult<Vec<ConnectionInfo>>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(LONG)
            .response_timeout(LONG)
            .retries(3);
        if let Some(tls) = &self.first()?.tls {
            builder = builder.certs(certificates(tls).await?);
        }
        let connected = builder.build().map_err(not_connected)?;
        let connection = connected.get_async_connection().await;
        Ok(Connection::Cluster(connection.map_err(not_connected)?))
    }

    /// Opens a Pub/Sub connection to the first reachable node; in a cluster every node
    /// receives all messages.
    pub(super) async fn subscriber(&self, limit: Duration) -> Result<PubSub, RedisFailure> {
        let password = self.password().await?;
        let mut failure = RedisFailure::unreachable("no server");
        for url in &self.urls {
            let client = client(url, password.as_deref()).await?;
            match tokio::time::timeout(limit, client.get_async_pubsub()).await {
                Ok(Ok(subscriber)) => return Ok(subscriber),
                Ok(Err(error)) => failure = not_connected(error),
                Err(_elapsed) => {
                    failure = RedisFailure::unreachable(format!("no answer within {limit:?}"));
                }
            }
        }
        Err(failure)
    }

    /// Returns the channel of the keyspace notifications for a key.
    pub(super) fn keyspace(&self, key: &str) -> String {
        let database = self.urls.first().map_or(0, |url| url.database);
        format!("__keyspace@{database}__:{key}")
    }

    async fn password(&self) -> Result<Option<String>, RedisFailure> {
        match &self.password_file {
            Some(file) => {
                let read = password_file::read(file).await;
                Ok(Some(read.map_err(RedisFailure::unreachable)?))
            }
            None => Ok(None),
        }
    }

    fn first(&self) -> Result<&RedisUrl, RedisFailure> {
        let first = self.urls.first();
        first.ok_or_else(|| RedisFailure::unreachable("no server"))
    }
}

impl Connection {
    async fn execute(self, question: Question<'_>) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => question.send_on(connection).await,
            Self::Cluster(connection) => question.send_on(connection).await,
        }
    }
}

/// Converts an error of connecting, before any command was sent.
fn not_connected(error: redis::RedisError) -> RedisFailure {
    RedisFailure {
        is_unreachable: true,
        ..RedisFailure::from(error)
    }
}

async fn client(url: &RedisUrl, password: Option<&str>) -> Result<Client, RedisFailure> {
    let info = info(url, password)?;
    let client = match &url.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls).await?),
        None => Client::open(info),
    };
    client.map_err(not_connected)
}

fn info(url: &RedisUrl, password: Option<&str>) -> RedisResult<ConnectionInfo> {
    let address = match (&url.place, &url.tls) {
        (RedisPlace::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
        (RedisPlace::Tcp { host, port }, None) => ConnectionAddr::Tcp(host.clone(), *port),
        (RedisPlace::Tcp { host, port }, Some(_)) => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
    };
    // Avoids a command for which the user may lack the permission.
    let mut login = RedisConnectionInfo::default()
        .set_db(i64::from(url.database))
        .set_skip_set_lib_name();
    if let Some(password) = password {
        login = login.set_password(password);
        // Otherwise the default user of the server applies.
        if let Some(user) = &url.user {
            login = login.set_username(user);
        }
    }
    Ok(address.into_connection_info()?.set_redis_settings(login))
}

async fn certificates(tls: &RedisTls) -> Result<TlsCertificates, RedisFailure> {
    let tls = tls.clone();
    let read = spawn_blocking(move || {
        let ca = tls.ca.as_deref().map(read_certificate).transpose()?;
        let client = match &tls.client {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read_certificate(certificate)?,
                client_key: read_certificate(key)?,
            }),
            None => None,
        };
        Ok(TlsCertificates {
            client_tls: client,
            root_cert: ca,
        })
    });
    let read = read.await.map_err(|error| error.to_string());
    read.and_then(|read| read)
        .map_err(RedisFailure::unreachable)
}

fn read_certificate(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{} can't be read: {error}", file.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
