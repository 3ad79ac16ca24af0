//! Dynamic updates (RFC 2136): the records of some host names are replaced if they are
//! still what they were.

use super::{Change, Connection, Primary, PrimaryError, RrSet};
use hickory_proto::{
    op::{Message, OpCode, Query},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use std::net::IpAddr;

/// How many octets one update may have. A server handles an update as a whole, so it is
/// not to be too large, either.
const MAX_OCTETS: usize = 32 << 10;

/// What a record takes besides its data: a pointer or label, type, class, TTL, length.
const RECORD_OCTETS: usize = 14;

impl Connection {
    /// Makes all of these changes or none.
    ///
    /// # Errors
    /// [`PrimaryError::Changed`] if one of the records is not what it was.
    pub async fn update(&mut self, changes: &[Change]) -> Result<(), PrimaryError> {
        let message = message(&self.primary, changes)?;
        let mut verification = self.send_signed(message).await?;
        let tried = "an update of the zone";
        self.receive_signed(&mut verification, tried).await?;
        Ok(())
    }
}

/// Groups changes into updates, keeping their order.
pub fn batches(changes: &[Change]) -> Vec<&[Change]> {
    let mut batches = Vec::new();
    let (mut start, mut octets) = (0, 0);
    for (index, change) in changes.iter().enumerate() {
        let more = size(change);
        if octets + more > MAX_OCTETS {
            batches.push(&changes[start..index]);
            (start, octets) = (index, 0);
        }
        octets += more;
    }
    if start < changes.len() {
        batches.push(&changes[start..]);
    }
    batches
}

/// At most; a name is repeated where the encoder can't point to it.
fn size(change: &Change) -> usize {
    let of = |set: &Option<RrSet>| set.as_ref().map_or(1, |set| set.addresses.len());
    // The condition, the removal and what is added.
    let records = of(&change.before) + 1 + of(&change.after);
    records * (RECORD_OCTETS + change.label.len() + 16)
}

fn message(primary: &Primary, changes: &[Change]) -> Result<Message, PrimaryError> {
    let mut zone = Query::new();
    zone.set_name(primary.zone.clone())
        .set_query_type(RecordType::SOA);
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(zone);
    for change in changes {
        let name = primary.host(&change.label)?;
        let rtype = change.family.record_type();
        // Prerequisites stand in the answer section, updates in the authority section.
        match &change.before {
            None => message.answers.push(empty(&name, rtype, DNSClass::NONE)),
            Some(before) => {
                for address in &before.addresses {
                    message.answers.push(record(&name, 0, *address));
                }
                message.authorities.push(empty(&name, rtype, DNSClass::ANY));
            }
        }
        if let Some(after) = &change.after {
            for address in &after.addresses {
                message.authorities.push(record(&name, after.ttl, *address));
            }
        }
    }
    Ok(message)
}

fn empty(name: &Name, rtype: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(name.clone(), 0, rtype);
    record.dns_class = class;
    record
}

fn record(name: &Name, ttl: u32, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    };
    Record::from_rdata(name.clone(), ttl, data)
}
