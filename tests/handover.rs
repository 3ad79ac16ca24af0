//! Handover (SIGUSR2) of the real daemon to another process of the installed program: which
//! process accepts and which serves, failures that change nothing, and crashes and signals
//! at each stage.

mod support;

use nix::sys::signal::Signal;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, Successor, TIMEOUT},
    http,
    milter::{Address, MilterClient, Reply},
    port::lasting_address,
};
use tempfile::TempDir;

const CLOSING: &str = "421 4.3.2 Service not available, closing transmission channel";

/// The reply of each generation to a recipient whose domain has not opted in; it shows
/// which configuration the process started with.
fn reply_of(generation: u32) -> String {
    format!("550 5.2.1 generation {generation}")
}

fn configuration(generation: u32, more: &str) -> String {
    format!(
        "dns: {{servers: [\"127.0.0.1:9\"]}}\nreplies: {{not_opted_in: \"{}\"}}\n{more}",
        reply_of(generation)
    )
}

/// The daemon, started through a link to the program as in an installation.
struct Fixture {
    daemon: Daemon,
    program: PathBuf,
    more: String,
    _directory: TempDir,
}

impl Fixture {
    fn new(more: &str) -> Self {
        Self::with_environment(more, &[])
    }

    fn with_environment(more: &str, environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let program = directory.path().join("sixgate");
        symlink(env!("CARGO_BIN_EXE_sixgate"), &program).expect("a link");
        let mut command = Command::new(&program);
        command.envs(environment.iter().copied());
        let daemon = Daemon::start_by(command, &configuration(1, more));
        Self {
            daemon,
            program,
            more: more.to_owned(),
            _directory: directory,
        }
    }

    /// Sets the reply of the next process.
    fn configure(&self, generation: u32) {
        self.configure_with(&configuration(generation, &self.more));
    }

    fn configure_with(&self, text: &str) {
        let socket = self.daemon.socket();
        let text = format!("listen: unix:{}\n{text}", socket.display());
        fs::write(self.daemon.config_file(), text).expect("the configuration can be written");
    }

