"""How many requests are answered at once, and how many wait for that; who is beyond is refused (R-LS-1, R-LS-3).

A place is taken and given back in plain code, so that no cancellation comes between. Those who wait get one in the
order in which they came.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import final

import anyio


@final
@dataclass(slots=True)
class _Waiter:
    """Somebody who waits; `is_in` once a place is theirs."""

    event: anyio.Event
    is_in: bool = False


@final
class Admission:
    """Places for `most` requests, and for `waiting` that wait."""

    __slots__ = ("_most", "_most_waiting", "_queue", "in_flight")

    def __init__(self, most: int, waiting: int) -> None:
        self._most, self._most_waiting = most, waiting
        self.in_flight = 0
        self._queue: deque[_Waiter] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Say whether there is neither a place nor one to wait."""
        return self.in_flight >= self._most and len(self._queue) >= self._most_waiting

    def enter_nowait(self) -> bool:
        """Take a place; say whether there was one."""
        if self.in_flight >= self._most:
            return False
        self.in_flight += 1
        return True

    async def wait(self, wait_for: float) -> bool:
        """Take a place as soon as there is one; say whether there was one within so many seconds."""
        if self.is_full:
            return False
        waiter = _Waiter(anyio.Event())
        self._queue.append(waiter)
        try:
            with anyio.move_on_after(wait_for):
                await waiter.event.wait()
        except BaseException:
            self._give_up(waiter)
            raise
        if not waiter.is_in:
            self._give_up(waiter)
        return waiter.is_in

    def leave(self) -> None:
        """Give a place back, or to whoever waits for longest."""
        if self._queue:
            waiter = self._queue.popleft()
            waiter.is_in = True
            waiter.event.set()
        else:
            self.in_flight -= 1

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.is_in:  # given and left at the same moment
            self.leave()
        else:
            self._queue.remove(waiter)
