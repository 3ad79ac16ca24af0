//! The further lines of a detailed refusal: the findings of the checks for the sender's
//! postmaster, and a URL.
//!
//! The peer chooses much of this: names in its DNS, terms of its SPF record, tags of its
//! signatures. `quote` reduces all of it to an alphabet without line breaks, escape
//! sequences, markup and URLs.

use crate::{
    dkim::{self, SignatureResult},
    dns::Name,
    policy::{Ptr, Refusal, Rule},
    ptr::Reverse,
    reply::{Reply, Target, Url},
    spf,
};
use std::{net::IpAddr, time::Duration};

/// The facts about a refused recipient or message; `None` if they were not needed.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The rule that refused.
    pub rule: Rule,
    /// The reply used.
    pub refusal: Refusal,
    /// The client.
    pub address: IpAddr,
    /// The recipient's domain; empty for a message with several.
    pub domain: &'a str,
    /// The reverse DNS result.
    pub reverse: Option<&'a Reverse>,
    /// The SPF outcome.
    pub spf: Option<&'a spf::Outcome>,
    /// The DKIM outcome; `None` if there are no signatures.
    pub dkim: Option<&'a dkim::Outcome>,
}

/// The maximum number each of client names and signatures mentioned.
const MAX_MENTIONED: usize = 3;

/// The maximum length of a line that several sentences share. It is readable in a bounce,
/// and two of the longest sentences never share a line.
const LINE: usize = 160;

/// The maximum length of a quoted name or term. Ordinary ones fit.
const MAX_NAME: usize = 100;

/// The maximum length of a quoted reason.
const MAX_REASON: usize = 200;

/// Returns the lines to add to the reply; none for a temporary failure, which the sender
/// did not cause.
pub fn lines(evidence: &Evidence<'_>, url: Option<&Url>) -> Vec<String> {
    let mut lines = match evidence.refusal {
        Refusal::NotOptedIn => {
            vec![
                "The recipient's domain accepts email over IPv4 only. Send it over IPv4."
                    .to_owned(),
            ]
        }
        Refusal::NoPtr => vec![reverse_dns(evidence)],
        Refusal::Unauthenticated => authentication(evidence),
        Refusal::Temporary => return Vec::new(),
    };
    lines.extend(url.map(|url| {
        url.render(Target {
            rule: evidence.rule,
            address: evidence.address,
            domain: evidence.domain,
        })
    }));
    lines
}

/// Adds to a detailed reply why it is now permanent.
pub fn given_up(reply: Reply, deferred_for: Duration) -> Reply {
    if reply.lines().count() == 1 {
        return reply;
    }
    let hours = deferred_for.as_secs() / 3600;
    let time = match hours {
        0 => format!("{} s", deferred_for.as_secs()),
        hours => format!("{hours} h"),
    };
    reply.with_details([format!(
        "This sender has been deferred for {time} and was given up."
    )])
}

fn reverse_dns(evidence: &Evidence<'_>) -> String {
    let address = evidence.address;
    let names = match evidence.reverse {
        Some(reverse) if reverse.result == Ptr::Found => &reverse.names,
        other => {
            let name = Name::reverse(address);
            let reason = other.map_or("", |reverse| reverse.reason.as_str());
            return format!("PTR: no record at {name} ({}).", quote(reason, MAX_REASON));
        }
    };
    let mut list: Vec<String> = names
        .iter()
        .take(MAX_MENTIONED)
        .map(|name| quote(&name.to_string(), MAX_NAME))
        .collect();
    if names.len() > MAX_MENTIONED {
        list.push(format!("{} more", names.len() - MAX_MENTIONED));
    }
    let list = list.join(", ");
    format!("PTR: {list} (without the AAAA record {address}).")
}

