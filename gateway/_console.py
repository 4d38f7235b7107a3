"""What the gateway shows of itself over HTTP: its page, how it is, what happens, and what is done by hand.

GET  /                  the page, and its files under /page/
GET  /status            everything, as JSON
GET  /events            the same, and then what changes, as server-sent events
POST /circuits/{key}    opens, closes or resets a circuit
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import final
from urllib.parse import unquote

from ..providers import encode
from ..supervisor import Supervisor
from ._act import act
from ._feed import CrowdedError, Feed
from ._keys import read_action
from ._page import FILES, page_file
from ._values import Headers, HTTPAnswer, HTTPRequest, Methods

STATUS, EVENTS, CIRCUITS = "/status", "/events", "/circuits/"

READ: Methods = ("GET", "HEAD")

_JSON: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))
_EVENTS: Headers = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-store"))


@final
class FeedConsole:
    """The console of a gateway: what its feed has seen of a supervisor."""

    def __init__(self, supervisor: Supervisor, feed: Feed) -> None:
        self._supervisor, self._feed = supervisor, feed

    def methods(self, path: str) -> Methods:
        """Return what may be asked of a path: nothing if it is none of the console's."""
        if path in FILES or path == STATUS:
            return READ
        if path == EVENTS:
            return ("GET",)
        return ("POST",) if path.startswith(CIRCUITS) else ()

    def answer(self, request: HTTPRequest) -> AbstractAsyncContextManager[HTTPAnswer] | None:
        """Return what gives the answer; None if the request is not for it."""
        path = request.head.path
        if request.head.method not in self.methods(path):
            return None
        if (file := page_file(path)) is not None:
            return _given(file)
        if path == STATUS:
            return _given(HTTPAnswer(200, _JSON, encode(self._feed.snapshot())))
        if path == EVENTS:
            return self._events()
        return _given(self._act(path.removeprefix(CIRCUITS), request.body))

    @asynccontextmanager
    async def _events(self) -> AsyncIterator[HTTPAnswer]:
        """Give events for as long as they are read."""
        try:
            async with self._feed.subscribed() as lines:
                yield HTTPAnswer(200, _EVENTS, parts=lines)
        except CrowdedError as error:
            yield HTTPAnswer(503, (*_JSON, ("retry-after", "5")), _said(str(error)))

    def _act(self, key: str, body: bytes) -> HTTPAnswer:
        try:
            act(self._supervisor, unquote(key, errors="strict"), read_action(body))
        except ValueError as error:  # a UnicodeDecodeError is one, too
            return HTTPAnswer(400, _JSON, _said(str(error)))
        return HTTPAnswer(200, _JSON, b'{"done":true}')


def _said(error: str) -> bytes:
    return encode({"error": {"message": error}})


@asynccontextmanager
async def _given(answer: HTTPAnswer) -> AsyncIterator[HTTPAnswer]:
    """Give an answer that is there already."""
    yield answer
