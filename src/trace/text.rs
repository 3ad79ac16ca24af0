//! Renders the timelines as text. Values are made readable, without characters that could
//! move a cursor.

use super::{
    Event, Message, Trace,
    events::{Decided, Delivered, Received, Refused},
    message::Ending,
};
use crate::{
    logs::{Action, Fate, Outcome, escape::readable},
    policy::Rule,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::{
    fmt::{self, Display, Write},
    net::IpAddr,
};

/// The maximum number of events shown; a longer timeline shows the first and the last
/// ones.
const MAX_EVENTS: usize = 16;

/// The number of first events shown in a longer timeline.
const FIRST_EVENTS: usize = 4;

/// Renders the messages, with times in `zone`.
pub fn render(trace: &Trace, zone: &TimeZone) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = messages(&mut out, trace, zone);
    out
}

fn messages(out: &mut String, trace: &Trace, zone: &TimeZone) -> fmt::Result {
    for (index, message) in trace.messages.iter().enumerate() {
        if index > 0 {
            out.write_char('\n')?;
        }
        timeline(out, message, zone)?;
    }
    if trace.more {
        let shown = trace.messages.len();
        writeln!(
            out,
            "\nOlder messages match, too; these are the newest {shown}. --limit shows more, \
             --until older ones."
        )?;
    }
    Ok(())
}

fn timeline(out: &mut String, message: &Message, zone: &TimeZone) -> fmt::Result {
    let sender = readable(&message.sender);
    let domains = message.recipient_domains.join(", ");
    writeln!(
        out,
        "<{sender}> to {}: {}",
        readable(&domains),
        Headline(message)
    )?;
    let events = &message.events;
    let hidden = match events.len() > MAX_EVENTS {
        true => FIRST_EVENTS..events.len() - (MAX_EVENTS - FIRST_EVENTS),
        false => 0..0,
    };
    for (index, event) in events.iter().enumerate() {
        if !hidden.contains(&index) {
            writeln!(out, "  {}  {}", At(event.time(), zone), Line(event))?;
            if let Event::Decision(decided) = event
                && !decided.reply.is_empty()
            {
                writeln!(out, "{:23}{}", "", decided.reply)?;
            }
        } else if index == hidden.start {
            writeln!(out, "  ... {} more ...", hidden.len())?;
        }
    }
    writeln!(out, "  => {}", message.advice)
}

impl Event {
    fn time(&self) -> i64 {
        match self {
            Self::Decision(decided) => decided.time,
            Self::Received(received) => received.mail.arrived,
            Self::Refused(refused) => refused.time,
            Self::Delivery(delivered) => delivered.time,
        }
    }
}

struct At<'z>(i64, &'z TimeZone);

impl Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_second(self.0).unwrap_or_default();
        write!(f, "{}", time.to_zoned(self.1.clone()).strftime("%F %T"))
    }
}

/// The outcome of a message in a few words.
struct Headline<'m>(&'m Message);

impl Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.0.tried();
        let later = SignedDuration::from_secs(last - first);
        match self.0.result {
            Ending::Accepted => f.write_str("accepted over IPv6"),
            Ending::Observed => f.write_str("accepted, would have been refused"),
            Ending::Deferred(Fate::Ipv4) => {
                write!(f, "deferred, came back over IPv4 after {later:#}")
            }
            Ending::Deferred(Fate::Ipv4Refused) => {
                f.write_str("deferred, then refused over IPv4 by the mail server")
            }
            Ending::Deferred(Fate::Ipv6) => {
                write!(f, "deferred, accepted over IPv6 after {later:#}")
            }
            Ending::Deferred(Fate::Retrying) => {
                write!(f, "deferred, tried for {later:#} over IPv6 only")
            }
            Ending::Deferred(Fate::Gone) => f.write_str("deferred, never came back"),
            Ending::Deferred(Fate::Waiting) => f.write_str("deferred, may still come back"),
            Ending::Rejected => f.write_str("rejected"),
            Ending::RefusedByMta => f.write_str("refused, not by sixgate"),
            Ending::NotChecked => f.write_str("accepted, not checked by sixgate"),
        }?;
        match self.0.delivery {
            Some(Outcome::Sent) => f.write_str(", delivered"),
            Some(Outcome::Deferred) => f.write_str(", not delivered yet"),
            Some(Outcome::Bounced) => f.write_str(", bounced"),
            None => Ok(()),
        }
    }
}

/// An event without its time.
struct Line<'e>(&'e Event);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Decision(decided) => decision(f, decided),
            Event::Received(received) => reception(f, received),
            Event::Refused(refused) => refusal(f, refused),
            Event::Delivery(delivered) => delivery(f, delivered),
        }
    }
}

