//! Connections to the databases of `opt_in.sql`, and running the query.
//!
//! Keeps a few connections per database; each query has a connection to itself. sqlx's
//! own pool is not used: it reuses a connection whose query was canceled, and pings each
//! connection before use. Here such a connection is closed, and one that fails after an
//! idle time is replaced.

use super::truth::{self, Decode, Row, Rows};
use crate::{
    config::{self, SqlEngine, SqlUrl},
    opt_in::{ServerCheck, ServerFinding, Source},
    password_file,
};
use futures_util::{Stream, TryStreamExt as _};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqlSafeStr as _, SqlStr,
    Statement as _,
    mysql::{MySqlConnectOptions, MySqlConnection},
    postgres::{PgConnectOptions, PgConnection},
    sqlite::{SqliteConnectOptions, SqliteConnection},
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// The maximum number of concurrent queries, each with a connection of its own, which is
/// kept. The most recently used connection is used first, so that connections opened
/// during a peak expire.
const CONNECTIONS: usize = 8;

/// The maximum idle time of a connection. Firewalls silently drop connections that are
/// idle for longer, and the query would run into the timeout.
const MAX_IDLE: Duration = Duration::from_secs(300);

/// How long after a failure a database is tried after the others.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The maximum number of rows read per query.
const MAX_ROWS: usize = 16;

/// The number of SQLite instructions between two checks of the deadline.
const SQLITE_STEPS: i32 = 10_000;

/// The databases of one configuration, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Database {
    servers: Vec<Server>,
    timeout: Duration,
    permits: Semaphore,
}

#[derive(Debug)]
struct Server {
    url: SqlUrl,
    password_file: Option<PathBuf>,
    query: SqlStr,
    parameters: usize,
    timeout: Duration,
    idle: Mutex<Vec<(Connection, Instant)>>,
    failed: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Connection {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
    Sqlite(Box<SqliteConnection>, SqliteFile),
}

/// The additional state of a SQLite connection.
#[derive(Debug)]
struct SqliteFile {
    /// When the thread of the connection aborts the query.
    deadline: Arc<Mutex<Instant>>,
    path: PathBuf,
    /// The device and inode number of the opened file.
    opened: Option<(u64, u64)>,
}

impl SqliteFile {
    fn identity(path: &Path) -> Option<(u64, u64)> {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    }

    /// Returns whether the file was replaced, in which case the open one would still be
    /// readable.
    fn is_replaced(&self) -> bool {
        self.opened.is_none() || self.opened != Self::identity(&self.path)
    }
}

/// Why a query failed.
enum Problem {
    /// The database can't be reached, or refuses the login.
    Unreachable(String),
    /// The database rejects the query, or the result can't be converted.
    Query(String),
}

impl Problem {
    fn text(self) -> String {
        match self {
            Self::Unreachable(text) | Self::Query(text) => text,
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let text = describe(&error);
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Self::Unreachable(text),
            _ => Self::Query(text),
        }
    }
}

/// Describes an error in one line of limited length: databases quote their input.
fn describe(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    let text = text.replace(char::is_control, " ");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl Database {
    /// Creates the client without connecting.
    pub(super) fn new(config: &config::Sql) -> Self {
        let server = |url: &SqlUrl| {
            let (query, parameters) = config.query_for(url.engine).unwrap_or_default();
            Server {
                url: url.clone(),
                password_file: config.password_file.clone(),
                query: AssertSqlSafe(query).into_sql_str(),
                parameters,
                timeout: config.timeout,
                idle: Mutex::default(),
                failed: Mutex::default(),
            }
        };
        Self {
            servers: config.url.iter().map(server).collect(),
            timeout: config.timeout,
            permits: Semaphore::new(CONNECTIONS),
        }
    }

    /// Queries the databases in their order until one answers.
    pub(super) async fn query(&self, domain: &str) -> Result<Row, String> {
        let _permit = self.permits.acquire().await;
        let mut problems = Vec::new();
        for server in self.in_order() {
            let answer = match timeout(self.timeout, server.query(domain)).await {
                Ok(answer) => answer.map_err(Problem::text),
                Err(_elapsed) => Err(format!("no answer within {:?}", self.timeout)),
            };
            *lock(&server.failed) = answer.is_err().then(Instant::now);
            match answer {
                Ok(row) => return Ok(row),
                Err(problem) if self.servers.len() == 1 => problems.push(problem),
                Err(problem) => problems.push(format!("{}: {problem}", server.url)),
            }
        }
        Err(problems.join("; "))
    }

    fn in_order(&self) -> impl Iterator<Item = &Server> {
        let (failed, working): (Vec<_>, Vec<_>) = self.servers.iter().partition(|s| s.has_failed());
        working.into_iter().chain(failed)
    }

    /// Connects to each database and checks the query there.
    pub(super) async fn check(&self, domain: &str) -> Vec<ServerCheck> {
        let mut checks = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            let finding = match timeout(self.timeout, server.check(domain)).await {
                Ok(Ok(())) => ServerFinding::Ok,
                Ok(Err(Problem::Unreachable(reason))) => ServerFinding::Unreachable(reason),
                Ok(Err(Problem::Query(reason))) => ServerFinding::Wrong(reason),
                Err(_elapsed) => {
                    ServerFinding::Unreachable(format!("no answer within {:?}", self.timeout))
                }
            };
            checks.push(ServerCheck {
                source: Source::Sql,
                url: server.url.to_string(),
                finding,
            });
        }
        checks
    }
}

impl Server {
    fn has_failed(&self) -> bool {
        lock(&self.failed).is_some_and(|at| at.elapsed() < RETRY_AFTER)
    }

