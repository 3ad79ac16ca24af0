//! The container image with a Postfix outside of it. `tests/make-container.sh` builds the
//! image.

use super::{
    debian::{Debian, Release},
    lifecycle::{
        CONFIGURATION, Outcome, accepts_a_message, expect, on_a_booted_system, prepare_postfix,
        refuses,
    },
    namespace::SCRATCH,
};
use std::{
    fs, io,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A container of the image. Dropping it removes it.
struct Container {
    name: String,
    /// Mounted at /etc/sixgate.
    configuration: PathBuf,
}

impl Container {
    fn new() -> io::Result<Self> {
        let configuration = Path::new(SCRATCH).join("container");
        fs::create_dir_all(&configuration)?;
        let created = text(buildah(&["from", "sixgate"]).output()?)?;
        Ok(Self {
            name: created.trim().to_owned(),
            configuration,
        })
    }

    /// Runs the program inside, as the image's user, with the network of the test.
    fn command(&self, arguments: &[&str]) -> Command {
        let volume = format!("{}:/etc/sixgate:ro", self.configuration.display());
        let mut command = buildah(&["run", "--isolation", "chroot", "--network", "host"]);
        command
            .args(["--volume", &volume, &self.name, "--", "/usr/sbin/sixgate"])
            .args(arguments);
        command
    }

    fn serve(&self) -> io::Result<Child> {
        let mut serving = self.command(&["serve"]).stderr(Stdio::piped()).spawn()?;
        let log = serving
            .stderr
            .take()
            .ok_or_else(|| io::Error::other("no pipe"))?;
        let mut lines = BufReader::new(log).lines();
        for line in &mut lines {
            if line?.contains("ready version=") {
                // Otherwise it would wait for this test.
                thread::spawn(move || lines.for_each(drop));
                return Ok(serving);
            }
        }
        Err(io::Error::other("the container ends before it is ready"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = buildah(&["rm", &self.name]).output();
    }
}

fn buildah(arguments: &[&str]) -> Command {
    let storage = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/container/storage");
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run"))
        .args(["--storage-driver", "vfs"])
        .args(arguments);
    command
}

fn text(output: Output) -> io::Result<String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

pub fn lifecycle_of_an_image(release: Release) -> Outcome {
    on_a_booted_system(release, live)
}

fn live(system: &Debian) -> Outcome {
    prepare_postfix(system)?;
    system.run(
        "postconf -e smtpd_milters=inet:127.0.0.1:8894 milter_default_action=tempfail && \
         postfix reload",
    )?;
    let container = Container::new()?;
    says_what_is_missing(&container)?;

    let configuration = format!("{CONFIGURATION}metrics: {{listen: 127.0.0.1:9894}}\n");
    fs::write(container.configuration.join("milter.yaml"), configuration)?;
    let start = Instant::now();
    let mut serving = container.serve()?;
    eprintln!("from buildah run to ready: {:?}", start.elapsed());
    refuses()?;
    accepts_a_message("2001:db8::10")?;
    let healthy = text(container.command(&["healthcheck"]).output()?)?;
    expect(healthy == "ready\n", "ready", &healthy)?;
    runs_without_rights()?;
    ends_at_sigterm(&mut serving)?;
    let healthcheck = container.command(&["healthcheck"]).output()?;
    let said = String::from_utf8_lossy(&healthcheck.stderr).into_owned();
    expect(said.contains("not ready: listen: "), "not ready", &said)
}

fn says_what_is_missing(container: &Container) -> Outcome {
    let missing = container.command(&["serve"]).output()?;
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    let first = said.lines().next().unwrap_or_default();
    let want = "/etc/sixgate/milter.yaml: can't be read: No such file or directory (os error 2)";
    expect(
        first == want && missing.status.code() == Some(66),
        want,
        &said,
    )
}

fn runs_without_rights() -> Outcome {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon()?))?;
    let is_unprivileged = ["Uid:\t8894\t8894", "CapEff:\t0000000000000000"];
    let holds = is_unprivileged.iter().all(|line| status.contains(line));
    expect(holds, "user 8894 without capabilities", &status)
}

fn ends_at_sigterm(serving: &mut Child) -> Outcome {
    Command::new("kill").arg(daemon()?).status()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(status) = serving.try_wait()? {
            return expect(status.success(), "exit code 0", &status.to_string());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("it does not end"))
}

/// The process of the daemon.
fn daemon() -> io::Result<String> {
    let mut pgrep = Command::new("pgrep");
    let found = text(pgrep.args(["-u", "8894", "-x", "sixgate"]).output()?)?;
    let first = found.lines().next().unwrap_or_default();
    Ok(first.to_owned())
}
