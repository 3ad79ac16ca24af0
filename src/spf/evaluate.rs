//! check_host(): the evaluation of RFC 7208, in the order of its sections.
//!
//! The input is a [`Sender`] and the DNS. Errors of records and of the DNS end the whole
//! evaluation at any depth, as [`Stop`], so they are never mistaken for "does not match".

use super::{
    Outcome, SpfResult,
    macros::{DomainSpec, ExplainString, Values},
    record::{Directive, Hosts, Mechanism, Qualifier, Record, SyntaxError, is_spf},
    sender::Sender,
    trace::{Count, Observer, Step},
};
use crate::{
    config,
    dns::{self, Absence, Answer, Name, Purpose},
};
use std::{
    collections::VecDeque,
    fmt::Display,
    future::Future,
    net::IpAddr,
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

/// The maximum number of names of one `mx` or `ptr` whose addresses are looked up
/// (section 4.6.4).
const MAX_HOSTS: usize = 10;
/// The maximum nesting of includes and redirects. `spf.max_lookups` bounds it too, but
/// can be set so high that the stack would overflow.
const MAX_DEPTH: usize = 20;
/// The maximum size of an SPF record in bytes: 16 times the 512 that section 3.4
/// recommends. DNS can carry 64 KiB, and evaluating ten such records per message would
/// cost us more than the attacker.
const MAX_RECORD: usize = 8192;

/// The state of one evaluation, with the limits used so far.
pub(super) struct Evaluation<'a, R, O> {
    resolver: &'a R,
    sender: &'a Sender<'a>,
    limits: config::Spf,
    observer: &'a mut O,
    lookups: usize,
    /// The number of lookups known to be void.
    void_lookups: usize,
    /// Names without an address of the family that was looked up, and that
    /// family. Such a lookup is void only if the name has none of the other
    /// family either.
    one_family: VecDeque<(Name, Family)>,
    depth: usize,
    /// The validated names of the client once they are known, so that `ptr` and `%{p}`
    /// look them up only once.
    validated: Option<Vec<Name>>,
}

/// An address family, by the type of its DNS records.
#[derive(Clone, Copy)]
enum Family {
    A,
    Aaaa,
}

/// The result of one domain's record.
enum Finding {
    /// There is no record; the text is the reason.
    NoRecord(String),
    /// There is a result: a mechanism matched, or none did.
    Settled(Settled),
}

struct Settled {
    qualifier: Qualifier,
    /// The mechanism that matched, if one did.
    term: Option<String>,
    reason: String,
    explanation: Option<Explanation>,
}

/// The `exp=` modifier and the domain whose record contains it.
struct Explanation {
    spec: DomainSpec,
    domain: Name,
}

/// Why the whole evaluation ends early.
enum Stop {
    TempError(String),
    /// A temperror that `ptr` must not ignore either: a DNS failure left it unknown
    /// whether the limit of void lookups is exceeded.
    LimitUnknown(String),
    PermError(String),
}

/// The expansion of a `domain-spec`.
enum Target {
    Name(Name),
    /// Not a valid DNS name.
    Malformed,
    /// RFC 8616 section 4: a term with `%{s}` or `%{l}` matches nothing if the
    /// local part is not ASCII.
    Unmatchable,
}

type Checking<'s> = Pin<Box<dyn Future<Output = Result<Finding, Stop>> + Send + 's>>;

impl<'a, R: dns::Resolve, O: Observer> Evaluation<'a, R, O> {
    pub(super) fn new(
        resolver: &'a R,
        sender: &'a Sender<'a>,
        limits: config::Spf,
        observer: &'a mut O,
    ) -> Self {
        Self {
            resolver,
            sender,
            limits,
            observer,
            lookups: 0,
            void_lookups: 0,
            one_family: VecDeque::new(),
            depth: 0,
            validated: None,
        }
    }

