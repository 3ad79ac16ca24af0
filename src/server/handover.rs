//! Handover (SIGUSR2): another process of the installed program takes the listening
//! sockets over, while this one keeps the connections that it has.
//!
//! The two talk over a socket pair, in lines:
//!
//! | from | line | meaning |
//! |---|---|---|
//! | new | `ready` | sockets are taken over, configuration and lists are read; not accepting yet |
//! | new | `failed REASON` | it ends, instead of `ready` |
//! | old | `go N` | it has stopped accepting; N handovers succeeded before this one |
//! | new | `released` | it ends in order or has handed over itself: the old one must not accept again |
//!
//! So only one of them accepts at a time, and the old one may kill the new one at any
//! time before `go` without losing a connection. If the new one ends after `go` without
//! `released`, it has crashed, and the old one accepts again. If the old one is gone,
//! the new one does not wait for `go`.

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

/// How long the new process may take until it is ready. A million opt-in entries take a
/// second.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The first descriptor that is passed on (sd_listen_fds(3)).
const FIRST_FD: i32 = 3;

/// Whether this process accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// It does.
    Yes,
    /// Another process does; if that one crashes, this one accepts again.
    Paused,
    /// It never will again.
    Ended,
}

/// How this process was started, which is how the next one is.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// That of this process. To be called at the start: later /proc/self/exe may name a
    /// file that has been deleted.
    ///
    /// # Errors
    /// If /proc is not mounted and the command line has no path.
    pub fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next().map(PathBuf::from).unwrap_or_default();
        // The path as it was typed may be a symbolic link that leads to the installed
        // version.
        let path = match name.components().count() > 1 && name.is_file() {
            true => std::path::absolute(name)?,
            false => env::current_exe()?,
        };
        Ok(Self {
            path,
            arguments: arguments.collect(),
        })
    }

    /// The file that is started.
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
    /// Whether systemd may keep it while no process of ours runs. A unix socket is found
    /// by its file, which goes with the process.
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

    /// Adds other sockets.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    fn duplicate(&self) -> io::Result<Vec<(OwnedFd, &str)>> {
        let open = self.0.iter();
        let open = open.filter_map(|passed| Some((passed.socket.upgrade()?, passed.name.as_str())));
        open.map(|(socket, name)| Ok((socket.as_fd().try_clone_to_owned()?, name)))
            .collect()
    }

    /// Has systemd keep the sockets over a restart, so that connections wait for the next
    /// process instead of being refused. systemd does so if the unit has
    /// `FileDescriptorStoreMax=`, and closes them when the service stops.
    ///
    /// # Errors
    /// If systemd can't be told.
    pub fn store(&self) -> io::Result<()> {
        // Also those of the process before that are not in use any more.
        forget_stored()?;
        let storable = self.0.iter().filter(|passed| passed.is_storable);
        for socket in storable.filter_map(|passed| passed.socket.upgrade()) {
            let state = [NotifyState::FdStore, NotifyState::FdName(OWN)];
            sd_notify::notify_with_fds(false, &state, &[socket.as_fd()])?;
        }
        Ok(())
    }
}

/// Has systemd close the sockets that it keeps.
pub(super) fn forget_stored() -> io::Result<()> {
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

/// The process that takes over.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    pid: u32,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    may_accept: bool,
    has_released: bool,
}

/// How long the new process may take to read more about deferrals.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the new process reads which senders were deferred. What is deferred meanwhile, and
/// by this process afterwards, it does not know; so it gives nobody up early.
fn pass_on(deferrals: Arc<Deferrals>) -> io::Result<StdUnixStream> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_write_timeout(Some(WRITE_TIMEOUT))?;
    // Some megabytes: more than a socket takes before it is read. If the new process does
    // not want them, or ends, this fails and nothing is lost.
    std::thread::spawn(move || deferrals.write(ours));
    Ok(theirs)
}

/// The end of a process that had taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has stopped accepting in order.
    Released,
    /// It has crashed; says how.
    Crashed(String),
}

impl Successor {
    /// Starts the program with the sockets and waits until it is ready; it accepts only
    /// after [`Successor::go`]. Dropping the future kills it.
    ///
    /// # Errors
    /// If it can't be started, ends or is not ready in time; the text says why.
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
            // The process id is not known before it runs. Without these the other
            // variables are meant for whoever reads them.
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
                None => bail!("process {pid} says {line:?}"),
            },
            None => {
                let status = self.child.wait().await?;
                bail!("process {pid} ended before it was ready ({status})")
            }
        }
    }

    /// Lets it accept. This process must have stopped. `earlier` handovers have
    /// succeeded before.
    pub async fn go(&mut self, earlier: u64) {
        self.may_accept = true;
        // If it has crashed meanwhile, `ended` says so.
        let _ = self
            .writer
            .write_all(format!("go {earlier}\n").as_bytes())
            .await;
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it accepts no more. Cancel safe; pending forever once it has said
    /// that it ends in order.
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
            // Before the connection to it is closed, which would let it accept.
            let _ = self.child.start_kill();
        }
    }
}

/// The process that hands over to this one.
#[derive(Debug)]
pub struct Predecessor(StdUnixStream);

impl Predecessor {
    pub(super) fn new(stream: StdUnixStream) -> Self {
        Self(stream)
    }

    /// Says why this process ends before it is ready.
    pub fn failed(&self, error: &anyhow::Error) {
        let reason = format!("{error:#}").replace('\n', " ");
        let _ = writeln!(&self.0, "failed {reason}");
    }

    /// Says that this process is ready and waits until the other one has stopped
    /// accepting, or is gone. Returns how many handovers there were before this one.
    ///
    /// # Errors
    /// If the connection can't be used at all.
    pub async fn ready(&self) -> io::Result<u64> {
        let stream = self.0.try_clone()?;
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        let mut line = String::new();
        // Both fail if the other one is gone.
        if stream.write_all(b"ready\n").await.is_ok() {
            let _ = BufReader::new(stream).read_line(&mut line).await;
        }
        let number = line.strip_prefix("go ").map(str::trim_end);
        Ok(number.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// Says that this process ends in order, and that the other one must not accept again.
    pub fn released(&self) {
        // The other one may be gone.
        let _ = writeln!(&self.0, "released");
    }
}
