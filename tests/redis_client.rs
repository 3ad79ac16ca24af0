//! The connection to Redis with real servers: single, with password and TLS, in a failover
//! list and in a cluster; simultaneous edits; notifications of changes.

mod support;

use libtest_mimic::{Arguments, Trial};
use sixgate::{
    config::{self, Config},
    redis_client::{Change, Notice, Notices, RedisClient},
};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use support::{
    redis::{KEY, PASSWORD, PROGRAMS, RIGHTS, RedisCluster, RedisServer},
    trial::needing,
};
use tokio::{runtime::Runtime, time::timeout};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("a single server", single),
        trial("a unix socket", unix_socket),
        trial("a user with a password and few rights", password),
        trial("TLS with a CA of our own", tls),
        trial("a list for failover", failover),
        trial("a cluster of three nodes", cluster),
        trial("a server that hangs takes the timeout at most", hanging),
        trial("a restarted server is found at once", restarted),
        trial("edits by several at once lose nothing", concurrent_edits),
        trial("changes are followed", followed),
        trial("a lost subscription is opened again", lost_subscription),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    needing(name, PROGRAMS, test)
}

fn config(section: &str) -> config::Redis {
    let yaml = format!("opt_in: {{{section}}}\n");
    let config = Config::parse(&yaml, "milter.yaml").unwrap_or_else(|error| panic!("{error}"));
    config.opt_in.redis
}

fn client(section: &str) -> RedisClient {
    RedisClient::new(&config(section))
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

const SLOW: &str = ", timeout: 20s";

/// Reads, edits and lists; the hash must not exist before.
async fn round_trip(client: &RedisClient) {
    let names = ["a.example", ".b.example", "c.example"].map(str::to_owned);
    let found = client.fields(KEY, &names).await.expect("an answer");
    assert_eq!(found.values, [None, None, None]);
    assert!(!found.exists);
    assert_eq!(client.hash(KEY).await.expect("an answer"), None);

    let set = |value: &str| Change::Set(value.to_owned());
    let add = |index: usize, old: Option<&str>| {
        assert_eq!(old, None);
        set(["yes # first", "no"][index])
    };
    client.edit(KEY, &names[..2], add).await.expect("an edit");
    let found = client.fields(KEY, &names).await.expect("an answer");
    assert_eq!(
        found.values,
        [Some(b"yes # first".to_vec()), Some(b"no".to_vec()), None]
    );
    let entry = |field: &str, value: &str| (field.to_owned(), value.to_owned());
    assert_eq!(
        client.hash(KEY).await.expect("an answer"),
        Some(vec![
            entry(".b.example", "no"),
            entry("a.example", "yes # first")
        ])
    );

    let remove = |_: usize, _: Option<&str>| Change::Remove;
    client.edit(KEY, &names, remove).await.expect("an edit");
    let found = client.fields(KEY, &names).await.expect("an answer");
    assert_eq!(found.values, [None, None, None]);
    assert!(found.exists, "an empty list is not a lost one");
    assert_eq!(client.hash(KEY).await.expect("an answer"), Some(Vec::new()));
}

fn single() {
    let server = RedisServer::start();
    runtime().block_on(async {
        let client = client(&server.section_with(&format!("\"{}\"", server.url()), SLOW));
        round_trip(&client).await;
        server.command(&["DEL", KEY]);
        server.command(&["SET", KEY, "text"]);
        let failure = client
            .fields(KEY, &["a".to_owned()])
            .await
            .expect_err("no hash");
        assert!(failure.reason.contains("WRONGTYPE"), "{failure}");
        assert!(!failure.is_unreachable);
    });
}

fn unix_socket() {
    let server = RedisServer::start();
    for scheme in ["unix", "redis+unix"] {
        let url = format!("\"{scheme}://{}?db=3\"", server.socket().display());
        let client = client(&server.section_with(&url, SLOW));
        runtime().block_on(round_trip(&client));
        assert_eq!(server.command(&["-n", "3", "DEL", KEY]), "1");
    }
}

fn password() {
    let mut server = RedisServer::new().with_password(RIGHTS);
    server.run();
    let section = server.section_with(&format!("\"{}\"", server.url()), SLOW);
    runtime().block_on(async {
        round_trip(&client(&section)).await;
        let other = client(&section.replace("sixgate@", "other@"));
        let failure = other
            .fields(KEY, &["a".to_owned()])
            .await
            .expect_err("let in");
        assert!(failure.is_unreachable);
        assert!(
            failure.reason.contains("it does not let us in"),
            "{failure}"
        );
        assert!(!failure.reason.contains(PASSWORD), "{failure}");
        assert!(!format!("{other:?}").contains(PASSWORD));
        let url = format!("\"redis://127.0.0.1:{}\"", server.port);
        let without = client(&format!("redis: {{url: {url}{SLOW}}}"));
        let failure = without
            .fields(KEY, &["a".to_owned()])
            .await
            .expect_err("let in");
        assert!(failure.reason.contains("NOAUTH"), "{failure}");
    });
}

fn tls() {
    let mut server = RedisServer::new().with_tls().with_password(RIGHTS);
    server.run();
    let section = server.section_with(&format!("\"{}\"", server.url()), SLOW);
    runtime().block_on(async {
        round_trip(&client(&section)).await;
        let table = [
            // The system's CAs have not signed it.
            section.split("?ssl-ca").next().expect("a part").to_owned() + "\"" + SLOW + "}",
            section.replace("localhost", "127.0.0.1"),
        ];
        for wrong in table {
            let refused = client(&wrong).fields(KEY, &["a".to_owned()]).await;
            let failure = refused.expect_err("a wrong certificate");
            assert!(failure.reason.contains("certificate"), "{wrong}: {failure}");
        }
    });
}

fn failover() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    let urls = format!("[{}, {}]", replica.url(), primary.url());
    let section = primary.section_with(&urls, SLOW);
    runtime().block_on(async {
        let client = client(&section);
        let name = ["a.example".to_owned()];
        // The replica is listed first and accepts no edits.
        let add = |_: usize, _: Option<&str>| Change::Set("yes".to_owned());
        client.edit(KEY, &name, add).await.expect("an edit");
        assert_eq!(primary.command(&["HGET", KEY, "a.example"]), "yes");
        let mut primary = primary;
        primary.stop();
        let deadline = Instant::now() + Duration::from_secs(60);
        while replica.command(&["HGET", KEY, "a.example"]) != "yes" {
            assert!(Instant::now() < deadline, "the replica never has it");
        }
        let found = client.fields(KEY, &name).await.expect("the other answers");
        assert_eq!(found.values, [Some(b"yes".to_vec())]);
        let failure = client
            .edit(KEY, &name, |_, _| Change::Remove)
            .await
            .expect_err("no primary");
        assert!(failure.reason.contains("READONLY"), "{failure}");
        replica.command(&["REPLICAOF", "NO", "ONE"]);
        let removed = client.edit(KEY, &name, |_, _| Change::Remove).await;
        removed.expect("the new primary takes it");
    });
}

