//! What is answered while an opt-in source is gone, and once it is back: the
//! same story for every kind of source, told as a table.

use super::{
    daemon::Daemon,
    opt_in::{
        OptIn::{self, InDoubt, No, Yes},
        ask,
    },
};

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
    expect(&daemon, "up", [Yes, No, No], ("unheard1", No));
    source.kill();
    expect(&daemon, "killed", [Yes, No, No], ("unheard2", InDoubt));
    expect(&daemon, "still gone", [Yes, No, No], ("unheard3", InDoubt));
    source.start("a.example", "b.example");
    expect(&daemon, "back", [Yes, No, No], ("unheard2", No));
    source.kill();
    expect(
        &daemon,
        "killed again",
        [Yes, No, No],
        ("unheard4", InDoubt),
    );
    source.start("b.example", "a.example");
    expect(&daemon, "back, changed", [No, Yes, No], ("unheard4", No));
    source.kill();
    daemon.reload_with(&config("0s"));
    expect(
        &daemon,
        "gone too long",
        [InDoubt; 3],
        ("unheard5", InDoubt),
    );
    source.start("a.example", "b.example");
    expect(&daemon, "back after all", [Yes, No, No], ("unheard5", No));
    let log = daemon.log();
    log.wait_for(&["can't tell who has opted in"]);
    log.wait_for(&["answers again"]);
}

/// Asks for the domain that has opted in, the one that has opted out and one
/// that is not listed; last for one that is not listed and new to the daemon.
#[track_caller]
fn expect(daemon: &Daemon, when: &str, known: [OptIn; 3], (unheard, then): (&str, OptIn)) {
    let known = ["a", "b", "c"].into_iter().zip(known);
    for (name, want) in known.chain([(unheard, then)]) {
        let (answer, elapsed) = ask(daemon, &format!("{name}.example"));
        let millis = elapsed.as_millis();
        eprintln!("{when:14} {name:8} {answer:?} in {millis} ms");
        assert_eq!(answer, want, "{when}: {name}");
    }
}
