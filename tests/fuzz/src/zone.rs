//! A DNS in memory for both sides of a comparison.
//!
//! It has given records and, for every other name, records generated from a seed. So each
//! name that a macro expands to has a different answer, and two programs that expand it
//! differently get different answers.

use crate::random::{Random, hash};
use async_trait::async_trait;
use sixgate::dns::{Absence, Answer, Failure, Mx, Name, Purpose, Records, Resolve};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};
use viaspf::lookup::{self, Lookup, LookupError, LookupResult};

/// The zone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// TXT records by name in lower case.
    pub txt: HashMap<Vec<u8>, Found<Vec<u8>>>,
    /// Names of the client's address.
    pub ptr: Vec<Vec<u8>>,
    /// Whether their lookup fails.
    pub ptr_fails: bool,
    /// The client, whose address generated hosts often have.
    pub client: Option<IpAddr>,
    /// The seed of generated records; 0 generates none.
    pub seed: u64,
}

/// An answer of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// These records; none is NODATA.
    Records(Vec<T>),
    /// SERVFAIL.
    Fails,
}

impl Zone {
    /// Adds TXT records to a name.
    pub fn add_txt(&mut self, name: &str, text: impl Into<Vec<u8>>) {
        let name = name.to_ascii_lowercase().into_bytes();
        let found = self.txt.entry(name).or_insert(Found::Records(Vec::new()));
        if let Found::Records(texts) = found {
            texts.push(text.into());
        }
    }

    fn txt_at(&self, name: &[u8]) -> Found<Vec<u8>> {
        let found = self.txt.get(&name.to_ascii_lowercase()).cloned();
        found.unwrap_or(Found::Records(Vec::new()))
    }

    /// The random generator for a name and a type; `None` if nothing is generated.
    fn random(&self, name: &[u8], rtype: &str) -> Option<Random> {
        let seed = hash(self.seed, rtype.as_bytes());
        (self.seed != 0).then(|| Random::new(hash(seed, name)))
    }

    fn a_at(&self, name: &[u8]) -> Found<Ipv4Addr> {
        let near = match self.client {
            Some(IpAddr::V4(client)) => client.to_bits(),
            Some(IpAddr::V6(_)) | None => 0xc000_0201,
        };
        let address = |random: &mut Random| Ipv4Addr::from_bits(near ^ flip(random, 32) as u32);
        self.addresses(name, "A", address)
    }

    fn aaaa_at(&self, name: &[u8]) -> Found<Ipv6Addr> {
        let near = match self.client {
            Some(IpAddr::V6(client)) => client.to_bits(),
            Some(IpAddr::V4(_)) | None => 1,
        };
        let address = |random: &mut Random| Ipv6Addr::from_bits(near ^ flip(random, 128));
        self.addresses(name, "AAAA", address)
    }

    /// Whether records of a name are generated. One name in eight has none of any type, to
    /// test the difference between a missing name and a missing type.
    fn has_generated_records(&self, name: &[u8]) -> bool {
        let random = self.random(name, "any");
        random.is_some_and(|mut random| !random.one_in(8))
    }

    /// The reason why a name has no records of a type; the same for all types.
    fn absence(&self, name: &[u8]) -> Absence {
        let has_txt = self.txt.contains_key(&name.to_ascii_lowercase());
        match has_txt || self.has_generated_records(name) {
            true => Absence::NoData,
            false => Absence::NxDomain,
        }
    }

    fn addresses<T>(
        &self,
        name: &[u8],
        rtype: &str,
        address: impl Fn(&mut Random) -> T,
    ) -> Found<T> {
        let random = self.random(name, rtype);
        let Some(mut random) = random.filter(|_| self.has_generated_records(name)) else {
            return Found::Records(Vec::new());
        };
        match random.below(20) {
            0 => Found::Fails,
            1..6 => Found::Records(Vec::new()),
            _ => Found::Records(
                (0..=random.below(3))
                    .map(|_| address(&mut random))
                    .collect(),
            ),
        }
    }

    fn mx_at(&self, name: &[u8]) -> Found<Vec<u8>> {
        let random = self.random(name, "MX");
        let Some(mut random) = random.filter(|_| self.has_generated_records(name)) else {
            return Found::Records(Vec::new());
        };
        let count = match random.below(20) {
            0 => return Found::Fails,
            1..5 => 0,
            5 => 10,
            6 => 11 + random.below(3),
            _ => 1 + random.below(4),
        };
        let host = |n| match (n, random.below(40)) {
            // A null MX (RFC 7505), but not alone, because viaspf cannot represent the
            // root.
            (1, 0..8) => Vec::new(),
            (_, k) => format!("mx{k}.example.net").into_bytes(),
        };
        Found::Records((0..count).map(host).collect())
    }