    /// Replaces the installed program with another file.
    fn install(&self, script: &str) {
        fs::remove_file(&self.program).expect("the program");
        let new = self.program.with_extension("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::rename(new, &self.program).expect("the script");
    }

    fn reinstall(&self) {
        fs::remove_file(&self.program).expect("the program");
        symlink(env!("CARGO_BIN_EXE_sixgate"), &self.program).expect("a link");
    }

    fn client(&self) -> MilterClient {
        client(&self.daemon.address())
    }

    fn new_client_meets(&self, generation: u32) {
        meets(&mut self.client(), generation);
    }
}

/// A client over IPv6 that has sent HELO.
fn client(address: &Address) -> MilterClient {
    let mut mta = MilterClient::open(address);
    let ip: SocketAddr = "[2001:db8:1::10]:25".parse().expect("an address");
    assert_eq!(mta.connect_from("[x]", ip), Reply::Continue);
    assert_eq!(mta.helo("mail.example"), Reply::Continue);
    mta
}

/// Holds a mail transaction with the process of that generation.
fn meets(mta: &mut MilterClient, generation: u32) {
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    recipient_meets(mta, generation);
    mta.abort();
}

fn recipient_meets(mta: &mut MilterClient, generation: u32) {
    let reply = mta.rcpt(&["<b@other.example>"]);
    assert_eq!(reply, Reply::Smtp(reply_of(generation)));
}

fn gets_421(mta: &mut MilterClient) {
    let reply = mta.mail(&["<a@good.example>"]);
    assert_eq!(reply, Reply::Smtp(CLOSING.to_owned()));
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The process id that a script of [`Fixture::install`] has written.
fn pid_in(file: &Path) -> u32 {
    let read = || fs::read_to_string(file).ok()?.trim().parse().ok();
    let mut pid = None;
    wait_until("the script runs", || {
        pid = read();
        pid.is_some()
    });
    pid.expect("a process id")
}

fn handovers(metrics: SocketAddr, result: &str) -> String {
    let series = format!("sixgate_handovers_total{{result=\"{result}\"}} ");
    let page = http::get(metrics, "/metrics").body;
    let value = page.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap_or("none").to_owned()
}

#[test]
fn the_old_process_keeps_its_connections_and_the_new_one_has_the_others() {
    let mut fixture = Fixture::new("");
    let mut kept = fixture.client();
    let mut in_transaction = fixture.client();
    assert_eq!(in_transaction.mail(&["<a@good.example>"]), Reply::Continue);
    let inode = fs::metadata(fixture.daemon.socket())
        .expect("a socket")
        .ino();
    fixture.configure(2);
    let new = fixture.daemon.hand_over();
    assert_ne!(new.pid(), fixture.daemon.pid());
    for _ in 0..20 {
        fixture.new_client_meets(2);
        meets(&mut kept, 1);
    }
    recipient_meets(&mut in_transaction, 1);
    in_transaction.abort();
    meets(&mut in_transaction, 1);

    // It exits with its last connection and keeps the socket.
    assert!(kept.quit());
    assert!(in_transaction.quit());
    assert!(fixture.daemon.wait().success());
    let log = fixture.daemon.log();
    log.wait_for(&[
        "handed over to process",
        &new.pid().to_string(),
        "connections=2",
    ]);
    log.wait_for(&[
        "taking over from process",
        &fixture.daemon.pid().to_string(),
    ]);
    log.wait_for(&["all milter connections are closed", "told_421=0"]);
    let socket = fs::metadata(fixture.daemon.socket()).expect("a socket");
    assert_eq!(socket.ino(), inode);
    fixture.new_client_meets(2);

    new.signal(Signal::SIGTERM);
    new.wait();
    assert!(!fixture.daemon.socket().exists(), "the last one removes it");
}

/// Sets a flag when the scope ends.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Monitoring is answered on a unix socket.
fn assert_is_healthy(socket: &Path) {
    let mut stream = UnixStream::connect(socket).expect("the socket");
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn each_kind_of_socket_is_passed_on_and_no_connection_is_refused_meanwhile() {
    let [ours, metrics] = [lasting_address(), lasting_address()];
    let directory = TempDir::new().expect("a directory");
    let metrics_socket = directory.path().join("metrics.sock");
    let fixture = Fixture::new(&format!(
        "metrics: {{listen: [\"{metrics}\", \"unix:{}\"]}}\n",
        metrics_socket.display()
    ));
    let configure = |generation| {
        let listen = format!(
            "listen: [unix:{}, inet:{ours}]\n{}",
            fixture.daemon.socket().display(),
            configuration(generation, &fixture.more)
        );
        fs::write(fixture.daemon.config_file(), listen).expect("the configuration");
    };
    // A new socket is opened.
    configure(2);
    let mut processes = vec![fixture.daemon.hand_over()];
    let (ended, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
    let connect = |address: &Address| {
        while !ended.load(Ordering::Relaxed) {
            let mut mta = MilterClient::open(address);
            assert_eq!(mta.connect("x", b'4', "192.0.2.1", 25), Reply::Accept);
            connected.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        // Also if an assertion fails; otherwise the scope would wait forever.
        let _end = SetOnDrop(&ended);
        let [tcp, unix] = [Address::Tcp(ours), fixture.daemon.address()];
        scope.spawn(move || connect(&tcp));
        scope.spawn(move || connect(&unix));
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                assert_eq!(http::get(metrics, "/healthz").status, 200);
            }
        });
        for generation in 3..=12 {
            configure(generation);
            let before = connected.load(Ordering::Relaxed);
            processes.last().expect("one").signal(Signal::SIGUSR2);
            processes.push(fixture.daemon.wait_for_successor());
            wait_until("connections are accepted", || {
                connected.load(Ordering::Relaxed) > before + 20
            });
            // The previous process may accept a connection just before it stops.
            wait_until("the new process serves clients", || {
                let mut mta = client(&Address::Tcp(ours));
                assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
                mta.rcpt(&["<b@other.example>"]) == Reply::Smtp(reply_of(generation))
            });
            wait_until("the new process answers", || {
                handovers(metrics, "success") == (generation - 1).to_string()
            });
            assert_is_healthy(&metrics_socket);
        }
    });
    // Both processes close sockets that the configuration no longer names.
    fixture.configure_with(&configuration(13, ""));
    processes.last().expect("one").signal(Signal::SIGUSR2);
    let _last = fixture.daemon.wait_for_successor();
    processes.last().expect("one").wait();
    for address in [ours, metrics] {
        wait_until("it is closed", || TcpStream::connect(address).is_err());
    }
    assert!(!metrics_socket.exists());
    fixture.new_client_meets(13);
}

#[test]
fn a_socket_of_systemd_is_passed_on_by_its_name() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("milter.sock");
    let socket = UnixListener::bind(&path).expect("a socket");
    let daemon = Daemon::start_with_passed_on(&socket, &configuration(1, ""));
    let address = Address::Unix(path.clone());
    let mut kept = client(&address);
    let second = daemon.hand_over();
    second.signal(Signal::SIGUSR2);
    let third = daemon.wait_for_successor();
    meets(&mut kept, 1);
    meets(&mut client(&address), 1);
    for process in [second, third] {
        process.signal(Signal::SIGTERM);
        process.wait();
    }
    assert!(path.exists(), "it is systemd's");
}

