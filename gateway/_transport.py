"""The gateway inside the process: an HTTP transport whose requests reach no socket, but the application.

Given to a vendor's SDK, it makes that SDK ask agents: what frameworks do with such a client fails over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import final

import httpx2

from ._values import Application, Head, HTTPAnswer, HTTPRequest


@final
class InProcess(httpx2.AsyncBaseTransport):
    """Gives requests to an application, and its answers back."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request; a stream ends when its response is closed.

        After cancellation nothing is left: the agent's request has ended.
        """
        assert isinstance(request.stream, httpx2.AsyncByteStream)  # noqa: S101 - an asynchronous client has no other
        body = b"".join([part async for part in request.stream])
        headers = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw
        )
        head = Head(request.method, request.url.raw_path.decode("ascii"), headers)
        refusal = self._application.refuse(head)
        if refusal is not None:
            return _response(refusal)
        answering = self._application.answer(HTTPRequest(head, body))
        answer = await answering.__aenter__()
        if answer.parts is None:
            await answering.__aexit__(None, None, None)
            return _response(answer)
        return httpx2.Response(answer.status, headers=list(answer.headers), stream=_Body(answer.parts, answering))


def _response(answer: HTTPAnswer) -> httpx2.Response:
    return httpx2.Response(answer.status, headers=list(answer.headers), content=answer.body)


@final
class _Body(httpx2.AsyncByteStream):
    """The parts of an answer; closing it leaves the answer."""

    def __init__(self, parts: AsyncIterator[bytes], answering: AbstractAsyncContextManager[HTTPAnswer]) -> None:
        self._parts = parts
        self._answering: AbstractAsyncContextManager[HTTPAnswer] | None = answering

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts

    async def aclose(self) -> None:
        answering, self._answering = self._answering, None
        if answering is not None:
            await answering.__aexit__(None, None, None)
