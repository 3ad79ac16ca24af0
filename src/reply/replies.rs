//! The configured replies, and the presets with their defaults.

use super::{Template, Url};
use crate::policy::Refusal;
use std::time::Duration;

/// The default texts of the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The texts that Exchange Online documents for mail over IPv6.
    Exchange,
    /// The texts of Exchange Online's table of NDR codes (2024). Temporary refusals stay
    /// temporary.
    ExchangeNdr,
}

/// The replies to refused mail, and the settings for their details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// The recipient's domain does not accept mail over IPv6. The default is `550 5.2.1
    /// Service unavailable, [{domain}] does not accept email over IPv6.`
    pub not_opted_in: Template,
    /// The client has no PTR record. The default is `450 4.7.25 Service
    /// unavailable, sending IPv6 address [{address}] must have reverse DNS
    /// record.`
    pub no_ptr: Template,
    /// Neither SPF nor DKIM passed. The default is `450 4.7.26 Service
    /// unavailable, message sent over IPv6 [{address}] must pass either SPF or
    /// DKIM validation.`
    pub unauthenticated: Template,
    /// A lookup failed temporarily. The default is `451 4.4.3 Service unavailable,
    /// temporary failure, please try again later.`
    pub temporary: Template,
    /// The preset for replies that are not configured. The default is
    /// [`Preset::Exchange`].
    pub preset: Preset,
    /// Whether further lines describe the findings of the checks. The default is `false`.
    pub details: bool,
    /// The URL in the last of these lines. The default is none.
    pub url: Option<Url>,
    /// How long a sender is deferred before it is rejected permanently. The default is
    /// forever.
    pub give_up_after: Option<Duration>,
}

impl Replies {
    /// Returns the reply for a refusal.
    pub fn get(&self, refusal: Refusal) -> &Template {
        match refusal {
            Refusal::NotOptedIn => &self.not_opted_in,
            Refusal::NoPtr => &self.no_ptr,
            Refusal::Unauthenticated => &self.unauthenticated,
            Refusal::Temporary => &self.temporary,
        }
    }
}

impl From<Preset> for Replies {
    /// Returns the replies of a preset, without details.
    fn from(preset: Preset) -> Self {
        let [not_opted_in, no_ptr, unauthenticated] = match preset {
            Preset::Exchange => [
                "550 5.2.1 Service unavailable, [{domain}] does not accept email over IPv6.",
                "450 4.7.25 Service unavailable, sending IPv6 address [{address}] must have \
                 reverse DNS record.",
                "450 4.7.26 Service unavailable, message sent over IPv6 [{address}] must pass \
                 either SPF or DKIM validation.",
            ],
            Preset::ExchangeNdr => [
                "550 5.7.510 Access denied, [{domain}] does not accept email over IPv6",
                "450 4.7.25 Access denied, the sending IPv6 address [{address}] must have a \
                 reverse DNS record",
                "450 4.7.26 Access denied, a message sent over IPv6 [{address}] must pass \
                 either SPF or DKIM validation, this message is not signed",
            ],
        };
        Self {
            not_opted_in: documented(not_opted_in),
            no_ptr: documented(no_ptr),
            unauthenticated: documented(unauthenticated),
            temporary: documented(
                "451 4.4.3 Service unavailable, temporary failure, please try again later.",
            ),
            preset,
            details: false,
            url: None,
            give_up_after: None,
        }
    }
}

impl Default for Replies {
    fn default() -> Self {
        Preset::Exchange.into()
    }
}

#[expect(clippy::expect_used, reason = "constants, which a test renders")]
fn documented(line: &str) -> Template {
    line.parse()
        .expect("the documented replies are well formed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Class, Values};

    #[test]
    fn the_ndr_texts_are_rendered_byte_for_byte_and_deferrals_stay_deferrals() {
        let values = Values {
            address: "2a01:111:f200:2004::240".parse().unwrap(),
            domain: "contoso.com",
        };
        let table = [
            (
                Refusal::NotOptedIn,
                "550 5.7.510 Access denied, [contoso.com] does not accept email over IPv6",
            ),
            (
                Refusal::NoPtr,
                "450 4.7.25 Access denied, the sending IPv6 address \
                 [2a01:111:f200:2004::240] must have a reverse DNS record",
            ),
            (
                Refusal::Unauthenticated,
                "450 4.7.26 Access denied, a message sent over IPv6 \
                 [2a01:111:f200:2004::240] must pass either SPF or DKIM validation, \
                 this message is not signed",
            ),
            (
                Refusal::Temporary,
                "451 4.4.3 Service unavailable, temporary failure, please try again later.",
            ),
        ];
        let replies = Replies::from(Preset::ExchangeNdr);
        for (refusal, want) in table {
            let template = replies.get(refusal);
            assert_eq!(template.render(values).to_string(), want);
            let is_temporary = refusal != Refusal::NotOptedIn;
            assert_eq!(template.class() == Class::Transient, is_temporary);
        }
    }
}
