//! Handover (SIGUSR2): a new process of the installed program takes over the listening
//! sockets, while this process keeps its connections.
//!
//! The processes exchange lines over a socket pair:
//!
//! | from | line | meaning |
//! |---|---|---|
//! | new | `ready` | it has the sockets, the configuration and the lists, and does not accept yet |
//! | new | `failed REASON` | instead of `ready`: it could not start, and exits |
//! | old | `go N` | it has stopped accepting; there were N handovers before this one |
//! | new | `released` | it shuts down gracefully, or has handed over itself: the old process must not accept again |
//!
//! So only one of them accepts at a time, and before `go` the old process can kill the new
//! one without losing a connection. If the new process ends after `go` without `released`, it
//! has crashed, and the old one accepts again. If the old process has ended, the new one does
//! not wait for `go`.

use super::inherited::{DEFERRALS, OWN, Owner, PREDECESSOR};
use crate::deferrals::Deferrals;
use anyhow::{Context as _, Result, anyhow, bail};
use command_fds::{CommandFdExt, FdMapping};
use sd_notify::NotifyState;
use std::{
    env,
    ffi::OsString,
    fmt, io,
    io::Write as _,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Child,
    time::timeout,
};

/// The timeout for the new process to be ready. Reading a million opt-in entries takes a
/// second.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST_FD: i32 = 3;

/// Whether this process accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// This process accepts.
    Yes,
    /// Another process accepts. If it crashes, this one accepts again.
    Paused,
    /// This process never accepts again.
    Ended,
}

/// The command line of this process, which also starts the next one.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Returns the command line of this process. Must be called at startup: later
    /// /proc/self/exe may name a deleted file.
    ///
    /// # Errors
    /// If /proc is not mounted and the command line has no path.
    pub fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next().map(PathBuf::from).unwrap_or_default();
        // Not resolved: the path may be a symbolic link to the installed version.
        let path = match name.components().count() > 1 && name.is_file() {
            true => std::path::absolute(name)?,
            false => env::current_exe()?,
        };
        Ok(Self {
            path,
            arguments: arguments.collect(),
        })
    }

    /// Returns the executable.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Listening sockets that can be passed on while they are open.
#[derive(Default)]
pub struct Passable(Vec<Passed>);

struct Passed {
    socket: Weak<dyn AsFd + Send + Sync>,
    name: String,
    /// Whether systemd may keep it while no sixgate runs. A unix socket can't be kept, because
    /// its file is removed with the process.
    is_storable: bool,
}

impl Passable {
    pub(crate) fn add<S: AsFd + Send + Sync + 'static>(&mut self, socket: &Arc<S>, owner: &Owner) {
        let socket: Weak<S> = Arc::downgrade(socket);
        let name = match owner {
            Owner::Us(_) => OWN.to_owned(),
            Owner::Systemd(name) => name.clone(),
        };
        let is_storable = matches!(owner, Owner::Us(None));
        self.0.push(Passed {
            socket,
            name,
            is_storable,
        });
    }

    /// Adds the sockets of `others`.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    fn duplicate(&self) -> io::Result<Vec<(OwnedFd, &str)>> {
        let open = self.0.iter();
        let open = open.filter_map(|passed| Some((passed.socket.upgrade()?, passed.name.as_str())));
        open.map(|(socket, name)| Ok((socket.as_fd().try_clone_to_owned()?, name)))
            .collect()
    }

    /// Has systemd keep the sockets open across a restart, so that connections wait for the
    /// next process instead of being refused. systemd does that if the unit has
    /// `FileDescriptorStoreMax=`, and closes the sockets when the service is stopped.
    ///
    /// # Errors
    /// If systemd can't be notified.
    pub fn store(&self) -> io::Result<()> {
        // Includes sockets of the previous process that are no longer in use.
        remove_stored()?;
        let storable = self.0.iter().filter(|passed| passed.is_storable);
        for socket in storable.filter_map(|passed| passed.socket.upgrade()) {
            let state = [NotifyState::FdStore, NotifyState::FdName(OWN)];
            sd_notify::notify_with_fds(false, &state, &[socket.as_fd()])?;
        }
        Ok(())
    }
}

/// Has systemd close the sockets that it keeps.
pub(super) fn remove_stored() -> io::Result<()> {
    let state = [NotifyState::FdStoreRemove, NotifyState::FdName(OWN)];
    sd_notify::notify(false, &state)
}

impl fmt::Debug for Passable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|passed| &passed.name))
            .finish()
    }
}

/// The new process at a handover.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    pid: u32,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    may_accept: bool,
    has_released: bool,
}

/// The timeout to write to the new process.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the socket from which the new process reads the deferred senders. It misses
/// deferrals by this process from now on, which only delays giving up a sender.
fn pass_on(deferrals: Arc<Deferrals>) -> io::Result<StdUnixStream> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_write_timeout(Some(WRITE_TIMEOUT))?;
    // In a thread, because a socket does not buffer several megabytes. If the new process
    // does not read them, this fails without harm.
    std::thread::spawn(move || deferrals.write(ours));
    Ok(theirs)
}

