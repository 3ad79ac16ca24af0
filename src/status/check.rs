//! The check of a sender: runs the code of `sixgate explain` for one request at a time from
//! each client, and for a few at a time in total.

use super::{
    State,
    parameters::{BadRequest, Parameters},
};
use crate::{
    cli::{Explain, OptionalConfigFile},
    commands::explain::{Report, explain_message},
};
use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, time::timeout};

pub(super) use super::access::MAX_MESSAGE;

/// The maximum length of a parameter in characters.
pub(super) const MAX_VALUE: usize = 1000;

/// The maximum number of recipients of a check.
pub(super) const MAX_RECIPIENTS: usize = 10;

/// The timeout of a check.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The maximum number of checks in progress, which bounds the memory of messages.
const MAX_CHECKS: usize = 4;

/// The parameters of a check.
pub(super) const PARAMETERS: [&str; 6] = [
    "client",
    "helo",
    "from",
    "to",
    "authenticated",
    "certificate",
];

/// The clients with a check in progress; `None` stands for all clients of a unix socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<Mutex<HashSet<Option<IpAddr>>>>);

/// A check in progress, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    client: Option<IpAddr>,
}

impl Slots {
    /// Starts a check, unless this client has one in progress or too many are in progress.
    pub(super) fn begin(&self, client: Option<IpAddr>) -> Option<Slot> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_admitted = clients.len() < MAX_CHECKS && clients.insert(client);
        is_admitted.then(|| Slot {
            slots: self.clone(),
            client,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut clients = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.remove(&self.client);
    }
}

/// The parameters and the message of a check.
#[derive(Debug)]
pub(super) struct Question {
    arguments: Explain,
    message: Option<Vec<u8>>,
}

/// Rejects too many recipients, counting empty ones.
pub(super) fn check_recipients(count: usize) -> Result<(), BadRequest> {
    match count {
        0..=MAX_RECIPIENTS => Ok(()),
        _ => Err(BadRequest(format!(
            "there are more than {MAX_RECIPIENTS} recipients"
        ))),
    }
}

impl Question {
    /// Validates the parameters.
    pub(super) fn new(
        parameters: &Parameters,
        message: Option<Vec<u8>>,
    ) -> Result<Self, BadRequest> {
        let parse = |text: &str| {
            let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            let address = inner.unwrap_or(text).parse::<IpAddr>();
            address.map_err(|_| "it is not an IP address such as 2001:db8::25")
        };
        let Some(client) = parameters.parsed("client", parse)? else {
            return Err(BadRequest(
                "client is missing: the IP address of the sending server".to_owned(),
            ));
        };
        for name in PARAMETERS {
            if parameters
                .all(name)
                .any(|value| value.chars().count() > MAX_VALUE)
            {
                return Err(BadRequest(format!(
                    "{name} has more than {MAX_VALUE} characters"
                )));
            }
        }
        let to: Vec<String> = parameters.all("to").map(str::to_owned).collect();
        check_recipients(to.len())?;
        let yes = |text: &str| match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err("it is neither yes nor no"),
        };
        let optional = |name| Ok::<_, BadRequest>(parameters.get(name)?.map(str::to_owned));
        let arguments = Explain {
            config: OptionalConfigFile { path: None },
            client,
            helo: optional("helo")?,
            from: optional("from")?.unwrap_or_else(|| "<>".to_owned()),
            to,
            message: None,
            authenticated: parameters.parsed("authenticated", yes)?.unwrap_or_default(),
            certificate: optional("certificate")?,
            json: false,
        };
        let message = message.filter(|message| !message.is_empty());
        Ok(Self { arguments, message })
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum CheckError {
    /// The check took longer than [`DEADLINE`].
    TooLate,
    /// The check failed for this reason, for example because there is no DNS server.
    Failed(String),
}

/// Checks a sender with the current configuration. It does not use the daemon's cache, so that
/// a record that was just corrected counts.
pub(super) async fn check(
    state: &State,
    question: Question,
    slot: Slot,
) -> Result<Report, CheckError> {
    let snapshot = state.snapshot();
    // Hashing a message of 10 MiB would delay the mail that shares the thread.
    let done = state.0.mail.spawn_blocking(move || {
        let Question { arguments, message } = question;
        let sources = snapshot.checks.opt_in_sources().clone();
        let report = explain_message(
            &snapshot.config,
            sources,
            &snapshot.exemptions,
            &arguments,
            message,
        );
        let report = Handle::current().block_on(timeout(DEADLINE, report));
        drop(slot);
        report
    });
    match done.await {
        Ok(Ok(Ok(report))) => Ok(report),
        Ok(Ok(Err(failure))) => Err(CheckError::Failed(format!("{:#}", failure.error))),
        Ok(Err(_too_late)) => Err(CheckError::TooLate),
        // The panic hook has logged it.
        Err(_panic) => Err(CheckError::Failed("a defect, see the log".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_check_at_a_time_and_all_together_a_few() {
        let slots = Slots::default();
        let client = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
        let first = slots.begin(client(1)).unwrap();
        assert!(slots.begin(client(1)).is_none());
        let _others = [client(2), client(3), None].map(|c| slots.begin(c).unwrap());
        assert!(slots.begin(client(4)).is_none(), "there are four");
        drop(first);
        assert!(slots.begin(client(4)).is_some());
    }

    #[test]
    fn a_question_has_bounds() {
        let question = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let parameters = Parameters::new(pairs, &PARAMETERS).unwrap();
            Question::new(&parameters, None).map_err(|error| error.to_string())
        };
        let client = ("client", "[2001:db8::1]");
        let taken = question(&[
            client,
            ("to", "a@b"),
            ("to", "c@d"),
            ("authenticated", "yes"),
        ]);
        let taken = taken.unwrap().arguments;
        assert_eq!(taken.from, "<>");
        assert_eq!(taken.to, ["a@b", "c@d"]);
        assert!(taken.authenticated);
        let long = "x".repeat(MAX_VALUE + 1);
        let table: [(&[(&str, &str)], &str); 5] = [
            (
                &[],
                "client is missing: the IP address of the sending server",
            ),
            (
                &[("client", "mail.example.org")],
                "client: it is not an IP address such as 2001:db8::25",
            ),
            (
                &[client, ("from", &long)],
                "from has more than 1000 characters",
            ),
            (
                &[client, ("authenticated", "1")],
                "authenticated: it is neither yes nor no",
            ),
            (&[client; 2], "client is given more than once"),
        ];
        for (pairs, want) in table {
            assert_eq!(question(pairs).unwrap_err(), want);
        }
        let many = vec![("to", "a@b"); MAX_RECIPIENTS + 1];
        let many = [&[client], many.as_slice()].concat();
        assert!(question(&many).unwrap_err().contains("10 recipients"));
    }
}
