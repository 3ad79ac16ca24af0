//! Checks that each milter socket answers a negotiation.

use super::{
    finding::{Check, Finding},
    listeners::{Listener, Listeners},
};
use crate::{
    config::Socket,
    probe::milter::{self, ProbeError},
};

/// Negotiates on every socket.
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
        format!("{socket}: systemd does not show its address"),
        "check with systemctl list-sockets",
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
            "start sixgate (systemctl start sixgate); if it stops again, read its log (journalctl -u \
             sixgate)"
        }
        ProbeError::NotAllowed => "run doctor as root or as the user of sixgate",
        ProbeError::Closed => {
            "read the log of sixgate; limits.connections or allow_peers may be the reason"
        }
        ProbeError::NotMilter(_) => {
            "another program uses this socket: configure another one for one of them"
        }
        ProbeError::Timeout => "read the log of sixgate, and restart it",
        ProbeError::Other(_) => "check that the address exists on this machine",
    }
}
