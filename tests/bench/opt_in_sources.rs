//! Opt-in sources compared with plain clients of the same servers: uncached lookups,
//! alternating within one run, with a million domains in each server.
//!
//! `cargo bench --bench opt_in_sources` prints the table of docs/benchmarks.md. Arguments
//! select sources by name. Missing servers are skipped.

// Only part of it is used here.
#[path = "../support/mod.rs"]
mod support;

use redis::AsyncCommands as _;
use sixgate::{address::Domain, config::Config, dns::Dns, opt_in::Sources, policy::OptIn};
use sqlx::Connection as _;
use std::{
    collections::HashSet,
    env, fs,
    io::{BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    database::{self, Database, Engine, PASSWORD, QUERY},
    port::lasting_address,
    redis::{PROGRAMS, RedisServer},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::Runtime,
    task::JoinSet,
};

/// Domains in each server, all opted in.
const DOMAINS: usize = 1_000_000;

/// Lookups in each round, and rounds of each client.
const LOOKUPS: usize = 20_000;
const ROUNDS: usize = 5;

/// Messages that wait for an answer at a time.
const MESSAGES: usize = 32;

/// Connections of a plain client, as many as the sources `sql` and `socketmap` have.
const CONNECTIONS: usize = 8;

/// Domains that no cache has: each is looked up once, far from the previous one in the list.
#[derive(Clone, Default)]
struct Cold(Arc<AtomicUsize>);

impl Cold {
    fn next(&self) -> String {
        name(self.0.fetch_add(1, Ordering::Relaxed) * 7919 % DOMAINS)
    }
}

fn name(n: usize) -> String {
    format!("customer{n}.example")
}

/// A plain client of a server, which looks up one domain after the other without sixgate.
enum Plain {
    Postgres(Vec<sqlx::PgConnection>),
    MySql(Vec<sqlx::MySqlConnection>),
    Sqlite(Vec<sqlx::SqliteConnection>),
    Redis(redis::aio::MultiplexedConnection),
    Dns(SocketAddr),
    Socketmap(Vec<TcpStream>),
}

/// The duration of each lookup and of all together.
struct Round {
    took: Duration,
    each: Vec<Duration>,
}

impl Round {
    fn rate(&self) -> f64 {
        self.each.len() as f64 / self.took.as_secs_f64()
    }
}

/// Has each worker look up one domain after the other until all lookups are done.
async fn round<W, F>(
    workers: Vec<W>,
    lookups: usize,
    run: impl Fn(W, Counter) -> F,
) -> (Round, Vec<W>)
where
    W: Send + 'static,
    F: Future<Output = (W, Vec<Duration>)> + Send + 'static,
{
    let counter = Counter(Arc::new(AtomicUsize::new(lookups)));
    let mut running = JoinSet::new();
    let start = Instant::now();
    for worker in workers {
        running.spawn(run(worker, counter.clone()));
    }
    let (mut workers, mut each) = (Vec::new(), Vec::new());
    while let Some(done) = running.join_next().await {
        let (worker, times) = done.expect("every domain is found");
        workers.push(worker);
        each.extend(times);
    }
    let took = start.elapsed();
    each.sort();
    (Round { took, each }, workers)
}

/// The number of remaining lookups.
#[derive(Clone)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn take(&self) -> bool {
        let decrement = |left: usize| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, decrement)
            .is_ok()
    }
}

macro_rules! worker {
    ($cold:expr, |$worker:ident: $kind:ty, $domain:ident| $look_up:expr) => {{
        let cold = $cold.clone();
        move |worker: $kind, counter: Counter| {
            let cold = cold.clone();
            async move {
                #[allow(unused_mut)]
                let mut $worker = worker;
                let mut times = Vec::new();
                while counter.take() {
                    let $domain = cold.next();
                    let start = Instant::now();
                    $look_up;
                    times.push(start.elapsed());
                }
                ($worker, times)
            }
        }
    }};
}