#[test]
fn a_new_process_that_does_not_become_ready_changes_nothing() {
    let metrics = lasting_address();
    let fixture = Fixture::new(&format!("metrics: {{listen: inet:{metrics}}}\n"));
    let mut kept = fixture.client();
    let missing = fixture.program.display().to_string();
    let log = fixture.daemon.log();
    let fails = |number: u32, words: &[&str]| {
        fixture.daemon.signal(Signal::SIGUSR2);
        log.wait_for(&[&["no handover, this process continues: "], words].concat());
        fixture.new_client_meets(1);
        wait_until("it is counted", || {
            handovers(metrics, "failure") == number.to_string()
        });
    };
    fixture.configure_with("mode: perhaps\n");
    let file = fixture.daemon.config_file().display().to_string();
    fails(1, &[&format!("{file}:2: mode: \"perhaps\"")]);
    let taken = UnixListener::bind(fixture.daemon.directory().join("taken")).expect("a socket");
    let taken = taken.local_addr().expect("an address");
    let taken = taken.as_pathname().expect("a path").display().to_string();
    let other = configuration(9, "").replace("dns:", "#");
    let listen = format!("listen: [unix:{taken}]\n{other}");
    fs::write(&file, listen).expect("the configuration can be written");
    fails(2, &[&taken, "another process listens on it"]);
    fixture.configure(9);
    fixture.install("echo worse >&2; exit 3");
    fails(3, &["ended before it was ready", "exit status: 3"]);
    log.wait_for(&["worse"]);
    fixture.install("kill -SEGV $$");
    fails(4, &["ended before it was ready", "signal: 11"]);
    fixture.install("exit 0");
    fails(5, &["ended before it was ready", "exit status: 0"]);
    fs::remove_file(&fixture.program).expect("the program");
    fails(6, &["can't start", &missing, "No such file"]);
    fs::write(&fixture.program, "no program").expect("a file");
    fails(7, &["can't start", &missing, "Permission denied"]);
    assert_eq!(handovers(metrics, "success"), "0");

    fixture.reinstall();
    fixture.configure(2);
    let _new = fixture.daemon.hand_over();
    fixture.new_client_meets(2);
    meets(&mut kept, 1);
    assert_eq!(handovers(metrics, "success"), "1");
}

#[test]
#[ignore = "takes a minute"]
fn a_new_process_that_hangs_is_killed_after_a_minute() {
    let fixture = Fixture::new("");
    let pid = fixture.daemon.directory().join("pid");
    fixture.install(&format!("echo $$ >{}; exec sleep 1000", pid.display()));
    fixture.daemon.signal(Signal::SIGUSR2);
    let pid = Successor::of(pid_in(&pid));
    let start = Instant::now();
    while pid.is_running() {
        fixture.new_client_meets(1);
        assert!(start.elapsed() < Duration::from_secs(70));
        thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() > Duration::from_secs(58));
    let log = fixture.daemon.log();
    log.wait_for(&["no handover", "was not ready after 60 s and was killed"]);
}

