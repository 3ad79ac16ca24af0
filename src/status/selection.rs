//! Selects decisions by the parameters of a request.

use super::{
    history::{Filter, parse_action, parse_rule},
    parameters::{BadRequest, Pairs, Parameters},
};

/// The parameters, filters first.
pub(super) const PARAMETERS: [&str; 8] = [
    "action",
    "rule",
    "client",
    "sender_domain",
    "recipient_domain",
    "queue_id",
    "before",
    "limit",
];

/// The number of filters among them.
const FILTERS: usize = 6;

/// The greatest integer that every JSON parser reads exactly (RFC 8259 section 6).
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The maximum number of decisions in one response.
pub(super) const MAX_LIMIT: usize = 1000;

/// The decisions that a request selects.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) filter: Filter,
    /// Only decisions with a lower number.
    pub(super) before: Option<u64>,
    pub(super) limit: Option<usize>,
    parameters: Parameters,
}

impl Selection {
    /// Parses the parameters.
    pub(super) fn new(pairs: Pairs) -> Result<Self, BadRequest> {
        let given = Parameters::new(pairs, &PARAMETERS)?;
        let number = |text: &str| match text.parse() {
            Ok(number @ 0..=MAX_NUMBER) => Ok(number),
            Ok(_) | Err(_) => Err("it is not a number of a decision"),
        };
        let limit = |text: &str| match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
            _ => Err(format!("it is not a number from 1 to {MAX_LIMIT}")),
        };
        Ok(Self {
            filter: Filter {
                action: given.parsed("action", parse_action)?,
                rule: given.parsed("rule", parse_rule)?,
                client: given.parsed("client", str::parse)?,
                sender_domain: given.parsed("sender_domain", str::parse)?,
                recipient_domain: given.parsed("recipient_domain", str::parse)?,
                queue_id: given.get("queue_id")?.map(str::to_owned),
            },
            before: given.parsed("before", number)?,
            limit: given.parsed("limit", limit)?,
            parameters: given,
        })
    }

    /// Returns the text of a parameter, to fill in the form.
    pub(super) fn given(&self, name: &str) -> &str {
        self.parameters.all(name).next().unwrap_or_default()
    }

    /// Returns whether there is no filter.
    pub(super) fn is_empty(&self) -> bool {
        self.filter == Filter::default()
    }

    /// Returns the parameters for another page with the same filters.
    pub(super) fn for_page(&self, before: Option<u64>) -> Vec<(&'static str, String)> {
        let mut parameters: Vec<_> = PARAMETERS[..FILTERS]
            .iter()
            .map(|name| (*name, self.given(name).to_owned()))
            .collect();
        parameters.extend(before.map(|before| ("before", before.to_string())));
        parameters.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(pairs: &[(&str, &str)]) -> Result<Selection, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Selection::new(pairs.iter().map(owned).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_wrong_parameter_is_an_error_that_names_it() {
        let parsed = selection(&[
            ("action", "defer"),
            ("client", "2001:db8::/64"),
            ("before", "17"),
            ("limit", "1000"),
            ("queue_id", ""),
        ]);
        let parsed = parsed.unwrap();
        assert_eq!((parsed.before, parsed.limit), (Some(17), Some(1000)));
        assert_eq!(parsed.given("client"), "2001:db8::/64");
        assert_eq!(parsed.filter.queue_id, None);
        let next = parsed.for_page(Some(5));
        let given: Vec<_> = next.iter().filter(|(_, value)| !value.is_empty()).collect();
        assert_eq!(given.len(), 4, "{given:?}");
        let table = [
            (("limit", "0"), "limit: it is not a number from 1 to 1000"),
            (
                ("limit", "1001"),
                "limit: it is not a number from 1 to 1000",
            ),
            (("before", "-1"), "before: it is not a number of a decision"),
            (
                ("rule", "spf"),
                "rule: \"spf\" is not a rule of the decision table",
            ),
            (
                ("sender_domain", "a b"),
                "sender_domain: \"a b\" is not a domain",
            ),
        ];
        for (pair, want) in table {
            assert_eq!(selection(&[pair]).unwrap_err(), want);
        }
    }
}
