//! The milter sockets: whether each one answers as an MTA would have it.

use super::{
    finding::{Check, Finding},
    listeners::{Listener, Listeners},
};
use crate::{
    config::Socket,
    probe::milter::{self, ProbeError},
};

/// Tries every socket.
pub(super) async fn check(listeners: &Listeners) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in &listeners.0 {
        if listener.places.is_empty() {
            findings.push(unknown(listener));
        }
        for place in &listener.places {
            findings.push(try_place(place).await);
        }
    }
    findings
}

fn unknown(listener: &Listener) -> Finding {
    let socket = &listener.socket;
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
        Err(error) => Finding::problem(Check::Socket, format!("{place}: {error}"), todo(&error)),
    }
}

fn todo(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::NoSocket | ProbeError::NotListening => {
            "start it: systemctl start sixgate; if it does not stay, see its log: \
             journalctl -u sixgate"
        }
        ProbeError::NotAllowed => "run this as root or as the user of sixgate",
        ProbeError::Closed => {
            "see the log of sixgate for the reason: limits.connections or allow_peers may be it"
        }
        ProbeError::NotMilter(_) => "another program has this socket: give one of them another",
        ProbeError::Timeout => "see the log of sixgate; restart it",
        ProbeError::Other(_) => "see that the address exists on this machine",
    }
}
