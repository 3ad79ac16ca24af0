//! Filters of the history: how they are parsed, and which entries match.

use super::Entry;
use crate::{
    address::{self, Domain},
    policy::Rule,
    telemetry::Action,
};
use ipnet::IpNet;
use std::{fmt, net::IpAddr, str::FromStr};

/// Conditions that a decision must meet; without any, all decisions match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The action of the decision.
    pub action: Option<Action>,
    /// The rule that decided.
    pub rule: Option<Rule>,
    /// The client.
    pub client: Option<ClientFilter>,
    /// The domain of the envelope sender.
    pub sender_domain: Option<DomainFilter>,
    /// The domain of a recipient.
    pub recipient_domain: Option<DomainFilter>,
    /// The MTA's queue id.
    pub queue_id: Option<String>,
}

impl Filter {
    /// Returns whether a decision meets all conditions.
    pub fn matches(&self, entry: &Entry) -> bool {
        fn meets<T>(condition: &Option<T>, is_met: impl FnOnce(&T) -> bool) -> bool {
            condition.as_ref().is_none_or(is_met)
        }
        meets(&self.action, |action| *action == entry.action)
            && meets(&self.rule, |rule| *rule == entry.rule)
            && meets(&self.client, |client| client.matches(entry))
            && meets(&self.sender_domain, |domain| {
                entry.sender_domain().is_some_and(|d| domain.matches(d))
            })
            && meets(&self.recipient_domain, |domain| {
                entry.recipient_domains().any(|d| domain.matches(d))
            })
            && meets(&self.queue_id, |queue_id| {
                entry.queue_id() == Some(queue_id.as_str())
            })
    }
}

/// Why a text is not a valid condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    text: String,
    wanted: &'static str,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, wanted } = self;
        // What a peer or a link chose is not repeated at length.
        let start: String = text.chars().take(60).collect();
        let dots = if start.len() < text.len() { "..." } else { "" };
        write!(f, "{start:?}{dots} is not {wanted}")
    }
}

impl std::error::Error for FilterError {}

impl FilterError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            wanted,
        }
    }
}

/// Parses the name of an action.
///
/// # Errors
/// If there is no such action.
pub fn parse_action(text: &str) -> Result<Action, FilterError> {
    let mut actions = Action::ALL.into_iter();
    let named = actions.find(|action| action.name() == text);
    named.ok_or_else(|| FilterError::new(text, "an action (accept, reject, defer)"))
}

/// Parses the name of a rule.
///
/// # Errors
/// If there is no such rule.
pub fn parse_rule(text: &str) -> Result<Rule, FilterError> {
    let mut rules = Rule::ALL.into_iter();
    let named = rules.find(|rule| rule.name() == text);
    named.ok_or_else(|| FilterError::new(text, "a rule of the decision table"))
}

/// Who sent: an address, a network or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFilter {
    /// An address in this network.
    Network(IpNet),
    /// A host name, found by the MTA or in a PTR record: this one, or one below it.
    Name(DomainFilter),
}

impl ClientFilter {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Self::Network(network) => {
                let seen_as = entry.seen_as.map(IpAddr::V6);
                let mut addresses = [entry.client.ip(), seen_as].into_iter().flatten();
                addresses.any(|address| network.contains(&address))
            }
            Self::Name(name) => {
                let mut names = entry.client_name().into_iter().chain(entry.ptr_names());
                names.any(|n| name.matches(n))
            }
        }
    }
}

impl FromStr for ClientFilter {
    type Err = FilterError;

    /// Reads an address with or without brackets, a network, or a host name.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let inner = inner.unwrap_or(text);
        if let Ok(address) = inner.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if let Ok(network) = inner.parse::<IpNet>() {
            return Ok(Self::Network(address::canonical(network).trunc()));
        }
        let name = text.parse().map(Self::Name);
        name.map_err(|_| {
            FilterError::new(
                text,
                "an address, a network such as 2001:db8::/64, or a host name",
            )
        })
    }
}

/// A domain and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainFilter(Domain);

impl DomainFilter {
    /// Returns whether `domain`, as a peer wrote it, is this domain or below it.
    pub fn matches(&self, domain: &str) -> bool {
        let domain = domain.strip_suffix('.').unwrap_or(domain).as_bytes();
        let wanted = self.0.as_str().as_bytes();
        let Some(start) = domain.len().checked_sub(wanted.len()) else {
            return false;
        };
        domain[start..].eq_ignore_ascii_case(wanted) && (start == 0 || domain[start - 1] == b'.')
    }
}

