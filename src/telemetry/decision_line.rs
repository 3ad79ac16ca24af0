//! The decision line: one line in the manner of Postfix's own, so that log tools
//! and a grep by queue id, address or rule find it.
//!
//! Whatever a peer chose is escaped; nothing it sends can forge a line or a
//! field.

use super::Decision;
use crate::{
    address::Client,
    config::Mode,
    policy::{Authentication, Ptr, Stage},
};
use std::fmt::{self, Write};

/// The longest value of a field, in characters before escaping.
const MAX_VALUE: usize = 320;

/// Renders the line, without a line break.
pub(super) fn render(decision: &Decision<'_>) -> String {
    let mut line = String::with_capacity(256);
    // Writing to a string can't fail.
    let _ = match decision.reply {
        Some(_) => refusal(&mut line, decision),
        None => acceptance(&mut line, decision),
    };
    line
}

fn refusal(line: &mut String, decision: &Decision<'_>) -> fmt::Result {
    let verb = match decision.mode {
        Mode::Enforce => "reject",
        // Postfix's word for what warn_if_reject lets through.
        Mode::Observe => "reject_warning",
    };
    let stage = match decision.stage {
        Stage::Connect => "CONNECT",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        // The client sees both after the final dot, and Postfix calls both so.
        Stage::EndOfHeaders | Stage::EndOfMessage => "END-OF-MESSAGE",
    };
    write!(
        line,
        "{}: {verb}: {stage} from {}: ",
        queue_id(decision),
        client(decision.client)
    )?;
    if let Some(reply) = decision.reply {
        write!(line, "{reply}; ")?;
    }
    write!(line, "rule={} mode={} ", decision.rule, mode(decision))?;
    envelope(line, decision)?;
    findings(line, decision)
}

fn acceptance(line: &mut String, decision: &Decision<'_>) -> fmt::Result {
    write!(
        line,
        "{}: accept: rule={} mode={} client={} ",
        queue_id(decision),
        decision.rule,
        mode(decision),
        client(decision.client),
    )?;
    envelope(line, decision)?;
    findings(line, decision)
}

fn envelope(line: &mut String, decision: &Decision<'_>) -> fmt::Result {
    write!(
        line,
        "from=<{}>",
        Escaped(&decision.reverse_path.to_string())
    )?;
    match decision.recipient {
        Some(recipient) => write!(line, " to=<{}>", Escaped(&recipient.address))?,
        None => write!(line, " nrcpt={}", decision.recipients)?,
    }
    write!(
        line,
        " helo=<{}>",
        Escaped(decision.helo.unwrap_or_default())
    )
}

fn findings(line: &mut String, decision: &Decision<'_>) -> fmt::Result {
    if let Some(ptr) = decision.ptr {
        write!(line, " ptr={}", ptr_word(ptr))?;
    }
    if let Some(source) = decision.opt_in {
        write!(line, " opt_in={source}")?;
    }
    if decision.recipient.is_none() {
        authentication(line, decision)?;
    }
    write!(line, " ms={}", decision.waited.as_millis())
}

fn authentication(line: &mut String, decision: &Decision<'_>) -> fmt::Result {
    if let Some(spf) = decision.spf {
        let domain = spf.domain.as_deref().unwrap_or_default();
        write!(line, " spf={} spf_domain={}", spf.result, Escaped(domain))?;
    }
    match decision.dkim {
        Some(outcome) => {
            write!(
                line,
                " dkim={}",
                authentication_word(outcome.authentication())
            )?;
            signatures(line, outcome)
        }
        None if decision.signed => line.write_str(" dkim=not-needed"),
        None => line.write_str(" dkim=none"),
    }
}

fn signatures(line: &mut String, outcome: &crate::dkim::Outcome) -> fmt::Result {
    let separators = ["="].into_iter().chain(std::iter::repeat(","));
    line.write_str(" dkim_signatures")?;
    for (separator, signature) in separators.zip(outcome.best()) {
        let domain = signature.domain.as_deref().unwrap_or("?");
        write!(line, "{separator}{}:{}", Escaped(domain), signature.result)?;
    }
    Ok(())
}

fn mode(decision: &Decision<'_>) -> &'static str {
    match decision.mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
    }
}

fn ptr_word(ptr: Ptr) -> &'static str {
    match ptr {
        Ptr::Found => "found",
        Ptr::None => "none",
        Ptr::Temperror => "temperror",
    }
}

fn authentication_word(authentication: Authentication) -> &'static str {
    match authentication {
        Authentication::Pass => "pass",
        Authentication::NoPass => "fail",
        Authentication::Temperror => "temperror",
    }
}

fn queue_id<'a>(decision: &Decision<'a>) -> Escaped<'a> {
    Escaped(decision.queue_id.unwrap_or("NOQUEUE"))
}

/// `name[address]` as Postfix writes it.
pub(super) fn client(client: &Client) -> impl fmt::Display {
    format!("{}[{}]", Escaped(&client.name), client.addr)
}

/// A value that a peer chose: what is not printable ASCII, and what delimits
/// fields, is written as `\xHH` per octet; what is too long is cut off.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(MAX_VALUE) {
            match c {
                '<' | '>' | '\\' | '[' | ']' | ';' | ',' => escape(f, c)?,
                '!'..='~' => f.write_char(c)?,
                c => escape(f, c)?,
            }
        }
        match chars.next() {
            Some(_) => f.write_str("..."),
            None => Ok(()),
        }
    }
}

fn escape(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    let mut octets = [0; 4];
    c.encode_utf8(&mut octets)
        .bytes()
        .try_for_each(|octet| write!(f, "\\x{octet:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_chose_can_neither_break_nor_forge_a_line() {
        let table = [
            ("a@example.org", "a@example.org"),
            ("a\r\nNOQUEUE: accept", "a\\x0d\\x0aNOQUEUE:\\x20accept"),
            ("a> rule=x", "a\\x3e\\x20rule=x"),
            ("\u{1b}[31m", "\\x1b\\x5b31m"),
            ("\u{2028}", "\\xe2\\x80\\xa8"),
            ("\\x41", "\\x5cx41"),
            ("\"q\"@e", "\"q\"@e"),
        ];
        for (value, want) in table {
            assert_eq!(Escaped(value).to_string(), want);
        }
    }

    #[test]
    fn long_values_are_cut_off() {
        let value = "x".repeat(65536);
        let want = "x".repeat(MAX_VALUE) + "...";
        assert_eq!(Escaped(&value).to_string(), want);
    }
}