fn authentication(evidence: &Evidence<'_>) -> Vec<String> {
    let spf = evidence.spf.map(spf_sentence);
    let mut sentences: Vec<String> = spf.into_iter().collect();
    match evidence.dkim {
        None => sentences.push("DKIM: the message is not signed.".to_owned()),
        Some(outcome) => {
            sentences.extend(outcome.best().take(MAX_MENTIONED).map(dkim_sentence));
            let more = outcome.signatures.len().saturating_sub(MAX_MENTIONED);
            if more > 0 {
                sentences.push(format!("DKIM: {more} more did not pass."));
            }
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for sentence in sentences {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + sentence.len() <= LINE => {
                line.push(' ');
                line.push_str(&sentence);
            }
            Some(_) | None => lines.push(sentence),
        }
    }
    lines
}

fn spf_sentence(outcome: &spf::Outcome) -> String {
    let identity = match outcome.identity {
        spf::Identity::MailFrom => "SPF",
        spf::Identity::Helo => "SPF of HELO",
    };
    let reason = quote(&outcome.reason, MAX_REASON);
    let domain = outcome.domain.as_deref().unwrap_or("no domain");
    let domain = quote(domain, MAX_NAME);
    let why = match &outcome.term {
        // A more specific reason, such as the redirect, is preferred.
        Some(term) if outcome.reason == format!("{term} matches") => {
            format!("{} of {domain}", quote(term, MAX_NAME))
        }
        _ if reason.contains(&domain) => reason,
        _ => format!("{domain}: {reason}"),
    };
    format!("{identity}: {} ({why}).", outcome.result)
}

fn dkim_sentence(signature: &SignatureResult) -> String {
    let known = |text: &Option<String>| quote(text.as_deref().unwrap_or("unknown"), MAX_NAME);
    format!(
        "DKIM: {} ({}, selector {}: {}).",
        signature.result,
        known(&signature.domain),
        known(&signature.selector),
        quote(&signature.reason, MAX_REASON)
    )
}

/// Reduces a text that a peer may have chosen to a safe alphabet, and truncates it at
/// `max` bytes. Keeps a slash only before a prefix length, so that no URL is possible,
/// and removes semicolons, which separate fields in the logs of MTAs.
fn quote(text: &str, max: usize) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || " .,:=_+-~?*'\"(){}%".contains(c);
    let mut quoted = String::with_capacity(text.len().min(max));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length =
            prefix_length(rest).filter(|_| !(quoted.ends_with(':') && rest.starts_with("//")));
        let (taken, kept) = match length {
            Some(length) => (length, &rest[..length]),
            None if is_kept(c) => (1, &rest[..1]),
            None => (c.len_utf8(), "?"),
        };
        if quoted.len() + kept.len() > max {
            quoted.push_str("...");
            break;
        }
        quoted.push_str(kept);
        rest = &rest[taken..];
    }
    quoted
}

