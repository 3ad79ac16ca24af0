//! Answers during and after an outage of an opt-in source; the same test as a table for
//! every kind of source.

use super::{
    daemon::{Daemon, TIMEOUT},
    opt_in::{
        OptIn::{self, InDoubt, No, Yes},
        ask, opt_in, wait_for,
    },
};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A source that can be stopped and restarted.
pub trait Source {
    /// Starts with a domain that has opted in and one that has opted out, replacing a
    /// running server.
    fn start(&mut self, yes: &str, no: &str);
    /// Kills the server.
    fn kill(&mut self);
}

/// Stops and restarts the source three times while a daemon queries it for each message;
/// `opt_in` configures the source, `settings` are the other sections.
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
    log.wait_for(&["gives no usable answer"]);
    log.wait_for(&["answers again"]);
}

/// The expected answers for the domain that has opted in, the one that has opted out and
/// one that is not listed; and for one that is not listed and not cached.
type Table = ([OptIn; 3], (&'static str, OptIn));

fn rows((known, new): Table) -> impl Iterator<Item = (String, OptIn)> {
    let known = ["a", "b", "c"].into_iter().zip(known);
    let all = known.chain([new]);
    all.map(|(name, want)| (format!("{name}.example"), want))
}

/// While the server is down, each message gets this answer.
#[track_caller]
fn assert_answers(daemon: &Daemon, when: &str, known: [OptIn; 3], new: (&'static str, OptIn)) {
    for (domain, want) in rows((known, new)) {
        assert_eq!(look_up(daemon, when, &domain), want, "{when}: {domain}");
    }
}

/// While it is up, the first message gets this answer, unless the machine is so busy that
/// the server takes longer than a message waits.
fn answers(daemon: &Daemon, when: &str, known: [OptIn; 3], new: (&'static str, OptIn)) {
    let deadline = Instant::now() + TIMEOUT;
    for (domain, want) in rows((known, new)) {
        while look_up(daemon, when, &domain) != want {
            assert!(Instant::now() < deadline, "{when}: {domain}");
        }
    }
}

fn look_up(daemon: &Daemon, when: &str, domain: &str) -> OptIn {
    let (answer, elapsed) = ask(daemon, domain);
    let millis = elapsed.as_millis();
    eprintln!("{when:14} {domain:16} {answer:?} in {millis} ms");
    answer
}

/// Domains that are known when the load begins.
const KNOWN: usize = 40;

/// The domains that have to be opted in for [`restart_under_load`].
pub fn domains_of_load() -> impl Iterator<Item = String> {
    let known = (0..KNOWN).map(|n| format!("known{n}.example"));
    known.chain((0..20_000).map(|n| format!("cold{n}.example")))
}

/// Ends the load when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// No mail is refused permanently by mistake while the server stops and starts: cached
/// answers stay valid, and mail for other domains is deferred until the server is back.
/// `switch` starts or stops the server.
pub fn restart_under_load(daemon: &Daemon, mut switch: impl FnMut(bool)) {
    for n in 0..KNOWN {
        wait_for(daemon, &format!("known{n}.example"), Yes);
    }
    let (is_over, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let counts = thread::scope(|scope| {
        let load = (0..4).map(|_| {
            let (is_over, next) = (&is_over, &next);
            scope.spawn(move || {
                let mut counts = [0_usize; 2];
                while !is_over.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let known = format!("known{}.example", n % KNOWN);
                    assert_eq!(opt_in(daemon, &known), Yes, "{known}");
                    let cold = format!("cold{n}.example");
                    match opt_in(daemon, &cold) {
                        Yes => counts[0] += 1,
                        InDoubt => counts[1] += 1,
                        No => panic!("{cold} is refused for good"),
                    }
                }
                counts
            })
        });
        let load: Vec<_> = load.collect();
        // Also if an assertion fails; otherwise the load would never end.
        let over = Over(&is_over);
        for turn in 1..=3 {
            let before = next.load(Ordering::Relaxed);
            switch(false);
            while next.load(Ordering::Relaxed) < before + 50 {
                thread::sleep(Duration::from_millis(10));
            }
            switch(true);
            wait_for(daemon, &format!("cold{}.example", 20_000 - turn), Yes);
        }
        drop(over);
        load.into_iter()
            .map(|thread| thread.join().expect("no domain is refused for good"))
            .fold([0, 0], |a, b| [a[0] + b[0], a[1] + b[1]])
    });
    let [accepted, deferred] = counts;
    eprintln!("{accepted} new domains accepted, {deferred} deferred");
    assert!(accepted > 0 && deferred > 0, "{counts:?}");
    wait_for(daemon, "unlisted.example", No);
}

/// Sends mail for domains until one answer, which must be this one, arrives within this
/// time. If the daemon waits for the server, every answer is late; on a busy machine only
/// some are.
#[track_caller]
pub fn answered_within(
    limit: Duration,
    daemon: &Daemon,
    want: OptIn,
    domain: impl Fn(usize) -> String,
) {
    let mut times = Vec::new();
    for attempt in 0..10 {
        let (answer, took) = ask(daemon, &domain(attempt));
        assert_eq!(answer, want);
        if took < limit {
            return;
        }
        times.push(took);
    }
    panic!("no answer within {limit:?}: {times:?}");
}

/// Freezes the server of a daemon whose timeout is 1 s: known domains get their cached
/// answer at once, and others are unknown within this time. `a.example` has opted in and
/// `b.example` out. `freeze` freezes and resumes the server.
pub fn frozen(daemon: &Daemon, in_doubt_within: Duration, freeze: impl Fn(bool)) {
    wait_for(daemon, "a.example", Yes);
    wait_for(daemon, "b.example", No);
    freeze(true);
    // The first message detects the failure.
    ask(daemon, "a.example");
    let known = || answered_within(Duration::from_secs(1), daemon, Yes, |_| "a.example".into());
    known();
    assert_eq!(opt_in(daemon, "b.example"), No);
    thread::scope(|scope| {
        let unheard =
            (0..20).map(|n| scope.spawn(move || ask(daemon, &format!("unheard{n}.example"))));
        for asked in unheard.collect::<Vec<_>>() {
            let (answer, took) = asked.join().expect("an answer");
            assert_eq!(answer, InDoubt);
            assert!(took < in_doubt_within, "{took:?}");
        }
        known();
    });
    freeze(false);
    wait_for(daemon, "unheard1.example", No);
    assert_eq!(opt_in(daemon, "a.example"), Yes);
}
