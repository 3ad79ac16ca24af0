//! Generates zones and senders for long evaluations: few domains that include one another,
//! networks near the client's address, and hosts that may have it.

use crate::{
    random::{self, Random},
    zone::{Found, Zone},
};
use sixgate::spf::Record;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A sender and a client, and the DNS.
#[derive(Debug)]
pub struct Case {
    /// The seed of the case.
    pub seed: u64,
    /// The client's address.
    pub client: IpAddr,
    /// Empty for the null reverse-path.
    pub mail_from: String,
    /// The HELO name.
    pub helo: String,
    /// The DNS.
    pub zone: Zone,
}

const DOMAINS: &[&str] = &[
    "d0.example.com",
    "d1.example.com",
    "d2.example.com",
    "d3.example.com",
    "D4.Example.com",
    "sub.d0.example.com",
    "example.net",
];

const LOCAL_PARTS: &[&str] = &[
    "user",
    "strong-bad",
    "a.b",
    "first.last+tag",
    "a_b=c",
    "o'neil",
    "x-y-z",
    "a/b",
    "-a-",
    "a--b",
    "%{d}",
    "UPPER",
];

const PREFIXES: &[&str] = &[
    "0", "1", "7", "8", "16", "24", "30", "31", "32", "33", "48", "64", "120", "127", "128", "129",
    "00", "08", "", "x", "256",
];

const MACROS: &[&str] = &[
    "%{s}",
    "%{l}",
    "%{o}",
    "%{d}",
    "%{i}",
    "%{p}",
    "%{v}",
    "%{h}",
    "%{ir}",
    "%{d2}",
    "%{d1r}",
    "%{l-}",
    "%{lr-}",
    "%{l1r+-}",
    "%{S}",
    "%{L}",
    "%{D}",
    "%{P}",
    "%{i16r}",
    "%{o3}",
    "%{p2}",
    "%{h2R}",
    "%{s2-+@.}",
    "%{d300}",
    "%%",
    "%_",
    "%-",
];

const WRONG_MACROS: &[&str] = &[
    "%", "%{", "%{x}", "%{d0}", "%(d)", "%{c}", "%{r}", "%{t}", "%{d-2}", "%{}", "%{dr2}",
];

const OTHER_TERMS: &[&str] = &[
    "all",
    "-all",
    "~all",
    "?all",
    "+all",
    "-ALL",
    "all:d0.example.com",
    "exp=explain.example.com",
    "exp=%{ir}.example.com",
    "x=y",
    "unknown=%{c}%{d}",
    "op=",
    "moo",
    "a:",
    "include:",
    "ip4:",
    "ip6:",
    "exists",
    "redirect=",
    "a:d0",
    "a:d0.example.com:80",
    "a://24",
    "ptr/24",
    "mx:/32",
    "-a:x.example.com/24//64",
    "ip4:192.0.2",
    "ip6:::1%eth0",
    "ip6:1:2:3:4:5:6:7::",
    "v=spf1",
    "a:-bad.example.com",
    "a:bad-.example.com",
    "mx:under_score.example.com",
    "a:1.2.3.4",
    "+",
];

const DICTIONARY: &[&str] = &[
    " ",
    "  ",
    "\t",
    " -all",
    " a",
    " mx",
    " ptr",
    "%{p}",
    "%{d}",
    "/0",
    "//0",
    "/24",
    ":",
    "=",
    " redirect=",
    " include:",
    " exists:",
    "v=spf1",
    ".",
    "..",
    "ip6:",
    "\u{e9}",
];

impl Case {
    /// Generates the case of a seed.
    pub fn generate(seed: u64) -> Self {
        let mut random = Random::new(random::mix(seed ^ 0x5bf0_3635));
        let client = client(&mut random);
        let mut zone = Zone {
            client: Some(client.to_canonical()),
            seed: random.number() | 1,
            ..Zone::default()
        };
        for domain in DOMAINS {
            let texts = texts(&mut random, client.to_canonical());
            zone.txt
                .insert(domain.to_ascii_lowercase().into_bytes(), texts);
        }
        zone.ptr_fails = random.one_in(12);
        for _ in 0..ptr_count(&mut random) {
            zone.ptr.push(ptr_name(&mut random).into_bytes());
        }
        Self {
            seed,
            client,
            mail_from: mail_from(&mut random),
            helo: random.pick(DOMAINS).to_owned(),
            zone,
        }
    }
}

fn client(random: &mut Random) -> IpAddr {
    match random.below(8) {
        0..3 => Ipv4Addr::new(192, 0, 2, random.number() as u8).into(),
        3 => Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, random.number() as u16).into(),
    }
}

fn mail_from(random: &mut Random) -> String {
    match random.one_in(8) {
        true => String::new(),
        false => format!("{}@{}", random.pick(LOCAL_PARTS), random.pick(DOMAINS)),
    }
}

fn ptr_count(random: &mut Random) -> usize {
    match random.below(10) {
        0 => 0,
        1 => 9 + random.below(6),
        _ => 1 + random.below(3),
    }
}

fn ptr_name(random: &mut Random) -> String {
    let domain = random.pick(DOMAINS);
    match random.below(3) {
        0 => domain.to_owned(),
        1 => format!("h{}.{domain}", random.below(9)),
        _ => format!("h{}.example.org", random.below(9)),
    }
}

