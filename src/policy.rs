//! The decision table: what to do with a message over IPv6, given the known facts.
//!
//! [`decide`] takes facts and settings and returns either the check to run next or the
//! decision. It defines the order of the rules, and thereby which lookups a message
//! costs. It does no I/O, reads no clock and keeps no state.
//!
//! docs/policy.md holds the same table in prose; a test runs it.

use crate::{
    address::ClientAddr,
    certificate::CertificatePattern,
    translation::{Translated, TranslationPrefix},
};
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// The parts of the configuration that the policy depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Prefixes behind which IPv4 clients appear as IPv6 clients. The default is none.
    pub ipv4_prefixes: Vec<TranslationPrefix>,
    /// Networks whose clients are not checked, besides loopback and
    /// link-local. The default is none.
    pub exempt_networks: Vec<IpNet>,
    /// Whether SASL authentication exempts. The default is `true`.
    pub exempt_authenticated: bool,
    /// Which TLS exempts. The default is [`ExemptTls::None`].
    pub exempt_tls: ExemptTls,
    /// Which verified client certificates exempt, by name. The default is none.
    pub exempt_certificates: Vec<CertificatePattern>,
    /// Whether `exempt.forwarders` names any, so that clients have to be compared with
    /// them. The default is `false`.
    pub known_forwarders: bool,
    /// What counts as reverse DNS. The default is [`ReverseDns::Exists`].
    pub reverse_dns: ReverseDns,
    /// What to do when a DNS lookup fails. The default is [`OnDnsFailure::Tempfail`].
    pub on_dns_failure: OnDnsFailure,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ipv4_prefixes: Vec::new(),
            exempt_networks: Vec::new(),
            exempt_authenticated: true,
            exempt_tls: ExemptTls::None,
            exempt_certificates: Vec::new(),
            known_forwarders: false,
            reverse_dns: ReverseDns::Exists,
            on_dns_failure: OnDnsFailure::Tempfail,
        }
    }
}

impl Settings {
    /// Returns the IPv4 client that a translator presents as this IPv6 client.
    pub fn translated(&self, client: ClientAddr) -> Option<Translated> {
        Translated::find(&self.ipv4_prefixes, client.ip()?)
    }

    /// Returns whether rule 5 can match at all. If not, sixgate does not ask the MTA for
    /// its TLS macros.
    pub fn exempts_by_tls(&self) -> bool {
        self.exempt_tls != ExemptTls::None || !self.exempt_certificates.is_empty()
    }

    /// Returns the entry of `exempt.certificates` that matches the name of a certificate.
    pub fn certificate_pattern(&self, name: &str) -> Option<&CertificatePattern> {
        let mut patterns = self.exempt_certificates.iter();
        patterns.find(|pattern| pattern.matches(name))
    }
}

/// Which clients TLS exempts from the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExemptTls {
    /// No clients, except those in `exempt.certificates`.
    None,
    /// Clients whose certificate the MTA verified, whatever its name.
    Verified,
    /// All clients that use TLS.
    Any,
}

/// What counts as a reverse DNS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReverseDns {
    /// A PTR record exists.
    Exists,
    /// A PTR record exists, and one of its names resolves back to the address (FCrDNS).
    Confirmed,
}

/// What to do with mail when the DNS lookups it depends on fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDnsFailure {
    /// Refuse it with a 4xx reply, so that the sender retries.
    Tempfail,
    /// Continue as if the check had passed.
    Accept,
}

/// A stage of the SMTP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A client connected.
    Connect,
    /// MAIL: a mail transaction begins.
    Mail,
    /// RCPT: for one recipient.
    Rcpt,
    /// All header fields were received.
    EndOfHeaders,
    /// The whole message was received.
    EndOfMessage,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::EndOfHeaders => "eoh",
            Self::EndOfMessage => "eom",
        })
    }
}

