"""What was measured, kept in `docs/performance.json`: tables and plots are drawn from it, without measuring anew."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from .measure import LIMIT
from .tables import Row, Table

RECORD = Path(__file__).parent.parent / "docs" / "performance.json"


def load() -> dict[str, Any]:
    """Return what was measured last."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return record


def rounded(value: Any) -> Any:
    """Return figures with the four digits that they have some meaning in."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: rounded(each) for name, each in value.items()}
        case list():
            return [rounded(each) for each in value]
        case _:
            return value


def save(part: str, figures: dict[str, Any]) -> None:
    """Put one part of the figures in the place of those that there were."""
    record = {**load(), part: rounded(figures)}
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def set_up(packages: Sequence[str], rounds: Iterable[int], *, quick: bool) -> dict[str, Any]:
    """Say when and on what machine this is, which versions are measured, and whether by the fewest calls.

    Args:
        rounds: Of how many rounds the figures are medians, of each kind of them; what is kept are the fewest and most.
    """
    counts = [1] if quick else sorted(rounds)
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    return {
        "machine": model[1] if model else platform.machine(),
        "cores": text.count("processor\t"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": [counts[0], counts[-1]],
        "quick": quick,
        "versions": {package: version(package) for package in packages},
    }


def over_the_limit(rows: Iterable[Row]) -> list[str]:
    """Return what was measured while the upstream used so much of its core that it may have been the limit; together
    with the load generator, where that shares its core.
    """
    return [
        f"{_used(row):.0%} of a core: " + ", ".join(f"{name} {row[name]}" for name in row if name != "upstream")
        for row in rows
        if _used(row) > LIMIT
    ]


def _used(row: Row) -> float:
    used: float = row.get("upstream", 0.0) + row.get("load", 0.0)
    return used


def show(tables: Iterable[Table]) -> None:
    """Print tables."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    for table in tables:
        grid = Grid(*table.head, box=None)
        for row in table.rows:
            grid.add_row(*row)
        console.print(f"\n{table.title}:")
        console.print(grid)
