//! Tests of the cache with a paused clock and without a server.

use super::*;
use std::{
    future::{pending, ready},
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::{
    task::JoinSet,
    time::{advance, sleep},
};

const LIFETIMES: config::OptInCache = config::OptInCache {
    positive: Duration::from_secs(5 * 60),
    negative: Duration::from_secs(60),
    stale: Duration::from_secs(24 * 60 * 60),
};

const STAGE: Duration = Duration::from_secs(8);

fn cache() -> Cache {
    Cache::new("the server".to_owned(), LIFETIMES)
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn definite(answer: DefiniteAnswer) -> Reply {
    Reply::Definite(answer, None)
}

fn broken() -> Reply {
    Reply::Failed("out of order".to_owned())
}

/// Looks up a domain; also returns the time this took.
async fn get<Q>(cache: &Cache, name: &str, question: impl FnOnce() -> Q) -> (SourceAnswer, Duration)
where
    Q: Future<Output = Reply> + Send + 'static,
{
    let start = Instant::now();
    let known = cache.get(&domain(name), start + STAGE, question).await;
    (known, start.elapsed())
}

/// Returns a query that must not be sent.
fn unasked() -> std::future::Ready<Reply> {
    panic!("the server is asked")
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_fresh_for_its_lifetime_or_its_ttl() {
    let table = [
        // answer, TTL, fresh for
        (DefiniteAnswer::Yes, None, 300_u64),
        (DefiniteAnswer::No, None, 300),
        (DefiniteAnswer::NoEntry, None, 60),
        (DefiniteAnswer::Yes, Some(20), 20),
        (DefiniteAnswer::No, Some(3600), 300),
        (DefiniteAnswer::Yes, Some(0), 0),
    ];
    for (answer, ttl, fresh) in table {
        let cache = cache();
        let until = ttl.map(|ttl| Instant::now() + seconds(ttl));
        let first = || ready(Reply::Definite(answer, until));
        assert_eq!(get(&cache, "a.example", first).await.0, answer.into());
        if let Some(last) = fresh.checked_sub(1) {
            advance(seconds(last)).await;
            assert_eq!(get(&cache, "a.example", unasked).await.0, answer.into());
            advance(seconds(1)).await;
        }
        let other = match answer {
            DefiniteAnswer::Yes => DefiniteAnswer::No,
            DefiniteAnswer::No | DefiniteAnswer::NoEntry => DefiniteAnswer::Yes,
        };
        let again = || ready(definite(other));
        let (known, _) = get(&cache, "a.example", again).await;
        assert_eq!(known, other.into(), "{answer:?} {ttl:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_server_fails_the_last_answer_serves_and_then_nothing_is_certain() {
    let cache = cache();
    for (answer, lifetime) in [
        (DefiniteAnswer::Yes, LIFETIMES.positive),
        (DefiniteAnswer::No, LIFETIMES.positive),
        (DefiniteAnswer::NoEntry, LIFETIMES.negative),
    ] {
        let name = format!("{answer:?}.example");
        get(&cache, &name, || ready(definite(answer))).await;
        advance(lifetime + LIFETIMES.stale - seconds(1)).await;
        assert_eq!(
            get(&cache, &name, || ready(broken())).await.0,
            answer.into()
        );
        advance(seconds(1)).await;
        let (known, _) = get(&cache, &name, || ready(broken())).await;
        assert_eq!(known, SourceAnswer::Temperror, "{answer:?}");
    }
    let (known, _) = get(&cache, "never-heard-of.example", || ready(broken())).await;
    assert_eq!(known, SourceAnswer::Temperror);
}

#[tokio::test(start_paused = true)]
async fn a_mute_server_is_waited_for_briefly_where_an_answer_is_known() {
    let cache = cache();
    get(&cache, "a.example", || ready(definite(DefiniteAnswer::Yes))).await;
    get(&cache, "b.example", || ready(definite(DefiniteAnswer::Yes))).await;
    advance(LIFETIMES.positive).await;
    let table = [
        // domain, expected answer, after
        ("a.example", SourceAnswer::Yes, MAX_WAIT),
        ("a.example", SourceAnswer::Yes, MAX_WAIT_WHILE_FAILING),
        ("b.example", SourceAnswer::Yes, MAX_WAIT_WHILE_FAILING),
        ("new.example", SourceAnswer::Temperror, STAGE),
        ("other.example", SourceAnswer::Temperror, STAGE),
        ("a.example", SourceAnswer::Yes, MAX_WAIT_WHILE_FAILING),
    ];
    for (name, want, after) in table {
        let (known, elapsed) = get(&cache, name, pending).await;
        assert_eq!(known, want, "{name}");
        // The paused clock has a resolution of one millisecond.
        let late = elapsed.checked_sub(after).expect("not before");
        assert!(late <= Duration::from_millis(2), "{name}: {elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_waited_for_longer_before_the_last_one_refuses() {
    for last in [DefiniteAnswer::No, DefiniteAnswer::NoEntry] {
        let cache = cache();
        for name in ["a.example", "b.example", "c.example"] {
            get(&cache, name, || ready(definite(last))).await;
        }
        advance(LIFETIMES.positive).await;
        let now_yes = || slowly(definite(DefiniteAnswer::Yes));
        let table = [
            // behavior of the server, expected answer, after
            (get(&cache, "a.example", pending).await, last.into(), STAGE),
            (
                get(&cache, "b.example", now_yes).await,
                SourceAnswer::Yes,
                seconds(1),
            ),
            (get(&cache, "a.example", pending).await, last.into(), STAGE),
            (
                get(&cache, "c.example", pending).await,
                last.into(),
                MAX_WAIT,
            ),
        ];
        for ((known, elapsed), want, after) in table {
            assert_eq!(known, want, "{last:?}");
            let late = elapsed.checked_sub(after).expect("not before");
            assert!(late <= Duration::from_millis(2), "{last:?}: {elapsed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_mail_after_a_failure_has_the_new_answer() {
    let cache = cache();
    get(&cache, "a.example", || ready(definite(DefiniteAnswer::Yes))).await;
    advance(LIFETIMES.positive).await;
    for _ in 0..3 {
        let (known, elapsed) = get(&cache, "a.example", || ready(broken())).await;
        assert_eq!((known, elapsed), (SourceAnswer::Yes, Duration::ZERO));
    }
    let error = || cache.status(Source::DnsZone).error;
    assert_eq!(error().as_deref(), Some("out of order"));
    let (known, _) = get(&cache, "a.example", || ready(definite(DefiniteAnswer::No))).await;
    assert_eq!(known, SourceAnswer::No);
    assert_eq!(error(), None);
}

#[tokio::test(start_paused = true)]
async fn concurrent_lookups_of_a_domain_share_one_query() {
    let cache = cache();
    let asked = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..100 {
        let (cache, asked) = (cache.clone(), Arc::clone(&asked));
        askers.spawn(async move {
            let question = || {
                asked.fetch_add(1, Ordering::Relaxed);
                slowly(definite(DefiniteAnswer::Yes))
            };
            get(&cache, "a.example", question).await
        });
    }
    for answer in askers.join_all().await {
        assert_eq!(answer, (SourceAnswer::Yes, seconds(1)));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

async fn slowly(reply: Reply) -> Reply {
    sleep(seconds(1)).await;
    reply
}

#[tokio::test(start_paused = true)]
async fn a_question_whose_asker_has_gone_is_answered_for_the_next() {
    let cache = cache();
    let gone = timeout_at(
        Instant::now() + Duration::from_millis(10),
        get(&cache, "a.example", || {
            slowly(definite(DefiniteAnswer::Yes))
        }),
    );
    assert!(gone.await.is_err());
    let (known, _) = get(&cache, "a.example", unasked).await;
    assert_eq!(known, SourceAnswer::Yes);
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_not_heaped_with_questions() {
    let cache = cache();
    let names: Vec<String> = (0..10 * MAX_PENDING_WHILE_FAILING)
        .map(|n| format!("d{n}.example"))
        .collect();
    for name in &names {
        get(&cache, name, || ready(definite(DefiniteAnswer::Yes))).await;
    }
    advance(LIFETIMES.positive).await;
    get(&cache, "d0.example", || ready(broken())).await;
    let asked = AtomicUsize::new(0);
    for name in &names {
        let question = || {
            asked.fetch_add(1, Ordering::Relaxed);
            pending()
        };
        assert_eq!(get(&cache, name, question).await.0, SourceAnswer::Yes);
    }
    // Pending queries time out and make room for others.
    let most = MAX_PENDING_WHILE_FAILING * names.len() * 50 / 8000 + 2 * MAX_PENDING_WHILE_FAILING;
    assert!(asked.load(Ordering::Relaxed) <= most);
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_a_question_leaves_the_domain_in_doubt_and_askable() {
    let cache = cache();
    let defect = || async { panic!("forced by the test") };
    assert_eq!(
        get(&cache, "a.example", defect).await.0,
        SourceAnswer::Temperror
    );
    let (known, _) = get(&cache, "a.example", || ready(definite(DefiniteAnswer::Yes))).await;
    assert_eq!(known, SourceAnswer::Yes);
}

#[tokio::test(start_paused = true)]
async fn the_same_server_is_remembered_with_other_lifetimes() {
    let old = cache();
    get(&old, "a.example", || ready(definite(DefiniteAnswer::Yes))).await;
    advance(seconds(10)).await;
    let new = Cache::new(
        "the server".to_owned(),
        config::OptInCache {
            positive: seconds(10),
            stale: seconds(5),
            ..LIFETIMES
        },
    )
    .inherit_from(&old);
    assert_eq!(get(&old, "a.example", unasked).await.0, SourceAnswer::Yes);
    let (stale, _) = get(&new, "a.example", || ready(broken())).await;
    assert_eq!(stale, SourceAnswer::Yes);
    advance(seconds(5)).await;
    let (gone, _) = get(&new, "a.example", || ready(broken())).await;
    assert_eq!(gone, SourceAnswer::Temperror);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_the_server_is_reported() {
    let cache = cache();
    let assert_status = |domains, age, error: Option<&str>| {
        let status = cache.status(Source::Socketmap);
        let want = ServerStatus {
            source: Source::Socketmap,
            domains,
            age,
            error: error.map(str::to_owned),
        };
        assert_eq!(status, want);
    };
    assert_status(0, None, None);
    get(&cache, "a.example", || ready(definite(DefiniteAnswer::Yes))).await;
    get(&cache, "b.example", || {
        ready(definite(DefiniteAnswer::NoEntry))
    })
    .await;
    advance(seconds(10)).await;
    assert_status(2, Some(seconds(10)), None);
    get(&cache, "c.example", || ready(broken())).await;
    advance(seconds(20)).await;
    assert_status(2, Some(seconds(30)), Some("out of order"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_expired_serves_only_if_nothing_better_comes() {
    let cache = cache();
    let yes = || ready(definite(DefiniteAnswer::Yes));
    let no = || ready(definite(DefiniteAnswer::No));
    for name in ["a.example", "b.example"] {
        assert_eq!(get(&cache, name, yes).await.0, SourceAnswer::Yes);
    }
    cache.expire(&domain("a.example"));
    cache.expire(&domain("unheard.example"));
    assert_eq!(
        get(&cache, "a.example", || ready(broken())).await.0,
        SourceAnswer::Yes
    );
    assert_eq!(get(&cache, "b.example", unasked).await.0, SourceAnswer::Yes);
    assert_eq!(get(&cache, "a.example", no).await.0, SourceAnswer::No);
    assert_eq!(get(&cache, "a.example", unasked).await.0, SourceAnswer::No);
    cache.expire_all();
    for name in ["a.example", "b.example"] {
        assert_eq!(get(&cache, name, no).await.0, SourceAnswer::No);
        assert_eq!(get(&cache, name, unasked).await.0, SourceAnswer::No);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_question_from_before_has_expired_already() {
    let cache = cache();
    let late = async {
        sleep(seconds(1)).await;
        definite(DefiniteAnswer::Yes)
    };
    let asking = {
        let cache = cache.clone();
        tokio::spawn(async move { get(&cache, "a.example", || late).await.0 })
    };
    sleep(Duration::from_millis(500)).await;
    cache.expire(&domain("a.example"));
    assert_eq!(asking.await.unwrap(), SourceAnswer::Yes);
    let no = || ready(definite(DefiniteAnswer::No));
    assert_eq!(get(&cache, "a.example", no).await.0, SourceAnswer::No);
}
