//! `opt_in.sql` with real PostgreSQL, MariaDB and SQLite: the meaning of rows, answers
//! while the database is slow, frozen, emptied or restarted under load, and errors for an
//! invalid configuration. Outages are in opt_in_fleet.rs.

mod support;

use libtest_mimic::{Arguments, Trial};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    database::{Database, Engine, PASSWORD, QUERY},
    http,
    opt_in::{
        Commands, NO_CACHE,
        OptIn::{InDoubt, No, Yes},
        ask, daemon, opt_in, settings, wait_for,
    },
    outage::{self, domains_of_load, restart_under_load},
    output::stderr,
    trial::needing,
};

const FLEET: &str = include_str!("../docs/fleet.md");

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests mostly wait for servers, so more of them run than there are cores.
    arguments.test_threads.get_or_insert(4);
    let mut trials = vec![
        trial("a frozen server blocks no mail", Engine::Postgres, frozen),
        trial("a frozen MariaDB blocks no mail", Engine::MariaDb, frozen),
        trial(
            "a slow query is waited for up to the timeout",
            Engine::Postgres,
            slow,
        ),
        trial(
            "a SQLite query without end is interrupted",
            Engine::Sqlite,
            endless,
        ),
        trial(
            "the second URL serves while the first fails",
            Engine::Postgres,
            failover,
        ),
        trial("a certificate is verified", Engine::Postgres, tls),
        trial(
            "a server is restarted under load",
            Engine::Postgres,
            restarted_under_load,
        ),
        trial(
            "a MariaDB is restarted under load",
            Engine::MariaDb,
            restarted_under_load,
        ),
        trial(
            "a SQLite file is replaced under load",
            Engine::Sqlite,
            restarted_under_load,
        ),
        trial(
            "a sentinel row shows after a restart that an empty table is not lost",
            Engine::Sqlite,
            sentinel,
        ),
        trial(
            "unreachable at the start",
            Engine::Postgres,
            unreachable_at_the_start,
        ),
        trial(
            "the manual matches subdomains in PostgreSQL",
            Engine::Postgres,
            subdomains,
        ),
        trial(
            "the manual matches subdomains in MariaDB",
            Engine::MariaDb,
            subdomains,
        ),
        trial(
            "the manual matches subdomains in SQLite",
            Engine::Sqlite,
            subdomains,
        ),
    ];
    for engine in Engine::ALL {
        let name = |what: &str| format!("{what} ({engine:?})");
        trials.push(trial(&name("rows are answers"), engine, rows_are_answers));
        trials.push(trial(&name("an emptied table"), engine, emptied));
        trials.push(trial(&name("wrong queries"), engine, wrong_queries));
    }
    for panel in panels() {
        let name = format!(
            "the query of the manual for {} ({:?})",
            panel.name, panel.engine
        );
        let programs = panel.engine.programs();
        trials.push(needing(&name, programs, move || query_of_panel(&panel)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, engine: Engine, test: fn(Engine)) -> Trial {
    needing(name, engine.programs(), move || test(engine))
}

/// Boolean types of a database: the type of the column, yes and no.
fn types(engine: Engine) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut types = vec![
        ("BOOLEAN", "TRUE", "FALSE"),
        ("SMALLINT", "1", "0"),
        ("INTEGER", "7", "0"),
        ("BIGINT", "-1", "0"),
        ("VARCHAR(9)", "'Yes'", "'no'"),
        ("CHAR(3)", "'y'", "'n'"),
        ("TEXT", "'true'", "'false'"),
    ];
    types.extend(match engine {
        Engine::Postgres => vec![
            ("NUMERIC", "1.00", "0.00"),
            ("BIT(1)", "B'1'", "B'0'"),
            ("\"char\"", "'t'", "'f'"),
            ("mood", "'on'", "'off'"),
        ],
        Engine::MariaDb => vec![
            ("TINYINT UNSIGNED", "200", "0"),
            ("BIGINT UNSIGNED", "18446744073709551615", "0"),
            ("ENUM('n','y')", "'y'", "'n'"),
            ("DECIMAL(4,2)", "1", "0"),
            ("BIT(1)", "b'1'", "b'0'"),
        ],
        Engine::Sqlite => Vec::new(),
    });
    types
}

fn rows_are_answers(engine: Engine) {
    let database = Database::start(engine);
    if engine == Engine::Postgres {
        database.execute("CREATE TYPE mood AS ENUM ('on', 'off')");
    }
    let commands = Commands::new(&database.section(QUERY));
    for (kind, yes, no) in types(engine) {
        database.execute(&format!(
            "DROP TABLE IF EXISTS opt_in; \
             CREATE TABLE opt_in (domain VARCHAR(255), ipv6 {kind}); \
             INSERT INTO opt_in VALUES ('yes.example', {yes}), ('no.example', {no}), \
             ('null.example', NULL), ('twice.example', {yes}), ('twice.example', NULL), \
             ('twice.example', {yes}), ('both.example', {yes}), ('both.example', {no}), \
             ('xn--bcher-kva.example', {yes});"
        ));
        let domains = [
            "Yes.example",
            "no.example",
            "null.example",
            "none.example",
            "twice.example",
            "both.example",
            "bücher.example",
            "x.yes.example",
        ];
        let said = commands.verdicts(&domains);
        let said: Vec<(&str, &str)> = said.iter().map(|(v, s)| (v.as_str(), s.as_str())).collect();
        let want = [
            ("yes", "sql"),
            ("no", "sql"),
            ("no", "default"),
            ("no", "default"),
            ("yes", "sql"),
            ("unknown", "sql"),
            ("yes", "sql"),
            ("no", "default"),
        ];
        assert_eq!(said, want, "{kind}");
    }
    let reason = commands.run(&["opt-in", "status", "both.example"], "");
    let reason = String::from_utf8_lossy(&reason.stdout);
    assert!(
        reason.contains("rows that contradict each other"),
        "{reason}"
    );
}

/// The results of the query check in `check-config` and `doctor`.
fn wrong_queries(engine: Engine) {
    let database = Database::with_table(engine);
    database.execute("CREATE TABLE other (d DATE, f DOUBLE PRECISION, domain VARCHAR(255));");
    database.execute("INSERT INTO other VALUES ('2026-01-01', 1.5, 'sixgate-probe.invalid');");
    let commands = Commands::new(&database.section(QUERY));
    let output = commands.run(&["check-config"], "");
    assert_eq!(stderr(&output), "", "{engine:?}");
    let shown = commands.run(&["check-config", "--show"], "");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned() + &stderr(&shown);
    assert!(
        shown.contains(QUERY) && !shown.contains("hunter2"),
        "{shown}"
    );

    let table = [
        (
            "SELECT ipv6, domain FROM opt_in WHERE domain = :domain",
            "returns 2 columns",
        ),
        ("SELEC ipv6 FROM opt_in WHERE domain = :domain", "syntax"),
        (
            "SELECT ipv6 FROM no_table WHERE domain = :domain",
            "no_table",
        ),
        (
            "SELECT no_column FROM opt_in WHERE domain = :domain",
            "no_column",
        ),
        (
            "SELECT d FROM other WHERE domain = :domain",
            "2026-01-01|the type DATE",
        ),
        (
            "DELETE FROM opt_in WHERE domain = :domain",
            "must be a SELECT|command denied",
        ),
    ];
    for (query, want) in table {
        commands.configure(&database.section(query));
        let output = commands.run(&["check-config"], "");
        let said = stderr(&output);
        let place = format!("{}:2: opt_in.sql.query: ", commands.file().display());
        assert!(said.starts_with(&place), "{query}: {said}");
        assert!(
            want.split('|').any(|want| said.contains(want)),
            "{query}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(output.status.code(), Some(78), "{query}");
        let doctor = commands.run(&["doctor"], "");
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains("refuses the query: "), "{query}: {doctor}");
    }
    commands.configure(&database.section(QUERY));
    let doctor = commands.run(&["doctor"], "");
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains(" answers the query"), "{doctor}");
    if engine != Engine::Sqlite {
        wrong_passwords(&database, &commands);
    }
}

