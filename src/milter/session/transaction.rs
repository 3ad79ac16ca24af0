//! A mail transaction: collects the facts that the policy needs, carries out its verdicts and
//! logs them.

use super::{
    Edits, Response,
    message::Message,
    peer::Peer,
    recipients::Recipients,
    reply,
    results::{authserv_id, cover_unchecked_mail},
};
use crate::{
    address::{Recipient, ReversePath},
    checks::{Pending, Sender},
    config::Mode,
    deferrals::Uptime,
    dns::Resolve,
    enforcement::ObservedBy,
    forwarder::Identified,
    milter::drain::PendingTransaction,
    opt_in,
    policy::{Check, Facts, OptIn, Refusal, Rule, Stage, Step, Tls, Verdict, decide},
    refusal_details::{self, Evidence},
    reply::{Class, Reply},
    snapshot::Snapshot,
    spf,
    telemetry::{self, Decision, Exemption, log::Limit},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The verdict on a message that can't be checked, whatever `on_dns_failure` is.
const BROKEN: Verdict = Verdict::Refuse(Rule::AuthTemperror, Refusal::Temporary);

/// The MAIL command and what the MTA knows about its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailCommand {
    /// The sender.
    pub reverse_path: ReversePath,
    /// Whether the client authenticated by SASL.
    pub authenticated: bool,
    /// How the client uses TLS.
    pub tls: Tls,
    /// The common name of the client's certificate, if the MTA verified it.
    pub certificate: Option<String>,
    /// The message size that the client declared, in bytes (RFC 1870).
    pub size: Option<u64>,
}

/// A mail transaction that is checked, or gets an Authentication-Results field.
#[derive(Debug)]
pub(super) struct Transaction<R> {
    pub(super) snapshot: Arc<Snapshot<R>>,
    scope: Scope,
    pub(super) facts: Facts,
    pub(super) reverse_path: ReversePath,
    size: Option<u64>,
    pub(super) authserv_id: Option<String>,
    /// Whether the field has results for every method.
    pub(super) is_complete: bool,
    /// Whether the results that only the field needs are complete.
    pub(super) has_results: bool,
    /// Started after the reply to MAIL, so that it is usually available at the end of headers.
    spf: Option<Pending<spf::Outcome>>,
    /// Started together with `spf`, if the field has results for every method.
    pub(super) helo_spf: Option<Box<Pending<spf::Outcome>>>,
    opt_in: Option<opt_in::Answer>,
    pub(super) forwarder: Option<Box<Identified>>,
    recipients: Recipients,
    pub(super) message: Message,
    /// The verdict, if it was reached before the end of the message.
    settled: Option<Verdict>,
    /// The time that the MTA has waited for checks.
    pub(super) waited: Duration,
    _pending: PendingTransaction,
}

/// How a mail transaction is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The policy decides.
    Checked,
    /// Rules 2 to 5 have accepted it, and it gets an Authentication-Results field.
    ResultsOnly,
}

impl<R: Resolve> Transaction<R> {
    /// Begins a transaction at MAIL; `None` if rules 4 and 5 exempt it, unless exempt mail
    /// gets an Authentication-Results field, too.
    pub(super) fn begin(
        snapshot: &Arc<Snapshot<R>>,
        peer: &Peer,
        command: MailCommand,
        pending: PendingTransaction,
    ) -> Option<Self> {
        let policy = &snapshot.config.policy;
        let certificate = command.certificate.as_deref();
        let facts = Facts {
            authenticated: command.authenticated,
            tls: command.tls,
            certificate_named: certificate
                .is_some_and(|name| policy.certificate_pattern(name).is_some()),
            ..Facts::new(peer.client.addr)
        };
        let results = &snapshot.config.authentication_results;
        let mut scope = match peer.is_exempt {
            true => Scope::ResultsOnly,
            false => Scope::Checked,
        };
        if scope == Scope::Checked
            && let Step::Done(Verdict::Accept(rule)) = decide(Stage::Mail, policy, &facts)
        {
            telemetry::log_exempt(&Exemption {
                client: &peer.client,
                stage: Stage::Mail,
                rule,
                seen_as: None,
                certificate: certificate.filter(|_| rule == Rule::ExemptTls),
                entry: None,
                mode: snapshot.config.mode,
            });
            if !cover_unchecked_mail(results, &peer.client) {
                return None;
            }
            scope = Scope::ResultsOnly;
        }
        let authserv_id = authserv_id(results, &peer.client).cloned();
        Some(Self {
            snapshot: Arc::clone(snapshot),
            scope,
            facts,
            is_complete: authserv_id.is_some() && (results.complete || scope == Scope::ResultsOnly),
            has_results: false,
            authserv_id,
            spf: None,
            helo_spf: None,
            reverse_path: command.reverse_path,
            size: command.size,
            opt_in: None,
            forwarder: None,
            recipients: Recipients::default(),
            message: Message::new(
                snapshot.config.limits.header_bytes,
                snapshot.deferrals.is_some(),
                peer.mta.keeps_leading_space,
            ),
            settled: None,
            waited: Duration::ZERO,
            _pending: pending,
        })
    }

