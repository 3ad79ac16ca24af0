//! Parses sendmail.cf: mail filters, ports, TLS, and the domains that it accepts mail for.

use crate::{config::Socket, doctor::mta_duration};
use std::{collections::HashMap, fs, io, net::Ipv6Addr, path::Path, time::Duration};

/// The TLS options that are read.
const TLS_OPTIONS: [&str; 4] = [
    "CACertFile",
    "CACertPath",
    "ServerCertFile",
    "TLSSrvOptions",
];

/// The parsed file.
#[derive(Clone, Debug, Default)]
pub(in crate::doctor) struct Cf {
    /// The path of the file.
    pub(in crate::doctor) file: String,
    /// `RunAsUser`; the default is root.
    pub(super) user: String,
    /// `InputMailFilters`, in order.
    pub(super) input_filters: Vec<String>,
    filters: Vec<Filter>,
    daemons: Vec<Daemon>,
    /// TLS options with a value.
    tls: HashMap<String, String>,
    /// The domains in class w.
    pub(in crate::doctor) domains: Vec<String>,
    /// The files of the classes w, R and VirtHost.
    pub(in crate::doctor) domain_files: Vec<String>,
}

/// A mail filter: an X line.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    equates: HashMap<String, String>,
}

/// A port that accepts mail: `DaemonPortOptions`.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    /// The name to show.
    pub(super) name: String,
    pub(super) ipv6: bool,
    /// Its filters; `None` for those of `InputMailFilters`.
    pub(super) filters: Option<Vec<String>>,
    address: String,
    port: String,
}

impl Daemon {
    pub(super) fn is_for_internet(&self) -> bool {
        let loopback = self.address.starts_with("127.") || self.address == "::1";
        let submission = ["587", "465", "submission", "submissions", "smtps"];
        !loopback && !submission.contains(&self.port.as_str())
    }

    /// Returns whether IPv4 clients can connect: on Linux, also to an IPv6 wildcard socket.
    pub(super) fn takes_ipv4(&self) -> bool {
        let address = self.address.parse::<Ipv6Addr>();
        !self.ipv6 || self.address.is_empty() || address.is_ok_and(|ip| ip.is_unspecified())
    }

    fn parse(options: &str) -> Self {
        let equates = equates(options);
        let value = |key: char| {
            let found = equates.iter().find(|(name, _)| name.starts_with(key));
            found.map_or("", |(_, value)| value)
        };
        let name = match value('N') {
            "" => "the SMTP port",
            name => name,
        };
        Self {
            name: name.to_owned(),
            ipv6: value('F').eq_ignore_ascii_case("inet6"),
            filters: equates
                .get("InputMailFilters")
                .or_else(|| equates.get("I"))
                .map(|filters| list(filters)),
            address: value('A').to_owned(),
            port: value('P').to_owned(),
        }
    }
}

impl Filter {
    /// Parses a line such as `sixgate, S=inet:8894@127.0.0.1, F=T, T=R:30s`.
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once(',')?;
        Some(Self {
            name: name.trim().to_owned(),
            equates: equates(rest),
        })
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.equates.get(key).map(String::as_str)
    }

    pub(super) fn place(&self) -> Option<Socket> {
        self.value("S")?.parse().ok()
    }

    /// Returns a timeout: `C`, `S`, `R` or `E`. Unset ones have Sendmail's defaults.
    pub(super) fn time(&self, key: char) -> Duration {
        let times = self.value("T").unwrap_or_default().split(';');
        let mut pairs = times.filter_map(|time| time.trim().split_once(':'));
        let set = pairs
            .find(|(name, _)| name.starts_with(key))
            .and_then(|(_, value)| mta_duration::parse(value));
        set.unwrap_or(match key {
            'C' | 'E' => Duration::from_secs(300),
            _ => Duration::from_secs(10),
        })
    }
}

