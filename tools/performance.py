"""`make figures`: the tables of `docs/performance.md`, and its pictures, from `docs/performance.json`.

Nothing is measured. A picture is readable on light and on dark paper: its ink and paper
change with what its reader prefers.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.document import written
from benchmarks.plots import Panel, Picture, pictures
from benchmarks.record import RECORD, load

DOCS = RECORD.parent
INK, DIM, PAPER = "#1f2328", "#59636e", "#ffffff"
DARK = {INK: "#e6edf3", DIM: "#9198a1", PAPER: "#0d1117"}
"""What ink and paper become on dark paper; the pairs of `docs/outages.svg`."""

COLOURS = {"bare SDK": "#0072b2", "ours, over httpx2": "#56b4e9", "ours": "#e69f00"}
"""Colours of Okabe and Ito, which colour-blind people can tell apart; of the peers only ours has one of its own."""

STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "understudy",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    **{f"{axis}tick.color": DIM for axis in "xy"},
    **{f"{axis}tick.labelcolor": INK for axis in "xy"},
    "axes.edgecolor": DIM,
}


def draw_lines(axes: Any, panel: Panel) -> None:
    """Draw a line for each side, its last value beside it."""
    for series in panel.series:
        colour = COLOURS[series.label]
        axes.plot(range(len(panel.ticks)), series.values, color=colour, marker="o", markersize=4, label=series.label)
        axes.annotate(
            f"{series.values[-1]:,.0f}",
            (len(panel.ticks) - 1, series.values[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    axes.set_xlim(-0.2, len(panel.ticks) - 0.6)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(panel.axis)


def draw_bars(axes: Any, panel: Panel) -> None:
    """Draw a bar for each peer, its value at its end."""
    ((_, values),) = panel.series
    colours = [COLOURS.get(title, "#8c959f") for title in panel.ticks]
    bars = axes.barh(range(len(values)), values, color=colours)
    axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4, color=INK)
    axes.set_yticks(range(len(values)), panel.ticks)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, max(values) * 1.18)


def draw(picture: Picture) -> str:
    """Return a picture as SVG; the same for the same figures, whenever it is drawn."""
    with matplotlib.rc_context(STYLE):
        bars = picture.kind == "bars"
        figure, plots = pyplot.subplots(1, len(picture.panels), figsize=(8.4, 3.4), sharey=bars)
        for axes, panel in zip(plots, picture.panels, strict=True):
            (draw_bars if bars else draw_lines)(axes, panel)
            axes.set_title(panel.title, loc="left", fontsize=9)
        if not bars:
            plots[0].legend(loc="upper left", frameon=False)
        figure.suptitle(picture.title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        figure.tight_layout()
        file = io.StringIO()
        about = {"Date": None, "Creator": None, "Title": picture.title, "Description": f"figures {picture.digest}"}
        figure.savefig(file, format="svg", metadata=about)
        pyplot.close(figure)
    return on_any_paper(re.sub(r"[ \t]+$", "", file.getvalue(), flags=re.MULTILINE))


def on_any_paper(svg: str) -> str:
    """Return a picture with what its ink and its paper become where dark paper is preferred."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    head, mark, rest = svg.partition("<defs>")
    return f"{head}<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n {mark}{rest}"


def main() -> None:
    """Write the tables and the pictures."""
    record = load()
    document = DOCS / "performance.md"
    document.write_text(written(document.read_text(encoding="utf-8"), record), encoding="utf-8")
    for picture in pictures(record):
        (DOCS / picture.name).write_text(draw(picture), encoding="utf-8")


if __name__ == "__main__":
    main()
