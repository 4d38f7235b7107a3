"""Cancellation at every checkpoint: run a scenario once for each step it takes, and cancel it there.

A scenario is `prepare`, an async context manager that sets the stage and afterwards checks that nothing is left, and
`act`, which is cancelled. `Everywhere` runs `act` step by step, a step being from one suspension to the next, and
delivers a cancellation at the first, the second, … until a run comes to its end uncancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeAlias, TypeVar

import anyio

StageT = TypeVar("StageT")


class Stepped:
    """An awaitable that runs a coroutine, counts its suspensions, and calls `at_step` at one of them."""

    def __init__(self, coroutine: Coroutine[Any, Any, object], step: int, at_step: Callable[[], object]) -> None:
        self._coroutine, self._step, self._at_step = coroutine, step, at_step
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, None]:
        send: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731 - what to resume with, as a value
        while True:
            try:
                suspended = send()
            except StopIteration:
                return
            self.steps += 1
            if self.steps == self._step:
                self._at_step()
            try:
                value = yield suspended
            except BaseException as error:  # noqa: BLE001 - cancellation, on its way in
                send = lambda error=error: self._coroutine.throw(error)  # type: ignore[misc] # noqa: E731
            else:
                send = lambda value=value: self._coroutine.send(value)  # type: ignore[misc] # noqa: E731


async def by_scope(coroutine: Coroutine[Any, Any, object], step: int) -> Stepped:
    """Run a coroutine and cancel the scope around it at a step."""
    with anyio.CancelScope() as scope:
        stepped = Stepped(coroutine, step, scope.cancel)
        await stepped
    return stepped


async def by_task(coroutine: Coroutine[Any, Any, object], step: int) -> Stepped:
    """Run a coroutine in an asyncio task of its own, and cancel that as asyncio does, at a step."""

    async def run() -> None:
        await stepped

    task = asyncio.create_task(run())
    stepped = Stepped(coroutine, step, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
    return stepped


async def by_task_again(coroutine: Coroutine[Any, Any, object], step: int) -> Stepped:
    """Cancel a task of asyncio's as `by_task`, and once more while it cleans up: it knows no shield."""

    async def run() -> None:
        await again

    task = asyncio.create_task(run())
    stepped = Stepped(coroutine, step, task.cancel)
    again = Stepped(_awaited(stepped), step + 1, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
    return stepped


async def _awaited(stepped: Stepped) -> None:
    await stepped


Cancelled: TypeAlias = Callable[[Coroutine[Any, Any, object], int], Awaitable[Stepped]]


class Everywhere(Generic[StageT]):
    """One scenario."""

    def __init__(
        self,
        prepare: Callable[[], AbstractAsyncContextManager[StageT]],
        act: Callable[[StageT], Coroutine[Any, Any, object]],
        follow_up: Callable[[StageT], Awaitable[object]] | None = None,
    ) -> None:
        self._prepare, self._act, self._follow_up = prepare, act, follow_up

    async def run(self, cancelled: Cancelled = by_scope, *, most: int = 1000) -> int:
        """Cancel at step 1, 2, …; return how many points there were."""
        for step in range(1, most):
            async with self._prepare() as stage:
                stepped = await cancelled(self._act(stage), step)
                if self._follow_up is not None:
                    with anyio.fail_after(30_000):
                        await self._follow_up(stage)
            if stepped.steps < step:
                return step - 1
        raise AssertionError(f"still not at its end after {most} steps")
