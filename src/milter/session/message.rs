//! The message of a mail transaction as it comes in: its header block, capped,
//! and of its body nothing but hashes.

use crate::{
    authentication_results,
    checks::{Checks, Pending},
    dkim,
    dns::Resolve,
    policy::Authentication,
    telemetry::{log::Limit, metrics},
};

/// Forged fields that are removed. A message with more is not let through with
/// the rest of them.
const MAX_FORGED: usize = 1000;

/// The octets of a Message-ID that tell it from others.
const MAX_ID: usize = 998;

/// A message that is being received.
#[derive(Debug)]
pub(super) struct Message {
    signatures: Signatures,
    /// Authentication-Results fields seen so far, ours or not.
    results_fields: i32,
    /// The numbers of those that claim to be ours, ascending.
    forged: Vec<i32>,
    too_many_forged: bool,
    /// The first Message-ID field, if it is asked for.
    id: Option<Box<[u8]>>,
    /// Whether the MTA hands header fields over exactly as they are.
    keeps_leading_space: bool,
}

/// How far DKIM is.
#[derive(Debug)]
enum Signatures {
    /// The header block is still coming.
    Header(dkim::HeaderBlock),
    /// Keys and body are coming.
    Verifying(Box<Verifying>),
    /// No signature is needed, or all are verified.
    Settled(Option<dkim::Outcome>),
}

#[derive(Debug)]
struct Verifying {
    verification: dkim::Verification,
    body: dkim::BodyHasher,
    keys: Pending<dkim::Keys>,
    /// How the body begins, if the MTA does not keep leading space and may have put the
    /// header there.
    start: Option<Vec<u8>>,
}

/// The bytes of a body that are compared with the header: enough for the name of a
/// field.
const MAX_START: usize = 128;

impl Verifying {
    fn body(&mut self, chunk: &[u8]) -> bool {
        if let Some(start) = &mut self.start {
            let room = MAX_START - start.len();
            start.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        self.body.update(chunk);
        self.body.is_needed()
    }

    fn work_ahead(&mut self) {
        if let Some(keys) = self.keys.available() {
            self.verification.verify_header(keys);
        }
    }

    /// Finds out whether the MTA handed over the whole message as the body, as Stalwart
    /// does. A body that happens to look like this loses nothing if it verifies.
    fn look_for_header(&mut self) {
        static LIMIT: Limit = Limit::same_text();
        let Some(start) = &self.start else { return };
        let header_in_body = self.verification.is_in_body(start);
        if header_in_body {
            LIMIT.log(
                "the MTA hands over the whole message, with its header, as the body: DKIM can't \
                 be verified there and is a temperror",
            );
        }
        self.verification.set_damage(dkim::Damage {
            leading_space_lost: true,
            header_in_body,
        });
    }

    /// Boxed, so that it is no part of what waits.
    async fn finish(mut self: Box<Self>) -> dkim::Outcome {
        self.look_for_header();
        let keys = self.keys.get().await;
        self.verification.verify(&self.body.finish(), keys)
    }
}

impl Message {
    /// An empty message whose header block may have `header_bytes` octets.
    /// `keeps_id` is whether [`Message::id`] will be asked for.
    pub(super) fn new(header_bytes: usize, keeps_id: bool, keeps_leading_space: bool) -> Self {
        Self {
            signatures: Signatures::Header(dkim::HeaderBlock::new(header_bytes)),
            results_fields: 0,
            forged: Vec::new(),
            too_many_forged: false,
            id: keeps_id.then(Box::default),
            keeps_leading_space,
        }
    }

