"""Calling back into an event loop from where nothing may wait, and from where nobody knows what else is going on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, final

from anyio.lowlevel import current_token


@final
class Later:
    """The loop and the context in which it was made: what is called later is called there."""

    __slots__ = ("_context", "_loop")

    def __init__(self) -> None:
        self._loop: Any = current_token().native_token  # asyncio's loop, or trio's token: both take calls from anywhere
        self._context = copy_context()

    def __call__(self, call: Callable[[], object]) -> None:
        """Have `call` called soon.

        That may be asked in any thread, and by the garbage collector, which comes in the middle of anything: so nothing
        is done at once. Where the loop is no more, nothing is done at all.
        """
        soon = getattr(self._loop, "run_sync_soon", None) or self._loop.call_soon_threadsafe
        with suppress(RuntimeError):
            soon(partial(self._context.run, call))
