"""One measurement: a milter on a core of its own, the load and the resolver on
another."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile

import dns
import proc
from peers import BUILT, Peer, Running

CORES = sorted(os.sched_getaffinity(0))
ON_ITS_OWN = ["taskset", "-c", str(CORES[0])]
WITH_THE_LOAD = ["taskset", "-c", str(CORES[-1])]

KEYS = pathlib.Path(tempfile.mkdtemp(prefix="keys-"))


class WrongAnswer(Exception):
    """A milter did not do what it is measured for."""


@contextlib.contextmanager
def resolver():
    """The DNS, with the keys of this run."""
    made = subprocess.run(
        [BUILT / "milter-load", "keys", KEYS], check=True, capture_output=True, text=True
    )
    process = dns.start(KEYS / "dns", made.stdout.splitlines(), WITH_THE_LOAD)
    try:
        yield
    finally:
        proc.stop(process)


def load(running: Running, scenario: str, *options: str) -> dict:
    """Sends messages to a running milter."""
    command = [*WITH_THE_LOAD, BUILT / "milter-load", "run"]
    command += ["--milter", f"unix:{running.socket}", "--keys", KEYS, "--scenario", scenario]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode != 0:
        raise WrongAnswer(f"{scenario}: {done.stdout[:1500]}{done.stderr[:500]}")
    return json.loads(done.stdout)


def expectations(peer: Peer, scenario: str, outcome: str) -> list[str]:
    options = []
    if peer.fields.get(scenario):
        options += ["--expect-field", peer.fields[scenario]]
    if peer.name.startswith("sixgate"):
        options += ["--expect", outcome]
    return options


def message_cell(peer: Peer, scenario: str, outcome: str, options: list[str], warm_up: list[str]):
    """Starts a milter, warms it up, and measures it under load."""
    expected = expectations(peer, scenario, outcome)
    with Running(peer, ON_ITS_OWN) as running:
        idle = running.usage()
        load(running, scenario, *expected, *options, *warm_up)
        before = running.usage()
        told = load(running, scenario, *expected, *options)
        after = running.usage()
        return figures(told, before, after) | {
            "idle_rss_mb": idle.rss_mb,
            "start_seconds": running.start_seconds,
        }


def figures(told: dict, before: proc.Usage, after: proc.Usage) -> dict:
    cpu = after.cpu_seconds - before.cpu_seconds
    message = told["milliseconds"]["message"]
    return {
        "messages": told["messages"],
        "cpu_seconds_per_1000": cpu / told["messages"] * 1000,
        "rate": told["rate"],
        "p50_ms": message["p50"],
        "p99_ms": message["p99"],
        "peak_rss_mb": after.peak_rss_mb,
        "threads": after.threads,
        # That of the negotiation is not a message's.
        "round_trips": (told["round_trips"] - told["connections"]) / told["messages"],
        "body_octets": told["body_octets"] / told["messages"],
        "stages_ms": {
            stage: f"{latency['p50']} / {latency['p99']}"
            for stage, latency in told["milliseconds"].items()
        },
        "outcomes": told["outcomes"],
    }


def idle_cell(peer: Peer, connections: int) -> dict:
    """Memory with connections that are open and silent."""
    with Running(peer, ON_ITS_OWN) as running:
        command = [*WITH_THE_LOAD, BUILT / "milter-load", "hold", "--milter"]
        command += [f"unix:{running.socket}", "--connections", str(connections)]
        idle = running.usage()
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            holder.stdout.readline()
            held = running.usage()
        finally:
            holder.stdin.close()
            holder.wait()
        return {
            "idle_rss_mb": idle.rss_mb,
            "peak_rss_mb": held.peak_rss_mb,
            "start_seconds": running.start_seconds,
        }
