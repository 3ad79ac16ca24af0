//! SPF macros: parsed, displayed, parsed again, and expanded.

use super::Target;
use sixgate::spf::{DomainSpec, ExplainString, Values};

/// The target.
pub const TARGET: Target = Target {
    name: "spf_macro",
    check,
    seeds,
    dictionary: &[
        "%{",
        "}",
        "%{s}",
        "%{l}",
        "%{o}",
        "%{d}",
        "%{i}",
        "%{p}",
        "%{v}",
        "%{h}",
        "%{c}",
        "%{r}",
        "%{t}",
        "%%",
        "%_",
        "%-",
        "%{d2r-+,/_=.}",
        "r",
        "0",
        "99999999999999999999",
        ".com",
        "..",
        "%{S}",
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 4] = [
        b"%{ir}.%{v}._spf.%{d2}",
        b"%{lr-}.lp._spf.%{d2}",
        b"%{d2}.trusted-domains.example.net",
        b"%{C} is no host of %{o}, says %{r} at %{t}%%%_%-",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// Checks one text as `domain-spec` and as `explain-string`.
///
/// # Panics
/// If the displayed text does not parse to the same value, or an expansion is too long or not
/// printable.
pub fn check(text: &[u8]) {
    if let Ok(spec) = DomainSpec::parse(text) {
        assert_eq!(
            DomainSpec::parse(spec.to_string().as_bytes()).as_ref(),
            Ok(&spec)
        );
        assert!(spec.expand(&values(text)).len() <= 253);
        assert!(spec.has_macros() || spec.expand(&values(text)) == spec.expand(&values(b"")));
    }
    if let Ok(text) = ExplainString::parse(text)
        && let Some(expanded) = text.expand(&values(b"user"))
    {
        assert!(expanded.len() <= 4096 && expanded.bytes().all(|c| matches!(c, b' '..=b'~')));
    }
}

fn values(local_part: &[u8]) -> Values<'_> {
    Values {
        client: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        local_part,
        sender_domain: b"example.com",
        domain: b"sub.example.com",
        helo: b"mail.example.com",
        validated: b"h.example.com",
        receiver: b"mx.example.org",
        now: 1_767_225_600,
    }
}