fn texts(random: &mut Random, client: IpAddr) -> Found<Vec<u8>> {
    let mut texts = match random.below(40) {
        0 => return Found::Fails,
        1 | 2 => vec![],
        3 => vec![record(random, client), record(random, client)],
        4 => vec![
            b"v=spf10 +all".to_vec(),
            b"hello".to_vec(),
            b"V=SPF1".to_vec(),
        ],
        _ => vec![record(random, client)],
    };
    if random.one_in(10) {
        texts.push(
            random
                .pick(&["hello", "v=spf1x -all", " v=spf1", "v=spf2.0/mfrom"])
                .into(),
        );
    }
    Found::Records(texts)
}

fn record(random: &mut Random, client: IpAddr) -> Vec<u8> {
    let mut text = "v=spf1".to_owned();
    // An error anywhere ends an evaluation, so most records have none.
    let term = match random.below(10) {
        0..3 => term,
        _ => well_formed_term,
    };
    for _ in 0..random.below(7) {
        text += if random.one_in(20) { "  " } else { " " };
        text += &term(random, client);
    }
    if random.one_in(3) {
        text += random.pick(&[
            " -all",
            " ~all",
            " ?all",
            " +all",
            " redirect=d3.example.com",
        ]);
    }
    let mut bytes = text.into_bytes();
    if random.one_in(20) {
        random::mutate(random, &mut bytes, DICTIONARY);
    }
    bytes
}

fn well_formed_term(random: &mut Random, client: IpAddr) -> String {
    loop {
        let term = term(random, client);
        if Record::parse(format!("v=spf1 {term}").as_bytes()).is_ok() {
            return term;
        }
    }
}

fn term(random: &mut Random, client: IpAddr) -> String {
    let qualifier = random.pick(&["", "", "+", "-", "~", "?"]);
    let name = match random.below(20) {
        0..5 => format!("include:{}", target(random)),
        5..7 => format!("a{}{}", optional_target(random), dual_prefix(random)),
        7..9 => format!("mx{}{}", optional_target(random), dual_prefix(random)),
        9 => format!("ptr{}", optional_target(random)),
        10..12 => format!("ip4:{}{}", network4(random, client), prefix(random)),
        12..15 => format!("ip6:{}{}", network6(random, client), prefix(random)),
        15..17 => format!("exists:{}", spec(random)),
        17 => return format!("redirect={}", target(random)),
        _ => return random.pick(OTHER_TERMS).to_owned(),
    };
    let name = if random.one_in(20) {
        name.to_ascii_uppercase()
    } else {
        name
    };
    format!("{qualifier}{name}")
}

fn target(random: &mut Random) -> String {
    match random.one_in(8) {
        true => spec(random),
        false => random.pick(DOMAINS).to_owned(),
    }
}

fn optional_target(random: &mut Random) -> String {
    match random.below(3) {
        0 => String::new(),
        1 => format!(":{}", random.pick(DOMAINS)),
        _ => format!(":{}", spec(random)),
    }
}

/// Returns a `domain-spec` with macros, some of which are invalid.
fn spec(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(3) {
        text += match random.below(12) {
            0 => random.pick(&["x", "a:b/c", "_spf", "*", "-", "a b", "0123456789abcdef"]),
            1 if random.one_in(8) => random.pick(WRONG_MACROS),
            _ => random.pick(MACROS),
        };
        text += random.pick(&[".", ".", ".", "", "-", ".."]);
    }
    if random.one_in(50) {
        text = text.repeat(8);
    }
    text + random.pick(&[
        "%{d}",
        "%{d2}",
        "%{o}",
        "example.com",
        "example.com.",
        "d1.example.com",
    ])
}

fn prefix(random: &mut Random) -> String {
    match random.one_in(3) {
        true => String::new(),
        false => format!("/{}", random.pick(PREFIXES)),
    }
}

fn dual_prefix(random: &mut Random) -> String {
    match random.below(6) {
        0 => format!("/{}", random.pick(PREFIXES)),
        1 => format!("//{}", random.pick(PREFIXES)),
        2 => format!("/{}//{}", random.pick(PREFIXES), random.pick(PREFIXES)),
        _ => String::new(),
    }
}

fn network4(random: &mut Random, client: IpAddr) -> String {
    let near = match client {
        IpAddr::V4(client) => client.to_bits(),
        IpAddr::V6(_) => 0,
    };
    match random.below(4) {
        0 => "0.0.0.0".to_owned(),
        1 => random
            .pick(&["192.0.2.0", "1.2.3", "192.0.2.256", "01.2.3.4", "::1"])
            .to_owned(),
        _ => Ipv4Addr::from_bits(near ^ 1 << random.below(32)).to_string(),
    }
}

fn network6(random: &mut Random, client: IpAddr) -> String {
    let near = match client {
        IpAddr::V4(_) => 1,
        IpAddr::V6(client) => client.to_bits(),
    };
    match random.below(5) {
        0 => "::".to_owned(),
        1 => random
            .pick(&[
                "2001:db8::",
                "::ffff:192.0.2.1",
                "1::2::3",
                "12345::",
                "::1.2.3.4",
                "192.0.2.1",
            ])
            .to_owned(),
        2 => Ipv6Addr::from_bits(near).to_string(),
        _ => Ipv6Addr::from_bits(near ^ 1 << random.below(128)).to_string(),
    }
}
