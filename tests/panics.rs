//! A panic in a session ends that session alone: its connection is closed, which an MTA
//! answers with a temporary failure, and the panic is logged. The test causes it with a
//! resolver that panics, and with a configuration that cannot come from a file.
//!
//! One test, because panics and the log are global to the process.

mod support;

use sixgate::{
    config::{Config, Socket},
    dns::{Answer, Failure, Mx, Name, Purpose, Resolve},
    exempt::Exemptions,
    milter::drain::Drain,
    opt_in::Sources,
    server::{self, Timeouts, handover::Accepting, inherited::Inherited},
    snapshot::Snapshot,
    telemetry,
};
use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    panic,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use support::milter::{Address, MilterClient, Reply};
use tokio::sync::watch;

/// Panics immediately in the PTR lookup of 2001:db8::bad, and after a delay in that of
/// panic.example's SPF record and of each key record.
struct Panicky;

/// With a signature whose key has to be looked up.
const SIGNED: &[u8] = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; b=AAAA;\r\n\
    \tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\nFrom: a@b\r\n\r\nx\r\n";

impl Resolve for Panicky {
    async fn txt(&self, name: &Name, _: Purpose) -> Answer<Vec<u8>> {
        let name = name.to_string();
        let record = match name.as_str() {
            "panic.example" => panics("forced over TXT").await,
            _ if name.contains("_domainkey") => panics("forced over a key").await,
            name if name.starts_with("nobody.") => "v=spf1 -all",
            _ => "v=spf1 ip6:2001:db8::/32 -all",
        };
        found(record.as_bytes().to_vec())
    }

    async fn a(&self, _name: &Name) -> Answer<Ipv4Addr> {
        Answer::Temperror(Failure::ServFail)
    }

    async fn aaaa(&self, _name: &Name) -> Answer<Ipv6Addr> {
        Answer::Temperror(Failure::ServFail)
    }

    async fn mx(&self, _name: &Name) -> Answer<Mx> {
        Answer::Temperror(Failure::ServFail)
    }

    async fn ptr(&self, ip: IpAddr) -> Answer<Name> {
        match ip.to_string().ends_with("bad") {
            true => panic!("forced over PTR\nNOQUEUE: accept: forged"),
            false => found(Name::reverse(ip)),
        }
    }

    async fn is_denied(&self, _name: &Name) -> Result<bool, Failure> {
        Ok(false)
    }
}

async fn panics(message: &str) -> &'static str {
    tokio::task::yield_now().await;
    panic!("{message}")
}

fn found<T>(record: T) -> Answer<T> {
    Answer::Found(sixgate::dns::Records {
        records: vec![record],
        valid_until: std::time::Instant::now() + Duration::from_secs(300),
    })
}

fn snapshot(socket: &Path, change: impl FnOnce(&mut Config)) -> Arc<Snapshot<Panicky>> {
    let text = "opt_in: {domains: [contoso.com]}\non_dns_failure: accept\n";
    let mut config = Config::parse(text, "milter.yaml").expect("a configuration");
    config.listen = vec![Socket::Unix(PathBuf::from(socket))];
    change(&mut config);
    let sources = Sources::open(&config.opt_in, None).expect("the lists");
    let exemptions = Exemptions::open(&config, None).expect("the list");
    Arc::new(Snapshot::new(config, sources, exemptions, Panicky))
}

/// Runs `dialogue` with the server. Returns the number of open mail transactions, or
/// nothing if the dialogue fails.
fn serve(
    current: watch::Receiver<Arc<Snapshot<Panicky>>>,
    dialogue: impl FnOnce() + Send + 'static,
) -> Option<usize> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = current.borrow().config.clone();
        let listeners = server::bind(&config, &mut Inherited::default())
            .await
            .expect("a socket");
        let timeouts = Timeouts {
            idle_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(1),
        };
        let drain = Arc::<Drain>::default();
        let (_switch, accepting) = watch::channel(Accepting::Yes);
        let serving = server::run(listeners, current, timeouts, Arc::clone(&drain), accepting);
        let serving = tokio::spawn(serving);
        let played = tokio::task::spawn_blocking(dialogue).await;
        drain.start();
        serving.await.expect("no panic");
        played.ok().map(|()| drain.pending_transactions())
    })
}

/// The contents of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

#[test]
fn a_panic_closes_only_its_own_connection_and_is_logged() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("milter.sock");
    let sound = snapshot(&socket, |_| {});
    // No clock reaches that far, so the first lookup panics in the session itself.
    let unsound = snapshot(&socket, |config| {
        config.limits.stage_timeout = Duration::MAX
    });
    let (sender, current) = watch::channel(Arc::clone(&sound));

    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let hook = panic::take_hook();
    telemetry::log_panics();

    let left = serve(current, move || {
        let address = Address::Unix(socket);
        let open = |ip: &str| {
            let client = SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), 25252);
            let mut mta = MilterClient::open(&address);
            let reply = mta.connect_from("[x]", client);
            (mta, reply)
        };
        let rcpt = |mta: &mut MilterClient, sender: &str| {
            assert_eq!(mta.mail(&[sender]), Reply::Continue);
            mta.rcpt(&["<b@contoso.com>"])
        };
        let message = |mta: &mut MilterClient| mta.message(b"From: a@b\r\n\r\nx\r\n", 65535).reply;

        let (mut other, _) = open("2001:db8::1");
        assert_eq!(rcpt(&mut other, "<a@good.example>"), Reply::Continue);

        // In a lookup: it ends the session that started it or waits for it. A defect is not
        // a DNS failure, which a configuration may accept.
        let (_mta, reply) = open("2001:db8::bad");
        assert_eq!(reply, Reply::Closed);
        let (mut mta, _) = open("2001:db8::1");
        assert_eq!(rcpt(&mut mta, "<a@panic.example>"), Reply::Continue);
        mta.eoh();
        assert_eq!(mta.eom().reply, Reply::Closed);

        let (mut mta, _) = open("2001:db8::1");
        assert_eq!(rcpt(&mut mta, "<a@nobody.example>"), Reply::Continue);
        assert_eq!(mta.message(SIGNED, 65535).reply, Reply::Closed);

        // In the session itself.
        sender.send_replace(unsound);
        for _ in 0..100 {
            let (_mta, reply) = open("2001:db8::1");
            assert_eq!(reply, Reply::Closed);
        }

        sender.send_replace(sound);
        assert_eq!(message(&mut other), Reply::Continue);
        let (mut mta, _) = open("2001:db8::1");
        assert_eq!(rcpt(&mut mta, "<a@good.example>"), Reply::Continue);
        assert_eq!(message(&mut mta), Reply::Continue);
    });

    panic::set_hook(hook);
    let text = log.text();
    assert_eq!(left, Some(0), "{text}");
    for message in [
        "forced over TXT",
        "forced over a key",
        "forced over PTR\\nNOQUEUE",
        "overflow when adding",
    ] {
        let logged = text.lines().any(|line| {
            line.contains("ERROR") && line.contains("internal error at") && line.contains(message)
        });
        assert!(logged, "{message}: {text}");
    }
}
