//! What is answered while an opt-in source is gone, and once it is back: the
//! same story for every kind of source, told as a table.

use super::{
    daemon::{Daemon, PATIENCE},
    opt_in::{
        OptIn::{self, InDoubt, No, Yes},
        ask,
    },
};
use std::time::Instant;

/// A source that can be taken away and brought back.
pub trait Source {
    /// Starts with a domain that has opted in and one that has opted out, in
    /// the place of what runs.
    fn start(&mut self, yes: &str, no: &str);
    /// Ends without a word.
    fn kill(&mut self);
}

/// Takes the source away and brings it back three times, before a daemon that
/// asks it for each mail; `opt_in` names it, `settings` are the other sections.
pub fn kill_and_bring_back(source: &mut dyn Source, opt_in: &str, settings: &str) {
    let config = |stale: &str| {
        let cache = format!("cache: {{positive: 0s, negative: 0s, stale: {stale}}}");
        format!("opt_in: {{{opt_in}, {cache}}}\n{settings}")
    };
    let daemon = Daemon::start(&config("24h"));
    source.start("a.example", "b.example");
    answers(&daemon, "up", [Yes, No, No], ("unheard1", No));
    source.kill();
    assert_answers(&daemon, "killed", [Yes, No, No], ("unheard2", InDoubt));
    assert_answers(&daemon, "still gone", [Yes, No, No], ("unheard3", InDoubt));
    source.start("a.example", "b.example");
    answers(&daemon, "back", [Yes, No, No], ("unheard2", No));
    source.kill();
    assert_answers(
        &daemon,
        "killed again",
        [Yes, No, No],
        ("unheard4", InDoubt),
    );
    source.start("b.example", "a.example");
    answers(&daemon, "back, changed", [No, Yes, No], ("unheard4", No));
    source.kill();
    daemon.reload_with(&config("0s"));
    assert_answers(
        &daemon,
        "gone too long",
        [InDoubt; 3],
        ("unheard5", InDoubt),
    );
    source.start("a.example", "b.example");
    answers(&daemon, "back after all", [Yes, No, No], ("unheard5", No));
    let log = daemon.log();
    log.wait_for(&["can't tell who has opted in"]);
    log.wait_for(&["answers again"]);
}

/// What is to be heard of the domain that has opted in, the one that has opted
/// out and one that is not listed; and of one that is not listed and new to the
/// daemon.
type Table = ([OptIn; 3], (&'static str, OptIn));

fn rows((known, new): Table) -> impl Iterator<Item = (String, OptIn)> {
    let known = ["a", "b", "c"].into_iter().zip(known);
    let all = known.chain([new]);
    all.map(|(name, want)| (format!("{name}.example"), want))
}

/// While the server is gone, each mail has this answer.
#[track_caller]
fn assert_answers(daemon: &Daemon, when: &str, known: [OptIn; 3], new: (&'static str, OptIn)) {
    for (domain, want) in rows((known, new)) {
        assert_eq!(tell(daemon, when, &domain), want, "{when}: {domain}");
    }
}

/// While it is there, the first mail has this answer, unless the machine is so
/// busy that the server takes longer than a mail waits for it.
fn answers(daemon: &Daemon, when: &str, known: [OptIn; 3], new: (&'static str, OptIn)) {
    let deadline = Instant::now() + PATIENCE;
    for (domain, want) in rows((known, new)) {
        while tell(daemon, when, &domain) != want {
            assert!(Instant::now() < deadline, "{when}: {domain}");
        }
    }
}

fn tell(daemon: &Daemon, when: &str, domain: &str) -> OptIn {
    let (answer, elapsed) = ask(daemon, domain);
    let millis = elapsed.as_millis();
    eprintln!("{when:14} {domain:16} {answer:?} in {millis} ms");
    answer
}