    async fn query(&self, domain: &str) -> Result<Row, Problem> {
        if let Some(connection) = self.take_idle() {
            // The database may have closed the connection since the last query, have been
            // restarted, or the table may have been replaced: retry on a new connection.
            if let Ok(row) = self.query_on(connection, domain).await {
                return Ok(row);
            }
            lock(&self.idle).clear();
        }
        let connection = self.connect().await?;
        self.query_on(connection, domain).await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|(connection, since)| {
            let is_replaced =
                matches!(connection, Connection::Sqlite(_, file) if file.is_replaced());
            since.elapsed() < MAX_IDLE && !is_replaced
        });
        idle.pop().map(|(connection, _)| connection)
    }

    /// Runs the query on a connection. A connection that failed, or whose query was
    /// canceled, is closed: the rest of a result would be taken for the next one.
    async fn query_on(&self, connection: Connection, domain: &str) -> Result<Row, Problem> {
        let mut connection = connection;
        let row = match &mut connection {
            Connection::Postgres(connection) => {
                let query = sqlx::query(self.query.clone()).bind(domain);
                read(query.fetch(&mut **connection)).await
            }
            Connection::MySql(connection) => {
                let mut query = sqlx::query(self.query.clone());
                for _ in 0..self.parameters {
                    query = query.bind(domain);
                }
                read(query.fetch(&mut **connection)).await
            }
            Connection::Sqlite(connection, file) => {
                *lock(&file.deadline) = Instant::now() + self.timeout;
                let query = sqlx::query(self.query.clone()).bind(domain);
                read(query.fetch(&mut **connection)).await
            }
        }?;
        lock(&self.idle).push((connection, Instant::now()));
        Ok(row)
    }

    async fn connect(&self) -> Result<Connection, Problem> {
        // An error here is not caused by the query.
        let unreachable = |error: sqlx::Error| Problem::Unreachable(describe(&error));
        let password = match &self.password_file {
            Some(file) => Some(
                password_file::read(file)
                    .await
                    .map_err(Problem::Unreachable)?,
            ),
            None => None,
        };
        let url = self.url.as_str();
        match self.url.engine {
            SqlEngine::Postgres => {
                let mut options: PgConnectOptions = url.parse().map_err(unreachable)?;
                if let Some(password) = password {
                    options = options.password(&password);
                }
                let connected = options.disable_statement_logging().connect().await;
                Ok(Connection::Postgres(connected.map_err(unreachable)?.into()))
            }
            SqlEngine::MySql => {
                let mut options: MySqlConnectOptions = url.parse().map_err(unreachable)?;
                if let Some(password) = password {
                    options = options.password(&password);
                }
                let connected = options.disable_statement_logging().connect().await;
                Ok(Connection::MySql(connected.map_err(unreachable)?.into()))
            }
            SqlEngine::Sqlite => {
                let options: SqliteConnectOptions = url.parse().map_err(unreachable)?;
                let options = options.read_only(true).busy_timeout(self.timeout);
                let path = options.get_filename().to_owned();
                let opened = SqliteFile::identity(&path);
                let connected = options.disable_statement_logging().connect().await;
                let mut connection = connected.map_err(unreachable)?;
                let deadline = Arc::new(Mutex::new(Instant::now()));
                let clock = Arc::clone(&deadline);
                // Otherwise its thread would continue with a canceled query.
                connection
                    .lock_handle()
                    .await
                    .map_err(unreachable)?
                    .set_progress_handler(SQLITE_STEPS, move || Instant::now() < *lock(&clock));
                let file = SqliteFile {
                    deadline,
                    path,
                    opened,
                };
                Ok(Connection::Sqlite(connection.into(), file))
            }
        }
    }

    async fn check(&self, domain: &str) -> Result<(), Problem> {
        let mut connection = self.connect().await?;
        let query = self.query.clone();
        match &mut connection {
            Connection::Postgres(connection) => {
                connection.ping().await?;
                let prepared = (&mut **connection).prepare(query).await?;
                truth::check_postgres(prepared.columns())
            }
            Connection::MySql(connection) => {
                connection.ping().await?;
                let prepared = (&mut **connection).prepare(query).await?;
                truth::check_mysql(prepared.columns())
            }
            Connection::Sqlite(connection, file) => {
                *lock(&file.deadline) = Instant::now() + self.timeout;
                let prepared = (&mut **connection).prepare(query).await?;
                truth::check_columns(prepared.columns().len())
            }
        }
        .map_err(Problem::Query)?;
        // Missing permission to read the table shows only when the query runs.
        self.query_on(connection, domain).await.map(drop)
    }
}

async fn read<R: Decode>(rows: impl Stream<Item = Result<R, sqlx::Error>>) -> Result<Row, Problem> {
    let mut rows = pin!(rows);
    let mut all = Rows::default();
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        count += 1;
        if count > MAX_ROWS {
            let problem = format!("the query returns more than {MAX_ROWS} rows for a domain");
            return Err(Problem::Query(problem));
        }
        let row = row.decode().map_err(Problem::Query)?;
        all.add(row).map_err(Problem::Query)?;
    }
    Ok(all.outcome())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
