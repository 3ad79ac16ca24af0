//! The machine itself, with all that is changed kept in memory, for command lines
//! to be run as they are written. Only for the inside of a namespace.

use super::{namespace, namespace::ROOM};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Where commands are run.
const HERE: &str = "/srv/here";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What command lines use besides ours and what is in every Debian.
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

/// The files that documents speak of.
const FILES: [(&str, &str); 12] = [
    (
        "etc/resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/sixgate/milter.yaml",
        "opt_in: {domains: [contoso.com]}\n",
    ),
    ("etc/sixgate/opt-in.d/customers.list", "customer.example\n"),
    ("var/lib/sixgate/opt-in.list", "# empty\n"),
    ("usr/local/etc/mail/sendmail.cf", SENDMAIL_CF),
    ("srv/here/milter.yaml", "mode: observe\n"),
    ("srv/here/mail.eml", "From: a@example.net\r\n\r\nHello\r\n"),
    ("srv/here/domains.txt", "one.example\ntwo.example\n"),
    (
        "srv/here/customers.list",
        "customer.example\nanother.example\n",
    ),
    ("srv/here/sixgate.json", JSON_LOG),
    (
        "srv/upstream/customers.list",
        "customer.example\npulled.example\n",
    ),
];

const SENDMAIL_CF: &str = "V10/Berkeley\nO DaemonPortOptions=Name=MTA\n\
    O InputMailFilters=sixgate\n\
    Xsixgate, S=inet:8894@127.0.0.1, F=T, T=C:10s;S:30s;R:30s;E:5m\n";

const JSON_LOG: &str = "{\"event\":\"message\",\"message\":\"ready\"}\n\
    {\"event\":\"decision\",\"refused\":true,\"rule\":\"no-ptr\"}\n\
    {\"event\":\"decision\",\"refused\":false,\"rule\":\"spf-pass\"}\n";

/// Programs in place of what no test can have.
const STAND_INS: [(&str, &str); 2] = [
    ("psql", "#!/bin/sh\nprintf 'contoso.com\\nexample.org\\n'\n"),
    // Another host is this one.
    ("ssh", "#!/bin/sh\nshift\nexec \"$@\"\n"),
];

const FURNISH: &str = "
    set -e
    for instance in postfix postfix-mx postfix-out; do
        mkdir -p /etc/$instance
        cp /usr/share/postfix/main.cf.debian /etc/$instance/main.cf
        cp /usr/share/postfix/master.cf.dist /etc/$instance/master.cf
    done
    echo 'contoso.com smtp-ipv4:' >/etc/postfix/transport
    git config --global user.email a@example.net
    git config --global user.name a
    git config --global init.defaultBranch main
    git init --quiet /srv/upstream
    git -C /srv/upstream commit --quiet --allow-empty -m nothing
    git clone --quiet /srv/upstream /srv/opt-in
    git -C /srv/upstream add customers.list
    git -C /srv/upstream commit --quiet -m customers
";

/// Debian's Sendmail as its package sets it up, with one line more in sendmail.mc.
const FURNISH_SENDMAIL: &str = r#"
    set -e
    echo /usr/lib/$(uname -m)-linux-gnu/sendmail >/etc/ld.so.conf.d/sendmail.conf
    ldconfig
    for user in smmta smmsp; do useradd --system --user-group $user; done
    cp /usr/share/sendmail/cf/debian/sendmail.mc /usr/share/sendmail/cf/debian/submit.mc /etc/mail
    sed -i '/^MAILER_DEFINITIONS/e cat /srv/here/filter' /etc/mail/sendmail.mc
    touch /etc/mail/m4/dialup.m4 /etc/mail/m4/provider.m4
    /usr/share/sendmail/update_conf
    /usr/share/sendmail/update_mk
"#;

pub struct Room {
    root: PathBuf,
}

/// What is missing to furnish one.
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

