"""A hook behind a queue, for whatever waits: a web hook, a database, a message to somebody."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..providers import Line
from ..supervisor import Event, background_tasks

MOST = 1024
"""Events that wait at most (design, "Telemetry")."""

CLOSE_WITHIN = 2.0
"""Seconds for what still waits when it is closed (as for traces)."""

_log = logging.getLogger("understudy.supervisor")


@final
class QueuedHook:
    """Gives each event to an async function, one after the other, in a task of its own: no request waits for it.

        async with QueuedHook(post) as hook, open_supervisor(hooks=[hook]) as supervisor:
            ...

    When the block is left, also by an error, what waits is still given to the function, for at most `close_within`
    seconds; when it is cancelled, it is not. What the function raises is counted in `failures`, and told in the log the
    first time. Where `most` events wait, new ones are dropped and counted in `dropped`, as are those still waiting at
    the end.

    Args:
        handle: Takes an event and may wait.
        most: Events that wait at most.
        close_within: Seconds.

    Raises:
        TypeError: `handle` cannot be called.
        ValueError: `most` is less than 1, or `close_within` is no time.
    """

    def __init__(
        self, handle: Callable[[Event], Awaitable[object]], *, most: int = MOST, close_within: float = CLOSE_WITHIN
    ) -> None:
        if not callable(handle):
            raise TypeError("a QueuedHook is given an async function of an event")
        if most < 1:
            raise ValueError("most is a number of events, at least 1")
        if not (close_within >= 0 and math.isfinite(close_within)):
            raise ValueError("close_within is a number of seconds, 0 or more")
        self._handle, self._most, self._close_within = handle, most, close_within
        self._put: MemoryObjectSendStream[Event] | None = None
        self.dropped = 0
        self.failures = 0

    def __call__(self, event: Event) -> None:
        """Take an event into the queue, or drop it if that is full or the block is not entered."""
        try:
            if self._put is None:
                raise anyio.ClosedResourceError
            self._put.send_nowait(event)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self.dropped += 1

    async def __aenter__(self) -> QueuedHook:
        self._block = self._running()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        put, get = anyio.create_memory_object_stream[Event](self._most)
        done = anyio.Event()
        self._put = put
        try:
            async with background_tasks() as tasks:
                tasks.start_soon(self._run, get, done)
                try:
                    yield
                finally:
                    put.close()
                    with anyio.move_on_after(self._close_within):
                        await done.wait()
        finally:
            put.close()
            self._put = None
            self.dropped += get.statistics().current_buffer_used
            get.close()

    async def _run(self, get: MemoryObjectReceiveStream[Event], done: anyio.Event) -> None:
        async for event in get:
            try:
                await self._handle(event)
            except Exception as error:  # noqa: BLE001 - a hook of the user's must not cost an answer
                self.failures += 1
                if self.failures == 1:
                    name = getattr(self._handle, "__qualname__", type(self._handle).__qualname__)
                    _log.warning("%s", Line("hook_failed", hook=name, at=type(error).__name__))
        done.set()
