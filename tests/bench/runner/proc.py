"""CPU time, memory and threads of a process and its children, from /proc."""

import dataclasses
import os
import pathlib
import signal
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Usage:
    cpu_seconds: float
    rss_mb: float
    peak_rss_mb: float
    threads: int


def usage(pid: int) -> Usage:
    total = Usage(0.0, 0.0, 0.0, 0)
    for process in tree(pid):
        try:
            add(total, process)
        except (FileNotFoundError, ProcessLookupError):
            pass  # It has exited, and its CPU time counts for its parent.
    return total


def add(total: Usage, pid: int):
    directory = pathlib.Path("/proc") / str(pid)
    total.cpu_seconds += cpu_seconds(directory)
    for line in (directory / "status").read_text().splitlines():
        match line.split():
            case ["VmRSS:", kilobytes, "kB"]:
                total.rss_mb += int(kilobytes) / 1024
            case ["VmHWM:", kilobytes, "kB"]:
                total.peak_rss_mb += int(kilobytes) / 1024
            case ["Threads:", count]:
                total.threads += int(count)


def cpu_seconds(directory: pathlib.Path) -> float:
    """Returns the time from schedstat, which has nanoseconds but lacks threads that have
    exited, or the coarser time from stat if that is larger."""
    fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
    coarse = sum(int(field) for field in fields[11:15]) / TICKS
    fine = sum(
        int((task / "schedstat").read_text().split()[0]) for task in (directory / "task").iterdir()
    )
    reaped = sum(int(field) for field in fields[13:15]) / TICKS
    return max(coarse - reaped, fine / 1e9) + reaped if fine else coarse


def tree(pid: int) -> list[int]:
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                found += tree(int(child))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def stop(process: subprocess.Popen):
    """Stops a process that we started, and its children."""
    children = tree(process.pid)[1:]
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
