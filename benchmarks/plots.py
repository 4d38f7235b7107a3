"""The pictures of the benchmarks, as values: what was measured as points and bars. `tools/performance.py` draws."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from .tables import Row, by_peer


class Series(NamedTuple):
    """One side: what it is called, and its microseconds of CPU at each tick."""

    label: str
    values: tuple[float, ...]


class Panel(NamedTuple):
    """One set of axes: its title, what the ticks count, the ticks, the sides."""

    title: str
    axis: str
    ticks: tuple[str, ...]
    series: tuple[Series, ...]


class Picture(NamedTuple):
    """A picture: the name of its file in `docs/`, what it says, whether it has lines or bars, its panels."""

    name: str
    title: str
    kind: str
    panels: tuple[Panel, ...]

    @property
    def digest(self) -> str:
        """A mark of what is drawn, kept in the file: whether a picture is that of the figures can be told from it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


SIDES = {"bare": "bare SDK", "httpx2": "ours, over httpx2", "ours": "ours"}


def lines(rows: list[Row], by: str, title: str, axis: str) -> Panel:
    """Return the panel of rows that differ in one thing."""
    ordered = sorted(rows, key=lambda row: row[by])
    series = tuple(Series(label, tuple(row[side] for row in ordered)) for side, label in SIDES.items())
    return Panel(title, axis, tuple(f"{row[by]:,}" for row in ordered), series)


def by_size(calls: list[Row]) -> Picture:
    """Return the picture of what a call costs by calls in flight, and by messages."""
    plain = [row for row in calls if (row["backend"], row["wire"], row["delay"]) == ("asyncio", "openai", 0)]
    at_once = [row for row in plain if row["messages"] == 1]
    long = [row for row in plain if row["in_flight"] == 64]
    panels = (
        lines(at_once, "in_flight", "One message", "calls in flight"),
        lines(long, "messages", "64 calls in flight", "messages of the conversation"),
    )
    return Picture("performance.svg", "CPU per call on asyncio, µs", "lines", panels)


def beside_peers(rows: list[Row]) -> Picture:
    """Return the picture of what a call costs with other libraries, the dearest on top."""
    peers = by_peer(rows)
    ordered = sorted(peers, key=lambda title: peers[title]["call"]["cpu"])
    panels = tuple(
        Panel(title, "", tuple(ordered), (Series("", tuple(peers[peer][what]["cpu"] for peer in ordered)),))
        for what, title in (("call", "One message"), ("conversation", "A conversation of 41 messages"))
    )
    return Picture("performance-peers.svg", "CPU per call, 64 in flight on asyncio, µs", "bars", panels)


def pictures(record: Mapping[str, Any]) -> list[Picture]:
    """Return the pictures of what was measured."""
    drawn = [by_size(record["bench"]["complete"])] if "bench" in record else []
    return [*drawn, beside_peers(record["peers"]["rows"])] if "peers" in record else drawn
