//! Real database servers, started privately: PostgreSQL and MariaDB of Debian, and a
//! SQLite file.

use super::{outage::Source, output::with_input, port::lasting_address};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, User, geteuid},
};
use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The time limit for the start of a server on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The password of the user `sixgate`, which must not appear in any output.
pub const PASSWORD: &str = "hunter2 'ä\"\\@/";

/// The kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    MariaDb,
    Sqlite,
}

impl Engine {
    pub const ALL: [Self; 3] = [Self::Postgres, Self::MariaDb, Self::Sqlite];

    /// The programs that it needs.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["initdb", "postgres", "psql"],
            Self::MariaDb => &["mariadbd", "mariadb-install-db", "mariadb"],
            Self::Sqlite => &["sqlite3"],
        }
    }
}

/// Finds a program. Debian's PostgreSQL server programs are not in the path.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A server with the database `mail` and a user `sixgate` with read access. Dropping it
/// kills the server.
pub struct Database {
    pub engine: Engine,
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Database {
    /// Creates the database and starts the server.
    pub fn start(engine: Engine) -> Self {
        let readable = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(readable).tempdir();
        let mut database = Self {
            engine,
            folder: folder.expect("a folder"),
            port: lasting_address().port(),
            running: None,
        };
        database.create();
        database.run();
        match engine {
            Engine::Postgres => {
                let password = PASSWORD.replace('\'', "''");
                let user = format!("CREATE USER sixgate PASSWORD '{password}'");
                database.execute_in("postgres", &user);
                database.execute_in("postgres", "CREATE DATABASE mail");
                let grant = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO sixgate";
                database.execute(grant);
            }
            Engine::MariaDb => {
                let password = PASSWORD.replace('\\', "\\\\").replace('\'', "''");
                database.execute_in("mysql", "CREATE DATABASE mail");
                let user = format!("CREATE USER sixgate@'%' IDENTIFIED BY '{password}'");
                database.execute(&user);
                database.execute("GRANT SELECT ON mail.* TO sixgate@'%'");
            }
            Engine::Sqlite => {}
        }
        let file = database.password_file();
        fs::write(&file, format!("{PASSWORD}\n")).expect("our file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our file");
        database
    }

    /// As [`Database::start`], with the table `opt_in (domain, ipv6)`.
    pub fn with_table(engine: Engine) -> Self {
        let database = Self::start(engine);
        database.execute(TABLE);
        database
    }

    pub fn password_file(&self) -> PathBuf {
        self.path("password")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its `opt_in.sql.url`.
    pub fn url(&self) -> String {
        match self.engine {
            Engine::Postgres => format!("postgres://sixgate@127.0.0.1:{}/mail", self.port),
            Engine::MariaDb => format!("mysql://sixgate@127.0.0.1:{}/mail", self.port),
            Engine::Sqlite => format!("sqlite:{}", self.path("mail.db").display()),
        }
    }

    /// The section `sql` of `opt_in`, in flow style.
    pub fn section(&self, query: &str) -> String {
        // In an unoptimized build on a busy machine, SCRAM is slow.
        self.section_with(&format!("\"{}\"", self.url()), query, ", timeout: 8s")
    }

    /// As [`Database::section`], with other URLs and more keys.
    pub fn section_with(&self, url: &str, query: &str, more: &str) -> String {
        let password = match self.engine {
            Engine::Postgres | Engine::MariaDb => {
                format!(", password_file: {}", self.password_file().display())
            }
            Engine::Sqlite => String::new(),
        };
        format!("sql: {{url: {url}, query: \"{query}\"{password}{more}}}")
    }

    /// Executes statements as the administrator.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.execute_in("mail", sql);
    }

    #[track_caller]
    fn execute_in(&self, database: &str, sql: &str) {
        let output = self.client(database, sql);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
    }

    fn client(&self, database: &str, sql: &str) -> Output {
        let command = match self.engine {
            Engine::Postgres => {
                let mut psql = command("psql");
                psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-h"]);
                psql.arg(self.folder.path());
                psql.args(["-p", &self.port.to_string(), "-U", "admin", "-d", database]);
                psql
            }
            Engine::MariaDb => {
                let mut mariadb = command("mariadb");
                mariadb.args(["--no-defaults", "-u", "root", "--socket"]);
                mariadb.arg(self.path("socket")).arg(database);
                mariadb
            }
            Engine::Sqlite => {
                let mut sqlite = command("sqlite3");
                sqlite.args(["-bail", "-cmd", ".timeout 20000"]);
                sqlite.arg(self.path("mail.db"));
                sqlite
            }
        };
        with_input(command, sql)
    }

    fn create(&self) {
        let data = self.path("data");
        let mut make = match self.engine {
            Engine::Postgres => {
                give_away(self.folder.path());
                let mut initdb = command("initdb");
                initdb.args(["--no-sync", "-U", "admin", "-E", "UTF8", "--locale=C"]);
                initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", "-D"]);
                unprivileged(&mut initdb);
                initdb.arg(&data);
                initdb
            }
            Engine::MariaDb => {
                let mut install = command("mariadb-install-db");
                install.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
                install.args(["--skip-test-db", "--user", &me()]);
                install.arg(format!("--datadir={}", data.display()));
                install
            }
            Engine::Sqlite => return self.execute("PRAGMA user_version = 1"),
        };
        let made = make.stdin(Stdio::null()).output().expect("it starts");
        let said = String::from_utf8_lossy(&made.stdout) + String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{:?}: {said}", self.engine);
    }

    /// Starts the server, if it is not running, and waits until it answers.
    pub fn run(&mut self) {
        if self.running.is_some() {
            return;
        }
        let (data, folder) = (self.path("data"), self.folder.path());
        let mut server = match self.engine {
            Engine::Postgres => {
                let mut postgres = command("postgres");
                let port = self.port.to_string();
                postgres.args(["-F", "-h", "127.0.0.1", "-p", &port, "-D"]);
                postgres.arg(&data).arg("-k").arg(folder);
                let (certificate, key) = (self.path("server.crt"), self.path("server.key"));
                if key.exists() {
                    postgres.arg("--ssl=on");
                    postgres.arg(format!("--ssl_cert_file={}", certificate.display()));
                    postgres.arg(format!("--ssl_key_file={}", key.display()));
                }
                // A killed server leaves it behind.
                let _ = fs::remove_file(data.join("postmaster.pid"));
                unprivileged(&mut postgres);
                postgres
            }
            Engine::MariaDb => {
                let mut mariadbd = command("mariadbd");
                mariadbd.args(["--no-defaults", "--user", &me(), "--bind-address=127.0.0.1"]);
                mariadbd.arg(format!("--port={}", self.port));
                mariadbd.arg(format!("--datadir={}", data.display()));
                mariadbd.arg(format!("--socket={}", self.path("socket").display()));
                mariadbd.arg(format!("--pid-file={}", self.path("pid").display()));
                // Synced at each commit, so that a kill loses nothing.
                mariadbd.args(["--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve"]);
                mariadbd
            }
            Engine::Sqlite => return,
        };
        let log = fs::File::create(self.path("server.log")).expect("a log");
        server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.running = Some(server.process_group(0).spawn().expect("the server starts"));
        let deadline = Instant::now() + TIMEOUT;
        let database = match self.engine {
            Engine::Postgres => "postgres",
            Engine::MariaDb | Engine::Sqlite => "mysql",
        };
        while !self.client(database, "SELECT 1;").status.success() {
            let log = fs::read_to_string(self.path("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{:?}: {log}", self.engine);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server and its children.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            self.signal_group(&child, Signal::SIGKILL);
            let _ = child.wait();
        }
        if self.engine == Engine::Sqlite {
            let file = self.path("mail.db");
            if file.exists() {
                fs::rename(&file, self.path("gone.db")).expect("our file");
                fs::write(&file, "this is not a database, and longer than a header").expect("ours");
            }
        }
    }

    /// Starts the server with a certificate for `localhost`.
    pub fn certify(&mut self) {
        assert_eq!(self.engine, Engine::Postgres);
        self.stop();
        let mut openssl = command("openssl");
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ]);
        openssl.args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
        openssl
            .arg(self.path("server.key"))
            .arg("-out")
            .arg(self.path("server.crt"));
        let made = openssl.stderr(Stdio::null()).status();
        assert!(made.expect("openssl starts").success());
        let key = self.path("server.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our file");
        give_away(&key);
        give_away(&self.path("server.crt"));
        self.run();
    }

