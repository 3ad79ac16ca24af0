//! The recipients of a mail transaction that were not refused: their number, their domains,
//! and the mode of their message.

use crate::{
    address::{Domain, Recipient},
    config::Mode,
};

/// The maximum number of domains that are stored for the log.
const MAX_DOMAINS: usize = 8;

/// The recipients so far.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    pub(super) number: usize,
    /// The first [`MAX_DOMAINS`] different domains.
    pub(super) domains: Vec<Domain>,
    /// Whether there are more different domains.
    pub(super) more_domains: bool,
    enforced: bool,
}

impl Recipients {
    /// Adds a recipient, with the mode of its domain.
    pub(super) fn add(&mut self, recipient: &Recipient, mode: Mode) {
        self.number += 1;
        self.enforced |= mode == Mode::Enforce;
        let new = |domain: &&Domain| !self.domains.contains(domain);
        if let Some(domain) = recipient.domain.name().filter(new) {
            match self.domains.len() {
                0..MAX_DOMAINS => self.domains.push(domain.clone()),
                _ => self.more_domains = true,
            }
        }
    }

    /// Returns the mode of the message; `otherwise` if there are no recipients. All
    /// recipients share one reply, so one in enforce mode is enough: otherwise a sender could
    /// bypass the policy by adding a recipient in observe mode.
    pub(super) fn mode(&self, otherwise: Mode) -> Mode {
        match self.number {
            0 => otherwise,
            _ if self.enforced => Mode::Enforce,
            _ => Mode::Observe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipients(table: &[(&str, Mode)]) -> Recipients {
        let mut recipients = Recipients::default();
        for (address, mode) in table {
            recipients.add(&Recipient::parse(address, None), *mode);
        }
        recipients
    }

    #[test]
    fn one_recipient_in_enforce_mode_enforces_a_refusal() {
        use Mode::{Enforce, Observe};
        let table: [(&[Mode], Mode); 5] = [
            (&[], Enforce),
            (&[Enforce], Enforce),
            (&[Observe], Observe),
            (&[Observe, Enforce], Enforce),
            (&[Enforce, Observe, Observe], Enforce),
        ];
        for (modes, want) in table {
            let rows: Vec<_> = modes.iter().map(|mode| ("<a@b.example>", *mode)).collect();
            assert_eq!(recipients(&rows).mode(Enforce), want, "{modes:?}");
        }
    }

    #[test]
    fn domains_are_stored_once_and_limited_in_number() {
        let addresses: Vec<String> = (0..20).map(|n| format!("<a@d{}.example>", n / 2)).collect();
        let rows: Vec<_> = addresses
            .iter()
            .map(|a| (a.as_str(), Mode::Enforce))
            .collect();
        let many = recipients(&rows);
        assert_eq!((many.number, many.domains.len()), (20, MAX_DOMAINS));
        assert!(many.more_domains);
        let few = recipients(&rows[..16]);
        assert!(few.domains.len() == MAX_DOMAINS && !few.more_domains);
    }
}
