"""The resolver of all milters: unbound with the zone of the benchmark.

It answers like a caching resolver (recursion available). The zone has wildcards, so
that a cell can have any number of senders.
"""

import pathlib
import subprocess

ADDRESS = "127.0.0.1"

CONFIGURATION = """\
server:
    interface: {address}
    do-daemonize: no
    use-syslog: no
    verbosity: 0
    logfile: "{directory}/log"
    username: ""
    chroot: ""
    directory: "{directory}"
    pidfile: ""
    num-threads: 1
    module-config: "iterator"
    outgoing-range: 512
    so-rcvbuf: 4m
    msg-cache-size: 64m
    rrset-cache-size: 128m
    local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." nodefault
    local-zone: "100.51.198.in-addr.arpa." nodefault
remote-control:
    control-enable: no
auth-zone:
    name: "."
    zonefile: "{directory}/zone"
    for-downstream: no
    for-upstream: yes
    fallback-enabled: no
"""

ZONE = """\
$ORIGIN .
$TTL 3600
@ SOA ns.example. hostmaster.example. 1 3600 600 86400 300
@ NS ns.example.
ns.example. A {address}
; SPF passes for the clients of the benchmark, or for nobody.
*.pass.example. TXT "v=spf1 ip6:2001:db8:1::/48 ip4:198.51.100.0/24 -all"
*.fail.example. TXT "v=spf1 ip6:2001:db8:2::/48 -all"
; Any selector of any signer.
{keys}
; Every client has the same name, which resolves to the address of the first.
*.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR client.example.
*.100.51.198.in-addr.arpa. PTR client.example.
client.example. AAAA 2001:db8:1::
client.example. A 198.51.100.0
mx.example. A 192.0.2.25
opted-in.example. MX 10 mx.example.
other.example. MX 10 mx.example.
"""


def start(directory: pathlib.Path, records: list[str], prefix: list[str]):
    """Starts unbound; `records` are the key records of RSA and Ed25519."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {"directory": directory, "address": ADDRESS}
    (directory / "unbound.conf").write_text(CONFIGURATION.format(**settings))
    zone = ZONE.format(keys="\n".join(keys(records)), address=ADDRESS)
    (directory / "zone").write_text(zone)
    command = ["unbound", "-d", "-c", str(directory / "unbound.conf")]
    return subprocess.Popen(prefix + command)


def keys(records: list[str]):
    rsa, ed25519 = (" ".join(f'"{piece}"' for piece in split(record)) for record in records)
    # A wildcard stands for all labels at the beginning of a name. So the domains of
    # signers are below a name for each kind of key.
    yield f"*.signer.example. TXT {rsa}"
    yield f"*.ed25519.example. TXT {ed25519}"


def split(record: str):
    """Splits a record into the strings of a TXT record, of up to 255 bytes."""
    return [record[start : start + 255] for start in range(0, len(record), 255)]
