//! Measures how clients that reload the status page affect mail: the time of a message that
//! passes SPF, without clients and with 200.
//!
//! The two alternate, so that other load on the machine affects both. The clients are in their
//! own process with the lowest priority, as if they were on other machines.

#[path = "../support/mod.rs"]
mod support;

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::Daemon,
    dns::{DnsServer, Zone},
    http,
    milter::{Address, MilterClient, Reply, UNSIGNED},
};

const ZONE: &str = r#"
2001:db8:1::10            PTR    mail.good.example
mail.good.example         AAAA   2001:db8:1::10
good.example              TXT    "v=spf1 ip6:2001:db8:1::/64 -all"
"#;

const CLIENTS: usize = 200;
const ROUNDS: usize = 15;
const PHASE: Duration = Duration::from_secs(3);

/// Threads that send mail, and the interval between the messages of each.
const SENDERS: u32 = 4;
const INTERVAL: Duration = Duration::from_millis(20);

fn main() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some("clients") {
        let address = arguments.next().and_then(|text| text.parse().ok());
        let period = arguments.next().and_then(|text| text.parse().ok());
        return clients(address.unwrap(), Duration::from_millis(period.unwrap()));
    }
    let dns = DnsServer::start(Zone::parse(ZONE).expect("a zone"));
    let page = http::free_address();
    let daemon = Daemon::start(&format!(
        "dns: {{servers: [{}]}}\nstatus: {{listen: {page}}}\nlog: {{level: warn}}\n\
         opt_in: {{domains: [contoso.com]}}\n",
        dns.address()
    ));
    send(&daemon.address(), PHASE);
    for (period, what) in [(1000, "each once a second"), (0, "each without a pause")] {
        let (mut quiet, mut loaded, mut pages) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            quiet.extend(send(&daemon.address(), PHASE));
            let mut others = Command::new("nice")
                .args(["-n", "19"])
                .arg(env::current_exe().unwrap())
                .args(["clients", &page.to_string(), &period.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut counts = BufReader::new(others.stdout.take().unwrap()).lines();
            counts.next().unwrap().unwrap();
            loaded.extend(send(&daemon.address(), PHASE));
            drop(others.stdin.take());
            pages += counts.next().unwrap().unwrap().parse::<u64>().unwrap();
            others.wait().unwrap();
        }
        quiet.sort();
        loaded.sort();
        println!("{CLIENTS} clients that reload the overview, {what}:");
        println!(
            "  pages a second   {:.0}",
            pages as f64 / (PHASE * ROUNDS as u32).as_secs_f64()
        );
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let (quiet_ms, loaded_ms) = (quantile(&quiet, share), quantile(&loaded, share));
            println!(
                "  {name} of mail      {:.2} ms without, {:.2} ms with them ({:+.1} %)",
                quiet_ms * 1e3,
                loaded_ms * 1e3,
                (loaded_ms / quiet_ms - 1.0) * 100.0
            );
        }
    }
}

/// Sends mail at a fixed rate, and returns the duration of each message, including that of
/// its connection.
fn send(address: &Address, time: Duration) -> Vec<Duration> {
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let address = address.clone();
            thread::spawn(move || {
                let begin = Instant::now() + INTERVAL * number / SENDERS;
                let mut durations = Vec::new();
                for tick in 0.. {
                    let at = begin + INTERVAL * tick;
                    if at >= begin + time {
                        break;
                    }
                    thread::sleep(at.saturating_duration_since(Instant::now()));
                    let start = Instant::now();
                    message(&address);
                    durations.push(start.elapsed());
                }
                durations
            })
        })
        .collect();
    let durations = senders
        .into_iter()
        .flat_map(|sender| sender.join().unwrap());
    durations.collect()
}

fn message(address: &Address) {
    let mut mta = MilterClient::open(address);
    mta.connect_from(
        "mail.good.example",
        "[2001:db8:1::10]:25252".parse().unwrap(),
    );
    mta.helo("mail.good.example");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    assert_eq!(mta.message(UNSIGNED, 65535).reply, Reply::Continue);
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64()
}

/// Reloads the overview until standard input ends, and prints how many pages were served.
fn clients(page: SocketAddr, period: Duration) {
    let served = Arc::new(AtomicU64::new(0));
    for number in 0..CLIENTS {
        let served = Arc::clone(&served);
        thread::spawn(move || {
            let mut next = Instant::now() + period * number as u32 / CLIENTS as u32;
            loop {
                thread::sleep(next.saturating_duration_since(Instant::now()));
                next += period;
                match reload(page) {
                    Some(()) => _ = served.fetch_add(1, Ordering::Relaxed),
                    // sixgate limits the number of connections.
                    None => thread::sleep(Duration::from_millis(10)),
                }
            }
        });
    }
    while served.load(Ordering::Relaxed) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    println!("started");
    let _ = std::io::stdin().read(&mut [0]);
    println!("{}", served.load(Ordering::Relaxed));
}

fn reload(page: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(page).ok()?;
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("<h1>Overview</h1>").then_some(())
}
