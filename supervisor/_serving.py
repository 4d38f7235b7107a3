"""Who serves an agent: the change from primary to fallback and back, told once for each change. Pure."""

from __future__ import annotations

from typing import final

from ._events import HandedOver, Returned


@final
class Serving:
    """The route that answered an agent last. `routes` are their names, the primary first."""

    __slots__ = ("_agent", "_route", "_routes", "_since")

    def __init__(self, agent: str, routes: tuple[str, ...]) -> None:
        self._agent, self._routes = agent, routes
        self._route, self._since = 0, 0.0

    def answered(self, route: int, begun: float, now: float, reason: str) -> HandedOver | Returned | None:
        """Take note of an answer by `route` to a request begun at the instant `begun`; return the change, if it is one.

        An answer to a request older than the last change is a straggler, and no change: neither is one of the primary a
        return, nor one of the fallback, which was asked before the primary was back, a hand-over.
        """
        if route == self._route or begun < self._since:
            return None
        since, self._route, self._since = self._since, route, now
        if route == 0:
            return Returned(self._agent, self._routes[0], now - since)
        return HandedOver(self._agent, self._routes[0], self._routes[route], reason)
