//! Finds sixgate among the milters of a Postfix service.

use super::{
    instance::{Instance, Service},
    milter_maps::MilterMaps,
    milters::Milter,
};
use crate::{
    config::Socket,
    doctor::{
        finding::{Check, Finding},
        listeners::Listeners,
        permissions::Account,
    },
};

/// A service that uses sixgate.
#[derive(Clone, Debug)]
pub(super) struct Attachment<'a> {
    pub(super) service: &'a Service,
    pub(super) milter: Milter,
    place: Socket,
    /// The number of milters before it.
    position: usize,
}

impl Attachment<'_> {
    /// Reports that the service uses sixgate.
    pub(super) fn report(&self, instance: &Instance) -> Finding {
        let master = instance.master(self.service);
        Finding::ok(
            Check::Attached,
            format!("{master} uses sixgate at {}", self.milter.socket),
        )
    }

    /// Warns about milters before sixgate.
    pub(super) fn check_order(&self, instance: &Instance) -> Option<Finding> {
        let origin = instance.origin(self.service, "smtpd_milters");
        (self.position > 0).then(|| {
            Finding::warning(
                Check::Attached,
                format!(
                    "{origin}: smtpd_milters has {} milter(s) before sixgate",
                    self.position
                ),
                "put sixgate first: then the others see only mail that it accepts, and it does not \
                 remove their Authentication-Results fields as forged",
            )
        })
    }

    /// Checks that smtpd's user can connect to the socket.
    pub(super) fn check_permissions(&self, instance: &Instance) -> Option<Finding> {
        let Socket::Unix(path) = &self.place else {
            return None;
        };
        let user = instance.main("mail_owner");
        let Some(account) = Account::find(user) else {
            let seen = format!("mail_owner = {user}: there is no such user");
            return Some(Finding::problem(
                Check::Reach,
                seen,
                "set mail_owner to Postfix's user",
            ));
        };
        Some(account.check_access(path))
    }
}

/// Finds sixgate among the milters of a service for IPv6 clients.
///
/// # Errors
/// Returns the finding that explains why mail does not reach sixgate.
pub(super) async fn find<'a>(
    instance: &'a Instance,
    service: &'a Service,
    listeners: &Listeners,
) -> Result<Attachment<'a>, Finding> {
    let list = MilterMaps::look_up(instance, service).await?.ipv6_milters();
    let options = instance.value(service, "receive_override_options");
    if options.contains("no_milters") {
        return Err(milters_disabled(instance, service));
    }
    for (position, milter) in list.iter().enumerate() {
        if let Some(place) = milter.place(service.chroot, instance.queue())
            && listeners.contains(&place).await
        {
            return Ok(Attachment {
                service,
                milter: milter.clone(),
                place,
                position,
            });
        }
    }
    Err(not_found(instance, service, listeners, &list).await)
}

fn milters_disabled(instance: &Instance, service: &Service) -> Finding {
    let origin = instance.origin(service, "receive_override_options");
    Finding::problem(
        Check::Attached,
        format!(
            "{origin}: receive_override_options has no_milters: {} {} accepts unchecked mail",
            service.name, service.kind
        ),
        "remove no_milters from services that accept mail from the Internet",
    )
}

async fn not_found(
    instance: &Instance,
    service: &Service,
    listeners: &Listeners,
    list: &[Milter],
) -> Finding {
    for milter in list {
        let otherwise = milter.place(!service.chroot, instance.queue());
        if let Some(place) = otherwise
            && listeners.contains(&place).await
        {
            return wrong_chroot(instance, service, milter);
        }
    }
    let text = instance.value(service, "smtpd_milters");
    let origin = instance.origin(service, "smtpd_milters");
    Finding::problem(
        Check::Attached,
        format!(
            "{origin}: smtpd_milters = {text}: {} {} does not use sixgate, which listens on {}",
            service.name,
            service.kind,
            listeners.describe()
        ),
        how_to_attach(instance, service, listeners),
    )
}

fn how_to_attach(instance: &Instance, service: &Service, listeners: &Listeners) -> String {
    let Some(socket) = listeners
        .0
        .iter()
        .flat_map(|l| &l.places)
        .find_map(|place| socket_for(instance, service, place))
    else {
        return use_queue_directory(instance);
    };
    match instance.origin(service, "smtpd_milters") == instance.master(service) {
        true => format!("remove -o smtpd_milters from that service, or put {socket} first in it"),
        false => format!(
            "postconf -c {} -e 'smtpd_milters = {socket}' (before the others), and reload Postfix",
            instance.directory
        ),
    }
}

/// Returns the setting with which a service reaches a socket; `None` if its chroot prevents
/// it.
fn socket_for(instance: &Instance, service: &Service, place: &Socket) -> Option<String> {
    match place {
        Socket::Unix(path) if service.chroot => {
            let path = path.strip_prefix(instance.queue()).ok()?;
            Some(format!("unix:/{}", path.display()))
        }
        Socket::Unix(_) | Socket::Inet { .. } | Socket::Systemd(_) => Some(place.to_string()),
    }
}

fn use_queue_directory(instance: &Instance) -> String {
    format!(
        "smtpd runs in a chroot: set listen: unix:{}/sixgate/milter.sock in milter.yaml and \
         smtpd_milters = unix:/sixgate/milter.sock, or n in the chroot column of master.cf",
        instance.queue().display()
    )
}

/// A path that would be right with a chroot, or without one.
fn wrong_chroot(instance: &Instance, service: &Service, milter: &Milter) -> Finding {
    let master = instance.master(service);
    let (socket, queue) = (&milter.socket, instance.queue().display());
    match service.chroot {
        true => Finding::problem(
            Check::Reach,
            format!(
                "{master} runs in a chroot, where {socket} means {queue}{}: sixgate does not \
                 listen there",
                milter.socket.trim_start_matches("unix:")
            ),
            use_queue_directory(instance),
        ),
        false => Finding::problem(
            Check::Reach,
            format!("{master} does not run in a chroot, so {socket} is not below {queue}"),
            "use the full path in smtpd_milters",
        ),
    }
}
