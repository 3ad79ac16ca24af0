//! Compares DKIM of sixgate with viadkim: both verify the same messages, signed and then
//! mutated. The results are compared for each signature, and every difference is assigned to a
//! class.

mod classes;
mod samples;
mod seeds;

use crate::{
    message::{self, Message, runtime},
    random::{Random, mix, mutate},
    signed,
    tally::Tally,
    zone::{Found, Zone, shown},
};
use samples::Samples;
use seeds::Seed;
use sixgate::dkim::{DkimResult, SignatureResult};
use std::{io, sync::Arc};
use viadkim::verifier::{self, LookupTxt, VerificationResult, VerificationStatus};

/// Runs `count` cases and returns the number of signatures in each class.
pub fn run(count: u64, seed: u64) -> Tally {
    let seeds = seeds::load();
    let mut tally = Tally::default();
    let mut samples = Samples::from_environment();
    for number in 0..count {
        let number = seed.wrapping_add(number);
        let case = Case::generate(&seeds, number);
        compare(&case, number, &mut tally, &mut samples);
    }
    tally
}

/// One message and the keys in the DNS.
struct Case {
    message: Message,
    zone: Arc<Zone>,
}

const HEADER_WORDS: &[&str] = &[
    "\r\n",
    "\r\n ",
    "\r\n\t",
    " ",
    "\t",
    "From: b@example.net\r\n",
    "Subject: x\r\n",
    ":",
    "\r\nX-A: y",
    "\r",
    "\n",
    "\r\nFrom : z",
    "\u{e9}",
];

const TAGS: &[&str] = &[
    " l=0;",
    " l=5;",
    " t=1;",
    " x=1;",
    " x=99999999999;",
    " t=1767225599;",
    " t=1767300000;",
    " t=1767400000;",
    " i=@example.com;",
    " i=a@sub.example.com;",
    " i=@example.org;",
    " i=\"a b\"@example.com;",
    " q=dns/txt;",
    " q=foo;",
    " q=foo:dns/txt;",
    " z=a:b;",
    " z=;",
    " y=1;",
    ";",
    " ",
    "\r\n ",
    " c=simple;",
    " c=relaxed/relaxed;",
    " h=From;",
    " v=1;",
    ":From",
    ":Subject",
    "From:",
    "=",
    " a=rsa-sha256;",
    " a=rsa-sha1;",
    " d=com;",
    " d=EXAMPLE.com;",
    " s=ed;",
    " i=x=3D@Example.com;",
    " i=@-.example.com;",
    " i=@a_b.example.com;",
];

const RECORD_TAGS: &[&str] = &[
    " t=y;",
    " t=s;",
    " t=y:s;",
    " h=sha256;",
    " h=sha1;",
    " h=sha1:sha256;",
    " s=email;",
    " s=*;",
    " s=other;",
    " n=note;",
    " n==;",
    " k=rsa;",
    " k=ed25519;",
    " g=*;",
    " p=;",
    ";",
    " ",
    "v=DKIM1;",
    " v=DKIM1;",
    " x=y;",
    "=",
    "\t",
    "t=;",
    " h=;",
    " s=;",
    " h=sha256:;",
    " n=\u{e9};",
    "\"",
];

/// TXT records beside the key: records of other programs, other keys, and malformed key
/// records.
const OTHER_RECORDS: &[&str] = &[
    "",
    "hello",
    "v=spf1 -all",
    "v=spf1 ip6:2001:db8::/32 ~all; p=x",
    "google-site-verification=abcdefghijklmnopqrstuvwxyz",
    "MS=ms12345678",
    "v=DMARC1; p=none",
    "v=TLSRPTv1; rua=mailto:a@example.com",
    "v=DKIM1",
    "v=DKIM1;",
    "v=DKIM1; p=",
    "v=DKIM1; p=;",
    "v=DKIM1; t=y; p=",
    "v=DKIM2; p=AAAA",
    "v=DKIM1; p=AAAA",
    "v=DKIM1; k=rsa; p=AAAA",
    "v=DKIM1; k=ed25519; p=AAAA",
    "v=DKIM1; k=foo; p=AAAA",
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "k=ed25519; t=y; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "p=AAAA; p=BBBB",
    "p=",
    ";;",
    "\u{e9}",
    signed::RSA_RECORD,
    signed::ED25519_RECORD,
];

impl Case {
    fn generate(seeds: &[Seed], number: u64) -> Self {
        let mut random = Random::new(mix(number ^ 0x0d1e_55ed));
        let mut seed = match random.below(3) {
            0 => seeds[random.below(seeds.len())].clone(),
            _ => generated(&mut random),
        };
        match random.below(10) {
            0 => {}
            1..3 => mutate_header(&mut random, &mut seed.message),
            3 => mutate(&mut random, &mut seed.message.body, seeds::BODY_WORDS),
            4..7 => mutate_signature(&mut random, &mut seed.message),
            _ => mutate_records(&mut random, &mut seed.zone),
        }
        Self {
            message: seed.message,
            zone: Arc::new(seed.zone),
        }
    }
}