fn decision(f: &mut fmt::Formatter<'_>, decided: &Decided) -> fmt::Result {
    f.write_str(match (decided.action, decided.enforced) {
        (Action::Accept, _) => "sixgate accepted",
        (Action::Defer, true) => "sixgate deferred",
        (Action::Reject, true) => "sixgate rejected",
        (Action::Defer, false) => "sixgate would have deferred",
        (Action::Reject, false) => "sixgate would have rejected",
    })?;
    match decided.recipients.is_empty() {
        true => f.write_str(" the message")?,
        false => recipients(f, " ", &decided.recipients)?,
    }
    f.write_str(" from ")?;
    match decided.client {
        Some(address) => client(f, &decided.client_name, address)?,
        None => f.write_str("an unknown client")?,
    }
    if decided.queue_id.as_ref() != "NOQUEUE" {
        write!(f, " as {}", decided.queue_id)?;
    }
    match decided.rule {
        Some(rule) => write!(f, ": {rule}{}", Reason(rule, decided)),
        None => f.write_str(": a rule of a newer sixgate"),
    }
}

/// The reason of a decision.
struct Reason<'d>(Rule, &'d Decided);

impl Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rule, decided) = self;
        match rule {
            Rule::SpfPass => write!(f, " ({})", Spf(decided)),
            Rule::KnownForwarder => write!(f, " ({})", readable(&decided.forwarder)),
            Rule::DkimPass | Rule::Unauthenticated | Rule::AuthTemperror => {
                write!(f, " ({}, DKIM {}", Spf(decided), decided.dkim)?;
                if !decided.dkim_signatures.is_empty() {
                    write!(f, " {}", readable(&decided.dkim_signatures))?;
                }
                f.write_char(')')
            }
            Rule::Local
            | Rule::Ipv4
            | Rule::ExemptNetwork
            | Rule::ExemptAuthenticated
            | Rule::ExemptTls
            | Rule::NotOptedIn
            | Rule::OptInTemperror
            | Rule::NoPtr
            | Rule::PtrTemperror
            | Rule::PtrUnconfirmed => Ok(()),
        }
    }
}

struct Spf<'d>(&'d Decided);

impl Display for Spf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(decided) = self;
        write!(f, "SPF {}", decided.spf)?;
        match (decided.spf_term.as_ref(), decided.spf_domain.as_ref()) {
            (_, "") => Ok(()),
            ("", domain) => write!(f, " of {}", readable(domain)),
            (term, domain) => write!(f, " by {} of {}", readable(term), readable(domain)),
        }
    }
}

fn reception(f: &mut fmt::Formatter<'_>, received: &Received) -> fmt::Result {
    let mail = &received.mail;
    f.write_str("the mail server accepted it from ")?;
    client(f, &mail.client_name, mail.client)?;
    if mail.is_login {
        f.write_str(" (authenticated)")?;
    }
    if let Some(exempt) = &received.exempt {
        write!(f, " (exempt by {}", readable(&exempt.entry))?;
        match exempt.comment.as_ref() {
            "" => f.write_char(')')?,
            comment => write!(f, ": {})", readable(comment))?,
        }
    }
    write!(f, " as {}", mail.queue_id)?;
    match mail.message_id.as_ref() {
        "" => Ok(()),
        id => write!(f, ", Message-ID <{}>", readable(id)),
    }
}

fn refusal(f: &mut fmt::Formatter<'_>, refused: &Refused) -> fmt::Result {
    f.write_str(match refused.by_milter {
        true => "another milter refused ",
        false => "the mail server refused ",
    })?;
    write!(f, "{} from ", refused.recipient)?;
    client(f, &refused.client_name, refused.client)?;
    write!(f, ": {}", refused.reply)
}

fn delivery(f: &mut fmt::Formatter<'_>, delivered: &Delivered) -> fmt::Result {
    f.write_str(match delivered.outcome {
        Outcome::Sent => "delivered",
        Outcome::Deferred => "delivery deferred",
        Outcome::Bounced => "bounced",
    })?;
    if !delivered.recipients.is_empty() {
        recipients(f, ": ", &delivered.recipients)?;
    }
    if !delivered.relay.is_empty() {
        write!(f, " via {}", delivered.relay)?;
    }
    match delivered.said.as_ref() {
        "" => Ok(()),
        said => write!(f, ": {said}"),
    }
}

fn client(f: &mut fmt::Formatter<'_>, name: &str, address: IpAddr) -> fmt::Result {
    match name {
        "" => write!(f, "[{address}]"),
        name => write!(f, "{}[{address}]", readable(name)),
    }
}

/// Writes the first recipients and the number of others.
fn recipients(f: &mut fmt::Formatter<'_>, before: &str, all: &[Box<str>]) -> fmt::Result {
    const SHOWN: usize = 3;
    let separators = std::iter::once(before).chain(std::iter::repeat(", "));
    for (separator, recipient) in separators.zip(all.iter().take(SHOWN)) {
        write!(f, "{separator}{}", readable(recipient))?;
    }
    match all.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
