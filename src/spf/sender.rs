//! The initial processing of RFC 7208 (sections 2.4 and 4.3): which domain's record to
//! look up.

use super::{Identity, Request};
use crate::{
    address::{Domain, Mailbox, ReversePath},
    dns::Name,
};
use std::net::IpAddr;

/// The sender; it stays the same during a whole evaluation.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    /// Never an IPv4-mapped address.
    pub(super) client: IpAddr,
    pub(super) identity: Identity,
    pub(super) local_part: &'a str,
    /// The domain to check, or why there is none.
    pub(super) domain: Result<Name, String>,
    /// The domain in dotted form, for `%{o}`; empty if there is none.
    pub(super) domain_bytes: Vec<u8>,
    /// The HELO argument for `%{h}`, not validated; `unknown` if there was none.
    pub(super) helo: String,
    pub(super) receiver: &'a str,
}

impl<'a> Sender<'a> {
    pub(super) fn of(request: &Request<'a>) -> Self {
        let (identity, local_part, domain) = match request.reverse_path {
            // Section 2.4: with a null reverse-path, the mailbox composed of
            // "postmaster" and the HELO identity.
            ReversePath::Null => (Identity::Helo, "", helo_domain(request.helo)),
            ReversePath::Mailbox(mailbox) => {
                let domain = mailbox_domain(mailbox);
                (Identity::MailFrom, mailbox.local_part.as_str(), domain)
            }
        };
        Self {
            client: request.client.to_canonical(),
            identity,
            local_part: match local_part {
                // Section 4.3: "If the <sender> has no local-part, substitute
                // the string 'postmaster'."
                "" => "postmaster",
                local_part => local_part,
            },
            domain_bytes: domain.as_ref().map(Name::to_bytes).unwrap_or_default(),
            domain,
            helo: helo_text(request.helo),
            receiver: request.receiver,
        }
    }
}

/// Converts U-labels of the HELO name too (RFC 8616 section 4).
fn helo_text(helo: Option<&str>) -> String {
    let helo = helo.unwrap_or("unknown");
    to_a_labels(helo).unwrap_or_else(|_| helo.to_owned())
}

fn helo_domain(helo: Option<&str>) -> Result<Name, String> {
    let helo = helo.ok_or("the client gave no HELO name")?;
    full_domain(helo).map_err(|why| format!("the HELO name {why}"))
}

fn mailbox_domain(mailbox: &Mailbox) -> Result<Name, String> {
    let domain = mailbox.domain.as_deref();
    let domain = domain.ok_or("the reverse-path has no domain")?;
    full_domain(domain).map_err(|why| format!("the domain of the reverse-path {why}"))
}

/// Parses the domain. A malformed or single-label domain gives `none` (section 4.3).
fn full_domain(text: &str) -> Result<Name, String> {
    if text.starts_with('[') {
        return Err("is an address literal".to_owned());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err("is an address".to_owned());
    }
    let name = Name::parse(to_a_labels(text)?).map_err(|why| format!("is malformed: {why}"))?;
    match name.labels().count() {
        0 => Err("is empty".to_owned()),
        1 => Err("is not fully qualified".to_owned()),
        _ => Ok(name),
    }
}

/// Converts a domain to A-labels: "Internationalized domain names MUST be encoded as
/// A-labels" (section 4.3). ASCII text stays as it is.
fn to_a_labels(text: &str) -> Result<String, String> {
    if text.is_ascii() {
        return Ok(text.to_owned());
    }
    match Domain::parse(text) {
        Ok(domain) => Ok(domain.as_str().to_owned()),
        Err(why) => Err(format!("is malformed: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(reverse_path: &str, helo: Option<&str>) -> Option<(Identity, String)> {
        let reverse_path = ReversePath::parse(reverse_path);
        let request = Request {
            client: "2001:db8::1".parse().unwrap(),
            reverse_path: &reverse_path,
            helo,
            receiver: "mx.example.org",
        };
        let sender = Sender::of(&request);
        Some((sender.identity, sender.domain.ok()?.to_string()))
    }

    #[test]
    fn the_reverse_path_is_checked_and_the_helo_name_only_for_the_null_one() {
        let helo = Some("mail.example.net");
        let mail_from = |domain: &str| Some((Identity::MailFrom, domain.to_owned()));
        let table = [
            ("<a@example.com>", mail_from("example.com")),
            ("<a@Example.COM.>", mail_from("Example.COM")),
            ("<@example.com>", mail_from("example.com")),
            (
                "<a@b\u{fc}cher.example>",
                mail_from("xn--bcher-kva.example"),
            ),
            ("<a@under_score.example>", mail_from("under_score.example")),
            ("<>", Some((Identity::Helo, "mail.example.net".to_owned()))),
            ("<a>", None),
            ("<a@>", None),
            ("<a@localhost>", None),
            ("<a@localhost.>", None),
            ("<a@.>", None),
            ("<a@a..example>", None),
            ("<a@.example.com>", None),
            ("<a@[192.0.2.1]>", None),
            ("<a@[IPv6:2001:db8::1]>", None),
            ("<a@192.0.2.1>", None),
            ("<a@\u{fc}..example>", None),
        ];
        for (reverse_path, want) in table {
            assert_eq!(domain(reverse_path, helo), want, "{reverse_path}");
        }
    }

    #[test]
    fn a_helo_name_that_is_not_a_domain_gives_nothing_to_check() {
        let bad = [
            "",
            "OEMCOMPUTER",
            "[192.0.2.1]",
            "2001:db8::1",
            "a..b",
            &"a".repeat(64),
        ];
        for helo in bad {
            assert_eq!(domain("<>", Some(helo)), None, "{helo}");
        }
        assert_eq!(domain("<>", None), None);
    }
}
