"""Measures how the cost of sixgate grows with the load."""

import dataclasses
import pathlib
import subprocess
import tempfile

import measure
from cells import KB, MB
from peers import SIXGATE, Peer, sixgate_command

PASS = {"spf-pass": "spf=pass", "dkim-pass": "dkim=pass"}


@dataclasses.dataclass(frozen=True)
class Axis:
    """A quantity that grows, and the figures that are plotted over it."""

    name: str
    title: str
    steps: list[int]
    figures: list[tuple[str, str]]
    # The number of steps of a quick run.
    quick: int


CPU = ("cpu_seconds_per_1000", "CPU ms for each message")
RSS = ("peak_rss_mb", "peak RSS, MB")
P99 = ("p99_ms", "p99, ms")
START = ("start_seconds", "start, s")

AXES = [
    Axis("size", "bytes of a message", [KB, 4 * KB, 16 * KB, 64 * KB, 256 * KB, MB, 4 * MB, 16 * MB, 64 * MB, 100 * MB], [CPU, RSS], 6),
    Axis("connections", "connections at once", [1, 4, 16, 64, 256, 1024, 4096, 10000], [CPU, P99, RSS], 6),
    Axis("signatures", "signatures of a message", [1, 2, 4, 8, 16, 32, 64, 100], [CPU, P99], 4),
    Axis("recipients", "recipients of a message", [1, 10, 100, 1000], [CPU, P99], 3),
    Axis("senders", "distinct senders in turn", [1, 100, 1000, 10_000, 100_000, 1_000_000], [CPU, RSS], 4),
    Axis("domains", "domains that have opted in", [1, 100, 10_000, 100_000, 1_000_000, 10_000_000], [START, RSS, CPU], 4),
]


def run(axis: Axis, quick: bool) -> list[dict]:
    """Measures each step."""
    steps = axis.steps[: axis.quick] if quick else axis.steps
    measured = []
    for step in steps:
        peer, scenario, options = prepared(axis.name, step, quick)
        if peer is None:
            print(f"  {axis.name} {step}: this build of sixgate lacks the setting", flush=True)
            break
        figures = measure.message_cell(peer, scenario, "accepted", options, ["--messages", "50", "--connections", "4"])
        measured.append({"step": step} | figures)
        print(f"  {axis.name} {step}: " + summary(axis, figures), flush=True)
    return measured


def summary(axis: Axis, figures: dict) -> str:
    return ", ".join(f"{title} {figures[name]:.3g}" for name, title in axis.figures)


def prepared(axis: str, step: int, quick: bool):
    """Returns the milter, the scenario and the options of the load."""
    count = 1000 if quick else 5000
    match axis:
        case "size":
            messages = max(8, min(count, 400 * MB // step))
            return sixgate(), "dkim-pass", options(messages, 4, ["--size", step, "--pool", 1])
        case "connections":
            # Some connections are still being closed while new ones are opened.
            peer = sixgate("limits:\n  connections: 20000")
            return peer, "dkim-pass", options(max(count, 2 * step), step, [])
        case "signatures":
            peer = sixgate("dkim:\n  max_signatures: 100")
            return peer, "dkim-pass", options(count // 2, 32, ["--signatures", step, "--pool", 4])
        case "recipients":
            return sixgate(), "spf-pass", options(max(50, count // step), 8, ["--recipients", step])
        case "senders":
            return sixgate(), "spf-pass", options(max(count * 4, step), 32, ["--senders", step, "--first-sender", 1000])
        case "domains":
            return with_domains(step), "spf-pass", options(count, 32, [])
    raise ValueError(axis)


def options(messages: int, connections: int, more: list) -> list[str]:
    together = ["--messages", messages, "--connections", connections, *more]
    return [str(option) for option in together]


def sixgate(extra: str = "") -> Peer:
    return Peer("sixgate", sixgate_command(extra), PASS)


def with_domains(count: int) -> Peer | None:
    """Returns sixgate with a list of this many domains, if this build can read lists."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="domains-"))
    with open(directory / "domains.list", "w") as file:
        for number in range(count - 1):
            file.write(f"d{number}.customer.example\n")
        file.write("opted-in.example\n")
    peer = Peer("sixgate", sixgate_command(opt_in=f"files: [{directory}/domains.list]"), PASS)
    configuration = peer.command(directory)[-1]
    checked = subprocess.run([SIXGATE, "check-config", "-c", configuration], capture_output=True)
    return peer if checked.returncode == 0 else None
