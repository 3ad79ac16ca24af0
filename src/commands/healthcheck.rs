//! `sixgate healthcheck`: asks the running daemon whether it is ready, in place of curl.
//!
//! Each socket of `listen` must answer the milter negotiation. If there is
//! `metrics.listen`, `/readyz` must answer 200, too, which includes DNS and the opt-in
//! sources. The verdict goes to standard output.

use crate::{
    cli::Healthcheck,
    commands,
    config::{Config, HttpSocket, Socket},
    exit::{Exit, Failure},
    probe::{http, milter},
};
use anyhow::{Context as _, Result, anyhow, bail};
use hyper::StatusCode;
use std::io::Write as _;

/// Prints `ready`.
///
/// # Errors
/// When the daemon is not ready, with [`Exit::Unavailable`]; otherwise as `check-config`.
pub(super) fn run(arguments: &Healthcheck) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let runtime = commands::runtime()?;
    runtime
        .block_on(check(&config))
        .map_err(|error| Failure::new(Exit::Unavailable, error.context("not ready")))?;
    writeln!(std::io::stdout(), "ready").map_err(|error| Failure::new(Exit::Io, error))
}

async fn check(config: &Config) -> Result<()> {
    // systemd accepts connections on its sockets whether or not the daemon runs, and
    // where they are is not in the configuration.
    let is_ours = |socket: &&Socket| !matches!(socket, Socket::Systemd(_));
    let sockets: Vec<&Socket> = config.listen.iter().filter(is_ours).collect();
    if sockets.is_empty() && config.metrics.listen.is_empty() {
        bail!(
            "set metrics.listen: systemd opens all sockets of listen, so there is nothing to ask"
        );
    }
    for socket in sockets {
        let negotiated = milter::negotiate(socket).await;
        negotiated.map_err(|error| anyhow!("listen: {socket}: {error}"))?;
    }
    for address in &config.metrics.listen {
        check_readyz(address)
            .await
            .with_context(|| format!("metrics.listen: {address}"))?;
    }
    Ok(())
}

async fn check_readyz(address: &HttpSocket) -> Result<()> {
    let answer = http::get(address, "/readyz").await?;
    match answer.status {
        StatusCode::OK => Ok(()),
        _ => Err(anyhow!("{}", answer.first_line)),
    }
}
