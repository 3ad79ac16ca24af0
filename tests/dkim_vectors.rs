//! Public DKIM messages with the result that the RFCs require, verified over real DNS with
//! the body split in several ways.
//!
//! The messages are those of the folder that the environment variable
//! SIXGATE_VECTORS names, in `dkim/`: `manifest.json` lists them, `zone.json` has
//! the key records. Without the variable the test is reported as ignored.

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use sixgate::{
    config,
    dkim::{self, DkimResult, HeaderBlock, KeyCache, Outcome, Verification},
    dns::Dns,
    policy::Authentication,
};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use support::dns::{Data, DnsServer, Fault, Zone};

/// Messages whose signature is valid by the RFCs but excluded by policy, with the result
/// and part of its reason. docs/policy.md has the same list.
#[rustfmt::skip]
const POLICY: &[(&str, DkimResult, &str)] = &[
    ("d-tld.eml", DkimResult::Policy, "is a top-level domain"),
    ("dupfrom-signed-both.eml", DkimResult::Policy, "more than one From field"),
    ("l-append-simple.eml", DkimResult::Policy, "only in part (l=)"),
    ("l-full.eml", DkimResult::Policy, "only in part (l=)"),
    ("l-partial-afterws-rel.eml", DkimResult::Policy, "only in part (l=)"),
    ("l-partial-midline-sim.eml", DkimResult::Policy, "only in part (l=)"),
    ("l-zero-empty.eml", DkimResult::Policy, "only in part (l=)"),
    ("opendkim-test20.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test21.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test22.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test23.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test28.eml", DkimResult::Policy, "only in part (l=)"),
    ("opendkim-test29.eml", DkimResult::Policy, "only in part (l=)"),
    ("opendkim-test30.eml", DkimResult::Policy, "only in part (l=)"),
    ("opendkim-test31.eml", DkimResult::Policy, "only in part (l=)"),
    ("opendkim-test32.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test34.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test37.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test38.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test39.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test40.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test41.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test42.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test43.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test45.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test46.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test53.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test67.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test74.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test84.eml", DkimResult::Neutral, "only tests DKIM"),
    ("opendkim-test126.eml", DkimResult::Neutral, "only tests DKIM"),
];

/// A bare LF before white space, which a milter receives like any fold: the header field
/// passes as the MTA has folded it.
const TAKEN_FOR_A_FOLD: &str = "hdr-barelf-insert.eml";

#[derive(Deserialize)]
struct Case {
    file: String,
    expected: Expected,
    #[serde(default)]
    zone: Records,
}

/// The result that the RFCs require.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Expected {
    /// At least one signature passes.
    Pass,
    /// None does.
    Nopass,
    /// The result is a temporary error.
    Temperror,
    /// There is no signature.
    None,
    /// The RFCs do not define the result.
    Any,
}

/// By name, each with a type and a value.
type Records = BTreeMap<String, Vec<(String, Value)>>;

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Strings(Vec<String>),
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit_code()
}

fn trials() -> Vec<Trial> {
    let Some(folder) = env::var_os("SIXGATE_VECTORS") else {
        let ignored = Trial::test("SIXGATE_VECTORS_is_not_set", || Ok(()));
        return vec![ignored.with_ignored_flag(true)];
    };
    let folder = Arc::new(PathBuf::from(folder).join("dkim"));
    let cases: Vec<Case> = read_json(&folder.join("manifest.json"));
    cases.into_iter().map(|case| trial(&folder, case)).collect()
}

