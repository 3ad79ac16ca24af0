//! Checks Sendmail: whether the ports that accept mail from the Internet pass it to sixgate,
//! and what they do when they can't.
//!
//! Reads sendmail.cf, not the m4 sources.

mod cf;

pub(super) use cf::Cf;

use super::{
    certificates::ClientCertificates,
    finding::{Check, Finding},
    listeners::Listeners,
    permissions::{self, Account},
};
use crate::config::{Config, Mode, Socket};
use cf::{Daemon, Filter};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Runs all checks of a Sendmail.
pub(super) async fn check(cf: &Cf, config: &Config, listeners: &Listeners) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        Check::Mta,
        format!("Sendmail with {}", cf.file),
    )];
    let mut daemons = cf.daemons();
    daemons.retain(Daemon::is_for_internet);
    if daemons.is_empty() {
        findings.push(no_port(cf));
        return findings;
    }
    let Some(filter) = find(cf, listeners).await else {
        findings.push(no_filter(cf, listeners));
        return findings;
    };
    for daemon in &daemons {
        findings.extend(attached(cf, &filter, daemon));
        findings.push(match config.authentication_results.need_ipv4_mail() {
            true => ipv4_results(cf, &filter, daemon),
            false => ipv4_mail(cf, &filter, daemon),
        });
    }
    findings.push(failure_mode(cf, &filter, config.mode));
    findings.extend(timeouts(cf, &filter, config.limits.stage_timeout));
    findings.extend(permissions(cf, &filter));
    findings.extend(ipv6(cf));
    findings
}

/// Returns the settings for client certificates. Sendmail asks every client for one unless
/// `TLSSrvOptions` has `V`.
pub(super) fn client_certificates(cf: &Cf) -> ClientCertificates {
    let authorities = ["CACertFile", "CACertPath"].into_iter();
    let authorities = authorities.filter_map(|option| {
        let path = cf.tls_option(option)?;
        Some((format!("{option}={path}"), PathBuf::from(path)))
    });
    let options = cf.tls_option("TLSSrvOptions");
    let has_certificate = cf.tls_option("ServerCertFile").is_some();
    ClientCertificates {
        place: cf.file.clone(),
        is_asked_for: has_certificate && !options.is_some_and(|options| options.contains('V')),
        because: match (has_certificate, options) {
            (false, _) => "no ServerCertFile".to_owned(),
            (true, None) => "no V in TLSSrvOptions".to_owned(),
            (true, Some(options)) => format!("TLSSrvOptions={options}"),
        },
        authorities: authorities.collect(),
        system_authorities: None,
        how_to_ask: "remove V from confTLS_SRV_OPTIONS, and set confCACERT to the CA of the exempt \
                     clients",
    }
}

async fn find(cf: &Cf, listeners: &Listeners) -> Option<Filter> {
    for filter in cf.filters() {
        if let Some(place) = filter.place()
            && listeners.contains(&place).await
        {
            return Some(filter);
        }
    }
    None
}

fn no_filter(cf: &Cf, listeners: &Listeners) -> Finding {
    Finding::problem(
        Check::Attached,
        format!(
            "{}: no filter (X line) refers to sixgate, which listens on {}",
            cf.file,
            listeners.describe()
        ),
        "add FEATURE(`sixgate') to sendmail.mc, rebuild sendmail.cf and restart Sendmail",
    )
}

/// Reports that no port accepts mail, which is Debian's default: it listens only on loopback.
fn no_port(cf: &Cf) -> Finding {
    Finding::warning(
        Check::Attached,
        format!("{}: no port accepts mail from the Internet", cf.file),
        "add DAEMON_OPTIONS to sendmail.mc; or if another Sendmail accepts mail, name its \
         configuration with --sendmail-cf",
    )
}