fn cluster() {
    let mut cluster = RedisCluster::start();
    let section = cluster.section(SLOW);
    runtime().block_on(async {
        let cluster_client = client(&section);
        round_trip(&cluster_client).await;
        // A subscription to any node receives the changes.
        for node in &cluster.nodes {
            let one = format!("redis: {{url: \"{}\", cluster: yes{SLOW}}}", node.url());
            let mut notices = client(&one).follow(KEY);
            assert_eq!(next(&mut notices).await, Notice::Subscribed);
            let name = ["a.example".to_owned()];
            let flip = |_: usize, old: Option<&str>| match old {
                Some(_) => Change::Remove,
                None => Change::Set("yes".to_owned()),
            };
            cluster_client
                .edit(KEY, &name, flip)
                .await
                .expect("an edit");
            // The bus between the nodes may still carry earlier ones.
            while next(&mut notices).await != Notice::Changed(name.to_vec()) {}
        }
        let owner = cluster.owner();
        let other_port = owner.port;
        let not_owner = cluster.nodes.iter().find(|node| node.port != other_port);
        let url = not_owner.expect("there are three").url();
        let alone = client(&format!("redis: {{url: \"{url}\"{SLOW}}}"));
        let failure = alone
            .fields(KEY, &["a".to_owned()])
            .await
            .expect_err("a node");
        assert!(failure.reason.contains("write cluster: yes"), "{failure}");
    });
}

