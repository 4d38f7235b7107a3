"""What all connections of a server share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import final

from ..providers import Line, tell
from ..supervisor import Watch
from ._admission import Admission
from ._heads import Framing, head_of, http_date
from ._kept import Incoming
from ._limits import Limits
from ._values import Application, Head, HTTPAnswer

_log = logging.getLogger("understudy.gateway")

ENDING = "the gateway is shutting down"
BUSY = "the gateway has too many requests"
CROWDED = "the gateway has too many connections"

APART = 0.05
"""Seconds between two looks at all connections (chosen: so late is a limit at most, and looking costs nothing)."""


@final
class House:
    """One server's application and limits, and what it knows of the moment.

    Args:
        wall_clock: Gives Unix time, for `date`.
    """

    __slots__ = ("_date", "_second", "_wall_clock", "admission", "application", "is_draining", "limits", "watch")

    def __init__(self, application: Application, limits: Limits, wall_clock: Callable[[], float]) -> None:
        self.application, self.limits, self._wall_clock = application, limits, wall_clock
        self.admission, self.watch = Admission(limits.in_flight, limits.waiting), Watch(APART)
        self.is_draining = False
        self._second, self._date = -1, ""

    def date(self) -> str:
        """Return what a `date` says now."""
        second = int(self._wall_clock())
        if second != self._second:
            self._second, self._date = second, http_date(second)
        return self._date

    def broken(self, status: int, said: str, head: Head | None) -> HTTPAnswer:
        """Return what the application says of a request that it does not get; a 503 says when to come again."""
        try:
            answer = self.application.broken(status, said, head)
        except Exception as error:  # noqa: BLE001 - a mistake of the application's answers nobody else
            self.crashed(error)
            answer = HTTPAnswer(status, (("content-type", "text/plain"),), said.encode())
        if status == 503 and all(name != "retry-after" for name, _ in answer.headers):
            return HTTPAnswer(answer.status, (*answer.headers, ("retry-after", "1")), answer.body, closes=answer.closes)
        return answer

    def refusal(self, incoming: Incoming) -> HTTPAnswer | None:
        """Return the answer to a request whose body is not read; None if it is to be answered."""
        try:
            refused = self.application.refuse(incoming.head)
        except Exception as error:  # noqa: BLE001 - a mistake of the application's answers nobody else
            self.crashed(error)
            return self.broken(500, "the gateway made a mistake", incoming.head)
        if refused is not None:
            return refused
        if self.is_draining:
            return self.broken(503, ENDING, incoming.head)
        if incoming.encoding not in {"", "identity"}:
            return self.broken(415, "a body is taken only as it is, without content-encoding", incoming.head)
        if self.admission.is_full:
            return self.broken(503, BUSY, incoming.head)
        return None

    def crowded(self) -> bytes:
        """Return all that is said on a connection that is one too many."""
        answer = self.broken(503, CROWDED, None)
        return head_of(answer, Framing.LENGTH, date=self.date(), closes=True) + answer.body

    def crashed(self, error: Exception) -> None:
        """Tell of a mistake in the application, or in the server."""
        tell(_log.error, Line("gateway_crashed", error=type(error).__name__), error=error)
