//! A copy of the machine that keeps all changes in memory, in which command lines run as
//! written. Only inside a namespace.

use super::{
    files::{FILES, STUBS, shown_files},
    namespace::{self, SCRATCH},
};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The working directory of commands.
const HERE: &str = "/srv/here";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs that command lines use, besides ours and those of every Debian.
const TOOLS: [&str; 8] = [
    "dig",
    "git",
    "jq",
    "journalctl",
    "man",
    "rsync",
    "sqlite3",
    "systemd-analyze",
];

pub struct Sandbox {
    root: PathBuf,
}

/// Returns what is missing to create a sandbox.
pub fn obstacle() -> Option<String> {
    let files = [promtool(), target("sendmail/complete")];
    let is_missing = files.iter().any(|file| !file.exists()) || !TOOLS.iter().all(is_installed);
    let scripts = "tests/extract-sendmail.sh and tests/get-documented-tools.sh";
    is_missing.then(|| format!("run {scripts} first"))
}

fn is_installed(tool: &&str) -> bool {
    let mut folders = PATH.split(':').map(Path::new);
    folders.any(|folder| folder.join(tool).exists())
}

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn promtool() -> PathBuf {
    target("prometheus/usr/bin/promtool")
}

fn target(below: &str) -> PathBuf {
    source().join("target").join(below)
}

impl Sandbox {
    /// Creates a sandbox that is independent of others.
    pub fn create(name: &str) -> io::Result<Self> {
        let place = Path::new(SCRATCH).join(name);
        let root = place.join("root");
        let sandbox = Self { root };
        sandbox.mount(&place)?;
        sandbox.add_files()?;
        sandbox.add_programs()?;
        sandbox.say(include_str!("prepare.sh")).map(|()| sandbox)
    }

    fn mount(&self, place: &Path) -> io::Result<()> {
        let [upper, work] = ["upper", "work"].map(|layer| place.join(layer));
        for folder in [&self.root, &upper, &work] {
            fs::create_dir_all(folder)?;
        }
        let (upper, work) = (upper.display(), work.display());
        let options = format!("lowerdir=/,upperdir={upper},workdir={work}");
        let overlay = ["-t", "overlay", "overlay", "-o", &options, &self.path("")];
        namespace::run("mount", &overlay)?;
        ["proc", "dev"].into_iter().try_for_each(|folder| {
            let own = Path::new("/").join(folder);
            namespace::run(
                "mount",
                &["--rbind", &own.to_string_lossy(), &self.path(folder)],
            )
        })
    }

    fn path(&self, below: &str) -> String {
        self.root.join(below).to_string_lossy().into_owned()
    }

    fn add_files(&self) -> io::Result<()> {
        let own = FILES.map(|(file, text)| (file, text.to_owned()));
        let shown = shown_files(&source().join("docs"))?;
        for (file, text) in own.into_iter().chain(shown) {
            let file = self.root.join(file);
            fs::create_dir_all(file.parent().unwrap_or(&self.root))?;
            fs::write(file, text)?;
        }
        for folder in ["packaging", "packaging/prometheus/."] {
            self.copy(&source().join(folder), "srv/here")?;
        }
        self.add_manual()
    }

    fn add_manual(&self) -> io::Result<()> {
        let made = self.path("srv/manual");
        namespace::run(&examples().join("generate").to_string_lossy(), &[&made])?;
        let pages = self.root.join("usr/local/share/man/man8");
        fs::create_dir_all(&pages)?;
        fs::copy(
            Path::new(&made).join("man/sixgate.8"),
            pages.join("sixgate.8"),
        )
        .map(drop)
    }

    fn copy(&self, from: &Path, to: &str) -> io::Result<()> {
        namespace::run("cp", &["-a", &from.to_string_lossy(), &self.path(to)])
    }

    fn add_programs(&self) -> io::Result<()> {
        for (name, text) in STUBS {
            let program = self.root.join("usr/local/sbin").join(name);
            fs::write(&program, text)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
        self.add_program("sixgate", Path::new(env!("CARGO_BIN_EXE_sixgate")))?;
        self.add_program("promtool", &promtool())
    }

    fn add_program(&self, name: &str, file: &Path) -> io::Result<()> {
        let place = self.path(&format!("usr/local/sbin/{name}"));
        fs::write(&place, "")?;
        namespace::run("mount", &["--bind", &file.to_string_lossy(), &place])
    }

    /// Adds what takes long and only a few commands need.
    pub fn prepare(&self, line: &str) -> io::Result<()> {
        match line.starts_with("make -C /etc/mail") {
            true => self.add_sendmail(),
            false => Ok(()),
        }
    }

    fn add_sendmail(&self) -> io::Result<()> {
        self.copy(&target("sendmail/etc/mail"), "etc")?;
        self.copy(&target("sendmail/usr"), "")?;
        self.say(include_str!("prepare-sendmail.sh"))
    }

    /// Whether a file has these words.
    pub fn has(&self, file: &str, words: &str) -> bool {
        let bytes = fs::read(self.root.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(words)
    }

    fn say(&self, script: &str) -> io::Result<()> {
        let output = self.run(script)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// The outcome of a command line.
    pub fn run(&self, line: &str) -> io::Result<Output> {
        Command::new("chroot")
            .arg(&self.root)
            .args(["env", "-i", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb"])
            .arg(format!("PATH={PATH}"))
            .args(["timeout", "60", "sh", "-c"])
            .arg(format!("cd {HERE} && {line}"))
            .stdin(Stdio::null())
            .output()
    }
}

/// cargo builds the examples with the tests.
fn examples() -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    tests
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new(""))
        .join("examples")
}
