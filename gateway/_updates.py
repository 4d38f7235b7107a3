"""What changed between two views, and what a view becomes by it. Pure.

An update holds the rows that are new or other than before, whole, and of what only grows what has been added:

    {"now": …, "uptime": …, "second": 1042, "circuits": [{"key": …}], "rates": {"seconds": 2, "series": […]}, …}

Whoever reads it puts each row in the place of the one with the same name (`NAMES`), and the counts of `rates` over the
last so many, after moving all by the seconds that have passed. The page does so in its own language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._rates import SECONDS
from ._seen import FAILURES, HANDOVERS, Seen
from ._status import JSON, About, View, clocks, failure, handover, rates

NAMES: Mapping[str, tuple[str, ...]] = {
    "agents": ("name",),
    "endpoints": ("name",),
    "circuits": ("key",),
    "credentials": ("endpoint",),
    "latencies": ("agent", "transport", "model"),
}
"""The sections of a view, and what names a row of each."""

KEPT = {"handovers": HANDOVERS, "failures": FAILURES}

_SERIES = ("agent", "transport", "model", "outcome")

LATE = 30.0
"""Seconds after which whoever has read nothing begins anew (chosen: three times a heart beat)."""


def is_behind(before: View, after: View) -> bool:
    """Say whether somebody who has seen `before` has to be shown everything: something that was added is gone already,
    or rows are.
    """
    lost = (
        after.handovers - before.handovers > HANDOVERS
        or after.failures - before.failures > FAILURES
        or after.now.at - before.now.at > LATE
        or after.now.offset != before.now.offset
    )
    return lost or any(before.sections[name].keys() - rows.keys() for name, rows in after.sections.items())


def update(about: About, seen: Seen, before: View, after: View) -> JSON | None:
    """Return what changed; None if nothing did. `seen` is as it was for `after`."""
    now = after.now
    rows = {name: _other(before.sections[name], after.sections[name]) for name in NAMES}
    counted = rates(seen, now, min(int(now.at) - int(before.now.at) + 1, SECONDS))
    found: JSON = {
        **{name: value for name, value in after.values.items() if before.values[name] != value},
        **{name: changed for name, changed in rows.items() if changed},
    }
    if after.changes != before.changes and counted["series"]:
        found["rates"] = counted
    if new := [handover(row, now, about) for row in seen.handovers.after(before.handovers)]:
        found["handovers"] = new
    if new := [failure(row, now, about) for row in seen.failures.after(before.failures)]:
        found["failures"] = new
    return clocks(about, now) | found if found else None


def merged(whole: JSON, update: JSON) -> JSON:
    """Return everything as it is after an update."""
    result = dict(whole)
    for name, value in update.items():
        if name in NAMES:
            rows = {_name(row, NAMES[name]): row for row in whole[name]}
            result[name] = list((rows | {_name(row, NAMES[name]): row for row in value}).values())
        elif name in KEPT:
            result[name] = [*whole[name], *value][-KEPT[name] :]
        elif name != "rates":
            result[name] = value
    none: JSON = {"seconds": 1, "series": []}
    result["rates"] = _moved(whole["rates"], update["second"] - whole["second"], update.get("rates", none))
    return result


def _moved(before: JSON, passed: int, new: JSON) -> JSON:
    """Return the rates some seconds later, the last of them as they are told."""
    told = {_name(row, _SERIES): row for row in new["series"]}
    known = {_name(row, _SERIES): row for row in before["series"]}
    series = []
    for name, row in (known | told).items():
        counts = [*(known[name]["counts"] if name in known else [0] * SECONDS), *[0] * passed][-SECONDS:]
        if name in told:
            counts[SECONDS - new["seconds"] :] = told[name]["counts"]
        if any(counts):
            series.append(row | {"counts": counts})
    return {"seconds": SECONDS, "series": series}


def _name(row: JSON, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _other(before: Mapping[str, JSON], after: Mapping[str, JSON]) -> list[JSON]:
    return [row for name, row in after.items() if before.get(name) != row]