fn equates(text: &str) -> HashMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn list(text: &str) -> Vec<String> {
    let names = text.split([',', ';']).map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Cf {
    /// Reads a file.
    ///
    /// # Errors
    /// Fails if it can't be read.
    pub(in crate::doctor) fn read(file: &Path) -> io::Result<Self> {
        let bytes = fs::read(file)?;
        let cf = Self::parse(&String::from_utf8_lossy(&bytes));
        Ok(Self {
            file: file.display().to_string(),
            ..cf
        })
    }

    fn parse(text: &str) -> Self {
        let mut cf = Self {
            user: "root".to_owned(),
            ..Self::default()
        };
        for line in logical_lines(text) {
            cf.parse_line(&line);
        }
        cf
    }

    fn parse_line(&mut self, line: &str) {
        let (letter, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
        match letter {
            "X" => self.filters.extend(Filter::parse(rest)),
            "O" => self.option(rest.trim()),
            "C" => self.class(rest),
            "F" => self.class_file(rest),
            _ => {}
        }
    }

    fn option(&mut self, option: &str) {
        let Some((name, value)) = option.split_once('=') else {
            return;
        };
        match name.trim() {
            "InputMailFilters" => self.input_filters = list(value),
            "DaemonPortOptions" => self.daemons.push(Daemon::parse(value)),
            "RunAsUser" if !value.is_empty() => self.user = before_group(value),
            name if TLS_OPTIONS.contains(&name) && !value.trim().is_empty() => {
                self.tls.insert(name.to_owned(), value.trim().to_owned());
            }
            _ => {}
        }
    }

    /// Returns a TLS option, if it has a value.
    pub(super) fn tls_option(&self, name: &str) -> Option<&str> {
        self.tls.get(name).map(String::as_str)
    }

    /// Parses `Cwexample.org` or `C{w}example.org`.
    fn class(&mut self, rest: &str) {
        if let Some(("w", members)) = class_name(rest) {
            self.domains
                .extend(members.split_whitespace().map(str::to_owned));
        }
    }

    /// Parses `Fw/etc/mail/local-host-names`, or `Fw-o FILE` if the file is optional.
    fn class_file(&mut self, rest: &str) {
        let Some((class, file)) = class_name(rest) else {
            return;
        };
        let file = file.trim().trim_start_matches("-o").trim();
        let file = file.split_whitespace().next().unwrap_or_default();
        if ["w", "R", "VirtHost"].contains(&class) && file.starts_with('/') {
            self.domain_files.push(file.to_owned());
        }
    }

    pub(super) fn filters(&self) -> Vec<Filter> {
        self.filters.clone()
    }

    /// Returns the ports. By default, Sendmail has one, port 25.
    pub(super) fn daemons(&self) -> Vec<Daemon> {
        match self.daemons.is_empty() {
            true => vec![Daemon::parse("")],
            false => self.daemons.clone(),
        }
    }
}

fn before_group(value: &str) -> String {
    let user = value.split([':', '.']).next().unwrap_or(value);
    user.trim().to_owned()
}

/// Splits off the name of a class, which is one letter or in braces.
fn class_name(rest: &str) -> Option<(&str, &str)> {
    match rest.strip_prefix('{') {
        Some(braced) => braced.split_once('}'),
        None => rest.split_at_checked(1),
    }
}

/// Joins lines that begin with white space to the line before.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match (line.starts_with([' ', '\t']), lines.last_mut()) {
            (true, Some(last)) => last.push_str(line),
            (_, _) => lines.push(line.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const CF: &str = "# Xcomment, S=inet:1@127.0.0.1\n\
        Cwlocalhost example.org\n\
        Fw-o /etc/mail/local-host-names %[^\\#]\n\
        F{VirtHost}/etc/mail/virthosts\n\
        O InputMailFilters=sixgate, other\n\
        O DaemonPortOptions=Name=MTA-v6, Family=inet6, Port=smtp\n\
        O DaemonPortOptions=Name=MSA, Port=587, M=Ea, InputMailFilters=\n\
        O DaemonPortOptions=Name=local, Addr=127.0.0.1, InputMailFilters=a;b\n\
        O RunAsUser=smmta:smmsp\n\
        Xsixgate, S=inet:8894@127.0.0.1,\n\
        \tF=T, T=C:10s;S:30s;R:1m\n";

    #[test]
    fn filters_and_domains_are_parsed() {
        let cf = Cf::parse(CF);
        assert_eq!(cf.input_filters, ["sixgate", "other"]);
        assert_eq!(cf.user, "smmta");
        assert_eq!(cf.domains, ["localhost", "example.org"]);
        assert_eq!(
            cf.domain_files,
            ["/etc/mail/local-host-names", "/etc/mail/virthosts"]
        );
        let [filter] = cf.filters().try_into().unwrap();
        assert_eq!(filter.place().unwrap().to_string(), "inet:127.0.0.1:8894");
        assert_eq!(filter.value("F"), Some("T"));
        let seconds = ['C', 'S', 'R', 'E'].map(|key| filter.time(key).as_secs());
        assert_eq!(seconds, [10, 30, 60, 300]);
    }

    #[test]
    fn only_ports_for_the_internet_are_checked() {
        let daemons = Cf::parse(CF).daemons();
        let internet: Vec<bool> = daemons.iter().map(Daemon::is_for_internet).collect();
        assert_eq!(internet, [true, false, false]);
        assert_eq!(daemons[0].filters, None);
        assert_eq!(daemons[1].filters, Some(Vec::new()));
        assert!(daemons[0].ipv6 && !daemons[1].ipv6);
        assert!(Cf::parse("").daemons()[0].is_for_internet());
    }
}
