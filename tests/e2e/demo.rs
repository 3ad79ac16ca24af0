//! Shows the dialogues that have a title, with what was logged and delivered.

use super::{
    dialogue::Dialogue,
    fixture::{Fixture, SharedSetup},
    mta::Kind,
    namespace,
    play::play,
};
use std::process::ExitCode;

/// Plays them one after the other.
pub fn show(dialogues: &[(&str, Dialogue)], zone: &str) -> ExitCode {
    println!("Starting a name server, sixgate and Postfix in a network of their own ...\n");
    namespace::prepare().expect("the namespace can be prepared");
    let setup = SharedSetup::prepare(zone).expect("the DNS server starts");
    let fixture = Fixture::start(Kind::POSTFIX, &setup).expect("everything starts");
    let mut code = ExitCode::SUCCESS;
    for (number, (_, dialogue)) in (1..).zip(dialogues) {
        let Some(title) = &dialogue.demo else {
            continue;
        };
        println!("--- {title}\n    client {}\n", dialogue.from);
        match play(number, dialogue, &fixture) {
            Ok(transcript) => println!("{}", without_keywords(&transcript)),
            Err(error) => {
                println!("This was not to be expected: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Omits all lines but the first of the reply to EHLO.
fn without_keywords(transcript: &str) -> String {
    let (mut lines, mut after_ehlo) = (Vec::new(), false);
    for line in transcript.lines() {
        let is_keyword = after_ehlo && line.starts_with("S: 250");
        let was_shown = lines
            .last()
            .is_some_and(|last: &&str| last.starts_with("S: 250"));
        if !(is_keyword && was_shown) {
            lines.push(line);
        }
        after_ehlo = is_keyword || line.starts_with("C: EHLO");
    }
    lines.join("\n") + "\n"
}