    /// Takes a header field, looking for forgeries of `authserv_id`'s.
    pub(super) fn header(&mut self, name: &[u8], value: &[u8], authserv_id: Option<&str>) {
        if let Signatures::Header(block) = &mut self.signatures {
            block.push(name, value);
        }
        // White space before the colon is obsolete syntax, which some MTAs keep.
        let name = name.trim_ascii_end();
        if let Some(id) = &mut self.id
            && id.is_empty()
            && name.eq_ignore_ascii_case(b"Message-ID")
        {
            *id = value[..value.len().min(MAX_ID)].into();
        }
        if name.eq_ignore_ascii_case(authentication_results::NAME.as_bytes()) {
            self.results_fields += 1;
            let value = String::from_utf8_lossy(value);
            let forged = authserv_id.is_some_and(|id| authentication_results::claims(&value, id));
            match self.forged.len() {
                0..MAX_FORGED if forged => self.forged.push(self.results_fields),
                _ => self.too_many_forged |= forged,
            }
        }
    }

    /// The first Message-ID field; empty if there is none or it is not kept.
    pub(super) fn id(&self) -> &[u8] {
        self.id.as_deref().unwrap_or_default()
    }

    /// Whether keys and body are coming.
    pub(super) fn is_being_verified(&self) -> bool {
        matches!(self.signatures, Signatures::Verifying(_))
    }

    /// Whether a signature is there that might pass.
    pub(super) fn is_signed(&self) -> bool {
        match &self.signatures {
            // An MTA that sends no header may have it in the body.
            Signatures::Header(block) => {
                block.is_signed() || (!self.keeps_leading_space && block.is_empty())
            }
            Signatures::Verifying(_) => true,
            Signatures::Settled(outcome) => outcome.is_some(),
        }
    }

    /// The numbers of the forged fields, ascending.
    pub(super) fn forged(&self) -> &[i32] {
        &self.forged
    }

    /// Whether it has more forged fields than can be removed.
    pub(super) fn is_over_limits(&self) -> bool {
        self.too_many_forged
    }

    /// Begins to fetch keys and to hash the body.
    pub(super) fn start_dkim<R: Resolve>(
        &mut self,
        checks: &Checks<R>,
        settings: dkim::Settings,
        mail_from: Option<&str>,
    ) {
        let block = match self.take_signatures() {
            Signatures::Header(block) => block,
            // A second end of headers: the first one counts.
            begun @ (Signatures::Verifying(_) | Signatures::Settled(_)) => {
                self.signatures = begun;
                return;
            }
        };
        let verification = dkim::Verification::new(block, &settings, mail_from);
        self.signatures = Signatures::Verifying(Box::new(Verifying {
            body: verification.body_hasher(),
            keys: checks.dkim_keys(&verification),
            verification,
            start: (!self.keeps_leading_space).then(Vec::new),
        }));
    }

    /// Takes a piece of the body. Says whether more of it is wanted.
    pub(super) fn body(&mut self, chunk: &[u8]) -> bool {
        match &mut self.signatures {
            Signatures::Verifying(verifying) => verifying.body(chunk),
            Signatures::Header(_) | Signatures::Settled(_) => false,
        }
    }

    /// Verifies what does not depend on the rest of the body, if the keys are at hand.
    pub(super) fn work_ahead(&mut self) {
        if let Signatures::Verifying(verifying) = &mut self.signatures {
            verifying.work_ahead();
        }
    }

    /// Waits for the keys and verifies.
    pub(super) async fn verify(&mut self) -> Authentication {
        let outcome = match self.take_signatures() {
            Signatures::Verifying(verifying) => Some(verifying.finish().await),
            Signatures::Settled(outcome) => outcome,
            // The MTA left the end of headers out, so the body is lost.
            Signatures::Header(_) => None,
        };
        let authentication = outcome.as_ref().map(dkim::Outcome::authentication);
        self.signatures = Signatures::Settled(outcome);
        let result = authentication.unwrap_or(Authentication::Temperror);
        metrics::get().checks.dkim.result(result);
        result
    }

    fn take_signatures(&mut self) -> Signatures {
        std::mem::replace(&mut self.signatures, Signatures::Settled(None))
    }

    /// The result of [`Self::verify`], if it was needed.
    pub(super) fn dkim(&self) -> Option<&dkim::Outcome> {
        match &self.signatures {
            Signatures::Settled(outcome) => outcome.as_ref(),
            Signatures::Header(_) | Signatures::Verifying(_) => None,
        }
    }
}