    pub(super) async fn run(mut self) -> Outcome {
        let sender = self.sender;
        let finding = match &sender.domain {
            Ok(domain) => self.check_host(domain).await,
            Err(why) => Ok(Finding::NoRecord(why.clone())),
        };
        let outcome = self.conclude(finding).await;
        self.depth = 0;
        self.note(|| Step::Decided {
            result: outcome.result,
            reason: outcome.reason.clone(),
        });
        outcome
    }

    async fn conclude(&mut self, finding: Result<Finding, Stop>) -> Outcome {
        let sender = self.sender;
        let settled = match finding {
            Ok(Finding::Settled(settled)) => settled,
            Ok(Finding::NoRecord(why)) => return Outcome::new(sender, SpfResult::None, why),
            Err(Stop::TempError(why) | Stop::LimitUnknown(why)) => {
                return Outcome::new(sender, SpfResult::TempError, why);
            }
            Err(Stop::PermError(why)) => return Outcome::new(sender, SpfResult::PermError, why),
        };
        let mut outcome = Outcome::new(sender, settled.qualifier.into(), settled.reason);
        outcome.term = settled.term;
        if let Some(explanation) = settled.explanation {
            // Boxed because it is rare and would make every future larger.
            outcome.explanation = Box::pin(self.explain(&explanation)).await;
        }
        outcome
    }

    /// Evaluates the record of a domain (section 4). Boxed, because include and redirect
    /// recurse.
    fn check_host<'s>(&'s mut self, domain: &'s Name) -> Checking<'s> {
        Box::pin(async move {
            // Section 4.3: "or is not a multi-label domain name".
            if domain.labels().count() < 2 {
                let why = format!("{domain} is not fully qualified");
                return Ok(Finding::NoRecord(why));
            }
            match self.look_up_record(domain).await? {
                Some(record) => self.evaluate_record(&record, domain).await,
                None => Ok(Finding::NoRecord(format!("{domain} has no SPF record"))),
            }
        })
    }

    /// Looks up the SPF record (section 4.4).
    async fn look_up_record(&mut self, domain: &Name) -> Result<Option<Record>, Stop> {
        match self.resolver.txt(domain, Purpose::Spf).await {
            Answer::Found(found) => self.select_record(domain, &found.records),
            // Section 4.3: NXDOMAIN gives "none"; so does, by section 4.5, an
            // answer without records.
            Answer::Absent(absence) => {
                self.note(|| Step::Note(format!("TXT {domain}: {absence}")));
                Ok(None)
            }
            Answer::Temperror(failure) => {
                self.note(|| Step::Note(format!("TXT {domain}: {failure}")));
                Err(Stop::TempError(format!("TXT {domain}: {failure}")))
            }
        }
    }

    /// Selects the SPF record among the TXT records (section 4.5): exactly one may be an
    /// SPF record, whether well-formed or not.
    fn select_record(&mut self, domain: &Name, texts: &[Vec<u8>]) -> Result<Option<Record>, Stop> {
        let texts: Vec<&Vec<u8>> = texts.iter().filter(|text| is_spf(text)).collect();
        for text in &texts {
            self.note(|| Step::Record {
                domain: domain.to_string(),
                text: text.escape_ascii().to_string(),
            });
        }
        match texts.as_slice() {
            [] => Ok(None),
            [text] if text.len() > MAX_RECORD => {
                let why = format!(
                    "the SPF record of {domain} has {} bytes; at most {MAX_RECORD} are evaluated",
                    text.len()
                );
                Err(Stop::PermError(why))
            }
            [text] => Record::parse(text).map(Some).map_err(Stop::from),
            _ => {
                let why = format!("{domain} has {} SPF records", texts.len());
                Err(Stop::PermError(why))
            }
        }
    }

    /// Evaluates the mechanisms from left to right (section 4.6); the first match
    /// decides.
    async fn evaluate_record(&mut self, record: &Record, domain: &Name) -> Result<Finding, Stop> {
        for directive in record.directives() {
            if self.try_directive(directive, domain).await? {
                return Ok(Finding::Settled(Settled {
                    qualifier: directive.qualifier,
                    term: Some(directive.to_string()),
                    reason: format!("{directive} matches"),
                    explanation: explanation::<O>(directive, record, domain),
                }));
            }
        }
        match record.redirect() {
            Some(target) => self.redirect(target, domain).await,
            // Section 4.7.
            None => Ok(Finding::Settled(Settled {
                qualifier: Qualifier::Neutral,
                term: None,
                reason: format!("no mechanism of {domain} matches"),
                explanation: None,
            })),
        }
    }