    /// Freezes or resumes the server.
    pub fn freeze(&self, is_frozen: bool) {
        let child = self.running.as_ref().expect("it runs");
        let signal = match is_frozen {
            true => Signal::SIGSTOP,
            false => Signal::SIGCONT,
        };
        self.signal_group(child, signal);
    }

    fn signal_group(&self, child: &Child, signal: Signal) {
        // PostgreSQL backends are in separate process groups.
        let group = i32::try_from(child.id()).expect("a process id");
        for pid in children(child.id()) {
            let _ = killpg(Pid::from_raw(pid), signal);
        }
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

fn children(of: u32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Source for Database {
    fn start(&mut self, yes: &str, no: &str) {
        if self.engine == Engine::Sqlite && self.path("gone.db").exists() {
            fs::rename(self.path("gone.db"), self.path("mail.db")).expect("our file");
        }
        self.run();
        self.execute(&format!(
            "DELETE FROM opt_in; INSERT INTO opt_in VALUES ('{yes}', TRUE), ('{no}', FALSE);"
        ));
    }

    fn kill(&mut self) {
        self.stop();
    }
}

/// The table from docs/fleet.md.
pub const TABLE: &str = "CREATE TABLE opt_in (domain VARCHAR(255) PRIMARY KEY, ipv6 BOOLEAN);";

/// The query for it.
pub const QUERY: &str = "SELECT ipv6 FROM opt_in WHERE domain = :domain";

fn command(name: &str) -> Command {
    let mut command = Command::new(program(name).expect("the program is there"));
    command
        .env_remove("PGHOST")
        .env_remove("PGUSER")
        .env_remove("PGPASSWORD");
    command
}

/// PostgreSQL refuses to run as root.
fn unprivileged(command: &mut Command) {
    if geteuid().is_root() {
        let nobody = nobody();
        command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
        command.current_dir("/");
    }
}

fn give_away(folder: &Path) {
    if geteuid().is_root() {
        let nobody = nobody();
        nix::unistd::chown(folder, Some(nobody.uid), Some(nobody.gid)).expect("root may");
    }
}

fn nobody() -> User {
    User::from_name("nobody").ok().flatten().expect("nobody")
}

fn me() -> String {
    let user = User::from_uid(geteuid()).ok().flatten();
    user.expect("a user").name
}
