"""The plots of docs/benchmarks.md."""

from statistics import median

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "sixgate"
matplotlib.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt

from growth import AXES
from peers import ROOT

IMAGES = ROOT / "docs/images"
SHOWN = ("dkim-32", "spf-32")


def write(run: dict):
    """Draws what a run has measured."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    bars(run["results"])
    for axis in AXES:
        if run.get("growth", {}).get(axis.name):
            curve(axis, run["growth"][axis.name])


def bars(results: dict):
    shown = [name for name in SHOWN if name in results]
    if not shown:
        return
    figure, places = plt.subplots(1, len(shown), figsize=(5 * len(shown), 3.2), squeeze=False)
    for place, name in zip(places[0], shown):
        peers = {peer: cpu(measured) for peer, measured in results[name].items()}
        ordered = sorted(peers, key=peers.get, reverse=True)
        colours = ["#c33" if peer == "sixgate" else "#789" for peer in ordered]
        drawn = place.barh(ordered, [peers[peer] for peer in ordered], color=colours)
        place.bar_label(drawn, fmt=" %.3f", fontsize=7)
        place.set_xlabel("CPU seconds per 1000 messages")
        place.set_title({"dkim-32": "DKIM needed", "spf-32": "SPF pass"}[name])
    save(figure, "comparison")


def cpu(measured: list[dict]) -> float:
    return median(m["cpu_seconds_per_1000"] for m in measured)


def curve(axis, measured: list[dict]):
    figure, places = plt.subplots(1, len(axis.figures), figsize=(3.4 * len(axis.figures), 2.8), squeeze=False)
    steps = [m["step"] for m in measured]
    for place, (name, title) in zip(places[0], axis.figures):
        place.loglog(steps, [m[name] for m in measured], marker="o", color="#c33")
        place.set_xlabel(axis.title)
        place.set_title(title, fontsize=9)
        place.grid(True, which="major", alpha=0.3)
    save(figure, f"growth-{axis.name}")


def save(figure, name: str):
    figure.tight_layout()
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
