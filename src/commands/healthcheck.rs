//! `sixgate healthcheck`: checks that the running daemon is ready, where there is no curl.
//!
//! Each socket of `listen` must answer a milter negotiation. With `metrics.listen`,
//! `/readyz` must return 200, too, which includes DNS and the opt-in sources.

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
/// Fails with [`Exit::Unavailable`] if the daemon is not ready, and as `check-config` does if
/// the configuration is invalid.
pub(super) fn run(arguments: &Healthcheck) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let runtime = commands::runtime()?;
    runtime
        .block_on(check(&config))
        .map_err(|error| Failure::new(Exit::Unavailable, error.context("not ready")))?;
    writeln!(std::io::stdout(), "ready").map_err(|error| Failure::new(Exit::Io, error))
}

async fn check(config: &Config) -> Result<()> {
    // systemd accepts connections on its sockets even if the daemon does not run, and
    // their addresses are not in the configuration.
    let is_ours = |socket: &&Socket| !matches!(socket, Socket::Systemd(_));
    let sockets: Vec<&Socket> = config.listen.iter().filter(is_ours).collect();
    if sockets.is_empty() && config.metrics.listen.is_empty() {
        bail!(
            "set metrics.listen: systemd opens all sockets of listen, so there is nothing to check"
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
