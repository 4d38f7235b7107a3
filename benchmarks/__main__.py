"""`make bench`: every benchmark, each in a fresh process; the figures are CPU time, to be read as ratios.

With `--json` one object is printed; with `--write` the figures and the machine go into `docs/performance.md`.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import upstream

BACKENDS = ("asyncio", "trio")
DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
PACKAGES = ("openai", "anthropic", "httpx2", "httptools", "anyio", "trio")

IMPORT = """
import json, time
begun = time.process_time()
import understudy
spent = time.process_time() - begun
with open("/proc/self/status") as status:
    (peak,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"cpu": spent, "megabytes": peak / 1024}))
"""


def run(*arguments: str) -> Any:
    """Run Python with these arguments and return the JSON that it prints."""
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measured() -> dict[str, Any]:
    """Return every figure."""
    with upstream.running() as url:
        over_the_wire = {
            name: {backend: run("-m", f"benchmarks.{name}", backend, url) for backend in BACKENDS}
            for name in ("complete", "stream", "handover")
        }
    alone = {
        name: {backend: run("-m", f"benchmarks.{name}", backend) for backend in BACKENDS}
        for name in ("dispatcher", "credential", "traces")
    }
    return {**over_the_wire, **alone, "import": run("-c", IMPORT)}


Row = tuple[str, ...]


def us(value: float) -> str:
    """Return microseconds as they are shown."""
    return f"{value:.1f} us" if value < 20 else f"{value:.0f} us"


def tables(figures: dict[str, Any]) -> Iterable[tuple[str, Row, list[Row]]]:
    """Return each table: what it says, its head, its rows."""
    head: Row
    rows: list[Row] = []
    for backend, measures in figures["complete"].items():
        for row in measures:
            bare, ours = row["bare"], row["ours"]
            cells = (backend, row["wire"], str(row["messages"]), str(row["in_flight"]))
            rows.append((*cells, us(bare), us(row["httpx2"]), us(ours), f"{ours / bare:.2f}x"))
    head = ("backend", "wire", "messages", "in flight", "bare SDK", "over httpx2", "ours", "ours / bare")
    yield "CPU per call, over a mock upstream on loopback", head, rows
    rows = []
    for backend, streams in figures["stream"].items():
        for wire in ("openai", "anthropic"):
            bare, ours = streams[wire]["bare"], streams[wire]["ours"]
            memory = f"{streams['bytes'] / 1024:.0f} KiB" if wire == "openai" else ""
            rows.append((backend, wire, us(bare), us(ours), f"{ours / bare:.2f}x", memory))
    head = ("backend", "wire", "bare SDK", "ours", "ours / bare", "memory of an open stream")
    yield "CPU per chunk of a stream, 100 of them in a burst, the request included", head, rows
    rows = []
    for backend, row in figures["handover"].items():
        kinds = ("answered", "handed over", "passed over")
        rows.append((backend, *(us(row[kind]) for kind in kinds), f"{row['bytes'] / 1024:.0f} KiB"))
    head = ("backend", "its primary answers", "handed over after a 500", "circuit open", "memory in flight")
    yield "CPU per call by what becomes of it, and memory of each of 1,000 calls in flight", head, rows
    rows = []
    for backend, row in figures["dispatcher"].items():
        traces, login = figures["traces"][backend], figures["credential"][backend]
        own = (us(row["own"]["1"]), us(row["own"]["1000"]), us(row["admit and settle"]))
        rows.append((backend, *own, us(login["call"]), us(traces["own"])))
    head = ("backend", "1 in flight", "1,000 in flight", "of it admit and settle", "a login adds", "Langfuse adds")
    yield "CPU of the dispatcher alone, over a provider that answers at once, and what is added to a call", head, rows
    imported = figures["import"]
    rows = [(f"{imported['cpu'] * 1000:.0f} ms", f"{imported['megabytes']:.0f} MB")]
    yield "import understudy", ("CPU", "memory of the process"), rows


def machine() -> str:
    """Say where the figures are from."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cores = text.count("processor\t")
    return (
        f"{model[1] if model else platform.machine()}, {cores} cores; Python {platform.python_version()}; {packages}."
    )


def write(figures: dict[str, Any]) -> None:
    """Put the figures into the document, between its marks."""
    parts = [machine()]
    for title, head, rows in tables(figures):
        lines = [f"### {title[0].upper()}{title[1:]}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        parts.append("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]))
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- figures -->\n")
    _, mark, after = rest.partition("<!-- end of figures -->")
    DOCUMENT.write_text(f"{before}<!-- figures -->\n" + "\n\n".join(parts) + f"\n\n{mark}{after}", encoding="utf-8")


def main() -> None:
    """Measure everything and print it, or write it down."""
    figures = measured()
    if "--write" in sys.argv:
        write(figures)
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    console = Console(highlight=False)
    for title, head, rows in tables(figures):
        table = Table(*head, box=None)
        for row in rows:
            table.add_row(*row)
        console.print(f"\n{title}:")
        console.print(table)


if __name__ == "__main__":
    main()
