"""`make bench`: every scenario, each in a fresh process; the figures are CPU time, to be read as ratios.

With `--save` they go into `docs/performance.json`, with the machine and the versions that they are from. It fails where
the mock upstream was so busy that it may have been the limit. `--quick` makes the fewest calls that show that it
works.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from . import complete, handover, memory, startup, stream, upstream
from .measure import Job
from .record import over_the_limit, save, set_up, show
from .runs import last_line
from .tables import Row, own_tables

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


def measured(step: Step, at: upstream.Upstream, *, quick: bool = False) -> Row:
    """Return the figures of one step, with its event loop.

    Raises:
        RuntimeError: The process failed; with what it said.
    """
    job = Job(step.backend, at.url, at.refused, at.process, step.scenario, quick)
    row = last_line([sys.executable, "-m", f"benchmarks.{step.module}", job.text()])
    return {"backend": step.backend, **row}


def all_measured(*, quick: bool = False) -> dict[str, list[Row]]:
    """Return every figure, by benchmark, telling on standard error how far it is."""
    figures: dict[str, list[Row]] = {}
    with upstream.running() as at:
        for number, step in enumerate(STEPS, 1):
            begun = time.monotonic()
            row = measured(step, at, quick=quick)
            figures.setdefault(step.module, []).append(row)
            named = " ".join(map(str, (step.module, step.backend, *step.scenario)))
            print(f"{number}/{len(STEPS)} {named}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return figures


def main() -> None:
    """Measure everything and print it; write it down where that is asked for."""
    quick = "--quick" in sys.argv
    figures = all_measured(quick=quick)
    show(own_tables(figures))
    if busy := over_the_limit(row for rows in figures.values() for row in rows):
        sys.exit("the mock upstream may have been the limit:\n" + "\n".join(busy))
    if "--save" in sys.argv:
        save("bench", {"about": set_up(PACKAGES, quick=quick), **figures})


if __name__ == "__main__":
    main()
