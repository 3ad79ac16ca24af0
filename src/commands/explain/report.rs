//! The output of `explain`, as text and JSON.

use super::{
    Addressee, Exemption, Findings, field,
    verdict::{PolicyRun, RecipientFacts, VerdictReport},
};
use crate::{
    cli::Explain,
    config::{Config, Mode},
    dkim, dns,
    exempt::{display, entry::show},
    forwarder::{Identified, Proof},
    policy::{Confirmation, OptIn, Ptr},
    snapshot::Enforcement,
    spf,
};
use jiff::{Timestamp, Zoned};
use serde::Serialize;
use std::{fmt, net::IpAddr};

/// Everything about a message.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    client: String,
    scope: &'static str,
    translated: Option<TranslatedReport>,
    /// The entry of `sixgate exempt` or `exempt.networks` that contains the client.
    exempt_entry: Option<ExemptReport>,
    certificate: Option<CertificateReport>,
    recipients: Vec<RecipientReport>,
    ptr: PtrReport,
    spf: SpfReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarder: Option<ForwarderReport>,
    dkim: Vec<SignatureReport>,
    dns: Vec<QuestionReport>,
    verdict: VerdictReport,
    /// The fields that the message would get, folded, from top to bottom.
    authentication_results: Vec<String>,
    #[serde(skip)]
    observes: bool,
}

#[derive(Debug, Serialize)]
struct TranslatedReport {
    prefix: String,
    /// `None` if the address has bits that a translator never sets.
    ipv4: Option<String>,
}

