//! A client with indymilter-test.

use indymilter_test::{Actions, EomAction, ProtoOpts, Status, TestConnection};
use milter_conformance_clients::{Arguments, one_line, without_space};
use std::{net::SocketAddr, process::exit};

fn check(status: Status) {
    match status {
        Status::Continue | Status::Noreply | Status::Skip => return,
        Status::Accept => println!("accept"),
        Status::Tempfail { message } | Status::Reject { message } => {
            let text = message.expect("a reply with a text");
            println!("refused {}", text.to_string_lossy());
        }
        Status::Discard => panic!("discard"),
    }
    exit(0);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    let builder = TestConnection::configure()
        .protocol_version(arguments.version)
        .available_actions(Actions::from_bits_truncate(arguments.actions))
        .available_opts(ProtoOpts::from_bits_truncate(arguments.protocol))
        .exact_leading_space(true);
    let connection = builder.open_unix(&arguments.socket).await;
    let mut milter = connection.expect("a negotiation");
    let opts = milter.negotiated_opts();
    let client: SocketAddr = "[2001:db8:1::10]:25252".parse().expect("an address");
    check(milter.connect("[x]", client).await.expect("connect"));
    check(milter.helo("mail.good.example").await.expect("helo"));
    let sender = arguments.sender.as_str();
    check(milter.mail([sender]).await.expect("mail"));
    check(milter.rcpt(["<b@contoso.com>"]).await.expect("rcpt"));
    if arguments.version >= 4 && !opts.contains(ProtoOpts::NO_DATA) {
        check(milter.data().await.expect("data"));
    }
    for (name, value) in &arguments.fields {
        let value = without_space(value, opts.contains(ProtoOpts::LEADING_SPACE));
        let header = milter.header(name.as_str(), value).await;
        check(header.expect("header"));
    }
    check(milter.eoh().await.expect("eoh"));
    check(milter.body(arguments.body).await.expect("body"));
    let (edits, status) = milter.eom().await.expect("eom");
    for edit in edits.actions {
        match edit {
            EomAction::InsertHeader { value, .. } => {
                println!("insert {}", one_line(&value.to_string_lossy()));
            }
            EomAction::DeleteHeader { .. } => println!("remove"),
            EomAction::Progress => {}
            other => panic!("{other:?}"),
        }
    }
    check(status);
    println!("continue");
    milter.close().await.expect("quit");
}