impl Plain {
    async fn round(self, cold: &Cold, query: &'static str) -> (Round, Self) {
        macro_rules! sql_round {
            ($variant:ident, $kind:ty, $connections:expr) => {{
                let found = worker!(cold, |connection: $kind, domain| {
                    let row = sqlx::query(query)
                        .bind(&domain)
                        .fetch_optional(&mut connection);
                    assert!(row.await.expect("an answer").is_some(), "{domain}");
                });
                let (round, connections) = round($connections, LOOKUPS, found).await;
                (round, Self::$variant(connections))
            }};
        }
        match self {
            Self::Postgres(connections) => sql_round!(Postgres, sqlx::PgConnection, connections),
            Self::MySql(connections) => sql_round!(MySql, sqlx::MySqlConnection, connections),
            Self::Sqlite(connections) => sql_round!(Sqlite, sqlx::SqliteConnection, connections),
            Self::Redis(connection) => {
                let workers = vec![connection.clone(); MESSAGES];
                let found = worker!(cold, |connection: redis::aio::MultiplexedConnection,
                                           domain| {
                    let fields = [domain.as_str(), ".example", "#"];
                    let values: Vec<Option<String>> = connection
                        .hmget(support::redis::KEY, &fields)
                        .await
                        .expect("an answer");
                    assert_eq!(values[0].as_deref(), Some("yes"), "{domain}");
                });
                (
                    round(workers, LOOKUPS, found).await.0,
                    Self::Redis(connection),
                )
            }
            Self::Dns(address) => {
                let mut sockets = Vec::new();
                for _ in 0..MESSAGES {
                    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
                    socket.connect(address).await.expect("an address");
                    sockets.push(socket);
                }
                let found = worker!(cold, |socket: UdpSocket, domain| {
                    socket.send(&question(&domain)).await.expect("a sent query");
                    let mut answer = [0; 512];
                    let length = socket.recv(&mut answer).await.expect("an answer");
                    let mut parts = answer[..length].windows(4);
                    assert!(parts.any(|part| part == [127, 0, 0, 2]), "{domain}");
                });
                (round(sockets, LOOKUPS, found).await.0, Self::Dns(address))
            }
            Self::Socketmap(connections) => {
                let found = worker!(cold, |connection: TcpStream, domain| {
                    let request = format!("map {domain}");
                    let request = format!("{}:{request},", request.len());
                    connection
                        .write_all(request.as_bytes())
                        .await
                        .expect("it is sent");
                    let mut answer = [0; 9];
                    connection.read_exact(&mut answer).await.expect("an answer");
                    assert_eq!(&answer, b"6:OK yes,", "{domain}");
                });
                let (round, connections) = round(connections, LOOKUPS, found).await;
                (round, Self::Socketmap(connections))
            }
        }
    }
}

const ZONE: &str = "opt-in.example.org";

/// A query for the address of a domain in the zone.
fn question(domain: &str) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in format!("{domain}.{ZONE}").split('.') {
        message.push(u8::try_from(label.len()).expect("a label"));
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn main() {
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    println!(
        "| source | lookups per second | plain client | ratio, median (of the rounds) | median, p99 ms | single message, median ms | cached, µs |"
    );
    println!("|---|---|---|---|---|---|---|");
    let runtime = Runtime::new().expect("a runtime");
    for engine in Engine::ALL {
        let name = format!("{engine:?}").to_lowercase();
        let is_installed = engine
            .programs()
            .iter()
            .all(|name| database::program(name).is_some());
        if is_wanted(&name) && is_installed {
            measure_database(&runtime, engine);
        }
    }
    if is_wanted("redis")
        && PROGRAMS
            .iter()
            .all(|name| database::program(name).is_some())
    {
        measure_redis(&runtime);
    }
    if is_wanted("dns_zone")
        && let Some(nsd) = nsd()
    {
        measure_zone(&runtime, &nsd);
    }
    if is_wanted("socketmap") {
        measure_socketmap(&runtime);
    }
}

fn measure_database(runtime: &Runtime, engine: Engine) {
    let database = Database::with_table(engine);
    database.execute(&match engine {
        Engine::Postgres => format!(
            "INSERT INTO opt_in SELECT 'customer' || n || '.example', TRUE \
             FROM generate_series(0, {DOMAINS} - 1) n; ANALYZE;"
        ),
        Engine::MariaDb => format!(
            "INSERT INTO opt_in SELECT CONCAT('customer', seq, '.example'), TRUE \
             FROM seq_0_to_{};",
            DOMAINS - 1
        ),
        Engine::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT {DOMAINS}) \
             INSERT INTO opt_in SELECT 'customer' || i || '.example', TRUE FROM n;"
        ),
    });
    let url = database.url();
    let (plain, query) = runtime.block_on(async {
        match engine {
            Engine::Postgres => {
                let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
                let options = options.password(PASSWORD);
                let mut connections = Vec::new();
                for _ in 0..CONNECTIONS {
                    connections.push(
                        sqlx::PgConnection::connect_with(&options)
                            .await
                            .expect("a connection"),
                    );
                }
                (
                    Plain::Postgres(connections),
                    "SELECT ipv6 FROM opt_in WHERE domain = $1",
                )
            }
            Engine::MariaDb => {
                let options: sqlx::mysql::MySqlConnectOptions = url.parse().expect("a URL");
                let options = options.password(PASSWORD);
                let mut connections = Vec::new();
                for _ in 0..CONNECTIONS {
                    connections.push(
                        sqlx::MySqlConnection::connect_with(&options)
                            .await
                            .expect("a connection"),
                    );
                }
                (
                    Plain::MySql(connections),
                    "SELECT ipv6 FROM opt_in WHERE domain = ?",
                )
            }
            Engine::Sqlite => {
                let mut connections = Vec::new();
                for _ in 0..CONNECTIONS {
                    connections.push(
                        sqlx::SqliteConnection::connect(&url)
                            .await
                            .expect("a connection"),
                    );
                }
                (
                    Plain::Sqlite(connections),
                    "SELECT ipv6 FROM opt_in WHERE domain = ?",
                )
            }
        }
    });
    let label = match engine {
        Engine::Postgres => "`sql`, PostgreSQL",
        Engine::MariaDb => "`sql`, MariaDB",
        Engine::Sqlite => "`sql`, SQLite",
    };
    measure(runtime, label, &database.section(QUERY), None, plain, query);
}