#[derive(Debug, Serialize)]
struct ExemptReport {
    network: String,
    /// `managed` or `networks`.
    source: String,
    /// `in-force`, `ending` (within a week) or `ended`.
    state: &'static str,
    until: Option<Timestamp>,
    comment: String,
    /// The whole entry as text.
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct CertificateReport {
    name: String,
    /// The entry of `exempt.certificates` that matches.
    named_by: Option<String>,
}

#[derive(Debug, Serialize)]
struct RecipientReport {
    address: String,
    domain: String,
    opt_in: &'static str,
    source: String,
    reason: String,
    verdict: VerdictReport,
}

#[derive(Debug, Serialize)]
struct PtrReport {
    result: &'static str,
    names: Vec<String>,
    confirmed: bool,
    reason: String,
}

#[derive(Debug, Serialize)]
struct SpfReport {
    result: String,
    identity: String,
    domain: Option<String>,
    reason: String,
    explanation: Option<String>,
    trace: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ForwarderReport {
    /// The entry of `exempt.forwarders` that matches the client, `none` or `temperror`.
    result: String,
    /// Why the other entries do not match.
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SignatureReport {
    result: String,
    domain: Option<String>,
    selector: Option<String>,
    algorithm: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct QuestionReport {
    name: String,
    #[serde(rename = "type")]
    rtype: &'static str,
    outcome: String,
    milliseconds: u128,
}

impl Report {
    /// Returns the verdict on the message.
    #[cfg(feature = "status")]
    pub(crate) fn verdict(&self) -> &VerdictReport {
        &self.verdict
    }

    /// Returns each recipient with its verdict.
    #[cfg(feature = "status")]
    pub(crate) fn recipients(&self) -> impl Iterator<Item = (&str, &VerdictReport)> {
        let recipients = self.recipients.iter();
        recipients.map(|recipient| (recipient.address.as_str(), &recipient.verdict))
    }

    /// Applies the policy to the results of the checks.
    pub(super) fn new(config: &Config, arguments: &Explain, findings: &Findings) -> Self {
        let enforcement = Enforcement::new(config);
        let run = PolicyRun {
            settings: &config.policy,
            replies: &config.replies,
            findings,
            enforcement: &enforcement,
        };
        let to = findings.recipients.iter();
        let to: Vec<_> = to.map(|to| addressee(to, &enforcement)).collect();
        let verdicts = run.verdicts(&findings.facts(&config.policy, arguments), &to);
        let authentication_results = field::fields(config, arguments, findings, &verdicts);
        let recipients = findings.recipients.iter().zip(verdicts.recipients);
        Self {
            client: arguments.client.to_canonical().to_string(),
            scope: verdicts.scope,
            translated: TranslatedReport::new(config, arguments.client),
            exempt_entry: ExemptReport::new(&findings.exemption),
            certificate: arguments
                .certificate
                .as_ref()
                .map(|name| CertificateReport {
                    name: name.clone(),
                    named_by: (config.policy.certificate_pattern(name)).map(ToString::to_string),
                }),
            recipients: recipients
                .map(|(addressee, verdict)| RecipientReport::new(addressee, verdict))
                .collect(),
            ptr: PtrReport::new(findings),
            spf: SpfReport::new(&findings.spf, &findings.spf_trace),
            forwarder: findings.forwarder.as_ref().map(ForwarderReport::new),
            dkim: signatures(findings.dkim.as_ref()),
            dns: findings.questions.iter().map(QuestionReport::new).collect(),
            verdict: verdicts.message,
            authentication_results,
            observes: config.mode == Mode::Observe,
        }
    }
}

/// Returns the facts about a recipient that the policy needs.
fn addressee(addressee: &Addressee, enforcement: &Enforcement) -> RecipientFacts {
    RecipientFacts {
        opt_in: addressee.answer.opt_in,
        domain: addressee.recipient.domain.to_string(),
        mode: enforcement.mode_for(&addressee.recipient),
    }
}

impl TranslatedReport {
    /// Describes a client in a prefix of `ipv4_prefixes`.
    fn new(config: &Config, client: IpAddr) -> Option<Self> {
        let mut prefixes = config.policy.ipv4_prefixes.iter();
        let prefix = prefixes.find(|prefix| prefix.overlaps(&client.into()))?;
        let translated = config.policy.translated(client.into());
        Some(Self {
            prefix: prefix.to_string(),
            ipv4: translated.map(|found| found.ipv4.to_string()),
        })
    }
}

impl ExemptReport {
    fn new(exemption: &Exemption) -> Option<Self> {
        let found = exemption.entry.as_ref()?;
        let now = Zoned::now();
        Some(Self {
            network: show(&found.listed.entry.network),
            source: found.source.to_string(),
            state: found.listed.state(now.timestamp()).word(),
            until: found.listed.entry.until,
            comment: found.listed.comment.to_string(),
            text: display::describe(found, &exemption.file, &now),
        })
    }
}

impl RecipientReport {
    fn new(addressee: &Addressee, verdict: VerdictReport) -> Self {
        let Addressee {
            recipient,
            answer,
            reason,
        } = addressee;
        Self {
            address: recipient.address.clone(),
            domain: recipient.domain.to_string(),
            opt_in: match answer.opt_in {
                OptIn::Yes => "yes",
                OptIn::No => "no",
                OptIn::Temperror => "temperror",
            },
            source: answer.source.to_string(),
            reason: reason.clone(),
            verdict,
        }
    }
}

impl PtrReport {
    fn new(findings: &Findings) -> Self {
        let reverse = &findings.reverse;
        Self {
            result: match reverse.result {
                Ptr::Found => "found",
                Ptr::None => "none",
                Ptr::Temperror => "temperror",
            },
            names: reverse.names.iter().map(ToString::to_string).collect(),
            confirmed: findings.confirmation == Confirmation::Confirmed,
            reason: reverse.reason.clone(),
        }
    }
}

impl SpfReport {
    fn new(outcome: &spf::Outcome, trace: &spf::Trace) -> Self {
        Self {
            result: outcome.result.to_string(),
            identity: outcome.identity.to_string(),
            domain: outcome.domain.clone(),
            reason: outcome.reason.clone(),
            explanation: outcome.explanation.clone(),
            trace: trace.to_string().lines().map(str::to_owned).collect(),
        }
    }
}

impl ForwarderReport {
    fn new(identified: &Identified) -> Self {
        let mut reasons = identified.reasons.clone();
        match &identified.proof {
            Some(Proof::Spf { term, .. }) => reasons.extend(term.clone()),
            Some(Proof::Name { name, .. }) => reasons.push(name.to_string()),
            None => {}
        }
        Self {
            result: identified.to_string(),
            reasons,
        }
    }
}

fn signatures(outcome: Option<&dkim::Outcome>) -> Vec<SignatureReport> {
    let signatures = outcome.map(|outcome| outcome.signatures.iter());
    signatures
        .into_iter()
        .flatten()
        .map(|signature| SignatureReport {
            result: signature.result.to_string(),
            domain: signature.domain.clone(),
            selector: signature.selector.clone(),
            algorithm: signature.algorithm.clone(),
            reason: signature.reason.clone(),
        })
        .collect()
}

impl QuestionReport {
    fn new(question: &dns::Question) -> Self {
        Self {
            name: question.name.clone(),
            rtype: question.rtype,
            outcome: question.outcome.clone(),
            milliseconds: question.elapsed.as_millis(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "client     {} ({})", self.client, self.scope)?;
        if let Some(translated) = &self.translated {
            write!(f, "{translated}")?;
        }
        if let Some(entry) = &self.exempt_entry {
            writeln!(f, "exempt     {}", entry.text)?;
        }
        if let Some(certificate) = &self.certificate {
            write!(f, "{certificate}")?;
        }
        for recipient in &self.recipients {
            write!(f, "{recipient}")?;
        }
        write!(f, "{}{}", self.ptr, self.spf)?;
        if let Some(forwarder) = &self.forwarder {
            write!(f, "{forwarder}")?;
        }
        if self.dkim.is_empty() {
            writeln!(f, "dkim       none: no signature was given")?;
        }
        for signature in &self.dkim {
            write!(f, "{signature}")?;
        }
        for question in &self.dns {
            write!(f, "{question}")?;
        }
        writeln!(f, "verdict    {}", self.verdict)?;
        if self.observes {
            writeln!(f, "           mode is observe: nothing is refused")?;
        }
        for line in self.authentication_results.iter().flat_map(|f| f.lines()) {
            match line.strip_prefix('\t') {
                Some(folded) => writeln!(f, "             {folded}")?,
                None => writeln!(f, "field      {line}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for TranslatedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "           in {} of ipv4_prefixes, ", self.prefix)?;
        match &self.ipv4 {
            Some(ipv4) => writeln!(f, "so it is the IPv4 client {ipv4}"),
            None => writeln!(
                f,
                "but its bits 64 to 71 are not zero, so it embeds no IPv4 address"
            ),
        }
    }
}

impl fmt::Display for CertificateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls        certificate {}, verified: ", self.name)?;
        match &self.named_by {
            Some(pattern) => writeln!(f, "exempt.certificates has {pattern}"),
            None => writeln!(f, "exempt.certificates does not have it"),
        }
    }
}

impl fmt::Display for RecipientReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            domain,
            opt_in,
            source,
            reason,
            verdict,
        } = self;
        writeln!(
            f,
            "recipient  {address}: [{domain}] opt-in {opt_in} ({source}: {reason})"
        )?;
        writeln!(f, "           {verdict}")
    }
}

impl fmt::Display for PtrReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ptr        {}", self.result)?;
        match (self.names.as_slice(), self.confirmed) {
            ([], _) => writeln!(f, ": {}", self.reason),
            (names, true) => writeln!(f, ": {}, confirmed", names.join(", ")),
            (names, false) => writeln!(f, ": {}, not confirmed", names.join(", ")),
        }
    }
}

impl fmt::Display for SpfReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = self.domain.as_deref().unwrap_or("no domain");
        writeln!(
            f,
            "spf        {} for {} of {domain}: {}",
            self.result, self.identity, self.reason
        )?;
        for line in &self.trace {
            writeln!(f, "           {line}")?;
        }
        match &self.explanation {
            Some(explanation) => writeln!(f, "           {domain} explains: {explanation}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ForwarderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "forwarder  {}", self.result)?;
        let mut reasons = self.reasons.iter();
        reasons.try_for_each(|reason| writeln!(f, "           {reason}"))
    }
}

impl fmt::Display for SignatureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        writeln!(
            f,
            "dkim       {}: d={} s={} a={}: {}",
            self.result,
            known(&self.domain),
            known(&self.selector),
            known(&self.algorithm),
            self.reason
        )
    }
}

impl fmt::Display for QuestionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            rtype,
            outcome,
            milliseconds,
        } = self;
        writeln!(
            f,
            "dns        {rtype} {name}: {outcome} ({milliseconds} ms)"
        )
    }
}