    async fn try_directive(&mut self, directive: &Directive, domain: &Name) -> Result<bool, Stop> {
        self.begin_term(directive, directive.mechanism.asks_dns())?;
        let matched = self.matches(&directive.mechanism, domain).await?;
        self.note(|| match matched {
            true => Step::Matched(directive.qualifier.into()),
            false => Step::NotMatched,
        });
        Ok(matched)
    }

    /// Counts a term that causes lookups before it is evaluated (section 4.6.4).
    fn begin_term(&mut self, term: impl Display, asks_dns: bool) -> Result<(), Stop> {
        let counted = asks_dns.then(|| self.count_lookup()).transpose();
        self.note(|| Step::Term {
            term: term.to_string(),
            lookup: counted.as_ref().ok().copied().flatten(),
        });
        counted.map(|_| ())
    }

    fn count_lookup(&mut self) -> Result<Count, Stop> {
        self.lookups += 1;
        let limit = self.limits.max_lookups;
        if self.lookups > limit {
            let why = format!("more than {limit} terms that need lookups");
            return Err(Stop::PermError(why));
        }
        Ok(Count {
            used: self.lookups,
            limit,
        })
    }

    fn void_count(&self) -> Count {
        Count {
            used: self.void_lookups + self.one_family.len(),
            limit: self.limits.max_void_lookups,
        }
    }

    /// Recounts the void lookups when the limit is exceeded (section 4.6.4): looks up the
    /// other address family of names without an address of the first, oldest first, until
    /// the count is within the limit. A name with an address of any family is not void;
    /// otherwise every IPv6 client would fail on records whose hosts are IPv4-only.
    async fn recount_void_lookups(&mut self) -> Result<(), Stop> {
        let limit = self.limits.max_void_lookups;
        while self.void_count().used > limit {
            let unsettled = match self.void_lookups > limit {
                true => None,
                false => self.one_family.pop_front(),
            };
            let Some((name, missing)) = unsettled else {
                let why = format!("more than {limit} void lookups");
                return Err(Stop::PermError(why));
            };
            let has_address = self.has_address(&name, missing.other()).await;
            if !has_address.map_err(|stop| stop.of_recount(limit))? {
                self.void_lookups += 1;
            } else {
                let rtype = missing.rtype();
                self.note(|| Step::Note(format!("so {rtype} {name} was not void")));
            }
        }
        Ok(())
    }

    async fn has_address(&mut self, name: &Name, family: Family) -> Result<bool, Stop> {
        let found = match family {
            Family::A => {
                let answer = self.resolver.a(name).await;
                self.records("A", name, answer, ToString::to_string)?.len()
            }
            Family::Aaaa => {
                let answer = self.resolver.aaaa(name).await;
                self.records("AAAA", name, answer, ToString::to_string)?
                    .len()
            }
        };
        Ok(found > 0)
    }

    /// Returns the name a term is about, or `None` if it is not a valid DNS name (section
    /// 4.8). The RFC leaves open what happens then; the mechanism does not match, as for
    /// a name that does not exist.
    async fn host(
        &mut self,
        spec: Option<&DomainSpec>,
        domain: &Name,
    ) -> Result<Option<Name>, Stop> {
        let Some(spec) = spec else {
            return Ok(Some(domain.clone()));
        };
        match self.target(spec, domain).await? {
            Target::Name(name) => Ok(Some(name)),
            Target::Malformed | Target::Unmatchable => Ok(None),
        }
    }

