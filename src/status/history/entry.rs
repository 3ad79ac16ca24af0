//! A recorded decision, with everything known about it in at most [`MAX_ENTRY_BYTES`].

use crate::{
    address::{ClientAddr, Domain},
    config::Mode,
    dkim,
    enforcement::ObservedBy,
    exempt, opt_in,
    policy::{Authentication, Ptr, Rule, Stage},
    spf::{Identity, SpfResult},
    telemetry::{
        Action, Decision, Exemption, dkim_result,
        escape::{Style, escape},
    },
};
use jiff::Timestamp;
use std::{cell::RefCell, fmt::Display, net::Ipv6Addr, sync::Arc};

/// The maximum memory of an entry in bytes, with the overhead of the allocator and the ring.
pub const MAX_ENTRY_BYTES: usize = 1024;

/// The maximum length of all texts of an entry, in bytes. Longer ones are cut off.
const MAX_TEXTS: usize = 640;

/// The maximum number of names in a list.
const MAX_NAMES: usize = 4;

/// The maximum number of signatures of a message.
const MAX_SIGNATURES: usize = 4;

/// The texts of an entry, in the order in which they are stored.
#[derive(Clone, Copy, Debug)]
enum Text {
    QueueId,
    Recipient,
    RecipientDomains,
    Sender,
    SenderDomain,
    ClientName,
    Reply,
    Helo,
    SpfDomain,
    SpfTerm,
    SpfReason,
    Signatures,
    PtrNames,
    Forwarder,
    Details,
    Certificate,
    ExemptNetwork,
    ExemptComment,
}

const TEXTS: usize = Text::ExemptComment as usize + 1;

impl Text {
    /// Returns the maximum length in bytes.
    const fn max(self) -> usize {
        match self {
            Self::QueueId => 40,
            Self::Recipient | Self::Sender => 120,
            Self::RecipientDomains | Self::SenderDomain => 80,
            Self::ClientName | Self::Helo | Self::SpfDomain | Self::SpfTerm => 80,
            Self::Reply => 250,
            Self::Forwarder | Self::PtrNames | Self::Certificate => 150,
            Self::SpfReason | Self::ExemptNetwork | Self::ExemptComment => 150,
            Self::Signatures | Self::Details => 400,
        }
    }
}

/// One decision.
#[derive(Debug)]
pub struct Entry {
    /// The sequence number, which identifies the decision in URLs.
    pub number: u64,
    /// The time of the decision.
    pub time: Timestamp,
    /// The action of the decision.
    pub action: Action,
    /// Whether the reply was a refusal.
    pub is_refused: bool,
    /// The rule that decided.
    pub rule: Rule,
    /// The stage of the decision.
    pub stage: Stage,
    /// Whether refusals are enforced.
    pub mode: Mode,
    /// Why a refusal was not enforced.
    pub observed_by: Option<ObservedBy>,
    /// The address of the client.
    pub client: ClientAddr,
    /// The IPv6 address of an IPv4 client behind a translator.
    pub seen_as: Option<Ipv6Addr>,
    /// The number of accepted recipients so far.
    pub recipients: u32,
    /// Whether there are more recipient domains than are stored.
    pub more_recipient_domains: bool,
    /// The source that decided about the opt-in of the last recipient.
    pub opt_in: Option<opt_in::Source>,
    /// The result of the PTR lookup, if it was needed.
    pub ptr: Option<Ptr>,
    /// The result of SPF and the identity that was evaluated, if it was needed.
    pub spf: Option<(SpfResult, Identity)>,
    /// Whether there is a DKIM-Signature field.
    pub is_signed: bool,
    /// The result of DKIM, if it was needed.
    pub dkim: Option<Authentication>,
    /// For how long the sender had been deferred when it was given up, in seconds.
    pub deferred_for: Option<u32>,
    /// How long the MTA has waited for checks in this mail transaction, in milliseconds.
    pub waited_ms: u32,
    texts: Texts,
}

/// All texts of an entry, concatenated.
#[derive(Debug)]
struct Texts {
    texts: Box<str>,
    /// The end of each text.
    ends: [u16; TEXTS],
    /// Whether a text was cut off.
    is_cut: bool,
    /// Whether the text of the sender ends with `@` and the sender's domain.
    sender_has_domain: bool,
}

