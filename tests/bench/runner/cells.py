"""The cells of the comparison, and the targets of sixgate.

A cell is one kind of load, measured with several milters."""

import dataclasses
from collections.abc import Callable
from statistics import median

ALL = ("sixgate", "noop", "floor", "noop-gate", "floor-gate", "spf-milter", "dkim-milter", "rspamd", "opendkim", "pyspf-milter")
WITH_DKIM = ("sixgate", "noop", "dkim-milter", "rspamd", "opendkim")
OURS = ("sixgate", "noop", "noop-gate")

KB, MB = 1024, 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Cell:
    """One kind of load. A run ends after its time, or after `messages` if each takes long."""

    name: str
    title: str
    scenario: str = "dkim-pass"
    connections: int = 32
    size: int = 4 * KB
    per_connection: int = 1
    messages: int | None = None
    pool: int = 16
    outcome: str = "accepted"
    peers: tuple[str, ...] = ALL
    # Connections stay open without messages.
    idle: bool = False

    def options(self, seconds: float) -> list[str]:
        # On a busy machine, a second may be too short for a meaningful number of messages.
        length = ["--seconds", str(seconds), "--at-least", "1000"]
        if self.messages:
            length = ["--seconds", str(5 * seconds), "--messages", str(self.messages)]
        return [
            *("--connections", str(self.connections)),
            *("--per-connection", str(self.per_connection)),
            *("--size", str(self.size)),
            *("--pool", str(self.pool)),
            *length,
        ]

    def warm_up(self) -> list[str]:
        messages = 300 if self.size < MB else 4
        return ["--messages", str(messages), "--connections", "8"]


CELLS = [
    Cell("dkim-1", "DKIM needed, 4 KB, 1 connection", connections=1),
    Cell("dkim-32", "DKIM needed, 4 KB, 32 connections"),
    Cell("dkim-256", "DKIM needed, 4 KB, 256 connections", connections=256),
    Cell("dkim-kept", "DKIM needed, 4 KB, 32 connections kept for 100 messages", per_connection=100),
    Cell("spf-32", "SPF pass, 4 KB, 32 connections", "spf-pass"),
    Cell("spf-1mb", "SPF pass, 1 MB, 32 connections", "spf-pass", size=MB, messages=500, pool=1, peers=OURS),
    Cell("ipv4", "IPv4, 32 connections", "ipv4", peers=OURS),
    Cell("no-ptr", "no reverse DNS, 32 connections", "no-ptr", outcome="450 4.7.25", peers=OURS),
    Cell("not-opted-in", "not opted in, 32 connections", "not-opted-in", outcome="550 5.2.1", peers=OURS),
    Cell("unauthenticated", "neither SPF nor DKIM, 32 connections", "unauthenticated", outcome="450 4.7.26", peers=OURS),
    Cell("dkim-1mb", "DKIM needed, 1 MB, 8 connections", connections=8, size=MB, messages=400, pool=1, peers=WITH_DKIM),
    Cell("dkim-25mb", "DKIM needed, 25 MB, 4 connections", connections=4, size=25 * MB, messages=24, pool=1, peers=WITH_DKIM),
    Cell("dkim-256x25mb", "DKIM needed, 25 MB, 256 connections", connections=256, size=25 * MB, messages=256, pool=1, peers=("sixgate", "dkim-milter")),
    Cell("idle-2000", "2000 idle connections", connections=2000, idle=True, peers=("sixgate", "noop", "rspamd", "opendkim")),
]

# The alternatives for a site that wants every result for every message: a complete field
# of sixgate, two milters that the mail server asks one after the other, or rspamd.
REPLACED = ("opendkim", "pyspf-milter")
COMPLETE = ("sixgate-complete", *REPLACED, "rspamd")

