"""Counting calls over the last while, in memory that never grows. Pure: whoever counts says what time it is."""

from __future__ import annotations

from collections import deque
from typing import final

from ._circuit import Recent

BUCKETS = 12
"""Into which a window of time is cut: it forgets a twelfth at a time (R-CB-2)."""

LATELY = 10.0
"""Seconds that count as lately, to the nearest bucket (R-CB-3)."""


@final
class Buckets:
    """How many things happened lately.

    Args:
        window_for: Seconds that are remembered: the bucket at hand and those before it, so up to a bucket less.
        buckets: Into how many the window is cut.
    """

    __slots__ = ("_counts", "_stamps", "_width")

    def __init__(self, window_for: float, buckets: int = BUCKETS) -> None:
        self._width = window_for / buckets
        self._stamps, self._counts = [-1] * buckets, [0] * buckets

    def add(self, now: float) -> None:
        """Count one at the instant `now`."""
        stamp = int(now / self._width)
        slot = stamp % len(self._stamps)
        if self._stamps[slot] != stamp:
            self._stamps[slot], self._counts[slot] = stamp, 0
        self._counts[slot] += 1

    def total(self, now: float, within: float | None = None) -> int:
        """Return how many there were in the window, or in the buckets that make up its last `within` seconds."""
        stamp = int(now / self._width)
        oldest = stamp - (len(self._stamps) if within is None else max(round(within / self._width), 1))
        return sum(count for at, count in zip(self._stamps, self._counts, strict=True) if oldest < at <= stamp)


@final
class Window:
    """The calls of one circuit: those in a window of time, or the last `last_calls` of them where that is set."""

    __slots__ = ("_calls", "_failures", "_last")

    def __init__(self, window_for: float = 60.0, last_calls: int | None = None) -> None:
        self._calls, self._failures = Buckets(window_for), Buckets(window_for)
        self._last: deque[bool] | None = None if last_calls is None else deque(maxlen=last_calls)

    def add(self, now: float, *, failed: bool) -> None:
        """Count a call that ended at the instant `now`."""
        self._calls.add(now)
        if failed:
            self._failures.add(now)
        if self._last is not None:
            self._last.append(failed)

    def recent(self, now: float) -> Recent:
        """Return what the rules ask for."""
        lately = self._calls.total(now, LATELY)
        if self._last is not None:
            return Recent(lately, len(self._last), sum(self._last))
        return Recent(lately, self._calls.total(now), self._failures.total(now))
