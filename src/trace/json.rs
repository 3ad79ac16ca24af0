//! How the fields of events are written in JSON.

use crate::{logs::Action, policy::Rule};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Serializes a time as in RFC 3339.
pub(super) fn timestamp<S: Serializer>(time: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Timestamp::from_second(*time).ok().serialize(serializer)
}

pub(super) fn action<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match action {
        Action::Accept => "accept",
        Action::Defer => "defer",
        Action::Reject => "reject",
    })
}

pub(super) fn rule<S: Serializer>(rule: &Option<Rule>, serializer: S) -> Result<S::Ok, S::Error> {
    rule.map(Rule::name).serialize(serializer)
}
