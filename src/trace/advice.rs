//! Advice about a message: one line for the help desk.

use super::{
    events::{Decided, Event},
    message::{Ending, Message},
};
use crate::{
    logs::{Action, Fate, Outcome, escape::readable},
    policy::Rule,
};

/// Returns the advice about `message`.
pub(super) fn advice(message: &Message) -> String {
    match message.result {
        Ending::Accepted | Ending::NotChecked if message.delivery == Some(Outcome::Bounced) => {
            "The next hop refused it, or the mail server gave up: the reply is in the last line."
                .to_owned()
        }
        Ending::Accepted | Ending::NotChecked if message.delivery == Some(Outcome::Deferred) => {
            "It is in the mail queue (mailq) and will be tried again.".to_owned()
        }
        Ending::Accepted => "Nothing to do.".to_owned(),
        Ending::NotChecked => not_checked(message),
        Ending::Deferred(Fate::Ipv4) | Ending::Deferred(Fate::Ipv6) => {
            with_fix("It only arrived late.", message)
        }
        Ending::Deferred(Fate::Waiting) => {
            with_fix("Most senders try again within four hours.", message)
        }
        Ending::Deferred(Fate::Retrying) => with_fix("The sender tries over IPv6 only.", message),
        Ending::Deferred(Fate::Gone) => {
            with_fix("The sender did not try again within these logs.", message)
        }
        Ending::Rejected => {
            let refusal = message.last_refusal();
            match refusal.and_then(|refusal| refusal.deferred_for) {
                Some(seconds) => with_fix(
                    &format!(
                        "The sender has a bounce: it was given up (replies.give_up_after) after {} h \
                         of attempts over IPv6 only.",
                        seconds / 3600
                    ),
                    message,
                ),
                None => with_fix("The sender has a bounce.", message),
            }
        }
        Ending::Observed => {
            let word = match message.last_refusal().map(|refusal| refusal.action) {
                Some(Action::Reject) => "rejected",
                _ => "deferred",
            };
            let setting = message
                .last_refusal()
                .and_then(|refusal| refusal.observed_by);
            let situation = match setting {
                None | Some("mode") => format!("With mode: enforce it is {word}."),
                Some("enforce_share") => format!("With enforce_share: 100% it is {word}."),
                Some(setting) => format!("Without the entry in {setting} it is {word}."),
            };
            with_fix(&situation, message)
        }
        Ending::Deferred(Fate::Ipv4Refused) => {
            "Over IPv4 the mail server refused it by a rule of its own: see that reply.".to_owned()
        }
        Ending::RefusedByMta => {
            "sixgate did not refuse it: the reply is the mail server's or another milter's."
                .to_owned()
        }
    }
}

fn not_checked(message: &Message) -> String {
    let exempt = message.events.iter().find_map(|event| match event {
        Event::Received(received) => received.exempt.as_ref(),
        Event::Decision(_) | Event::Refused(_) | Event::Delivery(_) => None,
    });
    if let Some(exempt) = exempt {
        let entry = readable(&exempt.entry);
        return format!(
            "Its client is exempt by {entry}. To check it again: sixgate exempt remove {entry}, or \
             take it from exempt.networks."
        );
    }
    let is_ipv6 = message.events.iter().any(|event| match event {
        Event::Received(received) => received.mail.client.is_ipv6(),
        Event::Decision(_) | Event::Refused(_) | Event::Delivery(_) => false,
    });
    match is_ipv6 {
        true => {
            "sixgate logged no decision: the client is exempt, or sixgate's log is missing here."
        }
        false => "Nothing to do: sixgate does not check mail over IPv4.",
    }
    .to_owned()
}

/// Appends to `situation` how to make the rule accept such a message.
fn with_fix(situation: &str, message: &Message) -> String {
    match message
        .last_refusal()
        .and_then(|refusal| fix(refusal, message))
    {
        Some(fix) => format!("{situation} {fix}"),
        None => situation.to_owned(),
    }
}

fn fix(refusal: &Decided, message: &Message) -> Option<String> {
    let client = refusal.client.map(|client| client.to_string())?;
    let sender = in_command(&message.sender);
    let domain = message
        .recipient_domains
        .first()
        .map_or("DOMAIN", |domain| in_command(domain));
    Some(match refusal.rule? {
        Rule::NotOptedIn => format!(
            "If {domain} is to take mail over IPv6: sixgate opt-in add {domain}. If not, its mail \
             exchanger should have no AAAA record."
        ),
        Rule::OptInTemperror => {
            "A source of opt-ins did not answer: run sixgate doctor.".to_owned()
        }
        Rule::NoPtr => {
            format!("The sender needs a PTR record for {client}: check with dig -x {client}.")
        }
        Rule::PtrUnconfirmed => format!(
            "The name in the PTR record of {client} needs an AAAA record with this address: check \
             with dig -x {client}."
        ),
        Rule::PtrTemperror => format!(
            "The DNS did not answer for {client}: check with dig -x {client}, and sixgate doctor."
        ),
        Rule::Unauthenticated | Rule::AuthTemperror => format!(
            "The sender needs SPF that lists {client}, or a DKIM signature that verifies: check \
             with sixgate explain --client {client} --from '{sender}'."
        ),
        Rule::Local
        | Rule::Ipv4
        | Rule::ExemptNetwork
        | Rule::ExemptAuthenticated
        | Rule::ExemptTls
        | Rule::SpfPass
        | Rule::KnownForwarder
        | Rule::DkimPass => return None,
    })
}

/// Returns a value for a shell command that the reader may paste. Peers choose the value,
/// so one with unusual characters is replaced by a placeholder.
fn in_command(value: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._+=-".contains(&byte);
    match value {
        "" => "<>",
        value if value.bytes().all(is_plain) && !value.starts_with('-') => value,
        _ => "ADDRESS",
    }
}

#[cfg(test)]
mod tests {
    use super::in_command;

    #[test]
    fn peer_chosen_text_is_not_offered_to_a_shell() {
        let table = [
            ("a+b=c@example.org", "a+b=c@example.org"),
            ("", "<>"),
            ("a'$(reboot)'@example.org", "ADDRESS"),
            ("a;reboot@example.org", "ADDRESS"),
            ("--config@example.org", "ADDRESS"),
        ];
        for (value, want) in table {
            assert_eq!(in_command(value), want);
        }
    }
}
