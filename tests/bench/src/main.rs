//! milter-load: the MTA's side of the milter protocol, under load.
//!
//! It offers what Postfix and Sendmail offer, sends macros, fields and chunks as
//! Postfix does, and respects what the milter negotiates: it omits commands that
//! the milter does not want, and does not wait for replies that the milter does
//! not send. It prints the duration of each stage and the milter's replies as
//! JSON. A reply other than the expected one fails the run, so that no milter
//! looks fast because it is wrong.

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

/// Returns a runtime with one thread: the load has one core, and has to cost less than what it
/// measures.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
