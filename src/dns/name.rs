//! Domain names made of raw bytes, as SPF macros and PTR records yield them.

use hickory_resolver::proto::rr;
use std::{fmt, net::IpAddr};

/// A fully qualified domain name, compared without regard to ASCII case.
///
/// Labels hold any bytes: the expansion of a macro is looked up as it is, never
/// interpreted as an escape or a U-label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(rr::Name);

/// Why bytes are not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Two dots in a row, or one in front.
    EmptyLabel,
    /// A label of more than 63 bytes (RFC 1035 section 2.3.4).
    LabelTooLong,
    /// More than 253 bytes in the dotted form.
    TooLong,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLabel => "a label is empty",
            Self::LabelTooLong => "a label has more than 63 bytes",
            Self::TooLong => "the name has more than 253 bytes",
        })
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// Parses a dotted name, split only at its dots. One trailing dot is allowed; the
    /// empty text is the root.
    ///
    /// # Errors
    /// Fails with a [`NameError`] if the name is not valid.
    pub fn parse(dotted: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let dotted = dotted.as_ref();
        let dotted = dotted.strip_suffix(b".").unwrap_or(dotted);
        if dotted.is_empty() {
            return Ok(Self(rr::Name::root()));
        }
        if dotted.len() > 253 {
            return Err(NameError::TooLong);
        }
        Self::from_labels(dotted.split(|&b| b == b'.'))
    }

    fn from_labels<'a>(labels: impl Iterator<Item = &'a [u8]> + Clone) -> Result<Self, NameError> {
        for label in labels.clone() {
            match label.len() {
                0 => return Err(NameError::EmptyLabel),
                64.. => return Err(NameError::LabelTooLong),
                _ => {}
            }
        }
        let mut name = rr::Name::new();
        for label in labels {
            name = name.append_label(label).map_err(|_| NameError::TooLong)?;
        }
        // Otherwise the resolver would append the search domains of this host.
        name.set_fqdn(true);
        Ok(Self(name))
    }

    /// Returns the name below `in-addr.arpa` or `ip6.arpa` that has the PTR records of
    /// `ip`.
    pub fn reverse(ip: IpAddr) -> Self {
        Self(rr::Name::from(ip))
    }

    /// Returns the labels from left to right, without the root.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.iter()
    }

    /// Returns whether this name is `ancestor` or a subdomain of it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.0.zone_of(&self.0)
    }

    /// Returns whether this is a valid host name (RFC 1123 section 2.1) by the rules of
    /// Postfix: labels of letters, digits, hyphens and underscores without a hyphen at
    /// either end, and not digits alone.
    pub fn is_host_name(&self) -> bool {
        let is_allowed = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        let is_label = |label: &[u8]| {
            label.iter().all(is_allowed) && !label.starts_with(b"-") && !label.ends_with(b"-")
        };
        let is_number = |label: &[u8]| label.iter().all(u8::is_ascii_digit);
        self.labels().all(is_label) && !self.labels().all(is_number)
    }

    /// Returns the dotted form without the trailing dot, as raw bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.labels().collect::<Vec<_>>().join(&b'.')
    }

    /// Returns the memory outside of the value itself in bytes: names over 32 bytes, and
    /// label ends beyond 24, in buffers that grow by doubling.
    pub(super) fn heap_bytes(&self) -> usize {
        let (bytes, labels) = self.labels().fold((0, 0), |(bytes, labels), label| {
            (bytes + label.len(), labels + 1)
        });
        let buffer = |used: usize, inline| if used > inline { 2 * used } else { 0 };
        buffer(bytes, 32) + buffer(labels, 24)
    }

    pub(super) fn from_record(name: rr::Name) -> Self {
        let mut name = name;
        name.set_fqdn(true);
        Self(name)
    }

    pub(super) fn as_record(&self) -> &rr::Name {
        &self.0
    }
}

impl fmt::Display for Name {
    /// Writes the dotted form without the trailing dot, and a dot for the root; bytes
    /// that are not printable ASCII are written as `\DDD` (RFC 4343 section 2.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_root() {
            return f.write_str(".");
        }
        let separators = [""].into_iter().chain(std::iter::repeat("."));
        for (separator, label) in separators.zip(self.labels()) {
            f.write_str(separator)?;
            for run in label.chunk_by(|one, next| one.is_ascii_graphic() && next.is_ascii_graphic())
            {
                match std::str::from_utf8(run) {
                    Ok(text) if run[0].is_ascii_graphic() => f.write_str(text)?,
                    Ok(_) | Err(_) => write!(f, "\\{:03}", run[0])?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_every_byte_that_a_macro_may_expand_to() {
        for dotted in ["a:b/c%d.example.com", "a b.example", "*.example", "a\\.b"] {
            let name = Name::parse(dotted).unwrap();
            assert_eq!(name.to_bytes(), dotted.as_bytes(), "{dotted}");
        }
    }

    #[test]
    fn names_are_shown_in_printable_ascii() {
        let table: [(&[u8], &str); 5] = [
            (b"", "."),
            (b"mail.Example.com.", "mail.Example.com"),
            (b"a b.example", "a\\032b.example"),
            (b"\x00\xff.e", "\\000\\255.e"),
            (b"x\xc3\xbc", "x\\195\\188"),
        ];
        for (bytes, want) in table {
            assert_eq!(Name::parse(bytes).unwrap().to_string(), want);
        }
    }

    #[test]
    fn names_that_dns_cannot_carry_are_refused() {
        let long_label = [b'a'; 64];
        let long_name = ["abcdefg"; 32].join(".");
        let table: [(&[u8], NameError); 4] = [
            (b"a..b", NameError::EmptyLabel),
            (b".a", NameError::EmptyLabel),
            (&long_label, NameError::LabelTooLong),
            (long_name.as_bytes(), NameError::TooLong),
        ];
        for (dotted, want) in table {
            assert_eq!(Name::parse(dotted), Err(want));
        }
    }

    #[test]
    fn only_names_that_a_host_can_have_are_host_names() {
        let table: [(&[u8], bool); 12] = [
            (b"mail.example.net", true),
            (b"mail_1.Example.net", true),
            (b"xn--bcher-kva.example", true),
            (b"2001-db8--1.example", true),
            (b"localhost", true),
            (b"", false),
            (b"192.0.2.1", false),
            (b"-mail.example.net", false),
            (b"mail-.example.net", false),
            (b"a b.example", false),
            (b"b\xc3\xbccher.example", false),
            (b"*.example", false),
        ];
        for (dotted, want) in table {
            let name = Name::parse(dotted).unwrap();
            assert_eq!(name.is_host_name(), want, "{name}");
        }
    }

    #[test]
    fn subdomains_are_found_without_regard_to_case() {
        let name = |text: &str| Name::parse(text).unwrap();
        assert!(name("a.Example.COM").is_within(&name("example.com")));
        assert!(name("example.com").is_within(&name("example.com.")));
        assert!(!name("badexample.com").is_within(&name("example.com")));
        assert_eq!(name("EXAMPLE.com"), name("example.COM"));
    }
}
