"""Is it our own network that is down? Pure: connections to several endpoints failing together say so.

While it is, circuits open without growing, so that all is back within one base interval after it returns.
"""

from __future__ import annotations

from typing import final

TOGETHER = 2.0
"""Seconds within which failures of two endpoints are one (requirements, table B, LOCAL_NETWORK)."""


@final
class Network:
    """What all endpoints of a supervisor know of the way out."""

    __slots__ = ("_failed_at", "is_down")

    def __init__(self) -> None:
        self._failed_at: dict[str, float] = {}
        self.is_down = False

    def failed(self, endpoint: str, now: float) -> None:
        """Take note that no connection to `endpoint` could be made."""
        self._failed_at[endpoint] = now
        recent = sum(now - at <= TOGETHER for at in self._failed_at.values())
        self.is_down = self.is_down or recent > 1

    def answered(self) -> None:
        """Take note that somebody answered, whatever it was."""
        if self._failed_at:
            self._failed_at.clear()
            self.is_down = False
