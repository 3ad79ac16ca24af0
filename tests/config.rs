//! milter.yaml as a postmaster writes it: what is understood, what is refused
//! and in which words. Everything runs the real program.

use sixgate::config::Config;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// The commands that read a configuration and must refuse a wrong one alike.
const COMMANDS: [&str; 2] = ["check-config", "serve"];

fn sixgate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn run_with(yaml: impl AsRef<[u8]>, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("milter.yaml"), yaml).unwrap();
    let arguments = [arguments, &["-c", "milter.yaml"]].concat();
    sixgate(folder.path(), &arguments)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Each row is a file, and what the one line on standard error says after the
/// file's name.
#[track_caller]
fn assert_refused(table: &[(&str, &str)]) {
    for (yaml, want) in table {
        for command in COMMANDS {
            let output = run_with(yaml, &[command]);
            assert_eq!(stderr(&output), format!("milter.yaml:{want}\n"), "{yaml}");
            assert_eq!(output.status.code(), Some(78), "{yaml}");
            assert_eq!(stdout(&output), "", "{yaml}");
        }
    }
}

#[test]
fn keys_that_do_not_exist_or_come_twice_are_refused_at_their_line() {
    assert_refused(&[
        (
            "mode: enforce\nexempt:\n  netwroks:\n    - \"::1\"\n",
            "3: exempt.netwroks: unknown key; did you mean networks? \
             (allowed here: networks, managed_file, authenticated, tls, certificates, forwarders)",
        ),
        (
            "limits:\n  conections: 5\n",
            "2: limits.conections: unknown key; did you mean connections? (allowed here: \
             connections, header_bytes, stage_timeout, idle_timeout, drain_timeout, drain_grace, \
             handover_timeout)",
        ),
        (
            "log:\n  colour: red\n",
            "2: log.colour: unknown key; allowed here: format, level, target",
        ),
        (
            "lisetn: inet:127.0.0.1:8894\n",
            "1: lisetn: unknown key; did you mean listen? (allowed here: listen, socket_mode, \
             socket_group, allow_peers, mode, observe_domains, observe_rules, enforce_share, \
             enforce_share_key, opt_in, reverse_dns, on_dns_failure, ipv4_prefixes, exempt, replies, \
             authentication_results, dns, spf, dkim, limits, log, metrics, status)",
        ),
        (
            "opt_in:\n  dnszone: opt-in.example.org\n",
            "2: opt_in.dnszone: unknown key; did you mean dns_zone? \
             (allowed here: default, domains, files, managed_file, mx, sql, redis, dns_zone, socketmap, cache, mx_zone)",
        ),
        (
            "opt_in:\n  cache:\n    postive: 5m\n",
            "3: opt_in.cache.postive: unknown key; did you mean positive? \
             (allowed here: positive, negative, stale)",
        ),
        (
            "mode: enforce\n\nmode: observe\n",
            "3: mode: the key is given twice; remove one",
        ),
        (
            "exempt:\n  tls: any\n  authenticated: no\n  tls: none\n",
            "4: exempt.tls: the key is given twice; remove one",
        ),
    ]);
}

#[test]
fn values_of_the_wrong_type_are_refused_with_what_to_write() {
    assert_refused(&[
        (
            "exempt: yes\n",
            "1: exempt: found string \"yes\"; \
             write keys below it (networks, managed_file, authenticated, tls, certificates, forwarders)",
        ),
        (
            "listen: true\n",
            "1: listen: found boolean `true`; write a socket such as \
             unix:/run/sixgate/milter.sock or inet:127.0.0.1:8894, or a list of such",
        ),
        (
            "listen:\n  - inet: 127.0.0.1:8894\n",
            "2: listen: found keys; write a socket such as \
             unix:/run/sixgate/milter.sock or inet:127.0.0.1:8894",
        ),
        (
            "mode: [observe]\n",
            "1: mode: found a list; write enforce or observe",
        ),
        (
            "dns:\n  attempts: two\n",
            "2: dns.attempts: \"two\" is not a whole number from 1 to 10",
        ),
        (
            "opt_in:\n  domains:\n    -\n",
            "3: opt_in.domains: found nothing; write a domain such as example.org",
        ),
    ]);
}

#[test]
fn ipv6_addresses_that_yaml_mangles_are_to_be_quoted() {
    assert_refused(&[
        (
            "exempt:\n  networks:\n    - 2001:db8::\n",
            "3: exempt.networks: quote IPv6 addresses, or YAML takes them for keys: \
             \"2001:db8::\"",
        ),
        (
            "exempt:\n  networks:\n    2001:db8::\n",
            "3: exempt.networks: quote IPv6 addresses, or YAML takes them for keys: \
             \"2001:db8::\"",
        ),
        (
            "exempt:\n  networks: [2001:db8::/32, ::1]\n",
            "2: exempt.networks: values with IPv6 addresses need quotes in YAML: \"2001:db8::/32\"",
        ),
        (
            "exempt:\n  networks: [\n    10.0.0.0/8,\n    ::1\n  ]\n",
            "4: exempt.networks: values with IPv6 addresses need quotes in YAML: \"::1\"",
        ),
        (
            "dns:\n  servers: ::\n",
            "2: dns.servers: values with IPv6 addresses need quotes in YAML: \"::\"",
        ),
        (
            "listen: [inet:[::1]:8894]\n",
            "1: listen: values with IPv6 addresses need quotes in YAML: \"::1\"",
        ),
    ]);
}

