//! Relays before the mail server: docker-proxy, which hides clients, and one that
//! passes their addresses on by the PROXY protocol.

use super::{
    client::{Security, SmtpClient},
    fixture::{COMMON, Fixture, RELAYED, RELAYED_WITH_ADDRESS, SERVER},
    namespace::{is_required, run},
    proxy_header::ProxyHeader,
    support::{
        daemon::{Daemon, TIMEOUT},
        http,
    },
};
use serde_json::Value;
use std::{
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// As many as the warning needs on the first day.
const CONNECTIONS: usize = 1000;

/// The daemon judges every 10 s.
const JUDGED: Duration = Duration::from_secs(21);

/// The bridge's address, which docker-proxy connects from, and the container's.
const BRIDGE: &str = "172.17.0.1";
const CONTAINER: &str = "172.17.0.2";

/// The Docker host for IPv6 clients.
const HOST: Ipv6Addr = Ipv6Addr::new(0xfd17, 0, 0, 0, 0, 0, 0, 1);
const HOST_PORT: u16 = 25;

/// A client without reverse DNS.
const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x20);

/// Why there is no docker-proxy here.
pub fn obstacle() -> Option<String> {
    (!is_required() && !docker_proxy().exists())
        .then(|| "needs docker-proxy: run tests/extract-docker-proxy.sh".to_owned())
}

fn docker_proxy() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/docker-proxy/usr/sbin/docker-proxy")
}

/// Behind docker-proxy nothing is checked, and the daemon notices; behind a proxy
/// that passes addresses on there is nothing to notice.
pub fn are_noticed(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    prove(fixture).map_err(|error| error.to_string())
}

fn prove(fixture: &Fixture) -> io::Result<()> {
    let (hidden, metrics) = start_daemon(fixture, RELAYED)?;
    let (passed_on, other_metrics) = start_daemon(fixture, RELAYED_WITH_ADDRESS)?;
    let _host = DockerHost::start(fixture.gate(RELAYED).port)?;

    // The hole: a client without reverse DNS, a recipient that has not opted in.
    let mut client = connect_first(SocketAddr::from((HOST, HOST_PORT)))?;
    for said in [
        "EHLO hidden.example",
        "MAIL FROM:<a@fail.example>",
        "RCPT TO:<b@closed.example>",
    ] {
        let reply = say(&mut client, said)?;
        expect(reply.starts_with("250"), format!("{said}: {reply}"))?;
    }
    say(&mut client, "QUIT")?;

    doctor_finds_docker_proxy(&hidden)?;
    let to_host = SocketAddr::from((HOST, HOST_PORT));
    many(CONNECTIONS, || connect(to_host))?;
    // The relay connects over IPv4 from a private address, and names IPv6 and IPv4
    // clients.
    let container: IpAddr = CONTAINER.parse().map_err(io::Error::other)?;
    let to_proxied = SocketAddr::from((container, fixture.gate(RELAYED_WITH_ADDRESS).port));
    for named in ["v1 2001:db8::20", "v2 198.51.100.10"] {
        let header = ProxyHeader::parse(named).map_err(io::Error::other)?;
        many(CONNECTIONS / 2, || {
            let mut client = SmtpClient::connect(container, to_proxied, &Security::Plain)?;
            client.send(&header.bytes())?;
            Ok(client)
        })?;
    }

    let log = hidden.log();
    let seen = format!("come from {BRIDGE}, and none from an IPv6 client");
    let warning = log.find(&["WARN", &seen, "docker-proxy"]);
    let warning = warning.ok_or_else(|| io::Error::other(log.text()))?;
    eprintln!("{}: {warning}", fixture.kind);
    wait_for_metric(metrics, "1")?;
    // It has judged the same connections by then.
    thread::sleep(JUDGED);
    wait_for_metric(other_metrics, "0")?;
    let text = passed_on.log().text();
    expect(!text.contains("hide"), text)?;
    let text = log.text();
    let warnings = text.matches(&seen).count();
    expect(warnings == 1, format!("{warnings} warnings: {text}"))?;

    // The clients are passed on from now on.
    let direct = SocketAddr::from((SERVER, fixture.gate(RELAYED).port));
    say(&mut connect(direct)?, "QUIT")?;
    wait_for_metric(metrics, "0")?;
    let ended = log.find(&["INFO", "no longer seem to be hidden"]);
    ended.ok_or_else(|| io::Error::other(log.text())).map(drop)
}

