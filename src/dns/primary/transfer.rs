//! Reads the zone: by a zone transfer (RFC 5936), or by a query for each name.

use super::{Connection, Family, HostRecords, PrimaryError, connection::parse};
use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use std::collections::HashMap;

/// The number of queries sent before reading their answers.
const AT_ONCE: usize = 256;

impl Connection {
    /// Transfers the zone and returns all host names that are one label below the suffix.
    ///
    /// # Errors
    /// [`PrimaryError::Refused`] if the server refuses the transfer.
    pub async fn transfer(&mut self) -> Result<HashMap<String, HostRecords>, PrimaryError> {
        let zone = self.primary.zone.clone();
        let request = question(&zone, RecordType::AXFR, None);
        let mut verification = self.send_signed(request).await?;
        let mut hosts = HashMap::new();
        // The zone begins and ends with its SOA record.
        let mut soas = 0;
        while soas < 2 || !verification.is_complete() {
            let answer = self
                .receive_signed(&mut verification, "a transfer of the zone")
                .await;
            let answer = match answer {
                // The answer to a query for a name that does not exist.
                Err(PrimaryError::Changed) => {
                    let complaint = format!("it has no zone {zone}");
                    return Err(PrimaryError::Refused(complaint));
                }
                answer => answer?,
            };
            if answer.answers.is_empty() || soas == 2 {
                return Err(PrimaryError::Broken(
                    "the zone transfer is incomplete".into(),
                ));
            }
            for record in &answer.answers {
                match record.record_type() {
                    RecordType::SOA => soas += 1,
                    _ if soas == 0 => {
                        let complaint = "the zone transfer does not begin with a SOA record";
                        return Err(PrimaryError::Broken(complaint.into()));
                    }
                    _ => self.note(record, &mut hosts),
                }
            }
        }
        Ok(hosts)
    }

    fn note(&self, record: &Record, hosts: &mut HashMap<String, HostRecords>) {
        let is_address = matches!(record.data, RData::A(_) | RData::AAAA(_) | RData::CNAME(_));
        if is_address && let Some(label) = self.primary.label_of(&record.name) {
            note(record, hosts.entry(label).or_default());
        }
    }

    /// Looks up the host names of these labels with unsigned queries. Omits labels
    /// without records.
    ///
    /// # Errors
    /// Fails if a query is not answered.
    pub async fn look_up<'a>(
        &mut self,
        labels: impl Iterator<Item = &'a str>,
    ) -> Result<HashMap<String, HostRecords>, PrimaryError> {
        let mut hosts = HashMap::new();
        let mut questions = Vec::with_capacity(AT_ONCE);
        for label in labels {
            let name = self.primary.host(label)?;
            for family in [Family::V4, Family::V6] {
                questions.push((label, name.clone(), family));
            }
            if questions.len() >= AT_ONCE {
                self.query(&mut questions, &mut hosts).await?;
            }
        }
        self.query(&mut questions, &mut hosts).await?;
        Ok(hosts)
    }

    async fn query(
        &mut self,
        questions: &mut Vec<(&str, Name, Family)>,
        hosts: &mut HashMap<String, HostRecords>,
    ) -> Result<(), PrimaryError> {
        let message = |(id, (_, name, family)): (u16, &(&str, Name, Family))| {
            question(name, family.record_type(), Some(id))
        };
        let messages: Vec<Message> = (0..).zip(questions.iter()).map(message).collect();
        self.send(&messages).await?;
        let mut waiting: Vec<Option<_>> = questions.drain(..).map(Some).collect();
        for _ in 0..waiting.len() {
            let answer = parse(&self.receive().await?)?;
            let asked = waiting
                .get_mut(usize::from(answer.id))
                .and_then(Option::take);
            let Some((label, name, family)) = asked else {
                return Err(PrimaryError::Broken("an answer has an unknown ID".into()));
            };
            match answer.response_code {
                ResponseCode::NoError if answer.authoritative => {}
                ResponseCode::NXDomain if answer.authoritative => continue,
                ResponseCode::NoError | ResponseCode::NXDomain => {
                    let complaint = format!("it is not authoritative for {name}");
                    return Err(PrimaryError::Refused(complaint));
                }
                code => super::check_code(code, "a question")?,
            }
            let wanted = |record: &&Record| {
                let rtype = record.record_type();
                record.name == name && (rtype == family.record_type() || rtype == RecordType::CNAME)
            };
            for record in answer.answers.iter().filter(wanted) {
                note(record, hosts.entry(label.to_owned()).or_default());
            }
        }
        Ok(())
    }
}

fn note(record: &Record, host: &mut HostRecords) {
    match &record.data {
        RData::A(a) => host.add_v4(record.ttl, a.0),
        RData::AAAA(aaaa) => host.add_v6(record.ttl, aaaa.0),
        RData::CNAME(_) => host.is_alias = true,
        _ => {}
    }
}

fn question(name: &Name, rtype: RecordType, id: Option<u16>) -> Message {
    let mut query = Query::new();
    query.set_name(name.clone()).set_query_type(rtype);
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Query;
    message.metadata.recursion_desired = false;
    if let Some(id) = id {
        message.metadata.id = id;
    }
    message.add_query(query);
    message
}