fn wrong_passwords(database: &Database, commands: &Commands) {
    let file = database.password_file();
    let name = file.display().to_string();
    let warnings = |commands: &Commands| {
        let output = commands.run(&["check-config"], "");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(!stderr(&output).contains("hunter2"), "{}", stderr(&output));
        stderr(&output)
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("our file");
    let warned = warnings(commands);
    let want = format!("opt_in.sql.password_file: every user of this machine can read {name}; ");
    assert!(warned.contains(&want), "{warned}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our file");

    let broken: [(&str, &str); 3] = [
        (
            "hunter2x\n",
            "can't be queried, so the query was not checked: ",
        ),
        ("", "has an empty first line"),
        ("\n", "has an empty first line"),
    ];
    for (text, want) in broken {
        fs::write(&file, text).expect("our file");
        let warned = warnings(commands);
        assert!(warned.contains(want), "{text:?}: {warned}");
        assert_eq!(warned.lines().count(), 1, "{warned}");
        assert_eq!(commands.verdicts(&["a.example"])[0].0, "unknown");
    }
    fs::remove_file(&file).expect("our file");
    let warned = warnings(commands);
    assert!(
        warned.contains(&format!("{name} can't be read: No such file")),
        "{warned}"
    );
    // A systemd credential.
    let folder = file.parent().expect("a folder");
    fs::write(
        folder.join("credential"),
        format!("{PASSWORD}\nsecond line\n"),
    )
    .expect("ours");
    let section = database
        .section(QUERY)
        .replace(&name, "$CREDENTIALS_DIRECTORY/credential");
    commands.configure(&section);
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["check-config", "-c"])
        .arg(commands.file())
        .env("CREDENTIALS_DIRECTORY", folder)
        .output()
        .expect("the program starts");
    assert_eq!(stderr(&output), "");
}