// The ring has a pointer for an entry, and an Arc adds two counters. mimalloc rounds up by an
// eighth at most, and by another eighth because threads free what others have allocated.
const _: () = {
    let counted = 3 * size_of::<usize>() + size_of::<Entry>() + MAX_TEXTS;
    assert!(counted + counted / 4 <= MAX_ENTRY_BYTES);
};

/// A recorded DKIM signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// `d=`
    pub domain: &'a str,
    /// `s=`
    pub selector: &'a str,
    /// The result, as in RFC 8601.
    pub result: &'a str,
    /// The reason for the result.
    pub reason: &'a str,
}

impl Entry {
    /// Creates the entry of a decision.
    pub fn from_decision(decision: &Decision<'_>) -> Self {
        let spf = decision.spf;
        let domains = decision.recipient_domains;
        let of_recipient = decision.recipient.and_then(|to| to.domain.name());
        let domains = match decision.recipient {
            Some(_) => of_recipient.map(std::slice::from_ref).unwrap_or_default(),
            None => domains,
        };
        let texts = Writer::write(|writer| {
            writer.text(Text::QueueId, decision.queue_id);
            let to = decision.recipient.map(|recipient| &recipient.address);
            writer.text(Text::Recipient, to);
            writer.list(Text::RecipientDomains, domains);
            writer.sender(decision);
            writer.text(Text::ClientName, Some(&decision.client.name));
            writer.text(Text::Reply, decision.reply);
            writer.text(Text::Helo, decision.helo);
            writer.text(Text::SpfDomain, spf.and_then(|spf| spf.domain.as_deref()));
            writer.text(Text::SpfTerm, spf.and_then(|spf| spf.term.as_deref()));
            writer.text(Text::SpfReason, spf.map(|spf| &spf.reason));
            if let Some(outcome) = decision.dkim {
                writer.signatures(outcome);
            }
            writer.list(Text::PtrNames, decision.ptr_names.iter().take(MAX_NAMES));
            writer.is_cut |= decision.ptr_names.len() > MAX_NAMES;
            writer.text(Text::Forwarder, decision.forwarder);
            if let Some(reply) = decision.reply {
                writer.list(Text::Details, reply.details());
            }
        });
        Self {
            number: 0,
            time: Timestamp::now(),
            action: decision.action(),
            is_refused: decision.is_refused(),
            rule: decision.rule,
            stage: decision.stage,
            mode: decision.mode,
            observed_by: decision.observed_by,
            client: decision.client.addr,
            seen_as: None,
            recipients: u32::try_from(decision.recipients).unwrap_or(u32::MAX),
            more_recipient_domains: decision.more_recipient_domains && decision.recipient.is_none(),
            opt_in: decision.opt_in,
            ptr: decision.ptr,
            spf: spf.map(|spf| (spf.result, spf.identity)),
            is_signed: decision.signed,
            dkim: decision.dkim.map(dkim::Outcome::authentication),
            deferred_for: decision
                .deferred_for
                .map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
            waited_ms: u32::try_from(decision.waited.as_millis()).unwrap_or(u32::MAX),
            texts,
        }
    }

    /// Creates the entry of mail that is not checked.
    pub fn from_exemption(exemption: &Exemption<'_>) -> Self {
        let listed = exemption.entry.map(|found| &found.listed);
        let texts = Writer::write(|writer| {
            writer.text(Text::ClientName, Some(&exemption.client.name));
            writer.text(Text::Certificate, exemption.certificate);
            let network = listed.map(|listed| exempt::entry::show(&listed.entry.network));
            writer.text(Text::ExemptNetwork, network);
            writer.text(Text::ExemptComment, listed.map(|listed| &listed.comment));
        });
        Self {
            number: 0,
            time: Timestamp::now(),
            action: Action::Accept,
            is_refused: false,
            rule: exemption.rule,
            stage: exemption.stage,
            mode: exemption.mode,
            observed_by: None,
            client: exemption.client.addr,
            seen_as: exemption.seen_as,
            recipients: 0,
            more_recipient_domains: false,
            opt_in: None,
            ptr: None,
            spf: None,
            is_signed: false,
            dkim: None,
            deferred_for: None,
            waited_ms: 0,
            texts,
        }
    }

