//! The Debian release of a mail server: this machine's, or a newer one in a folder that
//! `tests/make-mail-servers.sh` has created, where its programs run in a chroot.

use super::namespace::{SCRATCH, run_to_end};
use std::{
    env, fmt, io,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The release of this machine.
    Own,
    Debian13,
}

impl Release {
    pub const ALL: [Self; 2] = [Self::Own, Self::Debian13];

    /// The root folder of its programs.
    pub fn root(self) -> PathBuf {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        match self {
            Self::Own => PathBuf::from("/"),
            Self::Debian13 => target.join("mail-servers/trixie"),
        }
    }

    /// Returns the reason if its programs cannot run here.
    pub fn obstacle(self) -> Option<String> {
        let is_made = self == Self::Own || self.root().join("complete").exists();
        (!is_made).then(|| "needs Debian 13: run tests/make-mail-servers.sh".to_owned())
    }

    /// The release as the documentation names it, such as `Debian 12`.
    pub fn title(self) -> io::Result<String> {
        let version = std::fs::read_to_string(self.root().join("etc/debian_version"))?;
        let major = version.split('.').next().unwrap_or_default();
        Ok(format!("Debian {}", major.trim()))
    }

    /// Mounts the files of the test, devices and /proc for its programs. Call it once,
    /// inside a prepared namespace.
    pub fn prepare(self) -> io::Result<()> {
        if self == Self::Own {
            return Ok(());
        }
        let root = self.root();
        let mount = |from: &str, options: &[&str]| {
            let to = root.join(from.trim_start_matches('/'));
            let mut mount = Command::new("mount");
            run_to_end(mount.args(options).arg(from).arg(to))
        };
        mount(SCRATCH, &["--rbind"])?;
        mount("/dev", &["--rbind"])?;
        mount("/proc", &["--rbind"])?;
        for file in ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"] {
            // Without a name server, mmdebstrap creates no such file.
            let target = root.join(file.trim_start_matches('/'));
            if !target.exists() {
                std::fs::write(target, "")?;
            }
            mount(file, &["--bind"])?;
        }
        Ok(())
    }

    /// One of its programs.
    pub fn command(self, program: impl AsRef<Path>) -> Command {
        match self {
            Self::Own => Command::new(program.as_ref()),
            Self::Debian13 => {
                let mut command = Command::new("chroot");
                command.arg(self.root()).arg(program.as_ref());
                command
            }
        }
    }

    /// Runs one of its programs to its end.
    pub fn run(self, program: &str, arguments: &[&str]) -> io::Result<()> {
        run_to_end(self.command(program).args(arguments))
    }
}

/// As a suffix for names of mail servers.
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "",
            Self::Debian13 => "-debian13",
        })
    }
}
