"""The event loop in which this runs, found once: for those who ask it for the time, or for an event, with each request.

anyio finds out anew each time which loop that is, which costs three times what the loop then does.
"""

from __future__ import annotations

from typing import final

import anyio
import anyio.lowlevel


@final
class Loop:
    """The event loop in which this is made, for tasks of it.

    Raises:
        anyio.NoEventLoopError: None runs here. So does `now`, where it has ended.
    """

    __slots__ = ("_backend",)

    def __init__(self) -> None:
        self._backend = anyio.lowlevel.current_token().backend_class

    def now(self) -> float:
        """Return the instant, as `anyio.current_time` does."""
        try:
            return self._backend.current_time()
        except RuntimeError:
            return anyio.current_time()  # says so

    def event(self) -> anyio.Event:
        """Return a new event."""
        return self._backend.create_event()