/// The known facts about one message to one recipient; `None` for a check that has not
/// run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who connected.
    pub client: ClientAddr,
    /// Whether the client is in the list that `sixgate exempt` manages.
    pub exempt: bool,
    /// Whether the client authenticated by SASL (RFC 4954).
    pub authenticated: bool,
    /// How the client uses TLS.
    pub tls: Tls,
    /// Whether the name of the client's certificate is in `exempt.certificates`. Only the
    /// name of a verified certificate counts.
    pub certificate_named: bool,
    /// Whether the recipient's domain accepts mail over IPv6.
    pub opt_in: Option<OptIn>,
    /// Whether the client's address has a PTR record.
    pub ptr: Option<Ptr>,
    /// Whether one of the client's names resolves back to its address.
    pub confirmation: Option<Confirmation>,
    /// The SPF result for the MAIL FROM identity.
    pub spf: Option<Authentication>,
    /// Whether the client is a known forwarder.
    pub forwarder: Option<Forwarder>,
    /// Whether the message has a DKIM-Signature field.
    pub signed: bool,
    /// The result of the best DKIM signature.
    pub dkim: Option<Authentication>,
}

impl Facts {
    /// Creates the facts that are known when a client connects.
    pub fn new(client: ClientAddr) -> Self {
        Self {
            client,
            exempt: false,
            authenticated: false,
            tls: Tls::None,
            certificate_named: false,
            opt_in: None,
            ptr: None,
            confirmation: None,
            spf: None,
            forwarder: None,
            signed: false,
            dkim: None,
        }
    }
}

/// The client's use of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// In clear text.
    None,
    /// Encrypted, by a client that the MTA did not verify.
    Unverified,
    /// Encrypted, with a client certificate that the MTA verified.
    Verified,
}

/// Whether a recipient's domain takes mail over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptIn {
    /// The domain opted in.
    Yes,
    /// The domain did not opt in, or it cannot.
    No,
    /// The opt-in source is down and the cache has no answer.
    Temperror,
}

/// The outcome of the reverse lookup of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ptr {
    /// There is a PTR record.
    Found,
    /// NXDOMAIN or NODATA.
    None,
    /// SERVFAIL, REFUSED, a timeout or a malformed answer.
    Temperror,
}

impl Ptr {
    /// Returns the name in logs and on the status page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::None => "none",
            Self::Temperror => "temperror",
        }
    }
}

/// Whether the names of an address resolve back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// At least one name does.
    Confirmed,
    /// No name does.
    Unconfirmed,
    /// No name was found to, and at least one lookup failed.
    Temperror,
}

/// Whether a client is one of the known forwarders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// The client is one, by its address or a confirmed name.
    Known,
    /// The client is not one.
    Unknown,
    /// No match was found, and a lookup failed.
    Temperror,
}

/// The result of SPF or DKIM, reduced to what the policy distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The message passes.
    Pass,
    /// The message definitely does not pass. For SPF: fail, softfail, neutral, none and
    /// permerror.
    NoPass,
    /// Unknown, because of a temporary failure.
    Temperror,
    /// Unknown for a reason other than DNS: the message was not passed on as it was sent.
    /// Only for DKIM.
    Unverifiable,
}

/// The rule of the decision table that made a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// 1: not an Internet client.
    Local,
    /// 2: IPv4, perhaps behind a translator.
    Ipv4,
    /// 3: loopback, link-local, or a network exempt by configuration or by the list of
    /// `sixgate exempt`.
    ExemptNetwork,
    /// 4: authenticated by SASL.
    ExemptAuthenticated,
    /// 5: a certificate or TLS of the kind that exempts.
    ExemptTls,
    /// 6: the recipient's domain did not opt in.
    NotOptedIn,
    /// 7: the opt-in is unknown because of a temporary failure.
    OptInTemperror,
    /// 8: the client has no PTR record.
    NoPtr,
    /// 9: the PTR lookup failed.
    PtrTemperror,
    /// 10: the client has a PTR record, but no name resolves back to its address.
    PtrUnconfirmed,
    /// 11: SPF passes.
    SpfPass,
    /// 11a: the client is a known forwarder.
    KnownForwarder,
    /// 13: a DKIM signature passes.
    DkimPass,
    /// 14: neither passes, and at least one of them had a temporary failure.
    AuthTemperror,
    /// 12 and 15: neither passes.
    Unauthenticated,
}

