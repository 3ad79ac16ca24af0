//! Checks whether a DNS server validates DNSSEC: then it sets the AD flag in its answer about
//! the SOA record of the root zone, which is signed.

use super::{Check, Finding};
use crate::config::DnsServer;
use hickory_resolver::proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::UdpSocket, time::timeout};

/// Queries the server directly, once.
pub(super) async fn check(server: &DnsServer, limit: Duration) -> Finding {
    let answer = timeout(limit, query(server)).await;
    match answer {
        Ok(Ok(bytes)) => Message::from_vec(&bytes).map_or_else(
            |error| unknown(server, &error.to_string()),
            |answer| finding(server, &answer),
        ),
        Ok(Err(error)) => unknown(server, &error.to_string()),
        Err(_too_late) => unknown(server, "timeout"),
    }
}

async fn query(server: &DnsServer) -> io::Result<Vec<u8>> {
    let server = server.socket_addr()?;
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket
        .send(&soa_query().to_vec().map_err(io::Error::other)?)
        .await?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

/// Builds a query with AD, which requests AD in the answer (RFC 6840 section 5.7).
fn soa_query() -> Message {
    let mut query = Message::query();
    query.metadata.op_code = OpCode::Query;
    query.metadata.recursion_desired = true;
    query.metadata.authentic_data = true;
    query.add_query(Query::query(Name::root(), RecordType::SOA));
    query
}

fn finding(server: &DnsServer, answer: &Message) -> Finding {
    let has_root = answer
        .answers
        .iter()
        .any(|record| record.record_type() == RecordType::SOA);
    match (answer.metadata.response_code, has_root) {
        (ResponseCode::NoError, true) if answer.metadata.authentic_data => Finding::ok(
            Check::Dnssec,
            format!("{server} validates DNSSEC (AD on the root zone)"),
        ),
        (ResponseCode::NoError, true) => Finding::warning(
            Check::Dnssec,
            format!(
                "{server} does not validate DNSSEC (no AD on the root zone): forged DNS answers can \
                 make SPF and DKIM pass"
            ),
            "run a validating resolver such as unbound on this machine, and set dns.servers to it",
        ),
        (code, _) => unknown(server, &format!("it does not have the root zone ({code})")),
    }
}

fn unknown(server: &DnsServer, why: &str) -> Finding {
    let seen = format!("{server}: unknown whether it validates DNSSEC: {why}");
    Finding::ok(Check::Dnssec, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;
    use hickory_resolver::proto::rr::{RData, Record, rdata::SOA};

    #[test]
    fn only_a_signed_zone_without_ad_shows_that_a_server_does_not_validate() {
        let table = [
            // AD, knows the root zone, want
            (true, true, Level::Ok, "validates DNSSEC (AD"),
            (false, true, Level::Warning, "does not validate"),
            (false, false, Level::Ok, "unknown whether"),
            (true, false, Level::Ok, "unknown whether"),
        ];
        for (ad, root, level, words) in table {
            let mut answer = Message::response(1, OpCode::Query);
            answer.metadata.authentic_data = ad;
            let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 1);
            let soa = Record::from_rdata(Name::root(), 1, RData::SOA(soa));
            answer.add_answers(root.then_some(soa));
            let server = DnsServer::new(Ipv4Addr::LOCALHOST.into(), None);
            let finding = finding(&server, &answer);
            assert_eq!(finding.level, level, "{ad} {root}");
            assert!(finding.seen.contains(words), "{}", finding.seen);
        }
    }
}