fn measure_redis(runtime: &Runtime) {
    let server = RedisServer::start();
    server.fill_with((0..DOMAINS).map(name));
    let client = redis::Client::open(server.url()).expect("a URL");
    let limits = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&limits);
    let plain = Plain::Redis(runtime.block_on(connection).expect("a connection"));
    measure(
        runtime,
        "`redis`, Redis",
        &server.section(),
        None,
        plain,
        "",
    );
}

/// Finds a program on the machine or in the folder of `extract-dns-servers.sh`.
fn nsd() -> Option<PathBuf> {
    let unpacked = unpacked().join("usr/sbin/nsd");
    database::program("nsd").or_else(|| Some(unpacked).filter(|file| file.is_file()))
}

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dns-servers")
}

/// Stops a server at the end of the measurement.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has child processes, which it stops.
        let pid = i32::try_from(self.0.id()).expect("a process id");
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn measure_zone(runtime: &Runtime, nsd: &Path) {
    let folder = TempDir::new().expect("a folder");
    let zone = folder.path().join("zone");
    let mut out = BufWriter::new(fs::File::create(&zone).expect("our file"));
    writeln!(out, "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA localhost. root.localhost. 1 600 300 2419200 60\n@ NS localhost.")
        .expect("our file");
    for n in 0..DOMAINS {
        writeln!(out, "{} A 127.0.0.2", name(n)).expect("our file");
    }
    out.flush().expect("our file");
    let address = lasting_address();
    let config = folder.path().join("nsd.conf");
    let place = folder.path().display();
    let text = format!(
        "server:\n  ip-address: 127.0.0.1@{}\n  server-count: 1\n  username: \"\"\n  \
         database: \"\"\n  zonesdir: {place}\n  xfrdir: {place}\n  pidfile: {place}/pid\n  \
         xfrdfile: {place}/xfrd.state\n  zonelistfile: {place}/zone.list\n\
         remote-control:\n  control-enable: no\nzone:\n  name: {ZONE}\n  zonefile: zone\n",
        address.port()
    );
    fs::write(&config, text).expect("our file");
    let libraries = unpacked().join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH));
    let started = Command::new(nsd)
        .env("LD_LIBRARY_PATH", libraries)
        .arg("-d")
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _nsd = Server(started.expect("nsd starts"));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(address).expect("an address");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a socket");
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut answer = [0; 512];
    while socket.send(&question(&name(1))).is_err() || socket.recv(&mut answer).is_err() {
        assert!(Instant::now() < deadline, "nsd does not answer");
        std::thread::sleep(Duration::from_millis(100));
    }
    let section = format!("dns_zone: {ZONE}");
    measure(
        runtime,
        "`dns_zone`, NSD",
        &section,
        Some(address),
        Plain::Dns(address),
        "",
    );
}

/// Serves one socketmap connection from a table in memory.
async fn serve_map(connection: TcpStream, domains: Arc<HashSet<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(connection);
    loop {
        let mut length = Vec::new();
        if stream.read_until(b':', &mut length).await? == 0 {
            return Ok(());
        }
        let length = String::from_utf8_lossy(&length);
        let length = length.trim_end_matches(':').parse::<usize>();
        let mut request = vec![0; length.expect("a netstring") + 1];
        stream.read_exact(&mut request).await?;
        let request = String::from_utf8_lossy(&request);
        let domain = request.trim_end_matches(',').trim_start_matches("map ");
        let reply: &[u8] = match domains.contains(domain) {
            true => b"6:OK yes,",
            false => b"9:NOTFOUND ,",
        };
        stream.write_all(reply).await?;
    }
}

