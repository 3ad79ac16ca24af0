//! Checks Postfix: whether the services that accept mail from the Internet pass it to
//! sixgate, and what they do when they can't.
//!
//! Reads the output of `postconf`, which expands parameters and adds defaults. A running
//! Postfix may still use an earlier configuration.

mod attachment;
mod failure_mode;
mod instance;
mod milter_maps;
mod milters;

pub(super) use instance::{Instance, installed, words};

use super::{
    certificates::ClientCertificates,
    exemptions::{self, OwnNetworks},
    finding::{Check, Finding},
    listeners::Listeners,
};
use crate::config::Config;
use attachment::Attachment;
use instance::{Role, Service};
use std::path::PathBuf;

/// Runs all checks of a Postfix instance.
pub(super) async fn check(
    instance: &Instance,
    config: &Config,
    listeners: &Listeners,
) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        Check::Mta,
        format!(
            "Postfix {} in {}",
            instance.main("mail_version"),
            instance.directory
        ),
    )];
    let attachments = find_attachments(instance, listeners, &mut findings).await;
    for attachment in &attachments {
        findings.extend(attachment.check_order(instance));
        findings.extend(milter_maps::check(instance, config, attachment.service, listeners).await);
        findings.extend(attachment.check_permissions(instance));
        findings.extend(failure_mode::check(instance, config, attachment));
    }
    findings.extend(submission(instance, config, listeners).await);
    findings.extend(local_mail(instance, listeners).await);
    findings.extend(ipv6(instance));
    findings
}

/// Returns the networks that this Postfix treats as its own (`mynetworks`).
pub(super) fn own_networks(instance: &Instance) -> OwnNetworks {
    OwnNetworks {
        place: format!("{}/main.cf: mynetworks", instance.directory),
        networks: exemptions::parse_mynetworks(instance.main("mynetworks")),
    }
}

/// Returns the settings for client certificates of the services that accept mail from the
/// Internet, each setting once.
pub(super) fn client_certificates(instance: &Instance) -> Vec<ClientCertificates> {
    let mut all: Vec<ClientCertificates> = Vec::new();
    for service in instance.with_role(Role::Internet) {
        let of_service = service_certificates(instance, service);
        if !all.contains(&of_service) {
            all.push(of_service);
        }
    }
    all
}

fn service_certificates(instance: &Instance, service: &Service) -> ClientCertificates {
    let value = |parameter: &str| instance.value(service, parameter);
    let setting = |parameter: &str| format!("{parameter} = {}", value(parameter));
    let asking = ["smtpd_tls_req_ccert", "smtpd_tls_ask_ccert"];
    let asking = asking.into_iter().find(|name| value(name) == "yes");
    let authorities = ["smtpd_tls_CAfile", "smtpd_tls_CApath"].into_iter();
    let authorities = authorities.filter(|name| !value(name).is_empty());
    let because = asking.unwrap_or("smtpd_tls_ask_ccert");
    let system = "tls_append_default_CA";
    ClientCertificates {
        place: instance.origin(service, because),
        is_asked_for: asking.is_some(),
        because: setting(because),
        authorities: authorities
            .map(|name| (setting(name), PathBuf::from(value(name))))
            .collect(),
        system_authorities: (value(system) == "yes").then(|| setting(system)),
        how_to_ask: "set smtpd_tls_ask_ccert = yes, and smtpd_tls_CAfile to the CA of the exempt \
                     clients",
    }
}

async fn find_attachments<'a>(
    instance: &'a Instance,
    listeners: &Listeners,
    findings: &mut Vec<Finding>,
) -> Vec<Attachment<'a>> {
    let mut attachments = Vec::new();
    let mut services = instance.with_role(Role::Internet).peekable();
    if services.peek().is_none() {
        findings.push(no_service(instance));
    }
    for service in services {
        match attachment::find(instance, service, listeners).await {
            Ok(found) => {
                findings.push(found.report(instance));
                attachments.push(found);
            }
            Err(finding) => findings.push(finding),
        }
    }
    attachments
}

fn no_service(instance: &Instance) -> Finding {
    Finding::warning(
        Check::Attached,
        format!(
            "{}/master.cf: no smtpd service accepts mail from the Internet",
            instance.directory
        ),
        "enable the smtp inet service; or if another instance accepts mail, name it with \
         --postfix-config",
    )
}

/// Checks the submission ports. Authenticated users are exempt; without authentication,
/// users are checked as unknown clients are.
async fn submission(instance: &Instance, config: &Config, listeners: &Listeners) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in instance.with_role(Role::Submission) {
        let finding = match attachment::find(instance, service, listeners).await {
            Ok(_) => attached_submission(instance, service, config),
            Err(_not_attached) => Finding::ok(
                Check::Submission,
                format!(
                    "{}: does not use sixgate, which is right",
                    instance.master(service)
                ),
            ),
        };
        findings.push(finding);
    }
    findings
}

fn attached_submission(instance: &Instance, service: &Service, config: &Config) -> Finding {
    let place = instance.master(service);
    let log_in = instance.value(service, "smtpd_sasl_auth_enable") == "yes";
    let todo =
        "remove sixgate from that port: -o smtpd_milters= (or the other milters) in master.cf";
    match (log_in, config.policy.exempt_authenticated) {
        (true, true) => Finding::ok(
            Check::Submission,
            format!("{place}: uses sixgate, which exempts authenticated users"),
        ),
        (true, false) => Finding::problem(
            Check::Submission,
            format!(
                "{place}: uses sixgate although exempt.authenticated is false: mail of users over \
                 IPv6 is refused"
            ),
            todo,
        ),
        (false, _) => Finding::problem(
            Check::Submission,
            format!(
                "{place}: uses sixgate without authentication (smtpd_sasl_auth_enable is not yes): \
                 its IPv6 clients are checked as unknown ones are"
            ),
            todo,
        ),
    }
}

/// Warns about `non_smtpd_milters`. Local mail has no client to check, and a 4xx reply would
/// keep it in the maildrop queue.
async fn local_mail(instance: &Instance, listeners: &Listeners) -> Option<Finding> {
    let text = instance.main("non_smtpd_milters");
    for milter in milters::parse(text) {
        let place = milter.place(false, instance.queue());
        if let Some(place) = place
            && listeners.contains(&place).await
        {
            return Some(Finding::warning(
                Check::LocalMail,
                format!(
                    "{}/main.cf: non_smtpd_milters contains sixgate",
                    instance.directory
                ),
                "remove it: mail from pickup and the sendmail command does not arrive over IPv6",
            ));
        }
    }
    None
}

fn ipv6(instance: &Instance) -> Option<Finding> {
    let (protocols, interfaces) = (
        instance.main("inet_protocols"),
        instance.main("inet_interfaces"),
    );
    let main_cf = format!("{}/main.cf", instance.directory);
    if !protocols.contains("all") && !protocols.contains("ipv6") {
        let seen = format!("{main_cf}: inet_protocols = {protocols}: no mail arrives over IPv6");
        return Some(Finding::warning(
            Check::Clients,
            seen,
            "set inet_protocols = all, and restart Postfix",
        ));
    }
    if interfaces == "loopback-only" || interfaces == "localhost" {
        let seen =
            format!("{main_cf}: inet_interfaces = {interfaces}: no mail arrives from the Internet");
        return Some(Finding::warning(
            Check::Clients,
            seen,
            "set inet_interfaces = all, and restart Postfix",
        ));
    }
    None
}