fn insert(database: &Database, domains: &[(&str, &str)]) {
    for (domain, value) in domains {
        database.execute(&format!("INSERT INTO opt_in VALUES ('{domain}', {value});"));
    }
}

/// An empty table does not mean that no domain has opted in.
fn emptied(engine: Engine) {
    let database = Database::with_table(engine);
    insert(
        &database,
        &[
            ("a.example", "TRUE"),
            ("b.example", "FALSE"),
            ("c.example", "TRUE"),
        ],
    );
    let daemon = daemon(&database.section(QUERY));
    let all = ["a.example", "b.example", "c.example", "unlisted.example"];
    let answers = |daemon: &Daemon| all.map(|domain| opt_in(daemon, domain));
    assert_eq!(answers(&daemon), [Yes, No, Yes, No]);
    // A removed domain is out, because the others still exist.
    database.execute("DELETE FROM opt_in WHERE domain = 'c.example';");
    wait_for(&daemon, "c.example", No);
    for damage in [
        "DELETE FROM opt_in;",
        "ALTER TABLE opt_in RENAME TO kept;",
        "DROP TABLE opt_in;",
    ] {
        database.execute(damage);
        for _ in 0..2 {
            assert_eq!(answers(&daemon), [Yes, No, No, No], "{damage}");
            assert_eq!(
                opt_in(&daemon, &format!("new-{}.example", damage.len())),
                InDoubt
            );
        }
        match damage {
            "DELETE FROM opt_in;" => {}
            "DROP TABLE opt_in;" => database.execute(support::database::TABLE),
            _ => database.execute("ALTER TABLE kept RENAME TO opt_in; DELETE FROM opt_in;"),
        }
        insert(&database, &[("a.example", "TRUE"), ("b.example", "FALSE")]);
        wait_for(&daemon, &format!("new-{}.example", damage.len()), No);
        assert_eq!(answers(&daemon), [Yes, No, No, No], "after {damage}");
        if damage.starts_with("DELETE") {
            daemon
                .log()
                .wait_for(&["the table seems to have been emptied"]);
        }
    }
}

