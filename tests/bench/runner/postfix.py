"""Measures a private Postfix without a milter, with one that does nothing, and with
sixgate, in turn."""

import pathlib
import subprocess
import tempfile
import time

import measure
from peers import BUILT, PEERS, Running

GATES = {"none": 2500, "noop": 2501, "sixgate": 2502}
ADDRESS = "2001:db8:1::25"

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
myhostname = mx.example
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = all
relay_domains = static:all
relay_transport = discard:
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
"""

MASTER_CF = """\
{gates}
cleanup    unix  n  -  n  -     0  cleanup
qmgr       unix  n  -  n  300   1  qmgr
rewrite    unix  -  -  n  -     -  trivial-rewrite
bounce     unix  -  -  n  -     0  bounce
defer      unix  -  -  n  -     0  bounce
trace      unix  -  -  n  -     0  bounce
discard    unix  -  -  n  -     -  discard
error      unix  -  -  n  -     -  error
retry      unix  -  -  n  -     -  error
proxymap   unix  -  -  n  -     -  proxymap
tlsmgr     unix  -  -  n  1000? 1  tlsmgr
anvil      unix  -  -  n  -     1  anvil
postlog    unix-dgram n - n  -     1  postlogd
"""


def run(messages: int, repeat: int) -> dict[str, dict[str, list[dict]]]:
    """Measures the throughput of each gate if SPF passes, and if DKIM is needed."""
    with Running(PEERS["noop"], []) as noop, Running(PEERS["sixgate"], []) as sixgate:
        directory = started({"noop": noop.socket, "sixgate": sixgate.socket})
        try:
            measured = {
                f"postfix-{name}": paired(directory, zone, messages, repeat)
                for name, zone in [("spf", "pass"), ("dkim", "fail")]
            }
        finally:
            postfix(directory, "stop")
        assert_gate_was_asked(sixgate, messages * repeat)
        return measured


def assert_gate_was_asked(sixgate: Running, messages: int):
    log = pathlib.Path(sixgate.log.name).read_text()
    for rule in ("rule=spf-pass", "rule=dkim-pass"):
        if log.count(rule) < messages:
            raise measure.WrongAnswer(f"{rule}: {log.count(rule)} of {messages}: {log[-500:]}")


def started(milters: dict[str, pathlib.Path]) -> pathlib.Path:
    directory = pathlib.Path(tempfile.mkdtemp(prefix="postfix-"))
    directory.chmod(0o755)
    for folder in ("etc", "queue", "data"):
        (directory / folder).mkdir()
    subprocess.run(["chown", "postfix", directory / "data"], check=True)
    (directory / "etc/main.cf").write_text(MAIN_CF.format(directory=directory))
    gates = "\n".join(gate(port, milters.get(name)) for name, port in GATES.items())
    (directory / "etc/master.cf").write_text(MASTER_CF.format(gates=gates))
    postfix(directory, "start")
    return directory


def gate(port: int, milter: pathlib.Path | None) -> str:
    line = f"{port} inet n - n - 200 smtpd"
    return f"{line}\n    -o smtpd_milters=unix:{milter}" if milter else line


def postfix(directory: pathlib.Path, command: str):
    subprocess.run(["postfix", "-c", directory / "etc", command], check=True, capture_output=True)


def paired(directory: pathlib.Path, zone: str, messages: int, repeat: int):
    """Measures the gates in turn, so that other load on the machine affects all of them."""
    message = written_message(directory)
    measured = {name: [] for name in GATES}
    for name in GATES:
        send(directory, GATES[name], zone, message, 50)
    for _ in range(repeat):
        for name, port in GATES.items():
            rate = messages / send(directory, port, zone, message, messages)
            measured[name].append({"rate": rate})
            print(f"  postfix {zone} {name}: {rate:.0f}/s", flush=True)
    return measured


def written_message(directory: pathlib.Path) -> pathlib.Path:
    file = directory / "message"
    with open(file, "w") as out:
        subprocess.run([BUILT / "milter-load", "message", measure.KEYS], check=True, stdout=out)
    return file


def send(directory: pathlib.Path, port: int, zone: str, message: pathlib.Path, count: int) -> float:
    """Returns the seconds until all messages are accepted. smtp-source fails if one is not."""
    command = ["smtp-source", "-6", "-s", "16", "-m", str(count), "-F", str(message)]
    command += ["-f", f"sender@d0.{zone}.example", "-t", "r0@opted-in.example"]
    start = time.monotonic()
    subprocess.run([*command, f"inet:[{ADDRESS}]:{port}"], check=True, capture_output=True)
    seconds = time.monotonic() - start
    wait_until_delivered(directory)
    return seconds


def wait_until_delivered(directory: pathlib.Path):
    queues = [directory / "queue" / name for name in ("incoming", "active")]
    for _ in range(2000):
        if not any(any(queue.iterdir()) for queue in queues):
            return
        time.sleep(0.02)
    raise RuntimeError("Postfix does not deliver")
