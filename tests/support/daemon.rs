//! The real program, started with its own configuration and stopped at the end of the test.
//!
//! Nothing sleeps: readiness is received on systemd's notification socket, and log lines
//! from a pipe.

use super::milter::Address;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The time limit on a busy machine for anything that should happen at once.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// `sixgate serve`, ready. Dropping it kills it.
pub struct Daemon {
    child: Child,
    directory: TempDir,
    notifications: UnixDatagram,
    log: Arc<Log>,
}

impl Daemon {
    /// Starts with the text of a configuration, to which the listening socket is added, and
    /// waits until the daemon is ready. Panics with its log if it exits instead.
    pub fn start(config: &str) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_sixgate")), config)
    }

    /// As [`Daemon::start`], through a command that gets the arguments of the program.
    pub fn start_by(mut command: Command, config: &str) -> Self {
        command.stdin(Stdio::null());
        // An MTA's user has to reach the socket.
        let directory = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        let socket = directory.path().join("milter.sock");
        let config = format!("listen: unix:{}\n{config}", socket.display());
        let daemon = Self::spawn(directory, command, &config);
        daemon.wait_for_notification("READY=1");
        daemon
    }

    /// As [`Daemon::start`], with this limit of open files.
    pub fn start_with_open_files(config: &str, soft: u64, hard: u64) -> Self {
        // Only a shell can lower the limit of a process before it starts.
        let limits = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &limits])
            .arg(env!("CARGO_BIN_EXE_sixgate"));
        Self::start_by(command, config)
    }

    /// As [`Daemon::start`], with a socket passed on as a service manager does
    /// (sd_listen_fds(3): descriptor 3 and three variables) instead of opening one.
    pub fn start_with_passed_on(socket: &UnixListener, config: &str) -> Self {
        Self::start_listening_on_passed("systemd:milter", socket, config)
    }

    /// As [`Daemon::start_with_passed_on`], with that in `listen`.
    pub fn start_listening_on_passed(listen: &str, socket: &UnixListener, config: &str) -> Self {
        let socket = socket.try_clone().expect("another descriptor");
        let passing_on = "exec 3<&0 0</dev/null; \
                          LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=milter exec \"$0\" \"$@\"";
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", passing_on])
            .arg(env!("CARGO_BIN_EXE_sixgate"))
            .stdin(OwnedFd::from(socket));
        let directory = TempDir::new().expect("a temporary directory");
        let config = format!("listen: {listen}\n{config}");
        let daemon = Self::spawn(directory, command, &config);
        daemon.wait_for_notification("READY=1");
        daemon
    }

    fn spawn(directory: TempDir, mut command: Command, config: &str) -> Self {
        let config_file = directory.path().join("milter.yaml");
        fs::write(&config_file, config).expect("the configuration can be written");
        let notify = directory.path().join("notify");
        let notifications = UnixDatagram::bind(&notify).expect("a notification socket");
        let mut child = command
            .args(["serve", "-c"])
            .arg(&config_file)
            .env("NOTIFY_SOCKET", &notify)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Log::collect(child.stderr.take().expect("a pipe"));
        Self {
            child,
            directory,
            notifications,
            log,
        }
    }

    /// Starts with additional sockets in `listen`.
    pub fn start_listening(sockets: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let own = format!("unix:{}", directory.path().join("milter.sock").display());
        let config = format!("listen: [{own}, {}]\n", sockets.join(", "));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.stdin(Stdio::null());
        let daemon = Self::spawn(directory, command, &config);
        daemon.wait_for_notification("READY=1");
        daemon
    }

    /// As [`Daemon::start`], with a unix socket at that path.
    pub fn start_at(socket: &Path, config: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let config = format!("listen: unix:{}\n{config}", socket.display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.stdin(Stdio::null());
        let daemon = Self::spawn(directory, command, &config);
        daemon.wait_for_notification("READY=1");
        daemon
    }

    /// The address that it listens on.
    pub fn address(&self) -> Address {
        Address::Unix(self.socket())
    }

    /// The path of its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("milter.sock")
    }

    /// Its configuration, for other commands and for changes before a reload.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("milter.yaml")
    }

    /// A directory for files that the configuration names.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its log.
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its peak resident memory, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Its resident memory, in KiB.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Whether the system may use transparent huge pages for it.
    pub fn may_have_huge_pages(&self) -> bool {
        self.status("THP_enabled:") != 0
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the program runs");
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        let number = value.and_then(|text| text.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the program runs");
    }

    /// Reloads its configuration, and waits until it is done.
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
        self.wait_for_notification("RELOADING=1");
        self.wait_for_notification("READY=1");
    }

    /// The same with another configuration and the same listening socket.
    pub fn reload_with(&self, config: &str) {
        let config = format!("listen: unix:{}\n{config}", self.socket().display());
        fs::write(self.config_file(), config).expect("the configuration can be written");
        self.reload();
    }

    /// Sends SIGTERM and waits until it has exited.
    pub fn stop(self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_for_end()
    }

    /// Waits until it and the process that it has handed over to have exited.
    pub fn wait_for_end(mut self) -> ExitStatus {
        self.log.wait_until_closed();
        self.child.wait().expect("an exit status")
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Hands over to a new process (SIGUSR2) and waits until that one accepts.
    pub fn hand_over(&self) -> Successor {
        self.signal(Signal::SIGUSR2);
        self.wait_for_successor()
    }

    /// Waits for the process that a handover announces, until it accepts.
    pub fn wait_for_successor(&self) -> Successor {
        let line = self.wait_for_notification_of("MAINPID=");
        let pid = line.trim_start_matches("MAINPID=").parse();
        self.wait_for_notification("READY=1");
        Successor {
            pid: pid.expect("a process id"),
        }
    }

    /// Waits until it exits by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the program does not end:\n{}", self.log.text());
    }

    /// Waits for a line such as `READY=1` on the notification socket.
    pub fn wait_for_notification(&self, wanted: &str) {
        self.find_notification(wanted, |line| line == wanted);
    }

    /// Waits for a line that starts so.
    pub fn wait_for_notification_of(&self, beginning: &str) -> String {
        self.find_notification(beginning, |line| line.starts_with(beginning))
    }

    /// All notifications that no call has waited for.
    pub fn pending_notifications(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        self.notifications.set_nonblocking(true).expect("a socket");
        while let Ok(length) = self.notifications.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            lines.extend(text.lines().map(str::to_owned));
        }
        self.notifications.set_nonblocking(false).expect("a socket");
        lines
    }

    fn find_notification(&self, wanted: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            // Short, so that an exited program is noticed soon.
            let wait = Some(Duration::from_millis(50));
            self.notifications.set_read_timeout(wait).expect("a wait");
            match self.notifications.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    if let Some(line) = text.lines().find(|line| is_wanted(line)) {
                        return line.to_owned();
                    }
                }
                Err(_) if self.log.is_closed() => break,
                Err(_) => {}
            }
        }
        panic!("no {wanted} from the program:\n{}", self.log.text());
    }
}

