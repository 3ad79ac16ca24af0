//! SPF (RFC 7208): whether the sender's domain authorizes the client.
//!
//! [`evaluate()`] takes the facts of the SMTP session and does lookups through
//! [`dns::Resolve`]; [`explain`] also records each step. Both follow the RFC strictly and
//! never pass in case of doubt. Neither limits the time of its lookups: the caller sets
//! the deadline and reports [`Outcome::timed_out`] when it expires.

mod evaluate;
mod macros;
mod record;
mod sender;
mod trace;

pub use macros::{DomainSpec, ExplainString, MacroError, Values};
pub use record::{
    Directive, Hosts, Mechanism, Prefix, Problem, Qualifier, Record, SyntaxError, is_spf,
};
pub use trace::{Step, Trace};

use crate::{address::ReversePath, config, dns, policy::Authentication};
use evaluate::Evaluation;
use sender::Sender;
use std::{fmt, net::IpAddr};

/// The identities and addresses that the SMTP session provides.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The address of the client. An IPv4-mapped one counts as IPv4 (RFC 7208
    /// section 5).
    pub client: IpAddr,
    /// The argument of MAIL.
    pub reverse_path: &'a ReversePath,
    /// The argument of HELO or EHLO, if there was one.
    pub helo: Option<&'a str>,
    /// The name of this host, which explanations may show.
    pub receiver: &'a str,
}

/// The outcome of an SPF evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub result: SpfResult,
    /// Which identity was checked.
    pub identity: Identity,
    /// The domain of that identity in A-labels, as looked up in the DNS; `None` if there
    /// is no valid one.
    pub domain: Option<String>,
    /// The mechanism that matched, with its qualifier unless that is `+`; `None`
    /// when none did.
    pub term: Option<String>,
    /// The term that decided, or the error: one line of printable ASCII.
    pub reason: String,
    /// The domain's explanation of a fail (`exp=`, RFC 7208 section 6.2); only
    /// [`explain`] looks it up.
    pub explanation: Option<String>,
}

/// The result of an evaluation (RFC 7208 section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// The client is authorized.
    Pass,
    /// The client is not authorized.
    Fail,
    /// The client is probably not authorized.
    SoftFail,
    /// The domain makes no statement about the client.
    Neutral,
    /// There is no domain to check, or it has no SPF record.
    None,
    /// A temporary DNS failure, or a timeout.
    TempError,
    /// The domain's records are in error.
    PermError,
}

/// Whose authorization is checked (RFC 7208 sections 2.3 and 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The domain of the reverse-path.
    MailFrom,
    /// The HELO name, used for the null reverse-path only.
    Helo,
}

impl fmt::Display for SpfResult {
    /// Writes the result in lower case (RFC 8601 section 2.7.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MailFrom => "mailfrom",
            Self::Helo => "helo",
        })
    }
}

/// Checks the sender without looking up the explanation of a fail.
pub async fn evaluate<R: dns::Resolve>(
    resolver: &R,
    request: &Request<'_>,
    limits: config::Spf,
) -> Outcome {
    let sender = Sender::of(request);
    Evaluation::new(resolver, &sender, limits, &mut ())
        .run()
        .await
}

/// Checks the sender, records each step in `trace` and looks up the explanation of a
/// fail. If the caller cancels it, `trace` holds the steps so far.
pub async fn explain<R: dns::Resolve>(
    resolver: &R,
    request: &Request<'_>,
    limits: config::Spf,
    trace: &mut Trace,
) -> Outcome {
    let sender = Sender::of(request);
    Evaluation::new(resolver, &sender, limits, trace)
        .run()
        .await
}

impl Outcome {
    /// Returns the outcome for an evaluation that exceeded its time limit (RFC 7208
    /// section 4.6.4).
    pub fn timed_out(request: &Request<'_>) -> Self {
        let sender = Sender::of(request);
        let reason = "no result within the time limit".to_owned();
        Self::new(&sender, SpfResult::TempError, reason)
    }

    /// Returns the result as the policy sees it: only `pass` passes.
    pub fn authentication(&self) -> Authentication {
        match self.result {
            SpfResult::Pass => Authentication::Pass,
            SpfResult::TempError => Authentication::Temperror,
            SpfResult::Fail
            | SpfResult::SoftFail
            | SpfResult::Neutral
            | SpfResult::None
            | SpfResult::PermError => Authentication::NoPass,
        }
    }

    fn new(sender: &Sender<'_>, result: SpfResult, reason: String) -> Self {
        Self {
            result,
            identity: sender.identity,
            domain: sender.domain.as_ref().ok().map(ToString::to_string),
            term: None,
            reason: one_line(&reason),
            explanation: None,
        }
    }
}

/// Reduces a text to printable ASCII of bounded length: texts from records and resolvers
/// appear in logs and header fields.
fn one_line(text: &str) -> String {
    const MAX: usize = 300;
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    let mut line = String::with_capacity(text.len().min(MAX));
    line.extend(text.chars().take(MAX).map(printable));
    if text.chars().nth(MAX).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reverse_path: &ReversePath) -> Request<'_> {
        Request {
            client: "2001:db8::1".parse().unwrap(),
            reverse_path,
            helo: Some("mail.example.net"),
            receiver: "mx.example.org",
        }
    }

    #[test]
    fn out_of_time_is_a_temperror_of_the_identity_that_was_checked() {
        let table = [
            ("<a@example.com>", Identity::MailFrom, "example.com"),
            ("<>", Identity::Helo, "mail.example.net"),
        ];
        for (reverse_path, identity, domain) in table {
            let reverse_path = ReversePath::parse(reverse_path);
            let outcome = Outcome::timed_out(&request(&reverse_path));
            assert_eq!(outcome.result, SpfResult::TempError);
            assert_eq!(outcome.identity, identity);
            assert_eq!(outcome.domain.as_deref(), Some(domain));
        }
    }

    #[test]
    fn evaluations_can_move_between_threads() {
        fn is_send(_: impl Send) {}
        fn of_any_resolver<R: dns::Resolve>(resolver: &R, request: &Request<'_>) {
            let limits = config::Spf {
                max_lookups: 10,
                max_void_lookups: 2,
            };
            is_send(evaluate(resolver, request, limits));
            is_send(explain(resolver, request, limits, &mut Trace::default()));
        }
        let _: fn(&dns::Dns, &Request<'_>) = of_any_resolver;
    }

    #[test]
    fn reasons_are_one_line_of_bounded_ascii() {
        assert_eq!(one_line("a\r\nb\u{fc}\0"), "a??b??");
        assert_eq!(one_line(&"x".repeat(300)).len(), 300);
        assert_eq!(one_line(&"x".repeat(70_000)).len(), 303);
    }
}
