//! A Postfix configuration, read with `postconf`.

use crate::doctor::program;
use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The parameters read from main.cf.
const PARAMETERS: [&str; 29] = [
    "compatibility_level",
    "inet_interfaces",
    "inet_protocols",
    "mail_owner",
    "mail_version",
    "milter_command_timeout",
    "milter_content_timeout",
    "milter_default_action",
    "milter_protocol",
    "mydestination",
    "mynetworks",
    "non_smtpd_milters",
    "queue_directory",
    "receive_override_options",
    "relay_domains",
    "smtpd_client_restrictions",
    "smtpd_milter_maps",
    "smtpd_milters",
    "smtpd_recipient_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_sasl_auth_enable",
    "smtpd_sender_restrictions",
    "smtpd_tls_CAfile",
    "smtpd_tls_CApath",
    "smtpd_tls_ask_ccert",
    "smtpd_tls_req_ccert",
    "tls_append_default_CA",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
];

/// A Postfix configuration: main.cf with its defaults, and the smtpd services of
/// master.cf.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Instance {
    /// The directory of main.cf.
    pub(in crate::doctor) directory: String,
    main: HashMap<String, String>,
    services: Vec<Service>,
}

/// A line of master.cf that runs smtpd.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// Name or address and port, such as `smtp` or `127.0.0.1:10025`.
    pub(super) name: String,
    /// `inet` or `pass`.
    pub(super) kind: String,
    /// Whether it runs in a chroot at the queue directory.
    pub(super) chroot: bool,
    /// The parameters set with `-o`.
    overrides: HashMap<String, String>,
}

/// The clients of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Any host.
    Internet,
    /// Authenticated users.
    Submission,
    /// Programs on this machine, such as a content filter.
    Loopback,
}

/// Returns the directories of the installed instances.
pub(in crate::doctor) async fn installed() -> Vec<PathBuf> {
    let question = ["-h", "-x", "config_directory", "multi_instance_directories"];
    match program::run("postconf", &question).await {
        Ok(answer) => answer
            .split([',', ' ', '\n'])
            .filter(|directory| !directory.is_empty())
            .map(PathBuf::from)
            .collect(),
        Err(_no_postfix) => Vec::new(),
    }
}

impl Instance {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Returns the error of postconf if the configuration is missing or invalid.
    pub(in crate::doctor) async fn read(directory: &Path) -> Result<Self, program::Failure> {
        // Despite -c, Postfix 3.10 expands $config_directory to its default.
        let mut own_directory = OsString::from("config_directory=");
        own_directory.push(directory);
        let ask = async |options: &[&str]| {
            let mut arguments = vec!["-c".into(), directory.as_os_str().to_owned()];
            arguments.extend(["-o".into(), own_directory.clone()]);
            arguments.extend(options.iter().map(Into::into));
            program::run("postconf", &arguments).await
        };
        let main = ask(&[["-x"].as_slice(), &PARAMETERS].concat()).await?;
        let main: HashMap<String, String> = settings(&main).collect();
        let columns = ask(&["-F"]).await?;
        let overrides = ask(&["-P", "-x"]).await?;
        Ok(Self {
            directory: directory.display().to_string(),
            services: services(&columns, &overrides, &main),
            main,
        })
    }

