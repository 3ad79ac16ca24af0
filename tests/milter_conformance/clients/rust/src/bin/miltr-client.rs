//! A client with miltr-client.

use milter_conformance_clients::{Arguments, one_line, without_space};
use miltr_client::{Client, ResponseError};
use miltr_common::{
    actions::Action,
    commands::{Connect, Family, Header},
    decoding::ServerCommand,
    modifications::ModificationAction,
    optneg::{Capability, OptNeg, Protocol},
};
use std::process::exit;
use tokio::net::UnixStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

fn check(result: Result<(), ResponseError>, what: &str) {
    match result {
        Ok(()) | Err(ResponseError::Unexpected(ServerCommand::Skip(_))) => {}
        Err(ResponseError::Unexpected(ServerCommand::Replycode(reply))) => {
            println!("refused {reply:?}");
            exit(0);
        }
        Err(error) => panic!("{what}: {error} {error:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    let client = Client::new(OptNeg {
        version: arguments.version,
        capabilities: Capability::from_bits_truncate(arguments.actions),
        protocol: Protocol::from_bits_truncate(arguments.protocol),
        ..OptNeg::default()
    });
    let stream = UnixStream::connect(&arguments.socket).await;
    let stream = stream.expect("a milter listens").compat();
    let connection = client.connect_via(stream).await;
    let mut milter = connection.expect("a negotiation");
    // What was agreed on is not shown; sixgate asks for it from version 6 on.
    let leading_space = arguments.protocol & 0x10_0000 != 0 && arguments.version >= 6;
    let connect = Connect::new(b"[x]", Family::Inet6, Some(25252), b"2001:db8:1::10");
    check(milter.connect(connect).await, "connect");
    check(milter.helo(&b"mail.good.example"[..]).await, "helo");
    check(milter.mail(arguments.sender.as_bytes()).await, "mail");
    check(milter.recipient(&b"<b@contoso.com>"[..]).await, "rcpt");
    if arguments.version >= 4 {
        check(milter.data().await, "data");
    }
    for (name, value) in &arguments.fields {
        let value = without_space(value, leading_space);
        let header = Header::new(name.as_bytes(), value.as_bytes());
        check(milter.header(header).await, "header");
    }
    check(milter.end_of_header().await, "eoh");
    check(milter.body(&arguments.body[..]).await, "body");
    let response = milter.end_of_body().await.expect("eom");
    for edit in response.modifications() {
        match edit {
            ModificationAction::InsertHeader(field) => {
                println!("insert {}", one_line(&field.value()));
            }
            ModificationAction::ChangeHeader(field) if field.value().is_empty() => {
                println!("remove");
            }
            _ => panic!("an edit that was not to come"),
        }
    }
    match response.final_action() {
        Action::Continue(_) => println!("continue"),
        Action::Replycode(reply) => println!("refused {reply:?}"),
        _ => panic!("an action that was not to come"),
    }
    milter.quit().await.expect("quit");
}