fn sentinel(engine: Engine) {
    let database = Database::with_table(engine);
    insert(
        &database,
        &[("sentinel.example", "FALSE"), ("a.example", "TRUE")],
    );
    let url = format!("\"{}\"", database.url());
    let section = database.section_with(&url, QUERY, ", sentinel: sentinel.example");
    let before = daemon(&section);
    assert_eq!(opt_in(&before, "a.example"), Yes);
    assert_eq!(opt_in(&before, "unlisted.example"), No);
    drop(before);
    database.execute("DELETE FROM opt_in;");
    // Nothing is cached, and still no mail is refused permanently.
    let after = daemon(&section);
    for domain in ["a.example", "unlisted.example"] {
        assert_eq!(opt_in(&after, domain), InDoubt, "{domain}");
    }
    after
        .log()
        .wait_for(&["there is no row for sentinel.example (opt_in.sql.sentinel)"]);
    insert(&database, &[("sentinel.example", "FALSE")]);
    wait_for(&after, "unlisted.example", No);
}

fn frozen(engine: Engine) {
    let database = Database::with_table(engine);
    insert(&database, &[("a.example", "TRUE"), ("b.example", "FALSE")]);
    let url = format!("\"{}\"", database.url());
    let daemon = daemon(&database.section_with(&url, QUERY, ", timeout: 1s"));
    outage::frozen(&daemon, Duration::from_secs(8), |is| database.freeze(is));
}

fn slow(engine: Engine) {
    let database = Database::with_table(engine);
    insert(&database, &[("a.example", "TRUE"), ("b.example", "TRUE")]);
    database
        .execute("CREATE TABLE delay (seconds DOUBLE PRECISION); INSERT INTO delay VALUES (0);");
    let query = "SELECT ipv6 FROM opt_in, (SELECT pg_sleep(seconds) FROM delay) AS slept \
                 WHERE domain = :domain";
    let url = format!("\"{}\"", database.url());
    let daemon = daemon(&database.section_with(&url, query, ", timeout: 2s"));
    assert_eq!(opt_in(&daemon, "a.example"), Yes);
    database.execute("UPDATE delay SET seconds = 0.5");
    let (answer, took) = ask(&daemon, "b.example");
    assert_eq!(answer, Yes);
    assert!(took > Duration::from_millis(400), "{took:?}");
    database.execute("UPDATE delay SET seconds = 60");
    let (answer, took) = ask(&daemon, "c.example");
    assert_eq!(answer, InDoubt);
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(opt_in(&daemon, "a.example"), Yes);
    daemon.log().wait_for(&["no answer within 2s"]);
}

fn endless(engine: Engine) {
    let database = Database::with_table(engine);
    insert(&database, &[("a.example", "TRUE")]);
    let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                 SELECT count(*) FROM n WHERE :domain <> ''";
    let url = format!("\"{}\"", database.url());
    let daemon = daemon(&database.section_with(&url, query, ", timeout: 500ms"));
    for n in 0..4 {
        assert_eq!(opt_in(&daemon, &format!("a{n}.example")), InDoubt);
    }
    // Its threads have abandoned the query too.
    let deadline = Instant::now() + TIMEOUT;
    let stat = format!("/proc/{}/stat", daemon.pid());
    let used = || {
        let stat = fs::read_to_string(&stat).expect("it runs");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().expect("ticks")
    };
    loop {
        let before = used();
        thread::sleep(Duration::from_millis(500));
        // The probe continues, one query at a time; a hundred ticks are a second.
        if used() - before < 60 {
            break;
        }
        assert!(Instant::now() < deadline, "the query is still running");
    }
}

fn failover(engine: Engine) {
    let mut first = Database::with_table(engine);
    let second = Database::with_table(engine);
    for database in [&first, &second] {
        insert(database, &[("a.example", "TRUE")]);
    }
    insert(&first, &[("first.example", "TRUE")]);
    insert(&second, &[("second.example", "TRUE")]);
    let urls = format!("[\"{}\", \"{}\"]", first.url(), second.url());
    let daemon = daemon(&first.section_with(&urls, QUERY, ", timeout: 1s"));
    assert_eq!(opt_in(&daemon, "first.example"), Yes);
    assert_eq!(opt_in(&daemon, "second.example"), No);
    first.freeze(true);
    wait_for(&daemon, "second.example", Yes);
    outage::answered_within(Duration::from_secs(1), &daemon, No, |n| {
        format!("unheard{n}.example")
    });
    first.freeze(false);
    first.stop();
    assert_eq!(opt_in(&daemon, "second.example"), Yes);
    first.run();
    wait_for(&daemon, "first.example", Yes);
    wait_for(&daemon, "second.example", No);
}