impl Rule {
    /// Every rule, in the order of the table.
    pub const ALL: [Self; 15] = [
        Self::Local,
        Self::Ipv4,
        Self::ExemptNetwork,
        Self::ExemptAuthenticated,
        Self::ExemptTls,
        Self::NotOptedIn,
        Self::OptInTemperror,
        Self::NoPtr,
        Self::PtrTemperror,
        Self::PtrUnconfirmed,
        Self::SpfPass,
        Self::KnownForwarder,
        Self::DkimPass,
        Self::AuthTemperror,
        Self::Unauthenticated,
    ];

    /// Returns the name used in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ipv4 => "ipv4",
            Self::ExemptNetwork => "exempt-network",
            Self::ExemptAuthenticated => "exempt-authenticated",
            Self::ExemptTls => "exempt-tls",
            Self::NotOptedIn => "not-opted-in",
            Self::OptInTemperror => "opt-in-temperror",
            Self::NoPtr => "no-ptr",
            Self::PtrTemperror => "ptr-temperror",
            Self::PtrUnconfirmed => "ptr-unconfirmed",
            Self::SpfPass => "spf-pass",
            Self::KnownForwarder => "known-forwarder",
            Self::DkimPass => "dkim-pass",
            Self::AuthTemperror => "auth-temperror",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

impl Rule {
    /// Returns whether the sender has to fix the cause of the refusal: rules 8, 10, 12
    /// and 15.
    pub fn sender_must_fix(self) -> bool {
        matches!(
            self,
            Self::NoPtr | Self::PtrUnconfirmed | Self::Unauthenticated
        )
    }

    /// Returns whether the rule applies to checked mail. Rules 1 to 5 do not: they say why
    /// mail is not checked.
    pub fn applies_to_checked_mail(self) -> bool {
        match self {
            Self::Local
            | Self::Ipv4
            | Self::ExemptNetwork
            | Self::ExemptAuthenticated
            | Self::ExemptTls => false,
            Self::NotOptedIn
            | Self::OptInTemperror
            | Self::NoPtr
            | Self::PtrTemperror
            | Self::PtrUnconfirmed
            | Self::SpfPass
            | Self::KnownForwarder
            | Self::DkimPass
            | Self::AuthTemperror
            | Self::Unauthenticated => true,
        }
    }

