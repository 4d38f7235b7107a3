"""Virtual time for our own tests: the product's, and a moment for the kernel where a test speaks over sockets.

Threads get more than a moment: on a busy machine one may come late, and a clock that has jumped ahead of it tells
another story than the test's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio.lowlevel
import trio.testing

from understudy.simulation._clock import Backend, _Clock, virtual_backend

GRACE, PATIENCE = 0.005, 1.0
"""Real seconds in which something that was sent on loopback arrives, and in which a thread that runs gets done. One
that hangs on purpose costs the second each time that the clock jumps."""

RunSync: TypeAlias = Callable[..., Awaitable[Any]]
"""`anyio.to_thread.run_sync`."""


def socket_backend(name: str) -> Backend:
    """Return a backend in virtual time whose clock waits for the kernel."""
    return virtual_backend(name, grace=GRACE)


def waiting_for_threads(run_sync: RunSync) -> RunSync:
    """Return `run_sync`, but the virtual clock of whoever calls it waits for the thread."""
    busy: Counter[int] = Counter()
    usual: dict[int, float] = {}

    async def patient(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        clock = _clock()
        if clock is None:
            return await run_sync(function, *arguments, **options)
        if not busy[id(clock)]:
            usual[id(clock)] = _give(clock, PATIENCE)
        busy[id(clock)] += 1
        try:
            return await run_sync(function, *arguments, **options)
        finally:
            busy[id(clock)] -= 1
            if not busy[id(clock)]:
                _give(clock, usual.pop(id(clock)))

    return patient


def _clock() -> trio.testing.MockClock | _Clock | None:
    """Return the virtual clock at hand; None where time is real."""
    try:
        clock: object = trio.lowlevel.current_clock()
    except RuntimeError:  # no trio here
        clock = getattr(asyncio.get_running_loop(), "_selector", None)
    return clock if isinstance(clock, trio.testing.MockClock | _Clock) else None


def _give(clock: trio.testing.MockClock | _Clock, grace: float) -> float:
    """Let a clock wait so long before it jumps; return how long it did before."""
    if isinstance(clock, _Clock):
        before, clock.grace = clock.grace, grace
    else:
        before, clock.autojump_threshold = clock.autojump_threshold, grace
    return before