    /// Decides about a recipient.
    pub(super) async fn rcpt(
        &mut self,
        peer: &mut Peer,
        recipient: Recipient,
        queue_id: Option<&str>,
    ) -> Response {
        if self.scope == Scope::ResultsOnly {
            return Response::Continue;
        }
        let mode = self.snapshot.enforcement.mode_for(&recipient);
        let start = Instant::now();
        self.look_up_opt_in(&recipient).await;
        let verdict = self.settle(Stage::Rcpt, start, peer).await;
        let response = match verdict {
            Verdict::Continue | Verdict::Accept(_) => Response::Continue,
            Verdict::Refuse(rule, refusal) => {
                let domain = recipient.domain.to_string();
                let reply = self.reply(peer, rule, refusal, &domain);
                let observed_by = self.snapshot.enforcement.observed_by(mode, rule, peer.ip);
                let deferred_for = match observed_by {
                    None => self.deferred_for(peer, rule, &reply, recipient.address.as_bytes()),
                    Some(_) => None,
                };
                let reply = give_up(reply, deferred_for);
                telemetry::log_decision(&Decision {
                    mode: effective(observed_by),
                    observed_by,
                    deferred_for,
                    reply: Some(&reply),
                    recipient: Some(&recipient),
                    ..self.decision(peer, Stage::Rcpt, rule, queue_id)
                });
                carry_out(observed_by, reply)
            }
        };
        if response == Response::Continue {
            self.recipients.add(&recipient, mode);
        }
        response
    }

    async fn look_up_opt_in(&mut self, recipient: &Recipient) {
        self.facts.opt_in = None;
        let checks = &self.snapshot.checks;
        self.opt_in = Some(checks.opt_in(recipient.domain.name()).await);
    }

