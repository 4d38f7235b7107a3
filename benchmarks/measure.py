"""How it is measured: what a process is told to measure, and CPU time of sides that take turns.

Beside every figure stands how busy the upstream was meanwhile: what is measured against an upstream at its limit is
the upstream. Its CPU time is read from the clock that Linux keeps for each process. Linux only.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, final

import anyio
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from .runs import ROOT

BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
"""What the event loops are called here, and what anyio calls them."""

LIMIT = 0.85
"""Share of a core above which the upstream counts as the limit; chosen: below it, waiting in its queue stays short."""

Work = Callable[[], Awaitable[object]]


@final
@dataclass(frozen=True, slots=True)
class Job:
    """What one process measures: on which event loop, against which upstream, and which row of its table.

    `quick` asks for the fewest calls that go through all of the code: its figures mean nothing. `side` is the one that
    has the process to itself, empty where all share it.
    """

    backend: str = "asyncio"
    url: str = ""
    refused: str = ""
    process: int = 0
    scenario: tuple[Any, ...] = ()
    quick: bool = False
    side: str = ""

    def text(self) -> str:
        """Return it as an argument of a command line."""
        return json.dumps(asdict(self))

    @property
    def address(self) -> str:
        """Where the Anthropic SDK finds the upstream."""
        return self.url.removesuffix("/v1")


def job(text: str) -> Job:
    """Read what `Job.text` wrote."""
    given = json.loads(text)
    return Job(**{**given, "scenario": tuple(given["scenario"])})


def main(measure: Callable[[Job], Awaitable[Any]]) -> None:
    """Measure what the command line says, and print it as JSON, unless it is one side that takes turns."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # for a thousand connections
    given = job(sys.argv[1])
    backend, options = BACKENDS[given.backend]
    figures = anyio.run(measure, given, backend=backend, backend_options=options)
    if not given.side:
        print(json.dumps(figures))


def cpu_of(process: int) -> float:
    """Return the seconds of CPU that another process has used; 0 where there is none.

    Source: Linux, include/linux/posix-timers.h, `make_process_cpuclock(pid, CPUCLOCK_SCHED)`, which
    `clock_getcpuclockid(3)` is made of.
    """
    return time.clock_gettime((~process << 3) | 2) if process else 0.0


class Instant(NamedTuple):
    """The clocks at one moment: of all threads of this process, of the upstream, and of the wall."""

    own: float
    upstream: float
    wall: float


def now(process: int) -> Instant:
    """Read the clocks; `process` is the upstream's."""
    return Instant(time.process_time(), cpu_of(process), time.perf_counter())


def share(spent: list[Instant]) -> float:
    """Return the share of a core that the upstream used over some spans."""
    wall = sum(span.wall for span in spent)
    return sum(span.upstream for span in spent) / wall if wall else 0.0


async def spent_on(work: Work, process: int) -> Instant:
    """Do something; return what all of the clocks moved on by."""
    gc.collect()  # what the side before has left is not this one's
    begun = now(process)
    await work()
    return Instant(*(after - before for before, after in zip(begun, now(process), strict=True)))


Turn = Callable[[], Awaitable[Instant]]
"""Lets a side do its work once, and says what that took."""


async def interleaved(sides: Mapping[str, Work], units: int, rounds: int, process: int = 0) -> dict[str, float]:
    """Return what sides cost that share this process; see `by_turns`.

    A first round is not counted: it opens connections and fills caches.
    """
    for work in sides.values():
        await work()
    turns = {side: partial(spent_on, work, process) for side, work in sides.items()}
    return await by_turns(turns, units, rounds, process)


async def by_turns(sides: Mapping[str, Turn], units: int, rounds: int, process: int = 0) -> dict[str, float]:
    """Return for each side the microseconds of CPU of a unit, the median over the rounds, the sides taking turns.

    Where there is an upstream, `upstream` is the share of a core that it used, of the side that kept it busiest.

    Args:
        units: What each side does so many of in a round: calls, or chunks.
    """
    spent: dict[str, list[Instant]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, turn in sides.items():
            spent[side].append(await turn())
    costs = {side: median(span.own for span in spans) / units * 1e6 for side, spans in spent.items()}
    return {**costs, "upstream": max(map(share, spent.values()))} if process else costs


@asynccontextmanager
async def apart(module: str, job: Job, side: str) -> AsyncIterator[Turn]:
    """Run one side of a benchmark in a process of its own, which `takes_turns`, and give its turns."""
    command = [sys.executable, "-m", module, replace(job, side=side).text()]
    async with await anyio.open_process(command, stderr=None, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asking, told = process.stdin, BufferedByteReceiveStream(process.stdout)

        async def turn() -> Instant:
            await asking.send(b"\n")
            return Instant(*json.loads(await told.receive_until(b"\n", 1024)))

        await told.receive_until(b"\n", 1024)  # it is there, and what it loads is no other side's noise
        yield turn
        await asking.aclose()


async def takes_turns(work: Work, before: Work, process: int) -> None:
    """Do some work for each line that comes in, and print what it took.

    Args:
        before: Done before each turn, and not counted: connections that are not used while others have their turns are
            not kept.
    """
    print(flush=True)
    while await anyio.to_thread.run_sync(sys.stdin.readline):
        await before()
        print(json.dumps(await spent_on(work, process)), flush=True)


def at_once(call: Work, in_flight: int, each: int) -> Work:
    """Return the work of so many callers at once, each of which makes `each` calls."""

    async def caller() -> None:
        for _ in range(each):
            await call()

    async def work() -> None:
        async with anyio.create_task_group() as callers:
            for _ in range(in_flight):
                callers.start_soon(caller)

    return work


QUIET, QUIET_FOR, AT_MOST = 0.05, 1.0, 60.0
"""A process is quiet that uses less than this share of a core for so long; seconds, and how long to wait for that."""


async def quiet() -> None:
    """Wait until this process hardly does anything any more: all that wait have come as far as they come."""
    with anyio.move_on_after(AT_MOST):
        while True:
            begun = time.process_time()
            await anyio.sleep(QUIET_FOR)
            if time.process_time() - begun < QUIET * QUIET_FOR:
                return


def resident(process: int = 0) -> int:
    """Return the bytes of memory that a process has resident; by default this one."""
    return int(Path(f"/proc/{process or 'self'}/statm").read_text().split()[1]) * resource.getpagesize()
