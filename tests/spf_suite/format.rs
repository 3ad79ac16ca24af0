//! The format of the official suite: YAML documents with test cases and their zone.

use crate::support::dns::{Data, DnsServer, Fault, Zone};
use libtest_mimic::Trial;
use serde::Deserialize;
use sixgate::{
    address::ReversePath,
    config,
    dns::Dns,
    spf::{self, Outcome, Request, Trace},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::runtime::{self, Runtime};

/// One document: cases over one zone.
#[derive(Deserialize)]
pub(crate) struct Scenario {
    description: String,
    tests: BTreeMap<String, Case>,
    zonedata: BTreeMap<String, Vec<Entry>>,
}

#[derive(Deserialize)]
struct Case {
    host: String,
    mailfrom: String,
    helo: Option<String>,
    result: Allowed,
    /// `DEFAULT` means that the domain has none; absent means not checked.
    explanation: Option<String>,
    /// Set if it is not the RFC's default of 2; not part of the official format.
    max_void_lookups: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Allowed {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    /// `TIMEOUT`: queries for types that the name does not have get no answer, except for
    /// those with the value `NODATA`, which is not part of the official format.
    Word(String),
    Record(BTreeMap<String, Value>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Mx(u16, String),
    Strings(Vec<String>),
}

impl Scenario {
    pub(crate) fn read_all(text: &str) -> Vec<Self> {
        let documents = serde_yaml::Deserializer::from_str(text);
        let read = |document| Self::deserialize(document).expect("the format of the suite");
        documents.map(read).collect()
    }

    /// One trial for each case; the first to run starts the server for all.
    pub(crate) fn into_trials(self, suite: &str, timeout: Fault) -> Vec<Trial> {
        let zone = self.zone(timeout);
        let served = Arc::new(OnceLock::new());
        let trial = |(name, case): (String, Case)| {
            let (zone, served) = (zone.clone(), Arc::clone(&served));
            let name = format!("{suite} / {} / {name}", self.description);
            Trial::test(name, move || {
                let served = served.get_or_init(|| Served::start(zone, timeout));
                Ok(served.runtime.block_on(case.check(&served.dns))?)
            })
        };
        self.tests.into_iter().map(trial).collect()
    }

    fn zone(&self, timeout: Fault) -> Zone {
        let mut zone = Zone::new();
        for (name, entries) in &self.zonedata {
            for data in records(entries) {
                zone.add(latin1(name), data);
            }
            let times_out = |entry: &Entry| matches!(entry, Entry::Word(word) if word == "TIMEOUT");
            if entries.iter().any(times_out) {
                for rtype in ["TXT", "A", "AAAA", "MX", "PTR", "CNAME"] {
                    if !has(entries, rtype) {
                        zone.fault_for(latin1(name), rtype, timeout);
                    }
                }
            }
        }
        zone
    }
}

/// A zone with its resolver. Creating a resolver costs more than a case, so the cases of a
/// scenario share one.
struct Served {
    dns: Dns,
    runtime: Runtime,
    _server: DnsServer,
}

impl Served {
    fn start(zone: Zone, timeout: Fault) -> Self {
        let server = DnsServer::start(zone);
        let mut runtime = runtime::Builder::new_multi_thread();
        Self {
            dns: resolver(&server, timeout),
            runtime: runtime
                .enable_all()
                .worker_threads(1)
                .build()
                .expect("a runtime"),
            _server: server,
        }
    }
}

/// Bytes beyond ASCII are written as the code points of the same number.
fn latin1(text: &str) -> Vec<u8> {
    let byte = |c| u8::try_from(u32::from(c)).expect("code points up to U+00FF");
    text.chars().map(byte).collect()
}

fn records(entries: &[Entry]) -> Vec<Data> {
    // If a name has no TXT record, its records of the obsolete type SPF are used.
    let spf_is_txt = !has_key(entries, "TXT");
    let mut records = Vec::new();
    for (rtype, value) in fields(entries) {
        match (rtype, value) {
            ("SPF", _) if !spf_is_txt => {}
            ("TXT", Value::Text(none)) if none == "NONE" => {}
            (_, Value::Text(nodata)) if nodata == "NODATA" => {}
            (rtype, value) => records.push(data(rtype, value)),
        }
    }
    records
}

fn fields(entries: &[Entry]) -> impl Iterator<Item = (&str, &Value)> {
    let records = entries.iter().filter_map(|entry| match entry {
        Entry::Word(_) => None,
        Entry::Record(fields) => Some(fields),
    });
    let fields = records.flatten();
    fields.map(|(rtype, value)| (rtype.as_str(), value))
}

fn has_key(entries: &[Entry], rtype: &str) -> bool {
    fields(entries).any(|(found, _)| found == rtype)
}

/// Whether queries for this type get an answer although others time out.
fn has(entries: &[Entry], rtype: &str) -> bool {
    let none = |value: &Value| matches!(value, Value::Text(text) if text == "NONE");
    let given = |wanted| fields(entries).any(|(found, value)| found == wanted && !none(value));
    given(rtype) || rtype == "TXT" && given("SPF") && !has_key(entries, "TXT")
}

fn data(rtype: &str, value: &Value) -> Data {
    match (rtype, value) {
        ("TXT" | "SPF", Value::Text(text)) => Data::text(latin1(text)),
        ("TXT" | "SPF", Value::Strings(strings)) => txt(strings),
        ("A", Value::Text(ip)) => Data::A(ip.parse().expect("an IPv4 address")),
        ("AAAA", Value::Text(ip)) => Data::Aaaa(ip.parse().expect("an IPv6 address")),
        ("MX", Value::Mx(preference, host)) => Data::Mx(*preference, host.clone()),
        ("PTR", Value::Text(host)) => Data::Ptr(host.clone()),
        ("CNAME", Value::Text(host)) => Data::Cname(host.clone()),
        _ => panic!("a {rtype} record of no known form"),
    }
}

/// A TXT record has at least one string on the wire, which may be empty.
fn txt(strings: &[String]) -> Data {
    match strings {
        [] => Data::text(""),
        strings => Data::Txt(strings.iter().map(|text| latin1(text)).collect()),
    }
}

impl Case {
    async fn check(&self, dns: &Dns) -> Result<(), String> {
        let reverse_path = ReversePath::parse(&self.mailfrom);
        let request = self.request(&reverse_path);
        let mut trace = Trace::default();
        let explained = spf::explain(dns, &request, self.limits(), &mut trace).await;
        self.compare(&explained)
            .map_err(|why| format!("{why}\n{trace}"))?;
        // The milter does the same, except for the explanation.
        let quiet = spf::evaluate(dns, &request, self.limits()).await;
        let expected = Outcome {
            explanation: None,
            ..explained
        };
        match quiet == expected {
            true => Ok(()),
            false => Err(format!("without trace: {quiet:?}\n{trace}")),
        }
    }

    fn compare(&self, outcome: &Outcome) -> Result<(), String> {
        let result = outcome.result.to_string();
        let allowed = match &self.result {
            Allowed::One(allowed) => *allowed == result,
            Allowed::Several(allowed) => allowed.contains(&result),
        };
        if !allowed {
            return Err(format!("got {result}"));
        }
        let Some(wanted) = &self.explanation else {
            return Ok(());
        };
        let wanted = Some(wanted.as_str()).filter(|&text| text != "DEFAULT");
        match outcome.explanation.as_deref() == wanted {
            true => Ok(()),
            false => Err(format!("got explanation {:?}", outcome.explanation)),
        }
    }

    fn request<'a>(&'a self, reverse_path: &'a ReversePath) -> Request<'a> {
        Request {
            client: self.host.parse().expect("an address"),
            reverse_path,
            helo: self.helo.as_deref(),
            receiver: "receiver.example",
        }
    }

    fn limits(&self) -> config::Spf {
        config::Spf {
            max_lookups: 10,
            max_void_lookups: self.max_void_lookups.unwrap_or(2),
        }
    }
}

/// Waits long for an answer, but not if there will be none.
pub(crate) fn resolver(server: &DnsServer, timeout: Fault) -> Dns {
    let timeout = match timeout {
        Fault::Silence => Duration::from_millis(200),
        Fault::ServFail | Fault::Refused | Fault::Code(_) | Fault::Misbehaviour(_) => {
            Duration::from_secs(10)
        }
    };
    let options = config::Dns {
        servers: vec![server.address().into()],
        timeout,
        attempts: 1,
        ..config::Dns::default()
    };
    Dns::new(&options).expect("a resolver")
}
