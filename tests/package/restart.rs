//! Connections while the service restarts, stops or does not start: with sockets that
//! systemd keeps during a restart (the default of the package), with sockets that are not
//! kept, and with a socket unit.

use super::{
    debian::Debian,
    lifecycle::{Outcome, expect, greeted, say},
};
use std::{
    fmt, fs,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The address that the service listens on.
const MILTER: &str = "127.0.0.1:8894";

/// SMFIC_OPTNEG as Postfix sends it.
const NEGOTIATION: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

/// The time that Postfix waits for a milter (`milter_connect_timeout`).
const TIMEOUT: Duration = Duration::from_secs(30);

/// By default no connection is refused or reset during a restart; after a stop, and if the
/// service does not start, each is refused at once.
pub fn keeps_sockets(system: &Debian) -> Outcome {
    let kept = measure(system, "sockets kept over a restart (the package)")?;
    expect(
        kept.restart.refused == 0 && kept.restart.broken == 0 && kept.restart.answered > 0,
        "every connection answered",
        &kept.restart.to_string(),
    )?;
    for (what, seen) in [("stopped", &kept.stopped), ("not started", &kept.failed)] {
        let is_refused = seen.refused == seen.connections() && seen.refused > 0;
        expect(
            is_refused && seen.longest < TIMEOUT / 10,
            what,
            &seen.to_string(),
        )?;
    }
    // A kept socket does not block another one at its port.
    let file = system.root().join("etc/sixgate/milter.yaml");
    let configuration = fs::read_to_string(&file)?;
    for address in ["0.0.0.0", "127.0.0.1"] {
        let listen = format!("{configuration}listen: inet:{address}:8894\n");
        fs::write(&file, listen)?;
        system.run("systemctl restart sixgate")?;
        negotiate()?;
    }
    fs::write(&file, configuration)?;
    // docs/operations.md describes the other configurations.
    drop_in(
        system,
        "sixgate.service",
        "[Service]\nFileDescriptorStoreMax=0\n",
    )?;
    system.run("systemctl restart sixgate")?;
    let own = measure(system, "sockets that systemd does not hold")?;
    expect(own.restart.refused > 0, "refused", &own.restart.to_string())?;
    let socket = format!("[Socket]\nListenStream=\nListenStream={MILTER}\n");
    drop_in(system, "sixgate.socket", &socket)?;
    system.run("systemctl stop sixgate && systemctl start sixgate.socket sixgate.service")?;
    let unit = measure(system, "a socket unit")?;
    expect(
        unit.restart.refused == 0,
        "none refused",
        &unit.restart.to_string(),
    )?;
    system.run(
        "systemctl stop sixgate.socket sixgate.service; \
         systemctl revert sixgate.service sixgate.socket && systemctl daemon-reload && \
         systemctl reset-failed && systemctl restart sixgate",
    )?;
    Ok(())
}

struct Measured {
    restart: Seen,
    stopped: Seen,
    failed: Seen,
}

fn measure(system: &Debian, how: &str) -> io::Result<Measured> {
    // It keeps a milter connection open, so that the restart takes limits.drain_grace.
    let mut session = greeted("2001:db8::10")?;
    let restart = meanwhile(|| system.run("systemctl restart sixgate"))?;
    drop(say(&mut session, "QUIT"));
    system.run("systemctl stop sixgate 2>&1")?;
    let stopped = meanwhile(sleep_a_second)?;
    drop(system.run("systemctl stop sixgate 2>&1"));
    let file = system.root().join("etc/sixgate/milter.yaml");
    let configuration = fs::read_to_string(&file)?;
    fs::write(&file, "mode: perhaps\n")?;
    drop(system.run("systemctl start sixgate 2>&1"));
    let failed = meanwhile(sleep_a_second)?;
    fs::write(&file, configuration)?;
    system.run("systemctl reset-failed; systemctl start sixgate")?;
    let measured = Measured {
        restart,
        stopped,
        failed,
    };
    eprintln!(
        "{how}:\n  restart: {}\n  stopped: {}\n  does not start: {}",
        measured.restart, measured.stopped, measured.failed
    );
    Ok(measured)
}

fn sleep_a_second() -> io::Result<String> {
    thread::sleep(Duration::from_secs(1));
    Ok(String::new())
}

/// The outcome of connections.
#[derive(Default)]
struct Seen {
    answered: usize,
    refused: usize,
    /// Closed or not answered within [`TIMEOUT`].
    broken: usize,
    /// The time that one has waited.
    longest: Duration,
}

impl Seen {
    fn connections(&self) -> usize {
        self.answered + self.refused + self.broken
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections: {} answered, {} refused, {} closed or without an answer; the longest \
             took {} ms",
            self.connections(),
            self.answered,
            self.refused,
            self.broken,
            self.longest.as_millis()
        )
    }
}

/// Connects from four threads, 5 ms after each answer, while something is done.
fn meanwhile<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<Seen> {
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let outcome = negotiate();
                    let mut seen = seen.lock().expect("no panic");
                    seen.longest = seen.longest.max(start.elapsed());
                    match outcome {
                        Ok(()) => seen.answered += 1,
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                            seen.refused += 1;
                        }
                        Err(_) => seen.broken += 1,
                    }
                    drop(seen);
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let acted = act();
        thread::sleep(Duration::from_millis(50));
        is_over.store(true, Ordering::Relaxed);
        acted
    })?;
    seen.into_inner().map_err(|_| io::Error::other("a panic"))
}

fn negotiate() -> io::Result<()> {
    let mut milter = TcpStream::connect(MILTER)?;
    milter.set_read_timeout(Some(TIMEOUT))?;
    milter.write_all(NEGOTIATION)?;
    milter.read_exact(&mut [0; 5])
}

fn drop_in(system: &Debian, unit: &str, text: &str) -> io::Result<()> {
    let folder = system.root().join(format!("etc/systemd/system/{unit}.d"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("override.conf"), text)?;
    system.run("systemctl daemon-reload").map(drop)
}
