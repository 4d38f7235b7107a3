"""Both backends with virtual time and an order that a seed decides: the same seed, the same run.

Trio shuffles its tasks with a random generator of its own, and asyncio keeps tasks in sets, whose order hangs on
addresses. Both are private matters of theirs; they are touched here and nowhere else, and have a test of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypeVar, cast
from unittest import mock

import anyio
import trio.testing
from anyio._backends._asyncio import CancelScope

from understudy.simulation._clock import virtual_backend

ResultT = TypeVar("ResultT")
Backend: TypeAlias = Literal["trio", "asyncio"]


class _Task(asyncio.Task[Any]):
    """A task that stands in a set where its ordinal says, not where its address does."""

    _ordinals = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ordinal = next(self._ordinals)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._ordinal


@contextmanager
def _ordered_scopes() -> Iterator[None]:
    """Let cancel scopes, of which anyio keeps sets, stand there in the order in which they were made."""
    made, ordinals, init = itertools.count(), dict[int, int](), CancelScope.__init__

    def noted(scope: CancelScope, *args: Any, **kwargs: Any) -> None:
        ordinals[id(scope)] = next(made)
        init(scope, *args, **kwargs)

    with (
        mock.patch.object(CancelScope, "__init__", noted),
        mock.patch.object(CancelScope, "__hash__", lambda scope: ordinals[id(scope)]),
    ):
        yield


def _loop() -> asyncio.AbstractEventLoop:
    _Task._ordinals = itertools.count()
    loop: asyncio.AbstractEventLoop = virtual_backend("asyncio")[1]["loop_factory"]()

    def make(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **kwargs: Any) -> _Task:
        return _Task(coroutine, loop=loop, **kwargs)

    loop.set_task_factory(cast(Any, make))
    return loop


def run_seeded(function: Callable[[], Awaitable[ResultT]], backend: Backend, seed: int) -> ResultT:
    """Run `function` in virtual time; on trio, `seed` decides the order in which tasks run."""
    if backend == "asyncio":
        with _ordered_scopes():
            return anyio.run(function, backend="asyncio", backend_options={"loop_factory": _loop})
    clock = trio.testing.MockClock(autojump_threshold=0)
    with (
        mock.patch("trio._core._run._r", random.Random(seed)),
        mock.patch("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True),
    ):
        return anyio.run(function, backend="trio", backend_options={"clock": clock})


def living(backend: Backend) -> tuple[int, int]:
    """Return how many tasks there are, and how many timers."""
    if backend == "trio":
        statistics = trio.lowlevel.current_statistics()
        return statistics.tasks_living, int(statistics.seconds_to_next_deadline != float("inf"))
    loop: Any = asyncio.get_running_loop()
    return len(asyncio.all_tasks()), sum(not timer.cancelled() for timer in loop._scheduled)
