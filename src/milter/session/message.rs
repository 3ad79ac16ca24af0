//! The message of a mail transaction while it is received: its header block, limited in size,
//! and hashes of its body.

use crate::{
    authentication_results,
    checks::{Checks, Pending},
    dkim,
    dns::Resolve,
    policy::Authentication,
    telemetry::{log::Limit, metrics},
};

/// The maximum number of forged fields that are removed. A message with more is refused.
const MAX_FORGED: usize = 1000;

/// The number of bytes of a Message-ID that are compared.
const MAX_ID: usize = 998;

/// A message that is being received.
#[derive(Debug)]
pub(super) struct Message {
    signatures: Signatures,
    /// The number of Authentication-Results fields so far, of any authserv-id.
    results_fields: i32,
    /// The numbers of those with our authserv-id, ascending.
    forged: Vec<i32>,
    too_many_forged: bool,
    /// The first Message-ID field, if it is needed.
    id: Option<Box<[u8]>>,
    /// Whether the MTA passes header fields with the white space after the colon.
    keeps_leading_space: bool,
}

/// The state of DKIM verification.
#[derive(Debug)]
enum Signatures {
    /// The header block is being received.
    Header(dkim::HeaderBlock),
    /// The keys are being looked up and the body is being received.
    Verifying(Box<Verifying>),
    /// All signatures are verified, or none needs to be.
    Settled(Option<dkim::Outcome>),
}

#[derive(Debug)]
struct Verifying {
    verification: dkim::Verification,
    body: dkim::BodyHasher,
    keys: Pending<dkim::Keys>,
    /// The start of the body, if the MTA does not keep leading space: such an MTA may pass the
    /// header as part of the body.
    start: Option<Vec<u8>>,
}

/// The number of bytes of a body that are compared with the header: enough for the name of
/// a field.
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

    /// Detects an MTA that passes the whole message as the body, as Stalwart does. If a body
    /// only looks like that, its signatures verify and nothing is lost.
    fn look_for_header(&mut self) {
        static LIMIT: Limit = Limit::same_text();
        let Some(start) = &self.start else { return };
        let header_in_body = self.verification.is_in_body(start);
        if header_in_body {
            LIMIT.log(
                "the MTA passes the whole message, with its header, as the body: its DKIM \
                 signatures can't be verified and are temperror",
            );
        }
        self.verification.set_damage(dkim::Damage {
            leading_space_lost: true,
            header_in_body,
        });
    }

    /// Boxed, so that it does not enlarge the future that waits.
    async fn finish(mut self: Box<Self>) -> dkim::Outcome {
        self.look_for_header();
        let keys = self.keys.get().await;
        self.verification.verify(&self.body.finish(), keys)
    }
}

impl Message {
    /// Creates an empty message whose header block may have `header_bytes` bytes. `keeps_id`
    /// is whether [`Message::id`] will be needed.
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

    /// Adds a header field. Fields with `authserv_id` are recorded as forged.
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

    /// Returns the first Message-ID field; empty if there is none or it is not stored.
    pub(super) fn id(&self) -> &[u8] {
        self.id.as_deref().unwrap_or_default()
    }

    /// Returns whether verification is in progress.
    pub(super) fn is_being_verified(&self) -> bool {
        matches!(self.signatures, Signatures::Verifying(_))
    }

    /// Returns whether the message has a signature that might pass.
    pub(super) fn is_signed(&self) -> bool {
        match &self.signatures {
            // An MTA that sends no header fields may pass them as part of the body.
            Signatures::Header(block) => {
                block.is_signed() || (!self.keeps_leading_space && block.is_empty())
            }
            Signatures::Verifying(_) => true,
            Signatures::Settled(outcome) => outcome.is_some(),
        }
    }

    /// Returns the numbers of the forged fields, ascending.
    pub(super) fn forged(&self) -> &[i32] {
        &self.forged
    }

    /// Returns whether it has more forged fields than can be removed.
    pub(super) fn is_over_limits(&self) -> bool {
        self.too_many_forged
    }

    /// Starts to look up the keys and to hash the body.
    pub(super) fn start_dkim<R: Resolve>(
        &mut self,
        checks: &Checks<R>,
        settings: dkim::Settings,
        mail_from: Option<&str>,
    ) {
        let block = match self.take_signatures() {
            Signatures::Header(block) => block,
            // After a second end of headers, the first one counts.
            started @ (Signatures::Verifying(_) | Signatures::Settled(_)) => {
                self.signatures = started;
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

    /// Processes a body chunk; returns whether more of the body is needed.
    pub(super) fn body(&mut self, chunk: &[u8]) -> bool {
        match &mut self.signatures {
            Signatures::Verifying(verifying) => verifying.body(chunk),
            Signatures::Header(_) | Signatures::Settled(_) => false,
        }
    }

    /// Verifies the signed header fields if the keys are available.
    pub(super) fn work_ahead(&mut self) {
        if let Signatures::Verifying(verifying) = &mut self.signatures {
            verifying.work_ahead();
        }
    }

    /// Waits for the keys and verifies the signatures.
    pub(super) async fn verify(&mut self) -> Authentication {
        let outcome = match self.take_signatures() {
            Signatures::Verifying(verifying) => Some(verifying.finish().await),
            Signatures::Settled(outcome) => outcome,
            // The MTA omitted the end of headers, so the body was not hashed.
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

    /// Returns the result of [`Self::verify`], if it was needed.
    pub(super) fn dkim(&self) -> Option<&dkim::Outcome> {
        match &self.signatures {
            Signatures::Settled(outcome) => outcome.as_ref(),
            Signatures::Header(_) | Signatures::Verifying(_) => None,
        }
    }
}
