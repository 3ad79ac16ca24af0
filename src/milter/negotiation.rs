//! Negotiation of the milter protocol's version, actions and options.
//!
//! Required are a supported protocol version and, unless `authentication_results.add` is no,
//! permission to add header fields. For everything else that an MTA does not offer there is a
//! substitute, which costs time or omits results, and never turns a result into a pass.

use super::{
    error::ConnectionError,
    macros::{REQUESTED, TLS},
    replies::Replies,
    session::Abilities,
};
use crate::config::AuthenticationResults;
use indymilter::{
    Actions, ProtoOpts,
    message::{Message, PROTOCOL_VERSION, command::OptNegPayload, reply::Reply},
};
use std::{
    collections::HashSet,
    ffi::CString,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The oldest supported protocol version: that of Sendmail 8.10.
const OLDEST_VERSION: u32 = 2;

/// Commands without reply: those whose reply can be sent to the next command. That is not
/// possible for MAIL, because accepting at the next command would accept the recipient.
const NO_REPLIES: ProtoOpts = ProtoOpts::NOREPLY_HELO
    .union(ProtoOpts::NOREPLY_HEADER)
    .union(ProtoOpts::NOREPLY_EOH);

/// All options that are requested if offered: leading space for DKIM's simple
/// canonicalization, SKIP for bodies that are not needed, and the omission of commands that
/// decide nothing.
const WANTED_OPTS: ProtoOpts = NO_REPLIES
    .union(ProtoOpts::LEADING_SPACE)
    .union(ProtoOpts::SKIP)
    .union(ProtoOpts::NO_DATA)
    .union(ProtoOpts::NO_UNKNOWN);

const WANTED_ACTIONS: Actions = Actions::ADD_HEADER.union(Actions::CHANGE_HEADER);

/// The maximum number of logged outcomes. An MTA could cause a few hundred by varying its
/// offer.
const MAX_LOGGED: usize = 32;

/// The protocol version, actions and options in use with an MTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Negotiated {
    version: u32,
    actions: Actions,
    opts: ProtoOpts,
    /// Whether the MTA accepts a list of requested macros.
    takes_macros: bool,
}

impl Negotiated {
    /// The outcome with Postfix and Sendmail.
    const EVERYTHING: Self = Self {
        version: PROTOCOL_VERSION,
        actions: WANTED_ACTIONS,
        opts: WANTED_OPTS,
        takes_macros: true,
    };

    /// The state before an offer.
    pub(super) const NOTHING: Self = Self {
        version: 0,
        actions: Actions::empty(),
        opts: ProtoOpts::empty(),
        takes_macros: false,
    };

    /// Selects the offered features that sixgate uses.
    ///
    /// # Errors
    /// If a required feature is missing.
    pub(super) fn from_offer(
        offer: &OptNegPayload,
        results: &AuthenticationResults,
    ) -> Result<Self, ConnectionError> {
        let lacks_add_header = results.add && !offer.actions.contains(Actions::ADD_HEADER);
        if offer.version < OLDEST_VERSION || lacks_add_header {
            return Err(ConnectionError::MissingFeature {
                version: (offer.version < OLDEST_VERSION).then_some(offer.version),
                lacks_add_header,
            });
        }
        let version = offer.version.min(PROTOCOL_VERSION);
        Ok(Self {
            version,
            actions: WANTED_ACTIONS & offer.actions,
            opts: WANTED_OPTS & offer.opts & opts_of(version),
            takes_macros: version >= 6 && offer.actions.contains(Actions::REQUEST_MACROS),
        })
    }

    /// Adds the reply to the offer. Macros about TLS are requested only if TLS can exempt.
    pub(super) fn answer(self, tls_exempts: bool, replies: &mut Replies) {
        static WITH_TLS: LazyLock<Message> = LazyLock::new(|| Negotiated::EVERYTHING.message(true));
        static WITHOUT_TLS: LazyLock<Message> =
            LazyLock::new(|| Negotiated::EVERYTHING.message(false));
        match (self == Self::EVERYTHING, tls_exempts) {
            (true, true) => replies.negotiated(&WITH_TLS),
            (true, false) => replies.negotiated(&WITHOUT_TLS),
            (false, _) => replies.negotiated(&self.message(tls_exempts)),
        }
    }

