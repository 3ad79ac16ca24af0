//! The milter sockets: whether each one answers as an MTA would have it.

use super::{
    finding::{Check, Finding},
    listening::{Gate, Listening},
};
use crate::{
    config::Socket,
    probe::milter::{self, Refused},
};

/// Tries every socket.
pub(super) async fn check(gate: &Gate) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listening in &gate.0 {
        if listening.places.is_empty() {
            findings.push(unknown(listening));
        }
        for place in &listening.places {
            findings.push(try_place(place).await);
        }
    }
    findings
}

fn unknown(listening: &Listening) -> Finding {
    let socket = &listening.socket;
    Finding::warning(
        Check::Socket,
        format!("{socket}: systemd does not tell where this is"),
        "look with: systemctl list-sockets",
    )
}

async fn try_place(place: &Socket) -> Finding {
    match milter::negotiate(place).await {
        Ok(done) => Finding::ok(
            Check::Socket,
            format!(
                "{place} answers the milter negotiation (version {}) in {:.1} ms",
                done.version,
                done.elapsed.as_secs_f64() * 1000.0
            ),
        ),
        Err(refused) => {
            Finding::problem(Check::Socket, format!("{place}: {refused}"), todo(&refused))
        }
    }
}

fn todo(refused: &Refused) -> &'static str {
    match refused {
        Refused::NoSocket | Refused::NobodyListens => {
            "start it: systemctl start sixgate; if it does not stay, see its log: \
             journalctl -u sixgate"
        }
        Refused::NotAllowed => "run this as root or as the user of sixgate",
        Refused::Closed => {
            "see the log of sixgate for the reason: limits.connections or allow_peers may be it"
        }
        Refused::NoMilter(_) => "another program has this socket: give one of them another",
        Refused::Mute => "see the log of sixgate; restart it",
        Refused::Other(_) => "see that the address exists on this machine",
    }
}
