//! `ipv4_prefixes`: prefixes of IPv4/IPv6 translators.

use super::value::Kind;
use crate::translation::{TranslationPrefix, TranslationPrefixError};
use ipnet::{IpNet, Ipv6Net};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// A translation prefix.
pub(super) struct Prefix;

impl Kind for Prefix {
    type Value = TranslationPrefix;
    const EXPECTED: &'static str = "a translation prefix such as \"64:ff9b::/96\"";

    fn parse(text: &str) -> Result<TranslationPrefix, String> {
        let prefix: TranslationPrefix = text.parse().map_err(|error| match error {
            TranslationPrefixError::NotANetwork => {
                format!("{text:?} is not an IPv6 network; write {}", Self::EXPECTED)
            }
            error => format!("{text:?} is not a translation prefix: {error}"),
        })?;
        match always_exempt().iter().find(|net| prefix.overlaps(net)) {
            Some(network) => Err(format!(
                "{prefix} overlaps {network}, which is never checked; write the prefix of the \
                 translator alone"
            )),
            None => Ok(prefix),
        }
    }

    fn show(value: &TranslationPrefix) -> String {
        value.to_string()
    }

    fn check_list(prefixes: &[TranslationPrefix]) -> Result<(), String> {
        for (index, prefix) in prefixes.iter().enumerate() {
            let before = &prefixes[..index];
            let overlaps = |other: &&TranslationPrefix| prefix.overlaps(&other.network().into());
            if let Some(other) = before.iter().find(overlaps) {
                return Err(format!("{prefix} overlaps {other}; remove one of them"));
            }
        }
        Ok(())
    }
}

/// Returns the loopback, link-local and IPv4-mapped networks.
fn always_exempt() -> [IpNet; 3] {
    let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    [(Ipv6Addr::LOCALHOST, 128), (link_local, 10), (mapped, 96)]
        .map(|(address, length)| Ipv6Net::new_assert(address, length).into())
}

/// Deserializes the file again to find `ipv4_prefixes` that overlap `exempt.networks`,
/// because errors have a line only while the file is read.
#[derive(Clone, Copy)]
pub(super) struct PrefixesBeside<'a>(pub(super) &'a [IpNet]);

impl<'de> DeserializeSeed<'de> for PrefixesBeside<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PrefixesBeside<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "ipv4_prefixes" => map.next_value_seed(PrefixBeside(self.0))?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// A single prefix or the whole list.
#[derive(Clone, Copy)]
struct PrefixBeside<'a>(&'a [IpNet]);

impl<'de> DeserializeSeed<'de> for PrefixBeside<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PrefixBeside<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Prefix::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let prefix = Prefix::parse(text).map_err(E::custom)?;
        match self.0.iter().find(|network| prefix.overlaps(network)) {
            Some(network) => Err(E::custom(format_args!(
                "{prefix} overlaps {network} of exempt.networks; remove one of them, as neither \
                 is checked"
            ))),
            None => Ok(()),
        }
    }
}