impl FromStr for DomainFilter {
    type Err = FilterError;

    /// Reads a domain, also as `@example.org`, `.example.org` or `*.example.org`.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let domain = text.strip_prefix('@').unwrap_or(text);
        let domain = domain.strip_prefix('*').unwrap_or(domain);
        let domain = domain.strip_prefix('.').unwrap_or(domain);
        match Domain::parse(domain) {
            Ok(domain) => Ok(Self(domain)),
            Err(_) => Err(FilterError::new(text, "a domain")),
        }
    }
}

impl fmt::Display for DomainFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::{Client, Recipient, ReversePath},
        telemetry::{Decision, sample},
    };

    /// A deferred message of a@example.org to contoso.com and a rejected recipient.
    fn entries() -> [Entry; 2] {
        let message = sample::decisions().pop().unwrap();
        let client = Client {
            addr: "192.0.2.1".parse::<IpAddr>().unwrap().into(),
            name: "Relay.Partner.example".to_owned(),
            mta: None,
        };
        let recipient = Recipient::parse("<b@Sub.contoso.com>", None);
        let other = Decision {
            rule: Rule::NotOptedIn,
            client: &client,
            reverse_path: &ReversePath::parse("<x@MÜLLER.example>"),
            recipient: Some(&recipient),
            queue_id: None,
            ptr_names: &[],
            ..message
        };
        [Entry::from_decision(&message), Entry::from_decision(&other)]
    }

    fn client(text: &str) -> Filter {
        Filter {
            client: Some(text.parse().unwrap()),
            ..Filter::default()
        }
    }

    fn sender(text: &str) -> Filter {
        Filter {
            sender_domain: Some(text.parse().unwrap()),
            ..Filter::default()
        }
    }

    fn recipient(text: &str) -> Filter {
        Filter {
            recipient_domain: Some(text.parse().unwrap()),
            ..Filter::default()
        }
    }

    #[test]
    fn a_decision_is_shown_if_it_meets_every_condition() {
        let queue_id = |id: &str| Filter {
            queue_id: Some(id.to_owned()),
            ..Filter::default()
        };
        let rule = |name| Filter {
            rule: Some(parse_rule(name).unwrap()),
            ..Filter::default()
        };
        let action = |name| Filter {
            action: Some(parse_action(name).unwrap()),
            ..Filter::default()
        };
        let table = [
            // filter, of the message, of the recipient
            (Filter::default(), true, true),
            (action("defer"), true, true),
            (action("accept"), false, false),
            (rule("unauthenticated"), true, false),
            (rule("not-opted-in"), false, true),
            (client("2001:db8::1"), true, false),
            (client("[2001:DB8::1]"), true, false),
            (client("2001:db8::ffff/64"), true, false),
            (client("2001:db8:0:1::/64"), false, false),
            (client("192.0.2.1"), false, true),
            (client("::ffff:192.0.2.1"), false, true),
            (client("::ffff:192.0.2.0/120"), false, true),
            (client("mail.example.org"), true, false),
            (client("example.org"), true, false),
            (client("ample.org"), false, false),
            (client("*.PARTNER.example"), false, true),
            (sender("example.org"), true, false),
            (sender("@EXAMPLE.org."), true, false),
            (sender("org"), true, false),
            (sender("xn--mller-kva.example"), false, true),
            (sender("müller.example"), false, true),
            (recipient("contoso.com"), true, true),
            (recipient("sub.contoso.com"), false, true),
            (queue_id("4F9D195432C"), true, false),
            (queue_id("4F9D19543"), false, false),
            (
                Filter {
                    rule: Some(Rule::NotOptedIn),
                    ..sender("example.org")
                },
                false,
                false,
            ),
        ];
        let [message, other] = entries();
        for (filter, want_message, want_other) in table {
            assert_eq!(filter.matches(&message), want_message, "{filter:?}");
            assert_eq!(filter.matches(&other), want_other, "{filter:?}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is_allowed() {
        let long = "x y".repeat(1000);
        let errors = [
            parse_action("drop").unwrap_err(),
            parse_rule("spf").unwrap_err(),
            "2001:db8::/129".parse::<ClientFilter>().unwrap_err(),
            "a..b".parse::<DomainFilter>().unwrap_err(),
            long.parse::<ClientFilter>().unwrap_err(),
        ];
        let texts = errors.map(|error| error.to_string());
        assert_eq!(
            texts[0],
            "\"drop\" is not an action (accept, reject, defer)"
        );
        assert!(texts.iter().all(|text| text.len() < 140), "{texts:?}");
    }
}