    fn get(&self, text: Text) -> Option<&str> {
        let Texts { texts, ends, .. } = &self.texts;
        let start = match (text as usize).checked_sub(1) {
            Some(before) => ends[before],
            None => 0,
        };
        let range = usize::from(start)..usize::from(ends[text as usize]);
        texts.get(range).filter(|text| !text.is_empty())
    }

    /// Returns whether a text was cut off.
    pub fn is_cut(&self) -> bool {
        self.texts.is_cut
    }

    fn items(&self, text: Text) -> impl Iterator<Item = &str> {
        self.get(text).into_iter().flat_map(|list| list.split('\n'))
    }

    /// Returns the MTA's queue ID.
    pub fn queue_id(&self) -> Option<&str> {
        self.get(Text::QueueId)
    }

    /// Returns the client's host name as the MTA determined it.
    pub fn client_name(&self) -> Option<&str> {
        self.get(Text::ClientName)
    }

    /// Returns the name of HELO or EHLO.
    pub fn helo(&self) -> Option<&str> {
        self.get(Text::Helo)
    }

    /// Returns the envelope sender; empty for the null reverse-path.
    pub fn sender(&self) -> &str {
        self.get(Text::Sender).unwrap_or_default()
    }

    /// Returns the sender's domain; `None` if it is not a valid one.
    pub fn sender_domain(&self) -> Option<&str> {
        match self.texts.sender_has_domain {
            true => Some(self.sender().rsplit_once('@')?.1),
            false => self.get(Text::SenderDomain),
        }
    }

    /// Returns the recipient, if the decision is about one.
    pub fn recipient(&self) -> Option<&str> {
        self.get(Text::Recipient)
    }

    /// Returns the domains of the recipients, each once.
    pub fn recipient_domains(&self) -> impl Iterator<Item = &str> {
        self.items(Text::RecipientDomains)
    }

    /// Returns the reply of a refusal, without the separators of its lines.
    pub fn reply(&self) -> Option<&str> {
        self.get(Text::Reply)
    }

    /// Returns the additional lines of the reply (`replies.details`).
    pub fn reply_details(&self) -> impl Iterator<Item = &str> {
        self.items(Text::Details)
    }

    /// Returns the names in the client's PTR records.
    pub fn ptr_names(&self) -> impl Iterator<Item = &str> {
        self.items(Text::PtrNames)
    }

    /// Returns the domain that SPF was evaluated for.
    pub fn spf_domain(&self) -> Option<&str> {
        self.get(Text::SpfDomain)
    }

    /// Returns the term of the SPF record that matched.
    pub fn spf_term(&self) -> Option<&str> {
        self.get(Text::SpfTerm)
    }

    /// Returns the reason for the result of SPF.
    pub fn spf_reason(&self) -> Option<&str> {
        self.get(Text::SpfReason)
    }

    /// Returns the best signatures.
    pub fn signatures(&self) -> impl Iterator<Item = Signature<'_>> {
        self.items(Text::Signatures).map(|signature| {
            let mut parts = signature.splitn(4, '\t');
            let mut part = || parts.next().unwrap_or_default();
            Signature {
                result: part(),
                domain: part(),
                selector: part(),
                reason: part(),
            }
        })
    }

    /// Returns the known forwarder that the client is, or that it is not one.
    pub fn forwarder(&self) -> Option<&str> {
        self.get(Text::Forwarder)
    }

    /// Returns the name of the client's certificate, if that is what exempts.
    pub fn certificate(&self) -> Option<&str> {
        self.get(Text::Certificate)
    }

    /// Returns the exempt network of the client, and the comment of its entry.
    pub fn exempt_entry(&self) -> Option<(&str, &str)> {
        let comment = self.get(Text::ExemptComment).unwrap_or_default();
        self.get(Text::ExemptNetwork)
            .map(|network| (network, comment))
    }

    /// Returns the result of DKIM as in the decision line; `None` for a recipient.
    pub fn dkim_result(&self) -> Option<&'static str> {
        if self.recipient().is_some() || self.recipients == 0 {
            return None;
        }
        Some(dkim_result(self.dkim, self.is_signed))
    }

    /// Returns the memory of the entry in bytes, without the overhead of the allocator.
    pub fn bytes(&self) -> usize {
        size_of::<Arc<Self>>() + 2 * size_of::<usize>() + size_of::<Self>() + self.texts.texts.len()
    }
}

