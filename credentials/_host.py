"""What the credential takes from the machine: the time of day, chance, threads for files. Tests bring their own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, final

import anyio
import anyio.to_thread

Result = TypeVar("Result")


class InThread(Protocol):
    """Runs a function that waits for the disk where it holds nobody up. It runs to its end, also when cancelled."""

    def __call__(self, function: Callable[[], Result], /) -> Awaitable[Result]:
        """Return what the function returns, or raise what it raises."""
        ...


@final
class _Threads:
    """Threads of our own: those of the event loop may all be taken by tools that wait, while we hold a lock."""

    def __init__(self) -> None:
        self._places: anyio.CapacityLimiter | None = None

    async def __call__(self, function: Callable[[], Result], /) -> Result:
        if self._places is None:
            self._places = anyio.CapacityLimiter(2)
        return await anyio.to_thread.run_sync(function, limiter=self._places)


@final
@dataclass(frozen=True, slots=True)
class Host:
    """`wall_clock` gives Unix time, `rand` draws uniformly from [0, 1)."""

    wall_clock: Callable[[], float] = time.time
    rand: Callable[[], float] = random.random
    in_thread: InThread = field(default_factory=_Threads)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