    async fn target(&mut self, spec: &DomainSpec, domain: &Name) -> Result<Target, Stop> {
        if spec.uses_local_part() && !self.sender.local_part.is_ascii() {
            self.note(|| Step::Note("the local part is not ASCII (RFC 8616)".to_owned()));
            return Ok(Target::Unmatchable);
        }
        let validated = match spec.needs_validated_name() {
            true => self.count_validated_name(domain).await?,
            false => Vec::new(),
        };
        let bytes = spec.expand(&self.values(&domain.to_bytes(), &validated));
        if spec.has_macros() {
            self.note(|| Step::Expanded {
                spec: spec.to_string(),
                name: bytes.escape_ascii().to_string(),
            });
        }
        Ok(self.parse_target(&bytes))
    }

    fn parse_target(&mut self, bytes: &[u8]) -> Target {
        match Name::parse(bytes) {
            Ok(name) if name.labels().next().is_some() => Target::Name(name),
            Ok(_root) => Target::Malformed,
            Err(why) => {
                self.note(|| Step::Note(format!("no name that DNS can be asked for: {why}")));
                Target::Malformed
            }
        }
    }

    fn values<'v>(&'v self, domain: &'v [u8], validated: &'v [u8]) -> Values<'v> {
        Values {
            client: self.sender.client,
            local_part: self.sender.local_part.as_bytes(),
            sender_domain: &self.sender.domain_bytes,
            domain,
            helo: self.sender.helo.as_bytes(),
            validated,
            receiver: self.sender.receiver.as_bytes(),
            now: unix_time(),
        }
    }

    /// Returns whether a mechanism matches (section 5).
    async fn matches(&mut self, mechanism: &Mechanism, domain: &Name) -> Result<bool, Stop> {
        let client = self.sender.client;
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Include(spec) => self.include(spec, domain).await,
            Mechanism::A(hosts) => self.a(hosts, domain).await,
            Mechanism::Mx(hosts) => self.mx(hosts, domain).await,
            Mechanism::Ptr(spec) => self.ptr(spec.as_ref(), domain).await,
            Mechanism::Ip4(network, prefix) => {
                Ok(matches!(client, IpAddr::V4(ip) if prefix.covers(*network, ip)))
            }
            Mechanism::Ip6(network, prefix) => {
                Ok(matches!(client, IpAddr::V6(ip) if prefix.covers(*network, ip)))
            }
            Mechanism::Exists(spec) => self.exists(spec, domain).await,
        }
    }

    /// Evaluates `include` (section 5.2).
    async fn include(&mut self, spec: &DomainSpec, domain: &Name) -> Result<bool, Stop> {
        let included = match self.target(spec, domain).await? {
            Target::Name(included) => included,
            Target::Unmatchable => return Ok(false),
            Target::Malformed => return Err(malformed("include", spec)),
        };
        let finding = self.descend(&included).await;
        match finding.map_err(|stop| stop.within(format_args!("include:{spec}")))? {
            Finding::Settled(it) => match it.qualifier {
                Qualifier::Pass => Ok(true),
                Qualifier::Fail | Qualifier::SoftFail | Qualifier::Neutral => Ok(false),
            },
            Finding::NoRecord(why) => Err(Stop::PermError(format!("include:{spec}: {why}"))),
        }
    }

    async fn descend(&mut self, domain: &Name) -> Result<Finding, Stop> {
        if self.depth == MAX_DEPTH {
            let why = format!("more than {MAX_DEPTH} records inside one another");
            return Err(Stop::PermError(why));
        }
        self.depth += 1;
        let finding = self.check_host(domain).await?;
        self.depth -= 1;
        Ok(finding)
    }

    /// Evaluates `a` (section 5.3).
    async fn a(&mut self, hosts: &Hosts, domain: &Name) -> Result<bool, Stop> {
        match self.host(hosts.domain.as_ref(), domain).await? {
            Some(name) => self.host_matches(&name, hosts).await,
            None => Ok(false),
        }
    }

    async fn host_matches(&mut self, name: &Name, hosts: &Hosts) -> Result<bool, Stop> {
        let client = self.sender.client;
        let addresses = self.addresses(name).await?;
        Ok(addresses.iter().any(|&host| hosts.cover(host, client)))
    }

    /// Evaluates `mx` (section 5.4).
    async fn mx(&mut self, hosts: &Hosts, domain: &Name) -> Result<bool, Stop> {
        let Some(name) = self.host(hosts.domain.as_ref(), domain).await? else {
            return Ok(false);
        };
        let answer = self.resolver.mx(&name).await;
        let describe = |mx: &dns::Mx| format!("{} {}", mx.preference, mx.exchange);
        let exchanges = self.settle("MX", &name, answer, describe).await?;
        // Section 4.6.4. Checked before any address lookup, so that the result does not
        // depend on the order of the records.
        if exchanges.len() > MAX_HOSTS {
            let why = format!("{name} has more than {MAX_HOSTS} mail exchangers");
            return Err(Stop::PermError(why));
        }
        for mx in exchanges {
            // A null MX (RFC 7505) does not name a host.
            let is_host = mx.exchange.labels().next().is_some();
            if is_host && self.host_matches(&mx.exchange, hosts).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Evaluates `ptr` (section 5.5).
    async fn ptr(&mut self, spec: Option<&DomainSpec>, domain: &Name) -> Result<bool, Stop> {
        let Some(target) = self.host(spec, domain).await? else {
            return Ok(false);
        };
        let validated = self.validated_names().await?;
        Ok(validated.iter().any(|name| name.is_within(&target)))
    }

    async fn validated_names(&mut self) -> Result<&[Name], Stop> {
        if self.validated.is_none() {
            self.validated = Some(self.look_up_validated_names().await?);
        }
        Ok(self.validated.as_deref().unwrap_or_default())
    }

    async fn look_up_validated_names(&mut self) -> Result<Vec<Name>, Stop> {
        let client = self.sender.client;
        let answer = self.resolver.ptr(client).await;
        let name = Name::reverse(client);
        let names = self.settle("PTR", &name, answer, Name::to_string).await;
        // "If a DNS error occurs while doing the PTR RR lookup, then this
        // mechanism fails to match."
        let names = names.or_else(Stop::ignore_dns_error)?;
        let mut validated = Vec::new();
        // Section 4.6.4: "all records other than the first 10 MUST be ignored".
        for name in names.into_iter().take(MAX_HOSTS) {
            // "If a DNS error occurs while doing an A RR lookup, then that
            // domain name is skipped and the search continues."
            let addresses = self.addresses(&name).await;
            let addresses = addresses.or_else(Stop::ignore_dns_error)?;
            if addresses.contains(&client) {
                validated.push(name);
            }
        }
        Ok(validated)
    }

    /// Evaluates `exists` (section 5.7): "The lookup type is A even when the connection
    /// type is IPv6."
    async fn exists(&mut self, spec: &DomainSpec, domain: &Name) -> Result<bool, Stop> {
        let Some(name) = self.host(Some(spec), domain).await? else {
            return Ok(false);
        };
        let answer = self.resolver.a(&name).await;
        let found = self.settle_family(Family::A, &name, answer).await?;
        Ok(!found.is_empty())
    }

    /// Evaluates `redirect` (section 6.1).
    async fn redirect(&mut self, spec: &DomainSpec, domain: &Name) -> Result<Finding, Stop> {
        let term = format!("redirect={spec}");
        self.begin_term(&term, true)?;
        let Target::Name(target) = self.target(spec, domain).await? else {
            return Err(malformed("redirect", spec));
        };
        let finding = self.descend(&target).await;
        match finding.map_err(|stop| stop.within(&term))? {
            Finding::Settled(it) => Ok(Finding::Settled(Settled {
                reason: format!("{term}: {}", it.reason),
                ..it
            })),
            // "If no SPF record is found [...], the result is a 'permerror'
            // rather than 'none'."
            Finding::NoRecord(why) => Err(Stop::PermError(format!("{term}: {why}"))),
        }
    }

    /// Looks up the explanation of a fail (section 6.2). An error does not change the
    /// result.
    async fn explain(&mut self, explanation: &Explanation) -> Option<String> {
        // Section 4.6.4: this lookup happens after the evaluation and does not
        // count.
        self.limits.max_lookups = usize::MAX;
        self.limits.max_void_lookups = usize::MAX;
        let Explanation { spec, domain } = explanation;
        let Ok(Target::Name(name)) = self.target(spec, domain).await else {
            return None;
        };
        let answer = self.resolver.txt(&name, Purpose::Other).await;
        let quote = |text: &Vec<u8>| format!("\"{}\"", text.escape_ascii());
        self.note_question("TXT", &name, &answer, quote);
        match answer {
            Answer::Found(found) => match found.records.as_slice() {
                [text] => self.expand_explanation(text, domain).await,
                _ => None,
            },
            Answer::Absent(_) | Answer::Temperror(_) => None,
        }
    }

    async fn expand_explanation(&mut self, text: &[u8], domain: &Name) -> Option<String> {
        let text = ExplainString::parse(text).ok()?;
        let validated = match text.needs_validated_name() {
            true => self.validated_name(domain).await.ok()?,
            false => Vec::new(),
        };
        text.expand(&self.values(&domain.to_bytes(), &validated))
    }

    /// Counts the PTR lookup of `%{p}` like those of the terms (section 4.6.4).
    async fn count_validated_name(&mut self, domain: &Name) -> Result<Vec<u8>, Stop> {
        self.count_lookup()?;
        self.validated_name(domain).await
    }

    /// Returns the value of `%{p}` (section 7.3): the domain itself if it is among the
    /// validated names, else a subdomain of it, else any validated name.
    async fn validated_name(&mut self, domain: &Name) -> Result<Vec<u8>, Stop> {
        let names = self.validated_names().await?;
        let exact = names.iter().find(|&name| name == domain);
        let within = || names.iter().find(|name| name.is_within(domain));
        let name = exact.or_else(within).or(names.first());
        Ok(name.map_or_else(|| b"unknown".to_vec(), Name::to_bytes))
    }

    /// Looks up A records for an IPv4 client and AAAA records for an IPv6 client (section
    /// 5).
    async fn addresses(&mut self, name: &Name) -> Result<Vec<IpAddr>, Stop> {
        match self.sender.client {
            IpAddr::V4(_) => {
                let answer = self.resolver.a(name).await;
                let found = self.settle_family(Family::A, name, answer).await?;
                Ok(found.into_iter().map(IpAddr::V4).collect())
            }
            IpAddr::V6(_) => {
                let answer = self.resolver.aaaa(name).await;
                let found = self.settle_family(Family::Aaaa, name, answer).await?;
                Ok(found.into_iter().map(IpAddr::V6).collect())
            }
        }
    }

    /// Returns the addresses of a lookup that may turn out to be void.
    async fn settle_family<T: ToString + Send>(
        &mut self,
        family: Family,
        name: &Name,
        answer: Answer<T>,
    ) -> Result<Vec<T>, Stop> {
        if let Answer::Absent(Absence::NoData) = answer {
            self.one_family.push_back((name.clone(), family));
            self.count_void(family.rtype(), name, Absence::NoData)
                .await?;
            return Ok(Vec::new());
        }
        self.settle(family.rtype(), name, answer, T::to_string)
            .await
    }

    /// Returns the records of a lookup and counts void lookups (section 4.6.4).
    async fn settle<T>(
        &mut self,
        rtype: &'static str,
        name: &Name,
        answer: Answer<T>,
        describe: impl Fn(&T) -> String,
    ) -> Result<Vec<T>, Stop> {
        if let Answer::Absent(absence) = answer {
            self.void_lookups += 1;
            self.count_void(rtype, name, absence).await?;
            return Ok(Vec::new());
        }
        self.records(rtype, name, answer, describe)
    }

    async fn count_void(
        &mut self,
        rtype: &'static str,
        name: &Name,
        absence: Absence,
    ) -> Result<(), Stop> {
        let count = self.void_count();
        let is_exceeded = count.used > count.limit;
        self.note(|| Step::Question {
            rtype,
            name: name.to_string(),
            outcome: absence.to_string(),
            void: (!is_exceeded).then_some(count),
        });
        match is_exceeded {
            // Boxed because it is rare and would make every future larger.
            true => Box::pin(self.recount_void_lookups()).await,
            false => Ok(()),
        }
    }

    /// Converts an answer to records (section 5): a DNS error ends the evaluation; a name
    /// that does not exist has no records.
    fn records<T>(
        &mut self,
        rtype: &'static str,
        name: &Name,
        answer: Answer<T>,
        describe: impl Fn(&T) -> String,
    ) -> Result<Vec<T>, Stop> {
        self.note_question(rtype, name, &answer, describe);
        match answer {
            Answer::Found(found) => Ok(found.records),
            Answer::Absent(_) => Ok(Vec::new()),
            Answer::Temperror(failure) => {
                Err(Stop::TempError(format!("{rtype} {name}: {failure}")))
            }
        }
    }

    fn note_question<T>(
        &mut self,
        rtype: &'static str,
        name: &Name,
        answer: &Answer<T>,
        describe: impl Fn(&T) -> String,
    ) {
        self.note(|| Step::Question {
            rtype,
            name: name.to_string(),
            outcome: answer.describe(describe),
            void: None,
        });
    }

    fn note(&mut self, step: impl FnOnce() -> Step) {
        self.observer.note(self.depth, step);
    }
}

/// Returns the domain of the explanation if the match is a fail and the caller needs it.
fn explanation<O: Observer>(
    directive: &Directive,
    record: &Record,
    domain: &Name,
) -> Option<Explanation> {
    let wanted = O::WANTS_EXPLANATION && directive.qualifier == Qualifier::Fail;
    let spec = record.explanation().filter(|_| wanted)?;
    Some(Explanation {
        spec: spec.clone(),
        domain: domain.clone(),
    })
}

/// Returns the permerror for a malformed domain: section 4.3 gives "none", which sections
/// 5.2 and 6.1 turn into a permerror.
fn malformed(term: &str, spec: &DomainSpec) -> Stop {
    Stop::PermError(format!("{term} of {spec} leads to no domain name"))
}

fn unix_time() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

impl Family {
    fn rtype(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::A => Self::Aaaa,
            Self::Aaaa => Self::A,
        }
    }
}

