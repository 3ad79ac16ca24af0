"""The tables of docs/benchmarks.md, rewritten between their markers."""

import pathlib
import re
from statistics import median

from cells import COMPLETE_CELLS, CELLS, REPLACED, TARGETS, Results
from peers import ROOT

PAGE = ROOT / "docs/benchmarks.md"


def write(run: dict):
    """Writes the results of a run into the page."""
    text = PAGE.read_text()
    for name, table in tables(run).items():
        markers = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = markers.sub(lambda found: found[1] + table + "\n" + found[2], text)
    PAGE.write_text(text)


def tables(run: dict) -> dict[str, str]:
    return {
        "machine": machine(run),
        "targets": targets(run["results"]),
        "comparison": comparison(run["results"]),
        "growth": growth(run.get("growth", {})),
        "profile": profile(run.get("profile", {})),
        "complete": complete(run.get("complete", {})),
    }


def machine(run: dict) -> str:
    return "\n".join(f"- {what}: {is_}" for what, is_ in run["machine"].items())


def targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        value, verdict = target.verdict(results)
        limit = ("at least " if target.at_least else "at most ") + number(target.limit)
        rows.append([target.what, f"{limit} {target.unit}", f"{number(value)} {target.unit}", verdict])
    return table(["figure", "target", "measured", "verdict"], rows)


COLUMNS = ["milter", "CPU s per 1000", "to sixgate", "messages/s", "p50 ms", "p99 ms", "peak RSS MB"]


def comparison(results: Results) -> str:
    parts = []
    for cell in CELLS:
        if cell.name in results and not cell.idle:
            parts.append(f"**{cell.title}**\n\n{cell_table(results[cell.name])}")
        elif cell.name in results:
            parts.append(f"**{cell.title}**\n\n{idle_table(results[cell.name])}")
    parts += [f"**{titles}**\n\n{postfix_table(results[name])}" for name, titles in POSTFIX.items() if name in results]
    return "\n\n".join(parts)


POSTFIX = {"postfix-spf": "Postfix, SPF pass", "postfix-dkim": "Postfix, DKIM needed"}


def cell_table(peers: dict[str, list[dict]]) -> str:
    rows = []
    for name, measured in peers.items():
        row = [of(measured, figure) for figure in ("rate", "p50_ms", "p99_ms", "peak_rss_mb")]
        ratio = to_sixgate(peers, name, "cpu_seconds_per_1000")
        rows.append([name, number(of(measured, "cpu_seconds_per_1000")), ratio, *map(number, row)])
    return table(COLUMNS, rows)


def complete(run: dict) -> str:
    """Returns the tables of complete results, with the machine of that run."""
    if not run:
        return "Not measured."
    cells = [cell for cell in COMPLETE_CELLS if cell.name in run["results"]]
    parts = [f"**{cell.title}**\n\n{complete_table(run['results'][cell.name])}" for cell in cells]
    return "\n\n".join([machine(run), *parts])


def complete_table(peers: dict[str, list[dict]]) -> str:
    """Adds a row for the milters that sixgate replaces: the mail server asks one after the
    other, so their figures are added up."""
    ours = peers["sixgate-complete"]
    sets = {"sixgate, complete": ours}
    if all(name in peers for name in REPLACED):
        sets[" and ".join(REPLACED)] = [added(row) for row in zip(*(peers[n] for n in REPLACED))]
    sets |= {name: measured for name, measured in peers.items() if name != "sixgate-complete"}
    rows = []
    for name, measured in sets.items():
        figures = ("cpu_seconds_per_1000", "p50_ms", "p99_ms")
        ratios = [
            number(median(other[figure] / own[figure] for other, own in zip(measured, ours)))
            for figure in figures[:2]
        ]
        cpu, *latency = (number(of(measured, figure)) for figure in figures)
        rows.append([name, cpu, ratios[0], *latency, ratios[1]])
    head = ["milter", "CPU s per 1000", "to sixgate", "p50 ms", "p99 ms", "p50 to sixgate"]
    return table(head, rows)


def added(measured: tuple[dict, ...]) -> dict:
    figures = ("cpu_seconds_per_1000", "p50_ms", "p99_ms")
    return {figure: sum(one[figure] for one in measured) for figure in figures}


def idle_table(peers: dict[str, list[dict]]) -> str:
    figures = ("idle_rss_mb", "peak_rss_mb", "start_seconds")
    rows = [[name, *(number(of(measured, figure)) for figure in figures)] for name, measured in peers.items()]
    return table(["milter", "RSS idle MB", "RSS with them MB", "start s"], rows)


def postfix_table(peers: dict[str, list[dict]]) -> str:
    rows = [[name, number(of(m, "rate")), to_sixgate(peers, name, "rate")] for name, m in peers.items()]
    return table(["milter", "messages/s", "to sixgate"], rows)


def to_sixgate(peers: dict[str, list[dict]], name: str, figure: str) -> str:
    if "sixgate" not in peers:
        return "-"
    pairs = zip(peers[name], peers["sixgate"])
    return number(median(other[figure] / ours[figure] for other, ours in pairs))


def of(measured: list[dict], figure: str) -> float:
    return median(m[figure] for m in measured)


def growth(axes: dict[str, list[dict]]) -> str:
    from growth import AXES

    parts = []
    for axis in AXES:
        if axes.get(axis.name):
            rows = [
                [f"{m['step']:,}", *(number(m[figure]) for figure, _ in axis.figures)]
                for m in axes[axis.name]
            ]
            head = [axis.title, *(title for _, title in axis.figures)]
            parts.append(f"{table(head, rows)}\n\n![{axis.title}](images/growth-{axis.name}.svg)")
    return "\n\n".join(parts) or "Not measured."


def profile(cases: dict[str, dict[str, float]]) -> str:
    kinds = sorted({kind for parts in cases.values() for kind in parts})
    rows = [[kind, *(number(parts.get(kind, 0)) for parts in cases.values())] for kind in kinds]
    return table(["percent of the time in", *cases], rows) if cases else "Not measured."


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)