/// Generates a message and signs it once or twice.
fn generated(random: &mut Random) -> Seed {
    let mut message = signed::unsigned(random);
    for _ in 0..=usize::from(random.one_in(8)) {
        message = runtime()
            .block_on(signed::sign(&message, random))
            .unwrap_or(message);
    }
    Seed {
        message,
        zone: signed::zone(),
    }
}

fn mutate_header(random: &mut Random, message: &mut Message) {
    let mut bytes = Vec::new();
    for (name, value) in &message.fields {
        bytes.extend([name, b":".as_slice(), value, b"\r\n"].concat());
    }
    mutate(random, &mut bytes, HEADER_WORDS);
    message.fields = Message::parse(&bytes).fields;
}

/// Mutates the first DKIM-Signature field.
fn mutate_signature(random: &mut Random, message: &mut Message) {
    let is_signature =
        |(name, _): &&mut (Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(b"DKIM-Signature");
    if let Some((_, value)) = message.fields.iter_mut().find(is_signature) {
        mutate_tags(random, value, TAGS);
    }
}

/// Adds, removes, replaces or swaps whole tags or, in one case of three, changes any bytes.
fn mutate_tags(random: &mut Random, text: &mut Vec<u8>, words: &[&str]) {
    if random.one_in(3) {
        return mutate(random, text, words);
    }
    let mut tags: Vec<&[u8]> = text.split(|&c| c == b';').collect();
    let word = random.pick(words);
    let word = word.strip_suffix(';').unwrap_or(word);
    match random.below(4) {
        0 => tags.insert(random.below(tags.len() + 1), word.as_bytes()),
        1 => drop(tags.remove(random.below(tags.len()))),
        2 => {
            let place = random.below(tags.len());
            tags[place] = word.as_bytes();
        }
        _ => {
            let (a, b) = (random.below(tags.len()), random.below(tags.len()));
            tags.swap(a, b);
        }
    }
    *text = tags.join(&b';');
}

fn mutate_records(random: &mut Random, zone: &mut Zone) {
    let mut names: Vec<Vec<u8>> = zone.txt.keys().cloned().collect();
    names.sort();
    for name in names {
        let Some(Found::Records(texts)) = zone.txt.get_mut(&name) else {
            continue;
        };
        match (random.below(30), texts.first_mut()) {
            (0, _) => drop(zone.txt.insert(name, Found::Fails)),
            (1, _) => texts.clear(),
            (2..15, Some(_)) => add_records(random, texts),
            (_, Some(text)) => mutate_tags(random, text, RECORD_TAGS),
            (_, None) => {}
        }
    }
}

/// Inserts other records at random positions, and sometimes mutates one of all.
fn add_records(random: &mut Random, texts: &mut Vec<Vec<u8>>) {
    for _ in 0..=random.below(4) {
        let text = match random.below(4) {
            0 => {
                let mut copy = texts[random.below(texts.len())].clone();
                mutate_tags(random, &mut copy, RECORD_TAGS);
                copy
            }
            _ => random.pick(OTHER_RECORDS).into(),
        };
        texts.insert(random.below(texts.len() + 1), text);
    }
    if random.one_in(4) {
        let place = random.below(texts.len());
        mutate_tags(random, &mut texts[place], RECORD_TAGS);
    }
}

/// The zone, as a resolver for viadkim.
#[derive(Clone)]
struct Keys(Arc<Zone>);

impl LookupTxt for Keys {
    type Answer = Vec<io::Result<Vec<u8>>>;
    type Query<'a> = std::future::Ready<io::Result<Self::Answer>>;

    fn lookup_txt(&self, domain: &str) -> Self::Query<'_> {
        let domain = domain
            .strip_suffix('.')
            .unwrap_or(domain)
            .to_ascii_lowercase();
        std::future::ready(match self.0.txt.get(domain.as_bytes()) {
            Some(Found::Fails) => Err(io::ErrorKind::Other.into()),
            Some(Found::Records(texts)) if !texts.is_empty() => {
                Ok(texts.iter().cloned().map(Ok).collect())
            }
            Some(Found::Records(_)) | None => Err(io::ErrorKind::NotFound.into()),
        })
    }
}

