"""Numbers over time in bounded memory: how many per second, and how long the last ones took. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import final

SECONDS = 300
"""Seconds that are looked back on, with a count for each (chosen: an outage and its end are seen whole)."""

LAST = 512
"""Answers that percentiles are taken of (chosen). The last ones as they are, and no estimator: exact, quick to take
note of, done with an outage as soon as 512 answers have followed it, and 5 of them lie above the 99th percentile.
"""

SHARES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@final
class Counter:
    """How many there were in each of the last `SECONDS` seconds. A second is the whole part of an instant."""

    __slots__ = ("_counts", "_second", "whole")

    def __init__(self) -> None:
        self._counts, self._second, self.whole = array("L", bytes(SECONDS * array("L").itemsize)), 0, 0

    def add(self, second: int) -> None:
        """Count one; seconds come in order."""
        self.whole += 1
        if second != self._second:
            self._forget(second)
        self._counts[second % SECONDS] += 1

    def last(self, second: int, count: int) -> list[int]:
        """Return the counts of the last `count` seconds, at most all, up to and with `second`."""
        self._forget(second)
        oldest = (second + 1) % SECONDS
        return (self._counts[oldest:] + self._counts[:oldest])[SECONDS - count :].tolist()

    def _forget(self, second: int) -> None:
        for gone in range(max(self._second + 1, second - SECONDS + 1), second + 1):
            self._counts[gone % SECONDS] = 0
        self._second = max(self._second, second)


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return each percentile: the smallest of the values that so large a share of them does not exceed (nearest rank).

    Raises:
        ValueError: There are no values.
    """
    rising = sorted(values)
    if not rising:
        raise ValueError("nothing has no percentiles")
    return {name: rising[math.ceil(share * len(rising)) - 1] for name, share in SHARES.items()}