#[test]
fn signals_while_the_new_process_starts() {
    let fixture = Fixture::new("");
    let log = fixture.daemon.log();
    let pid = fixture.daemon.directory().join("pid");
    let hangs = format!("echo $$ >{}; exec sleep 1000", pid.display());
    let begin = || {
        let _ = fs::remove_file(&pid);
        fixture.daemon.signal(Signal::SIGUSR2);
        Successor::of(pid_in(&pid))
    };
    fixture.install(&hangs);
    let killed = begin();
    fixture.daemon.signal(Signal::SIGUSR2);
    log.wait_for(&["SIGUSR2 is ignored: a handover is in progress"]);
    fixture.configure(2);
    fixture.daemon.signal(Signal::SIGHUP);
    killed.signal(Signal::SIGKILL);
    log.wait_for(&["ended before it was ready", "signal: 9"]);
    // After it is clear which process it is for.
    fixture.daemon.wait_for_notification("RELOADING=1");
    fixture.daemon.wait_for_notification("READY=1");
    fixture.new_client_meets(2);

    let mut in_transaction = fixture.client();
    assert_eq!(in_transaction.mail(&["<a@good.example>"]), Reply::Continue);
    let abandoned = begin();
    fixture.daemon.signal(Signal::SIGTERM);
    abandoned.wait();
    recipient_meets(&mut in_transaction, 2);
    in_transaction.abort();
    gets_421(&mut in_transaction);
    assert!(in_transaction.quit());
    let socket = fixture.daemon.socket();
    assert!(fixture.daemon.wait_for_end().success());
    assert!(!socket.exists());
}

#[test]
fn signals_to_the_old_process_after_a_handover() {
    let mut fixture = Fixture::new("");
    let log = fixture.daemon.log();
    let mut kept = fixture.client();
    let mut in_transaction = fixture.client();
    let new = fixture.daemon.hand_over();
    fixture.configure(2);
    fixture.daemon.signal(Signal::SIGHUP);
    fixture.daemon.wait_for_notification("RELOADING=1");
    fixture.daemon.wait_for_notification("READY=1");
    fixture.new_client_meets(2);
    meets(&mut kept, 1);
    fixture.daemon.signal(Signal::SIGUSR2);
    log.wait_for(&["SIGUSR2 is ignored", "has taken over"]);

    assert_eq!(in_transaction.mail(&["<a@good.example>"]), Reply::Continue);
    fixture.daemon.signal(Signal::SIGTERM);
    log.wait_for(&["stopping"]);
    gets_421(&mut kept);
    recipient_meets(&mut in_transaction, 1);
    in_transaction.abort();
    gets_421(&mut in_transaction);
    assert!(kept.quit());
    assert!(in_transaction.quit());
    assert!(fixture.daemon.wait().success());
    assert!(new.is_running());
    fixture.new_client_meets(2);
    // The service does not stop.
    let notified = fixture.daemon.pending_notifications();
    assert!(
        !notified.iter().any(|line| line == "STOPPING=1"),
        "{notified:?}"
    );
}

#[test]
fn the_old_process_drains_when_the_handover_timeout_is_over() {
    let mut fixture = Fixture::new("limits: {handover_timeout: 1s, drain_grace: 1m}\n");
    let mut idle = fixture.client();
    let mut in_transaction = fixture.client();
    assert_eq!(in_transaction.mail(&["<a@good.example>"]), Reply::Continue);
    let _new = fixture.daemon.hand_over();
    let start = Instant::now();
    meets(&mut idle, 1);
    fixture
        .daemon
        .log()
        .wait_for(&["limits.handover_timeout is over"]);
    assert!(start.elapsed() > Duration::from_millis(900));
    // Logged when the drain has started.
    fixture.daemon.log().wait_for(&["stopping"]);
    gets_421(&mut idle);
    assert!(idle.quit());
    recipient_meets(&mut in_transaction, 1);
    in_transaction.abort();
    gets_421(&mut in_transaction);
    assert!(in_transaction.quit());
    assert!(fixture.daemon.wait().success());
    fixture.daemon.log().wait_for(&["told_421=2"]);
    fixture.new_client_meets(1);
}

#[test]
fn if_the_new_process_crashes_the_old_one_accepts_again() {
    let metrics = lasting_address();
    let fixture = Fixture::new(&format!("metrics: {{listen: inet:{metrics}}}\n"));
    let mut kept = fixture.client();
    fixture.configure(2);
    let new = fixture.daemon.hand_over();
    let mut lost = fixture.client();
    meets(&mut lost, 2);
    new.signal(Signal::SIGKILL);
    let main_pid = fixture.daemon.wait_for_notification_of("MAINPID=");
    assert_eq!(main_pid, format!("MAINPID={}", fixture.daemon.pid()));
    let log = fixture.daemon.log();
    log.wait_for(&["has crashed (signal: 9", "accepts connections again"]);
    assert_eq!(lost.receive_frame(), None);
    meets(&mut kept, 1);
    fixture.new_client_meets(1);
    assert_eq!(handovers(metrics, "failure"), "1");

    let next = fixture.daemon.hand_over();
    fixture.new_client_meets(2);
    meets(&mut kept, 1);
    next.signal(Signal::SIGTERM);
    next.wait();
    // It has exited normally.
    assert!(!fixture.daemon.socket().exists());
    meets(&mut kept, 1);
    assert!(kept.quit());
    assert!(fixture.daemon.stop().success());
}

