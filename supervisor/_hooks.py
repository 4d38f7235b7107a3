"""Hooks: who is told of events. A hook can neither break a request nor slow it down unnoticed."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Protocol, final

from ..providers import Line, tell
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

ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What is meant for the program, and not for whoever called a hook. A plain function cannot be cancelled: that one
raises so is a fault of its own."""

_log = logging.getLogger("understudy.supervisor")


def named(hook: object) -> str:
    """Return what a hook is called in the log."""
    return str(getattr(hook, "__qualname__", type(hook).__qualname__)).rpartition("<locals>.")[2]


def total(counting: Iterable[object], name: str) -> int:
    """Return the sum of what these count under a name themselves; what is no number does not count."""
    whole = 0
    for each in counting:
        with suppress(Exception):
            found = getattr(each, name, 0)
            whole += found if isinstance(found, int) else 0
    return whole


def checked(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """Return hooks that can be called.

    Raises:
        TypeError: They are no list; or one of them is none, or an async function, which nobody would wait for.
    """
    if not isinstance(hooks, Iterable):
        raise TypeError(f"hooks is a list of hooks: write hooks=[{named(hooks)}]")
    found = tuple(hooks)
    for hook in found:
        if isinstance(hook, type) or not callable(hook):
            raise TypeError(f"a hook is a function of an event, not {hook!r}")
        if iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004
            raise TypeError(f"{named(hook)} is async: put it behind a queue, as QueuedHook({named(hook)})")
    return found


@final
class Hooks:
    """All hooks, called in order. What they raise is counted, and nobody else gets to see it.

    What a hook causes, as when it forces a circuit, is told after what it was told of, to all in the same order.

    Args:
        slow_after: Real seconds after which a hook is warned of.
    """

    def __init__(self, hooks: Iterable[Hook] = (), *, slow_after: float = SLOW_AFTER) -> None:
        self._hooks, self._slow_after = tuple(hooks), slow_after
        self._names = [named(hook) for hook in self._hooks]
        self._told = [(number, hook, getattr(hook, "is_ours", False)) for number, hook in enumerate(self._hooks)]
        self._failures_before, self._dropped_before = total(self._hooks, "failures"), total(self._hooks, "dropped")
        self._failures = 0
        self._warned: set[tuple[int, str]] = set()
        self._untold: deque[Event] = deque()
        self._is_endless = False
        self._telling = False

    @property
    def failures(self) -> int:
        """What hooks raised, those with a queue of their own among them."""
        return self._failures + total(self._hooks, "failures") - self._failures_before

    @property
    def dropped(self) -> int:
        """Events that hooks with a queue of their own had no room for since this was made."""
        return total(self._hooks, "dropped") - self._dropped_before

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
        self._failures += len(self._untold)
        self._untold.clear()
        if not self._is_endless:
            self._is_endless = True
            tell(_log.warning, Line("hooks_without_end", on=by))

    def _tell(self, event: Event) -> None:
        for number, hook, is_ours in self._told:
            begun = 0.0 if is_ours else time.perf_counter()
            try:
                hook(event)
            except BaseException as error:
                if isinstance(error, ENDS):
                    raise
                self._failures += 1
                self._warn(number, "hook_failed", event, error)
            if not is_ours and time.perf_counter() - begun > self._slow_after:
                self._warn(number, "hook_slow", event)

    def _warn(self, number: int, what: str, event: Event, error: BaseException | None = None) -> None:
        if (number, what) not in self._warned:
            self._warned.add((number, what))
            line = Line(what, hook=self._names[number], on=type(event).__name__)
            tell(_log.warning, line, error=error)
