//! The label of a domain. It is unique per domain, and a valid label of a host name (RFC
//! 1123 section 2.1).
//!
//! Dots become hyphens and hyphens are doubled: `contoso.com` is `contoso-com`, and
//! `a-b.example` is `a--b-example`. A label of a host name neither begins nor ends with a
//! hyphen, so in the result a single hyphen stands for a dot, and an even number of
//! hyphens stands for half as many. Three hyphens cannot result from a domain; they
//! separate additions:
//!
//! - the prefix `dom---` if the third and fourth characters would be hyphens. IDNA
//!   reserves such labels (RFC 5890 section 2.3.1), and software that checks `xn--`
//!   labels rejects invalid ones.
//! - a hash at the end if the domain is too long for a label, or not a host name.

use crate::address::Domain;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE32_NOPAD;

/// The maximum length of a label in bytes (RFC 1035 section 2.3.4).
const MAX_LENGTH: usize = 63;

/// The prefix of labels that would otherwise be reserved.
const PREFIX: &str = "dom---";

/// The separator before a hash.
const SEPARATOR: &str = "---";

/// The length of the hash in characters of 5 bits each, so that finding a domain with the
/// same label by brute force is infeasible.
const HASH_LENGTH: usize = 16;

/// Returns the label of a domain.
pub fn label(domain: &Domain) -> String {
    let plain = domain.as_str().replace('-', "--").replace('.', "-");
    let plain = unreserved(plain);
    match plain.len() <= MAX_LENGTH && is_host_name(domain) {
        true => plain,
        false => hashed(domain, &plain),
    }
}

fn unreserved(label: String) -> String {
    match label.as_bytes() {
        [_, _, b'-', b'-', ..] => format!("{PREFIX}{label}"),
        _ => label,
    }
}

/// Returns whether no label begins or ends with a hyphen and there are no underscores.
fn is_host_name(domain: &Domain) -> bool {
    let is_label =
        |label: &str| !label.starts_with('-') && !label.ends_with('-') && !label.contains('_');
    domain.as_str().split('.').all(is_label)
}

/// Returns the label with a hash. The beginning makes it readable; the hash makes it
/// unique.
fn hashed(domain: &Domain, plain: &str) -> String {
    let beginning: String = plain
        .trim_start_matches(['-', '_'])
        .chars()
        .filter(|c| *c != '_')
        .take(MAX_LENGTH - SEPARATOR.len() - HASH_LENGTH)
        .collect();
    let beginning = match beginning.trim_end_matches('-') {
        // The label would be reserved.
        beginning if beginning.len() < 3 || beginning.as_bytes()[2..].starts_with(b"--") => "dom",
        beginning => beginning,
    };
    format!("{beginning}{SEPARATOR}{}", hash(domain))
}

/// Returns the first 80 bits of SHA-256, in lower-case Base32 (RFC 4648 section 6).
fn hash(domain: &Domain) -> String {
    let digest = digest(&SHA256, domain.as_str().as_bytes());
    let bytes = &digest.as_ref()[..HASH_LENGTH * 5 / 8];
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn of(text: &str) -> String {
        label(&Domain::parse(text).unwrap())
    }

    #[test]
    fn labels_are_readable_and_documented() {
        let long = format!("{}.example", "a".repeat(60));
        let table = [
            ("contoso.com", "contoso-com"),
            ("Mail.Contoso.COM.", "mail-contoso-com"),
            ("a-b.example", "a--b-example"),
            ("a.b.example", "a-b-example"),
            ("ab-c.example", "dom---ab--c-example"),
            ("ab--c.example", "dom---ab----c-example"),
            ("bücher.example", "dom---xn----bcher--kva-example"),
            (
                "under_score.example",
                "underscore-example---r6i5k6q5ovv6o7pm",
            ),
            ("a-.example", "a---example---omit"),
            (&long, "omit"),
        ];
        for (domain, want) in table {
            let label = of(domain);
            match want.strip_suffix("omit") {
                None => assert_eq!(label, want, "{domain}"),
                Some(_) => assert!(
                    label.len() <= MAX_LENGTH && label.contains("---"),
                    "{label}"
                ),
            }
        }
    }

    /// Every domain of up to six characters of a small alphabet, and long ones.
    #[test]
    fn no_two_domains_have_the_same_label_and_all_are_host_names() {
        let mut domains = Vec::new();
        let alphabet = ['a', 'd', '-', '.', '_', 'x'];
        let mut texts = vec![String::new()];
        for _ in 0..6 {
            let longer = |text: &String| alphabet.map(|c| format!("{text}{c}"));
            texts = texts.iter().flat_map(longer).collect();
            domains.extend(texts.iter().filter_map(|text| Domain::parse(text).ok()));
        }
        for stem in [
            "dom", "dom---", "xn--", "a-b", "a.b", "a--b", "a---b", "dom.a",
        ] {
            for length in 1..60 {
                let parts = [stem, &"a".repeat(length), ".example"];
                domains.extend(Domain::parse(&parts.concat()));
                domains.extend(Domain::parse(&[stem, ".b", &parts.concat()].concat()));
                domains.extend(Domain::parse(&["a-".repeat(length), "a".into()].concat()));
            }
        }
        // Names with and without a trailing dot are the same domain.
        domains.sort();
        domains.dedup();
        assert!(domains.len() > 30_000, "{}", domains.len());
        let mut seen = HashMap::new();
        for domain in domains {
            let label = label(&domain);
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(label.chars().all(allowed), "{domain}: {label}");
            assert!((1..=63).contains(&label.len()), "{domain}: {label}");
            assert!(
                !label.starts_with('-') && !label.ends_with('-'),
                "{domain}: {label}"
            );
            assert_ne!(
                label.as_bytes().get(2..4),
                Some(b"--".as_slice()),
                "{domain}: {label}"
            );
            if let Some(other) = seen.insert(label.clone(), domain.clone()) {
                panic!("{domain} and {other} are both {label}");
            }
        }
    }
}
