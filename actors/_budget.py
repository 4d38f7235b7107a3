"""The retry budget: retries of one endpoint never become a load of their own. Pure: the caller says what time it is.

Source: R-RT-4; "Site Reliability Engineering", ch. 21, "Client-side retry".
"""

from __future__ import annotations

from typing import final

from ._window import Buckets

SHARE, FLOOR, WITHIN = 0.2, 3, 10
"""Retries are at most this share of the requests in so many seconds; a few are always allowed."""


@final
class RetryBudget:
    """Counts requests and retries. A retry that is allowed is counted at once."""

    __slots__ = ("_requests", "_retries")

    def __init__(self) -> None:
        self._requests = Buckets(WITHIN, WITHIN)
        self._retries = Buckets(WITHIN + 1, WITHIN + 1)  # one more: whatever 10 s one looks at, it holds

    def asked(self, now: float) -> None:
        """Count a request."""
        self._requests.add(now)

    def take(self, now: float) -> bool:
        """Say whether one more retry is allowed at the instant `now`, and count it if so."""
        if self._retries.total(now) >= max(FLOOR, SHARE * self._requests.total(now)):
            return False
        self._retries.add(now)
        return True
