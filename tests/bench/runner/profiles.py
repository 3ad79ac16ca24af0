"""Profiles sixgate: CPU time by component, from the symbols of the samples."""

import collections
import pathlib
import re
import subprocess
import tempfile
import time

import measure
from cells import KB, MB
from peers import PEERS, Running

# A symbol belongs to the first component that matches.
USER = [
    ("RSA and SHA-256", r"aws_lc"),
    ("sixgate: DKIM", r"sixgate::dkim|mail_auth|mail_parser"),
    ("sixgate: SPF and DNS", r"sixgate::(spf|dns|ptr|checks)"),
    ("sixgate: milter protocol", r"sixgate::(milter|server)|indymilter"),
    ("sixgate: the rest", r"sixgate"),
    ("hickory", r"hickory"),
    ("tokio", r"tokio|mio::"),
    ("allocator", r"\b_?mi_|\b(malloc|calloc|realloc|cfree|_int_\w+|unlink_chunk)|libc_calloc|malloc_|RawVec"),
    ("copying and comparing memory", r"__mem|memcpy|memchr"),
    ("formatting and strings", r"core::fmt|alloc::fmt|fmt::Write|core::str|tracing"),
]
KERNEL_SCHEDULING = r"task_switch|schedul|futex|wake|epoll|ep_|poll|_raw_spin_unlock_irq|enqueue|dequeue"

CASES = {
    "SPF pass, 4 KB": ("spf-pass", 4 * KB, 20_000),
    "DKIM needed, 4 KB": ("dkim-pass", 4 * KB, 20_000),
    "DKIM needed, 1 MB": ("dkim-pass", MB, 500),
}


def run(quick: bool) -> dict[str, dict[str, float]]:
    """Returns the percentage of samples for each component, by case."""
    return {name: profiled(*case, quick) for name, case in CASES.items()}


def profiled(scenario: str, size: int, messages: int, quick: bool) -> dict[str, float]:
    options = ["--size", str(size), "--connections", "32", "--pool", "4"]
    count = messages // 10 if quick else messages
    data = pathlib.Path(tempfile.mkdtemp(prefix="perf-")) / "data"
    with Running(PEERS["sixgate"], measure.ON_ITS_OWN) as running:
        measure.load(running, scenario, *options, "--messages", "50")
        perf = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "2000", "-o", data]
        recorder = subprocess.Popen([*perf, "-p", str(running.process.pid)])
        # perf does not report when it has started to record.
        time.sleep(0.5)
        measure.load(running, scenario, *options, "--messages", str(count))
        recorder.terminate()
        recorder.wait()
        return summed(data)


def summed(data: pathlib.Path) -> dict[str, float]:
    command = ["perf", "report", "-i", data, "--sort", "symbol", "--stdio", "-w", "0"]
    reported = subprocess.run(command, capture_output=True, text=True).stdout
    parts = collections.Counter()
    for share, space, symbol in re.findall(r"^\s+([\d.]+)%\s+\[(.)\]\s+(.*?)\s*$", reported, re.MULTILINE):
        parts[kind(space, symbol)] += float(share)
    return dict(parts.most_common())


def kind(space: str, symbol: str) -> str:
    if space == "k":
        is_scheduling = re.search(KERNEL_SCHEDULING, symbol)
        return "kernel: waking and scheduling" if is_scheduling else "kernel: sockets and system calls"
    return next((name for name, symbols in USER if re.search(symbols, symbol)), "other")
