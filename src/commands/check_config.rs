//! `sixgate check-config`: checks a configuration and the files that it names.
//!
//! Prints the verdict or, with `--show`, the settings on standard output, and warnings on
//! standard error. Opens no sockets, and queries only the servers of `opt_in.sql` and
//! `opt_in.redis`, because only these can check the query and the key. Reads the
//! configuration of the MTA only if `exempt.tls: verified` depends on it.

use crate::{
    cli::CheckConfig,
    commands,
    config::Config,
    dns::system_servers,
    doctor,
    exempt::Exemptions,
    exit::{Exit, Failure},
    opt_in::{ServerFinding, Source, Sources},
    policy::ExemptTls,
    status,
};
use std::{
    io::{self, Write},
    path::Path,
};

pub(super) fn run(arguments: &CheckConfig) -> Result<(), Failure> {
    let path = &arguments.config.path;
    let config = Config::load_for_host(path)?;
    let sources = Sources::open(&config.opt_in, None)?;
    Exemptions::open(&config, None)?;
    status::Access::open(path, &config)?;
    let mut warnings = config.warnings();
    warnings.extend(sources.warning().map(str::to_owned));
    warnings.extend(no_dns_server(&config));
    warnings.extend(public_certificates(&config)?);
    warnings.extend(check_servers(path, &sources)?);
    if arguments.dns {
        warnings.extend(forwarders(&config)?);
    }
    for warning in warnings {
        eprintln!("{}: warning: {warning}", path.display());
    }
    let verdict = match arguments.show {
        true => config.to_yaml(),
        false => format!("{}: ok\n", path.display()),
    };
    print(&verdict).map_err(|error| Failure::new(Exit::Io, error))
}

/// Returns warnings if the MTA's trusted CAs make `exempt.tls: verified` exempt anyone.
fn public_certificates(config: &Config) -> Result<Vec<String>, Failure> {
    if config.policy.exempt_tls != ExemptTls::Verified {
        return Ok(Vec::new());
    }
    let runtime = commands::runtime()?;
    Ok(runtime.block_on(doctor::certificate_warnings(config)))
}

/// Returns warnings about `exempt.forwarders.spf_of`, after looking up the SPF records.
fn forwarders(config: &Config) -> Result<Vec<String>, Failure> {
    let runtime = commands::runtime()?;
    Ok(runtime.block_on(doctor::forwarder_warnings(config)))
}

/// Lets the servers check the query and the key. An unreachable server is a warning.
fn check_servers(path: &Path, sources: &Sources) -> Result<Vec<String>, Failure> {
    let runtime = commands::runtime()?;
    let mut warnings = Vec::new();
    for check in runtime.block_on(sources.check_servers()) {
        let (source, url) = (check.source, check.url);
        let key = match source {
            Source::Sql => "query",
            _ => "key",
        };
        match check.finding {
            ServerFinding::Ok => {}
            ServerFinding::Unreachable(reason) => warnings.push(format!(
                "opt_in.{source}.url: {url} can't be queried, so the {key} was not checked: {reason}"
            )),
            ServerFinding::Empty(reason) => warnings.push(format!(
                "opt_in.{source}.{key}: {reason} (reported by {url}); until it has entries, each \
                 domain is answered 451 4.4.3"
            )),
            ServerFinding::Wrong(reason) => {
                let complaint = format!("{reason} (reported by {url})");
                let section = format!("opt_in.{source}");
                return Err(Config::section_error(path, &section, key, &complaint).into());
            }
        }
    }
    Ok(warnings)
}

fn no_dns_server(config: &Config) -> Option<String> {
    let error = match config.dns.servers.is_empty() {
        true => system_servers().err()?,
        false => return None,
    };
    Some(format!(
        "dns.servers: none is configured, and those of the system are unavailable: {error}"
    ))
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
