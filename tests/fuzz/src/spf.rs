//! Compares SPF of sixgate with viaspf: both evaluate the same senders with the same zones in
//! memory. Every difference is assigned to a class.

mod classes;
mod generate;

use crate::{
    now::now,
    tally::Tally,
    zone::{Zone, shown},
};
use generate::Case;
use sixgate::{
    address::ReversePath,
    config,
    spf::{self, Outcome, Request, SpfResult, Trace},
};
use std::net::IpAddr;

/// Runs `count` cases and returns the number of cases in each class.
pub fn run(count: u64, seed: u64) -> Tally {
    let mut tally = Tally::default();
    for number in 0..count {
        let case = Case::generate(seed.wrapping_add(number));
        compare(&case, &mut tally);
    }
    tally
}

fn compare(case: &Case, tally: &mut Tally) {
    let ours = evaluate(case).result;
    match viaspf_result(case, false) {
        None => tally.count("not comparable: viaspf rejects the sender"),
        Some(theirs) if result(&theirs) == ours => tally.count(agreement(ours)),
        Some(_) => compare_steps(case, tally),
    }
}

fn compare_steps(case: &Case, tally: &mut Tally) {
    let (ours, trace) = explain(case);
    let Some(theirs) = viaspf_result(case, true) else {
        return;
    };
    let direction = direction(ours.result, result(&theirs));
    match classes::class(case, &ours, &trace, &theirs) {
        Some(class) => tally.count(format!("{class}; {direction}")),
        None => {
            let kind = format!("{} or {}; {direction}", ours.result, theirs.spf_result);
            tally.unexplained(kind, || describe(case, &ours, &trace, &theirs));
        }
    }
}

fn direction(ours: SpfResult, theirs: SpfResult) -> &'static str {
    match (ours, theirs) {
        (SpfResult::Pass, _) => "only sixgate passes",
        (_, SpfResult::Pass) => "only viaspf passes",
        _ => "neither passes",
    }
}

fn agreement(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "same: pass",
        SpfResult::Fail => "same: fail",
        SpfResult::SoftFail => "same: softfail",
        SpfResult::Neutral => "same: neutral",
        SpfResult::None => "same: none",
        SpfResult::TempError => "same: temperror",
        SpfResult::PermError => "same: permerror",
    }
}

fn evaluate(case: &Case) -> Outcome {
    let reverse_path = ReversePath::parse(&case.mail_from);
    let limits = config::Spf::default();
    now(spf::evaluate(
        &case.zone,
        &request(case, &reverse_path),
        limits,
    ))
}

fn explain(case: &Case) -> (Outcome, Trace) {
    let reverse_path = ReversePath::parse(&case.mail_from);
    let mut trace = Trace::default();
    let request = request(case, &reverse_path);
    let outcome = now(spf::explain(
        &case.zone,
        &request,
        config::Spf::default(),
        &mut trace,
    ));
    assert_eq!(
        outcome.result,
        evaluate(case).result,
        "a trace does not change the result"
    );
    (outcome, trace)
}

fn request<'a>(case: &'a Case, reverse_path: &'a ReversePath) -> Request<'a> {
    Request {
        client: case.client,
        reverse_path,
        helo: Some(&case.helo),
        receiver: "mx.example.org",
    }
}

fn viaspf_result(case: &Case, capture_trace: bool) -> Option<viaspf::QueryResult> {
    let sender = match case.mail_from.as_str() {
        "" => format!("postmaster@{}", case.helo),
        mail_from => mail_from.to_owned(),
    };
    let sender = viaspf::Sender::new(&sender).ok()?;
    let helo = viaspf::DomainName::new(&case.helo).ok()?;
    let config = viaspf::Config::builder()
        .capture_trace(capture_trace)
        .build();
    Some(now(viaspf::evaluate_sender(
        &case.zone,
        &config,
        case.client,
        &sender,
        Some(&helo),
    )))
}

fn result(theirs: &viaspf::QueryResult) -> SpfResult {
    match &theirs.spf_result {
        viaspf::SpfResult::Pass => SpfResult::Pass,
        viaspf::SpfResult::Fail(_) => SpfResult::Fail,
        viaspf::SpfResult::Softfail => SpfResult::SoftFail,
        viaspf::SpfResult::Neutral => SpfResult::Neutral,
        viaspf::SpfResult::None => SpfResult::None,
        viaspf::SpfResult::Temperror => SpfResult::TempError,
        viaspf::SpfResult::Permerror => SpfResult::PermError,
    }
}

fn describe(case: &Case, ours: &Outcome, trace: &Trace, theirs: &viaspf::QueryResult) -> String {
    let Case {
        client,
        mail_from,
        helo,
        zone,
        seed,
    } = case;
    let (their_result, cause) = (result(theirs), &theirs.cause);
    format!(
        "case {seed}: client {client}, MAIL FROM <{mail_from}>, HELO {helo}\n\
         sixgate {ours:?}\n{trace}viaspf {their_result}, {cause:?}\n{}{}",
        texts(zone),
        their_steps(theirs)
    )
}

fn their_steps(theirs: &viaspf::QueryResult) -> String {
    let events = theirs.trace.iter().flat_map(|trace| &trace.events);
    events
        .map(|event| format!("  {}\n", event.tracepoint))
        .collect()
}

fn texts(zone: &Zone) -> String {
    let txt = zone.txt.iter();
    txt.map(|(name, found)| format!("{} TXT {}\n", name.escape_ascii(), shown(found)))
        .collect()
}

/// Returns whether a client is IPv4 to SPF, which an IPv4-mapped address is.
fn is_ipv4(client: IpAddr) -> bool {
    client.to_canonical().is_ipv4()
}
