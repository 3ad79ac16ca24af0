//! A booted Debian 12 or 13 in a container.

use super::namespace::{self, SCRATCH, run};
use nix::{
    sys::signal::{Signal::SIGKILL, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The folder in which `tests/make-debian.sh` creates the system and the package.
fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}

/// A release of Debian that the package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12 (bookworm).
    Twelve,
    /// Debian 13 (trixie).
    Thirteen,
}

impl Release {
    pub const ALL: [Self; 2] = [Self::Twelve, Self::Thirteen];

    /// The oldest release on which a package that is built on this machine can be installed.
    pub fn of_the_package() -> Self {
        let version = fs::read_to_string("/etc/debian_version").unwrap_or_default();
        match version.starts_with("13") {
            true => Self::Thirteen,
            false => Self::Twelve,
        }
    }

    pub fn number(self) -> u8 {
        match self {
            Self::Twelve => 12,
            Self::Thirteen => 13,
        }
    }

    pub fn code_name(self) -> &'static str {
        match self {
            Self::Twelve => "bookworm",
            Self::Thirteen => "trixie",
        }
    }

    /// The original system, which no test changes.
    pub fn folder(self) -> PathBuf {
        target().join(format!("debian-{}", self.number()))
    }
}

/// Returns the reason if the package or the system is missing.
pub fn obstacle() -> Option<String> {
    let is_made = |release: Release| release.folder().join("complete").exists();
    let is_made = Release::ALL.into_iter().all(is_made) && package().is_some();
    let is_made = is_made && namespace::is_installed("piuparts");
    (!is_made).then(|| "run tests/make-debian.sh first".to_owned())
}

/// The package of this tree.
pub fn package() -> Option<PathBuf> {
    let files = fs::read_dir(target().join("deb/quick")).ok()?.flatten();
    let mut files = files.map(|file| file.path());
    files.find(|file| file.extension().is_some_and(|extension| extension == "deb"))
}

/// A running system. Dropping it stops it.
pub struct Debian {
    root: PathBuf,
    container: Child,
    /// Its first process, by its ID outside.
    init: u32,
    /// All systems have the same addresses, so that one runs at a time.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Debian {
    /// Boots a copy in memory. Only for the inside of a prepared namespace.
    pub fn boot(release: Release) -> io::Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let root = prepare(release)?;
        let container = Command::new("systemd-nspawn")
            .args(["--quiet", "--boot", "--register=no", "--keep-unit"])
            .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no"])
            .args(["--console=pipe", "-D"])
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut system = Self {
            root,
            container,
            init: 0,
            _turn: turn,
        };
        // The first child may be one that only prepares the container.
        system.until_some(|system| {
            system.init = system.find_init()?;
            system.is_booted().then_some(())
        })?;
        Ok(system)
    }

    fn find_init(&mut self) -> Option<u32> {
        let id = self.container.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    fn is_booted(&self) -> bool {
        let state = self.try_run("systemctl is-system-running --wait");
        // The state is degraded if the kernel lacks features that Debian expects.
        state.is_ok_and(|output| {
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            ["running", "degraded"].contains(&state.as_str())
        })
    }

    fn until_some<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> io::Result<T> {
        let deadline = Instant::now() + Duration::from_secs(240);
        while Instant::now() < deadline {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if let Some(status) = self.container.try_wait()? {
                return Err(io::Error::other(format!("systemd-nspawn: {status}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("the container does not boot"))
    }

    /// Its files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the output of a command, as an error if it fails.
    pub fn run(&self, command: &str) -> io::Result<String> {
        let output = self.try_run(command)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => {
                let error = String::from_utf8_lossy(&output.stderr);
                Err(io::Error::other(format!("{command}: {said}{error}")))
            }
        }
    }

    fn try_run(&self, command: &str) -> io::Result<Output> {
        Command::new("nsenter")
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--uts", "--ipc", "--pid", "--root", "--wdns=/"])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"])
            .args(["sh", "-c", command])
            .stdin(Stdio::null())
            .output()
    }

    /// Everything that a package could leave behind: files, users, units.
    pub fn inventory(&self) -> io::Result<BTreeSet<String>> {
        let all = self.run(
            "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /srv \
             -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/tmp \
             -o -path /var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants/postfix.service \
             -o -path '/etc/*-' -o -path /var/lib/postfix -o -path /var/spool/postfix \\) -prune \
             -o -print; \
             cut -d: -f1 /etc/passwd | sed 's/^/user /'; \
             cut -d: -f1 /etc/group | sed 's/^/group /'; \
             ls -d /run/sixgate /run/systemd/system/*sixgate* /var/spool/postfix/sixgate 2>/dev/null || true",
        )?;
        Ok(all.lines().map(str::to_owned).collect())
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        // Its death ends all processes of the system, and then the container.
        if let Ok(init) = i32::try_from(self.init) {
            let _ = kill(Pid::from_raw(init), SIGKILL);
        }
        let _ = self.container.wait();
    }
}

/// The system's files; changes are kept in memory.
fn prepare(release: Release) -> io::Result<PathBuf> {
    static BOOTS: AtomicUsize = AtomicUsize::new(0);
    let boot = BOOTS.fetch_add(1, Ordering::Relaxed);
    let room = Path::new(SCRATCH).join(format!("system-{boot}"));
    let [root, upper, work] = ["root", "upper", "work"].map(|folder| room.join(folder));
    for folder in [&root, &upper, &work] {
        fs::create_dir_all(folder)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        release.folder().display(),
        upper.display(),
        work.display()
    );
    let root_text = root.to_string_lossy().into_owned();
    run(
        "mount",
        &["-t", "overlay", "overlay", "-o", &options, &root_text],
    )?;
    fs::write(root.join("etc/resolv.conf"), "nameserver 127.0.0.1\n")?;
    fs::write(root.join("etc/hostname"), "mx.sixgate.test\n")?;
    fs::write(
        root.join("etc/hosts"),
        "127.0.0.1 localhost\n::1 localhost\n192.0.2.25 mx.sixgate.test\n",
    )?;
    Ok(root)
}
