"""Calling back into an event loop from where nothing may wait, and from where nobody knows what else is going on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from anyio.lowlevel import EventLoopToken


def later(home: EventLoopToken, call: Callable[[], object]) -> None:
    """Have `call` called soon in the loop of `home`.

    It may be called from any thread, and by the garbage collector, which comes in the middle of anything: so nothing is
    done at once. Where the loop is no more, nothing is done at all.
    """
    native: Any = home.native_token  # asyncio's loop, or trio's token: both take calls from anywhere
    soon = getattr(native, "run_sync_soon", None) or native.call_soon_threadsafe
    with suppress(RuntimeError):
        soon(call)