    /// Returns the values of those keys that a table has.
    ///
    /// # Errors
    /// Returns the error of postmap if the table can't be queried.
    pub(super) async fn look_up(
        &self,
        table: &str,
        keys: &[&str],
    ) -> Result<Vec<(String, String)>, program::Failure> {
        let arguments = ["-c", &self.directory, "-q", "-", table];
        let answer = program::run_with_input("postmap", &arguments, &keys.join("\n")).await;
        let pairs = match answer {
            Ok(answer) => answer,
            // postmap fails without a message if the table has none of the keys.
            Err(program::Failure::NoMessage) => String::new(),
            Err(failure) => return Err(failure),
        };
        let pairs = pairs.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect())
    }

    /// Returns a parameter of main.cf; empty if this version of Postfix lacks it.
    pub(in crate::doctor) fn main(&self, parameter: &str) -> &str {
        self.main.get(parameter).map_or("", String::as_str)
    }

    pub(super) fn queue(&self) -> &Path {
        Path::new(self.main("queue_directory"))
    }

    /// Returns a parameter of a service.
    pub(super) fn value<'a>(&'a self, service: &'a Service, parameter: &str) -> &'a str {
        let own = service.overrides.get(parameter);
        own.map_or_else(|| self.main(parameter), String::as_str)
    }

    /// Describes where a parameter of a service is set.
    pub(super) fn origin(&self, service: &Service, parameter: &str) -> String {
        match service.overrides.contains_key(parameter) {
            true => self.master(service),
            false => format!("{}/main.cf", self.directory),
        }
    }

    /// Describes a service.
    pub(super) fn master(&self, service: &Service) -> String {
        format!(
            "{}/master.cf: {} {}",
            self.directory, service.name, service.kind
        )
    }

    /// Returns the services with a role.
    pub(super) fn with_role(&self, role: Role) -> impl Iterator<Item = &Service> {
        self.services
            .iter()
            .filter(move |service| self.role(service) == role)
    }

    fn role(&self, service: &Service) -> Role {
        let (host, port) = service.name.rsplit_once(':').unwrap_or(("", &service.name));
        let host = host.trim_matches(['[', ']']);
        if host == "::1" || host == "localhost" || host.starts_with("127.") {
            return Role::Loopback;
        }
        let submission = ["submission", "submissions", "smtps", "587", "465"];
        match submission.contains(&port) || self.requires_login(service) {
            true => Role::Submission,
            false => Role::Internet,
        }
    }

    /// Returns whether only authenticated clients may send mail.
    fn requires_login(&self, service: &Service) -> bool {
        let restrictions = [
            "smtpd_client_restrictions",
            "smtpd_sender_restrictions",
            "smtpd_relay_restrictions",
            "smtpd_recipient_restrictions",
        ];
        restrictions.iter().any(|restriction| {
            let words: Vec<&str> = words(self.value(service, restriction)).collect();
            words.contains(&"permit_sasl_authenticated") && words.last() == Some(&"reject")
        })
    }
}

/// Splits a list at commas and white space, as Postfix does.
pub(in crate::doctor) fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ' ', '\t', '\n'])
        .filter(|word| !word.is_empty())
}

/// Parses lines such as `name = value`.
fn settings(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
}

/// Builds the services from lines such as `smtp/inet/chroot = y` and
/// `smtp/inet/smtpd_milters = x`. A service name contains no slash.
fn services(columns: &str, overrides: &str, main: &HashMap<String, String>) -> Vec<Service> {
    let columns: Vec<(String, String)> = settings(columns).collect();
    let overrides: Vec<(String, String)> = settings(overrides).collect();
    let commands = columns.iter().filter_map(|(key, command)| {
        let service = key.strip_suffix("/command")?;
        (command.split_whitespace().next()? == "smtpd").then_some(service)
    });
    let smtpd = commands.filter_map(|service| {
        let (name, kind) = service.split_once('/')?;
        Some(Service {
            name: name.to_owned(),
            kind: kind.to_owned(),
            chroot: is_chrooted(value_of(&columns, &format!("{service}/chroot")), main),
            overrides: with_prefix(&overrides, &format!("{service}/")),
        })
    });
    smtpd.collect()
}

/// Parses the chroot column. A dash is the default, which was yes before Postfix 3.0.
fn is_chrooted(column: &str, main: &HashMap<String, String>) -> bool {
    let level = main.get("compatibility_level").map_or("0", String::as_str);
    match column {
        "-" => level == "0",
        other => other == "y",
    }
}

fn value_of<'a>(settings: &'a [(String, String)], key: &str) -> &'a str {
    let found = settings.iter().find(|(name, _)| name == key);
    found.map_or("-", |(_, value)| value)
}

fn with_prefix(settings: &[(String, String)], prefix: &str) -> HashMap<String, String> {
    let own = settings.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(prefix)?;
        Some((name.to_owned(), value.clone()))
    });
    own.collect()
}