/// How the new process has stopped accepting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It shuts down gracefully, or has handed over itself.
    Released,
    /// It has crashed; its exit status.
    Crashed(String),
}

impl Successor {
    /// Starts the program with the sockets, and waits until it is ready. It accepts only after
    /// [`Successor::go`]. Dropping the future kills it.
    ///
    /// # Errors
    /// If the program can't be started, exits, or is not ready after 60 s; the text gives the
    /// reason.
    pub async fn start(
        program: &Program,
        sockets: &Passable,
        deferrals: Option<Arc<Deferrals>>,
    ) -> Result<Self> {
        let mut successor = Self::spawn(program, sockets, deferrals)
            .with_context(|| format!("can't start {}", program.path.display()))?;
        match timeout(START_TIMEOUT, successor.ready()).await {
            Ok(ready) => ready.map(|()| successor),
            Err(_elapsed) => Err(anyhow!(
                "process {} was not ready after {} s and was killed",
                successor.pid,
                START_TIMEOUT.as_secs()
            )),
        }
    }

    fn spawn(
        program: &Program,
        sockets: &Passable,
        deferrals: Option<Arc<Deferrals>>,
    ) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        let mut passed = sockets.duplicate()?;
        passed.push((theirs.into(), PREDECESSOR));
        if let Some(deferrals) = deferrals {
            passed.push((pass_on(deferrals)?.into(), DEFERRALS));
        }
        let names: Vec<_> = passed.iter().map(|(_, name)| *name).collect();
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .env("LISTEN_FDS", passed.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // The process ID is not known before the fork. If these variables are missing, the
            // others apply to any process.
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID");
        let passed = passed.into_iter().map(|(parent_fd, _)| parent_fd);
        let mapping = |(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        };
        command.fd_mappings((FIRST_FD..).zip(passed).map(mapping).collect())?;
        // Dropping the command closes our copies of the descriptors.
        let child = tokio::process::Command::from(command).spawn()?;
        let pid = child.id().context("it has ended")?;
        let (reader, writer) = ours.into_split();
        Ok(Self {
            child,
            pid,
            lines: BufReader::new(reader).lines(),
            writer,
            may_accept: false,
            has_released: false,
        })
    }

    async fn ready(&mut self) -> Result<()> {
        let pid = self.pid;
        match self.lines.next_line().await?.as_deref() {
            Some("ready") => Ok(()),
            Some(line) => match line.strip_prefix("failed ") {
                Some(reason) => {
                    // It may still be writing its log.
                    let _ = self.child.wait().await;
                    Err(anyhow!("{reason}"))
                }
                None => bail!("process {pid} sent an unexpected line: {line:?}"),
            },
            None => {
                let status = self.child.wait().await?;
                bail!("process {pid} ended before it was ready ({status})")
            }
        }
    }

    /// Lets the new process accept; this process must have stopped. `earlier` is the number of
    /// handovers before this one.
    pub async fn go(&mut self, earlier: u64) {
        self.may_accept = true;
        // If it has crashed, `ended` reports that.
        let _ = self
            .writer
            .write_all(format!("go {earlier}\n").as_bytes())
            .await;
    }

    /// Returns the process ID.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the new process stops accepting. Never returns after it has returned
    /// [`Ended::Released`]. Cancel safe.
    pub async fn ended(&mut self) -> Ended {
        if self.has_released {
            return std::future::pending().await;
        }
        while let Ok(Some(line)) = self.lines.next_line().await {
            if line == "released" {
                self.has_released = true;
                return Ended::Released;
            }
        }
        match self.child.wait().await {
            Ok(status) => Ended::Crashed(status.to_string()),
            Err(error) => Ended::Crashed(error.to_string()),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.may_accept {
            // Before the connection to it is closed, after which it would accept.
            let _ = self.child.start_kill();
        }
    }
}

/// The previous process at a handover.
#[derive(Debug)]
pub struct Predecessor(StdUnixStream);

impl Predecessor {
    pub(super) fn new(stream: StdUnixStream) -> Self {
        Self(stream)
    }

    /// Reports why this process can't start.
    pub fn failed(&self, error: &anyhow::Error) {
        let reason = format!("{error:#}").replace('\n', " ");
        let _ = writeln!(&self.0, "failed {reason}");
    }

    /// Reports that this process is ready, and waits until the previous one has stopped
    /// accepting or has ended. Returns the number of handovers before this one.
    ///
    /// # Errors
    /// If the connection can't be set up.
    pub async fn ready(&self) -> io::Result<u64> {
        let stream = self.0.try_clone()?;
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        let mut line = String::new();
        // Both fail if the previous process has ended.
        if stream.write_all(b"ready\n").await.is_ok() {
            let _ = BufReader::new(stream).read_line(&mut line).await;
        }
        let number = line.strip_prefix("go ").map(str::trim_end);
        Ok(number.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// Reports a graceful shutdown, after which the previous process must not accept again.
    pub fn released(&self) {
        // The previous process may have ended.
        let _ = writeln!(&self.0, "released");
    }
}
