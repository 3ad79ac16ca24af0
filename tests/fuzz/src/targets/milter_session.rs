//! Milter connections: with any frames in any order and any pieces, no message passes that the
//! policy does not allow to pass.
//!
//! An input is a script: the DNS, how the bytes are split, and steps, most of which are frames
//! as an MTA sends them. The oracle compares the bytes sent with the bytes received, which it
//! parses with its own codec.

mod oracle;
mod script;

use super::Target;
use crate::{message::runtime, random::Random, zone::Zone};
use oracle::check_answers;
use sixgate::{
    config::Config,
    exempt::Exemptions,
    milter::{connection::Connection, drain::Drain},
    opt_in::Sources,
    snapshot::Snapshot,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{oneshot, watch},
    time::timeout,
};

/// The target.
pub const TARGET: Target = Target {
    name: "milter_session",
    check,
    seeds: script::seeds,
    dictionary: script::DICTIONARY,
};

/// The answers of the DNS to all lookups of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Knowledge {
    /// NXDOMAIN.
    Nothing,
    /// SERVFAIL.
    Fails,
    /// Clients have PTR records. There are no SPF records.
    Ptr,
    /// Clients have PTR records, and SPF passes for good.example.
    PtrAndSpf,
}

const ALL: [Knowledge; 4] = [
    Knowledge::Nothing,
    Knowledge::Fails,
    Knowledge::Ptr,
    Knowledge::PtrAndSpf,
];

/// Checks one script.
///
/// # Panics
/// If the connection hangs, a mail transaction stays open, or the policy does not allow a reply.
pub fn check(input: &[u8]) {
    let [fixture, cut, steps @ ..] = input else {
        return;
    };
    let knowledge = ALL[usize::from(*fixture) % ALL.len()];
    let sent = script::bytes(steps);
    let answered = runtime().block_on(play(knowledge, &sent, *cut));
    check_answers(knowledge, &sent, &answered);
}

async fn play(knowledge: Knowledge, sent: &[u8], cut: u8) -> Vec<u8> {
    converse(fixture(knowledge), sent, cut).await
}

/// Sends the bytes in pieces without waiting for replies, and returns the bytes received.
pub(super) async fn converse(
    current: watch::Receiver<Arc<Snapshot<Zone>>>,
    sent: &[u8],
    cut: u8,
) -> Vec<u8> {
    let (mta, ours) = duplex(4096);
    let (_end, end) = oneshot::channel();
    let drain = Arc::<Drain>::default();
    let idle = Duration::from_secs(60);
    let connection = Connection::new(ours, idle, end, current, Arc::clone(&drain));
    let (reader, writer) = tokio::io::split(mta);
    let dialogue = async {
        let (served, (), answered) =
            tokio::join!(connection.serve(), write(writer, sent, cut), read(reader));
        // Formatting the reason must not panic.
        let _ = served.map_err(|closed| closed.to_string());
        answered
    };
    let answered = timeout(Duration::from_secs(30), dialogue).await;
    assert_eq!(
        drain.pending_transactions(),
        0,
        "a mail transaction is still open"
    );
    answered.expect("the connection ends")
}

async fn write(mut stream: tokio::io::WriteHalf<DuplexStream>, sent: &[u8], cut: u8) {
    let mut random = Random::new(cut.into());
    let mut rest = sent;
    while !rest.is_empty() {
        let longest = match cut {
            0..64 => 8,
            64..192 => 40,
            192.. => 2000,
        };
        let (piece, after) = rest.split_at((1 + random.below(longest)).min(rest.len()));
        if stream.write_all(piece).await.is_err() {
            return;
        }
        // Lets the connection reply before a later frame breaks it.
        tokio::task::yield_now().await;
        rest = after;
    }
    // The connection may have been closed already.
    let _ = stream.shutdown().await;
}

async fn read(mut stream: tokio::io::ReadHalf<DuplexStream>) -> Vec<u8> {
    let mut answered = Vec::new();
    // After an error, the bytes received so far count.
    let _ = stream.read_to_end(&mut answered).await;
    answered
}

fn fixture(knowledge: Knowledge) -> watch::Receiver<Arc<Snapshot<Zone>>> {
    static SNAPSHOTS: OnceLock<[watch::Sender<Arc<Snapshot<Zone>>>; 4]> = OnceLock::new();
    let fixtures =
        SNAPSHOTS.get_or_init(|| ALL.map(|knowledge| watch::Sender::new(snapshot(knowledge))));
    fixtures[knowledge as usize].subscribe()
}

/// Returns a snapshot with a configuration and the zone.
pub(super) fn snapshot_of(zone: Zone) -> Arc<Snapshot<Zone>> {
    let text = "opt_in: {domains: [contoso.com]}\n\
                exempt: {tls: none}\n\
                limits: {header_bytes: 4 KiB}\n\
                authentication_results: {authserv_id: mx.contoso.com}\n";
    let config = Config::parse(text, "milter.yaml").expect("a configuration");
    let sources = Sources::open(&config.opt_in, None).expect("lists that can be read");
    let exemptions = Exemptions::open(&config, None).expect("a list that can be read");
    Arc::new(Snapshot::new(config, sources, exemptions, zone))
}

fn snapshot(knowledge: Knowledge) -> Arc<Snapshot<Zone>> {
    let mut zone = Zone {
        ptr_fails: knowledge == Knowledge::Fails,
        ..Zone::default()
    };
    if knowledge >= Knowledge::Ptr {
        zone.ptr = vec![b"mail.good.example".to_vec()];
    }
    if knowledge == Knowledge::PtrAndSpf {
        zone.add_txt("good.example", "v=spf1 ip6:2001:db8::/32 -all");
    }
    snapshot_of(zone)
}