#[test]
fn what_is_no_yaml_is_refused_with_what_helps() {
    assert_refused(&[
        (
            "exempt:\n\tnetworks: []\n",
            "2: exempt.networks: YAML does not allow tabs here; indent with spaces",
        ),
        (
            "replies:\n  no_ptr: 450 4.7.25 no PTR: go away\n",
            "2: replies.no_ptr: this is not valid YAML (mapping values are not allowed in this \
             context); quote the value if it contains a colon; otherwise check the indentation",
        ),
        (
            "mode: @enforce\n",
            "1: mode: this is not valid YAML (found character that cannot start any token); \
             quote the value",
        ),
        (
            "exempt:\n  certificates: [*.example.org]\n",
            "2: exempt.certificates: this is not valid YAML (did not find \
             expected alphabetic or numeric character); quote what begins with *",
        ),
        (
            "listen:\n - inet:127.0.0.1:8894\n- unix:/x\n",
            "3: listen: this is not valid YAML (did not find expected key); \
             check the indentation: keys of one section begin in the same column",
        ),
    ]);
    let output = run_with(b"mode: enforce\n# gr\xfc\xdfe\n", &["check-config"]);
    let want = "milter.yaml:2: this is not UTF-8; save the file as UTF-8\n";
    assert_eq!(stderr(&output), want);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn wrong_networks_and_servers_are_refused() {
    assert_refused(&[
        (
            "exempt:\n  networks:\n    - \"2001:db8::/32\"\n    - \"2001:db8::1/32\"\n",
            "4: exempt.networks: \"2001:db8::1/32\" has host bits set; write \"2001:db8::/32\"",
        ),
        (
            "exempt:\n  networks: example.org\n",
            "2: exempt.networks: \"example.org\" is not a valid network; \
             write one such as \"2001:db8::/32\"",
        ),
        (
            "dns:\n  servers: dns.example\n",
            "2: dns.servers: \"dns.example\" is not a valid address; write an address such as \
             127.0.0.1, 127.0.0.1:5353, \"[2001:db8::53]:53\" or \"fe80::1%eth0\"",
        ),
        (
            "dns:\n  servers: fe80::1\n",
            "2: dns.servers: \"fe80::1\" is a link-local address; write the interface too, \
             such as \"fe80::1%eth0\"",
        ),
        (
            "dns:\n  servers: [127.0.0.1, \"[::1]:0\"]\n",
            "2: dns.servers: 0 is not a valid port; write ::1 for the usual one",
        ),
    ]);
}

#[test]
fn names_of_certificates_are_host_names_or_a_wildcard_for_one_label() {
    let write = "write the name of a certificate such as mx.example.org or \"*.example.org\"";
    let table = [
        (
            "\"mx*.example.org\"",
            "a * is allowed only as the whole first label (*.example.org)",
        ),
        (
            "\"*\"",
            "a * is allowed only as the whole first label (*.example.org)",
        ),
        ("\"*.\"", "it is empty"),
        ("Partner AG", "it has a character that no domain name has"),
        (
            "a..example.org",
            "it has an empty label (two dots in a row or a leading dot)",
        ),
    ];
    for (text, why) in table {
        let yaml = format!("exempt:\n  certificates:\n    - mx.example.org\n    - {text}\n");
        let text = text.trim_matches('"');
        let want = format!(
            "4: exempt.certificates: \"{text}\" is not the name of a certificate: {why}; {write}"
        );
        assert_refused(&[(&yaml, &want)]);
    }
    let nothing = format!("2: exempt.certificates: nothing is given; {write}");
    assert_refused(&[("exempt:\n  certificates: \"\"\n", &nothing)]);
}

#[test]
fn translation_prefixes_that_are_nearly_right_are_refused() {
    let lengths =
        "a translation prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052 section 2.2), not";
    let table = [
        (
            "2001:db8::/44",
            format!("is not a translation prefix: {lengths} 44"),
        ),
        (
            "64:ff9b::/128",
            format!("is not a translation prefix: {lengths} 128"),
        ),
        (
            "64:ff9b::1/96",
            "is not a translation prefix: it has host bits set; write \"64:ff9b::/96\"".to_owned(),
        ),
        (
            "2001:db8:0:0:100::/96",
            "is not a translation prefix: its bits 64 to 71 are not zero (RFC 6052 section 2.2)"
                .to_owned(),
        ),
        (
            "192.0.2.0/24",
            "is not an IPv6 network; write a translation prefix such as \"64:ff9b::/96\""
                .to_owned(),
        ),
    ];
    for (text, want) in table {
        let yaml =
            format!("mode: enforce\nipv4_prefixes:\n  - \"2001:db8:64::/96\"\n  - \"{text}\"\n");
        let want = format!("4: ipv4_prefixes: \"{text}\" {want}");
        assert_refused(&[(&yaml, &want)]);
    }
}

#[test]
fn translation_prefixes_that_overlap_are_refused() {
    assert_refused(&[
        (
            "ipv4_prefixes:\n  - \"64:ff9b::/96\"\n  - \"64:ff9b::/64\"\n",
            "2: ipv4_prefixes: 64:ff9b::/64 overlaps 64:ff9b::/96; remove one of them",
        ),
        (
            "ipv4_prefixes:\n  - \"64:ff9b::/96\"\n  - \"2001:db8::/32\"\nexempt:\n  networks: \
             [10.0.0.0/8, \"2001:db8:1::/48\"]\n",
            "3: ipv4_prefixes: 2001:db8::/32 overlaps 2001:db8:1::/48 of exempt.networks; \
             remove one of them, as neither is checked",
        ),
        (
            "exempt: {networks: \"64:ff9b::/32\"}\nipv4_prefixes: \"64:ff9b::/96\"\n",
            "2: ipv4_prefixes: 64:ff9b::/96 overlaps 64:ff9b::/32 of exempt.networks; \
             remove one of them, as neither is checked",
        ),
        (
            "ipv4_prefixes: \"::/96\"\n",
            "1: ipv4_prefixes: ::/96 overlaps ::1/128, which is never checked; write the prefix \
             of the translator alone",
        ),
        (
            "ipv4_prefixes: \"::ffff:0:0/96\"\n",
            "1: ipv4_prefixes: ::ffff:0.0.0.0/96 overlaps ::ffff:0.0.0.0/96, which is never \
             checked; write the prefix of the translator alone",
        ),
    ]);
}

#[test]
fn sockets_that_are_nearly_right_are_refused() {
    assert_refused(&[
        (
            "listen: /run/sixgate.sock\n",
            "1: listen: \"/run/sixgate.sock\" is not a valid milter socket; \
             write \"unix:/run/sixgate.sock\"",
        ),
        (
            "listen: unix:sixgate.sock\n",
            "1: listen: \"sixgate.sock\" is not an absolute path; \
             write one such as unix:/run/sixgate/milter.sock",
        ),
        (
            "listen: inet:8894\n",
            "1: listen: there is no host; write inet:127.0.0.1:8894",
        ),
        (
            "listen: \"inet6:[::1]\"\n",
            "1: listen: there is no port; write \"inet:[::1]:8894\"",
        ),
        (
            "listen: tcp:127.0.0.1:8894\n",
            "1: listen: \"tcp:127.0.0.1:8894\" is not a valid milter socket; \
             write \"inet:127.0.0.1:8894\"",
        ),
        (
            "listen: inet:127.0.0.1:0\n",
            "1: listen: \"0\" is not a valid TCP port; write one from 1 to 65535",
        ),
        (
            "listen: inet:127.0.0.1:65536\n",
            "1: listen: \"65536\" is not a valid TCP port; write one from 1 to 65535",
        ),
        (
            "listen: []\n",
            "1: listen: there is nothing to listen on; \
             write unix:/run/sixgate/milter.sock or inet:127.0.0.1:8894",
        ),
        (
            "listen:\n  - inet:127.0.0.1:8894\n  - inet:8894@127.0.0.1\n",
            "2: listen: inet:127.0.0.1:8894 is given twice; remove one",
        ),
        (
            "socket_mode: 432\n",
            "1: socket_mode: \"432\" keeps sixgate itself out; write one such as \"0660\"",
        ),
        (
            "socket_mode: rw-rw----\n",
            "1: socket_mode: \"rw-rw----\" is not a valid mode; \
             write permission bits in octal such as \"0660\"",
        ),
    ]);
}

#[test]
fn opt_in_servers_that_are_nearly_right_are_refused() {
    assert_refused(&[
        (
            "opt_in:\n  dns_zone: .opt-in.example.org\n",
            "2: opt_in.dns_zone: \".opt-in.example.org\" is not a valid zone: it has an empty label \
             (two dots in a row or a leading dot); write opt-in.example.org",
        ),
        (
            "opt_in:\n  dns_zone: opt-in.example.org=127.0.0.2\n",
            "2: opt_in.dns_zone: \"opt-in.example.org=127.0.0.2\" is not a valid zone: it has a \
             character that no domain name has; write opt-in.example.org",
        ),
        (
            "opt_in:\n  dns_zone: [a.example, b.example]\n",
            "2: opt_in.dns_zone: found a list; write a zone such as opt-in.example.org",
        ),
        (
            "opt_in:\n  socketmap: socketmap:inet:127.0.0.1:10001:opt-in\n",
            "2: opt_in.socketmap: \"socketmap:inet:127.0.0.1:10001:opt-in\" is not a valid socketmap \
             server; write \"inet:127.0.0.1:10001:opt-in\"",
        ),
        (
            "opt_in:\n  socketmap: inet:127.0.0.1:10001\n",
            "2: opt_in.socketmap: there is no map name; \
             write \"inet:127.0.0.1:10001:opt-in\", with the map that you mean",
        ),
        (
            "opt_in:\n  socketmap: unix:/run/opt-in.sock\n",
            "2: opt_in.socketmap: there is no map name; \
             write unix:/run/opt-in.sock:opt-in, with the map that you mean",
        ),
        (
            "opt_in:\n  socketmap: pgsql:/etc/postfix/opt-in.cf\n",
            "2: opt_in.socketmap: \"pgsql:/etc/postfix/opt-in.cf\" is not a valid socketmap server; \
             write one such as inet:127.0.0.1:10001:opt-in or unix:/run/opt-in.sock:opt-in",
        ),
        (
            "opt_in:\n  cache:\n    stale: 24\n",
            "3: opt_in.cache.stale: \"24\" has no unit; \
             write a duration such as 500ms, 2s, 5m, 2h or 1d",
        ),
        (
            "opt_in:\n  mx:\n    hosts: \"*.mx6.example.net\"\n",
            "3: opt_in.mx.hosts: \"*.mx6.example.net\" is not allowed here; \
             write .mx6.example.net",
        ),
        (
            "opt_in:\n  mx:\n    grace: 24\n",
            "3: opt_in.mx.grace: \"24\" has no unit; \
             write a duration such as 500ms, 2s, 5m, 2h or 1d",
        ),
        (
            "opt_in:\n  cache: 5m\n",
            "2: opt_in.cache: found string \"5m\"; \
             write keys below it (positive, negative, stale)",
        ),
    ]);
}

#[test]
fn what_this_machine_does_not_have_is_refused() {
    assert_refused(&[
        (
            "listen:\n  - inet:127.0.0.1:8894\n  - unix:/nonexistent/sixgate/milter.sock\n",
            "3: listen: the folder /nonexistent/sixgate does not exist; \
             make it with: mkdir -p /nonexistent/sixgate",
        ),
        (
            "listen: unix:/etc/passwd\n",
            "1: listen: /etc/passwd exists and is not a socket; write another path",
        ),
        (
            "listen: unix:/etc/passwd/milter.sock\n",
            "1: listen: /etc/passwd is not a folder",
        ),
        (
            "mode: enforce\nsocket_group: no-such-group\n",
            "2: socket_group: there is no group \"no-such-group\" on this machine; \
             write the name of one, or make it with: groupadd --system no-such-group",
        ),
    ]);
}

#[test]
fn wrong_words_and_texts_are_refused() {
    assert_refused(&[
        (
            "mode: Observe\n",
            "1: mode: \"Observe\" is not allowed here; write observe",
        ),
        (
            "mode:\n",
            "1: mode: nothing is given; write enforce or observe",
        ),
        (
            "observe_rules: [no-ptr, unauthentiated]\n",
            "1: observe_rules: \"unauthentiated\" is not a rule; did you mean unauthenticated? \
             (allowed here: not-opted-in, opt-in-temperror, no-ptr, ptr-temperror, \
             ptr-unconfirmed, auth-temperror, unauthenticated)",
        ),
        (
            "replies: {give_up_after: never}\n",
            "1: replies.give_up_after: \"never\" is not a valid duration; write a duration such as 500ms, 2s, \
             5m, 2h or 1d",
        ),
        (
            "replies: {give_up_after: 24}\n",
            "1: replies.give_up_after: \"24\" has no unit; write a duration such as 500ms, 2s, 5m, 2h \
             or 1d",
        ),
        (
            "replies: {give_up_after: 0s}\n",
            "1: replies.give_up_after: \"0s\" is too short; write 1s or more, or off",
        ),
        (
            "enforce_share: 101%\n",
            "1: enforce_share: \"101%\" is more than 100%; write 0% to 100%, such as 25%",
        ),
        (
            "enforce_share: 25\n",
            "1: enforce_share: \"25\" is not a share in percent; write 0% to 100%, such as 25%",
        ),
        (
            "enforce_share:\n  no-ptr: 100%\n  unauthenticated: 110%\n",
            "3: enforce_share.unauthenticated: \"110%\" is more than 100%; write 0% to 100%, such \
             as 25%",
        ),
        (
            "enforce_share:\n  no-ptr: 100%\n  spf-fail: 10%\n",
            "3: enforce_share: \"spf-fail\" is not a rule; allowed here: not-opted-in, \
             opt-in-temperror, no-ptr, ptr-temperror, ptr-unconfirmed, auth-temperror, \
             unauthenticated",
        ),
        (
            "enforce_share: [10%]\n",
            "1: enforce_share: found a list; write a whole number of percent such as 25%, or such \
             a share for each of some rules",
        ),
        (
            "exempt:\n  forwarders:\n    spf_off: alumni.example\n",
            "3: exempt.forwarders.spf_off: unknown key; did you mean spf_of? (allowed here: spf_of, \
             names)",
        ),
        (
            "exempt:\n  forwarders:\n    spf_of: \"2001:db8::1\"\n",
            "3: exempt.forwarders.spf_of: \"2001:db8::1\" is not a domain: it has a character \
             that no domain name has; write a domain with an SPF record, such as alumni.example",
        ),
        (
            "exempt:\n  forwarders:\n    spf_of: example\n",
            "3: exempt.forwarders.spf_of: \"example\" is not a domain: it has one label, and no SPF \
             record is looked up for such; write a domain with an SPF record, such as \
             alumni.example",
        ),
        (
            "exempt:\n  forwarders:\n    names: [\"*.alumni.example\"]\n",
            "3: exempt.forwarders.names: \"*.alumni.example\" is not allowed here; write \
             .alumni.example",
        ),
        (
            "exempt:\n  forwarders:\n    names: [a.example, A.example.]\n",
            "3: exempt.forwarders.names: a.example is given twice; remove one",
        ),
        (
            "reverse_dns: any\n",
            "1: reverse_dns: \"any\" is not allowed here; write exists or confirmed",
        ),
        (
            "on_dns_failure: defer\n",
            "1: on_dns_failure: \"defer\" is not allowed here; write tempfail or accept",
        ),
        (
            "exempt:\n  tls: verfied\n",
            "2: exempt.tls: \"verfied\" is not allowed here; write verified",
        ),
        (
            "opt_in:\n  default: maybe\n",
            "2: opt_in.default: \"maybe\" is not allowed here; write yes or no",
        ),
        (
            "opt_in:\n  domains:\n    - example.org\n    - \"*.example.org\"\n",
            "4: opt_in.domains: \"*.example.org\" is not a valid domain: it has a character that no \
             domain name has; write .example.org",
        ),
        (
            "opt_in:\n  domains:\n    - !example.org\n",
            "3: opt_in.domains: quote what begins with !, or YAML takes it for a tag",
        ),
        (
            "opt_in: {domains: [!example.org]}\n",
            "1: opt_in: this is not valid YAML (did not find expected whitespace or line break); \
             quote what begins with !",
        ),
        (
            "opt_in:\n  domains: [example.org, \"!Example.org\"]\n",
            "2: opt_in.domains: !example.org contradicts example.org; remove one of them",
        ),
        (
            "opt_in:\n  files: lists/a.list\n",
            "2: opt_in.files: \"lists/a.list\" is not a valid path; write an absolute path such as \
             /etc/sixgate/opt-in.list",
        ),
        (
            "replies:\n  no_ptr: 550 4.7.25 No PTR\n",
            "2: replies.no_ptr: the code 550 and the enhanced status code 4.7.25 disagree; \
             both must begin with the same digit",
        ),
        (
            "replies:\n  no_ptr: \"450 4.7.25 [{ip}]\"\n",
            "2: replies.no_ptr: {ip} is not a valid placeholder; use {address} or {domain}",
        ),
        (
            "replies: {preset: exchange-nrd}\n",
            "1: replies.preset: \"exchange-nrd\" is not allowed here; write exchange-ndr",
        ),
        (
            "replies: {preset: gmail}\n",
            "1: replies.preset: \"gmail\" is not allowed here; write exchange or exchange-ndr",
        ),
        (
            "replies: {details: some}\n",
            "1: replies.details: \"some\" is not allowed here; write yes or no",
        ),
        (
            "replies:\n  url: mx.example.org/ipv6\n",
            "2: replies.url: \"mx.example.org/ipv6\": it must begin with https:// or http:// and a \
             host name",
        ),
        (
            "replies:\n  url: \"https://mx.example.org/{ip}\"\n",
            "2: replies.url: \"https://mx.example.org/{ip}\": {ip} is not a placeholder; use {rule}, \
             {address} or {domain}",
        ),
        (
            "replies:\n  url: \"https://{domain}/\"\n",
            "2: replies.url: \"https://{domain}/\": the host name must not depend on a placeholder",
        ),
        (
            "authentication_results:\n  authserv_id: mx example\n",
            "2: authentication_results.authserv_id: \"mx example\" is not a valid authserv-id; \
             write a name such as mx.example.org",
        ),
        (
            "authentication_results:\n  complete: always\n",
            "2: authentication_results.complete: \"always\" is not allowed here; write yes or no",
        ),
        (
            "authentication_results:\n  families: ipv4\n",
            "2: authentication_results.families: \"ipv4\" is not allowed here; write checked or \
             all",
        ),
        (
            "log:\n  level: verbose\n",
            "2: log.level: \"verbose\" is not a valid level; write error, warn, info, debug or trace, \
             or a filter such as info,sixgate::dns=debug",
        ),
        (
            "log: {target: journal}\n",
            "1: log.target: \"journal\" is not allowed here; write journald",
        ),
        (
            "metrics:\n  listen: http://127.0.0.1:9894\n",
            "2: metrics.listen: \"http://127.0.0.1:9894\" is not a valid address; \
             write \"inet:127.0.0.1:9894\"",
        ),
        (
            "metrics:\n  listen: 127.0.0.1\n",
            "2: metrics.listen: there is no port; write \"127.0.0.1:9894\"; valid are addresses \
             such as 127.0.0.1:9894, \"[::1]:9894\" or unix:/run/sixgate/metrics.sock",
        ),
    ]);
}

#[test]
fn wrong_quantities_are_refused() {
    assert_refused(&[
        (
            "dns:\n  timeout: 2\n",
            "2: dns.timeout: \"2\" has no unit; \
             write a duration such as 500ms, 2s, 5m, 2h or 1d",
        ),
        (
            "limits:\n  idle_timeout: 0s\n",
            "2: limits.idle_timeout: \"0s\" leaves no time at all; write more",
        ),
        (
            "limits:\n  stage_timeout: 10s\n",
            "2: limits.stage_timeout: \"10s\" is too long: Sendmail waits 10s for an answer \
             and may then accept the mail unchecked; write 9500ms or less",
        ),
        (
            "limits:\n  header_bytes: 1 MB\n",
            "2: limits.header_bytes: \"1 MB\" is not a valid size; \
             write a size such as 1 MiB, 64 KiB or 65536",
        ),
        (
            "limits:\n  connections: 0\n",
            "2: limits.connections: \"0\" is not a whole number from 1 to 1000000",
        ),
        (
            "dkim:\n  min_rsa_bits: 512\n",
            "2: dkim.min_rsa_bits: 512 is too few: RFC 8301 forbids keys under 1024 bits; \
             write 1024 or more",
        ),
        (
            "spf:\n  max_lookups: 0\n",
            "2: spf.max_lookups: \"0\" is not a whole number from 1 to 100",
        ),
    ]);
}

#[test]
fn what_can_be_meant_in_one_way_alone_is_understood() {
    let table = [
        ("", ""),
        (
            "exempt: {networks: 10.0.0.0/8}",
            "exempt: {networks: [10.0.0.0/8]}",
        ),
        (
            "exempt: {networks: [\"2001:db8::1\"]}",
            "exempt: {networks: [\"2001:db8::1/128\"]}",
        ),
        (
            "exempt:\n  networks:\n  - 2001:db8::/32\n  - ::1\n",
            "exempt: {networks: [\"2001:db8::/32\", \"::1/128\"]}",
        ),
        ("exempt:\n  networks:\n  # none\n", "exempt: {networks: []}"),
        (
            "exempt: {authenticated: no}",
            "exempt: {authenticated: false}",
        ),
        ("opt_in: {default: true}", "opt_in: {default: yes}"),
        (
            "opt_in: {domains: EXAMPLE.org.}",
            "opt_in: {domains: [example.org]}",
        ),
        ("socket_mode: 660", "socket_mode: \"0660\""),
        ("socket_mode: 0600", "socket_mode: \"0600\""),
        ("socket_group: ~", "socket_group:"),
        ("listen: inet6:8894@::1", "listen: [\"inet:[::1]:8894\"]"),
        (
            "dns: {servers: 127.0.0.1}",
            "dns: {servers: [127.0.0.1:53]}",
        ),
        (
            "limits: {stage_timeout: 8 s}",
            "limits: {stage_timeout: 8000ms}",
        ),
        (
            "limits: {header_bytes: 65536}",
            "limits: {header_bytes: 64 KiB}",
        ),
    ];
    for (spelling, same) in table {
        let [spelled, meant] =
            [spelling, same].map(|yaml| stdout(&run_with(yaml, &["check-config", "--show"])));
        assert!(!spelled.is_empty(), "{spelling}");
        assert_eq!(spelled, meant, "{spelling}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_no_input() {
    let folder = TempDir::new().unwrap();
    for (file, want) in [
        ("none.yaml", "none.yaml: can't be read: No such file"),
        (".", ".: can't be read: Is a directory"),
    ] {
        let output = sixgate(folder.path(), &["check-config", "-c", file]);
        assert!(stderr(&output).starts_with(want), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(66));
    }
}

#[test]
fn a_good_configuration_is_called_so_with_warnings_of_what_may_not_be_meant() {
    let quiet = "opt_in: {domains: example.org}\ndns: {servers: 127.0.0.1}\n";
    let output = run_with(quiet, &["check-config"]);
    assert_eq!(stdout(&output), "milter.yaml: ok\n");
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(0));

    let table = [
        (
            "listen: inet:0.0.0.0:8894",
            "listen: inet:0.0.0.0:8894 is not on loopback; whoever reaches it can use it",
        ),
        (
            "{listen: unix:/milter.sock, socket_mode: 0666}",
            "socket_mode: with 0666 every user of this machine can connect",
        ),
        ("mode: observe", "mode: observe refuses nothing"),
        (
            "exempt: {forwarders: {names: .example}}",
            "exempt.forwarders.names: .example stands for every name below a top-level domain",
        ),
        (
            "replies: {give_up_after: 1h}",
            "replies.give_up_after: under 4h, which some senders need to come back over IPv4",
        ),
        (
            "replies: {give_up_after: 6d}",
            "replies.give_up_after: over 5d, after which most senders give up by themselves",
        ),
        ("enforce_share: 0%", "enforce_share: 0% refuses nothing"),
        (
            "opt_in: {domains: a.example, mx: {hosts: .mx.example.net}, mx_zone: {suffix: \
             mx.example.net, a: 192.0.2.1, aaaa: '2001:db8::1', server: 192.0.2.53, key_file: \
             /etc/passwd}}",
            "opt_in.mx_zone.key_file: every user of this machine can read /etc/passwd; chmod 600 \
             /etc/passwd",
        ),
        (
            "opt_in: {domains: a.example, mx: {hosts: .mx.example.net}, mx_zone: {suffix: \
             mx.example.net, a: 192.0.2.1, aaaa: '2001:db8::1'}}",
            "opt_in.mx.hosts: .mx.example.net is one of opt_in.mx_zone, so every domain that uses \
             its own host name opts in",
        ),
        (
            "{mode: observe, enforce_share: 10%}",
            "mode: observe refuses nothing, whatever enforce_share says",
        ),
        (
            "enforce_share_key: x",
            "enforce_share_key: has no effect, because enforce_share is 100%",
        ),
        (
            "observe_rules: [not-opted-in, opt-in-temperror, no-ptr, ptr-temperror, \
             ptr-unconfirmed, auth-temperror, unauthenticated]",
            "observe_rules: has every rule, so nothing is refused",
        ),
        (
            "dns: {cache_entries: 1024}",
            "dns.cache_entries: replaced by dns.cache_bytes; write cache_bytes: 512 KiB",
        ),
        (
            "on_dns_failure: accept",
            "on_dns_failure: accept lets unchecked mail in while the DNS fails, \
             and a sender can make that of its own domain fail",
        ),
        (
            "exempt: {networks: 192.0.2.0/24}",
            "exempt.networks: 192.0.2.0/24 has no effect: mail over IPv4 is never checked",
        ),
        (
            "exempt: {networks: \"::/0\"}",
            "exempt.networks: ::/0 exempts a large part of the Internet",
        ),
        (
            "exempt: {tls: any}",
            "exempt.tls: any exempts everyone who uses STARTTLS, which is anyone; name the \
             certificates of partners in exempt.certificates",
        ),
        (
            "exempt: {certificates: \"*.org\"}",
            "exempt.certificates: *.org stands for every name below a top-level domain",
        ),
        (
            "",
            "opt_in: no domain has opted in, so \"mode: enforce\" refuses all mail over IPv6",
        ),
        (
            "opt_in: {domains: yes}",
            "opt_in.domains: yes is a domain without a dot",
        ),
        (
            "spf: {max_lookups: 11}",
            "spf.max_lookups: 11 is more than RFC 7208 section 4.6.4 allows (10)",
        ),
        (
            "replies: {url: \"https://mx.example.org/\"}",
            "replies.url: has no effect without replies.details: yes",
        ),
        (
            "authentication_results: {add: false, complete: yes}",
            "authentication_results.complete: yes has no effect, because add is false",
        ),
        (
            "authentication_results: {add: false, families: all}",
            "authentication_results.families: all has no effect, because add is false",
        ),
        (
            "dns: {timeout: 8s}",
            "dns.timeout: not less than limits.stage_timeout, so a second server is never queried",
        ),
    ];
    for (yaml, want) in table {
        let output = run_with(yaml, &["check-config"]);
        let warning = format!("milter.yaml: warning: {want}\n");
        assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(0), "{yaml}");
    }
}

#[test]
fn the_shown_settings_are_read_as_the_same() {
    let everything = r#"
listen: [unix:/milter.sock, "inet:[2001:db8::1]:1", inet:localhost:2, systemd:milter]
socket_mode: 0640
socket_group: root
allow_peers: 192.0.2.0/24
mode: observe
observe_domains: [.example.org, "!x.example.org"]
observe_rules: [no-ptr, unauthenticated]
enforce_share: {unauthenticated: 25%, no-ptr: 0%}
enforce_share_key: "it's: a key"
opt_in:
  default: yes
  domains: [example.org, "bücher.example", no, .example.org, "!.example.net"]
  files: [FOLDER/opt-in.d, FOLDER/customers.list]
  managed_file: FOLDER/managed.list
SQLREDIS  mx: {hosts: [Mx6.example.net., .mx6.example.net], grace: 90m}
  dns_zone: Opt-In.example.org.
  socketmap: "inet:[::1]:10001:opt-in"
  cache: {positive: 90s, negative: 0s, stale: 36h}
  mx_zone: {suffix: mx.Example.net., zone: example.net, a: [192.0.2.25, 192.0.2.26],
    aaaa: "2001:db8::25", ttl: 90s, domains: /etc/postfix/domains, server: "2001:db8::53",
    key_file: /etc/sixgate/mx-zone.key, grace: 0s, check_interval: 0s}
reverse_dns: confirmed
on_dns_failure: accept
ipv4_prefixes: ["64:ff9b::/96", "2001:db8:64::/48"]
exempt: {networks: ["2001:db8::", "8000::/1", 10.0.0.0/8], managed_file: FOLDER/managed.list,
  authenticated: no, tls: any,
  certificates: [mx.example.org, "*.bücher.example"],
  forwarders: {spf_of: [Alumni.example, "bücher.example"], names: [mx.example.net, .alumni.example]}}
replies:
  not_opted_in: "550 5.1.1 \"{domain}\": it's no # use"
  no_ptr: 450 4.7.25 [{address}]
  unauthenticated: 550 5.7.26 No
  temporary: "451 4.4.3   three spaces "
  preset: exchange-ndr
  details: yes
  give_up_after: 36h
  url: "https://mx.example.org/a?b={address}&c={domain}#{rule}"
authentication_results: {add: false, authserv_id: "null", complete: yes, families: all, strict: yes}
dns: {servers: ["::1", "2001:db8::", "[::1]:5353"], timeout: 1500ms, attempts: 1, cache_bytes: 64 KiB}
spf: {max_lookups: 5, max_void_lookups: 0}
dkim: {max_signatures: 1, min_rsa_bits: 2048}
limits: {connections: 1, header_bytes: 65537, stage_timeout: 9500ms, idle_timeout: 5m, drain_timeout: 0s, drain_grace: 0s, handover_timeout: 0s}
log: {format: json, level: "warn,sixgate::dns=debug", target: syslog}
metrics: {listen: ["inet:[::1]:9894", localhost:9894, unix:/run/sixgate/metrics.sock]}
STATUS
"#;
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("opt-in.d")).unwrap();
    for list in ["opt-in.d/a.list", "customers.list", "managed.list"] {
        fs::write(folder.path().join(list), "# empty\n").unwrap();
    }
    fs::write(folder.path().join("token"), "0123456789abcdef\n").unwrap();
    let everything = everything
        .replace("SQL", if cfg!(feature = "sql") { SQL } else { "" })
        .replace("REDIS", if cfg!(feature = "redis") { REDIS } else { "" })
        .replace("STATUS", if cfg!(feature = "status") { STATUS } else { "" })
        .replace("FOLDER", folder.path().to_str().unwrap());
    let shown = stdout(&run_with(&everything, &["check-config", "--show"]));
    let meant = Config::parse(&everything, "").unwrap();
    assert_eq!(Config::parse(&shown, "").unwrap(), meant);
    // It would prove nothing of a key that has its default.
    let default = Config::default().to_yaml();
    let is_of =
        |section: &str, line: &str| section.contains(line.split(':').next().unwrap_or_default());
    for line in default.lines().filter(|line| !line.ends_with(':')) {
        let without_sql = !cfg!(feature = "sql") && is_of(SQL, line);
        let without_redis = !cfg!(feature = "redis") && is_of(REDIS, line);
        let without_status = !cfg!(feature = "status") && is_of(STATUS, line);
        if without_sql || without_redis || without_status {
            continue;
        }
        assert!(!shown.lines().any(|other| other == line), "{line}");
    }
}

