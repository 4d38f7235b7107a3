"""Virtual time for asyncio: a loop whose clock jumps to the next timer when nothing else is left to do.

Sockets are still served: before the clock jumps, the selector is asked for `grace` real seconds whether something has
arrived. Threads are not waited for, as with trio's mock clock.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _Jump(selectors.DefaultSelector):
    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # no timer: only the outside can wake us
            return super().select(None)
        ready = super().select(self.loop.grace)
        if not ready:
            self.loop.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that begins at 0 and never really sleeps."""

    def __init__(self, grace: float = 0.0) -> None:
        self.now, self.grace = 0.0, grace
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution: Any = 1e-9

    def time(self) -> float:
        return self.now


def socket_loop() -> VirtualTimeLoop:
    """Make a loop for tests with sockets: it gives the kernel a moment before the clock jumps."""
    return VirtualTimeLoop(grace=0.005)