fn measure_socketmap(runtime: &Runtime) {
    let domains: Arc<HashSet<String>> = Arc::new((0..DOMAINS).map(name).collect());
    // Separate threads, like another process.
    let servers = Runtime::new().expect("a runtime");
    let listener = servers
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    servers.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve_map(connection, Arc::clone(&domains)));
        }
    });
    let plain = runtime.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(TcpStream::connect(address).await.expect("a connection"));
        }
        Plain::Socketmap(connections)
    });
    let section = format!("socketmap: \"inet:{address}:map\"");
    measure(
        runtime,
        "`socketmap`, a table in memory",
        &section,
        None,
        plain,
        "",
    );
    servers.shutdown_background();
}

/// Measures a source and prints its line of the table.
fn measure(
    runtime: &Runtime,
    label: &str,
    section: &str,
    dns: Option<SocketAddr>,
    plain: Plain,
    query: &'static str,
) {
    let dns = dns.unwrap_or_else(lasting_address);
    let yaml = format!("opt_in: {{{section}}}\ndns: {{servers: {dns}, cache_bytes: 0}}\n");
    let config = Config::parse(&yaml, label).unwrap_or_else(|error| panic!("{error}"));
    let sources = Sources::open(&config.opt_in, None).expect("sources");
    runtime.block_on(async {
        let dns = Arc::new(Dns::new(&config.dns).expect("a resolver"));
        let cold = Cold::default();
        let ask = |sources: Sources, dns: Arc<Dns>, domain: String| async move {
            let parsed = Domain::parse(&domain).expect("a domain");
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            let answer = sources.query(&dns, deadline, Some(&parsed)).await;
            let why = || sources.reason(answer, None);
            assert_eq!(answer.opt_in, OptIn::Yes, "{domain}: {}", why());
        };
        let messages = |number: usize| vec![(sources.clone(), Arc::clone(&dns)); number];
        let found = worker!(cold, |message: (Sources, Arc<Dns>), domain| {
            ask(message.0.clone(), Arc::clone(&message.1), domain).await;
        });
        let mut plain = plain;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        // The first rounds fill caches of the server.
        for n in 0..=ROUNDS {
            let (our_round, _) = round(messages(MESSAGES), LOOKUPS, &found).await;
            let (plain_round, again) = plain.round(&cold, query).await;
            plain = again;
            if n > 0 {
                ratios.push(our_round.rate() / plain_round.rate());
                ours.push(our_round);
                theirs.push(plain_round);
            }
        }
        let (alone, _) = round(messages(1), 500, &found).await;
        // The domains that were looked up last are cached.
        const CACHED_LOOKUPS: usize = 200_000;
        let cached_domains: Vec<Domain> = {
            let last = cold.0.load(Ordering::Relaxed);
            let names = (last - 500..last).map(|n| name(n * 7919 % DOMAINS));
            names
                .map(|name| Domain::parse(&name).expect("a domain"))
                .collect()
        };
        let start = Instant::now();
        for domain in cached_domains.iter().cycle().take(CACHED_LOOKUPS) {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            let answer = sources.query(&dns, deadline, Some(domain)).await;
            assert_eq!(answer.opt_in, OptIn::Yes);
        }
        let cached = start.elapsed().as_secs_f64() * 1e6 / CACHED_LOOKUPS as f64;
        let rate = |rounds: &[Round]| median(rounds.iter().map(Round::rate).collect());
        let percentile = |rounds: &[Round], percent: usize| {
            median(
                rounds
                    .iter()
                    .map(|round| millis(round.each[round.each.len() * percent / 100]))
                    .collect(),
            )
        };
        println!(
            "| {label} | {:.0} | {:.0} | {:.2} ({}) | {:.2}, {:.2} | {:.3} | {cached:.2} |",
            rate(&ours),
            rate(&theirs),
            median(ratios.clone()),
            ratios
                .iter()
                .map(|ratio| format!("{ratio:.2}"))
                .collect::<Vec<_>>()
                .join(" "),
            percentile(&ours, 50),
            percentile(&ours, 99),
            millis(alone.each[alone.each.len() / 2]),
        );
    });
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
