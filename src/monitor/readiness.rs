//! Readiness: whether the DNS answers. Nothing else can fail in the running program: it
//! opens sockets and reads lists before it reports that it is ready.

use crate::{
    dns::{Answer, Resolve},
    snapshot::Snapshot,
};
use std::{
    net::Ipv6Addr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Mutex, time::timeout};

/// The timeout of the lookup.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a result is cached.
const VALIDITY: Duration = Duration::from_secs(5);

/// The cached result.
#[derive(Default)]
pub(super) struct Readiness {
    last: Mutex<Option<(Instant, Option<String>)>>,
}

impl Readiness {
    /// Returns why mail can't be decided now; `None` if it can.
    pub(super) async fn problem<R: Resolve>(&self, snapshot: &Snapshot<R>) -> Option<String> {
        let mut last = self.last.lock().await;
        match &*last {
            Some((time, problem)) if time.elapsed() < VALIDITY => problem.clone(),
            Some(_) | None => {
                let problem = probe(snapshot.checks.resolver()).await;
                *last = Some((Instant::now(), problem.clone()));
                problem
            }
        }
    }
}

async fn probe<R: Resolve>(resolver: &R) -> Option<String> {
    match timeout(TIMEOUT, resolver.ptr(unused_address().into())).await {
        Ok(Answer::Found(_) | Answer::Absent(_)) => None,
        Ok(Answer::Temperror(failure)) => Some(format!("the DNS does not answer: {failure}")),
        Err(_too_late) => Some("the DNS does not answer: timeout".to_owned()),
    }
}

/// Returns a random documentation address: a recursive server knows without a query that
/// it has no name (RFC 6303 section 4.6), and our own cache cannot answer.
pub(crate) fn unused_address() -> Ipv6Addr {
    const DOCUMENTATION: u128 = 0x2001_0db8 << 96;
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = time.map_or(0, |time| time.as_nanos());
    Ipv6Addr::from_bits(DOCUMENTATION | (nanoseconds & u128::from(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_about_a_documentation_address() {
        let address = unused_address();
        assert_eq!(address.segments()[..4], [0x2001, 0xdb8, 0, 0], "{address}");
    }
}