fn trial(folder: &Arc<PathBuf>, case: Case) -> Trial {
    let folder = Arc::clone(folder);
    let name = case.file.clone();
    Trial::test(name, move || run(&folder, &case))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[tokio::main(flavor = "current_thread")]
async fn run(folder: &Path, case: &Case) -> Result<(), Failed> {
    let mut records: Records = read_json(&folder.join("zone.json"));
    records.extend(case.zone.clone());
    let bytes = fs::read(folder.join(&case.file))?;
    let message = Message::parse(&bytes);

    let outcome = judge_and_rechunk(case, &message, &records).await?;
    if only_tests(&outcome) && case.expected == Expected::Pass {
        let server = DnsServer::start(zone(&without_testing(&records)));
        let resolver = Arc::new(resolver(&server));
        let whole = [message.body];
        return is_pass(&message.verify(&resolver, Form::Transmitted, &whole).await);
    }
    Ok(())
}

async fn judge_and_rechunk(
    case: &Case,
    message: &Message<'_>,
    records: &Records,
) -> Result<Outcome, Failed> {
    let server = DnsServer::start(zone(records));
    let resolver = Arc::new(resolver(&server));
    let whole = [message.body];
    let outcome = message.verify(&resolver, Form::Transmitted, &whole).await;
    judge(case, &outcome)?;
    for (name, chunks) in chunkings(message.body) {
        let chunked = message.verify(&resolver, Form::Transmitted, &chunks).await;
        is_same(name, &chunked, &outcome)?;
    }
    let from_mta = message.verify(&resolver, Form::Milter, &whole).await;
    match case.file.as_str() {
        TAKEN_FOR_A_FOLD => is_pass(&from_mta)?,
        _ => is_same("as a milter gets it", &from_mta, &outcome)?,
    }
    Ok(outcome)
}

/// Whether only `t=y` of the key prevents a pass: then the message has to pass without it.
fn only_tests(outcome: &Outcome) -> bool {
    let testing = |s: &dkim::SignatureResult| s.reason.contains("only tests DKIM");
    outcome.signatures.iter().any(testing)
}

fn without_testing(records: &Records) -> Records {
    let mut records = records.clone();
    for (_, value) in records.values_mut().flatten() {
        if let Value::Text(text) = value {
            *text = text.replace("t=y:s;", "t=s;").replace("t=y;", "");
        }
    }
    records
}

fn is_same(how: &str, found: &Outcome, wanted: &Outcome) -> Result<(), Failed> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{how}: {found:#?}\nwhole: {wanted:#?}").into()),
    }
}

fn is_pass(found: &Outcome) -> Result<(), Failed> {
    match found.authentication() {
        Authentication::Pass => Ok(()),
        other => Err(format!("{other:?}: {found:#?}").into()),
    }
}

fn judge(case: &Case, outcome: &Outcome) -> Result<(), Failed> {
    let authentication = outcome.authentication();
    let differs = POLICY.iter().find(|(file, ..)| *file == case.file);
    let as_wanted = match (case.expected, differs) {
        (Expected::Pass, Some((_, result, reason))) => {
            let is_it =
                |s: &dkim::SignatureResult| s.result == *result && s.reason.contains(reason);
            authentication == Authentication::NoPass && outcome.signatures.iter().any(is_it)
        }
        (_, Some(_)) => return Err("listed as our policy, but the RFCs do not pass it".into()),
        (Expected::Pass, None) => authentication == Authentication::Pass,
        (Expected::Nopass, None) => authentication == Authentication::NoPass,
        (Expected::Temperror, None) => authentication == Authentication::Temperror,
        (Expected::None, None) => outcome.signatures.is_empty(),
        (Expected::Any, None) => true,
    };
    match as_wanted {
        true => Ok(()),
        false => Err(format!("{authentication:?}: {outcome:#?}").into()),
    }
}

/// A message in its parts.
struct Message<'a> {
    /// Names, and values as they follow the colon, with folds of CRLF.
    fields: Vec<(&'a [u8], &'a [u8])>,
    body: &'a [u8],
}

/// The form in which the header is passed.
#[derive(Clone, Copy)]
enum Form {
    /// As it was on the wire.
    Transmitted,
    /// With folds of LF.
    Milter,
}

impl<'a> Message<'a> {
    /// A bare CR or LF, which is not a line break on the wire, stays unchanged: MTAs differ
    /// in how they treat it.
    fn parse(bytes: &'a [u8]) -> Self {
        let (header, body) = match find(bytes, b"\r\n\r\n") {
            Some(end) => (&bytes[..end], &bytes[end + 4..]),
            None => (bytes.strip_suffix(b"\r\n").unwrap_or(bytes), &b""[..]),
        };
        Self {
            fields: split_fields(header),
            body,
        }
    }

