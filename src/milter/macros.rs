//! Macros: named values that the MTA sends with commands.
//!
//! Only requested macros are stored, and only for the stage that they were sent for: the
//! macros of a MAIL command never apply to the next mail transaction, even if the MTA sends
//! none for that.

use super::command::string;
use crate::{address::Mailbox, policy::Tls};
use indymilter::MacroStage;
use std::borrow::Cow;

/// The requested macros by stage; those of [`TLS`] only if TLS can exempt. A request
/// replaces the MTA's own choice.
pub(super) const REQUESTED: [(MacroStage, &[&str]); 6] = [
    (MacroStage::Connect, &["j"]),
    (
        MacroStage::Helo,
        &[
            "{tls_version}",
            "{verify}",
            "{cert_subject}",
            "{cn_subject}",
        ],
    ),
    (
        MacroStage::Mail,
        &[
            "i",
            "{auth_authen}",
            "{tls_version}",
            "{verify}",
            "{cert_subject}",
            "{cn_subject}",
        ],
    ),
    (MacroStage::Rcpt, &["i", "{rcpt_addr}"]),
    (MacroStage::Eoh, &["i"]),
    (MacroStage::Eom, &["i"]),
];

/// The macros about TLS and the client's certificate.
pub(super) const TLS: [&str; 4] = [
    "{tls_version}",
    "{verify}",
    "{cert_subject}",
    "{cn_subject}",
];

/// The maximum length of a value in bytes. A longer one counts as missing.
const MAX_VALUE: usize = 4096;

// Lengths are stored in two bytes. The names are those that were requested.
const _: () = assert!(MAX_VALUE <= u16::MAX as usize);

/// The usual size of the names and values of a stage, in bytes.
const USUAL_PAIRS: usize = 128;

/// The macros of a connection.
#[derive(Debug, Default)]
pub(super) struct Macros {
    /// In the order of [`REQUESTED`].
    stages: [Stage; REQUESTED.len()],
}

/// The macros of one stage.
#[derive(Debug, Default)]
struct Stage {
    /// Names and values, each after its length.
    pairs: Vec<u8>,
    /// Whether the command that they belong to has not arrived yet.
    awaits_command: bool,
}

impl Macros {
    /// Stores a packet: the letter of a command, then names and values. It replaces the
    /// macros of this stage, even if it is empty.
    pub(super) fn define(&mut self, packet: &[u8]) {
        let Some((&letter, pairs)) = packet.split_first() else {
            return;
        };
        let stage = MacroStage::try_from(letter).ok();
        // Postfix also sends macros before header fields and body chunks.
        let Some(index) = stage.and_then(index) else {
            return;
        };
        let (_, requested) = REQUESTED[index];
        self.stages[index].define(pairs, requested);
    }

    /// Records that a command of this stage has arrived: the macros sent for it are valid,
    /// and those of later stages belong to an earlier command.
    pub(super) fn enter(&mut self, stage: MacroStage) {
        let Some(index) = index(stage) else {
            return;
        };
        let [entered, later @ ..] = &mut self.stages[index..] else {
            return;
        };
        if !std::mem::take(&mut entered.awaits_command) {
            entered.pairs.clear();
        }
        later.iter_mut().for_each(Stage::clear);
    }

    /// Returns the value of a macro, of the latest stage that has one.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let values = self.stages.iter().rev();
        let mut values = values.filter_map(|stage| stage.get(name.as_bytes()));
        let value = values.find(|value| !value.is_empty())?;
        Some(String::from_utf8_lossy(value))
    }

    /// Returns how the client uses TLS.
    pub(super) fn tls(&self) -> Tls {
        match (self.get("{tls_version}"), self.certificate()) {
            (None, _) => Tls::None,
            (Some(_), Some(_)) => Tls::Verified,
            (Some(_), None) => Tls::Unverified,
        }
    }

    /// Returns the common name of the client's certificate if the MTA verified it.
    ///
    /// Sendmail sends the result in `{verify}`, and `{cn_subject}` for every certificate,
    /// even for a self-signed one; its `{cert_subject}` is the whole subject. Postfix has
    /// neither of the first two, and sends the common name in `{cert_subject}`, but only for
    /// trusted certificates. So `{cert_subject}` counts only if the other two are missing.
    pub(super) fn certificate(&self) -> Option<Cow<'_, str>> {
        match (self.get("{verify}"), self.get("{cn_subject}")) {
            (Some(verify), name) if verify == "OK" => Some(name.unwrap_or_default()),
            (Some(_), _) | (None, Some(_)) => None,
            (None, None) => self.get("{cert_subject}"),
        }
    }

    /// Returns the recipient as the MTA resolved it. Sendmail does not add a domain to a bare
    /// local part, and delivers it on the host `{j}`.
    pub(super) fn resolved_recipient(&self) -> Option<Cow<'_, str>> {
        let address = self.get("{rcpt_addr}")?;
        match (Mailbox::parse(&address).domain, self.get("j")) {
            (None, Some(host)) => Some(format!("{address}@{host}").into()),
            (None, None) | (Some(_), _) => Some(address),
        }
    }
}

