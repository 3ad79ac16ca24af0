//! Reads and writes milter.yaml. The only user of the YAML library.
//!
//! Converts the text of a file to a [`Config`] or an error with its line; opens no files.
//! To add a key, add a field here or to its section in [`super`], and a line to
//! milter.yaml.example.

use super::{
    AuthenticationResults, Config, ConfigError, Dkim, Dns, Forwarders, Limits, Log, Metrics, Mode,
    OptIn, Socket, Spf, Status,
    addresses::Network,
    certificates::Certificate,
    choices::{Word, YesNo},
    enforcement::{self, RefusingRule, ShareKey},
    host::{KnownGroup, PlacedSocket},
    lists::{ListEntry, ListPath},
    numbers::GiveUpAfter,
    prefixes::{Prefix, PrefixesBeside},
    replies::{ReplyLine, ReplyUrl},
    section,
    sockets::{GroupName, MilterSocket, SocketMode},
    syntax,
    value::{List, Optional, Scalar},
};
use crate::{
    certificate::CertificatePattern,
    enforcement::EnforceShare,
    opt_in::entry::Entry,
    policy::{ExemptTls, OnDnsFailure, ReverseDns, Rule, Settings},
    reply::{Preset, Replies, Template, Url},
    translation::TranslationPrefix,
};
use ipnet::IpNet;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, IgnoredAny},
};
use std::{path::PathBuf, time::Duration};

/// Parses a configuration.
pub(super) fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    if let Err(error) = serde_yaml::from_str::<IgnoredAny>(text) {
        return Err(syntax_error(text, file, &error));
    }
    let document = || serde_yaml::Deserializer::from_str(text);
    let parsed: Result<File, _> = section::deserialize(document());
    let parsed = parsed.map_err(|error| value_error(file, &error))?;
    if !parsed.ipv4_prefixes.is_empty() {
        let beside = PrefixesBeside(&parsed.exempt.networks);
        let checked = beside.deserialize(document());
        checked.map_err(|error| value_error(file, &error))?;
    }
    let config = Config::from(parsed);
    let complaints = [
        ("opt_in.sql", config.opt_in.sql.complaint()),
        ("opt_in.redis", config.opt_in.redis.complaint()),
        ("opt_in.mx_zone", config.opt_in.mx_zone.complaint()),
        ("status", config.status.complaint()),
    ];
    let complaint = complaints
        .into_iter()
        .find_map(|(section, complaint)| Some((section, complaint?)));
    match complaint {
        Some((section, (key, complaint))) => {
            Err(section_error(text, file, section, key, &complaint))
        }
        None => Ok(config),
    }
}

/// Returns an error in a section such as `opt_in.sql` that depends on several keys or on
/// an answer of the server.
pub(super) fn section_error(
    text: &str,
    file: &str,
    section: &str,
    key: &str,
    complaint: &str,
) -> ConfigError {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let name = section.rsplit('.').next().unwrap_or_default();
    // The scheme of a URL may be the same word.
    let head = format!("{name}:");
    let begins_section = |line: &str| {
        let mut behind = line
            .match_indices(&head)
            .map(|(at, _)| &line[at + head.len()..]);
        behind.any(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let mut lines = (1..)
        .zip(text.lines())
        .skip_while(|(_, line)| !begins_section(line));
    let head = lines.next();
    let wanted = format!("{key}:");
    let has_key = |(_, line): &(usize, &str)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut found = line.match_indices(&wanted);
        found.any(|(start, _)| !line[..start].ends_with(is_name))
    };
    let depth = head.map_or(0, |(_, line)| indent(line));
    let mut below = lines.take_while(|(_, line)| line.trim().is_empty() || indent(line) > depth);
    // The error for a key that is missing has the line of the section.
    let line = head
        .filter(has_key)
        .or_else(|| below.find(has_key))
        .or(head);
    ConfigError::Invalid {
        file: file.to_owned(),
        line: line.map(|(number, _)| number),
        complaint: format!("{section}.{key}: {complaint}"),
    }
}

/// Checks the machine for the directories of unix sockets and the group in the text,
/// which must have been parsed before.
pub(super) fn check_host(text: &str, file: &str) -> Result<(), ConfigError> {
    // Reading it again gives errors their line.
    match serde_yaml::from_str::<Option<OnHost>>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(value_error(file, &error)),
    }
}

/// Returns the text of a configuration, which [`parse`] parses back to it.
pub(super) fn show(config: &Config) -> String {
    serde_yaml::to_string(&File::from(config.clone()))
        // Unreachable: every value of a configuration has a text.
        .unwrap_or_else(|error| format!("# {error}\n"))
}

