//! The result of a check: its level, what was seen, and what to do.

use crate::config::ConfigError;
use serde::{Serialize, Serializer};
use std::fmt;

/// One result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    pub(crate) level: Level,
    /// What was seen, in one line.
    pub(crate) seen: String,
    /// What to do; `None` at level ok.
    pub(crate) todo: Option<String>,
}

impl Finding {
    /// Everything is fine, or it can't be checked on this machine.
    pub(crate) fn ok(check: Check, seen: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, seen.into(), None)
    }

    /// Mail is handled correctly, but the administrator should know this.
    pub(crate) fn warning(check: Check, seen: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(check, Level::Warning, seen.into(), Some(todo.into()))
    }

    /// Mail is, or will be, wrongly refused or accepted.
    pub(crate) fn problem(check: Check, seen: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(check, Level::Problem, seen.into(), Some(todo.into()))
    }

    fn new(check: Check, level: Level, seen: String, todo: Option<String>) -> Self {
        // The text may quote files, servers and the DNS.
        Self {
            check,
            level,
            seen: on_one_line(&seen),
            todo: todo.map(|todo| on_one_line(&todo)),
        }
    }
}

fn on_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

impl From<&ConfigError> for Finding {
    fn from(error: &ConfigError) -> Self {
        let todo = match error {
            ConfigError::Unreadable { .. } => {
                "name the file with -c, and run doctor as root or as the user of sixgate"
            }
            ConfigError::Invalid { .. } => "fix the file; nothing else was checked",
        };
        Self::problem(Check::Config, error.to_string(), todo)
    }
}

/// The severity of a finding; the worst is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Everything is fine, or it can't be checked on this machine.
    Ok,
    /// Mail is handled correctly, but the administrator should know this.
    Warning,
    /// Mail is, or will be, wrongly refused or accepted.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// A check of the installation; docs/doctor.md describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(clap::ValueEnum))]
pub(crate) enum Check {
    /// The configuration, and the files and users that it names.
    Config,
    /// Whether the DNS servers answer, and how fast.
    DnsServers,
    /// Whether they validate DNSSEC.
    Dnssec,
    /// Whether they answer reverse lookups of IPv6 addresses.
    ReverseDns,
    /// What happens to mail from a domain with unresponsive DNS servers.
    MuteDomain,
    /// Whether the milter sockets answer.
    Socket,
    /// Whether Postfix or Sendmail is installed.
    Mta,
    /// Whether the MTA passes its mail to sixgate.
    Attached,
    /// Whether the MTA's user can reach the socket.
    Reach,
    /// What the MTA does while sixgate is down.
    WhenDown,
    /// Whether mail over IPv4 depends on sixgate.
    Ipv4Mail,
    /// The version of the milter protocol.
    Protocol,
    /// How long the MTA waits for sixgate.
    TimeOuts,
    /// Ports for authenticated users.
    Submission,
    /// Mail submitted on this machine.
    LocalMail,
    /// Whether the MTA sees the addresses of IPv6 clients.
    Clients,
    /// Whether the MTA's own networks are exempt.
    Exemptions,
    /// Whether the SPF records of known forwarders identify them.
    Forwarders,
    /// Whether there is a NAT64 that `ipv4_prefixes` lacks.
    Translation,
    /// Whether client certificates exempt only the intended clients.
    Certificates,
    /// Whether the clock is right.
    Clock,
    /// The sources of opt-ins.
    OptIn,
    /// Whether the status page answers, and to whom.
    StatusPage,
    /// Whether opt-ins and AAAA records agree.
    Domains,
}

impl Check {
    /// Returns the name for scripts, which never changes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::DnsServers => "dns-servers",
            Self::Dnssec => "dnssec",
            Self::ReverseDns => "reverse-dns",
            Self::MuteDomain => "mute-domain",
            Self::Socket => "socket",
            Self::Mta => "mta",
            Self::Attached => "attached",
            Self::Reach => "reach",
            Self::WhenDown => "when-down",
            Self::Ipv4Mail => "ipv4-mail",
            Self::Protocol => "protocol",
            Self::TimeOuts => "time-outs",
            Self::Submission => "submission",
            Self::LocalMail => "local-mail",
            Self::Clients => "clients",
            Self::Exemptions => "exemptions",
            Self::Forwarders => "forwarders",
            Self::Translation => "translation",
            Self::Certificates => "certificates",
            Self::Clock => "clock",
            Self::OptIn => "opt-in",
            Self::StatusPage => "status-page",
            Self::Domains => "domains",
        }
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_check_is_told_in_the_documentation() {
        let page = include_str!("../../docs/doctor.md");
        for check in Check::value_variants() {
            let row = format!("| `{}` |", check.name());
            assert!(page.contains(&row), "docs/doctor.md has no row {row}");
        }
        let rows = page.matches("\n| `").count();
        let checks = Check::value_variants().len();
        assert_eq!(rows, checks, "docs/doctor.md has rows of other checks");
    }

    #[test]
    fn control_characters_are_replaced() {
        let finding = Finding::ok(Check::Clock, "a\nproblem \u{1b}[31m");
        assert_eq!(finding.seen, "a problem  [31m");
    }
}