impl Stop {
    /// Marks a DNS failure during the recount of void lookups.
    fn of_recount(self, limit: usize) -> Self {
        match self {
            Self::TempError(why) => {
                let why = format!("unknown whether more than {limit} lookups are void: {why}");
                Self::LimitUnknown(why)
            }
            Self::LimitUnknown(_) | Self::PermError(_) => self,
        }
    }

    fn within(self, term: impl Display) -> Self {
        match self {
            Self::TempError(why) => Self::TempError(format!("{term}: {why}")),
            Self::LimitUnknown(why) => Self::LimitUnknown(format!("{term}: {why}")),
            Self::PermError(why) => Self::PermError(format!("{term}: {why}")),
        }
    }

    /// Treats a DNS error like an empty answer, for `ptr` (section 5.5). A limit that was
    /// or may have been exceeded still ends the evaluation: otherwise a DNS failure could
    /// turn a permerror into a pass.
    fn ignore_dns_error<T: Default>(self) -> Result<T, Self> {
        match self {
            Self::TempError(_) => Ok(T::default()),
            Self::LimitUnknown(_) | Self::PermError(_) => Err(self),
        }
    }
}

impl From<SyntaxError> for Stop {
    fn from(error: SyntaxError) -> Self {
        Self::PermError(error.to_string())
    }
}

impl From<Qualifier> for SpfResult {
    fn from(qualifier: Qualifier) -> Self {
        match qualifier {
            Qualifier::Pass => Self::Pass,
            Qualifier::Fail => Self::Fail,
            Qualifier::SoftFail => Self::SoftFail,
            Qualifier::Neutral => Self::Neutral,
        }
    }
}