fn compare(case: &Case, number: u64, tally: &mut Tally, samples: &mut Samples) {
    let ours = message::verify(&case.message, &case.zone).signatures;
    let theirs = viadkim_results(case);
    for (place, our) in ours.iter().enumerate() {
        // `None` if viadkim rejects the whole header.
        let their = theirs.as_ref().map(|theirs| theirs.get(place));
        let texts = case.zone.txt.get(&key_name(our));
        let found = match (class(case, our, their), texts) {
            (Ok(same), _) if is_same(same) => Ok(same),
            (found, Some(Found::Records(texts))) if texts.len() > 1 => {
                let kind = found.map_or_else(|kind| kind, str::to_owned);
                let class = class_by_record(case, place, our, texts);
                class.ok_or_else(|| format!("several TXT records: {kind}"))
            }
            (found, _) => found,
        };
        match found {
            Ok(class) => {
                if !is_same(class) {
                    samples.add(class, case, &ours);
                }
                tally.count(class);
            }
            Err(kind) => tally.unexplained(kind, || {
                format!(
                    "case {number}: {}",
                    describe(case, &ours, theirs.as_deref())
                )
            }),
        }
    }
    if ours.is_empty() {
        tally.count("same: not signed");
    }
}

/// Returns the class of a signature, or the kind of a difference that no class explains.
fn class(
    case: &Case,
    our: &SignatureResult,
    their: Option<Option<&VerificationResult>>,
) -> Result<&'static str, String> {
    let passes = our.result == DkimResult::Pass;
    match (passes, their.map(|their| their.map(|their| &their.status))) {
        (true, Some(Some(VerificationStatus::Success))) => Ok("same: pass"),
        (false, Some(Some(VerificationStatus::Failure(_)) | None)) => Ok("same: no pass"),
        (false, None) => Ok("same: no pass, and viadkim rejects the header"),
        (true, Some(Some(VerificationStatus::Failure(error)))) => {
            classes::only_ours(case, error).ok_or_else(|| format!("only sixgate passes: {error:?}"))
        }
        (true, Some(None) | None) => classes::rejected_header(case)
            .ok_or_else(|| "only sixgate accepts the header".to_owned()),
        (false, Some(Some(VerificationStatus::Success))) => {
            classes::only_theirs(our).ok_or_else(|| format!("only viadkim passes: {}", our.reason))
        }
    }
}

/// Returns the class of a difference if there are several TXT records at the key's name.
/// Both programs report the outcome of one record only, so each record is tried alone. If none
/// makes a difference, the two programs have tried different ones.
fn class_by_record(
    case: &Case,
    place: usize,
    our: &SignatureResult,
    texts: &[Vec<u8>],
) -> Option<&'static str> {
    let alone = |text: &Vec<u8>| {
        let mut zone = Zone::clone(&case.zone);
        let only = Found::Records(vec![text.clone()]);
        zone.txt.insert(key_name(our), only);
        let case = Case {
            message: case.message.clone(),
            zone: Arc::new(zone),
        };
        let ours = message::verify(&case.message, &case.zone).signatures;
        let theirs = viadkim_results(&case);
        let their = theirs.as_ref().map(|theirs| theirs.get(place));
        class(&case, ours.get(place)?, their).ok()
    };
    let mut classes = texts.iter().filter_map(alone);
    let difference = classes.find(|class| !is_same(class));
    difference.or_else(|| classes::by_number_of_records(our, texts))
}

fn is_same(class: &str) -> bool {
    class.starts_with("same: ")
}

/// Returns the name of the key record of a signature.
fn key_name(our: &SignatureResult) -> Vec<u8> {
    let (selector, domain) = (our.selector.as_deref(), our.domain.as_deref());
    let labels = [
        selector.unwrap_or_default(),
        "_domainkey",
        domain.unwrap_or_default(),
    ];
    labels.join(".").to_ascii_lowercase().into_bytes()
}

fn viadkim_results(case: &Case) -> Option<Vec<VerificationResult>> {
    let headers = signed::header_fields(&case.message)?;
    let config = verifier::Config {
        max_signatures: 100,
        fixed_system_time: Some(signed::time()),
        ..verifier::Config::default()
    };
    let keys = Keys(Arc::clone(&case.zone));
    let body = &case.message.body;
    Some(runtime().block_on(viadkim::verify(&keys, &headers, body, &config)))
}

fn describe(
    case: &Case,
    ours: &[SignatureResult],
    theirs: Option<&[VerificationResult]>,
) -> String {
    let mut text = String::new();
    for (name, value) in &case.message.fields {
        text += &format!("{}:{}\n", name.escape_ascii(), value.escape_ascii());
    }
    text += &format!("\n{}\n", case.message.body.escape_ascii());
    for name in ours.iter().map(key_name) {
        let found = case.zone.txt.get(&name).map(shown).unwrap_or_default();
        text += &format!("{} {found}\n", name.escape_ascii());
    }
    let statuses = theirs.map(|theirs| theirs.iter().map(|r| &r.status).collect::<Vec<_>>());
    text + &format!("sixgate {ours:?}\nviadkim {statuses:?}\n")
}
