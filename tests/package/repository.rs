//! A signed APT repository: installed from and upgraded through, over HTTP.

use super::{
    debian::{Debian, Release, package},
    lifecycle::{Outcome, expect, on_a_booted_system, prepare_postfix, repack},
    namespace::SCRATCH,
};
use std::{
    fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub fn serves_installations_and_upgrades(release: Release) -> Outcome {
    on_a_booted_system(release, |system| live(system, release))
}

fn live(system: &Debian, release: Release) -> Outcome {
    prepare_postfix(system)?;
    let repository = Repository::new()?;
    repository.add(&repack("in-repository", "~earlier", "true")?)?;
    let _server = repository.serve()?;

    // As in docs/install.md; the system reaches no other repository.
    let suite = release.code_name();
    let source = format!(
        "deb [signed-by=/etc/apt/keyrings/sixgate.asc] http://127.0.0.1:8099/ {suite} main"
    );
    system.run("rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*")?;
    let root = system.root();
    fs::create_dir_all(root.join("etc/apt/keyrings"))?;
    fs::copy(
        repository.folder.join("sixgate.asc"),
        root.join("etc/apt/keyrings/sixgate.asc"),
    )?;
    fs::write(root.join("etc/apt/sources.list.d/sixgate.list"), source)?;
    system
        .run("apt-get update 2>&1 && apt-get install -q -y --no-install-recommends sixgate 2>&1")?;
    system.run("systemctl is-active sixgate")?;

    let newest = package().ok_or_else(|| io::Error::other("no package"))?;
    repository.add(&newest)?;
    let said = system.run("apt-get update 2>&1 && apt-get upgrade -q -y 2>&1")?;
    expect(
        said.contains("has taken over"),
        "an upgrade by handover",
        &said,
    )?;

    // A repository that somebody else signed is refused.
    let forged = Repository::new()?;
    fs::copy(
        forged.folder.join("sixgate.asc"),
        root.join("etc/apt/keyrings/sixgate.asc"),
    )?;
    let refused = system.run("rm -rf /var/lib/apt/lists/* && apt-get update 2>&1 || true")?;
    expect(
        refused.contains("NO_PUBKEY") || refused.contains("Missing key"),
        "a refusal",
        &refused,
    )
}

/// A repository with its own key.
struct Repository {
    folder: PathBuf,
    keys: PathBuf,
}

const KEY: &str = "releases@sixgate.test";

impl Repository {
    fn new() -> io::Result<Self> {
        let place = tempfile::Builder::new()
            .prefix("repository")
            .tempdir_in(SCRATCH)?
            .keep();
        let repository = Self {
            folder: place.join("repository"),
            keys: place.join("keys"),
        };
        fs::create_dir_all(&repository.folder)?;
        fs::create_dir(&repository.keys)?;
        run(Command::new("chmod").arg("700").arg(&repository.keys))?;
        let parameters = [
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--quick-gen-key",
            KEY,
        ];
        run(repository.gpg().args(parameters))?;
        let exported = repository.folder.join("sixgate.asc");
        run(repository
            .gpg()
            .args(["--armor", "--output"])
            .arg(exported)
            .args(["--export", KEY]))?;
        Ok(repository)
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", &self.keys);
        command
    }

    fn add(&self, package: &Path) -> Outcome {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/apt-repository.sh");
        let mut command = Command::new(script);
        command.env("GNUPGHOME", &self.keys);
        run(command.arg(&self.folder).arg(KEY).arg(package))
    }

    fn serve(&self) -> io::Result<Server> {
        let server = Command::new("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", "8099"])
            .current_dir(&self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Server(server);
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = TcpStream::connect("127.0.0.1:8099") {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    expect(output.status.success(), &format!("{command:?}"), &said)
}
