"""A hook behind a queue, for whatever waits: a web hook, a database, a message to somebody."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import isawaitable
from types import TracebackType
from typing import final

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..providers import Line, tell
from ..supervisor import Event, background_tasks, named

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
    seconds, after which it is cancelled (a thread that it waits for only with `abandon_on_cancel=True`); when the block
    is cancelled, it is not. What the function raises is counted in `failures`, and told in the log the first time.
    Where `most` events wait, new ones are dropped and counted in `dropped`, as are those that have not been told at the
    end. It belongs to the event loop that it is entered in.

    Args:
        handle: Takes an event and may wait.
        most: Events that wait at most.
        close_within: Seconds.

    Raises:
        TypeError: `handle` cannot be called.
        ValueError: `most` is less than 1, or `close_within` is no time.
    """

    def __init__(
        self,
        handle: Callable[[Event], Awaitable[object] | object],
        *,
        most: int = MOST,
        close_within: float = CLOSE_WITHIN,
    ) -> None:
        if not callable(handle):
            raise TypeError("a QueuedHook is given a function of an event")
        whole: object = most
        if not isinstance(whole, int) or whole < 1:
            raise ValueError("most is a whole number of events, at least 1")
        if not (close_within >= 0 and math.isfinite(close_within)):
            raise ValueError("close_within is a number of seconds, 0 or more")
        self._handle, self._most, self._close_within = handle, most, close_within
        self._put: MemoryObjectSendStream[Event] | None = None
        self._block: AbstractAsyncContextManager[None] | None = None
        self._home: object = None
        self._told: set[str] = set()
        self.dropped = 0
        self.failures = 0

    def __call__(self, event: Event) -> None:
        """Take an event into the queue, or drop it where that is full, not entered, or of another event loop."""
        if self._put is None:
            self._drop("queued_hook_not_entered")
        elif anyio.lowlevel.current_token() != self._home:
            self._drop("queued_hook_of_another_loop")
        else:
            try:
                self._put.send_nowait(event)
            except anyio.WouldBlock:
                self._drop("queued_hook_full")

    def _drop(self, why: str) -> None:
        """Count an event that is dropped; the first one for each cause is told in the log."""
        self.dropped += 1
        if why not in self._told:
            self._told.add(why)
            tell(_log.warning, Line(why, hook=named(self._handle)))

    async def __aenter__(self) -> QueuedHook:
        """Begin to take events.

        Raises:
            RuntimeError: It is entered already.
        """
        if self._put is not None:
            raise RuntimeError("this QueuedHook is entered already: enter it once, around all supervisors that use it")
        self._block = self._running()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._block is None:
            raise RuntimeError("this QueuedHook is not entered")
        return await self._block.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        put, get = anyio.create_memory_object_stream[Event](self._most)
        done = anyio.Event()
        self._put, self._home = put, anyio.lowlevel.current_token()
        try:
            async with background_tasks() as tasks:
                tasks.start_soon(self._run, get, done)
                try:
                    yield
                except BaseException as error:
                    if isinstance(error, Exception):
                        await self._end(put, done)
                    raise
                await self._end(put, done)
        finally:
            self._put = None
            self.dropped += get.statistics().current_buffer_used
            put.close()
            get.close()

    async def _end(self, put: MemoryObjectSendStream[Event], done: anyio.Event) -> None:
        """Take no more, and wait a while until all that waits is told."""
        self._put = None
        put.close()
        with anyio.move_on_after(self._close_within):
            await done.wait()

    async def _run(self, get: MemoryObjectReceiveStream[Event], done: anyio.Event) -> None:
        async for event in get:
            try:
                waits = self._handle(event)
                if isawaitable(waits):
                    await waits
            except BaseException as error:
                if _ends(error):
                    self.dropped += 1
                    raise
                self.failures += 1
                if self.failures == 1:
                    line = Line("hook_failed", hook=named(self._handle), on=type(event).__name__)
                    tell(_log.warning, line, error=error)
        done.set()


def _ends(error: BaseException) -> bool:
    """Say whether what a function raised is meant for the task that it runs in: that is cancelled, or the program ends.
    On asyncio a function may also raise what another task of its own was cancelled with: a failure like others.
    """
    if isinstance(error, Exception):
        return False
    return isinstance(error, KeyboardInterrupt | GeneratorExit) or anyio.current_effective_deadline() == -math.inf