    fn message(self, tls_exempts: bool) -> Message {
        let requested = REQUESTED.iter().filter(|_| self.takes_macros);
        let macros = requested.map(|(stage, names)| {
            let names = names.iter().copied();
            let names: Vec<&str> = names
                .filter(|name| tls_exempts || !TLS.contains(name))
                .collect();
            (*stage, CString::new(names.join(" ")).unwrap_or_default())
        });
        let accepted = Reply::OptNeg {
            version: self.version,
            actions: self.actions,
            opts: self.opts,
            macros: macros.collect(),
        };
        accepted.into_message()
    }

    /// Returns whether the MTA waits for a reply to the commands of this `NOREPLY` option.
    pub(super) fn awaits_reply(self, no_reply: ProtoOpts) -> bool {
        !self.opts.contains(no_reply)
    }

    /// Returns whether the MTA stops sending a body after SKIP.
    pub(super) fn can_skip(self) -> bool {
        self.opts.contains(ProtoOpts::SKIP)
    }

    /// Returns whether a command was negotiated away.
    pub(super) fn excludes(self, command: ProtoOpts) -> bool {
        self.opts.contains(command)
    }

    /// Returns the features that a session depends on.
    pub(super) fn abilities(self) -> Abilities {
        Abilities {
            keeps_leading_space: self.opts.contains(ProtoOpts::LEADING_SPACE),
            adds_fields: self.actions.contains(Actions::ADD_HEADER),
            removes_fields: self.actions.contains(Actions::CHANGE_HEADER),
        }
    }

    /// Logs the outcome, once for each different one.
    pub(super) fn log(self, results: &AuthenticationResults) {
        static EVERYTHING_LOGGED: AtomicBool = AtomicBool::new(false);
        static LOGGED: LazyLock<Mutex<HashSet<Negotiated>>> = LazyLock::new(Mutex::default);
        if self == Self::EVERYTHING {
            if !EVERYTHING_LOGGED.load(Ordering::Relaxed)
                && !EVERYTHING_LOGGED.swap(true, Ordering::Relaxed)
            {
                tracing::info!("an MTA negotiated milter protocol 6 with all that sixgate uses");
            }
            return;
        }
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < MAX_LOGGED && logged.insert(self) {
            drop(logged);
            let version = self.version;
            let losses = self.losses(results).join("; ");
            // If no field is to be added, the actions for that are not missed.
            if !losses.is_empty() {
                tracing::warn!(
                    "an MTA negotiated milter protocol {version}, and does not offer: {losses}"
                );
            }
        }
    }

    /// Returns what was not offered, and the consequences.
    fn losses(self, results: &AuthenticationResults) -> Vec<&'static str> {
        let abilities = self.abilities();
        let forged = match results.strict {
            true => {
                "changing header fields (SMFIF_CHGHDRS), so a message with a forged \
                 Authentication-Results field is refused (authentication_results.strict)"
            }
            false => {
                "changing header fields (SMFIF_CHGHDRS), so forged Authentication-Results \
                 fields stay in messages"
            }
        };
        let table = [
            (
                abilities.keeps_leading_space,
                "leading space of header fields (SMFIP_HDR_LEADSPC), so a DKIM signature with \
                 simple header canonicalization that does not verify is a temperror",
            ),
            (abilities.removes_fields || !results.add, forged),
            (
                self.can_skip(),
                "leaving out bodies (SMFIP_SKIP), so all are read",
            ),
            (
                self.takes_macros,
                "a choice of macros (SMFIF_SETSYMLIST), so rules 4 and 5 and the queue id depend \
                 on those that it sends by itself",
            ),
            (
                self.opts.contains(NO_REPLIES),
                "commands without reply (SMFIP_NR_*), so each is answered",
            ),
            (
                self.opts
                    .contains(ProtoOpts::NO_DATA | ProtoOpts::NO_UNKNOWN),
                "leaving out DATA and unknown commands (SMFIP_NODATA, SMFIP_NOUNKNOWN)",
            ),
        ];
        let missing = table.iter().filter(|(is_there, _)| !is_there);
        missing.map(|(_, loss)| *loss).collect()
    }
}

