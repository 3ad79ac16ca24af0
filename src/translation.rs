//! IPv4 addresses embedded in IPv6 addresses by IPv4/IPv6 translators (RFC 6052),
//! such as NAT64 and SIIT-DC.

use ipnet::{IpNet, Ipv6Net};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A translation prefix: a network whose addresses embed IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TranslationPrefix(Ipv6Net);

/// The prefix lengths of RFC 6052 section 2.2.
pub const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// The byte with bits 64 to 71, which are zero in every address that embeds one.
const RESERVED: usize = 8;

impl TranslationPrefix {
    /// The prefix of that length that an address is in.
    ///
    /// # Errors
    /// As [`TranslationPrefixError`] says.
    pub fn of(address: Ipv6Addr, length: u8) -> Result<Self, TranslationPrefixError> {
        let network = Ipv6Net::new(address, length)
            .map_err(|_| TranslationPrefixError::NotANetwork)?
            .trunc();
        if !LENGTHS.contains(&length) {
            return Err(TranslationPrefixError::Length(length));
        }
        if network.addr().octets()[RESERVED] != 0 {
            return Err(TranslationPrefixError::ReservedBits);
        }
        Ok(Self(network))
    }

    /// The network.
    pub fn network(&self) -> Ipv6Net {
        self.0
    }

    /// The IPv4 address that an address in this network embeds (RFC 6052 section
    /// 2.3). `None` outside the network, and for an address inside whose bits 64 to 71
    /// are not zero: no translator makes one. What follows the IPv4 address is ignored.
    pub fn embedded(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let octets = address.octets();
        if !self.0.contains(&address) || octets[RESERVED] != 0 {
            return None;
        }
        let start = usize::from(self.0.prefix_len() / 8);
        let mut embedded = (start..octets.len()).filter(|index| *index != RESERVED);
        let mut next = || embedded.next().map(|index| octets[index]);
        Some(Ipv4Addr::new(next()?, next()?, next()?, next()?))
    }

    /// Whether some address is in this prefix and in the network.
    pub fn overlaps(&self, network: &IpNet) -> bool {
        match network {
            IpNet::V4(_) => false,
            IpNet::V6(other) => self.0.contains(other) || other.contains(&self.0),
        }
    }
}