    /// Returns whether the rule can refuse a recipient or a message.
    pub fn can_refuse(self) -> bool {
        match self {
            Self::NotOptedIn
            | Self::OptInTemperror
            | Self::NoPtr
            | Self::PtrTemperror
            | Self::PtrUnconfirmed
            | Self::AuthTemperror
            | Self::Unauthenticated => true,
            Self::Local
            | Self::Ipv4
            | Self::ExemptNetwork
            | Self::ExemptAuthenticated
            | Self::ExemptTls
            | Self::SpfPass
            | Self::KnownForwarder
            | Self::DkimPass => false,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The configured reply to refuse with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `replies.not_opted_in`
    NotOptedIn,
    /// `replies.no_ptr`
    NoPtr,
    /// `replies.unauthenticated`
    Unauthenticated,
    /// `replies.temporary`
    Temporary,
}

/// A check that costs a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// Ask the opt-in sources for the recipient's domain.
    OptIn,
    /// Look up the client's PTR record.
    Ptr,
    /// Look up the addresses of the client's names.
    Confirmation,
    /// Evaluate SPF.
    Spf,
    /// Compare the client with the known forwarders.
    Forwarder,
    /// Verify the DKIM signatures, which takes the whole message.
    Dkim,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Run this check, then call [`decide`] again.
    Need(Check),
    /// Nothing more is needed at this stage.
    Done(Verdict),
}

/// The decision at one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// No rule of this stage matches; continue with the next stage.
    Continue,
    /// The connection (at connect), the mail transaction (at MAIL) or the
    /// message (later) needs no more checks.
    Accept(Rule),
    /// The recipient (at RCPT) or the message (later) is refused.
    Refuse(Rule, Refusal),
}

/// Decides at `stage`, or returns the check that has to run first.
pub fn decide(stage: Stage, settings: &Settings, facts: &Facts) -> Step {
    match stage {
        Stage::Connect => Step::Done(at_connect(settings, facts)),
        Stage::Mail => Step::Done(at_mail(settings, facts)),
        Stage::Rcpt => at_rcpt(settings, facts),
        Stage::EndOfHeaders => at_end_of_headers(settings, facts),
        Stage::EndOfMessage => at_end_of_message(settings, facts),
    }
}

/// Applies rules 1 to 3.
fn at_connect(settings: &Settings, facts: &Facts) -> Verdict {
    match facts.client {
        ClientAddr::Local => Verdict::Accept(Rule::Local),
        ClientAddr::V4(_) => Verdict::Accept(Rule::Ipv4),
        ClientAddr::V6(_) if settings.translated(facts.client).is_some() => {
            Verdict::Accept(Rule::Ipv4)
        }
        ClientAddr::V6(ip) if facts.exempt || is_exempt(settings, ip) => {
            Verdict::Accept(Rule::ExemptNetwork)
        }
        ClientAddr::V6(_) => Verdict::Continue,
    }
}

fn is_exempt(settings: &Settings, ip: Ipv6Addr) -> bool {
    let mut networks = settings.exempt_networks.iter();
    ip.is_loopback()
        || ip.is_unicast_link_local()
        || networks.any(|network| network.contains(&IpAddr::V6(ip)))
}

/// Applies rules 4 and 5.
fn at_mail(settings: &Settings, facts: &Facts) -> Verdict {
    let tls_exempts = match settings.exempt_tls {
        ExemptTls::None => false,
        ExemptTls::Verified => facts.tls == Tls::Verified,
        ExemptTls::Any => facts.tls != Tls::None,
    };
    let certificate_exempts = facts.tls == Tls::Verified && facts.certificate_named;
    if facts.authenticated && settings.exempt_authenticated {
        Verdict::Accept(Rule::ExemptAuthenticated)
    } else if certificate_exempts || tls_exempts {
        Verdict::Accept(Rule::ExemptTls)
    } else {
        Verdict::Continue
    }
}

/// Applies rules 6 to 10.
fn at_rcpt(settings: &Settings, facts: &Facts) -> Step {
    match facts.opt_in {
        None => Step::Need(Check::OptIn),
        Some(OptIn::No) => refuse(Rule::NotOptedIn, Refusal::NotOptedIn),
        Some(OptIn::Temperror) => refuse(Rule::OptInTemperror, Refusal::Temporary),
        Some(OptIn::Yes) => reverse_dns(settings, facts),
    }
}

/// Applies rules 8 to 10.
fn reverse_dns(settings: &Settings, facts: &Facts) -> Step {
    match (facts.ptr, settings.reverse_dns) {
        (None, _) => Step::Need(Check::Ptr),
        (Some(Ptr::None), _) => refuse(Rule::NoPtr, Refusal::NoPtr),
        (Some(Ptr::Temperror), _) => ptr_temperror(settings),
        (Some(Ptr::Found), ReverseDns::Exists) => Step::Done(Verdict::Continue),
        (Some(Ptr::Found), ReverseDns::Confirmed) => confirmation(settings, facts),
    }
}

/// Applies rules 9 and 10 to an address that has names.
fn confirmation(settings: &Settings, facts: &Facts) -> Step {
    match facts.confirmation {
        None => Step::Need(Check::Confirmation),
        Some(Confirmation::Confirmed) => Step::Done(Verdict::Continue),
        Some(Confirmation::Unconfirmed) => refuse(Rule::PtrUnconfirmed, Refusal::NoPtr),
        Some(Confirmation::Temperror) => ptr_temperror(settings),
    }
}

/// Applies rule 9. `on_dns_failure: accept` does not accept the message, so the later
/// rules still apply to the recipient.
fn ptr_temperror(settings: &Settings) -> Step {
    match settings.on_dns_failure {
        OnDnsFailure::Tempfail => refuse(Rule::PtrTemperror, Refusal::Temporary),
        OnDnsFailure::Accept => Step::Done(Verdict::Continue),
    }
}

/// Applies rules 11, 11a, 12 and, for a message without a signature, 14.
fn at_end_of_headers(settings: &Settings, facts: &Facts) -> Step {
    match spf_or_forwarder(settings, facts) {
        Ok(_) if facts.signed => Step::Done(Verdict::Continue),
        Ok(Certainty::Doubt) => auth_temperror(settings),
        Ok(Certainty::Sure) => unauthenticated(),
        Err(step) => step,
    }
}

/// Applies rules 11, 11a and 13 to 15.
fn at_end_of_message(settings: &Settings, facts: &Facts) -> Step {
    use Authentication::{NoPass, Pass, Temperror, Unverifiable};
    let certainty = match spf_or_forwarder(settings, facts) {
        Ok(certainty) => certainty,
        Err(step) => return step,
    };
    match (certainty, facts.dkim) {
        (_, None) => Step::Need(Check::Dkim),
        (_, Some(Pass)) => Step::Done(Verdict::Accept(Rule::DkimPass)),
        // Not a DNS failure, which `on_dns_failure: accept` would accept.
        (_, Some(Unverifiable)) => refuse(Rule::AuthTemperror, Refusal::Temporary),
        (Certainty::Doubt, Some(NoPass | Temperror)) | (Certainty::Sure, Some(Temperror)) => {
            auth_temperror(settings)
        }
        (Certainty::Sure, Some(NoPass)) => unauthenticated(),
    }
}

/// How certain it is that a message passes neither rule 11 nor rule 11a.
enum Certainty {
    Sure,
    /// A lookup failed.
    Doubt,
}

/// Applies rules 11 and 11a; a decision, or a check that has to run first, is the `Err`
/// value.
fn spf_or_forwarder(settings: &Settings, facts: &Facts) -> Result<Certainty, Step> {
    use Authentication::{NoPass, Pass, Temperror, Unverifiable};
    let spf = match facts.spf {
        None => return Err(Step::Need(Check::Spf)),
        Some(Pass) => return Err(Step::Done(Verdict::Accept(Rule::SpfPass))),
        Some(spf @ (NoPass | Temperror | Unverifiable)) => spf,
    };
    let forwarder = match facts.forwarder {
        _ if !settings.known_forwarders => Forwarder::Unknown,
        None => return Err(Step::Need(Check::Forwarder)),
        Some(Forwarder::Known) => return Err(Step::Done(Verdict::Accept(Rule::KnownForwarder))),
        Some(forwarder @ (Forwarder::Unknown | Forwarder::Temperror)) => forwarder,
    };
    Ok(match (spf, forwarder) {
        (Temperror | Unverifiable, _) | (_, Forwarder::Temperror) => Certainty::Doubt,
        (Pass | NoPass, Forwarder::Known | Forwarder::Unknown) => Certainty::Sure,
    })
}

/// Applies rule 14.
fn auth_temperror(settings: &Settings) -> Step {
    match settings.on_dns_failure {
        OnDnsFailure::Tempfail => refuse(Rule::AuthTemperror, Refusal::Temporary),
        OnDnsFailure::Accept => Step::Done(Verdict::Accept(Rule::AuthTemperror)),
    }
}

/// Applies rules 12 and 15.
fn unauthenticated() -> Step {
    refuse(Rule::Unauthenticated, Refusal::Unauthenticated)
}

fn refuse(rule: Rule, refusal: Refusal) -> Step {
    Step::Done(Verdict::Refuse(rule, refusal))
}