fn hanging() {
    let server = RedisServer::start();
    let url = format!("\"{}\"", server.url());
    let section = server.section_with(&url, ", timeout: 500ms");
    runtime().block_on(async {
        let client = client(&section);
        let name = ["a.example".to_owned()];
        while client.fields(KEY, &name).await.is_err() {}
        server.freeze(true);
        let start = Instant::now();
        let asked = (0..40).map(|_| {
            let (client, name) = (client.clone(), name.clone());
            tokio::spawn(async move { client.fields(KEY, &name).await })
        });
        for question in asked.collect::<Vec<_>>() {
            let failure = question.await.expect("no panic").expect_err("it hangs");
            assert!(
                failure.reason.contains("no answer within 500ms"),
                "{failure}"
            );
        }
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        server.freeze(false);
        let deadline = Instant::now() + Duration::from_secs(30);
        while client.fields(KEY, &name).await.is_err() {
            assert!(Instant::now() < deadline, "it is never asked again");
        }
    });
}

fn restarted() {
    let mut server = RedisServer::start();
    let client = client(&server.section_with(&format!("\"{}\"", server.url()), SLOW));
    runtime().block_on(async {
        let name = ["a.example".to_owned()];
        client.fields(KEY, &name).await.expect("an answer");
        server.stop();
        server.run();
        client.fields(KEY, &name).await.expect("an answer at once");
        server.stop();
        let failure = client.fields(KEY, &name).await.expect_err("it is gone");
        assert!(failure.is_unreachable);
        assert!(failure.reason.contains("refused"), "{failure}");
    });
}

fn concurrent_edits() {
    const EDITORS: usize = 8;
    const EDITS: usize = 20;
    let server = RedisServer::start();
    let client = client(&server.section_with(&format!("\"{}\"", server.url()), SLOW));
    runtime().block_on(async {
        let editors = (0..EDITORS).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..EDITS {
                    let count = |_: usize, old: Option<&str>| {
                        let old = old.map_or(0, |old| old.parse::<usize>().expect("a number"));
                        Change::Set((old + 1).to_string())
                    };
                    let counted = client.edit(KEY, &["count".to_owned()], count).await;
                    counted.expect("an edit");
                }
            })
        });
        for editor in editors.collect::<Vec<_>>() {
            editor.await.expect("no panic");
        }
        let want = (EDITORS * EDITS).to_string();
        assert_eq!(server.command(&["HGET", KEY, "count"]), want);
    });
}

async fn next(notices: &mut Notices) -> Notice {
    let next = timeout(Duration::from_secs(60), notices.next()).await;
    next.expect("a notice in time").expect("a notice")
}

fn followed() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "notify-keyspace-events", "Kh"]);
    let client = client(&server.section_with(&format!("\"{}\"", server.url()), SLOW));
    runtime().block_on(async {
        let mut notices = client.follow(KEY);
        assert_eq!(next(&mut notices).await, Notice::Subscribed);
        // Manual edits, which the server itself announces.
        server.command(&["HSET", KEY, "hand.example", "yes"]);
        assert_eq!(next(&mut notices).await, Notice::AllChanged);
        server.command(&["CONFIG", "SET", "notify-keyspace-events", ""]);
        let names = ["a.example", ".b.example"].map(str::to_owned);
        let add = |_: usize, _: Option<&str>| Change::Set("yes".to_owned());
        client.edit(KEY, &names, add).await.expect("an edit");
        let Notice::Changed(mut changed) = next(&mut notices).await else {
            panic!("not the names");
        };
        changed.sort();
        assert_eq!(changed, [".b.example", "a.example"]);
        // An edit that changes nothing is not announced.
        client.edit(KEY, &names, add).await.expect("an edit");
        let many: Vec<_> = (0..1000).map(|n| format!("d{n}.example")).collect();
        client.edit(KEY, &many, add).await.expect("an edit");
        assert_eq!(next(&mut notices).await, Notice::AllChanged);
    });
}

fn lost_subscription() {
    let mut server = RedisServer::start();
    let client = client(&server.section_with(&format!("\"{}\"", server.url()), SLOW));
    runtime().block_on(async {
        let mut notices = client.follow(KEY);
        assert_eq!(next(&mut notices).await, Notice::Subscribed);
        server.stop();
        assert!(matches!(next(&mut notices).await, Notice::Lost(_)));
        server.run();
        assert_eq!(next(&mut notices).await, Notice::Subscribed);
    });
}
