//! Dynamic updates (RFC 2136): replaces the records of host names if they have not
//! changed in the meantime.

use super::{Change, Connection, Primary, PrimaryError, RrSet};
use hickory_proto::{
    op::{Message, OpCode, Query},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use std::net::IpAddr;

/// The maximum size of one update in bytes. A server applies an update as a whole, so it
/// should not be too large.
const MAX_BYTES: usize = 32 << 10;

/// The size of a record besides its data, in bytes: a pointer or label, type, class, TTL,
/// length.
const RECORD_BYTES: usize = 14;

impl Connection {
    /// Applies all of these changes or none.
    ///
    /// # Errors
    /// Fails with [`PrimaryError::Changed`] if a record is not as in `before`.
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
    let (mut start, mut bytes) = (0, 0);
    for (index, change) in changes.iter().enumerate() {
        let more = size(change);
        if bytes + more > MAX_BYTES {
            batches.push(&changes[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += more;
    }
    if start < changes.len() {
        batches.push(&changes[start..]);
    }
    batches
}

/// Returns an upper bound for the size of a change: a name is repeated where the encoder
/// can't compress it.
fn size(change: &Change) -> usize {
    let of = |set: &Option<RrSet>| set.as_ref().map_or(1, |set| set.addresses.len());
    // The prerequisite, the removal and the new records.
    let records = of(&change.before) + 1 + of(&change.after);
    records * (RECORD_BYTES + change.label.len() + 16)
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
        // Prerequisites are in the answer section, updates in the authority section.
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