impl fmt::Display for TranslationPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a [`TranslationPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationPrefixError {
    /// Not an IPv6 network with a length.
    NotANetwork,
    /// Bits behind the prefix are set; this is the network without them.
    HostBits(Ipv6Net),
    /// A length that RFC 6052 does not have.
    Length(u8),
    /// Bits 64 to 71 are not zero.
    ReservedBits,
}

impl fmt::Display for TranslationPrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANetwork => f.write_str("it is not an IPv6 network"),
            Self::HostBits(network) => write!(f, "it has host bits set; write \"{network}\""),
            Self::Length(length) => write!(
                f,
                "a translation prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052 section 2.2), \
                 not {length}"
            ),
            Self::ReservedBits => {
                f.write_str("its bits 64 to 71 are not zero (RFC 6052 section 2.2)")
            }
        }
    }
}

impl std::error::Error for TranslationPrefixError {}

impl FromStr for TranslationPrefix {
    type Err = TranslationPrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network: Ipv6Net = text
            .parse()
            .map_err(|_| TranslationPrefixError::NotANetwork)?;
        let prefix = Self::of(network.addr(), network.prefix_len())?;
        match prefix.0 == network {
            true => Ok(prefix),
            false => Err(TranslationPrefixError::HostBits(network.trunc())),
        }
    }
}

/// A client of which a translator has changed the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The address that it has.
    pub ipv4: Ipv4Addr,
    /// The one that it is seen under.
    pub seen_as: Ipv6Addr,
    /// The prefix of the translator.
    pub prefix: TranslationPrefix,
}

impl Translated {
    /// Whether an address is one that a translator with one of these prefixes makes.
    pub fn find(prefixes: &[TranslationPrefix], address: IpAddr) -> Option<Self> {
        let IpAddr::V6(seen_as) = address else {
            return None;
        };
        prefixes.iter().find_map(|prefix| {
            Some(Self {
                ipv4: prefix.embedded(seen_as)?,
                seen_as,
                prefix: *prefix,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text representations of RFC 6052 section 2.4, and its tables.
    #[test]
    fn the_examples_of_rfc_6052_embed_192_0_2_33() {
        let table = [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ];
        for (prefix, address) in table {
            let parsed: TranslationPrefix = prefix.parse().unwrap();
            let embedded = parsed.embedded(address.parse().unwrap());
            assert_eq!(embedded, Some([192, 0, 2, 33].into()), "{prefix} {address}");
            assert_eq!(parsed.to_string(), prefix);
        }
    }

    #[test]
    fn what_is_outside_or_has_reserved_bits_embeds_nothing_and_a_suffix_is_ignored() {
        let table = [
            // prefix, address, want
            ("64:ff9b::/96", "64:ff9b::1:192.0.2.33", None),
            ("64:ff9b::/96", "64:ff9b:1::192.0.2.33", None),
            ("2001:db8:100::/40", "2001:db8:200::", None),
            ("2001:db8::/32", "2001:db8:c000:221:100::", None),
            ("2001:db8:100::/40", "2001:db8:1c0:2:ff21::", None),
            (
                "2001:db8:122:344::/64",
                "2001:db8:122:344:80c0:2:2100::",
                None,
            ),
            (
                "2001:db8:122:344::/64",
                "2001:db8:122:344:c0:2:21ff:ffff",
                Some([192, 0, 2, 33]),
            ),
            (
                "2001:db8::/32",
                "2001:db8:c000:221:0:1:2:3",
                Some([192, 0, 2, 33]),
            ),
            (
                "2001:db8:122:344::/64",
                "2001:db8:122:344::",
                Some([0, 0, 0, 0]),
            ),
            (
                "64:ff9b::/96",
                "64:ff9b::ffff:ffff",
                Some([255, 255, 255, 255]),
            ),
        ];
        for (prefix, address, want) in table {
            let parsed: TranslationPrefix = prefix.parse().unwrap();
            let embedded = parsed.embedded(address.parse().unwrap());
            assert_eq!(embedded, want.map(Ipv4Addr::from), "{prefix} {address}");
        }
    }

    #[test]
    fn a_prefix_has_one_of_six_lengths_and_no_host_bits() {
        let table = [
            ("2001:db8::/44", "not 44"),
            ("2001:db8::/128", "not 128"),
            ("::/0", "not 0"),
            ("64:ff9b::1/96", "host bits set; write \"64:ff9b::/96\""),
            ("2001:db8::1:0:0:0/64", "write \"2001:db8::/64\""),
            ("2001:db8:0:0:100::/96", "bits 64 to 71 are not zero"),
            ("64:ff9b::", "not an IPv6 network"),
            ("192.0.2.0/24", "not an IPv6 network"),
            ("64:ff9b::/129", "not an IPv6 network"),
            ("", "not an IPv6 network"),
        ];
        for (text, want) in table {
            let error = text.parse::<TranslationPrefix>().unwrap_err();
            assert!(error.to_string().contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn whatever_is_embedded_is_found_again() {
        let address = Ipv4Addr::new(203, 0, 113, 250);
        for length in LENGTHS {
            let base: Ipv6Addr = "2001:db8:aaaa:bbbb:cc:dddd::".parse().unwrap();
            let prefix = TranslationPrefix::of(base, length).unwrap();
            // As RFC 6052 section 2.3 has it: insert at the prefix length, around the
            // reserved byte.
            let mut octets = prefix.network().addr().octets();
            let start = usize::from(length / 8);
            let places = (start..16).filter(|index| *index != RESERVED);
            for (index, octet) in places.zip(address.octets()) {
                octets[index] = octet;
            }
            assert_eq!(prefix.embedded(octets.into()), Some(address), "/{length}");
        }
    }
}
