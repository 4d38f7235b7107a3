"""One task that looks after the time of many, in place of a timer for each step of each of them.

A connection, or a stream, says until when it may go on as it does; most of these instants are never reached, and moving
one costs nothing but an assignment. The task sleeps until the earliest that it knows, and is woken for an earlier one.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol, final

import anyio

from ..providers import Line, tell

_log = logging.getLogger("understudy.supervisor")


class Watched(Protocol):
    """What has a limit. `due` is set by the watch alone."""

    due: float

    def expire(self) -> None:
        """Called when `due` has come. It does not wait."""
        ...


@final
class Watch:
    """Expires what is due.

    Args:
        apart: Seconds between two looks at least: so late may a limit be, and so seldom are many looked through.
    """

    __slots__ = ("_apart", "_earlier", "_wakes_at", "_watched")

    def __init__(self, apart: float = 0.0) -> None:
        self._apart = apart
        self._watched: dict[Watched, None] = {}
        self._wakes_at = math.inf
        self._earlier = anyio.Event()

    def arm(self, watched: Watched, due: float) -> None:
        """Let something expire at an instant."""
        watched.due = due
        self._watched[watched] = None
        if due < self._wakes_at:
            self._wakes_at = due
            self._earlier.set()

    def forget(self, watched: Watched) -> None:
        """Never expire something."""
        self._watched.pop(watched, None)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._earlier = anyio.Event()
            self._wakes_at = min((each.due for each in self._watched), default=math.inf)
            with anyio.CancelScope(deadline=self._wakes_at):
                await self._earlier.wait()
                continue
            now = anyio.current_time()
            for each in [each for each in self._watched if each.due <= now]:
                each.due = math.inf
                try:
                    each.expire()
                except Exception as error:  # noqa: BLE001 - a mistake of ours there must not cost all others their limits
                    tell(_log.error, Line("watch_failed", error=type(error).__name__), error=error)
            if self._apart and self._watched and min(each.due for each in self._watched) < now + self._apart:
                await anyio.sleep(self._apart)