/// Returns the options that a protocol version defines. Others that an MTA offers are not
/// used: if it waited for a reply that is not sent, its mail would stop.
fn opts_of(version: u32) -> ProtoOpts {
    match version {
        ..3 => ProtoOpts::empty(),
        3 => ProtoOpts::NO_UNKNOWN,
        4 | 5 => ProtoOpts::NO_UNKNOWN | ProtoOpts::NO_DATA,
        6.. => ProtoOpts::all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(
        (version, actions, opts): (u32, Actions, ProtoOpts),
        add: bool,
    ) -> Option<Negotiated> {
        let offer = OptNegPayload {
            version,
            actions,
            opts,
        };
        let results = AuthenticationResults {
            add,
            ..AuthenticationResults::default()
        };
        Negotiated::from_offer(&offer, &results).ok()
    }

    #[test]
    fn only_a_version_and_adding_fields_are_required() {
        let (actions, opts) = (Actions::all(), ProtoOpts::all());
        let (no_actions, no_opts) = (Actions::empty(), ProtoOpts::empty());
        let table = [
            // version, actions, options, authentication_results.add, want
            ((6, actions, opts), true, true),
            ((7, actions, opts), true, true),
            ((2, actions, opts), true, true),
            ((1, actions, opts), true, false),
            ((0, actions, opts), false, false),
            ((2, Actions::ADD_HEADER, no_opts), true, true),
            ((6, actions - Actions::ADD_HEADER, opts), true, false),
            ((6, no_actions, no_opts), true, false),
            ((6, no_actions, no_opts), false, true),
        ];
        for (offer, add, want) in table {
            assert_eq!(negotiate(offer, add).is_some(), want, "{offer:?} {add}");
        }
    }

    #[test]
    fn only_options_that_are_offered_and_in_the_version_are_requested() {
        for version in 2..8 {
            for bit in 0..21 {
                let offered = ProtoOpts::from_bits_truncate(1 << bit);
                let offer = (version, Actions::ADD_HEADER, offered);
                let negotiated = negotiate(offer, true).unwrap();
                assert_eq!(negotiated.version, version.min(6));
                assert_eq!(negotiated.actions, Actions::ADD_HEADER);
                assert!(offered.contains(negotiated.opts), "{version} {offered:?}");
                let is_old = version < 6 && !offered.is_empty() && bit != 8 && bit != 9;
                assert!(!is_old || negotiated.opts.is_empty(), "{version} {bit}");
                assert!(!negotiated.takes_macros);
            }
        }
        let all = negotiate((9, Actions::all(), ProtoOpts::all()), true);
        assert_eq!(all, Some(Negotiated::EVERYTHING));
    }

    #[test]
    fn every_missing_feature_is_named() {
        let results = AuthenticationResults::default();
        assert!(Negotiated::EVERYTHING.losses(&results).is_empty());
        let maddy = negotiate((6, Actions::ADD_HEADER, ProtoOpts::empty()), true).unwrap();
        assert_eq!(maddy.losses(&results).len(), 6);
        let nothing_added = AuthenticationResults {
            add: false,
            ..AuthenticationResults::default()
        };
        let offer = (6, Actions::all() - WANTED_ACTIONS, ProtoOpts::all());
        let without = negotiate(offer, false).unwrap();
        assert!(without.losses(&nothing_added).is_empty());
    }
}
