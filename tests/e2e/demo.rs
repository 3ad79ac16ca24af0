//! Shows the dialogues that have a title, with what was logged and delivered.

use super::{
    dialogue::Dialogue,
    mta::Kind,
    namespace,
    play::play,
    world::{Ground, World},
};
use std::process::ExitCode;

/// Plays them one after the other.
pub fn show(dialogues: &[(&str, Dialogue)], zone: &str) -> ExitCode {
    println!("Starting a name server, sixgate and Postfix in a network of their own ...\n");
    namespace::furnish().expect("the namespace can be furnished");
    let ground = Ground::prepare(zone).expect("the DNS server starts");
    let world = World::start(Kind::Postfix, &ground).expect("everything starts");
    let mut code = ExitCode::SUCCESS;
    for (number, (_, dialogue)) in (1..).zip(dialogues) {
        let Some(title) = &dialogue.demo else {
            continue;
        };
        println!("--- {title}\n    client {}\n", dialogue.from);
        match play(number, dialogue, &world) {
            Ok(transcript) => println!("{transcript}"),
            Err(error) => {
                println!("This was not to be expected: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
