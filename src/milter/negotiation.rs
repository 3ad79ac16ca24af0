//! What we ask of an MTA, and whether it can do that.

use super::{
    closed::Closed,
    macros::{ASKED_FOR, TLS},
};
use indymilter::{
    Actions, ProtoOpts,
    message::{Message, PROTOCOL_VERSION, command::OptNegPayload, reply::Reply},
};
use std::{ffi::CString, sync::LazyLock};

/// What every mail needs: leading space for DKIM's simple canonicalization, SKIP
/// to leave out a body that nothing asks for, and no replies where nothing is said
/// that can't be said at the next command. Of MAIL it can't: an acceptance after it
/// would be one of the recipient.
const REQUIRED_OPTS: ProtoOpts = ProtoOpts::LEADING_SPACE
    .union(ProtoOpts::SKIP)
    .union(ProtoOpts::NO_DATA)
    .union(ProtoOpts::NO_UNKNOWN)
    .union(ProtoOpts::NOREPLY_HELO)
    .union(ProtoOpts::NOREPLY_HEADER)
    .union(ProtoOpts::NOREPLY_EOH);

const REQUIRED_ACTIONS: Actions = Actions::ADD_HEADER.union(Actions::CHANGE_HEADER);

/// The answer to an offer, which is the same for all. Macros about TLS are asked for
/// only if TLS can exempt.
///
/// # Errors
/// When it lacks something that mail can't be checked without.
pub(super) fn answer(offer: OptNegPayload, tls_exempts: bool) -> Result<&'static Message, Closed> {
    static WITH_TLS: LazyLock<Message> = LazyLock::new(|| accepted(true));
    static WITHOUT_TLS: LazyLock<Message> = LazyLock::new(|| accepted(false));
    let missing_actions = REQUIRED_ACTIONS.difference(offer.actions);
    let missing_opts = REQUIRED_OPTS.difference(offer.opts);
    if offer.version < PROTOCOL_VERSION || !missing_actions.is_empty() || !missing_opts.is_empty() {
        return Err(Closed::Unsuitable(missing_actions, missing_opts));
    }
    Ok(match tls_exempts {
        true => &WITH_TLS,
        false => &WITHOUT_TLS,
    })
}

fn accepted(tls_exempts: bool) -> Message {
    let macros = ASKED_FOR.map(|(stage, names)| {
        let names = names.iter().copied();
        let names: Vec<&str> = names
            .filter(|name| tls_exempts || !TLS.contains(name))
            .collect();
        (stage, CString::new(names.join(" ")).unwrap_or_default())
    });
    let accepted = Reply::OptNeg {
        version: PROTOCOL_VERSION,
        actions: REQUIRED_ACTIONS,
        opts: REQUIRED_OPTS,
        macros: macros.into(),
    };
    accepted.into_message()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_taken_if_nothing_that_is_needed_is_missing() {
        let all = (6, Actions::all(), ProtoOpts::all());
        let table = [
            // version, actions, options, want
            (all, true),
            ((7, all.1, all.2), true),
            ((2, all.1, all.2), false),
            ((6, all.1 - Actions::CHANGE_HEADER, all.2), false),
            ((6, all.1, all.2 - ProtoOpts::SKIP), false),
            ((6, Actions::empty(), ProtoOpts::empty()), false),
        ];
        for ((version, actions, opts), want) in table {
            let offer = OptNegPayload {
                version,
                actions,
                opts,
            };
            assert_eq!(
                answer(offer, true).is_ok(),
                want,
                "{version} {actions:?} {opts:?}"
            );
        }
    }
}
