"""SIGTERM, for commands that own their process: it ends them in order.

What they run is cancelled, so that connections are closed and a renewal that was posted is on disk. A second SIGTERM
grants 5 s more (R-CRED-5).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple, final

import anyio

from .supervisor import background_tasks

TERMINATED = 128 + signal.SIGTERM
"""The exit code after SIGTERM, as shells have it."""

GRANTED_FOR = 5.0
"""Seconds that a second SIGTERM leaves."""

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@final
class TerminatedError(Exception):
    """The command was ended by SIGTERM."""

    def __init__(self) -> None:
        super().__init__("terminated")


async def until_terminated(function: Callable[[*Arguments], Awaitable[Result]], *arguments: *Arguments) -> Result:
    """Run an async function until it ends, or SIGTERM does.

    Raises:
        TerminatedError: SIGTERM came first; what was running has been cancelled, and has ended.
        Exception: What the function raises.
    """
    async with background_tasks() as tasks:
        with anyio.CancelScope() as scope:
            await tasks.start(_listen, scope)
            return await function(*arguments)
    raise TerminatedError


async def _listen(scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if scope.cancel_called:
                await anyio.sleep(GRANTED_FOR)
                os._exit(TERMINATED)
            scope.cancel()