COMPLETE_CELLS = [
    Cell("complete-1", "SPF and DKIM pass, 4 KB, 1 connection", "spf-pass", connections=1, peers=COMPLETE),
    Cell("complete-32", "SPF and DKIM pass, 4 KB, 32 connections", "spf-pass", peers=COMPLETE),
    Cell("complete-dkim-32", "SPF fails and DKIM passes, 4 KB, 32 connections", peers=COMPLETE),
    Cell("complete-ipv4-32", "IPv4, SPF and DKIM pass, 4 KB, 32 connections", "ipv4", peers=COMPLETE),
    Cell("complete-1mb", "SPF and DKIM pass, 1 MB, 8 connections", "spf-pass", connections=8, size=MB, messages=200, pool=1, peers=COMPLETE),
]

# cell -> milter -> one measurement for each repetition
Results = dict[str, dict[str, list[dict]]]


@dataclasses.dataclass(frozen=True)
class Target:
    """A target: at most `limit`, or at least `limit` if `at_least`."""

    what: str
    value: Callable[[Results], float]
    limit: float
    unit: str = ""
    at_least: bool = False

    def verdict(self, results: Results) -> tuple[float | None, str]:
        try:
            value = self.value(results)
        except (KeyError, ValueError):
            return None, "not measured"
        met = value >= self.limit if self.at_least else value <= self.limit
        return value, "met" if met else "NOT met"


def middle(cell: str, figure: str, peer: str = "sixgate", scale: float = 1.0):
    return lambda results: scale * median(m[figure] for m in results[cell][peer])


def ratio(cell: str, *others: str, figure: str = "cpu_seconds_per_1000"):
    """Returns the median ratio of sixgate's figure to the sum of the others', by repetition."""

    def value(results: Results) -> float:
        columns = [results[cell][name] for name in ("sixgate", *others)]
        rows = zip(*columns)
        return median(row[0][figure] / sum(other[figure] for other in row[1:]) for row in rows)

    return value


TARGETS = [
    Target("CPU to rspamd's, DKIM needed", ratio("dkim-32", "rspamd"), 1 / 5),
    Target("CPU to spf-milter's and dkim-milter's, DKIM needed", ratio("dkim-32", "spf-milter", "dkim-milter"), 1 / 7),
    Target("CPU to OpenDKIM's, DKIM needed", ratio("dkim-32", "opendkim"), 1 / 12),
    Target("CPU to the do-nothing milter's, DKIM needed", ratio("dkim-32", "noop"), 2),
    Target("CPU to the do-nothing milter's, SPF pass", ratio("spf-32", "noop"), 1.3),
    Target("p50, DKIM needed, 1 connection", middle("dkim-1", "p50_ms"), 0.35, "ms"),
    Target("p99, DKIM needed, 32 connections", middle("dkim-32", "p99_ms"), 10, "ms"),
    Target("p99, DKIM needed, 256 connections", middle("dkim-256", "p99_ms"), 60, "ms"),
    Target("bytes read of a 1 MB body, SPF pass", middle("spf-1mb", "body_octets"), 65535),
    Target("round trips, IPv4", middle("ipv4", "round_trips"), 1),
    Target("CPU of a signed 1 MB message", middle("dkim-1mb", "cpu_seconds_per_1000"), 1.3, "ms"),
    Target("CPU of a signed 25 MB message", middle("dkim-25mb", "cpu_seconds_per_1000"), 35, "ms"),
    Target("RSS, idle", middle("idle-2000", "idle_rss_mb"), 8, "MB"),
    Target("peak RSS, 256 connections of 4 KB", middle("dkim-256", "peak_rss_mb"), 20, "MB"),
    Target("peak RSS, 256 connections of 25 MB", middle("dkim-256x25mb", "peak_rss_mb"), 30, "MB"),
    Target("RSS, 2000 idle connections", middle("idle-2000", "peak_rss_mb"), 50, "MB"),
    Target("start to first negotiation", middle("idle-2000", "start_seconds", scale=1000), 20, "ms"),
    Target("start to first negotiation, a million domains", middle("growth-domains-1000000", "start_seconds", scale=1000), 1000, "ms"),
    Target("Postfix throughput to that with the do-nothing milter, SPF pass", ratio("postfix-spf", "noop", figure="rate"), 0.9, at_least=True),
    Target("Postfix throughput to that with the do-nothing milter, DKIM needed", ratio("postfix-dkim", "noop", figure="rate"), 0.9, at_least=True),
]
