"""The milters that are measured, with their configurations.

Each is configured for the least work with the same result: verify, add a header field
with the result, and log one line for each message. None may skip a check for speed.
"""

import dataclasses
import os
import pathlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable

import proc

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILT = ROOT / "target/bench/build/release"
INSTALLED = ROOT / "target/bench/peers/bin"
# SIXGATE names another build to measure.
SIXGATE = pathlib.Path(os.environ.get("SIXGATE", ROOT / "target/release/sixgate"))

# Compiled patterns of rspamd, so that their compilation is not measured.
RSPAMD_CACHE = ROOT / "target/bench/rspamd"

# In the directory of each milter, so that the path is short enough for a socket.
SOCKET = "milter.sock"

SIXGATE_YAML = """\
listen: unix:{socket}
opt_in:
  {opt_in}
{extra}
"""

OPENDKIM = """\
Mode v
Socket local:{socket}
Syslog yes
AlwaysAddARHeader yes
AuthservID mx.example
Nameservers 127.0.0.1
UserID root
PidFile {directory}/pid
# The default, which is only the limit of the library.
MaximumSignaturesToVerify 8
"""

PYSPF = """\
debugLevel = 1
TestOnly = 1
HELO_reject = False
Mail_From_reject = False
PermError_reject = False
TempError_Defer = False
skip_addresses = 127.0.0.0/8,::1
Socket = local:{socket}
PidFile = {directory}/pid
UserID = root
InternalHosts = 127.0.0.1
"""

SPF_MILTER = """\
socket = unix:{socket}
log_destination = stderr
reject_results =
trusted_networks = loopback
authserv_id = mx.example
header = Authentication-Results
"""

DKIM_MILTER = """\
socket = unix:{socket}
mode = verify
log_destination = stderr
trusted_networks = loopback
authserv_id = mx.example
"""

RSPAMD = """\
options {{
  filters = "dkim,spf";
  pidfile = "{directory}/pid";
  tempdir = "{directory}";
  hs_cache_dir = "{cache}/";
  cache_file = "{directory}/symbols.cache";
  url_tld = "/usr/share/rspamd/effective_tld_names.dat";
  dns {{ nameserver = ["127.0.0.1:53"]; }}
}}
logging {{ type = "file"; filename = "{directory}/log"; level = "info"; }}
worker "rspamd_proxy" {{
  bind_socket = "{socket} mode=0666";
  milter = yes;
  timeout = 120s;
  count = 1;
  max_message_size = 256M;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
actions {{ reject = 1000; }}
modules {{ path = "/usr/share/rspamd/plugins/"; }}
spf {{ }}
dkim {{ }}
milter_headers {{ use = ["authentication-results"]; skip_local = false; skip_authenticated = false; }}
"""


# Writes the configuration into a directory, and returns the command line.
Command = Callable[[pathlib.Path], list[str]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A milter. `fields` has the text that its header field must contain in each
    scenario, so that a milter that does not do its work is noticed."""

    name: str
    command: Command
    fields: dict[str, str] = dataclasses.field(default_factory=dict)


def written(directory: pathlib.Path, name: str, text: str, **more) -> str:
    file = directory / name
    file.write_text(text.format(directory=directory, socket=directory / SOCKET, **more))
    return str(file)


def sixgate_command(extra: str = "", opt_in: str = "domains: [opted-in.example]") -> Command:
    def command(directory: pathlib.Path) -> list[str]:
        file = written(directory, "milter.yaml", SIXGATE_YAML, opt_in=opt_in, extra=extra)
        return [str(SIXGATE), "serve", "-c", file]

    return command


def own(program: str, *arguments: str) -> Command:
    return lambda directory: [str(BUILT / program), str(directory / SOCKET), *arguments]


def rspamd_command(directory: pathlib.Path) -> list[str]:
    RSPAMD_CACHE.mkdir(parents=True, exist_ok=True)
    file = written(directory, "rspamd.conf", RSPAMD, cache=RSPAMD_CACHE)
    return ["rspamd", "-f", "-i", "-c", file]


PASSES = {"spf-pass": "spf=pass", "dkim-pass": "dkim=pass"}
# The signature is verified even if SPF has passed.
COMPLETE = {"spf-pass": "dkim=pass", "dkim-pass": "dkim=pass", "ipv4": "dkim=pass"}

PEERS = {
    peer.name: peer
    for peer in [
        Peer("sixgate", sixgate_command(), PASSES),
        Peer(
            "sixgate-complete",
            sixgate_command("authentication_results: {complete: yes, families: all}"),
            COMPLETE,
        ),
        Peer("floor", own("milter-floor")),
        Peer("noop", own("milter-noop")),
        Peer("floor-gate", own("milter-floor", "gate")),
        Peer("noop-gate", own("milter-noop", "gate")),
        Peer(
            "spf-milter",
            lambda d: [str(INSTALLED / "spf-milter"), "-c", written(d, "spf-milter.conf", SPF_MILTER)],
            {"spf-pass": "spf=pass", "dkim-pass": "spf=fail"},
        ),
        Peer(
            "dkim-milter",
            lambda d: [str(INSTALLED / "dkim-milter"), "-c", written(d, "dkim-milter.conf", DKIM_MILTER)],
            {"spf-pass": "dkim=pass", "dkim-pass": "dkim=pass"},
        ),
        Peer("rspamd", rspamd_command, PASSES),
        Peer(
            "opendkim",
            lambda d: ["opendkim", "-f", "-x", written(d, "opendkim.conf", OPENDKIM)],
            {"spf-pass": "dkim=pass", "dkim-pass": "dkim=pass"},
        ),
        Peer(
            "pyspf-milter",
            lambda d: ["pyspf-milter", written(d, "pyspf.conf", PYSPF)],
            {"spf-pass": "spf=pass", "dkim-pass": "spf=fail"},
        ),
    ]
}


class Running:
    """A running milter, which is stopped at the end of the `with` block."""

    def __init__(self, peer: Peer, prefix: list[str]):
        directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{peer.name}-"))
        # Postfix runs as another user.
        directory.chmod(0o755)
        self.socket = directory / SOCKET
        self.log = open(directory / "log.txt", "w")
        command = prefix + peer.command(directory)
        start = time.monotonic()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=directory)
        self.wait_until_it_negotiates()
        self.start_seconds = time.monotonic() - start
        self.socket.chmod(0o666)

    def wait_until_it_negotiates(self):
        offer = bytes.fromhex("0000000d4f00000006000001ff001fffff")
        for _ in range(20000):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args}: exited, see {self.log.name}")
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(self.socket))
                    connection.sendall(offer)
                    if connection.recv(1):
                        return
            except OSError:
                time.sleep(0.001)
        raise RuntimeError(f"{self.process.args}: does not listen")

    def usage(self) -> proc.Usage:
        return proc.usage(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        proc.stop(self.process)
        self.log.close()
