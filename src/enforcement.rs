//! Which refusals are enforced: `observe_rules` and `enforce_share`.
//!
//! `mode: observe`, `observe_domains`, `observe_rules` and `enforce_share` can each
//! prevent a refusal, and none can override another one that does.

use crate::policy::Rule;
use aws_lc_rs::hmac;
use std::{fmt, net::IpAddr};

/// Why a refusal is only logged and not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObservedBy {
    /// `mode: observe`
    Mode,
    /// `observe_domains`: every recipient concerned is in one of these domains.
    Domain,
    /// `observe_rules`
    Rule,
    /// `enforce_share`: the client's network is not in the share.
    Share,
}

impl ObservedBy {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 4] = [Self::Mode, Self::Domain, Self::Rule, Self::Share];

    /// Returns the configuration key.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Domain => "observe_domains",
            Self::Rule => "observe_rules",
            Self::Share => "enforce_share",
        }
    }

    /// Returns the name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Domain => "domain",
            Self::Rule => "rule",
            Self::Share => "share",
        }
    }
}

impl fmt::Display for ObservedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A whole number of percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// 100 percent.
    pub const ALL: Self = Self(100);
    /// 0 percent.
    pub const NONE: Self = Self(0);

    /// Creates a percentage; `None` if it is more than 100.
    pub fn new(percent: u8) -> Option<Self> {
        (percent <= 100).then_some(Self(percent))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// `enforce_share`: the share of client networks for which refusals are enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnforceShare {
    /// The share of rules without one of their own.
    pub other: Percent,
    /// Rules with a share of their own.
    pub rules: Vec<(Rule, Percent)>,
}

impl EnforceShare {
    /// Returns the share of a rule.
    pub fn of(&self, rule: Rule) -> Percent {
        let own = self.rules.iter().find(|(named, _)| *named == rule);
        own.map_or(self.other, |(_, share)| *share)
    }

    /// Returns whether every refusal is enforced.
    pub fn is_everything(&self) -> bool {
        refusing_rules().all(|rule| self.of(rule) == Percent::ALL)
    }

    /// Returns whether no refusal is enforced.
    pub fn is_nothing(&self) -> bool {
        refusing_rules().all(|rule| self.of(rule) == Percent::NONE)
    }
}

impl From<Percent> for EnforceShare {
    /// Creates the same share for all rules.
    fn from(other: Percent) -> Self {
        Self {
            other,
            rules: Vec::new(),
        }
    }
}

impl Default for EnforceShare {
    fn default() -> Self {
        Percent::ALL.into()
    }
}

/// The places of client networks between 0 and 100 %.
///
/// A keyed hash of the /64 assigns each network a place, and a share consists of the
/// places below it. So a network always gets the same result, and a larger share contains
/// all networks of a smaller one.
#[derive(Clone, Debug)]
pub struct Places {
    key: hmac::Key,
}

/// The default of `enforce_share_key`, fixed so that all servers agree, also after a
/// restart.
const DEFAULT_KEY: &str = "sixgate enforce_share";

impl Places {
    /// Creates the places for a key.
    pub fn new(key: Option<&str>) -> Self {
        let key = key.unwrap_or(DEFAULT_KEY).as_bytes();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// Returns whether a client's network is in the share.
    pub fn is_in(&self, share: Percent, client: IpAddr) -> bool {
        match client {
            _ if share == Percent::ALL => true,
            IpAddr::V6(ip) => self.place((ip.to_bits() >> 64) as u64) < u64::from(share.0),
            // Never checked; if it were, the refusal would be enforced.
            IpAddr::V4(_) => true,
        }
    }

    /// Returns the place of a network, from 0 to 99.
    fn place(&self, network: u64) -> u64 {
        let tag = hmac::sign(&self.key, &network.to_be_bytes());
        let (head, _) = tag.as_ref().split_at(8);
        let hash = head
            .iter()
            .fold(0_u64, |hash, &byte| hash << 8 | u64::from(byte));
        ((u128::from(hash) * 100) >> 64) as u64
    }
}

/// Returns the rules that can refuse, and therefore be observed.
pub fn refusing_rules() -> impl Iterator<Item = Rule> {
    Rule::ALL.into_iter().filter(|rule| rule.can_refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(network: u64, host: u64) -> IpAddr {
        let network = (0x2001_0db8_0000_0000 + u128::from(network)) << 64;
        IpAddr::V6((network + u128::from(host)).into())
    }

    /// Returns the first networks in the share.
    fn selected(count: u64, percent: u8, key: Option<&str>) -> Vec<u64> {
        let places = Places::new(key);
        let share = Percent::new(percent).unwrap();
        let networks = (0..count).filter(|n| places.is_in(share, client(*n, 1)));
        networks.collect()
    }

    #[test]
    fn a_share_has_about_that_part_of_the_networks_and_grows() {
        let mut before = Vec::new();
        for percent in [0, 1, 10, 25, 50, 99, 100] {
            let now = selected(10_000, percent, None);
            let want = usize::from(percent) * 100;
            assert!(now.len().abs_diff(want) <= 200, "{percent}: {}", now.len());
            assert!(before.iter().all(|network| now.contains(network)));
            before = now;
        }
        assert_eq!(before.len(), 10_000);
    }

    #[test]
    fn all_hosts_of_a_network_see_the_same_in_every_version_of_the_program() {
        let (places, half) = (Places::new(None), Percent(50));
        for network in 0..200 {
            let is_in = places.is_in(half, client(network, 1));
            assert_eq!(places.is_in(half, client(network, u64::MAX)), is_in);
        }
        assert_eq!(selected(20, 25, None), SELECTED);
    }

    /// Computed with another HMAC-SHA-256 implementation.
    const SELECTED: [u64; 7] = [2, 3, 4, 10, 15, 17, 19];

    #[test]
    fn another_key_selects_other_networks() {
        let ours = selected(1000, 50, None);
        let theirs = selected(1000, 50, Some("contoso"));
        let both = ours.iter().filter(|n| theirs.contains(n)).count();
        assert!((150..350).contains(&both), "{both}");
    }

    #[test]
    fn a_rule_may_have_a_share_of_its_own() {
        let share = EnforceShare {
            other: Percent::ALL,
            rules: vec![(Rule::Unauthenticated, Percent(10))],
        };
        assert_eq!(share.of(Rule::Unauthenticated), Percent(10));
        assert_eq!(share.of(Rule::NoPtr), Percent::ALL);
        assert!(!share.is_everything() && !share.is_nothing());
        assert!(EnforceShare::default().is_everything());
        assert!(EnforceShare::from(Percent::NONE).is_nothing());
    }

    #[test]
    fn rules_that_only_accept_can_not_be_observed() {
        let names: Vec<&str> = refusing_rules().map(Rule::name).collect();
        assert_eq!(
            names,
            [
                "not-opted-in",
                "opt-in-temperror",
                "no-ptr",
                "ptr-temperror",
                "ptr-unconfirmed",
                "auth-temperror",
                "unauthenticated"
            ]
        );
    }
}
