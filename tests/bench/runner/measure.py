"""Measures a milter on its own core; the load and the resolver share another."""

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
    """A milter gave a wrong result."""


@contextlib.contextmanager
def resolver():
    """Runs the resolver, with the keys of this run."""
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
        reported = load(running, scenario, *expected, *options)
        after = running.usage()
        return figures(reported, before, after) | {
            "idle_rss_mb": idle.rss_mb,
            "start_seconds": running.start_seconds,
        }


def figures(reported: dict, before: proc.Usage, after: proc.Usage) -> dict:
    cpu = after.cpu_seconds - before.cpu_seconds
    message = reported["milliseconds"]["message"]
    return {
        "messages": reported["messages"],
        "cpu_seconds_per_1000": cpu / reported["messages"] * 1000,
        "rate": reported["rate"],
        "p50_ms": message["p50"],
        "p99_ms": message["p99"],
        "peak_rss_mb": after.peak_rss_mb,
        "threads": after.threads,
        # The negotiation does not belong to a message.
        "round_trips": (reported["round_trips"] - reported["connections"]) / reported["messages"],
        "body_octets": reported["body_octets"] / reported["messages"],
        "stages_ms": {
            stage: f"{latency['p50']} / {latency['p99']}"
            for stage, latency in reported["milliseconds"].items()
        },
        "outcomes": reported["outcomes"],
    }


def idle_cell(peer: Peer, connections: int) -> dict:
    """Measures memory with open connections without traffic."""
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