/// The process that has taken over from a [`Daemon`]. Dropping it kills it.
pub struct Successor {
    pid: u32,
}

impl Successor {
    /// A process with a known ID.
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        Self::signal_to(self.pid, signal);
    }

    /// Sends a signal to any process.
    pub fn signal_to(pid: u32, signal: Signal) {
        let pid = i32::try_from(pid).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the program runs");
    }

    /// Whether it runs. A zombie process does not.
    pub fn is_running(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let state = status.ok().and_then(|status| {
            let (_, state) = status.rsplit_once(") ")?;
            state.chars().next()
        });
        state.is_some_and(|state| !['Z', 'X'].contains(&state))
    }

    /// Waits until it has ended by itself.
    pub fn wait(&self) {
        let deadline = Instant::now() + TIMEOUT;
        while self.is_running() {
            assert!(
                Instant::now() < deadline,
                "process {} does not end",
                self.pid
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal(Signal::SIGKILL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The lines that a program writes, as they arrive.
#[derive(Default)]
pub struct Log {
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    closed: bool,
}

impl Log {
    /// Reads the lines of a pipe.
    pub fn collect(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                writer.lock().lines.push(line);
                writer.changed.notify_all();
            }
            writer.lock().closed = true;
            writer.changed.notify_all();
        });
        log
    }

    /// Everything so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Everything so far, in one piece.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for the first line with all these words and returns it. Panics with the log if
    /// there is none in time.
    pub fn wait_for(&self, words: &[&str]) -> String {
        let line = self.find(words);
        line.unwrap_or_else(|| panic!("no line with {words:?}:\n{}", self.text()))
    }

    /// As [`Log::wait_for`], but returns `None` if there is no such line in time.
    pub fn find(&self, words: &[&str]) -> Option<String> {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        let find = |written: &Written| written.lines.iter().find(has_all).cloned();
        let written = self.wait_while(|written| find(written).is_none() && !written.closed);
        find(&written)
    }

    fn wait_until_closed(&self) {
        let written = self.wait_while(|written| !written.closed);
        assert!(written.closed, "the program does not end");
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(
        &self,
        mut condition: impl FnMut(&mut Written) -> bool,
    ) -> MutexGuard<'_, Written> {
        let wait = self
            .changed
            .wait_timeout_while(self.lock(), TIMEOUT, &mut condition);
        wait.unwrap_or_else(PoisonError::into_inner).0
    }
}
