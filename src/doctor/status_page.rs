//! Checks that the status page answers, and who can reach it.

use super::finding::{Check, Finding};
use crate::{
    config::{Config, HttpSocket},
    probe::http,
};
use hyper::StatusCode;

/// Requests the page at every address, without a token.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let needs_token = config.status.token_file.is_some();
    for address in &config.status.listen {
        findings.push(check_address(address, needs_token).await);
    }
    findings
}

async fn check_address(address: &HttpSocket, needs_token: bool) -> Finding {
    let answer = match http::get(address, "/").await {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::warning(
                Check::StatusPage,
                format!("{address} (status.listen) does not answer: {error:#}"),
                "start sixgate; if it runs, restart it, because a reload opens no sockets, and read \
                 its log: journalctl -u sixgate",
            );
        }
    };
    match (answer.status, needs_token) {
        (StatusCode::SEE_OTHER, true) => Finding::ok(
            Check::StatusPage,
            format!("{address} answers with the token only"),
        ),
        (StatusCode::OK, false) if address.is_local() => Finding::ok(
            Check::StatusPage,
            format!("{address} answers the users of this machine"),
        ),
        (StatusCode::OK, _) => Finding::problem(
            Check::StatusPage,
            format!("{address} shows senders and recipients without a token"),
            "set status.token_file, and restart sixgate",
        ),
        (status, _) => Finding::warning(
            Check::StatusPage,
            format!("{address} answers {status}, which the status page would not"),
            "find which program listens there with ss -ltnp, and set status.listen to another port",
        ),
    }
}