    fn headers(&self, form: Form) -> HeaderBlock {
        let mut headers = HeaderBlock::new(1 << 20);
        for (name, value) in &self.fields {
            match form {
                Form::Transmitted => headers.push_transmitted(name, value),
                Form::Milter => headers.push(name, &with_lf(value)),
            }
        }
        headers
    }

    async fn verify(&self, resolver: &Arc<Dns>, form: Form, chunks: &[&[u8]]) -> Outcome {
        let settings = dkim::Settings {
            max_signatures: 8,
            min_rsa_bits: 1024,
            now: SystemTime::now(),
        };
        let headers = self.headers(form);
        let mut verification = Verification::new(headers, &settings, None);
        let cache = KeyCache::default();
        let deadline = Instant::now() + Duration::from_secs(10);
        let keys = dkim::fetch_keys(resolver, &cache, &verification.key_names(), deadline).await;
        let mut body = verification.body_hasher();
        if let Form::Milter = form {
            verification.verify_header(&keys);
        }
        for chunk in chunks {
            body.update(chunk);
        }
        verification.verify(&body.finish(), &keys)
    }
}

/// Splits at each CRLF that is not part of a fold.
fn split_fields(header: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut fields = Vec::new();
    let mut rest = header;
    while !rest.is_empty() {
        let end = end_of_field(rest);
        let colon = rest[..end].iter().position(|&c| c == b':');
        let colon = colon.expect("a field has a colon");
        fields.push((&rest[..colon], &rest[colon + 1..end]));
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    fields
}

fn end_of_field(rest: &[u8]) -> usize {
    let mut from = 0;
    while let Some(crlf) = find(&rest[from..], b"\r\n") {
        let end = from + crlf;
        if !matches!(rest.get(end + 2), Some(b' ' | b'\t')) {
            return end;
        }
        from = end + 2;
    }
    rest.len()
}

fn with_lf(value: &[u8]) -> Vec<u8> {
    let mut with_lf = Vec::new();
    let mut rest = value;
    while let Some(crlf) = find(rest, b"\r\n") {
        with_lf.extend_from_slice(&rest[..crlf]);
        with_lf.push(b'\n');
        rest = &rest[crlf + 2..];
    }
    with_lf.extend_from_slice(rest);
    with_lf
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

/// Ways to split a body, each with its name.
fn chunkings(body: &[u8]) -> Vec<(&'static str, Vec<&[u8]>)> {
    vec![
        ("byte by byte", body.chunks(1).collect()),
        ("in 64 KiB", body.chunks(1 << 16).collect()),
        ("between CR and LF", between_cr_and_lf(body)),
        ("at random", at_random(body)),
    ]
}

fn between_cr_and_lf(body: &[u8]) -> Vec<&[u8]> {
    body.split_inclusive(|&c| c == b'\r').collect()
}

fn at_random(body: &[u8]) -> Vec<&[u8]> {
    // xorshift with a fixed seed, so that a failure is reproducible.
    let mut state = 0x9e37_79b9_u32;
    let mut chunks = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let (chunk, after) = rest.split_at((state as usize % 97).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

fn resolver(server: &DnsServer) -> Dns {
    let options = config::Dns {
        servers: vec![server.address().into()],
        timeout: Duration::from_secs(5),
        attempts: 1,
        ..config::Dns::default()
    };
    Dns::new(&options).expect("a resolver")
}

fn zone(records: &Records) -> Zone {
    let mut zone = Zone::new();
    for (name, records) in records {
        for (rtype, value) in records {
            add(&mut zone, name, rtype, value);
        }
    }
    zone
}

fn add(zone: &mut Zone, name: &str, rtype: &str, value: &Value) {
    match (rtype, value) {
        ("TXT", Value::Text(text)) => zone.add(name, Data::text(text)),
        ("TXT", Value::Strings(strings)) => {
            // One vector has a string that is too long for the DNS.
            let strings = strings.iter().flat_map(|s| s.as_bytes().chunks(255));
            zone.add(name, Data::Txt(strings.map(<[u8]>::to_vec).collect()));
        }
        ("CNAME", Value::Text(target)) => zone.add(name, Data::Cname(target.clone())),
        ("*", Value::Text(_)) => zone.fault(name, Fault::ServFail),
        (other, _) => panic!("{name}: a record of type {other}"),
    }
}