#[test]
fn if_the_old_process_is_killed_the_new_one_keeps_serving() {
    let mut fixture = Fixture::new("");
    let mut lost = fixture.client();
    let go = fixture.daemon.directory().join("go");
    let pid = fixture.daemon.directory().join("pid");
    fixture.configure(2);
    fixture.install(&format!(
        "echo $$ >{}; until [ -e {} ]; do sleep 0.01; done; exec {} \"$@\"",
        pid.display(),
        go.display(),
        env!("CARGO_BIN_EXE_sixgate")
    ));
    fixture.daemon.signal(Signal::SIGUSR2);
    let new = Successor::of(pid_in(&pid));
    fixture.daemon.kill();
    assert_eq!(lost.receive_frame(), None);
    fs::write(go, "").expect("a file");
    // Connections made in the meantime wait for it.
    fixture.new_client_meets(2);

    new.signal(Signal::SIGUSR2);
    let mut kept = fixture.client();
    let third = fixture.daemon.wait_for_successor();
    new.signal(Signal::SIGKILL);
    new.wait();
    drop(kept.receive_frame());
    assert!(third.is_running());
    fixture.new_client_meets(2);
}

#[test]
fn a_handover_of_a_handover() {
    let mut fixture = Fixture::new("");
    let mut first = fixture.client();
    fixture.configure(2);
    let second_process = fixture.daemon.hand_over();
    let mut second = fixture.client();
    fixture.configure(3);
    second_process.signal(Signal::SIGUSR2);
    let third_process = fixture.daemon.wait_for_successor();
    let mut third = fixture.client();
    for _ in 0..3 {
        meets(&mut first, 1);
        meets(&mut second, 2);
        meets(&mut third, 3);
    }
    // Of the processes that still run, the one that has handed over to it accepts again.
    third_process.signal(Signal::SIGKILL);
    let main_pid = fixture.daemon.wait_for_notification_of("MAINPID=");
    assert_eq!(main_pid, format!("MAINPID={}", second_process.pid()));
    for _ in 0..20 {
        fixture.new_client_meets(2);
    }
    meets(&mut first, 1);
    // The first process does not react to the crash of a process that has handed over
    // since.
    fixture.configure(4);
    second_process.signal(Signal::SIGUSR2);
    let _fourth = fixture.daemon.wait_for_successor();
    second_process.signal(Signal::SIGKILL);
    second_process.wait();
    for _ in 0..20 {
        fixture.new_client_meets(4);
    }
    meets(&mut first, 1);
    assert!(first.quit());
    assert!(fixture.daemon.wait().success());
    fixture.new_client_meets(4);
}

#[test]
fn only_the_process_that_accepts_feeds_the_watchdog() {
    let pid = std::process::id().to_string();
    // As long as WATCHDOG_PID names another process, it does not apply to this one.
    let environment = [("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", pid.as_str())];
    let fixture = Fixture::with_environment("", &environment);
    let _kept = fixture.client();
    let new = fixture.daemon.hand_over();
    fixture.daemon.wait_for_notification("WATCHDOG=1");
    fixture.daemon.wait_for_notification("WATCHDOG=1");
    new.signal(Signal::SIGSTOP);
    thread::sleep(Duration::from_millis(200));
    fixture.daemon.pending_notifications();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(fixture.daemon.pending_notifications(), [""; 0]);
    new.signal(Signal::SIGKILL);
    // That of the crash.
    fixture.daemon.wait_for_notification_of("MAINPID=");
}

#[test]
fn a_program_that_was_started_by_a_bare_name_is_found_again() {
    let path = Path::new(env!("CARGO_BIN_EXE_sixgate"));
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "exec sixgate \"$@\"", "sh"])
        .env("PATH", path.parent().expect("a folder"))
        .stdin(Stdio::null());
    let daemon = Daemon::start_by(command, &configuration(1, ""));
    let _new = daemon.hand_over();
    meets(&mut client(&daemon.address()), 1);
}