fn tls(engine: Engine) {
    let mut database = Database::with_table(engine);
    insert(&database, &[("a.example", "TRUE")]);
    database.certify();
    let url = database.url().replace("127.0.0.1", "localhost");
    let certificate = database.path("server.crt");
    let verified = format!(
        "\"{url}?sslmode=verify-full&sslrootcert={}\"",
        certificate.display()
    );
    let table = [
        (verified.clone(), "yes", ""),
        (
            verified.replace("localhost", "127.0.0.1"),
            "unknown",
            "certificate",
        ),
        // This is not a public CA.
        (
            format!("\"{url}?sslmode=verify-full\""),
            "unknown",
            "certificate",
        ),
        (format!("\"{url}?sslmode=require\""), "yes", ""),
    ];
    for (url, want, reason) in table {
        let commands = Commands::new(&database.section_with(&url, QUERY, ", timeout: 8s"));
        assert_eq!(commands.verdicts(&["a.example"])[0].0, want, "{url}");
        let warned = stderr(&commands.run(&["check-config"], ""));
        assert!(warned.contains(reason), "{url}: {warned}");
        assert_eq!(warned.is_empty(), want == "yes", "{url}: {warned}");
    }
}

fn restarted_under_load(engine: Engine) {
    let mut database = Database::with_table(engine);
    let rows = domains_of_load().map(|domain| format!("('{domain}', TRUE)"));
    let rows = rows.collect::<Vec<_>>().join(", ");
    database.execute(&format!("INSERT INTO opt_in VALUES {rows};"));
    let daemon = daemon(&database.section(QUERY));
    restart_under_load(&daemon, |is_up| match is_up {
        true => {
            if engine == Engine::Sqlite {
                fs::rename(database.path("gone.db"), database.path("mail.db")).expect("ours");
            }
            database.run();
        }
        false => database.stop(),
    });
}

