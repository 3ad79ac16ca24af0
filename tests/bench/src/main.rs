//! milter-load: the MTA's side of the milter protocol, under load.
//!
//! It offers what Postfix and Sendmail offer, sends the macros, fields and
//! chunks that Postfix sends, and honours what the milter negotiates: steps that
//! it does not want are not sent, and replies that it does not give are not
//! awaited. It says how long each stage took and how the milter answered, as
//! JSON. An answer other than the expected one is a failure of the run, so that
//! no milter looks fast by being wrong.

mod arguments;
mod connection;
mod envelope;
mod figures;
mod keys;
mod load;
mod message;
mod polled;
mod protocol;
#[path = "../../e2e/signer.rs"]
mod signer;
mod stream;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Keys { directory } => keys::make(&directory).map(|()| true),
        Command::Message { keys } => message::print(&keys).map(|()| true),
        Command::Hold(hold) => runtime().block_on(load::hold(&hold)),
        Command::Run(run) => runtime().block_on(load::run(*run)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("milter-load: {error}");
            ExitCode::from(2)
        }
    }
}

/// One thread: it has to cost less than what it measures, and has one core.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
