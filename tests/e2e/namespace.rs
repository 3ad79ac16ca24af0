//! An isolated machine for the test: network, mounts and processes that are invisible
//! outside and that end with the test, even if it is killed.
//!
//! In it all of 2001:db8::/32, 64:ff9b::/96, 192.0.2.0/24 and 198.51.100.0/24 is local, port
//! 25 and port 53 are free, [`SCRATCH`] is an empty file system in memory, and the
//! resolver is 127.0.0.1. Nothing outside is changed.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// The folder for files inside.
pub const SCRATCH: &str = "/srv";

const INSIDE: &str = "SIXGATE_E2E_INSIDE";

/// How users other than root can use it, see [`obstacle`].
const SUDO: &str = "SIXGATE_E2E_SUDO";

/// Where this is set, the dialogues are held with a complete Authentication-Results field,
/// and nothing else is tested. Their replies have to be the same.
const COMPLETE: &str = "SIXGATE_E2E_COMPLETE";

/// Whether the field is complete.
pub fn has_complete_results() -> bool {
    env::var_os(COMPLETE).is_some()
}

/// Whether this process is in such a namespace.
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// If this variable is set, an obstacle is a failure.
const REQUIRED: &str = "SIXGATE_E2E_REQUIRED";

/// Whether skipping tests is a failure.
pub fn is_required() -> bool {
    env::var_os(REQUIRED).is_some()
}

/// Returns the reason if namespaces, or programs to run inside, are unavailable.
pub fn obstacle() -> Option<String> {
    if !is_root() && env::var_os(SUDO).is_none() {
        return Some(format!("needs root, or {SUDO}=1 to use sudo"));
    }
    let tools = [
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("ip", "iproute2"),
        ("postfix", "postfix"),
        ("openssl", "openssl"),
        ("saslpasswd2", "sasl2-bin"),
    ];
    let missing = tools.iter().find(|(tool, _)| !is_installed(tool));
    let missing = missing.map(|(tool, package)| format!("{tool} is missing: install {package}"));
    missing.or_else(unshare_fails)
}

/// Containers may forbid it.
fn unshare_fails() -> Option<String> {
    let output = unshare("true".as_ref()).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Whether there is such a command, for root.
pub fn is_installed(tool: &str) -> bool {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().any(|f| Path::new(f).join(tool).exists())
}

/// Runs this program inside, with the same arguments.
pub fn run_this_program_inside() -> io::Result<ExitCode> {
    let status = unshare(env::current_exe()?.as_os_str())
        .args(env::args_os().skip(1))
        .stdin(Stdio::null())
        .status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A program in namespaces of its own. The death of this process kills unshare,
/// whose death kills the first process inside, whose death kills all others.
fn unshare(program: &OsStr) -> Command {
    let mut command = match is_root() {
        true => Command::new("env"),
        false => Command::new("sudo"),
    };
    if !is_root() {
        command.args(["-n", "env"]);
    }
    command.arg(format!("{INSIDE}=1"));
    command.arg(format!("TMPDIR={SCRATCH}/tmp"));
    // sudo does not pass it on.
    if env::var_os(COMPLETE).is_some() {
        command.arg(format!("{COMPLETE}=1"));
    }
    // sudo would reset the death signal, so it comes before this.
    command.args(["setpriv", "--pdeathsig", "KILL"]);
    command.args(["unshare", "--net", "--mount", "--uts", "--pid"]);
    command.args(["--mount-proc", "--fork", "--kill-child"]);
    command.arg(program);
    command
}

/// Prepares the namespace; call it once, inside.
pub fn prepare() -> io::Result<()> {
    run(
        "mount",
        &["-t", "tmpfs", "-o", "mode=755", "tmpfs", SCRATCH],
    )?;
    fs::create_dir(Path::new(SCRATCH).join("tmp"))?;
    run("ip", &["link", "set", "lo", "up"])?;
    let ipv6 = ["2001:db8::/32", "64:ff9b::/96"];
    for network in ["192.0.2.0/24", "198.51.100.0/24"].into_iter().chain(ipv6) {
        run("ip", &["route", "add", "local", network, "dev", "lo"])?;
    }
    // Clients bind to addresses without an interface.
    fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")?;
    // Sendmail waits a minute for a name with a dot in it.
    fs::write("/proc/sys/kernel/hostname", "mx.sixgate.test")?;
    put_over(
        "/etc/hosts",
        "127.0.0.1 localhost\n::1 localhost\n192.0.2.25 mx.sixgate.test\n",
    )?;
    put_over(
        "/etc/resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )?;
    put_over(
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    )
}

/// Replaces a file by another text, only inside the namespace.
pub fn put_over(file: &str, text: &str) -> io::Result<()> {
    let name = Path::new(file).file_name().unwrap_or_default();
    let ours: PathBuf = Path::new(SCRATCH).join(name);
    fs::write(&ours, text)?;
    run("mount", &["--bind", &ours.to_string_lossy(), file])
}

/// Runs a command to its end; the error has its output.
pub fn run(command: &str, arguments: &[&str]) -> io::Result<()> {
    run_to_end(Command::new(command).args(arguments))
}

/// As [`run`].
pub fn run_to_end(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {said}")))
}