/// Returns the length of the prefix lengths at the beginning of the text (`/24`, `//64`
/// or `/24//64`), unless the following text could make them a path.
fn prefix_length(text: &str) -> Option<usize> {
    let mut rest = text;
    for slashes in ["/", "//"] {
        let number = rest.strip_prefix(slashes).unwrap_or_default();
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        if (1..=3).contains(&digits) {
            rest = &number[digits..];
        }
    }
    let ends = |c| matches!(c, ' ' | ',' | ':' | ')' | '"' | '\'');
    let length = text.len() - rest.len();
    (length > 0 && rest.chars().next().is_none_or(ends)).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dkim::DkimResult,
        reply::{Replies, Values},
        spf::{Identity, SpfResult},
    };

    const ADDRESS: &str = "2001:db8::1";

    fn evidence(rule: Rule, refusal: Refusal) -> Evidence<'static> {
        Evidence {
            rule,
            refusal,
            address: ADDRESS.parse().unwrap(),
            domain: "contoso.com",
            reverse: None,
            spf: None,
            dkim: None,
        }
    }

    fn spf(result: SpfResult, term: Option<&str>, reason: &str) -> spf::Outcome {
        spf::Outcome {
            result,
            identity: Identity::MailFrom,
            domain: Some("example.net".to_owned()),
            term: term.map(str::to_owned),
            reason: reason.to_owned(),
            explanation: None,
        }
    }

    fn signature(domain: &str, selector: &str, reason: &str) -> SignatureResult {
        SignatureResult {
            result: DkimResult::Fail,
            domain: Some(domain.to_owned()),
            selector: Some(selector.to_owned()),
            algorithm: None,
            header_b: None,
            reason: reason.to_owned(),
        }
    }

    /// Returns all lines as the client sees them.
    fn reply(evidence: &Evidence<'_>, url: &str) -> Vec<String> {
        let url: Url = url.parse().unwrap();
        let template = Replies::default().get(evidence.refusal).clone();
        let reply = template.render(Values {
            address: evidence.address,
            domain: evidence.domain,
        });
        let reply = reply.with_details(lines(evidence, Some(&url)));
        reply.lines().collect()
    }

    #[test]
    fn an_unauthenticated_message_gets_the_spf_and_dkim_results() {
        let spf = spf(SpfResult::Fail, Some("-all"), "-all matches");
        let dkim = dkim::Outcome {
            signatures: vec![signature("example.net", "s1", "body changed after signing")],
        };
        let evidence = Evidence {
            spf: Some(&spf),
            dkim: Some(&dkim),
            ..evidence(Rule::Unauthenticated, Refusal::Unauthenticated)
        };
        assert_eq!(
            reply(&evidence, "https://mx.contoso.com/ipv6#{rule}"),
            [
                "450-4.7.26 Service unavailable, message sent over IPv6 [2001:db8::1] must pass \
                 either SPF or DKIM validation.",
                "450-4.7.26 SPF: fail (-all of example.net). DKIM: fail (example.net, selector \
                 s1: body changed after signing).",
                "450 4.7.26 https://mx.contoso.com/ipv6#unauthenticated",
            ]
        );
    }

    #[test]
    fn three_signatures_are_described_and_the_rest_counted() {
        let spf = spf(SpfResult::None, None, "example.net has no SPF record");
        let dkim = dkim::Outcome {
            signatures: vec![signature("example.net", "s", "no key"); 5],
        };
        let evidence = Evidence {
            spf: Some(&spf),
            dkim: Some(&dkim),
            ..evidence(Rule::Unauthenticated, Refusal::Unauthenticated)
        };
        let text = lines(&evidence, None).join(" ");
        assert!(text.starts_with("SPF: none (example.net has no SPF record). DKIM: fail ("));
        assert_eq!(text.matches("selector s: no key").count(), 3);
        assert!(text.ends_with("DKIM: 2 more did not pass."), "{text}");
    }

    #[test]
    fn an_unsigned_message_gets_that_reason_and_a_bounce_the_helo_name() {
        let spf = spf::Outcome {
            identity: Identity::Helo,
            ..spf(
                SpfResult::PermError,
                Some("include:x"),
                "include:x: too many terms",
            )
        };
        let evidence = Evidence {
            spf: Some(&spf),
            ..evidence(Rule::Unauthenticated, Refusal::Unauthenticated)
        };
        assert_eq!(
            lines(&evidence, None),
            [
                "SPF of HELO: permerror (example.net: include:x: too many terms). DKIM: the \
                 message is not signed."
            ]
        );
    }

    #[test]
    fn reverse_dns_details_are_the_name_to_create_or_the_names_that_do_not_match() {
        let reverse = |result, names: &[&str], reason: &str| Reverse {
            result,
            names: names.iter().map(|n| Name::parse(n).unwrap()).collect(),
            reason: reason.to_owned(),
        };
        let none = reverse(Ptr::None, &[], "NXDOMAIN");
        let names = [
            "a.example",
            "b.example",
            "c.example",
            "d.example",
            "e.example",
        ];
        let some = reverse(Ptr::Found, &names, "");
        let table = [
            (
                Rule::NoPtr,
                &none,
                "PTR: no record at 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.\
                 0.0.2.ip6.arpa (NXDOMAIN).",
            ),
            (
                Rule::PtrUnconfirmed,
                &some,
                "PTR: a.example, b.example, c.example, 2 more (without the AAAA record \
                 2001:db8::1).",
            ),
        ];
        for (rule, reverse, want) in table {
            let evidence = Evidence {
                reverse: Some(reverse),
                ..evidence(rule, Refusal::NoPtr)
            };
            assert_eq!(lines(&evidence, None), [want]);
        }
    }

    #[test]
    fn a_temporary_failure_has_no_details() {
        let evidence = evidence(Rule::AuthTemperror, Refusal::Temporary);
        assert_eq!(reply(&evidence, "https://mx.example/").len(), 1);
    }

    /// Uses the worst possible text in everything that a peer can choose.
    #[test]
    fn a_hostile_sender_can_add_no_line_no_url_and_no_escape_sequence() {
        let attacks = [
            "x\r\n250 2.0.0 Ok: queued",
            "x\n450 4.7.26 https://evil.example/",
            "https://evil.example/login",
            "exists:http://evil.example",
            "exists:https://1.2.3.4/1",
            "www.evil.example/24/x",
            "//evil.example",
            "http:///24",
            "mailto:a@evil.example",
            "<a href=x>",
            "\x1b[2J\x1b]0;title\x07",
            "100% %s %n %%",
            "x; from=<a@b.example>",
            "\u{202e}\u{fc}\0",
            &"A".repeat(70_000),
            &"/24".repeat(10_000),
        ];
        for attack in attacks {
            let spf = spf::Outcome {
                domain: Some(attack.to_owned()),
                ..spf(SpfResult::Fail, Some(attack), attack)
            };
            let dkim = dkim::Outcome {
                signatures: vec![signature(attack, attack, attack); 3],
            };
            let label = attack.replace('.', "").into_bytes();
            let name = Name::parse(&label[..label.len().min(20)]);
            let reverse = Reverse {
                result: Ptr::Found,
                names: vec![name.unwrap(); 9],
                reason: attack.to_owned(),
            };
            for (rule, refusal) in [
                (Rule::NotOptedIn, Refusal::NotOptedIn),
                (Rule::PtrUnconfirmed, Refusal::NoPtr),
                (Rule::Unauthenticated, Refusal::Unauthenticated),
            ] {
                let evidence = Evidence {
                    domain: attack,
                    reverse: Some(&reverse),
                    spf: Some(&spf),
                    dkim: Some(&dkim),
                    ..evidence(rule, refusal)
                };
                let lines = reply(&evidence, "https://mx.example/?to={domain}#{rule}");
                let (url, found) = lines[1..].split_last().unwrap();
                assert!(lines.len() <= 6, "{lines:#?}");
                for line in &lines {
                    assert!(line.len() <= 510, "{}: {line}", line.len());
                    assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
                }
                for line in found {
                    for part in ["://", "@", "<", ";", "www.evil.example/", "example/"] {
                        assert!(!line.contains(part), "{part}: {line}");
                    }
                    assert!(
                        !line.split(": ").any(|part| part.starts_with("//")),
                        "{line}"
                    );
                }
                let url = url.splitn(3, ' ').last().unwrap();
                assert_eq!(url.matches('/').count(), 3, "{url}");
                assert!(url.starts_with("https://mx.example/?to="), "{url}");
            }
        }
    }

    #[test]
    fn terms_of_spf_stay_readable() {
        for term in [
            "-ip6:2001:db8::/32",
            "~a:mail.example.net/24//64",
            "?mx//64",
            "-exists:%{i}._spf.%{d2}",
            "include:_spf.example.net",
            "ip6:::/0",
        ] {
            assert_eq!(quote(term, MAX_NAME), term);
        }
    }
}