    fn ptr_names(&self) -> Found<Vec<u8>> {
        match self.ptr_fails {
            true => Found::Fails,
            false => Found::Records(self.ptr.clone()),
        }
    }
}

/// Returns the bits to change in an address: none, one of the last eight, or any one.
fn flip(random: &mut Random, bits: usize) -> u128 {
    match random.below(4) {
        0 => 0,
        1 => 1 << random.below(8),
        _ => 1 << random.below(bits),
    }
}

fn answer<T, U>(found: Found<T>, absence: Absence, convert: impl Fn(T) -> Option<U>) -> Answer<U> {
    let records: Vec<U> = match found {
        Found::Fails => return Answer::Temperror(Failure::ServFail),
        Found::Records(records) => records.into_iter().filter_map(convert).collect(),
    };
    match records.is_empty() {
        true => Answer::Absent(absence),
        false => Answer::Found(Records {
            records,
            valid_until: Instant::now() + Duration::from_secs(60),
        }),
    }
}

fn name(bytes: Vec<u8>) -> Option<Name> {
    Name::parse(bytes).ok()
}

impl Resolve for Zone {
    async fn txt(&self, name: &Name, _: Purpose) -> Answer<Vec<u8>> {
        let name = name.to_bytes();
        answer(self.txt_at(&name), self.absence(&name), Some)
    }

    async fn a(&self, name: &Name) -> Answer<Ipv4Addr> {
        let name = name.to_bytes();
        answer(self.a_at(&name), self.absence(&name), Some)
    }

    async fn aaaa(&self, name: &Name) -> Answer<Ipv6Addr> {
        let name = name.to_bytes();
        answer(self.aaaa_at(&name), self.absence(&name), Some)
    }

    async fn mx(&self, host: &Name) -> Answer<Mx> {
        let mx = |bytes| {
            let exchange = name(bytes)?;
            Some(Mx {
                preference: 10,
                exchange,
            })
        };
        let host = host.to_bytes();
        answer(self.mx_at(&host), self.absence(&host), mx)
    }

    async fn ptr(&self, _ip: IpAddr) -> Answer<Name> {
        answer(self.ptr_names(), Absence::NxDomain, name)
    }

    async fn is_denied(&self, _name: &Name) -> Result<bool, Failure> {
        Ok(false)
    }
}

fn lookup_result<T, U>(found: Found<T>, convert: impl Fn(T) -> Option<U>) -> LookupResult<Vec<U>> {
    let records: Vec<U> = match found {
        Found::Fails => return Err(LookupError::Dns(None)),
        Found::Records(records) => records.into_iter().filter_map(convert).collect(),
    };
    match records.is_empty() {
        true => Err(LookupError::NoRecords),
        false => Ok(records),
    }
}

fn bytes(name: &lookup::Name) -> &[u8] {
    let dotted = name.as_str();
    dotted.strip_suffix('.').unwrap_or(dotted).as_bytes()
}

fn theirs(bytes: Vec<u8>) -> Option<lookup::Name> {
    lookup::Name::new(std::str::from_utf8(&bytes).ok()?).ok()
}

#[async_trait]
impl Lookup for Zone {
    async fn lookup_a<'lookup, 'a>(
        &'lookup self,
        name: &'a lookup::Name,
    ) -> LookupResult<Vec<Ipv4Addr>> {
        lookup_result(self.a_at(bytes(name)), Some)
    }

    async fn lookup_aaaa<'lookup, 'a>(
        &'lookup self,
        name: &'a lookup::Name,
    ) -> LookupResult<Vec<Ipv6Addr>> {
        lookup_result(self.aaaa_at(bytes(name)), Some)
    }

    async fn lookup_mx<'lookup, 'a>(
        &'lookup self,
        name: &'a lookup::Name,
    ) -> LookupResult<Vec<lookup::Name>> {
        lookup_result(self.mx_at(bytes(name)), theirs)
    }

    async fn lookup_txt<'lookup, 'a>(
        &'lookup self,
        name: &'a lookup::Name,
    ) -> LookupResult<Vec<String>> {
        let text = |bytes: Vec<u8>| Some(String::from_utf8_lossy(&bytes).into_owned());
        lookup_result(self.txt_at(bytes(name)), text)
    }

    async fn lookup_ptr<'lookup>(&'lookup self, _ip: IpAddr) -> LookupResult<Vec<lookup::Name>> {
        lookup_result(self.ptr_names(), theirs)
    }
}

/// Formats an answer for messages.
pub fn shown(found: &Found<Vec<u8>>) -> String {
    match found {
        Found::Fails => "SERVFAIL".to_owned(),
        Found::Records(texts) => {
            let texts = texts
                .iter()
                .map(|text| format!("\"{}\"", text.escape_ascii()));
            texts.collect::<Vec<_>>().join(", ")
        }
    }
}
