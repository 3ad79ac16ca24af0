//! What Postfix does while sixgate is down or slow: default action and timeouts; and the
//! protocol version.

use super::{attachment::Attachment, instance::Instance};
use crate::{
    config::{Config, Mode},
    doctor::{
        finding::{Check, Finding},
        mta_duration,
    },
};
use std::time::Duration;

/// Checks the settings of a service that uses sixgate.
pub(super) fn check(
    instance: &Instance,
    config: &Config,
    attachment: &Attachment<'_>,
) -> Vec<Finding> {
    let setting =
        |option: &str, parameter: &str| Setting::find(instance, attachment, option, parameter);
    let stage = config.limits.stage_timeout;
    [
        default_action(
            &setting("default_action", "milter_default_action"),
            config.mode,
        ),
        protocol(&setting("protocol", "milter_protocol")),
        command_timeout(&setting("command_timeout", "milter_command_timeout"), stage),
        command_timeout(&setting("content_timeout", "milter_content_timeout"), stage),
    ]
    .into()
}

/// A value for one milter, one service or all, and its origin.
struct Setting {
    /// For people, such as `/etc/postfix/main.cf: milter_protocol = 6`.
    shown: String,
    value: String,
}

impl Setting {
    fn find(
        instance: &Instance,
        attachment: &Attachment<'_>,
        option: &str,
        parameter: &str,
    ) -> Self {
        if let Some(value) = attachment.milter.options.get(option) {
            let origin = instance.origin(attachment.service, "smtpd_milters");
            let shown = format!("{origin}: smtpd_milters has {option} = {value} for sixgate");
            return Self {
                shown,
                value: value.clone(),
            };
        }
        let value = instance.value(attachment.service, parameter);
        let origin = instance.origin(attachment.service, parameter);
        Self {
            shown: format!("{origin}: {parameter} = {value}"),
            value: value.to_owned(),
        }
    }
}

fn default_action(setting: &Setting, mode: Mode) -> Finding {
    let shown = &setting.shown;
    let todo = "set milter_default_action = tempfail";
    let consequence = match setting.value.as_str() {
        "tempfail" | "shutdown" => {
            return Finding::ok(
                Check::WhenDown,
                format!("{shown}: mail is deferred while sixgate is down"),
            );
        }
        "accept" => "mail is accepted unchecked while sixgate is down or slow",
        "reject" => "mail bounces while sixgate is down or slow",
        "quarantine" => "mail is accepted unchecked and held while sixgate is down or slow",
        _ => "unknown what happens to mail while sixgate is down",
    };
    let seen = format!("{shown}: {consequence}");
    match (mode, setting.value.as_str()) {
        // As long as sixgate refuses nothing, no mail is wrongly accepted.
        (Mode::Observe, "accept") => {
            Finding::warning(Check::WhenDown, seen, format!("before you enforce, {todo}"))
        }
        (Mode::Observe | Mode::Enforce, _) => Finding::problem(Check::WhenDown, seen, todo),
    }
}

/// Checks the protocol version. Version 6 adds SKIP and the leading white space of header
/// fields.
fn protocol(setting: &Setting) -> Finding {
    let digits = setting.value.split([',', ' ']).next().unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(6..) => Finding::ok(Check::Protocol, setting.shown.clone()),
        Ok(2..) => Finding::warning(
            Check::Protocol,
            format!(
                "{}: before version 6, signatures with simple header canonicalization that do not \
                 verify are a temporary error, and Postfix sends bodies that are not needed",
                setting.shown
            ),
            "remove milter_protocol from main.cf and master.cf: 6 is the default",
        ),
        Ok(_) | Err(_) => Finding::problem(
            Check::Protocol,
            format!(
                "{}: sixgate supports versions 2 to 6 and closes the connection",
                setting.shown
            ),
            "remove milter_protocol from main.cf and master.cf: 6 is the default",
        ),
    }
}

fn command_timeout(setting: &Setting, stage: Duration) -> Finding {
    let shown = &setting.shown;
    match mta_duration::parse(&setting.value) {
        Some(wait) if wait > stage => Finding::ok(Check::TimeOuts, shown.clone()),
        Some(_) => Finding::problem(
            Check::TimeOuts,
            format!(
                "{shown}: too short, because sixgate may take limits.stage_timeout ({stage:?}) to reply"
            ),
            "remove it from main.cf: the defaults of Postfix are long enough",
        ),
        None => Finding::warning(
            Check::TimeOuts,
            format!("{shown}: not a valid time"),
            "write it as 30s",
        ),
    }
}