fn attached(cf: &Cf, filter: &Filter, daemon: &Daemon) -> Option<Finding> {
    let filters = daemon.filters.as_ref().unwrap_or(&cf.input_filters);
    let (file, name, port) = (&cf.file, &filter.name, &daemon.name);
    Some(match filters.iter().position(|other| other == name) {
        Some(0) => Finding::ok(
            Check::Attached,
            format!("{file}: {port} uses sixgate ({name})"),
        ),
        Some(before) => Finding::warning(
            Check::Attached,
            format!("{file}: {port} has {before} filter(s) before sixgate ({name})"),
            "put sixgate first: then the others see only mail that it accepts",
        ),
        // `ipv4_mail` and `ipv4_results` report it.
        None if !daemon.ipv6 => return None,
        None => Finding::problem(
            Check::Attached,
            format!("{file}: {port} does not use sixgate: {name} is not in its InputMailFilters"),
            "use INPUT_MAIL_FILTER in sendmail.mc, and remove InputMailFilters from that \
             DAEMON_OPTIONS",
        ),
    })
}

/// Checks that a port accepts IPv4 mail while sixgate is down.
fn ipv4_mail(cf: &Cf, filter: &Filter, daemon: &Daemon) -> Finding {
    let (file, name, port) = (&cf.file, &filter.name, &daemon.name);
    let filters = daemon.filters.as_ref().unwrap_or(&cf.input_filters);
    let todo = "define a port for each family: Family=inet with only the other filters, as in \
                DAEMON_OPTIONS(`Family=inet, Name=MTA-v4, Port=smtp, InputMailFilters=''), and \
                Family=inet6 with an Addr of this machine";
    let with_sixgate = filters.contains(name);
    match (daemon.takes_ipv4(), with_sixgate) {
        (true, true) => Finding::warning(
            Check::Ipv4Mail,
            format!(
                "{file}: {port} passes IPv4 clients to sixgate, which never checks them: while it is \
                 down, IPv4 mail is not accepted either"
            ),
            todo,
        ),
        (true, false) => {
            let missing = cf
                .input_filters
                .iter()
                .find(|other| *other != name && !filters.contains(other));
            match missing {
                Some(missing) => Finding::warning(
                    Check::Ipv4Mail,
                    format!("{file}: {port} does not use {missing} either, which other ports use"),
                    format!("add it, unless that is intended: InputMailFilters={missing}"),
                ),
                None => Finding::ok(
                    Check::Ipv4Mail,
                    format!("{file}: {port} accepts IPv4 mail without sixgate"),
                ),
            }
        }
        (false, _) => Finding::ok(
            Check::Ipv4Mail,
            format!("{file}: {port} accepts no IPv4 mail"),
        ),
    }
}

/// Checks that a port passes IPv4 clients to sixgate, which adds results to their mail.
fn ipv4_results(cf: &Cf, filter: &Filter, daemon: &Daemon) -> Finding {
    let (file, name, port) = (&cf.file, &filter.name, &daemon.name);
    let filters = daemon.filters.as_ref().unwrap_or(&cf.input_filters);
    match (daemon.takes_ipv4(), filters.contains(name)) {
        (true, false) => Finding::warning(
            Check::Ipv4Mail,
            format!(
                "{file}: {port} does not pass IPv4 clients to sixgate: their mail gets no \
                 Authentication-Results field, despite authentication_results.families: all"
            ),
            "remove InputMailFilters from that DAEMON_OPTIONS, or set \
             authentication_results.families: checked",
        ),
        (true, true) => Finding::ok(
            Check::Ipv4Mail,
            format!(
                "{file}: {port} passes IPv4 clients to sixgate, which adds results to their mail"
            ),
        ),
        (false, _) => Finding::ok(
            Check::Ipv4Mail,
            format!("{file}: {port} accepts no IPv4 mail"),
        ),
    }
}

/// Sendmail's default configuration file.
const CF: &str = "/etc/mail/sendmail.cf";

/// The paths of Sendmail: on Debian, on older Debian, on Fedora, and the names that every MTA
/// installs.
const PROGRAMS: [&str; 5] = [
    "/usr/libexec/sendmail/sendmail",
    "/usr/lib/sm.bin/sendmail",
    "/usr/sbin/sendmail.sendmail",
    "/usr/sbin/sendmail",
    "/usr/lib/sendmail",
];

/// Returns the configuration of the installed Sendmail. A removed package leaves its
/// sendmail.cf behind, so the program has to exist, too.
pub(super) fn installed() -> Option<&'static Path> {
    let cf = Path::new(CF);
    let is_there = PROGRAMS.iter().any(|program| is_sendmail(program));
    (cf.exists() && is_there).then_some(cf)
}

