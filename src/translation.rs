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

/// The index of the byte with bits 64 to 71, which are zero in every translated address.
const RESERVED: usize = 8;

impl TranslationPrefix {
    /// Returns the prefix of this length that contains an address.
    ///
    /// # Errors
    /// Fails with a [`TranslationPrefixError`] if the prefix is not valid.
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

    /// Returns the network.
    pub fn network(&self) -> Ipv6Net {
        self.0
    }

    /// Returns the IPv4 address embedded in an address of this network (RFC 6052 section
    /// 2.3). `None` for an address outside the network, and for one whose bits 64 to 71
    /// are not zero, which no translator creates. Ignores the bits after the IPv4
    /// address.
    pub fn embedded(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let bytes = address.octets();
        if !self.0.contains(&address) || bytes[RESERVED] != 0 {
            return None;
        }
        let start = usize::from(self.0.prefix_len() / 8);
        let mut embedded = (start..bytes.len()).filter(|index| *index != RESERVED);
        let mut next = || embedded.next().map(|index| bytes[index]);
        Some(Ipv4Addr::new(next()?, next()?, next()?, next()?))
    }

    /// Returns whether this prefix and the network overlap.
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
    /// There are host bits set; the value is the network without them.
    HostBits(Ipv6Net),
    /// A length that RFC 6052 does not allow.
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

/// A client whose address a translator has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// The IPv6 address that the MTA sees.
    pub seen_as: Ipv6Addr,
    /// The prefix of the translator.
    pub prefix: TranslationPrefix,
}

impl Translated {
    /// Returns the IPv4 client if an address is translated with one of these prefixes.
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
    fn addresses_outside_or_with_reserved_bits_embed_nothing_and_a_suffix_is_ignored() {
        let table = [
            // prefix, address, expected
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
            // As in RFC 6052 section 2.3: insert at the prefix length, around the
            // reserved byte.
            let mut bytes = prefix.network().addr().octets();
            let start = usize::from(length / 8);
            let places = (start..16).filter(|index| *index != RESERVED);
            for (index, byte) in places.zip(address.octets()) {
                bytes[index] = byte;
            }
            assert_eq!(prefix.embedded(bytes.into()), Some(address), "/{length}");
        }
    }
}
