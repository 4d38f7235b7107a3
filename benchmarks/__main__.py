"""`make bench`: every benchmark, each in a fresh process; the figures are CPU time, to be read as ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from . import upstream

BACKENDS = ("asyncio", "trio")

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


def main() -> None:
    """Measure everything and print it; with `--json` as one object."""
    with upstream.running() as url:
        complete = {backend: run("-m", "benchmarks.complete", backend, url) for backend in BACKENDS}
        stream = {backend: run("-m", "benchmarks.stream", backend, url) for backend in BACKENDS}
    dispatcher = {backend: run("-m", "benchmarks.dispatcher", backend) for backend in BACKENDS}
    credential = {backend: run("-m", "benchmarks.credential", backend) for backend in BACKENDS}
    traces = {backend: run("-m", "benchmarks.traces", backend) for backend in BACKENDS}
    imported = run("-c", IMPORT)
    if "--json" in sys.argv:
        figures = {"complete": complete, "stream": stream, "dispatcher": dispatcher, "credential": credential}
        print(json.dumps({**figures, "traces": traces, "import": imported}))
        return
    console = Console(highlight=False)
    table = Table("backend", "messages", "in flight", "AsyncOpenAI.create", "agent.complete", "ratio", box=None)
    for backend, rows in complete.items():
        for row in rows:
            cells = (backend, f"{row['messages']:.0f}", f"{row['in_flight']:.0f}")
            table.add_row(*cells, f"{row['bare']:.0f} us", f"{row['ours']:.0f} us", f"{row['ours'] / row['bare']:.2f}x")
    console.print("CPU per call, over a mock upstream on loopback:")
    console.print(table)
    streams = Table("backend", "wire", "bare SDK", "agent.stream", "ratio", "memory of an open stream", box=None)
    for backend, figures in stream.items():
        for wire in ("openai", "anthropic"):
            bare, ours = figures[wire]["bare"], figures[wire]["ours"]
            memory = f"{figures['bytes'] / 1024:.0f} KiB" if wire == "openai" else ""
            streams.add_row(backend, wire, f"{bare:.1f} us", f"{ours:.1f} us", f"{ours / bare:.2f}x", memory)
    console.print("\nCPU per chunk of a stream, 100 of them in a burst, the request included:")
    console.print(streams)
    console.print("\nCPU of the dispatcher alone, over a provider that answers at once:")
    for backend, row in dispatcher.items():
        own = ", ".join(f"{cost:.0f} us with {in_flight} in flight" for in_flight, cost in row["own"].items())
        console.print(f"  {backend}: {own} per call; of it admit and settle {row['admit and settle']:.1f} us")
    console.print("\nCPU that a login adds to a call:")
    for backend, row in credential.items():
        console.print(
            f"  {backend}: {row['token']:.2f} us to read its token; {row['call']:.1f} us with the guard of a 401"
        )
    console.print("\nCPU that traces add to a call:")
    for backend, row in traces.items():
        console.print(
            f"  {backend}: {row['own']:.0f} us with Langfuse, {row['whole']:.0f} us with the threads that send; "
            f"{row['nothing']:.0f} us with a tracer that does nothing, beside {row['none']:.0f} us without any"
        )
    console.print(f"\nimport understudy: {imported['cpu'] * 1000:.0f} ms CPU, {imported['megabytes']:.0f} MB in all")


if __name__ == "__main__":
    main()