fn doctor_finds_docker_proxy(daemon: &Daemon) -> io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["doctor", "--json", "-c"])
        .arg(daemon.config_file())
        .output()?;
    let findings: Value = serde_json::from_slice(&output.stdout)?;
    let is_wanted = |finding: &Value| {
        let seen = finding["seen"].as_str().unwrap_or_default();
        let seen = seen.starts_with(&format!("docker-proxy forwards [::]:25 to {CONTAINER}"));
        finding["check"] == "clients" && finding["level"] == "problem" && seen
    };
    let findings_list = findings.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_found = findings_list.iter().any(is_wanted);
    expect(is_found, format!("doctor: {findings:#}"))
}

/// A daemon at the gate's socket, and where its metrics are.
fn start_daemon(fixture: &Fixture, gate: &str) -> io::Result<(Daemon, SocketAddr)> {
    let metrics = http::free_address();
    let socket = &fixture.gate(gate).milter;
    let config = format!("{COMMON}metrics: {{listen: \"{metrics}\"}}\n");
    Ok((Daemon::start_at(socket, &config), metrics))
}

fn wait_for_metric(metrics: SocketAddr, want: &str) -> io::Result<()> {
    let line = format!("sixgate_clients_hidden {want}");
    let start = Instant::now();
    loop {
        let text = http::get(metrics, "/metrics").body;
        if text.lines().any(|found| found == line) {
            return Ok(());
        }
        expect(start.elapsed() < TIMEOUT, format!("no {line}: {text}"))?;
        thread::sleep(Duration::from_millis(100));
    }
}

fn connect(to: SocketAddr) -> io::Result<SmtpClient> {
    let mut client = SmtpClient::connect(CLIENT.into(), to, &Security::Plain)?;
    client.reply()?;
    Ok(client)
}

/// The kernel may take a moment to use links that are up: that to docker-proxy, and its own
/// to the mail server, without which it closes the connection.
fn connect_first(to: SocketAddr) -> io::Result<SmtpClient> {
    let start = Instant::now();
    loop {
        match connect(to) {
            Err(_) if start.elapsed() < TIMEOUT => thread::sleep(Duration::from_millis(50)),
            connected => return connected,
        }
    }
}

fn say(client: &mut SmtpClient, line: &str) -> io::Result<String> {
    client.send(format!("{line}\r\n").as_bytes())?;
    client.reply()
}

/// SMTP sessions without mail, several at once.
fn many(count: usize, connect: impl Fn() -> io::Result<SmtpClient> + Sync) -> io::Result<()> {
    const THREADS: usize = 10;
    let sessions = || (0..count / THREADS).try_for_each(|_| say(&mut connect()?, "QUIT").map(drop));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(sessions)).collect();
        let mut results = threads.into_iter().map(|thread| thread.join());
        results.try_for_each(|done| done.unwrap_or_else(|_| Err(io::Error::other("panic"))))
    })
}

fn expect(is_as_wanted: bool, problem: String) -> io::Result<()> {
    match is_as_wanted {
        true => Ok(()),
        false => Err(io::Error::other(problem)),
    }
}

/// A network of its own with a docker-proxy that leads to the mail server, which is
/// the container.
struct DockerHost(Child);

impl DockerHost {
    fn start(port: u16) -> io::Result<Self> {
        let program = docker_proxy();
        // As the Docker daemon starts it: descriptor 3 is where it reports success.
        let script = format!(
            "echo
             until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
             ip link set lo up
             ip addr add {BRIDGE}/16 dev eth0
             ip addr add {HOST}/64 dev eth0 nodad
             ip link set eth0 up
             ip route add 2001:db8::/32 via fd17::2
             exec {} -proto tcp -host-ip :: -host-port {HOST_PORT} -container-ip {CONTAINER} \
                  -container-port {port} 3>&1",
            program.display()
        );
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let pid = child.id().to_string();
        let host = Self(child);
        let mut said = BufReader::new(stdout).lines();
        // It is in a network of its own by now.
        said.next().ok_or(io::ErrorKind::UnexpectedEof)??;
        run(
            "ip",
            &[
                "link", "add", "docker0", "type", "veth", "peer", "name", "eth0", "netns", &pid,
            ],
        )?;
        run(
            "ip",
            &["addr", "add", &format!("{CONTAINER}/16"), "dev", "docker0"],
        )?;
        run(
            "ip",
            &["addr", "add", "fd17::2/64", "dev", "docker0", "nodad"],
        )?;
        run("ip", &["link", "set", "docker0", "up"])?;
        match said.next() {
            Some(Ok(line)) if line == "0" => Ok(host),
            other => Err(io::Error::other(format!("docker-proxy: {other:?}"))),
        }
    }
}

impl Drop for DockerHost {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // The kernel deletes it some time after the network at its other end.
        let _ = run("ip", &["link", "delete", "docker0"]);
    }
}