fn unreachable_at_the_start(engine: Engine) {
    let mut database = Database::with_table(engine);
    insert(&database, &[("a.example", "TRUE")]);
    database.stop();
    let monitor = http::free_address();
    let daemon = Daemon::start(&format!(
        "opt_in: {{{}, {NO_CACHE}}}\nmetrics: {{listen: \"{}\"}}\n{}",
        database.section(QUERY),
        format_args!("inet:{monitor}"),
        settings()
    ));
    assert_eq!(opt_in(&daemon, "a.example"), InDoubt);
    let ready = || http::get(monitor, "/readyz");
    assert_eq!(ready().status, 503);
    assert!(ready().body.contains("sql: "), "{}", ready().body);
    let line = daemon
        .log()
        .wait_for(&["opt_in.sql postgres://sixgate@127.0.0.1:"]);
    assert!(line.contains("gives no usable answer"), "{line}");
    let metrics = http::get(monitor, "/metrics").body;
    assert!(
        metrics.contains("sixgate_opt_in_stale{source=\"sql\"} 1"),
        "{metrics}"
    );
    database.run();
    // Without mail.
    let deadline = Instant::now() + TIMEOUT;
    while ready().body.contains("sql: ") {
        assert!(Instant::now() < deadline, "{}", ready().body);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(opt_in(&daemon, "a.example"), Yes);
    let metrics = http::get(monitor, "/metrics").body;
    assert!(
        metrics.contains("sixgate_opt_in_stale{source=\"sql\"} 0"),
        "{metrics}"
    );
    assert!(!daemon.log().text().contains("hunter2"));
}

/// Returns the first code block of a language after the first line with these words.
fn block(words: &str, language: &str) -> String {
    let behind = FLEET
        .split_once(words)
        .unwrap_or_else(|| panic!("no {words}"))
        .1;
    let opening = format!("```{language}\n");
    let block = behind
        .split_once(&opening)
        .unwrap_or_else(|| panic!("no block behind {words}"));
    let text = block.1.split_once("```").expect("its end").0;
    text.to_owned()
}

/// A query on one line, for flow style.
fn on_one_line(query: &str) -> String {
    let words: Vec<&str> = query.split_whitespace().collect();
    words.join(" ").trim_end_matches(';').to_owned()
}

fn subdomains(engine: Engine) {
    let database = Database::start(engine);
    database.execute(&block("### Subdomains in SQL", "sql"));
    let heading = match engine {
        Engine::Postgres => "For PostgreSQL:",
        Engine::MariaDb => "For MySQL and MariaDB:",
        Engine::Sqlite => "For SQLite:",
    };
    let commands = Commands::new(&database.section(&on_one_line(&block(heading, "sql"))));
    let table = [
        ("contoso.com", "yes"),
        ("mail.contoso.com", "yes"),
        ("a.b.contoso.com", "yes"),
        ("legacy.contoso.com", "no"),
        ("a.legacy.contoso.com", "yes"),
        ("notcontoso.com", "no"),
        ("fabrikam.com", "yes"),
        ("mail.fabrikam.com", "no"),
    ];
    let said = commands.verdicts(&table.map(|(domain, _)| domain));
    for ((domain, want), (verdict, _)) in table.iter().zip(said) {
        assert_eq!(verdict, *want, "{domain}");
    }
}

/// A control panel, with tables of the same structure.
struct Panel {
    name: &'static str,
    engine: Engine,
    tables: &'static str,
}

/// `on.example` is active, `off.example` is not.
fn panels() -> Vec<Panel> {
    let panel = |name, engine, tables| Panel {
        name,
        engine,
        tables,
    };
    vec![
        panel(
            "PostfixAdmin",
            Engine::MariaDb,
            "CREATE TABLE domain (domain varchar(255) NOT NULL, description varchar(255) NOT NULL, \
             aliases int NOT NULL DEFAULT 0, mailboxes int NOT NULL DEFAULT 0, \
             maxquota bigint NOT NULL DEFAULT 0, quota bigint NOT NULL DEFAULT 0, \
             transport varchar(255) NOT NULL, backupmx tinyint(1) NOT NULL DEFAULT 0, \
             created datetime NOT NULL DEFAULT '2000-01-01', \
             modified datetime NOT NULL DEFAULT '2000-01-01', \
             active tinyint(1) NOT NULL DEFAULT 1, PRIMARY KEY (domain)); \
             INSERT INTO domain (domain, description, transport, active) VALUES \
             ('on.example', '', '', 1), ('off.example', '', '', 0);",
        ),
        panel(
            "PostfixAdmin",
            Engine::Postgres,
            "CREATE TABLE domain (domain character varying(255) PRIMARY KEY, \
             description character varying(255) NOT NULL DEFAULT '', \
             aliases integer NOT NULL DEFAULT 0, transport character varying(255), \
             backupmx boolean NOT NULL DEFAULT false, \
             created timestamp with time zone DEFAULT now(), \
             active boolean NOT NULL DEFAULT true); \
             INSERT INTO domain (domain, active) VALUES ('on.example', true), \
             ('off.example', false);",
        ),
        panel(
            "ISPConfig",
            Engine::MariaDb,
            "CREATE TABLE mail_domain (domain_id int unsigned NOT NULL AUTO_INCREMENT, \
             sys_userid int unsigned NOT NULL DEFAULT 0, server_id int unsigned NOT NULL DEFAULT 0, \
             domain varchar(255) NOT NULL DEFAULT '', dkim enum('n','y') NOT NULL DEFAULT 'n', \
             active enum('n','y') NOT NULL DEFAULT 'n', PRIMARY KEY (domain_id), \
             KEY domain_1 (domain)); \
             INSERT INTO mail_domain (domain, active) VALUES ('on.example', 'y'), \
             ('off.example', 'n');",
        ),
        panel(
            "Froxlor",
            Engine::MariaDb,
            "CREATE TABLE panel_domains (id int unsigned NOT NULL AUTO_INCREMENT, \
             domain varchar(255) NOT NULL, customerid int unsigned NOT NULL DEFAULT 0, \
             isemaildomain tinyint(1) NOT NULL DEFAULT 0, email_only tinyint(1) NOT NULL DEFAULT 0, \
             deactivated tinyint(1) NOT NULL DEFAULT 0, PRIMARY KEY (id), KEY domain (domain)); \
             INSERT INTO panel_domains (domain, isemaildomain, deactivated) VALUES \
             ('on.example', 1, 0), ('off.example', 1, 1), ('web.example', 0, 0);",
        ),
        panel(
            "Modoboa",
            Engine::Postgres,
            "CREATE TABLE admin_domain (id serial PRIMARY KEY, creation timestamptz, \
             name character varying(100) NOT NULL UNIQUE, quota bigint NOT NULL DEFAULT 0, \
             enabled boolean NOT NULL, type character varying(20) NOT NULL); \
             CREATE TABLE admin_domainalias (id serial PRIMARY KEY, \
             name character varying(254) NOT NULL UNIQUE, enabled boolean NOT NULL, \
             target_id integer NOT NULL REFERENCES admin_domain (id)); \
             INSERT INTO admin_domain (name, enabled, type) VALUES \
             ('on.example', true, 'domain'), ('off.example', false, 'domain'); \
             INSERT INTO admin_domainalias (name, enabled, target_id) VALUES \
             ('alias.example', true, 1);",
        ),
        panel(
            "iRedMail",
            Engine::MariaDb,
            "CREATE TABLE domain (domain varchar(255) NOT NULL DEFAULT '', description text, \
             aliases int NOT NULL DEFAULT 0, transport varchar(255) NOT NULL DEFAULT 'dovecot', \
             backupmx tinyint(1) NOT NULL DEFAULT 0, active tinyint(1) NOT NULL DEFAULT 1, \
             PRIMARY KEY (domain)); \
             CREATE TABLE alias_domain (alias_domain varchar(255) NOT NULL, \
             target_domain varchar(255) NOT NULL, active tinyint(1) NOT NULL DEFAULT 1, \
             PRIMARY KEY (alias_domain)); \
             INSERT INTO domain (domain, active) VALUES ('on.example', 1), ('off.example', 0); \
             INSERT INTO alias_domain (alias_domain, target_domain) VALUES \
             ('alias.example', 'on.example');",
        ),
        panel(
            "iRedMail",
            Engine::Postgres,
            "CREATE TABLE domain (domain VARCHAR(255) NOT NULL DEFAULT '' PRIMARY KEY, \
             description TEXT NOT NULL DEFAULT '', aliases INT8 NOT NULL DEFAULT 0, \
             backupmx INT2 NOT NULL DEFAULT 0, active INT2 NOT NULL DEFAULT 1); \
             CREATE TABLE alias_domain (alias_domain VARCHAR(255) NOT NULL PRIMARY KEY, \
             target_domain VARCHAR(255) NOT NULL, active INT2 NOT NULL DEFAULT 1); \
             INSERT INTO domain (domain, active) VALUES ('on.example', 1), ('off.example', 0); \
             INSERT INTO alias_domain (alias_domain, target_domain) VALUES \
             ('alias.example', 'on.example');",
        ),
    ]
}

fn query_of_panel(panel: &Panel) {
    let database = Database::start(panel.engine);
    database.execute(panel.tables);
    // All panels have the same table of exceptions.
    database.execute(&block("has no such table yet, create one:", "sql"));
    let query = on_one_line(&block(&format!("#### {}", panel.name), "sql"));
    let commands = Commands::new(&database.section(&query));
    let checked = commands.run(&["check-config"], "");
    assert_eq!(stderr(&checked), "", "{}", panel.name);
    let has_aliases = panel.tables.contains("alias.example");
    let is_froxlor = panel.tables.contains("web.example");
    let mut table = vec![("on.example", "yes", "sql"), ("off.example", "no", "sql")];
    table.push(("elsewhere.example", "no", "default"));
    table.extend(has_aliases.then_some(("alias.example", "yes", "sql")));
    table.extend(is_froxlor.then_some(("web.example", "no", "default")));
    let domains: Vec<&str> = table.iter().map(|(domain, ..)| *domain).collect();
    for ((domain, verdict, source), said) in table.iter().zip(commands.verdicts(&domains)) {
        let want = ((*verdict).to_owned(), (*source).to_owned());
        assert_eq!(said, want, "{}: {domain}", panel.name);
    }
    // An exception that the owner has set.
    database.execute("INSERT INTO sixgate_opt_in VALUES ('on.example', FALSE);");
    assert_eq!(
        commands.verdicts(&["on.example"])[0].0,
        "no",
        "{}",
        panel.name
    );
}
