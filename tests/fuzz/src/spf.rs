//! SPF of sixgate against viaspf: the same zones in memory, the same senders,
//! results compared and every difference put into a class.

mod classes;
mod generate;

use crate::{now::now, tally::Tally, zone::Zone};
use generate::Case;
use sixgate::{
    address::ReversePath,
    config,
    spf::{self, Outcome, Request, SpfResult, Trace},
};
use std::net::IpAddr;

/// Runs `count` cases and returns what they came to.
///
/// # Errors
/// With the whole case, if a difference has no explanation.
pub fn run(count: u64, seed: u64) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for number in 0..count {
        let case = Case::generate(seed.wrapping_add(number));
        tally.count(compare(&case)?);
    }
    Ok(tally)
}

fn compare(case: &Case) -> Result<&'static str, String> {
    let ours = evaluate(case);
    let Some(theirs) = viaspf_result(case, false) else {
        return Ok("not comparable: viaspf does not take such a sender");
    };
    if ours.result == result(&theirs) {
        return Ok(agreement(ours.result));
    }
    let (ours, trace) = explain(case);
    let theirs = viaspf_result(case, true).unwrap_or(theirs);
    let class = classes::class(case, &ours, &trace, &theirs);
    class.ok_or_else(|| describe(case, &ours, &trace, &theirs))
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
        "told or not, the result is the same"
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

fn shown(found: &crate::zone::Found<Vec<u8>>) -> String {
    match found {
        crate::zone::Found::Fails => "SERVFAIL".to_owned(),
        crate::zone::Found::Records(texts) => {
            let texts = texts
                .iter()
                .map(|text| format!("\"{}\"", text.escape_ascii()));
            texts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The family of a client as records see it.
fn is_ipv4(client: IpAddr) -> bool {
    client.to_canonical().is_ipv4()
}