thread_local! {
    /// The buffer for the texts of an entry, so that each entry has one allocation of its
    /// length.
    static SCRATCH: RefCell<String> = RefCell::new(String::with_capacity(MAX_TEXTS));
}

struct Writer<'a> {
    out: &'a mut String,
    ends: [u16; TEXTS],
    is_cut: bool,
    sender_has_domain: bool,
}

/// The mark of a text that was cut off.
const CUT: &str = "...";

impl Writer<'_> {
    fn write(fill: impl FnOnce(&mut Writer<'_>)) -> Texts {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let mut writer = Writer {
                out: scratch,
                ends: [0; TEXTS],
                is_cut: false,
                sender_has_domain: false,
            };
            fill(&mut writer);
            let Writer {
                mut ends,
                is_cut,
                sender_has_domain,
                ..
            } = writer;
            // A text that was not written is empty where the one before it ends.
            for text in 1..TEXTS {
                ends[text] = ends[text].max(ends[text - 1]);
            }
            Texts {
                texts: scratch.as_str().into(),
                ends,
                is_cut,
                sender_has_domain,
            }
        })
    }

    /// Appends at most `max` bytes, of which the last are [`CUT`] if that is not all.
    fn append(&mut self, max: usize, value: impl Display) {
        let room = max.min(MAX_TEXTS - self.out.len());
        self.is_cut |= match room.checked_sub(CUT.len()) {
            Some(max) => escape(self.out, Style::Message, max, value),
            None => true,
        };
    }

    fn text(&mut self, text: Text, value: Option<impl Display>) {
        if let Some(value) = value {
            self.append(text.max(), value);
        }
        self.end(text);
    }

    fn end(&mut self, text: Text) {
        self.ends[text as usize] = u16::try_from(self.out.len()).unwrap_or(u16::MAX);
    }

    fn list(&mut self, text: Text, items: impl IntoIterator<Item = impl Display>) {
        let end = self.out.len() + text.max();
        for (place, item) in items.into_iter().enumerate() {
            let separator = if place > 0 { "\n" } else { "" };
            self.item(separator, end, text.max(), item);
        }
        self.end(text);
    }

    /// Appends an item of a list that must end before `end`. Without room for it, none of
    /// those behind it has room.
    fn item(&mut self, separator: &str, end: usize, max: usize, item: impl Display) {
        let start = self.out.len() + separator.len();
        let room = end.min(MAX_TEXTS).saturating_sub(start);
        if room <= CUT.len() {
            self.is_cut = true;
            return;
        }
        self.out.push_str(separator);
        self.append(max.min(room), item);
    }

    /// The sender, and its domain unless the text ends with it.
    fn sender(&mut self, decision: &Decision<'_>) {
        let start = self.out.len();
        self.text(Text::Sender, Some(decision.reverse_path));
        let Some(domain) = decision.reverse_path.domain() else {
            return;
        };
        let written = &self.out[start..];
        let is_whole = written.ends_with(domain)
            && written.len() > domain.len()
            && written.as_bytes()[written.len() - domain.len() - 1] == b'@';
        self.sender_has_domain = is_whole;
        if !is_whole {
            let parsed = Domain::parse(domain);
            let domain = parsed.as_ref().map_or(domain, Domain::as_str);
            self.text(Text::SenderDomain, Some(domain));
        }
    }

    fn signatures(&mut self, outcome: &dkim::Outcome) {
        let end = self.out.len() + Text::Signatures.max();
        let mut best = outcome.best();
        for (place, signature) in best.by_ref().take(MAX_SIGNATURES).enumerate() {
            let line = if place > 0 { "\n" } else { "" };
            self.item(line, end, 20, signature.result);
            self.item("\t", end, 100, signature.domain.as_deref().unwrap_or("?"));
            self.item("\t", end, 70, signature.selector.as_deref().unwrap_or("?"));
            self.item("\t", end, 130, &signature.reason);
        }
        self.end(Text::Signatures);
        self.is_cut |= best.next().is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{address::ReversePath, telemetry::sample};

    #[test]
    fn an_entry_has_what_is_known_of_a_message() {
        let entry = Entry::from_decision(&sample::decisions().pop().unwrap());
        assert_eq!(entry.queue_id(), Some("4F9D195432C"));
        assert_eq!(entry.client_name(), Some("mail.example.org"));
        assert_eq!(entry.helo(), Some("mail.example.org"));
        assert_eq!(entry.sender(), "a@example.org");
        assert_eq!(entry.sender_domain(), Some("example.org"));
        assert_eq!(entry.recipient(), None);
        assert_eq!(
            entry.recipient_domains().collect::<Vec<_>>(),
            ["contoso.com"]
        );
        assert!(
            entry
                .reply()
                .unwrap()
                .starts_with("450 4.7.26 Service unavailable")
        );
        assert_eq!(entry.spf_domain(), Some("example.org"));
        assert_eq!(entry.spf_term(), Some("-all"));
        assert_eq!(entry.spf_reason(), Some("-all matches"));
        assert_eq!(entry.ptr_names().collect::<Vec<_>>(), ["mail.example.org"]);
        assert_eq!(entry.forwarder(), Some("spf:alumni.example"));
        assert_eq!(entry.dkim_result(), Some("fail"));
        let signature = Signature {
            domain: "example.org",
            selector: "s1",
            result: "fail",
            reason: "",
        };
        assert_eq!(entry.signatures().collect::<Vec<_>>(), [signature]);
        assert_eq!(entry.deferred_for, Some(86_400));
        assert!(!entry.is_cut());
    }

    #[test]
    fn an_entry_has_why_mail_was_not_checked() {
        let entry = Entry::from_exemption(&sample::exemption());
        assert_eq!(entry.certificate(), Some("mx.partner.example"));
        let (network, comment) = entry.exempt_entry().unwrap();
        assert_eq!(network, "2001:db8::/32");
        assert!(comment.contains("ticket 4711"), "{comment}");
        assert_eq!(entry.dkim_result(), None);
    }

    #[test]
    fn the_most_hostile_message_is_cut_to_a_kibibyte_of_printable_ascii() {
        let entry = Entry::from_decision(&sample::worst());
        assert!(entry.is_cut());
        assert!(
            entry.texts.texts.len() <= MAX_TEXTS,
            "{}",
            entry.texts.texts.len()
        );
        assert!(entry.bytes() <= MAX_ENTRY_BYTES);
        let is_allowed = |c: u8| matches!(c, b' '..=b'~' | b'\n' | b'\t');
        assert!(
            entry.texts.texts.bytes().all(is_allowed),
            "{}",
            entry.texts.texts
        );
        assert!(entry.queue_id().unwrap().len() <= Text::QueueId.max());
        assert!(entry.sender().ends_with(CUT));
        assert_eq!(entry.sender_domain(), None);
        assert!(entry.reply().unwrap().ends_with("validation."));
    }

    #[test]
    fn the_domain_of_a_sender_is_kept_whatever_is_in_front_of_it() {
        let message = sample::decisions().pop().unwrap();
        let long = "x".repeat(65_536);
        let table = [
            ("<a@Example.org>".to_owned(), Some("Example.org")),
            (format!("<{long}@example.org>"), Some("example.org")),
            (
                "<a@m\u{fc}ller.example>".to_owned(),
                Some("xn--mller-kva.example"),
            ),
            ("<\"a@b.example\">".to_owned(), None),
            ("<a>".to_owned(), None),
            ("<>".to_owned(), None),
        ];
        for (sender, want) in table {
            let entry = Entry::from_decision(&Decision {
                reverse_path: &ReversePath::parse(&sender),
                ..message
            });
            assert_eq!(entry.sender_domain(), want, "{sender:.30}");
        }
    }

    #[test]
    fn texts_that_are_missing_are_missing_and_move_no_other() {
        let message = sample::decisions().pop().unwrap();
        let entry = Entry::from_decision(&Decision {
            queue_id: None,
            reply: None,
            spf: None,
            ptr_names: &[],
            ..message
        });
        assert_eq!(entry.queue_id(), None);
        assert_eq!(entry.reply(), None);
        assert_eq!(entry.spf_reason(), None);
        assert_eq!(entry.ptr_names().count(), 0);
        assert_eq!(entry.sender(), "a@example.org");
        assert_eq!(entry.forwarder(), Some("spf:alumni.example"));
    }
}
