//! The do-nothing milter, which measures what indymilter itself costs.
//!
//! `milter-noop SOCKET` replies only to the end of a message, the minimum for a milter.
//! `milter-noop SOCKET gate` has the round trips that sixgate needs.

use indymilter::{Callbacks, Config, ProtoOpts, Status};
use std::{env, future, io};
use tokio::net::UnixListener;

const SILENT: ProtoOpts = ProtoOpts::NO_DATA
    .union(ProtoOpts::NO_UNKNOWN)
    .union(ProtoOpts::LEADING_SPACE)
    .union(ProtoOpts::NOREPLY_CONNECT)
    .union(ProtoOpts::NOREPLY_HELO)
    .union(ProtoOpts::NOREPLY_MAIL)
    .union(ProtoOpts::NOREPLY_RCPT)
    .union(ProtoOpts::NOREPLY_HEADER)
    .union(ProtoOpts::NOREPLY_EOH)
    .union(ProtoOpts::NOREPLY_BODY);

const GATE: ProtoOpts = ProtoOpts::NO_DATA
    .union(ProtoOpts::NO_UNKNOWN)
    .union(ProtoOpts::SKIP)
    .union(ProtoOpts::LEADING_SPACE)
    .union(ProtoOpts::NOREPLY_HELO)
    .union(ProtoOpts::NOREPLY_HEADER)
    .union(ProtoOpts::NOREPLY_EOH);

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_default();
    let options = match arguments.next().as_deref() {
        Some("gate") => GATE,
        _ => SILENT,
    };
    let answer = move |flag: ProtoOpts| match options.contains(flag) {
        true => Status::Noreply,
        false => Status::Continue,
    };
    let callbacks = Callbacks::<()>::new()
        .on_negotiate(move |cx, _, _| {
            cx.requested_opts = options;
            Box::pin(future::ready(Status::Continue))
        })
        .on_connect(move |_, _, _| Box::pin(async move { answer(ProtoOpts::NOREPLY_CONNECT) }))
        .on_helo(|_, _| Box::pin(async { Status::Noreply }))
        .on_mail(move |_, _| Box::pin(async move { answer(ProtoOpts::NOREPLY_MAIL) }))
        .on_rcpt(move |_, _| Box::pin(async move { answer(ProtoOpts::NOREPLY_RCPT) }))
        .on_header(|_, _, _| Box::pin(async { Status::Noreply }))
        .on_eoh(move |_| Box::pin(async move { answer(ProtoOpts::NOREPLY_EOH) }))
        .on_body(move |_, _| Box::pin(async move { answer(ProtoOpts::NOREPLY_BODY) }))
        .on_eom(|_| Box::pin(async { Status::Continue }));
    let listener = UnixListener::bind(address)?;
    let config = Config {
        max_connections: 20000,
        ..Config::default()
    };
    indymilter::run(listener, callbacks, config, future::pending::<()>()).await
}
