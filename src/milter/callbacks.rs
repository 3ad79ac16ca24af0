//! indymilter's callbacks: packets to session events, responses to packets.
//!
//! Negotiates what the session relies on and refuses an MTA that can't do it.
//! Nothing is decided here.

use super::{
    drain::Drain,
    session::{Edits, MailCommand, Response, Session},
};
use crate::{
    address::{Client, ClientAddr, Mailbox, Recipient, ReversePath},
    authentication_results,
    dns::Resolve,
    policy::Tls,
    reply::{Class, Reply},
    snapshot::Snapshot,
};
use indymilter::{
    Actions, Callbacks, Context, ContextActions, EomActions, EomContext, MacroStage, Macros,
    NegotiateContext, ProtoOpts, SetErrorReply, SmtpReply, SocketInfo, Status,
};
use std::{
    ffi::{CStr, CString},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// How often a waiting MTA is told at end of message that we are still at work.
/// Sendmail's default patience is 10 s.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// What every mail needs: leading space for DKIM's simple canonicalization, SKIP
/// to leave out a body that nothing asks for, and no replies that say nothing.
const REQUIRED_OPTS: ProtoOpts = ProtoOpts::LEADING_SPACE
    .union(ProtoOpts::SKIP)
    .union(ProtoOpts::NO_DATA)
    .union(ProtoOpts::NO_UNKNOWN)
    .union(ProtoOpts::NOREPLY_HELO)
    .union(ProtoOpts::NOREPLY_HEADER);

const REQUIRED_ACTIONS: Actions = Actions::ADD_HEADER.union(Actions::CHANGE_HEADER);

/// The macros that facts are made of, by stage. A request replaces the MTA's
/// own choice.
const MACROS: [(MacroStage, &CStr); 6] = [
    (MacroStage::Connect, c"j"),
    (MacroStage::Helo, c"{tls_version} {verify} {cert_subject}"),
    (
        MacroStage::Mail,
        // j has a value always: of a packet without macros the library keeps
        // those of the mail transaction before.
        c"i j {auth_authen} {tls_version} {verify} {cert_subject}",
    ),
    (MacroStage::Rcpt, c"i {rcpt_addr}"),
    (MacroStage::Eoh, c"i"),
    (MacroStage::Eom, c"i"),
];

/// Makes the callbacks. Each connection keeps the snapshot that is current when
/// its client connects; `drain` knows of every mail transaction.
pub fn callbacks<R: Resolve>(
    current: watch::Receiver<Arc<Snapshot<R>>>,
    drain: Arc<Drain>,
) -> Callbacks<Session<R>> {
    Callbacks::new()
        .on_negotiate(|cx, actions, opts| Box::pin(async move { negotiate(cx, actions, opts) }))
        .on_connect(move |cx, name, socket| {
            let snapshot = Arc::clone(&current.borrow());
            let drain = Arc::clone(&drain);
            Box::pin(async move { connect(cx, snapshot, drain, &name, &socket) })
        })
        .on_helo(|cx, name| Box::pin(async move { helo(cx, &name) }))
        .on_mail(|cx, arguments| Box::pin(async move { mail(cx, &arguments) }))
        .on_rcpt(|cx, arguments| Box::pin(async move { rcpt(cx, &arguments).await }))
        .on_header(|cx, name, value| Box::pin(async move { header(cx, &name, &value) }))
        .on_eoh(|cx| Box::pin(end_of_headers(cx)))
        .on_body(|cx, chunk| Box::pin(async move { body(cx, &chunk) }))
        .on_eom(|cx| Box::pin(end_of_message(cx)))
        .on_abort(|cx| Box::pin(async move { abort(cx) }))
}

fn negotiate<R: Resolve>(
    cx: &mut NegotiateContext<Session<R>>,
    actions: Actions,
    opts: ProtoOpts,
) -> Status {
    let missing_actions = REQUIRED_ACTIONS.difference(actions);
    let missing_opts = REQUIRED_OPTS.difference(opts);
    if !missing_actions.is_empty() || !missing_opts.is_empty() {
        tracing::error!(
            "the MTA does not offer what sixgate needs ({missing_actions:?} {missing_opts:?}): \
             its connection is closed; use milter protocol 6 (Postfix: milter_protocol = 6)"
        );
        return Status::Reject;
    }
    cx.requested_actions = REQUIRED_ACTIONS;
    cx.requested_opts = REQUIRED_OPTS;
    cx.requested_macros = MACROS
        .map(|(stage, names)| (stage, names.to_owned()))
        .into();
    Status::Continue
}

fn connect<R: Resolve>(
    cx: &mut Context<Session<R>>,
    snapshot: Arc<Snapshot<R>>,
    drain: Arc<Drain>,
    name: &CStr,
    socket: &SocketInfo,
) -> Status {
    let client = Client {
        addr: match socket {
            SocketInfo::Inet(address) => address.ip().into(),
            SocketInfo::Unix(_) | SocketInfo::Unknown => ClientAddr::Local,
        },
        name: host_name(name),
        mta: read(&cx.macros, c"j"),
    };
    cx.data = Session::connect(snapshot, drain, client);
    match cx.data {
        Some(_) => Status::Continue,
        None => Status::Accept,
    }
}

/// The name in CONNECT; an address in brackets means that the MTA found none.
fn host_name(name: &CStr) -> String {
    match name.to_string_lossy() {
        name if name.is_empty() || name.starts_with('[') => "unknown".to_owned(),
        name => name.into_owned(),
    }
}

fn helo<R: Resolve>(cx: &mut Context<Session<R>>, name: &CStr) -> Status {
    if let Some(session) = &mut cx.data {
        session.helo(name.to_string_lossy().into_owned());
    }
    Status::Noreply
}

fn mail<R: Resolve>(cx: &mut Context<Session<R>>, arguments: &[CString]) -> Status {
    let command = MailCommand {
        reverse_path: ReversePath::parse(&first(arguments)),
        authenticated: read(&cx.macros, c"{auth_authen}").is_some(),
        tls: tls(&cx.macros),
    };
    let Some(session) = &mut cx.data else {
        return Status::Tempfail;
    };
    let response = session.mail(command);
    answer(response, &mut cx.reply)
}

async fn rcpt<R: Resolve>(cx: &mut Context<Session<R>>, arguments: &[CString]) -> Status {
    let resolved = resolved_recipient(&cx.macros);
    let recipient = Recipient::parse(&first(arguments), resolved.as_deref());
    let queue_id = read(&cx.macros, c"i");
    let Some(session) = &mut cx.data else {
        return Status::Tempfail;
    };
    let response = session.rcpt(recipient, queue_id.as_deref()).await;
    answer(response, &mut cx.reply)
}

fn header<R: Resolve>(cx: &mut Context<Session<R>>, name: &CStr, value: &CStr) -> Status {
    if let Some(session) = &mut cx.data {
        session.header(name.to_bytes(), value.to_bytes());
    }
    Status::Noreply
}

async fn end_of_headers<R: Resolve>(cx: &mut Context<Session<R>>) -> Status {
    let queue_id = read(&cx.macros, c"i");
    let Some(session) = &mut cx.data else {
        return Status::Tempfail;
    };
    let response = session.end_of_headers(queue_id.as_deref()).await;
    answer(response, &mut cx.reply)
}

fn body<R: Resolve>(cx: &mut Context<Session<R>>, chunk: &[u8]) -> Status {
    let session = cx.data.as_mut();
    match session.is_some_and(|session| session.body(chunk)) {
        true => Status::Continue,
        false => Status::Skip,
    }
}

async fn end_of_message<R: Resolve>(cx: &mut EomContext<Session<R>>) -> Status {
    let queue_id = read(&cx.macros, c"i");
    let Some(session) = &mut cx.data else {
        return Status::Tempfail;
    };
    let decision = session.end_of_message(queue_id.as_deref());
    let (response, edits) = reporting_progress(&cx.actions, decision).await;
    match edit(&cx.actions, edits).await {
        Ok(()) => answer(response, &mut cx.reply),
        Err(error) => {
            tracing::warn!("the MTA did not take the changes to a message: {error}");
            Status::Tempfail
        }
    }
}

fn abort<R: Resolve>(cx: &mut Context<Session<R>>) -> Status {
    if let Some(session) = &mut cx.data {
        session.abort();
    }
    Status::Continue
}

/// Awaits `work` and keeps the MTA patient meanwhile.
async fn reporting_progress<T>(actions: &EomActions, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(PROGRESS_INTERVAL, &mut work).await {
            Ok(done) => return done,
            // A connection that is gone shows when the answer is written.
            Err(_still_at_work) => drop(actions.progress().await),
        }
    }
}

