#!/usr/bin/env python3
"""Renders the panels of sixgate.json with data from Prometheus as a PNG.

A plain rendering for documentation and for machines without Grafana: queries the
expressions of each panel from the server's HTTP API and draws the panels in their
positions. Needs matplotlib (Debian: python3-matplotlib).

    render.py http://127.0.0.1:9090 dashboard.png [MINUTES]
"""

import datetime
import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates
import matplotlib.pyplot as plt
import matplotlib.ticker
import PIL.Image

DASHBOARD = pathlib.Path(__file__).with_name("sixgate.json")
ROWS_PER_INCH, COLUMNS_PER_INCH = 2.5, 1.7


def main(server, picture, minutes=30):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    figure = plt.figure(figsize=(24 / COLUMNS_PER_INCH, height / ROWS_PER_INCH))
    grid = figure.add_gridspec(2 * height, 24, hspace=0, wspace=0)
    end = time.time()
    for panel in panels:
        at = panel["gridPos"]
        # In half rows. Three of them, and a column, remain free for titles and labels.
        rows = slice(2 * at["y"], 2 * (at["y"] + at["h"]) - 3)
        cells = grid[rows, at["x"] + 1 : at["x"] + at["w"]]
        series = query(server, panel, end - 60 * float(minutes), end)
        draw = draw_number if panel["type"] == "stat" else draw_lines
        draw(figure.add_subplot(cells), panel, series)
    figure.savefig(picture, dpi=80, bbox_inches="tight", facecolor="white")
    # A reduced palette takes a third of the space.
    with PIL.Image.open(picture) as image:
        image.quantize(96).save(picture, optimize=True)


def query(server, panel, start, end):
    """Returns legend, times and values of every series of a panel."""
    found = []
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".+")
        arguments = {"query": expression, "start": start, "end": end, "step": 10}
        url = f"{server}/api/v1/query_range?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url) as answer:
            result = json.load(answer)["data"]["result"]
        for series in result:
            legend = target["legendFormat"]
            for label, value in series["metric"].items():
                legend = legend.replace("{{" + label + "}}", value)
            if not any(float(v) for _, v in series["values"]):
                continue
            times = [datetime.datetime.fromtimestamp(t) for t, _ in series["values"]]
            found.append((legend, times, [float(v) for _, v in series["values"]]))
    return found


def draw_number(axes, panel, series):
    last = [values[-1] for _, _, values in series]
    axes.set_axis_off()
    axes.set_title(panel["title"], fontsize=9)
    text = shown(last[0], panel["fieldConfig"]["defaults"]["unit"]) if last else "no data"
    axes.text(0.5, 0.4, text, fontsize=18, ha="center", va="center")


def draw_lines(axes, panel, series):
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["custom"]["stacking"]["mode"] == "normal":
        draw_stack(axes, series)
    else:
        for legend, times, values in series:
            axes.plot(times, values, label=legend, linewidth=1)
    axes.set_title(panel["title"], fontsize=9)
    axes.set_ylim(0, 1.3 * max(axes.get_ylim()[1], 0.001))
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(matplotlib.dates.AutoDateLocator(maxticks=6))
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, defaults["unit"]))
    if series:
        axes.legend(fontsize=6, ncols=2, loc="upper left", framealpha=0.5)


def draw_stack(axes, series):
    times = sorted({t for _, times, _ in series for t in times})
    rows = []
    for _, own, values in series:
        known = dict(zip(own, values))
        rows.append([known.get(t, 0) for t in times])
    if rows:
        axes.stackplot(times, rows, labels=[legend for legend, _, _ in series], alpha=0.7)


def shown(value, unit):
    if unit == "percentunit":
        return f"{100 * value:.1f} %"
    if unit == "s" and 0 < value < 1:
        return f"{1000 * value:.3g} ms"
    if unit == "s":
        return f"{value:.4g} s"
    if unit == "Bps":
        return f"{value / 1024:.3g} KiB/s"
    return f"{value:.4g}"


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