fn index(stage: MacroStage) -> Option<usize> {
    REQUESTED
        .iter()
        .position(|(requested, _)| *requested == stage)
}

impl Stage {
    fn define(&mut self, pairs: &[u8], requested: &[&str]) {
        self.clear();
        self.awaits_command = true;
        self.pairs.reserve(pairs.len().min(USUAL_PAIRS));
        for (name, value) in each_pair(pairs) {
            let mut requested = requested.iter().map(|name| bare(name.as_bytes()));
            let is_requested = requested.any(|requested| requested == bare(name));
            if is_requested && value.len() <= MAX_VALUE && self.get(name).is_none() {
                self.store(bare(name), value);
            }
        }
    }

    fn store(&mut self, name: &[u8], value: &[u8]) {
        self.pairs.reserve_exact(4 + name.len() + value.len());
        for string in [name, value] {
            self.pairs
                .extend_from_slice(&(string.len() as u16).to_be_bytes());
            self.pairs.extend_from_slice(string);
        }
    }

    fn clear(&mut self) {
        self.pairs.clear();
        self.awaits_command = false;
    }

    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let mut rest = self.pairs.as_slice();
        while let Some((defined, after_name)) = split_string(rest) {
            let (value, after_value) = split_string(after_name)?;
            if defined == bare(name) {
                return Some(value);
            }
            rest = after_value;
        }
        None
    }
}

/// Returns the first stored string, and the data after it.
fn split_string(pairs: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = pairs.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

fn each_pair(pairs: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = pairs;
    std::iter::from_fn(move || {
        let (name, after_name) = string(rest)?;
        let (value, after_value) = string(after_name)?;
        rest = after_value;
        Some((name, value))
    })
}

/// Removes braces: `i` and `{i}` are the same macro.
fn bare(name: &[u8]) -> &[u8] {
    let inner = name.strip_prefix(b"{").and_then(|n| n.strip_suffix(b"}"));
    inner.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_valid_for_their_stage_only() {
        let mut macros = Macros::default();
        macros.define(b"Cj\0mx.example\0");
        macros.enter(MacroStage::Connect);
        macros.define(b"H{tls_version}\0TLSv1.3\0");
        macros.enter(MacroStage::Helo);
        macros.define(b"M{auth_authen}\0alice\0{i}\x00123\0");
        macros.enter(MacroStage::Mail);
        macros.define(b"R{rcpt_addr}\0b@contoso.com\0i\x00456\0");
        macros.enter(MacroStage::Rcpt);
        let get = |macros: &Macros, name: &str| macros.get(name).map(Cow::into_owned);
        assert_eq!(
            get(&macros, "{rcpt_addr}").as_deref(),
            Some("b@contoso.com")
        );
        assert_eq!(get(&macros, "i").as_deref(), Some("456"));

        macros.enter(MacroStage::Rcpt);
        assert_eq!(get(&macros, "{rcpt_addr}"), None);
        assert_eq!(get(&macros, "i").as_deref(), Some("123"));

        macros.enter(MacroStage::Mail);
        assert_eq!(get(&macros, "{auth_authen}"), None);
        assert_eq!(get(&macros, "{tls_version}").as_deref(), Some("TLSv1.3"));
        assert_eq!(get(&macros, "j").as_deref(), Some("mx.example"));
    }

    #[test]
    fn an_empty_packet_clears_the_macros_of_its_stage() {
        for empty in [b"M".as_slice(), b"M{auth_authen}", b"M{auth_authen}\0\0"] {
            let mut macros = Macros::default();
            macros.define(b"M{auth_authen}\0alice\0");
            macros.define(empty);
            macros.enter(MacroStage::Mail);
            assert_eq!(macros.get("{auth_authen}"), None);
        }
    }

    #[test]
    fn only_requested_macros_are_stored_once_and_limited_in_length() {
        let mut macros = Macros::default();
        let long = [b"Mi\0".as_slice(), &[b'x'; MAX_VALUE + 1], b"\0"].concat();
        macros.define(&long);
        assert_eq!(macros.get("i"), None);
        macros.define(&[b"M".as_slice(), &b"i\x00123\0{other}\0x\0".repeat(1000)].concat());
        assert_eq!(macros.stages[2].pairs, b"\0\x01i\0\x03123");
        for ignored in [b"".as_slice(), b"X", b"Li\x00123\0", b"\0\0\0"] {
            macros.define(ignored);
        }
        assert_eq!(macros.get("{i}").as_deref(), Some("123"));
    }
}
