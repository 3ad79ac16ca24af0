//! TXT records in memory, for benchmarks of code that looks up the DNS.

use sixgate::dns::{Absence, Answer, Failure, Mx, Name, Purpose, Records, Resolve};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// A zone with only TXT records.
#[derive(Default)]
pub struct Zone(HashMap<Name, Vec<u8>>);

impl Zone {
    /// Adds a record.
    pub fn with(mut self, name: &str, text: &str) -> Self {
        let name = Name::parse(name).expect("a name");
        self.0.insert(name, text.into());
        self
    }
}

impl Resolve for Zone {
    async fn txt(&self, name: &Name, _: Purpose) -> Answer<Vec<u8>> {
        match self.0.get(name) {
            Some(text) => Answer::Found(Records {
                records: vec![text.clone()],
                valid_until: Instant::now() + Duration::from_secs(3600),
            }),
            None => Answer::Absent(Absence::NxDomain),
        }
    }

    async fn a(&self, _name: &Name) -> Answer<Ipv4Addr> {
        Answer::Absent(Absence::NoData)
    }

    async fn aaaa(&self, _name: &Name) -> Answer<Ipv6Addr> {
        Answer::Absent(Absence::NoData)
    }

    async fn mx(&self, _name: &Name) -> Answer<Mx> {
        Answer::Absent(Absence::NoData)
    }

    async fn ptr(&self, _ip: IpAddr) -> Answer<Name> {
        Answer::Absent(Absence::NoData)
    }

    async fn is_denied(&self, _name: &Name) -> Result<bool, Failure> {
        Ok(false)
    }
}