impl Room {
    /// A room that has nothing in common with the others.
    pub fn furnish(name: &str) -> io::Result<Self> {
        let [root, upper, work] =
            ["root", "upper", "work"].map(|part| Path::new(ROOM).join(name).join(part));
        for folder in [&root, &upper, &work] {
            fs::create_dir_all(folder)?;
        }
        let options = format!(
            "lowerdir=/,upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        let room = Self { root };
        namespace::run(
            "mount",
            &["-t", "overlay", "overlay", "-o", &options, &room.path("")],
        )?;
        for folder in ["proc", "dev"] {
            namespace::run(
                "mount",
                &["--rbind", &format!("/{folder}"), &room.path(folder)],
            )?;
        }
        room.add_files()?;
        room.add_programs()?;
        room.say(FURNISH).map(|_| room)
    }

    fn path(&self, below: &str) -> String {
        self.root.join(below).to_string_lossy().into_owned()
    }

    fn add_files(&self) -> io::Result<()> {
        let log = log_of(&fs::read_to_string(source().join("docs/operations.md"))?);
        let sql = sql_of(&fs::read_to_string(source().join("docs/fleet.md"))?);
        let made = [
            ("var/log/mail.log", log.as_str()),
            ("srv/here/opt-in.sql", &sql),
        ];
        for (file, text) in FILES.into_iter().chain(made) {
            let file = self.root.join(file);
            fs::create_dir_all(file.parent().unwrap_or(&self.root))?;
            fs::write(file, text)?;
        }
        for folder in ["packaging", "packaging/prometheus/."] {
            let folder = source().join(folder).to_string_lossy().into_owned();
            namespace::run("cp", &["-r", &folder, &self.path("srv/here")])?;
        }
        Ok(())
    }

    fn add_programs(&self) -> io::Result<()> {
        for (name, text) in STAND_INS {
            let program = self.root.join("usr/local/sbin").join(name);
            fs::write(&program, text)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
        self.add_program("sixgate", Path::new(env!("CARGO_BIN_EXE_sixgate")))?;
        self.add_program("promtool", &promtool())?;
        let manual = Command::new(examples().join("generate"))
            .arg(self.root.join("srv/manual"))
            .output()?;
        namespace::run("mkdir", &["-p", &self.path("usr/local/share/man/man8")])?;
        let page = self.path("srv/manual/man/sixgate.8");
        namespace::run("cp", &[&page, &self.path("usr/local/share/man/man8")])?;
        match manual.status.success() {
            true => Ok(()),
            false => Err(io::Error::other("the manual can't be made")),
        }
    }

    fn add_program(&self, name: &str, file: &Path) -> io::Result<()> {
        let place = self.path(&format!("usr/local/sbin/{name}"));
        fs::write(&place, "")?;
        namespace::run("mount", &["--bind", &file.to_string_lossy(), &place])
    }

    /// Adds what is much work and needed by few.
    pub fn prepare(&self, line: &str) -> io::Result<()> {
        match line.starts_with("make -C /etc/mail") {
            true => self.add_sendmail(),
            false => Ok(()),
        }
    }

    fn add_sendmail(&self) -> io::Result<()> {
        let page = fs::read_to_string(source().join("docs/sendmail.md"))?;
        let is_filter = |line: &&str| line.trim().starts_with("INPUT_MAIL_FILTER(");
        let filter = page.lines().find(is_filter).unwrap_or_default();
        fs::write(
            self.root.join("srv/here/filter"),
            format!("{}\n", filter.trim()),
        )?;
        for (from, to) in [("etc/mail", "etc"), ("usr", "")] {
            let from = target("sendmail").join(from).to_string_lossy().into_owned();
            namespace::run("cp", &["-a", &from, &self.path(to)])?;
        }
        self.say(FURNISH_SENDMAIL)
    }

    /// A file as text, whatever it is.
    pub fn read(&self, file: &str) -> io::Result<String> {
        let octets = fs::read(self.root.join(file))?;
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }

    fn say(&self, script: &str) -> io::Result<()> {
        let output = self.run(script)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// What becomes of a command line.
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

/// Cargo builds the examples with the tests.
fn examples() -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    tests
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new(""))
        .join("examples")
}

/// The decision lines of a page, as a log has them.
fn log_of(page: &str) -> String {
    let is_decision =
        |line: &&str| line.starts_with("    NOQUEUE:") || line.starts_with("    4F9D");
    let lines = page.lines().filter(is_decision).map(str::trim);
    lines
        .map(|line| format!("2026-11-21T06:33:30+01:00 mx sixgate[123]: {line}\n"))
        .collect()
}

fn sql_of(page: &str) -> String {
    let block = page.split("```sql\n").nth(1).unwrap_or_default();
    block.split("```").next().unwrap_or_default().to_owned()
}
