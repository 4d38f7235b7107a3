"""`make bench`: every scenario, each in a fresh process; the figures are CPU time, to be read as ratios.

`library` or `gateway` on the command line measures that part alone.

With `--save` they go into `docs/performance.json`, with the machine and the versions that they are from. It fails where
the mock upstream was so busy that it may have been the limit. `--quick` makes the fewest calls that show that it
works.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from . import complete, credential, dispatcher, gateway, handover, memory, startup, stream, traces, upstream
from .measure import Job
from .record import over_the_limit, save, set_up, show
from .runs import last_line
from .tables import Row, Table, gateway_tables, own_tables

PACKAGES = ("openai", "anthropic", "httpx2", "httptools", "anyio", "trio", "uvloop")
LOOPS, BOTH, ONE = ("asyncio", "uvloop", "trio"), ("asyncio", "trio"), ("asyncio",)


class Step(NamedTuple):
    """One process: what it measures, on which event loop."""

    module: str
    backend: str
    scenario: tuple[Any, ...] = ()


def across(module: str, backends: Sequence[str], scenarios: Iterable[tuple[Any, ...]]) -> list[Step]:
    """Return the steps of a benchmark, the event loops taking turns."""
    return [Step(module, backend, tuple(scenario)) for scenario in scenarios for backend in backends]


STEPS = (
    *(step for step in across("complete", LOOPS, complete.FULL) if step.scenario in complete.SCENARIOS[step.backend]),
    *across("stream", LOOPS, stream.SCENARIOS),
    *across("handover", BOTH, handover.SCENARIOS),
    *across("memory", BOTH, memory.SCENARIOS),
    *across("startup", ONE, startup.SCENARIOS),
    *across("dispatcher", LOOPS, [()]),
    *across("credential", BOTH, [()]),
    *across("traces", BOTH, [()]),
)
GATEWAY = tuple(across("gateway", BOTH, gateway.SCENARIOS))


ROUNDS = (
    *(rounds for *_, rounds in (*complete.SIZES.values(), complete.SLOWLY, *stream.SIZES.values())),
    *(module.ROUNDS for module in (handover, startup, dispatcher, credential, traces)),
)
"""Of how many rounds the figures of the library are medians; memory is looked at once."""


class Part(NamedTuple):
    """What is measured and written down together: its name in the record, its steps, in how many rounds, its tables."""

    name: str
    steps: Sequence[Step]
    rounds: Sequence[int]
    tables: Callable[[dict[str, list[Row]]], list[Table]]


PARTS = {
    "library": Part("bench", STEPS, ROUNDS, own_tables),
    "gateway": Part(
        "gateway",
        GATEWAY,
        [load.rounds for load in gateway.LOADS.values()],
        lambda figures: gateway_tables(figures["gateway"]),
    ),
}


def measured(step: Step, at: upstream.Upstream, *, quick: bool = False) -> Row:
    """Return the figures of one step, with its event loop.

    Raises:
        RuntimeError: The process failed; with what it said.
    """
    job = Job(step.backend, at.url, at.refused, at.process, step.scenario, quick)
    row = last_line([sys.executable, "-m", f"benchmarks.{step.module}", job.text()])
    return {"backend": step.backend, **row}


def all_measured(steps: Sequence[Step], *, quick: bool = False) -> dict[str, list[Row]]:
    """Return the figures of some steps, by benchmark, telling on standard error how far it is."""
    figures: dict[str, list[Row]] = {}
    with upstream.running() as at:
        for number, step in enumerate(steps, 1):
            begun = time.monotonic()
            row = measured(step, at, quick=quick)
            figures.setdefault(step.module, []).append(row)
            named = " ".join(map(str, (step.module, step.backend, *step.scenario)))
            print(f"{number}/{len(steps)} {named}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return figures


def main() -> None:
    """Measure everything and print it; write it down where that is asked for."""
    for part in [part for name, part in PARTS.items() if name in sys.argv] or PARTS.values():
        part_measured(part, quick="--quick" in sys.argv, keep="--save" in sys.argv)


def part_measured(part: Part, *, quick: bool, keep: bool) -> None:
    """Measure one part and print it; write it down if it is to be kept."""
    figures = all_measured(part.steps, quick=quick)
    show(part.tables(figures))
    if busy := over_the_limit(row for rows in figures.values() for row in rows):
        sys.exit("the mock upstream may have been the limit:\n" + "\n".join(busy))
    if keep:
        save(part.name, {"about": set_up(PACKAGES, part.rounds, quick=quick), **figures})


if __name__ == "__main__":
    main()