    /// Processes a header field.
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        self.message
            .header(name, value, self.authserv_id.as_deref());
    }

    /// Decides about the message if no signature can change the decision, else starts to
    /// verify signatures.
    pub(super) async fn end_of_headers(
        &mut self,
        peer: &mut Peer,
        queue_id: Option<&str>,
    ) -> Response {
        self.facts.signed = self.message.is_signed();
        if self.scope == Scope::ResultsOnly {
            return self.end_of_unchecked_headers(peer);
        }
        let verdict = match self.has_forged_fields_that_would_stay(peer) {
            true => {
                self.log_forged_fields(peer);
                BROKEN
            }
            false => self.settle(Stage::EndOfHeaders, Instant::now(), peer).await,
        };
        match verdict {
            Verdict::Continue => {
                self.start_dkim();
                Response::Continue
            }
            // Logged at the end of the message, when its queue ID is known.
            accept @ Verdict::Accept(_) => {
                self.settled = Some(accept);
                self.start_dkim_for_results();
                Response::Continue
            }
            refuse @ Verdict::Refuse(rule, refusal) => {
                self.settled = Some(refuse);
                let response =
                    self.refuse_message(peer, Stage::EndOfHeaders, rule, refusal, queue_id);
                if response == Response::Continue {
                    self.start_dkim_for_results();
                }
                response
            }
        }
    }

    /// Refuses unchecked mail only if forged fields would stay in it, because programs would
    /// trust them.
    fn end_of_unchecked_headers(&mut self, peer: &Peer) -> Response {
        if self.has_forged_fields_that_would_stay(peer)
            && self.observed_by(peer, Rule::AuthTemperror).is_none()
        {
            self.log_forged_fields(peer);
            return Response::Refuse(self.reply(peer, Rule::AuthTemperror, Refusal::Temporary, ""));
        }
        self.start_dkim_for_results();
        Response::Continue
    }

    /// Returns whether forged fields would stay in the message, as far as that is a reason
    /// to refuse it.
    fn has_forged_fields_that_would_stay(&self, peer: &Peer) -> bool {
        let is_strict = self.snapshot.config.authentication_results.strict;
        let stays = is_strict && !peer.mta.removes_fields && !self.message.forged().is_empty();
        stays || self.message.is_over_limits()
    }

    /// Logs why forged fields would stay, which the decision line does not say.
    fn log_forged_fields(&self, peer: &Peer) {
        static LIMIT: Limit = Limit::warnings();
        let cause = match self.message.is_over_limits() {
            true => "there are too many",
            false => "the MTA can't remove them (authentication_results.strict)",
        };
        LIMIT.log(format_args!(
            "forged Authentication-Results fields would stay in a message: {cause} client={}",
            peer.ip
        ));
    }

    /// Processes a body chunk; returns whether more of the body is needed.
    pub(super) fn body(&mut self, chunk: &[u8]) -> bool {
        telemetry::metrics::get()
            .body_bytes
            .inc_by(chunk.len() as u64);
        (self.settled.is_none() || self.is_complete) && self.message.body(chunk)
    }

    /// Starts the work that will be needed.
    pub(super) fn work_ahead(&mut self, peer: &Peer) {
        self.spf(peer);
        self.start_results(peer);
        self.message.work_ahead();
    }

    /// Decides about the message.
    pub(super) async fn end_of_message(
        &mut self,
        peer: &mut Peer,
        queue_id: Option<&str>,
    ) -> (Response, Edits) {
        let response = match self.scope {
            Scope::Checked => self.decide_message(peer, queue_id).await,
            Scope::ResultsOnly => Response::Continue,
        };
        let edits = match response {
            Response::Continue | Response::Accept => self.edits(peer).await,
            Response::Refuse(_) => Edits::default(),
        };
        (response, edits)
    }

    async fn decide_message(&mut self, peer: &mut Peer, queue_id: Option<&str>) -> Response {
        match self.settled {
            // Logged at the end of headers. If the MTA continues nevertheless, as it does in
            // observe mode, the verdict is the same.
            Some(Verdict::Refuse(rule, refusal)) => carry_out(
                self.observed_by(peer, rule),
                self.reply(peer, rule, refusal, ""),
            ),
            Some(verdict) => {
                // Before the decision line, which contains the results.
                self.complete_results(peer).await;
                self.conclude(peer, verdict, queue_id)
            }
            None if self.message.is_being_verified() => {
                let start = Instant::now();
                let verdict = self.settle(Stage::EndOfMessage, start, peer).await;
                self.conclude(peer, verdict, queue_id)
            }
            // The MTA omitted the end of headers. That is not a DNS failure, which the
            // configuration may accept.
            None => self.conclude(peer, BROKEN, queue_id),
        }
    }

    fn conclude(&self, peer: &Peer, verdict: Verdict, queue_id: Option<&str>) -> Response {
        let (rule, refusal) = match verdict {
            Verdict::Accept(rule) => {
                // Accepted by `on_dns_failure`, the message has not passed.
                if rule != Rule::AuthTemperror {
                    self.sender_passed(peer);
                }
                telemetry::log_decision(&self.decision(peer, Stage::EndOfMessage, rule, queue_id));
                return Response::Continue;
            }
            Verdict::Refuse(rule, refusal) => (rule, refusal),
            // The policy always decides here. If it ever did not, the message must not be
            // accepted.
            Verdict::Continue => (Rule::AuthTemperror, Refusal::Temporary),
        };
        self.refuse_message(peer, Stage::EndOfMessage, rule, refusal, queue_id)
    }

    /// Runs the checks that the policy needs until it reaches a verdict. The MTA has waited
    /// since `start`.
    async fn settle(&mut self, stage: Stage, start: Instant, peer: &mut Peer) -> Verdict {
        loop {
            match decide(stage, &self.snapshot.config.policy, &self.facts) {
                Step::Need(check) => self.run_check(check, start, peer).await,
                Step::Done(verdict) => {
                    let waited = start.elapsed();
                    self.waited += waited;
                    telemetry::metrics::get().waited(stage, waited);
                    return verdict;
                }
            }
        }
    }

    async fn run_check(&mut self, check: Check, since: Instant, peer: &mut Peer) {
        match check {
            Check::OptIn => {
                let answer = self.opt_in.map(|answer| answer.opt_in);
                self.facts.opt_in = Some(answer.unwrap_or(OptIn::Temperror));
            }
            Check::Ptr => self.facts.ptr = Some(peer.reverse.get().await.result),
            Check::Confirmation => self.facts.confirmation = Some(*peer.confirmation.get().await),
            Check::Spf => self.facts.spf = Some(self.spf(peer).get().await.authentication()),
            Check::Forwarder => {
                // Boxed, because it is rare and larger than all other futures.
                let identified = peer.identify_forwarder(&self.snapshot.checks, since);
                let identified = Box::pin(identified).await;
                self.facts.forwarder = Some(identified.result);
                self.forwarder = Some(Box::new(identified));
            }
            Check::Dkim => self.facts.dkim = Some(self.message.verify().await),
        }
    }

    /// Returns the SPF evaluation, which is started by the first call.
    pub(super) fn spf(&mut self, peer: &Peer) -> &mut Pending<spf::Outcome> {
        self.spf.get_or_insert_with(|| {
            self.snapshot.checks.spf(Sender {
                client: peer.ip,
                reverse_path: self.reverse_path.clone(),
                helo: peer.helo.clone(),
            })
        })
    }

    /// Returns the SPF result, if it was needed.
    pub(super) fn known_spf(&self) -> Option<&spf::Outcome> {
        self.spf.as_ref().and_then(Pending::known)
    }

    /// Starts to verify signatures that no rule needs, if the field needs their results.
    fn start_dkim_for_results(&mut self) {
        if self.is_complete && self.facts.signed {
            self.start_dkim();
        }
    }

    fn start_dkim(&mut self) {
        let settings = self.snapshot.checks.dkim_settings();
        self.message
            .start_dkim(&self.snapshot.checks, settings, self.reverse_path.domain());
    }

    fn refuse_message(
        &self,
        peer: &Peer,
        stage: Stage,
        rule: Rule,
        refusal: Refusal,
        queue_id: Option<&str>,
    ) -> Response {
        let reply = self.reply(peer, rule, refusal, "");
        let observed_by = self.observed_by(peer, rule);
        let deferred_for = match observed_by {
            None => self.deferred_for(peer, rule, &reply, b""),
            Some(_) => None,
        };
        let reply = give_up(reply, deferred_for);
        telemetry::log_decision(&Decision {
            mode: effective(observed_by),
            observed_by,
            deferred_for,
            reply: Some(&reply),
            ..self.decision(peer, stage, rule, queue_id)
        });
        carry_out(observed_by, reply)
    }

    /// Records that the sender is deferred. Returns for how long it has been deferred, if that
    /// is long enough to give it up (`replies.give_up_after`). `recipient` is empty for a
    /// message.
    fn deferred_for(
        &self,
        peer: &Peer,
        rule: Rule,
        reply: &Reply,
        recipient: &[u8],
    ) -> Option<Duration> {
        let deferrals = self.snapshot.deferrals.as_ref()?;
        let after = self.snapshot.config.replies.give_up_after?;
        if !rule.sender_must_fix() || reply.class() == Class::Permanent {
            return None;
        }
        let pair = deferrals.pair(peer.ip, self.reverse_path.domain())?;
        let number = self.recipients.number.to_be_bytes();
        let message = deferrals.message(&[
            self.reverse_path.to_string().as_bytes(),
            &self.size.unwrap_or_default().to_be_bytes(),
            recipient,
            // At RCPT neither the message nor the number of recipients is known yet.
            if recipient.is_empty() { &number } else { &[] },
            self.message.id(),
        ]);
        let deferred_for = deferrals.deferred(pair, message, after, Uptime::now()?);
        telemetry::metrics::get().remembered_deferrals(deferrals.len());
        deferred_for
    }

    /// Records that a message of the sender passed, so that it is not given up.
    fn sender_passed(&self, peer: &Peer) {
        if let Some(deferrals) = &self.snapshot.deferrals
            && let Some(pair) = deferrals.pair(peer.ip, self.reverse_path.domain())
        {
            deferrals.passed(pair);
        }
    }

    /// Returns the reply to a refusal. `domain` is the recipient's at RCPT, and empty for a
    /// message.
    fn reply(&self, peer: &Peer, rule: Rule, refusal: Refusal, domain: &str) -> Reply {
        let reply = reply(&self.snapshot, peer.ip, refusal, domain);
        let replies = &self.snapshot.config.replies;
        if !replies.details {
            return reply;
        }
        let only_domain = match self.recipients.domains.as_slice() {
            [only] if !self.recipients.more_domains => only.to_string(),
            _ => String::new(),
        };
        let evidence = Evidence {
            rule,
            refusal,
            address: peer.ip,
            domain: if domain.is_empty() {
                &only_domain
            } else {
                domain
            },
            reverse: peer.reverse.known(),
            spf: self.known_spf(),
            dkim: self.message.dkim(),
        };
        reply.with_details(refusal_details::lines(&evidence, replies.url.as_ref()))
    }

    /// Returns the mode of the message according to its recipients.
    fn mode(&self) -> Mode {
        self.recipients.mode(self.snapshot.config.mode)
    }

    /// Returns why a refusal of the message is not carried out; `None` if it is.
    fn observed_by(&self, peer: &Peer, rule: Rule) -> Option<ObservedBy> {
        self.snapshot
            .enforcement
            .observed_by(self.mode(), rule, peer.ip)
    }

    /// Returns the decision to log, without reply and recipient.
    fn decision<'a>(
        &'a self,
        peer: &'a Peer,
        stage: Stage,
        rule: Rule,
        queue_id: Option<&'a str>,
    ) -> Decision<'a> {
        let names = peer.reverse.known().map(|reverse| reverse.names.as_slice());
        Decision {
            queue_id,
            mode: self.mode(),
            observed_by: None,
            deferred_for: None,
            stage,
            rule,
            reply: None,
            client: &peer.client,
            helo: peer.helo.as_deref(),
            reverse_path: &self.reverse_path,
            recipient: None,
            recipients: self.recipients.number,
            recipient_domains: &self.recipients.domains,
            more_recipient_domains: self.recipients.more_domains,
            opt_in: self.opt_in.map(|answer| answer.source),
            ptr: self.facts.ptr,
            ptr_names: names.unwrap_or_default(),
            spf: self.known_spf(),
            forwarder: self.forwarder.as_deref(),
            signed: self.facts.signed,
            dkim: self.message.dkim(),
            waited: self.waited,
        }
    }
}

/// Makes the reply permanent if the sender has been deferred for long enough.
fn give_up(reply: Reply, deferred_for: Option<Duration>) -> Reply {
    match deferred_for {
        Some(time) => refusal_details::given_up(reply.given_up(), time),
        None => reply,
    }
}

fn effective(observed_by: Option<ObservedBy>) -> Mode {
    match observed_by {
        None => Mode::Enforce,
        Some(_) => Mode::Observe,
    }
}

fn carry_out(observed_by: Option<ObservedBy>, reply: Reply) -> Response {
    match effective(observed_by) {
        Mode::Enforce => Response::Refuse(reply),
        Mode::Observe => Response::Continue,
    }
}