/// Refused by a program without the feature.
const STATUS: &str = "\
status:
  listen: [\"0.0.0.0:9895\", unix:/run/sixgate/status.sock]
  token_file: FOLDER/token
  history: 500
  host_names: [mx.example.org, mx]
";
const REDIS: &str = r#"  redis:
    url: ["redis://a@127.0.0.1:1", "redis://a@[::1]:1/0"]
    cluster: yes
    password_file: FOLDER/password
    key: other
    managed: yes
    timeout: 3s
"#;

/// Refused by a program without the feature.
const SQL: &str = r#"  sql:
    url: ["mysql://a@127.0.0.1:1/db?ssl-mode=VERIFY_CA", "sqlite:FOLDER/none.db"]
    password_file: FOLDER/password
    query: "SELECT ipv6 FROM domains -- \"all\" of them\nWHERE name = :domain"
    sentinel: Example.org.
    timeout: 500ms
"#;

#[cfg(feature = "sql")]
#[test]
fn what_is_wrong_with_sql_has_its_key_and_line_and_no_password() {
    let url = "    url: postgres://a@db/mail\n";
    let query = "    query: SELECT ipv6 FROM d WHERE name = :domain\n";
    let table = [
        (
            "    url: mongodb://db/mail\n",
            query,
            "3: opt_in.sql.url: the scheme \"mongodb\" is unknown; write postgres://",
        ),
        (
            "    url: [\"sqlite:/a.db\", \"mysql://a:hunter2@db/mail\"]\n",
            query,
            "3: opt_in.sql.url: a password does not belong in the URL; write it into a file",
        ),
        (
            "    url: postgres://a@db/mail?sslmode=hunter2\n",
            query,
            "3: opt_in.sql.url: this is not a valid URL: ",
        ),
        (
            url,
            "    query: SELECT ipv6 FROM d WHERE name = 'domain'\n",
            "4: opt_in.sql.query: :domain is missing outside of quotes and comments",
        ),
        (
            url,
            "    query: SELECT ipv6 FROM d WHERE name = '`:domain'\n",
            "4: opt_in.sql.query: :domain is missing outside of quotes and comments",
        ),
        (
            url,
            "    query: SELECT 1 FROM d WHERE a = :domain; DELETE FROM d\n",
            "4: opt_in.sql.query: it has more than one statement; write one",
        ),
        (
            url,
            "",
            "2: opt_in.sql.query: it is missing; write a query such as",
        ),
        (
            "",
            query,
            "2: opt_in.sql.url: it is missing; write a URL such as",
        ),
        (
            url,
            "    password_file: hunter2\n",
            "4: opt_in.sql.password_file: this is not a path; write an absolute path such as",
        ),
        (
            url,
            "    sentinel: 'a b'\n",
            "4: opt_in.sql.sentinel: \"a b\" is not a valid domain",
        ),
        (url, "    timeout: 0s\n", "4: opt_in.sql.timeout: "),
        (
            url,
            "    querry: x\n",
            "4: opt_in.sql.querry: unknown key; did you mean query? \
             (allowed here: url, password_file, query, sentinel, timeout)",
        ),
    ];
    for (url, query, want) in table {
        let yaml = format!("opt_in:\n  sql:\n{url}{query}");
        let error = Config::parse(&yaml, "milter.yaml")
            .expect_err(&yaml)
            .to_string();
        assert!(error.starts_with(&format!("milter.yaml:{want}")), "{error}");
        let is_parameter = yaml.contains("sslmode");
        assert!(is_parameter || !error.contains("hunter2"), "{error}");
    }
    let flow = "opt_in: {sql: {url: \"sqlite:/a.db\"}}\nreplies: {url: \"https://a.example\"}\n";
    let error = Config::parse(flow, "milter.yaml")
        .expect_err(flow)
        .to_string();
    assert!(
        error.starts_with("milter.yaml:1: opt_in.sql.query: it is missing"),
        "{error}"
    );
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_program_without_redis_says_so() {
    let yaml = "opt_in:\n  redis:\n    url: redis://host\n";
    let error = Config::parse(yaml, "milter.yaml")
        .expect_err(yaml)
        .to_string();
    let want = "milter.yaml:3: opt_in.redis.url: this sixgate was built without the cargo \
                feature \"redis\"";
    assert_eq!(error, want);
}

#[cfg(not(feature = "sql"))]
#[test]
fn a_program_without_sql_says_so() {
    let yaml = "opt_in:\n  sql:\n    url: sqlite:/a.db\n";
    let error = Config::parse(yaml, "milter.yaml")
        .expect_err(yaml)
        .to_string();
    let want = "milter.yaml:3: opt_in.sql.url: this sixgate was built without the cargo \
                feature \"sql\"";
    assert_eq!(error, want);
}

const EXAMPLE: &str = include_str!("../milter.yaml.example");

#[test]
fn the_example_says_what_the_defaults_are() {
    let example = Config::parse(EXAMPLE, "milter.yaml.example");
    assert_eq!(example.unwrap(), Config::default());
}

#[test]
fn the_example_has_every_key_and_a_comment_for_each() {
    let every_key = keys(&Config::default().to_yaml());
    assert_eq!(keys(EXAMPLE), every_key);
    assert!(every_key.contains("limits.stage_timeout"), "{every_key:?}");

    let lines: Vec<&str> = EXAMPLE.lines().map(str::trim).collect();
    for pair in lines.windows(2) {
        let gives_a_value = !pair[1].starts_with(['#', '-']) && pair[1].contains(": ");
        assert!(!gives_a_value || pair[0].starts_with('#'), "{}", pair[1]);
    }
}

/// The dotted paths of all keys.
fn keys(yaml: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_keys("", &serde_yaml::from_str(yaml).unwrap(), &mut found);
    found
}

fn collect_keys(path: &str, value: &serde_yaml::Value, found: &mut BTreeSet<String>) {
    let Some(mapping) = value.as_mapping() else {
        return;
    };
    for (key, value) in mapping {
        let path = format!("{path}{}", key.as_str().unwrap());
        collect_keys(&format!("{path}."), value, found);
        found.insert(path);
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error_and_help_is_none() {
    let folder = TempDir::new().unwrap();
    let table: [(&[&str], i32); 7] = [
        (&[], 64),
        (&["nonsense"], 64),
        (&["check-config", "--nonsense"], 64),
        (&["check-config", "-c"], 64),
        (&["--help"], 0),
        (&["check-config", "--help"], 0),
        (&["--version"], 0),
    ];
    for (arguments, want) in table {
        let output = sixgate(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(want), "{arguments:?}");
        let (empty, filled) = match want {
            0 => (&output.stderr, &output.stdout),
            _ => (&output.stdout, &output.stderr),
        };
        assert!(empty.is_empty() && !filled.is_empty(), "{arguments:?}");
        assert!(filled.len() < 80 * 24, "{arguments:?} fills the screen");
    }
}

#[test]
fn the_zone_of_host_names_is_checked_as_a_whole() {
    let a = "write an IPv4 address of the mail server such as 192.0.2.25";
    let aaaa = "write an IPv6 address of the mail server such as \"2001:db8::25\"";
    let key_file = "write an absolute path such as /etc/sixgate/mx-zone.key, of a file as \
                    tsig-keygen writes it";
    let table = [
        (
            "a: 192.0.2.25",
            "2: opt_in.mx_zone.suffix: it is missing; write a name such as mx.example.net".into(),
        ),
        (
            "suffix: '*.mx.example.net'",
            "3: opt_in.mx_zone.suffix: \"*.mx.example.net\" is not a name: it has a character \
             that no domain name has; write mx.example.net"
                .into(),
        ),
        ("aaaa: '2001:db8::25'\n    suffix: mx.example.net", format!("2: opt_in.mx_zone.a: it is missing; {a}")),
        ("suffix: mx.example.net\n    a: 192.0.2.25", format!("2: opt_in.mx_zone.aaaa: it is missing; {aaaa}")),
        ("a: '2001:db8::25'", format!("3: opt_in.mx_zone.a: \"2001:db8::25\" is an IPv6 address; {a}")),
        ("a: 0.0.0.0", format!("3: opt_in.mx_zone.a: no sender can deliver mail to \"0.0.0.0\"; {a}")),
        ("aaaa: 192.0.2.25", format!("3: opt_in.mx_zone.aaaa: \"192.0.2.25\" is an IPv4 address; {aaaa}")),
        ("aaaa: 'fe80::1'", format!("3: opt_in.mx_zone.aaaa: no sender can deliver mail to \"fe80::1\"; {aaaa}")),
        ("aaaa: mx.example.net", format!("3: opt_in.mx_zone.aaaa: \"mx.example.net\" is not an address; {aaaa}")),
        ("a: [192.0.2.1, 192.0.2.1]", "3: opt_in.mx_zone.a: 192.0.2.1 is given twice; remove one".into()),
        (
            "ttl: 2d",
            "3: opt_in.mx_zone.ttl: \"2d\" is not allowed here; write a TTL from 1s to 1d, such as \
             5m: an opt-out waits for it"
                .into(),
        ),
        (
            "domains: domains.txt",
            "3: opt_in.mx_zone.domains: \"domains.txt\" is not a path; write an absolute path such \
             as /etc/postfix/domains, of a file with a domain a line"
                .into(),
        ),
        ("key_file: c2VjcmV0", format!("3: opt_in.mx_zone.key_file: this is not a path; {key_file}")),
        (
            "suffix: mx.example.net\n    a: 192.0.2.1\n    aaaa: '2001:db8::1'\n    server: 192.0.2.53",
            format!("2: opt_in.mx_zone.key_file: it is missing; {key_file}"),
        ),
        (
            "suffix: mx.example.net\n    a: 192.0.2.1\n    aaaa: '2001:db8::1'\n    zone: example.org",
            "6: opt_in.mx_zone.zone: mx.example.net is not in example.org; write mx.example.net or \
             a name above it"
                .into(),
        ),
    ];
    for (keys, want) in &table {
        let yaml = format!("opt_in:\n  mx_zone:\n    {keys}\n");
        assert_refused(&[(&yaml, want)]);
    }
}
