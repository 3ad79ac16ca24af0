//! Whether a DNS server validates DNSSEC: by the AD flag that it puts, or does
//! not put, on the SOA record of the root zone, which is signed.

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

/// Asks the server itself, once.
pub(super) async fn check(server: &DnsServer, limit: Duration) -> Finding {
    let answer = timeout(limit, ask(server)).await;
    match answer {
        Ok(Ok(octets)) => Message::from_vec(&octets).map_or_else(
            |error| unknown(server, &error.to_string()),
            |answer| finding(server, &answer),
        ),
        Ok(Err(error)) => unknown(server, &error.to_string()),
        Err(_too_late) => unknown(server, "timeout"),
    }
}

async fn ask(server: &DnsServer) -> io::Result<Vec<u8>> {
    let server = server.socket_addr()?;
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket
        .send(&question().to_vec().map_err(io::Error::other)?)
        .await?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

/// RFC 6840 section 5.7: AD in a question asks for AD in the answer.
fn question() -> Message {
    let mut question = Message::query();
    question.metadata.op_code = OpCode::Query;
    question.metadata.recursion_desired = true;
    question.metadata.authentic_data = true;
    question.add_query(Query::query(Name::root(), RecordType::SOA));
    question
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
                "{server} does not say that it validates DNSSEC (no AD on the root zone): who can \
                 forge its answers can make SPF and DKIM pass"
            ),
            "run a validating resolver such as unbound on this machine, and name it in dns.servers",
        ),
        (code, _) => unknown(server, &format!("it does not know the root zone ({code})")),
    }
}

fn unknown(server: &DnsServer, why: &str) -> Finding {
    let seen = format!("{server}: whether it validates DNSSEC can't be told from here: {why}");
    Finding::ok(Check::Dnssec, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;
    use hickory_resolver::proto::rr::{RData, Record, rdata::SOA};

    #[test]
    fn only_a_signed_zone_without_ad_tells_that_nothing_is_validated() {
        let table = [
            // AD, knows the root zone, want
            (true, true, Level::Ok, "validates DNSSEC (AD"),
            (false, true, Level::Warning, "does not say"),
            (false, false, Level::Ok, "can't be told"),
            (true, false, Level::Ok, "can't be told"),
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