/// The whole file, one field per key.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct File {
    #[serde(with = "List::<MilterSocket>")]
    listen: Vec<Socket>,
    #[serde(with = "Scalar::<SocketMode>")]
    socket_mode: u32,
    #[serde(with = "Optional::<GroupName>")]
    socket_group: Option<String>,
    #[serde(with = "List::<Network>")]
    allow_peers: Vec<IpNet>,
    #[serde(with = "Scalar::<Word<Mode>>")]
    mode: Mode,
    #[serde(with = "List::<ListEntry>")]
    observe_domains: Vec<Entry>,
    #[serde(with = "List::<RefusingRule>")]
    observe_rules: Vec<Rule>,
    #[serde(with = "enforcement::share")]
    enforce_share: EnforceShare,
    #[serde(with = "Optional::<ShareKey>")]
    enforce_share_key: Option<String>,
    #[serde(with = "section")]
    opt_in: OptIn,
    #[serde(with = "Scalar::<Word<ReverseDns>>")]
    reverse_dns: ReverseDns,
    #[serde(with = "Scalar::<Word<OnDnsFailure>>")]
    on_dns_failure: OnDnsFailure,
    #[serde(with = "List::<Prefix>")]
    ipv4_prefixes: Vec<TranslationPrefix>,
    #[serde(with = "section")]
    exempt: Exempt,
    #[serde(with = "section")]
    replies: ReplyLines,
    #[serde(with = "section")]
    authentication_results: AuthenticationResults,
    #[serde(with = "section")]
    dns: Dns,
    #[serde(with = "section")]
    spf: Spf,
    #[serde(with = "section")]
    dkim: Dkim,
    #[serde(with = "section")]
    limits: Limits,
    #[serde(with = "section")]
    log: Log,
    #[serde(with = "section")]
    metrics: Metrics,
    #[serde(with = "section")]
    status: Status,
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Exempt {
    #[serde(with = "List::<Network>")]
    networks: Vec<IpNet>,
    #[serde(with = "Scalar::<ListPath>")]
    managed_file: PathBuf,
    #[serde(with = "Scalar::<Word<bool>>")]
    authenticated: bool,
    #[serde(with = "Scalar::<Word<ExemptTls>>")]
    tls: ExemptTls,
    #[serde(with = "List::<Certificate>")]
    certificates: Vec<CertificatePattern>,
    #[serde(with = "section")]
    forwarders: Forwarders,
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct ReplyLines {
    #[serde(with = "Scalar::<Word<Preset>>")]
    preset: Preset,
    #[serde(with = "Optional::<ReplyLine>")]
    not_opted_in: Option<Template>,
    #[serde(with = "Optional::<ReplyLine>")]
    no_ptr: Option<Template>,
    #[serde(with = "Optional::<ReplyLine>")]
    unauthenticated: Option<Template>,
    #[serde(with = "Optional::<ReplyLine>")]
    temporary: Option<Template>,
    #[serde(with = "Scalar::<YesNo>")]
    details: bool,
    #[serde(with = "Optional::<ReplyUrl>")]
    url: Option<Url>,
    #[serde(with = "Scalar::<GiveUpAfter>")]
    give_up_after: Option<Duration>,
}

/// The settings to check on the machine.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OnHost {
    #[serde(deserialize_with = "List::<PlacedSocket>::deserialize")]
    listen: Vec<Socket>,
    #[serde(deserialize_with = "Optional::<KnownGroup>::deserialize")]
    socket_group: Option<String>,
}

impl Default for File {
    fn default() -> Self {
        Config::default().into()
    }
}

impl Default for Exempt {
    fn default() -> Self {
        File::default().exempt
    }
}

impl Default for ReplyLines {
    /// Contains no reply texts, so that those of the configured preset apply.
    fn default() -> Self {
        let Replies {
            preset,
            details,
            url,
            give_up_after,
            ..
        } = Replies::default();
        Self {
            preset,
            not_opted_in: None,
            no_ptr: None,
            unauthenticated: None,
            temporary: None,
            details,
            url,
            give_up_after,
        }
    }
}

impl From<File> for Config {
    fn from(file: File) -> Self {
        Self {
            listen: file.listen,
            socket_mode: file.socket_mode,
            socket_group: file.socket_group,
            allow_peers: file.allow_peers,
            mode: file.mode,
            observe_domains: file.observe_domains,
            observe_rules: file.observe_rules,
            enforce_share: file.enforce_share,
            enforce_share_key: file.enforce_share_key,
            opt_in: file.opt_in,
            exempt_file: file.exempt.managed_file,
            policy: Settings {
                ipv4_prefixes: file.ipv4_prefixes,
                exempt_networks: file.exempt.networks,
                exempt_authenticated: file.exempt.authenticated,
                exempt_tls: file.exempt.tls,
                exempt_certificates: file.exempt.certificates,
                known_forwarders: !file.exempt.forwarders.is_empty(),
                reverse_dns: file.reverse_dns,
                on_dns_failure: file.on_dns_failure,
            },
            forwarders: file.exempt.forwarders,
            replies: file.replies.into(),
            authentication_results: file.authentication_results,
            dns: file.dns,
            spf: file.spf,
            dkim: file.dkim,
            limits: file.limits,
            log: file.log,
            metrics: file.metrics,
            status: file.status,
        }
    }
}

