"""Hooks: who is told of events. A hook can neither break a request nor slow it down unnoticed."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol, final

from ..providers import Line
from ._events import Event


class Hook(Protocol):
    """Takes an event, in the task where it happened, and returns at once. What waits belongs behind a queue.

    Any function of an event is one. What it raises is counted and swallowed; one that takes more than 10 ms is warned
    of once. Each event is told exactly once, to all hooks in the same order.
    """

    def __call__(self, event: Event, /) -> object:
        """Take an event; what is returned is not looked at."""
        ...


SLOW_AFTER = 0.01
"""Seconds after which a hook is too slow (design, "Telemetry")."""

MOST_AT_ONCE = 1000
"""Events that hooks may cause by what they do when told of one (chosen; a reset tells one for each of 256 keys)."""

_log = logging.getLogger("understudy.supervisor")


@final
class Hooks:
    """All hooks, called in order. `failures` counts what they raised, which nobody else gets to see.

    What a hook causes, as when it forces a circuit, is told after what it was told of, to all in the same order.

    Args:
        slow_after: Real seconds after which a hook is warned of.
    """

    def __init__(self, hooks: Iterable[Hook] = (), *, slow_after: float = SLOW_AFTER) -> None:
        self._hooks, self._slow_after = tuple(hooks), slow_after
        self._warned: set[tuple[int, str]] = set()
        self._untold: deque[Event] = deque()
        self._telling = False
        self.failures = 0

    @property
    def dropped(self) -> int:
        """Events that hooks with a queue of their own had no room for, as their `dropped` says."""
        return sum(getattr(hook, "dropped", 0) for hook in self._hooks)

    def __call__(self, event: Event) -> None:
        """Tell every hook. An exception is counted, and told in the log the first time."""
        if self._telling:
            self._untold.append(event)
            return
        self._telling = True
        try:
            self._tell(event)
            if self._untold:
                self._tell_caused(type(event).__name__)
        finally:
            self._telling = False

    def _tell_caused(self, by: str) -> None:
        for _ in range(MOST_AT_ONCE):
            if not self._untold:
                return
            self._tell(self._untold.popleft())
        self.failures += len(self._untold)
        self._untold.clear()
        self._warn(-1, "hooks_without_end", by)

    def _tell(self, event: Event) -> None:
        for number, hook in enumerate(self._hooks):
            begun = time.perf_counter()
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001 - a hook of the user's must not cost an answer
                self.failures += 1
                self._warn(number, "hook_failed", type(error).__name__)
            if time.perf_counter() - begun > self._slow_after:
                self._warn(number, "hook_slow", type(event).__name__)

    def _warn(self, number: int, what: str, why: str) -> None:
        if (number, what) not in self._warned:
            self._warned.add((number, what))
            _log.warning("%s", Line(what, hook=number, at=why))