async fn edit(actions: &EomActions, edits: Edits) -> Result<(), indymilter::ActionError> {
    const NAME: &str = authentication_results::NAME;
    for number in edits.remove {
        actions.change_header(NAME, number, None::<&str>).await?;
    }
    if let Some(value) = edits.insert {
        actions.insert_header(0, NAME, format!(" {value}")).await?;
    }
    Ok(())
}

fn answer(response: Response, smtp_reply: &mut SmtpReply) -> Status {
    match response {
        Response::Continue => Status::Continue,
        Response::Accept => Status::Accept,
        Response::Refuse(reply) => refuse(&reply, smtp_reply),
    }
}

fn refuse(reply: &Reply, smtp_reply: &mut SmtpReply) -> Status {
    // Postfix and Sendmail take the text for a format string: a single '%'
    // costs characters on one and the whole reply on the other.
    let text = reply.text().replace('%', "%%");
    match smtp_reply.set_error_reply(reply.code(), Some(reply.enhanced()), [text]) {
        Ok(()) => {}
        Err(error) => tracing::error!("the reply {reply} can't be given: {error}"),
    }
    match reply.class() {
        Class::Transient => Status::Tempfail,
        Class::Permanent => Status::Reject,
    }
}

/// How the client uses TLS. Sendmail tells in `{verify}` whether it trusts the
/// certificate; Postfix does not have it, and sends `{cert_subject}` for
/// trusted certificates alone.
fn tls(macros: &Macros) -> Tls {
    let verified = match read(macros, c"{verify}") {
        Some(verify) => verify == "OK",
        None => read(macros, c"{cert_subject}").is_some(),
    };
    match read(macros, c"{tls_version}") {
        None => Tls::None,
        Some(_) if verified => Tls::Verified,
        Some(_) => Tls::Unverified,
    }
}

/// A macro that has a value.
fn read(macros: &Macros, name: &CStr) -> Option<String> {
    let value = macros.get(name)?.to_string_lossy();
    (!value.is_empty()).then(|| value.into_owned())
}

/// The MTA's own idea of a recipient. Sendmail leaves a bare local part bare and
/// delivers it on the host that it calls `{j}`.
fn resolved_recipient(macros: &Macros) -> Option<String> {
    let address = read(macros, c"{rcpt_addr}")?;
    match (Mailbox::parse(&address).domain, read(macros, c"j")) {
        (None, Some(host)) => Some(format!("{address}@{host}")),
        (None, None) | (Some(_), _) => Some(address),
    }
}

fn first(arguments: &[CString]) -> String {
    let argument = arguments.first().map(|first| first.to_string_lossy());
    argument.unwrap_or_default().into_owned()
}