impl From<Config> for File {
    fn from(config: Config) -> Self {
        Self {
            listen: config.listen,
            socket_mode: config.socket_mode,
            socket_group: config.socket_group,
            allow_peers: config.allow_peers,
            mode: config.mode,
            observe_domains: config.observe_domains,
            observe_rules: config.observe_rules,
            enforce_share: config.enforce_share,
            enforce_share_key: config.enforce_share_key,
            opt_in: config.opt_in,
            reverse_dns: config.policy.reverse_dns,
            on_dns_failure: config.policy.on_dns_failure,
            ipv4_prefixes: config.policy.ipv4_prefixes,
            exempt: Exempt {
                networks: config.policy.exempt_networks,
                managed_file: config.exempt_file,
                authenticated: config.policy.exempt_authenticated,
                tls: config.policy.exempt_tls,
                certificates: config.policy.exempt_certificates,
                forwarders: config.forwarders,
            },
            replies: config.replies.into(),
            authentication_results: config.authentication_results,
            dns: config.dns,
            spf: config.spf,
            dkim: config.dkim,
            limits: config.limits,
            log: config.log,
            metrics: config.metrics,
            status: config.status,
        }
    }
}

impl From<ReplyLines> for Replies {
    fn from(lines: ReplyLines) -> Self {
        let preset = Self::from(lines.preset);
        Self {
            not_opted_in: lines.not_opted_in.unwrap_or(preset.not_opted_in),
            no_ptr: lines.no_ptr.unwrap_or(preset.no_ptr),
            unauthenticated: lines.unauthenticated.unwrap_or(preset.unauthenticated),
            temporary: lines.temporary.unwrap_or(preset.temporary),
            preset: lines.preset,
            details: lines.details,
            url: lines.url,
            give_up_after: lines.give_up_after,
        }
    }
}

impl From<Replies> for ReplyLines {
    fn from(replies: Replies) -> Self {
        Self {
            preset: replies.preset,
            not_opted_in: Some(replies.not_opted_in),
            no_ptr: Some(replies.no_ptr),
            unauthenticated: Some(replies.unauthenticated),
            temporary: Some(replies.temporary),
            details: replies.details,
            url: replies.url,
            give_up_after: replies.give_up_after,
        }
    }
}

/// Returns the error for text that is not valid YAML.
fn syntax_error(text: &str, file: &str, error: &serde_yaml::Error) -> ConfigError {
    let line = error.location().map(|location| location.line());
    let (line, complaint) = syntax::explain(text, line, &error.to_string());
    ConfigError::Invalid {
        file: file.to_owned(),
        line,
        complaint,
    }
}

/// Returns the error for valid YAML with a wrong key or value.
fn value_error(file: &str, error: &serde_yaml::Error) -> ConfigError {
    let message = error.to_string();
    let location = error.location();
    let place = location.as_ref().map_or_else(String::new, |location| {
        format!(" at line {} column {}", location.line(), location.column())
    });
    ConfigError::Invalid {
        file: file.to_owned(),
        line: location.map(|location| location.line()),
        complaint: tidy_path(message.strip_suffix(&place).unwrap_or(&message)),
    }
}

/// Tidies the library's paths: removes the index in `exempt.networks[0]: ...`, as the
/// line identifies the item, and joins `limits: .foo: ...` to limits.foo.
fn tidy_path(message: &str) -> String {
    let (path, complaint) = message.split_once(": ").unwrap_or(("", message));
    if path.contains(' ') {
        // The path of the whole file is omitted.
        return in_plain_words(message);
    }
    let path = path.split('[').next().unwrap_or(path);
    match complaint.strip_prefix('.') {
        Some(below) => format!("{path}.{below}"),
        None => format!(
            "{}: {}",
            path.trim_start_matches('.'),
            in_plain_words(complaint)
        ),
    }
}

/// Rewords serde's "invalid type" for readers who are not programmers.
fn in_plain_words(complaint: &str) -> String {
    let wrong_type = complaint.strip_prefix("invalid type: ");
    let Some((found, expected)) = wrong_type.and_then(|c| c.split_once(", expected ")) else {
        return complaint.to_owned();
    };
    let found = match found {
        "enum" => return "quote what begins with !, or YAML takes it for a tag".to_owned(),
        "unit value" => "nothing",
        "sequence" => "a list",
        "map" => "keys",
        scalar => scalar,
    };
    format!("found {found}; write {expected}")
}