/// Returns whether a program is Sendmail. Postfix, Exim and others install a program of that
/// name, too; only Sendmail contains this option.
fn is_sendmail(program: &str) -> bool {
    const OPTION: &[u8] = b"DaemonPortOptions";
    let program = fs::read(program).unwrap_or_default();
    program.windows(OPTION.len()).any(|bytes| bytes == OPTION)
}

/// Checks what Sendmail does while sixgate is down: `F=` (op.me, section 5.11).
fn failure_mode(cf: &Cf, filter: &Filter, mode: Mode) -> Finding {
    let (file, name) = (&cf.file, &filter.name);
    let flags = filter.value("F").unwrap_or_default();
    let todo = "set F=T in that INPUT_MAIL_FILTER, as FEATURE(`sixgate') does";
    match flags {
        "T" | "4" => {
            let seen =
                format!("{file}: {name} has F={flags}: mail is deferred while sixgate is down");
            Finding::ok(Check::WhenDown, seen)
        }
        "R" => Finding::problem(
            Check::WhenDown,
            format!("{file}: {name} has F=R: mail bounces while sixgate is down or slow"),
            todo,
        ),
        _ => {
            let seen = format!(
                "{file}: {name} has no F=T: mail is accepted unchecked while sixgate is down or slow"
            );
            match mode {
                Mode::Enforce => Finding::problem(Check::WhenDown, seen, todo),
                // As long as sixgate refuses nothing, no mail is wrongly accepted.
                Mode::Observe => Finding::warning(Check::WhenDown, seen, todo),
            }
        }
    }
}

/// How much longer than `limits.stage_timeout` the timeout `R` should be.
const MARGIN: Duration = Duration::from_secs(5);

fn timeouts(cf: &Cf, filter: &Filter, stage: Duration) -> Vec<Finding> {
    let wait = filter.time('R');
    let seen = format!(
        "{}: Sendmail waits {wait:?} for a reply of {}; sixgate may take limits.stage_timeout \
         ({stage:?})",
        cf.file, filter.name
    );
    let todo = "set T=C:10s;S:30s;R:30s;E:5m in that INPUT_MAIL_FILTER, as FEATURE(`sixgate') does";
    let mut findings = vec![match wait {
        short if short <= stage => Finding::problem(Check::TimeOuts, seen, todo),
        close if close < stage + MARGIN => Finding::warning(Check::TimeOuts, seen, todo),
        _ => Finding::ok(Check::TimeOuts, seen),
    }];
    let connect = filter.time('C');
    if connect > Duration::from_secs(60) {
        let seen = format!(
            "{}: a client waits up to {connect:?} for a connection to sixgate",
            cf.file
        );
        findings.push(Finding::warning(Check::TimeOuts, seen, todo));
    }
    findings
}

fn permissions(cf: &Cf, filter: &Filter) -> Vec<Finding> {
    let Some(Socket::Unix(path)) = filter.place() else {
        return Vec::new();
    };
    let open = permissions::world_writable_folders(&path);
    if let Some(folder) = open.first() {
        let seen = format!(
            "everybody may write to {}: Sendmail uses no socket below it",
            folder.display()
        );
        return vec![Finding::problem(
            Check::Reach,
            seen,
            "move it to a directory such as /run/sixgate",
        )];
    }
    let Some(account) = Account::find(&cf.user) else {
        let seen = format!("{}: RunAsUser={}: no such user", cf.file, cf.user);
        return vec![Finding::problem(
            Check::Reach,
            seen,
            "set RunAsUser to an existing user",
        )];
    };
    vec![account.check_access(&path)]
}

fn ipv6(cf: &Cf) -> Option<Finding> {
    let has_ipv6 = cf
        .daemons()
        .iter()
        .any(|daemon| daemon.is_for_internet() && daemon.ipv6);
    (!has_ipv6).then(|| {
        Finding::warning(
            Check::Clients,
            format!("{}: no port accepts mail from the Internet over IPv6 (Family=inet6)", cf.file),
            "add DAEMON_OPTIONS(`Family=inet6, Name=MTA-v6, Port=smtp, Modifiers=O') to sendmail.mc",
        )
    })
}
