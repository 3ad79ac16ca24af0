"""Runs the measurements and writes docs/benchmarks.md. Started by run.sh."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess

import growth
import measure
import plots
import postfix
import profiles
import tables
from cells import CELLS, COMPLETE_CELLS
from peers import PEERS, ROOT

RESULTS = ROOT / "docs/benchmarks.json"
QUICK_RESULTS = ROOT / "target/bench/quick.json"


def main():
    arguments = parsed()
    run = {"machine": machine(arguments), "results": {}, "growth": {}, "profile": {}}
    with measure.resolver():
        if "compare" in arguments.parts:
            run["results"] = compare(CELLS, arguments)
        if "complete" in arguments.parts:
            run["complete"] = {
                "machine": run["machine"],
                "results": compare(COMPLETE_CELLS, arguments),
            }
        if "growth" in arguments.parts:
            axes = [axis for axis in growth.AXES if is_wanted(axis.name, arguments)]
            run["growth"] = {axis.name: growth.run(axis, arguments.quick) for axis in axes}
            run["results"] |= million(run["growth"])
        if "profile" in arguments.parts:
            run["profile"] = profiles.run(arguments.quick)
        if "postfix" in arguments.parts:
            run["results"] |= postfix.run(500 if arguments.quick else 3000, arguments.repeat)
    finish(run, arguments)


def parsed() -> argparse.Namespace:
    words = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs; leave docs/ unchanged")
    parts = ["compare", "growth", "profile", "postfix", "complete"]
    parser.add_argument("--parts", type=words, default=parts)
    parser.add_argument("--only", type=words, help="only these cells and axes of growth", metavar="NAME,...")
    parser.add_argument("--peers", type=words, help="only these milters", metavar="NAME,...")
    parser.add_argument("--repeat", type=int, help="number of repetitions (5; quick: 1)")
    parser.add_argument("--seconds", type=float, help="duration of a run (3; quick: 1)")
    parser.add_argument("--list", action="store_true", help="print the names of cells and axes, and exit")
    arguments = parser.parse_args()
    arguments.repeat = arguments.repeat or (1 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (1.0 if arguments.quick else 3.0)
    if arguments.list:
        parser.exit(message="".join(f"{one.name:16} {one.title}\n" for one in [*CELLS, *COMPLETE_CELLS, *growth.AXES]))
    return arguments


def is_wanted(name: str, arguments: argparse.Namespace) -> bool:
    return not arguments.only or name in arguments.only


def compare(cells: list, arguments: argparse.Namespace) -> dict:
    """Measures each cell, with every milter in each repetition."""
    results = {}
    for cell in cells:
        if not is_wanted(cell.name, arguments):
            continue
        names = [name for name in cell.peers if name in (arguments.peers or PEERS)]
        results[cell.name] = {name: [] for name in names}
        for _ in range(arguments.repeat):
            for name in names:
                run_once(cell, name, results[cell.name], arguments.seconds)
    return results


def run_once(cell, name: str, measured: dict, seconds: float):
    """Measures a milter once. One with a wrong result is left out of the cell."""
    if name not in measured:
        return
    try:
        measured[name].append(one(cell, name, seconds))
        print(f"  {cell.name} {name}: {summary(measured[name][-1])}", flush=True)
    except measure.WrongAnswer as wrong:
        if name.startswith("sixgate"):
            raise
        del measured[name]
        print(f"  {cell.name} {name}: left out: {wrong}", flush=True)


def one(cell, name: str, seconds: float) -> dict:
    if cell.idle:
        return measure.idle_cell(PEERS[name], cell.connections)
    options = cell.options(seconds)
    return measure.message_cell(PEERS[name], cell.scenario, cell.outcome, options, cell.warm_up())


def summary(measured: dict) -> str:
    shown = ("cpu_seconds_per_1000", "rate", "p50_ms", "p99_ms", "idle_rss_mb", "peak_rss_mb")
    return " ".join(f"{name}={measured[name]:.4g}" for name in shown if name in measured)


def million(grown: dict) -> dict:
    """Returns the measurement with a million domains, which has a target."""
    steps = [m for m in grown.get("domains", []) if m["step"] == 1_000_000]
    return {"growth-domains-1000000": {"sixgate": steps}} if steps else {}


def finish(run: dict, arguments: argparse.Namespace):
    if arguments.quick:
        QUICK_RESULTS.write_text(as_json(run))
        print(tables.comparison(run["results"]))
        print(tables.complete(run.get("complete", {})))
    else:
        run = merged_with_old(run, arguments)
        RESULTS.write_text(as_json(run))
        if arguments.parts != ["complete"]:
            plots.write(run)
        tables.write(run)
    print()
    print(tables.targets(run["results"]))


def as_json(run: dict) -> str:
    return json.dumps(rounded(run), indent=1) + "\n"


def rounded(value):
    """Rounds figures to four digits; counts are exact."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: rounded(one) for name, one in value.items()}
        case list():
            return [rounded(one) for one in value]
    return value


def merged_with_old(run: dict, arguments: argparse.Namespace) -> dict:
    """Adds the old results of the parts and cells that this run did not measure."""
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"results": {}, "growth": {}}
    measured = {axis: steps for axis, steps in run["growth"].items() if steps}
    is_of_complete_alone = arguments.parts == ["complete"]
    return {
        "machine": old["machine"] if is_of_complete_alone else run["machine"],
        "complete": run.get("complete") or old.get("complete", {}),
        "results": old["results"] | run["results"],
        "growth": old["growth"] | measured,
        "profile": run["profile"] or old.get("profile", {}),
    }


def machine(arguments: argparse.Namespace) -> dict[str, str]:
    cpus = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpus if "model name" in line), "unknown")
    return {
        "date": datetime.date.today().isoformat(),
        "sixgate": output("git", "-C", str(ROOT), "describe", "--always") + dirty_suffix(),
        "machine": f"{model}, {os.cpu_count()} cores, Linux {platform.release()}",
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "compiler": output("rustc", "--version"),
        "peers": ", ".join([*debian(), "spf-milter 0.7.0-alpha.1", "dkim-milter 0.2.0-alpha.1"]),
        "runs": f"{arguments.repeat} repetitions of {arguments.seconds:g} s, medians",
    }


def dirty_suffix() -> str:
    """Ignores changes in docs/, which earlier runs write and which are not measured."""
    listed = output("git", "-C", str(ROOT), "status", "--porcelain", "--", ".", ":!docs")
    return "-dirty" if listed else ""


def debian() -> list[str]:
    packages = ["rspamd", "opendkim", "pyspf-milter", "unbound", "postfix"]
    listed = output("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages)
    return listed.splitlines()


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
